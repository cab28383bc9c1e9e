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
 * A handshake that is going on.
 *
 * @internal
 */
export interface Handshaking {
  /** The server drains. */
  readonly onDrain: () => void
}

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
  readonly #waiting = new Set<Handshaking>()
  readonly #config: WebSocketConfig
  #handshakes = 0
  #serving = 0

  constructor(config: WebSocketConfig) {
    this.#config = config
    this.drained = Effect.andThen(Deferred.await(this.#draining), this.declined)
  }

  /** Why nobody is let in. */
  get declined(): Effect.Effect<never, Declined> {
    return Effect.suspend(() => {
      const { drainRetryAfter } = this.#config
      if (!this.#isDraining || drainRetryAfter === "off") return Effect.fail(full)
      return Effect.flatMap(RetryHint.draw(drainRetryAfter), (hint) => Effect.fail(leaving(hint)))
    })
  }

  /** Takes the place of a connection, if there is one. */
  admitUnsafe(): boolean {
    if (this.#isFull) return false
    this.connections++
    return true
  }

  /** Gives it back. */
  readonly leave = (): void => {
    this.connections--
  }

  /** Takes the place of a connection for as long as the scope is open. */
  readonly admit: Effect.Effect<void, Declined, Scope.Scope> = Effect.acquireRelease(
    Effect.suspend(() => this.admitUnsafe() ? Effect.void : this.declined),
    () => Effect.sync(this.leave)
  )

  /** Begins a handshake where there is room for one, and for the connection it may give. */
  beginHandshake(handshake: Handshaking): boolean {
    if (this.#isFull || this.#handshakes >= this.#config.maxHandshakes) return false
    this.#handshakes++
    this.#waiting.add(handshake)
    return true
  }

  endHandshake(handshake: Handshaking): void {
    if (this.#waiting.delete(handshake)) this.#handshakes--
  }

  /** Runs a handshake where there is room for one, and for the connection it may give. */
  handshaking<A, R>(handshake: Effect.Effect<A, Declined, R>): Effect.Effect<A, Declined, R> {
    return Effect.suspend(() => {
      const going = { onDrain: () => {} }
      return this.beginHandshake(going)
        ? Effect.ensuring(handshake, Effect.sync(() => this.endHandshake(going)))
        : this.declined
    })
  }

  /** Begins to serve a transport. */
  arrive(): void {
    if (this.#serving++ === 0) this.idle.closeUnsafe()
  }

  /** Has served it, to its very end. */
  depart(): void {
    if (--this.#serving === 0) this.idle.openUnsafe()
  }

  /** Serves a transport, to its very end. */
  serving<A, E, R>(serve: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.arrive()
      return Effect.ensuring(serve, Effect.sync(() => this.depart()))
    })
  }

  /** The handler of a stream begins. Gives what is to be done first, if anything: the server may drain by now. */
  handle(stream: WebSocketStream["Service"]): Effect.Effect<void> | undefined {
    this.#streams.add(stream)
    return this.#isDraining ? this.#goAway([stream]) : undefined
  }

  /** The handler has ended. */
  handled(stream: WebSocketStream["Service"]): void {
    this.#streams.delete(stream)
  }

  /** Runs the handler of a stream, which is told when the server drains. */
  handling<A, E, R>(stream: WebSocketStream["Service"], handler: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      const first = this.handle(stream)
      const handled = Effect.ensuring(handler, Effect.sync(() => this.handled(stream)))
      return first === undefined ? handled : Effect.andThen(first, handled)
    })
  }

  /** Both of these, for a stream whose handler ends with the scope. */
  attend(stream: WebSocketStream["Service"]): Effect.Effect<void, never, Scope.Scope> {
    const enter = Effect.suspend(() => {
      this.arrive()
      return this.handle(stream) ?? Effect.void
    })
    return Effect.acquireRelease(enter, () =>
      Effect.sync(() => {
        this.handled(stream)
        this.depart()
      }))
  }

  /** Lets nobody in any more and tells every peer. */
  readonly drain: Effect.Effect<void> = Effect.suspend(() => {
    Deferred.doneUnsafe(this.#draining, Exit.void)
    Array.from(this.#waiting).forEach((handshake) => handshake.onDrain())
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
