/**
 * Pings that wait for their Pong, RFC 6455 sections 5.5.2 and 5.5.3.
 *
 * @since 1.0.0
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { WriteError } from "../WebSocketError.ts"
import type { Control, Outbox } from "./outbox.ts"

interface Waiting {
  sentAt: bigint
  readonly control: Control
  readonly done: (exit: Exit.Exit<Duration.Duration, WriteError>) => void
  /** Called instead where it is a marker, unless a later one is answered with it. */
  readonly onMarker?: (() => void) | undefined
}

/**
 * What pings tell their driver, and ask it.
 *
 * @internal
 */
export interface Events {
  readonly onRoundTrip: (duration: Duration.Duration) => void
  /** The error of writes once nothing more is sent. */
  readonly closedError: () => WriteError
}

const equal = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, index) => byte === right[index])

/**
 * The pings of one connection.
 *
 * @internal
 */
export class Pings {
  readonly #outbox: Outbox
  readonly #clock: Clock.Clock
  readonly #events: Events
  #waiting: Array<Waiting> = []
  #unattended: Waiting | undefined
  #count = 0

  constructor(outbox: Outbox, clock: Clock.Clock, events: Events) {
    this.#events = events
    this.#outbox = outbox
    this.#clock = clock
  }

  send(payload: Uint8Array | undefined): Effect.Effect<Duration.Duration, WriteError> {
    return Effect.callback<Duration.Duration, WriteError>((resume) => {
      const waiting = this.#send(payload?.slice() ?? this.#fresh(), resume)
      return Effect.sync(() => this.#retract(waiting))
    })
  }

  /** Sends a ping for nobody but the keep-alive. Of those it waits for the latest only. */
  sendUnattended(): void {
    if (this.#unattended !== undefined) this.#retract(this.#unattended)
    this.#unattended = this.#send(this.#fresh(), () => {})
  }

  /**
   * A Pong answers its Ping and, since a peer may answer only the latest, those
   * sent before it. Of several with one payload it may be any, so it answers all.
   */
  onPong(payload: Uint8Array): void {
    const isAnswered = ({ control }: Waiting) => equal(control.payload, payload) && !this.#outbox.holds(control)
    const now = this.#clock.monotonicTimeNanosUnsafe()
    const answered = this.#waiting.splice(0, this.#waiting.findLastIndex(isAnswered) + 1)
    for (const { done, onMarker, sentAt } of answered) {
      if (onMarker !== undefined) continue
      const roundTrip = Duration.nanos(now - sentAt)
      this.#events.onRoundTrip(roundTrip)
      done(Exit.succeed(roundTrip))
    }
    answered.findLast(({ onMarker }) => onMarker !== undefined)?.onMarker?.()
  }

  /** A marker is sent now, behind all pings that were sent. */
  mark(payload: Uint8Array, onMarker: () => void): void {
    this.#waiting.push({ sentAt: 0n, control: { opcode: "Ping", payload, done: ignore }, done: ignore, onMarker })
  }

  /** No Pong will come. */
  end(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { done } of waiting) done(Exit.fail(this.#events.closedError()))
  }

  // The time starts when the transport has accepted the frame.
  #send(payload: Uint8Array, done: Waiting["done"]): Waiting {
    const onSent = (exit: Exit.Exit<void, WriteError>) => {
      if (Exit.isSuccess(exit)) waiting.sentAt = this.#clock.monotonicTimeNanosUnsafe()
      else if (this.#leave(waiting)) done(Exit.failCause(exit.cause))
    }
    const control: Control = { opcode: "Ping", payload, done: onSent }
    const waiting: Waiting = { sentAt: this.#clock.monotonicTimeNanosUnsafe(), control, done }
    this.#waiting.push(waiting)
    this.#outbox.control(control)
    return waiting
  }

  #leave(waiting: Waiting): boolean {
    const index = this.#waiting.indexOf(waiting)
    if (index >= 0) this.#waiting.splice(index, 1)
    return index >= 0
  }

  #retract(waiting: Waiting): void {
    this.#leave(waiting)
    this.#outbox.retract(waiting.control)
  }

  #fresh(): Uint8Array {
    const count = ++this.#count
    const payload = Uint8Array.of(count >>> 24, count >>> 16, count >>> 8, count)
    return this.#waiting.some(({ control }) => equal(control.payload, payload)) ? this.#fresh() : payload
  }
}

const ignore = () => {}
