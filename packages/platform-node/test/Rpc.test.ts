import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { describe, it } from "@effect/vitest"
import { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as rpc from "../../websocket/test/fixtures/rpc.ts"

const connect: rpc.Connect = (options) =>
  Effect.flatMap(WebSocketServer, ({ address }) => {
    const { port } = address as NetAddress.InetAddress
    return NodeWebSocketClient.connect({ url: `ws://127.0.0.1:${port}/rpc`, ...options })
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
