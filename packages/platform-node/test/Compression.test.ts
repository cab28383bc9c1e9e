import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import { assert, describe, it } from "@effect/vitest"
import type * as Deflate from "effect-websocket/Deflate"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))
const network = (options: Deflate.Options) =>
  WebSocketServer.serve(echo).pipe(
    Layer.provide(WebSocketServer.layer({ permessageDeflate: options })),
    Layer.provideMerge(MemoryTransport.layer()),
    Layer.provideMerge(NodeDeflate.layer)
  )

describe("compression", () => {
  it.effect("round trips", () =>
    Effect.gen(function*() {
      const stream = yield* WebSocketClient.connect({ url: "ws://localhost/", permessageDeflate: {} })
      assert.strictEqual(stream.handshake.extensions.length, 1)
      const text = "lorem ipsum dolor ".repeat(1000)
      for (let i = 0; i < 3; i++) {
        yield* stream.write(text)
        assert.strictEqual(yield* stream.read, text)
      }
      const big = new Uint8Array(3_000_000).map((_, i) => i % 251)
      yield* Effect.forkChild(stream.write(big))
      assert.deepStrictEqual(yield* stream.read, big)
      assert.strictEqual(yield* stream.writeSome(false, "part one "), 9)
      assert.strictEqual(yield* stream.writeSome(false, "part two ", { flush: true }), 9)
      assert.strictEqual(yield* stream.writeSome(true, "end"), 3)
      assert.strictEqual(yield* stream.read, "part one part two end")
      assert.isTrue((yield* stream.close()).clean)
    }).pipe(Effect.provide(network({ threshold: 0 }))))
})
