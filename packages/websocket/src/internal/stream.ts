/**
 * The operations of `WebSocketStream` over a driver.
 *
 * @since 1.0.0
 */
import * as CloseCode from "@effect-websocket/protocol/CloseCode"
import { maxControlPayload } from "@effect-websocket/protocol/Frame"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Pull from "effect/Pull"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as WebSocketError from "../WebSocketError.ts"
import type * as WebSocketStream from "../WebSocketStream.ts"
import * as Driver from "./driver.ts"
import type { Inbox } from "./inbox.ts"
import type { Control } from "./outbox.ts"
import { Writing } from "./writing.ts"

type Service = WebSocketStream.WebSocketStream["Service"]

const watchBuffer = 64

const invalid = (problem: string) =>
  Effect.fail(new WebSocketError.WriteError({ reason: new WebSocketError.InvalidPayload({ problem }) }))

const checkControl = <A>(
  payload: Uint8Array | undefined,
  then: Effect.Effect<A, WebSocketError.WriteError>
): Effect.Effect<A, WebSocketError.WriteError> =>
  payload !== undefined && payload.length > maxControlPayload
    ? invalid(`a control payload is longer than ${maxControlPayload} bytes`)
    : then

/**
 * Speaks WebSocket over a link whose opening handshake is done, until it is
 * left, which `enter` sees to.
 *
 * @internal
 */
export const start = (
  options: Driver.Options,
  context: Context.Context<never>,
  enter: (driver: Driver.Driver) => Effect.Effect<void>
): Effect.Effect<Service> => Effect.map(Driver.start(options, context, enter), fromDriver)

/**
 * As `start`, for as long as the environment's scope is open.
 *
 * @internal
 */
export const make = (options: Driver.Options): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(Driver.make(options), fromDriver)

/**
 * The driver below a stream, for adapters; `undefined` where the stream is not made here.
 *
 * @internal
 */
export const driverOf = (stream: Service): Driver.Driver | undefined =>
  stream instanceof Operations ? stream.driver : undefined

/**
 * Makes what reads of a stream give the reader's own for good.
 *
 * @internal
 */
export const ownerOf = (stream: Service): (payload: WebSocketStream.Payload) => WebSocketStream.Payload =>
  driverOf(stream)?.config.reuseArrays === true ? copy : identity

const copy = (payload: WebSocketStream.Payload) => typeof payload === "string" ? payload : payload.slice()

/**
 * Writes messages as long as that needs no waiting and no compressing, and gives
 * how many it wrote.
 *
 * @internal
 */
export const offerUnsafe = (
  stream: Service,
  messages: ReadonlyArray<WebSocketStream.Sendable>,
  options: WebSocketStream.WriteOptions | undefined
): number => stream instanceof Operations ? stream.offer(messages, options) : 0

/**
 * Writes a message that is not refused, however much is queued. Whoever calls it bounds how much that is.
 *
 * @internal
 */
export const writeAnyway = (stream: Service, message: WebSocketStream.Sendable): ReturnType<Service["write"]> =>
  stream instanceof Operations ? stream.writeAnyway(message) : stream.write(message)

const fromDriver = (driver: Driver.Driver): Service => new Operations(driver)

/**
 * Operations are made when somebody asks for them, since most connections use
 * few, and an idle one holds what it has made. As of any service they may be
 * taken off it and kept.
 */
class Operations implements Service {
  readonly driver: Driver.Driver
  #made: Writing | undefined
  #write: Service["write"] | undefined
  #writeAll: Service["writeAll"] | undefined
  #writeSome: Service["writeSome"] | undefined

  constructor(driver: Driver.Driver) {
    this.driver = driver
  }

  get #writing(): Writing {
    return this.#made ??= new Writing(this.driver)
  }

  offer(messages: ReadonlyArray<WebSocketStream.Sendable>, options: WebSocketStream.WriteOptions | undefined): number {
    return this.#writing.offer(messages, options)
  }

  writeAnyway(message: WebSocketStream.Sendable): ReturnType<Service["write"]> {
    return this.#writing.writeAnyway(message)
  }

  get role() {
    return this.driver.role
  }

  get handshake() {
    return this.driver.handshake
  }

  get writeSome(): Service["writeSome"] {
    return this.#writeSome ??= (fin, payload, options) => this.#writing.writeSome(fin, payload, options)
  }

  get write(): Service["write"] {
    return this.#write ??= (message, options) => this.#writing.write(message, options)
  }

  get writeAll(): Service["writeAll"] {
    return this.#writeAll ??= (messages, options) => this.#writing.writeAll(messages, options)
  }

  get message(): Service["message"] {
    return (type, options) => this.#writing.message(type, options)
  }

  get writeStream(): Service["writeStream"] {
    return (type, parts, options) => this.#writing.writeStream(type, parts, options)
  }

  get sink(): Service["sink"] {
    return (options) => Sink.forEachArray((messages) => this.#writing.writeAll(messages, options))
  }

  get readSome() {
    return this.driver.inbox.readSome
  }

  get read() {
    return this.driver.inbox.read
  }

  get pull() {
    return this.driver.inbox.pull
  }

  get messages() {
    return Stream.fromEffectRepeat(this.read)
  }

  get messageStreams() {
    return makeMessageStreams(this.driver.inbox)
  }

  get ping(): Service["ping"] {
    return (payload) => checkControl(payload, this.driver.pings.send(payload))
  }

  get pong(): Service["pong"] {
    return (payload) => checkControl(payload, sendPong(this.driver, payload?.slice() ?? new Uint8Array(0)))
  }

  get controlFrames() {
    return makeControlFrames(this.driver)
  }

  get close() {
    return makeClose(this.driver) as Service["close"]
  }

  get closed() {
    return Deferred.await(this.driver.closed)
  }

  get state() {
    return Effect.sync(() => this.driver.state)
  }

  get stateChanges() {
    return makeStateChanges(this.driver)
  }
}

const sendPong = (driver: Driver.Driver, payload: Uint8Array): Effect.Effect<void, WebSocketError.WriteError> =>
  Effect.callback<void, WebSocketError.WriteError>((resume) => {
    const control: Control = { opcode: "Pong", payload, done: resume }
    driver.outbox.control(control)
    return Effect.sync(() => driver.outbox.retract(control))
  })

const closeFrame = (options: WebSocketStream.CloseOptions | undefined): CloseCode.CloseFrame => ({
  code: options?.code === "none" ? undefined : options?.code ?? CloseCode.CloseCode.Normal,
  reason: options?.reason ?? ""
})

const makeClose =
  (driver: Driver.Driver) =>
  (options?: WebSocketStream.CloseOptions): Effect.Effect<WebSocketError.CloseStatus, WebSocketError.WriteError> =>
    Effect.suspend(() => {
      const frame = closeFrame(options)
      const problem = CloseCode.problemOf(frame)
      if (problem !== undefined) return invalid(problem)
      driver.close(frame)
      return Deferred.await(driver.closed)
    })

const makeControlFrames = (driver: Driver.Driver): Stream.Stream<WebSocketStream.ControlFrame> =>
  Stream.callback<WebSocketStream.ControlFrame>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() => driver.watch((frame) => Queue.offerUnsafe(queue, frame), () => Queue.endUnsafe(queue))),
      (unwatch) => Effect.sync(unwatch)
    ), { bufferSize: watchBuffer, strategy: "sliding" })

const makeStateChanges = (driver: Driver.Driver): Stream.Stream<WebSocketStream.State> =>
  Stream.callback<WebSocketStream.State>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        driver.watchState((state) => {
          Queue.offerUnsafe(queue, state)
          if (state === "Closed") Queue.endUnsafe(queue)
        })
      ),
      (unwatch) => Effect.sync(unwatch)
    )
  )

// Each message is a stream that ends with its last part; the rest of one that
// was left early is skipped before the next begins. The inbox knows where the
// sequence stands, since others may have read the rest.
const makeMessageStreams = (inbox: Inbox): Service["messageStreams"] => {
  const next = Effect.map(inbox.readSome, (part) => [part] as const)
  return Stream.suspend(() => {
    let unended: number | undefined
    const skip: Effect.Effect<void, WebSocketError.ReadError> = Effect.suspend(() =>
      inbox.messagesRead === unended ? Effect.flatMap(inbox.readSome, () => skip) : Effect.void
    )
    const message = Effect.map(Effect.andThen(skip, inbox.readSome), (first): WebSocketStream.MessageStream => {
      const current = first.fin ? undefined : inbox.messagesRead
      unended = current
      const rest = Effect.suspend((): Pull.Pull<readonly [WebSocketStream.MessagePart], WebSocketError.ReadError> =>
        inbox.messagesRead === current ? next : Cause.done()
      )
      return { type: first.type, parts: Stream.concat(Stream.make(first), Stream.fromPull(Effect.succeed(rest))) }
    })
    return Stream.fromEffectRepeat(message)
  })
}
