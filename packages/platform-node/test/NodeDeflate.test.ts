import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import type { Deflater } from "@effect-websocket/protocol/Codec"
import { assert, describe, it } from "@effect/vitest"
import * as Deflate from "effect-websocket/Deflate"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as CodecContract from "effect-websocket/testing/CodecContract"
import * as Effect from "effect/Effect"

const node = Effect.provide(Deflate.Deflate, NodeDeflate.layer)
const portable = Effect.provide(Deflate.Deflate, PortableDeflate.layer)

const contract = (name: string, deflate: typeof node, inflate: typeof node) =>
  describe(name, () => {
    for (const law of CodecContract.laws) {
      it.effect(law.name, () => Effect.flatMap(Effect.all({ deflate, inflate }), law.check))
    }
  })

const options = { windowBits: 15, level: 6, memLevel: 8 }
const message = new TextEncoder().encode("a message".repeat(100))
const mebibyte = 1024 * 1024

describe("NodeDeflate", () => {
  contract("the contract", node, node)
  contract("the contract, with PortableDeflate inflating", node, portable)
  contract("the contract, with PortableDeflate deflating", portable, node)

  describe("native memory", () => {
    // A deflater that was used holds a quarter of a mebibyte, which the garbage collector does not see.
    const growth = Effect.fnUntraced(function*(count: number, end: (deflater: Deflater) => void) {
      const codec = yield* node
      const before = process.memoryUsage().rss
      const deflaters = Array.from({ length: count }, () => {
        const deflater = codec.makeDeflater(options)
        deflater.push(message, true)
        end(deflater)
        return deflater
      })
      return { grown: (process.memoryUsage().rss - before) / mebibyte, deflaters }
    })

    it.effect("is freed by close at once", () =>
      Effect.gen(function*() {
        const { grown } = yield* growth(1000, (deflater) => deflater.close())
        assert.isBelow(grown, 50)
      }))

    it.effect("is not held by connections that were reset, which go on when they like", () =>
      Effect.gen(function*() {
        const { deflaters, grown } = yield* growth(1000, (deflater) => deflater.reset())
        assert.isBelow(grown, 50)
        assert.isAbove(deflaters[0]!.push(message, true).length, 0)
        deflaters[0]!.close()
      }))
  })

  it.effect("corrupt input leaves nothing behind that fails later", () =>
    Effect.gen(function*() {
      const codec = yield* node
      const inflater = codec.makeInflater(15)
      for (let index = 0; index < 20; index++) {
        assert.deepStrictEqual(inflater.push(Uint8Array.of(6), 10), { _tag: "Corrupt", message: "invalid block type" })
      }
      inflater.close()
      // An 'error' event would come in one of the next turns of the event loop and fail the run.
      yield* Effect.callback<void>((resume) => {
        setImmediate(() => setImmediate(() => resume(Effect.void)))
      })
    }))
})
