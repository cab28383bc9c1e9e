/**
 * The client's side of Effect RPC over a `WebSocketStream`.
 *
 * `RpcClient.layerProtocolSocket` runs over a `WebSocketSocket` as it is. This
 * protocol is for what that one lacks:
 *
 * - A request that cannot be sent fails with an `RpcClientError`, and does not
 *   die: the close code, or the `WriteError` or `HandshakeError` as its cause.
 * - The connection is kept alive by pings of RFC 6455 section 5.5.2, which pass
 *   between the fragments of long messages, and by no messages of its own.
 * - A stream whose consumer is slow holds up no other request, and its
 *   consumer may make requests of its own.
 * - Interrupting a request that is half sent leaves the connection usable.
 *
 * @since 1.0.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as RpcClient from "effect/rpc/RpcClient"
import { RpcClientDefect, RpcClientError } from "effect/rpc/RpcClientError"
import type { FromClientEncoded, FromServerEncoded } from "effect/rpc/RpcMessage"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import { Connections } from "./internal/connections.ts"
import * as Hints from "./internal/hints.ts"
import * as Sockets from "./internal/sockets.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"
import type { WebSocketStream } from "./WebSocketStream.ts"

/**
 * How to go on when the connection is lost.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /** When to connect again. Default: after 500 ms, then 1.5 times as long, up to 5 seconds; for ever. */
  readonly retryPolicy?: Schedule.Schedule<unknown, Socket.SocketError> | undefined
  /** A connection open for as long makes `retryPolicy` begin anew. Default: 30 seconds. */
  readonly resetAfter?: Duration.Input | undefined
  /**
   * Most of what a server may ask for by a `RetryHint`, which is waited for where
   * `retryPolicy` says less. Default: 5 minutes.
   */
  readonly maxRetryHint?: Duration.Input | undefined
  /** Keeps requests waiting while connecting fails, instead of failing them. Default false. */
  readonly retryTransientErrors?: boolean | undefined
  /** Runs for each failure to connect that is kept from requests. */
  readonly onTransientError?: ((error: RpcClientError) => Effect.Effect<void>) | undefined
}

type Stream = WebSocketStream["Service"]
type Id = string | number
type Write = (clientId: number, response: FromServerEncoded) => Effect.Effect<void>

interface Target {
  readonly parser: RpcSerialization.Parser
  readonly writer: Sockets.SocketWriter
}

const defaultRetryPolicy = Schedule.min([Schedule.exponential(500, 1.5), Schedule.spaced(5000)])

const keepAlive: WebSocketConfig.KeepAlive = { interval: Duration.seconds(5), misses: 1 }

const defect = (message: string, cause: unknown) =>
  new RpcClientError({ reason: new RpcClientDefect({ message, cause }) })

const idOf = (response: FromServerEncoded): Id | undefined =>
  Object.hasOwn(response, "requestId") ? (response as { readonly requestId: Id }).requestId : undefined

/** The requests of one protocol and the connection they go over. */
class Session {
  readonly #connections = new Connections<Target>()
  readonly #clients = new Map<Id, number>()
  /** Chunks whose consumers are not ready for them, one a request. */
  readonly #deliveries = new Map<Id, Fiber.Fiber<void>>()
  readonly #respond: Write
  readonly #clientIds: ReadonlySet<number>
  readonly #context: Context.Context<never>
  #error: RpcClientError | undefined
  /** Milliseconds that the last attempt's connection was open. */
  lasted = 0

  constructor(write: Write, clientIds: ReadonlySet<number>, context: Context.Context<never>) {
    this.#respond = write
    this.#clientIds = clientIds
    this.#context = context
  }

  send(clientId: number, request: FromClientEncoded): Effect.Effect<void, RpcClientError> {
    return Effect.suspend(() => {
      if (this.#error !== undefined) return Effect.fail(this.#error)
      if (request._tag === "Interrupt") return this.#interrupt(request)
      if (request._tag !== "Request") return this.#follow(request)
      this.#clients.set(request.id, clientId)
      const sent = this.#connections.use(({ parser, writer }) =>
        this.#write(parser, request, (encoded) => writer.write(encoded))
      )
      return Effect.onError(sent, () => Effect.sync(() => this.#clients.delete(request.id)))
    })
  }

  // Goes out behind all that the connection is busy with, also when who interrupts waits no longer: Effect's RPC waits
  // for a second. Without it a handler runs on, for as long as the connection is open.
  #interrupt(request: Extract<FromClientEncoded, { readonly _tag: "Interrupt" }>): Effect.Effect<void, RpcClientError> {
    this.#clients.delete(request.requestId)
    return Effect.flatMap(Effect.forkDetach(this.#follow(request), { startImmediately: true }), Fiber.join)
  }

  /**
   * Sends what concerns a request, for which a connection that has ended does not have to be followed by another. Queued
   * requests do not keep it from being sent: a handler would run on, or wait to be acknowledged, for ever.
   */
  #follow(request: FromClientEncoded): Effect.Effect<void, RpcClientError> {
    const { current } = this.#connections
    if (current === undefined) return Effect.void
    return this.#write(current.parser, request, (encoded) => current.writer.writeAnyway(encoded))
  }

  #write(
    parser: RpcSerialization.Parser,
    request: FromClientEncoded,
    write: (encoded: Uint8Array | string) => Effect.Effect<void, Socket.SocketError>
  ): Effect.Effect<void, RpcClientError> {
    return Effect.suspend(() => {
      const encoded = parser.encode(request)
      if (encoded === undefined) return Effect.void
      return Effect.mapError(write(encoded), ({ reason }) => new RpcClientError({ reason }))
    })
  }

  /** Reads what arrives on a connection, until it ends. */
  readonly run = Effect.fnUntraced(function*(
    this: Session,
    stream: Stream,
    parser: RpcSerialization.Parser,
    onConnect: Effect.Effect<void>
  ): Effect.fn.Return<never, Socket.SocketError, Scope.Scope> {
    const { pull } = yield* Sockets.makeReader(stream)
    yield* this.#timed()
    yield* this.#connections.open({ parser, writer: new Sockets.SocketWriter(stream) })
    this.#error = undefined
    yield* onConnect
    while (true) {
      for (const message of yield* pull) yield* this.#receive(parser, message)
    }
  })

  #timed(): Effect.Effect<void, never, Scope.Scope> {
    const lasted = (since: number) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        this.lasted = now - since
      })
    return Effect.asVoid(Effect.acquireRelease(Clock.currentTimeMillis, lasted))
  }

  #receive(parser: RpcSerialization.Parser, message: Uint8Array | string): Effect.Effect<void> {
    return Effect.catchDefect(
      Effect.suspend(() => {
        const responses = parser.decode(message) as ReadonlyArray<FromServerEncoded>
        return Effect.forEach(responses, (response) => this.#deliver(response), { discard: true })
      }),
      (cause) => this.#broadcast(defect("Error decoding message", cause))
    )
  }

  #deliver(response: FromServerEncoded): Effect.Effect<void> {
    if (response._tag === "Pong") return Effect.void
    const id = idOf(response)
    const clientId = id === undefined ? undefined : this.#clients.get(id)
    if (id === undefined || clientId === undefined) return this.#toAll(response)
    const write = this.#respond(clientId, response)
    const before = this.#deliveries.get(id)
    if (response._tag === "Chunk") {
      const deliver = Effect.sync(() => this.#fork(id, write))
      return before === undefined ? deliver : Effect.andThen(Fiber.await(before), deliver)
    }
    if (response._tag === "Exit") this.#clients.delete(id)
    return before === undefined ? write : Effect.sync(() => this.#fork(id, Effect.andThen(Fiber.await(before), write)))
  }

  // A server waits for the acknowledgement of a chunk before it sends the next one of that request.
  #fork(id: Id, delivery: Effect.Effect<void>): void {
    const fiber = Effect.runForkWith(this.#context)(delivery)
    if (fiber.pollUnsafe() !== undefined) return
    this.#deliveries.set(id, fiber)
    fiber.addObserver(() => {
      if (this.#deliveries.get(id) === fiber) this.#deliveries.delete(id)
    })
  }

  #toAll(response: FromServerEncoded): Effect.Effect<void> {
    const deliver = Effect.forEach(Array.from(this.#clientIds), (clientId) => this.#respond(clientId, response), {
      discard: true
    })
    if (response._tag !== "Defect" && response._tag !== "ClientProtocolError") return deliver
    this.#clients.clear()
    return Effect.uninterruptible(deliver)
  }

  #broadcast(error: RpcClientError): Effect.Effect<void> {
    return this.#toAll({ _tag: "ClientProtocolError", error })
  }

  /** Fails the requests in progress, and those to come until there is a connection again. */
  fail(error: RpcClientError): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#error = error
      return this.#broadcast(error)
    })
  }
}

const errorOf = (cause: Cause.Cause<Socket.SocketError>): RpcClientError =>
  Result.match(Cause.findError(cause), {
    onFailure: () => defect("Unknown socket error", Cause.squash(cause)),
    onSuccess: ({ reason }) => new RpcClientError({ reason })
  })

const isTransient = ({ reason }: RpcClientError, options: Options): boolean =>
  options.retryTransientErrors === true && reason._tag === "SocketOpenError"

const onTransientError = (error: RpcClientError, options: Options): Effect.Effect<void> =>
  Effect.ignoreCause(options.onTransientError?.(error) ?? Effect.void, {
    log: true,
    message: "RpcClient onTransientError hook failed"
  })

/** Connects until the policy ends. */
const reconnecting = Effect.fnUntraced(function*(
  session: Session,
  connection: Effect.Effect<never, Socket.SocketError>,
  options: Options
) {
  const { maxRetryHint = "5 minutes", resetAfter = "30 seconds", retryPolicy = defaultRetryPolicy } = options
  const attempt = Effect.suspend(() => {
    session.lasted = 0
    return connection
  })
  const ended = Effect.tapCause(attempt, (cause) => {
    const error = errorOf(cause)
    return isTransient(error, options) ? onTransientError(error, options) : session.fail(error)
  })
  let step = yield* Schedule.toStep(retryPolicy)
  while (true) {
    const failure = yield* Effect.flip(ended)
    if (session.lasted >= Duration.toMillis(resetAfter)) step = yield* Schedule.toStep(retryPolicy)
    const delay = yield* Pull.catchDone(
      Effect.map(step(yield* Clock.currentTimeMillis, failure), ([_, delay]) => delay),
      () => Effect.undefined
    )
    if (delay === undefined) return yield* session.fail(new RpcClientError({ reason: failure.reason }))
    yield* Effect.sleep(Hints.longer(delay, Sockets.retryHintOf(failure), maxRetryHint))
  }
})

/**
 * Makes the client's protocol over the connections that `connect` opens, one at
 * a time, for as long as the scope is open.
 *
 * **Details**
 *
 * Requests wait for the first connection. When one ends, those in progress fail
 * with its reason: a `SocketCloseError` with the peer's code and reason, a
 * `SocketReadError` whose cause is the `ReadError`, or a `SocketOpenError` whose
 * cause is what `connect` failed with. Then `connect` runs again, as
 * `retryPolicy` says, and no sooner than the server asks. `RpcClient.ConnectionHooks` of the environment run.
 *
 * A ping is sent every 5 seconds, and the connection given up when it is not
 * answered before the next. `keepAlive` in the environment's `WebSocketConfig`
 * or in the options of `connect` goes over that.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeProtocolWebSocket = <E, R>(
  connect: Effect.Effect<Stream, E, R>,
  options: Options = {}
): Effect.Effect<
  RpcClient.Protocol["Service"],
  never,
  RpcSerialization.RpcSerialization | Scope.Scope | Exclude<R, Scope.Scope>
> =>
  RpcClient.Protocol.make(Effect.fnUntraced(function*(write, clientIds) {
    const serialization = yield* RpcSerialization.RpcSerialization
    const hooks = yield* Effect.serviceOption(RpcClient.ConnectionHooks)
    const { onConnect, onDisconnect } = Option.getOrElse(hooks, () => ({
      onConnect: Effect.void,
      onDisconnect: Effect.void
    }))
    const given = yield* WebSocketConfig.WebSocketConfig
    const config = { ...given, keepAlive: given.keepAlive ?? keepAlive }
    const context = (yield* Effect.context<never>()) as Context.Context<R>
    const session = new Session(write, clientIds, context)
    const connected = Effect.mapError(
      Effect.provideService(connect, WebSocketConfig.WebSocketConfig, config),
      Sockets.openError
    ).pipe(
      Effect.flatMap((stream) => session.run(stream, serialization.makeUnsafe(), onConnect)),
      Effect.updateContext((own: Context.Context<Scope.Scope>) =>
        Context.add(context, Scope.Scope, Context.get(own, Scope.Scope))
      ),
      Effect.scoped
    )
    yield* Effect.forkScoped(reconnecting(session, Effect.ensuring(connected, onDisconnect), options))
    return {
      send: (clientId, request) => session.send(clientId, request),
      supportsAck: true,
      supportsTransferables: false,
      codecFor: serialization.codecFor
    }
  }))

/**
 * Layer of the client's protocol over the connections that `connect` opens, as
 * `makeProtocolWebSocket`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerProtocolWebSocket = <E, R>(
  connect: Effect.Effect<Stream, E, R>,
  options?: Options
): Layer.Layer<RpcClient.Protocol, never, RpcSerialization.RpcSerialization | Exclude<R, Scope.Scope>> =>
  Layer.effect(RpcClient.Protocol, makeProtocolWebSocket(connect, options))
