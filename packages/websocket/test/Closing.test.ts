import { assert, describe, it } from "@effect/vitest"
import type { CloseStatus, ReadError, WriteError } from "effect-websocket/WebSocketError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { binary, close, continuation, ping, pong, reasonOf, roles, settled, text } = Scripted

const plain = ({ clean, code, initiator, reason, received, sent }: CloseStatus) => ({
  clean,
  code,
  initiator,
  reason,
  received: received && { ...received },
  sent: sent && { ...sent }
})

type Connected = Effect.Success<ReturnType<typeof Scripted.connect>>

/** The stream ends its side when the peer has, so that both ends are seen whichever role begins. */
const endsAfter = Effect.fnUntraced(function*({ peer }: Connected) {
  yield* peer.end
  assert.strictEqual(yield* peer.next, "end")
})

/** A capacity of the stream's way out that a Close frame does not fit into any more. */
const fillTransport = Effect.fnUntraced(function*({ stream }: Connected) {
  return yield* Effect.forkChild(Effect.exit(stream.write(new Uint8Array(100))), { startImmediately: true })
})

const full: Scripted.Options = { toPeer: { capacity: 300 }, reads: false, config: { fragmentSize: 0 } }

const readClosed = Effect.fnUntraced(function*({ stream }: Connected) {
  const reason = yield* reasonOf(stream.read)
  assert.strictEqual(reason._tag, "ConnectionClosed")
  return reason._tag === "ConnectionClosed" ? plain(reason.status) : undefined
})

describe.each(roles)("Closing as %s", (role) => {
  describe("RFC 6455 section 7.1.2: this side begins", () => {
    it.effect("sends its frame, waits for the peer's and then for the end", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close({ code: 4001, reason: "enough" }))
        assert.strictEqual(yield* peer.next, "close 4001 enough")
        assert.strictEqual(yield* stream.state, "Closing")
        yield* peer.send(close(4001, "as you like"))
        yield* endsAfter(connected)
        const status = yield* Fiber.join(closing)
        assert.deepStrictEqual(plain(status), {
          code: 4001,
          reason: "as you like",
          initiator: "local",
          sent: { code: 4001, reason: "enough" },
          received: { code: 4001, reason: "as you like" },
          clean: true
        })
        assert.strictEqual(yield* stream.state, "Closed")
        assert.deepStrictEqual(yield* stream.closed, status)
        assert.deepStrictEqual(yield* readClosed(connected), plain(status))
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect.each(
      [
        [undefined, "close 1000"],
        [{}, "close 1000"],
        [{ reason: "bye" }, "close 1000 bye"],
        [{ code: 1001 }, "close 1001"],
        [{ code: 3000, reason: "é" }, "close 3000 é"],
        [{ code: "none" }, "close"]
      ] as const
    )("close(%j) sends %s", ([options, line]) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        yield* Effect.forkChild(options === undefined ? stream.close() : stream.close(options))
        assert.strictEqual(yield* peer.next, line)
      }))

    it.effect.each(
      [
        { code: 0 },
        { code: 999 },
        { code: 1004 },
        { code: 1005 },
        { code: 1006 },
        { code: 1015 },
        { code: 2999 },
        { code: 5000 },
        { code: 1000.5 },
        { reason: "x".repeat(124) },
        { reason: "é".repeat(62) },
        { reason: "\ud800" },
        { code: "none", reason: "why" }
      ] as const
    )("close(%j) fails with InvalidPayload and leaves the connection open", (options) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        assert.strictEqual((yield* reasonOf(stream.close(options)))._tag, "InvalidPayload")
        assert.strictEqual(yield* stream.state, "Open")
        yield* stream.write("still here")
        assert.strictEqual(yield* peer.next, "text still here")
      }))

    it.effect("a reason of 123 bytes is sent", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        yield* Effect.forkChild(stream.close({ reason: "x".repeat(123) }))
        assert.strictEqual(yield* peer.next, `close 1000 ${"x".repeat(123)}`)
      }))

    it.effect("what the peer still sends is delivered, and not what comes behind its Close", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close())
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* peer.send(text("a"), text("b", false), ping("unanswered"), continuation("c"))
        yield* peer.send(close(1000), text("too late"), close(1001))
        assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["a", "bc"])
        assert.strictEqual((yield* readClosed(connected))?.code, 1000)
        yield* endsAfter(connected)
        assert.isTrue((yield* Fiber.join(closing)).clean)
        assert.deepStrictEqual(peer.seen, ["close 1000", "end"])
      }))

    it.effect("closing again, and from many fibers, waits for the same end", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const closings = yield* Effect.forEach(
          [1000, 1001, 4000],
          (code) => Effect.forkChild(stream.close({ code }), { startImmediately: true })
        )
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* peer.send(close(1000))
        yield* endsAfter(connected)
        const statuses = yield* Fiber.joinAll(closings)
        assert.isTrue(statuses.every((status) => status === statuses[0]))
        assert.strictEqual(yield* stream.close(), statuses[0])
        assert.strictEqual(yield* stream.closed, statuses[0])
      }))

    it.effect("an interrupted close goes on", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close({ code: 4000 }), { startImmediately: true })
        yield* Fiber.interrupt(closing)
        assert.strictEqual(yield* peer.next, "close 4000")
        yield* peer.send(close(4000))
        yield* endsAfter(connected)
        assert.isTrue((yield* stream.closed).clean)
      }))

    it.effect("a peer that stays silent is left after closeTimeout, and not before", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { closeTimeout: "3 seconds" } })
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close())
        const reading = yield* Effect.forkChild(readClosed(connected))
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* TestClock.adjust(2999)
        assert.isUndefined(closing.pollUnsafe())
        assert.isUndefined(reading.pollUnsafe())
        yield* TestClock.adjust(1)
        const status = plain(yield* Fiber.join(closing))
        assert.deepStrictEqual(status, {
          code: 1006,
          reason: "",
          initiator: "local",
          sent: { code: 1000, reason: "" },
          received: undefined,
          clean: false
        })
        assert.deepStrictEqual(yield* Fiber.join(reading), status)
        assert.strictEqual(yield* peer.next, "reset")
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("a peer that goes on sending is left after closeTimeout all the same", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { config: { closeTimeout: "3 seconds" } })
        const closing = yield* Effect.forkChild(stream.close())
        yield* Effect.replicateEffect(Effect.andThen(TestClock.adjust(500), peer.send(ping(), text("x"))), 5)
        yield* TestClock.adjust(499)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(closing)).code, 1006)
      }))
  })

  describe("RFC 6455 section 5.5.1: the peer begins", () => {
    it.effect.each(
      [
        [close(1000, "done"), "close 1000", { code: 1000, reason: "done" }],
        [close(1001), "close 1001", { code: 1001, reason: "" }],
        [close(1014), "close 1014", { code: 1014, reason: "" }],
        [close(4999, "mine"), "close 4999", { code: 4999, reason: "mine" }],
        [close(), "close", { code: undefined, reason: "" }]
      ] as const
    )(
      "%# its Close is answered with its own code, an empty one with an empty one",
      ([frame, answer, received]) =>
        Effect.gen(function*() {
          const connected = yield* Scripted.connect(role)
          const { peer, stream } = connected
          yield* peer.send(frame)
          assert.strictEqual(yield* peer.next, answer)
          yield* endsAfter(connected)
          assert.deepStrictEqual(plain(yield* stream.closed), {
            code: received.code ?? 1005,
            reason: received.reason,
            initiator: "peer",
            sent: { code: received.code, reason: "" },
            received,
            clean: true
          })
          assert.strictEqual(yield* Scripted.deadlines, 0)
        })
    )

    it.effect("what it sent before is delivered, and every later read and write fails with the same status", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        yield* peer.send(text("a"), binary(Uint8Array.of(1)), text("unfinished", false), close(4000, "x"), text("b"))
        assert.strictEqual(yield* peer.next, "close 4000")
        yield* endsAfter(connected)
        const status = yield* stream.closed
        assert.strictEqual(yield* stream.read, "a")
        assert.deepStrictEqual(yield* stream.read, Uint8Array.of(1))
        assert.deepStrictEqual(yield* stream.readSome, { type: "text", data: "unfinished", fin: false })
        const attempts: ReadonlyArray<Effect.Effect<unknown, ReadError | WriteError>> = [
          stream.read,
          stream.readSome,
          stream.pull,
          Stream.runDrain(stream.messages),
          stream.write("x"),
          stream.writeSome(true, "x"),
          stream.writeAll(["x"]),
          Effect.scoped(stream.message("text")),
          stream.ping(),
          stream.pong()
        ]
        for (const attempt of attempts) {
          const reason = yield* reasonOf(attempt)
          assert.strictEqual(reason._tag === "ConnectionClosed" ? reason.status : undefined, status)
        }
      }))

    it.effect("a read that waits fails as soon as the Close has been answered, before the transport ends", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const reading = yield* Effect.forkChild(readClosed(connected))
        yield* connected.peer.send(close(1001, "bye"))
        assert.strictEqual((yield* Fiber.join(reading))?.code, 1001)
        assert.strictEqual(yield* connected.stream.state, "Closing")
      }))

    it.effect("its Close and its end in one go are answered", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        yield* peer.send(text("last"), close(1000))
        yield* peer.end
        assert.deepStrictEqual(yield* peer.take(2), ["close 1000", "end"])
        assert.isTrue((yield* stream.closed).clean)
        assert.strictEqual(yield* stream.read, "last")
      }))

    it.effect("its Close and its end are answered once the transport has room", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, full)
        const { peer, stream } = connected
        yield* Effect.replicateEffect(fillTransport(connected), 3)
        yield* settled
        yield* peer.send(close(4000))
        yield* peer.end
        yield* settled
        assert.strictEqual(yield* stream.state, "Closing")
        yield* peer.read()
        yield* settled
        assert.deepStrictEqual(peer.seen.slice(-2), ["close 4000", "end"])
        assert.deepInclude(plain(yield* stream.closed), { initiator: "peer", clean: true })
      }))
  })

  describe("both at once", () => {
    it.effect("two Close frames that cross are each the other's answer", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close({ code: 4001 }), { startImmediately: true })
        yield* peer.send(close(4002, "me first"))
        assert.strictEqual(yield* peer.next, "close 4001")
        yield* endsAfter(connected)
        assert.deepInclude(plain(yield* Fiber.join(closing)), {
          code: 4002,
          initiator: "local",
          sent: { code: 4001, reason: "" },
          clean: true
        })
        assert.deepStrictEqual(peer.seen, ["close 4001", "end"])
      }))

    it.effect("a Close that waits for the transport goes out as it is, and the peer's came first", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, full)
        const { peer, stream } = connected
        yield* Effect.replicateEffect(fillTransport(connected), 3)
        const closing = yield* Effect.forkChild(stream.close({ code: 4001 }), { startImmediately: true })
        yield* peer.send(close(4002))
        yield* settled
        yield* peer.read()
        yield* peer.end
        assert.deepInclude(plain(yield* Fiber.join(closing)), {
          initiator: "peer",
          sent: { code: 4001, reason: "" },
          received: { code: 4002, reason: "" },
          clean: true
        })
        yield* settled
        assert.deepStrictEqual(peer.seen.slice(-2), ["close 4001", "end"])
      }))
  })

  describe("RFC 6455 section 7.1.1: the end of the transport", () => {
    it.effect(
      role === "server"
        ? "the server ends its side first and waits for the client, at most closeTimeout"
        : "the client waits for the server to end its side, at most closeTimeout",
      () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* Scripted.connect(role, { config: { closeTimeout: "2 seconds" } })
          yield* peer.send(close(1000))
          assert.strictEqual(yield* peer.next, "close 1000")
          yield* settled
          assert.deepStrictEqual(peer.seen, role === "server" ? ["close 1000", "end"] : ["close 1000"])
          yield* TestClock.adjust(1999)
          assert.strictEqual(yield* stream.state, "Closing")
          yield* TestClock.adjust(1)
          assert.strictEqual(yield* stream.state, "Closed")
          assert.isTrue((yield* stream.closed).clean)
          assert.strictEqual(yield* Scripted.deadlines, 0)
        })
    )

    it.effect("each wait has its own time: for the Close frame, then for the end", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { config: { closeTimeout: "2 seconds" } })
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* TestClock.adjust(1999)
        yield* peer.send(close(1000))
        yield* TestClock.adjust(1999)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isTrue((yield* Fiber.join(closing)).clean)
      }))

    it.effect("an infinite closeTimeout waits for ever", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { closeTimeout: "Infinity" } })
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* TestClock.adjust("365 days")
        yield* peer.send(close(1000))
        yield* TestClock.adjust("365 days")
        assert.isUndefined(closing.pollUnsafe())
        yield* peer.end
        assert.isTrue((yield* Fiber.join(closing)).clean)
      }))
  })

  describe("the transport ends without a Close frame", () => {
    it.effect("the peer's end is 1006, after what it sent", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        yield* peer.send(text("last"), text("half", false))
        yield* peer.end
        const status = plain(yield* stream.closed)
        assert.deepStrictEqual(status, {
          code: 1006,
          reason: "",
          initiator: "transport",
          sent: undefined,
          received: undefined,
          clean: false
        })
        assert.strictEqual(yield* stream.read, "last")
        assert.deepStrictEqual(yield* readClosed(connected), status)
        assert.strictEqual((yield* reasonOf(stream.write("x")))._tag, "ConnectionClosed")
        assert.strictEqual(yield* peer.next, "end")
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("the peer's end while its Close is awaited is 1006 of this side's making", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* peer.end
        assert.deepInclude(plain(yield* Fiber.join(closing)), { code: 1006, initiator: "local", clean: false })
      }))

    it.effect("a reset is TransportFailed to every later read and write, and 1006 in the status", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        const reading = yield* Effect.forkChild(reasonOf(stream.read))
        yield* settled
        yield* peer.destroy
        const first = yield* Fiber.join(reading)
        assert.strictEqual(first._tag, "TransportFailed")
        assert.strictEqual(yield* reasonOf(stream.readSome), first)
        assert.strictEqual(yield* reasonOf(stream.write("x")), first)
        assert.strictEqual(yield* reasonOf(stream.ping()), first)
        assert.deepInclude(plain(yield* stream.closed), { code: 1006, initiator: "transport", clean: false })
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("a reset behind the peer's Close changes nothing", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        yield* connected.peer.send(close(4000))
        assert.strictEqual(yield* connected.peer.next, "close 4000")
        yield* connected.peer.destroy
        assert.deepInclude(plain(yield* connected.stream.closed), { code: 4000, clean: true })
        assert.strictEqual((yield* readClosed(connected))?.code, 4000)
      }))

    it.effect("a write that fails loses nothing of what the peer has sent, its Close included", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        yield* peer.send(text("last words"), close(4000, "gone"))
        yield* peer.leave
        assert.strictEqual((yield* reasonOf(stream.write("x")))._tag, "TransportFailed")
        assert.strictEqual(yield* stream.read, "last words")
        assert.deepInclude(yield* readClosed(connected), {
          code: 4000,
          initiator: "peer",
          sent: undefined,
          clean: false
        })
        assert.strictEqual((yield* reasonOf(stream.write("x")))._tag, "ConnectionClosed")
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("a write that fails without more from the peer is the cause to all", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role)
        yield* peer.send(text("last words"))
        yield* peer.leave
        const first = yield* reasonOf(stream.write("x"))
        assert.strictEqual(first._tag, "TransportFailed")
        assert.strictEqual(yield* stream.read, "last words")
        assert.strictEqual(yield* reasonOf(stream.read), first)
        assert.strictEqual(yield* reasonOf(stream.write("x")), first)
        assert.deepInclude(plain(yield* stream.closed), { code: 1006, initiator: "transport", clean: false })
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("a peer that has left before it is answered has closed all the same", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { closeTimeout: "Infinity" } })
        yield* connected.peer.send(close(4000))
        yield* connected.peer.leave
        assert.deepInclude(yield* readClosed(connected), {
          code: 4000,
          initiator: "peer",
          sent: undefined,
          clean: false
        })
        assert.deepInclude(plain(yield* connected.stream.closed), { code: 4000 })
      }))
  })

  describe("a transport that is full", () => {
    it.effect("a Close goes after the fragment in progress and ahead of all that waits", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, {
          toPeer: { capacity: 8 },
          config: { fragmentSize: 10 },
          reads: false
        })
        const { peer, stream } = connected
        const long = yield* Effect.forkChild(reasonOf(stream.write("0123456789abcdefghij")), { startImmediately: true })
        const next = yield* Effect.forkChild(reasonOf(stream.write("next")), { startImmediately: true })
        const pinging = yield* Effect.forkChild(reasonOf(stream.ping()), { startImmediately: true })
        const ponging = yield* Effect.forkChild(reasonOf(stream.pong()), { startImmediately: true })
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        const fibers: ReadonlyArray<Fiber.Fiber<{ readonly _tag: string }, unknown>> = [long, next, pinging, ponging]
        for (const fiber of fibers) {
          assert.strictEqual((yield* Fiber.join(fiber))._tag, "ConnectionClosed")
        }
        yield* peer.read()
        assert.deepStrictEqual(yield* peer.take(2), ["text- 0123456789", "close 1000"])
        yield* peer.send(close(1000))
        yield* endsAfter(connected)
        assert.isTrue((yield* Fiber.join(closing)).clean)
      }))

    it.effect("a message whose last frame is on its way is sent whole", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { toPeer: { capacity: 8 }, reads: false })
        const writing = yield* Effect.forkChild(stream.write("0123456789"), { startImmediately: true })
        yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* peer.read()
        assert.deepStrictEqual(yield* peer.take(2), ["text 0123456789", "close 1000"])
        assert.strictEqual(yield* Fiber.join(writing), 10)
      }))

    it.effect("closing ends after closeTimeout where the peer does not read", () =>
      Effect.gen(function*() {
        const { stream } = yield* Scripted.connect(role, { toPeer: { capacity: 8 }, reads: false })
        const writing = yield* Effect.forkChild(reasonOf(stream.write("0123456789")), { startImmediately: true })
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* TestClock.adjust(4999)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepInclude(plain(yield* Fiber.join(closing)), {
          code: 1006,
          initiator: "local",
          sent: undefined,
          clean: false
        })
        assert.strictEqual((yield* Fiber.join(writing))._tag, "ConnectionClosed")
        assert.strictEqual(yield* Scripted.deadlines, 0)
      }))

    it.effect("an answer that cannot be sent ends after closeTimeout, with the peer's code", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { toPeer: { capacity: 8 }, reads: false })
        yield* Effect.forkChild(Effect.exit(stream.write("0123456789")), { startImmediately: true })
        yield* peer.send(close(4000))
        yield* TestClock.adjust(4999)
        assert.strictEqual(yield* stream.state, "Closing")
        yield* TestClock.adjust(1)
        assert.deepInclude(plain(yield* stream.closed), {
          code: 4000,
          initiator: "peer",
          sent: undefined,
          clean: false
        })
      }))

    it.effect("a writer that it fails may read at once what came with it", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, {
          toPeer: { capacity: 8 },
          reads: false,
          config: { fragmentSize: 8 }
        })
        const read = Effect.catch(stream.write("0123456789"), () => stream.read)
        const reading = yield* Effect.forkChild(read, { startImmediately: true })
        yield* peer.send(binary(Uint8Array.of(1, 2, 3)), binary(Uint8Array.of(4)), close(4000))
        assert.deepStrictEqual(yield* Fiber.join(reading), Uint8Array.of(1, 2, 3))
        assert.deepStrictEqual(yield* stream.read, Uint8Array.of(4))
        yield* TestClock.adjust(5000)
        assert.strictEqual((yield* stream.closed).code, 4000)
      }))
  })

  describe("an inbox that nobody reads", () => {
    it.effect("the peer's Close behind it is found once this side closes", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { readBuffer: 4 } })
        const { peer, stream } = connected
        yield* peer.send(text("12345"))
        yield* settled
        yield* peer.send(text("6789"), close(4000))
        yield* settled
        assert.strictEqual(yield* stream.state, "Open")
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* endsAfter(connected)
        assert.deepInclude(plain(yield* Fiber.join(closing)), { code: 4000, clean: true })
        assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["12345", "6789"])
        yield* readClosed(connected)
      }))

    it.effect("closing takes no more than maxMessageSize meanwhile, and ends after closeTimeout", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { readBuffer: 4, maxMessageSize: 8 } })
        const { peer, stream } = connected
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        yield* Effect.replicateEffect(Effect.andThen(peer.send(text("12345678")), settled), 3)
        yield* peer.send(close(1000))
        yield* TestClock.adjust(5000)
        assert.strictEqual((yield* Fiber.join(closing)).code, 1006)
        assert.strictEqual(yield* stream.read, "12345678")
        yield* readClosed(connected)
      }))

    it.effect("leaving the scope does not wait for a reader", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role, { config: { readBuffer: 4, maxMessageSize: 8 } })
        const { peer, scope } = connected
        yield* Effect.replicateEffect(Effect.andThen(peer.send(text("12345678")), settled), 3)
        const leaving = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* peer.send(text("12345678"), close(1000))
        yield* endsAfter(connected)
        yield* Fiber.join(leaving)
      }))
  })

  describe("leaving the scope", () => {
    it.effect.each(
      [
        ["success", Exit.void, "close 1000"],
        ["a failure", Exit.fail("oops"), "close 1011"],
        ["a defect", Exit.die("oops"), "close 1011"],
        ["an interruption", Exit.failCause(Cause.interrupt()), "close 1001"]
      ] as const
    )("after %s closes", ([_, exit, line]) =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, scope, stream } = connected
        const leaving = yield* Effect.forkChild(Scope.close(scope, exit))
        assert.strictEqual(yield* peer.next, line)
        yield* peer.send(text("nobody reads this"), close(1000))
        yield* endsAfter(connected)
        yield* Fiber.join(leaving)
        assert.strictEqual(yield* stream.state, "Closed")
        assert.strictEqual((yield* stream.closed).initiator, "local")
      }))

    it.effect("is over after two closeTimeouts at the latest", () =>
      Effect.gen(function*() {
        const { peer, scope } = yield* Scripted.connect(role, { config: { closeTimeout: 1000 } })
        const leaving = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* TestClock.adjust(999)
        yield* peer.send(close(1000))
        yield* TestClock.adjust(999)
        assert.isUndefined(leaving.pollUnsafe())
        yield* TestClock.adjust(1)
        yield* Fiber.join(leaving)
      }))

    it.effect("is over at once after the end", () =>
      Effect.gen(function*() {
        const { peer, scope, stream } = yield* Scripted.connect(role)
        yield* peer.end
        yield* stream.closed
        yield* Scope.close(scope, Exit.fail("too late"))
        yield* settled
        assert.deepStrictEqual(peer.seen, ["end"])
      }))

    it.effect("gives its code also where a reader's failure leaves it", () =>
      Effect.gen(function*() {
        const { peer, scope, stream } = yield* Scripted.connect(role)
        yield* stream.read.pipe(Effect.onExit((exit) => Scope.close(scope, exit)), Effect.forkChild)
        yield* settled
        yield* peer.send(Scripted.hex("8f00"))
        assert.strictEqual(yield* peer.next, "close 1002 the opcode is reserved")
      }))
  })

  describe("meanwhile", () => {
    it.effect("a message that was begun and not ended closes with 1001, after a failure with 1011", () =>
      Effect.gen(function*() {
        for (const [exit, line] of [[Exit.void, "close 1001"], [Exit.fail("x"), "close 1011"]] as const) {
          const { peer, stream } = yield* Scripted.connect(role)
          const scope = yield* Scope.make()
          const writer = yield* Scope.provide(stream.message("text"), scope)
          yield* writer.write("half")
          yield* Scope.close(scope, exit)
          assert.deepStrictEqual(yield* peer.take(2), ["text- half", `${line} a message was left unfinished`])
          assert.strictEqual((yield* reasonOf(writer.finish()))._tag, "ConnectionClosed")
        }
      }))

    it.effect("closing with a message open sends the Close, and the message stays unfinished", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const writer = yield* stream.message("text")
        yield* writer.write("half")
        const waiting = yield* Effect.forkChild(reasonOf(stream.write("next")), { startImmediately: true })
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        assert.deepStrictEqual(yield* peer.take(2), ["text- half", "close 1000"])
        assert.strictEqual((yield* reasonOf(writer.write("more")))._tag, "ConnectionClosed")
        yield* peer.send(close(1000))
        yield* endsAfter(connected)
        assert.isTrue((yield* Fiber.join(closing)).clean)
        assert.strictEqual((yield* Fiber.join(waiting))._tag, "ConnectionClosed")
      }))

    it.effect("a ping that waits for its pong fails with the end, and is answered before it", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const [first, second] = [
          yield* Effect.forkChild(stream.ping(Scripted.bytes("1")), { startImmediately: true }),
          yield* Effect.forkChild(reasonOf(stream.ping(Scripted.bytes("2"))), { startImmediately: true })
        ]
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        assert.deepStrictEqual(yield* peer.take(3), ["ping 1", "ping 2", "close 1000"])
        yield* peer.send(pong("1"), close(1000))
        yield* Fiber.join(first)
        assert.strictEqual((yield* Fiber.join(second))._tag, "ConnectionClosed")
        yield* endsAfter(connected)
        yield* Fiber.join(closing)
      }))

    it.effect("writes, pings and closes from fibers at once end alike", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const write = yield* Effect.forkChild(stream.write("first"), { startImmediately: true })
        const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
        const late = yield* Effect.forkChild(reasonOf(stream.write("late")), { startImmediately: true })
        const latePing = yield* Effect.forkChild(reasonOf(stream.ping()), { startImmediately: true })
        assert.strictEqual(yield* Fiber.join(write), 5)
        assert.strictEqual((yield* Fiber.join(late))._tag, "ConnectionClosed")
        assert.strictEqual((yield* Fiber.join(latePing))._tag, "ConnectionClosed")
        yield* peer.send(close(1000))
        assert.deepStrictEqual(yield* peer.take(2), ["text first", "close 1000"])
        yield* endsAfter(connected)
        assert.isTrue((yield* Fiber.join(closing)).clean)
      }))
  })

  describe("watching", () => {
    it.effect("stateChanges begins with the state now and ends with Closed", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const watching = yield* Effect.forkChild(Stream.runCollect(stream.stateChanges), { startImmediately: true })
        yield* peer.send(close(1000))
        assert.strictEqual(yield* peer.next, "close 1000")
        const late = yield* Effect.forkChild(Stream.runCollect(stream.stateChanges), { startImmediately: true })
        yield* endsAfter(connected)
        assert.deepStrictEqual(Array.from(yield* Fiber.join(watching)), ["Open", "Closing", "Closed"])
        assert.deepStrictEqual(Array.from(yield* Fiber.join(late)), ["Closing", "Closed"])
        assert.deepStrictEqual(Array.from(yield* Stream.runCollect(stream.stateChanges)), ["Closed"])
      }))

    it.effect("controlFrames shows the peer's Close and ends with the connection", () =>
      Effect.gen(function*() {
        const connected = yield* Scripted.connect(role)
        const { peer, stream } = connected
        const watching = yield* Effect.forkChild(Stream.runCollect(stream.controlFrames), { startImmediately: true })
        yield* settled
        yield* peer.send(close(4000, "bye"))
        assert.strictEqual(yield* peer.next, "close 4000")
        yield* endsAfter(connected)
        assert.deepStrictEqual(Array.from(yield* Fiber.join(watching)), [{ _tag: "Close", code: 4000, reason: "bye" }])
        assert.deepStrictEqual(Array.from(yield* Stream.runCollect(stream.controlFrames)), [])
      }))
  })
})
