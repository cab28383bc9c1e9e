/**
 * Messages in order: who may write, and what.
 *
 * A `Semaphore(1)` is held for as long as a message is open. It is taken by the
 * fiber that writes the message, or by a `MessageWriter`.
 *
 * @since 1.0.0
 */
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import * as Utf8 from "@effect-websocket/protocol/Utf8"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { PreparedMessage } from "../PreparedMessage.ts"
import * as WebSocketError from "../WebSocketError.ts"
import type { MessageWriter, Payload, Sendable, WriteOptions } from "../WebSocketStream.ts"
import type { Driver } from "./driver.ts"
import { Data, type Outgoing } from "./outbox.ts"
import * as OutgoingPayload from "./payload.ts"

/** A message that is written in parts. */
interface OpenMessage {
  readonly type: MessageType
  readonly compress: boolean
  /** Where the text's validity stands. */
  utf8: Utf8.State
  /** The fiber that waits for itself when it begins another message. */
  readonly owner: Fiber.Fiber<unknown, unknown>
  /** Whether its parts come from a `MessageWriter`. */
  readonly scoped: boolean
  /** Holds the lock's permit. */
  readonly permit: Scope.Closeable
  /** Whether a `MessageWriter` has sent a part. */
  begun: boolean
  /** Whether a part was cut off, so that the message can never be ended. */
  torn: boolean
  /** Stops watching the owner. */
  forget: () => void
}

type Write = Effect.Effect<number, WebSocketError.WriteError>
type MessageOptions = Omit<WriteOptions, "type">

const fail = (reason: WebSocketError.WriteError["reason"]) => Effect.fail(new WebSocketError.WriteError({ reason }))

const inProgress = Effect.suspend(() => fail(new WebSocketError.MessageInProgress({})))
const aborted = Effect.suspend(() => fail(new WebSocketError.MessageAborted({})))
const invalid = (problem: string) => fail(new WebSocketError.InvalidPayload({ problem }))

/**
 * The writing side of a stream.
 *
 * @internal
 */
export class Writing {
  readonly #driver: Driver
  #made: Semaphore.Semaphore | undefined
  #open: OpenMessage | undefined
  /** Payload of writes that are not completed. */
  queuedBytes = 0
  /** Writes and messages that have, or wait for, their turn. */
  #turns = 0

  constructor(driver: Driver) {
    this.#driver = driver
    driver.writing = this
  }

  // Most messages go without, where nobody else writes.
  get #lock(): Semaphore.Semaphore {
    return this.#made ??= Semaphore.makeUnsafe(1)
  }

  /** Nothing but a Close frame can be sent any more. */
  onClosing(): void {
    if (this.#open !== undefined) this.#release(this.#open)
  }

  write(message: Sendable, options?: WriteOptions): Write {
    return this.#write(message, options)
  }

  /** As `write`, whatever is queued: for what its sender bounds. */
  writeAnyway(message: Sendable): Write {
    return this.#write(message, undefined, Infinity)
  }

  #write(message: Sendable, options?: WriteOptions, limit?: number): Write {
    return Effect.withFiber((fiber) => {
      if (this.#open?.owner === fiber) return inProgress
      if (isLong(message, options)) return this.#writeLong([message], options, limit)
      scratch.clear()
      const outgoing = this.#encode(message, options)
      return typeof outgoing === "string" ? invalid(outgoing) : this.#sendMessage(outgoing, undefined, limit)
    })
  }

  /** Writes messages as long as that needs no waiting and no compressing, and gives how many it wrote. */
  offer(messages: ReadonlyArray<Sendable>, options: WriteOptions | undefined): number {
    if (!this.#isFree) return 0
    let sent = 0
    while (sent < messages.length && this.#offer(messages[sent]!, options)) sent++
    return sent
  }

  #offer(message: Sendable, options: WriteOptions | undefined): boolean {
    if (isLong(message, options)) return false
    scratch.clear()
    const outgoing = this.#encode(message, options)
    return typeof outgoing !== "string" && this.#driver.outbox.offer(outgoing)
  }

  writeAll(messages: ReadonlyArray<Sendable>, options?: WriteOptions): Write {
    return Effect.withFiber((fiber) => {
      if (this.#open?.owner === fiber) return inProgress
      if (messages.some((message) => isLong(message, options))) return this.#writeLong(messages, options)
      scratch.clear()
      const encoded: Array<Outgoing> = []
      for (const message of messages) {
        const outgoing = this.#encode(message, options)
        if (typeof outgoing === "string") return invalid(outgoing)
        encoded.push(outgoing)
      }
      return encoded.length === 0 ? Effect.succeed(0) : this.#sendMessages(encoded)
    })
  }

  writeSome(fin: boolean, payload: Payload, options?: WriteOptions): Write {
    return this.#writePart(fin, payload, options)
  }

  #writePart(fin: boolean, payload: Payload | OutgoingPayload.Prepared, options?: WriteOptions): Write {
    return Effect.withFiber((fiber) => {
      const own = this.#open?.owner === fiber ? this.#open : undefined
      if (own?.scoped) return inProgress
      if (OutgoingPayload.isLong(payload, options?.type ?? own?.type)) {
        return prepare(payload, options, own?.utf8, (prepared) => this.#writePart(fin, prepared, options))
      }
      if (own !== undefined) return this.#continue(own, fin, payload, options)
      const part = OutgoingPayload.encode(payload, fin, options)
      if (part.problem !== undefined) return invalid(part.problem)
      const compress = this.#compresses(options, fin ? part.bytes.length : Infinity)
      const outgoing = this.#outgoing(part, compress)
      if (fin) return this.#sendMessage(outgoing, options?.flush)
      const open = openMessage(part.type, compress, fiber, false)
      return this.#begin(open, new Data([outgoing], false, options?.flush), part.utf8)
    })
  }

  // Where one is long, they are sent when it was gone through.
  #writeLong(messages: ReadonlyArray<Sendable>, options: WriteOptions | undefined, limit?: number): Write {
    const encoded: Array<Outgoing> = []
    const add = (message: Sendable | OutgoingPayload.Prepared): string | undefined => {
      scratch.clear()
      const outgoing = this.#encode(message, options)
      if (typeof outgoing === "string") return outgoing
      encoded.push(keep(outgoing))
    }
    const next = (from: number): Write => {
      for (let i = from; i < messages.length; i++) {
        const message = messages[i]!
        if (isLong(message, options)) {
          return prepare(message, options, undefined, (prepared) => {
            const problem = add(prepared)
            return problem === undefined ? next(i + 1) : invalid(problem)
          })
        }
        const problem = add(message)
        if (problem !== undefined) return invalid(problem)
      }
      return this.#sendWhole(new Data(encoded, true), limit)
    }
    return next(0)
  }

  message(
    type: MessageType,
    options?: MessageOptions
  ): Effect.Effect<MessageWriter, WebSocketError.WriteError, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      if (this.#open?.owner === fiber) return inProgress
      const open = openMessage(type, this.#compresses(options, Infinity), fiber, true)
      const leave = (_: unknown, exit: Exit.Exit<unknown, unknown>) => Effect.sync(() => this.#leave(open, exit))
      return Effect.uninterruptibleMask((restore) => {
        this.#turns++
        const taken = restore(
          Effect.andThen(this.#take(open), Effect.suspend(() => this.#refusal(true) ?? Effect.void))
        )
        const begin = Effect.onExit(taken, (exit) =>
          Effect.sync(() => {
            this.#turns--
            if (Exit.isSuccess(exit)) this.#open = open
            else this.#release(open)
          }))
        return Effect.acquireRelease(begin, leave)
      }).pipe(Effect.as(this.#makeWriter(open, options)))
    })
  }

  writeStream<E, R>(
    type: MessageType,
    parts: Stream.Stream<Payload, E, R>,
    options?: MessageOptions
  ): Effect.Effect<number, WebSocketError.WriteError | E, R> {
    return this.message(type, options).pipe(
      Effect.flatMap((writer) =>
        parts.pipe(
          Stream.runFoldEffect(() => 0, (size, part) => Effect.map(writer.write(part), (written) => size + written)),
          Effect.flatMap((size) => Effect.as(writer.finish(), size))
        )
      ),
      Effect.scoped
    )
  }

  // Why nothing can be sent. A new message looks once it is its turn: the one
  // before may have been left without its end.
  #refusal(isNew: boolean): Effect.Effect<never, WebSocketError.WriteError> | undefined {
    if (this.#driver.state !== "Open") return Effect.fail(this.#driver.closedError())
    return isNew && this.#driver.outbox.inMessage ? aborted : undefined
  }

  #compresses(options: WriteOptions | undefined, size: number): boolean {
    const from = this.#driver.compressFrom
    return from !== undefined && (options?.compress ?? size >= from)
  }

  #outgoing({ bytes, type }: OutgoingPayload.Outgoing, compress: boolean): Outgoing {
    return { type, bytes, compress }
  }

  // What is wrong with it comes back as a string.
  #encode(message: Sendable | OutgoingPayload.Prepared, options: WriteOptions | undefined): Outgoing | string {
    if (message instanceof PreparedMessage) return this.#prepared(message, options)
    const encoded = OutgoingPayload.encode(message, true, options, undefined, scratch)
    return encoded.problem ?? this.#outgoing(encoded, this.#compresses(options, encoded.bytes.length))
  }

  #prepared(message: PreparedMessage, options: WriteOptions | undefined): Outgoing {
    return message.outgoing(options?.compress === false ? 0 : this.#driver.sendWindowBits)
  }

  #send(data: Data, isNew: boolean): Write {
    return Effect.suspend(() => this.#refusal(isNew) ?? this.#driver.outbox.send(data))
  }

  // Nobody waits for a turn, and the transport has room: most messages need no more than this.
  #sendMessage(message: Outgoing, flush?: boolean, limit?: number): Write {
    return this.#isFree && this.#driver.outbox.offer(message)
      ? Effect.succeed(message.bytes.length)
      : this.#sendWhole(new Data([keep(message)], true, flush), limit)
  }

  #sendMessages(messages: ReadonlyArray<Outgoing>): Write {
    const size = this.#isFree ? this.#driver.outbox.offerAll(messages) : undefined
    return size === undefined ? this.#sendWhole(new Data(messages.map(keep), true)) : Effect.succeed(size)
  }

  get #isFree(): boolean {
    return this.#turns === 0 && this.#open === undefined && this.#driver.state === "Open"
  }

  #sendWhole(data: Data, limit?: number): Write {
    return this.#queued(data, this.#lock.withPermit(this.#send(data, true)), limit)
  }

  // Counted and uncounted whatever interrupts it.
  #queued(data: Data, write: Write, limit: number = this.#driver.config.maxQueuedBytes): Write {
    return Effect.uninterruptibleMask((restore) => {
      const { size } = data
      if (this.queuedBytes > 0 && this.queuedBytes + size > limit) {
        return fail(new WebSocketError.QueueFull({ limit }))
      }
      const { counts, deadlines } = this.#driver
      const since = deadlines.now
      const behind = this.#turns > 0
      this.queuedBytes += size
      counts.queuedBytes += size
      this.#driver.onHeld()
      this.#turns++
      return Effect.onExit(restore(write), () => {
        this.queuedBytes -= size
        counts.queuedBytes -= size
        this.#turns--
        if (behind || data.waited) counts.onWaited(deadlines.now - since)
        return Effect.void
      })
    })
  }

  // The first part of a message, by whoever has none open. Once it is framed the message is open.
  #begin(open: OpenMessage, data: Data, utf8: Utf8.State): Write {
    const send = Effect.onExit(Effect.andThen(this.#take(open), this.#send(data, true)), () => {
      if (!data.isFramed || this.#driver.state !== "Open") this.#release(open)
      else {
        open.utf8 = utf8
        open.forget = open.owner.addObserver(() => this.#release(open))
        this.#open = open
      }
      return Effect.void
    })
    return this.#queued(data, send)
  }

  // A later part, or any of a `MessageWriter`.
  #continue(
    open: OpenMessage,
    fin: boolean,
    payload: Payload | OutgoingPayload.Prepared,
    options: WriteOptions | undefined
  ): Write {
    const part = OutgoingPayload.encode(payload, fin, options, open)
    if (part.problem !== undefined) return invalid(part.problem)
    if (options?.compress !== undefined && this.#compresses(options, Infinity) !== open.compress) {
      return invalid("whether a message is compressed is decided by its first part")
    }
    const data = new Data([this.#outgoing(part, open.compress)], fin, options?.flush)
    const { counts, deadlines } = this.#driver
    const since = deadlines.now
    return Effect.onExit(this.#send(data, false), () => {
      if (data.waited) counts.onWaited(deadlines.now - since)
      open.torn = data.isTorn
      open.begun ||= data.isFramed
      open.utf8 = data.isFramed ? part.utf8 : open.utf8
      if (open.torn || (fin && data.isFramed)) this.#release(open)
      return Effect.void
    })
  }

  #makeWriter(open: OpenMessage, options: MessageOptions | undefined): MessageWriter {
    const order = Semaphore.makeUnsafe(1)
    const writePart = (fin: boolean, payload: Payload | OutgoingPayload.Prepared, flush?: boolean): Write =>
      Effect.suspend(() => {
        if (this.#open === open) {
          return OutgoingPayload.isLong(payload, open.type)
            ? prepare(payload, options, open.utf8, (prepared) => writePart(fin, prepared, flush))
            : this.#continue(open, fin, payload, { ...options, flush })
        }
        if (this.#driver.state !== "Open") return Effect.fail(this.#driver.closedError())
        return open.torn ? aborted : invalid("the message is finished")
      })
    const write = (fin: boolean, payload: Payload, flush?: boolean) => order.withPermit(writePart(fin, payload, flush))
    return {
      type: open.type,
      write: (part, options) => write(false, part, options?.flush),
      finish: (part) => write(true, part ?? (open.type === "text" ? "" : new Uint8Array(0)))
    }
  }

  // Taken in a scope, so that an interruption at any step gives it back.
  #take(open: OpenMessage): Effect.Effect<void> {
    return Scope.provide(this.#lock.takeScoped(1), open.permit)
  }

  // A message of which nothing was sent leaves nothing behind.
  #leave(open: OpenMessage, exit: Exit.Exit<unknown, unknown>): void {
    const isHalf = this.#open === open && (open.begun || this.#driver.outbox.sending)
    if (open.torn || isHalf) {
      const failed = Exit.isFailure(exit) && !Exit.hasInterrupts(exit)
      this.#driver.close({ code: failed ? 1011 : 1001, reason: "a message was left unfinished" })
    }
    this.#release(open)
  }

  // Whether the message has ended on the wire is for the next one to see.
  #release(open: OpenMessage): void {
    open.forget()
    if (this.#open === open) this.#open = undefined
    Effect.runForkWith(this.#driver.context)(Scope.close(open.permit, Exit.void))
  }
}

const isLong = (message: Sendable, options: WriteOptions | undefined): message is Payload =>
  OutgoingPayload.isLong(message, options?.type)

// A long payload is gone through neither with what made it, nor with what becomes of it.
const prepare = (
  payload: Payload,
  options: WriteOptions | undefined,
  utf8: Utf8.State | undefined,
  go: (prepared: OutgoingPayload.Prepared) => Write
): Write => {
  const prepared = Effect.suspend(() => OutgoingPayload.prepare(payload, options, utf8))
  return Effect.flatMap(
    Effect.andThen(Effect.yieldNow, prepared),
    (prepared) => typeof prepared === "string" ? invalid(prepared) : go(prepared)
  )
}

const scratch = new OutgoingPayload.Scratch()

const keep = (message: Outgoing): Outgoing => ({ ...message, bytes: scratch.keep(message.bytes) })

const openMessage = (
  type: MessageType,
  compress: boolean,
  owner: Fiber.Fiber<unknown, unknown>,
  scoped: boolean
): OpenMessage => ({
  type,
  compress,
  utf8: Utf8.boundary,
  owner,
  scoped,
  permit: Scope.makeUnsafe(),
  begun: false,
  torn: false,
  forget: () => {}
})
