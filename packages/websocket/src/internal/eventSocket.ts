/**
 * A `WebSocketStream` behind the events of the WHATWG interface, as Effect's
 * `Socket.WebSocketLike` has them.
 *
 * @since 1.0.0
 */
import * as CloseCode from "@effect-websocket/protocol/CloseCode"
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as WebSocketError from "../WebSocketError.ts"
import type { WebSocketStream } from "../WebSocketStream.ts"
import { ownerOf } from "./stream.ts"

type Service = WebSocketStream["Service"]
type Listener = (event: Socket.WebSocketEvent) => void
type EventType = Parameters<Socket.WebSocketLike["addEventListener"]>[0]

interface Outgoing {
  readonly type: MessageType
  readonly bytes: Uint8Array
}

/**
 * What an event socket needs of its environment.
 *
 * @internal
 */
export interface Options {
  readonly url: string
  readonly connect: Effect.Effect<Service, unknown, Scope.Scope>
  readonly maxQueuedBytes: number
  /** How long a close waits for what was sent before it. */
  readonly closeTimeout: Duration.Input
  readonly fork: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
}

const encoder = new TextEncoder()

const connecting = 0
const open = 1
const closing = 2
const closed = 3

/**
 * The listeners of an event socket.
 *
 * @internal
 */
class Listeners {
  readonly #listeners = new Map<EventType, Map<Listener, boolean>>()

  add(type: EventType, listener: Listener, once: boolean): void {
    const listeners = this.#listeners.get(type) ?? new Map<Listener, boolean>()
    this.#listeners.set(type, listeners)
    if (!listeners.has(listener)) listeners.set(listener, once)
  }

  remove(type: EventType, listener: Listener): void {
    this.#listeners.get(type)?.delete(listener)
  }

  // A listener that throws keeps the event from no other, and ends nothing.
  dispatch(event: Socket.WebSocketEvent & { readonly type: EventType }, onThrown: (cause: unknown) => void): void {
    const listeners = this.#listeners.get(event.type)
    for (const [listener, once] of Array.from(listeners ?? [])) {
      if (listeners?.has(listener) !== true) continue
      if (once) listeners.delete(listener)
      try {
        listener(event)
      } catch (cause) {
        onThrown(cause)
      }
    }
  }
}

/**
 * One connection with events.
 *
 * @internal
 */
export class EventSocket implements Socket.WebSocketLike {
  readonly url: string
  readyState: number = connecting
  protocol: string = ""
  extensions: string = ""
  bufferedAmount: number = 0
  readonly #options: Options
  readonly #listeners = new Listeners()
  readonly #flowing = Latch.makeUnsafe(true)
  readonly #drained = Latch.makeUnsafe(true)
  readonly #filled = Latch.makeUnsafe(false)
  readonly #session: Fiber.Fiber<unknown>
  #outgoing: Array<Outgoing> = []
  #stream: Service | undefined
  #paused = false

  constructor(options: Options) {
    this.url = options.url
    this.#options = options
    // In a later turn: whoever made the socket adds listeners first.
    this.#session = options.fork(Effect.andThen(Effect.yieldNow, this.#run))
  }

  addEventListener(type: EventType, listener: Listener, options?: { readonly once?: boolean }): void {
    this.#listeners.add(type, listener, options?.once === true)
  }

  removeEventListener(type: EventType, listener: Listener): void {
    this.#listeners.remove(type, listener)
  }

  get isPaused(): boolean {
    return this.#paused
  }

  pause(): void {
    if (this.readyState === closed) return
    this.#paused = true
    this.#flowing.closeUnsafe()
  }

  resume(): void {
    this.#paused = false
    this.#flowing.openUnsafe()
  }

  send(data: string | Uint8Array): void {
    if (this.readyState === connecting) throw new Error("The connection is not open yet")
    const type = typeof data === "string" ? "text" : "binary"
    const bytes = typeof data === "string" ? encoder.encode(data) : data.slice()
    const limit = this.#options.maxQueuedBytes
    if (this.readyState === open && this.bufferedAmount > 0 && this.bufferedAmount + bytes.length > limit) {
      throw new WebSocketError.WriteError({ reason: new WebSocketError.QueueFull({ limit }) })
    }
    this.bufferedAmount += bytes.length
    if (this.readyState !== open) return
    this.#outgoing.push({ type, bytes })
    this.#drained.closeUnsafe()
    this.#filled.openUnsafe()
  }

  close(code?: number, reason: string = ""): void {
    const problem = CloseCode.problemOf({ code, reason })
    if (problem !== undefined) throw new RangeError(problem)
    if (this.readyState >= closing) return
    const stream = this.#stream
    this.readyState = closing
    if (stream === undefined) return this.#session.interruptUnsafe()
    this.#options.fork(
      Effect.timeoutOption(this.#drained.await, this.#options.closeTimeout).pipe(
        Effect.andThen(Effect.ignore(stream.close({ code: code ?? "none", reason })))
      )
    )
  }

  get #run(): Effect.Effect<void> {
    return Effect.scoped(Effect.flatMap(this.#options.connect, (stream) => this.#use(stream))).pipe(
      Effect.catch((cause) =>
        Effect.sync(() => this.#dispatch({ type: "error", error: cause, message: String(cause) }))
      ),
      Effect.ensuring(Effect.suspend(() => this.#end))
    )
  }

  readonly #use = Effect.fnUntraced(function*(this: EventSocket, stream: Service) {
    this.#stream = stream
    this.protocol = stream.handshake.subprotocol ?? ""
    this.extensions = stream.handshake.extensions.map(({ name }) => name).join(", ")
    this.readyState = open
    this.#dispatch({ type: "open" })
    yield* Effect.forkScoped(this.#write(stream))
    yield* Effect.forkScoped(Stream.runForEach(stream.stateChanges, (state) =>
      Effect.sync(() => {
        if (state !== "Open") this.readyState = Math.max(this.readyState, closing)
      })))
    yield* Effect.catch(
      this.#read(stream),
      (error) => error.reason._tag === "ConnectionClosed" ? Effect.void : Effect.fail(error)
    )
  })

  // A message that arrives for a read that began before the pause waits for its end.
  #read(stream: Service): Effect.Effect<never, WebSocketError.ReadError> {
    const own = ownerOf(stream)
    return this.#flowing.await.pipe(
      Effect.andThen(stream.read),
      Effect.tap(this.#flowing.await),
      Effect.flatMap((data) => Effect.sync(() => this.#dispatch({ type: "message", data: own(data) }))),
      Effect.forever
    )
  }

  #write(stream: Service): Effect.Effect<void> {
    return this.#filled.await.pipe(
      Effect.andThen(Effect.suspend(() => this.#writeBatch(stream))),
      Effect.forever,
      Effect.ignore
    )
  }

  #writeBatch(stream: Service): Effect.Effect<void, WebSocketError.WriteError> {
    const { type } = this.#outgoing[0]!
    const end = this.#outgoing.findIndex((other) => other.type !== type)
    const batch = this.#outgoing.splice(0, end === -1 ? this.#outgoing.length : end)
    return Effect.map(stream.writeAll(batch.map(({ bytes }) => bytes), { type }), (size) => {
      this.bufferedAmount -= size
      if (this.#outgoing.length > 0) return
      this.#filled.closeUnsafe()
      this.#drained.openUnsafe()
    })
  }

  get #end(): Effect.Effect<void> {
    const status: Effect.Effect<{ readonly code: number; readonly reason: string; readonly clean: boolean }> =
      this.#stream?.closed ?? Effect.succeed({ code: CloseCode.abnormal, reason: "", clean: false })
    return Effect.map(status, ({ clean, code, reason }) => {
      this.readyState = closed
      this.#outgoing = []
      this.#dispatch({ type: "close", code, reason, wasClean: clean })
    })
  }

  #dispatch(
    event: Socket.WebSocketEvent & {
      readonly type: EventType
      readonly error?: unknown
      readonly message?: string
      readonly wasClean?: boolean
    }
  ): void {
    this.#listeners.dispatch(event, (cause) => {
      this.#options.fork(Effect.logError(`A listener of "${event.type}" threw`, cause))
    })
  }
}
