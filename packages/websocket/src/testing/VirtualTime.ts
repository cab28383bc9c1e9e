/**
 * Runs an Effect in time that moves by itself: whenever no fiber can run, the
 * clock jumps to the next sleep.
 *
 * Every fiber of the run is scheduled here, on one queue, so that the run is the
 * same each time, and so that it is known when all wait. With `interleave` the
 * seed decides who runs next, which finds what depends on the order. `Random` and
 * the masking keys come from the seed as well.
 *
 * @since 1.0.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Entropy from "../Entropy.ts"
import { type Ended, Machine, type SeededOptions, seededRandom } from "./internal/machine.ts"

/**
 * How to run.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /** Where chance comes from. Default 0. */
  readonly seed?: number | string | undefined
  /**
   * Whether the seed decides which of the fibers that can run runs next.
   * `"everywhere"`: also after how many operations they yield, from 3 to 66, so
   * that another fiber comes between any two of them with one seed or another.
   * With 3 `Effect.timeout` itself loses what comes as its time is up: it yields
   * before it interrupts what it waited for. Default `false`: first come, first served.
   */
  readonly interleave?: boolean | "everywhere" | undefined
  /** Virtual time after which the run fails with `TimeLimit`. Default 1 hour. */
  readonly maxTime?: Duration.Input | undefined
  /** Turns of fibers after which the run fails with `StepLimit`. Default 1000000. */
  readonly maxSteps?: number | undefined
  /**
   * Whether promises may be awaited: before each jump the event loop is given a
   * turn, in which those are settled that wait for nothing else. Without, a run
   * is faster and ends in one turn of the event loop. Default `true`.
   */
  readonly promises?: boolean | undefined
  /** The turn at which the run is interrupted, from 1. Default: never. */
  readonly interruptAt?: number | undefined
}

/**
 * All fibers wait, and nothing is left that could wake one.
 *
 * @category errors
 * @since 1.0.0
 */
export class Deadlock extends Data.TaggedError("Deadlock")<{
  /** Milliseconds of virtual time. */
  readonly time: number
  /** The fibers that wait, by their spans. */
  readonly waiting: ReadonlyArray<string>
}> {
  override get message(): string {
    return `After ${this.time} ms every fiber waits, and none sleeps:\n  ${this.waiting.join("\n  ")}`
  }
}

/**
 * The run took more virtual time than it may.
 *
 * @category errors
 * @since 1.0.0
 */
export class TimeLimit extends Data.TaggedError("TimeLimit")<{
  /** Milliseconds of virtual time. */
  readonly limit: number
  readonly waiting: ReadonlyArray<string>
}> {
  override get message(): string {
    return `The run has not ended after ${this.limit} ms:\n  ${this.waiting.join("\n  ")}`
  }
}

/**
 * The run took more turns than it may.
 *
 * @category errors
 * @since 1.0.0
 */
export class StepLimit extends Data.TaggedError("StepLimit")<{
  readonly limit: number
  /** Milliseconds of virtual time. */
  readonly time: number
}> {
  override get message(): string {
    return `The run has not ended after ${this.limit} turns, ${this.time} ms of virtual time`
  }
}

/**
 * Why a run was given up.
 *
 * @category errors
 * @since 1.0.0
 */
export type Stuck = Deadlock | TimeLimit | StepLimit

/**
 * Whether a run was given up with this error.
 *
 * @category guards
 * @since 1.0.0
 */
export const isStuck = (u: unknown): u is Stuck =>
  u instanceof Deadlock || u instanceof TimeLimit || u instanceof StepLimit

/**
 * How a run ended.
 *
 * @category models
 * @since 1.0.0
 */
export interface Outcome<A, E> {
  readonly exit: Exit.Exit<A, E | Stuck>
  /** Milliseconds of virtual time. */
  readonly time: number
  /** Turns of fibers. */
  readonly steps: number
  /** Fibers that outlived the run, by their spans. Where the run was given up: empty. */
  readonly left: ReadonlyArray<string>
}

const stuckError = (stuck: Ended<unknown, unknown>["exit"]): Stuck | undefined => {
  switch (stuck._tag) {
    case "Deadlock":
      return new Deadlock(stuck)
    case "TimeLimit":
      return new TimeLimit(stuck)
    case "StepLimit":
      return new StepLimit(stuck)
  }
}

const outcomeOf = <A, E>({ exit, ...ended }: Ended<A, E>): Outcome<A, E> => {
  const stuck = stuckError(exit)
  return { ...ended, exit: stuck === undefined ? exit as Exit.Exit<A, E> : Exit.fail(stuck) }
}

const defaults = { seed: 0, interleave: false, maxSteps: 1_000_000, promises: true, interruptAt: Infinity }

const settings = (options: Options | undefined): SeededOptions => {
  const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined)
  return {
    ...defaults,
    ...Object.fromEntries(given),
    maxTime: Duration.toMillis(options?.maxTime ?? "1 hour")
  }
}

/** After how many operations fibers yield, where the seed decides. */
const yieldsOf = ({ interleave, seed }: SeededOptions): Context.Context<never> =>
  interleave === "everywhere"
    ? Context.make(Scheduler.MaxOpsBeforeYield, 3 + Math.floor(seededRandom(`${seed}/yields`).nextDoubleUnsafe() * 64))
    : Context.empty()

/**
 * Runs an Effect and tells how it ended, whatever the end.
 *
 * **Details**
 *
 * Services, loggers and tracers are those of the environment. `finished` is run
 * when the Effect has ended or is given up, and all that can have run has,
 * before what outlived it is looked at.
 *
 * @category running
 * @since 1.0.0
 */
export const observe = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: Options & { readonly finished?: Effect.Effect<void> | undefined }
): Effect.Effect<Outcome<A, E>, never, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<Outcome<A, E>>((resume) => {
      const seeded = settings(options)
      const random = seededRandom(`${seeded.seed}/random`)
      const machine = new Machine(seeded, Context.get(context, Clock.Clock))
      const inside = Context.mergeAll(
        context,
        yieldsOf(seeded),
        Context.make(Scheduler.Scheduler, machine.scheduler),
        Context.make(Clock.Clock, machine.clock),
        Context.make(Random.Random, random),
        Context.make(Entropy.Entropy, Entropy.fromRandom(random)),
        Context.make(Current, machine)
      )
      machine.start(
        inside,
        effect,
        options?.finished ?? Effect.void,
        (ended) => resume(Effect.succeed(outcomeOf(ended)))
      )
      return Effect.sync(() => machine.abandon())
    })
  )

/**
 * Runs an Effect in time that moves by itself.
 *
 * **Details**
 *
 * Under it `TestClock.adjust` sleeps for that time and until all wait, so tests
 * written for `TestClock` run unchanged.
 *
 * **Example** (A day in a moment)
 *
 * ```ts import.meta.vitest
 * import * as VirtualTime from "effect-websocket/testing/VirtualTime"
 * import * as Clock from "effect/Clock"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.andThen(Effect.sleep("1 day"), Clock.currentTimeMillis)
 * await Effect.runPromise(VirtualTime.run(program, { maxTime: "2 days" })) // => 86400000
 * ```
 *
 * @category running
 * @since 1.0.0
 */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<A, E | Stuck, R> => Effect.flatMap(observe(effect, options), ({ exit }) => exit)

/**
 * Marks an Effect that waits for something outside of the run, as a file or a
 * process: time stands still until it is done, and it is no deadlock.
 *
 * **Gotchas**
 *
 * What comes from outside makes runs of the same seed different. So does what
 * Effect counts for the whole process: the numbers of RPC requests and the names
 * of spans, unless `RpcClient.make` is given `generateRequestId` and `disableTracing`.
 *
 * @category running
 * @since 1.0.0
 */
export const external = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Effect.service(Current), (machine) =>
    machine === undefined ? effect : Effect.acquireUseRelease(
      Effect.sync(() => machine.enter()),
      () => effect,
      () => Effect.sync(() => machine.leave())
    ))

/** The run that a fiber belongs to. */
const Current = Context.Reference<Machine | undefined>("effect-websocket/testing/VirtualTime/Current", {
  defaultValue: () => undefined
})
