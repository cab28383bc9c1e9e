/**
 * Frames to messages, RFC 6455 sections 5.4 and 8.1: fragmentation with control
 * frames between fragments, text checked as it arrives, sizes judged before the
 * payload does.
 *
 * @since 1.0.0
 */
import type { MessageInflater } from "./DeflateTransform.ts"
import type { Piece } from "./FrameDecoder.ts"
import { type MessageType, Opcode } from "./Opcode.ts"
import { reservedBit } from "./PerMessageDeflate.ts"
import { ProtocolError, type Rule } from "./ProtocolError.ts"
import * as Utf8 from "./Utf8.ts"

/**
 * A part of a received message.
 *
 * @category models
 * @since 1.0.0
 */
export interface Part {
  readonly type: MessageType
  /**
   * A string for a text message, cut between code points; for a binary message
   * a view into the chunk it arrived in. Empty only where it ends the message.
   */
  readonly data: string | Uint8Array
  /**
   * How many bytes of payload arrived since the part before. Those of a code
   * point count where it begins or ends, so a message's parts add up to it.
   */
  readonly size: number
  /** Whether the message ends with this part. */
  readonly fin: boolean
}

/**
 * How much of one message is taken.
 *
 * @category models
 * @since 1.0.0
 */
export interface Limits {
  /** Longest message in bytes, inflated. */
  readonly maxMessageSize: number
  /** Most fragments of a message, empty ones counted. */
  readonly maxFragments: number
}

/**
 * What assembling needs to know.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Limits {
  /** Inflates messages whose first frame has RSV1, where permessage-deflate was agreed. */
  readonly inflater?: MessageInflater | undefined
}

const wholeText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decodeWhole = (bytes: Uint8Array): string | undefined => {
  try {
    return wholeText.decode(bytes)
  } catch {
    return undefined
  }
}

/**
 * Assembles the data frames of one connection into messages.
 *
 * **Details**
 *
 * Control frames are not its concern: they pass between fragments and touch no
 * counter of the message, section 5.4.
 *
 * @category decoding
 * @since 1.0.0
 */
export class MessageAssembler {
  /** The rule that the peer broke; nothing is assembled from then on. */
  violation: ProtocolError | undefined

  readonly #maxMessageSize: number
  readonly #maxFragments: number
  readonly #inflater: MessageInflater | undefined
  #compressed = false
  #type: MessageType | undefined
  #size = 0
  #fragments = 0
  // At a boundary whenever a message begins, since none may end elsewhere.
  #utf8: Utf8.State = Utf8.boundary
  #decoder: TextDecoder | undefined
  // Payload bytes that came in pieces which made no part.
  #held = 0

  constructor(options: Options) {
    // Above 2^53 - 1 lengths are inexact, so that even no limit is one.
    this.#maxMessageSize = Math.min(options.maxMessageSize, Number.MAX_SAFE_INTEGER)
    this.#maxFragments = options.maxFragments
    this.#inflater = options.inflater
  }

  /** Whether a message has begun and not ended. */
  get inMessage(): boolean {
    return this.#type !== undefined
  }

  /** Whether the message that began last is compressed. */
  get inflates(): boolean {
    return this.#compressed
  }

  /**
   * Takes a piece of a data frame and gives the part it makes, or `undefined`
   * when it makes none yet or breaks a rule.
   */
  receive(piece: Piece): Part | undefined {
    const starts = piece.first && this.#type === undefined
    if (this.violation !== undefined || (piece.first && !this.#startFrame(piece))) return undefined
    const type = this.#type!
    const fin = piece.fin && piece.last
    const payload = this.#compressed ? this.#inflate(piece.payload, fin) : piece.payload
    if (payload === undefined) return undefined
    const data = type === "binary" ? payload : this.#decodeText(payload, fin, starts)
    if (data === undefined) return undefined
    if (fin) this.#type = undefined
    const size = this.#held + payload.length
    const makesPart = fin || data.length > 0
    this.#held = makesPart ? 0 : size
    if (makesPart) return { type, data, size, fin }
  }

  #fail(rule: Rule, limit?: number): undefined {
    this.violation = new ProtocolError(limit === undefined ? { rule } : { rule, limit })
  }

  #startFrame(piece: Piece): boolean {
    const rule = this.#ruleOfFirst(piece)
    if (rule !== undefined) this.#fail(rule)
    else if (!this.#compressed && this.#size + piece.length > this.#maxMessageSize) {
      this.#fail("MessageTooBig", this.#maxMessageSize)
    } else if (++this.#fragments > this.#maxFragments) this.#fail("TooManyFragments", this.#maxFragments)
    this.#size += piece.length
    return this.violation === undefined
  }

  #ruleOfFirst({ opcode, rsv }: Piece): Rule | undefined {
    if (opcode === Opcode.Continuation) return this.#type === undefined ? "UnexpectedContinuation" : undefined
    if (this.#type !== undefined) return "UnexpectedDataFrame"
    this.#type = opcode === Opcode.Text ? "text" : "binary"
    this.#compressed = (rsv & reservedBit) !== 0
    this.#size = 0
    this.#fragments = 0
  }

  // What a compressed frame declares says nothing about the message's size: that is judged while inflating.
  #inflate(payload: Uint8Array, fin: boolean): Uint8Array | undefined {
    const inflated = this.#inflater!.push(payload, fin)
    if (inflated._tag === "Output") return inflated.data
    if (inflated._tag === "TooBig") return this.#fail("MessageTooBig", this.#maxMessageSize)
    if (inflated._tag === "Corrupt") return this.#fail("CorruptDeflate")
    return this.#fail("CompressionRatioTooHigh", this.#inflater!.maxCompressionRatio)
  }

  #decodeText(payload: Uint8Array, fin: boolean, starts: boolean): string | undefined {
    if (starts && fin) return decodeWhole(payload) ?? this.#fail("InvalidUtf8")
    this.#utf8 = Utf8.advance(this.#utf8, payload)
    if (this.#utf8 === Utf8.invalid || (fin && this.#utf8 !== Utf8.boundary)) return this.#fail("InvalidUtf8")
    this.#decoder ??= new TextDecoder("utf-8", { ignoreBOM: true })
    return this.#decoder.decode(payload, { stream: !fin })
  }
}
