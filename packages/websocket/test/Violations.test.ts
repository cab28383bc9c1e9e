import * as ProtocolError from "@effect-websocket/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { binary, close, continuation, encode, hex, ping, reasonOf, roles, settled, text } = Scripted

type Rule = ProtocolError.Rule
type Role = Scripted.Role

/** The frame as the other role would send it: masked where it must not be, and the other way round. */
const wrongWay = (role: Role) => encode(role, text("x"))

/** A header of these bytes, masked where the peer of `role` is a client. */
const header = (role: Role, digits: string): Uint8Array => {
  const bytes = hex(digits)
  if (role === "client") return bytes
  bytes[1]! |= 0x80
  return Scripted.concat([bytes, hex("01020304")])
}

const limits: WebSocketConfig.Options = { maxMessageSize: 8, maxFragments: 3 }

type Case = readonly [rule: Rule, what: string, send: (role: Role) => ReadonlyArray<Scripted.Frame | Uint8Array>]

const cases: ReadonlyArray<Case> = [
  ...["3", "4", "5", "6", "7", "b", "c", "d", "e", "f"].map((opcode): Case => [
    "ReservedOpcode",
    `opcode ${opcode}`,
    (role) => [header(role, `8${opcode}00`)]
  ]),
  ["ReservedBits", "RSV1 on text", (role) => [header(role, "c100")]],
  ["ReservedBits", "RSV2 on binary", (role) => [header(role, "a200")]],
  ["ReservedBits", "RSV3 on a ping", (role) => [header(role, "9900")]],
  ["ReservedBits", "RSV1 on a continuation", (role) => [text("a", false), header(role, "c000")]],
  ["NonMinimalLength", "125 in 16 bits", (role) => [header(role, "827e007d")]],
  ["NonMinimalLength", "65535 in 64 bits", (role) => [header(role, "827f000000000000ffff")]],
  ["InvalidLength", "2^63", (role) => [header(role, "827f8000000000000000")]],
  ["InvalidLength", "2^64 - 1", (role) => [header(role, "827fffffffffffffffff")]],
  ["UnexpectedContinuation", "the first frame", () => [continuation("x")]],
  ["UnexpectedContinuation", "behind a whole message", () => [text("x"), continuation("x")]],
  ["UnexpectedDataFrame", "text in text", () => [text("x", false), text("x")]],
  ["UnexpectedDataFrame", "binary in text", () => [text("x", false), binary(hex("00"))]],
  ["FragmentedControlFrame", "a ping", (role) => [header(role, "0900")]],
  ["FragmentedControlFrame", "a close", (role) => [header(role, "0800")]],
  ["FragmentedControlFrame", "a pong", (role) => [header(role, "0a00")]],
  ["ControlFrameTooLong", "a ping of 126 bytes", (role) => [header(role, "897e007e")]],
  ["InvalidClosePayload", "one byte", () => [{ ...close(), payload: hex("03") }]],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535].map((code): Case => [
    "InvalidCloseCode",
    String(code),
    () => [close(code)]
  ]),
  ["InvalidCloseReason", "ff", () => [{ ...close(), payload: hex("03e8ff") }]],
  ["InvalidCloseReason", "a cut code point", () => [{ ...close(), payload: hex("03e8c3") }]],
  ["InvalidUtf8", "whole", () => [text(hex("61ff"))]],
  ["InvalidUtf8", "a surrogate", () => [text(hex("eda080"))]],
  ["InvalidUtf8", "in a later fragment", () => [text("a", false), continuation(hex("c0"), false)]],
  ["InvalidUtf8", "cut off at the end", () => [text(hex("61c3"))]],
  ["MessageTooBig", "one frame of 9 bytes", () => [text("123456789")]],
  ["MessageTooBig", "its header alone", (role) => [header(role, "8209")]],
  ["MessageTooBig", "2^63 - 1 announced", (role) => [header(role, "827f7fffffffffffffff")]],
  ["MessageTooBig", "9 bytes in fragments", () => [text("12345678", false), continuation("9")]],
  ["TooManyFragments", "4 fragments", () => [text("1", false), ...["2", "3", "4"].map((x) => continuation(x, false))]],
  ["TooManyFragments", "4 empty ones", () => [text("", false), ...["", "", ""].map((x) => continuation(x, false))]]
]

const directed = (role: Role): Case =>
  role === "server"
    ? ["UnmaskedFrame", "an unmasked frame", (role) => [wrongWay(role)]]
    : ["MaskedFrame", "a masked frame", (role) => [wrongWay(role)]]

const expectedReason = (rule: Rule): Record<string, unknown> => {
  if (rule === "InvalidUtf8") return { _tag: "InvalidUtf8" }
  if (rule === "MessageTooBig") return { _tag: rule, limit: limits.maxMessageSize }
  if (rule === "TooManyFragments") return { _tag: rule, limit: limits.maxFragments }
  const { closeCode, section } = ProtocolError.rules[rule]
  return { _tag: "ProtocolViolation", rule, section, closeCode }
}

it("every rule of the protocol has its case", () => {
  const tested = new Set([...cases, ...roles.map(directed)].map(([rule]) => rule))
  // those about compression are in Compression.test.ts
  assert.deepStrictEqual(Object.keys(ProtocolError.rules).filter((rule) => !tested.has(rule as Rule)), [
    "CompressionRatioTooHigh",
    "CorruptDeflate"
  ])
})

describe.each(roles)("RFC 6455 section 7.1.7: a violation noticed by a %s", (role) => {
  it.effect.each([...cases, directed(role)])("%s: %s", ([rule, _, send]) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: limits })
      yield* peer.send(text("before"), ...send(role), text("behind"))
      const { closeCode, description } = ProtocolError.rules[rule]

      assert.strictEqual(yield* peer.next, `close ${closeCode} ${description}`)
      assert.strictEqual(yield* stream.read, "before")
      const reason = yield* reasonOf(Effect.forever(stream.read))
      assert.deepInclude<Record<string, unknown>>({ ...reason, _tag: reason._tag }, expectedReason(rule))
      assert.strictEqual(yield* reasonOf(Effect.forever(stream.readSome)), reason)

      const late = yield* reasonOf(stream.write("late"))
      assert.strictEqual(late._tag, "ConnectionClosed")
      assert.strictEqual(yield* peer.next, "end")
      yield* peer.end
      const status = yield* stream.closed
      assert.deepInclude({ ...status }, { code: 1006, initiator: "local", received: undefined, clean: false })
      assert.deepInclude({ ...status.sent }, { code: closeCode, reason: description })
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("the connection ends after closeTimeout where the peer does not end it", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { closeTimeout: 1000 } })
      yield* peer.send(header(role, "8f00"))
      assert.strictEqual(yield* peer.next, "close 1002 the opcode is reserved")
      yield* TestClock.adjust(999)
      yield* peer.send(text("still talking"))
      assert.strictEqual(yield* stream.state, "Closing")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closed")
      assert.deepStrictEqual(peer.seen.slice(1), ["end"])
      yield* settled
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("the connection ends after closeTimeout where the Close cannot be sent", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { closeTimeout: 1000 },
        toPeer: { capacity: 8 },
        reads: false
      })
      yield* Effect.forkChild(Effect.exit(stream.write("0123456789")), { startImmediately: true })
      yield* peer.send(header(role, "8f00"))
      assert.strictEqual((yield* reasonOf(stream.read))._tag, "ProtocolViolation")
      yield* TestClock.adjust(999)
      assert.strictEqual(yield* stream.state, "Closing")
      yield* TestClock.adjust(1)
      assert.deepInclude({ ...(yield* stream.closed) }, { code: 1006, initiator: "local", sent: undefined })
    }))

  it.effect("a violation while this side closes is told to readers, and no second Close is sent", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* Effect.forkChild(stream.close({ code: 4000 }), { startImmediately: true })
      yield* peer.send(text("a"), header(role, "8f00"), close(4000))
      assert.strictEqual(yield* stream.read, "a")
      assert.strictEqual((yield* reasonOf(stream.read))._tag, "ProtocolViolation")
      yield* peer.end
      assert.deepInclude({ ...(yield* stream.closed) }, { code: 1006, clean: false })
      yield* settled
      assert.deepStrictEqual(peer.seen, ["close 4000", "end"])
    }))

  it.effect("a violation behind the peer's Close is not looked at", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* peer.send(close(1000), header(role, "8f00"))
      yield* peer.end
      assert.isTrue((yield* stream.closed).clean)
    }))

  it.effect("the end behind it is seen, though nobody reads what came before", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { readBuffer: 1, maxMessageSize: 4, closeTimeout: "Infinity" }
      })
      yield* peer.send(text("held"), header(role, "8f00"))
      yield* settled
      yield* peer.send(text("dropped"))
      yield* settled
      yield* peer.end
      yield* stream.closed
      assert.strictEqual(yield* stream.read, "held")
    }))

  it.effect("a flood of violations behind the first costs nothing and changes nothing", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { readBuffer: 1 } })
      yield* Effect.replicateEffect(
        Effect.andThen(peer.send(header(role, "8f00"), text("x".repeat(1000)), ping()), settled),
        100
      )
      yield* peer.end
      yield* stream.closed
      assert.deepStrictEqual(peer.seen, ["close 1002 the opcode is reserved", "end"])
    }))
})

describe.each(roles)("limits of a %s", (role) => {
  it.effect("a message of maxMessageSize bytes passes, in one frame and in fragments", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: limits })
      yield* peer.send(text("12345678"), text("1234", false), ping(), continuation("5678"), binary(new Uint8Array(8)))
      assert.strictEqual(yield* stream.read, "12345678")
      assert.strictEqual(yield* stream.read, "12345678")
      assert.deepStrictEqual(yield* stream.read, new Uint8Array(8))
    }))

  it.effect("a message in maxFragments fragments passes, again and again", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: limits })
      const message = [text("1", false), continuation("", false), ping(), continuation("3")]
      yield* peer.send(...message, ...message)
      assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["13", "13"])
    }))

  it.effect.each([0, 1, 1.5])(
    "a message over a limit of %d bytes is refused with that limit",
    (limit) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { config: { maxMessageSize: limit } })
        yield* peer.send(text(""), text("12"))
        assert.strictEqual(yield* stream.read, "")
        assert.deepInclude({ ...(yield* reasonOf(stream.read)) }, { limit })
      })
  )

  it.effect("no limit refuses no length that is one", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { maxMessageSize: Infinity, maxFragments: Infinity }
      })
      yield* peer.send(text("x".repeat(30_000)), header(role, "827f7fffffffffffffff"))
      assert.strictEqual(yield* stream.read, "x".repeat(30_000))
      assert.strictEqual((yield* reasonOf(stream.read))._tag, "MessageTooBig")
    }))
})
