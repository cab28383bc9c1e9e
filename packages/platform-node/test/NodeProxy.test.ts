import * as NodeHttp2Transport from "@effect-websocket/platform-node/NodeHttp2Transport"
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import * as NodeProxy from "@effect-websocket/platform-node/NodeProxy"
import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Net from "node:net"
import type * as Tls from "node:tls"
import * as certificates from "./fixtures/certificates.ts"
import * as proxies from "./fixtures/proxies.ts"

const origin = await certificates.selfSigned("DNS:localhost", "IP:127.0.0.1")
const guard = await certificates.selfSigned("DNS:localhost")

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

const serving = (tls?: Tls.TlsOptions) =>
  Layer.build(
    WebSocketServer.serve(echo).pipe(
      Layer.provideMerge(NodeWebSocketServer.layer(tls === undefined ? { port: 0 } : { port: 0, tls }))
    )
  ).pipe(
    Effect.flatMap((context) => Effect.provideContext(WebSocketServer.WebSocketServer, context)),
    Effect.map(({ address }) => (address as NetAddress.InetAddress).port)
  )

const servingHttp2 = Effect.fnUntraced(function*(tls: Tls.TlsOptions) {
  const context = yield* Layer.build(
    WebSocketServer.serve(echo).pipe(Layer.provideMerge(NodeHttp2WebSocketServer.layer({ port: 0, tls })))
  )
  const { address } = yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
  return (address as NetAddress.InetAddress).port
})

const echoes = Effect.fnUntraced(function*(options: NodeWebSocketClient.Options) {
  const stream = yield* NodeWebSocketClient.connect({ linger: "50 millis", ...options })
  const long = "x".repeat(300_000)
  yield* Effect.forkChild(stream.writeAll(["hello", long]))
  assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["hello", long])
  assert.isTrue((yield* stream.close()).clean)
})

const failure = (options: NodeWebSocketClient.Options) =>
  Effect.map(Effect.flip(NodeWebSocketClient.connect(options)), (error: HandshakeError) => error.reason)

/** Answers whatever it is sent with these bytes, and stays. */
const answering = Effect.fnUntraced(function*(answer: string) {
  const server = Net.createServer((socket) => socket.once("data", () => socket.write(answer)))
  return { url: `http://127.0.0.1:${(yield* proxies.listening(server)).port}` }
})

describe("RFC 9110 section 9.3.6: a tunnel", () => {
  it.live("carries ws: and wss:, TLS being with the server behind it", () =>
    Effect.gen(function*() {
      const proxy = yield* proxies.make()
      const url = `http://127.0.0.1:${proxy.port}`
      const plain = yield* serving()
      yield* echoes({ url: `ws://localhost:${plain}/`, proxy: { url } })
      const secure = yield* serving(origin)
      yield* echoes({ url: `wss://localhost:${secure}/`, proxy: { url: new URL(url) }, tls: { ca: origin.cert } })
      assert.deepStrictEqual(proxy.requests, [
        { authority: `localhost:${plain}`, headers: { host: `localhost:${plain}` } },
        { authority: `localhost:${secure}`, headers: { host: `localhost:${secure}` } }
      ])
    }))

  it.live("goes by TLS to an https: proxy, and by TLS in TLS to a wss: server", () =>
    Effect.gen(function*() {
      const proxy = { url: `https://localhost:${(yield* proxies.make({ tls: guard })).port}`, tls: { ca: guard.cert } }
      yield* echoes({ url: `ws://localhost:${yield* serving()}/`, proxy })
      yield* echoes({ url: `wss://localhost:${yield* serving(origin)}/`, proxy, tls: { ca: origin.cert } })
    }))

  it.live("the certificate must be for the server behind it, by name or IP address, and that of the proxy for the proxy", () =>
    Effect.gen(function*() {
      const plain = { url: `http://127.0.0.1:${(yield* proxies.make()).port}` }
      const port = yield* serving(origin)
      yield* echoes({ url: `wss://127.0.0.1:${port}/`, proxy: plain, tls: { ca: origin.cert } })
      const other = yield* serving(guard)
      const wrong = { url: `wss://127.0.0.1:${other}/`, proxy: plain, tls: { ca: guard.cert } }
      assert.strictEqual((yield* failure(wrong))._tag, "TransportFailed")
      const secure = { url: `https://127.0.0.1:${(yield* proxies.make({ tls: guard })).port}`, tls: { ca: guard.cert } }
      const reason = yield* failure({ url: `ws://127.0.0.1:${port}/`, proxy: secure })
      assert.match(reason.message, /does not match certificate's altnames/)
      const untrusted = { url: `https://localhost:${(yield* proxies.make({ tls: guard })).port}` }
      assert.match((yield* failure({ url: `ws://localhost:${port}/`, proxy: untrusted })).message, /self-signed/)
    }))

  it.live("is asked for with credentials, from the proxy's URL, and further headers; the server sees neither", () =>
    Effect.gen(function*() {
      const proxy = yield* proxies.make()
      const heads: Array<string> = []
      const server = Net.createServer((socket) =>
        socket.once("data", (bytes) => {
          heads.push(bytes.toString())
          socket.end("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        })
      )
      const { port } = yield* proxies.listening(server)
      const reason = yield* failure({
        url: `ws://127.0.0.1:${port}/`,
        headers: { Authorization: "Bearer x" },
        proxy: { url: `http://m%C3%A9:s%3Ae@127.0.0.1:${proxy.port}`, headers: [["X-Room", "1"]] }
      })
      assert.deepInclude(reason, { _tag: "UpgradeDeclined", status: 403 })
      assert.deepStrictEqual(proxy.requests[0]!.headers, {
        "host": `127.0.0.1:${port}`,
        "proxy-authorization": `Basic ${btoa("m\u00c3\u00a9:s:e")}`,
        "x-room": "1"
      })
      assert.notMatch(heads[0]!, /x-room|proxy/i)
    }))

  it.live("carries HTTP/2, one tunnel for many connections", () =>
    Effect.gen(function*() {
      const proxy = yield* proxies.make()
      const url = `wss://localhost:${yield* servingHttp2(origin)}/`
      const dialer = NodeHttp2Transport.layerDialer({
        linger: "50 millis",
        tls: { ca: origin.cert },
        proxy: { url: `http://127.0.0.1:${proxy.port}` }
      })
      yield* Effect.gen(function*() {
        for (const message of ["first", "second"]) {
          const stream = yield* WebSocketClient.dial({ url })
          assert.strictEqual(stream.handshake.request.version, "HTTP/2")
          yield* stream.write(message)
          assert.strictEqual(yield* stream.read, message)
        }
      }).pipe(Effect.scoped, Effect.provide(dialer))
      assert.strictEqual(proxy.requests.length, 1)
    }))

  it.live("an IPv6 address stands in brackets, and a unix socket needs no proxy", () =>
    Effect.gen(function*() {
      const proxy = yield* proxies.make({ answer: "HTTP/1.1 403 No\r\n\r\n" })
      const url = `http://127.0.0.1:${proxy.port}`
      assert.strictEqual((yield* failure({ url: "ws://[::1]:9/", proxy: { url } }))._tag, "ProxyRefused")
      assert.strictEqual((yield* failure({ url: "ws+unix:///nowhere:/", proxy: { url } }))._tag, "TransportFailed")
      assert.deepStrictEqual(proxy.requests.map(({ authority }) => authority), ["[::1]:9"])
    }))
})

describe("a proxy that gives no tunnel", () => {
  it.live("is ProxyRefused, with status and headers, and its connection is closed", () =>
    Effect.gen(function*() {
      const answer = "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno"
      const proxy = yield* proxies.make({ answer })
      const reason = yield* failure({ url: "ws://localhost:9/", proxy: { url: `http://127.0.0.1:${proxy.port}` } })
      assert.deepInclude(reason, {
        _tag: "ProxyRefused",
        status: 407,
        headers: [["Proxy-Authenticate", "Basic realm=\"x\""], ["Content-Length", "2"]]
      })
    }))

  it.live.each(
    [
      ["HTTP/1.1 301 x\r\nLocation: http://other\r\n\r\n", 301],
      ["HTTP/1.1 502 x\r\n\r\n", 502],
      ["HTTP/1.0 403 x\r\n\r\n", 403],
      ["HTTP/1.1 101 x\r\n\r\n".repeat(9), 101],
      ["HTTP/1.1 103 x\r\n\r\nHTTP/1.1 404 x\r\n\r\n", 404]
    ] as const
  )("by %j is ProxyRefused with %d", ([answer, status]) =>
    Effect.gen(function*() {
      const proxy = yield* answering(answer)
      assert.deepInclude(yield* failure({ url: "ws://localhost:9/", proxy }), { _tag: "ProxyRefused", status })
    }))

  it.live.each([
    ["what is no HTTP", "SSH-2.0-OpenSSH\r\n"],
    ["a line without an end", "HTTP/1.1 200 OK\r\nX: ".padEnd(20_000, "x")],
    ["headers without an end", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(101)}`]
  ])(
    "but %s is TransportFailed, after at most as many bytes as a head may have",
    ([_, answer]) =>
      Effect.gen(function*() {
        const proxy = yield* answering(answer)
        assert.strictEqual((yield* failure({ url: "ws://localhost:9/", proxy }))._tag, "TransportFailed")
      })
  )

  it.live("because it cannot be reached, or ends, is TransportFailed", () =>
    Effect.gen(function*() {
      const closed = Net.createServer((socket) => socket.once("data", () => socket.end()))
      const { port } = yield* proxies.listening(closed)
      const proxy = { url: `http://127.0.0.1:${port}` }
      const reason = yield* failure({ url: "ws://localhost:9/", proxy })
      assert.match(reason.message, /proxy ended the connection/)
      const reset = Net.createServer((socket) => socket.once("data", () => socket.resetAndDestroy()))
      const url = `http://127.0.0.1:${(yield* proxies.listening(reset)).port}`
      assert.match((yield* failure({ url: "ws://localhost:9/", proxy: { url } })).message, /ECONNRESET/)
    }))

  it.live.each(["socks5://127.0.0.1:1080", "nonsense", "ftp://127.0.0.1", "http://%zz@127.0.0.1:1"])(
    "because its URL is %s is TransportFailed",
    (url) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* failure({ url: "ws://localhost:9/", proxy: { url } }))._tag, "TransportFailed")
      })
  )

  it.effect("in time is given up after connectTimeout, and leaves no connection", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<Net.Socket>()
      const gone = yield* Deferred.make<void>()
      const server = Net.createServer((socket) => {
        socket.on("close", () => Deferred.doneUnsafe(gone, Exit.void))
        socket.once("data", () => Deferred.doneUnsafe(asked, Exit.succeed(socket)))
      })
      const proxy = { url: `http://127.0.0.1:${(yield* proxies.listening(server)).port}` }
      const { reader } = NodeTransport.fromUrl("ws://localhost:9/", { proxy, connectTimeout: "5 seconds" })
      const dialling = yield* Effect.forkChild(Effect.flip(Effect.scoped(reader)))
      ;(yield* Deferred.await(asked)).resume()
      yield* TestClock.adjust(4999)
      assert.isUndefined(dialling.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepInclude((yield* Fiber.join(dialling)).reason, { _tag: "SocketOpenError", kind: "Timeout" })
      yield* Deferred.await(gone)
    }))
})

it.live("bytes behind the proxy's answer are the server's", () =>
  Effect.gen(function*() {
    const proxy = yield* answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello")
    const { pull } = yield* NodeTransport.fromUrl("ws://localhost:9/", { proxy }).reader
    assert.strictEqual(new TextDecoder().decode((yield* pull)[0] as Uint8Array), "hello")
  }))

describe("the environment", () => {
  const found = (env: Record<string, string>, target: NodeProxy.Target) =>
    Effect.map(
      Effect.provide(NodeProxy.fromEnvironment(target), ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
      (options) => options?.url
    )
  const plain = { host: "example.com", port: 80, secure: false }
  const secure = { host: "example.com", port: 443, secure: true }

  it.effect.each(
    [
      [{}, undefined, undefined],
      [{ http_proxy: "http://p:1" }, "http://p:1", undefined],
      [{ HTTP_PROXY: "http://p:1" }, "http://p:1", undefined],
      [{ https_proxy: "http://p:1" }, undefined, "http://p:1"],
      [{ HTTPS_PROXY: "http://p:1" }, undefined, "http://p:1"],
      [{ all_proxy: "http://p:1" }, "http://p:1", "http://p:1"],
      [{ ALL_PROXY: "http://p:1" }, "http://p:1", "http://p:1"],
      [{ http_proxy: "a:1", HTTP_PROXY: "b:1", all_proxy: "c:1", ALL_PROXY: "d:1" }, "http://a:1", "http://c:1"],
      [{ http_proxy: "", HTTP_PROXY: "b:1", https_proxy: "https://u:p@c" }, "http://b:1", "https://u:p@c"],
      [{ HTTP_PROXY: "p:1", REQUEST_METHOD: "GET" }, undefined, undefined],
      [{ http_proxy: "p:1", REQUEST_METHOD: "GET" }, "http://p:1", undefined],
      [{ all_proxy: "p:1", no_proxy: "example.com" }, undefined, undefined],
      [{ all_proxy: "p:1", NO_PROXY: "example.com:443" }, "http://p:1", undefined],
      [{ all_proxy: "p:1", no_proxy: "other", NO_PROXY: "*" }, "http://p:1", "http://p:1"],
      [{ all_proxy: "p:1", no_proxy: "*" }, undefined, undefined]
    ] as ReadonlyArray<readonly [Record<string, string>, string | undefined, string | undefined]>
  )("%j leads by %s without TLS, by %s with it", ([env, without, withTls]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* found(env, plain), without)
      assert.strictEqual(yield* found(env, secure), withTls)
    }))

  it.each(
    [
      ["example.com", "example.com", true],
      ["example.com", "EXAMPLE.com", true],
      ["Example.Com", "example.com", true],
      ["example.com", "example.com.", true],
      ["example.com.", "example.com", true],
      ["example.com", "api.example.com", true],
      ["example.com", "notexample.com", false],
      ["example.com", "example.com.evil.test", false],
      [".example.com", "example.com", true],
      [".example.com", "a.b.example.com", true],
      ["*.example.com", "api.example.com", true],
      ["*.example.com", "badexample.com", false],
      ["com", "example.com", true],
      ["a, b c\td", "c", true],
      [",, ,", "example.com", false],
      ["", "example.com", false],
      [".", "example.com", false],
      ["example.com:80", "example.com", true],
      ["example.com:81", "example.com", false],
      ["*", "::1", true],
      ["127.0.0.1", "127.0.0.1", true],
      ["127.0.0.1:80", "127.0.0.1", true],
      ["127.0.0.1:81", "127.0.0.1", false],
      ["0.0.1", "127.0.0.1", false],
      ["10.0.0.0/8", "10.255.0.1", true],
      ["10.0.0.0/8", "11.0.0.1", false],
      ["10.0.0.0/33", "10.0.0.1", false],
      ["10.0.0.0/x", "10.0.0.1", false],
      ["10.0.0.0/8", "10.example.com", false],
      ["0.0.0.0/0", "127.0.0.1", true],
      ["::1", "::1", true],
      ["0:0:0:0:0:0:0:1", "::1", true],
      ["[::1]", "::1", true],
      ["[::1]:80", "::1", true],
      ["[::1]:81", "::1", false],
      ["fd00::/8", "fd12::1", true],
      ["fd00::/8", "fe80::1", false],
      ["fd00::/129", "fd00::1", false]
    ] as const
  )("no_proxy %j and %s at port 80: %s", (rules, host, expected) => {
    assert.strictEqual(NodeProxy.isExcluded(rules, { host, port: 80 }), expected)
  })

  it.live("is asked only where the options say so", () =>
    Effect.gen(function*() {
      const proxy = yield* proxies.make()
      const port = yield* serving()
      const url = `ws://127.0.0.1:${port}/`
      const env = { http_proxy: `127.0.0.1:${proxy.port}` }
      const environment = ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
      yield* Effect.provide(echoes({ url }), environment)
      assert.strictEqual(proxy.requests.length, 0)
      yield* Effect.provide(echoes({ url, proxy: "environment" }), environment)
      assert.strictEqual(proxy.requests.length, 1)
      const excluded = ConfigProvider.layer(ConfigProvider.fromEnv({ env: { ...env, NO_PROXY: "127.0.0.0/8" } }))
      yield* Effect.provide(echoes({ url, proxy: "environment" }), excluded)
      assert.strictEqual(proxy.requests.length, 1)
    }))
})
