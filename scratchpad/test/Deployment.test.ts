/**
 * One server after another on a simulated network.
 */
import { assert, describe, it } from "@effect/vitest"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Chat from "../shared/chat.ts"
import * as Deployment from "../shared/deployment.ts"

const server = WebSocketServer.serve(Chat.handler).pipe(Layer.provide(WebSocketServer.layer()))

const join = (host: string) =>
  Chat.client({ name: host, connect: WebSocketClient.dial({ url: "ws://server/" }) }).pipe(
    Effect.provide(SimulatedNetwork.layerDialer(host))
  )

const count = 20

describe("a deployment", () => {
  it.effect("loses no message and refuses no client while servers follow each other", () =>
    Simulation.check({
      scenario: Effect.gen(function*() {
        const deployment = yield* Deployment.make
        yield* deployment.deploy(server)
        const [ann, bob] = yield* Effect.all([join("ann"), join("bob")])
        const failures: Array<string> = []
        yield* Effect.forkScoped(Stream.runForEach(bob.stateChanges, (state) =>
          Effect.sync(() =>
            state._tag === "Waiting" && failures.push(state.failure._tag)
          )))
        const hearing = yield* Effect.forkChild(Stream.runCollect(Stream.take(bob.events, count)))
        const deploying = yield* Effect.forkChild(
          Effect.repeat(Effect.andThen(Effect.sleep("3 seconds"), deployment.deploy(server)), { times: 2 })
        )
        yield* Effect.forEach(Array.range(1, count), (number) =>
          Effect.andThen(Effect.sleep("500 millis"), ann.say(`${number}`)))
        const heard = (yield* Fiber.join(hearing)).map((event) =>
          event._tag === "Said" ? event.text : event._tag
        )
        assert.deepStrictEqual(heard, Array.range(1, count).map(String))
        yield* Fiber.join(deploying)
        assert.deepStrictEqual([...new Set(failures)], ["ReadError"]) // and no HandshakeError
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.mergeAll(Chat.layerRoom(), SimulatedNetwork.layerListen("server", 80)))
      ),
      seeds: 20,
      network: { latency: 20, jitter: 30 }
    }))

  it.effect("leaves the server as it is when the next one cannot start", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const deployment = yield* Deployment.make
        yield* deployment.deploy(server)
        const ann = yield* join("ann")
        const broken = Layer.effectDiscard(Effect.fail("no configuration"))
        assert.strictEqual(yield* Effect.flip(deployment.deploy(broken)), "no configuration")
        assert.strictEqual(yield* ann.say("still there"), 1)
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.mergeAll(Chat.layerRoom(), SimulatedNetwork.layerListen("server", 80)))
      )
    }))
})
