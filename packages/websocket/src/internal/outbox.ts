/**
 * What is to be sent, one frame at a time: the Close frame first, then control
 * frames, then the message in progress, fragment by fragment.
 *
 * Whoever writes runs the outbox until the transport is full; from then on it
 * goes on by itself as the transport accepts, whatever becomes of the writer's
 * fiber. So a frame is never torn, and a control frame waits for one fragment.
 *
 * @since 1.0.0
 */
import type { CloseFrame } from "@effect-websocket/protocol/CloseCode"
import type { Connection, SendError } from "@effect-websocket/protocol/Connection"
import type * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Transport from "../Transport.ts"
import type { WriteError } from "../WebSocketError.ts"
import { deflateSize } from "./compression.ts"
import type { Pacing } from "./pacing.ts"
import { concatBytes, concatPieces } from "./parts.ts"
import { LongText, type Source } from "./payload.ts"

/**
 * The payload of a message, or of one part of one.
 *
 * @internal
 */
export interface Outgoing {
  readonly type: MessageType
  readonly bytes: Source
  /** Whether the message is compressed, all of it. */
  readonly compress: boolean
  /** All of the message, compressed without context: sent in place of its bytes. */
  readonly deflated?: Uint8Array | undefined
}

/**
 * A control frame to be sent.
 *
 * @internal
 */
export interface Control {
  readonly opcode: "Ping" | "Pong"
  readonly payload: Uint8Array
  /** Called when the transport has accepted it, or when it cannot be sent. */
  readonly done: (exit: Exit.Exit<void, WriteError>) => void
}

const nothing = new Uint8Array(0)

const noControls: Array<Control> = []

const lengthOf = ({ bytes, deflated }: Outgoing): number => (deflated ?? bytes).length

const wholeOf = (bytes: Source): Uint8Array => bytes instanceof LongText ? bytes.take(bytes.length) : bytes

/**
 * Messages to be sent one after another, or one part of a message, and how far
 * that has come.
 *
 * @internal
 */
export class Data {
  readonly messages: ReadonlyArray<Outgoing>
  readonly fin: boolean
  /** Whether the compressor holds nothing back at the end of a part. */
  readonly flush: boolean
  readonly size: number
  /** Whether nothing of it is to be compressed, so that the size of its frames is known. */
  readonly isPlain: boolean
  /** The message in progress. */
  index = 0
  /** How many of its bytes were framed, or given to the compressor. */
  offset = 0
  /** What the compressor made of them and was not framed yet. */
  deflated: Uint8Array = nothing
  /** The same, of a message that goes in one frame, until there is all of it. */
  pieces: Array<Uint8Array> = []
  /** Whether the message in progress began here, and not with a part before. */
  begins = false
  /** Whether the transport could not take all of it at once. */
  waited = false

  constructor(messages: ReadonlyArray<Outgoing>, fin: boolean, flush: boolean = false) {
    this.messages = messages
    this.fin = fin
    this.flush = flush
    let size = 0
    let isPlain = true
    for (const { bytes, compress } of messages) {
      size += bytes.length
      isPlain &&= !compress
    }
    this.size = size
    this.isPlain = isPlain
  }

  /** Whether all of it was framed: then it goes out whole, come what may. */
  get isFramed(): boolean {
    return this.index === this.messages.length
  }

  /** Bytes of the message in progress that were not framed yet. Never negative, whatever becomes of a resizable array. */
  get rest(): number {
    return Math.max(0, lengthOf(this.messages[this.index]!) - this.offset)
  }

  /** Whether it was cut off inside a payload. */
  get isTorn(): boolean {
    return this.offset > 0 || this.deflated.length > 0
  }

  /** The next bytes of the message in progress, `size` or what is left. Those of a text are there until the next call. */
  take(size: number): Uint8Array {
    const { bytes, deflated } = this.messages[this.index]!
    const source = deflated ?? bytes
    const isAll = this.offset === 0 && source.length <= size
    const payload = source instanceof LongText
      ? source.take(size)
      : isAll
      ? source
      : source.subarray(this.offset, this.offset + size)
    this.offset += payload.length
    return payload
  }

  /** Whether the message in progress, of `length` bytes, is framed; then goes on to the next. */
  endsAt(length: number): boolean {
    if (this.offset < length || this.deflated.length > 0) return false
    this.index++
    this.offset = 0
    this.begins = false
    return true
  }
}

type SendResult = Result.Result<Uint8Array | undefined, SendError>

interface Sending {
  readonly data: Data
  readonly done: (exit: Exit.Exit<number, WriteError>) => void
}

/**
 * What the outbox tells its driver.
 *
 * @internal
 */
export interface Events {
  /** The transport has accepted the Close frame. */
  readonly onCloseSent: () => void
  /** The transport has failed. */
  readonly onFailure: (error: Transport.TransportError) => void
  /** A message was compressed, or a part of one. */
  readonly onCompressed: () => void
  /** Whether messages wait to be read, which may be answered next. */
  readonly expectsMore: () => boolean
  /** The error of writes once nothing more is sent. */
  readonly closedError: () => WriteError
  /** Who says how much may be sent, where the outbox is paced. */
  readonly pacing: () => Pacing
  readonly runFork: (
    effect: Effect.Effect<void, Transport.TransportError>
  ) => Fiber.Fiber<void, Transport.TransportError>
}

// Most bytes of small frames that are handed over together.
const maxBatch = 64 * 1024

// Most bytes that are framed, of messages that do not go at once, before others have their turn.
const turnSize = 1024 * 1024

// What it takes to compress a message of no length, in bytes that could be compressed meanwhile.
const pieceCost = 128

/**
 * The frames that wait to be handed to the transport.
 *
 * @internal
 */
export class Outbox {
  readonly #connection: Connection
  readonly #writer: Transport.Writer
  readonly #events: Events
  readonly #mostFragment: number
  /** Longest payload of a frame now, and most bytes of those that go together. */
  #fragmentSize: number
  #batchSize: number
  /** Bytes of data that may be sent before pacing is asked. */
  #credit: number
  #handing: Fiber.Fiber<void, Transport.TransportError> | undefined
  #busy = false
  #ended = false
  #close: CloseFrame | undefined
  #pong: Uint8Array | undefined
  #controls = noControls
  /** The control frame that the transport has and did not accept yet. */
  #handed: Control | undefined
  #sending: Sending | undefined
  /** What was compressed since others had their turn, as `deflateSize` counts. */
  #compressed = 0
  /** What was framed without since then, in bytes. */
  #framed = 0

  constructor(
    connection: Connection,
    writer: Transport.Writer,
    fragmentSize: number,
    isPaced: boolean,
    events: Events
  ) {
    this.#connection = connection
    this.#writer = writer
    this.#events = events
    this.#mostFragment = fragmentSize === 0 ? Infinity : fragmentSize
    this.#credit = isPaced ? 0 : Infinity
    this.#fragmentSize = this.#mostFragment
    this.#batchSize = Math.min(this.#fragmentSize, maxBatch)
  }

  /** Whether nothing but a Close frame can be sent any more. */
  get isClosing(): boolean {
    return this.#close !== undefined || this.#ended
  }

  /** Whether data waits for the transport. */
  get sending(): boolean {
    return this.#sending !== undefined
  }

  /** Whether a message has begun on the wire and not ended. */
  get inMessage(): boolean {
    return this.#connection.sending !== undefined
  }

  /**
   * Sends a message that is whole and not compressed now, in one frame. Returns
   * `false`, and sends nothing, where something waits, the message needs more, or
   * the transport is full.
   */
  offer(message: Outgoing): boolean {
    const length = lengthOf(message)
    if (message.compress || length > this.#fragmentSize || !this.#isIdle) return false
    if (message.bytes instanceof LongText) return false
    const size = this.#connection.frameSize(length)
    if (size > this.#credit) return false
    if (this.#writer.roomUnsafe === undefined) return this.#offerFrame(message, length, size)
    const room = this.#writer.roomUnsafe(size, this.#events.expectsMore())
    if (room === undefined) return false
    this.#appendWhole(message, room)
    this.#credit -= size
    return true
  }

  #offerFrame(message: Outgoing, length: number, size: number): boolean {
    if (this.#writer.offerUnsafe === undefined) return false
    const room = this.#makeRoom(size)
    this.#appendWhole(message, room)
    if (this.#writer.offerUnsafe(room.bytes)) {
      this.#credit -= size
      return true
    }
    this.#connection.recall(message.type, length, message.deflated && message.bytes.length)
    return false
  }

  /**
   * Sends messages that are whole and not compressed now, each in one frame and
   * all together, and gives their size in bytes. Returns `undefined`, and sends
   * nothing, where something waits, they need more, or the transport is full.
   */
  offerAll(messages: ReadonlyArray<Outgoing>): number | undefined {
    if (!this.#isIdle || this.#writer.roomUnsafe === undefined) return undefined
    let framed = 0
    let size = 0
    for (const message of messages) {
      framed += this.#connection.frameSize(lengthOf(message))
      size += message.bytes.length
      if (message.compress || framed > this.#batchSize) return undefined
    }
    if (framed > this.#credit) return undefined
    const room = this.#writer.roomUnsafe(framed, this.#events.expectsMore())
    if (room === undefined) return undefined
    for (const message of messages) this.#appendWhole(message, room)
    this.#credit -= framed
    return size
  }

  /**
   * Sends data and gives its size in bytes; the caller sees to it that there is
   * one call at a time. Interrupted, it goes on to the end of the frame; a message
   * that was compressed so far, and of which no frame was made, is given up.
   */
  send(data: Data): Effect.Effect<number, WriteError> {
    return Effect.callback<number, WriteError>((resume) => {
      if (this.isClosing) return resume(Effect.fail(this.#events.closedError()))
      const sending: Sending = { data, done: resume }
      this.#sending = sending
      // Before the first of much, where what there is to send tells more than what was allowed.
      if (data.size > this.#credit && !this.#busy) this.#askPacing(data)
      this.#advance()
      data.waited = this.#sending === sending
      return Effect.sync(() => {
        if (this.#sending !== sending) return
        this.#sending = undefined
        if (data.begins) this.#connection.abandonMessage()
      })
    })
  }

  /** Sends a control frame, ahead of data. */
  control(control: Control): void {
    if (this.isClosing) return control.done(Exit.fail(this.#events.closedError()))
    if (this.#controls === noControls) this.#controls = [control]
    else this.#controls.push(control)
    this.#advance()
  }

  /** Takes back a control frame, if it was not handed over. */
  retract(control: Control): void {
    this.#controls = this.#controls.filter((other) => other !== control)
  }

  /** Whether a control frame was not handed over yet. */
  holds(control: Control): boolean {
    return this.#controls.includes(control)
  }

  /** Answers a Ping. Of answers that wait only the latest is sent, RFC 6455 section 5.5.3. */
  answer(payload: Uint8Array): void {
    this.#pong = payload
    this.#advance()
  }

  /** Pacing may allow more by now. */
  resume(): void {
    this.#advance()
  }

  /** Sends the Close frame next; nothing follows it. What waits behind it fails. */
  close(frame: CloseFrame): void {
    if (this.isClosing) return
    this.#close = frame
    this.#failControls()
    if (this.#sending?.data.isFramed === false) this.#failSending()
    this.#advance()
  }

  /** Nothing more can be sent: fails all that waits. */
  end(): void {
    this.#ended = true
    if (this.#handed !== undefined) this.#controls = [this.#handed, ...this.#controls]
    this.#handed = undefined
    this.#failControls()
    this.#failSending()
    this.#handing?.interruptUnsafe()
  }

  get #isIdle(): boolean {
    return !this.#busy && !this.#ended && !this.inMessage && this.#sending === undefined &&
      this.#close === undefined && this.#pong === undefined && this.#controls.length === 0
  }

  #failControls(): void {
    const controls = this.#controls
    this.#controls = noControls
    this.#pong = undefined
    for (const control of controls) control.done(Exit.fail(this.#events.closedError()))
  }

  #failSending(): void {
    const sending = this.#sending
    this.#sending = undefined
    sending?.done(Exit.fail(this.#events.closedError()))
  }

  #advance(): void {
    while (!this.#busy && !this.#ended) {
      if (this.#close !== undefined) {
        if (this.#connection.sent !== undefined) return
        this.#hand(this.#connection.sendClose(this.#close), () => this.#events.onCloseSent())
      } else if (this.#pong !== undefined) {
        const payload = this.#pong
        this.#pong = undefined
        this.#hand(this.#connection.sendPong(payload), ignore)
      } else if (this.#controls.length > 0) {
        this.#sendControl(this.#controls.shift()!)
      } else if (this.#sending !== undefined) {
        if (this.#nextSize(this.#sending.data) <= this.#credit) this.#sendData(this.#sending)
        else if (!this.#askPacing(this.#sending.data)) return
      } else return
    }
  }

  /** Sends a marker where that is asked for. Says whether there is more to do now. */
  #askPacing(data: Data): boolean {
    const pacing = this.#events.pacing()
    const answer = pacing.ask(this.#credit, this.#nextSize(data), data.size)
    if (this.#mostFragment !== Infinity) this.#fragmentSize = Math.min(this.#mostFragment, pacing.fragment)
    this.#batchSize = Math.min(this.#fragmentSize, maxBatch)
    this.#credit = typeof answer === "number" ? answer : 0
    if (typeof answer !== "number") this.#hand(this.#connection.sendPing(answer), ignore)
    return answer !== 0
  }

  #sendControl(control: Control): void {
    const { done, opcode, payload } = control
    const frame = opcode === "Ping" ? this.#connection.sendPing(payload) : this.#connection.sendPong(payload)
    this.#handed = control
    this.#hand(frame, () => {
      this.#handed = undefined
      done(Exit.void)
    })
  }

  #sendData(sending: Sending): void {
    const { data, done } = sending
    const accepted = () => {
      if (this.#sending !== sending || !data.isFramed) return
      this.#sending = undefined
      done(Exit.succeed(data.size))
    }
    if (data.isPlain) return this.#sendPlain(data, accepted)
    // Compressing holds the event loop: so much of it, and others have their turn.
    if (this.#compressed > 0 && !this.#mayCompress(data)) return this.#rest()
    let frames: Uint8Array | undefined
    try {
      frames = this.#nextFrames(data)
    } catch (defect) {
      // A codec that dies has left the peer's context behind: nothing can follow.
      return this.#onFailure(Cause.die(defect))
    }
    this.#credit -= frames?.length ?? 0
    this.#hand(Result.succeed(frames), accepted)
    this.#events.onCompressed()
  }

  #sendPlain(data: Data, accepted: () => void): void {
    if (this.#framed >= turnSize) return this.#rest()
    const size = this.#nextBatch(data)
    this.#framed += size
    const offered = this.#writer.roomUnsafe?.(size, this.#events.expectsMore())
    const room = offered ?? this.#makeRoom(size)
    const end = room.length + size
    while (room.length < end) this.#appendNext(data, room)
    this.#credit -= size
    if (offered === undefined) this.#hand(Result.succeed(room.bytes), accepted)
    else accepted()
  }

  #mayCompress(data: Data): boolean {
    return this.#compressed + pieceCost + data.rest <= deflateSize
  }

  #rest(): void {
    this.#busy = true
    this.#compressed = 0
    this.#framed = 0
    const fiber = this.#events.runFork(Effect.yieldNow)
    this.#handing = fiber
    fiber.addObserver(() => {
      this.#handing = undefined
      this.#busy = false
      this.#advance()
    })
  }

  // Small messages go together, as long as a control frame waits no longer for it.
  #nextFrames(data: Data): Uint8Array | undefined {
    const frames: Array<Uint8Array> = []
    let size = 0
    let taken = 0
    do {
      taken += this.#nextSize(data)
      const frame = Result.getOrThrow(this.#nextFrame(data))
      if (frame !== undefined) frames.push(frame)
      size += frame?.length ?? 0
    } while (
      !data.isFramed && !data.isTorn && taken + this.#nextSize(data) <= this.#batchSize && this.#mayCompress(data)
    )
    return frames.length < 2 ? frames[0] : concatBytes(frames, size)
  }

  // Size of the frames that go together.
  #nextBatch(data: Data): number {
    let size = this.#nextSize(data)
    let left = data.rest
    for (let i = data.index + 1; i < data.messages.length && left <= this.#fragmentSize; i++) {
      left = lengthOf(data.messages[i]!)
      const next = this.#connection.frameSize(Math.min(left, this.#fragmentSize))
      if (size + next > this.#batchSize) break
      size += next
    }
    return size
  }

  // What is compressed counts with what goes in: that takes the time.
  #nextSize(data: Data): number {
    return this.#connection.frameSize(Math.min(data.rest, this.#fragmentSize))
  }

  #appendWhole(message: Outgoing, room: FrameEncoder.Room): void {
    const { bytes, deflated, type } = message
    const appended = deflated === undefined
      ? this.#connection.appendPart(type, wholeOf(bytes), true, room)
      : this.#connection.appendDeflated(type, deflated, true, room, bytes.length)
    Result.getOrThrow(appended)
  }

  #appendNext(data: Data, room: FrameEncoder.Room): void {
    const message = data.messages[data.index]!
    const { bytes, deflated, type } = message
    const size = data.offset === 0 ? bytes.length : 0
    const payload = data.take(Math.min(data.rest, this.#fragmentSize))
    const fin = data.endsAt(lengthOf(message)) && data.fin
    const appended = deflated === undefined
      ? this.#connection.appendPart(type, payload, fin, room)
      : this.#connection.appendDeflated(type, payload, fin, room, size)
    Result.getOrThrow(appended)
  }

  #makeRoom(size: number): FrameEncoder.Room {
    return { bytes: new Uint8Array(size), length: 0 }
  }

  #nextFrame(data: Data): SendResult {
    if (data.messages[data.index]!.compress) return this.#nextCompressed(data)
    const room = this.#makeRoom(this.#nextSize(data))
    this.#appendNext(data, room)
    return Result.succeed(room.bytes)
  }

  // The compressor gives nothing for many bytes and then much at once, so what it gives is cut.
  #nextCompressed(data: Data): SendResult {
    const { bytes, type } = data.messages[data.index]!
    if (data.deflated.length === 0 && !this.#compress(data)) return Result.succeed(undefined)
    const payload = data.deflated.subarray(0, this.#fragmentSize)
    data.deflated = data.deflated.subarray(payload.length)
    const fin = data.endsAt(bytes.length) && data.fin
    return payload.length === 0 ? Result.succeed(undefined) : this.#connection.sendDeflated(type, payload, fin)
  }

  // Compresses a piece. Says whether there is something to be framed, or nothing will be.
  #compress(data: Data): boolean {
    const piece = this.#deflate(data)
    if (this.#fragmentSize !== Infinity) {
      data.deflated = piece
      return true
    }
    data.pieces.push(piece)
    if (data.offset < data.messages[data.index]!.bytes.length) return false
    const { pieces } = data
    data.pieces = []
    data.deflated = concatPieces(pieces)
    // Joining and framing take a turn each where there is much.
    return data.deflated.length <= maxBatch
  }

  #deflate(data: Data): Uint8Array {
    const { bytes, type } = data.messages[data.index]!
    const payload = data.take(deflateSize)
    data.begins ||= !this.inMessage
    this.#compressed += payload.length + pieceCost
    const last = data.offset >= bytes.length
    return Result.getOrThrow(this.#connection.deflatePart(type, payload, last && data.fin, last && data.flush))
  }

  // Until the transport has accepted a frame, and for ever when it fails, no
  // other is handed over. What may not be sent was refused before it came here.
  #hand(result: SendResult, accepted: () => void): void {
    const frame = Result.getOrThrow(result)
    if (frame === undefined) return accepted()
    if (this.#writer.offerUnsafe?.(frame) === true) return accepted()
    this.#busy = true
    const fiber = this.#events.runFork(this.#writer.write(frame))
    const settle = (exit: Exit.Exit<void, Transport.TransportError>) => {
      this.#handing = undefined
      if (Exit.isFailure(exit)) return this.#onFailure(exit.cause)
      this.#busy = false
      accepted()
    }
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return settle(exit)
    this.#handing = fiber
    fiber.addObserver((exit) => {
      settle(exit)
      this.#advance()
    })
  }

  #onFailure(cause: Cause.Cause<Transport.TransportError>): void {
    if (this.#ended) return
    const failure = cause.reasons.find(Cause.isFailReason)
    this.#events.onFailure(
      failure?.error ?? Transport.writeFailed(Cause.squash(cause))
    )
  }
}

const ignore = () => {}
