/**
 * Effect's HTTP server on Node with WebSockets on its routes: pages, API and
 * sockets on one port, and one owner of Node's `upgrade` event.
 *
 * @since 1.0.0
 */
import type * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Etag from "effect/http/Etag"
import type { HttpMiddleware } from "effect/http/HttpMiddleware"
import type * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Http2 from "node:http2"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * How to serve: what Effect's `NodeHttpServer` takes, and what is its own.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Omit<NodeHttpServer.Options, "websocket">, HttpUpgrade.Options {
  /** How long closing a connection waits for written bytes to leave for the kernel. Default: 1 second. */
  readonly linger?: Duration.Input | undefined
}

type UpgradeListener = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => void

/** One `serve` of one Node server. */
interface Serving {
  readonly linger: Duration.Input | undefined
  /** How long a refused client may take to leave. */
  readonly closeTimeout: Duration.Input
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly handovers: WeakMap<object, HttpUpgrade.Handover>
  /** Requests for an upgrade that Effect's server handles. */
  readonly others: WeakSet<object>
  /** The answer to what each connection was asked last. */
  readonly answers: WeakMap<Duplex, Http.ServerResponse>
}

// Of a request that Node has parsed, as it was sent.
const headOf = ({ httpVersion, method, rawHeaders, url }: Http.IncomingMessage): HttpHead.RequestHead => ({
  method: method!,
  target: url!,
  version: `HTTP/${httpVersion}`,
  headers: rawHeaders.flatMap((name, i) => i % 2 === 0 ? [[name, rawHeaders[i + 1]!] as const] : [])
})

const isForWebSocket = (request: Http.IncomingMessage): boolean =>
  (request.headers.upgrade ?? "").toLowerCase().split(",").some((protocol) => protocol.trim() === "websocket")

const ignoreErrors = () => {}

/** A response that ends its connection, on the socket that Node has let go of. */
const makeResponse = (serving: Serving, request: Http.IncomingMessage, socket: Duplex): Http.ServerResponse => {
  const response = new Http.ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket as Net.Socket)
  response.on("finish", () => serving.fork(hangUp(socket, serving.closeTimeout)))
  return response
}

/** Ends this side and gives the client a bounded time to have read it; what it has pipelined is never looked at. */
const hangUp = (socket: Duplex, timeout: Duration.Input): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    socket.once("close", () => resume(Effect.void))
    socket.end()
    socket.resume()
    if (socket.destroyed) resume(Effect.void)
  }).pipe(
    Effect.timeoutOption(timeout),
    Effect.ensuring(Effect.sync(() => socket.destroy()))
  )

const makeHandover = (
  serving: Serving,
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  socket: Duplex,
  head: Buffer
): HttpUpgrade.Handover => ({
  head: headOf(request),
  peerAddress: NodeTransport.peerOf(request.socket),
  secure: (request.socket as Partial<Tls.TLSSocket>).encrypted === true,
  take: Effect.suspend(() => {
    if (socket.destroyed || response.writableEnded) {
      return Effect.fail(Transport.readFailed(new Error("The connection has been closed, or taken already")))
    }
    response.detachSocket(socket as Net.Socket)
    // For Effect's HTTP server, which sends nothing by a response that has ended.
    response.end()
    if (socket instanceof Net.Socket) socket.setTimeout(0).setNoDelay(true)
    if (head.length > 0) socket.unshift(head)
    return Effect.succeed(Transport.fromEndpoint(NodeTransport.makeEndpoint(socket, { linger: serving.linger })))
  })
})

type Answer = (request: Http.IncomingMessage, response: Http.ServerResponse) => void

/** Hands requests for WebSocket to `answer`, and for other protocols to Effect's own listener. */
const makeListener = (serving: Serving, answer: Answer, theirs: UpgradeListener): UpgradeListener => {
  const handle: UpgradeListener = (request, socket, head) => {
    if (socket.destroyed) return
    if (!isForWebSocket(request)) {
      serving.others.add(request)
      return theirs(request, socket, head)
    }
    const response = makeResponse(serving, request, socket)
    serving.handovers.set(request, makeHandover(serving, request, response, socket, head))
    answer(request, response)
  }
  return (request, socket, head) => {
    // Nobody else's any more, and one that nobody handles would end the process.
    socket.on("error", ignoreErrors)
    // A client may ask for an upgrade before the answers to what it asked first.
    const earlier = serving.answers.get(socket)
    if (earlier === undefined || earlier.closed) handle(request, socket, head)
    else earlier.once("close", () => handle(request, socket, head))
  }
}

const trackAnswers = (answers: Serving["answers"]): Answer => (request, response) => {
  if (request.httpVersionMajor === 1) answers.set(request.socket, response)
}

const listening = <Listener extends (...args: Array<any>) => void>(
  server: Http.Server,
  event: string,
  listener: Listener
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => server.on(event, listener)),
    () => Effect.sync(() => server.off(event, listener))
  )

/** The application, with the connection of its request in reach where there is one. */
const offering = <A, E, R>(
  upgrades: HttpUpgrade.Upgrades,
  { handovers, others }: Serving,
  app: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | HttpServerRequest> =>
  Effect.flatMap(
    HttpServerRequest,
    ({ source }) => others.has(source) ? app : upgrades.offer(handovers.get(source), app)
  )

/**
 * Makes Effect's `HttpServer` of one of Node's, with WebSockets on its routes,
 * see `HttpUpgrade.upgrade`, until the scope closes.
 *
 * **Details**
 *
 * Requests for an upgrade to WebSocket are handled here, all others by Effect's
 * `NodeHttpServer`, those for other protocols included. A connection on which
 * requests for an upgrade are answered otherwise is closed after the answer.
 *
 * When the scope of `serve` closes the WebSockets are drained first: new ones
 * get 503, every peer a Close with `drainCode` and a hint of when to come back,
 * handlers have `drainTimeout` to finish and are then interrupted. Pages go on
 * meanwhile. Then the HTTP server shuts down as Effect's does, with no WebSocket
 * left to wait for.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(function*(
  evaluate: () => Http.Server | Http2.Http2Server | Http2.Http2SecureServer,
  options: Options
): Effect.fn.Return<HttpServer.HttpServer["Service"], ServeError, Scope.Scope> {
  // The events used here exist on every kind of server.
  const server = evaluate() as Http.Server
  const inner = yield* NodeHttpServer.make(() => server, options)
  const upgrades = yield* HttpUpgrade.make(options)
  const { closeTimeout } = yield* WebSocketConfig.resolve(options.config)
  const serve = Effect.fnUntraced(function*(app: App, middleware: HttpMiddleware | undefined) {
    const scope = Scope.makeUnsafe("parallel")
    const runFork = Effect.runForkWith(yield* Effect.context<never>())
    const serving: Serving = {
      linger: options.linger,
      closeTimeout,
      fork: (effect) => void Fiber.runIn(runFork(effect), scope),
      handovers: new WeakMap(),
      others: new WeakSet(),
      answers: new WeakMap()
    }
    const offered = offering(upgrades, serving, app)
    yield* listening(server, "request", trackAnswers(serving.answers))
    const theirs = yield* takeListener(server, inner.serve(offered, middleware!))
    const answer = yield* NodeHttpServer.makeHandler(offered, { middleware, scope })
    yield* listening(server, "upgrade", makeListener(serving, answer, theirs))
    yield* Effect.addFinalizer((exit) => Effect.andThen(upgrades.drain, Scope.close(scope, exit)))
  })
  return HttpServer.make({
    address: inner.address,
    // A scope in which one thing ends after another, whatever that of the caller does.
    serve: (app, middleware) =>
      Effect.flatMap(
        Effect.acquireRelease(Scope.make(), Scope.close),
        (scope) => Scope.provide(serve(app, middleware), scope)
      )
  })
})

type App = Effect.Effect<HttpServerResponse, unknown, HttpServerRequest | Scope.Scope>

/** Has Effect's server listen for upgrades, and takes that listener off again. */
const takeListener = <R>(server: Http.Server, serve: Effect.Effect<void, never, R>) =>
  Effect.suspend(() => {
    const before = server.listeners("upgrade")
    return Effect.map(serve, (): UpgradeListener => {
      const listener = server.listeners("upgrade").find((listener) => !before.includes(listener)) as UpgradeListener
      server.off("upgrade", listener)
      return listener
    })
  })

/**
 * Layer that makes Effect's `HttpServer` with WebSockets on its routes, see
 * `make`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerServer = (
  evaluate: () => Http.Server | Http2.Http2Server | Http2.Http2SecureServer,
  options: Options
): Layer.Layer<HttpServer.HttpServer, ServeError> => Layer.effect(HttpServer.HttpServer, make(evaluate, options))

/**
 * Layer that makes the server together with the services that Effect's HTTP
 * server wants of Node, as `NodeHttpServer.layer` does.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (
  evaluate: () => Http.Server | Http2.Http2Server | Http2.Http2SecureServer,
  options: Options
): Layer.Layer<
  HttpServer.HttpServer | NodeServices.NodeServices | HttpPlatform.HttpPlatform | Etag.Generator,
  ServeError
> => Layer.merge(layerServer(evaluate, options), NodeHttpServer.layerHttpServices)
