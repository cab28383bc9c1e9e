/**
 * Parts of received messages in order, taken from the front.
 *
 * @since 1.0.0
 */
import type { Part } from "@effect-websocket/protocol/Message"
import type { Payload } from "../WebSocketStream.ts"
import { allocateUnsafe } from "./memory.ts"
import { type Slab, Store } from "./slabs.ts"

// Small parts of one message are kept together up to this many bytes, so that a
// peer that sends byte by byte costs bytes and not objects.
const coalesceUpTo = 1024

// What a part takes besides its payload, in bytes: a flood of empty messages
// must count too.
const partOverhead = 64

// How many taken parts are let go of together.
const compactFrom = 32

// So many units of a text are made one string, which the collector does not copy as it does those that are short, each
// time it has come round: a message that takes its time would cost more there than everywhere else.
const blockSize = 256 * 1024

// An array of more bytes than this is put together in turns of the event loop, before it is taken.
const joinAtMost = 512 * 1024

/**
 * Arrays of `size` bytes together, as one.
 *
 * @internal
 */
export const concatBytes = (arrays: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const out = allocateUnsafe(size)
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

// Messages are copied to arrays that they share with others, since an array of its own costs more than a message does:
// of so many bytes at least, and at most so many times the message's own, so that none keeps more alive.
const leastShared = 4096
const mostShared = 64 * 1024
const sharedTimes = 4

// The rest of a frame that was begun is likely to come. An array for it is made before it does, but not by what the peer
// announces alone: at most so many times what has come.
const aheadAtMost = 32

// A view must not pin a chunk much larger than itself.
const pinsMore = (data: Uint8Array): boolean => data.length * 4 < data.buffer.byteLength

const sizeOf = (parts: ReadonlyArray<Part>): number => parts.reduce((size, part) => size + part.size, 0)

const endOf = ({ byteOffset, length }: Uint8Array): number => byteOffset + length

const follows = (right: Uint8Array, left: Uint8Array): boolean =>
  right.buffer === left.buffer && right.byteOffset === endOf(left)

/** As `concatBytes`; what lies together already is not copied. */
const join = (arrays: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const first = arrays[0]!
  const isOne = arrays.every((array, index) => index === 0 || follows(array, arrays[index - 1]!))
  return isOne ? new Uint8Array(first.buffer, first.byteOffset, size) : concatBytes(arrays, size)
}

// Strings are joined, not added: a sum would keep both as objects of their own. That is what is wanted of long ones: it
// takes no time, and the platform makes it one piece where somebody looks inside.
const concatTexts = (texts: ReadonlyArray<string>): string => {
  const isLong = texts.reduce((units, { length }) => units + length, 0) > blockSize
  return isLong ? texts.reduce((left, right) => left + right) : texts.join("")
}

/**
 * The payload of parts of one message.
 *
 * @internal
 */
export const concat = (parts: ReadonlyArray<Part>): Payload => {
  if (parts.length === 1) return parts[0]!.data
  const data = parts.map((part) => part.data)
  if (parts[0]!.type === "text") return concatTexts(data as Array<string>)
  return join((data as Array<Uint8Array>).filter(({ length }) => length > 0), sizeOf(parts))
}

/** Where whole messages are kept, whichever connection they came from; by the power of two of their array's size. */
type Stores = Array<Store | undefined>

const owned: Stores = []
const lent: Stores = []

/** A part, and where it is kept if that is not its reader's own. */
interface Kept extends Part {
  readonly slab: Slab | undefined
}

/** Both as one part. Slabs that it does not lie in are used no longer. */
const coalesce = (left: Kept, right: Kept): Kept => {
  const both = [left, right]
  const data = concat(both)
  const slabs = both.flatMap(({ slab }) => slab === undefined ? [] : [slab])
  const at = typeof data === "string" ? -1 : slabs.findIndex((slab) => slab.has(data))
  slabs.forEach((slab, index) => index === at ? undefined : slab.release())
  return { type: right.type, data, size: sizeOf(both), fin: right.fin, slab: slabs[at] }
}

/** Of queues in which nothing is. */
const noParts: Array<Kept> = []

/**
 * A queue of parts.
 *
 * @internal
 */
export class PartQueue {
  // Those before `#head` were taken.
  #parts = noParts
  #head = 0
  #held = 0
  #wholeMessages = 0
  #messagesTaken = 0
  /** Whether the part pushed last was not the last of its message. */
  #isOpen = false
  #message: Store | undefined
  #isOwned = false
  /** Units, or bytes, of the open message: of a text, since a block of it was made. */
  #gathered = 0
  /** Whether there may be a long message that is in pieces. */
  #inPieces = false
  /** Where such a message is put together. */
  #whole: Uint8Array | undefined
  /** What was given to the last read, where arrays are used again. */
  readonly #lent: Array<Slab> | undefined

  /** Where it `reuses` arrays, what a read was given is its own until the next one. */
  constructor(reuses: boolean) {
    this.#lent = reuses ? [] : undefined
  }

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

  /** Parts are views of a chunk from now on, which may be kept alive where it `isOwned`, and is overwritten otherwise. */
  begin(isOwned: boolean): void {
    this.#isOwned = isOwned
  }

  /** `rest` is what the part's frame has still to bring. */
  push(part: Part, rest: number): void {
    const own = this.#keep(part, rest)
    const { data, fin } = part
    this.#isOpen = !fin
    if (fin) {
      this.#wholeMessages++
      this.#message?.close()
      this.#message = undefined
    }
    this.#held += part.size
    const last = this.length > 0 ? this.#parts[this.#parts.length - 1] : undefined
    if (last !== undefined && !last.fin && last.size + part.size <= coalesceUpTo) {
      this.#parts[this.#parts.length - 1] = coalesce(last, own)
    } else {
      this.#held += partOverhead
      if (this.#parts === noParts) this.#parts = [own]
      else this.#parts.push(own)
    }
    if (!fin || this.#gathered > 0) this.#gather(data, fin)
  }

  #gather(data: Payload, fin: boolean): void {
    this.#gathered += data.length
    if (typeof data !== "string") this.#inPieces ||= fin && this.#gathered > joinAtMost
    else if (this.#gathered >= blockSize) {
      this.#makeBlock()
      this.#gathered = 0
    }
    if (fin) this.#gathered = 0
  }

  // What the text has got since the block before, as far as it was not taken.
  #makeBlock(): void {
    const parts = this.#parts
    let from = parts.length - 1
    while (from > this.#head && !parts[from - 1]!.fin && parts[from - 1]!.data.length < blockSize) from--
    const young = parts.splice(from)
    const data = young.map((part) => part.data).join("")
    parts.push({ type: "text", data, size: sizeOf(young), fin: young.at(-1)!.fin, slab: undefined })
    this.#held -= partOverhead * (young.length - 1)
  }

  /** Whether `settle` is to be called before a message is taken. */
  get inPieces(): boolean {
    return this.#inPieces
  }

  /**
   * Puts a long message together by up to `most` bytes, so that there is nothing
   * left to be copied when it is taken. Says whether that is so of all.
   */
  settle(most: number): boolean {
    const first = this.#findInPieces()
    if (first === undefined) {
      this.#inPieces = false
      this.#whole = undefined
      return true
    }
    this.#copyParts(first.start, first.size, most)
    return false
  }

  /** Where a message begins that is long and not in one piece, and how many bytes it has. */
  #findInPieces(): { readonly start: number; readonly size: number } | undefined {
    const parts = this.#parts
    let start = this.#head
    let size = 0
    let isOne = true
    for (let i = start; i < parts.length; i++) {
      const { data, fin } = parts[i]!
      size += data.length
      isOne &&= typeof data === "string" || i === start || data.length === 0 ||
        follows(data, parts[i - 1]!.data as Uint8Array)
      if (!fin) continue
      if (!isOne && size > joinAtMost) return { start, size }
      start = i + 1
      size = 0
      isOne = true
    }
  }

  // The first part becomes a view of what was put together, and takes in those behind it.
  #copyParts(start: number, size: number, most: number): void {
    const parts = this.#parts
    const first = parts[start]!.data as Uint8Array
    const isBegun = first.buffer === this.#whole?.buffer
    const whole = isBegun ? this.#whole! : allocateUnsafe(size)
    let used = isBegun ? first.length : 0
    let next = isBegun ? start + 1 : start
    let fin = false
    for (let left = most; left > 0 && !fin; next++) {
      const part = parts[next]!
      const data = part.data as Uint8Array
      const taken = data.subarray(0, left)
      whole.set(taken, used)
      used += taken.length
      left -= taken.length
      if (taken.length < data.length) {
        parts[next] = { ...part, data: data.subarray(taken.length), size: data.length - taken.length }
        break
      }
      fin = part.fin
      part.slab?.release()
    }
    this.#whole = fin ? undefined : whole
    parts.splice(start, next - start, {
      type: "binary",
      data: whole.subarray(0, used),
      size: used,
      fin,
      slab: undefined
    })
    this.#held -= partOverhead * (next - start - 1)
  }

  #keep(part: Part, rest: number): Kept {
    const { data, fin, size, type } = part
    const { length } = data
    if (typeof data === "string" || length === 0 || this.#mayStay(data)) {
      return { type, data, size, fin, slab: undefined }
    }
    const slab = fin && !this.#isOpen && length * 2 <= mostShared
      ? this.#sharedSlab(length)
      : this.#messageSlab(length, Math.min(length + rest, length * aheadAtMost))
    return { type, data: slab.keep(data), size, fin, slab: this.#lent && slab }
  }

  // Unless the message lies in an array already that has room for it, and is to be one in the end.
  #mayStay(data: Uint8Array): boolean {
    return this.#isOwned && !pinsMore(data) && this.#message?.hasRoomFor(data.length) !== true
  }

  #sharedSlab(length: number): Slab {
    const size = Math.min(mostShared, Math.max(leastShared, length * sharedTimes))
    const power = 31 - Math.clz32(size)
    const reuses = this.#lent !== undefined
    const store = (reuses ? lent : owned)[power] ??= new Store(reuses)
    return store.slabFor(length, 2 ** power)
  }

  #messageSlab(length: number, capacity: number): Slab {
    this.#message ??= new Store(this.#lent !== undefined)
    return this.#message.slabFor(length, capacity)
  }

  /** Takes the first part. There is one. */
  shift(): Part {
    this.#takeBack()
    return this.#shift()
  }

  /** Takes the first message. There is a whole one. */
  shiftMessage(): Payload {
    this.#takeBack()
    return this.#shiftMessage()
  }

  /** Takes all whole messages. */
  shiftMessages(): Array<Payload> {
    this.#takeBack()
    const messages: Array<Payload> = []
    while (this.#wholeMessages > 0) messages.push(this.#shiftMessage())
    return messages
  }

  /** Lets go of what the last read was given. */
  #takeBack(): void {
    if (this.#lent === undefined) return
    while (this.#lent.length > 0) this.#lent.pop()!.release()
  }

  #shift(): Part {
    const part = this.#parts[this.#head]!
    this.#parts[this.#head++] = undefined as never
    this.#held -= part.size + partOverhead
    if (part.slab !== undefined) this.#lent?.push(part.slab)
    if (part.fin) {
      this.#wholeMessages--
      this.#messagesTaken++
    }
    if (this.#head === this.#parts.length) {
      this.#parts = noParts
      this.#head = 0
    } else if (this.#head >= compactFrom && this.#head * 2 >= this.#parts.length) {
      this.#parts = this.#parts.slice(this.#head)
      this.#head = 0
    }
    return part
  }

  #shiftMessage(): Payload {
    const first = this.#shift()
    if (first.fin) return first.data
    const parts = [first]
    while (!parts.at(-1)!.fin) parts.push(this.#shift())
    return concat(parts)
  }
}
