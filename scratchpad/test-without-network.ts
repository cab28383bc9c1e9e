/**
 * A client, a server, a broken line and minutes of keep-alive, in one process, in milliseconds.
 *
 * The transport, the clock and the faults are Layers and values. You will see a connection that lives for ten virtual
 * minutes because pings are answered; then the same one over a line that goes silent in the middle of a frame, which
 * the keep-alive notices three intervals of 30 seconds after the last answer; and the real time all of it took.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { Transport } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

const config = { keepAlive: { interval: "30 seconds", misses: 2 } } as const

/** Connects a client to a server whose end of the line has faults. */
const connect = Effect.fnUntraced(function*(plan: FaultTransport.Plan) {
  const [near, far] = yield* MemoryTransport.makePair()
  const server = WebSocketServer.accept({ config }).pipe(
    Effect.provideService(Transport, FaultTransport.make(far, plan))
  )
  const client = WebSocketClient.connect({ url: "ws://localhost/" }).pipe(Effect.provideService(Transport, near))
  return yield* Effect.all([client, server], { concurrency: 2 })
})

const healthy = Effect.gen(function*() {
  const [client, server] = yield* connect({})
  let pings = 0
  yield* Effect.forkChild(Stream.runForEach(client.controlFrames, () => Effect.sync(() => pings++)))
  yield* TestClock.adjust("10 minutes")
  yield* Console.log(`a healthy line, 10 minutes later: ${yield* server.state}, ${pings} pings answered`)
})

const silent = Effect.gen(function*() {
  const [client, server] = yield* connect({ bytes: [{ direction: "write", at: 200, kind: "stall" }] })
  const start = yield* Clock.currentTimeMillis
  const seconds = Effect.map(Clock.currentTimeMillis, (now) => (now - start) / 1000)
  let lastPing = 0
  const notePing = Effect.map(seconds, (at) => void (lastPing = at))
  yield* Effect.forkChild(Stream.runForEach(client.controlFrames, () => notePing))
  const reading = yield* Effect.forkChild(Effect.zip(Effect.flip(server.read), seconds))
  yield* TestClock.adjust("10 minutes")
  const [error, noticed] = yield* Fiber.join(reading)
  yield* Console.log(`a line that goes silent: the last ping arrives after ${lastPing} s,`)
  yield* Console.log(`  "${error.message}" after ${noticed} s`)
})

const program = Effect.gen(function*() {
  const start = yield* TestClock.withLive(Clock.currentTimeMillis)
  yield* Effect.scoped(healthy)
  yield* Effect.scoped(silent)
  const end = yield* TestClock.withLive(Clock.currentTimeMillis)
  yield* Console.log(`virtual time: ${yield* Clock.currentTimeMillis} ms, real time: ${end - start} ms`)
})

program.pipe(Effect.provide(TestClock.layer()), NodeRuntime.runMain)
