/**
 * Deadlines of many connections on one sleeping fiber per clock.
 *
 * Ten thousand idle connections hold entries of a heap and one timer. An entry
 * is moved rarely: on activity a connection only notes the time, and looks
 * again when its entry comes due. Times are milliseconds of the clock's
 * monotonic time, which no change of the date can move.
 *
 * @since 1.0.0
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

const millis = new WeakMap<Duration.Duration, number>()

/**
 * `Duration.toMillis`, once for each duration: a configuration has the same for
 * all its connections.
 *
 * @internal
 */
export const millisOf = (input: Duration.Input): number => {
  if (!Duration.isDuration(input)) return Duration.toMillis(input)
  let known = millis.get(input)
  if (known === undefined) millis.set(input, known = Duration.toMillis(input))
  return known
}

/**
 * Something to do at a time.
 *
 * @internal
 */
export interface Deadline {
  at: number
  readonly run: () => void
  /** Place in the heap, -1 outside. */
  index: number
}

// A nanosecond, below which a clock does not count: a sleep for less would end where it began, again and again.
const resolution = 1e-6

/**
 * The deadlines on one clock, earliest first.
 *
 * @internal
 */
export class Deadlines {
  readonly #clock: Clock.Clock
  readonly #heap: Array<Deadline> = []
  #sleeping: Fiber.Fiber<void> | undefined
  #until = Infinity

  constructor(clock: Clock.Clock) {
    this.#clock = clock
  }

  get now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** How many deadlines there are. */
  get size(): number {
    return this.#heap.length
  }

  /**
   * Runs `run` once `delay` milliseconds have passed, at least one: what comes
   * due sets itself again, and must not be due at once. `context` is what the
   * sleeping fiber runs in.
   */
  schedule(delay: number, run: () => void, context: Context.Context<never>): Deadline {
    const deadline: Deadline = { at: 0, run, index: -1 }
    this.add(deadline, delay, context)
    return deadline
  }

  /** As `schedule`, for a deadline that is nowhere scheduled. */
  add(deadline: Deadline, delay: number, context: Context.Context<never>): void {
    deadline.at = this.now + Math.max(1, delay)
    deadline.index = this.#heap.length
    this.#heap.push(deadline)
    this.#up(deadline.index)
    this.#sleep(context)
  }

  cancel(deadline: Deadline, context: Context.Context<never>): void {
    if (deadline.index < 0) return
    this.#remove(deadline.index)
    // Cheaper than waking another fiber for the next deadline: the one that sleeps finds nothing due.
    if (this.#heap.length === 0) this.#sleep(context)
  }

  /** Cancels every deadline. */
  clear(context: Context.Context<never>): void {
    for (const deadline of this.#heap.splice(0)) deadline.index = -1
    this.#sleep(context)
  }

  // One fiber sleeps until the earliest deadline, and none when there is none.
  #sleep(context: Context.Context<never>): void {
    const earliest = this.#heap[0]?.at ?? Infinity
    if (earliest === Infinity ? this.#sleeping === undefined : this.#until <= earliest) return
    this.#until = earliest
    this.#sleeping?.interruptUnsafe()
    this.#sleeping = undefined
    if (earliest === Infinity) return
    const wake = Effect.flatMap(
      this.#clock.sleep(Duration.millis(Math.max(0, earliest - this.now))),
      () => Effect.sync(() => this.#wake(context))
    )
    this.#sleeping = Effect.runForkWith(context)(wake)
  }

  #wake(context: Context.Context<never>): void {
    this.#sleeping = undefined
    // Awake: nobody need be woken for what is scheduled meanwhile.
    this.#until = -Infinity
    const due = this.now + resolution
    try {
      while (this.#heap.length > 0 && this.#heap[0]!.at <= due) {
        const deadline = this.#heap[0]!
        this.#remove(0)
        deadline.run()
      }
    } finally {
      this.#until = Infinity
      this.#sleep(context)
    }
  }

  #remove(index: number): void {
    const removed = this.#heap[index]!
    const last = this.#heap.pop()!
    removed.index = -1
    if (removed === last) return
    this.#place(last, index)
    this.#up(index)
    this.#down(last.index)
  }

  #place(deadline: Deadline, index: number): void {
    this.#heap[index] = deadline
    deadline.index = index
  }

  #up(index: number): void {
    const deadline = this.#heap[index]!
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (this.#heap[parent]!.at <= deadline.at) break
      this.#place(this.#heap[parent]!, index)
      index = parent
    }
    this.#place(deadline, index)
  }

  #down(index: number): void {
    const deadline = this.#heap[index]!
    for (;;) {
      let child = 2 * index + 1
      if (child >= this.#heap.length) break
      if (child + 1 < this.#heap.length && this.#heap[child + 1]!.at < this.#heap[child]!.at) child++
      if (this.#heap[child]!.at >= deadline.at) break
      this.#place(this.#heap[child]!, index)
      index = child
    }
    this.#place(deadline, index)
  }
}

const byClock = new WeakMap<Clock.Clock, Deadlines>()

/**
 * The deadlines of a clock, shared by all that run on it.
 *
 * @internal
 */
export const deadlinesOf = (clock: Clock.Clock): Deadlines => {
  let deadlines = byClock.get(clock)
  if (deadlines === undefined) byClock.set(clock, deadlines = new Deadlines(clock))
  return deadlines
}

/**
 * A deadline that is set and cleared again and again, at most one at a time.
 *
 * @internal
 */
export class Alarm implements Deadline {
  at = 0
  index = -1
  readonly #deadlines: Deadlines
  readonly #context: Context.Context<never>
  #ring: (() => void) | undefined

  constructor(deadlines: Deadlines, context: Context.Context<never>) {
    this.#deadlines = deadlines
    this.#context = context
  }

  /** Milliseconds until it goes off, `undefined` where it is not set. */
  get left(): number | undefined {
    return this.#ring === undefined ? undefined : this.at - this.#deadlines.now
  }

  /** Runs `ring` after `delay` milliseconds and not what was set before; never where `delay` is infinite. */
  set(delay: number, ring: () => void): void {
    this.clear()
    if (delay === Infinity) return
    this.#ring = ring
    this.#deadlines.add(this, delay, this.#context)
  }

  clear(): void {
    this.#ring = undefined
    this.#deadlines.cancel(this, this.#context)
  }

  /** For the deadlines to call. */
  run(): void {
    const ring = this.#ring
    this.#ring = undefined
    ring?.()
  }
}
