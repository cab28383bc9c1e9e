/**
 * When to come back, told by a server that lets its clients go.
 *
 * A server that drains puts a time into the reason of each Close frame, as
 * `retry-after=1234` in milliseconds, and another one for every peer, so that
 * they do not all come back at once (RFC 6455 section 7.2.3). One that declines
 * a request says it in whole seconds, by the header Retry-After.
 *
 * @since 1.0.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as WebSocketError from "./WebSocketError.ts"

/**
 * The times a hint is drawn from, each as likely as the others.
 *
 * @category models
 * @since 1.0.0
 */
export interface Range {
  readonly min: Duration.Input
  readonly max: Duration.Input
}

/**
 * Draws a time, in whole milliseconds, from Effect's `Random`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const draw = (range: Range): Effect.Effect<Duration.Duration> => {
  const min = Duration.toMillis(Duration.fromInputUnsafe(range.min))
  const max = Duration.toMillis(Duration.fromInputUnsafe(range.max))
  return Effect.map(Random.next, (chance) => Duration.millis(Math.round(min + chance * Math.max(0, max - min))))
}

/**
 * The reason of a Close frame that carries a hint.
 *
 * **Example** (Saying when to come back)
 *
 * ```ts import.meta.vitest
 * import * as RetryHint from "effect-websocket/RetryHint"
 * import * as Duration from "effect/Duration"
 *
 * RetryHint.format(Duration.seconds(2)) // => "retry-after=2000"
 * Duration.toMillis(RetryHint.parse("retry-after=2000")!) // => 2000
 * RetryHint.parse("bye") // => undefined
 * ```
 *
 * @category encoding
 * @since 1.0.0
 */
export const format = (hint: Duration.Duration): string => `retry-after=${Math.round(Duration.toMillis(hint))}`

// Nine digits are eleven days: no reason of a peer's may ask for more.
const form = /^retry-after=(\d{1,9})$/

/**
 * The hint in the reason of a Close frame, if it is one.
 *
 * @category decoding
 * @since 1.0.0
 */
export const parse = (reason: string): Duration.Duration | undefined => {
  const [, millis] = form.exec(reason) ?? []
  return millis === undefined ? undefined : Duration.millis(Number(millis))
}

/**
 * When the server asked this client to come back: in the Close frame it sent, or
 * with the refusal of a request. `undefined` where it said nothing of it.
 *
 * **Example** (Waiting as long as the server asks)
 *
 * ```ts import.meta.vitest
 * import * as RetryHint from "effect-websocket/RetryHint"
 * import * as WebSocketError from "effect-websocket/WebSocketError"
 * import * as Duration from "effect/Duration"
 *
 * const received = { code: 1012, reason: "retry-after=1500" }
 * const status = new WebSocketError.CloseStatus({
 *   ...received,
 *   received,
 *   sent: { code: 1012, reason: "" },
 *   initiator: "peer",
 *   clean: true
 * })
 * Duration.toMillis(RetryHint.of(status)!) // => 1500
 * ```
 *
 * @category getters
 * @since 1.0.0
 */
export const of = (
  ended:
    | WebSocketError.CloseStatus
    | WebSocketError.HandshakeError
    | WebSocketError.ReadError
    | WebSocketError.WriteError
): Duration.Duration | undefined => {
  if (ended instanceof WebSocketError.CloseStatus) return parse(ended.received?.reason ?? "")
  const { reason } = ended
  if (reason._tag === "ConnectionClosed") return of(reason.status)
  if (reason._tag !== "UpgradeDeclined" || reason.retryAfter === undefined) return undefined
  return Duration.millis(reason.retryAfter)
}
