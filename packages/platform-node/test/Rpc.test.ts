import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Http from "node:http"
import * as rpc from "../../websocket/test/fixtures/rpc.ts"

const connect: rpc.Connect = (options) =>
  Effect.flatMap(WebSocketServer, ({ address }) => {
    const { port } = address as NetAddress.InetAddress
    return NodeWebSocketClient.connect({ url: `ws://127.0.0.1:${port}/rpc`, ...options })
  })

describe("our RPC server on a route of an HTTP server", () => {
  it.live("is called over a connection that the route accepts, with the headers of its request", () =>
    Effect.gen(function*() {
      const group = RpcGroup.make(Rpc.make("Header", { payload: { name: Schema.String }, success: Schema.String }))
      const handlers = group.toLayer({
        Header: ({ name }, { headers }) => Effect.succeed(headers[name] ?? "none")
      })
      const routes = Layer.unwrap(
        Effect.map(WebSocketRpcServer.makeProtocolWithHandler, ({ handler, protocol }) =>
          Layer.merge(
            HttpRouter.add("GET", "/rpc", HttpUpgrade.upgrade(handler)),
            RpcServer.layer(group).pipe(Layer.provide([handlers, Layer.succeed(RpcServer.Protocol, protocol)]))
          ))
      ).pipe(Layer.provide(RpcSerialization.layerJson))
      const server = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeWebSocketHttp.layerServer(() => Http.createServer(), { port: 0, host: "127.0.0.1" }))
      )
      const { address } = Context.get(yield* Layer.build(server), HttpServer.HttpServer)
      const url = `ws://127.0.0.1:${(address as NetAddress.InetAddress).port}/rpc`
      const connect = NodeWebSocketClient.connect({ url, headers: { "X-Token": "secret" } })
      const protocol = WebSocketRpcClient.layerProtocolWebSocket(connect).pipe(
        Layer.provide(RpcSerialization.layerJson)
      )
      const client = yield* Effect.provideContext(RpcClient.make(group), yield* Layer.build(protocol))
      assert.strictEqual(yield* client.Header({ name: "x-token" }), "secret")
    }))
})

for (const pair of rpc.pairs) {
  describe(`RPC over WebSockets over TCP: ${pair.client} client, ${pair.server} server`, () => {
    for (const [name, scenario] of rpc.scenariosOf(pair)) {
      it.live(name, () => {
        const layer = rpc.layer(pair, connect, RpcSerialization.layerJson, NodeWebSocketServer.layer({ port: 0 }))
        return Effect.flatMap(Layer.build(layer), (context) => Effect.provideContext(Effect.scoped(scenario), context))
      })
    }
  })
}
