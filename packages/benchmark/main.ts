/**
 * Measures this library beside others and writes `docs/benchmark/`, `docs/benchmark.md` and the figures of `README.md`:
 *
 *     npm run benchmark
 *     npm run benchmark -- --cell "125 B" --rounds 3
 *     npm run benchmark -- --brief
 *     npm run benchmark -- --again
 *
 * You will see a table for each cell as soon as it is measured, and at the end how many targets are met. Files are
 * written by a whole run alone. `--brief` lets everything run for a moment, to see that it works, and
 * `--again` only writes the files of the run that was kept.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Bench from "./bench.ts"
import { cells } from "./cells.ts"
import { type Measured, summaryOf } from "./judge.ts"
import { measure } from "./measure.ts"
import * as Page from "./page.ts"
import { ProgramFailed } from "./program.ts"
import * as Readme from "./readme.ts"
import * as Results from "./results.ts"
import * as Table from "./table.ts"

const flags = {
  cell: Flag.String("cell").pipe(Flag.withDescription("Cells with these words in their name"), Flag.optional),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Windows for each contender"), Flag.withDefault(5)),
  seconds: Flag.Finite("seconds").pipe(Flag.withDescription("Length of a window"), Flag.withDefault(0.2)),
  brief: Flag.Boolean("brief").pipe(Flag.withDescription("Only see that everything works"), Flag.withDefault(false)),
  again: Flag.Boolean("again").pipe(Flag.withDescription("Only write the last run's files"), Flag.withDefault(false))
}

/** Writes a run, the page and the plots, and formats them. */
const publish = Effect.fnUntraced(function*(run: Results.Run) {
  yield* Results.save(run)
  yield* Page.publish(run)
  yield* Readme.publish(run)
  const dprint = ChildProcess.make("dprint", ["fmt", "README.md", "docs/benchmark.md", "docs/benchmark/results.json"])
  yield* Effect.flatMap(dprint, ({ exitCode }) => exitCode)
}, Effect.scoped)

const run = Effect.fnUntraced(function*(options: Command.Command.Config.Infer<typeof flags>) {
  const { again, brief, cell, rounds, seconds } = options
  if (again) return yield* publish(yield* Results.load)
  const chosen = cells.filter(({ name }) => Option.isNone(cell) || name.includes(cell.value))
  if (chosen.length === 0) return yield* new ProgramFailed({ message: "no cell has such a name" })
  const begin = performance.now()
  const extent = brief ? { rounds: 1, seconds: 0.05, warmUp: 0, brief } : { rounds, seconds, warmUp: 1, brief }
  const bench = yield* Bench.make(extent)
  const all: Array<Measured> = []
  for (const cell of chosen) {
    const { kind, load, name, reopens = false, targets } = cell
    const measured = { cell: { name, kind, load, reopens, targets }, rows: yield* measure(bench, cell) }
    all.push(measured)
    yield* Console.log(brief ? `works: ${cell.name}` : Table.format(measured, all))
  }
  if (brief) return
  yield* Console.log(`\n${summaryOf(all)}`)
  const minutes = (performance.now() - begin) / 60_000
  const command = `npm run benchmark -- --rounds ${rounds} --seconds ${seconds}`
  if (Option.isNone(cell)) yield* publish(yield* Results.makeRun(command, minutes, all))
}, Effect.scoped)

Command.make("benchmark", flags, run).pipe(
  Command.withDescription("Measures effect-websocket beside other implementations"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
