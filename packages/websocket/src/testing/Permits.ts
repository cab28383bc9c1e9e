/**
 * Whether an application has given back the permits of its semaphores.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"

/**
 * Permits were not given back.
 *
 * @category errors
 * @since 1.0.0
 */
export class PermitsLeft extends Data.TaggedError("PermitsLeft")<{
  readonly name: string
  readonly permits: number
  /** How many of them are not free. */
  readonly taken: number
}> {
  override get message(): string {
    return `${this.taken} of ${this.permits} permits of ${this.name} are not free`
  }
}

/**
 * Fails where not all permits of a semaphore are free, for the end of a scenario:
 * a run cannot know the semaphores of an application, and one that is never asked
 * for again is no deadlock.
 *
 * @category assertions
 * @since 1.0.0
 */
export const allFree = (
  semaphore: Semaphore.Semaphore,
  { name, permits }: {
    /** What to call it. */
    readonly name: string
    /** How many permits it has. */
    readonly permits: number
  }
): Effect.Effect<void, PermitsLeft> =>
  Effect.uninterruptible(Effect.gen(function*() {
    let free = 0
    while (free < permits && (yield* semaphore.takeIfAvailable(1))) free++
    yield* semaphore.release(free)
    if (free < permits) return yield* new PermitsLeft({ name, permits, taken: permits - free })
  }))
