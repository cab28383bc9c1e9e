import { assert, describe, it } from "@effect/vitest"
import * as Simulation from "effect-websocket/testing/Simulation"
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

describe("the same seed gives the same run, byte for byte and turn for turn, whatever ran before", () => {
  for (const name of Simulations.names) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const run = (seed: number) =>
          Effect.map(
            Simulation.observeSeed(Simulations.optionsOf(name, seed % 2 === 0 ? false : "everywhere"), seed),
            ({ exit, steps, time, transcript }) => ({ exit: exit._tag, steps, time, events: transcript.events })
          )
        const seeds = [0, 1, 2, 3, 4, 5, 6, 7]
        const upwards = yield* Effect.forEach(seeds, run)
        const downwards = yield* Effect.forEach(seeds.toReversed(), run)
        assert.deepStrictEqual(downwards.toReversed(), upwards)
      }), 60_000)
  }
})
