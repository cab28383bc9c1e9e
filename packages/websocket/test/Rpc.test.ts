import { describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { Transport } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as rpc from "./fixtures/rpc.ts"

const serializations: Readonly<Record<string, Layer.Layer<RpcSerialization.RpcSerialization>>> = {
  "JSON, as text": RpcSerialization.layerJson,
  "a schema's bytes, as binary": RpcSerialization.layerSchemaBinary()
}

/** A client and a server in memory. */
const inMemory = Effect.fnUntraced(
  function*(pair: rpc.Pair, serialization: Layer.Layer<RpcSerialization.RpcSerialization>) {
    const network = yield* Layer.build(MemoryTransport.layer({ capacity: 10_000 }))
    const transport = Context.get(network, Transport)
    const connect: rpc.Connect<WebSocketServer.WebSocketServer> = (options) =>
      Effect.provideService(WebSocketClient.connect({ url: "ws://localhost/", ...options }), Transport, transport)
    const servers = WebSocketServer.layer().pipe(Layer.provide(Layer.succeedContext(network)))
    return yield* Layer.build(rpc.layer(pair, connect, serialization, servers))
  }
)

for (const [name, serialization] of Object.entries(serializations)) {
  for (const pair of rpc.pairs) {
    describe(`RPC over WebSockets in memory, in ${name}: ${pair.client} client, ${pair.server} server`, () => {
      for (const [name, scenario] of rpc.scenariosOf(pair)) {
        it.effect(
          name,
          () =>
            Effect.flatMap(
              inMemory(pair, serialization),
              (context) => Effect.provideContext(Effect.scoped(scenario), context)
            )
        )
      }
    })
  }
}
