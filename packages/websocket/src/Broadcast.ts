/**
 * One message to many connections.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import { offerUnsafe } from "./internal/stream.ts"
import type { WriteError } from "./WebSocketError.ts"
import type { Sendable, WebSocketStream, WriteOptions } from "./WebSocketStream.ts"

/**
 * A connection that a message could not be sent to, and why.
 *
 * @category models
 * @since 1.0.0
 */
export interface Undelivered {
  readonly stream: WebSocketStream["Service"]
  readonly error: WriteError
}

type Stream = WebSocketStream["Service"]

/** A connection that could not take all of the messages at once, and those that are left. */
interface Rest {
  readonly stream: Stream
  readonly messages: ReadonlyArray<Sendable>
}

// So many messages are written, which takes less than a millisecond where they are small, before others have their turn.
const turnSize = 1024

const offerToEach = (
  streams: ReadonlyArray<Stream>,
  messages: ReadonlyArray<Sendable>,
  options: WriteOptions | undefined
): Effect.Effect<ReadonlyArray<Rest>> => {
  const rests: Array<Rest> = []
  const perTurn = Math.ceil(turnSize / messages.length)
  const next = (from: number): Effect.Effect<ReadonlyArray<Rest>> =>
    Effect.suspend(() => {
      const turn = streams.slice(from, from + perTurn)
      for (const stream of turn) {
        const sent = offerUnsafe(stream, messages, options)
        if (sent < messages.length) rests.push({ stream, messages: messages.slice(sent) })
      }
      const to = from + turn.length
      return to < streams.length ? Effect.andThen(Effect.yieldNow, next(to)) : Effect.succeed(rests)
    })
  return next(0)
}

const writeRest = (
  { messages, stream }: Rest,
  options: WriteOptions | undefined
): Effect.Effect<ReadonlyArray<Undelivered>> =>
  Effect.match(stream.writeAll(messages, options), {
    onFailure: (error) => [{ stream, error }],
    onSuccess: () => []
  })

/**
 * Writes a message to every connection, and gives those that it could not be
 * written to.
 *
 * **When to use**
 *
 * For the same message to many: connections whose transport has room are written
 * to at once, without a fiber for each. Prepare the message, with
 * `PreparedMessage`, so that it is encoded and compressed once.
 *
 * **Details**
 *
 * As with `write`, it waits until every transport has accepted the message, and
 * comes behind what the connection sends already. A connection that has no room
 * holds up none of the others, but the end of this: `maxQueuedBytes` bounds what
 * waits for it, beyond which it is given back with `QueueFull`. Interrupting it
 * gives up the writes that wait.
 *
 * The connections are those of the moment it begins.
 *
 * **Example** (Telling everybody)
 *
 * ```ts import.meta.vitest
 * import * as Broadcast from "effect-websocket/Broadcast"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const here = new Set<WebSocketStream["Service"]>()
 *
 * const handler = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   here.add(stream)
 *   const message = yield* stream.read
 *   const undelivered = yield* Broadcast.write(here, message)
 *   for (const { stream } of undelivered) here.delete(stream)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const ann = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   const bob = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   yield* bob.write("hello")
 *   return yield* Effect.all([ann.read, bob.read])
 * })
 *
 * const server = WebSocketServer.serve(handler).pipe(
 *   Layer.provide(WebSocketServer.layer()),
 *   Layer.provideMerge(MemoryTransport.layer())
 * )
 *
 * await Effect.runPromise(Effect.provide(Effect.scoped(program), server)) // => ["hello", "hello"]
 * ```
 *
 * @category writing
 * @since 1.0.0
 */
export const write = (
  streams: Iterable<Stream>,
  message: Sendable,
  options?: WriteOptions
): Effect.Effect<ReadonlyArray<Undelivered>> => writeAll(streams, [message], options)

/**
 * Writes messages in order to every connection, as `write` does one, and gives
 * those that not all of them could be written to. No other message comes between
 * those that a connection has room for at once, nor between the rest.
 *
 * @category writing
 * @since 1.0.0
 */
export const writeAll = (
  streams: Iterable<Stream>,
  messages: ReadonlyArray<Sendable>,
  options?: WriteOptions
): Effect.Effect<ReadonlyArray<Undelivered>> =>
  Effect.suspend(() => offerToEach(Array.from(streams), messages, options)).pipe(
    Effect.flatMap(Effect.forEach((rest) => writeRest(rest, options), { concurrency: "unbounded" })),
    Effect.map((undelivered) => undelivered.flat())
  )
