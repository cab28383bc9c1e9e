/**
 * A WebSocket client on Node in one line: dials where the URL points and
 * connects.
 *
 * @since 1.0.0
 */
import { TransportDialer } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketConstructor from "effect-websocket/WebSocketConstructor"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Socket, WebSocketConstructor as Constructor } from "effect/socket/Socket"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * Where to connect and what to ask for.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends WebSocketClient.DialOptions, NodeTransport.DialOptions {}

/**
 * Dials where `url` points, `ws:`, `wss:`, `ws+unix:` or `wss+unix:`, and
 * connects, for as long as the scope is open.
 *
 * **Details**
 *
 * Options may be an Effect; it runs anew for every attempt. A failure to dial is
 * a `HandshakeError` with `TransportFailed`. With `followRedirects`, another
 * host is not shown what `tls` has to say who this client is (certificate and
 * key), nor is `servername` or `session` for it; `ca` and the rest are.
 *
 * @category constructors
 * @since 1.0.0
 */
export const connect = <E = never, R = never>(
  options: Options | Effect.Effect<Options, E, R>
): Effect.Effect<WebSocketStream["Service"], HandshakeError | E, R | Scope.Scope> =>
  Effect.flatMap(
    Effect.isEffect(options) ? options : Effect.succeed(options),
    (resolved) => Effect.provideService(WebSocketClient.dial(resolved), TransportDialer, dialer(resolved))
  )

const dialer = (options: Options): TransportDialer["Service"] => {
  const elsewhere = { ...options, tls: options.tls && withoutIdentity(options.tls) }
  const host = hostOf(options.url)
  return { dial: (url) => NodeTransport.fromUrl(url, hostOf(url) === host ? options : elsewhere) }
}

const hostOf = (url: string | URL): string | undefined => {
  const parsed = URL.parse(url)
  // The host of a unix socket's URL is empty, and its path goes before the target.
  return parsed === null ? undefined : parsed.host + (parsed.host === "" ? parsed.pathname.split(":")[0] : "")
}

const withoutIdentity = (
  { cert: _, key: _1, passphrase: _2, pfx: _3, secureContext: _4, servername: _5, session: _6, ...tls }:
    NodeTransport.TlsOptions
): NodeTransport.TlsOptions => tls

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

/**
 * Layer of Effect's `Socket`, one element a message, that connects each time its
 * reader is acquired. What kept it from opening is the cause of a
 * `SocketOpenError`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerSocket = <E = never, R = never>(
  options: Options | Effect.Effect<Options, E, R>
): Layer.Layer<Socket, never, Exclude<R, Scope.Scope>> => WebSocketSocket.layerConnect(connect(options))

/**
 * What every connection of a `WebSocketConstructor` asks for.
 *
 * @category models
 * @since 1.0.0
 */
export interface ConstructorOptions extends WebSocketConstructor.Options, NodeTransport.DialOptions {}

/**
 * Layer of Effect's `WebSocketConstructor`, for what asks for one instead of a
 * `Socket`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerWebSocketConstructor = (options?: ConstructorOptions): Layer.Layer<Constructor> =>
  WebSocketConstructor.layer(options).pipe(Layer.provide(NodeTransport.layerDialer(options)))
