/**
 * Parts of received messages in order, taken from the front.
 *
 * @since 1.0.0
 */
import type { Part } from "@effect-websocket/protocol/Message"
import type { Payload } from "../WebSocketStream.ts"

// Small parts of one message are kept together up to this many bytes, so that a
// peer that sends byte by byte costs bytes and not objects.
const coalesceUpTo = 1024

// What a part takes besides its payload, in bytes: a flood of empty messages
// must count too.
const partOverhead = 64

// How many taken parts are let go of together.
const compactFrom = 32

const none = new Uint8Array(0)

/**
 * Arrays of `size` bytes together, as one.
 *
 * @internal
 */
export const concatBytes = (arrays: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const out = new Uint8Array(size)
  let offset = 0
  for (const bytes of arrays) {
    out.set(bytes, offset)
    offset += bytes.length
  }
  return out
}

/**
 * As `concatBytes`; one alone is not copied.
 *
 * @internal
 */
export const concatPieces = (pieces: ReadonlyArray<Uint8Array>): Uint8Array =>
  pieces.length === 1 ? pieces[0]! : concatBytes(pieces, pieces.reduce((size, { length }) => size + length, 0))

// Small parts that arrived together are copied to one array of at most so many bytes, since an array of its own costs
// more than a small part does. Nothing else is in it, so that none keeps more than this alive.
const sharedSize = 4096
const smallUpTo = 1024

// A view must not pin a chunk much larger than itself.
const pinsMore = (data: Uint8Array): boolean => data.length * 2 < data.buffer.byteLength

const sizeOf = (parts: ReadonlyArray<Part>): number => parts.reduce((size, part) => size + part.size, 0)

/**
 * The payload of parts of one message. Strings are joined, not added: a sum
 * would keep both as objects of their own.
 *
 * @internal
 */
export const concat = (parts: ReadonlyArray<Part>): Payload => {
  if (parts.length === 1) return parts[0]!.data
  const data = parts.map((part) => part.data)
  return parts[0]!.type === "text" ? data.join("") : concatBytes(data as Array<Uint8Array>, sizeOf(parts))
}

/**
 * A queue of parts.
 *
 * @internal
 */
export class PartQueue {
  // Those before `#head` were taken.
  #parts: Array<Part> = []
  #head = 0
  #held = 0
  #wholeMessages = 0
  #messagesTaken = 0
  // How many of the last parts are views of the chunk they came in.
  #views = 0
  // Bytes of those that are small.
  #small = 0

  get length(): number {
    return this.#parts.length - this.#head
  }

  /** Bytes of payload, and what it takes to keep them. */
  get bytes(): number {
    return this.#held
  }

  /** How many messages end in the queue. */
  get wholeMessages(): number {
    return this.#wholeMessages
  }

  /** How many messages were taken to their end. */
  get messagesTaken(): number {
    return this.#messagesTaken
  }

  push(part: Part): void {
    const last = this.length > 0 ? this.#parts[this.#parts.length - 1] : undefined
    if (part.fin) this.#wholeMessages++
    this.#held += part.size
    if (last !== undefined && !last.fin && last.size + part.size <= coalesceUpTo) {
      const both = [last, part]
      this.#parts[this.#parts.length - 1] = { type: last.type, data: concat(both), size: sizeOf(both), fin: part.fin }
    } else {
      this.#held += partOverhead
      this.#views++
      if (typeof part.data !== "string" && part.data.length <= smallUpTo) this.#small += part.data.length
      this.#parts.push(part)
    }
  }

  /** Lets go of the chunk that the parts came in, as taking one of them does too. */
  own(): void {
    const { length } = this.#parts
    let shared = none
    for (let i = length - this.#views; i < length; i++) {
      const { data, fin, size, type } = this.#parts[i]!
      if (typeof data === "string" || !pinsMore(data)) continue
      let copy: Uint8Array
      if (data.length > smallUpTo) copy = data.slice()
      else {
        if (data.length > shared.length) shared = new Uint8Array(Math.min(this.#small, sharedSize))
        copy = shared.subarray(0, data.length)
        copy.set(data)
        shared = shared.subarray(data.length)
        this.#small -= data.length
      }
      this.#parts[i] = { type, data: copy, size, fin }
    }
    this.#views = 0
    this.#small = 0
  }

  /** Takes the first part. There is one. */
  shift(): Part {
    if (this.#views > 0) this.own()
    const part = this.#parts[this.#head]!
    this.#parts[this.#head++] = undefined as never
    this.#held -= part.size + partOverhead
    if (part.fin) {
      this.#wholeMessages--
      this.#messagesTaken++
    }
    if (this.#head === this.#parts.length) {
      this.#parts = []
      this.#head = 0
    } else if (this.#head >= compactFrom && this.#head * 2 >= this.#parts.length) {
      this.#parts = this.#parts.slice(this.#head)
      this.#head = 0
    }
    return part
  }

  /** Takes the first message. There is a whole one. */
  shiftMessage(): Payload {
    const first = this.shift()
    if (first.fin) return first.data
    const parts = [first]
    while (!parts.at(-1)!.fin) parts.push(this.shift())
    return concat(parts)
  }

  /** Takes all whole messages. */
  shiftMessages(): Array<Payload> {
    const messages: Array<Payload> = []
    while (this.#wholeMessages > 0) messages.push(this.shiftMessage())
    return messages
  }
}
