/**
 * Simulates: `node scripts/simulate.ts --seeds 10000 --from 0 --scenario echo`.
 * Without a scenario, each of them in turn for so many seeds.
 *
 * The scenarios and laws of the library are those of `packages/websocket/test/fixtures`,
 * those of the examples are in `scratchpad/test/simulations`. Stops at the first
 * seed that breaks a law, with the faults made as few as they get and the end of
 * the transcript, and exits with 1.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Library from "../packages/websocket/test/fixtures/simulations.ts"
import * as Examples from "../scratchpad/test/simulations/all.ts"

const names = [...Library.names, ...Object.keys(Examples.examples)]

const check = (name: string, from: number, seeds: number, interleave: false | "everywhere") =>
  Examples.examples[name]?.check({ from, seeds, interleave }) ?? Library.check(name, from, seeds, interleave)

const simulate = Effect.fnUntraced(
  function*(name: string, from: number, seeds: number, interleave: false | "everywhere") {
    const start = yield* Clock.currentTimeMillis
    yield* check(name, from, seeds, interleave)
    const elapsed = (yield* Clock.currentTimeMillis) - start
    const order = interleave === false ? "in order" : "interleaved"
    const rate = Math.round((seeds * 1000) / elapsed)
    yield* Console.log(`${name}, ${order}: ${seeds} seeds from ${from}, ${rate} runs/s, no law broken`)
  }
)

const command = Command.make("simulate", {
  seeds: Flag.Int("seeds").pipe(
    Flag.withDescription("How many seeds, each of them in order and interleaved"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
    Flag.withDefault(1000)
  ),
  from: Flag.Int("from").pipe(Flag.withDescription("The first seed"), Flag.withDefault(0)),
  scenario: Flag.Literals("scenario", names).pipe(
    Flag.withDescription("What to simulate"),
    Flag.optional
  )
}, ({ from, scenario, seeds }) =>
  Effect.forEach(
    names.filter((name) => Option.isNone(scenario) || scenario.value === name),
    (name) => Effect.andThen(simulate(name, from, seeds, false), simulate(name, from, seeds, "everywhere")),
    { discard: true }
  ).pipe(
    Effect.tapError((failed) => Console.error(failed.message))
  )).pipe(Command.withDescription("Simulate the library and the examples on a network that fails"))

command.pipe(
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
