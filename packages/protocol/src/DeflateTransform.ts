/**
 * Messages to compressed payloads and back, RFC 7692 section 7.2, over a codec
 * that is given.
 *
 * Both halves see only the compressed messages of a connection: the payload of
 * their data frames in order, unmasked. RSV1 and control frames are not their
 * concern. A sender decides with the first part of a message whether it is
 * compressed, sets `PerMessageDeflate.reservedBit` on the first frame it sends
 * of it and sends no frame for an empty part that is not the last. A receiver
 * takes a message for compressed where that bit is on its first frame.
 *
 * A context is allocated with the first message that needs one. Once a half is
 * closed, nothing else is called.
 *
 * @since 1.0.0
 */
import type { Codec, Deflater, Inflated, Inflater } from "./Codec.ts"
import type * as Frame from "./Frame.ts"
import { type Agreement, type Direction, directionFrom } from "./PerMessageDeflate.ts"

/**
 * What a half needs to know.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  readonly codec: Codec
  /** The role of this end: what it sends is deflated, what it receives inflated. */
  readonly role: Frame.Role
  readonly agreement: Agreement
}

/**
 * What deflating needs to know besides.
 *
 * **Details**
 *
 * zlib's memory for a deflater is 4 bytes for each byte of window and what
 * `memLevel` says, so 256 KiB by default; an inflater's is its window and some
 * 10 KiB.
 *
 * @category models
 * @since 1.0.0
 */
export interface DeflateOptions extends Options {
  /** 0 (none) to 9 (most). Default 6, which zlib holds for the best bargain. */
  readonly level?: number | undefined
  /** Memory for the compressor's state, 1 (1 KiB) to 9 (256 KiB), doubling. Default 8. */
  readonly memLevel?: number | undefined
}

/**
 * What inflating needs to know besides.
 *
 * @category models
 * @since 1.0.0
 */
export interface InflateOptions extends Options {
  /** Longest message in bytes, inflated. */
  readonly maxMessageSize: number
  /**
   * Most bytes that a message may stand for by each byte received of it so far,
   * beyond the first 64 KiB, which are free. Default 1032, the most that deflate can do.
   */
  readonly maxCompressionRatio?: number | undefined
}

/**
 * What came of inflating a piece of a message: as the codec has it, or more than
 * `maxCompressionRatio` allows.
 *
 * @category models
 * @since 1.0.0
 */
export type InflatedMessage = Inflated | { readonly _tag: "RatioTooHigh" }

// Short messages of one value are honest and reach any ratio, RFC 1951 section 3.2.5: 258 bytes from two bits.
const freeOfRatio = 64 * 1024
const deflatesMost = 1032

const none = new Uint8Array(0)

// What a sync flush ends on and section 7.2.1 has removed: length and complement of an empty stored block.
const tailSize = 4

/** An empty stored block without its tail, section 7.2.3.6. */
const makeEmptyBlock = (): Uint8Array => Uint8Array.of(0)

/**
 * Deflates the messages that one end sends.
 *
 * **Details**
 *
 * Payloads are read, not changed and not kept; what is returned is the caller's.
 *
 * **Example** (Deflating with a codec that only stores)
 *
 * ```ts import.meta.vitest
 * import type * as Codec from "@effect-websocket/protocol/Codec"
 * import * as DeflateTransform from "@effect-websocket/protocol/DeflateTransform"
 *
 * const codec: Codec.Codec = {
 *   makeDeflater: () => ({
 *     push: (input) => Uint8Array.of(0, input.length, 0, ~input.length, 255, ...input, 0, 0, 0, 255, 255),
 *     reset: () => {},
 *     close: () => {}
 *   }),
 *   makeInflater: () => {
 *     throw new Error("not used here")
 *   }
 * }
 * const agreement = {
 *   serverNoContextTakeover: false,
 *   clientNoContextTakeover: false,
 *   serverMaxWindowBits: 15,
 *   clientMaxWindowBits: 15
 * } as const
 * const deflater = new DeflateTransform.MessageDeflater({ codec, role: "client", agreement })
 *
 * Array.from(deflater.finish(new TextEncoder().encode("Hi"))) // => [0, 2, 0, 253, 255, 72, 105, 0]
 * ```
 *
 * @category encoding
 * @since 1.0.0
 */
export class MessageDeflater {
  readonly #options: DeflateOptions
  readonly #direction: Direction
  #deflater: Deflater | undefined
  #inMessage = false

  constructor(options: DeflateOptions) {
    this.#options = options
    this.#direction = directionFrom(options.role, options.agreement)
  }

  /**
   * Takes a part of a message that does not end it and gives what is to be sent
   * now: maybe nothing, then no frame is. With `flush` that is all there is, so
   * that the peer has every byte of the message so far.
   */
  part(payload: Uint8Array, flush: boolean): Uint8Array {
    this.#inMessage = true
    return payload.length === 0 && !flush ? none : this.#context().push(payload, flush)
  }

  /** Takes the last part of a message, maybe empty or all of it, and gives the end, never empty, of what is sent. */
  finish(payload: Uint8Array): Uint8Array {
    const deflater = this.#context()
    const flushed = deflater.push(payload, true)
    if (this.#direction.noContextTakeover) deflater.reset()
    this.#inMessage = false
    // a codec flushes nothing where the part before was flushed and nothing came since
    return flushed.length === 0 ? makeEmptyBlock() : flushed.subarray(0, -tailSize)
  }

  /**
   * Forgets what was deflated, between messages: the next refers to none before
   * it. For a message of the same direction that was deflated elsewhere.
   */
  forget(): void {
    this.#deflater?.reset()
  }

  /** Gives up the message that was begun and of which nothing was sent: the next refers to none before it. */
  abandon(): void {
    this.#inMessage = false
    this.close()
  }

  /**
   * Frees the context between messages, and does nothing inside one. The next
   * message refers to none before it, which is right whatever was agreed.
   */
  release(): void {
    if (!this.#inMessage) this.close()
  }

  /** Frees what it holds, also inside a message. Idempotent. */
  close(): void {
    this.#deflater?.close()
    this.#deflater = undefined
  }

  #context(): Deflater {
    const { codec, level = 6, memLevel = 8 } = this.#options
    return this.#deflater ??= codec.makeDeflater({ windowBits: this.#direction.windowBits, level, memLevel })
  }
}

const unfinished: Inflated = { _tag: "Corrupt", message: "a message ends inside a block" }

const outputOf = (data: Uint8Array): Inflated => ({ _tag: "Output", data })

/**
 * Inflates the messages that one end receives.
 *
 * **Details**
 *
 * A result that is not `Output` is final: the connection fails, with close code
 * 1009 for `TooBig` and `RatioTooHigh` and 1007 for `Corrupt`, and the context is
 * freed already.
 *
 * @category decoding
 * @since 1.0.0
 */
export class MessageInflater {
  readonly #options: InflateOptions
  readonly #direction: Direction
  #inflater: Inflater | undefined
  // Whether the context is inside a message.
  #inMessage = false
  // Bytes of the message that were received so far, and that they stand for.
  #received = 0
  #size = 0

  /** Most bytes that a message may stand for by each byte received of it, beyond the first 64 KiB. */
  readonly maxCompressionRatio: number

  constructor(options: InflateOptions) {
    this.#options = options
    this.maxCompressionRatio = options.maxCompressionRatio ?? deflatesMost
    this.#direction = directionFrom(options.role === "server" ? "client" : "server", options.agreement)
  }

  /**
   * Takes a piece of a message's payload, cut anywhere, and gives all that it
   * stands for. `last` says that the message ends with it.
   *
   * **Details**
   *
   * `TooBig` and `RatioTooHigh` are given before more is made of the message's
   * pieces together than the limit lets pass. A message that ends inside a block is `Corrupt`; one that
   * ends with a final block is whole, with the 00 of section 7.2.3.4 or without.
   */
  push(payload: Uint8Array, last: boolean): InflatedMessage {
    const inflated = payload.length === 0 ? outputOf(none) : this.#inflate(payload)
    // a message without a byte leaves the context as it is
    const ends = last && this.#inMessage && inflated._tag === "Output"
    const result = ends && !this.#end() ? unfinished : inflated
    if (result._tag !== "Output") this.close()
    return result
  }

  /**
   * Frees the context between messages where they do not share it, and else does
   * nothing.
   */
  release(): void {
    if (!this.#inMessage && this.#direction.noContextTakeover) this.close()
  }

  /** Frees what it holds, also inside a message. Idempotent. */
  close(): void {
    this.#inflater?.close()
    this.#inflater = undefined
  }

  #context(): Inflater {
    return this.#inflater ??= this.#options.codec.makeInflater(this.#direction.windowBits)
  }

  #inflate(payload: Uint8Array): InflatedMessage {
    const { maxMessageSize } = this.#options
    this.#inMessage = true
    this.#received += payload.length
    const byRatio = Math.floor(freeOfRatio + this.maxCompressionRatio * this.#received)
    const inflated = this.#context().push(payload, Math.min(maxMessageSize, byRatio) - this.#size)
    if (inflated._tag === "Output") this.#size += inflated.data.length
    return inflated._tag === "TooBig" && byRatio < maxMessageSize ? { _tag: "RatioTooHigh" } : inflated
  }

  #end(): boolean {
    const inflater = this.#context()
    if (!inflater.finish()) return false
    if (this.#direction.noContextTakeover) inflater.reset()
    this.#inMessage = false
    this.#received = 0
    this.#size = 0
    return true
  }
}
