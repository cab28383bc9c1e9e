import { assert, describe, it } from "@effect/vitest"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import type { ControlFrame } from "effect-websocket/WebSocketStream"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  binary,
  connected,
  pattern,
  ping,
  pong,
  reasonOf,
  roles,
  scripted,
  settle,
  text,
  utf8,
  type Wire
} from "./fixtures/streams.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const close: Wire = { opcode: 8, fin: true, payload: Uint8Array.of(0x03, 0xe8, 0x62) }

for (const role of roles) {
  describe(`as ${role}`, () => {
    describe("RFC 6455 section 5.5.2: ping", () => {
      it.effect("returns the time until its pong, of each ping its own", () =>
        Effect.gen(function*() {
          const { of } = yield* connected({
            transport: { clientToServer: { latency: "20 millis" }, serverToClient: { latency: "5 millis" } }
          })
          const first = yield* fork(of(role).ping(utf8("a")))
          yield* TestClock.adjust("10 millis")
          const second = yield* fork(of(role).ping(utf8("b")))
          yield* TestClock.adjust("25 millis")
          assert.strictEqual(Duration.toMillis(yield* Fiber.join(first)), 25)
          assert.strictEqual(Duration.toMillis(yield* Fiber.join(second)), 25)
        }))

      it.effect("an answer to a later ping answers those before it", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const pings = yield* Effect.forEach(["a", "b", "c", "d"], (payload) => fork(stream.ping(utf8(payload))))
          yield* peer.expect(4)
          yield* peer.send(pong("c"))
          yield* Fiber.joinAll(pings.slice(0, 3))
          yield* settle
          assert.isUndefined(pings[3]!.pollUnsafe())
          yield* peer.send(pong("d"))
          yield* Fiber.join(pings[3]!)
        }))

      it.effect("of pings with one payload none waits for ever", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const pings = yield* Effect.forEach(["a", "a"], (payload) => fork(stream.ping(utf8(payload))))
          yield* peer.expect(2)
          yield* peer.send(pong("a"))
          yield* Fiber.joinAll(pings)
        }))

      it.effect("interrupted while it waits for its turn, it is not sent", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 300 } })
          const writing = yield* fork(stream.write(pattern(400)))
          const pinging = yield* fork(stream.ping(utf8("never")))
          const ponging = yield* fork(stream.pong(utf8("never")))
          yield* Fiber.interruptAll([pinging, ponging])
          yield* fork(stream.pong(utf8("after")))
          assert.deepStrictEqual(yield* peer.expect(2), [binary(pattern(400)), pong("after")])
          yield* Fiber.join(writing)
        }))

      it.effect("interrupted while it waits for its answer, it leaves nothing behind", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const pinging = yield* fork(stream.ping(utf8("a")))
          yield* Fiber.interrupt(pinging)
          const other = yield* fork(stream.ping(utf8("b")))
          yield* peer.expect(2)
          yield* peer.send(pong("a"))
          yield* settle
          assert.isUndefined(other.pollUnsafe())
          yield* peer.send(pong("b"))
          yield* Fiber.join(other)
        }))

      it.effect("interrupted, it is not counted among the round trips", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const timer = Metric.withAttributes(WebSocketMetrics.pingRoundTrip, { role })
          const roundTrips = Effect.map(Metric.value(timer), ({ count }) => count)
          const before = yield* roundTrips
          yield* Effect.flatMap(fork(stream.ping()), Fiber.interrupt)
          const answered = yield* fork(stream.ping(utf8("b")))
          yield* peer.send(pong("b"))
          yield* Fiber.join(answered)
          assert.strictEqual(yield* roundTrips, before + 1)
        }))

      it.effect("its time begins when the transport has accepted it, not when it was asked for", () =>
        Effect.gen(function*() {
          const { of } = yield* connected({ transport: { capacity: 300, bandwidth: 10_000 } })
          yield* fork(of(role).write(pattern(20_000)))
          const pinging = yield* fork(Effect.all([of(role).ping(), Clock.currentTimeMillis]))
          const start = yield* Clock.currentTimeMillis
          yield* TestClock.adjust("10 seconds")
          const [roundTrip, end] = yield* Fiber.join(pinging)
          assert.isAtLeast(end - start, 1900)
          assert.isAtMost(Duration.toMillis(roundTrip), 100)
        }))

      it.effect("is not answered by a pong that came before it was sent", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 300 } })
          const writing = yield* fork(stream.write(pattern(400)))
          const pinging = yield* fork(stream.ping(utf8("a")))
          yield* peer.send(pong("a"))
          yield* settle
          assert.isUndefined(pinging.pollUnsafe())
          assert.deepStrictEqual(yield* peer.expect(2), [binary(pattern(400)), ping("a")])
          yield* peer.send(pong("a"))
          yield* Fiber.join(writing)
          yield* Fiber.join(pinging)
        }))

      it.effect("fails with ConnectionClosed when the connection ends, sent or not", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 300 } })
          const sent = yield* fork(reasonOf(stream.ping()))
          yield* peer.expect(1)
          yield* fork(Effect.ignore(stream.write(pattern(400))))
          const waiting = yield* fork(reasonOf(stream.ping()))
          const ponging = yield* fork(reasonOf(stream.pong()))
          yield* peer.send(close)
          assert.strictEqual(yield* Fiber.join(waiting), "ConnectionClosed")
          assert.strictEqual(yield* Fiber.join(ponging), "ConnectionClosed")
          yield* fork(peer.expect(2))
          yield* TestClock.adjust("20 seconds")
          assert.strictEqual(yield* Fiber.join(sent), "ConnectionClosed")
        }))
    })

    describe("RFC 6455 section 5.5.3: pong", () => {
      it.effect("an unsolicited pong is ignored", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(pong("nobody asked"), pong(), text("a"))
          assert.strictEqual(yield* stream.read, "a")
        }))

      it.effect("a ping is answered with its payload, without anybody reading", () =>
        Effect.gen(function*() {
          const { peer } = yield* scripted(role)
          yield* peer.send(ping("a"), { opcode: 9, fin: true, payload: pattern(125) })
          const frames = yield* peer.expect(2)
          assert.deepStrictEqual(frames, [pong("a"), { opcode: 10, fin: true, payload: pattern(125) }])
        }))

      it.effect("of answers that wait only the latest is sent, so that a flood costs one", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 300 } })
          const writing = yield* fork(stream.write(pattern(400)))
          for (let i = 0; i < 50; i++) yield* peer.send(ping(`${i}`))
          yield* settle
          yield* fork(stream.write("after"))
          assert.deepStrictEqual(yield* peer.expect(3), [binary(pattern(400)), pong("49"), text("after")])
          yield* Fiber.join(writing)
        }))
    })

    describe("controlFrames", () => {
      it.effect("gives what arrives from now on, and ends with the connection", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(ping("before"))
          yield* settle
          const watching = yield* fork(Stream.runCollect(stream.controlFrames))
          yield* settle
          yield* peer.send(ping("a"), pong("b"), text("no"), close)
          yield* peer.expect(3)
          yield* TestClock.adjust("20 seconds")
          const expected: ReadonlyArray<ControlFrame> = [
            { _tag: "Ping", payload: utf8("a") },
            { _tag: "Pong", payload: utf8("b") },
            { _tag: "Close", code: 1000, reason: "b" }
          ]
          assert.deepStrictEqual(yield* Fiber.join(watching), expected)
          assert.deepStrictEqual(yield* Stream.runCollect(stream.controlFrames), [])
        }))

      it.effect("a watcher that is slow misses the oldest beyond 64", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const seen: Array<string> = []
          const watching = yield* fork(Stream.runForEach(Stream.take(stream.controlFrames, 66), (frame) =>
            Effect.andThen(
              Effect.sync(() => void seen.push(frame._tag === "Close" ? "" : new TextDecoder().decode(frame.payload))),
              seen.length === 0 ? Effect.sleep("1 second") : Effect.void
            )))
          yield* settle
          yield* peer.send(pong("first"))
          yield* settle
          yield* peer.send(...Array.from({ length: 100 }, (_, i) => pong(`${i}`)))
          yield* settle
          yield* TestClock.adjust("1 second")
          yield* peer.send(pong("last"))
          yield* Fiber.join(watching)
          assert.deepStrictEqual(seen, ["first", ...Array.from({ length: 64 }, (_, i) => `${i + 36}`), "last"])
        }))
    })
  })
}
