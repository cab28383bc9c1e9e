/**
 * Cases of RFC 7692 sections 6 and 7.2: compressed messages.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import type { Case, Script, Step } from "../runner/Case.ts"
import { Mismatch } from "../runner/Mismatch.ts"
import {
  alive,
  breaksRule,
  chops,
  done,
  expects,
  expectsNothing,
  expectsThat,
  reads,
  refuses,
  sends,
  settles,
  step,
  violation,
  writes,
  writesSome
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"
import { type Direction, Zlib } from "../runner/Zlib.ts"

const { binary, hex, more, octet, pattern, ping, pong, text, utf8 } = Wire

const rsv1 = 0x40
const plain = "permessage-deflate"

/** Agreed on with nothing special, and everything compressed. */
const agreed = { deflate: { threshold: 0 }, extensions: plain } as const

/** Bytes with little order, the same each time. */
const noise = (size: number, seed: number): Uint8Array => {
  let state = seed
  return Uint8Array.from({ length: size }, () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 24)
}

/** A message whose repetitions lie 400, 3000 and 20000 bytes apart: whoever may look back that far, does. */
const message = (size: number): Uint8Array => {
  const near = noise(400, 1)
  const far = Wire.concat([near, near, noise(2200, 2), near, near, noise(16_200, 3), near, near])
  return Wire.concat(Array.from({ length: Math.ceil(size / far.length) }, () => far)).slice(0, size)
}

/** The message that the peer gets next, compressed: RSV1 on its first frame and on no other. */
const expectsDeflated = (zlib: Zlib, expected: Uint8Array, opcode = 2): Step =>
  step(`the peer gets ${expected.length} bytes compressed`, ({ peer }) => {
    const rest = (payloads: ReadonlyArray<Uint8Array>): Effect.Effect<Uint8Array, Mismatch> =>
      Effect.flatMap(peer.frame, (frame) => {
        const first = payloads.length === 0
        if (frame.rsv !== (first ? rsv1 : 0) || frame.opcode !== (first ? opcode : 0)) {
          return new Mismatch({ expected: "RSV1 on the first frame only", actual: Wire.describe(frame) })
        }
        const all = [...payloads, frame.payload]
        return frame.fin ? Effect.succeed(Wire.concat(all)) : rest(all)
      })
    return Effect.flatMap(rest([]), (payload) =>
      Effect.try({
        try: () => zlib.inflate(payload),
        catch: (cause) => new Mismatch({ expected: "what inflates in the agreed window", actual: String(cause) })
      })).pipe(
        Effect.flatMap((inflated) =>
          Wire.equalBytes(inflated, expected)
            ? Effect.void
            : new Mismatch({ expected: `${expected.length} bytes`, actual: `${inflated.length} other bytes` })
        )
      )
  })

const sendsDeflated = (zlib: Zlib, payload: Uint8Array): Step =>
  step(
    `the peer sends ${payload.length} bytes compressed`,
    ({ peer }) => Effect.sync(() => peer.send([binary(zlib.deflate(payload), true, rsv1)]))
  )

const bothWays = (outgoing: Zlib, incoming: Zlib) => (payload: Uint8Array): Script => [
  sendsDeflated(incoming, payload),
  reads(payload),
  writes(payload),
  expectsDeflated(outgoing, payload),
  done
]

// ---- 7.2: every agreement, both ways, several messages

interface Agreement {
  readonly server: Direction
  readonly client: Direction
}

const windows = [8, 9, 12, 15]
const takeovers = [false, true]

const agreements = windows.flatMap((serverBits) =>
  windows.flatMap((clientBits) =>
    takeovers.flatMap((serverAlone) =>
      takeovers.map((clientAlone): Agreement => ({
        server: { windowBits: serverBits, noContextTakeover: serverAlone },
        client: { windowBits: clientBits, noContextTakeover: clientAlone }
      }))
    )
  )
)

const parametersOf = ({ client, server }: Agreement): string =>
  [
    plain,
    ...server.noContextTakeover ? ["server_no_context_takeover"] : [],
    ...client.noContextTakeover ? ["client_no_context_takeover"] : [],
    `server_max_window_bits=${server.windowBits}`,
    `client_max_window_bits=${client.windowBits}`
  ].join("; ")

const nameOf = ({ client, server }: Agreement): string =>
  [["server", server] as const, ["client", client] as const]
    .map(([name, { noContextTakeover, windowBits }]) => `${name}-${windowBits}${noContextTakeover ? "-alone" : ""}`)
    .join("-")

const agreementSizes = [0, 1, 125, 700, 700, 6000, 6000, 40_000, 0, 700]

const agreementCases = agreements.map((agreement): Case => ({
  id: `7692-7.2/${nameOf(agreement)}`,
  rule: "Messages of all sizes pass both ways, with the windows that were agreed, and contexts go on as agreed.",
  deflate: { threshold: 0 },
  extensions: parametersOf(agreement),
  script: (role) => {
    const incoming = new Zlib(role === "server" ? agreement.client : agreement.server)
    const outgoing = new Zlib(role === "server" ? agreement.server : agreement.client)
    return [agreementSizes.map((size) => bothWays(outgoing, incoming)(message(size))), alive]
  }
}))

const sizes = [0, 1, 2, 16, 64, 124, 125, 126, 127, 256, 1024, 4096, 16_384, 65_535, 65_536, 131_072, 1_048_576]

const makePair = (): readonly [Zlib, Zlib] => {
  const direction = { windowBits: 15, noContextTakeover: false }
  return [new Zlib(direction), new Zlib(direction)]
}

const sizeCases = sizes.flatMap((size): ReadonlyArray<Case> =>
  ([["orderly", pattern(size)], ["noisy", noise(size, 7)]] as const).map(([name, payload]): Case => ({
    id: `7692-7.2/${name}-message-of-${size}`,
    rule: "A message of any size passes both ways compressed, twice, whether it gets smaller or not.",
    ...agreed,
    script: () => {
      const [outgoing, incoming] = makePair()
      return [bothWays(outgoing, incoming)(payload), bothWays(outgoing, incoming)(payload), alive]
    }
  }))
)

const levels = [0, 1, 6, 9].flatMap((level) =>
  [1, 8, 9].map((memLevel): Case => ({
    id: `7692-7.2/level-${level}-memory-${memLevel}`,
    rule: "How hard the compressor tries makes no difference to what arrives.",
    deflate: { threshold: 0, level, memLevel },
    extensions: plain,
    script: () => {
      const [outgoing, incoming] = makePair()
      return [[6000, 6000, 40_000].map((size) => bothWays(outgoing, incoming)(message(size))), alive]
    }
  }))
)

// ---- 7.2.3: the examples

const frame = (digits: string, fin = true, rsv = rsv1): Wire.Frame => text(hex(digits), fin, rsv)

const examples: ReadonlyArray<
  readonly [name: string, frames: ReadonlyArray<Wire.Frame>, messages: ReadonlyArray<string>]
> = [
  ["one-block", [frame("f248cdc9c90700")], ["Hello"]],
  ["fragmented", [frame("f248cd", false), more(hex("c9c90700"))], ["Hello"]],
  ["shared-window", [frame("f248cdc9c90700"), frame("f200110000")], ["Hello", "Hello"]],
  ["same-bytes-twice", [frame("f248cdc9c90700"), frame("f248cdc9c90700")], ["Hello", "Hello"]],
  ["stored-block", [frame("000500faff48656c6c6f00")], ["Hello"]],
  ["final-block", [frame("f348cdc9c9070000")], ["Hello"]],
  ["final-block-then-another-message", [frame("f348cdc9c9070000"), frame("f248cdc9c90700")], ["Hello", "Hello"]],
  ["two-blocks", [frame("f24805000000ffffcac9c90700")], ["Hello"]],
  ["empty", [frame("00")], [""]],
  ["empty-between", [frame("f248cdc9c90700"), frame("00"), frame("f200110000")], ["Hello", "", "Hello"]]
]

const exampleCases = examples.flatMap(([name, frames, messages]): ReadonlyArray<Case> => [
  {
    id: `7692-7.2.3/${name}`,
    rule: "What a sender may make of a message is decompressed to the message.",
    ...agreed,
    script: [sends(...frames), reads(...messages), alive]
  },
  {
    id: `7692-7.2.3/${name}-byte-by-byte`,
    rule: "How compressed bytes arrive makes no difference.",
    ...agreed,
    script: [chops(1, ...frames), reads(...messages), alive]
  }
])

// ---- 6: which frames

const violations: ReadonlyArray<Case> = [
  ...([["ping", 0xc9], ["pong", 0xca], ["close", 0xc8]] as const).map(([name, first]): Case => ({
    id: `7692-6/rsv-1-on-${name}`,
    rule: `RSV1 on a ${name} fails the connection with 1002.`,
    ...agreed,
    script: [sends(octet(first)), breaksRule("ReservedBits", "5.2")]
  })),
  ...([["2", 0xa1], ["3", 0x91], ["1-2", 0xe1], ["1-3", 0xd1]] as const).map(([name, first]): Case => ({
    id: `7692-6/rsv-${name}-on-text`,
    rule: `RSV${name} on a text frame fails the connection with 1002, though RSV1 would not.`,
    ...agreed,
    script: [sends(octet(first, hex("f248cdc9c90700"))), breaksRule("ReservedBits", "5.2")]
  })),
  {
    id: "7692-6/rsv-1-on-continuation",
    rule: "RSV1 on a continuation fails the connection with 1002.",
    ...agreed,
    script: [sends(frame("f248cd", false), more(hex("c9c90700"), true, rsv1)), breaksRule("ReservedBits", "5.2")]
  },
  {
    id: "7692-6/rsv-1-on-continuation-of-plain-text",
    rule: "RSV1 on a continuation of a message that is not compressed fails the connection with 1002.",
    ...agreed,
    script: [sends(text("a", false), more("b", true, rsv1)), breaksRule("ReservedBits", "5.2")]
  },
  {
    id: "7692-6/rsv-1-without-agreement",
    rule: "Where nothing was agreed RSV1 fails the connection with 1002.",
    deflate: { threshold: 0 },
    script: [sends(frame("f248cdc9c90700")), breaksRule("ReservedBits", "5.2")]
  }
]

const frames: ReadonlyArray<Case> = [
  {
    id: "7692-6/compressed",
    rule: "A message that is compressed has RSV1, ends without the four bytes, and is the message.",
    ...agreed,
    script: () => {
      const [outgoing] = makePair()
      return [
        writes("Hello"),
        writes("Hello"),
        ...[1, 2].map(() => expectsDeflated(outgoing, utf8("Hello"), 1)),
        writes(message(5000)),
        expectsThat(
          "a message without the tail",
          ({ payload, rsv }) => rsv === rsv1 && !Wire.equalBytes(payload.slice(-4), hex("0000ffff"))
        ),
        done
      ]
    }
  },
  {
    id: "7692-6/empty-compressed",
    rule: "An empty message that is compressed is one byte.",
    ...agreed,
    script: [writes("", { compress: true }), expects(frame("00")), done]
  },
  {
    id: "7692-6/fragmented",
    rule: "A message that is written in parts is compressed as one.",
    ...agreed,
    script: () => {
      const [outgoing] = makePair()
      return [
        writesSome(false, message(30_000)),
        writesSome(false, message(100)),
        writesSome(true, message(30_000)),
        expectsDeflated(outgoing, Wire.concat([message(30_000), message(100), message(30_000)])),
        done
      ]
    }
  },
  {
    id: "7692-6/fragments-of-ours",
    rule: "What is compressed is cut into fragments of the size asked for.",
    ...agreed,
    config: { fragmentSize: 100 },
    script: () => {
      const [outgoing] = makePair()
      return [writes(noise(1000, 9)), expectsDeflated(outgoing, noise(1000, 9)), done]
    }
  },
  {
    id: "7692-6/flushed-parts",
    rule: "A part that is flushed leaves at once, and the peer can read all of it.",
    ...agreed,
    script: [
      writesSome(false, "Hel", { flush: true }),
      expectsThat(
        "a first fragment with RSV1",
        ({ fin, opcode, payload, rsv }) => !fin && opcode === 1 && rsv === rsv1 && payload.length > 0
      ),
      writesSome(true, "lo"),
      expectsThat("the last fragment", ({ fin, opcode, rsv }) => fin && opcode === 0 && rsv === 0),
      done
    ]
  },
  {
    id: "7692-6/parts-that-stay",
    rule: "A part that gives no output yet sends nothing.",
    ...agreed,
    transports: ["memory"],
    script: () => {
      const [outgoing] = makePair()
      return [
        writesSome(false, "Hel"),
        settles,
        expectsNothing,
        writesSome(true, "lo"),
        expectsDeflated(outgoing, utf8("Hello"), 1),
        done
      ]
    }
  },
  {
    id: "7692-6/received-fragmented",
    rule: "A compressed message may come in fragments of any size, empty ones too.",
    ...agreed,
    script: () => {
      const [, incoming] = makePair()
      const chunks = Wire.chop(incoming.deflate(message(5000)), 7)
      return [
        sends(
          binary(new Uint8Array(0), false, rsv1),
          ...chunks.flatMap((chunk) => [more(chunk, false), more("", false)]),
          more()
        ),
        reads(message(5000)),
        alive
      ]
    }
  },
  {
    id: "7692-6/control-between",
    rule: "Control frames between compressed fragments are not compressed.",
    ...agreed,
    script: [
      sends(frame("f248cd", false), ping("p")),
      expects(pong("p")),
      sends(more(hex("c9c90700"))),
      reads("Hello"),
      alive
    ]
  },
  {
    id: "7692-6/mixed",
    rule: "Messages that are compressed and such that are not follow one another, both ways.",
    ...agreed,
    script: () => {
      const [outgoing] = makePair()
      return [
        sends(frame("f248cdc9c90700"), text("plain"), frame("f200110000"), text("pl", false), more("ain")),
        reads("Hello", "plain", "Hello", "plain"),
        writes("Hello"),
        expectsDeflated(outgoing, utf8("Hello"), 1),
        writes("plain", { compress: false }),
        expects(text("plain")),
        writes("Hello"),
        expectsDeflated(outgoing, utf8("Hello"), 1),
        done
      ]
    }
  },
  {
    id: "7692-6/threshold",
    rule: "What is shorter than the threshold is not compressed, unless it is asked for.",
    deflate: { threshold: 100 },
    extensions: plain,
    script: () => {
      const [outgoing] = makePair()
      return [
        writes(pattern(99)),
        expects(binary(pattern(99))),
        writes(pattern(100)),
        expectsDeflated(outgoing, pattern(100)),
        writes(pattern(10), { compress: true }),
        expectsDeflated(outgoing, pattern(10)),
        writes(pattern(1000), { compress: false }),
        expects(binary(pattern(1000))),
        done
      ]
    }
  },
  {
    id: "7692-6/not-agreed",
    rule: "Where nothing was agreed nothing is compressed.",
    deflate: { threshold: 0 },
    script: [writes(pattern(5000)), expects(binary(pattern(5000))), done]
  }
]

// ---- 7.2.2: what comes out

// 34,464 bytes more than those that are left out
const most = new Uint8Array(100_000)
const maxCompressionRatio = 34_464 / makePair()[1].deflate(most).length

const corrupt = violation(1007, { _tag: "CorruptDeflate" })

const received: ReadonlyArray<Case> = [
  ...([
    ["block-type", "06"],
    ["stored-length", "000500ffff48656c6c6f00"],
    ["distance", "f200110000"],
    ["noise", "ffffffffffffffff"],
    ["cut-off", "000500faff4865"]
  ] as const).flatMap(([name, digits]): ReadonlyArray<Case> => [
    {
      id: `7692-7.2.2/corrupt-${name}`,
      rule: "A compressed message that is no DEFLATE fails the connection with 1007.",
      ...agreed,
      script: [sends(text("before"), frame(digits), text("behind")), reads("before"), corrupt]
    },
    {
      id: `7692-7.2.2/corrupt-${name}-byte-by-byte`,
      rule: "A compressed message that is no DEFLATE fails the connection with 1007.",
      ...agreed,
      script: [chops(1, frame(digits)), corrupt]
    }
  ]),
  {
    id: "7692-7.2.2/corrupt-lost-context",
    rule: "A message that refers to a context which was agreed not to be kept fails the connection with 1007.",
    deflate: { threshold: 0 },
    extensions: `${plain}; server_no_context_takeover; client_no_context_takeover`,
    script: [sends(frame("f248cdc9c90700")), reads("Hello"), sends(frame("f200110000")), corrupt]
  },
  {
    id: "7692-7.2.2/not-utf-8",
    rule: "Text is judged behind the decompressor.",
    ...agreed,
    script: () => {
      const [, incoming] = makePair()
      return [sends(text(incoming.deflate(hex("61ff")), true, rsv1)), violation(1007, { _tag: "InvalidUtf8" })]
    }
  },
  {
    id: "7692-7.2.2/limit",
    rule: "The limit is for what comes out: a message of as many bytes is taken.",
    ...agreed,
    config: { maxMessageSize: 1000 },
    script: () => {
      const [, incoming] = makePair()
      return [
        sendsDeflated(incoming, new Uint8Array(1000)),
        reads(new Uint8Array(1000)),
        sendsDeflated(incoming, noise(1000, 3)),
        reads(noise(1000, 3)),
        alive
      ]
    }
  },
  {
    id: "7692-7.2.2/limit-exceeded",
    rule: "One byte more fails the connection with 1009.",
    ...agreed,
    config: { maxMessageSize: 1000 },
    script: () => {
      const [, incoming] = makePair()
      return [
        sendsDeflated(incoming, new Uint8Array(1001)),
        violation(1009, { _tag: "MessageTooBig", limit: 1000 })
      ]
    }
  },
  {
    id: "7692-7.2.2/limit-exceeded-by-fragments",
    rule: "Fragments are added up behind the decompressor.",
    ...agreed,
    config: { maxMessageSize: 1000 },
    script: () => {
      const [, incoming] = makePair()
      const [first, ...rest] = Wire.chop(incoming.deflate(noise(1001, 4)), 100)
      return [
        sends(binary(first!, false, rsv1), ...rest.map((chunk) => more(chunk, false)), more()),
        violation(1009, { _tag: "MessageTooBig", limit: 1000 })
      ]
    }
  },
  {
    id: "7692-7.2.2/bomb",
    rule: "Twenty megabytes in twenty kilobytes are stopped at the limit.",
    ...agreed,
    config: { maxMessageSize: 100_000 },
    script: () => {
      const [, incoming] = makePair()
      return [
        sendsDeflated(incoming, new Uint8Array(20_000_000)),
        violation(1009, { _tag: "MessageTooBig", limit: 100_000 })
      ]
    }
  },
  {
    id: "7692-7.2.2/ratio",
    rule: "A message that stands for as much as the ratio lets its length is taken.",
    ...agreed,
    config: { maxCompressionRatio },
    script: () => {
      const [, incoming] = makePair()
      return [sendsDeflated(incoming, most), reads(most), alive]
    }
  },
  {
    id: "7692-7.2.2/ratio-exceeded",
    rule: "One byte more fails the connection with 1009.",
    ...agreed,
    config: { maxCompressionRatio },
    script: () => {
      const [, incoming] = makePair()
      return [
        sendsDeflated(incoming, new Uint8Array(most.length + 1)),
        violation(1009, { _tag: "CompressionRatioTooHigh", limit: maxCompressionRatio })
      ]
    }
  },
  {
    id: "7692-7.2.2/compression-cannot-change",
    rule: "Whether a message is compressed is decided once: a part that says otherwise is refused.",
    ...agreed,
    script: [
      refuses(
        "change the compression inside a message",
        (stream) =>
          Effect.andThen(
            stream.writeSome(false, "a", { compress: false }),
            stream.writeSome(true, "b", { compress: true })
          ),
        { _tag: "InvalidPayload" }
      ),
      expects(text("a", false))
    ]
  }
]

export const deflate: ReadonlyArray<Case> = [
  ...frames,
  ...violations,
  ...agreementCases,
  ...sizeCases,
  ...levels,
  ...exampleCases,
  ...received
]
