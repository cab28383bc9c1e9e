/**
 * When to come back, as whatever failed tells it.
 *
 * @since 1.0.0
 */
import type * as Duration from "effect/Duration"
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
