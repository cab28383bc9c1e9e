/**
 * Bytes to frames, incrementally, RFC 6455 section 5.2.
 *
 * The decoder takes chunks cut anywhere and gives pieces of frames: a data
 * frame's payload as it arrives, a control frame when it is whole. It allocates
 * nothing by a declared length and keeps at most a header and one control
 * payload (139 bytes) between chunks.
 *
 * @since 1.0.0
 */
import * as Frame from "./Frame.ts"
import * as Mask from "./Mask.ts"
import { isControl, type Opcode } from "./Opcode.ts"
import { ProtocolError, type Rule } from "./ProtocolError.ts"

/**
 * A piece of a frame.
 *
 * **Details**
 *
 * A data frame comes in one or more pieces, the first as soon as its header is
 * complete, even without any payload, so that its length can be judged before
 * it arrives. A control frame is always one piece.
 *
 * @category models
 * @since 1.0.0
 */
export interface Piece {
  readonly opcode: Opcode
  readonly fin: boolean
  /** The reserved bits, in place, section 5.8. */
  readonly rsv: number
  /** Length in bytes of the whole frame's payload. */
  readonly length: number
  /** Whether this is the frame's first piece. */
  readonly first: boolean
  /** Whether the frame's payload ends with this piece. */
  readonly last: boolean
  /**
   * Unmasked payload. For data a view into the chunk that was pushed; for a
   * control frame a fresh copy.
   */
  readonly payload: Uint8Array
}

/**
 * What a decoder needs to know.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /** The role of the end that receives: a server expects masked frames, section 5.1. */
  readonly role: Frame.Role
  /** Reserved bits that extensions own, in place. Default 0. */
  readonly ownedBits?: number | undefined
}

const none = new Uint8Array(0)

/**
 * Decodes the frames of one connection.
 *
 * **Example** (Decoding a frame that arrives in two chunks)
 *
 * ```ts import.meta.vitest
 * import * as FrameDecoder from "@effect-websocket/protocol/FrameDecoder"
 *
 * const decoder = new FrameDecoder.FrameDecoder({ role: "client" })
 * decoder.push(Uint8Array.of(0x82, 0x03, 0x01))
 * const piece = decoder.next()!
 * Array.from(piece.payload) // => [1]
 * piece.last // => false
 * decoder.next() // => undefined
 *
 * decoder.push(Uint8Array.of(0x02, 0x03))
 * Array.from(decoder.next()!.payload) // => [2, 3]
 * ```
 *
 * @category decoding
 * @since 1.0.0
 */
export class FrameDecoder {
  /** The rule that the peer broke; nothing is decoded from then on. */
  violation: ProtocolError | undefined

  readonly #role: Frame.Role
  readonly #ownedBits: number
  #chunk: Uint8Array = none
  #words: Int32Array | undefined
  #offset = 0
  // The header, where it is spread over chunks: most never are.
  #header: Uint8Array = none
  #headerLength = 0
  // The frame whose payload is being read; `#remaining` is -1 between frames.
  #byte0 = 0
  #length = 0
  #remaining = -1
  #key = 0
  #control: Uint8Array = none

  constructor(options: Options) {
    this.#role = options.role
    this.#ownedBits = options.ownedBits ?? 0
  }

  /**
   * Gives the next chunk, once `next` has returned `undefined` for the last
   * one. The decoder unmasks in place: the chunk is its own from then on.
   */
  push(chunk: Uint8Array): void {
    // Views of a Node `Buffer` would be `Buffer`s, whose `slice` does not copy.
    this.#chunk = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)
    this.#words = undefined
    this.#offset = 0
  }

  /** Forgets what is left of the chunk, so that an idle connection keeps none alive. */
  drop(): undefined {
    this.#chunk = none
    this.#words = undefined
    this.#offset = 0
  }

  /** How many bytes of payload the frame that was begun has still to come. */
  get rest(): number {
    return Math.max(0, this.#remaining)
  }

  /** The next piece, or `undefined` when the chunk is used up or a rule was broken. */
  next(): Piece | undefined {
    if (this.violation !== undefined) return undefined
    if (this.#remaining >= 0) return this.#continue(false)
    if (!this.#readHeader()) return undefined
    return this.#continue(true)
  }

  #fail(rule: Rule): false {
    this.violation = new ProtocolError({ rule })
    this.drop()
    return false
  }

  // A header that lies whole in the chunk is read in place, others by way of `#header`.
  #readHeader(): boolean {
    if (this.#headerLength === 0 && this.#chunk.length - this.#offset >= 2) {
      const size = Frame.headerSizeOf(this.#chunk[this.#offset + 1]!)
      if (this.#chunk.length - this.#offset >= size) {
        const start = this.#offset
        this.#offset += size
        return this.#checkStart(this.#chunk, start) && this.#startFrame(this.#chunk, start, size)
      }
    }
    return this.#collectHeader()
  }

  #collectHeader(): boolean {
    if (this.#header === none && this.#offset < this.#chunk.length) this.#header = new Uint8Array(Frame.maxHeaderSize)
    while (this.#offset < this.#chunk.length) {
      this.#header[this.#headerLength++] = this.#chunk[this.#offset++]!
      if (this.#headerLength < 2) continue
      if (this.#headerLength === 2 && !this.#checkStart(this.#header, 0)) return false
      const size = Frame.headerSizeOf(this.#header[1]!)
      if (this.#headerLength === size) {
        this.#headerLength = 0
        return this.#startFrame(this.#header, 0, size)
      }
    }
    this.drop()
    return false
  }

  #checkStart(bytes: Uint8Array, offset: number): boolean {
    const rule = Frame.ruleOfStart(bytes[offset]!, bytes[offset + 1]!, this.#role, this.#ownedBits)
    return rule === undefined || this.#fail(rule)
  }

  #startFrame(bytes: Uint8Array, offset: number, size: number): boolean {
    const length = Frame.decodeLength(bytes, offset)
    if (typeof length === "string") return this.#fail(length)
    this.#byte0 = bytes[offset]!
    this.#length = length
    this.#remaining = length
    if (this.#role === "server") this.#key = Frame.decodeKey(bytes, offset, size)
    return true
  }

  #continue(first: boolean): Piece | undefined {
    const available = Math.min(this.#remaining, this.#chunk.length - this.#offset)
    if (available === 0 && this.#remaining > 0 && !first) return this.drop()
    const payload = this.#take(available)
    if (!isControl(this.#byte0 & 0xf)) return this.#piece(first, payload)
    const control = concat(this.#control, payload)
    const whole = this.#remaining === 0
    this.#control = whole ? none : control
    return whole ? this.#piece(true, control) : this.drop()
  }

  #take(size: number): Uint8Array {
    if (size === 0) return none
    const start = this.#offset
    const end = start + size
    if (this.#role === "server") {
      this.#words ??= Mask.wordsOf(this.#chunk)
      Mask.applyInPlace(this.#chunk, this.#key, this.#length - this.#remaining, start, end, this.#words)
    }
    this.#offset = end
    this.#remaining -= size
    return this.#chunk.subarray(start, end)
  }

  #piece(first: boolean, payload: Uint8Array): Piece {
    const last = this.#remaining === 0
    if (last) this.#remaining = -1
    return {
      opcode: (this.#byte0 & 0xf) as Opcode,
      fin: (this.#byte0 & 0x80) !== 0,
      rsv: this.#byte0 & Frame.reservedBits,
      length: this.#length,
      first,
      last,
      payload
    }
  }
}

const concat = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const out = new Uint8Array(left.length + right.length)
  out.set(left)
  out.set(right, left.length)
  return out
}
