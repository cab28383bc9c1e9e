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
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as rpc from "../../websocket/test/fixtures/rpc.ts"

const urlOf = (address: NetAddress.SocketAddress) => `ws://127.0.0.1:${(address as NetAddress.InetAddress).port}/rpc`

const connect: rpc.Connect<WebSocketServer> = (options) =>
  Effect.flatMap(WebSocketServer, ({ address }) => NodeWebSocketClient.connect({ url: urlOf(address), ...options }))

const quiet = { disableLogger: true, disableListenLog: true }

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
      const server = HttpRouter.serve(routes, quiet).pipe(
        Layer.provideMerge(NodeWebSocketHttp.layerServer(() => Http.createServer(), { port: 0, host: "127.0.0.1" }))
      )
      const { address } = Context.get(yield* Layer.build(server), HttpServer.HttpServer)
      const connect = NodeWebSocketClient.connect({ url: urlOf(address), headers: { "X-Token": "secret" } })
      const protocol = WebSocketRpcClient.layerProtocolWebSocket(connect).pipe(
        Layer.provide(RpcSerialization.layerJson)
      )
      const client = yield* Effect.provideContext(RpcClient.make(group), yield* Layer.build(protocol))
      assert.strictEqual(yield* client.Header({ name: "x-token" }), "secret")
    }))
})

const isOfOneKind = ({ client, server }: rpc.Pair) => client === server

const serializations: Readonly<Record<string, Layer.Layer<RpcSerialization.RpcSerialization>>> = {
  "JSON": RpcSerialization.layerJson,
  "lines of JSON": RpcSerialization.layerNdjson,
  "JSON-RPC": RpcSerialization.layerJsonRpc(),
  "a schema's bytes": RpcSerialization.layerSchemaBinary()
}

for (const [name, serialization] of Object.entries(serializations)) {
  const pairs = serialization === RpcSerialization.layerJson ? rpc.pairs : rpc.pairs.filter(isOfOneKind)
  for (const pair of pairs) {
    describe(`RPC over WebSockets over TCP, in ${name}: ${pair.client} client, ${pair.server} server`, () => {
      for (const [name, scenario] of rpc.scenariosOf(pair)) {
        it.live(name, () => {
          const layer = rpc.layer(pair, connect, serialization, NodeWebSocketServer.layer({ port: 0 }))
          return Effect.flatMap(
            Layer.build(layer),
            (context) => Effect.provideContext(Effect.scoped(scenario), context)
          )
        })
      }
    })
  }
}

/** Effect's own protocol on a route, at a port that is free or given. */
const layerRoute = (port: number) =>
  HttpRouter.serve(rpc.layerServerOver(RpcServer.layerProtocolWebsocket({ path: "/rpc" })), quiet).pipe(
    Layer.provideMerge(NodeWebSocketHttp.layerServer(() => Http.createServer(), { port, host: "127.0.0.1" }))
  )

const layerRouteClient = (client: rpc.Kind, { address }: HttpServer.HttpServer["Service"]) =>
  rpc.layerClient(client, (options) => NodeWebSocketClient.connect({ url: urlOf(address), ...options }))

for (const client of ["ours", "Effect's"] as const) {
  describe(`RPC over layerProtocolWebsocket behind an HttpRouter: ${client} client`, () => {
    const { [rpc.closing]: _, ...scenarios } = rpc.scenarios
    for (const [name, scenario] of Object.entries({ ...scenarios, ...rpc.ofOurServer })) {
      it.live(name, () =>
        Effect.gen(function*() {
          const server = yield* Layer.build(layerRoute(0))
          const protocol = yield* Layer.build(layerRouteClient(client, Context.get(server, HttpServer.HttpServer)))
          yield* Effect.provideContext(Effect.scoped(scenario), Context.merge(server, protocol))
        }).pipe(Effect.provide(RpcSerialization.layerJson)))
    }

    it.live("a restart of the server fails calls in progress with 1001, and the next connection serves again", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const first = yield* Layer.buildWithScope(layerRoute(0), scope)
        const { address } = Context.get(first, HttpServer.HttpServer)
        const protocol = yield* Layer.build(layerRouteClient(client, Context.get(first, HttpServer.HttpServer)))
        const calls = yield* Effect.provideContext(rpc.make, protocol)
        const call = yield* Effect.forkChild(calls.Hang())
        assert.strictEqual(yield* Queue.take(Context.get(first, rpc.Server).events), "Hang began")
        yield* Queue.take(Context.get(protocol, rpc.Connects))
        yield* Scope.close(scope, Exit.void)
        assert.deepInclude(rpc.reasonOf(yield* Fiber.await(call)), { _tag: "SocketCloseError", code: 1001 })
        yield* Layer.build(layerRoute((address as NetAddress.InetAddress).port))
        yield* Queue.take(Context.get(protocol, rpc.Connects))
        assert.strictEqual(yield* calls.Double({ value: 1 }), 2)
      }).pipe(Effect.provide(RpcSerialization.layerJson)))
  })
}
