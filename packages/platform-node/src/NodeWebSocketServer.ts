/**
 * A WebSocket server on Node in one line: listens and accepts.
 *
 * @since 1.0.0
 */
import { TransportServer } from "effect-websocket/Transport"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as WebSocketSocketServer from "effect-websocket/WebSocketSocketServer"
import * as Layer from "effect/Layer"
import type { SocketServer, SocketServerError } from "effect/socket/SocketServer"
import * as NodeTransportServer from "./NodeTransportServer.ts"

/**
 * Where to listen and whom to let in.
 *
 * @category models
 * @since 1.0.0
 */
export type Options<R = never> = NodeTransportServer.Options & WebSocketServer.AcceptOptions<R>

/**
 * Layer that listens at a port or the path of a unix socket, with TLS when
 * `tls` is given.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <R = never>(
  options: Options<R>
): Layer.Layer<WebSocketServer.WebSocketServer, SocketServerError, R> =>
  WebSocketServer.layer<R>({ secure: options.tls !== undefined, ...options }).pipe(
    Layer.provide(Layer.effect(TransportServer, NodeTransportServer.make(options)))
  )

/**
 * Layer of Effect's `SocketServer`, whose sockets have one element a message.
 * Handlers have the connection's `WebSocketStream` in their context.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerSocketServer = <R = never>(
  options: Options<R>
): Layer.Layer<SocketServer, SocketServerError, R> => WebSocketSocketServer.layer.pipe(Layer.provide(layer(options)))
