/**
 * Arrays that received bytes are kept in until they are read, and beyond it.
 *
 * @since 1.0.0
 */
import { allocateUnsafe } from "./memory.ts"

/**
 * Arrays that may be written to again, by the power of two of their size.
 *
 * @internal
 */
export class Free {
  readonly #arrays: Array<Array<Uint8Array> | undefined> = []
  readonly #most: number
  #size = 0

  /** Keeps up to `most` bytes. */
  constructor(most: number) {
    this.#most = most
  }

  /** One of at least `size` bytes. */
  take(size: number): Uint8Array {
    const power = 32 - Math.clz32(size - 1)
    const bytes = this.#arrays[power]?.pop()
    if (bytes === undefined) return allocateUnsafe(2 ** power)
    this.#size -= bytes.length
    return bytes
  }

  give(bytes: Uint8Array): void {
    if (this.#size + bytes.length > this.#most) return
    this.#size += bytes.length
    const arrays = this.#arrays[31 - Math.clz32(bytes.length)] ??= []
    arrays.push(bytes)
  }
}

// Of the whole process. Of arrays in use there are as many as there is unread, or lent; this is what waits for use.
const free = new Free(16 * 1024 * 1024)

/**
 * An array, and how many parts in it are unread or lent to who has read them.
 *
 * @internal
 */
export class Slab {
  readonly #bytes: Uint8Array
  #used = 0
  #held = 0
  /** Whether more may be kept in it. */
  #isOpen = true

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  hasRoomFor(size: number): boolean {
    return size <= this.#bytes.length - this.#used
  }

  /** Whether it is this array that `bytes` are a view of. */
  has(bytes: Uint8Array): boolean {
    return bytes.buffer === this.#bytes.buffer
  }

  /** Copies `data` behind what is there, and holds it. */
  keep(data: Uint8Array): Uint8Array {
    const end = this.#used + data.length
    const kept = this.#bytes.subarray(this.#used, end)
    kept.set(data)
    this.#used = end
    this.#held++
    return kept
  }

  /** A part in it is used no longer. With the last one it may be written to again. */
  release(): void {
    this.#held--
    if (this.#held > 0) return
    this.#used = 0
    if (!this.#isOpen) free.give(this.#bytes)
  }

  /** Nothing more will be kept in it. */
  close(): void {
    this.#isOpen = false
    if (this.#held === 0) free.give(this.#bytes)
  }
}

/**
 * Where parts are kept, one behind the other.
 *
 * @internal
 */
export class Store {
  readonly #reuses: boolean
  #slab: Slab | undefined

  /** Where it `reuses` arrays every part is to be released; elsewhere the collector has them. */
  constructor(reuses: boolean) {
    this.#reuses = reuses
  }

  hasRoomFor(size: number): boolean {
    return this.#slab !== undefined && this.#slab.hasRoomFor(size)
  }

  /** A slab with room for `size` bytes: the last one, or one of `capacity` bytes. */
  slabFor(size: number, capacity: number): Slab {
    if (this.#slab?.hasRoomFor(size) === true) return this.#slab
    this.close()
    const least = Math.max(size, capacity)
    return this.#slab = new Slab(this.#reuses ? free.take(least) : allocateUnsafe(least))
  }

  /** Nothing more will be kept. */
  close(): void {
    if (this.#reuses) this.#slab?.close()
    this.#slab = undefined
  }
}
