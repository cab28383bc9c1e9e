import { type CloseFrame, empty as emptyClose } from "@effect-websocket/protocol/CloseCode"
import type * as Connection from "@effect-websocket/protocol/Connection"
import type * as Frame from "@effect-websocket/protocol/Frame"
import { isControl, type MessageType } from "@effect-websocket/protocol/Opcode"
import { type Rule, rules } from "@effect-websocket/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { cutAt, everyByte, inThree, inTwo } from "./fixtures/cuts.ts"
import * as Fuzz from "./fixtures/fuzz.ts"
import * as Goldens from "./fixtures/goldens.ts"
import { allocatedBy, collect } from "./fixtures/memory.ts"
import { Random } from "./fixtures/random.ts"
import * as Receiving from "./fixtures/receiving.ts"
import * as Session from "./fixtures/session.ts"
import { joined, makeConnection, receiveAll, transcript, transcriptOf } from "./fixtures/transcript.ts"
import {
  concat,
  frame,
  fromRole,
  helloKey,
  hex,
  packed,
  roles,
  toHex,
  toRole,
  utf8,
  type Wire
} from "./fixtures/wire.ts"

const replyLines = (replies: ReadonlyArray<Connection.Reply>): ReadonlyArray<string> =>
  replies.map((reply) =>
    reply._tag === "Pong" ? `pong ${packed(reply.payload)}` : `close ${reply.frame.code} "${reply.frame.reason}"`
  )

const closeWire = (code: number, reason: string | Uint8Array = ""): Wire => ({
  opcode: 8,
  payload: Uint8Array.of(code >>> 8, code & 0xff, ...typeof reason === "string" ? utf8(reason) : reason)
})

const bytesTo = (role: Frame.Role, wires: ReadonlyArray<Wire>): Uint8Array =>
  concat(...wires.map((wire) => toRole(role, wire)))

const sent = (result: Result.Result<Uint8Array, Connection.SendError>): string =>
  Result.isSuccess(result) ? toHex(result.success) : result.failure.rule

const fill = (length: number): string => "x".repeat(length)

// ---------------------------------------------------------------------------
// A whole session
// ---------------------------------------------------------------------------

describe.each(roles)("a %s that receives the session", (role) => {
  const session = hex((role === "client" ? Goldens.fromServer : Goldens.fromClient).join(""))

  it("has the same events cut in two at every byte", () => {
    for (const chunks of inTwo(session)) assert.deepStrictEqual(transcriptOf(role, chunks), Session.transcript)
  })

  it("has the same events byte by byte", () => {
    assert.deepStrictEqual(transcriptOf(role, everyByte(session)), Session.transcript)
  })

  it("has the same events of the short one cut in three at every pair of bytes", () => {
    for (const chunks of inThree(bytesTo(role, Session.shortFrames))) {
      assert.deepStrictEqual(transcriptOf(role, chunks), Session.shortTranscript)
    }
  })

  it("has the same events of the long one in chunks of every common size", () => {
    const long = bytesTo(role, Session.longFrames)
    for (const size of [1, 125, 1460, 4096, 65535, 65536, long.length]) {
      const cuts = Array.from({ length: Math.floor(long.length / size) }, (_, i) => (i + 1) * size)
      assert.deepStrictEqual(transcriptOf(role, cutAt(long, cuts)), Session.longTranscript)
    }
  })

  it("owes a pong for each ping and a close, in order, whatever the cut", () => {
    const pings = Session.transcript.filter((line) => line.startsWith("ping"))
    const expected = [...pings.map((line) => line.replace("ping", "pong")), "close 1001 \"\""]
    for (const chunks of [[session], everyByte(session)]) {
      assert.deepStrictEqual(replyLines(receiveAll(makeConnection(role), chunks).replies), expected)
    }
  })

  it("says for how many bytes of payload the parts of a message stand", () => {
    const { events } = receiveAll(makeConnection(role), everyByte(session))
    const size = events.reduce((sum, event) => event._tag === "Part" ? sum + event.part.size : sum, 0)
    const data = Session.frames.filter((wire) => !isControl(wire.opcode))
    assert.strictEqual(size, data.reduce((sum, { payload = "" }) => sum + payload.length, 0))
  })
})

// ---------------------------------------------------------------------------
// Every rule
// ---------------------------------------------------------------------------

interface Broken {
  readonly section: string
  readonly closeCode: number
  /** Each breaks the rule with its last frame. */
  readonly by: ReadonlyArray<ReadonlyArray<Wire>>
  /** Whether the frames are masked the wrong way. */
  readonly wrongMask?: boolean
  readonly roles?: ReadonlyArray<Frame.Role>
  readonly limit?: number
}

const open: Wire = { opcode: 2, fin: false }
const limits = { maxMessageSize: 200, maxFragments: 3 }

/** What the RFC has, written down once more: a rule that is missing here does not compile. */
const broken: { readonly [R in Exclude<Rule, "CorruptDeflate" | "CompressionRatioTooHigh">]: Broken } = {
  ReservedOpcode: {
    section: "5.2",
    closeCode: 1002,
    by: [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode) => [[{ opcode }], [open, { opcode }]])
  },
  ReservedBits: {
    section: "5.2",
    closeCode: 1002,
    by: [0x40, 0x20, 0x10, 0x70].flatMap((rsv) => [
      [{ opcode: 1, rsv }],
      [{ opcode: 9, rsv }],
      [open, { opcode: 0, rsv }]
    ])
  },
  NonMinimalLength: {
    section: "5.2",
    closeCode: 1002,
    by: [
      [{ opcode: 2, payload: fill(125), form: 16 }],
      [{ opcode: 2, payload: fill(126), form: 64 }],
      [open, { opcode: 0, form: 64 }]
    ]
  },
  InvalidLength: {
    section: "5.2",
    closeCode: 1002,
    by: [[{ opcode: 2, length: 2n ** 63n }], [open, { opcode: 0, length: 2n ** 64n - 1n }]]
  },
  UnmaskedFrame: {
    section: "5.1",
    closeCode: 1002,
    roles: ["server"],
    wrongMask: true,
    by: [0, 1, 2, 8, 9, 10].map((opcode) => [{ opcode }])
  },
  MaskedFrame: {
    section: "5.1",
    closeCode: 1002,
    roles: ["client"],
    wrongMask: true,
    by: [0, 1, 2, 8, 9, 10].map((opcode) => [{ opcode }])
  },
  UnexpectedContinuation: {
    section: "5.4",
    closeCode: 1002,
    by: [[{ opcode: 0 }], [{ opcode: 0, fin: false }], [open, { opcode: 0 }, { opcode: 0, payload: "x" }]]
  },
  UnexpectedDataFrame: {
    section: "5.4",
    closeCode: 1002,
    by: [[open, { opcode: 2 }], [open, { opcode: 1, fin: false }]]
  },
  FragmentedControlFrame: {
    section: "5.5",
    closeCode: 1002,
    by: [8, 9, 10].flatMap((opcode) => [[{ opcode, fin: false }], [open, { opcode, fin: false, payload: "x" }]])
  },
  ControlFrameTooLong: {
    section: "5.5",
    closeCode: 1002,
    by: [8, 9, 10].flatMap((opcode) => [[{ opcode, payload: fill(126) }], [{ opcode, length: 65536n }]])
  },
  InvalidClosePayload: { section: "5.5.1", closeCode: 1002, by: [[{ opcode: 8, payload: "x" }]] },
  InvalidCloseCode: {
    section: "7.4",
    closeCode: 1002,
    by: [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535].map((code) => [closeWire(code)])
  },
  InvalidCloseReason: {
    section: "5.5.1",
    closeCode: 1007,
    by: ["ff", "c0 80", "e2 82", "ed a0 80"].map((reason) => [closeWire(1000, hex(reason))])
  },
  InvalidUtf8: {
    section: "8.1",
    closeCode: 1007,
    by: [
      [{ opcode: 1, payload: hex("ff") }],
      [{ opcode: 1, payload: hex("e2 82") }],
      [{ opcode: 1, fin: false, payload: hex("e2") }, { opcode: 0, fin: false, payload: hex("28") }],
      [{ opcode: 1, fin: false, payload: hex("e2 82") }, { opcode: 9 }, { opcode: 0 }]
    ]
  },
  MessageTooBig: {
    section: "10.4",
    closeCode: 1009,
    limit: 200,
    by: [
      [{ opcode: 2, payload: fill(201) }],
      [{ opcode: 1, length: 2n ** 62n }],
      [open, { opcode: 0, length: 2n ** 63n - 1n }],
      [{ ...open, payload: fill(100) }, { opcode: 9, payload: fill(125) }, { opcode: 0, payload: fill(101) }]
    ]
  },
  TooManyFragments: {
    section: "10.4",
    closeCode: 1008,
    limit: 3,
    by: [
      [open, { opcode: 0, fin: false }, { opcode: 0, fin: false }, { opcode: 0 }],
      [open, { opcode: 9 }, { opcode: 0, fin: false }, { opcode: 10 }, { opcode: 0, fin: false }, { opcode: 0 }]
    ]
  }
}

const violationOf = (events: ReadonlyArray<Connection.Event>) => {
  const event = events.at(-1)
  return event?._tag === "Violation" ? event.error : undefined
}

describe("every rule", () => {
  it("has a test", () => {
    // the one about compression has its own where a codec is
    assert.sameMembers([...Object.keys(broken), "CorruptDeflate", "CompressionRatioTooHigh"], Object.keys(rules))
    for (const rule of Object.values(broken)) assert.isNotEmpty(rule.by)
  })

  describe.each(Object.entries(broken))(
    "%s",
    (rule, { by, closeCode, limit, roles: receivers = roles, section, wrongMask }) => {
      it.each(receivers)("is found by a %s, with its close code and section and nothing else, wherever cut", (role) => {
        for (const wires of by) {
          const sender = wrongMask === true ? (role === "server" ? "client" : "server") : role
          const bytes = concat(bytesTo(sender, wires), bytesTo(role, [{ opcode: 9, payload: "after" }, { opcode: 8 }]))
          const before = transcriptOf(role, [bytesTo(sender, wires.slice(0, -1))], limits)
            .filter((line) => line.startsWith("ping") || line.startsWith("pong") || line === "binary ")
          for (const chunks of bytes.length < 80 ? inTwo(bytes) : [[bytes], everyByte(bytes)]) {
            const { events, replies } = receiveAll(makeConnection(role, limits), chunks)
            const error = violationOf(events)!
            assert.deepEqual([error.rule, error.section, error.closeCode, error.limit], [
              rule,
              section,
              closeCode,
              limit
            ])
            assert.include(error.message, `${rule}, RFC 6455 section ${section}`)
            assert.deepStrictEqual(
              transcript(events).filter((line) => !line.startsWith("unfinished")),
              [...before, `violation ${rule}`]
            )
            assert.strictEqual(replyLines(replies).at(-1), `close ${closeCode} ""`)
            assert.lengthOf(replies, 1 + before.filter((line) => line.startsWith("ping")).length)
          }
        }
      })
    }
  )
})

// ---------------------------------------------------------------------------
// The grid: frame x direction x situation, in both roles
// ---------------------------------------------------------------------------

type FrameName = "Text" | "Binary" | "Continuation" | "Close" | "Ping" | "Pong"
type Situation = "valid" | "over limit" | "out of order" | "after own Close" | "after peer's Close"
type Grid<Cell> = { readonly [F in FrameName]: { readonly [S in Situation]: Cell } }

/** What came before, the frame, the events and the replies. */
type Receives = readonly [
  given: ReadonlyArray<Wire>,
  frame: Wire,
  events: ReadonlyArray<string>,
  replies: ReadonlyArray<string>
]

const gridLimits = { maxMessageSize: 4, maxFragments: 9 }
const text: Wire = { opcode: 1, payload: "hey" }
const binary: Wire = { opcode: 2, payload: "hey" }
const begun: Wire = { opcode: 1, fin: false }
const rest: Wire = { opcode: 0, payload: "hey" }
const ping: Wire = { opcode: 9, payload: "p" }
const pong: Wire = { opcode: 10, payload: "p" }
const close = closeWire(1000)
const closed = "close 1000 \"\""
const refused = (rule: Rule): Receives[2] => [`violation ${rule}`]
const closing = (code: number): Receives[3] => [`close ${code} ""`]

const received: Grid<Receives> = {
  Text: {
    "valid": [[], text, ["text \"hey\""], []],
    "over limit": [[], { ...text, payload: "heyho" }, refused("MessageTooBig"), closing(1009)],
    "out of order": [[begun], text, refused("UnexpectedDataFrame"), closing(1002)],
    "after own Close": [[], text, ["text \"hey\""], []],
    "after peer's Close": [[close], text, [closed], closing(1000)]
  },
  Binary: {
    "valid": [[], binary, ["binary 686579"], []],
    "over limit": [[], { ...binary, payload: "heyho" }, refused("MessageTooBig"), closing(1009)],
    "out of order": [[begun], binary, refused("UnexpectedDataFrame"), closing(1002)],
    "after own Close": [[], binary, ["binary 686579"], []],
    "after peer's Close": [[close], binary, [closed], closing(1000)]
  },
  Continuation: {
    "valid": [[begun], rest, ["text \"hey\""], []],
    "over limit": [[begun], { ...rest, payload: "heyho" }, refused("MessageTooBig"), closing(1009)],
    "out of order": [[], rest, refused("UnexpectedContinuation"), closing(1002)],
    "after own Close": [[begun], rest, ["text \"hey\""], []],
    "after peer's Close": [[begun, close], rest, [closed], closing(1000)]
  },
  Close: {
    "valid": [[], close, [closed], closing(1000)],
    "over limit": [[], closeWire(1000, fill(124)), refused("ControlFrameTooLong"), closing(1002)],
    // Section 5.4: control frames may come in the middle of a message.
    "out of order": [[begun], close, [closed], closing(1000)],
    "after own Close": [[], close, [closed], []],
    "after peer's Close": [[close], closeWire(1001), [closed], closing(1000)]
  },
  Ping: {
    "valid": [[], ping, ["ping 70"], ["pong 70"]],
    "over limit": [[], { ...ping, payload: fill(126) }, refused("ControlFrameTooLong"), closing(1002)],
    "out of order": [[begun], ping, ["ping 70"], ["pong 70"]],
    "after own Close": [[], ping, ["ping 70"], []],
    "after peer's Close": [[close], ping, [closed], closing(1000)]
  },
  Pong: {
    "valid": [[], pong, ["pong 70"], []],
    "over limit": [[], { ...pong, payload: fill(126) }, refused("ControlFrameTooLong"), closing(1002)],
    "out of order": [[begun], pong, ["pong 70"], []],
    "after own Close": [[], pong, ["pong 70"], []],
    "after peer's Close": [[close], pong, [closed], closing(1000)]
  }
}

type Send = (connection: Connection.Connection) => Result.Result<Uint8Array, Connection.SendError>

/** What came before, what is sent, and the frame that goes out or the reason that none does. */
type Sends = readonly [given: ReadonlyArray<Send>, send: Send, outcome: Wire | Connection.SendError["rule"]]

const part = (type: MessageType, payload: string, fin = true): Send => (connection) =>
  connection.sendPart(type, utf8(payload), fin)
const sendPing = (payload: string): Send => (connection) => connection.sendPing(utf8(payload))
const sendPong = (payload: string): Send => (connection) => connection.sendPong(utf8(payload))
const sendClose = (code: number, reason = ""): Send => (connection) => connection.sendClose({ code, reason })
const begin = part("text", "", false)

const sends: Grid<Sends> = {
  Text: {
    "valid": [[], part("text", "hey"), text],
    // The limits are for what is received.
    "over limit": [[], part("text", "heyho"), { opcode: 1, payload: "heyho" }],
    "out of order": [[part("binary", "", false)], part("text", "hey"), "TypeChanged"],
    "after own Close": [[sendClose(1000)], part("text", "hey"), "AfterClose"],
    // Section 5.5.1: the answer to a Close may wait until a message is sent.
    "after peer's Close": [[], part("text", "hey"), text]
  },
  Binary: {
    "valid": [[], part("binary", "hey"), binary],
    "over limit": [[], part("binary", "heyho"), { opcode: 2, payload: "heyho" }],
    "out of order": [[begin], part("binary", "hey"), "TypeChanged"],
    "after own Close": [[sendClose(1000)], part("binary", "hey"), "AfterClose"],
    "after peer's Close": [[], part("binary", "hey"), binary]
  },
  Continuation: {
    "valid": [[begin], part("text", "hey"), rest],
    "over limit": [[begin], part("text", fill(65536)), { opcode: 0, payload: fill(65536) }],
    // There is no way to ask for one: a part continues or begins a message.
    "out of order": [[begin, part("text", "hey")], part("text", "hey"), text],
    "after own Close": [[begin, sendClose(1000)], part("text", "hey"), "AfterClose"],
    "after peer's Close": [[begin], part("text", "hey"), rest]
  },
  Close: {
    "valid": [[], sendClose(1000), close],
    "over limit": [[], sendClose(1000, fill(124)), "InvalidClose"],
    "out of order": [[begin], sendClose(1000), close],
    "after own Close": [[sendClose(1000)], sendClose(1001), "AfterClose"],
    "after peer's Close": [[], sendClose(1000), close]
  },
  Ping: {
    "valid": [[], sendPing("p"), ping],
    "over limit": [[], sendPing(fill(126)), "ControlTooLong"],
    "out of order": [[begin], sendPing("p"), ping],
    "after own Close": [[sendClose(1000)], sendPing("p"), "AfterClose"],
    "after peer's Close": [[], sendPing("p"), ping]
  },
  Pong: {
    "valid": [[], sendPong("p"), pong],
    "over limit": [[], sendPong(fill(126)), "ControlTooLong"],
    "out of order": [[begin], sendPong("p"), pong],
    "after own Close": [[sendClose(1000)], sendPong("p"), "AfterClose"],
    "after peer's Close": [[], sendPong("p"), pong]
  }
}

const cellsOf = <Cell>(grid: Grid<Cell>) =>
  Object.entries(grid).flatMap(([name, row]) =>
    Object.entries(row).map(([situation, cell]) => [name, situation, cell] as const)
  )

describe.each(roles)("a %s", (role) => {
  it.each(cellsOf(received))("receives %s %s", (_, situation, [given, wire, events, replies]) => {
    for (const chunks of inTwo(bytesTo(role, [...given, wire]))) {
      const connection = makeConnection(role, gridLimits)
      if (situation === "after own Close") connection.sendClose({ code: 1000, reason: "" })
      const actual = receiveAll(connection, chunks)
      assert.deepStrictEqual(transcript(actual.events), events)
      assert.deepStrictEqual(replyLines(actual.replies), replies)
    }
  })

  it.each(cellsOf(sends))("sends %s %s", (_, situation, [given, send, outcome]) => {
    const connection = makeConnection(role, gridLimits)
    if (situation === "after peer's Close") receiveAll(connection, [toRole(role, close)])
    for (const earlier of given) assert.isTrue(Result.isSuccess(earlier(connection)))
    assert.strictEqual(sent(send(connection)), typeof outcome === "string" ? outcome : toHex(fromRole(role, outcome)))
  })
})

// ---------------------------------------------------------------------------
// Early failure and limits
// ---------------------------------------------------------------------------

describe.each(roles)("a %s fails early", (role) => {
  const rulesByByte = (bytes: Uint8Array, options?: Partial<Connection.Options>) => {
    const connection = makeConnection(role, options)
    return everyByte(bytes).map((chunk) => violationOf(connection.receive(chunk.slice()).events)?.rule)
  }

  it.each<readonly [string, Wire]>([
    ["ReservedOpcode", { opcode: 3, length: 65536n }],
    ["ReservedBits", { opcode: 2, rsv: 0x40, length: 65536n }],
    ["FragmentedControlFrame", { opcode: 9, fin: false, length: 65536n }],
    ["ControlFrameTooLong", { opcode: 9, length: 65536n }]
  ])("with %s at the second byte of a header of ten and more", (rule, wire) => {
    assert.strictEqual(rulesByByte(toRole(role, wire)).indexOf(rule as Rule), 1)
  })

  it("with the wrong masking at the second byte", () => {
    const bytes = fromRole(role, { opcode: 2, length: 65536n })
    assert.strictEqual(rulesByByte(bytes)[1], role === "server" ? "UnmaskedFrame" : "MaskedFrame")
  })

  it("with MessageTooBig at the last byte of the header, before any payload", () => {
    for (const length of [126n, 65536n, 2n ** 32n, 2n ** 53n, 2n ** 62n, 2n ** 63n - 1n]) {
      const header = toRole(role, { opcode: 2, length })
      const maxMessageSize = Math.min(Number(length), Number.MAX_SAFE_INTEGER + 1) - 1
      assert.strictEqual(rulesByByte(header, { maxMessageSize }).indexOf("MessageTooBig"), header.length - 1)
    }
  })

  it("with InvalidUtf8 at the first impossible byte of an unfinished frame", () => {
    const start = utf8("κόσμε")
    const payload = concat(start, hex("f4 90"))
    for (const length of [BigInt(payload.length), 1000n]) {
      const bytes = toRole(role, { opcode: 1, fin: false, payload, length })
      assert.strictEqual(rulesByByte(bytes).indexOf("InvalidUtf8"), bytes.length - 1)
    }
  })

  it("with an orphaned continuation at its header", () => {
    const header = toRole(role, { opcode: 0, length: 1000n })
    assert.strictEqual(rulesByByte(header).indexOf("UnexpectedContinuation"), header.length - 1)
  })

  it("without allocating what a header announces", () => {
    for (const length of [2n ** 53n - 1n, 2n ** 62n]) {
      for (const maxMessageSize of [Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
        const header = toRole(role, { opcode: 1, length })
        const allocated = allocatedBy(() => void receiveAll(makeConnection(role, { maxMessageSize }), [header]))
        assert.isBelow(allocated, 1 << 16)
      }
    }
  })
})

describe.each(roles)("the limits of a %s", (role) => {
  const noise: ReadonlyArray<Wire> = [{ opcode: 9, payload: fill(125) }, { opcode: 10, payload: fill(125) }]
  const fragments = (count: number, payload: string): ReadonlyArray<Wire> =>
    Array.from({ length: count }, (_, i): ReadonlyArray<Wire> => [
      { opcode: i === 0 ? 2 : 0, fin: i === count - 1, payload },
      ...noise
    ]).flat()

  const rulesOf = (wires: ReadonlyArray<Wire>, maxMessageSize: number, maxFragments: number) =>
    [[bytesTo(role, wires)], everyByte(bytesTo(role, wires))].map((chunks) =>
      violationOf(receiveAll(makeConnection(role, { maxMessageSize, maxFragments }), chunks).events)?.rule
    )

  it.each([1, 2, 5])("are neither reset nor used up by control frames between %i fragments", (count) => {
    const wires = fragments(count, fill(10))
    assert.deepStrictEqual(rulesOf(wires, count * 10, count), [undefined, undefined])
    assert.deepStrictEqual(rulesOf(wires, count * 10 - 1, count), ["MessageTooBig", "MessageTooBig"])
    assert.deepStrictEqual(rulesOf(wires, count * 10, count - 1), ["TooManyFragments", "TooManyFragments"])
  })

  it("count empty fragments, without end", () => {
    const connection = makeConnection(role, { maxFragments: 1000 })
    assert.lengthOf(connection.receive(toRole(role, { opcode: 1, fin: false })).events, 0)
    for (let i = 1; i < 1000; i++) {
      assert.lengthOf(connection.receive(toRole(role, { opcode: 0, fin: false })).events, 0)
    }
    const { events } = connection.receive(toRole(role, { opcode: 0, fin: false }))
    assert.strictEqual(violationOf(events)?.rule, "TooManyFragments")
  })

  it("let a control frame of 125 bytes pass where messages may have none", () => {
    const bytes = bytesTo(role, noise)
    assert.lengthOf(transcriptOf(role, [bytes], { maxMessageSize: 0, maxFragments: 0 }), 2)
  })
})

// ---------------------------------------------------------------------------
// Closing
// ---------------------------------------------------------------------------

describe.each(roles)("a %s closes", (role) => {
  const receiveClose = (connection: Connection.Connection, wire: Wire) => connection.receive(toRole(role, wire))

  it("answering a code with the code and no reason", () => {
    for (const code of [1000, 1001, 1014, 3000, 4999]) {
      const connection = makeConnection(role)
      const { replies } = receiveClose(connection, closeWire(code, "bye"))
      assert.deepStrictEqual(replies, [{ _tag: "Close", frame: { code, reason: "" } }])
      assert.deepStrictEqual(connection.received, { code, reason: "bye" })
      assert.strictEqual(connection.state, "CloseReceived")
    }
  })

  it("answering an empty Close with an empty one", () => {
    const connection = makeConnection(role)
    const { replies } = receiveClose(connection, { opcode: 8 })
    assert.deepStrictEqual(replies, [{ _tag: "Close", frame: emptyClose }])
    assert.strictEqual(sent(connection.sendClose(emptyClose)), toHex(fromRole(role, { opcode: 8 })))
    assert.strictEqual(connection.state, "Closed")
  })

  it("once: from Open over CloseSent to Closed, remembering both frames", () => {
    const connection = makeConnection(role)
    const mine: CloseFrame = { code: 1001, reason: "mine" }
    assert.strictEqual(connection.state, "Open")
    assert.isTrue(Result.isSuccess(connection.sendClose(mine)))
    assert.strictEqual(connection.state, "CloseSent")
    assert.deepStrictEqual(connection.sent, mine)
    assert.lengthOf(receiveClose(connection, closeWire(1001)).replies, 0)
    assert.strictEqual(connection.state, "Closed")
    assert.deepStrictEqual(connection.received, { code: 1001, reason: "" })
  })

  it("at the same time as the peer, without answering its Close", () => {
    const peer = makeConnection(role === "client" ? "server" : "client")
    const connection = makeConnection(role)
    const mine = Result.getOrThrow(connection.sendClose({ code: 1000, reason: "a" }))
    const theirs = Result.getOrThrow(peer.sendClose({ code: 1001, reason: "b" }))
    for (const [end, bytes] of [[connection, theirs], [peer, mine]] as const) {
      assert.lengthOf(end.receive(bytes).replies, 0)
      assert.strictEqual(end.state, "Closed")
    }
    assert.deepStrictEqual(connection.received, peer.sent)
    assert.deepStrictEqual(peer.received, connection.sent)
  })

  it("delivering what the peer had sent, and answering no ping, until the peer's Close", () => {
    const connection = makeConnection(role)
    connection.sendClose({ code: 1000, reason: "" })
    const wires = [...Session.openFrames, close, { opcode: 9, payload: "late" }]
    const { events, replies } = receiveAll(connection, [bytesTo(role, wires)])
    assert.deepStrictEqual(transcript(events), [...Session.transcript.slice(0, -1), closed])
    assert.lengthOf(replies, 0)
  })

  it("after a violation with that violation's code, and answers nothing more", () => {
    const connection = makeConnection(role)
    const { replies } = connection.receive(toRole(role, { opcode: 3 }))
    assert.deepStrictEqual(replyLines(replies), ["close 1002 \"\""])
    assert.deepStrictEqual(receiveClose(connection, close), { events: [], replies: [] })
    assert.isUndefined(connection.received)
  })

  it("with no second Close for a violation that comes after its own", () => {
    const connection = makeConnection(role)
    connection.sendClose({ code: 1000, reason: "" })
    const { events, replies } = connection.receive(toRole(role, { opcode: 3 }))
    assert.strictEqual(violationOf(events)?.rule, "ReservedOpcode")
    assert.lengthOf(replies, 0)
  })

  it("refusing a bad Close without taking it for one", () => {
    for (const wire of [closeWire(1005), { opcode: 8, payload: "x" }, closeWire(1000, hex("ff"))]) {
      const connection = makeConnection(role)
      receiveClose(connection, wire)
      assert.isUndefined(connection.received)
      assert.strictEqual(connection.state, "Open")
    }
  })

  it.each<readonly [string, CloseFrame]>([
    ["a code that may not travel", { code: 1005, reason: "" }],
    ["a code that is none", { code: 1000.5, reason: "" }],
    ["a reason without a code", { code: undefined, reason: "x" }],
    ["a long reason", { code: 1000, reason: fill(124) }],
    ["a lone surrogate", { code: 1000, reason: "\ud800" }]
  ])("never with %s, and stays open", (_, problem) => {
    const connection = makeConnection(role)
    assert.strictEqual(sent(connection.sendClose(problem)), "InvalidClose")
    assert.strictEqual(connection.state, "Open")
    assert.isUndefined(connection.sent)
    assert.isTrue(Result.isSuccess(connection.sendClose({ code: 1000, reason: fill(123) })))
  })

  it("when the transport ends: nothing is sent or received from then on", () => {
    const connection = makeConnection(role)
    connection.end()
    assert.strictEqual(connection.state, "Closed")
    for (const send of [part("text", "x"), sendPing(""), sendPong(""), sendClose(1000)]) {
      assert.strictEqual(sent(send(connection)), "AfterClose")
    }
    assert.deepStrictEqual(connection.receive(toRole(role, text)), { events: [], replies: [] })
  })
})

// ---------------------------------------------------------------------------
// Sending
// ---------------------------------------------------------------------------

describe("sending", () => {
  it("masks every frame of a client with a fresh key, and none of a server", () => {
    let key = 0xfffffffe
    const client = makeConnection("client", { maskingKey: () => key++ >>> 0 })
    const server = makeConnection("server", { maskingKey: () => assert.fail("a server needs no key") })
    const all = [part("text", "a", false), sendPing("b"), part("text", "c"), sendPong(""), sendClose(1000)]
    const wires = [{ ...text, fin: false, payload: "a" }, { ...ping, payload: "b" }, { ...rest, payload: "c" }, {
      opcode: 10
    }, close]
    all.forEach((send, i) => {
      assert.strictEqual(sent(send(client)), toHex(frame(wires[i]!, (0xfffffffe + i) % 2 ** 32)))
      assert.strictEqual(sent(send(server)), toHex(frame(wires[i]!)))
    })
  })

  it("knows the type of the message it is in, also when a part was refused", () => {
    const connection = makeConnection("server")
    assert.isUndefined(connection.sending)
    part("text", "a", false)(connection)
    assert.strictEqual(connection.sending, "text")
    assert.strictEqual(sent(part("binary", "b", true)(connection)), "TypeChanged")
    assert.strictEqual(connection.sending, "text")
    part("text", "")(connection)
    assert.isUndefined(connection.sending)
    assert.strictEqual(sent(part("binary", "b")(connection)), "82 01 62")
  })

  it("knows whether it is receiving a message", () => {
    const connection = makeConnection("client")
    connection.receive(frame(begun))
    assert.isTrue(connection.receiving)
    connection.receive(frame(ping))
    assert.isTrue(connection.receiving)
    connection.receive(frame(rest))
    assert.isFalse(connection.receiving)
  })
})

// ---------------------------------------------------------------------------
// Told in place
// ---------------------------------------------------------------------------

describe.each(roles)("a %s that is told in place", (role) => {
  const agrees = (chunks: ReadonlyArray<Uint8Array>, options?: Partial<Connection.Options>) =>
    assert.deepStrictEqual(
      Receiving.inPlace(makeConnection(role, options), chunks),
      Receiving.byEvents(makeConnection(role, options), chunks)
    )

  it("is told what receive gives, chunk by chunk, of the session cut in two at every byte, and byte by byte", () => {
    const session = bytesTo(role, Session.frames)
    for (const chunks of inTwo(session)) agrees(chunks)
    agrees(everyByte(session))
  })

  it("is told the same of the short one cut in three at every pair of bytes", () => {
    for (const chunks of inThree(bytesTo(role, Session.shortFrames))) agrees(chunks)
  })

  it("is told the same of the long one in chunks of every common size", () => {
    const long = bytesTo(role, Session.longFrames)
    for (const size of [125, 1460, 4096, 65535, 65536, long.length]) {
      agrees(cutAt(long, Array.from({ length: Math.floor(long.length / size) }, (_, i) => (i + 1) * size)))
    }
  })

  it.each(Object.entries(broken))("is told of %s where receive tells of it, wherever cut", (_, { by, wrongMask }) => {
    for (const wires of by) {
      const sender = wrongMask === true ? (role === "server" ? "client" : "server") : role
      const bytes = concat(bytesTo(sender, wires), bytesTo(role, [{ opcode: 9, payload: "after" }, { opcode: 8 }]))
      for (const chunks of bytes.length < 80 ? inTwo(bytes) : [[bytes], everyByte(bytes)]) agrees(chunks, limits)
    }
  })

  it("is told the same of whatever may arrive, however it is cut", () => {
    const random = new Random(11)
    for (let i = 0; i < 2000; i++) {
      const { bytes, cuts, ...limits } = Fuzz.makeCase(random)
      agrees([bytes], { ...limits, role })
      agrees(cutAt(bytes, cuts), { ...limits, role })
      agrees(everyByte(bytes), { ...limits, role })
    }
  })

  it("answers nothing by itself, and may be sent by while it is told", () => {
    const connection = makeConnection(role)
    const answers: Array<string> = []
    const ignore = () => {}
    connection.receiveInto(bytesTo(role, [{ opcode: 9, payload: "a" }, closeWire(1001), { opcode: 9 }]), {
      onPart: ignore,
      onPing: (payload) => answers.push(sent(connection.sendPong(payload))),
      onPong: ignore,
      onClose: (frame) => {
        assert.isUndefined(connection.sent)
        answers.push(sent(connection.sendClose(frame)))
      },
      onViolation: ignore
    })
    assert.deepStrictEqual(answers, [
      toHex(fromRole(role, { opcode: 0xa, payload: "a" })),
      toHex(fromRole(role, closeWire(1001)))
    ])
    assert.strictEqual(connection.state, "Closed")
  })
})

// ---------------------------------------------------------------------------
// Memory, and the law of it all
// ---------------------------------------------------------------------------

it.effect("a connection keeps no chunk alive, also when it ended inside one", () =>
  Effect.gen(function*() {
    const more = { opcode: 2, payload: new Uint8Array(1 << 16) }
    const endings = [
      [more],
      [more, begun],
      [more, { opcode: 8 }, more],
      [more, { opcode: 3 }, more],
      [more, rest, more],
      [more, closeWire(1005), more]
    ]
    const connections = endings.map(() => makeConnection("client"))
    const chunks = endings.flatMap((ending, i) =>
      [ending, [more]].map((wires) => {
        const chunk = bytesTo("client", wires)
        connections[i]!.receive(chunk)
        return new WeakRef(chunk.buffer)
      })
    )
    yield* Effect.yieldNow
    yield* Effect.yieldNow
    collect()
    assert.deepStrictEqual(chunks.map((chunk) => chunk.deref()?.byteLength), chunks.map(() => undefined))
    assert.lengthOf(connections, endings.length)
  }))

const Int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const Fragmented = Schema.Struct({
  content: Schema.Union([Schema.String, Schema.Array(Int(0, 255))]),
  cuts: Schema.Array(Int(0, 40)).check(Schema.isMaxLength(6)),
  controls: Schema.Array(Schema.Literals(["ping", "pong"])).check(Schema.isMaxLength(6))
})

const encodeMessage = (sender: Connection.Connection, message: typeof Fragmented.Type): ReadonlyArray<Uint8Array> => {
  const { content, controls, cuts } = message
  const payload = typeof content === "string" ? utf8(content) : Uint8Array.from(content)
  const fragments = cutAt(payload, cuts.map((cut) => Math.min(cut, payload.length)))
  return fragments.flatMap((fragment, i) => {
    const bytes = sender.sendPart(typeof content === "string" ? "text" : "binary", fragment, i === fragments.length - 1)
    const control = controls[i] === "ping"
      ? [sender.sendPing(utf8(`${i}`))]
      : controls[i]
      ? [sender.sendPong(utf8(`${i}`))]
      : []
    return [bytes, ...control].map(Result.getOrThrow)
  })
}

const messagesOf = (events: ReadonlyArray<Connection.Event>): ReadonlyArray<string | Uint8Array> => {
  const messages: Array<Array<Extract<Connection.Event, { readonly _tag: "Part" }>["part"]>> = [[]]
  for (const event of events) {
    if (event._tag !== "Part") continue
    messages.at(-1)!.push(event.part)
    if (event.part.fin) messages.push([])
  }
  assert.isEmpty(messages.pop())
  return messages.map(joined)
}

describe.each(roles)("a %s", (role) => {
  it.prop(
    "receives any messages as they were sent, in any fragments, with control frames between, in any chunks",
    { messages: Schema.Array(Fragmented), seed: Int(0, 0xffffffff) },
    ({ messages, seed }) => {
      const random = new Random(seed)
      const sender = makeConnection(role === "client" ? "server" : "client", { maskingKey: () => random.bits() })
      const bytes = concat(...messages.flatMap((message) => encodeMessage(sender, message)))
      const cuts = Array.from({ length: random.below(20) }, () => random.below(bytes.length + 1))
      const { events, replies } = receiveAll(makeConnection(role), cutAt(bytes, cuts))
      assert.deepStrictEqual(
        messagesOf(events),
        messages.map(({ content }) => typeof content === "string" ? content.toWellFormed() : Uint8Array.from(content))
      )
      const controls = messages.flatMap(({ controls, cuts }) => controls.slice(0, cuts.length + 1))
      assert.deepStrictEqual(
        events.filter((event) => event._tag !== "Part").map((event) => event._tag.toLowerCase()),
        controls
      )
      assert.lengthOf(replies, controls.filter((kind) => kind === "ping").length)
    },
    { arbitrary: { runs: 300 } }
  )
})

it("the key of the RFC is the one of the fixtures", () => {
  assert.strictEqual(sent(part("text", "Hello")(makeConnection("client"))), "81 85 37 fa 21 3d 7f 9f 4d 51 58")
  assert.strictEqual(helloKey, 0x37fa213d)
})
