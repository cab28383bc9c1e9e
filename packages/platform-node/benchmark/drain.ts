/**
 * How long a server takes to shut down with peers connected, and what they are
 * told: ours, and Effect's own HTTP server beside it.
 *
 *   npm run benchmark:drain
 *
 * A server process of its own for each row, and the clients in this one, over
 * loopback. The handler of an idle peer waits for a message; that of a busy one
 * works for one more second once its peer has gone, or without end.
 *
 * - `done`, `cpu`: ms until the server's scope has closed, and how many of them the server has computed
 * - `told`: ms until half of the peers, and the last of them, knew how the connection ended
 * - `codes`: what they were told, and how many of them; 1006 is a connection that ended without a Close frame
 * - `hints`: when they are to come back, in ms: the first, the middle and the last
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as RetryHint from "effect-websocket/RetryHint"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import { once } from "node:events"
import * as Http from "node:http"

// How many peers, and how long the handlers of those that are busy work on.
const cases = {
  "nobody": { idle: 0, busy: 0, work: Effect.void },
  "1000 idle": { idle: 1000, busy: 0, work: Effect.void },
  "1000 idle, 10 busy": { idle: 1000, busy: 10, work: Effect.sleep("1 second") },
  "1000 idle, 10 without end": { idle: 1000, busy: 10, work: Effect.never }
}
type Work = keyof typeof cases

const config = { drainTimeout: "3 seconds" } as const

const readAll = Effect.flatMap(WebSocketStream, (stream) => Effect.ignore(Stream.runDrain(stream.messages)))

const handler = (kind: Work) =>
  Effect.flatMap(
    WebSocketStream,
    ({ handshake }) => handshake.request.target === "/busy" ? Effect.andThen(readAll, cases[kind].work) : readAll
  )

const plain = (kind: Work) =>
  WebSocketServer.serve(handler(kind)).pipe(
    Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, config })),
    Layer.build,
    Effect.map((context) => Context.get(context, WebSocketServer.WebSocketServer).address)
  )

const quiet = { disableLogger: true, disableListenLog: true }

const http = (kind: Work) => {
  const route = HttpUpgrade.upgrade(handler(kind))
  const routes = Layer.merge(HttpRouter.add("GET", "/idle", route), HttpRouter.add("GET", "/busy", route))
  return HttpRouter.serve(routes, quiet).pipe(
    Layer.provideMerge(NodeWebSocketHttp.layerServer(() => Http.createServer(), { port: 0, config })),
    Layer.build,
    Effect.map((context) => Context.get(context, HttpServer.HttpServer).address)
  )
}

// The same application over Effect's own server, with its own WebSockets.
const effects = (kind: Work) => {
  const readAll = Effect.gen(function*() {
    const socket = yield* (yield* HttpServerRequest).upgrade
    yield* Effect.ignore(Stream.runDrain(Socket.toStream(socket)))
  })
  const respond = Effect.map((_: unknown) => HttpServerResponse.empty())
  const routes = Layer.merge(
    HttpRouter.add("GET", "/idle", respond(readAll)),
    HttpRouter.add("GET", "/busy", respond(Effect.andThen(readAll, cases[kind].work)))
  )
  return HttpRouter.serve(routes, quiet).pipe(
    Layer.provideMerge(NodeHttpServer.layerServer(() => Http.createServer(), { port: 0 })),
    Layer.build,
    Effect.map((context) => Context.get(context, HttpServer.HttpServer).address)
  )
}

type Server = (kind: Work) => Effect.Effect<NetAddress.SocketAddress, unknown, Scope.Scope>
const servers: Readonly<Record<string, Server>> = { plain, http, "Effect's": effects }

const serve = Effect.fnUntraced(function*(name: string, kind: Work) {
  const scope = yield* Scope.make()
  const address = yield* Scope.provide(servers[name]!(kind), scope)
  process.send!((address as NetAddress.InetAddress).port)
  yield* Effect.promise(() => once(process, "message"))
  const before = process.cpuUsage()
  const [time] = yield* Effect.timed(Scope.close(scope, Exit.void))
  const { system, user } = process.cpuUsage(before)
  process.send!([Duration.toMillis(time), (system + user) / 1000])
  process.disconnect!()
})

const answerOf = <A>(server: ChildProcess.ChildProcess): Effect.Effect<A> =>
  Effect.promise(() => once(server, "message").then(([value]) => value as A))

/** A peer that waits for its end. */
const peer = Effect.fnUntraced(function*(url: string, connected: () => void) {
  const stream = yield* NodeWebSocketClient.connect({ url })
  connected()
  const status = yield* stream.closed
  return { status, at: yield* Clock.currentTimeMillis }
}, Effect.scoped)

const connectAll = Effect.fnUntraced(function*(port: number, { busy, idle }: (typeof cases)[Work]) {
  if (idle === 0) return []
  const everyone = yield* Deferred.make<void>()
  let open = 0
  const connected = () => {
    if (++open === idle + busy) Deferred.doneUnsafe(everyone, Exit.void)
  }
  const urls = Array.from({ length: idle + busy }, (_, i) => `ws://127.0.0.1:${port}/${i < idle ? "idle" : "busy"}`)
  const fibers = yield* Effect.forEach(urls, (url) => Effect.forkChild(peer(url, connected)))
  yield* Deferred.await(everyone)
  return fibers
})

const quantiles = (values: ReadonlyArray<number>, ...parts: ReadonlyArray<number>): string => {
  const sorted = values.toSorted((a, b) => a - b)
  return parts.map((part) => Math.round(sorted[Math.floor(part * (sorted.length - 1))] ?? NaN)).join(", ")
}

const run = Effect.fnUntraced(function*(name: string, kind: Work) {
  const server = ChildProcess.fork(import.meta.filename, [name, kind])
  const fibers = yield* connectAll(yield* answerOf<number>(server), cases[kind])
  const start = yield* Clock.currentTimeMillis
  server.send("stop")
  const [done, cpu] = yield* answerOf<readonly [number, number]>(server)
  const ended = yield* Effect.forEach(fibers, Fiber.join)
  const codes = Object.entries(Object.groupBy(ended, ({ status }) => status.code))
  const hints = ended.flatMap(({ status }) => {
    const hint = RetryHint.of(status)
    return hint === undefined ? [] : [Duration.toMillis(hint)]
  })
  return {
    done: Math.round(done),
    cpu: Math.round(cpu),
    told: ended.length === 0 ? "" : quantiles(ended.map(({ at }) => at - start), 0.5, 1),
    codes: codes.map(([code, all]) => `${code} x ${all!.length}`).join(", "),
    hints: hints.length === 0 ? "" : quantiles(hints, 0, 0.5, 1)
  }
})

const main = Effect.gen(function*() {
  const rows: Record<string, object> = {}
  for (const name of Object.keys(servers)) {
    for (const kind of Object.keys(cases) as Array<Work>) rows[`${name}: ${kind}`] = yield* run(name, kind)
  }
  console.log(`Node ${process.version}, ${process.arch}, drainTimeout 3 s`)
  console.table(rows)
})

const [name, kind] = process.argv.slice(2)
await Effect.runPromise(name === undefined ? main : serve(name, kind as Work))
