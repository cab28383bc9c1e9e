/**
 * Shows where the processor's time of a message goes, in each contender of some cells that runs in Node:
 *
 *     npm run benchmark:profile -- --cell "125 B binary/64/1"
 *
 * You will see for each of them what a message costs, and the shares of who wrote the code, the kernel's part of a write
 * with the write; then the functions that take most of this library's.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Bench from "./bench.ts"
import { type Cell, cells } from "./cells.ts"
import type * as Contenders from "./contenders.ts"
import type { Profile } from "./contenders/profile.ts"
import type { Mark } from "./generator.ts"
import type { Usage } from "./lines.ts"
import type { Program } from "./program.ts"
import { ProgramFailed } from "./program.ts"

const flags = {
  cell: Flag.String("cell").pipe(Flag.withDescription("The cell's name"), Flag.withDefault("125 B binary/64/1")),
  contender: Flag.String("contender").pipe(
    Flag.withDescription("Contenders with these words in their name"),
    Flag.withDefault("")
  ),
  seconds: Flag.Finite("seconds").pipe(Flag.withDescription("Time with each contender"), Flag.withDefault(3))
}

interface Seen {
  /** Microseconds of the processor. */
  readonly each: number
  readonly profile: Profile
}

const marks = (bench: Bench.Bench, id: string, program: Program) =>
  Effect.all([program.ask<Usage>({ do: "usage" }), bench.ask<Mark>({ do: "mark", id })])

const observe = Effect.fnUntraced(function*(bench: Bench.Bench, cell: Cell, contender: Contenders.Contender) {
  const id = contender.name
  const program = yield* bench.start(
    contender,
    cell.load.tls === true ? { ...cell.setting, tls: bench.tls } : cell.setting
  )
  yield* bench.ask({ do: "open", id, port: program.greeting.port, options: cell.load })
  yield* bench.ask({ do: "start", id })
  yield* Effect.sleep(bench.extent.warmUp * 1000)
  const [served, sent] = yield* marks(bench, id, program)
  // What the sampling costs is not measured with it.
  yield* Effect.sleep(bench.extent.seconds * 500)
  const [servedThen, sentThen] = yield* marks(bench, id, program)
  yield* program.ask({ do: "profile" })
  yield* Effect.sleep(bench.extent.seconds * 1000)
  const profile = yield* program.ask<Profile>({ do: "profile" })
  yield* bench.ask({ do: "stop", id })
  yield* bench.ask({ do: "close", id })
  const each = (servedThen.cpu - served.cpu) / (sentThen.messages - sent.messages)
  return { each, profile } satisfies Seen as Seen
}, Effect.scoped)

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`

const show = (name: string, { each, profile: { functions, groups } }: Seen): string => {
  const shares = Object.entries(groups).filter(([, share]) => share >= 0.005)
  return [
    `\n${name}: ${each.toFixed(2)} us a message`,
    `  ${shares.map(([group, share]) => `${group} ${percent(share)}`).join(", ")}`,
    ...functions.map(([name, share]) => `  ${percent(share).padStart(6)}  ${name}`)
  ].join("\n")
}

const run = Effect.fnUntraced(
  function*({ cell: name, contender: words, seconds }: Command.Command.Config.Infer<typeof flags>) {
    const cell = cells.find((cell) => cell.name === name && cell.kind === "load")
    if (cell === undefined) return yield* new ProgramFailed({ message: "no cell of a server has this name" })
    const bench = yield* Bench.make({ rounds: 1, seconds, warmUp: 1.5, brief: false })
    const chosen = cell.contenders.filter(({ name, runtime }) => runtime === "node" && name.includes(words))
    yield* Console.log(cell.name)
    for (const contender of chosen) yield* Console.log(show(contender.name, yield* observe(bench, cell, contender)))
  },
  Effect.scoped
)

Command.make("profile", flags, run).pipe(
  Command.withDescription("Shows where the processor's time of a message goes"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
