import * as Mask from "@effect-websocket/protocol/Mask"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Random } from "./fixtures/random.ts"
import { helloKey, hex, toHex } from "./fixtures/wire.ts"

const masked = (byte: number, key: number, phase: number): number => byte ^ ((key >>> (24 - 8 * (phase & 3))) & 0xff)

/** `length` random bytes at `byteOffset` of a buffer that has a margin on both sides. */
const placed = (random: Random, byteOffset: number, length: number): Uint8Array => {
  const around = random.bytes(byteOffset + length + 8)
  return new Uint8Array(around.buffer, byteOffset, length)
}

const assertSame = (actual: Uint8Array, expected: Uint8Array, what: string): void => {
  if (!actual.every((byte, i) => byte === expected[i])) {
    assert.strictEqual(toHex(actual), toHex(expected), what)
  }
}

describe("Mask", () => {
  it("masks the Hello of RFC 6455 section 5.7", () => {
    const bytes = hex("48 65 6c 6c 6f")
    Mask.applyInPlace(bytes, helloKey, 0)
    assert.strictEqual(toHex(bytes), "7f 9f 4d 51 58")
  })

  it("agrees with the bytewise oracle at every phase, alignment and length up to 300", () => {
    const random = new Random(1)
    for (let byteOffset = 0; byteOffset < 8; byteOffset++) {
      for (let length = 0; length <= 300; length++) {
        for (let phase = 0; phase < 4; phase++) {
          const key = random.bits()
          const bytes = placed(random, byteOffset, length)
          const expected = bytes.map((byte, i) => masked(byte, key, phase + i))
          Mask.applyInPlace(bytes, key, phase)
          assertSame(bytes, expected, `byteOffset ${byteOffset}, length ${length}, phase ${phase}`)
        }
      }
    }
  })

  it("touches no byte outside start and end", () => {
    const random = new Random(2)
    for (let start = 0; start < 9; start++) {
      for (const length of [0, 1, 3, 63, 64, 65, 66, 67, 68, 200]) {
        const key = random.bits()
        const whole = random.bytes(start + length + 9)
        const expected = whole.map((byte, i) =>
          i >= start && i < start + length ? masked(byte, key, 3 + i - start) : byte
        )
        Mask.applyInPlace(whole, key, 3, start, start + length)
        assertSame(whole, expected, `start ${start}, length ${length}`)
      }
    }
  })

  it("touches no byte of the buffer outside a view", () => {
    const random = new Random(3)
    const whole = random.bytes(300)
    const before = whole.slice()
    Mask.applyInPlace(whole.subarray(5, 250), helloKey, 1)
    assertSame(whole.subarray(0, 5), before.subarray(0, 5), "before")
    assertSame(whole.subarray(250), before.subarray(250), "after")
  })

  it("counts the phase from the first byte of the payload, however long that is", () => {
    for (const phase of [0, 1, 2, 3, 0xffffffff, 2 ** 32 + 1, 2 ** 52 + 2, Number.MAX_SAFE_INTEGER]) {
      const bytes = new Uint8Array(100)
      Mask.applyInPlace(bytes, helloKey, phase)
      assertSame(bytes, bytes.map((_, i) => masked(0, helloKey, (phase % 4) + i)), `phase ${phase}`)
    }
  })

  const Word = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffffffff }))
  const Length = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 600 }))

  it.prop("is its own inverse, in whatever pieces", { seed: Word, key: Word, length: Length, cut: Length }, (law) => {
    const original = new Random(law.seed).bytes(law.length)
    const bytes = original.slice()
    const cut = Math.min(law.cut, law.length)
    Mask.applyInPlace(bytes, law.key, 0)
    Mask.applyInPlace(bytes, law.key, 0, 0, cut)
    Mask.applyInPlace(bytes.subarray(cut), law.key, cut)
    assert.deepStrictEqual(bytes, original)
  }, { arbitrary: { runs: 500 } })
})
