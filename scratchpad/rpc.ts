/**
 * Effect RPC over WebSockets: calls, streams and typed errors on one connection.
 *
 *     node scratchpad/rpc.ts
 *
 * You will see a customer watch a stock while buying from it, both by one connection; a purchase that fails with a typed
 * error; and a client that says nobody's name in its handshake, whom middleware turns away. The calls and what they do
 * are in `shared/stock.ts`, and know of no transport.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Stream from "effect/Stream"
import * as Stock from "./shared/stock.ts"
import { urlOf } from "./shared/urls.ts"

const server = RpcServer.layer(Stock.Stock).pipe(
  Layer.provide([Stock.layer(5), WebSocketRpcServer.layerProtocolWebSocket]),
  Layer.provideMerge(NodeWebSocketServer.layer({ host: "127.0.0.1", port: 0 }))
)

/** A client whose handshake has these headers. */
const client = Effect.fnUntraced(function*(headers: Readonly<Record<string, string>>) {
  const { address } = yield* WebSocketServer
  const connect = NodeWebSocketClient.connect({ url: urlOf(address, false), headers })
  const protocol = yield* Layer.build(WebSocketRpcClient.layerProtocolWebSocket(connect))
  return yield* Effect.provide(RpcClient.make(Stock.Stock), protocol)
})

const program = Effect.gen(function*() {
  const ann = yield* client({ "X-Caller": "Ann" })
  const watched = yield* Deferred.make<void>()
  const watching = yield* Effect.forkChild(
    Stream.runForEach(
      ann.Watch(),
      (left) => Effect.andThen(Console.log(`  in stock: ${left}`), Deferred.succeed(watched, undefined))
    )
  )
  yield* Deferred.await(watched)
  for (const count of [2, 4, 3]) {
    yield* ann.Buy({ count }).pipe(
      Effect.flatMap(Console.log),
      Effect.catchTag("SoldOut", ({ left }) => Console.log(`SoldOut: Ann wants ${count} and ${left} are left`))
    )
  }
  yield* Fiber.join(watching)

  const stranger = yield* client({})
  yield* stranger.Buy({ count: 1 }).pipe(
    Effect.catchTag("Stranger", () => Console.log("Stranger: the handshake says no name"))
  )
})

program.pipe(Effect.scoped, Effect.provide(Layer.provideMerge(server, RpcSerialization.layerJson)), NodeRuntime.runMain)
