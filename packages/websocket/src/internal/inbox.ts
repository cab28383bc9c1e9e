/**
 * What has arrived and was not yet read: one sequence of parts, seen by
 * `readSome`, `read` and `pull`.
 *
 * Nothing is lost to an interruption: parts leave the inbox in the one step that
 * gives them to the reading fiber's next. Readers wait in a queue.
 *
 * @since 1.0.0
 */
import type { Part } from "@effect-websocket/protocol/Message"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { ReadError } from "../WebSocketError.ts"
import type { MessagePart, Payload } from "../WebSocketStream.ts"
import { concat, PartQueue } from "./parts.ts"

/** A way to read the sequence. */
interface View<A> {
  readonly wholeMessages: boolean
  /** How many parts it would take now. */
  readonly count: () => number
  readonly of: (parts: ReadonlyArray<Part>) => A
}

/** A read in the queue. */
interface Reader {
  readonly view: View<unknown>
  /** Lets it look again, after `delay`; `undefined` while it does. */
  wake: ((delay: Effect.Effect<void>) => void) | undefined
}

const notReady = new Error("nothing to read")

// Steps that a read may need once it has seen that it can go on.
const stepsToTake = 4

// Whether the scheduler is about to let other fibers run, and an interruption in.
const yieldsSoon = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.currentOpCount + stepsToTake >= fiber.cache.maxOpsBeforeYield

const toMessages = (parts: ReadonlyArray<Part>): NonEmptyReadonlyArray<Payload> => {
  const messages: Array<Payload> = []
  let start = 0
  parts.forEach((part, index) => {
    if (!part.fin) return
    messages.push(concat(parts.slice(start, index + 1)))
    start = index + 1
  })
  return messages as [Payload, ...Array<Payload>]
}

const toMessagePart = ([part]: ReadonlyArray<Part>): MessagePart => {
  const { data, fin, type } = part!
  return { type, data, fin } as MessagePart
}

/**
 * The parts that wait for readers, and the readers that wait for parts.
 *
 * @internal
 */
export class Inbox {
  readonly #capacity: number
  readonly #onRoom: () => void
  #parts = new PartQueue()
  #failure: ReadError | undefined
  readonly #readers = new Set<Reader>()
  #discarding = false

  readonly readSome: Effect.Effect<MessagePart, ReadError>
  readonly read: Effect.Effect<Payload, ReadError>
  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Payload>, ReadError>

  /** `onRoom` is called when `full` may have become false; it runs no other fiber before it returns. */
  constructor(capacity: number, onRoom: () => void) {
    this.#capacity = capacity
    this.#onRoom = onRoom
    this.readSome = this.#makeRead({
      wholeMessages: false,
      count: () => Math.min(1, this.#parts.length),
      of: toMessagePart
    })
    this.read = this.#makeRead({ wholeMessages: true, count: () => this.#parts.countMessage(), of: concat })
    this.pull = this.#makeRead({ wholeMessages: true, count: () => this.#parts.countMessages(), of: toMessages })
  }

  /** Whether no more should be taken from the transport. */
  get full(): boolean {
    const waitsForMore = this.#parts.wholeMessages === 0 && this.#firstReader?.view.wholeMessages === true
    return this.#parts.bytes >= this.#capacity && !waitsForMore
  }

  /** Bytes that wait to be read, with what it takes to keep them. */
  get bytes(): number {
    return this.#parts.bytes
  }

  /** How many messages were read to their end. */
  get messagesRead(): number {
    return this.#parts.messagesTaken
  }

  push(part: Part): void {
    if (!this.#discarding && this.#failure === undefined) this.#parts.push(part)
  }

  /** No more parts will come. Those that are there can still be read. */
  fail(error: ReadError): void {
    this.#failure ??= error
    this.serve()
  }

  /** Nobody will read any more: drops what is there and what comes. */
  discard(): void {
    this.#discarding = true
    this.#parts = new PartQueue()
    this.#onRoom()
  }

  /** Wakes the reader whose turn it is, if it can go on. The next one's turn comes when it has. */
  serve(delay: Effect.Effect<void> = Effect.void): void {
    const reader = this.#firstReader
    if (reader === undefined) return
    if (this.#failure === undefined && reader.view.count() === 0) {
      if (reader.view.wholeMessages) this.#onRoom()
      return
    }
    const { wake } = reader
    reader.wake = undefined
    wake?.(delay)
  }

  get #firstReader(): Reader | undefined {
    return this.#readers.values().next().value
  }

  // `take` is the last step before the caller's own, and no other fiber runs
  // between the two. Should one have run before it, another reader may have
  // come first; then this one waits again.
  #makeRead<A>(view: View<A>, reader?: Reader): Effect.Effect<A, ReadError> {
    const isReady = () => this.#isTurnOf(reader) && view.count() > 0
    const take = Effect.catchDefect(
      Effect.sync(() => {
        if (!isReady()) throw notReady
        const parts = this.#parts.take(view.count())
        this.#leave(reader)
        this.#onRoom()
        return view.of(parts)
      }),
      (defect) => defect === notReady ? attempt : Effect.die(defect)
    )
    const attempt: Effect.Effect<A, ReadError> = Effect.withFiber((fiber) => {
      if (isReady()) return yieldsSoon(fiber) ? Effect.andThen(Effect.yieldNow, take) : take
      if (this.#failure === undefined || !this.#isTurnOf(reader)) return wait
      this.#leave(reader)
      return Effect.fail(this.#failure)
    })
    const wait = Effect.callback<A, ReadError>((resume) => {
      if (this.#isTurnOf(reader) && (view.count() > 0 || this.#failure !== undefined)) return resume(attempt)
      const waiting: Reader = reader ?? { view, wake: undefined }
      const next = reader === undefined ? this.#makeRead(view, waiting) : attempt
      waiting.wake = (delay) => resume(Effect.andThen(delay, next))
      this.#readers.add(waiting)
      if (view.wholeMessages) this.#onRoom()
      return Effect.sync(() => this.#leave(waiting))
    })
    return attempt
  }

  #isTurnOf(reader: Reader | undefined): boolean {
    return this.#readers.size === 0 || this.#firstReader === reader
  }

  // Readers behind it go on in a later turn, when this one has gone on.
  #leave(reader: Reader | undefined): void {
    if (reader !== undefined && this.#readers.delete(reader)) this.serve(Effect.yieldNow)
  }
}
