/**
 * The server's side of the opening handshake, RFC 6455 section 4.2, for one
 * transport (`accept`) and for all that a `TransportServer` accepts.
 *
 * @since 1.0.0
 */
import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import type * as Handshake from "@effect-websocket/protocol/Handshake"
import type { HandshakeError as HandshakeRule } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as Deflate from "./Deflate.ts"
import * as Accepting from "./internal/accepting.ts"
import * as Compression from "./internal/compression.ts"
import { Alarm, deadlinesOf, millisOf } from "./internal/deadlines.ts"
import * as Declining from "./internal/declining.ts"
import { Desk, type Handshaking } from "./internal/desk.ts"
import * as Driver from "./internal/driver.ts"
import { type HeadersInput, PackedHandshake, readOn, transportFailed } from "./internal/heads.ts"
import * as Link from "./internal/link.ts"
import * as Logging from "./internal/logging.ts"
import * as Stream from "./internal/stream.ts"
import * as Telemetry from "./internal/telemetry.ts"
import * as Tracing from "./internal/tracing.ts"
import {
  type Connection,
  isTransportError,
  Transport,
  TransportServer,
  type TransportServerError
} from "./Transport.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"
import type * as WebSocketError from "./WebSocketError.ts"
import { WebSocketStream } from "./WebSocketStream.ts"

/**
 * A request for an upgrade that keeps every rule of section 4.2.1, or an extended
 * CONNECT over HTTP/2 that keeps those of RFC 8441.
 *
 * @category models
 * @since 1.0.0
 */
export interface UpgradeRequest extends Handshake.OpeningRequest {
  /** 16 bytes in base64. Over HTTP/2 there is none. */
  readonly key?: string | undefined
  /** Who asks, where the transport knows. */
  readonly peerAddress: NetAddress.SocketAddress | undefined
}

/**
 * How a request is accepted.
 *
 * @category models
 * @since 1.0.0
 */
export interface Acceptance {
  /**
   * The subprotocol to use, one of those the client offers; `undefined` for
   * none. Default: the first of the server's `subprotocols` that is offered.
   */
  readonly subprotocol?: string | undefined
  /** Further headers of the response, such as Set-Cookie. */
  readonly headers?: HeadersInput | undefined
  /** Limits and times of this connection, over the server's. */
  readonly config?: WebSocketConfig.Options | undefined
}

/**
 * The answer of an `accept` that refuses: an HTTP status of 300 to 599.
 *
 * **Example** (Asking for a token)
 *
 * ```ts import.meta.vitest
 * import * as HttpHead from "@effect-websocket/protocol/HttpHead"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import * as Effect from "effect/Effect"
 *
 * const options: WebSocketServer.AcceptOptions = {
 *   accept: ({ head }) =>
 *     HttpHead.values(head.headers, "authorization").includes("Bearer secret")
 *       ? Effect.succeed({})
 *       : Effect.fail(new WebSocketServer.Refusal({ status: 401, headers: { "WWW-Authenticate": "Bearer" } }))
 * }
 * typeof options.accept // => "function"
 * ```
 *
 * @category errors
 * @since 1.0.0
 */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  readonly headers?: HeadersInput | undefined
  /** Plain text. Default empty. */
  readonly body?: string | undefined
}> {}

/**
 * Whom to let in, and how.
 *
 * @category models
 * @since 1.0.0
 */
export interface AcceptOptions<R = never> {
  /**
   * Which web pages may connect, section 10.2. Default `"same-origin"`. A
   * request without an Origin does not come from a page and is let in.
   */
  readonly origins?: Handshake.OriginPolicy | undefined
  /** Whether clients come by TLS, for `"same-origin"`. Default false: both schemes are taken. */
  readonly secure?: boolean | undefined
  /** Subprotocols in order of the server's preference, section 1.9. Default none. */
  readonly subprotocols?: ReadonlyArray<string> | undefined
  /**
   * Decides about a request, after the rules of section 4.2.1 and the Origin.
   * Where it dies the answer is 500. Default: accepts.
   */
  readonly accept?: ((request: UpgradeRequest) => Effect.Effect<Acceptance, Refusal, R>) | undefined
  /**
   * Accepts permessage-deflate (RFC 7692) where it is offered and the environment
   * provides a `Deflate`; `{}` for its defaults. Default: no compression.
   */
  readonly permessageDeflate?: Deflate.Options | undefined
  /** Fields over those of the environment's `WebSocketConfig`. */
  readonly config?: WebSocketConfig.Options | undefined
}

/**
 * Accepts WebSocket connections.
 *
 * @category services
 * @since 1.0.0
 */
export class WebSocketServer extends Context.Service<WebSocketServer, {
  /** Where it listens. */
  readonly address: NetAddress.SocketAddress

  /**
   * Accepts connections and runs `handler` for each, with its `WebSocketStream`,
   * in a fiber and a scope of its own. When a handler ends its connection is
   * closed: with 1000 after success, 1011 after failure, 1001 on interruption.
   * A failure is logged, at debug level where it is the peer's doing.
   *
   * Interrupting it drains: new requests get 503, every peer a Close with
   * `drainCode` and a hint of when to come back, handlers have `drainTimeout` to
   * finish, then they are interrupted.
   */
  readonly run: <E, R>(
    handler: Effect.Effect<unknown, E, R>
  ) => Effect.Effect<never, TransportServerError, Exclude<R, WebSocketStream | Scope.Scope>>

  /** How many connections are open, those that are closing counted. */
  readonly connections: Effect.Effect<number>
}>()("effect-websocket/WebSocketServer") {}

/**
 * Accepts the one connection of the environment's `Transport`, for as long as
 * the scope is open.
 *
 * **Details**
 *
 * A request that is refused has been answered when this fails: with
 * `InvalidRequest` when it breaks a rule, the Origin policy among them, with
 * `Refused` when `accept` refused it, and with `InvalidResponse` or
 * `SubprotocolRefused`, and status 500, when what `accept` says cannot be sent.
 *
 * @category constructors
 * @since 1.0.0
 */
export const accept: <R = never>(
  options?: AcceptOptions<R>
) => Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError, Transport | Scope.Scope | R> = Effect
  .fnUntraced(function*<R>(options: AcceptOptions<R> = {}) {
    const transport = yield* Transport
    const context = yield* Effect.context<R | Scope.Scope>()
    const reception = yield* makeReception(options, () => new Desk(alone))
    return yield* acceptConnection(transport, reception, context, Driver.leaveWith(Context.get(context, Scope.Scope)))
  })

const alone = { ...WebSocketConfig.defaults, maxConnections: Infinity, maxHandshakes: Infinity }

/** What the connections of one server share. */
interface Reception<R> {
  readonly options: AcceptOptions<R>
  readonly config: WebSocketConfig.WebSocketConfig
  readonly offer: Compression.Offer | undefined
  readonly desk: Desk
}

const makeReception = <R>(
  options: AcceptOptions<R>,
  makeDesk: (config: WebSocketConfig.WebSocketConfig) => Desk
): Effect.Effect<Reception<R>> =>
  Effect.zipWith(
    WebSocketConfig.resolve(options.config),
    Compression.offer(options.permessageDeflate),
    (config, offer) => ({ options, config, offer, desk: makeDesk(config) })
  )

/** Sees to it that a connection is left. */
type Enter = (driver: Driver.Driver) => Effect.Effect<void>

const acceptConnection = <R>(
  transport: Connection,
  reception: Reception<R>,
  context: Context.Context<R>,
  enter: Enter
): Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError> =>
  Tracing.accepting(context, (context) => acceptIn(transport, reception, context, enter))

const acceptIn = <R>(
  transport: Connection,
  reception: Reception<R>,
  context: Context.Context<R>,
  enter: Enter
): Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError> =>
  Link.using(transport, (link) =>
    Effect.matchEffect(new Upgrade(link, reception, context).run, {
      onFailure: ({ cause, refusal }) => {
        Telemetry.countFailure(context, "server", cause)
        const failed = Effect.failCause(cause)
        return refusal === undefined
          ? failed
          : Effect.andThen(Declining.refuse(link, refusal, reception.config), failed)
      },
      onSuccess: (options) => {
        Tracing.agreed(context, options.handshake)
        return Stream.start(options, context, enter)
      }
    })).pipe(
      Effect.mapError((error) => {
        if (!isTransportError(error)) return error
        const failed = transportFailed(error)
        Telemetry.countFailure(context, "server", Cause.fail(failed))
        return failed
      })
    )

/** One opening handshake, which ends in time and when the server drains. */
class Upgrade<R> implements Handshaking {
  readonly #link: Link.Link
  readonly #reception: Reception<R>
  readonly #context: Context.Context<R>
  readonly #parser: HttpHead.Parser<HttpHead.RequestHead>
  #resume: (end: Effect.Effect<Driver.Options, Declining.Declined>) => void = () => {}
  #alarm: Alarm | undefined
  #fiber: Fiber.Fiber<Driver.Options, Declining.Declined> | undefined
  #responding = false
  #ended = false

  constructor(link: Link.Link, reception: Reception<R>, context: Context.Context<R>) {
    this.#link = link
    this.#reception = reception
    this.#context = context
    this.#parser = HttpHead.makeParser("request", reception.config)
  }

  /**
   * The head is read as it arrives, where the transport tells of that, and the rest is done in a fiber of its own, which
   * the deadline or the drain interrupts.
   */
  get run(): Effect.Effect<Driver.Options, Declining.Declined> {
    return Effect.callback((resume) => {
      const { config, desk } = this.#reception
      if (!desk.beginHandshake(this)) return resume(desk.declined)
      this.#resume = resume
      this.#read()
      if (this.#ended) return
      const timeout = config.handshakeTimeout
      this.#alarm = new Alarm(deadlinesOf(Context.get(this.#context, Clock.Clock)), this.#context)
      this.#alarm.set(millisOf(timeout), () => this.#stop(Effect.fail(Declining.slow(timeout, this.#responding))))
      return Effect.suspend(() => {
        this.#end()
        return this.#interrupted
      })
    })
  }

  onDrain(): void {
    // Once the response is on its way nothing else can be answered.
    if (!this.#responding) this.#stop(this.#reception.desk.declined)
  }

  #end(): void {
    this.#ended = true
    this.#reception.desk.endHandshake(this)
    this.#alarm?.clear()
  }

  #stop(declined: Effect.Effect<never, Declining.Declined>): void {
    this.#end()
    this.#resume(Effect.andThen(this.#interrupted, declined))
  }

  get #interrupted(): Effect.Effect<void> {
    return this.#fiber === undefined ? Effect.void : Fiber.interrupt(this.#fiber)
  }

  #read(): void {
    const { bootstrap } = this.#link
    if (bootstrap?._tag === "Asked") return this.#decide(this.#checkConnect(bootstrap.request))
    this.#link.listen((chunk) => this.#receive(chunk))
    if (!this.#link.whenReady(() => this.#pull())) this.#pull()
  }

  #receive(chunk: Uint8Array): boolean {
    if (this.#isRead) return false
    const parsed = this.#parser.push(chunk)
    if (parsed === undefined) return true
    // What is behind the head is the transport's again once this returns.
    const checked = Result.flatMap(parsed, ({ head, rest }) => this.#check({ head, rest: ownOf(rest) }))
    if (Result.isFailure(checked)) this.#decide(Effect.fail(Declining.broken(checked.failure)))
    else this.#answer(checked.success)
    return true
  }

  /** At once, where the application has no say and the transport takes the response. */
  #answer(asked: Asked): void {
    const answered = this.#reception.options.accept === undefined ? this.#offerSafely(asked) : undefined
    if (answered === undefined) return this.#decide(Effect.succeed(asked))
    this.#end()
    this.#resume(answered)
  }

  // A defect, as of a tracer, is the connection's and not the transport's, which has called this.
  #offerSafely(asked: Asked): Effect.Effect<Driver.Options, Declining.Declined> | undefined {
    try {
      return this.#offer(asked)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  #offer({ leftover, request }: Asked): Effect.Effect<Driver.Options, Declining.Declined> | undefined {
    const { desk, offer, options } = this.#reception
    Tracing.asked(this.#context, request)
    const decided = Accepting.agree({}, request, options, offer)
    if (Result.isFailure(decided)) return Effect.fail(decided.failure)
    const bytes = HttpHead.formatResponse(decided.success.response)
    if (Result.isFailure(bytes)) return Effect.fail(Declining.faulty(bytes.failure))
    if (!desk.admitUnsafe()) return desk.declined
    if (this.#link.writer.offerUnsafe?.(bytes.success) === true) {
      return Effect.succeed(this.#begin(request, leftover, decided.success))
    }
    desk.leave()
  }

  /** What is there was there before, or the transport has ended. */
  #pull(): void {
    if (this.#isRead) return
    this.#decide(
      readOn(this.#link, this.#parser).pipe(
        Effect.flatMap((parsed) => Effect.fromResult(this.#check(parsed))),
        Effect.mapError((error) => isTransportError(error) ? Declining.lost(error) : Declining.broken(error))
      )
    )
  }

  /** Whether what arrives is of the request no more. */
  get #isRead(): boolean {
    return this.#fiber !== undefined || this.#ended
  }

  #check({ head, rest }: HttpHead.Parsed<HttpHead.RequestHead>): Result.Result<Asked, HandshakeRule> {
    const request = Accepting.check(head, this.#reception.options, this.#link)
    return Result.isFailure(request)
      ? Result.fail(request.failure)
      : Result.succeed({ request: request.success, leftover: rest })
  }

  #checkConnect(fields: ExtendedConnect.Fields): Effect.Effect<Asked, Declining.Declined> {
    const { config, options } = this.#reception
    return Effect.fromResult(Accepting.checkConnect(fields, options, this.#link, config)).pipe(
      Effect.map((request) => ({ request, leftover: nothing })),
      Effect.mapError((error) => Declining.broken(error, ExtendedConnect.refusalOf))
    )
  }

  #decide(asked: Effect.Effect<Asked, Declining.Declined>): void {
    const fiber = Effect.runForkWith(this.#context)(this.#decided(asked))
    this.#fiber = fiber
    if (this.#ended) return fiber.interruptUnsafe()
    fiber.addObserver((exit) => {
      if (this.#ended) return
      this.#end()
      this.#resume(exit)
    })
  }

  #decided(asked: Effect.Effect<Asked, Declining.Declined>): Effect.Effect<Driver.Options, Declining.Declined, R> {
    const { offer, options } = this.#reception
    return Effect.flatMap(asked, ({ leftover, request }) => {
      Tracing.asked(this.#context, request)
      return Effect.flatMap(
        this.#unlessLost(Accepting.decide(request, options, offer)),
        (decision) => this.#respond(request, leftover, decision)
      )
    })
  }

  /** A request that is taken back stops what is done for it, or floods of them would cost much at little. */
  #unlessLost<A>(deciding: Effect.Effect<A, Declining.Declined, R>): Effect.Effect<A, Declining.Declined, R> {
    const { bootstrap } = this.#link
    return bootstrap?._tag === "Asked"
      ? Effect.raceFirst(deciding, Effect.mapError(bootstrap.lost, Declining.lost))
      : deciding
  }

  #respond(
    request: UpgradeRequest,
    leftover: Uint8Array,
    decision: Accepting.Decision
  ): Effect.Effect<Driver.Options, Declining.Declined> {
    const { desk } = this.#reception
    if (!desk.admitUnsafe()) return desk.declined
    this.#responding = true
    const responded = Effect.as(
      Accepting.respond(this.#link, decision.response),
      this.#begin(request, leftover, decision)
    )
    return Effect.onError(responded, () => Effect.sync(desk.leave))
  }

  #begin(
    request: UpgradeRequest,
    leftover: Uint8Array,
    { acceptance, compression, extensions, response }: Accepting.Decision
  ): Driver.Options {
    const { config, desk } = this.#reception
    return {
      role: "server",
      link: this.#link,
      handshake: new PackedHandshake({
        request: request.head,
        response,
        subprotocol: HttpHead.values(response.headers, "sec-websocket-protocol")[0],
        extensions
      }, this.#link),
      config: acceptance.config === undefined ? config : WebSocketConfig.override(config, acceptance.config),
      compression,
      leftover,
      onEnd: desk.leave
    }
  }
}

/** A request, and the bytes behind it. */
interface Asked {
  readonly request: UpgradeRequest
  readonly leftover: Uint8Array
}

const nothing = new Uint8Array(0)

// A copy, which `slice` of a Node `Buffer` is not.
const ownOf = (bytes: Uint8Array): Uint8Array => bytes.length === 0 ? nothing : new Uint8Array(bytes)

/**
 * Makes a server of the environment's `TransportServer`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make: <R = never>(
  options?: AcceptOptions<R>
) => Effect.Effect<WebSocketServer["Service"], never, TransportServer | R> = Effect.fnUntraced(
  function*<R>(options: AcceptOptions<R> = {}) {
    const transports = yield* TransportServer
    const context = Context.omit(Scope.Scope)(yield* Effect.context<R>()) as Context.Context<R>
    const desks = new Set<Desk>()
    return WebSocketServer.of({
      address: transports.address,
      run: (handler) =>
        Effect.contextWith((own: Context.Context<never>) => {
          const merged = Context.merge(own, context)
          return Effect.acquireUseRelease(
            Effect.map(Effect.provideContext(makeReception(options, makeDesk), merged), (reception) => {
              desks.add(reception.desk)
              return reception
            }),
            (reception) => runOn(transports, reception, (transport) => serveOne(transport, reception, merged, handler)),
            ({ desk }) => Effect.sync(() => desks.delete(desk))
          )
        }),
      connections: Effect.sync(() => Array.from(desks).reduce((sum, { connections }) => sum + connections, 0))
    })
  }
)

const makeDesk = (config: WebSocketConfig.WebSocketConfig) => new Desk(config)

/** What is held of a connection while its handler runs. */
interface Visit {
  readonly desk: Desk
  readonly scope: Scope.Closeable
  /** Until it is accepted. */
  transport: Connection | undefined
  /** Left once the scope is closed. */
  driver: Driver.Driver | undefined
  stream: WebSocketStream["Service"] | undefined
}

const serveOne = <E, R, R2>(
  transport: Connection,
  reception: Reception<R2>,
  context: Context.Context<R2>,
  handler: Effect.Effect<unknown, E, R>
): Effect.Effect<void, never, Exclude<R, WebSocketStream | Scope.Scope>> =>
  Effect.suspend(() => {
    const visit: Visit = {
      desk: reception.desk,
      scope: Scope.makeUnsafe(),
      transport,
      driver: undefined,
      stream: undefined
    }
    visit.desk.arrive()
    const welcomed = welcome(visit, reception, context, handler)
    return Effect.catchCause(Effect.onExit(welcomed, leaving(visit)), failed(visit))
  }) as Effect.Effect<void, never, Exclude<R, WebSocketStream | Scope.Scope>>

// An effect that waits for another holds it, and a function all that those around it hold: neither may hold what is
// needed no longer once the handler runs.
const welcome = <E, R, R2>(
  visit: Visit,
  reception: Reception<R2>,
  context: Context.Context<R2>,
  handler: Effect.Effect<unknown, E, R>
) =>
  Effect.suspend(() => {
    const transport = visit.transport!
    const { peerAddress } = transport
    visit.transport = undefined
    return Effect.matchEffect(acceptConnection(transport, reception, context, entering(visit)), {
      onFailure: (error) => Logging.handshakeFailed(error, { peerAddress: peerAddress?.() }),
      onSuccess: (stream) => handle(visit, stream, handler)
    })
  })

const entering = (visit: Visit) => (driver: Driver.Driver): Effect.Effect<void> => {
  visit.driver = driver
  return Effect.void
}

const handle = <E, R>(
  visit: Visit,
  stream: WebSocketStream["Service"],
  handler: Effect.Effect<unknown, E, R>
): Effect.Effect<unknown, E, Exclude<R, WebSocketStream | Scope.Scope>> => {
  visit.stream = stream
  const handled = Effect.updateContext(handler, providing(visit, stream))
  const first = visit.desk.handle(stream)
  return first === undefined ? handled : Effect.andThen(first, handled)
}

const providing =
  <R>({ driver, scope }: Visit, stream: WebSocketStream["Service"]) => (own: Context.Context<never>) => {
    const span = driver?.span
    const provided = Context.add(Context.add(own, Scope.Scope, scope), WebSocketStream, stream)
    return (span === undefined ? provided : Context.add(provided, Tracer.ParentSpan, span)) as Context.Context<R>
  }

const failed = (visit: Visit) => (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Logging.failure(cause, visit.stream && aboutOf(visit.stream))

const aboutOf = ({ handshake }: WebSocketStream["Service"]) => ({
  get peerAddress() {
    return handshake.peerAddress
  },
  get target() {
    return handshake.request.target
  }
})

const leaving = (visit: Visit) => (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
  const { desk, driver, scope, stream } = visit
  if (stream !== undefined) desk.handled(stream)
  return Scope.close(scope, exit).pipe(
    Effect.ensuring(Effect.suspend(() => driver?.leave(exit) ?? Effect.void)),
    Effect.ensuring(Effect.sync(() => desk.depart()))
  )
}

// The transports go on while the server drains, so that latecomers are told.
const runOn = <R, R2>(
  transports: TransportServer["Service"],
  { config, desk }: Reception<R2>,
  serve: (transport: Connection) => Effect.Effect<void, never, R>
): Effect.Effect<never, TransportServerError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDetach(transports.run(serve)),
      (fiber) =>
        Effect.onExit(restore(Fiber.join(fiber)), () =>
          desk.drain.pipe(
            Effect.andThen(transports.drain ?? Effect.void),
            Effect.andThen(Effect.timeoutOption(desk.idle.await, config.drainTimeout)),
            Effect.andThen(Fiber.interrupt(fiber))
          ))
    )
  )

/**
 * Layer that makes a server of the environment's `TransportServer`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <R = never>(
  options?: AcceptOptions<R>
): Layer.Layer<WebSocketServer, never, TransportServer | R> => Layer.effect(WebSocketServer, make(options))

/**
 * Layer that runs `handler` for every connection of the environment's server,
 * for as long as the layer lives; then it drains.
 *
 * @category layers
 * @since 1.0.0
 */
export const serve = <E, R>(
  handler: Effect.Effect<unknown, E, R>
): Layer.Layer<never, never, WebSocketServer | Exclude<R, WebSocketStream | Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.flatMap(WebSocketServer, (server) =>
      server.run(handler).pipe(
        Effect.tapCause((cause) =>
          Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("WebSocket server failed", cause)
        ),
        Effect.forkScoped
      ))
  )
