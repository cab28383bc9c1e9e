/**
 * WebSockets on an HTTP server's routes: a request that its router and its
 * middleware have let through becomes a `WebSocketStream`, RFC 6455 section 4.2.
 *
 * `upgrade` is the route, on any platform. `make` and `Handover` are for those
 * who join a platform's HTTP server to it.
 *
 * @since 1.0.0
 */
import type * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { Desk } from "./internal/desk.ts"
import * as Logging from "./internal/logging.ts"
import * as Stream from "./internal/stream.ts"
import { adapt } from "./internal/upgradeSocket.ts"
import * as Upgrading from "./internal/upgrading.ts"
import type { Connection, TransportError } from "./Transport.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"
import type { AcceptOptions } from "./WebSocketServer.ts"
import { WebSocketStream } from "./WebSocketStream.ts"

/**
 * What an HTTP server knows of a request for an upgrade, and the connection it
 * came by.
 *
 * @category models
 * @since 1.0.0
 */
export interface Handover {
  /** The head as it was sent: names and repetitions as they were. */
  readonly head: HttpHead.RequestHead
  readonly peerAddress: NetAddress.SocketAddress | undefined
  /** Whether the client came by TLS. */
  readonly secure: boolean
  /**
   * Takes the connection from the HTTP server, which has sent nothing and will
   * send nothing by it. What the client sent behind the head is read first. At
   * most once.
   */
  readonly take: Effect.Effect<Connection, TransportError>
}

/**
 * How an HTTP server's requests become connections.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /**
   * Limits and times of the server and its connections, over the environment's
   * `WebSocketConfig`; a route's own go over both. `maxConnections`,
   * `maxHandshakes` and those of draining hold for all routes together.
   */
  readonly config?: WebSocketConfig.Options | undefined
  /**
   * Whom Effect's own `HttpServerRequest.upgrade` lets in, and how, as Effect's
   * RPC server uses it. Default: pages of the same origin and what comes from no
   * page, with the first subprotocol that is offered.
   */
  readonly sockets?: AcceptOptions | undefined
}

/**
 * The upgrades of one HTTP server.
 *
 * @category models
 * @since 1.0.0
 */
export interface Upgrades {
  /**
   * Gives the application of a request what it may take, the connection that the
   * request came by, if there is one: to `upgrade`, and to Effect's own
   * `HttpServerRequest.upgrade`. An application that may take a connection can
   * be interrupted.
   */
  readonly offer: <A, E, R>(
    handover: Handover | undefined,
    app: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R | HttpServerRequest>
  /**
   * From now on refuses with 503. Sends a Close with `drainCode` and a hint of
   * when to come back to every peer, and waits until their handlers have ended,
   * for `drainTimeout` at most.
   */
  readonly drain: Effect.Effect<void>
  /** How many connections are open, those that are closing counted. */
  readonly connections: Effect.Effect<number>
}

/**
 * Makes the upgrades of an HTTP server.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}): Effect.fn.Return<Upgrades> {
  const config = yield* WebSocketConfig.resolve(options.config)
  const { sockets = {} } = options
  const desk = new Desk(config)
  return {
    offer: (handover, app) => {
      const adapted = Effect.flatMap(HttpServerRequest, (request) => {
        adapt(request)
        return app
      })
      if (handover === undefined) return adapted
      return Effect.interruptible(
        Effect.provideService(adapted, Upgrading.Current, { handover, desk, config, sockets })
      )
    },
    drain: Effect.andThen(
      desk.drain,
      Effect.asVoid(Effect.timeoutOption(Effect.interruptible(desk.idle.await), config.drainTimeout))
    ),
    connections: Effect.sync(() => desk.connections)
  }
})

/**
 * A route that accepts a WebSocket and runs `handler` with its
 * `WebSocketStream`, in a scope of its own.
 *
 * **Details**
 *
 * The route answers with a response of status 101, which passes through
 * middleware as any other; the headers and cookies that it has by then go with
 * the Upgrade, but for those that the handshake writes itself. Then the handler
 * runs, with the services of the route. When it ends the connection is closed:
 * with 1000 after success, 1011 after failure, 1001 on interruption. A failure
 * is logged, at debug level where it is the peer's doing.
 *
 * A request that breaks a rule, the Origin policy among them, is answered with
 * the rule's status, one for no upgrade with 426, one that `accept` refuses with
 * what it says, and one that comes while the server drains with 503.
 *
 * The handler can always be interrupted, even where the HTTP server's requests
 * cannot. `secure` is by default what the HTTP server knows, a trusted proxy's
 * word included.
 *
 * **Gotchas**
 *
 * The HTTP server must be one that hands connections over, such as
 * `NodeWebSocketHttp.layerServer`; under another this dies.
 *
 * @category constructors
 * @since 1.0.0
 */
export const upgrade = <E, R, R2 = never>(
  handler: Effect.Effect<unknown, E, R>,
  options: AcceptOptions<R2> = {}
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest | R2 | Exclude<R, WebSocketStream | Scope.Scope>
> =>
  Effect.matchEffect(Upgrading.agree(options), {
    onFailure: Effect.succeed,
    onSuccess: (agreed) => switchTo(agreed, handler)
  })

/** Answers 101, and connects once all middleware has seen that answer. */
const switchTo = Effect.fnUntraced(function*<E, R>(agreed: Upgrading.Agreed, handler: Effect.Effect<unknown, E, R>) {
  const context = yield* Effect.context<Exclude<R, WebSocketStream | Scope.Scope>>()
  // The route's own spans have ended by then: the request's is the parent.
  const services = Context.omit(Scope.Scope, Tracer.ParentSpan)(context) as typeof context
  const handled = (stream: WebSocketStream["Service"]) =>
    handler.pipe(
      Effect.provideService(WebSocketStream, stream),
      Effect.provideContext(services)
    ) as Effect.Effect<unknown, E, Scope.Scope>
  HttpEffect.appendPreResponseHandlerUnsafe(
    context,
    (_, response) => response.status === 101 ? converse(agreed, response, handled) : Effect.succeed(response)
  )
  return HttpServerResponse.empty({ status: 101 })
})

// What the handler does belongs to the connection, where that has a span.
const within = <A, E, R>(
  stream: WebSocketStream["Service"],
  handled: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const span = Stream.driverOf(stream)?.span
  return span === undefined ? handled : Effect.provideService(handled, Tracer.ParentSpan, span)
}

type Handled = (stream: WebSocketStream["Service"]) => Effect.Effect<unknown, unknown, Scope.Scope>

/** Gives the response that is still to be sent: none, where it is the one given. */
const converse = (
  agreed: Upgrading.Agreed,
  response: HttpServerResponse.HttpServerResponse,
  handled: Handled
): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  const conversation = Upgrading.connect(agreed, response).pipe(
    Effect.matchEffect({
      onFailure: (error) =>
        HttpServerResponse.isHttpServerResponse(error)
          ? Effect.succeed(error)
          : Effect.as(Logging.handshakeFailed(error, agreed.request), response),
      onSuccess: (stream) => Effect.as(agreed.desk.handling(stream, within(stream, handled(stream))), response)
    }),
    Effect.scoped,
    Effect.interruptible,
    Effect.catchCause((cause) => Effect.as(Logging.failure(cause, agreed.request), response))
  )
  return agreed.desk.serving(conversation)
}
