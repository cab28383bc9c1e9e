/**
 * What a server tells a client that it does not let in, RFC 6455 section 4.2.2.
 *
 * @since 1.0.0
 */
import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import * as Handshake from "@effect-websocket/protocol/Handshake"
import type { HandshakeError as HandshakeRule } from "@effect-websocket/protocol/HandshakeError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { TransportError } from "../Transport.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import * as WebSocketError from "../WebSocketError.ts"
import { handshakeError, type HeadersInput, ruleBroken, toHeaders, transportFailed } from "./heads.ts"
import type { Link } from "./link.ts"

/**
 * Why there is no connection, and what the client is told, if it still can be.
 *
 * @internal
 */
export interface Declined {
  readonly cause: Cause.Cause<WebSocketError.HandshakeError>
  readonly refusal: Handshake.Refusal | undefined
}

/**
 * Declines for a reason, with an answer or without.
 *
 * @internal
 */
export const declined = (error: WebSocketError.HandshakeError, refusal?: Handshake.Refusal): Declined => ({
  cause: Cause.fail(error),
  refusal
})

/**
 * There is nobody left to answer.
 *
 * @internal
 */
export const lost = (error: TransportError): Declined => declined(transportFailed(error))

/**
 * The request breaks a rule.
 *
 * @internal
 */
export const broken = (error: HandshakeRule, refusalOf = Handshake.refusalOf): Declined =>
  declined(ruleBroken("request", error), refusalOf(error))

/**
 * The server has decided against it.
 *
 * @internal
 */
export const refused = (
  status: number,
  options?: { readonly headers?: HeadersInput | undefined; readonly body?: string | undefined }
): Declined => {
  const refusal = Handshake.makeRefusal(status, { ...options, headers: toHeaders(options?.headers) })
  return Result.isFailure(refusal)
    ? faulty(refusal.failure)
    : declined(handshakeError(new WebSocketError.Refused({ status })), refusal.success)
}

/**
 * What the server would answer breaks a rule, by its own fault.
 *
 * @internal
 */
export const faulty = (error: HandshakeRule): Declined => declined(ruleBroken("response", error), refused(500).refusal)

/**
 * There is no room now, or there will be none any more.
 *
 * @internal
 */
export const full = refused(503, { headers: { "Retry-After": "1" } })

/**
 * The server drains. Retry-After has whole seconds, RFC 9110 section 10.2.3.
 *
 * @internal
 */
export const leaving = (retryAfter: Duration.Duration): Declined =>
  refused(503, { headers: { "Retry-After": String(Math.max(1, Math.ceil(Duration.toSeconds(retryAfter)))) } })

/**
 * The handshake takes too long. Once the response is on its way nothing else can be answered.
 *
 * @internal
 */
export const slow = (timeout: Duration.Input, responding: boolean): Declined => {
  const error = new WebSocketError.HandshakeTimeout({ timeout: Duration.toMillis(timeout) })
  return declined(handshakeError(error), responding ? undefined : refused(408).refusal)
}

/**
 * The server has a fault. It stays a defect.
 *
 * @internal
 */
export const died = (defect: unknown): Declined => ({ cause: Cause.die(defect), refusal: refused(500).refusal })

/**
 * Answers, ends this side, and waits a bounded time for the client to have read
 * it: what it has pipelined behind the request is never looked at.
 *
 * @internal
 */
export const refuse = (
  link: Link,
  refusal: Handshake.Refusal,
  config: WebSocketConfig
): Effect.Effect<void> =>
  link.bootstrap?._tag === "Asked"
    // RFC 9113 section 8.1: a stream may be reset behind a whole response, so nobody is waited for
    ? Effect.ignore(link.bootstrap.respond(ExtendedConnect.formatResponse(refusal.head), refusal.body))
    : refuseUpgrade(link, refusal, config)

const refuseUpgrade = (link: Link, refusal: Handshake.Refusal, config: WebSocketConfig): Effect.Effect<void> => {
  const drain: Effect.Effect<never, TransportError> = Effect.flatMap(link.pull, () => drain)
  return Effect.fromResult(Handshake.encodeRefusal(refusal)).pipe(
    Effect.flatMap((bytes) => link.writer.write(bytes)),
    Effect.andThen(link.halfClose),
    Effect.andThen(drain),
    Effect.timeoutOption(config.closeTimeout),
    Effect.ignore
  )
}
