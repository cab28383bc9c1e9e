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
import * as Scheduler from "effect/Scheduler"
import type { ReadError } from "../WebSocketError.ts"
import type { MessagePart, Payload } from "../WebSocketStream.ts"
import { PartQueue } from "./parts.ts"

/** A way to read the sequence. */
interface View<A> {
  readonly wholeMessages: boolean
  /** Takes what there is, from parts among which there is something. */
  readonly take: (parts: PartQueue) => A
}

/** A read in the queue. */
interface Reader {
  readonly view: View<unknown>
  /** Lets it go on, after `delay`; `undefined` while it does. */
  wake: ((delay: Effect.Effect<void> | undefined) => void) | undefined
}

// So many bytes of a long message are put together before others have their turn.
const settleSize = 256 * 1024

const notReady = new Error("nothing to read")

// Steps that a read may need once it has seen that it can go on.
const stepsToTake = 4

const { shouldYield } = Scheduler.MixedScheduler.prototype

// Whether it is not known that the scheduler will not let other fibers run, and an interruption in, before the caller's
// next step.
const mayYield = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean => cache.scheduler.shouldYield !== shouldYield

// Whether the scheduler is about to do so.
const yieldsSoon = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.currentOpCount + stepsToTake >= fiber.cache.maxOpsBeforeYield

// Whether what it is resumed with is given to its next step before any other fiber runs.
const goesOnAtOnce = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  !mayYield(fiber) && stepsToTake < fiber.cache.maxOpsBeforeYield

const partView: View<MessagePart> = {
  wholeMessages: false,
  take: (parts) => {
    const { data, fin, type } = parts.shift()
    return { type, data, fin } as MessagePart
  }
}

const messageView: View<Payload> = { wholeMessages: true, take: (parts) => parts.shiftMessage() }

const messagesView: View<NonEmptyReadonlyArray<Payload>> = {
  wholeMessages: true,
  take: (parts) => parts.shiftMessages() as [Payload, ...Array<Payload>]
}

/**
 * What the inbox tells its driver.
 *
 * @internal
 */
export interface Events {
  /** `full` may have become false. Runs no other fiber before it returns. */
  readonly onRoom: () => void
}

const nobody: ReadonlyArray<Reader> = []

/**
 * The parts that wait for readers, and the readers that wait for parts.
 *
 * @internal
 */
export class Inbox {
  readonly #capacity: number
  readonly #events: Events
  readonly #reusesArrays: boolean
  #parts: PartQueue
  #failure: ReadError | undefined
  // In their order. Most of the time there is one at most.
  #firstReader: Reader | undefined
  #otherReaders = nobody
  #discarding = false

  #readSome: Effect.Effect<MessagePart, ReadError> | undefined
  #read: Effect.Effect<Payload, ReadError> | undefined
  #pull: Effect.Effect<NonEmptyReadonlyArray<Payload>, ReadError> | undefined

  /** Where it `reusesArrays`, those that a read was given are its own until the next. */
  constructor(capacity: number, reusesArrays: boolean, events: Events) {
    this.#capacity = capacity
    this.#reusesArrays = reusesArrays
    this.#parts = new PartQueue(reusesArrays)
    this.#events = events
  }

  // Made when somebody asks: most connections are read in one way, and an idle one holds what was made.
  get readSome(): Effect.Effect<MessagePart, ReadError> {
    return this.#readSome ??= this.#makeRead(partView)
  }

  get read(): Effect.Effect<Payload, ReadError> {
    return this.#read ??= this.#makeRead(messageView)
  }

  get pull(): Effect.Effect<NonEmptyReadonlyArray<Payload>, ReadError> {
    return this.#pull ??= this.#makeRead(messagesView)
  }

  /** Whether no more should be taken from the transport. */
  get full(): boolean {
    if (this.#parts.bytes < this.#capacity) return false
    return this.#parts.wholeMessages > 0 || this.#firstReader?.view.wholeMessages !== true
  }

  /** Bytes that wait to be read, with what it takes to keep them. */
  get bytes(): number {
    return this.#parts.bytes
  }

  /** How many messages were read to their end. */
  get messagesRead(): number {
    return this.#parts.messagesTaken
  }

  /** Parts are views of a chunk from now on, which may be kept alive where it `isOwned`, and is overwritten otherwise. */
  begin(isOwned: boolean): void {
    this.#parts.begin(isOwned)
  }

  /** `rest` is what the part's frame has still to bring. */
  push(part: Part, rest: number): void {
    if (!this.#discarding && this.#failure === undefined) this.#parts.push(part, rest)
  }

  /** No more parts will come. Those that are there can still be read. */
  fail(error: ReadError): void {
    this.#failure ??= error
    this.serve()
  }

  /** Nobody will read any more: drops what is there and what comes. */
  discard(): void {
    this.#discarding = true
    this.#parts = new PartQueue(this.#reusesArrays)
    this.#events.onRoom()
  }

  /** No more parts of the chunk will come. */
  end(): void {
    this.serve()
  }

  /** Wakes the reader whose turn it is, if it can go on. The next one's turn comes when it has. */
  serve(delay?: Effect.Effect<void>): void {
    const reader = this.#firstReader
    if (reader === undefined) return
    if (this.#failure === undefined && !this.#has(reader.view)) {
      if (reader.view.wholeMessages) this.#events.onRoom()
      return
    }
    const { wake } = reader
    reader.wake = undefined
    wake?.(delay)
  }

  #has(view: View<unknown>): boolean {
    return (view.wholeMessages ? this.#parts.wholeMessages : this.#parts.length) > 0
  }

  #makeRead<A>(view: View<A>): Effect.Effect<A, ReadError> {
    return Effect.withFiber((fiber) => this.#attempt(view, undefined, fiber))
  }

  #attempt<A>(
    view: View<A>,
    reader: Reader | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<A, ReadError> {
    if (this.#isReady(view, reader)) {
      if (this.#isInPieces(view) && !this.#parts.settle(settleSize)) return this.#goOnLater(view, reader, fiber)
      if (yieldsSoon(fiber)) return Effect.andThen(Effect.yieldNow, this.#takeLast(view, reader))
      return mayYield(fiber) ? this.#takeLast(view, reader) : Effect.succeed(this.#take(view, reader))
    }
    if (this.#failure === undefined || !this.#isTurnOf(reader)) return this.#wait(view, reader, fiber)
    this.#leave(reader)
    return Effect.fail(this.#failure)
  }

  #take<A>(view: View<A>, reader: Reader | undefined): A {
    const taken = view.take(this.#parts)
    this.#leave(reader)
    this.#events.onRoom()
    return taken
  }

  // The last step before the caller's own: no other fiber runs between the two.
  // Should one have run before it, another reader may have come first; then
  // this one waits again.
  #takeLast<A>(view: View<A>, reader: Reader | undefined): Effect.Effect<A, ReadError> {
    return Effect.catchDefect(
      Effect.sync(() => {
        if (!this.#isReady(view, reader)) throw notReady
        return this.#take(view, reader)
      }),
      (defect) => defect === notReady ? this.#again(view, reader) : Effect.die(defect)
    )
  }

  #again<A>(view: View<A>, reader: Reader | undefined): Effect.Effect<A, ReadError> {
    return Effect.withFiber((fiber) => this.#attempt(view, reader, fiber))
  }

  #wait<A>(
    view: View<A>,
    reader: Reader | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<A, ReadError> {
    return Effect.callback<A, ReadError>((resume) => {
      if (this.#isReady(view, reader) || (this.#failure !== undefined && this.#isTurnOf(reader))) {
        return resume(this.#again(view, reader))
      }
      const waiting: Reader = reader ?? { view, wake: undefined }
      waiting.wake = (delay) => resume(this.#goOn(view, waiting, fiber, delay))
      this.#enter(waiting)
      if (view.wholeMessages) this.#events.onRoom()
      return Effect.sync(() => this.#leave(waiting))
    })
  }

  #isInPieces({ wholeMessages }: View<unknown>): boolean {
    return wholeMessages && this.#parts.inPieces
  }

  // Others have their turn, but for readers, which stay behind it.
  #goOnLater<A>(
    view: View<A>,
    reader: Reader | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<A, ReadError> {
    if (reader !== undefined) return Effect.andThen(Effect.yieldNow, this.#again(view, reader))
    return Effect.callback<A, ReadError>((resume) => {
      const waiting: Reader = { view, wake: undefined }
      this.#enter(waiting)
      fiber.currentDispatcher.scheduleTask(() => resume(this.#again(view, waiting)), 0)
      return Effect.sync(() => this.#leave(waiting))
    })
  }

  #goOn<A>(
    view: View<A>,
    reader: Reader,
    fiber: Fiber.Fiber<unknown, unknown>,
    delay: Effect.Effect<void> | undefined
  ): Effect.Effect<A, ReadError> {
    if (delay !== undefined) return Effect.andThen(delay, this.#again(view, reader))
    if (!goesOnAtOnce(fiber) || !this.#isReady(view, reader) || this.#isInPieces(view)) return this.#again(view, reader)
    return Effect.succeed(this.#take(view, reader))
  }

  #isReady(view: View<unknown>, reader: Reader | undefined): boolean {
    return this.#has(view) && this.#isTurnOf(reader)
  }

  #isTurnOf(reader: Reader | undefined): boolean {
    return this.#firstReader === undefined || this.#firstReader === reader
  }

  #enter(reader: Reader): void {
    if (this.#firstReader === undefined) this.#firstReader = reader
    else if (this.#firstReader !== reader && !this.#otherReaders.includes(reader)) {
      this.#otherReaders = [...this.#otherReaders, reader]
    }
  }

  // Readers behind it go on in a later turn, when this one has gone on.
  #leave(reader: Reader | undefined): void {
    if (reader === undefined) return
    if (reader !== this.#firstReader) {
      this.#otherReaders = this.#otherReaders.filter((other) => other !== reader)
    } else {
      this.#firstReader = this.#otherReaders[0]
      if (this.#firstReader !== undefined) this.#otherReaders = this.#otherReaders.slice(1)
      this.serve(Effect.yieldNow)
    }
  }
}
