/**
 * A WebSocket client on Node in one line: dials where the URL points and
 * connects.
 *
 * @since 1.0.0
 */
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * Where to connect and what to ask for.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends WebSocketClient.ConnectOptions, NodeTransport.DialOptions {}

/**
 * Dials where `url` points, `ws:`, `wss:`, `ws+unix:` or `wss+unix:`, and
 * connects, for as long as the scope is open.
 *
 * **Details**
 *
 * Options may be an Effect; it runs anew for every attempt. A failure to dial is
 * a `HandshakeError` with `TransportFailed`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const connect = <E = never, R = never>(
  options: Options | Effect.Effect<Options, E, R>
): Effect.Effect<WebSocketStream["Service"], HandshakeError | E, R | Scope.Scope> =>
  Effect.flatMap(
    Effect.isEffect(options) ? options : Effect.succeed(options),
    (resolved) => WebSocketClient.connect(resolved).pipe(Effect.provide(NodeTransport.layerUrl(resolved.url, resolved)))
  )

/**
 * Layer that connects, for as long as the layer lives.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <E = never, R = never>(
  options: Options | Effect.Effect<Options, E, R>
): Layer.Layer<WebSocketStream, HandshakeError | E, Exclude<R, Scope.Scope>> =>
  Layer.effect(WebSocketStream, connect(options))
