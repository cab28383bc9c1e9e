/**
 * Whom a server has in at one time: counts connections and handshakes, so that
 * they stay within their limits, and knows when the last has gone.
 *
 * @since 1.0.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { WebSocketStream } from "../WebSocketStream.ts"
import { type Declined, full } from "./declining.ts"

/**
 * The desk of one running server.
 *
 * @internal
 */
export class Desk {
  /** Fails with 503 once the server drains. */
  readonly drained: Effect.Effect<never, Declined>
  /** Open while nothing is served. */
  readonly idle = Latch.makeUnsafe(true)
  connections = 0
  readonly #draining = Deferred.makeUnsafe<never, Declined>()
  readonly #streams = new Set<WebSocketStream["Service"]>()
  readonly #maxConnections: number
  readonly #maxHandshakes: number
  #handshakes = 0
  #serving = 0

  constructor(maxConnections: number, maxHandshakes: number) {
    this.#maxConnections = maxConnections
    this.#maxHandshakes = maxHandshakes
    this.drained = Deferred.await(this.#draining)
  }

  /** Takes the place of a connection for as long as the scope is open. */
  readonly admit: Effect.Effect<void, Declined, Scope.Scope> = Effect.acquireRelease(
    Effect.suspend(() => {
      if (this.#isFull) return Effect.fail(full)
      this.connections++
      return Effect.void
    }),
    () => Effect.sync(() => this.connections--)
  )

  /** Runs a handshake where there is room for one, and for the connection it may give. */
  handshaking<A, R>(handshake: Effect.Effect<A, Declined, R>): Effect.Effect<A, Declined, R> {
    return Effect.suspend(() => {
      if (this.#isFull || this.#handshakes >= this.#maxHandshakes) return Effect.fail(full)
      this.#handshakes++
      return Effect.ensuring(handshake, Effect.sync(() => this.#handshakes--))
    })
  }

  /** Serves a transport, to its very end. */
  serving<R>(serve: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      if (this.#serving++ === 0) this.idle.closeUnsafe()
      return Effect.ensuring(
        serve,
        Effect.sync(() => {
          if (--this.#serving === 0) this.idle.openUnsafe()
        })
      )
    })
  }

  /** Runs the handler of a stream, which is told when the server drains. */
  handling<A, E, R>(stream: WebSocketStream["Service"], handler: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.#streams.add(stream)
      const handled = Effect.ensuring(handler, Effect.sync(() => this.#streams.delete(stream)))
      return this.#isDraining ? Effect.andThen(goAway([stream]), handled) : handled
    })
  }

  /** Lets nobody in any more and tells every peer. */
  readonly drain: Effect.Effect<void> = Effect.suspend(() => {
    Deferred.doneUnsafe(this.#draining, Exit.fail(full))
    return goAway(this.#streams)
  })

  get #isDraining(): boolean {
    return Deferred.isDoneUnsafe(this.#draining)
  }

  get #isFull(): boolean {
    return this.#isDraining || this.connections >= this.#maxConnections
  }
}

// Begins to close, and waits for no peer: each has its own time for that.
const goAway = (streams: Iterable<WebSocketStream["Service"]>): Effect.Effect<void> =>
  Effect.forEach(Array.from(streams), (stream) => Effect.forkDetach(stream.close({ code: 1001 })), { discard: true })
