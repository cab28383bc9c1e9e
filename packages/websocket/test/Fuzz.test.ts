import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Random } from "../../protocol/test/fixtures/random.ts"
import { regressions } from "../../protocol/test/fixtures/regressions.ts"
import * as Target from "../../protocol/test/fixtures/target.ts"
import { hex } from "./fixtures/scripted.ts"
import { target } from "./fixtures/streamFuzz.ts"

describe("fuzzing whole streams", () => {
  it.effect("breaks no law, with seed 1: ends typed and in time, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const broken = yield* Target.run(target, new Random(1), 100)
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
