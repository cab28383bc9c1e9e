/**
 * One connection after another: which is the current one, and what is left to
 * read of those before it.
 *
 * @since 1.0.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Failure, MessagesMissed, State } from "../ReconnectingWebSocket.ts"
import { CloseStatus, ConnectionClosed, ReadError } from "../WebSocketError.ts"
import type { Payload, WebSocketStream } from "../WebSocketStream.ts"

/**
 * A connection, open for as long as it is current or someone reads what it left.
 *
 * @internal
 */
export interface Connection {
  readonly stream: WebSocketStream["Service"]
  readonly scope: Scope.Closeable
  holders: number
}

/** One run of `messages`: the connections it has yet to read. */
interface Run<E> {
  readonly queue: Queue.Queue<Connection, Failure<E> | MessagesMissed>
  readonly held: Set<Connection>
}

// Watchers that are slower miss the oldest states.
const watchBuffer = 16

/**
 * Most connections that a run of `messages` holds without having read them.
 *
 * @internal
 */
export const maxBehind = 16

/**
 * The error of reads after a connection has ended.
 *
 * @internal
 */
export const endedWith = (status: CloseStatus): ReadError => new ReadError({ reason: new ConnectionClosed({ status }) })

const neverOpened = () =>
  endedWith(
    new CloseStatus({ code: 1006, reason: "", initiator: "local", sent: undefined, received: undefined, clean: false })
  )

/**
 * What a reconnecting stream is at this moment.
 *
 * @internal
 */
export class Reconnecting<E> {
  state: State<E> = { _tag: "Connecting", attempt: 1 }
  readonly #states: PubSub.PubSub<State<E>>
  readonly #scopes = new Set<Scope.Closeable>()
  readonly #runs = new Set<Run<E>>()
  #open = Deferred.makeUnsafe<WebSocketStream["Service"], Failure<E>>()
  /** The connection opened last. */
  #latest: Connection | undefined
  #leaving = false

  readonly #missed: MessagesMissed

  constructor(states: PubSub.PubSub<State<E>>, missed: MessagesMissed) {
    this.#states = states
    this.#missed = missed
    PubSub.publishUnsafe(states, this.state)
  }

  /** `missed` is the error of a run that holds too many connections. */
  static readonly make = <E>(missed: MessagesMissed): Effect.Effect<Reconnecting<E>> =>
    Effect.map(
      PubSub.sliding<State<E>>({ capacity: watchBuffer, replay: 1 }),
      (states) => new Reconnecting<E>(states, missed)
    )

  set(state: State<E>): void {
    if (this.state._tag === "Ended") return
    if (this.state._tag === "Open") this.#open = Deferred.makeUnsafe()
    this.state = state
    if (state._tag === "Open") Deferred.doneUnsafe(this.#open, Exit.succeed(state.stream))
    if (state._tag === "Ended") Deferred.doneUnsafe(this.#open, Exit.failCause(state.cause))
    PubSub.publishUnsafe(this.#states, state)
  }

  readonly current: Effect.Effect<WebSocketStream["Service"], Failure<E>> = Effect.suspend(() =>
    Deferred.await(this.#open)
  )

  get changes(): Stream.Stream<State<E>> {
    return Stream.takeUntil(Stream.fromPubSub(this.#states), ({ _tag }) => _tag === "Ended")
  }

  /** A scope for an attempt, which is closed at the latest with everything else. */
  makeScope(): Scope.Closeable {
    const scope = Scope.makeUnsafe()
    this.#scopes.add(scope)
    return scope
  }

  closeScope(scope: Scope.Closeable, exit: Exit.Exit<unknown, unknown> = Exit.void): Effect.Effect<void> {
    return Effect.ensuring(Scope.close(scope, exit), Effect.sync(() => this.#scopes.delete(scope)))
  }

  /** Makes a connection the current one, and lets go of the one before. */
  opened(stream: WebSocketStream["Service"], scope: Scope.Closeable): Effect.Effect<void> {
    return Effect.suspend(() => {
      const previous = this.#latest
      this.#latest = { stream, scope, holders: 1 }
      this.#runs.forEach((run) => this.#offer(run, this.#latest!))
      this.set({ _tag: "Open", stream })
      return previous === undefined ? Effect.void : this.#release(previous)
    })
  }

  /** Ends because of what ended the loop, unless that was `close`. */
  ended(cause: Cause.Cause<Failure<E>>): void {
    if (!this.#leaving) this.#end(cause)
  }

  /** Stops the loop, closes what is open as a scope that is left with `exit`, and ends. */
  close(loop: Fiber.Fiber<unknown, unknown>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      this.#leaving = true
      yield* Fiber.interrupt(loop)
      const stream = this.state._tag === "Open" || this.state._tag === "Closing" ? this.state.stream : undefined
      if (this.state._tag === "Open") this.set({ _tag: "Closing", stream: this.state.stream })
      yield* Effect.forEach(Array.from(this.#scopes), (scope) => this.closeScope(scope, exit), {
        concurrency: "unbounded",
        discard: true
      })
      this.#end(Cause.fail(stream === undefined ? neverOpened() : endedWith(yield* stream.closed)))
    })
  }

  #end(cause: Cause.Cause<Failure<E>>): void {
    this.set({ _tag: "Ended", cause })
    this.#runs.forEach(({ queue }) => Queue.failCauseUnsafe(queue, cause))
  }

  get messages(): Stream.Stream<Payload, Failure<E> | MessagesMissed> {
    const queue = Queue.dropping<Connection, Failure<E> | MessagesMissed>(maxBehind)
    const run = Effect.acquireRelease(Effect.map(queue, (queue) => this.#begin(queue)), (run) => {
      this.#runs.delete(run)
      return Effect.forEach(Array.from(run.held), (connection) => this.#leave(run, connection), { discard: true })
    })
    return Stream.unwrap(
      Effect.map(run, (run) =>
        Stream.flatMap(Stream.fromEffectRepeat(Queue.take(run.queue)), (connection) =>
          // Why it ended is for `state` to say, and whether another follows.
          Stream.catch(connection.stream.messages, () => Stream.empty).pipe(
            Stream.ensuring(this.#leave(run, connection))
          )))
    )
  }

  // Begins with the connection opened last, which may have messages left though it has ended.
  #begin(queue: Run<E>["queue"]): Run<E> {
    const run: Run<E> = { queue, held: new Set() }
    this.#runs.add(run)
    if (this.#latest !== undefined) this.#offer(run, this.#latest)
    if (this.state._tag === "Ended") Queue.failCauseUnsafe(queue, this.state.cause)
    return run
  }

  #offer(run: Run<E>, connection: Connection): void {
    if (!Queue.offerUnsafe(run.queue, connection)) {
      this.#runs.delete(run)
      return void Queue.failCauseUnsafe(run.queue, Cause.fail(this.#missed))
    }
    connection.holders++
    run.held.add(connection)
  }

  #leave(run: Run<E>, connection: Connection): Effect.Effect<void> {
    return Effect.suspend(() => run.held.delete(connection) ? this.#release(connection) : Effect.void)
  }

  #release(connection: Connection): Effect.Effect<void> {
    return Effect.suspend(() => --connection.holders === 0 ? this.closeScope(connection.scope) : Effect.void)
  }
}
