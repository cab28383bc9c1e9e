/**
 * WebSockets on an HTTP server's routes: a request that its router and its
 * middleware have let through becomes a `WebSocketStream`, RFC 6455 section 4.2.
 *
 * `upgrade` is the route, on any platform. `make` and `Handover` are for those
 * who join a platform's HTTP server to it.
 *
 * @since 1.0.0
 */
import * as Handshake from "@effect-websocket/protocol/Handshake"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cookies from "effect/http/Cookies"
import * as HttpEffect from "effect/http/HttpEffect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as Accepting from "./internal/accepting.ts"
import * as Compression from "./internal/compression.ts"
import * as Declining from "./internal/declining.ts"
import { Desk } from "./internal/desk.ts"
import { transportFailed } from "./internal/heads.ts"
import * as Link from "./internal/link.ts"
import * as Logging from "./internal/logging.ts"
import * as Stream from "./internal/stream.ts"
import type { Connection, TransportError } from "./Transport.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"
import type { AcceptOptions, UpgradeRequest } from "./WebSocketServer.ts"
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
 * The upgrades of one HTTP server.
 *
 * @category models
 * @since 1.0.0
 */
export interface Upgrades {
  /** Gives the application of a request what it may take: the connection it came by. */
  readonly offer: <A, E, R>(handover: Handover, app: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /**
   * From now on refuses with 503. Sends a Close with `drainCode` and a hint of
   * when to come back to every peer, and waits until their handlers have ended,
   * for `drainTimeout` at most.
   */
  readonly drain: Effect.Effect<void>
  /** How many connections are open, those that are closing counted. */
  readonly connections: Effect.Effect<number>
}

interface Current {
  readonly handover: Handover
  readonly desk: Desk
  readonly config: WebSocketConfig.WebSocketConfig
}

const Current: Context.Reference<Current | undefined> = Context.Reference<Current | undefined>(
  "effect-websocket/HttpUpgrade/Current",
  { defaultValue: () => undefined }
)

/**
 * Makes the upgrades of an HTTP server. `config` goes over the environment's
 * `WebSocketConfig`, and a route's own over both.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(function*(config?: WebSocketConfig.Options): Effect.fn.Return<Upgrades> {
  const resolved = yield* WebSocketConfig.resolve(config)
  const desk = new Desk(resolved)
  return {
    offer: (handover, app) => Effect.provideService(app, Current, { handover, desk, config: resolved }),
    drain: Effect.andThen(
      desk.drain,
      Effect.asVoid(Effect.timeoutOption(Effect.interruptible(desk.idle.await), resolved.drainTimeout))
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
  Effect.flatMap(check(options), (checked) => {
    if (Result.isFailure(checked)) return Effect.succeed(checked.failure)
    const { current, request } = checked.success
    return agree(request, options, current).pipe(
      Effect.interruptible,
      Effect.matchEffect({
        onFailure: decline,
        onSuccess: (decision) => switchTo({ ...current, decision, request }, handler)
      })
    )
  })

/** A request that keeps the rules, or what it is answered. */
const check = Effect.fnUntraced(function*<R>(options: AcceptOptions<R>) {
  const request = yield* HttpServerRequest
  const current = yield* Current
  const head = current?.handover.head ?? headOf(request)
  const secure = request.protocol === undefined ? current?.handover.secure : request.protocol === "https"
  const checked = Accepting.check(
    head,
    { ...options, secure: options.secure ?? secure },
    current?.handover.peerAddress,
    request.headers["host"]
  )
  if (Result.isSuccess(checked)) {
    if (current !== undefined) {
      const config = WebSocketConfig.override(current.config, options.config)
      return Result.succeed({ current: { ...current, config }, request: checked.success })
    }
    return yield* Effect.die(new Error("This HTTP server does not hand over connections for WebSocket"))
  }
  yield* Effect.logDebug("WebSocket handshake failed", checked.failure)
  return Result.fail(refusalResponse(Handshake.refusalOf(checked.failure)))
})

// A HEAD is answered as its GET would be.
const headOf = (request: HttpServerRequest): HttpHead.RequestHead => ({
  method: request.method === "HEAD" ? "GET" : request.method,
  target: request.originalUrl,
  version: "HTTP/1.1",
  headers: Object.entries(request.headers)
})

const agree = <R>(
  request: UpgradeRequest,
  options: AcceptOptions<R>,
  { config, desk }: Current
): Effect.Effect<Accepting.Decision, Declining.Declined, R> => {
  const timeout = config.handshakeTimeout
  const decided = Effect.flatMap(
    Compression.offer(options.permessageDeflate),
    (offer) => Accepting.decide(request, options, offer)
  )
  return desk.handshaking(
    Effect.raceFirst(decided, desk.drained).pipe(
      Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(Declining.slow(timeout, false)) })
    )
  )
}

const decline = ({ cause, refusal }: Declining.Declined): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.hasDies(cause)) return Effect.failCause(cause as Cause.Cause<never>)
  const response = refusal === undefined ? HttpServerResponse.empty({ status: 500 }) : refusalResponse(refusal)
  return Effect.as(Effect.logDebug("WebSocket handshake failed", cause), response)
}

// Those the HTTP server writes itself.
const framing = new Set(["content-length", "content-type", "set-cookie"])

const refusalResponse = ({ body, head }: Handshake.Refusal): HttpServerResponse.HttpServerResponse => {
  const headers = head.headers.map(([name, value]) => [HttpHead.lowerAscii(name), value] as const)
  return HttpServerResponse.uint8Array(body, {
    status: head.status,
    statusText: head.reason,
    contentType: HttpHead.values(head.headers, "content-type").join(", "),
    headers: headers.filter(([name]) => !framing.has(name)),
    cookies: Cookies.fromSetCookie(HttpHead.values(head.headers, "set-cookie"))
  })
}

interface Agreed extends Current {
  readonly decision: Accepting.Decision
  readonly request: UpgradeRequest
}

/** Answers 101, and connects once all middleware has seen that answer. */
const switchTo = Effect.fnUntraced(function*<E, R>(agreed: Agreed, handler: Effect.Effect<unknown, E, R>) {
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
    (_, response) => response.status === 101 ? connect(agreed, response, handled) : Effect.succeed(response)
  )
  return HttpServerResponse.empty({ status: 101 })
})

type Handled = (stream: WebSocketStream["Service"]) => Effect.Effect<unknown, unknown, Scope.Scope>

/** Gives the response that is still to be sent: none, where it is the one given. */
const connect = (
  agreed: Agreed,
  response: HttpServerResponse.HttpServerResponse,
  handled: Handled
): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  const head = withHeadersOf(agreed.decision.response, response)
  const connected = agreed.desk.admit.pipe(
    Effect.andThen(Effect.mapError(Effect.fromResult(HttpHead.formatResponse(head)), Declining.faulty)),
    Effect.matchEffect({
      onFailure: decline,
      onSuccess: (bytes) => Effect.as(converse(agreed, head, bytes, handled), response)
    }),
    Effect.scoped,
    Effect.interruptible,
    Effect.catchCause((cause) => Effect.as(Logging.failure(cause), response))
  )
  return agreed.desk.serving(connected)
}

const isWrittenByHandshake = (name: string): boolean =>
  name.startsWith("sec-websocket-") || ["upgrade", "connection", "content-length", "transfer-encoding"].includes(name)

const withHeadersOf = (
  head: HttpHead.ResponseHead,
  response: HttpServerResponse.HttpServerResponse
): HttpHead.ResponseHead => {
  const headers = Object.entries(response.headers).filter(([name]) => !isWrittenByHandshake(name))
  const cookies = Cookies.toSetCookieHeaders(response.cookies).map((cookie) => ["Set-Cookie", cookie] as const)
  return { ...head, headers: [...head.headers, ...headers, ...cookies] }
}

const converse = Effect.fnUntraced(
  function*(agreed: Agreed, head: HttpHead.ResponseHead, bytes: Uint8Array, handled: Handled) {
    const stream = yield* open(agreed, head, bytes)
    yield* agreed.desk.handling(stream, handled(stream))
  },
  (connection, { request }) =>
    Effect.withSpan(connection, "WebSocketServer.connection", { attributes: { "url.path": request.target } })
)

const open = (agreed: Agreed, head: HttpHead.ResponseHead, bytes: Uint8Array) => {
  const { config, decision, handover, request } = agreed
  const scope = Scope.makeUnsafe()
  return handover.take.pipe(
    Effect.flatMap((connection) => Link.open(connection, scope)),
    Effect.tap((link) => link.writer.write(bytes)),
    Effect.mapError(transportFailed),
    Effect.flatMap((link) =>
      Stream.make({
        role: "server",
        link,
        handshake: {
          request: request.head,
          response: head,
          subprotocol: HttpHead.values(head.headers, "sec-websocket-protocol")[0],
          extensions: decision.extensions,
          peerAddress: request.peerAddress
        },
        config: WebSocketConfig.override(config, decision.acceptance.config),
        compression: decision.compression,
        leftover: new Uint8Array(0)
      })
    ),
    Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void)
  )
}
