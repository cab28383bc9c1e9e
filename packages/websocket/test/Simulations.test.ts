import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Simulations from "./fixtures/simulations.ts"

describe("the library under simulation", () => {
  for (const name of Simulations.names) {
    it.effect(`${name}: its laws hold under faults, in order and interleaved`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Simulations.check(name, 0, 15, false), 15)
        assert.strictEqual(yield* Simulations.check(name, 0, 15, "everywhere"), 15)
      }), 60_000)
  }
})
