/**
 * The server's side of the opening handshake over plain sockets, which are read
 * without a fiber: heads however they are cut, and what ends one that is not
 * all there.
 */
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import * as http2 from "./fixtures/http2.ts"

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

const serving = Effect.fnUntraced(
  function*(
    options?: WebSocketServer.AcceptOptions,
    handler: Effect.Effect<unknown, unknown, WebSocketStream | Scope.Scope> = echo
  ) {
    const layer = NodeWebSocketServer.layer({ port: 0, linger: "50 millis", ...options })
    const context = yield* Layer.build(Layer.provideMerge(WebSocketServer.serve(handler), layer))
    const server = yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
    assert.isTrue(NetAddress.isInetAddress(server.address))
    return { server, port: (server.address as NetAddress.InetAddress).port }
  }
)

const request = "GET /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/** The answer to the key of RFC 6455 section 1.3. */
const response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

const dial = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
      socket.on("error", () => {}).setNoDelay(true)
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const nextTurn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

/** Writes pieces in turns of their own, so that most arrive one by one. */
const send = (socket: Net.Socket, pieces: ReadonlyArray<string | Uint8Array>) =>
  Effect.forEach(
    pieces,
    (piece) => Effect.andThen(Effect.sync(() => socket.write(piece)), Effect.andThen(nextTurn, nextTurn)),
    { discard: true }
  )

const status = Effect.fnUntraced(function*(socket: Net.Socket) {
  return Buffer.from(yield* http2.rest(socket)).toString("latin1").split(" ")[1]
})

const gone = (server: WebSocketServer.WebSocketServer["Service"]) =>
  Effect.repeat(Effect.andThen(nextTurn, server.connections), { until: (count) => count === 0 })

const deciding: ReadonlyArray<readonly [string, WebSocketServer.AcceptOptions]> = [
  ["nobody", {}],
  ["an accept", { accept: () => Effect.succeed({}) }],
  ["an accept that takes its time", { accept: () => Effect.as(Effect.andThen(nextTurn, nextTurn), {}) }]
]

describe.each(deciding)("asked by %s", (_, options) => {
  it.live("a request may come byte by byte", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(options)
      const socket = yield* dial(port)
      yield* send(socket, request.split(""))
      assert.strictEqual(Buffer.from(yield* http2.bytes(socket, response.length)).toString("latin1"), response)
      yield* send(socket, [http2.masked("hello")])
      assert.deepStrictEqual(yield* http2.bytes(socket, 7), http2.unmasked("hello"))
    }))

  it.live("bytes behind it are frames, whatever comes with it and whatever later", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(options)
      // Of more bytes than the request: what is read next covers all that was read with it.
      const texts = ["one", "two", ..."abcdef"].map((text) => text.padEnd(100, "."))
      const frames = Buffer.concat(texts.map(http2.masked))
      const all = Buffer.concat([Buffer.from(response), ...texts.map(http2.unmasked)])
      for (let cut = 0; cut <= frames.length; cut += 29) {
        const socket = yield* dial(port)
        yield* send(socket, [Buffer.concat([Buffer.from(request), frames.subarray(0, cut)]), frames.subarray(cut)])
        assert.deepStrictEqual(Buffer.from(yield* http2.bytes(socket, all.length)), all)
        socket.destroy()
      }
    }))

  it.live("one that breaks a rule, and one that is too long, are answered, and what is behind them is not looked at", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serving(options)
      const broken = request.replace("13", "12")
      const long = request.replace("\r\n\r\n", `\r\nX: ${"x".repeat(9000)}\r\n\r\n`)
      for (const [text, expected] of [[broken, "426"], [long, "431"], ["GET\r\n", "400"]] as const) {
        const socket = yield* dial(port)
        yield* send(socket, [text.slice(0, 30), text.slice(30), request])
        socket.end()
        assert.strictEqual(yield* status(socket), expected)
      }
      yield* gone(server)
    }))
})

describe("a request that is not all there", () => {
  it.effect("is answered 408 after handshakeTimeout", () =>
    Effect.gen(function*() {
      const { port } = yield* serving()
      const socket = yield* dial(port)
      yield* send(socket, [request.slice(0, 50), request.slice(50, 60)])
      yield* TestClock.adjust("29 seconds")
      yield* send(socket, [request.slice(60, 61)])
      yield* TestClock.adjust("1 second")
      socket.end()
      assert.strictEqual(yield* status(socket), "408")
    }))

  it.live("is answered 503 when the server drains", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(serving(), scope)
      const socket = yield* dial(port)
      yield* send(socket, [request.slice(0, 50), request.slice(50, 60)])
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* nextTurn
      yield* send(socket, [request.slice(60)])
      socket.end()
      assert.strictEqual(yield* status(socket), "503")
    }))

  it.live("leaves its place to the next when its client goes, by an end or a reset", () =>
    Effect.gen(function*() {
      const { port } = yield* serving({ config: { maxHandshakes: 1 } })
      for (const leave of [(socket: Net.Socket) => socket.end(), (socket: Net.Socket) => socket.resetAndDestroy()]) {
        const socket = yield* dial(port)
        yield* send(socket, [request.slice(0, 50), request.slice(50, 60)])
        const full = yield* dial(port)
        yield* send(full, [request])
        full.end()
        assert.strictEqual(yield* status(full), "503")
        leave(socket)
        yield* Effect.repeat(
          Effect.gen(function*() {
            const next = yield* dial(port)
            yield* send(next, [request])
            const answer = Buffer.from(yield* http2.bytes(next, 12)).toString("latin1")
            next.destroy()
            return answer
          }),
          { until: (answer) => answer === "HTTP/1.1 101" }
        )
      }
    }))
})

it.live("who asks is known while accept decides, and after the connection was reset", () =>
  Effect.gen(function*() {
    const seen = yield* Deferred.make<unknown>()
    const handler = Effect.flatMap(WebSocketStream, (stream) =>
      Effect.andThen(stream.closed, Effect.sync(() => stream.handshake.peerAddress))).pipe(
        Effect.flatMap((address) =>
          Deferred.succeed(seen, address)
        )
      )
    const asking: Array<unknown> = []
    const { port } = yield* serving({
      accept: (request) => Effect.as(Effect.sync(() => asking.push(request.peerAddress)), {})
    }, handler)
    const socket = yield* dial(port)
    const own = NetAddress.inetAddressFromNativeUnsafe("127.0.0.1", socket.localPort!, new Map())
    yield* send(socket, [request])
    yield* http2.bytes(socket, response.length)
    socket.resetAndDestroy()
    assert.deepStrictEqual([asking[0], yield* Deferred.await(seen)], [own, own])
  }))

it.live("a tracer with a bug ends the connection that it sees, and nothing else", () =>
  Effect.gen(function*() {
    const span = (options: ConstructorParameters<typeof Tracer.NativeSpan>[0]) => {
      const made = new Tracer.NativeSpan(options)
      made.attribute = () => {
        throw new Error("a bug")
      }
      return made
    }
    const { port, server } = yield* Effect.provideService(serving(), Tracer.Tracer, Tracer.make({ span }))
    for (let time = 0; time < 2; time++) {
      const socket = yield* dial(port)
      yield* send(socket, [request])
      socket.end()
      assert.strictEqual((yield* http2.rest(socket)).length, 0)
    }
    yield* gone(server)
  }))
