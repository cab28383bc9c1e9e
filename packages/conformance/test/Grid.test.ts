import { describe, it } from "@effect/vitest"
import * as Grid from "../runner/Grid.ts"
import * as Runner from "../runner/Runner.ts"

const every = 6

describe("the grid in memory", () => {
  for (const { case: case_, role, transport } of Grid.fields({ transport: "memory" })) {
    it.effect(`${case_.id}, as a ${role}`, () => Runner.run(case_, role, transport))
  }
})

// The whole of it takes `npm run conformance`.
describe("some of the grid over TCP", () => {
  Grid.fields({ transport: "tcp" }).filter((_, i) => i % every === 0).forEach(({ case: case_, role, transport }) => {
    it.live(`${case_.id}, as a ${role}`, () => Runner.run(case_, role, transport))
  })
})
