import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { assert, describe, it } from "@effect/vitest"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as RetryHint from "effect-websocket/RetryHint"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import type { HttpServerError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type * as NetAddress from "effect/net/NetAddress"
import * as References from "effect/References"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as certificates from "./fixtures/certificates.ts"

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

const quiet: NodeWebSocketHttp.Options = { port: 0, host: "127.0.0.1", config: { drainRetryAfter: "off" } }

type Routes = Layer.Layer<never, never, HttpRouter.HttpRouter>

/** Serves routes, and gives the port. */
const serving = Effect.fnUntraced(function*(routes: Routes, options: Partial<NodeWebSocketHttp.Options> = {}) {
  const server = NodeWebSocketHttp.layerServer(() => Http.createServer(), { ...quiet, ...options })
  const layer = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true })
  return portOf(yield* Layer.build(Layer.provideMerge(layer, server)))
})

const portOf = (context: Context.Context<HttpServer.HttpServer>): number =>
  (Context.get(context, HttpServer.HttpServer).address as NetAddress.InetAddress).port

const connect = (port: number, target: string, options?: Partial<NodeWebSocketClient.Options>) =>
  NodeWebSocketClient.connect({ ...options, url: `ws://127.0.0.1:${port}${target}` } as NodeWebSocketClient.Options)

const declined = (port: number, target: string, options?: Partial<NodeWebSocketClient.Options>) =>
  Effect.map(Effect.flip(Effect.scoped(connect(port, target, options))), ({ reason }) => {
    assert.strictEqual(reason._tag, "UpgradeDeclined")
    return reason as Extract<typeof reason, { readonly _tag: "UpgradeDeclined" }>
  })

const header = (headers: HttpHead.Headers, name: string) => HttpHead.values(headers, name)

const good = [
  "GET /chat HTTP/1.1",
  "Host: example.com",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13"
]
const without = (name: string) => good.filter((line) => !line.startsWith(name))
const instead = (name: string, ...others: ReadonlyArray<string>) => [...without(name), ...others]
const lines = (head: ReadonlyArray<string>) => [...head, "", ""].join("\r\n")

/** Everything that comes back for raw bytes, until the server has ended the connection; each is sent after its echo. */
const raw = (port: number, bytes: string | Uint8Array, ...more: ReadonlyArray<Uint8Array>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let received = ""
    const rest = Array.from(more)
    const socket = Net.connect({ port, host: "127.0.0.1" }, () => socket.write(bytes))
    socket.setEncoding("latin1")
    socket.on("data", (chunk: string) => {
      received += chunk
      if (rest.length > 0 && received.endsWith(hiBack)) socket.write(rest.shift()!)
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })

// A masked text frame "hi", and a masked Close 1000.
const hi = Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69)
const bye = Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8)
const hiBack = "\x81\x02hi"
const byeBack = "\x88\x02\x03\xe8"

const chat = HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(echo))

describe("a route", () => {
  it.live("accepts a WebSocket, beside pages and another one on the same port", () =>
    Effect.gen(function*() {
      const upper = Effect.flatMap(
        WebSocketStream,
        (stream) => Effect.flatMap(stream.read, (message) => stream.write(String(message).toUpperCase()))
      )
      const port = yield* serving(Layer.mergeAll(
        chat,
        HttpRouter.add("GET", "/upper", HttpUpgrade.upgrade(upper)),
        HttpRouter.add("GET", "/page", HttpServerResponse.text("a page"))
      ))
      const first = yield* connect(port, "/chat?seat=1")
      assert.strictEqual(first.handshake.request.target, "/chat?seat=1")
      const second = yield* connect(port, "/upper")
      yield* first.write("hello")
      yield* second.write("hello")
      assert.strictEqual(yield* first.read, "hello")
      assert.strictEqual(yield* second.read, "HELLO")
      const page = yield* Effect.flatMap(HttpClient.get(`http://127.0.0.1:${port}/page`), ({ text }) => text)
      assert.strictEqual(page, "a page")
      assert.deepInclude(yield* second.closed, { code: 1000, initiator: "peer", clean: true })
      assert.deepInclude(yield* first.close(), { code: 1000, clean: true })
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.live("keeps the bytes behind the head", () =>
    Effect.gen(function*() {
      const port = yield* serving(chat)
      const head = Buffer.from(lines(good))
      const answer = yield* raw(port, Buffer.concat([head, hi]), bye)
      assert.match(answer, /^HTTP\/1.1 101 Switching Protocols\r\n/)
      assert.isTrue(answer.endsWith(`\r\n\r\n${hiBack}${byeBack}`))
    }))

  it.live("waits for the answers to what the client asked before", () =>
    Effect.gen(function*() {
      const slow = yield* Deferred.make<void>()
      const port = yield* serving(Layer.mergeAll(
        chat,
        HttpRouter.add("GET", "/slow", Effect.as(Deferred.await(slow), HttpServerResponse.text("slow"))),
        HttpRouter.add("GET", "/go", Effect.as(Deferred.succeed(slow, undefined), HttpServerResponse.text("gone")))
      ))
      const before = Buffer.from(lines(["GET /slow HTTP/1.1", "Host: example.com"]))
      const asking = yield* Effect.forkChild(raw(port, Buffer.concat([before, Buffer.from(lines(good)), hi]), bye))
      yield* HttpClient.get(`http://127.0.0.1:${port}/go`)
      const answer = yield* Fiber.join(asking)
      assert.match(answer, /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\nslowHTTP\/1.1 101 Switching Protocols\r\n/)
      assert.isTrue(answer.endsWith(`${hiBack}${byeBack}`))
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})

describe("RFC 6455 section 4.2.1: a request that is not one for an upgrade", () => {
  it.live.each<readonly [string, ReadonlyArray<string>, number]>([
    ["with no key", without("Sec-WebSocket-Key"), 400],
    ["with two keys", [...good, good[4]!], 400],
    ["with two hosts", [...good, "Host: example.org"], 400],
    ["with a body", [...good, "Content-Length: 3"], 400],
    ["with a chunked body", [...good, "Transfer-Encoding: chunked"], 400],
    ["of another version", instead("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), 426],
    ["with a malformed subprotocol", [...good, "Sec-WebSocket-Protocol: a,,b b"], 400],
    ["of another method", ["POST /any HTTP/1.1", ...good.slice(1)], 405],
    ["in HTTP/1.0", ["GET /chat HTTP/1.0", ...good.slice(1)], 505],
    ["of another page", [...good, "Origin: https://evil.example"], 403],
    ["to no route", ["GET /nowhere HTTP/1.1", ...good.slice(1)], 404]
  ])("%s is refused and the connection closed", ([_, head, status]) =>
    Effect.gen(function*() {
      const port = yield* serving(Layer.merge(chat, HttpRouter.add("*", "/any", HttpUpgrade.upgrade(echo))))
      const body = head.some((line) => /^(Content|Transfer)/.test(line)) ? "3\r\nabc\r\n0\r\n\r\n" : ""
      const answer = yield* raw(port, lines(head) + body)
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `))
      assert.match(answer, /\r\nConnection: close/i)
      if (status === 426) assert.match(answer, /\r\nSec-WebSocket-Version: 13\r\n/i)
      if (status === 405) assert.match(answer, /\r\nAllow: GET\r\n/i)
    }))

  it.live("is told to upgrade", () =>
    Effect.gen(function*() {
      const port = yield* serving(chat)
      const response = yield* HttpClient.get(`http://127.0.0.1:${port}/chat`)
      assert.strictEqual(response.status, 426)
      assert.strictEqual(response.headers["upgrade"], "websocket")
      assert.strictEqual(response.headers["sec-websocket-version"], "13")
      const head = yield* HttpClient.head(`http://127.0.0.1:${port}/chat`)
      assert.strictEqual(head.status, 426)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})

class User extends Context.Service<User, { readonly name: string }>()("test/User") {}

// Says who it is, from a cookie, or asks for it.
const authentication = HttpRouter.middleware<{ provides: User }>()((app) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies }) =>
    cookies["session"] === undefined
      ? Effect.succeed(
        HttpServerResponse.text("who are you?", { status: 401, headers: { "www-authenticate": "Basic" } })
      )
      : Effect.provideService(app, User, { name: cookies["session"] }).pipe(
        Effect.map(HttpServerResponse.setCookieUnsafe("seen", "yes", { httpOnly: true })),
        Effect.map(HttpServerResponse.setHeader("x-served-by", "test"))
      ))
)

describe("middleware", () => {
  const greet = Effect.gen(function*() {
    const { name } = yield* User
    yield* (yield* WebSocketStream).write(`hello ${name}`)
  })
  const routes = HttpRouter.add("GET", "/greet", HttpUpgrade.upgrade(greet)).pipe(Layer.provide(authentication.layer))

  it.live("is in force before the 101, and what it says goes with it", () =>
    Effect.gen(function*() {
      const port = yield* serving(routes)
      const stream = yield* connect(port, "/greet", { cookies: { session: "ada" } })
      assert.strictEqual(yield* stream.read, "hello ada")
      const { headers } = stream.handshake.response
      assert.deepStrictEqual(header(headers, "set-cookie"), ["seen=yes; HttpOnly"])
      assert.deepStrictEqual(header(headers, "x-served-by"), ["test"])
    }))

  it.live("may answer in the route's place", () =>
    Effect.gen(function*() {
      const port = yield* serving(routes)
      const { body, headers, status } = yield* declined(port, "/greet")
      assert.strictEqual(status, 401)
      assert.deepStrictEqual(header(headers, "www-authenticate"), ["Basic"])
      assert.deepStrictEqual(header(headers, "connection"), ["close"])
      assert.strictEqual(new TextDecoder().decode(body), "who are you?")
    }))

  it.live("of CORS says on the 101 what it says on pages, and the Origin policy decides", () =>
    Effect.gen(function*() {
      const origin = "https://app.example"
      const port = yield* serving(Layer.merge(
        HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(echo, { origins: [origin] })),
        HttpRouter.cors({ allowedOrigins: [origin], credentials: true })
      ))
      const stream = yield* connect(port, "/chat", { origin })
      const { headers } = stream.handshake.response
      assert.deepStrictEqual(header(headers, "access-control-allow-origin"), [origin])
      assert.deepStrictEqual(header(headers, "access-control-allow-credentials"), ["true"])
      assert.strictEqual((yield* declined(port, "/chat", { origin: "https://evil.example" })).status, 403)
    }))

  it.live("that trusts a proxy says which host and scheme the page must come from", () =>
    Effect.gen(function*() {
      const trusting = HttpMiddleware.xForwardedHeaders({ trustedProxies: () => true })
      const port = yield* serving(Layer.merge(chat, HttpRouter.middleware(trusting, { global: true })))
      const headers = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "chat.example",
        "X-Forwarded-Proto": "https"
      }
      const stream = yield* connect(port, "/chat", { origin: "https://chat.example", headers })
      yield* stream.write("hi")
      assert.strictEqual(yield* stream.read, "hi")
      assert.strictEqual((yield* declined(port, "/chat", { origin: "http://chat.example", headers })).status, 403)
      assert.strictEqual((yield* declined(port, "/chat", { origin: "https://chat.example" })).status, 403)
    }))

  it.live("that changes the status of the answer is taken at its word", () =>
    Effect.gen(function*() {
      const closed = HttpRouter.middleware(Effect.map(HttpServerResponse.setStatus(503)), { global: true })
      const port = yield* serving(Layer.merge(chat, closed))
      assert.strictEqual((yield* declined(port, "/chat")).status, 503)
    }))

  it.live("that adds a header that cannot be sent makes it 500", () =>
    Effect.gen(function*() {
      const broken = HttpRouter.middleware(Effect.map(HttpServerResponse.setHeader("x-broken", "a\nb")), {
        global: true
      })
      const port = yield* serving(Layer.merge(chat, broken))
      assert.strictEqual((yield* declined(port, "/chat")).status, 500)
    }))
})

describe("accept", () => {
  const accept = ({ head }: WebSocketServer.UpgradeRequest) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
      assert.deepStrictEqual(header(head.headers, "x-token"), [headers["x-token"]])
      return headers["x-token"] === "secret"
        ? Effect.succeed({ headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]] as const })
        : Effect.fail(
          new WebSocketServer.Refusal({
            status: 403,
            headers: [["Set-Cookie", "c=3"], ["X-Why", "token"]],
            body: "not you"
          })
        )
    })

  it.live("sees the request, and chooses headers, subprotocol and compression", () =>
    Effect.gen(function*() {
      const options = { accept, subprotocols: ["v2", "v1"], permessageDeflate: {} }
      const port = yield* serving(HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(echo, options)))
      const stream = yield* connect(port, "/chat", {
        headers: { "X-Token": "secret" },
        subprotocols: ["v1", "v2"],
        permessageDeflate: {}
      })
      assert.strictEqual(stream.handshake.subprotocol, "v2")
      assert.strictEqual(stream.handshake.extensions[0]?.name, "permessage-deflate")
      assert.deepStrictEqual(header(stream.handshake.response.headers, "set-cookie"), ["a=1", "b=2"])
      const long = "compress me ".repeat(500)
      yield* stream.write(long, { compress: true })
      assert.strictEqual(yield* stream.read, long)
    }).pipe(Effect.provide(NodeDeflate.layer)))

  it.live("refuses with what it says", () =>
    Effect.gen(function*() {
      const port = yield* serving(HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(echo, { accept })))
      const { body, headers, status } = yield* declined(port, "/chat", { headers: { "X-Token": "guess" } })
      assert.strictEqual(status, 403)
      assert.deepStrictEqual(header(headers, "x-why"), ["token"])
      assert.deepStrictEqual(header(headers, "set-cookie"), ["c=3"])
      assert.strictEqual(new TextDecoder().decode(body), "not you")
    }))
})

describe("an upgrade request that a route answers otherwise", () => {
  it.live("is sent that answer, and the connection is closed", () =>
    Effect.gen(function*() {
      const port = yield* serving(Layer.mergeAll(
        HttpRouter.add("GET", "/old", HttpServerResponse.redirect("/new")),
        HttpRouter.add("GET", "/big", HttpServerResponse.text("x".repeat(3_000_000)))
      ))
      const moved = yield* declined(port, "/old")
      assert.deepStrictEqual([moved.status, ...header(moved.headers, "location")], [302, "/new"])
      const big = yield* raw(port, lines(["GET /big HTTP/1.1", ...good.slice(1)]))
      assert.match(big, /^HTTP\/1.1 200 OK\r\n[^]*\r\nConnection: close\r\n/)
      assert.isTrue(big.endsWith("\r\n\r\n" + "x".repeat(3_000_000)))
    }))

  it.live("for another protocol is Effect's", () =>
    Effect.gen(function*() {
      const port = yield* serving(HttpRouter.add("GET", "/page", HttpServerResponse.text("a page")))
      const answer = yield* raw(
        port,
        lines(["GET /page HTTP/1.1", "Host: example.com", "Connection: Upgrade", "Upgrade: h2c"])
      )
      assert.match(answer, /^HTTP\/1.1 200 OK\r\n[^]*a page$/)
    }))
})

it.live("a route under a prefix keeps the whole target", () =>
  Effect.gen(function*() {
    const say = Effect.flatMap(WebSocketStream, (stream) => stream.write(stream.handshake.request.target))
    const rooms = HttpRouter.use((router) =>
      router.prefixed("/api/v1").add("GET", "/rooms/:room", HttpUpgrade.upgrade(say))
    )
    const port = yield* serving(rooms)
    assert.strictEqual(yield* (yield* connect(port, "/api/v1/rooms/7")).read, "/api/v1/rooms/7")
  }))

it.live("over TLS a page must come by TLS too", () =>
  Effect.gen(function*() {
    const identity = yield* Effect.promise(() => certificates.selfSigned("DNS:localhost"))
    const server = NodeWebSocketHttp.layerServer(() => Https.createServer(identity), quiet)
    const layer = HttpRouter.serve(chat, { disableLogger: true, disableListenLog: true })
    const port = portOf(yield* Layer.build(Layer.provideMerge(layer, server)))
    const dial = (origin: string) =>
      NodeWebSocketClient.connect({
        url: `wss://127.0.0.1:${port}/chat`,
        origin,
        tls: { ca: identity.cert, servername: "localhost" }
      })
    const stream = yield* dial(`https://127.0.0.1:${port}`)
    yield* stream.write("hi")
    assert.strictEqual(yield* stream.read, "hi")
    const { reason } = yield* Effect.flip(dial(`http://127.0.0.1:${port}`))
    assert.deepInclude(reason, { _tag: "UpgradeDeclined", status: 403 })
  }))

describe("a handler", () => {
  it.live.each<readonly [string, Effect.Effect<void, string>, number]>([
    ["succeeds", Effect.void, 1000],
    ["fails", Effect.fail("oops"), 1011],
    ["dies", Effect.die("oops"), 1011],
    ["is interrupted", Effect.interrupt, 1001]
  ])("that %s closes its connection with its code", ([_, handler, code]) =>
    Effect.gen(function*() {
      const port = yield* serving(HttpRouter.add("GET", "/chat", HttpUpgrade.upgrade(handler)))
      const stream = yield* connect(port, "/chat")
      assert.deepInclude(yield* stream.closed, { code, initiator: "peer", clean: true })
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))

  it.live("is interrupted with its server, where the application is served without a router too", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const interrupted = yield* Deferred.make<void>()
      const handler = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      const server = NodeWebSocketHttp.layerServer(() => Http.createServer(), {
        ...quiet,
        config: { drainTimeout: 10 }
      })
      const layer = Layer.provideMerge(HttpServer.serve(HttpUpgrade.upgrade(handler)), server)
      const port = portOf(yield* Layer.buildWithScope(layer, scope))
      const stream = yield* connect(port, "/")
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* stream.closed, { code: 1001, initiator: "peer", clean: true })
      yield* Deferred.await(interrupted)
    }))

  it.live("has the request's span for a parent of its own", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const handler = Effect.withSpan(Effect.void, "work")
      const route = Effect.withSpan(HttpUpgrade.upgrade(handler), "route")
      const port = yield* Effect.provideService(
        serving(HttpRouter.add("GET", "/chat", route)),
        Tracer.Tracer,
        tracer
      )
      yield* (yield* connect(port, "/chat")).closed
      const names = (span: Tracer.Span): ReadonlyArray<string> =>
        span.parent._tag === "Some" ? [...names(span.parent.value as Tracer.Span), span.name] : [span.name]
      assert.deepStrictEqual(names(spans.find(({ name }) => name === "work")!), [
        "GET",
        "WebSocketServer.connection",
        "work"
      ])
    }))
})

describe("draining", () => {
  it.live("takes no time when nothing is open", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(serving(chat, { config: { drainTimeout: "1 hour" } }), scope)
      yield* Scope.close(scope, Exit.void)
    }))

  it.live("tells peers when to come back, and latecomers with 503", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const finish = yield* Deferred.make<void>()
      const drainRetryAfter = { min: "1 second", max: "2 seconds" } as const
      const closing = Effect.flatMap(WebSocketStream, (stream) => stream.closed)
      const port = yield* Scope.provide(
        serving(
          Layer.merge(
            chat,
            HttpRouter.add("GET", "/busy", HttpUpgrade.upgrade(Effect.andThen(closing, Deferred.await(finish))))
          ),
          { config: { drainRetryAfter, drainCode: 1012 } }
        ),
        scope
      )
      const streams = [yield* connect(port, "/chat"), yield* connect(port, "/busy")]
      const shutdown = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      for (const stream of streams) {
        const status = yield* stream.closed
        assert.strictEqual(status.code, 1012)
        const hint = Duration.toMillis(RetryHint.of(status)!)
        assert.isTrue(hint >= 1000 && hint <= 2000, status.reason)
      }
      const late = yield* declined(port, "/chat")
      assert.strictEqual(late.status, 503)
      assert.strictEqual(late.retryAfter, 2000)
      assert.isUndefined(shutdown.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      yield* Fiber.join(shutdown)
    }))
})

it.live("limits are the server's, over all routes", () =>
  Effect.gen(function*() {
    const port = yield* serving(
      Layer.merge(chat, HttpRouter.add("GET", "/other", HttpUpgrade.upgrade(echo))),
      { config: { maxConnections: 1 } }
    )
    const first = yield* connect(port, "/chat")
    assert.strictEqual((yield* declined(port, "/other")).status, 503)
    yield* first.close()
    yield* Effect.retry(connect(port, "/other"), { times: 0 })
  }))

it.live("a server that hands over no connections answers 500, whatever the request", () =>
  Effect.gen(function*() {
    const server = NodeHttpServer.layerServer(() => Http.createServer(), { port: 0, host: "127.0.0.1" })
    const app = HttpServer.serve(HttpUpgrade.upgrade(echo))
    const port = portOf(yield* Layer.build(Layer.provideMerge(app, server)))
    assert.strictEqual((yield* declined(port, "/")).status, 500)
  }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))

describe("Effect's own HttpServerRequest.upgrade", () => {
  const request = HttpServerRequest.HttpServerRequest
  const upgraded = Effect.flatMap(request, (request) => Effect.orDie(request.upgrade))
  const echoSocket = Effect.fnUntraced(
    function*(socket: Socket.Socket) {
      const { pull } = yield* socket.reader
      const { writeAll } = yield* socket.writer
      return yield* Effect.forever(Effect.flatMap(pull, (messages) => writeAll(messages)))
    },
    Effect.scoped,
    (echoing) => Effect.as(Effect.ignore(echoing), HttpServerResponse.empty())
  )
  const plain = HttpRouter.add("GET", "/plain", Effect.flatMap(upgraded, echoSocket))

  it.live("is a WebSocket of this library's, with the first subprotocol that is offered", () =>
    Effect.gen(function*() {
      const port = yield* serving(plain)
      const stream = yield* connect(port, "/plain", { subprotocols: ["graphql-transport-ws", "other"] })
      assert.strictEqual(stream.handshake.subprotocol, "graphql-transport-ws")
      for (const message of ["hello", Uint8Array.of(1, 2, 3)]) {
        yield* stream.write(message)
        assert.deepStrictEqual(yield* stream.read, message)
      }
      assert.deepInclude(yield* stream.close({ code: 4000, reason: "bye" }), { code: 4000, clean: true })
    }))

  it.live("sends the headers it is given, under a prefix too, and compresses where it is told", () =>
    Effect.gen(function*() {
      const route = Effect.flatMap(
        request,
        (request) =>
          Effect.flatMap(Effect.orDie(request.upgradeWith({ headers: { "x-url": request.url } })), echoSocket)
      )
      const port = yield* serving(
        HttpRouter.use((router) => router.prefixed("/v1").add("GET", "/echo", route)),
        { sockets: { permessageDeflate: {}, subprotocols: ["mine"] } }
      )
      const stream = yield* connect(port, "/v1/echo", { permessageDeflate: {}, subprotocols: ["other", "mine"] })
      assert.deepStrictEqual(header(stream.handshake.response.headers, "x-url"), ["/echo"])
      assert.strictEqual(stream.handshake.extensions.length, 1)
      assert.strictEqual(stream.handshake.subprotocol, "mine")
    }).pipe(Effect.provide(NodeDeflate.layer)))

  it.live("refuses what is not a WebSocket, another page, and more than there is room for", () =>
    Effect.gen(function*() {
      const port = yield* serving(plain, { config: { maxConnections: 1 } })
      const page = yield* HttpClient.get(`http://127.0.0.1:${port}/plain`)
      assert.deepStrictEqual([page.status, page.headers["sec-websocket-version"]], [426, "13"])
      assert.strictEqual((yield* declined(port, "/plain", { origin: "https://evil.example" })).status, 403)
      const first = yield* connect(port, "/plain")
      const full = yield* declined(port, "/plain")
      assert.deepStrictEqual([full.status, full.retryAfter], [503, 1000])
      yield* first.close()
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.live("leaves other protocols to Effect", () =>
    Effect.gen(function*() {
      const route = Effect.gen(function*() {
        const socket = yield* (yield* request).upgradeWith({ headers: { "x-other": "yes" } })
        yield* socket.reader
        yield* (yield* socket.writer).write("raw")
        return HttpServerResponse.empty()
      })
      const port = yield* serving(HttpRouter.add("GET", "/other", Effect.orDie(route)))
      const answer = yield* raw(
        port,
        lines(["GET /other HTTP/1.1", "Host: example.com", "Connection: Upgrade", "Upgrade: other"])
      )
      assert.match(answer, /^HTTP\/1.1 101 Switching Protocols\r\n[^]*x-other: yes\r\n\r\nraw$/)
    }))

  it.live("suspends writes while the peer does not read", () =>
    Effect.gen(function*() {
      const message = new Uint8Array(256 * 1024)
      const written = { count: 0, changed: () => {} }
      const flood = Effect.gen(function*() {
        const socket = yield* upgraded
        yield* socket.reader
        const writer = yield* socket.writer
        for (; written.count < 1000; written.count++) yield* writer.write(message)
        return HttpServerResponse.empty()
      })
      const port = yield* serving(HttpRouter.add("GET", "/flood", Effect.orDie(Effect.scoped(flood))))
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const socket = Net.connect({ port, host: "127.0.0.1" }, () =>
            socket.write(lines(["GET /flood HTTP/1.1", ...good.slice(1)])))
          return socket.pause()
        }),
        (socket) =>
          Effect.sync(() => socket.resetAndDestroy())
      )
      // Until nothing has gone on for a while.
      const turns = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      for (let still = 0, last = 0; last === 0 || still < 1000; still++) {
        if (written.count !== last) still = 0
        last = written.count
        yield* turns
      }
      assert.isBelow(written.count, 200)
    }))

  it.live("runs Effect's RPC server unchanged, and drains it", () =>
    Effect.gen(function*() {
      const rpcs = RpcGroup.make(
        Rpc.make("Double", { payload: { n: Schema.Finite }, success: Schema.Finite }),
        Rpc.make("Count", { payload: { to: Schema.Finite }, success: Schema.Finite, stream: true })
      )
      const handlers = rpcs.toLayer({
        Double: ({ n }) => Effect.succeed(2 * n),
        Count: ({ to }) => Stream.range(1, to)
      })
      const routes = RpcServer.layer(rpcs).pipe(
        Layer.provide([handlers, RpcServer.layerProtocolWebsocket({ path: "/rpc" })]),
        Layer.provide(RpcSerialization.layerJson)
      )
      const scope = yield* Scope.make()
      const port = yield* Scope.provide(serving(routes, { config: { drainTimeout: "1 hour", drainCode: 1012 } }), scope)
      const protocol = RpcClient.layerProtocolSocket().pipe(
        Layer.provide([NodeSocket.layerWebSocket(`ws://127.0.0.1:${port}/rpc`), RpcSerialization.layerJson])
      )
      yield* Effect.gen(function*() {
        const client = yield* RpcClient.make(rpcs)
        assert.strictEqual(yield* client.Double({ n: 21 }), 42)
        assert.deepStrictEqual(
          yield* Stream.runCollect(client.Count({ to: 100 })),
          Array.from({ length: 100 }, (_, i) => i + 1)
        )
        const idle = yield* connect(port, "/rpc")
        yield* Scope.close(scope, Exit.void)
        assert.deepInclude(yield* idle.closed, { code: 1012, initiator: "peer", clean: true })
      }).pipe(Effect.scoped, Effect.provide(protocol))
    }))

  it.live("is interrupted with its server, where the application is served without a router too", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const app = Effect.gen(function*() {
        const socket = yield* upgraded
        yield* socket.reader
        return yield* Effect.never
      }).pipe(Effect.orDie, Effect.scoped)
      const server = NodeWebSocketHttp.layerServer(() => Http.createServer(), {
        ...quiet,
        config: { drainTimeout: 10 }
      })
      const port = portOf(yield* Layer.buildWithScope(Layer.provideMerge(HttpServer.serve(app), server), scope))
      const stream = yield* connect(port, "/")
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* stream.closed, { code: 1001, initiator: "peer", clean: true })
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))
})

describe("a peer's close on a route", () => {
  const own = Effect.gen(function*() {
    const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
    yield* Stream.runDrain(Socket.toStream(socket))
    return HttpServerResponse.empty()
  })
  type Failing = HttpRouter.Request<"Error", HttpServerError> | HttpRouter.Request<"Error", Socket.SocketError>
  const ways: Readonly<Record<string, Layer.Layer<never, never, HttpRouter.HttpRouter | Failing>>> = {
    "HttpUpgrade.upgrade, whose handler fails with it": HttpRouter.add(
      "GET",
      "/",
      HttpUpgrade.upgrade(Effect.flatMap(WebSocketStream, (stream) => Effect.forever(stream.read)))
    ),
    "Effect's HttpServerRequest.upgrade, whose route fails with it": HttpRouter.add("GET", "/", own),
    "Effect's RPC server": RpcServer.layer(RpcGroup.make()).pipe(
      Layer.provide(RpcServer.layerProtocolWebsocket({ path: "/" })),
      Layer.provide(RpcSerialization.layerJson)
    )
  }

  for (const [way, routes] of Object.entries(ways)) {
    it.live(`is logged at info level at most: ${way}`, () => {
      const levels: Array<LogLevel.LogLevel> = []
      const logger = Logger.make(({ logLevel }) => levels.push(logLevel))
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = NodeWebSocketHttp.layerServer(() => Http.createServer(), quiet)
        const layer = Layer.provideMerge(HttpRouter.serve(routes, { disableListenLog: true }), server)
        const port = portOf(yield* Layer.buildWithScope(layer, scope))
        const codes = [1000, 1001, 4001]
        for (const code of codes) {
          yield* Effect.scoped(Effect.flatMap(connect(port, "/"), (stream) => stream.close({ code })))
        }
        // When that is over all is logged that will be.
        yield* Scope.close(scope, Exit.void)
        assert.isAtLeast(levels.length, codes.length)
        assert.isEmpty(levels.filter((level) => LogLevel.isGreaterThan(level, "Info")))
      }).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "All"))
    })
  }
})
