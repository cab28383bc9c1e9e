/**
 * Counts of times, in buckets of three per cent: cheap enough to be asked for every batch.
 */
const perDoubling = 24

/** Times in microseconds, from 1 to 2^27. */
export class Histogram {
  #buckets = new Uint32Array(27 * perDoubling + 1)
  #count = 0

  add(time: number): void {
    const bucket = Math.round(Math.log2(Math.max(time, 1)) * perDoubling)
    this.#buckets[Math.min(bucket, this.#buckets.length - 1)]!++
    this.#count++
  }

  #quantile(share: number): number {
    let left = share * this.#count
    const bucket = this.#buckets.findIndex((count) => (left -= count) <= 0)
    return this.#count === 0 ? 0 : 2 ** (bucket / perDoubling)
  }

  /** The 50th, 90th and 99th percentile, and forgets them. */
  take(): readonly [number, number, number] {
    const times = [this.#quantile(0.5), this.#quantile(0.9), this.#quantile(0.99)] as const
    this.#buckets.fill(0)
    this.#count = 0
    return times
  }
}
