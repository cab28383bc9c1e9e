/**
 * A WebSocket that comes back: connects, and connects again when the connection
 * ends, for as long as a `Schedule` says.
 *
 * RFC 6455 section 7.2.3 asks clients for it: to wait a random time before they
 * come back, and longer each time.
 *
 * @since 1.0.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Hints from "./internal/hints.ts"
import { endedWith, maxBehind, Reconnecting } from "./internal/reconnecting.ts"
import * as Telemetry from "./internal/telemetry.ts"
import * as Transient from "./internal/transient.ts"
import type { ReadError, WriteError } from "./WebSocketError.ts"
import type { Payload, Sendable, WebSocketStream, WriteOptions } from "./WebSocketStream.ts"

/**
 * Why there is no connection: the attempt to make one failed with an `E`, or
 * the last one ended, which is a `ReadError` with `ConnectionClosed`.
 *
 * @category models
 * @since 1.0.0
 */
export type Failure<E> = E | ReadError

/**
 * Where a reconnecting WebSocket stands.
 *
 * **Details**
 *
 * - `Connecting`: the attempt runs, `onOpen` included. Attempts count from 1
 *   when the schedule begins anew.
 * - `Open`: `stream` is the current connection.
 * - `Closing`: it is about to end, and takes no more messages.
 * - `Waiting`: for `delay`, because of `failure`; then comes attempt `attempt`.
 * - `Ended`: for good, because of `cause`, which is the last failure, or a defect.
 *
 * @category models
 * @since 1.0.0
 */
export type State<E> =
  | { readonly _tag: "Connecting"; readonly attempt: number }
  | { readonly _tag: "Open"; readonly stream: WebSocketStream["Service"] }
  | { readonly _tag: "Closing"; readonly stream: WebSocketStream["Service"] }
  | {
    readonly _tag: "Waiting"
    readonly attempt: number
    readonly delay: Duration.Duration
    readonly failure: Failure<E>
  }
  | { readonly _tag: "Ended"; readonly cause: Cause.Cause<Failure<E>> }

/**
 * A run of `messages` fell more than `connections` connections behind. What it
 * had is delivered; what came after is lost to it. Run again, it goes on with the
 * current connection.
 *
 * @category errors
 * @since 1.0.0
 */
export class MessagesMissed
  extends Schema.TaggedError<MessagesMissed>("effect-websocket/ReconnectingWebSocket/MessagesMissed")(
    "MessagesMissed",
    { connections: Schema.Int }
  )
{
  override get message(): string {
    return `The reader fell more than ${this.connections} connections behind`
  }
}

/**
 * A WebSocket that comes back.
 *
 * @category models
 * @since 1.0.0
 */
export interface ReconnectingWebSocket<E> {
  /**
   * The current connection, as soon as there is one. Fails when there will be
   * none any more. What its stream has not given when the next connection opens
   * only `messages` still delivers.
   */
  readonly current: Effect.Effect<WebSocketStream["Service"], Failure<E>>

  /**
   * Sends one message over the current connection, or the next where there is
   * none, and returns the size of its payload in bytes. It is sent once, or not
   * at all:
   *
   * - A success says that the transport has accepted it. The peer has it unless
   *   the connection ended right after; only an answer can tell.
   * - `ConnectionClosed` or `TransportFailed`, in a `WriteError`, says that the
   *   connection ended under it. The peer has not got it, or, where its last
   *   bytes were with the transport already, perhaps it has. It is not sent
   *   again: whether to do so only the application knows.
   * - Every other failure says that nothing was sent.
   */
  readonly write: (message: Sendable, options?: WriteOptions) => Effect.Effect<number, WriteError | Failure<E>>

  /**
   * All messages to come, of one connection after another, each connection's to
   * its end before the next one's. Fails when it has ended for good, with the
   * last failure. Several runs share the messages, as with one connection. A run
   * holds at most 16 connections that it has not read, and fails with
   * `MessagesMissed` when there is one more.
   */
  readonly messages: Stream.Stream<Payload, Failure<E> | MessagesMissed>

  /** Where it stands. */
  readonly state: Effect.Effect<State<E>>

  /** The state now and its changes, until `Ended`. Who is more than 16 behind misses the oldest. */
  readonly stateChanges: Stream.Stream<State<E>>
}

/**
 * Whether a failure may pass by itself, so that it makes sense to try again.
 *
 * **Details**
 *
 * | failure                                                                          | again |
 * | -------------------------------------------------------------------------------- | ----- |
 * | `UpgradeDeclined` or `ProxyRefused` with 5xx, 408, 425 or 429                    | yes   |
 * | `UpgradeDeclined` or `ProxyRefused` with another status                          | no    |
 * | `TransportFailed`, `HandshakeTimeout`                                            | yes   |
 * | any other `HandshakeError`                                                       | no    |
 * | the peer closed with 1001, 1005, 1011 to 1014 or 3008, or without a Close (1006) | yes   |
 * | the peer closed with another code, 1000 and the application's own among them     | no    |
 * | this library closed: a deadline, a limit, a violation by the peer                | yes   |
 * | the application closed with 1000, a code of its own or none                      | no    |
 * | `InvalidPayload`, `MessageInProgress`, `MessageAborted`, `QueueFull` of `onOpen` | no    |
 * | what is no error of this library                                                 | yes   |
 *
 * @category guards
 * @since 1.0.0
 */
export const isTransient: (failure: unknown) => boolean = Transient.isTransient

/**
 * Waits 0.5, 1, 2, 4, 8, 16 and then 30 seconds, a fifth more or less by
 * Effect's `Random`, and never stops.
 *
 * @category constants
 * @since 1.0.0
 */
export const defaultSchedule: Schedule.Schedule<Duration.Duration> = Schedule.jittered(
  Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])
)

/**
 * How to connect, and when to try again.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options<E, R, E2 = never, R2 = never, R3 = never> {
  /**
   * Makes a connection, such as `WebSocketClient.connect` or `dial`. Runs once
   * for every attempt, in a scope that is closed when the connection has ended
   * and its messages are read, or the next one has opened.
   */
  readonly connect: Effect.Effect<WebSocketStream["Service"], E, R>
  /**
   * Runs with each new connection before anybody else is given it, in its scope:
   * to authenticate, to subscribe again. Failing, it closes the connection, and
   * counts as an attempt that failed. Give it a timeout where it waits for the peer.
   */
  readonly onOpen?: ((stream: WebSocketStream["Service"]) => Effect.Effect<unknown, E2, R2>) | undefined
  /** How long to wait after each failure, and when to stop. Default `defaultSchedule`. */
  readonly schedule?: Schedule.Schedule<unknown, Failure<E | E2>, never, R3> | undefined
  /** Whether to try again after a failure. Default `isTransient`. */
  readonly while?: ((failure: Failure<E | E2>) => boolean) | undefined
  /** A connection open for as long makes the schedule begin anew. Default: 30 seconds. */
  readonly resetAfter?: Duration.Input | undefined
  /**
   * Most of what a server may ask for by a `RetryHint`, which is waited for
   * where the schedule says less. Default: 5 minutes.
   */
  readonly maxRetryHint?: Duration.Input | undefined
}

/**
 * Connects, and again whenever the connection ends, for as long as the scope is
 * open. Leaving it closes the connection, with 1000 on success.
 *
 * **Example** (Subscribing again after each reconnect)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Schedule from "effect/Schedule"
 * import * as Stream from "effect/Stream"
 *
 * // Answers one subscription, and goes away.
 * const restless = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   yield* stream.write(`news of ${yield* stream.read}`)
 *   yield* stream.close({ code: 1012 })
 * })
 *
 * const program = Effect.gen(function*() {
 *   const feed = yield* ReconnectingWebSocket.make({
 *     connect: WebSocketClient.connect({ url: "ws://localhost/" }),
 *     onOpen: (stream) => stream.write("weather"),
 *     schedule: Schedule.recurs(2)
 *   })
 *   return yield* feed.messages.pipe(Stream.take(3), Stream.runCollect)
 * })
 *
 * const server = WebSocketServer.serve(restless).pipe(Layer.provide(WebSocketServer.layer()))
 * const runnable = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.provideMerge(server, MemoryTransport.layer()))
 * )
 * await Effect.runPromise(runnable) // => ["news of weather", "news of weather", "news of weather"]
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const make: <E, R, E2 = never, R2 = never, R3 = never>(
  options: Options<E, R, E2, R2, R3>
) => Effect.Effect<ReconnectingWebSocket<E | E2>, never, Scope.Scope | Exclude<R | R2, Scope.Scope> | R3> = Effect
  .fnUntraced(
    function*<E, R, E2, R2, R3>(options: Options<E, R, E2, R2, R3>) {
      const self = yield* Reconnecting.make<E | E2>(new MessagesMissed({ connections: maxBehind }))
      yield* Effect.acquireRelease(
        Effect.forkDetach(Effect.onError(connectAgain(self, options), (cause) => Effect.sync(() => self.ended(cause)))),
        (loop, exit) => self.close(loop, exit)
      )
      return {
        current: self.current,
        write: (message: Sendable, writeOptions?: WriteOptions) =>
          Effect.flatMap(self.current, (stream) => stream.write(message, writeOptions)),
        messages: Stream.suspend(() => self.messages),
        state: Effect.sync(() => self.state),
        stateChanges: Stream.suspend(() => self.changes)
      }
    }
  )

/** Fails with what ended it for good. */
const connectAgain = Effect.fnUntraced(
  function*<E, R, E2, R2, R3>(self: Reconnecting<E | E2>, options: Options<E, R, E2, R2, R3>) {
    const { maxRetryHint = "5 minutes", resetAfter = "30 seconds", schedule = defaultSchedule } = options
    let step = yield* Schedule.toStep(schedule)
    let attempt = 1
    while (true) {
      const { failure, lasted } = yield* connection(self, options)
      if (!(options.while ?? isTransient)(failure)) return yield* Effect.fail(failure)
      const isStable = lasted >= Duration.toMillis(resetAfter)
      if (isStable) step = yield* Schedule.toStep(schedule)
      attempt = isStable ? 1 : attempt + 1
      const delay = yield* Pull.catchDone(
        Effect.map(step(yield* Clock.currentTimeMillis, failure), ([_, delay]) => delay),
        () => Effect.fail(failure)
      )
      const wait = Hints.longer(delay, Hints.hintOf(failure), maxRetryHint)
      self.set({ _tag: "Waiting", attempt, delay: wait, failure })
      yield* Effect.sleep(wait)
      self.set({ _tag: "Connecting", attempt })
      yield* Telemetry.reconnecting
    }
  }
)

/** One connection from its attempt to its end: why it ended, and how many milliseconds it was open. */
const connection = Effect.fnUntraced(
  function*<E, R, E2, R2, R3>(self: Reconnecting<E | E2>, options: Options<E, R, E2, R2, R3>) {
    const scope = self.makeScope()
    const opening = options.onOpen === undefined
      ? options.connect
      : Effect.tap(options.connect, options.onOpen)
    const opened = yield* Effect.result(Effect.onError(
      Scope.provide(opening, scope),
      (cause) => self.closeScope(scope, Exit.failCause(cause))
    ))
    if (opened._tag === "Failure") return { failure: opened.failure, lasted: 0 }
    const stream = opened.success
    const since = yield* Clock.currentTimeMillis
    yield* self.opened(stream, scope)
    yield* Stream.runDrain(Stream.takeUntil(stream.stateChanges, (state) => state !== "Open"))
    self.set({ _tag: "Closing", stream })
    const failure = endedWith(yield* stream.closed)
    return { failure, lasted: (yield* Clock.currentTimeMillis) - since }
  }
)
