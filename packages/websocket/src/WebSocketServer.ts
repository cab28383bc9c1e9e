/**
 * The server's side of the opening handshake, RFC 6455 section 4.2, for one
 * transport (`accept`) and for all that a `TransportServer` accepts.
 *
 * @since 1.0.0
 */
import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import type * as Handshake from "@effect-websocket/protocol/Handshake"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
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
import { Alarm, deadlinesOf } from "./internal/deadlines.ts"
import * as Declining from "./internal/declining.ts"
import { Desk } from "./internal/desk.ts"
import type * as Driver from "./internal/driver.ts"
import { type HeadersInput, PackedHandshake, readHead, transportFailed } from "./internal/heads.ts"
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
    return yield* acceptConnection(transport, reception, context, Context.get(context, Scope.Scope))
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

const acceptConnection = <R>(
  transport: Connection,
  reception: Reception<R>,
  context: Context.Context<R>,
  scope: Scope.Scope
): Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError> =>
  Tracing.accepting(context, (context) => acceptIn(transport, reception, context, scope))

const acceptIn = <R>(
  transport: Connection,
  reception: Reception<R>,
  context: Context.Context<R>,
  scope: Scope.Scope
): Effect.Effect<WebSocketStream["Service"], WebSocketError.HandshakeError> =>
  Link.using(transport, (link) =>
    new Upgrade(link, reception, context).run.pipe(
      Effect.catch(({ cause, refusal }) => {
        Telemetry.countFailure(context, "server", cause)
        const failed = Effect.failCause(cause)
        return refusal === undefined
          ? failed
          : Effect.andThen(Declining.refuse(link, refusal, reception.config), failed)
      }),
      Effect.flatMap((options) => {
        Tracing.agreed(context, options.handshake)
        return Stream.start(options, context, scope)
      })
    )).pipe(
      Effect.mapError((error) => {
        if (!isTransportError(error)) return error
        const failed = transportFailed(error)
        Telemetry.countFailure(context, "server", Cause.fail(failed))
        return failed
      })
    )

/** One opening handshake, which ends in time and when the server drains. */
class Upgrade<R> {
  readonly #link: Link.Link
  readonly #reception: Reception<R>
  readonly #context: Context.Context<R>
  #responding = false

  constructor(link: Link.Link, reception: Reception<R>, context: Context.Context<R>) {
    this.#link = link
    this.#reception = reception
    this.#context = context
  }

  /** In a fiber of its own, which the deadline or the drain interrupts. */
  get run(): Effect.Effect<Driver.Options, Declining.Declined> {
    return Effect.callback((resume) => {
      const { config, desk } = this.#reception
      // Once the response is on its way nothing else can be answered.
      const onDrain = () => this.#responding ? undefined : stop(desk.declined)
      if (!desk.beginHandshake(onDrain)) return resume(desk.declined)
      const fiber = Effect.runForkWith(this.#context)(this.#decided)
      const alarm = new Alarm(deadlinesOf(Context.get(this.#context, Clock.Clock)), this.#context)
      const end = () => {
        desk.endHandshake(onDrain)
        alarm.clear()
      }
      const stop = (declined: Effect.Effect<never, Declining.Declined>) => {
        forget()
        end()
        resume(Effect.andThen(Fiber.interrupt(fiber), declined))
      }
      const forget = fiber.addObserver((exit) => {
        end()
        resume(exit)
      })
      if (fiber.pollUnsafe() !== undefined) return
      const timeout = config.handshakeTimeout
      alarm.set(Duration.toMillis(timeout), () => stop(Effect.fail(Declining.slow(timeout, this.#responding))))
      return Effect.suspend(() => {
        forget()
        end()
        return Fiber.interrupt(fiber)
      })
    })
  }

  get #decided(): Effect.Effect<Driver.Options, Declining.Declined, R> {
    const { config, offer, options } = this.#reception
    return Effect.flatMap(
      readRequest(this.#link, options, config),
      ({ leftover, request }) => {
        Tracing.asked(this.#context, request)
        return Effect.flatMap(
          this.#unlessLost(Accepting.decide(request, options, offer)),
          (decision) => this.#respond(request, leftover, decision)
        )
      }
    )
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
    { acceptance, compression, extensions, response }: Accepting.Decision
  ): Effect.Effect<Driver.Options, Declining.Declined> {
    const { config, desk } = this.#reception
    if (!desk.admitUnsafe()) return desk.declined
    this.#responding = true
    const responded = Effect.as(Accepting.respond(this.#link, response), {
      role: "server" as const,
      link: this.#link,
      handshake: new PackedHandshake({
        request: request.head,
        response,
        subprotocol: HttpHead.values(response.headers, "sec-websocket-protocol")[0],
        extensions,
        peerAddress: this.#link.peerAddress
      }),
      config: acceptance.config === undefined ? config : WebSocketConfig.override(config, acceptance.config),
      compression,
      leftover,
      onEnd: desk.leave
    })
    return Effect.onError(responded, () => Effect.sync(desk.leave))
  }
}

const readRequest = <R>(
  link: Link.Link,
  options: AcceptOptions<R>,
  config: WebSocketConfig.WebSocketConfig
): Effect.Effect<{ readonly request: UpgradeRequest; readonly leftover: Uint8Array }, Declining.Declined> =>
  link.bootstrap?._tag === "Asked"
    ? Effect.fromResult(Accepting.checkConnect(link.bootstrap.request, options, link.peerAddress, config)).pipe(
      Effect.map((request) => ({ request, leftover: new Uint8Array(0) })),
      Effect.mapError((error) => Declining.broken(error, ExtendedConnect.refusalOf))
    )
    : readUpgrade(link, options, config)

const readUpgrade = <R>(
  link: Link.Link,
  options: AcceptOptions<R>,
  config: WebSocketConfig.WebSocketConfig
): ReturnType<typeof readRequest> =>
  readHead(link, "request", config).pipe(
    Effect.flatMap(({ head, rest }) =>
      Effect.fromResult(
        Result.map(Accepting.check(head, options, link.peerAddress), (request) => ({ request, leftover: rest }))
      )
    ),
    Effect.mapError((error) => isTransportError(error) ? Declining.lost(error) : Declining.broken(error))
  )

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
  stream: WebSocketStream["Service"] | undefined
}

const serveOne = <E, R, R2>(
  transport: Connection,
  reception: Reception<R2>,
  context: Context.Context<R2>,
  handler: Effect.Effect<unknown, E, R>
): Effect.Effect<void, never, Exclude<R, WebSocketStream | Scope.Scope>> =>
  Effect.suspend(() => {
    const { desk } = reception
    const visit: Visit = { desk, scope: Scope.makeUnsafe(), transport, stream: undefined }
    desk.arrive()
    return Effect.catchCause(
      Effect.onExit(welcome(visit, reception, context, handler), leaving(visit)),
      (cause) => Logging.failure(cause, aboutOf(visit.stream))
    )
  }) as Effect.Effect<void, never, Exclude<R, WebSocketStream | Scope.Scope>>

const aboutOf = (stream: WebSocketStream["Service"] | undefined) =>
  stream && { peerAddress: stream.handshake.peerAddress, target: stream.handshake.request.target }

// An effect that waits for another holds it, so that one may hold nothing that is needed no longer.
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
    return Effect.matchEffect(acceptConnection(transport, reception, context, visit.scope), {
      onFailure: (error) => Logging.handshakeFailed(error, { peerAddress: peerAddress?.() }),
      onSuccess: (stream) => handle(visit, stream, handler)
    })
  })

const handle = <E, R>(
  visit: Visit,
  stream: WebSocketStream["Service"],
  handler: Effect.Effect<unknown, E, R>
): Effect.Effect<unknown, E, Exclude<R, WebSocketStream | Scope.Scope>> => {
  visit.stream = stream
  const span = Stream.driverOf(stream)?.span
  const provide = (own: Context.Context<never>) => {
    const provided = Context.add(Context.add(own, Scope.Scope, visit.scope), WebSocketStream, stream)
    return (span === undefined ? provided : Context.add(provided, Tracer.ParentSpan, span)) as Context.Context<R>
  }
  const handled = Effect.updateContext(handler, provide)
  const first = visit.desk.handle(stream)
  return first === undefined ? handled : Effect.andThen(first, handled)
}

const leaving = (visit: Visit) => (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
  const { desk, scope, stream } = visit
  if (stream !== undefined) desk.handled(stream)
  return Effect.ensuring(Scope.close(scope, exit), Effect.sync(() => desk.depart()))
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
