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

/**
 * Checks a request by the rules, and its Origin by the policy. `host` is what
 * the request was sent to, where a proxy knows better than its Host.
 *
 * @internal
 */
export const check = <R>(
  head: HttpHead.RequestHead,
  options: AcceptOptions<R>,
  peerAddress: NetAddress.SocketAddress | undefined,
  host?: string
): Result.Result<UpgradeRequest, HandshakeError> =>
  checkOrigin(
    Result.map(Handshake.checkRequest(head), (request) => ({ ...request, host: host ?? request.host })),
    options,
    peerAddress
  )

/**
 * The same for a request over HTTP/2, whose size nobody has checked before.
 *
 * @internal
 */
export const checkConnect = <R>(
  fields: ExtendedConnect.Fields,
  options: AcceptOptions<R>,
  peerAddress: NetAddress.SocketAddress | undefined,
  limits: HttpHead.Limits
): Result.Result<UpgradeRequest, HandshakeError> =>
  checkOrigin(
    Result.flatMap(ExtendedConnect.checkSize(fields, limits), ExtendedConnect.checkRequest),
    options,
    peerAddress
  )

const checkOrigin = <R>(
  valid: Result.Result<Handshake.OpeningRequest, HandshakeError>,
  { origins = "same-origin", secure = false }: AcceptOptions<R>,
  peerAddress: NetAddress.SocketAddress | undefined
): Result.Result<UpgradeRequest, HandshakeError> =>
  Result.map(
    Result.flatMap(valid, (request) => Handshake.checkOrigin(request, origins, secure)),
    (request) => ({ ...request, peerAddress })
  )

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
  const decision: Effect.Effect<Acceptance, Refusal, R> = Effect.suspend(() =>
    options.accept?.(request) ?? Effect.succeed({})
  )
  return decision.pipe(
    Effect.mapError((refusal) => Declining.refused(refusal.status, refusal)),
    Effect.catchDefect((defect) => Effect.fail(Declining.died(defect))),
    Effect.flatMap((acceptance) => {
      const chosen = "subprotocol" in acceptance
        ? acceptance.subprotocol
        : options.subprotocols?.find((name) => request.subprotocols.includes(name))
      if (chosen !== undefined && !request.subprotocols.includes(chosen)) {
        const error = new WebSocketError.SubprotocolRefused({ offered: request.subprotocols, chosen })
        return Effect.fail(Declining.declined(handshakeError(error), Declining.refused(500).refusal))
      }
      const headers = toHeaders(acceptance.headers)
      const accepted = offer && PerMessageDeflate.acceptOffer(request.extensions, offer.options)
      const extensions = accepted === undefined ? [] : [accepted.response]
      const compression = accepted && offer && { ...offer, agreement: accepted.agreement }
      return Effect.fromResult(Result.mapBoth(
        makeResponse(request, { subprotocol: chosen, extensions, headers }),
        {
          onFailure: Declining.faulty,
          onSuccess: (response): Decision => ({ acceptance, response, extensions, compression })
        }
      ))
    })
  )
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

const respondUpgrade = (link: Link, response: HttpHead.ResponseHead): Effect.Effect<void, Declining.Declined> =>
  Effect.fromResult(HttpHead.formatResponse(response)).pipe(
    Effect.mapError(Declining.faulty),
    Effect.flatMap((bytes) => Effect.mapError(link.writer.write(bytes), Declining.lost))
  )
