/**
 * How many bytes may be on their way at one time, so that a control frame behind
 * them arrives soon.
 *
 * What is below takes megabytes, and does not tell how many of them have left. So
 * Pings go between the frames as markers: the Pong of one tells that all before
 * it has been read, RFC 6455 section 5.5.3. A window is judged by the delays of
 * the markers sent in it, which are a round. Where their median exceeds that of an
 * empty line by more than the target, bytes queue, and the window shrinks to what
 * is on its way without; where not, and data was held back, it grows.
 *
 * Plain: no clock, no chance, no I/O. Times are milliseconds, sizes bytes.
 *
 * @since 1.0.0
 */
import { Flight, Round } from "./markers.ts"

/**
 * What is sent before anything is known, in bytes: 32 ms at 4 MiB/s. No more than
 * that in a second needs no markers.
 *
 * @internal
 */
export const initialWindow = 128 * 1024

const quietTime = 1000

/**
 * The fewest bytes of a window, and twice those of a fragment.
 *
 * @internal
 */
export const leastWindow = 8 * 1024

const mostWindow = 2 ** 30

// The fragments, and markers, that a window has room for.
const leastShares = 8
const mostShares = 32

// The answers that a round takes, and where the window is known to be wrong.
const roundAnswers = 8
const fewAnswers = 4

// How an empty line behaves is found out anew after this time, and after so many rounds in which shrinking was no help:
// then it is not our bytes that queue. After as many in which next to nothing queued, the line is another.
const probeInterval = 10_000
const sameRounds = 3

// How long an answer is waited for, in delays of the latest round, at least and at most.
const waitDelays = 4
const leastWait = 1000
const mostWait = 10_000

// What is sent between two questions where nothing is held back.
const blindGrant = 1024 * 1024

/** The delays of markers on this line. */
class Path {
  /** Of a marker with nothing to wait for. */
  base = Infinity
  /** By how much those vary. */
  spread = 0
  /** Of the latest round. */
  delay = 0
  /** Bytes that were read in a millisecond of it. */
  rate = Infinity
  /** When `base` is to be found out anew. */
  probeAt = Infinity
  /** When it was last heard of, or could first be. */
  heardAt: number

  constructor(now: number) {
    this.heardAt = now
  }
}

/**
 * The window of one connection.
 *
 * @internal
 */
export class SendWindow {
  readonly #target: number
  readonly #flight = new Flight()
  #path: Path
  #round: Round
  #phase: "Starting" | "Steady" | "Probing" | "Blind" = "Starting"
  #size = initialWindow
  /** What the size grows to, by as much as is read, so that what is sent more does not come all at once. */
  #goal = initialWindow
  /** Rounds in a row in which bytes queued; negative, in which next to none did. */
  #streak = 0

  /** Lets bytes queue for `target` milliseconds. */
  constructor(target: number, now: number) {
    this.#target = target
    this.#path = new Path(now)
    this.#round = new Round(0, now, fewAnswers)
  }

  /** Bytes that may be on their way. */
  get size(): number {
    return this.#size
  }

  /** Bytes that are, as far as is known. */
  get outstanding(): number {
    return this.#flight.size
  }

  /** Bytes that were read, as far as is known. */
  get read(): number {
    return this.#flight.read
  }

  /** Markers that wait for their answers. */
  get markers(): number {
    return this.#flight.markers.length
  }

  /** Most bytes of a fragment. */
  get fragment(): number {
    return Math.max(leastWindow / 2, Math.floor(this.#share))
  }

  /** Longest wait for an answer. */
  get wait(): number {
    return Math.min(mostWait, Math.max(leastWait, waitDelays * this.#path.delay))
  }

  /** So many bytes were sent. */
  sent(bytes: number): void {
    this.#flight.sent += bytes
  }

  /**
   * What to do where `queued` bytes wait, of them `next` in one frame: to send so
   * many bytes, at least `next`, and ask again; to send a marker and ask again; or
   * to wait for an answer, 0.
   */
  ask(now: number, next: number, queued: number): number | "marker" {
    if (this.#phase === "Blind") return Math.max(next, blindGrant)
    if (this.#flight.markers.length === 0) return this.#askQuiet(now, Math.max(next, queued))
    const { size, unmarked } = this.#flight
    const room = this.#size - size
    const share = this.#share
    const isFull = room < next && size > 0
    if (this.#isUnknown || this.#isLate(now) || (isFull && unmarked < share)) {
      this.#round.isLimited = true
      return 0
    }
    if (unmarked > 0 && (isFull || unmarked + next > share)) return "marker"
    return Math.max(next, Math.min(room, share - unmarked))
  }

  /** A marker is sent now. Gives its number. */
  mark(now: number): number {
    if (this.#flight.markers.length === 0) this.#path.heardAt = now
    return this.#flight.mark(now)
  }

  /** A marker was answered. Says whether it waited for that: one that did not changes nothing. */
  answered(id: number, now: number): boolean {
    const marker = this.#flight.take(id)
    if (marker === undefined) return false
    const { base, heardAt } = this.#path
    const bytes = marker.position - this.#flight.read
    const delay = now - marker.at
    this.#flight.read = marker.position
    this.#path.heardAt = now
    this.#round.hear(marker, now, bytes, now - heardAt, base + this.#target)
    if (this.#phase !== "Probing") this.#size = Math.min(this.#goal, this.#size + bytes)
    if (base === Infinity) this.#path.probeAt = now + probeInterval
    if (base === Infinity || (marker.isAlone && this.#phase === "Starting")) this.#path.base = Math.min(base, delay)
    if (this.#phase === "Blind") this.#recover(delay, now)
    else if (this.#round.isOver(now)) this.#judge(now)
    return true
  }

  /** No answer came in time: lets everything through until one comes. */
  giveUp(): void {
    this.#phase = "Blind"
  }

  // What goes at once: a part of the window, and where that is long, of what may queue.
  get #share(): number {
    const { rate } = this.#path
    return Math.max(this.#size / mostShares, Math.min(this.#size / leastShares, rate * this.#target / 3))
  }

  // No marker is on its way. What was known of a line that was not used for long may not hold any more.
  #askQuiet(now: number, queued: number): number | "marker" {
    const silence = now - this.#path.heardAt
    if (silence >= probeInterval) this.#forget(now)
    if (silence >= quietTime) {
      this.#flight.settle()
      this.#path.heardAt = now
    }
    const room = Math.min(this.#size, initialWindow) - (this.#flight.sent - this.#flight.before)
    return queued <= room ? room : "marker"
  }

  #forget(now: number): void {
    this.#path = new Path(now)
    this.#phase = "Starting"
    this.#goal = this.#size = initialWindow
    this.#streak = 0
    this.#nextRound(now)
  }

  // Much was sent before the first marker, and nothing is to be sent behind it, so that the second has nothing to wait for.
  get #isUnknown(): boolean {
    return this.#path.base === Infinity && !this.#flight.markers[0]!.isAlone
  }

  // A line that slows down shows it at once by markers that wait, long before they are answered.
  #isLate(now: number): boolean {
    if (this.#phase !== "Steady") return false
    const oldest = this.#flight.markers[0]!
    const { base, delay } = this.#path
    const isLate = now - oldest.at > base + Math.max(3 * this.#target, base / 2, 2 * (delay - base))
    if (isLate && !this.#round.isHeld) this.#round = new Round(oldest.id, now, fewAnswers, 0, true)
    return isLate
  }

  #recover(delay: number, now: number): void {
    this.#path.delay = delay
    this.#phase = "Steady"
    this.#nextRound(now)
  }

  #judge(now: number): void {
    const { delay, isLimited, rate } = this.#round
    this.#path.delay = delay
    this.#path.rate = rate
    if (this.#phase === "Probing") this.#endProbe(delay, now)
    else {
      this.#follow(delay)
      this.#resize(delay - this.#path.base, rate)
      if (isLimited && (this.#streak >= sameRounds || now >= this.#path.probeAt)) this.#probe(rate)
    }
    this.#nextRound(now)
  }

  // A part of the way, so that chance alone does not make the base too small.
  #follow(delay: number): void {
    if (delay < this.#path.base) this.#path.base += (delay - this.#path.base) / 4
  }

  #resize(queue: number, rate: number): void {
    const target = Math.max(this.#target, Math.min(2 * this.#target, 1.5 * this.#path.spread))
    const isFull = queue > target || this.#round.least - this.#path.base >= target / 2
    if (this.#phase === "Starting" && isFull) this.#phase = "Steady"
    this.#streak = this.#streakAfter(queue / target)
    if (queue > target) this.#shrink(this.#path.base + target, rate)
    else if (this.#round.isLimited) {
      const grown = this.#phase === "Starting" ? 2 : this.#streak <= -sameRounds ? 3 / 2 : 1
      this.#grow(grown > 1 ? this.#size * (grown - 1) : Math.min(this.#size / 4, rate * (target - queue) / 2))
    }
  }

  #streakAfter(filled: number): number {
    if (filled > 1) return Math.max(0, this.#streak) + 1
    return filled < 1 / 4 && this.#round.isLimited ? Math.min(0, this.#streak) - 1 : 0
  }

  // What is on its way is the rate times the delay. The rate that was seen is less than the line's where the window was
  // too small before, and more where the peer rested: then nothing is to be gained.
  #shrink(delay: number, rate: number): void {
    const fit = Math.max(rate * delay, this.#size * delay / this.#path.delay, this.#size / 4)
    this.#goal = this.#size = Math.max(leastWindow, Math.min(this.#size, fit))
  }

  #grow(bytes: number): void {
    this.#goal = Math.min(mostWindow, this.#size + bytes)
  }

  // With half of what an empty line holds, nothing of ours queues.
  #probe(rate: number): void {
    this.#goal = this.#size
    this.#size = Math.max(leastWindow, Math.min(this.#size, rate * this.#path.base) / 2)
    this.#phase = "Probing"
    this.#streak = 0
  }

  #endProbe(delay: number, now: number): void {
    // Where the base has risen it is another line, and what was found to queue may not have.
    if (delay > this.#path.base + this.#target) this.#streak = -sameRounds
    this.#phase = "Steady"
    this.#path.base = delay
    this.#path.spread = this.#round.spread
    this.#path.probeAt = now + probeInterval
  }

  // As long as it takes to be answered, and as long again, so that not all answers had the same luck.
  #nextRound(now: number): void {
    const isStarting = this.#phase === "Starting"
    const base = isStarting ? 0 : this.#path.base
    this.#round = new Round(this.#flight.count, now, isStarting ? fewAnswers : roundAnswers, 2 * base)
  }
}
