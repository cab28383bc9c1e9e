/**
 * One server after another on a simulated network.
 */
import { assert, describe, it } from "@effect/vitest"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Chat from "../shared/chat.ts"
import * as Deployment from "../shared/deployment.ts"
import * as Simulated from "./simulations/deployment.ts"

const server = WebSocketServer.serve(Chat.handler).pipe(Layer.provide(WebSocketServer.layer()))

const join = (host: string) =>
  Chat.client({ name: host, connect: WebSocketClient.dial({ url: "ws://server/" }) }).pipe(
    Effect.provide(SimulatedNetwork.layerDialer(host))
  )

describe("a deployment", () => {
  it.effect(
    "loses no message and sends nobody away for good, whatever happens to the network",
    () => Effect.map(Simulated.check({ seeds: 1000 }), (runs) => assert.strictEqual(runs, 1000)),
    300_000
  )

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
