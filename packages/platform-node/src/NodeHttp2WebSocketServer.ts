/**
 * A WebSocket server on Node for HTTP/2 (RFC 8441) and HTTP/1.1 on one port, in
 * one line: listens and accepts.
 *
 * @since 1.0.0
 */
import { TransportServer } from "effect-websocket/Transport"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Layer from "effect/Layer"
import type { SocketServerError } from "effect/socket/SocketServer"
import * as NodeHttp2TransportServer from "./NodeHttp2TransportServer.ts"

/**
 * Where to listen and whom to let in.
 *
 * @category models
 * @since 1.0.0
 */
export type Options<R = never> = NodeHttp2TransportServer.Options & WebSocketServer.AcceptOptions<R>

/**
 * Layer that listens at a port or the path of a unix socket, with TLS when `tls`
 * is given; browsers speak HTTP/2 with TLS only.
 *
 * **Details**
 *
 * Options, limits and draining are those of `NodeWebSocketServer.layer`, and a
 * handler does not see the difference but in its `handshake`. `maxConnections`
 * counts the streams of HTTP/2 as what they are, connections.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <R = never>(
  options: Options<R>
): Layer.Layer<WebSocketServer.WebSocketServer, SocketServerError, R> =>
  WebSocketServer.layer<R>({ secure: options.tls !== undefined, ...options }).pipe(
    Layer.provide(Layer.effect(TransportServer, NodeHttp2TransportServer.make(options)))
  )
