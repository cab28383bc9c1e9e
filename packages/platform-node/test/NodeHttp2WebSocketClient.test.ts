import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeHttp2Transport from "@effect-websocket/platform-node/NodeHttp2Transport"
import type * as NodeHttp2TransportServer from "@effect-websocket/platform-node/NodeHttp2TransportServer"
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Buffer } from "node:buffer"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as certificates from "./fixtures/certificates.ts"
import * as http2 from "./fixtures/http2.ts"

const identity = await certificates.selfSigned("DNS:localhost")

const dialer = NodeHttp2Transport.layerDialer({ tls: { ca: identity.cert }, linger: "50 millis" })

type Service = WebSocketServer.WebSocketServer["Service"]

/** Builds a server that echoes and says who is at the other end, and the URL of its place. */
const serving = Effect.fnUntraced(function*<E>(
  layer: Layer.Layer<WebSocketServer.WebSocketServer, E>,
  scheme: "ws" | "wss" = "ws"
) {
  const peers: Array<string> = []
  const echo = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    const { peerAddress } = stream.handshake
    peers.push(peerAddress === undefined ? "" : NetAddress.formatSocketAddress(peerAddress))
    yield* Stream.run(stream.messages, stream.sink())
  })
  const context = yield* Layer.build(Layer.provideMerge(WebSocketServer.serve(echo), layer))
  const server: Service = yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
  const { port } = server.address as NetAddress.InetAddress
  return { server, url: `${scheme}://localhost:${port}`, peers }
})

const inTheClear = (options?: NodeHttp2TransportServer.Http2Options & WebSocketServer.AcceptOptions) =>
  serving(NodeHttp2WebSocketServer.layer({ port: 0, ...options }))

/** Sends a message and waits for it to come back. */
const echoed = Effect.fnUntraced(function*(stream: WebSocketStream["Service"], message: string | Uint8Array) {
  yield* stream.write(message)
  assert.deepStrictEqual(yield* stream.read, message)
})

describe.each([
  { name: "in the clear", scheme: "ws" as const, tls: undefined },
  { name: "over TLS", scheme: "wss" as const, tls: identity }
])("one port $name", ({ scheme, tls }) => {
  const listening = serving(
    NodeHttp2WebSocketServer.layer({
      port: 0,
      tls,
      subprotocols: ["chat"],
      permessageDeflate: {}
    }).pipe(Layer.provide(NodeDeflate.layer)),
    scheme
  )

  it.live("serves HTTP/2 to a client that has it: messages of all sizes, pings and a close", () =>
    Effect.gen(function*() {
      const { url } = yield* listening
      const stream = yield* WebSocketClient.dial({
        url: `${url}/room?seat=1`,
        subprotocols: ["chat"],
        headers: { "X-Token": "1" },
        permessageDeflate: {}
      })
      const { request, response, subprotocol } = stream.handshake
      assert.deepInclude(request, { method: "CONNECT", target: "/room?seat=1", version: "HTTP/2" })
      assert.deepInclude(request.headers, ["x-token", "1"])
      assert.deepInclude(response, { status: 200, version: "HTTP/2" })
      assert.strictEqual(subprotocol, "chat")
      assert.strictEqual(stream.handshake.extensions[0]?.name, "permessage-deflate")
      const messages = [
        "",
        "héllo",
        Uint8Array.from({ length: 70_000 }, (_, i) => i),
        new Uint8Array(3_000_000).fill(9)
      ]
      yield* Effect.forkChild(stream.writeAll(messages))
      for (const message of messages) assert.deepStrictEqual(yield* stream.read, message)
      assert.isTrue(Duration.isGreaterThan(yield* stream.ping(), Duration.zero))
      const status = yield* stream.close({ code: 4001, reason: "bye" })
      assert.deepInclude(status, { code: 4001, clean: true, initiator: "local" })
    }).pipe(Effect.provide([dialer, NodeDeflate.layer])))

  it.live("serves HTTP/1.1 to a client that has only that, and counts both", () =>
    Effect.gen(function*() {
      const { server, url } = yield* listening
      const one = yield* NodeWebSocketClient.connect({ url, tls: { ca: identity.cert } })
      assert.strictEqual(one.handshake.response.version, "HTTP/1.1")
      const two = yield* WebSocketClient.dial({ url })
      assert.strictEqual(two.handshake.response.version, "HTTP/2")
      yield* echoed(one, "one")
      yield* echoed(two, "two")
      assert.strictEqual(yield* server.connections, 2)
      assert.strictEqual((yield* one.close()).clean, true)
      assert.strictEqual((yield* two.close()).clean, true)
    }).pipe(Effect.provide(dialer)))
})

describe("sessions", () => {
  it.live("are shared by the connections to an origin, those asked for at one time as well", () =>
    Effect.gen(function*() {
      const { peers, url } = yield* inTheClear()
      const connect = WebSocketClient.dial({ url })
      const streams = yield* Effect.all(Array.from({ length: 20 }, () => connect), { concurrency: "unbounded" })
      yield* Effect.forEach(streams, (stream, i) => echoed(stream, `message ${i}`), { concurrency: "unbounded" })
      assert.strictEqual(peers.length, 20)
      assert.strictEqual(new Set(peers).size, 1)
    }).pipe(Effect.provide(dialer)))

  it.live("are joined by another when full", () =>
    Effect.gen(function*() {
      const { peers, url } = yield* inTheClear({ maxStreams: 2 })
      const connect = WebSocketClient.dial({ url })
      const streams = yield* Effect.all([connect, connect, connect, connect, connect], { concurrency: "unbounded" })
      for (const stream of streams) yield* echoed(stream, "hello")
      assert.strictEqual(new Set(peers).size, 3)
    }).pipe(Effect.provide(dialer)))

  it.effect("are kept for idleTimeout when their last connection has closed", () =>
    Effect.gen(function*() {
      const { peers, url } = yield* inTheClear()
      const visit = Effect.scoped(Effect.flatMap(WebSocketClient.dial({ url }), (stream) => echoed(stream, "hello")))
      yield* visit
      yield* TestClock.adjust("9999 millis")
      yield* visit
      assert.strictEqual(new Set(peers).size, 1)
      yield* TestClock.adjust("10 seconds")
      yield* visit
      assert.strictEqual(new Set(peers).size, 2)
      const stay = Effect.flatMap(WebSocketClient.dial({ url }), (stream) =>
        Effect.andThen(TestClock.adjust("20 seconds"), echoed(stream, "still here")))
      yield* Effect.scoped(stay)
      assert.strictEqual(new Set(peers).size, 2)
    }).pipe(Effect.provide(dialer)))

  it.live("end with the scope of the dialer, and fail what is open", () =>
    Effect.gen(function*() {
      const sessionClosed = yield* Deferred.make<void>()
      const url = yield* http2.rawServer((stream) => {
        stream.session?.once("close", () => Deferred.doneUnsafe(sessionClosed, Exit.void))
        stream.respond({ ":status": 200 })
      })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(dialer, scope)
      const stream = yield* Effect.provideContext(WebSocketClient.dial({ url }), context)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(sessionClosed)
      assert.strictEqual((yield* Effect.flip(stream.read)).reason._tag, "TransportFailed")
    }))
})

describe("falling back to HTTP/1.1", () => {
  const speaksHttp1 = Effect.fnUntraced(function*(url: string) {
    const connect = WebSocketClient.dial({ url })
    for (const stream of yield* Effect.all([connect, connect], { concurrency: "unbounded" })) {
      assert.strictEqual(stream.handshake.response.version, "HTTP/1.1")
      yield* echoed(stream, "hello")
    }
  }, Effect.provide(dialer))

  it.live("where the server has nothing else, in the clear", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(NodeWebSocketServer.layer({ port: 0 }))
      yield* speaksHttp1(url)
    }))

  it.live("where the server has nothing else, over TLS", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(NodeWebSocketServer.layer({ port: 0, tls: identity }), "wss")
      yield* speaksHttp1(url)
    }))

  it.live("where the server speaks HTTP/2 and does not announce extended CONNECT", () =>
    Effect.gen(function*() {
      const behind = yield* serving(NodeWebSocketServer.layer({ port: 0 }))
      const chosen: Array<string | false | null> = []
      // TLS ends here; HTTP/1.1 goes on to the server behind.
      const front = Tls.createServer({ ...identity, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
        chosen.push(socket.alpnProtocol)
        socket.on("error", () => {})
        if (socket.alpnProtocol === "h2") return void Http2.performServerHandshake(socket).on("error", () => {})
        const onward = Net.connect((behind.server.address as NetAddress.InetAddress).port, "127.0.0.1")
        socket.pipe(onward.on("error", () => {})).pipe(socket)
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void front.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => front.close())
      )
      yield* speaksHttp1(`wss://localhost:${(front.address() as Net.AddressInfo).port}`)
      assert.deepStrictEqual(chosen, ["h2", "http/1.1", "http/1.1"])
    }))
})

describe("a server that does not agree", () => {
  it.live("UpgradeDeclined carries its status, headers and body", () =>
    Effect.gen(function*() {
      const refusal = new WebSocketServer.Refusal({
        status: 503,
        headers: { "Retry-After": "7", "X-Reason": "full" },
        body: "come back later"
      })
      const { url } = yield* inTheClear({ accept: () => Effect.fail(refusal) })
      const { reason } = yield* Effect.flip(WebSocketClient.dial({ url }))
      assert.strictEqual(reason._tag, "UpgradeDeclined")
      if (reason._tag !== "UpgradeDeclined") return
      assert.deepInclude(reason, { status: 503, retryAfter: 7000 })
      assert.deepInclude(reason.headers, ["x-reason", "full"])
      assert.strictEqual(new TextDecoder().decode(reason.body), "come back later")
    }).pipe(Effect.provide(dialer)))

  type Answer = (stream: Http2.ServerHttp2Stream) => void
  const answers: ReadonlyArray<readonly [string, Answer, string]> = [
    [
      "a subprotocol not offered",
      (stream) => stream.respond({ ":status": 200, "sec-websocket-protocol": "mqtt" }),
      "SubprotocolRefused"
    ],
    [
      "an extension not offered",
      (stream) => stream.respond({ ":status": 200, "sec-websocket-extensions": "x" }),
      "ExtensionRefused"
    ],
    ["a reset", (stream) => stream.close(Http2.constants.NGHTTP2_REFUSED_STREAM), "TransportFailed"],
    ["the end of the session", (stream) => stream.session?.destroy(), "TransportFailed"],
    [
      "a head that is too large",
      (stream) => stream.respond({ ":status": 200, "x-large": "x".repeat(9000) }),
      "HeadTooLarge"
    ]
  ]

  it.live.each(answers)("%s is told as what it is", ([_name, answer, tag]) =>
    Effect.gen(function*() {
      const url = yield* http2.rawServer(answer)
      assert.strictEqual((yield* Effect.flip(WebSocketClient.dial({ url }))).reason._tag, tag)
    }).pipe(Effect.provide(dialer)))

  it.effect("a server that never answers ends with HandshakeTimeout, and its stream with CANCEL", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<Http2.ServerHttp2Stream>()
      const url = yield* http2.rawServer((stream) => Deferred.doneUnsafe(asked, Exit.succeed(stream)))
      const dialling = yield* Effect.forkChild(
        Effect.flip(WebSocketClient.dial({ url, config: { handshakeTimeout: "3 seconds" } }))
      )
      const stream = yield* Deferred.await(asked)
      // Node ends a stream that was reset as well; one that was ended first has no code yet
      let codeAtEnd: number | undefined
      stream.on("end", () => (codeAtEnd = stream.rstCode)).resume()
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(dialling)).reason._tag, "HandshakeTimeout")
      yield* http2.closed(stream)
      assert.strictEqual(stream.rstCode, Http2.constants.NGHTTP2_CANCEL)
      assert.notStrictEqual(codeAtEnd, Http2.constants.NGHTTP2_NO_ERROR)
    }).pipe(Effect.provide(dialer)))
})

describe("a server of Node's own", () => {
  it.live("gets the request of RFC 8441 and masked frames, and its frames are read", () =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<Http2.IncomingHttpHeaders>()
      const first = yield* Deferred.make<Buffer>()
      const url = yield* http2.rawServer((stream, headers) => {
        Deferred.doneUnsafe(seen, Exit.succeed(headers))
        stream.respond({ ":status": 200, "sec-websocket-protocol": "chat" })
        stream.write(http2.unmasked("hi"))
        stream.once("data", (data: Buffer) => Deferred.doneUnsafe(first, Exit.succeed(data)))
      })
      const stream = yield* WebSocketClient.dial({ url: `${url}/chat`, subprotocols: ["chat"] })
      assert.strictEqual(yield* stream.read, "hi")
      yield* stream.write("hello")
      const request: object = yield* Deferred.await(seen)
      assert.deepInclude(request, {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":path": "/chat",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "chat"
      })
      const frame = yield* Deferred.await(first)
      assert.deepStrictEqual([frame[0], frame[1]], [0x81, 0x85])
      const text = frame.subarray(6).map((byte, i) => byte ^ frame[2 + i % 4]!)
      assert.strictEqual(Buffer.from(text).toString(), "hello")
    }).pipe(Effect.provide(dialer)))

  it.live("GOAWAY lets what is open go on, and the next connection has a session of its own", () =>
    Effect.gen(function*() {
      const sessions = new Set<unknown>()
      const url = yield* http2.rawServer((stream) => {
        sessions.add(stream.session)
        stream.respond({ ":status": 200 })
        if (sessions.size === 1) stream.session?.goaway(Http2.constants.NGHTTP2_NO_ERROR)
        stream.write(http2.unmasked("hi"))
      })
      const first = yield* WebSocketClient.dial({ url })
      assert.strictEqual(yield* first.read, "hi")
      assert.strictEqual(yield* first.state, "Open")
      const second = yield* WebSocketClient.dial({ url })
      assert.strictEqual(yield* second.read, "hi")
      assert.strictEqual(sessions.size, 2)
      assert.strictEqual(yield* first.state, "Open")
    }).pipe(Effect.provide(dialer)))
})
