/**
 * A chat for browsers: the page and its WebSocket on one port.
 *
 *     npm run chat
 *     npm run chat -- --port 9001 --http2
 *
 * You will see `listening on http://127.0.0.1:9001`; open it in two windows and type. Each connection is told of by its
 * request and its version of HTTP: with `--http2` the port has TLS, with a certificate for this run only, and a browser
 * brings page and socket by one connection (RFC 8441).
 *
 * SIGHUP makes the server restart: it drains, tells every page when to come back, and listens anew. The room outlives
 * it, so that pages go on where they were. SIGINT and SIGTERM end the program. What the chat promises, and why, is in
 * `shared/chat.ts`.
 */
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import type * as Http2 from "node:http2"
import * as SelfSigned from "selfsigned"
import * as Chat from "./shared/chat.ts"

const host = "127.0.0.1"

const page = readFileSync(new URL("shared/chat.html", import.meta.url), "utf8")

const config = {
  maxMessageSize: 16 * 1024,
  drainRetryAfter: { min: "1 second", max: "2 seconds" }
} as const

const conversation = Effect.gen(function*() {
  const { method, target, version } = (yield* WebSocketStream).handshake.request
  yield* Console.log(`${method} ${target} ${version}`)
  yield* Chat.handler
})

const routes = Layer.mergeAll(
  HttpRouter.add("GET", "/", Effect.succeed(HttpServerResponse.html(page))),
  HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(conversation, { config }))
)

/** Page and socket as routes of Effect's HTTP server. Gives where it listens. */
const serveHttp = Effect.fnUntraced(function*(port: number) {
  const server = NodeWebSocketHttp.layerServer(() => createServer(), { host, port, config })
  const built = yield* Layer.build(
    Layer.provideMerge(HttpRouter.serve(routes, { disableListenLog: true, disableLogger: true }), server)
  )
  return Context.get(built, HttpServer.HttpServer).address
})

const respond = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => {
  const isPage = headers[":method"] === "GET" && /^\/(\?|$)/.test(headers[":path"] ?? "")
  stream.respond(isPage ? { ":status": 200, "content-type": "text/html; charset=utf-8" } : { ":status": 404 })
  stream.end(isPage ? page : "")
}

const identity = Effect.promise(async () => {
  const altNames = [{ type: 7 as const, ip: host }]
  const pems = await SelfSigned.generate([{ name: "commonName", value: host }], {
    extensions: [{ name: "subjectAltName", altNames }]
  })
  return { key: pems.private, cert: pems.cert }
})

/** The page by HTTP/2, and the socket by a stream of the same session. */
const serveHttp2 = Effect.fnUntraced(function*(port: number) {
  const tls = { ...yield* identity, ALPNProtocols: ["h2", "http/1.1"] }
  const server = NodeHttp2WebSocketServer.layer({ host, port, tls, config, onRequest: respond })
  const built = yield* Layer.build(Layer.provideMerge(WebSocketServer.serve(conversation), server))
  return Context.get(built, WebSocketServer.WebSocketServer).address
})

const hangup = Effect.callback<void>((resume) => {
  const listener = () => resume(Effect.void)
  process.once("SIGHUP", listener)
  return Effect.sync(() => process.off("SIGHUP", listener))
})

/** Serves until SIGHUP, and gives the port. */
const serve = Effect.fnUntraced(function*(port: number, http2: boolean) {
  const address = (yield* http2 ? serveHttp2(port) : serveHttp(port)) as NetAddress.InetAddress
  yield* Console.log(`listening on ${http2 ? "https" : "http"}://${host}:${address.port}`)
  yield* hangup
  return address.port
}, Effect.scoped)

const run = Effect.fnUntraced(function*(first: number, http2: boolean) {
  let port = first
  while (true) port = yield* serve(port, http2)
})

Command.make("chat", {
  port: Flag.Int("port").pipe(Flag.withDescription("0 lets the system choose"), Flag.withDefault(9001)),
  http2: Flag.Boolean("http2").pipe(Flag.withDescription("With TLS and HTTP/2"), Flag.withDefault(false))
}, ({ http2, port }) => run(port, http2)).pipe(
  Command.withDescription("A chat for browsers"),
  Command.run({ version: "0.0.0" }),
  Effect.provide([NodeServices.layer, Chat.layerRoom()]),
  NodeRuntime.runMain
)
