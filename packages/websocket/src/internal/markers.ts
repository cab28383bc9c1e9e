/**
 * Pings between frames, whose Pongs tell what has been read: which are on their
 * way, and what those of one round have shown.
 *
 * Times are milliseconds, sizes bytes.
 *
 * @since 1.0.0
 */

/**
 * A Ping that was sent behind data.
 *
 * @internal
 */
export interface Marker {
  readonly id: number
  readonly at: number
  /** Bytes sent before it. */
  readonly position: number
  /** Whether all of those had been read. */
  readonly isAlone: boolean
}

/**
 * What was sent, and what is known to have been read.
 *
 * @internal
 */
export class Flight {
  sent = 0
  read = 0
  /** Bytes sent before the line was quiet last. */
  before = 0
  /** Markers sent so far. */
  count = 0
  /** Those that are not answered, oldest first. */
  readonly markers: Array<Marker> = []

  get size(): number {
    return this.sent - this.read
  }

  /** Bytes behind the newest marker that waits. */
  get unmarked(): number {
    return this.sent - (this.markers.at(-1)?.position ?? this.read)
  }

  mark(at: number): number {
    const id = this.count++
    this.markers.push({ id, at, position: this.sent, isAlone: this.sent === this.read })
    return id
  }

  /** Takes a marker, and those before it, which a peer need not answer. */
  take(id: number): Marker | undefined {
    const index = this.markers.findIndex((marker) => marker.id === id)
    return index < 0 ? undefined : this.markers.splice(0, index + 1)[index]
  }

  /** Takes all that was sent for read. */
  settle(): void {
    this.before = this.read = this.sent
  }
}

// Takes time, so that a peer that reads in bursts is seen in both its states.
const leastTime = 20

const mostDelays = 64

/**
 * What is seen while one window holds.
 *
 * @internal
 */
export class Round {
  readonly #from: number
  readonly #at: number
  readonly #answers: number
  readonly #least: number
  readonly #delays: Array<number> = []
  /** What was read, and the time that took. */
  #bytes = 0
  #time = 0
  /** The longest time between two answers, where that is a rest of the peer and says nothing of how fast it is. */
  #rest = { bytes: 0, time: 0 }
  /** Whether data was held back. */
  isLimited = false
  /** Whether it began because answers were late. */
  readonly isHeld: boolean

  /** Of so many answers, at least, to markers beginning with `from`, and of so much time. */
  constructor(from: number, at: number, answers: number, time = 0, isHeld = false) {
    this.#from = from
    this.#at = at
    this.#answers = answers
    this.#least = Math.max(leastTime, time)
    this.isHeld = isHeld
  }

  /** An answer came after `time`, and told of so many bytes. A time above `longest` may be a rest. */
  hear(marker: Marker, now: number, bytes: number, time: number, longest: number): void {
    this.#bytes += bytes
    this.#time += time
    if (time > Math.max(longest, this.#rest.time)) this.#rest = { bytes, time }
    if (marker.id >= this.#from && this.#delays.length < mostDelays) this.#delays.push(now - marker.at)
  }

  isOver(now: number): boolean {
    return this.#delays.length >= this.#answers && now - this.#at >= this.#least
  }

  /** The median. */
  get delay(): number {
    return this.#quantile(1 / 2)
  }

  /** Of those that took least. Where even they had to wait, it is for more than what was sent with them. */
  get least(): number {
    return this.#quantile(1 / 4)
  }

  /** How far the middle half of the delays is spread. */
  get spread(): number {
    return this.#quantile(3 / 4) - this.#quantile(1 / 4)
  }

  /** Bytes that are read in a millisecond. */
  get rate(): number {
    return (this.#bytes - this.#rest.bytes) / Math.max(this.#time - this.#rest.time, 1e-3)
  }

  #quantile(share: number): number {
    return this.#delays.toSorted((left, right) => left - right)[Math.floor(this.#delays.length * share)] ?? 0
  }
}
