/**
 * Frames for the load, written before a run and walked over when they come back, RFC 6455 section 5.2. Knows nothing of
 * the libraries under test.
 */
import * as Zlib from "node:zlib"

/** Messages of a load, all alike. */
export interface Shape {
  /** `json` is text that looks like the rows of a feed and compresses about as well. */
  readonly type: "binary" | "text" | "json"
  /** Bytes of payload, before compression. */
  readonly size: number
  /** Frames of a message. Default 1. */
  readonly fragments?: number
  /**
   * Whether messages are compressed, RFC 7692. The context is kept from message to message through the sequence or
   * begins anew with each. The first message of a sequence refers to nothing before it, and so sequences may follow each
   * other for ever.
   */
  readonly deflate?: { readonly takeover: boolean }
}

/** A sequence of messages as the bytes of their frames. */
export interface Sequence {
  /** The messages, and behind them the first ones once more, so that any run of `count` of them is contiguous. */
  readonly bytes: Buffer
  /** Where each message begins, the repeated ones and the end included. */
  readonly offsets: ReadonlyArray<number>
  /** Messages before it begins anew. */
  readonly count: number
  /** Payload of the first message, before compression. */
  readonly first: Buffer
}

const random = (seed: number) => () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0)

const symbols = ["EURUSD", "BTCUSD", "XAUUSD", "USDJPY", "ETHUSD"]

const makeJson = (size: number, next: () => number): Buffer => {
  let text = ""
  while (text.length < size) {
    const state = next()
    text += `{"symbol":"${symbols[state % 5]}","price":${state % 100000},"size":${
      (state >>> 8) % 1000
    },"id":"${state}"},`
  }
  return Buffer.from(text.slice(0, size))
}

/** The payload of the message at `index`. */
export const makePayload = ({ size, type }: Shape, index: number): Buffer => {
  const next = random(index * 2654435761 + 1)
  if (type !== "binary") return makeJson(size, next)
  return Buffer.from(Uint8Array.from({ length: size }, () => next() >>> 24))
}

const headerOf = (first: number, length: number, key: Buffer | undefined): Buffer => {
  const bit = key === undefined ? 0 : 0x80
  const header = length < 126
    ? Buffer.from([first, bit | length])
    : length < 65536
    ? Buffer.from([first, bit | 126, length >> 8, length & 255])
    : Buffer.from([first, bit | 127, 0, 0, 0, 0, ...Buffer.from(new Uint32Array([length]).buffer).toReversed()])
  return key === undefined ? header : Buffer.concat([header, key])
}

/** One frame; masked where a key of four bytes is given. */
export const makeFrame = (first: number, payload: Buffer, key: Buffer | undefined): Buffer => {
  const body = key === undefined ? payload : Buffer.from(payload.map((byte, at) => byte ^ key[at & 3]!))
  return Buffer.concat([headerOf(first, payload.length, key), body])
}

const framesOf = (shape: Shape, payload: Buffer, key: Buffer | undefined): Array<Buffer> => {
  const fragments = shape.fragments ?? 1
  const size = Math.ceil(payload.length / fragments)
  return Array.from({ length: fragments }, (_, at) => {
    const opcode = at > 0 ? 0 : (shape.type === "binary" ? 2 : 1) | (shape.deflate === undefined ? 0 : 0x40)
    return makeFrame((at === fragments - 1 ? 0x80 : 0) | opcode, payload.subarray(at * size, (at + 1) * size), key)
  })
}

const makeCompress = ({ takeover }: { readonly takeover: boolean }) => {
  const options = { level: 6, memLevel: 8, windowBits: 15, finishFlush: Zlib.constants.Z_SYNC_FLUSH }
  let before: Buffer = Buffer.alloc(0)
  return (payload: Buffer): Buffer => {
    const dictionary = takeover && before.length > 0 ? { dictionary: before } : {}
    before = Buffer.concat([before, payload]).subarray(-32768)
    return Zlib.deflateRawSync(payload, { ...options, ...dictionary }).subarray(0, -4)
  }
}

/** Writes `count` messages, so that up to `inFlight` of them can be sent from anywhere in the sequence. */
export const makeSequence = (shape: Shape, count: number, inFlight: number, masked: boolean): Sequence => {
  const compress = shape.deflate === undefined ? (payload: Buffer) => payload : makeCompress(shape.deflate)
  const next = random(7)
  const key = () => masked ? Buffer.from(new Uint32Array([next() | 0x01010101]).buffer) : undefined
  const messages = Array.from(
    { length: count },
    (_, index) => Buffer.concat(framesOf(shape, compress(makePayload(shape, index)), key()))
  )
  const all = [...messages, ...Array.from({ length: inFlight }, (_, index) => messages[index % count]!)]
  const offsets = [0]
  for (const message of all) offsets.push(offsets.at(-1)! + message.length)
  return { bytes: Buffer.concat(all), offsets, count, first: makePayload(shape, 0) }
}

/** Goes from header to header and counts the messages that end. */
export class Walker {
  /** Messages that have come to their end. */
  messages = 0
  /** Whether a Close frame has come. */
  closed = false
  #left = 0
  #ends = false
  #head = Buffer.alloc(14)
  #have = 0

  /** Takes the bytes that came, of which nothing is kept. */
  walk(chunk: Uint8Array, end: number): void {
    let at = 0
    while (at < end) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, end - at)
        this.#left -= taken
        at += taken
        if (this.#left === 0 && this.#ends) this.messages++
      } else if (this.#have > 0 || !isWhole(chunk, at, end)) {
        this.#head[this.#have++] = chunk[at++]!
        if (isWhole(this.#head, 0, this.#have)) {
          this.#have = 0
          this.#begin(this.#head, 0)
        }
      } else at = this.#begin(chunk, at)
    }
  }

  #begin(bytes: Uint8Array, at: number): number {
    const first = bytes[at]!
    const opcode = first & 15
    if ((first & 0x30) !== 0 || (opcode > 2 && opcode < 8) || opcode > 10) throw new Error(`no frame: ${first}`)
    if (opcode === 8) this.closed = true
    this.#left = lengthOf(bytes, at)
    this.#ends = (first & 0x88) === 0x80
    if (this.#left === 0 && this.#ends) this.messages++
    return at + headSize(bytes[at + 1]!)
  }
}

const headSize = (second: number): number => {
  const length = second & 127
  return (length < 126 ? 2 : length === 126 ? 4 : 10) + (second >> 7) * 4
}

const isWhole = (bytes: Uint8Array, at: number, end: number): boolean =>
  end - at >= 2 && end - at >= headSize(bytes[at + 1]!)

const lengthOf = (bytes: Uint8Array, at: number): number => {
  const length = bytes[at + 1]! & 127
  if (length < 126) return length
  if (length === 126) return bytes[at + 2]! * 256 + bytes[at + 3]!
  return bytes[at + 6]! * 2 ** 24 + bytes[at + 7]! * 65536 + bytes[at + 8]! * 256 + bytes[at + 9]!
}

/** The payload of the one message in these bytes, whole, unmasked and inflated. */
export const payloadOf = (bytes: Buffer): Buffer => {
  const parts: Array<Buffer> = []
  let compressed = false
  for (let at = 0; at < bytes.length;) {
    const begin = at + headSize(bytes[at + 1]!)
    const end = begin + lengthOf(bytes, at)
    const key = bytes[at + 1]! >> 7 === 1 ? bytes.subarray(begin - 4, begin) : Buffer.alloc(4)
    compressed ||= (bytes[at]! & 0x40) !== 0
    if ((bytes[at]! & 8) === 0) parts.push(Buffer.from(bytes.subarray(begin, end).map((byte, i) => byte ^ key[i & 3]!)))
    at = end
  }
  const payload = Buffer.concat(parts)
  if (!compressed) return payload
  const tail = Buffer.from([0, 0, 255, 255])
  return Zlib.inflateRawSync(Buffer.concat([payload, tail]), { finishFlush: Zlib.constants.Z_SYNC_FLUSH })
}
