/**
 * Whether and how a request for an upgrade is accepted, RFC 6455 sections 4.2.1
 * and 4.2.2, wherever it was read.
 *
 * @since 1.0.0
 */
import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import type { Extension } from "@effect-websocket/protocol/Extension"
import * as Handshake from "@effect-websocket/protocol/Handshake"
import type { HandshakeError } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as WebSocketError from "../WebSocketError.ts"
import type { Acceptance, AcceptOptions, Refusal, UpgradeRequest } from "../WebSocketServer.ts"
import type * as Compression from "./compression.ts"
import * as Declining from "./declining.ts"
import { acceptOf, handshakeError, toHeaders } from "./heads.ts"
import type { Link } from "./link.ts"

/** Where a request comes from, as far as that is known. */
interface From {
  readonly peerAddress: NetAddress.SocketAddress | undefined
}

/**
 * Checks a request by the rules, and its Origin by the policy. `host` is what
 * the request was sent to, where a proxy knows better than its Host.
 *
 * @internal
 */
export const check = <R>(
  head: HttpHead.RequestHead,
  options: AcceptOptions<R>,
  from: From,
  host?: string
): Result.Result<UpgradeRequest, HandshakeError> =>
  checkOrigin(
    host === undefined
      ? Handshake.checkRequest(head)
      : Result.map(Handshake.checkRequest(head), (request) => ({ ...request, host })),
    options,
    from
  )

/**
 * The same for a request over HTTP/2, whose size nobody has checked before.
 *
 * @internal
 */
export const checkConnect = <R>(
  fields: ExtendedConnect.Fields,
  options: AcceptOptions<R>,
  from: From,
  limits: HttpHead.Limits
): Result.Result<UpgradeRequest, HandshakeError> =>
  checkOrigin(
    Result.flatMap(ExtendedConnect.checkSize(fields, limits), ExtendedConnect.checkRequest),
    options,
    from
  )

const checkOrigin = <R>(
  valid: Result.Result<Handshake.OpeningRequest & { readonly key?: string }, HandshakeError>,
  { origins = "same-origin", secure = false }: AcceptOptions<R>,
  from: From
): Result.Result<UpgradeRequest, HandshakeError> => {
  const checked = Result.isFailure(valid) ? valid : Handshake.checkOrigin(valid.success, origins, secure)
  return Result.isFailure(checked) ? Result.fail(checked.failure) : Result.succeed(new Asking(checked.success, from))
}

// Who it is takes some reading, and most never ask.
class Asking implements UpgradeRequest {
  readonly head: HttpHead.RequestHead
  readonly target: string
  readonly host: string
  readonly key: string | undefined
  readonly origin: string | undefined
  readonly subprotocols: ReadonlyArray<string>
  readonly extensions: ReadonlyArray<Extension>
  readonly #from: From

  constructor(request: Handshake.OpeningRequest & { readonly key?: string }, from: From) {
    this.head = request.head
    this.target = request.target
    this.host = request.host
    this.key = request.key
    this.origin = request.origin
    this.subprotocols = request.subprotocols
    this.extensions = request.extensions
    this.#from = from
  }

  get peerAddress(): NetAddress.SocketAddress | undefined {
    return this.#from.peerAddress
  }
}

/**
 * What was decided about a request that is let in.
 *
 * @internal
 */
export interface Decision {
  readonly acceptance: Acceptance
  readonly response: HttpHead.ResponseHead
  readonly extensions: ReadonlyArray<Extension>
  readonly compression: Compression.Compression | undefined
}

/**
 * Asks the application about a request, and makes the response.
 *
 * @internal
 */
export const decide = <R>(
  request: UpgradeRequest,
  options: AcceptOptions<R>,
  offer: Compression.Offer | undefined
): Effect.Effect<Decision, Declining.Declined, R> => {
  // Where the application has no say there is nothing to wait for.
  if (options.accept === undefined) return Effect.suspend(() => Effect.fromResult(agree({}, request, options, offer)))
  const accept = options.accept
  return Effect.suspend(() => accept(request)).pipe(
    Effect.mapError((refusal: Refusal) => Declining.refused(refusal.status, refusal)),
    Effect.catchDefect((defect) => Effect.fail(Declining.died(defect))),
    Effect.flatMap((acceptance) => Effect.fromResult(agree(acceptance, request, options, offer)))
  )
}

const nothingAgreed: ReadonlyArray<Extension> = []

/**
 * Makes the response to a request that is let in.
 *
 * @internal
 */
export const agree = <R>(
  acceptance: Acceptance,
  request: UpgradeRequest,
  options: AcceptOptions<R>,
  offer: Compression.Offer | undefined
): Result.Result<Decision, Declining.Declined> => {
  const chosen = "subprotocol" in acceptance
    ? acceptance.subprotocol
    : options.subprotocols?.find((name) => request.subprotocols.includes(name))
  if (chosen !== undefined && !request.subprotocols.includes(chosen)) {
    const error = new WebSocketError.SubprotocolRefused({ offered: request.subprotocols, chosen })
    return Result.fail(Declining.declined(handshakeError(error), Declining.refused(500).refusal))
  }
  const headers = toHeaders(acceptance.headers)
  const accepted = offer && PerMessageDeflate.acceptOffer(request.extensions, offer.options)
  const extensions = accepted === undefined ? nothingAgreed : [accepted.response]
  const compression = accepted && offer && { ...offer, agreement: accepted.agreement }
  const response = makeResponse(request, { subprotocol: chosen, extensions, headers })
  return Result.isFailure(response)
    ? Result.fail(Declining.faulty(response.failure))
    : Result.succeed({ acceptance, response: response.success, extensions, compression })
}

const makeResponse = ({ key }: UpgradeRequest, options: Omit<Handshake.ResponseOptions, "accept">) =>
  key === undefined
    ? ExtendedConnect.makeResponse(options)
    : Handshake.makeResponse({ ...options, accept: acceptOf(key) })

/**
 * Sends the response.
 *
 * @internal
 */
export const respond = (link: Link, response: HttpHead.ResponseHead): Effect.Effect<void, Declining.Declined> =>
  link.bootstrap?._tag === "Asked"
    ? Effect.mapError(link.bootstrap.respond(ExtendedConnect.formatResponse(response)), Declining.lost)
    : respondUpgrade(link, response)

const respondUpgrade = (link: Link, response: HttpHead.ResponseHead): Effect.Effect<void, Declining.Declined> => {
  const bytes = HttpHead.formatResponse(response)
  return Result.isFailure(bytes)
    ? Effect.fail(Declining.faulty(bytes.failure))
    : Effect.mapError(link.writer.write(bytes.success), Declining.lost)
}
