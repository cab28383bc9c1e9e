/**
 * What a server logs about its connections.
 *
 * @since 1.0.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as WebSocketError from "../WebSocketError.ts"

const isPeersDoing = (error: unknown): boolean =>
  error instanceof WebSocketError.ReadError ||
  (error instanceof WebSocketError.WriteError &&
    (error.reason._tag === "ConnectionClosed" || error.reason._tag === "TransportFailed"))

/**
 * Logs how a connection's handler failed, where it is not by an interruption: at
 * debug level where it is the peer's doing.
 *
 * @internal
 */
export const failure = <E>(cause: Cause.Cause<E>): Effect.Effect<void> => {
  const reasons = cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
  if (reasons.length === 0) return Effect.void
  return reasons.every((reason) => Cause.isFailReason(reason) && isPeersDoing(reason.error))
    ? Effect.logDebug("WebSocket connection failed", cause)
    : Effect.logError("WebSocket handler failed", cause)
}
