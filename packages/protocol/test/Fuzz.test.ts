import type * as Connection from "@effect-websocket/protocol/Connection"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cutAt } from "./fixtures/cuts.ts"
import * as Fuzz from "./fixtures/fuzz.ts"
import { collect } from "./fixtures/memory.ts"
import { Random } from "./fixtures/random.ts"
import * as Reference from "./fixtures/reference.ts"
import { makeConnection } from "./fixtures/transcript.ts"
import { concat, toHex } from "./fixtures/wire.ts"

const casesPerSeed = 1000

const reported = (case_: Fuzz.Case): string => {
  const smallest = Fuzz.shrink(case_, (candidate) => Fuzz.problemOf(candidate) !== undefined)
  const { bytes, ...settings } = smallest
  return `${JSON.stringify(settings)}\n${toHex(bytes)}\n${Fuzz.problemOf(smallest)}`
}

describe("Fuzz", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])("seed %i: whatever arrives and however it is cut, the reference agrees", (seed) => {
    const random = new Random(seed)
    for (let i = 0; i < casesPerSeed; i++) {
      const case_ = Fuzz.makeCase(random)
      if (Fuzz.problemOf(case_) !== undefined) assert.fail(reported(case_))
    }
  })

  it("meets every rule and every event in its cases", () => {
    const random = new Random(1)
    const met = new Set<string>()
    for (let i = 0; i < 5 * casesPerSeed; i++) {
      const case_ = Fuzz.makeCase(random)
      for (const line of Reference.transcriptOf(case_.bytes, case_)) {
        met.add(line.startsWith("violation") ? line : line.split(" ", 1)[0]!)
      }
    }
    // 16 rules, text, binary, ping, pong, close and unfinished.
    assert.strictEqual(met.size, 22, [...met].join())
  })

  it.effect("keeps no chunk alive, whatever a connection ends with", () =>
    Effect.gen(function*() {
      const random = new Random(9)
      const connections: Array<Connection.Connection> = []
      const chunks = Array.from({ length: 300 }, () => {
        const case_ = Fuzz.makeCase(random)
        const connection = makeConnection(case_.role, case_)
        connections.push(connection)
        return cutAt(case_.bytes, case_.cuts).map((chunk) => {
          const copy = chunk.slice()
          connection.receive(copy)
          return new WeakRef(copy.buffer)
        })
      }).flat()
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      collect()
      assert.lengthOf(chunks.filter((chunk) => chunk.deref() !== undefined), 0)
      assert.lengthOf(connections, 300)
    }))

  it("finds the shortest case that fails", () => {
    const random = new Random(10)
    const bytes = concat(random.bytes(50).map((byte) => byte & 0x7f), Uint8Array.of(0xff), new Uint8Array(20))
    const case_ = { ...Fuzz.makeCase(random), bytes, cuts: [3, 60] }
    const smallest = Fuzz.shrink(case_, (candidate) => candidate.bytes.includes(0xff))
    assert.deepStrictEqual(smallest.bytes, Uint8Array.of(0xff))
    assert.isTrue(smallest.cuts.every((cut) => cut <= 1))
  })
})
