/**
 * What a simulated example does depends on the seed alone.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { examples } from "./simulations/all.ts"

const seeds = [0, 1, 2, 3, 4]

describe("the same seed gives the same run, byte for byte and turn for turn, whatever ran before", () => {
  for (const [name, { observe }] of Object.entries(examples)) {
    for (const interleave of [false, "everywhere"] as const) {
      it.effect(`${name}, ${interleave === false ? "in order" : "interleaved"}`, () =>
        Effect.gen(function*() {
          const run = (seed: number) =>
            Effect.map(observe(seed, interleave), ({ exit, steps, time, transcript }) => ({
              exit: exit._tag,
              steps,
              time,
              events: transcript.events
            }))
          const upwards = yield* Effect.forEach(seeds, run)
          const downwards = yield* Effect.forEach(seeds.toReversed(), run)
          assert.deepStrictEqual(downwards.toReversed(), upwards)
        }), 60_000)
    }
  }
})
