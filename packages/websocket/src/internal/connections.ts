/**
 * The connection that is open now, of those that follow one another.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

/**
 * What belongs to the connection opened last, while it is open.
 *
 * @internal
 */
export class Connections<Target> {
  #current: Target | undefined
  readonly #opened = Latch.makeUnsafe(false)

  /** Uses the connection opened last; waits while there is none. */
  use<A, E, R>(f: (target: Target) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => this.#current === undefined ? this.#opened.whenOpen(this.use(f)) : f(this.#current))
  }

  /** What belongs to the connection that is open now. */
  get current(): Target | undefined {
    return this.#current
  }

  /** Makes it the one in use, until the scope closes or another is opened. */
  open(target: Target): Effect.Effect<void, never, Scope.Scope> {
    const open = Effect.sync(() => {
      this.#current = target
      this.#opened.openUnsafe()
    })
    return Effect.asVoid(Effect.acquireRelease(open, () => Effect.sync(() => this.#forget(target))))
  }

  #forget(target: Target): void {
    if (this.#current !== target) return
    this.#current = undefined
    this.#opened.closeUnsafe()
  }
}
