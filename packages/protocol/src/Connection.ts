/**
 * One end of an open connection, RFC 6455 sections 5 to 8, without I/O: bytes in,
 * events and replies out; messages in, bytes out.
 *
 * Clock, randomness and transport stay with the caller: masking keys come from
 * a function it gives, and what is to be sent is returned to it.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as CloseCode from "./CloseCode.ts"
import * as Closing from "./Closing.ts"
import type { MessageDeflater, MessageInflater } from "./DeflateTransform.ts"
import type * as Frame from "./Frame.ts"
import { maxControlPayload } from "./Frame.ts"
import { FrameDecoder, type Piece } from "./FrameDecoder.ts"
import * as FrameEncoder from "./FrameEncoder.ts"
import { type Limits, MessageAssembler, type Part } from "./Message.ts"
import { type ControlOpcode, isControl, type MessageType, ofMessage, Opcode } from "./Opcode.ts"
import { reservedBit } from "./PerMessageDeflate.ts"
import type { ProtocolError } from "./ProtocolError.ts"
import { type Flow, Traffic } from "./Traffic.ts"

/**
 * What a connection needs to know.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Limits {
  readonly role: Frame.Role
  /**
   * Gives a fresh, unpredictable masking key as an unsigned 32-bit integer for
   * every frame that a client sends, section 5.3.
   */
  readonly maskingKey: () => number
  /** Deflates and inflates messages, where permessage-deflate was agreed (RFC 7692). RSV1 is owned by it then. */
  readonly deflate?: MessageDeflate | undefined
  /** Counts what goes over the connection. Default: its own. */
  readonly traffic?: Traffic | undefined
}

/**
 * Both directions of permessage-deflate on one connection.
 *
 * @category models
 * @since 1.0.0
 */
export interface MessageDeflate {
  readonly deflater: MessageDeflater
  readonly inflater: MessageInflater
}

/**
 * What the peer did.
 *
 * **Details**
 *
 * - `Part`: a part of a message, delivered in order.
 * - `Ping`, `Pong`: the payload is a copy of at most 125 bytes.
 * - `Close`: the peer's Close frame; what it sends afterwards is not looked at.
 * - `Violation`: the peer broke a rule; nothing is received from then on.
 *
 * @category models
 * @since 1.0.0
 */
export type Event =
  | { readonly _tag: "Part"; readonly part: Part }
  | { readonly _tag: "Ping"; readonly payload: Uint8Array }
  | { readonly _tag: "Pong"; readonly payload: Uint8Array }
  | { readonly _tag: "Close"; readonly frame: CloseCode.CloseFrame }
  | { readonly _tag: "Violation"; readonly error: ProtocolError }

/**
 * What this end owes the peer for what it did: a Pong for a Ping (section
 * 5.5.2), a Close for a Close (5.5.1) or for a violation (7.1.7).
 *
 * **Details**
 *
 * Of several pending pongs only the latest needs to be sent, section 5.5.3. A
 * Close goes ahead of data, and nothing follows it.
 *
 * @category models
 * @since 1.0.0
 */
export type Reply =
  | { readonly _tag: "Pong"; readonly payload: Uint8Array }
  | { readonly _tag: "Close"; readonly frame: CloseCode.CloseFrame }

/**
 * What came of received bytes.
 *
 * @category models
 * @since 1.0.0
 */
export interface Received {
  readonly events: ReadonlyArray<Event>
  readonly replies: ReadonlyArray<Reply>
}

/**
 * Is told at once what the peer does, in place of events and replies.
 *
 * **Details**
 *
 * As `Event` says, but for the data of a binary part, which is a view of the
 * chunk. A receiver may use the connection, but give it no other chunk.
 *
 * @category models
 * @since 1.0.0
 */
export interface Receiver {
  readonly onPart: (part: Part) => void
  readonly onPing: (payload: Uint8Array) => void
  readonly onPong: (payload: Uint8Array) => void
  readonly onClose: (frame: CloseCode.CloseFrame) => void
  readonly onViolation: (error: ProtocolError) => void
}

/** What is received, as data. */
class Collector implements Receiver, Received {
  readonly events: Array<Event> = []
  readonly replies: Array<Reply> = []
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  onPart(part: Part): void {
    this.events.push({ _tag: "Part", part })
  }

  onPing(payload: Uint8Array): void {
    this.events.push({ _tag: "Ping", payload })
    if (this.#connection.state === "Open") this.replies.push({ _tag: "Pong", payload })
  }

  onPong(payload: Uint8Array): void {
    this.events.push({ _tag: "Pong", payload })
  }

  onClose(frame: CloseCode.CloseFrame): void {
    this.events.push({ _tag: "Close", frame })
    // Section 5.5.1: the answer typically echoes the code.
    this.#close(frame.code)
  }

  onViolation(error: ProtocolError): void {
    this.events.push({ _tag: "Violation", error })
    this.#close(error.closeCode)
  }

  #close(code: number | undefined): void {
    if (this.#connection.sent === undefined) this.replies.push({ _tag: "Close", frame: { code, reason: "" } })
  }
}

/**
 * This end asked for something that may not be sent. Nothing was.
 *
 * **Details**
 *
 * - `AfterClose`: a Close frame was sent or the connection ended, section 5.5.1.
 * - `TypeChanged`: a later part of a message names another type, section 5.4.
 * - `CompressionChanged`: a message is compressed as a whole or not at all (RFC
 *   7692 section 6), and only where permessage-deflate was agreed.
 * - `ControlTooLong`: a control payload of more than 125 bytes, section 5.5.
 * - `InvalidClose`: `CloseCode.problemOf` says what is wrong with it.
 *
 * @category errors
 * @since 1.0.0
 */
export class SendError extends Data.TaggedError("SendError")<{
  readonly rule: "AfterClose" | "TypeChanged" | "CompressionChanged" | "ControlTooLong" | "InvalidClose"
}> {}

const nothingYet = Result.succeed(undefined)

const sendError = {
  afterClose: Result.fail(new SendError({ rule: "AfterClose" })),
  typeChanged: Result.fail(new SendError({ rule: "TypeChanged" })),
  compressionChanged: Result.fail(new SendError({ rule: "CompressionChanged" })),
  controlTooLong: Result.fail(new SendError({ rule: "ControlTooLong" })),
  invalidClose: Result.fail(new SendError({ rule: "InvalidClose" }))
}

/**
 * One end of a connection that has been opened.
 *
 * **Example** (Answering a ping)
 *
 * ```ts import.meta.vitest
 * import * as Connection from "@effect-websocket/protocol/Connection"
 *
 * const client = new Connection.Connection({
 *   role: "client",
 *   maxMessageSize: 1024,
 *   maxFragments: 16,
 *   maskingKey: () => 0
 * })
 * const { replies } = client.receive(Uint8Array.of(0x89, 0x01, 0x2a))
 * replies[0]!._tag // => "Pong"
 * ```
 *
 * @category models
 * @since 1.0.0
 */
export class Connection {
  readonly role: Frame.Role
  readonly #arrived: Flow
  readonly #left: Flow
  readonly #decoder: FrameDecoder
  readonly #assembler: MessageAssembler
  readonly #maskingKey: () => number
  readonly #deflate: MessageDeflate | undefined
  #state: Closing.State = "Open"
  #received: CloseCode.CloseFrame | undefined
  #sent: CloseCode.CloseFrame | undefined
  #failed = false
  #sending: MessageType | undefined
  // Of the message that is being sent in parts: whether it is compressed, and whether its first frame was made.
  #compressed = false
  #begun = false

  constructor(options: Options) {
    this.role = options.role
    const { received, sent } = options.traffic ?? new Traffic()
    this.#arrived = received
    this.#left = sent
    this.#deflate = options.deflate
    this.#decoder = new FrameDecoder({
      role: options.role,
      ownedBits: options.deflate === undefined ? 0 : reservedBit
    })
    this.#assembler = new MessageAssembler({ ...options, inflater: options.deflate?.inflater })
    this.#maskingKey = options.maskingKey
  }

  /** Where the closing handshake stands, section 7.1. */
  get state(): Closing.State {
    return this.#state
  }

  /** The Close frame that was received, if any. */
  get received(): CloseCode.CloseFrame | undefined {
    return this.#received
  }

  /** The Close frame that was sent, if any. */
  get sent(): CloseCode.CloseFrame | undefined {
    return this.#sent
  }

  /** The type of the message that is being sent in parts, if one is. */
  get sending(): MessageType | undefined {
    return this.#sending
  }

  /** How many bytes of payload the frame that is being received has still to come. */
  get rest(): number {
    return this.#decoder.rest
  }

  /** Whether a received message has begun and not ended. */
  get receiving(): boolean {
    return this.#assembler.inMessage
  }

  /**
   * Takes bytes from the transport. They are the connection's own from then on:
   * it unmasks in place, and the parts it gives are views of them.
   */
  receive(chunk: Uint8Array): Received {
    const { events, replies } = this.#receive(chunk, new Collector(this))
    return { events, replies }
  }

  /** As `receive`, but tells `receiver`, and answers nothing. */
  receiveInto(chunk: Uint8Array, receiver: Receiver): void {
    this.#receive(chunk, receiver)
  }

  #receive<R extends Receiver>(chunk: Uint8Array, receiver: R): R {
    this.#decoder.push(chunk)
    while (!this.#failed && Closing.next(this.#state, "ReceiveData") !== undefined) {
      const piece = this.#decoder.next()
      if (piece === undefined) {
        this.#fail(this.#decoder.violation, receiver)
        break
      }
      if (isControl(piece.opcode)) this.#receiveControl(piece, receiver)
      else this.#receiveData(piece, receiver)
    }
    this.#decoder.drop()
    return receiver
  }

  /** Says that the transport ended: nothing more is received or sent, and no context is held. */
  end(): void {
    this.#state = "Closed"
    this.#deflate?.deflater.close()
    this.#deflate?.inflater.close()
  }

  /**
   * Encodes one part of a message as one frame. The first part of a message
   * carries its type, section 5.4.
   */
  sendPart(type: MessageType, payload: Uint8Array, fin: boolean): Result.Result<Uint8Array, SendError> {
    return this.#startPart(type, false) ?? Result.succeed(this.#encodePart(type, payload, fin, 0))
  }

  /** As `sendPart`, but writes the frame behind those in `room`, which has `frameSize` bytes free. */
  appendPart(
    type: MessageType,
    payload: Uint8Array,
    fin: boolean,
    room: FrameEncoder.Room
  ): Result.Result<undefined, SendError> {
    return this.#startPart(type, false) ?? this.#appendPart(type, payload, fin, 0, room)
  }

  /**
   * Compresses one part of a message and encodes what that gives as one frame;
   * `undefined` when it gives nothing yet, which only a part that is not the
   * last and not flushed may do. The first frame has RSV1, RFC 7692 section 6.1.
   */
  sendCompressed(
    type: MessageType,
    payload: Uint8Array,
    fin: boolean,
    flush: boolean
  ): Result.Result<Uint8Array | undefined, SendError> {
    const compressed = this.deflatePart(type, payload, fin, flush)
    if (Result.isFailure(compressed)) return Result.fail(compressed.failure)
    return compressed.success.length === 0 ? nothingYet : this.sendDeflated(type, compressed.success, fin)
  }

  /**
   * Compresses one part of a message and gives what `sendDeflated` is to send of
   * it, as one frame or more, before anything else of a message is sent. It may be
   * nothing, where the part is not the last and not flushed.
   */
  deflatePart(
    type: MessageType,
    payload: Uint8Array,
    fin: boolean,
    flush: boolean
  ): Result.Result<Uint8Array, SendError> {
    const refused = this.#startPart(type, true)
    if (refused !== undefined) return refused
    const { deflater } = this.#deflate!
    this.#sending = type
    this.#countDeflated(type, payload.length)
    return Result.succeed(fin ? deflater.finish(payload) : deflater.part(payload, flush))
  }

  /**
   * Gives up a message that `deflatePart` has begun, so that another may begin.
   * Nothing happens where a frame of it was made: then it must be ended.
   */
  abandonMessage(): void {
    if (this.#sending === undefined || this.#begun) return
    this.#sending = undefined
    this.#deflate?.deflater.abandon()
  }

  /**
   * Encodes compressed bytes of a message as one frame: those of `deflatePart`, or
   * of a message that was compressed elsewhere and without context. Those stand
   * for `size` bytes that `deflatePart` has not seen, which are counted.
   */
  sendDeflated(
    type: MessageType,
    compressed: Uint8Array,
    fin: boolean,
    size: number = 0
  ): Result.Result<Uint8Array, SendError> {
    const refused = this.#startDeflated(type)
    if (refused !== undefined) return refused
    this.#countDeflated(type, size)
    return Result.succeed(this.#encodePart(type, compressed, fin, reservedBit))
  }

  /** As `sendDeflated`, but writes the frame behind those in `room`, which has `frameSize` bytes free. */
  appendDeflated(
    type: MessageType,
    compressed: Uint8Array,
    fin: boolean,
    room: FrameEncoder.Room,
    size: number = 0
  ): Result.Result<undefined, SendError> {
    const refused = this.#startDeflated(type)
    if (refused !== undefined) return refused
    this.#countDeflated(type, size)
    return this.#appendPart(type, compressed, fin, reservedBit, room)
  }

  /**
   * Says that a whole message was not sent after all, in a frame of `length` bytes
   * of payload; `size` is what those stand for, where they are compressed.
   */
  recall(type: MessageType, length: number, size?: number): void {
    this.#left.recall(type, size ?? length)
    if (size === undefined) return
    this.#left.plainBytes -= size
    this.#left.compressedBytes -= length
  }

  /** Size in bytes of a frame of this side with a payload of `length` bytes. */
  frameSize(length: number): number {
    return FrameEncoder.frameSize(length, this.role === "client")
  }

  /** Encodes a Ping, section 5.5.2. */
  sendPing(payload: Uint8Array): Result.Result<Uint8Array, SendError> {
    return this.#sendControl(Opcode.Ping, payload)
  }

  /** Encodes a Pong, section 5.5.3. */
  sendPong(payload: Uint8Array): Result.Result<Uint8Array, SendError> {
    return this.#sendControl(Opcode.Pong, payload)
  }

  /** Encodes a Close, after which nothing can be sent, section 5.5.1. */
  sendClose(frame: CloseCode.CloseFrame): Result.Result<Uint8Array, SendError> {
    if (CloseCode.problemOf(frame) !== undefined) return sendError.invalidClose
    const encoded = this.#sendControl(Opcode.Close, CloseCode.encodePayload(frame))
    if (Result.isSuccess(encoded)) {
      this.#state = Closing.next(this.#state, "SendClose")!
      this.#sent = frame
    }
    return encoded
  }

  // What is decided with a message's first part holds for all of it, also while no frame of it was made.
  #startPart(type: MessageType, compressed: boolean): Result.Result<never, SendError> | undefined {
    if (Closing.next(this.#state, "SendData") === undefined) return sendError.afterClose
    if (compressed && this.#deflate === undefined) return sendError.compressionChanged
    if (this.#sending === undefined) {
      this.#compressed = compressed
      this.#begun = false
    } else if (this.#sending !== type) return sendError.typeChanged
    else if (this.#compressed !== compressed) return sendError.compressionChanged
  }

  #startDeflated(type: MessageType): Result.Result<never, SendError> | undefined {
    const isForeign = this.#sending === undefined
    const refused = this.#startPart(type, true)
    if (refused !== undefined) return refused
    // It goes through the peer's window and not through that of our compressor. What this one would refer to is further
    // back there than it knows, so the next message must refer to nothing; the peer need not be told of that.
    if (isForeign) this.#deflate!.deflater.forget()
  }

  #encodePart(type: MessageType, payload: Uint8Array, fin: boolean, bits: number): Uint8Array {
    const room = { bytes: new Uint8Array(this.frameSize(payload.length)), length: 0 }
    this.#appendPart(type, payload, fin, bits, room)
    return room.bytes
  }

  #appendPart(
    type: MessageType,
    payload: Uint8Array,
    fin: boolean,
    bits: number,
    room: FrameEncoder.Room
  ): Result.Result<undefined> {
    const opcode = this.#begun ? Opcode.Continuation : ofMessage(type)
    const rsv = this.#begun ? 0 : bits
    FrameEncoder.append({ opcode, fin, rsv, payload }, this.#freshKey(), room)
    if (fin && bits === 0 && !this.#begun) this.#left.whole(type, payload.length)
    else this.#countPart(opcode, type, payload.length, fin, bits)
    this.#begun = true
    this.#sending = fin ? undefined : type
    return nothingYet
  }

  // Payload that is compressed was counted when it was.
  #countPart(opcode: Opcode, type: MessageType, length: number, fin: boolean, bits: number): void {
    this.#left.frame(opcode)
    this.#left.part(type, bits === 0 ? length : 0, fin)
    if (bits !== 0) this.#left.compressedBytes += length
  }

  #countDeflated(type: MessageType, size: number): void {
    this.#left.part(type, size, false)
    this.#left.plainBytes += size
  }

  #sendControl(opcode: ControlOpcode, payload: Uint8Array): Result.Result<Uint8Array, SendError> {
    if (Closing.next(this.#state, "SendClose") === undefined) return sendError.afterClose
    if (payload.length > maxControlPayload) return sendError.controlTooLong
    this.#left.frame(opcode)
    return Result.succeed(FrameEncoder.encode({ opcode, fin: true, rsv: 0, payload }, this.#freshKey()))
  }

  #freshKey(): number | undefined {
    return this.role === "client" ? this.#maskingKey() : undefined
  }

  #receiveData(piece: Piece, receiver: Receiver): void {
    const part = this.#assembler.receive(piece)
    if (this.#deflate !== undefined && this.#assembler.inflates) this.#countInflated(piece, part)
    const isWhole = piece.first && piece.last && piece.fin && piece.opcode !== Opcode.Continuation
    if (!isWhole && piece.first) this.#arrived.frame(piece.opcode)
    if (part === undefined) return this.#refuse(piece, isWhole, receiver)
    if (isWhole) this.#arrived.whole(part.type, part.size)
    else this.#arrived.part(part.type, part.size, part.fin)
    receiver.onPart(part)
  }

  // The piece makes no part yet, or breaks a rule.
  #refuse(piece: Piece, isWhole: boolean, receiver: Receiver): void {
    if (isWhole) this.#arrived.frame(piece.opcode)
    this.#fail(this.#assembler.violation, receiver)
  }

  #countInflated(piece: Piece, part: Part | undefined): void {
    this.#arrived.compressedBytes += piece.payload.length
    if (part !== undefined) this.#arrived.plainBytes += part.size
  }

  #receiveControl({ opcode, payload }: Piece, receiver: Receiver): void {
    this.#arrived.frame(opcode)
    if (opcode === Opcode.Close) this.#receiveClose(payload, receiver)
    else if (opcode === Opcode.Pong) receiver.onPong(payload)
    else receiver.onPing(payload)
  }

  #receiveClose(payload: Uint8Array, receiver: Receiver): void {
    const decoded = CloseCode.decodePayload(payload)
    if (Result.isFailure(decoded)) return this.#fail(decoded.failure, receiver)
    const frame = decoded.success
    this.#received = frame
    this.#state = Closing.next(this.#state, "ReceiveClose")!
    receiver.onClose(frame)
  }

  #fail(error: ProtocolError | undefined, receiver: Receiver): void {
    if (error === undefined) return
    this.#failed = true
    receiver.onViolation(error)
  }
}
