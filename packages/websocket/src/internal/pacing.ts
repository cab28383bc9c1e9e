/**
 * Keeps what is below the outbox short, by a window and by Pings between the
 * frames, so that control frames are answered soon.
 *
 * A marker's payload is four bytes of chance, the same for all of a connection,
 * and its number. Nobody else sees it: neither it nor its Pong is an event.
 *
 * @since 1.0.0
 */
import type * as Context from "effect/Context"
import type { Entropy } from "../Entropy.ts"
import { Alarm, type Deadlines } from "./deadlines.ts"
import type { Outbox } from "./outbox.ts"
import type { Pings } from "./pings.ts"
import { SendWindow } from "./sendWindow.ts"

/**
 * The connection that is paced.
 *
 * @internal
 */
export interface Paced {
  readonly context: Context.Context<never>
  readonly deadlines: Deadlines
  readonly entropy: Entropy
  readonly outbox: Outbox
  readonly pings: Pings
  /** How long a control frame may wait below, in milliseconds. */
  readonly controlDelay: number
}

// Of the delay that may be, so much is for what queues. The rest is for the fragment in front and for what varies.
const queueShare = 0.3

/**
 * The pace of one connection that has sent something.
 *
 * @internal
 */
export class Pacing {
  readonly #paced: Paced
  readonly #window: SendWindow
  readonly #key: number
  readonly #alarm: Alarm
  /** Bytes that the outbox was allowed last. */
  #granted = 0
  /** Bytes that had been read when the alarm was set. */
  #readThen = 0
  #stopped = false

  constructor(paced: Paced) {
    this.#paced = paced
    this.#window = new SendWindow(paced.controlDelay * queueShare, paced.deadlines.now)
    this.#key = paced.entropy.uint32Unsafe()
    this.#alarm = new Alarm(paced.deadlines, paced.context)
  }

  /** Most bytes of a frame. */
  get fragment(): number {
    return this.#window.fragment
  }

  /**
   * What to do before more is sent, where `left` bytes of those allowed last were
   * not, and `queued` wait, of them `next` in one frame: gives how many bytes may
   * be sent now, 0 for none until `resume`, or the payload of a Ping to send.
   */
  ask(left: number, next: number, queued: number): number | Uint8Array {
    this.#window.sent(this.#granted - left)
    this.#granted = 0
    const { now } = this.#paced.deadlines
    const answer = this.#window.ask(now, next, queued)
    if (answer === "marker") return this.#mark(now)
    if (answer === 0) this.#limitWait()
    return this.#granted = answer
  }

  /** Whether a Pong is a marker's. */
  isMarker(payload: Uint8Array): boolean {
    return payload.length === 8 && viewOf(payload).getUint32(0) === this.#key
  }

  stop(): void {
    this.#stopped = true
    this.#alarm.clear()
  }

  #mark(now: number): Uint8Array {
    const id = this.#window.mark(now)
    const payload = new Uint8Array(8)
    const view = viewOf(payload)
    view.setUint32(0, this.#key)
    view.setUint32(4, id)
    this.#paced.pings.mark(payload, () => this.#onAnswered(id))
    return payload
  }

  #onAnswered(id: number): void {
    if (this.#window.answered(id, this.#paced.deadlines.now)) this.#paced.outbox.resume()
  }

  #limitWait(): void {
    if (this.#stopped || this.#alarm.left !== undefined) return
    this.#readThen = this.#window.read
    this.#alarm.set(this.#window.wait, () => this.#onWaited())
  }

  #onWaited(): void {
    if (this.#window.read === this.#readThen) this.#window.giveUp()
    this.#paced.outbox.resume()
  }
}

const viewOf = ({ buffer, byteLength, byteOffset }: Uint8Array) => new DataView(buffer, byteOffset, byteLength)
