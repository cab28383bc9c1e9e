/**
 * Measures this library beside others and writes `docs/benchmark/` and `docs/benchmark.md`:
 *
 *     npm run benchmark
 *     npm run benchmark -- --cell "125 B" --rounds 3
 *     npm run benchmark -- --brief
 *
 * You will see a table for each cell as soon as it is measured, and at the end how many targets are met. Files are
 * written by a whole run alone. `--brief` lets everything run for a moment, to see that it works.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Bench from "./bench.ts"
import { cells } from "./cells.ts"
import { type Measured, verdictsOf } from "./judge.ts"
import { measure } from "./measure.ts"
import { ProgramFailed } from "./program.ts"
import * as Table from "./table.ts"

const flags = {
  cell: Flag.String("cell").pipe(Flag.withDescription("Cells with these words in their name"), Flag.optional),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Windows for each contender"), Flag.withDefault(5)),
  seconds: Flag.Finite("seconds").pipe(Flag.withDescription("Length of a window"), Flag.withDefault(0.5)),
  brief: Flag.Boolean("brief").pipe(Flag.withDescription("Only see that everything works"), Flag.withDefault(false))
}

const summary = (all: ReadonlyArray<Measured>): string => {
  const verdicts = all.flatMap((measured) => verdictsOf(measured, all))
  return `\n${verdicts.filter(({ met }) => met).length} of ${verdicts.length} targets met`
}

const run = Effect.fnUntraced(function*({ brief, cell, rounds, seconds }: Command.Command.Config.Infer<typeof flags>) {
  const chosen = cells.filter(({ name }) => Option.isNone(cell) || name.includes(cell.value))
  if (chosen.length === 0) return yield* new ProgramFailed({ message: "no cell has such a name" })
  const extent = brief ? { rounds: 1, seconds: 0.05, warmUp: 0, brief } : { rounds, seconds, warmUp: 0.6, brief }
  const bench = yield* Bench.make(extent)
  const all: Array<Measured> = []
  for (const cell of chosen) {
    const measured = { cell, rows: yield* measure(bench, cell) }
    all.push(measured)
    yield* Console.log(brief ? `works: ${cell.name}` : Table.format(measured, all))
  }
  if (!brief) yield* Console.log(summary(all))
}, Effect.scoped)

Command.make("benchmark", flags, run).pipe(
  Command.withDescription("Measures effect-websocket beside other implementations"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
