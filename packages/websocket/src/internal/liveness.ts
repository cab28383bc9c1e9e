/**
 * What a peer owes in time while a connection is open: something at all, an
 * answer to pings, the end of a message it has begun.
 *
 * Time in which the transport is not read, because nobody reads the messages,
 * is not held against the peer.
 *
 * @since 1.0.0
 */
import type { CloseFrame } from "@effect-websocket/protocol/CloseCode"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type { KeepAlive, WebSocketConfig } from "../WebSocketConfig.ts"
import * as WebSocketError from "../WebSocketError.ts"
import { type Deadline, type Deadlines, millisOf } from "./deadlines.ts"
import type { Pings } from "./pings.ts"

/**
 * The connection that liveness watches.
 *
 * @internal
 */
export interface Watched {
  readonly role: "client" | "server"
  readonly config: WebSocketConfig
  readonly deadlines: Deadlines
  readonly context: Context.Context<never>
  readonly pings: Pings
  /** The peer is late: the connection fails for this reason, and with this Close frame. */
  readonly fail: (reason: WebSocketError.ReadError["reason"], frame: CloseFrame) => void
}

const idleTimeoutOf = ({ config, role }: Watched): number =>
  millisOf(config.idleTimeout ?? (role === "server" ? serverIdleTimeout : Duration.infinity))

const keepAliveOf = ({ config, role }: Watched): KeepAlive | "off" =>
  config.keepAlive ?? (role === "server" ? serverKeepAlive : "off")

const serverIdleTimeout = Duration.seconds(300)

const serverKeepAlive: KeepAlive = { interval: Duration.seconds(30), misses: 2 }

/**
 * The deadlines of one open connection, which are one in the heap: the earliest
 * of them, or an earlier time that turns out to be none.
 *
 * @internal
 */
export class Liveness implements Deadline {
  at = 0
  index = -1
  readonly #watched: Watched
  readonly #messageTimeout: number
  #heardAt: number
  /** Whether anything has arrived since the last keep-alive ping. */
  #heard = false
  #paused = false
  #stopped = false
  #idleAt = Infinity
  #pingAt = Infinity
  /** Pings since anything arrived. */
  #unanswered = 0
  #messageAt = Infinity
  /** Milliseconds that the message had left when reading paused. */
  #messageLeft: number | undefined

  constructor(watched: Watched) {
    this.#watched = watched
    this.#messageTimeout = millisOf(watched.config.messageTimeout)
    this.#heardAt = watched.deadlines.now
  }

  start(): void {
    const { now } = this.#watched.deadlines
    const keepAlive = keepAliveOf(this.#watched)
    this.#idleAt = now + idleTimeoutOf(this.#watched)
    if (keepAlive !== "off") this.#pingAt = now + Math.max(1, millisOf(keepAlive.interval))
    this.#watch()
  }

  stop(): void {
    this.#stopped = true
    this.#messageAt = Infinity
    this.#messageLeft = undefined
    this.#watched.deadlines.cancel(this, this.#watched.context)
  }

  /** Something has arrived. */
  heard(): void {
    this.#heardAt = this.#watched.deadlines.now
    this.#heard = true
  }

  /** How far messages have come: one is being received (`receiving`), and one has ended since the last call (`ended`). */
  progress(receiving: boolean, ended: boolean): void {
    // what was held back while the transport was not read may come behind the end
    if (this.#stopped || this.#messageTimeout === Infinity) return
    if (ended) this.#messageAt = Infinity
    if (receiving && this.#messageAt === Infinity) this.#watchMessage(this.#messageTimeout)
  }

  /** The transport is not read from now on. */
  pause(): void {
    this.#paused = true
    if (this.#messageAt !== Infinity) this.#messageLeft = this.#messageAt - this.#watched.deadlines.now
    this.#messageAt = Infinity
  }

  /** The transport is read again. */
  resume(): void {
    this.#paused = false
    this.heard()
    if (this.#messageLeft !== undefined) this.#watchMessage(this.#messageLeft)
    this.#messageLeft = undefined
  }

  /** For the deadlines to call. */
  run(): void {
    const { now } = this.#watched.deadlines
    if (this.#messageAt <= now) this.#onMessageTimeout()
    if (!this.#stopped && this.#idleAt <= now) this.#onIdle(now)
    if (!this.#stopped && this.#pingAt <= now) this.#onPingTime(now)
    if (!this.#stopped) this.#watch()
  }

  #watch(): void {
    const at = Math.min(this.#idleAt, this.#pingAt, this.#messageAt)
    const { context, deadlines } = this.#watched
    if (this.index >= 0 && this.at <= at) return
    deadlines.cancel(this, context)
    if (at !== Infinity) deadlines.add(this, at - deadlines.now, context)
  }

  #watchMessage(delay: number): void {
    if (this.#stopped) return
    this.#messageAt = this.#watched.deadlines.now + Math.max(1, delay)
    this.#watch()
  }

  #onMessageTimeout(): void {
    this.#messageAt = Infinity
    const reason = new WebSocketError.MessageTimeout({ timeout: this.#messageTimeout })
    this.#watched.fail(reason, { code: 1008, reason: "message timeout" })
  }

  #onIdle(now: number): void {
    const timeout = idleTimeoutOf(this.#watched)
    this.#idleAt = this.#paused ? now + timeout : this.#heardAt + timeout
    if (this.#idleAt > now) return
    this.#watched.fail(new WebSocketError.IdleTimeout({ timeout }), { code: 1001, reason: "idle" })
  }

  #onPingTime(now: number): void {
    const { interval, misses } = keepAliveOf(this.#watched) as KeepAlive
    if (this.#heard || this.#paused) this.#unanswered = 0
    if (this.#unanswered >= Math.max(1, misses)) {
      const reason = new WebSocketError.KeepAliveTimeout({ misses: this.#unanswered })
      return this.#watched.fail(reason, { code: 1011, reason: "keep-alive timeout" })
    }
    this.#heard = false
    this.#unanswered++
    this.#pingAt = now + Math.max(1, millisOf(interval))
    this.#watched.pings.sendUnattended()
  }
}
