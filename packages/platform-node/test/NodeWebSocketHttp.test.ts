import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import { assert, describe, it } from "@effect/vitest"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Net from "node:net"

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
