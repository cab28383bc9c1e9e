/**
 * The end of a connection, in time: who began it, what went each way, what
 * failed first, and how the transport comes to its end, RFC 6455 section 7.
 *
 * Every wait is bounded by `closeTimeout`: the one for the peer's Close frame,
 * and then the one for the end of its side of the transport.
 *
 * @since 1.0.0
 */
import * as CloseCode from "@effect-websocket/protocol/CloseCode"
import type { Connection } from "@effect-websocket/protocol/Connection"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Transport from "../Transport.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import * as WebSocketError from "../WebSocketError.ts"
import type { State } from "../WebSocketStream.ts"
import { Alarm, type Deadlines, millisOf } from "./deadlines.ts"
import type { Inbox } from "./inbox.ts"
import type { Link } from "./link.ts"
import type { Liveness } from "./liveness.ts"
import type { Outbox } from "./outbox.ts"

/**
 * The connection that comes to its end.
 *
 * @internal
 */
export interface Parts {
  readonly role: "client" | "server"
  readonly config: WebSocketConfig
  readonly context: Context.Context<never>
  readonly deadlines: Deadlines
  readonly link: Link
  readonly connection: Connection
  readonly inbox: Inbox
  readonly outbox: Outbox
  readonly liveness: Liveness
  /** Reading may go on, where it waits for room. */
  readonly onRoom: () => void
  /** No Pong will come any more. */
  readonly onSettled: () => void
  /** The state has changed. */
  readonly onState: (state: State) => void
}

type StatusFields = Omit<WebSocketError.CloseStatus, "toString">

const statuses = new Map<string, WebSocketError.CloseStatus>()
const errors = new WeakMap<WebSocketError.CloseStatus, WebSocketError.ReadError>()
const maxStatuses = 64

// Most connections end in one of a few ways, with no word about it: a table of those costs less than one that is made.
const statusOf = (fields: StatusFields): WebSocketError.CloseStatus => {
  const { clean, initiator, received, sent } = fields
  if ((sent?.reason ?? "") !== "" || (received?.reason ?? "") !== "") return new WebSocketError.CloseStatus(fields)
  const key = `${initiator} ${clean} ${frameKey(sent)} ${frameKey(received)}`
  const known = statuses.get(key)
  if (known !== undefined) return known
  const status = new WebSocketError.CloseStatus(fields)
  if (statuses.size < maxStatuses) statuses.set(key, status)
  return status
}

const frameKey = (frame: CloseCode.CloseFrame | undefined): string => frame === undefined ? "-" : `${frame.code}`

const closedError = (status: WebSocketError.CloseStatus): WebSocketError.ReadError => {
  let error = errors.get(status)
  if (error === undefined) errors.set(status, error = makeClosedError(status))
  return error
}

// Every connection ends: where in this module that was told says nothing, and costs more than all the rest of it.
const makeClosedError = (status: WebSocketError.CloseStatus): WebSocketError.ReadError => {
  const traced = Error as { stackTraceLimit?: number }
  const limit = traced.stackTraceLimit
  traced.stackTraceLimit = 0
  try {
    return new WebSocketError.ReadError({ reason: new WebSocketError.ConnectionClosed({ status }) })
  } finally {
    if (limit !== undefined) traced.stackTraceLimit = limit
  }
}

/**
 * How one connection closes.
 *
 * @internal
 */
export class Closing {
  state: State = "Open"
  #closed: Deferred.Deferred<WebSocketError.CloseStatus> | undefined
  readonly #parts: Parts
  #watchers: Set<(state: State) => void> | undefined
  #alarm: Alarm | undefined
  #initiator: WebSocketError.CloseStatus["initiator"] = "transport"
  /** What ended the connection, where it was not a Close frame. The first cause stays. */
  #failure: WebSocketError.ReadError | undefined
  /** This side's Close frame: not accepted by the transport so far, accepted, or never to be. */
  #ownClose: "pending" | "sent" | "lost" = "pending"
  #peerEnded = false
  /** The end, once it is known. */
  #status: WebSocketError.CloseStatus | undefined
  #finishing = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** The end, however it comes. */
  get closed(): Deferred.Deferred<WebSocketError.CloseStatus> {
    if (this.#closed === undefined) {
      this.#closed = Deferred.makeUnsafe()
      if (this.state === "Closed") Deferred.doneUnsafe(this.#closed, Exit.succeed(this.status))
    }
    return this.#closed
  }

  /** Whether what arrives is still for readers. */
  get isReading(): boolean {
    return this.#status === undefined &&
      (this.#failure === undefined || this.#failure.reason._tag === "TransportFailed")
  }

  /** Why an operation comes too late. */
  get closedReason(): WebSocketError.ConnectionClosed | WebSocketError.TransportFailed {
    const reason = this.#failure?.reason
    return reason?._tag === "TransportFailed"
      ? reason
      : new WebSocketError.ConnectionClosed({ status: this.status })
  }

  /** What ended the connection, where it was not a Close frame. */
  get failure(): WebSocketError.ReadError | undefined {
    return this.#failure
  }

  /** How it ended, or what is known of that by now. */
  get status(): WebSocketError.CloseStatus {
    return this.#status ?? this.#makeStatus()
  }

  /** Calls `watcher` with the state now and whenever it changes. */
  watch(watcher: (state: State) => void): () => void {
    watcher(this.state)
    const watchers = this.#watchers ??= new Set()
    watchers.add(watcher)
    return () => watchers.delete(watcher)
  }

  /** Begins the closing handshake, section 7.1.2. */
  close(frame: CloseCode.CloseFrame): void {
    if (this.state !== "Open") return
    this.#initiator = "local"
    this.#leaveOpen()
    this.#parts.outbox.close(frame)
  }

  /** Fails the connection, section 7.1.7: says why to the peer and to all readers. */
  fail(reason: WebSocketError.ReadError["reason"], frame: CloseCode.CloseFrame): void {
    if (this.#failure !== undefined || this.#status !== undefined) return
    this.#failure = new WebSocketError.ReadError({ reason })
    // Before any reader is told, who could close for reasons of its own.
    if (this.state === "Open") this.close(frame)
    else if (this.#ownClose === "sent") this.#endTransport()
    this.#parts.inbox.fail(this.#failure)
    this.#parts.onRoom()
  }

  /** Section 5.5.1: a Close is answered with its code, unless this side has closed. */
  onPeerClose(frame: CloseCode.CloseFrame): void {
    // A transport that cannot be written to any more is what comes of the peer's close, and not its cause.
    if (this.#failure?.reason._tag === "TransportFailed") this.#failure = undefined
    if (this.#ownClose !== "sent") this.#initiator = "peer"
    if (this.state === "Open") {
      this.#leaveOpen()
      this.#parts.outbox.close({ code: frame.code, reason: "" })
    } else if (this.#ownClose !== "pending") this.#endTransport()
  }

  /** The transport has accepted this side's Close frame. */
  onCloseSent(): void {
    this.#ownClose = "sent"
    if (this.#failure !== undefined || this.#parts.connection.received !== undefined) this.#endTransport()
  }

  /** Nothing can be sent any more. What the peer has sent may still be there, and say why. */
  onWriteFailed(error: Transport.TransportError): void {
    this.#lose(error)
    if (this.#ownClose === "pending") this.#ownClose = "lost"
    this.#leaveOpen()
    this.#parts.outbox.end()
    if (this.#parts.connection.received !== undefined) this.#endTransport()
  }

  /** Nothing will arrive any more. */
  onTransportEnd(error: Transport.TransportError): void {
    this.#lose(error)
    this.#leaveOpen()
    this.#peerEnded = true
    const failed = Transport.endOf(error) === "Failed"
    // The peer has closed and ended its side, and may still wait for the answer.
    const answering = this.#parts.connection.received !== undefined && this.#ownClose === "pending"
    if (failed || !answering) this.#finish(failed ? "abort" : "release")
  }

  #lose(error: Transport.TransportError): void {
    const known = this.#failure !== undefined || this.#status !== undefined ||
      this.#parts.connection.received !== undefined
    if (known || Transport.endOf(error) !== "Failed") return
    this.#failure = new WebSocketError.ReadError({ reason: new WebSocketError.TransportFailed({ cause: error }) })
  }

  #leaveOpen(): void {
    if (this.state !== "Open") return
    this.#parts.liveness.stop()
    this.#limitWait()
    this.#setState("Closing")
    this.#parts.onRoom()
  }

  #limitWait(): void {
    const { config, context, deadlines } = this.#parts
    this.#alarm ??= new Alarm(deadlines, context)
    this.#alarm.set(millisOf(config.closeTimeout), () => this.#finish("abort"))
  }

  // Section 7.1.1: the server ends its side first, the client waits for that.
  #endTransport(): void {
    if (this.#peerEnded || this.#ownClose === "lost") return this.#finish("release")
    const { link, role } = this.#parts
    this.#limitWait()
    if (role === "server" || this.#failure !== undefined) this.#fork(link.halfClose)
    this.#settle()
  }

  // The end is known: from here on it is the same for everyone.
  #settle(): void {
    const status = this.#status ??= this.#makeStatus()
    this.#parts.inbox.fail(this.#failure ?? closedError(status))
    this.#parts.onSettled()
    this.#parts.onRoom()
  }

  #makeStatus(): WebSocketError.CloseStatus {
    const { received } = this.#parts.connection
    const sent = this.#ownClose === "sent" ? this.#parts.connection.sent : undefined
    return statusOf({
      code: received === undefined ? CloseCode.abnormal : received.code ?? CloseCode.noStatus,
      reason: received?.reason ?? "",
      initiator: this.#initiator,
      sent,
      received,
      clean: sent !== undefined && received !== undefined && this.#failure === undefined
    })
  }

  #finish(how: "release" | "abort"): void {
    if (this.#finishing) return
    this.#finishing = true
    const { connection, link, outbox } = this.#parts
    const status = this.#status ??= this.#makeStatus()
    this.#alarm?.clear()
    connection.end()
    // All that waits is told, and whoever is may use the stream at once: the state is settled before.
    outbox.end()
    this.#settle()
    const closed = Effect.sync(() => {
      this.#setState("Closed")
      if (this.#closed !== undefined) Deferred.doneUnsafe(this.#closed, Exit.succeed(status))
    })
    this.#fork(Effect.andThen(link[how], closed))
  }

  #fork(effect: Effect.Effect<void>): void {
    Effect.runForkWith(this.#parts.context)(effect)
  }

  #setState(state: State): void {
    this.state = state
    this.#parts.onState(state)
    for (const watcher of this.#watchers ?? []) watcher(state)
  }
}
