/**
 * A gap of Effect's own WebSocket path, measured there and here, and what is to be said about it.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** What Effect's own path lacks, by the number it has in the table. */
export const gaps = {
  1: "writes have no back-pressure",
  2: "shutdown waits for open sockets",
  3: "an application without a router cannot be stopped",
  4: "a refusal is not told",
  5: "a server lets everybody in, and says little",
  6: "nothing of the protocol can be reached",
  7: "a client's options are fixed, its close is careless",
  8: "RPC over sockets loses the handshake's headers",
  9: "RPC dies of a write, its heartbeats are messages",
  10: "no WebSocket over HTTP/2 nor on an HttpApi",
  11: "no telemetry",
  12: "reads without bound"
} as const

/** What one side does about it: how it is seen, and its end. */
export type Side<A> = Effect.Effect<A, unknown, Scope.Scope>

/** Something that can be observed of both sides. */
export interface Options<A> {
  readonly gap: keyof typeof gaps
  readonly what: string
  readonly theirs: Side<A>
  readonly ours: Side<A>
  readonly show: (value: A) => string
  /** Whether the value is as it should be: no gap. */
  readonly isGood: (value: A) => boolean
  /** Why the gap cannot be closed, or where it cannot be. */
  readonly reason?: string
}

/** What came of a measurement. */
export interface Row {
  readonly gap: keyof typeof gaps
  readonly what: string
  readonly theirs: string
  readonly ours: string
  readonly verdict: string
  readonly isSettled: boolean
}

/** One to be made. */
export type Measurement = Effect.Effect<Row>

/** Longest time for one side of one measurement. */
const timeout = "40 seconds"

interface Seen {
  readonly text: string
  readonly isGood: boolean
}

const see = <A>(side: Side<A>, { isGood, show }: Options<A>): Effect.Effect<Seen> =>
  Effect.scoped(side).pipe(
    Effect.timeout(timeout),
    Effect.matchCause({
      onSuccess: (value) => ({ text: show(value), isGood: isGood(value) }),
      onFailure: (cause) => ({ text: `failed: ${Cause.prettyErrors(cause)[0]?.message}`, isGood: false })
    })
  )

const verdictOf = (theirs: Seen, ours: Seen, reason: string | undefined): string => {
  if (!ours.isGood) return reason === undefined ? "OPEN" : `open: ${reason}`
  const closed = theirs.isGood ? "closed, by Effect as well" : "closed"
  return reason === undefined ? closed : `${closed}; ${reason}`
}

/** Observes both sides, one after the other. */
export const make = <A>(options: Options<A>): Measurement =>
  Effect.gen(function*() {
    const theirs = yield* see(options.theirs, options)
    const ours = yield* see(options.ours, options)
    const { gap, reason, what } = options
    return {
      gap,
      what,
      theirs: theirs.text,
      ours: ours.text,
      verdict: verdictOf(theirs, ours, reason),
      isSettled: ours.isGood || reason !== undefined
    }
  })

/** How long something took, in whole milliseconds. */
export const millisOf = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    yield* effect
    return (yield* Clock.currentTimeMillis) - start
  })

/**
 * Waits until a number has not changed while the event loop went round 25 times, and gives it. Both ends are on that
 * loop, so that a machine which is busy with something else delays them and the one who looks alike.
 */
export const settled = Effect.fnUntraced(function*(value: () => number) {
  let last = value()
  for (let unchanged = 0; unchanged < 25; unchanged++) {
    yield* Effect.sleep("10 millis")
    if (value() !== last) unchanged = 0
    last = value()
  }
  return last
})
