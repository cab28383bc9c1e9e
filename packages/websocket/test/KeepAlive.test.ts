import { assert, describe, it } from "@effect/vitest"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { close, encode, ping, pong, reasonOf, roles, settled, text } = Scripted

const every = (interval: number, misses: number): WebSocketConfig.Options => ({
  keepAlive: { interval, misses },
  idleTimeout: "Infinity"
})

const pings = (seen: ReadonlyArray<string>) => seen.filter((line) => line.startsWith("ping")).length

describe.each(roles)("keepAlive of a %s", (role) => {
  it.effect("sends a ping every interval, each with a payload of its own", () =>
    Effect.gen(function*() {
      const { peer } = yield* Scripted.connect(role, { config: every(1000, 10) })
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(peer.seen, [])
      for (let n = 1; n <= 5; n++) {
        yield* TestClock.adjust(n === 1 ? 1 : 1000)
        yield* settled
        assert.strictEqual(peer.seen.length, n)
      }
      assert.strictEqual(new Set(peer.seen).size, 5)
    }))

  it.effect.each([1, 2, 3])(
    "fails the connection when %d pings in a row are missed, and not before",
    (misses) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* Scripted.connect(role, { config: every(1000, misses) })
        const reading = yield* Effect.forkChild(reasonOf(stream.read))
        yield* TestClock.adjust(1000 * (misses + 1) - 1)
        assert.isUndefined(reading.pollUnsafe())
        assert.strictEqual(pings(peer.seen), misses)
        yield* TestClock.adjust(1)
        const reason = yield* Fiber.join(reading)
        assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "KeepAliveTimeout", misses })
        yield* settled
        assert.deepStrictEqual(peer.seen.slice(misses), ["close 1011 keep-alive timeout", "end"])
        yield* peer.end
        yield* stream.closed
        assert.strictEqual(yield* Scripted.deadlines, 0)
      })
  )

  const partial = encode(role === "client" ? "server" : "client", text("hello")).subarray(0, 1)
  it.effect.each(
    [
      ["its pong", undefined],
      ["another pong", pong("unasked")],
      ["a ping", ping()],
      ["a message", text("x")],
      ["the first byte of a frame", partial]
    ] as const
  )("%s is a sign of life, and counting begins anew", ([what, frame]) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: every(1000, 2) })
      yield* TestClock.adjust(2500)
      const sent = (yield* peer.take(2)).at(-1)!
      yield* peer.send(frame ?? pong(sent.slice("ping ".length)))
      yield* TestClock.adjust(2000)
      assert.strictEqual(yield* stream.state, "Open", what)
      // pings of 3000 and 4000 stay unanswered
      yield* TestClock.adjust(499)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closing")
    }))

  it.effect("a peer that talks and never answers is alive, and its pings do not pile up", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: every(1000, 1) })
      for (let n = 0; n < 100; n++) {
        yield* TestClock.adjust(1000)
        yield* peer.send(text(""))
        yield* settled
      }
      assert.strictEqual(yield* stream.state, "Open")
      assert.strictEqual(peer.seen.length, 100)
      // a ping of the application still has its own answer
      const pinging = yield* Effect.forkChild(stream.ping(Scripted.bytes("mine")), { startImmediately: true })
      yield* settled
      yield* peer.send(pong("mine"))
      yield* Fiber.join(pinging)
    }))

  it.effect("a peer that does not read is missed too, and waits for one ping only", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { ...every(1000, 3), fragmentSize: 0 },
        toPeer: { capacity: 20 },
        reads: false
      })
      yield* Effect.forkChild(Effect.exit(stream.write("x".repeat(50))), { startImmediately: true })
      yield* TestClock.adjust(3999)
      assert.strictEqual(yield* stream.state, "Open")
      yield* peer.read()
      yield* settled
      assert.strictEqual(pings(peer.seen), 1)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* reasonOf(stream.read))._tag, "KeepAliveTimeout")
    }))

  it.effect("time in which the transport is not read, because nobody reads, is not missed", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { ...every(1000, 1), readBuffer: 1 } })
      yield* peer.send(text("a"), text("b"))
      yield* settled
      yield* TestClock.adjust(10_000)
      assert.strictEqual(yield* stream.state, "Open")
      assert.strictEqual(pings(peer.seen), 10)
      assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["a", "b"])
      yield* settled
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* stream.state, "Closing")
    }))

  it.effect(`is ${role === "server" ? "every 30 seconds with 2 misses" : "off"} by default`, () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* TestClock.adjust(89_999)
      yield* settled
      assert.strictEqual(pings(peer.seen), role === "server" ? 2 : 0)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, role === "server" ? "Closing" : "Open")
    }))

  it.effect("stops with the closing handshake", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { ...every(100, 1), closeTimeout: 1000 } })
      const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
      yield* TestClock.adjust(500)
      yield* peer.send(close(1000))
      yield* peer.end
      assert.isTrue((yield* Fiber.join(closing)).clean)
      yield* settled
      assert.deepStrictEqual(peer.seen, ["close 1000", "end"])
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("the time to its pong is counted in websocket_ping_round_trip", () =>
    Effect.gen(function*() {
      const timer = Metric.withAttributes(WebSocketMetrics.pingRoundTrip, { role })
      const before = yield* Metric.value(timer)
      const { peer } = yield* Scripted.connect(role, { config: every(1000, 2) })
      yield* TestClock.adjust(1000)
      const sent = yield* peer.next
      yield* TestClock.adjust(250)
      yield* peer.send(pong(sent.slice("ping ".length)))
      yield* settled
      const after = yield* Metric.value(timer)
      assert.strictEqual(after.count - before.count, 1)
      assert.strictEqual(after.sum - before.sum, 250)
    }))

  it.effect.each([0, -1, 0.5])("misses of %d are one", (misses) =>
    Effect.gen(function*() {
      const { stream } = yield* Scripted.connect(role, { config: every(1000, misses) })
      yield* TestClock.adjust(1999)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closing")
    }))
})
