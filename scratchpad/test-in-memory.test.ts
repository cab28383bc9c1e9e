/**
 * A test of a whole application: the chat of `shared/chat.ts`, its server and its clients, in memory and virtual time.
 *
 *     npx vitest run --config vitest.workspace.ts test-in-memory
 *
 * You will see hours of quiet, a line that falls silent, and the reconnect after it, in milliseconds. Nothing sleeps:
 * `TestClock.adjust` moves the clock, and everything that waits for it runs.
 */
import { assert, describe, it } from "@effect/vitest"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { Transport } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Chat from "./shared/chat.ts"

const application = WebSocketServer.serve(Chat.handler).pipe(
  Layer.provide([WebSocketServer.layer(), Chat.layerRoom()]),
  Layer.provideMerge(MemoryTransport.layer())
)

const connect = WebSocketClient.connect({
  url: "ws://localhost/",
  config: { keepAlive: { interval: "30 seconds", misses: 2 } }
})

/** The first connection has faults, all others have none. */
const connectBadly = (plan: FaultTransport.Plan) => {
  let attempts = 0
  return Effect.updateService(connect, Transport, (line) => attempts++ === 0 ? FaultTransport.make(line, plan) : line)
}

const nextText = (client: Chat.Client<unknown>) =>
  Effect.map(
    Stream.runCollect(Stream.take(client.events, 1)),
    ([event]) => event?._tag === "Said" ? event.text : event?._tag
  )

describe("the chat", () => {
  it.effect("is there after ten quiet hours", () =>
    Effect.gen(function*() {
      const ann = yield* Chat.client({ name: "ann", connect })
      const bob = yield* Chat.client({ name: "bob", connect })
      yield* TestClock.adjust("1 second") // both are connected
      yield* TestClock.adjust("10 hours")
      const saying = yield* Effect.forkChild(ann.say("still here?"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(saying), 1)
      assert.strictEqual(yield* nextText(bob), "still here?")
    }).pipe(Effect.scoped, Effect.provide(application)))

  it.effect("goes on by another connection after a line has fallen silent", () =>
    Effect.gen(function*() {
      const ann = yield* Chat.client({ name: "ann", connect })
      const bob = yield* Chat.client({
        name: "bob",
        connect: connectBadly({ bytes: [{ direction: "read", at: 300, kind: "stall" }] })
      })
      yield* TestClock.adjust("1 second")
      const saying = yield* Effect.forkChild(ann.say("x".repeat(500))) // bob's line stalls in its middle
      const hearing = yield* Effect.forkChild(nextText(bob))
      yield* TestClock.adjust("1 minute")
      assert.isDefined(saying.pollUnsafe())
      assert.isUndefined(hearing.pollUnsafe())
      yield* TestClock.adjust("1 minute") // two pings without an answer, and the way back
      assert.strictEqual(yield* Fiber.join(hearing), "x".repeat(500))
    }).pipe(Effect.scoped, Effect.provide(application)))
})
