import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Random } from "./fixtures/random.ts"
import { regressions } from "./fixtures/regressions.ts"
import * as Target from "./fixtures/target.ts"
import { targets } from "./fixtures/targets.ts"
import { hex } from "./fixtures/wire.ts"

describe.each(targets)("fuzzing $name", (target) => {
  it.effect("breaks no law, with seed 1", () =>
    Effect.gen(function*() {
      const broken = yield* Target.run(target, new Random(1), 500)
      assert.isUndefined(broken?.report)
    }))

  it.effect("breaks no law again that it broke once", () =>
    Effect.gen(function*() {
      for (const regression of regressions.filter((one) => one.target === target.name)) {
        const problem = yield* target.problemOf({ ...regression, bytes: hex(regression.bytes) })
        assert.isUndefined(problem, regression.found)
      }
    }))
})

describe("a fuzzer", () => {
  const faulty = Target.plain("faulty", (random) => {
    const bytes = random.bytes(40).map((byte) => byte & 0x7f)
    bytes[random.below(40)] = 0xff
    return { bytes, cuts: [3, 30], settings: { kept: true } }
  }, ({ bytes }) => {
    if (bytes.includes(0xff)) throw new Error("found")
    return undefined
  })

  it.effect("shrinks what it finds, and tells it as a regression", () =>
    Effect.gen(function*() {
      const broken = yield* Target.run(faulty, new Random(2), 1)
      const [problem, ...rest] = broken!.report.split("\n")
      assert.strictEqual(problem, "threw Error: found")
      assert.deepStrictEqual(JSON.parse(rest.at(-1)!), {
        target: "faulty",
        bytes: "ff",
        cuts: [],
        settings: { kept: true }
      })
    }))

  it.effect("makes the same cases of the same seed", () =>
    Effect.sync(() => {
      for (const { makeCase } of targets) {
        assert.deepStrictEqual(makeCase(new Random(3)), makeCase(new Random(3)))
      }
    }))
})
