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
    const last = this.length > 0 ? this.#parts.at(-1) : undefined
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

  /** How many parts the first whole message has, 0 when there is none. */
  countMessage(): number {
    if (this.#wholeMessages === 0) return 0
    let end = this.#head
    while (!this.#parts[end]!.fin) end++
    return end + 1 - this.#head
  }

  /** How many parts all whole messages have together. */
  countMessages(): number {
    if (this.#wholeMessages === 0) return 0
    let end = this.#parts.length
    while (!this.#parts[end - 1]!.fin) end--
    return end - this.#head
  }

  /** Takes parts from the front, at a cost that does not depend on how many stay. */
  take(count: number): ReadonlyArray<Part> {
    const end = this.#head + count
    const taken = this.#parts.slice(this.#head, end)
    if (end * 2 < this.#parts.length) {
      this.#parts.fill(undefined as never, this.#head, end)
      this.#head = end
    } else {
      this.#parts = this.#parts.slice(end)
      this.#head = 0
    }
    const messages = taken.reduce((messages, part) => part.fin ? messages + 1 : messages, 0)
    this.#wholeMessages -= messages
    this.#messagesTaken += messages
    this.#held -= sizeOf(taken) + taken.length * partOverhead
    return taken
  }
}
