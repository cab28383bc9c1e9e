/**
 * A request that an HTTP server has read, on its way to become a connection.
 *
 * @since 1.0.0
 */
import type * as Handshake from "@effect-websocket/protocol/Handshake"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cookies from "effect/http/Cookies"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Handover } from "../HttpUpgrade.ts"
import * as WebSocketConfig from "../WebSocketConfig.ts"
import type { HandshakeError } from "../WebSocketError.ts"
import type { AcceptOptions, UpgradeRequest } from "../WebSocketServer.ts"
import type { WebSocketStream } from "../WebSocketStream.ts"
import * as Accepting from "./accepting.ts"
import * as Compression from "./compression.ts"
import * as Declining from "./declining.ts"
import type { Desk } from "./desk.ts"
import { transportFailed } from "./heads.ts"
import * as Link from "./link.ts"
import * as Logging from "./logging.ts"
import * as Stream from "./stream.ts"
import * as Telemetry from "./telemetry.ts"

type Response = HttpServerResponse.HttpServerResponse

/**
 * What the request at hand may take, and whose it is then.
 *
 * @internal
 */
export interface Current {
  readonly handover: Handover
  readonly desk: Desk
  readonly config: WebSocketConfig.WebSocketConfig
  /** How `HttpServerRequest.upgrade` accepts. */
  readonly sockets: AcceptOptions
}

/**
 * Where a route finds it. A request that no connection comes with has none.
 *
 * @internal
 */
export const Current: Context.Reference<Current | undefined> = Context.Reference<Current | undefined>(
  "effect-websocket/HttpUpgrade/Current",
  { defaultValue: () => undefined }
)

/**
 * A request that is let in, and how.
 *
 * @internal
 */
export interface Agreed extends Current {
  readonly decision: Accepting.Decision
  readonly request: UpgradeRequest
}

/**
 * Checks and decides about the request at hand. Fails with what it is answered
 * where it is not let in; a decision that dies stays a defect.
 *
 * @internal
 */
export const agree = <R>(
  options: AcceptOptions<R>
): Effect.Effect<Agreed, Response, HttpServerRequest | R> =>
  Effect.flatMap(check(options), ({ current, request }) =>
    decide(request, options, current).pipe(
      Effect.interruptible,
      Effect.map((decision) => ({ ...current, decision, request })),
      Effect.catch((declined) => answer(declined, request))
    ))

const check = Effect.fnUntraced(function*<R>(options: AcceptOptions<R>) {
  const request = yield* HttpServerRequest
  const current = yield* Current
  const secure = request.protocol === undefined ? current?.handover.secure : request.protocol === "https"
  const checked = Accepting.check(
    current?.handover.head ?? headOf(request),
    { ...options, secure: options.secure ?? secure },
    current?.handover ?? { peerAddress: undefined },
    request.headers["host"]
  )
  if (Result.isFailure(checked)) {
    const { handover } = current ?? {}
    return yield* answer(Declining.broken(checked.failure), {
      peerAddress: handover?.peerAddress,
      target: request.originalUrl
    })
  }
  if (current === undefined) {
    return yield* Effect.die(new Error("This HTTP server does not hand over connections for WebSocket"))
  }
  const config = WebSocketConfig.override(current.config, options.config)
  return { current: { ...current, config }, request: checked.success }
})

// A HEAD is answered as its GET would be.
const headOf = (request: HttpServerRequest): HttpHead.RequestHead => ({
  method: request.method === "HEAD" ? "GET" : request.method,
  target: request.originalUrl,
  version: "HTTP/1.1",
  headers: Object.entries(request.headers)
})

const decide = <R>(
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

// The HTTP server answers for a defect as it does for others.
const answer = (
  { cause, refusal }: Declining.Declined,
  request: Pick<UpgradeRequest, "peerAddress" | "target">
): Effect.Effect<never, Response> => {
  const failed = Telemetry.handshakeFailed("server", cause)
  if (Cause.hasDies(cause)) return Effect.andThen(failed, Effect.die(Cause.squash(cause)))
  const response = refusal === undefined ? HttpServerResponse.empty({ status: 500 }) : responseOf(refusal)
  const logged = Effect.andThen(failed, Logging.handshakeFailed(cause, request))
  return Effect.andThen(logged, Effect.fail(response))
}

// What the HTTP server is told apart from the headers.
const apart = new Set(["content-length", "content-type", "set-cookie"])

const responseOf = ({ body, head }: Handshake.Refusal): Response => {
  const headers = head.headers.map(([name, value]) => [HttpHead.lowerAscii(name), value] as const)
  return HttpServerResponse.uint8Array(body, {
    status: head.status,
    statusText: head.reason,
    contentType: HttpHead.values(head.headers, "content-type").join(", "),
    headers: headers.filter(([name]) => !apart.has(name)),
    cookies: Cookies.fromSetCookie(HttpHead.values(head.headers, "set-cookie"))
  })
}

/**
 * Takes the connection and speaks WebSocket over it, for as long as the scope
 * is open. `response` is the 101 with its further headers and cookies. Where
 * there is no room any more, or they cannot be sent, it fails with what is
 * answered; once the connection is taken, with a `HandshakeError`.
 *
 * @internal
 */
export const connect = Effect.fnUntraced(function*(
  agreed: Agreed,
  response: Response
): Effect.fn.Return<WebSocketStream["Service"], Response | HandshakeError, Scope.Scope> {
  const head = withHeadersOf(agreed.decision.response, response)
  const formatted = Effect.mapError(Effect.fromResult(HttpHead.formatResponse(head)), Declining.faulty)
  const bytes = yield* Effect.catch(
    Effect.andThen(agreed.desk.admit, formatted),
    (declined) => answer(declined, agreed.request)
  )
  return yield* open(agreed, head, bytes)
})

const isWrittenByHandshake = (name: string): boolean =>
  name.startsWith("sec-websocket-") || ["upgrade", "connection", "content-length", "transfer-encoding"].includes(name)

const withHeadersOf = (head: HttpHead.ResponseHead, response: Response): HttpHead.ResponseHead => {
  const headers = Object.entries(response.headers).filter(([name]) => !isWrittenByHandshake(name))
  const cookies = Cookies.toSetCookieHeaders(response.cookies).map((cookie) => ["Set-Cookie", cookie] as const)
  return { ...head, headers: [...head.headers, ...headers, ...cookies] }
}

const open = (
  { config, decision, handover, request }: Agreed,
  head: HttpHead.ResponseHead,
  bytes: Uint8Array
): Effect.Effect<WebSocketStream["Service"], HandshakeError, Scope.Scope> => {
  const scope = Scope.makeUnsafe()
  const handshake = {
    request: request.head,
    response: head,
    subprotocol: HttpHead.values(head.headers, "sec-websocket-protocol")[0],
    extensions: decision.extensions,
    peerAddress: request.peerAddress
  }
  return handover.take.pipe(
    Effect.flatMap((connection) => Link.open(connection, scope)),
    Effect.tap((link) => link.writer.write(bytes)),
    Effect.mapError(transportFailed),
    Effect.flatMap((link) =>
      Stream.make({
        role: "server",
        link,
        handshake,
        config: WebSocketConfig.override(config, decision.acceptance.config),
        compression: decision.compression,
        leftover: new Uint8Array(0)
      })
    ),
    Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void),
    Effect.onError((cause) => Telemetry.handshakeFailed("server", cause))
  )
}
