/**
 * What Effect's `HttpServerRequest.upgrade` gives here: a `Socket` over a
 * `WebSocketStream`.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Headers from "effect/http/Headers"
import * as HttpEffect from "effect/http/HttpEffect"
import { HttpServerError, RequestParseError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Respondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as WebSocketError from "../WebSocketError.ts"
import type { AcceptOptions } from "../WebSocketServer.ts"
import * as WebSocketSocket from "../WebSocketSocket.ts"
import type { WebSocketStream } from "../WebSocketStream.ts"
import { handshakeError } from "./heads.ts"
import * as Upgrading from "./upgrading.ts"

type Response = HttpServerResponse.HttpServerResponse

/** A request that is not let in, and what it is answered. */
class Declined extends RequestParseError {
  readonly #answer: Response

  constructor(request: HttpServerRequest, answer: Response) {
    super({ request, description: `declined with ${answer.status}` })
    this.#answer = answer
  }

  override [Respondable.symbol]() {
    return Effect.succeed(this.#answer)
  }

  /** It is the client's doing. */
  override readonly [ErrorReporter.ignore] = true
}

type Writable = { -readonly [Member in "modify" | "upgradeWith"]: HttpServerRequest[Member] }

// One of each for all requests: made anew for every page, they would cost more than its route.
function upgradeWith(this: HttpServerRequest, { headers }: Parameters<HttpServerRequest["upgradeWith"]>[0]) {
  return upgrade(this, Headers.fromInput(headers))
}

function modify(this: HttpServerRequest, options: Parameters<HttpServerRequest["modify"]>[0]) {
  return adapt(Object.getPrototypeOf(this).modify.call(this, options))
}

/**
 * Has a request upgraded by this library, and what it is modified to. Its
 * `upgrade` is `upgradeWith` without headers.
 *
 * It is changed in place: one that stands before the request, as its prototype
 * or a proxy, makes the engine forget what it has learned about requests, and
 * doubles what a page costs.
 *
 * @internal
 */
export const adapt = (request: HttpServerRequest): HttpServerRequest => {
  const own = request as Writable
  own.upgradeWith = upgradeWith
  own.modify = modify
  return request
}

const upgrade = Effect.fnUntraced(function*(
  request: HttpServerRequest,
  headers: Headers.Headers
): Effect.fn.Return<Socket.Socket, HttpServerError> {
  const sockets = (yield* Upgrading.Current)?.sockets ?? {}
  const agreed = yield* Upgrading.agree(withFirstSubprotocol(sockets)).pipe(
    Effect.provideService(HttpServerRequest, request),
    Effect.mapError((answer) => new HttpServerError({ reason: new Declined(request, answer) }))
  )
  return yield* WebSocketSocket.make(connect(agreed, HttpServerResponse.empty({ status: 101, headers })))
})

// A browser fails a connection for which it offered subprotocols and none was chosen.
const withFirstSubprotocol = (options: AcceptOptions): AcceptOptions =>
  options.accept !== undefined || options.subprotocols !== undefined
    ? options
    : { ...options, accept: ({ subprotocols }) => Effect.succeed({ subprotocol: subprotocols[0] }) }

const connect = (
  agreed: Upgrading.Agreed,
  response: Response
): Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError, Scope.Scope> =>
  Upgrading.connect(agreed, response).pipe(
    Effect.catch((error) => HttpServerResponse.isHttpServerResponse(error) ? declined(error) : Effect.fail(error)),
    Effect.tap((stream) => agreed.desk.attend(stream))
  )

// Whatever the application makes of it, this is what is answered.
const declined = (answer: Response): Effect.Effect<never, WebSocketError.HandshakeError> =>
  Effect.contextWith((context) => {
    HttpEffect.appendPreResponseHandlerUnsafe(context, () => Effect.succeed(answer))
    return Effect.fail(handshakeError(new WebSocketError.Refused({ status: answer.status })))
  })
