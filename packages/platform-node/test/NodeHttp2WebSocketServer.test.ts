import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import type * as NodeHttp2TransportServer from "@effect-websocket/platform-node/NodeHttp2TransportServer"
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import type * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import { assert, describe, it } from "@effect/vitest"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
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
import * as http2 from "./fixtures/http2.ts"

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = Http2.constants

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

/** A server in the clear, and where it is. */
const serving = Effect.fnUntraced(function*<E>(
  handler: Effect.Effect<unknown, E, WebSocketStream | Scope.Scope>,
  options?: NodeHttp2TransportServer.Http2Options & NodeTransportServer.ServeOptions & WebSocketServer.AcceptOptions
) {
  const layer = NodeHttp2WebSocketServer.layer({ port: 0, linger: "50 millis", ...options })
  const context = yield* Layer.build(Layer.provideMerge(WebSocketServer.serve(handler), layer))
  const server = yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
  assert.isTrue(NetAddress.isInetAddress(server.address))
  const { port } = server.address as NetAddress.InetAddress
  return { server, url: `http://127.0.0.1:${port}` }
})

const echoes = Effect.fnUntraced(function*(stream: Http2.ClientHttp2Stream, text: string) {
  stream.write(http2.masked(text))
  assert.deepStrictEqual(yield* http2.bytes(stream, text.length + 2), http2.unmasked(text))
})

describe("RFC 8441 section 3", () => {
  it.live("the server announces extended CONNECT", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo)
      const session = yield* http2.session(url)
      assert.deepInclude(session.remoteSettings, { enableConnectProtocol: true, maxConcurrentStreams: 100 })
    }))
})

describe("RFC 8441 section 5", () => {
  it.live("the exchange of section 5.1: 200 and the subprotocol, then frames, then END_STREAM both ways", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, { subprotocols: ["chat"] })
      const session = yield* http2.session(url)
      const { headers, stream } = yield* http2.request(session, {
        ...http2.connectHeaders,
        "sec-websocket-protocol": "chat, superchat"
      })
      assert.deepInclude(headers as object, { ":status": 200, "sec-websocket-protocol": "chat" })
      assert.notProperty(headers, "sec-websocket-accept")
      yield* echoes(stream, "hello")
      stream.end(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]))
      assert.deepStrictEqual(yield* http2.rest(stream), Buffer.from([0x88, 0x02, 0x03, 0xe8]))
      yield* http2.closed(stream)
      assert.strictEqual(stream.rstCode, NGHTTP2_NO_ERROR)
    }))

  it.live("the client masks over HTTP/2 as well: a frame that is not closes with 1002", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo)
      const { stream } = yield* http2.request(yield* http2.session(url))
      stream.write(http2.unmasked("bare"))
      assert.deepStrictEqual((yield* http2.rest(stream)).subarray(2, 4), Buffer.from([0x03, 0xea]))
    }))

  it.live("compression is agreed on as over HTTP/1.1", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, { permessageDeflate: { threshold: 0 } })
      const { headers, stream } = yield* http2.request(yield* http2.session(url), {
        ...http2.connectHeaders,
        "sec-websocket-extensions": "permessage-deflate"
      })
      assert.strictEqual(headers["sec-websocket-extensions"], "permessage-deflate")
      // "Hello" of RFC 7692 section 7.2.3.1
      const hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]
      stream.write(Buffer.from([0xc1, 0x87, 0, 0, 0, 0, ...hello]))
      assert.deepStrictEqual(yield* http2.bytes(stream, 9), Buffer.from([0xc1, 0x07, ...hello]))
    }).pipe(Effect.provide(NodeDeflate.layer)))

  it.live("the handler is told the request, and the response carries what accept says", () =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<WebSocketStream["Service"]["handshake"]>()
      const handler = Effect.flatMap(WebSocketStream, ({ handshake }) => Deferred.succeed(seen, handshake))
      const { url } = yield* serving(handler, {
        accept: () => Effect.succeed({ headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]] })
      })
      const { headers } = yield* http2.request(yield* http2.session(url), {
        ...http2.connectHeaders,
        ":path": "/a?b=c"
      })
      assert.deepStrictEqual(headers["set-cookie"], ["a=1", "b=2"])
      const { peerAddress, request } = yield* Deferred.await(seen)
      assert.deepInclude(request, { method: "CONNECT", target: "/a?b=c", version: "HTTP/2" })
      assert.deepInclude(request.headers, ["host", url.slice("http://".length)])
      assert.match(NetAddress.formatSocketAddress(peerAddress!), /^127\.0\.0\.1:\d+$/)
    }))
})

describe("a refusal", () => {
  const { "sec-websocket-version": _version, ...versionless } = http2.connectHeaders
  const cases: ReadonlyArray<readonly [string, Http2.OutgoingHttpHeaders, object]> = [
    ["of another method is 405", { ":method": "GET", ":path": "/" }, { ":status": 405, allow: "CONNECT" }],
    ["of another protocol is 501", { ...http2.connectHeaders, ":protocol": "connect-udp" }, { ":status": 501 }],
    ["of no version is 400 and names it", versionless, { ":status": 400, "sec-websocket-version": "13" }],
    ["of another page is 403", { ...http2.connectHeaders, origin: "https://evil.example" }, { ":status": 403 }],
    ["by accept is as it says", { ...http2.connectHeaders, ":path": "/private" }, {
      ":status": 401,
      "www-authenticate": "Bearer"
    }],
    ["of a head that is too large is 431", { ...http2.connectHeaders, "x-large": "x".repeat(9000) }, { ":status": 431 }]
  ]

  it.live.each(cases)(
    "%s, with a body, and ends that stream only",
    ([_name, headers, expected]) =>
      Effect.gen(function*() {
        const refusal = new WebSocketServer.Refusal({
          status: 401,
          headers: { "WWW-Authenticate": "Bearer" },
          body: "who are you?"
        })
        const { server, url } = yield* serving(echo, {
          accept: ({ target }) => target === "/private" ? Effect.fail(refusal) : Effect.succeed({})
        })
        const session = yield* http2.session(url)
        const other = yield* http2.request(session)
        const refused = yield* http2.request(session, headers)
        assert.deepInclude(refused.headers, expected)
        assert.notProperty(refused.headers, "connection")
        assert.isAbove((yield* http2.rest(refused.stream)).length, 0)
        yield* http2.closed(refused.stream)
        yield* echoes(other.stream, "still here")
        assert.strictEqual(yield* server.connections, 1)
      })
  )

  it.live("of a stream too many is 503, also within one session", () =>
    Effect.gen(function*() {
      const { server, url } = yield* serving(echo, { config: { maxConnections: 2 } })
      const session = yield* http2.session(url)
      const first = yield* http2.request(session)
      yield* http2.request(session)
      const { headers } = yield* http2.request(session)
      assert.deepInclude(headers as object, { ":status": 503, "retry-after": "1" })
      assert.strictEqual(yield* server.connections, 2)
      yield* echoes(first.stream, "one of two")
    }))
})

describe("requests that are no CONNECT", () => {
  it.live("are the application's where it wants them", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, {
        onRequest: (stream, headers) => {
          stream.respond({ ":status": 200 })
          stream.end(`page ${headers[":path"]}`)
        }
      })
      const session = yield* http2.session(url)
      const { stream } = yield* http2.request(session, { ":method": "GET", ":path": "/index" })
      assert.strictEqual(`${yield* http2.rest(stream)}`, "page /index")
      yield* echoes((yield* http2.request(session)).stream, "beside")
    }))
})

describe("the end of a stream", () => {
  /** What a handler that reads is told. */
  const reading = Effect.fnUntraced(function*() {
    const told = yield* Deferred.make<never, WebSocketError.ReadError>()
    const handler = Effect.flatMap(
      WebSocketStream,
      (stream) => Deferred.into(Effect.forever(stream.read), told)
    )
    const { url } = yield* serving(handler)
    return { session: yield* http2.session(url), told: Effect.flip(Deferred.await(told)) }
  })

  it.live("END_STREAM without a Close is the end of the transport", () =>
    Effect.gen(function*() {
      const { session, told } = yield* reading()
      const { stream } = yield* http2.request(session)
      stream.end(http2.masked("last"))
      assert.strictEqual((yield* told).reason._tag, "ConnectionClosed")
      yield* http2.closed(stream)
    }))

  it.live.each([NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_ENHANCE_YOUR_CALM])(
    "RST_STREAM with code %d fails the transport",
    (code) =>
      Effect.gen(function*() {
        const { session, told } = yield* reading()
        const { stream } = yield* http2.request(session)
        stream.write(http2.masked("then nothing"))
        http2.reset(stream, code)
        const { reason } = yield* told
        assert.strictEqual(reason._tag, "TransportFailed")
      })
  )

  it.live("a session that is cut fails the transport of each of its streams", () =>
    Effect.gen(function*() {
      const { session, told } = yield* reading()
      yield* http2.request(session)
      session.destroy()
      assert.strictEqual((yield* told).reason._tag, "TransportFailed")
    }))
})

describe("flow control", () => {
  const mebibyte = 1024 * 1024

  it.live(
    "a client that never reads suspends the writer; its neighbour on the session and memory are not touched",
    () =>
      Effect.gen(function*() {
        let written = 0
        const message = new Uint8Array(mebibyte)
        const handler = Effect.gen(function*() {
          const stream = yield* WebSocketStream
          if (stream.handshake.request.target !== "/flood") return yield* echo
          for (let i = 0; i < 300; i++) {
            yield* stream.write(message)
            written++
          }
        })
        const { url } = yield* serving(handler)
        const session = yield* http2.session(url)
        const before = process.memoryUsage()
        const flooded = yield* http2.request(session, { ...http2.connectHeaders, ":path": "/flood" })
        const { stream } = yield* http2.request(session)
        for (let i = 0; i < 100; i++) yield* echoes(stream, `beside ${i}`)
        const after = process.memoryUsage()
        assert.isBelow(written, 3)
        assert.isBelow(after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed, 32 * mebibyte)

        // 300 frames of 64 KiB in 16 parts each, with headers of 10 bytes
        let received = 0
        yield* Effect.callback<void>((resume) => {
          flooded.stream.on("data", (chunk: Buffer) => {
            received += chunk.length
            if (received >= 300 * mebibyte) resume(Effect.void)
          })
        })
        assert.isAtLeast(received, 300 * mebibyte)
      }),
    60_000
  )

  it.live("a handler that never reads stops the client after the window of its stream, and no other stream", () =>
    Effect.gen(function*() {
      const window = 64 * 1024
      const handler = Effect.flatMap(
        WebSocketStream,
        ({ handshake }) => handshake.request.target === "/deaf" ? Effect.never : echo
      )
      const { url } = yield* serving(handler, { streamWindow: window, config: { drainTimeout: 0 } })
      const session = yield* http2.session(url)
      const deaf = yield* http2.request(session, { ...http2.connectHeaders, ":path": "/deaf" })
      const { stream } = yield* http2.request(session)
      // one long message: its header, then what fits
      deaf.stream.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0]))
      let sent = 0
      const chunk = Buffer.alloc(16 * 1024)
      const send = () =>
        void deaf.stream.write(chunk, () => {
          sent += chunk.length
          if (sent < 4 * mebibyte) send()
        })
      send()
      for (let i = 0; i < 100; i++) yield* echoes(stream, `beside ${i}`)
      // the stream's window, twice 64 KiB of transport and read buffer, and what stands in between
      assert.isAtLeast(sent, window)
      assert.isBelow(sent, 8 * window)
    }))
})

describe("hostile sessions", () => {
  it.live("a flood of requests that are reset at once ends its session, and no other", () =>
    Effect.gen(function*() {
      let accepted = 0
      const { server, url } = yield* serving(echo, {
        accept: () => Effect.sync(() => (accepted++, {})),
        resets: { burst: 50, perSecond: 1 }
      })
      const good = yield* http2.session(url)
      const { stream } = yield* http2.request(good)
      const bad = yield* http2.session(url)
      const ended = http2.closed(bad)
      for (let i = 0; i < 1000 && !bad.destroyed; i++) {
        const stream = bad.request(http2.connectHeaders, { endStream: false })
        stream.on("error", () => {})
        http2.reset(stream, NGHTTP2_CANCEL)
        yield* Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      }
      yield* ended
      assert.isBelow(accepted, 300)
      yield* echoes(stream, "still here")
      yield* Effect.repeat(Effect.yieldNow, { until: () => Effect.runSync(server.connections) === 1 })
    }))

  it.live("a request that is taken back interrupts what accept does for it", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const { url } = yield* serving(echo, {
        accept: () =>
          Deferred.succeed(asked, undefined).pipe(
            Effect.andThen(Effect.never),
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
      })
      const stream = (yield* http2.session(url)).request(http2.connectHeaders, { endStream: false })
      stream.on("error", () => {})
      yield* Deferred.await(asked)
      http2.reset(stream, NGHTTP2_CANCEL)
      yield* Deferred.await(interrupted)
    }))

  it.effect("an accept that takes too long is 408, on its stream only", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const { url } = yield* serving(echo, {
        accept: ({ target }) =>
          target === "/slow" ? Effect.andThen(Deferred.succeed(asked, undefined), Effect.never) : Effect.succeed({})
      })
      const session = yield* http2.session(url)
      const slow = yield* Effect.forkChild(http2.request(session, { ...http2.connectHeaders, ":path": "/slow" }))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("30 seconds")
      const { headers }: { readonly headers: object } = yield* Fiber.join(slow)
      assert.propertyVal(headers, ":status", 408)
      yield* echoes((yield* http2.request(session)).stream, "still here")
    }))

  it.live("a connection in the clear that says nothing is dropped after handshakeTimeout", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, { handshakeTimeout: "50 millis" })
      const { hostname, port } = new URL(url)
      for (const start of ["", "PR"]) {
        const socket = Net.connect(Number(port), hostname)
        socket.write(start)
        yield* http2.rest(socket)
        socket.destroy()
      }
    }))

  it.live("a field section beyond 64 KiB resets its stream, and ends no other", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo)
      const session = yield* http2.session(url, { maxSendHeaderBlockLength: 1024 * 1024 } as Http2.ClientSessionOptions)
      const { stream } = yield* http2.request(session)
      const large = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, "x".repeat(8000)]))
      const refused = yield* Effect.flip(http2.request(session, { ...http2.connectHeaders, ...large }))
      assert.strictEqual(refused.code, NGHTTP2_ENHANCE_YOUR_CALM)
      yield* echoes(stream, "still here")
    }))

  it.effect("a session without a stream is ended after idleTimeout, one with a stream is not", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, { idleTimeout: "20 seconds" })
      const idle = yield* http2.session(url)
      const busy = yield* http2.session(url)
      const { stream } = yield* http2.request(busy)
      yield* TestClock.adjust("20 seconds")
      yield* http2.closed(idle)
      yield* TestClock.adjust("5 seconds")
      yield* echoes(stream, "still here")
    }))

  it.live("sessions beyond maxSessions are dropped", () =>
    Effect.gen(function*() {
      const { url } = yield* serving(echo, { maxSessions: 1 })
      const first = yield* http2.session(url)
      yield* http2.closed(Http2.connect(url).on("error", () => {}))
      yield* echoes((yield* http2.request(first)).stream, "still here")
    }))
})

describe("draining", () => {
  it.live("sends GOAWAY while streams are open, 1001 to each of them, and ends", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { url } = yield* Scope.provide(serving(echo), scope)
      const session = yield* http2.session(url)
      const goaway = yield* Deferred.make<number>()
      session.once("goaway", (code) => Deferred.doneUnsafe(goaway, Exit.succeed(code)))
      const streams = yield* Effect.all([http2.request(session), http2.request(session)])
      const leaving = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      assert.strictEqual(yield* Deferred.await(goaway), NGHTTP2_NO_ERROR)
      for (const { stream } of streams) {
        const close = yield* http2.bytes(stream, 4)
        assert.deepStrictEqual([close[0], close[2], close[3]], [0x88, 0x03, 0xe9])
        stream.end(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]))
        yield* http2.rest(stream)
      }
      yield* http2.closed(session)
      yield* Fiber.join(leaving)
    }))
})
