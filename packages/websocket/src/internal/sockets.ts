/**
 * A `WebSocketStream` as the two sides of Effect's `Socket`, for the modules
 * that adapt to `effect/socket` and `effect/rpc`.
 *
 * @since 1.0.0
 */
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Socket from "effect/socket/Socket"
import * as RetryHint from "../RetryHint.ts"
import * as WebSocketError from "../WebSocketError.ts"
import type { Payload, WebSocketStream } from "../WebSocketStream.ts"
import { hintOf } from "./hints.ts"
import { driverOf, ownerOf, writeAnyway } from "./stream.ts"

type Stream = WebSocketStream["Service"]

const socketError = (reason: Socket.SocketErrorReason) => new Socket.SocketError({ reason })

const closeError = ({ code, reason }: { readonly code: number; readonly reason: string }) =>
  socketError(new Socket.SocketCloseError({ code, closeReason: reason === "" ? undefined : reason }))

/**
 * A close as a `SocketCloseError`, all else that ends reading as a
 * `SocketReadError` whose cause is the `ReadError`.
 *
 * @internal
 */
export const readError = (error: WebSocketError.ReadError): Socket.SocketError =>
  error.reason._tag === "ConnectionClosed"
    ? closeError(error.reason.status)
    : socketError(new Socket.SocketReadError({ cause: error }))

/**
 * A close as a `SocketCloseError`, all else as a `SocketWriteError` whose cause
 * is the `WriteError`.
 *
 * @internal
 */
export const writeError = (error: WebSocketError.WriteError): Socket.SocketError =>
  error.reason._tag === "ConnectionClosed"
    ? closeError(error.reason.status)
    : socketError(new Socket.SocketWriteError({ cause: error }))

const queueFull = (limit: number) =>
  writeError(new WebSocketError.WriteError({ reason: new WebSocketError.QueueFull({ limit }) }))

/**
 * What kept a connection from opening as a `SocketOpenError` that has it as its
 * cause.
 *
 * @internal
 */
export const openError = (cause: unknown): Socket.SocketError =>
  socketError(new Socket.SocketOpenError({ kind: isTimeout(cause) ? "Timeout" : "Unknown", cause }))

const isTimeout = (error: unknown): boolean => {
  if (!(error instanceof WebSocketError.HandshakeError)) return false
  const { reason } = error
  if (reason._tag !== "TransportFailed") return reason._tag === "HandshakeTimeout"
  const cause = Socket.isSocketError(reason.cause) ? reason.cause.reason : undefined
  return cause?._tag === "SocketOpenError" && cause.kind === "Timeout"
}

/**
 * Whether nobody but the peer, or the network, has to do with it.
 *
 * @internal
 */
export const isPeersDoing = (error: unknown): error is Socket.SocketError =>
  Socket.isSocketError(error) &&
  (error.reason._tag === "SocketCloseError" || error.reason._tag === "SocketReadError" || hasFailedTransport(error))

const hasFailedTransport = ({ reason }: Socket.SocketError): boolean =>
  reason._tag === "SocketWriteError" &&
  reason.cause instanceof WebSocketError.WriteError &&
  reason.cause.reason._tag === "TransportFailed"

/**
 * When the server asked to come back, if it did.
 *
 * @internal
 */
export const retryHintOf = ({ reason }: Socket.SocketError): Duration.Duration | undefined => {
  if (reason._tag === "SocketCloseError") return RetryHint.parse(reason.closeReason ?? "")
  return hintOf("cause" in reason ? reason.cause : undefined)
}

/**
 * The reading side. When the scope closes, reads that wait fail at once; the
 * closing handshake may take its time.
 *
 * @internal
 */
export const makeReader = (stream: Stream): Effect.Effect<Socket.Reader, never, Scope.Scope> =>
  Effect.as(
    Effect.addFinalizer(() => Effect.sync(() => driverOf(stream)?.abandonReads())),
    { pull: Effect.mapError(ownPull(stream), readError), upgrade: Socket.SocketUpgradeError.unsupported }
  )

const ownPull = (stream: Stream): Stream["pull"] => {
  const own = ownerOf(stream)
  return own === identity ? stream.pull : Effect.map(stream.pull, Arr.map(own))
}

const closeFrameOf = (event: Socket.CloseEvent) => ({ code: event.code, reason: event.reason ?? "" })

/**
 * Begins to close and waits for nothing: the end comes as the error of a pull.
 *
 * @internal
 */
export const beginClose = (stream: Stream, event: Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> =>
  Effect.flatMap(
    Effect.forkDetach(stream.close(closeFrameOf(event)), { startImmediately: true }),
    (closing) => {
      const exit = closing.pollUnsafe()
      return exit === undefined ? Effect.void : Effect.mapError(Effect.asVoid(exit), writeError)
    }
  )

/**
 * The close code of a scope's exit.
 *
 * @internal
 */
export const closeCodeOf = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit) ? 1000 : Exit.hasInterrupts(exit) ? 1001 : 1011

// The UTF-8 of a UTF-16 code unit takes three bytes at most.
const maxSize = (payload: Payload): number => typeof payload === "string" ? payload.length * 3 : payload.length

/**
 * The writing side: a message goes out whole or not at all.
 *
 * A message in several frames that is interrupted between them would leave a
 * connection on which nothing can follow. So once it is its turn, it goes on
 * without the fiber that wrote it; of those there is one at a time. What is
 * written after such a fiber was interrupted stays behind its message.
 *
 * @internal
 */
export class SocketWriter {
  readonly #stream: Stream
  readonly #turn = Semaphore.makeUnsafe(1)
  /** Most bytes of a message that is one frame for certain. */
  readonly #frameSize: number
  /** Most of what may be queued, where it is known: as the stream counts, but characters of text. */
  readonly #limit: number
  /** Of writes in several frames that are not completed. */
  #queuedSize = 0
  /** Writes a message whose own fiber was interrupted. */
  #abandoned: Fiber.Fiber<void, Socket.SocketError> | undefined

  constructor(stream: Stream) {
    this.#stream = stream
    const config = driverOf(stream)?.config
    const known = config !== undefined && stream.handshake.extensions.length === 0
    this.#frameSize = known ? config.fragmentSize || Infinity : 0
    this.#limit = config?.maxQueuedBytes ?? Infinity
  }

  write(payload: Payload): Effect.Effect<void, Socket.SocketError> {
    return this.#write([payload], this.#stream.write(payload), this.#limit)
  }

  /** As `write`, and not refused with `QueueFull`: for what is small and is sent a few times for each request. */
  writeAnyway(payload: Payload): Effect.Effect<void, Socket.SocketError> {
    return this.#write([payload], writeAnyway(this.#stream, payload), Infinity)
  }

  writeAll(payloads: ReadonlyArray<Payload>): Effect.Effect<void, Socket.SocketError> {
    return this.#write(payloads, this.#stream.writeAll(payloads), this.#limit)
  }

  #write(
    payloads: ReadonlyArray<Payload>,
    written: Effect.Effect<unknown, WebSocketError.WriteError>,
    limit: number
  ): Effect.Effect<void, Socket.SocketError> {
    const write = Effect.asVoid(Effect.mapError(written, writeError))
    if (payloads.every((payload) => maxSize(payload) <= this.#frameSize)) return this.#frame(write)
    return this.#whole(write, payloads.reduce((sum, { length }) => sum + length, 0), limit)
  }

  #frame(write: Effect.Effect<void, Socket.SocketError>): Effect.Effect<void, Socket.SocketError> {
    return Effect.suspend(() => this.#abandoned === undefined ? write : this.#turn.withPermit(write))
  }

  // Who writes waits with the fiber that does it, and takes it along until it is its turn. The stream knows of one at a
  // time and would refuse none.
  #whole(
    write: Effect.Effect<void, Socket.SocketError>,
    size: number,
    limit: number
  ): Effect.Effect<void, Socket.SocketError> {
    return Effect.uninterruptibleMask((restore) => {
      if (this.#queuedSize > 0 && this.#queuedSize + size > limit) return Effect.fail(queueFull(limit))
      this.#queuedSize += size
      let begun = false
      const begin = Effect.sync(() => {
        begun = true
      })
      return Effect.flatMap(
        Effect.forkDetach(this.#turn.withPermit(Effect.andThen(begin, write)), { startImmediately: true }),
        (writing) => {
          writing.addObserver(() => {
            this.#queuedSize -= size
          })
          return Effect.onInterrupt(restore(Fiber.join(writing)), () => {
            // At once: in a step of its own the message might have begun in between, and would be torn.
            if (begun) this.#abandon(writing)
            else writing.interruptUnsafe()
            return begun ? Effect.void : Fiber.await(writing)
          })
        }
      )
    })
  }

  #abandon(writing: Fiber.Fiber<void, Socket.SocketError>): void {
    this.#abandoned = writing
    writing.addObserver(() => {
      if (this.#abandoned === writing) this.#abandoned = undefined
    })
  }
}
