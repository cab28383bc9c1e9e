/**
 * The one room in which data flows both ways: pumps a transport through a
 * protocol `Connection`, hands out what arrives and answers the peer.
 *
 * @since 1.0.0
 */
import type * as CloseCode from "@effect-websocket/protocol/CloseCode"
import { Connection, type Receiver } from "@effect-websocket/protocol/Connection"
import type { Part } from "@effect-websocket/protocol/Message"
import { directionFrom } from "@effect-websocket/protocol/PerMessageDeflate"
import * as ProtocolError from "@effect-websocket/protocol/ProtocolError"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as Entropy from "../Entropy.ts"
import * as Transport from "../Transport.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import * as WebSocketError from "../WebSocketError.ts"
import type { ControlFrame, Handshake, State } from "../WebSocketStream.ts"
import { Closing } from "./closing.ts"
import { type Compression, Contexts } from "./compression.ts"
import { Alarm, type Deadlines, deadlinesOf, millisOf } from "./deadlines.ts"
import { Inbox } from "./inbox.ts"
import type { Link } from "./link.ts"
import { Liveness } from "./liveness.ts"
import { Outbox } from "./outbox.ts"
import { Pacing } from "./pacing.ts"
import { Pings } from "./pings.ts"
import { type Counts, countsOf } from "./telemetry.ts"
import * as Tracing from "./tracing.ts"

/**
 * What a driver starts from, once the opening handshake is done.
 *
 * @internal
 */
export interface Options {
  readonly role: "client" | "server"
  readonly link: Link
  readonly handshake: Handshake
  readonly config: WebSocketConfig
  /** Bytes that arrived behind the peer's head: the first frames. */
  readonly leftover: Uint8Array
  /** What was agreed about compression, if anything. */
  readonly compression?: Compression | undefined
  /** Called when the scope has let go of the connection. */
  readonly onEnd?: (() => void) | undefined
}

const violationReason = (error: ProtocolError.ProtocolError): WebSocketError.ReadError["reason"] => {
  switch (error.rule) {
    case "InvalidUtf8":
      return new WebSocketError.InvalidUtf8({})
    case "CorruptDeflate":
      return new WebSocketError.CorruptDeflate({})
    case "CompressionRatioTooHigh":
      return new WebSocketError.CompressionRatioTooHigh({ limit: error.limit! })
    case "MessageTooBig":
      return new WebSocketError.MessageTooBig({ limit: error.limit! })
    case "TooManyFragments":
      return new WebSocketError.TooManyFragments({ limit: error.limit! })
    default: {
      const { closeCode, rule, section } = error
      return new WebSocketError.ProtocolViolation({ closeCode, rule, section })
    }
  }
}

const defaultThreshold = 1024

// A byte stands for up to 1032 when it is inflated. So many are received, in bytes, before the inbox is looked at, and
// whether others should have their turn: the fewest after bytes that stood for much, since the like may follow.
const sliceSize = { least: 512, most: 4096 }

// So many bytes are inflated, which takes about a millisecond, before others have their turn. A part counts for some more.
const turnSize = 256 * 1024
const partCost = 1024

// A chunk of a long message counts for part of its bytes only, where they are not inflated.
const plainShare = 1 / 2

// A transport that dies has failed: a defect there must not leave readers waiting.
const transportError = (cause: Cause.Cause<Transport.TransportError>): Transport.TransportError =>
  Result.getOrElse(
    Cause.findError(cause),
    () => Transport.readFailed(Cause.squash(cause))
  )

/**
 * One connection at work.
 *
 * @internal
 */
export class Driver implements Receiver {
  readonly role: "client" | "server"
  readonly handshake: Handshake
  readonly config: WebSocketConfig
  readonly context: Context.Context<never>
  readonly counts: Counts
  readonly deadlines: Deadlines
  readonly link: Link
  readonly connection: Connection
  readonly inbox: Inbox
  readonly outbox: Outbox
  readonly liveness: Liveness
  readonly entropy: Entropy.Entropy
  /** How long a control frame may wait below the outbox, in milliseconds. */
  readonly controlDelay: number
  /** Shortest message that is compressed, in bytes; `undefined` where none is. */
  readonly compressFrom: number | undefined
  /** Window of the messages that this side compresses, base-2 logarithm of its bytes; 0 where none is compressed. */
  readonly sendWindowBits: number
  /** Who writes messages, to be told when no more can be sent. */
  writing: { readonly onClosing: () => void; readonly queuedBytes: number } | undefined

  readonly #closing: Closing
  readonly #clock: Clock.Clock
  readonly #onEnd: (() => void) | undefined
  #pings: Pings | undefined
  readonly #contexts: Contexts | undefined
  #watchers: Set<(frame: ControlFrame) => void> | undefined
  #pacing: Pacing | undefined
  /** What was inflated, or received of long messages, since others had their turn, as `turnSize` counts. */
  #inflated = 0
  /** How many bytes are received next, where they may be compressed. */
  #slice = sliceSize.least
  #started = false
  /** Whether a chunk is being received: what arrives meanwhile comes behind it. */
  #receiving = true
  /** Of what is received now: whether a message has ended, and what it takes, as `turnSize` counts. */
  #ended = false
  #taken = 0
  #span: Tracing.ConnectionSpan | undefined
  /** Ends the time in which nothing is taken for want of room in the inbox. */
  #room: (() => void) | undefined

  constructor(options: Options, entropy: Entropy.Entropy, context: Context.Context<never>, clock: Clock.Clock) {
    const { compression, config, handshake, link, role } = options
    this.role = role
    this.handshake = handshake
    this.config = config
    this.controlDelay = millisOf(config.controlDelay)
    this.entropy = entropy
    this.context = context
    this.counts = countsOf(context, role)
    this.deadlines = deadlinesOf(clock)
    this.link = link
    this.#clock = clock
    this.#onEnd = options.onEnd
    this.compressFrom = compression && (compression.options.threshold ?? defaultThreshold)
    this.sendWindowBits = compression === undefined ? 0 : directionFrom(role, compression.agreement).windowBits
    this.#contexts = compression &&
      new Contexts(role, config, compression, new Alarm(this.deadlines, context))
    this.connection = new Connection({
      role,
      maskingKey: entropy.uint32Unsafe,
      maxMessageSize: config.maxMessageSize,
      maxFragments: config.maxFragments,
      deflate: this.#contexts?.messages,
      traffic: this.counts.traffic
    })
    this.inbox = new Inbox(config.readBuffer, config.reuseArrays, this)
    const isPaced = this.controlDelay !== Infinity
    this.outbox = new Outbox(this.connection, link.writer, config.fragmentSize, isPaced, this)
    this.liveness = new Liveness(this)
    this.#closing = new Closing(this)
  }

  /** The transport has accepted the Close frame. */
  onCloseSent(): void {
    this.#closing.onCloseSent()
  }

  /** The transport has failed. */
  onFailure(error: Transport.TransportError): void {
    this.#closing.onWriteFailed(error)
  }

  /** Whether messages wait to be read, which may be answered next. */
  expectsMore(): boolean {
    return this.inbox.bytes > 0
  }

  /** A message was compressed, or a part of one. */
  onCompressed(): void {
    this.#contexts?.use()
  }

  /** Made when data is sent. */
  pacing(): Pacing {
    return this.#pacing ??= new Pacing(this)
  }

  /** Made when something is pinged. */
  get pings(): Pings {
    return this.#pings ??= new Pings(this.outbox, this.#clock, this)
  }

  /** No Pong will come any more. */
  onSettled(): void {
    this.#pings?.end()
  }

  onRoundTrip(duration: Duration.Duration): void {
    this.counts.onRoundTrip(duration)
  }

  onState(state: State): void {
    if (state !== "Open") {
      this.writing?.onClosing()
      this.#pacing?.stop()
    }
    if (state === "Closing") this.#span?.close()
    if (state !== "Closed") return
    this.#contexts?.stop()
    if (!this.#started) return
    this.counts.onClosed(this.#closing.status)
    this.#span?.end(this.#closing.status, this.#closing.failure)
  }

  /** The peer has broken a rule, or is late. */
  fail(reason: WebSocketError.ReadError["reason"], frame: CloseCode.CloseFrame): void {
    this.#closing.fail(reason, frame)
  }

  runFork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Starts to read and to keep time. */
  start(leftover: Uint8Array, span: Tracing.ConnectionSpan | undefined): void {
    // The scope may have been closed before, and the connection with it.
    if (this.state !== "Closed") {
      this.#started = true
      this.#span = span
      this.counts.onOpened()
      if (this.state === "Closing") span?.close()
    }
    this.liveness.start()
    this.link.listen((chunk) => this.#receiveNow(chunk))
    if (leftover.length > 0) return this.#fork(this.#takeAndGoOn([leftover]))
    this.#receiving = false
    if (!this.#waits()) this.#fork(this.#pull)
  }

  get state(): State {
    return this.#closing.state
  }

  /** The span that lives as long as the connection, where there is one. */
  get span(): Tracer.Span | undefined {
    return this.#span?.span
  }

  /** The end, however it comes. */
  get closed(): Deferred.Deferred<WebSocketError.CloseStatus> {
    return this.#closing.closed
  }

  /** The error of a write that comes too late. */
  closedError(): WebSocketError.WriteError {
    return new WebSocketError.WriteError({ reason: this.#closing.closedReason })
  }

  /** Nobody will read any more: reads that wait fail, what is there is dropped, and what comes. */
  abandonReads(): void {
    this.inbox.discard()
    this.inbox.fail(new WebSocketError.ReadError({ reason: this.#closing.closedReason }))
  }

  close(frame: CloseCode.CloseFrame): void {
    this.#closing.close(frame)
  }

  /**
   * Closes as an exit says, 1000 after success, 1011 after failure, 1001 on interruption, and lets go of the connection.
   */
  leave(exit: Exit.Exit<unknown, unknown>): Effect.Effect<unknown> {
    this.close(closeFrameOf(exit))
    this.inbox.discard()
    const closed = Deferred.await(this.closed)
    const onEnd = this.#onEnd
    return onEnd === undefined ? closed : Effect.ensuring(closed, Effect.sync(onEnd))
  }

  /** Calls `end` once the connection is closed. */
  onEnd(end: () => void): () => void {
    return this.#closing.watch((state) => {
      if (state === "Closed") end()
    })
  }

  watch(watcher: (frame: ControlFrame) => void, end: () => void): () => void {
    const watchers = this.#watchers ??= new Set()
    watchers.add(watcher)
    const forget = this.onEnd(end)
    return () => {
      watchers.delete(watcher)
      forget()
    }
  }

  watchState(watcher: (state: State) => void): () => void {
    return this.#closing.watch(watcher)
  }

  get #pull(): Effect.Effect<void, Transport.TransportError> {
    return Effect.flatMap(this.link.pull, (chunks) => this.#takeAndGoOn(chunks))
  }

  #takeAndGoOn(chunks: NonEmptyReadonlyArray<Uint8Array>): Effect.Effect<void, Transport.TransportError> {
    return Effect.flatMap(this.#takeChunks(chunks, 0), () => this.#waits() ? Effect.void : this.#pull)
  }

  /** Where a pull would wait and the transport tells when it would not, the fiber that reads begins then. */
  #waits(): boolean {
    let returned = false
    let ready = false
    const waits = this.link.whenReady(() => {
      if (returned) this.#fork(this.#pull)
      else ready = true
    })
    returned = true
    return waits && !ready
  }

  #fork(reading: Effect.Effect<void, Transport.TransportError>): void {
    this.runFork(
      Effect.catchCause(reading, (cause) => Effect.sync(() => this.#closing.onTransportEnd(transportError(cause))))
    )
  }

  #takeChunks(chunks: NonEmptyReadonlyArray<Uint8Array>, from: number, offset = 0): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#receiving = true
      this.liveness.heard()
      let at = offset
      for (let i = from; i < chunks.length; i++) {
        const chunk = chunks[i]!
        while (at < chunk.length) {
          if (this.#full) return Effect.andThen(this.#awaitRoom, this.#takeChunks(chunks, i, at))
          if (this.#inflated >= turnSize) return Effect.andThen(this.#nextTurn, this.#takeChunks(chunks, i, at))
          at += this.#takeSlice(chunk, at)
        }
        at = 0
      }
      if (!this.#full) return this.#received
      return Effect.andThen(this.#awaitRoom, this.#received)
    })
  }

  get #received(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.#receiving = false
    })
  }

  /**
   * Takes a chunk as it arrives, where that needs no fiber: neither to wait for
   * room, nor to let others have their turn, as inflating may. The transport may
   * have many chunks at once.
   */
  #receiveNow(chunk: Uint8Array): boolean {
    if (this.#receiving || this.#contexts !== undefined || this.#full || this.#inflated >= turnSize) return false
    this.liveness.heard()
    try {
      this.#receive(chunk, false)
      this.#countPlain(chunk)
    } catch (defect) {
      this.#closing.onTransportEnd(transportError(Cause.die(defect)))
    }
    // No more is taken, though the reading fiber waits for more: it waits for room once that has come.
    if (this.#full) this.#hold(() => {})
    return true
  }

  // Where no message ended in the chunk, it is of a long one.
  #countPlain(chunk: Uint8Array): void {
    if (!this.#ended && this.connection.receiving) this.#inflated += chunk.length * plainShare
  }

  get #nextTurn(): Effect.Effect<void> {
    this.#inflated = 0
    return Effect.yieldNow
  }

  /** Gives how many bytes it took. */
  #takeSlice(chunk: Uint8Array, at: number): number {
    if (this.#contexts === undefined) {
      this.#receive(chunk, true)
      this.#countPlain(chunk)
      return chunk.length
    }
    const slice = chunk.subarray(at, at + this.#slice)
    const taken = this.#receive(slice, true)
    this.#inflated += taken
    this.#slice = taken > turnSize / 4 ? sliceSize.least : Math.min(sliceSize.most, this.#slice * 2)
    return slice.length
  }

  // While closing, the peer's Close frame is worth more memory than an open
  // connection gets: it stands behind what the peer sent before. Once reads
  // fail, what arrives is dropped.
  get #full(): boolean {
    if (!this.inbox.full || !this.#closing.isReading) return false
    return this.state === "Open" || this.inbox.bytes >= this.config.maxMessageSize
  }

  get #awaitRoom(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (!this.#full) return resume(Effect.void)
      // In a later turn: nothing may run inside the read that makes the room.
      this.#hold(() => resume(Effect.yieldNow))
    })
  }

  /** Takes nothing until there is room, and then goes on. */
  #hold(goOn: () => void): void {
    this.liveness.pause()
    this.#room = () => {
      this.liveness.resume()
      goOn()
    }
  }

  /** More may be held than before. */
  onHeld(): void {
    this.link.onHeld?.({ queued: this.writing?.queuedBytes ?? 0, unread: this.inbox.bytes })
  }

  /** Reading may go on, where it waits for room. */
  onRoom(): void {
    if (this.#room === undefined || this.#full) return
    const room = this.#room
    this.#room = undefined
    room()
  }

  /** Gives what it took, as `turnSize` counts. */
  #receive(chunk: Uint8Array, isOwned: boolean): number {
    this.#ended = false
    this.#taken = 0
    this.inbox.begin(isOwned)
    this.connection.receiveInto(chunk, this)
    if (this.#ended) this.#contexts?.use()
    this.liveness.progress(this.connection.receiving, this.#ended)
    this.onHeld()
    this.inbox.end()
    return this.#taken
  }

  onPart(part: Part): void {
    this.#ended ||= part.fin
    this.#taken += part.data.length + partCost
    this.inbox.push(part, this.connection.rest)
  }

  onPing(payload: Uint8Array): void {
    this.#taken += partCost
    this.outbox.answer(payload)
    this.#notify({ _tag: "Ping", payload })
  }

  onPong(payload: Uint8Array): void {
    this.#taken += partCost
    this.#pings?.onPong(payload)
    if (this.#pacing?.isMarker(payload) !== true) this.#notify({ _tag: "Pong", payload })
  }

  onClose({ code, reason }: CloseCode.CloseFrame): void {
    this.#notify({ _tag: "Close", code, reason })
    this.#closing.onPeerClose({ code, reason })
  }

  onViolation(error: ProtocolError.ProtocolError): void {
    this.counts.onViolation(error.rule)
    this.#closing.fail(violationReason(error), {
      code: error.closeCode,
      reason: ProtocolError.rules[error.rule].description
    })
  }

  #notify(frame: ControlFrame): void {
    for (const watcher of this.#watchers ?? []) watcher(frame)
  }
}

/**
 * Starts a driver. It is somebody's from the first step on: `enter` sees to it
 * that the connection is left, by `Driver.leave`.
 *
 * @internal
 */
export const start = (
  options: Options,
  context: Context.Context<never>,
  enter: (driver: Driver) => Effect.Effect<void>
): Effect.Effect<Driver> =>
  Effect.suspend(() => {
    const driver = new Driver(
      options,
      Context.get(context, Entropy.Entropy),
      context,
      Context.get(context, Clock.Clock)
    )
    const begin = (span: Tracing.ConnectionSpan | undefined) => {
      driver.start(options.leftover, span)
      return driver
    }
    const entered = enter(driver)
    const span = Tracing.connection(context, options.role, options.handshake)
    return span === undefined
      ? Effect.map(entered, () => begin(undefined))
      : Effect.map(Effect.andThen(entered, span), begin)
  })

/**
 * Leaves a connection with a scope.
 *
 * @internal
 */
export const leaveWith = (scope: Scope.Scope) => (driver: Driver): Effect.Effect<void> =>
  Scope.addFinalizerExit(scope, (exit) => driver.leave(exit))

/**
 * Starts a driver for as long as the environment's scope is open.
 *
 * @internal
 */
export const make = (options: Options): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    start(options, context, leaveWith(Context.get(context, Scope.Scope)))
  )

const closeFrameOf = (exit: Exit.Exit<unknown, unknown>): CloseCode.CloseFrame => ({
  code: Exit.isSuccess(exit) ? 1000 : Exit.hasInterrupts(exit) ? 1001 : 1011,
  reason: ""
})
