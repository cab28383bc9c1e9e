import * as Extension from "@effect-websocket/protocol/Extension"
import type { HandshakeError } from "@effect-websocket/protocol/HandshakeError"
import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const name = "permessage-deflate"
const serverTakeover = "server_no_context_takeover"
const clientTakeover = "client_no_context_takeover"
const serverBits = "server_max_window_bits"
const clientBits = "client_max_window_bits"
const parameters = [serverTakeover, clientTakeover, serverBits, clientBits] as const
type Parameter = typeof parameters[number]

/** Extensions as they are in a header. */
const parse = (text: string): ReadonlyArray<Extension.Extension> => Result.getOrThrow(Extension.parse([text]))
const offer = (...params: ReadonlyArray<string>): string => [name, ...params].join("; ")

const answerTo = (text: string, options: PerMessageDeflate.Options = {}): string => {
  const accepted = PerMessageDeflate.acceptOffer(parse(text), options)
  return accepted === undefined ? "declined" : Extension.format([accepted.response])
}

type Checked = Result.Result<PerMessageDeflate.Agreement | undefined, HandshakeError>

const check = (answer: string, offers: string): Checked => PerMessageDeflate.checkResponse(parse(answer), parse(offers))

/** An agreement as "takeover takeover bits bits", server first, or the rule that is broken. */
const summary = (checked: Checked): string => {
  if (Result.isFailure(checked)) return checked.failure.rule
  return checked.success === undefined ? "none" : summaryOf(checked.success)
}
const summaryOf = (agreement: PerMessageDeflate.Agreement): string =>
  [
    agreement.serverNoContextTakeover ? "once" : "kept",
    agreement.clientNoContextTakeover ? "once" : "kept",
    agreement.serverMaxWindowBits,
    agreement.clientMaxWindowBits
  ].join(" ")

/** A parameter with each value, as it is written. */
const values = {
  bare: (param: string) => param,
  "-1": (param: string) => `${param}=-1`,
  "0": (param: string) => `${param}=0`,
  "7": (param: string) => `${param}=7`,
  "8": (param: string) => `${param}=8`,
  "9": (param: string) => `${param}=9`,
  "15": (param: string) => `${param}=15`,
  "16": (param: string) => `${param}=16`,
  "008": (param: string) => `${param}=008`,
  "08": (param: string) => `${param}=08`,
  "9a": (param: string) => `${param}=9a`,
  "0x9": (param: string) => `${param}=0x9`,
  "1e1": (param: string) => `${param}=1e1`,
  "+9": (param: string) => `${param}=+9`,
  "9.0": (param: string) => `${param}=9.0`,
  huge: (param: string) => `${param}=${"9".repeat(40)}`,
  "8 and 2^32": (param: string) => `${param}=4294967304`,
  true: (param: string) => `${param}=true`,
  "quoted 9": (param: string) => `${param}="9"`,
  "quoted 16": (param: string) => `${param}="16"`,
  "quoted and escaped 10": (param: string) => `${param}="\\1\\0"`
}
type Value = keyof typeof values
const allValues = Object.keys(values) as ReadonlyArray<Value>
const bits: ReadonlyArray<Value> = ["8", "9", "15", "quoted 9", "quoted and escaped 10"]

/** The values that each parameter may have. */
const allowed: Record<"offer" | "response", Record<Parameter, ReadonlyArray<Value>>> = {
  offer: {
    [serverTakeover]: ["bare"],
    [clientTakeover]: ["bare"],
    [serverBits]: bits,
    [clientBits]: ["bare", ...bits]
  },
  response: {
    [serverTakeover]: ["bare"],
    [clientTakeover]: ["bare"],
    [serverBits]: bits,
    [clientBits]: bits
  }
}

describe("RFC 7692 section 7.1", () => {
  describe.each(parameters)("%s", (param) => {
    it.each(allValues)("is taken in an offer or declines it, with the value: %s", (value) => {
      const text = offer(values[value](param))
      assert.strictEqual(answerTo(text) !== "declined", allowed.offer[param].includes(value))
      // what it stands next to does not matter
      const others = parameters.filter((other) => other !== param).map((other) =>
        other === serverBits ? `${other}=10` : other
      )
      const among = offer(...others, values[value](param))
      assert.strictEqual(answerTo(among) !== "declined", allowed.offer[param].includes(value))
    })

    it.each(allValues)("is taken in a response or fails it, with the value: %s", (value) => {
      const checked = check(offer(values[value](param)), offer(clientBits))
      assert.strictEqual(Result.isSuccess(checked), allowed.response[param].includes(value))
      if (Result.isFailure(checked)) assert.strictEqual(checked.failure.rule, "InvalidExtensionParameters")
    })

    it("is refused when it is repeated, with the same value or another", () => {
      for (const first of allowed.offer[param]) {
        for (const second of allowed.offer[param]) {
          assert.strictEqual(answerTo(offer(values[first](param), values[second](param))), "declined")
          const between = offer(values[first](param), "server_max_window_bits=15", values[second](param))
          assert.strictEqual(answerTo(between), "declined")
        }
      }
      for (const first of allowed.response[param]) {
        for (const second of allowed.response[param]) {
          const checked = check(offer(values[first](param), values[second](param)), offer(clientBits))
          assert.strictEqual(summary(checked), "InvalidExtensionParameters")
        }
      }
    })

    it("is refused in another case", () => {
      const value = param.endsWith("bits") ? "=10" : ""
      for (
        const other of [param.toUpperCase(), `S${param.slice(1)}`, param.replace("_", "-"), `${param}_`, `x${param}`]
      ) {
        assert.strictEqual(answerTo(offer(other + value)), "declined")
        assert.strictEqual(summary(check(offer(other + value), offer(clientBits))), "InvalidExtensionParameters")
      }
    })
  })

  it.each([
    "unknown",
    "unknown=1",
    "unknown=x",
    "unknown=\"xy\"",
    "__proto__",
    "__proto__=9",
    "constructor",
    "constructor=9",
    "hasOwnProperty",
    "toString",
    "toString=10",
    "valueOf",
    "prototype",
    "size=10",
    "get",
    "0",
    "permessage-deflate"
  ])("a parameter that is not defined declines an offer and fails a response: %s", (param) => {
    for (const text of [offer(param), offer(clientTakeover, param), offer(param, clientTakeover)]) {
      assert.strictEqual(answerTo(text), "declined")
      assert.strictEqual(answerTo(`${text}, ${offer()}`), offer())
      assert.strictEqual(summary(check(text, offer())), "InvalidExtensionParameters")
      assert.strictEqual(summary(check(text, text)), "InvalidExtensionParameters")
    }
  })

  it("a prototype that has been tampered with adds no parameter", () => {
    const polluted = Object.prototype as { server_max_window_bits?: string }
    polluted.server_max_window_bits = "8"
    try {
      assert.strictEqual(answerTo(offer()), offer())
      assert.strictEqual(summary(check(offer(), offer())), "kept kept 15 15")
    } finally {
      delete polluted.server_max_window_bits
    }
  })

  it("the grammar has no parameter with = and no value, nor an empty one", () => {
    for (
      const text of [offer(`${clientBits}=`), offer(`${serverTakeover}=`), offer(`${serverBits}=""`), `${offer()};`]
    ) {
      assert(Result.isFailure(Extension.parse([text])))
    }
    // where a value is empty all the same, it is none that is allowed
    for (const param of parameters) {
      const extension = { name, params: [[param, ""]] } as const
      assert.isUndefined(PerMessageDeflate.acceptOffer([extension], {}))
      assert(Result.isFailure(PerMessageDeflate.checkResponse([extension], parse(offer(clientBits)))))
    }
  })
})

describe("RFC 7692 section 5", () => {
  it.each<[string, string]>([
    ["x-webkit-deflate-frame", "declined"],
    ["Permessage-Deflate", "declined"],
    ["permessage-deflate2", "declined"],
    ["__proto__, constructor", "declined"],
    ["permessage-bzip2, permessage-deflate", offer()],
    [`${offer("server_max_window_bits=7")}, ${offer("server_max_window_bits=9")}`, offer("server_max_window_bits=9")],
    [`${offer("x")}, ${offer(serverBits)}, x, ${offer(serverTakeover)}`, offer(serverTakeover)],
    [`${offer("server_max_window_bits=10")}, ${offer()}`, offer("server_max_window_bits=10")],
    [`${offer()}, ${offer("server_max_window_bits=10")}`, offer()],
    [`${offer("x")}, ${offer("y")}`, "declined"]
  ])("a server takes the first offer that it can: %s", (text, expected) => {
    assert.strictEqual(answerTo(text), expected)
  })

  it("a server passes over an offer that does not let it limit the client", () => {
    const text = `${offer()}, ${offer(serverTakeover)}, ${offer(clientTakeover, clientBits)}`
    assert.strictEqual(
      answerTo(text, { clientMaxWindowBits: 11 }),
      offer(clientTakeover, "client_max_window_bits=11")
    )
    assert.strictEqual(answerTo(offer(), { clientMaxWindowBits: 14 }), "declined")
  })

  it("nothing is offered, accepted or agreed on where there is no extension", () => {
    assert.isUndefined(PerMessageDeflate.acceptOffer([], {}))
    assert.deepStrictEqual(PerMessageDeflate.checkResponse([], parse(offer())), Result.succeed(undefined))
    assert.deepStrictEqual(PerMessageDeflate.checkResponse(parse("x; y=1"), []), Result.succeed(undefined))
  })

  it("a response with the extension twice is refused, whatever the two say", () => {
    for (const text of [`${offer()}, ${offer()}`, `${offer()}, x, ${offer("y")}`]) {
      const checked = check(text, `${offer()}, ${offer()}`)
      assert.strictEqual(summary(checked), "ConflictingExtensions")
      assert(Result.isFailure(checked) && checked.failure.section === "7692 6" && checked.failure.status === undefined)
    }
  })

  it("a response is read among those of other extensions", () => {
    assert.strictEqual(summary(check(`x, ${offer(serverTakeover)}, y; z=1`, offer())), "once kept 15 15")
  })

  it("a response to no offer is refused", () => {
    for (const offers of ["x", "Permessage-Deflate", offer("unknown"), offer(`${serverBits}=7`)]) {
      assert.strictEqual(summary(check(offer(), offers)), "UnofferedExtension")
    }
  })
})

// What is offered and answered of each parameter. The tables below are sections 7.1.1 and 7.1.2 for all pairs of them.
const takeovers = [undefined, "bare"] as const
const offeredServerBits = [undefined, "8", "10", "15"] as const
const offeredClientBits = [undefined, "bare", "8", "12", "15"] as const
const answeredBits = [undefined, "8", "10", "12", "15"] as const

const cells = (...rows: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
  rows.map((row) => row.trim().split(/\s+/))

/** For each parameter: a row an offer, a column an answer; what the client then keeps to, "-" where it fails. */
const client = {
  serverTakeover: cells(
    "kept once",
    "-    once"
  ),
  clientTakeover: cells(
    "kept once",
    "once once"
  ),
  //     absent 8 10 12 15
  serverBits: cells(
    "15     8 10 12 15",
    "-      8 -  -  -",
    "-      8 10 -  -",
    "-      8 10 12 15"
  ),
  clientBits: cells(
    "15     - -  -  -",
    "15     8 10 12 15",
    "8      8 8  8  8",
    "12     8 10 12 12",
    "15     8 10 12 15"
  )
}

const param = (name: string, value: string | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : [value === "bare" ? name : `${name}=${value}`]

interface Written {
  readonly text: string
  /** Which of its values each parameter has. */
  readonly index: readonly [number, number, number, number]
}

const allWritten = (
  ofServer: ReadonlyArray<string | undefined>,
  ofClient: ReadonlyArray<string | undefined>
): ReadonlyArray<Written> =>
  takeovers.flatMap((server, i) =>
    takeovers.flatMap((client, j) =>
      ofServer.flatMap((serverValue, k) =>
        ofClient.map((clientValue, l): Written => ({
          text: offer(
            ...param(serverTakeover, server),
            ...param(clientTakeover, client),
            ...param(serverBits, serverValue),
            ...param(clientBits, clientValue)
          ),
          index: [i, j, k, l]
        }))
      )
    )
  )

const allOffers = allWritten(offeredServerBits, offeredClientBits)
const allAnswers = allWritten(answeredBits, answeredBits)

const expectedOfClient = (offered: Written, answered: Written): string => {
  const row = [client.serverTakeover, client.clientTakeover, client.serverBits, client.clientBits].map((table, i) =>
    table[offered.index[i]!]![answered.index[i]!]!
  )
  return row.includes("-") ? "UnofferedExtension" : row.join(" ")
}

describe("RFC 7692 sections 7.1.1 and 7.1.2", () => {
  it("a client takes each answer to each offer as the tables have it", () => {
    for (const offered of allOffers) {
      for (const answered of allAnswers) {
        const expected = expectedOfClient(offered, answered)
        const actual = summary(check(answered.text, offered.text))
        if (actual !== expected) assert.strictEqual(actual, expected, `${answered.text} to ${offered.text}`)
      }
    }
  })

  it("a client takes an answer to two offers where it takes it to either", () => {
    const some = allOffers.filter((_, i) => i % 3 === 0)
    for (const first of some) {
      for (const second of some) {
        for (const answered of allAnswers.filter((_, i) => i % 7 === 0)) {
          const fits = [first, second].filter((offered) => expectedOfClient(offered, answered) !== "UnofferedExtension")
          const checked = check(answered.text, `${first.text}, ${second.text}`)
          assert.strictEqual(Result.isSuccess(checked), fits.length > 0)
        }
      }
    }
  })

  it.each<[answer: string, offers: string, expected: string]>([
    [offer(), `${offer(clientTakeover, "client_max_window_bits=10")}, ${offer(clientBits)}`, "kept once 15 10"],
    [offer(), `${offer(clientBits)}, ${offer(clientTakeover, "client_max_window_bits=10")}`, "kept once 15 10"],
    [
      offer(serverTakeover),
      `${offer(serverTakeover, "client_max_window_bits=12")}, ${offer("client_max_window_bits=9")}`,
      "once kept 15 9"
    ],
    [offer(), `${offer(serverTakeover, clientTakeover, "client_max_window_bits=9")}, ${offer()}`, "kept kept 15 15"]
  ])("a client keeps to what it hinted at in all offers that %s may be to: %s", (answer, offers, expected) => {
    assert.strictEqual(summary(check(answer, offers)), expected)
  })
})

/** For each parameter: a row an offer, a column what the server is configured with; what it answers, "-" for nothing. */
const server = {
  takeover: cells(
    "-    bare",
    "bare bare"
  ),
  //        8  12 15
  serverBits: cells(
    "      8  12 -",
    "      8  8  8",
    "      8  10 10",
    "      8  12 15"
  ),
  clientBits: cells(
    "      x  x  -",
    "      8  12 -",
    "      8  8  8",
    "      8  12 12",
    "      8  12 -"
  )
}
const configuredBits = [8, 12, 15] as const
const configured = [false, true]

const allOptions = configured.flatMap((serverNoContextTakeover, i) =>
  configured.flatMap((clientNoContextTakeover, j) =>
    configuredBits.flatMap((serverMaxWindowBits, k) =>
      configuredBits.map((clientMaxWindowBits, l) => ({
        options: { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits },
        index: [i, j, k, l] as const
      }))
    )
  )
)

const expectedOfServer = (offered: Written, index: readonly [number, number, number, number]): string => {
  const values = [server.takeover, server.takeover, server.serverBits, server.clientBits].map((table, i) =>
    table[offered.index[i]!]![index[i]!]!
  )
  if (values.includes("x")) return "declined"
  return offer(...parameters.flatMap((name, i) => param(name, values[i] === "-" ? undefined : values[i])))
}

describe("RFC 7692 sections 7.1.1 and 7.1.2, by the server", () => {
  it("answers each offer under each configuration as the tables have it", () => {
    for (const offered of allOffers) {
      for (const { index, options } of allOptions) {
        const expected = expectedOfServer(offered, index)
        const actual = answerTo(offered.text, options)
        if (actual !== expected) assert.strictEqual(actual, expected, `${offered.text}, ${JSON.stringify(options)}`)
      }
    }
  })

  it("gives an answer that the client takes, and means the same by it", () => {
    for (const offered of allOffers) {
      for (const { options } of allOptions) {
        const accepted = PerMessageDeflate.acceptOffer(parse(offered.text), options)
        if (accepted === undefined) continue
        assert.deepStrictEqual(
          PerMessageDeflate.checkResponse([accepted.response], parse(offered.text)),
          Result.succeed(accepted.agreement)
        )
      }
    }
  })

  it("keeps within what it is configured with, and what the offer asks for", () => {
    for (const offered of allOffers) {
      for (const { options } of allOptions) {
        const agreement = PerMessageDeflate.acceptOffer(parse(offered.text), options)?.agreement
        if (agreement === undefined) continue
        assert(agreement.serverMaxWindowBits <= options.serverMaxWindowBits)
        assert(agreement.clientMaxWindowBits <= options.clientMaxWindowBits)
        assert(agreement.serverNoContextTakeover || !options.serverNoContextTakeover)
        assert(agreement.clientNoContextTakeover || !options.clientNoContextTakeover)
        assert(agreement.serverMaxWindowBits <= Number(offeredServerBits[offered.index[2]] ?? 15))
      }
    }
  })

  // Beast's negotiations; where it answers otherwise, the RFC is followed
  it.each<[options: PerMessageDeflate.Options, offered: string, answer: string]>([
    [{}, offer(), offer()],
    [{}, offer("server_max_window_bits=14"), offer("server_max_window_bits=14")],
    // section 7.1.2.1: accepted by answering it (Beast leaves it out)
    [{}, offer("server_max_window_bits=15"), offer("server_max_window_bits=15")],
    // 8 is kept with zlib's 9 (Beast answers 9, which is more than was asked for)
    [{}, offer("server_max_window_bits=8"), offer("server_max_window_bits=8")],
    [{ serverMaxWindowBits: 10 }, offer(), offer("server_max_window_bits=10")],
    [{ serverMaxWindowBits: 10 }, offer("server_max_window_bits=14"), offer("server_max_window_bits=10")],
    [{ serverMaxWindowBits: 8 }, offer("server_max_window_bits=14"), offer("server_max_window_bits=8")],
    [{}, offer(clientBits), offer()],
    [{ clientMaxWindowBits: 10 }, offer(clientBits), offer("client_max_window_bits=10")],
    [{ clientMaxWindowBits: 10 }, offer(), "declined"],
    [
      { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 9, clientMaxWindowBits: 10 },
      offer(clientBits),
      offer(serverTakeover, clientTakeover, "server_max_window_bits=9", "client_max_window_bits=10")
    ]
  ])("with %j answers %s with %s", (options, offered, answer) => {
    assert.strictEqual(answerTo(offered, options), answer)
  })
})

describe("makeOffers", () => {
  it.each<[PerMessageDeflate.Options, string]>([
    [{}, offer(clientBits)],
    [{ serverMaxWindowBits: 10 }, offer("server_max_window_bits=10", clientBits)],
    [{ serverMaxWindowBits: 15, clientMaxWindowBits: 15 }, offer(clientBits)],
    [{ clientMaxWindowBits: 10 }, offer("client_max_window_bits=10")],
    [{ serverNoContextTakeover: true }, offer(serverTakeover, clientBits)],
    [{ clientNoContextTakeover: true }, offer(clientTakeover, clientBits)],
    [{ serverNoContextTakeover: false, clientNoContextTakeover: false }, offer(clientBits)],
    [
      { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 8, clientMaxWindowBits: 9 },
      offer(serverTakeover, clientTakeover, "server_max_window_bits=8", "client_max_window_bits=9")
    ],
    [{ fallback: true }, offer(clientBits)],
    [{ fallback: true, clientNoContextTakeover: true }, offer(clientTakeover, clientBits)],
    [
      { fallback: true, serverMaxWindowBits: 9, clientNoContextTakeover: true, clientMaxWindowBits: 11 },
      `${offer(clientTakeover, "server_max_window_bits=9", "client_max_window_bits=11")}, ${
        offer(clientTakeover, "client_max_window_bits=11")
      }`
    ],
    [{ fallback: true, serverNoContextTakeover: true }, `${offer(serverTakeover, clientBits)}, ${offer(clientBits)}`]
  ])("writes %j as %s", (options, expected) => {
    assert.strictEqual(Extension.format(PerMessageDeflate.makeOffers(options)), expected)
  })

  it("is met by every server that can, and each side keeps to its own limits", () => {
    for (const { options: ofClient } of allOptions) {
      const offers = PerMessageDeflate.makeOffers(ofClient)
      for (const { options: ofServer } of allOptions) {
        const accepted = PerMessageDeflate.acceptOffer(offers, ofServer)!
        const checked = PerMessageDeflate.checkResponse([accepted.response], offers)
        assert.deepStrictEqual(checked, Result.succeed(accepted.agreement))
        assert.deepStrictEqual(accepted.agreement, {
          serverNoContextTakeover: ofClient.serverNoContextTakeover || ofServer.serverNoContextTakeover,
          clientNoContextTakeover: ofClient.clientNoContextTakeover || ofServer.clientNoContextTakeover,
          serverMaxWindowBits: Math.min(ofClient.serverMaxWindowBits, ofServer.serverMaxWindowBits),
          clientMaxWindowBits: Math.min(ofClient.clientMaxWindowBits, ofServer.clientMaxWindowBits)
        })
      }
    }
  })

  it("falls back only where it is told to", () => {
    const options = { serverMaxWindowBits: 10, serverNoContextTakeover: true } as const
    const strict = Extension.format(PerMessageDeflate.makeOffers(options))
    const loose = Extension.format(PerMessageDeflate.makeOffers({ ...options, fallback: true }))
    assert.strictEqual(summary(check(offer(), strict)), "UnofferedExtension")
    assert.strictEqual(summary(check(offer(), loose)), "kept kept 15 15")
    assert.strictEqual(summary(check(offer(serverTakeover, "server_max_window_bits=9"), loose)), "once kept 9 15")
  })
})

describe("directionFrom", () => {
  const agreement: PerMessageDeflate.Agreement = {
    serverNoContextTakeover: true,
    clientNoContextTakeover: false,
    serverMaxWindowBits: 9,
    clientMaxWindowBits: 14
  }

  it("gives what applies to whom compresses", () => {
    assert.deepStrictEqual(PerMessageDeflate.directionFrom("server", agreement), {
      windowBits: 9,
      noContextTakeover: true
    })
    assert.deepStrictEqual(PerMessageDeflate.directionFrom("client", agreement), {
      windowBits: 14,
      noContextTakeover: false
    })
  })
})

describe("Laws", () => {
  const Text = Schema.UndefinedOr(
    Schema.Union([Schema.String, Schema.Literals(["8", "9", "10", "15", "16", "7", "08", "", "1"])])
  )
  const Name = Schema.Union([Schema.String, Schema.Literals([...parameters, ...parameters, "__proto__"])])
  const Extensions = Schema.Array(Schema.Struct({
    name: Schema.Literals([name, name, name, "x"]),
    params: Schema.Array(Schema.Tuple([Name, Text]))
  }))

  it.prop(
    "any offers and any response give a result, and an acceptance is one the client takes",
    { offers: Extensions, response: Extensions },
    ({ offers, response }) => {
      assert(Result.isResult(PerMessageDeflate.checkResponse(response, offers)))
      const accepted = PerMessageDeflate.acceptOffer(offers, {})
      if (accepted === undefined) return
      assert(Extension.isWritable(accepted.response))
      assert(Result.isSuccess(PerMessageDeflate.checkResponse([accepted.response], offers)))
    },
    { arbitrary: { runs: 1000 } }
  )
})
