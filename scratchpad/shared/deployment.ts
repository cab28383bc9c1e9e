/**
 * One server after another at the same address: the next takes what comes from now on, then the one before drains.
 *
 * A `TransportServer` gives connections to whoever ran it last, so that nobody is refused and nothing listens twice. Who
 * is in the middle of a handshake with the server that goes is told by a 503 when to come back. Any network does: TCP,
 * memory, a simulation.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

export interface Deployment {
  /**
   * Starts a server, and then stops the one before: it tells its peers when to come back, and gives their handlers time
   * to finish. Ends when it has gone. Where the new one cannot start, the old one stays.
   */
  readonly deploy: <E, R>(server: Layer.Layer<never, E, R>) => Effect.Effect<void, E, R>
}

/** A place for servers, the last of which drains when the scope closes. */
export const make: Effect.Effect<Deployment, never, Scope.Scope> = Effect.gen(function*() {
  const turn = Semaphore.makeUnsafe(1)
  let running: Scope.Closeable | undefined
  const replace = (next: Scope.Closeable | undefined) =>
    Effect.suspend(() => {
      const before = running
      running = next
      return before === undefined ? Effect.void : Scope.close(before, Exit.void)
    })
  yield* Effect.addFinalizer(() => replace(undefined))
  return {
    deploy: (server) =>
      turn.withPermit(Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
        const scope = yield* Scope.make()
        yield* Effect.onError(
          restore(Layer.buildWithScope(Layer.fresh(server), scope)),
          (cause) => Scope.close(scope, Exit.failCause(cause))
        )
        yield* replace(scope)
      })))
  }
})
