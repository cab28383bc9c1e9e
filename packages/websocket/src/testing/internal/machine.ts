/**
 * One queue of turns, one clock, and who decides between them.
 *
 * @since 1.0.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import type * as TestClock from "effect/testing/TestClock"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/**
 * The settings of a run, each of them given.
 *
 * @internal
 */
export interface SeededOptions {
  readonly seed: number | string
  readonly interleave: boolean | "everywhere"
  /** Milliseconds. */
  readonly maxTime: number
  readonly maxSteps: number
  readonly promises: boolean
  readonly interruptAt: number
}

/**
 * Effect's generator, by a seed.
 *
 * @internal
 */
export const seededRandom = (seed: string): typeof Random.Random.Service =>
  Effect.runSync(Random.withSeed(Random.Random, seed))

/**
 * Why a run was given up.
 *
 * @internal
 */
export type Stuck =
  | { readonly _tag: "Deadlock"; readonly time: number; readonly waiting: ReadonlyArray<string> }
  | { readonly _tag: "TimeLimit"; readonly limit: number; readonly waiting: ReadonlyArray<string> }
  | { readonly _tag: "StepLimit"; readonly limit: number; readonly time: number }

/**
 * How a run ended.
 *
 * @internal
 */
export interface Ended<A, E> {
  readonly exit: Exit.Exit<A, E> | Stuck
  readonly time: number
  readonly steps: number
  readonly left: ReadonlyArray<string>
}

type Turn = () => void

/** Turns in order, or in an order that chance decides. */
class Turns {
  readonly #random: typeof Random.Random.Service | undefined
  #waiting: Array<Turn> = []
  #next = 0

  constructor(random: typeof Random.Random.Service | undefined) {
    this.#random = random
  }

  get isEmpty(): boolean {
    return this.#next === this.#waiting.length
  }

  /** Adds a turn, and gives what takes it back. */
  readonly add = (turn: Turn): () => void => {
    let taken = false
    this.#waiting.push(() => {
      if (!taken) turn()
    })
    return () => {
      taken = true
    }
  }

  /** Takes the next turn; there must be one. */
  take(): Turn {
    if (this.#random !== undefined) {
      const left = this.#waiting.length - this.#next
      const chosen = this.#next + Math.floor(this.#random.nextDoubleUnsafe() * left)
      const first = this.#waiting[this.#next]!
      this.#waiting[this.#next] = this.#waiting[chosen]!
      this.#waiting[chosen] = first
    }
    const turn = this.#waiting[this.#next++]!
    if (this.isEmpty) {
      this.#waiting = []
      this.#next = 0
    }
    return turn
  }
}

/** Schedules every fiber of a run, and knows them. */
class MachineScheduler extends Scheduler.MixedScheduler {
  /** Fibers that have run and not ended, with their numbers in order of appearance. */
  readonly fibers = new Map<AnyFiber, number>()
  #last: AnyFiber | undefined
  #seen = 0

  constructor(turns: Turns) {
    super("async", turns.add)
  }

  override shouldYield(fiber: AnyFiber): boolean {
    if (fiber !== this.#last) this.#meet(fiber)
    return super.shouldYield(fiber)
  }

  #meet(fiber: AnyFiber): void {
    this.#last = fiber
    if (this.fibers.has(fiber)) return
    this.fibers.set(fiber, ++this.#seen)
    fiber.addObserver(() => {
      this.fibers.delete(fiber)
      if (this.#last === fiber) this.#last = undefined
    })
  }
}

interface Sleep {
  readonly at: number
  /** Whether it ends only when all others wait. */
  readonly last: boolean
  readonly fiber: AnyFiber
  readonly wake: () => void
}

const isBefore = (a: Sleep, b: Sleep): boolean => a.at < b.at || (a.at === b.at && !a.last && b.last)

/** A clock that is moved by the machine. */
class MachineClock implements TestClock.TestClock {
  /** Latest first; of those that end together the first to begin is the last. */
  readonly sleeps: Array<Sleep> = []
  readonly #live: Clock.Clock
  #now = 0

  constructor(live: Clock.Clock) {
    this.#live = live
  }

  readonly currentTimeMillisUnsafe = (): number => this.#now
  readonly currentTimeNanosUnsafe = (): bigint => BigInt(Math.round(this.#now * 1e6))
  readonly monotonicTimeNanosUnsafe = this.currentTimeNanosUnsafe
  readonly currentTimeMillis = Effect.sync(this.currentTimeMillisUnsafe)
  readonly currentTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
  readonly monotonicTimeNanos = this.currentTimeNanos

  readonly sleep = (duration: Duration.Duration): Effect.Effect<void> => this.#sleep(Duration.toMillis(duration), false)

  readonly adjust = (duration: Duration.Input): Effect.Effect<void> => this.#sleep(Duration.toMillis(duration), true)

  readonly setTime = (timestamp: number): Effect.Effect<void> =>
    Effect.suspend(() => this.#sleep(timestamp - this.#now, true))

  readonly withLive = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(effect, Clock.Clock, this.#live)

  #sleep(millis: number, last: boolean): Effect.Effect<void> {
    if (millis <= 0 && !last) return Effect.yieldNow
    if (millis === Infinity) return Effect.never
    return Effect.withFiber((fiber) =>
      Effect.callback<void>((resume) => {
        const sleep: Sleep = { at: this.#now + Math.max(0, millis), last, fiber, wake: () => resume(Effect.void) }
        this.#insert(sleep)
        return Effect.sync(() => {
          const index = this.sleeps.indexOf(sleep)
          if (index !== -1) this.sleeps.splice(index, 1)
        })
      })
    )
  }

  #insert(sleep: Sleep): void {
    let low = 0
    let high = this.sleeps.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBefore(sleep, this.sleeps[middle]!)) low = middle + 1
      else high = middle
    }
    this.sleeps.splice(low, 0, sleep)
  }

  get next(): Sleep | undefined {
    return this.sleeps.at(-1)
  }

  /** Moves to the next sleep, and takes all that end with it. */
  jump(): ReadonlyArray<Sleep> {
    const { at, last } = this.next!
    this.#now = at
    const due: Array<Sleep> = []
    while (this.next !== undefined && this.next.at === at && this.next.last === last) due.push(this.sleeps.pop()!)
    return due
  }
}

const { setImmediate } = new Scheduler.MixedScheduler()

/** Turns that a run which is given up has for its finalizers. */
const turnsToEnd = 100_000

/**
 * Runs turns until none is left, then moves the clock.
 *
 * @internal
 */
export class Machine {
  readonly clock: MachineClock
  readonly scheduler: MachineScheduler
  readonly #options: SeededOptions
  readonly #turns: Turns
  #root: AnyFiber | undefined
  #done: (() => void) | undefined
  #stuck: Stuck | undefined
  #steps = 0
  #outside = 0
  /** Whether the event loop has had a turn since the last one here. */
  #settled = false

  constructor(options: SeededOptions, live: Clock.Clock) {
    const random = options.interleave === false ? undefined : seededRandom(`${options.seed}/interleave`)
    this.#options = options
    this.#turns = new Turns(random)
    this.clock = new MachineClock(live)
    this.scheduler = new MachineScheduler(this.#turns)
  }

  start<A, E, R>(
    context: Context.Context<R>,
    effect: Effect.Effect<A, E, R>,
    finished: Effect.Effect<void>,
    resume: (ended: Ended<A, E>) => void
  ): void {
    this.#done = () => {
      const time = this.clock.currentTimeMillisUnsafe()
      const stuck = this.#stuck
      if (stuck === undefined) this.#drain(turnsToEnd)
      Effect.runForkWith(Context.add(context, Scheduler.MaxOpsBeforeYield, Infinity))(finished)
      if (stuck === undefined) this.#drain(turnsToEnd)
      const left = stuck === undefined ? this.#describe() : []
      const exit = stuck ?? root.pollUnsafe()!
      this.#end()
      resume({ exit, time, steps: this.#steps, left })
    }
    const root = Effect.runForkWith(context)(effect)
    this.#root = root
    this.#go()
  }

  /** Interrupts what still runs. */
  abandon(): void {
    this.#done = undefined
    this.#end()
  }

  enter(): void {
    this.#outside++
  }

  leave(): void {
    this.#outside--
    if (this.#outside === 0) setImmediate(() => this.#go())
  }

  #go(): void {
    while (this.#done !== undefined) {
      if (!this.#drain(this.#options.maxSteps - this.#steps)) return this.#finish()
      if (this.#root!.pollUnsafe() !== undefined) return this.#finish()
      if (this.#outside > 0) return
      if (this.#options.promises && !this.#settled) {
        this.#settled = true
        setImmediate(() => this.#go())
        return
      }
      if (!this.#jump()) return this.#finish()
    }
  }

  #finish(): void {
    const done = this.#done
    this.#done = undefined
    done?.()
  }

  /** Runs turns until there are none; `false` where that takes more than `most`. */
  #drain(most: number): boolean {
    for (let left = most; !this.#turns.isEmpty; left--) {
      if (left <= 0) {
        const { maxSteps: limit } = this.#options
        this.#stuck ??= { _tag: "StepLimit", limit, time: this.clock.currentTimeMillisUnsafe() }
        return false
      }
      this.#settled = false
      if (++this.#steps === this.#options.interruptAt) this.#root!.interruptUnsafe()
      this.#turns.take()()
    }
    return true
  }

  #jump(): boolean {
    const { next } = this.clock
    const time = this.clock.currentTimeMillisUnsafe()
    if (next === undefined) {
      this.#stuck = { _tag: "Deadlock", time, waiting: this.#describe() }
      return false
    }
    if (next.at > this.#options.maxTime) {
      this.#stuck = { _tag: "TimeLimit", limit: this.#options.maxTime, waiting: this.#describe() }
      return false
    }
    for (const { wake } of this.clock.jump()) this.#turns.add(wake)
    return true
  }

  /** Ends what is left, in time that goes on as long as there are turns for it. */
  #end(): void {
    for (const fiber of Array.from(this.scheduler.fibers.keys())) fiber.interruptUnsafe()
    const until = this.#steps + turnsToEnd
    while (this.#drain(until - this.#steps) && this.clock.next !== undefined && this.scheduler.fibers.size > 0) {
      for (const { wake } of this.clock.jump()) this.#turns.add(wake)
    }
  }

  #describe(): ReadonlyArray<string> {
    const sleeping = new Map(this.clock.sleeps.map(({ at, fiber }) => [fiber, at]))
    return Array.from(this.scheduler.fibers, ([fiber, number]) => {
      const until = sleeping.get(fiber)
      const frames = framesOf(fiber)
      const name = frames.length === 0 ? "" : ` in ${frames.join(" < ")}`
      return `fiber ${number}${name}${until === undefined ? "" : ` sleeps until ${until} ms`}`
    })
  }
}

/** The names of the functions and spans that a fiber is in, innermost first. */
const framesOf = (fiber: AnyFiber): ReadonlyArray<string> => {
  const names: Array<string> = []
  const { cache } = fiber as unknown as { readonly cache: Fiber.Fiber.Cache }
  for (let frame = cache.stackFrame; frame !== undefined && names.length < 8; frame = frame.parent) {
    if (!frame.name.endsWith(" (definition)")) names.push(frame.name)
  }
  return names
}
