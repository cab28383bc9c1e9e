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

const concatBytes = (arrays: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const out = new Uint8Array(size)
  let offset = 0
  for (const bytes of arrays) {
    out.set(bytes, offset)
    offset += bytes.length
  }
  return out
}

// A view must not pin a chunk much larger than itself.
const own = (part: Part): Part => {
  const { data } = part
  return typeof data === "string" || data.length * 2 >= data.buffer.byteLength ? part : { ...part, data: data.slice() }
}

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
      this.#parts.push(own(part))
    }
  }

  /** Takes the first part. There is one. */
  shift(): Part {
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
