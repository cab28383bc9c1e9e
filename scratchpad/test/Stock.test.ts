/**
 * The stock's calls on a simulated network.
 */
import { assert, describe, it } from "@effect/vitest"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Stream from "effect/Stream"
import * as Stock from "../shared/stock.ts"
import * as Simulated from "./simulations/stock.ts"

const server = RpcServer.layer(Stock.Stock).pipe(
  Layer.provide([Stock.layer(3), WebSocketRpcServer.layerProtocolWebSocket]),
  Layer.provide(WebSocketServer.layer()),
  Layer.provide(SimulatedNetwork.layerListen("server", 80))
)

const client = Effect.fnUntraced(function*(host: string, headers: Readonly<Record<string, string>>) {
  const connect = WebSocketClient.dial({ url: "ws://server/", headers })
  const protocol = yield* Layer.build(
    WebSocketRpcClient.layerProtocolWebSocket(connect).pipe(Layer.provide(SimulatedNetwork.layerDialer(host)))
  )
  return yield* Effect.provide(RpcClient.make(Stock.Stock), protocol)
})

const simulate = <E>(
  scenario: Effect.Effect<void, E, Simulation.Provided | RpcSerialization.RpcSerialization>
) =>
  Simulation.run({
    scenario: scenario.pipe(Effect.provide(Layer.provideMerge(server, RpcSerialization.layerJson))),
    network: { latency: 10 }
  })

describe("the stock", () => {
  it.effect("sells to whom the handshake names, and shows what is left to who watches", () =>
    simulate(Effect.gen(function*() {
      const ann = yield* client("ann", { "X-Caller": "Ann" })
      const bob = yield* client("bob", { "X-Caller": "Bob" })
      const lefts = yield* Stream.runCollect(
        Stream.tap(bob.Watch(), (left) => left > 0 ? ann.Buy({ count: 1 }) : Effect.void)
      )
      assert.deepStrictEqual(lefts, [3, 2, 1, 0])
    })))

  it.effect("fails with what is left where that is too little, and a stranger by any call", () =>
    simulate(Effect.gen(function*() {
      const ann = yield* client("ann", { "X-Caller": "Ann" })
      assert.strictEqual(yield* ann.Buy({ count: 2 }), "2 for Ann, 1 left")
      assert.deepStrictEqual(yield* Effect.flip(ann.Buy({ count: 2 })), new Stock.SoldOut({ left: 1 }))
      const stranger = yield* client("bob", {})
      assert.deepStrictEqual(yield* Effect.flip(stranger.Buy({ count: 1 })), new Stock.Stranger())
      assert.deepStrictEqual(yield* Effect.flip(Stream.runDrain(stranger.Watch())), new Stock.Stranger())
    })))

  it.effect(
    "takes no call twice, answers it or says that it may not have been taken, and shows every sale, whatever happens",
    () => Effect.map(Simulated.check({ seeds: 1000 }), (runs) => assert.strictEqual(runs, 1000)),
    300_000
  )
})
