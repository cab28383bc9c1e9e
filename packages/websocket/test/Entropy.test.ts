import { assert, describe, it } from "@effect/vitest"
import * as Entropy from "effect-websocket/Entropy"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { vi } from "vitest"

const take = (count: number) =>
  Effect.map(Entropy.Entropy, ({ uint32Unsafe }) => Array.from({ length: count }, uint32Unsafe))

const isUint32 = (value: number) => Number.isInteger(value) && value >= 0 && value < 2 ** 32

describe("Entropy", () => {
  describe("RFC 6455 section 10.3: the default", () => {
    it.effect("comes from the platform's cryptographic generator, many at a call, none of them twice", () =>
      Effect.gen(function*() {
        let next = 0
        const random = vi.spyOn(crypto, "getRandomValues").mockImplementation((array) => {
          const words = array as unknown as Uint32Array
          words.forEach((_, index) => words[index] = next++)
          return array
        })
        try {
          // what is left of the pool that was filled before
          yield* take(1024)
          const calls = random.mock.calls.length
          const values = yield* take(4096)
          assert.strictEqual(random.mock.calls.length - calls, 4)
          assert.strictEqual(new Set(values).size, 4096)
        } finally {
          random.mockRestore()
        }
        yield* take(1024)
      }))

    it.effect("gives unsigned integers of 32 bits that use all of them", () =>
      Effect.gen(function*() {
        const values = yield* take(10_000)
        assert.isTrue(values.every(isUint32))
        for (let bit = 0; bit < 32; bit++) {
          const set = values.filter((value) => (value >>> bit) & 1).length
          // 10 standard deviations
          assert.isTrue(set > 4500 && set < 5500, `bit ${bit}: ${set}`)
        }
      }))
  })

  describe("layerRandom", () => {
    const seeded = (seed: string) => Effect.provide(take(1000), Entropy.layerRandom).pipe(Random.withSeed(seed))

    it.effect("gives the same for the same seed, and another for another", () =>
      Effect.gen(function*() {
        const first = yield* seeded("a")
        assert.deepStrictEqual(yield* seeded("a"), first)
        assert.notDeepEqual(yield* seeded("b"), first)
        assert.isTrue(first.every(isUint32))
        assert.isAbove(Math.max(...first), 2 ** 31)
      }))
  })

  it("bytesUnsafe gives as many bytes as asked for, each of its own number", () => {
    let next = 0x1fe
    const entropy: Entropy.Entropy = { uint32Unsafe: () => next++ }
    assert.deepStrictEqual(Entropy.bytesUnsafe(entropy, 4), Uint8Array.of(0xfe, 0xff, 0, 1))
    assert.deepStrictEqual(Entropy.bytesUnsafe(entropy, 0), new Uint8Array(0))
  })
})
