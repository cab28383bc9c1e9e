/**
 * The echo server on a simulated network.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Echo from "./simulations/echo.ts"

describe("the echo server", () => {
  it.effect(
    "answers each message once and in order or lets its sender know, whatever happens to the network",
    () => Effect.map(Echo.check({ seeds: 1000 }), (runs) => assert.strictEqual(runs, 1000)),
    300_000
  )
})
