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
import { Alarm, type Deadlines } from "./deadlines.ts"
import type { Pings } from "./pings.ts"

/**
 * What liveness starts from.
 *
 * @internal
 */
export interface Options {
  readonly role: "client" | "server"
  readonly config: WebSocketConfig
  readonly deadlines: Deadlines
  readonly context: Context.Context<never>
  readonly pings: Pings
  /** The peer is late: the connection fails for this reason, and with this Close frame. */
  readonly fail: (reason: WebSocketError.ReadError["reason"], frame: CloseFrame) => void
}

const idleTimeoutOf = ({ config, role }: Options): number =>
  Duration.toMillis(config.idleTimeout ?? (role === "server" ? Duration.seconds(300) : Duration.infinity))

const keepAliveOf = ({ config, role }: Options): KeepAlive | "off" =>
  config.keepAlive ?? (role === "server" ? { interval: Duration.seconds(30), misses: 2 } : "off")

/**
 * The deadlines of one open connection.
 *
 * @internal
 */
export class Liveness {
  readonly #options: Options
  readonly #idle: Alarm
  readonly #keepAlive: Alarm
  readonly #message: Alarm
  readonly #messageTimeout: number
  #heardAt: number
  /** Whether anything has arrived since the last keep-alive ping. */
  #heard = false
  #paused = false
  #stopped = false
  /** Milliseconds that the message had left when reading paused. */
  #messageLeft: number | undefined

  constructor(options: Options) {
    const { config, context, deadlines } = options
    this.#options = options
    this.#idle = new Alarm(deadlines, context)
    this.#keepAlive = new Alarm(deadlines, context)
    this.#message = new Alarm(deadlines, context)
    this.#messageTimeout = Duration.toMillis(config.messageTimeout)
    this.#heardAt = deadlines.now
  }

  start(): void {
    const idle = idleTimeoutOf(this.#options)
    const keepAlive = keepAliveOf(this.#options)
    this.#watchIdle(idle, idle)
    if (keepAlive !== "off") this.#watchKeepAlive(Duration.toMillis(keepAlive.interval), keepAlive.misses)
  }

  stop(): void {
    this.#stopped = true
    this.#idle.clear()
    this.#keepAlive.clear()
    this.#message.clear()
    this.#messageLeft = undefined
  }

  /** Something has arrived. */
  heard(): void {
    this.#heardAt = this.#options.deadlines.now
    this.#heard = true
  }

  /** How far messages have come: one is being received (`receiving`), and one has ended since the last call (`ended`). */
  progress(receiving: boolean, ended: boolean): void {
    // what was held back while the transport was not read may come behind the end
    if (this.#stopped || this.#messageTimeout === Infinity) return
    if (ended) this.#message.clear()
    if (receiving && this.#message.left === undefined) this.#watchMessage(this.#messageTimeout)
  }

  /** The transport is not read from now on. */
  pause(): void {
    this.#paused = true
    this.#messageLeft = this.#message.left
    this.#message.clear()
  }

  /** The transport is read again. */
  resume(): void {
    this.#paused = false
    this.heard()
    if (this.#messageLeft !== undefined) this.#watchMessage(this.#messageLeft)
    this.#messageLeft = undefined
  }

  #watchIdle(timeout: number, delay: number): void {
    this.#idle.set(delay, () => {
      const rest = this.#paused ? timeout : this.#heardAt + timeout - this.#options.deadlines.now
      if (rest > 0) return this.#watchIdle(timeout, rest)
      this.#options.fail(new WebSocketError.IdleTimeout({ timeout }), { code: 1001, reason: "idle" })
    })
  }

  #watchKeepAlive(interval: number, misses: number): void {
    let unanswered = 0
    const ping = () => {
      if (this.#heard || this.#paused) unanswered = 0
      if (unanswered >= Math.max(1, misses)) {
        const reason = new WebSocketError.KeepAliveTimeout({ misses: unanswered })
        return this.#options.fail(reason, { code: 1011, reason: "keep-alive timeout" })
      }
      this.#heard = false
      unanswered++
      this.#keepAlive.set(interval, ping)
      this.#options.pings.sendUnattended()
    }
    this.#keepAlive.set(interval, ping)
  }

  #watchMessage(delay: number): void {
    this.#message.set(delay, () => {
      const reason = new WebSocketError.MessageTimeout({ timeout: this.#messageTimeout })
      this.#options.fail(reason, { code: 1008, reason: "message timeout" })
    })
  }
}
