import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as Deflate from "effect-websocket/Deflate"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Stream from "effect/Stream"

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

const serving = (permessageDeflate: Deflate.Options | undefined, codec = NodeDeflate.layer) =>
  Effect.map(
    Layer.build(
      WebSocketServer.serve(echo).pipe(
        Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, permessageDeflate })),
        Layer.provide(codec)
      )
    ),
    (context) => Effect.provideContext(WebSocketServer.WebSocketServer, context)
  ).pipe(
    Effect.flatten,
    Effect.map(({ address }) => `ws://127.0.0.1:${NetAddress.isInetAddress(address) ? address.port : 0}/`)
  )

const connecting = (url: string, permessageDeflate: Deflate.Options | undefined) =>
  Effect.provide(NodeWebSocketClient.connect({ url, permessageDeflate }), NodeDeflate.layer)

const prose = "lorem ipsum dolor sit amet ".repeat(1000)
const bytes = new Uint8Array(3_000_000).map((_, i) => i % 251)

const agreements: ReadonlyArray<Deflate.Options> = [
  {},
  { serverNoContextTakeover: true },
  { clientNoContextTakeover: true, serverNoContextTakeover: true },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  { serverMaxWindowBits: 8, clientMaxWindowBits: 8, level: 9, memLevel: 1 }
]

describe("compression over TCP", () => {
  it.live.each(agreements)("messages arrive equal, as they were agreed on: %j", (agreement) =>
    Effect.gen(function*() {
      const url = yield* serving({ threshold: 0 })
      const stream = yield* connecting(url, { ...agreement, threshold: 0 })
      assert.strictEqual(stream.handshake.extensions.length, 1)
      const prepared = yield* Effect.provide(PreparedMessage.makeCompressed(prose), NodeDeflate.layer)
      for (const message of [prose, "", bytes.subarray(0, 1000), prepared, prose, "h\u00e9llo", prepared, bytes]) {
        yield* Effect.forkChild(stream.write(message))
        assert.deepStrictEqual(yield* stream.read, message instanceof PreparedMessage.PreparedMessage ? prose : message)
      }
      assert.strictEqual(yield* stream.writeSome(false, "part one "), 9)
      assert.strictEqual(yield* stream.writeSome(false, "part two ", { flush: true }), 9)
      assert.strictEqual(yield* stream.writeSome(true, "end"), 3)
      assert.strictEqual(yield* stream.read, "part one part two end")
      assert.isTrue((yield* stream.close()).clean)
    }))

  it.live.each([
    { name: "the server without", server: undefined, client: {} },
    { name: "the client without", server: {}, client: undefined }
  ])("$name, nothing is agreed and messages arrive", ({ client, server }) =>
    Effect.gen(function*() {
      const stream = yield* connecting(yield* serving(server), client)
      assert.deepStrictEqual(stream.handshake.extensions, [])
      yield* stream.write(prose, { compress: true })
      assert.strictEqual(yield* stream.read, prose)
    }))

  it.live("zlib and the portable codec understand each other", () =>
    Effect.gen(function*() {
      const stream = yield* connecting(yield* serving({ threshold: 0 }, PortableDeflate.layer), { threshold: 0 })
      for (const message of [prose, prose, bytes.subarray(0, 200_000)]) {
        yield* Effect.forkChild(stream.write(message))
        assert.deepStrictEqual(yield* stream.read, message)
      }
    }))

  it.live("pings are answered while a long message is compressed", () =>
    Effect.gen(function*() {
      const stream = yield* connecting(yield* serving({}), {})
      const reading = yield* Effect.forkChild(stream.read)
      const writing = yield* Effect.forkChild(stream.write(bytes))
      yield* Effect.yieldNow
      yield* stream.ping()
      assert.isUndefined(reading.pollUnsafe())
      assert.strictEqual(yield* Fiber.join(writing), bytes.length)
      assert.deepStrictEqual(yield* Fiber.join(reading), bytes)
    }))
})

describe("compression in memory", () => {
  it.effect("a bomb ends with 1009, and its memory is bounded", () =>
    Effect.gen(function*() {
      const limit = 1 << 20
      const codec = yield* Deflate.Deflate
      const tell = Effect.flatMap(WebSocketStream, (stream) => Effect.ignore(stream.write(new Uint8Array(64 << 20))))
      const server = WebSocketServer.serve(tell).pipe(
        Layer.provide(WebSocketServer.layer({ permessageDeflate: {} })),
        Layer.provideMerge(MemoryTransport.layer()),
        Layer.provide(Layer.succeed(Deflate.Deflate, codec))
      )
      const network = yield* Layer.build(server)
      const stream = yield* Effect.provideContext(
        WebSocketClient.connect({ url: "ws://localhost/", permessageDeflate: {}, config: { maxMessageSize: limit } }),
        network
      )
      const before = process.memoryUsage().arrayBuffers
      const error = yield* Effect.flip(stream.read)
      assert.deepInclude({ ...error.reason }, { _tag: "MessageTooBig", limit })
      // the 64 MiB that are sent, and little more
      assert.isBelow(process.memoryUsage().arrayBuffers - before, 80 << 20)
      assert.strictEqual((yield* stream.closed).sent?.code, 1009)
    }).pipe(Effect.provide(NodeDeflate.layer)))
})
