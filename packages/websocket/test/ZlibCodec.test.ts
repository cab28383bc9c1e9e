import { assert, describe, it } from "@effect/vitest"
import * as ZlibCodec from "effect-websocket/ZlibCodec"

const options = { windowBits: 15, level: 6, memLevel: 8 }

/** A zlib whose streams give `supply` bytes for any input, and tell what is done with them. */
const scripted = (supply: number) => {
  const log: Array<string> = []
  let made = 0
  let streams = 0
  const open = (kind: string): ZlibCodec.ZlibStream => {
    const name = `${kind} #${++streams}`
    log.push(`open ${name}`)
    let left = supply
    return {
      unread: 0,
      write: (_input, _at, _flush, _output, room) => {
        const count = Math.min(room, left)
        left -= count
        made += count
        return count
      },
      reset: () => {
        left = supply
        log.push(`reset ${name}`)
      },
      close: () => {
        log.push(`close ${name}`)
      }
    }
  }
  const codec = ZlibCodec.make({
    deflate: ({ level, memLevel, windowBits }) => open(`deflate ${windowBits} ${level} ${memLevel}`),
    inflate: (windowBits) => open(`inflate ${windowBits}`)
  })
  return { codec, take: () => log.splice(0), made: () => made }
}

const byte = Uint8Array.of(1)

describe("ZlibCodec", () => {
  describe("output", () => {
    it("stops one byte behind the limit, however much there would be", () => {
      for (const limit of [0, 1, 65_535, 65_536, 65_537, 1_000_000]) {
        const zlib = scripted(Number.POSITIVE_INFINITY)
        assert.deepStrictEqual(zlib.codec.makeInflater(15).push(byte, limit), { _tag: "TooBig" })
        assert.strictEqual(zlib.made(), limit + 1)
      }
    })

    it("is whole at the limit", () => {
      for (const limit of [0, 1, 65_535, 65_536, 65_537, 1_000_000]) {
        const result = scripted(limit).codec.makeInflater(15).push(byte, limit)
        assert.strictEqual(result._tag === "Output" && result.data.length, limit)
      }
    })

    it("is whole whatever its size when deflating", () => {
      for (const size of [0, 1, 65_535, 65_536, 65_537, 1_000_000]) {
        assert.strictEqual(scripted(size).codec.makeDeflater(options).push(byte, true).length, size)
      }
    })
  })

  describe("contexts", () => {
    it("are opened by the first use", () => {
      const { codec, take } = scripted(1)
      const deflater = codec.makeDeflater(options)
      const inflater = codec.makeInflater(12)
      deflater.push(new Uint8Array(0), false)
      deflater.reset()
      inflater.reset()
      assert.deepStrictEqual(take(), [])
      deflater.push(byte, true)
      inflater.push(byte, 1)
      deflater.push(byte, true)
      assert.deepStrictEqual(take(), ["open deflate 15 6 8 #1", "open inflate 12 #2"])
    })

    it("go round among connections by being reset, and only one of a kind is kept", () => {
      const { codec, take } = scripted(1)
      const [first, second] = [codec.makeInflater(15), codec.makeInflater(15)]
      first.push(byte, 1)
      second.push(byte, 1)
      assert.deepStrictEqual(take(), ["open inflate 15 #1", "open inflate 15 #2"])
      first.reset()
      second.reset()
      assert.deepStrictEqual(take(), ["reset inflate 15 #1", "close inflate 15 #2"])
      second.push(byte, 1)
      codec.makeInflater(14).push(byte, 1)
      assert.deepStrictEqual(take(), ["open inflate 14 #3"])
    })

    it("are for what they were asked for: level, memory and window are kept apart", () => {
      const { codec, take } = scripted(1)
      for (const other of [{}, { level: 7 }, { memLevel: 7 }, { windowBits: 14 }]) {
        const deflater = codec.makeDeflater({ ...options, ...other })
        deflater.push(byte, true)
        deflater.reset()
      }
      assert.deepStrictEqual(take().filter((line) => line.startsWith("open")), [
        "open deflate 15 6 8 #1",
        "open deflate 15 7 8 #2",
        "open deflate 15 6 7 #3",
        "open deflate 14 6 8 #4"
      ])
    })

    it("with 8 window bits deflate with 9 and inflate with 8", () => {
      const { codec, take } = scripted(1)
      codec.makeDeflater({ ...options, windowBits: 8 }).push(byte, true)
      codec.makeInflater(8).push(byte, 1)
      assert.deepStrictEqual(take(), ["open deflate 9 6 8 #1", "open inflate 8 #2"])
    })

    it("are freed by close, once, and not used afterwards", () => {
      const { codec, take } = scripted(1)
      const [deflater, inflater] = [codec.makeDeflater(options), codec.makeInflater(15)]
      deflater.push(byte, false)
      inflater.push(byte, 1)
      take()
      for (const half of [deflater, inflater, deflater, inflater]) half.close()
      deflater.reset()
      inflater.reset()
      assert.deepStrictEqual(take(), ["close deflate 15 6 8 #1", "close inflate 15 #2"])
      assert.throws(() => deflater.push(byte, true), /closed/)
      assert.throws(() => inflater.push(byte, 1), /closed/)
      assert.deepStrictEqual(take(), [])
    })
  })

  it("throws where deflating fails: no input can be wrong", () => {
    const stream = { unread: 0, write: () => "out of order", reset: () => {}, close: () => {} }
    const codec = ZlibCodec.make({ deflate: () => stream, inflate: () => stream })
    assert.throws(() => codec.makeDeflater(options).push(byte, true), /out of order/)
    assert.deepStrictEqual(codec.makeInflater(15).push(byte, 1), { _tag: "Corrupt", message: "out of order" })
  })
})
