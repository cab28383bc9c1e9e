/**
 * When to come back, as whatever failed tells it.
 *
 * @since 1.0.0
 */
import * as Duration from "effect/Duration"
import * as RetryHint from "../RetryHint.ts"
import * as WebSocketError from "../WebSocketError.ts"

/**
 * As `RetryHint.of`, of a failure that may be another's.
 *
 * @internal
 */
export const hintOf = (failure: unknown): Duration.Duration | undefined =>
  failure instanceof WebSocketError.HandshakeError ||
    failure instanceof WebSocketError.ReadError ||
    failure instanceof WebSocketError.WriteError
    ? RetryHint.of(failure)
    : undefined

/**
 * How long to wait where a schedule says `delay` and the server asks by a hint, of which at most `most` is heeded.
 *
 * @internal
 */
export const longer = (
  delay: Duration.Duration,
  hint: Duration.Duration | undefined,
  most: Duration.Input
): Duration.Duration => Duration.max(delay, Duration.min(hint ?? Duration.zero, Duration.fromInputUnsafe(most)))
