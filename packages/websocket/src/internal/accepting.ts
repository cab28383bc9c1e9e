/**
 * Whether and how a request for an upgrade is accepted, RFC 6455 sections 4.2.1
 * and 4.2.2, wherever it was read.
 *
 * @since 1.0.0
 */
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
): Result.Result<UpgradeRequest, HandshakeError> => {
  const { origins = "same-origin", secure = false } = options
  return Result.flatMap(
    Handshake.checkRequest(head),
    (request) =>
      Result.map(
        Handshake.checkOrigin({ ...request, host: host ?? request.host }, origins, secure),
        (request) => ({ ...request, peerAddress })
      )
  )
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
        Handshake.makeResponse({ accept: acceptOf(request.key), subprotocol: chosen, extensions, headers }),
        {
          onFailure: Declining.faulty,
          onSuccess: (response): Decision => ({ acceptance, response, extensions, compression })
        }
      ))
    })
  )
}

/**
 * Sends the response.
 *
 * @internal
 */
export const respond = (link: Link, response: HttpHead.ResponseHead): Effect.Effect<void, Declining.Declined> =>
  Effect.fromResult(HttpHead.formatResponse(response)).pipe(
    Effect.mapError(Declining.faulty),
    Effect.flatMap((bytes) => Effect.mapError(link.writer.write(bytes), Declining.lost))
  )
