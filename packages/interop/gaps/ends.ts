/**
 * The ends of both sides: HTTP servers with the same routes, sockets with the same options, and peers that do what they
 * are told.
 */
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import type { Connection } from "effect-websocket/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Http from "node:http"

/** The two sides. */
export type Whose = "theirs" | "ours"

export const portOf = (address: NetAddress.SocketAddress): number => (address as NetAddress.InetAddress).port

const here = { port: 0, host: "127.0.0.1" }

/** How a server stops: at once, unless that is what is measured. */
export type Stopping = "at once" | "by default"

const layerTheirs = (stopping: Stopping) =>
  NodeHttpServer.layer(() => Http.createServer(), { ...here, disablePreemptiveShutdown: stopping === "at once" })

const layerOurs = (stopping: Stopping) =>
  NodeWebSocketHttp.layer(
    () => Http.createServer(),
    stopping === "at once" ? { ...here, config: { drainTimeout: 100, closeTimeout: 100 } } : here
  )

/** Layer of an HTTP server of one of the sides. */
export const layerHttp = (whose: Whose, stopping: Stopping = "at once") =>
  whose === "theirs" ? layerTheirs(stopping) : layerOurs(stopping)

type HttpServices = Layer.Success<ReturnType<typeof layerTheirs>>

/** Listens with an application, and gives the port. */
export const listen = Effect.fnUntraced(function*<E>(
  app: Layer.Layer<never, E, HttpServices>,
  whose: Whose,
  stopping?: Stopping
) {
  const context = yield* Layer.build(Layer.provideMerge(app, layerHttp(whose, stopping)))
  return portOf(Context.get(context, HttpServer.HttpServer).address)
})

/** Listens with routes, and gives the port. */
export const serve = <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter | HttpServices>,
  whose: Whose,
  stopping?: Stopping
) => listen(HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }), whose, stopping)

/** A route of Effect's own kind: what it does with its socket, until that ends. */
export const upgraded = (use: (socket: Socket.Socket) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest
    yield* Effect.ignore(use(yield* Effect.orDie(request.upgrade)))
    return HttpServerResponse.empty()
  }).pipe(Effect.scoped)

/** Reads a socket to its end. */
export const readAll = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  return yield* Effect.forever(pull)
})

/** A socket that dials, of one of the sides; what it sends with the request is evaluated as that side does. */
export const makeSocket = Effect.fnUntraced(function*(
  whose: Whose,
  url: string,
  headers: () => Record<string, string> = () => ({})
) {
  const layer = whose === "theirs"
    ? Socket.layerWebSocket(url, { headers: headers() }).pipe(Layer.provide(NodeWS.layerWebSocketConstructor))
    : NodeWebSocketClient.layerSocket(Effect.sync(() => ({ url, headers: headers(), config: { closeTimeout: 1000 } })))
  return Context.get(yield* Layer.build(layer), Socket.Socket)
})

type Script<R> = (peer: ScriptedPeer.ScriptedPeer) => Effect.Effect<unknown, unknown, R>

const accept = (open: (connection: Connection) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.gen(function*() {
    const server = yield* NodeTransportServer.make(here)
    yield* Effect.forkScoped(server.run((connection) => Effect.ignore(Effect.scoped(open(connection)))))
    return `ws://127.0.0.1:${portOf(server.address)}/`
  })

/** A peer that reads frames and does what the script says, for each connection; gives its URL. */
export const scripted = (script: Script<Scope.Scope>) =>
  accept((connection) => Effect.flatMap(ScriptedPeer.connect("server", connection), script))

/** The same with a peer that has neither shaken hands nor read anything. */
export const unread = (script: Script<Scope.Scope>) =>
  accept((connection) => Effect.flatMap(ScriptedPeer.make("server", connection), script))

/** The head of an answer. */
export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
}

/** Asks for an upgrade, or without one, and gives the head of the answer. */
export const ask = (port: number, path: string, headers: Record<string, string> | "plain"): Effect.Effect<Answer> =>
  Effect.callback((resume) => {
    const opening = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="
    }
    const request = Http.request({
      port,
      path,
      host: "127.0.0.1",
      agent: false,
      headers: headers === "plain" ? {} : { ...opening, ...headers }
    })
    const answered = ({ headers, statusCode }: Http.IncomingMessage) => {
      request.destroy()
      resume(Effect.succeed({ status: statusCode!, headers }))
    }
    request.on("response", answered)
    request.on("upgrade", (response, socket) => {
      socket.destroy()
      answered(response)
    })
    request.on("error", () => resume(Effect.succeed({ status: 0, headers: {} })))
    request.end()
    return Effect.sync(() => request.destroy())
  })
