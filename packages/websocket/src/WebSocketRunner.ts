/**
 * How runners of an Effect cluster call one another over WebSockets.
 *
 * `SocketRunner.layer` serves over a `WebSocketSocketServer` as it is.
 *
 * @since 1.0.0
 */
import * as Runners from "effect/cluster/Runners"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import type { TransportDialer } from "./Transport.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import * as WebSocketRpcClient from "./WebSocketRpcClient.ts"

/**
 * What a runner asks the others for.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Omit<WebSocketClient.DialOptions, "url"> {
  /** The target of the request, which begins with a slash. Default `"/"`. */
  readonly path?: string | undefined
  /** Whether runners speak TLS. Default false. */
  readonly secure?: boolean | undefined
}

/**
 * Layer of the protocol that runners call one another by, at their addresses,
 * over the environment's `TransportDialer`; `WebSocketRpcClient` says how.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerClientProtocol = (
  { path = "/", secure = false, ...options }: Options = {}
): Layer.Layer<Runners.RpcClientProtocol, never, RpcSerialization.RpcSerialization | TransportDialer> =>
  Layer.effect(
    Runners.RpcClientProtocol,
    Effect.contextWith((context) =>
      Effect.map(RpcSerialization.RpcSerialization, ({ codecFor }) => ({
        codecFor,
        make: ({ host, port }) => {
          const url = `${secure ? "wss" : "ws"}://${NetAddress.formatUrlHostString(host)}:${port}${path}`
          const connect = WebSocketClient.dial({ ...options, url })
          return Effect.provideContext(WebSocketRpcClient.makeProtocolWebSocket(connect), context)
        }
      }))
    )
  )
