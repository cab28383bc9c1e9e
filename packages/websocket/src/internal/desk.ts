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
import * as RetryHint from "../RetryHint.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import type { WebSocketStream } from "../WebSocketStream.ts"
import { type Declined, full, leaving } from "./declining.ts"

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
  readonly #draining = Deferred.makeUnsafe<void>()
  readonly #streams = new Set<WebSocketStream["Service"]>()
  readonly #config: WebSocketConfig
  #handshakes = 0
  #serving = 0

  constructor(config: WebSocketConfig) {
    this.#config = config
    this.drained = Effect.andThen(Deferred.await(this.#draining), this.#declined)
  }

  get #declined(): Effect.Effect<never, Declined> {
    return Effect.suspend(() => {
      const { drainRetryAfter } = this.#config
      if (!this.#isDraining || drainRetryAfter === "off") return Effect.fail(full)
      return Effect.flatMap(RetryHint.draw(drainRetryAfter), (hint) => Effect.fail(leaving(hint)))
    })
  }

  /** Takes the place of a connection for as long as the scope is open. */
  readonly admit: Effect.Effect<void, Declined, Scope.Scope> = Effect.acquireRelease(
    Effect.suspend(() => {
      if (this.#isFull) return this.#declined
      this.connections++
      return Effect.void
    }),
    () => Effect.sync(() => this.connections--)
  )

  /** Runs a handshake where there is room for one, and for the connection it may give. */
  handshaking<A, R>(handshake: Effect.Effect<A, Declined, R>): Effect.Effect<A, Declined, R> {
    return Effect.suspend(() => {
      if (this.#isFull || this.#handshakes >= this.#config.maxHandshakes) return this.#declined
      this.#handshakes++
      return Effect.ensuring(handshake, Effect.sync(() => this.#handshakes--))
    })
  }

  /** Serves a transport, to its very end. */
  serving<A, E, R>(serve: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.#enter()
      return Effect.ensuring(serve, Effect.sync(() => this.#leave()))
    })
  }

  /** Runs the handler of a stream, which is told when the server drains. */
  handling<A, E, R>(stream: WebSocketStream["Service"], handler: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.#streams.add(stream)
      const handled = Effect.ensuring(handler, Effect.sync(() => this.#streams.delete(stream)))
      return this.#isDraining ? Effect.andThen(this.#goAway([stream]), handled) : handled
    })
  }

  /** Both of these, for a stream whose handler ends with the scope. */
  attend(stream: WebSocketStream["Service"]): Effect.Effect<void, never, Scope.Scope> {
    const enter = Effect.suspend(() => {
      this.#enter()
      this.#streams.add(stream)
      return this.#isDraining ? this.#goAway([stream]) : Effect.void
    })
    return Effect.acquireRelease(enter, () =>
      Effect.sync(() => {
        this.#streams.delete(stream)
        this.#leave()
      }))
  }

  #enter(): void {
    if (this.#serving++ === 0) this.idle.closeUnsafe()
  }

  #leave(): void {
    if (--this.#serving === 0) this.idle.openUnsafe()
  }

  /** Lets nobody in any more and tells every peer. */
  readonly drain: Effect.Effect<void> = Effect.suspend(() => {
    Deferred.doneUnsafe(this.#draining, Exit.void)
    return this.#goAway(Array.from(this.#streams))
  })

  // Begins to close, and waits for no peer: each has its own time for that.
  #goAway(streams: ReadonlyArray<WebSocketStream["Service"]>): Effect.Effect<void> {
    const { drainCode: code, drainRetryAfter } = this.#config
    const reason = drainRetryAfter === "off"
      ? Effect.succeed("")
      : Effect.map(RetryHint.draw(drainRetryAfter), RetryHint.format)
    return Effect.forEach(
      streams,
      (stream) => Effect.flatMap(reason, (reason) => Effect.forkDetach(stream.close({ code, reason }))),
      { discard: true }
    )
  }

  get #isDraining(): boolean {
    return Deferred.isDoneUnsafe(this.#draining)
  }

  get #isFull(): boolean {
    return this.#isDraining || this.connections >= this.#config.maxConnections
  }
}
