/**
 * What a server logs about its connections.
 *
 * @since 1.0.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type * as NetAddress from "effect/net/NetAddress"
import * as WebSocketError from "../WebSocketError.ts"
import { annotationsOf } from "./tracing.ts"

/** Whose connection it is, as far as it is known. */
interface About {
  readonly peerAddress: NetAddress.SocketAddress | undefined
  /** Of the request. */
  readonly target?: string | undefined
}

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
export const failure = <E>(cause: Cause.Cause<E>, about: About | undefined): Effect.Effect<void> => {
  const reasons = cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
  if (reasons.length === 0) return Effect.void
  return reasons.every((reason) => Cause.isFailReason(reason) && isPeersDoing(reason.error))
    ? atDebug(() => annotated(Effect.logDebug("WebSocket connection failed", cause), about))
    : annotated(Effect.logError("WebSocket handler failed", cause), about)
}

/**
 * Logs why a handshake failed, at debug level: that is for the client to know.
 *
 * @internal
 */
export const handshakeFailed = (why: unknown, about: About): Effect.Effect<void> =>
  atDebug(() => annotated(Effect.logDebug("WebSocket handshake failed", why), about))

const annotated = (logged: Effect.Effect<void>, about: About | undefined): Effect.Effect<void> =>
  Effect.annotateLogs(logged, annotationsOf(about?.peerAddress, about?.target))

// Every connection ends with such a line, and few programs have it written.
const atDebug = (log: () => Effect.Effect<void>): Effect.Effect<void> =>
  Effect.flatMap(isDebugging, (isDebugging) => isDebugging ? log() : Effect.void)

const isDebugging = LogLevel.isEnabled("Debug")
