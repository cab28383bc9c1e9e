/**
 * A `WebSocketServer` seen as Effect's `SocketServer`, so that Effect's RPC and
 * cluster runners are served by it as they are.
 *
 * @since 1.0.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import { SocketServer } from "effect/socket/SocketServer"
import { isPeersDoing } from "./internal/sockets.ts"
import { WebSocketServer } from "./WebSocketServer.ts"
import * as WebSocketSocket from "./WebSocketSocket.ts"
import { WebSocketStream } from "./WebSocketStream.ts"

// The end of a connection is nothing that a server could mend.
const ignorePeers = <A, E, R>(handled: Effect.Effect<A, E, R>): Effect.Effect<unknown, E, R> =>
  Effect.catchIf(handled, isPeersDoing, (error) => Effect.logDebug("WebSocket connection ended", error))

const handle = <A, E, R>(
  handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>,
  context: Context.Context<R>
): Effect.Effect<unknown, E, WebSocketStream> =>
  Effect.flatMap(
    WebSocketStream,
    (stream) =>
      ignorePeers(Effect.suspend(() => handler(WebSocketSocket.fromStream(stream)))).pipe(
        Effect.provideContext(Context.add(context, WebSocketStream, stream))
      )
  )

/**
 * Sees a server as a `SocketServer`.
 *
 * **Details**
 *
 * Handlers run as those of `WebSocketServer.run`, whose limits, refusals and
 * draining are in force: each in a fiber of its own, its connection closed when
 * it ends. A handler has the connection's `WebSocketStream` in its context, and
 * with it the handshake: the request, the subprotocol, who is at the other end.
 * `Effect.serviceOption(WebSocketStream)` asks for it without a requirement. A
 * handler may end with the `SocketError` of its connection's end.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromServer = (server: WebSocketServer["Service"]): SocketServer["Service"] =>
  SocketServer.of({
    address: server.address,
    run: <R, E, A>(handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>) =>
      Effect.contextWith((context: Context.Context<R>) =>
        server.run(handle(handler, Context.omit(Scope.Scope)(context) as Context.Context<R>))
      )
  })

/**
 * Layer that sees the environment's `WebSocketServer` as a `SocketServer`, as
 * `fromServer`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer: Layer.Layer<SocketServer, never, WebSocketServer> = Layer.effect(
  SocketServer,
  Effect.map(WebSocketServer, fromServer)
)
