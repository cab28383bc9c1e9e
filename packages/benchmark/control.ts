/**
 * Measures how long control frames take behind bulk, and what it costs that they do not take long:
 *
 *     npm run benchmark:control
 *     npm run benchmark:control -- --brief
 *
 * You will see a table for one message of 256 MiB and one for messages of 1 MiB without end, each to a peer that reads
 * 4 MiB/s over loopback and sends a ping every 50 ms and at last a Close frame: how long those take until they are
 * answered. Then, for a peer that reads all it can, what is carried in a second with `controlDelay` and without.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Contenders from "./contenders.ts"
import { drain, type Drained } from "./drain.ts"
import type { Usage } from "./lines.ts"
import { ProgramFailed } from "./program.ts"
import type { Setting } from "./setting.ts"
import { show } from "./table.ts"

const flags = {
  seconds: Flag.Finite("seconds").pipe(Flag.withDescription("Time with each contender"), Flag.withDefault(10)),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Windows of what it costs"), Flag.withDefault(5)),
  brief: Flag.Boolean("brief").pipe(Flag.withDescription("Only see that everything works"), Flag.withDefault(false))
}

const mebibyte = 2 ** 20
const rate = 4 * mebibyte

interface Scenario {
  readonly name: string
  readonly bulk: NonNullable<Setting["bulk"]>
}

const scenarios = (seconds: number): ReadonlyArray<Scenario> => [
  { name: "one message of 256 MiB", bulk: { messages: 1, size: 256 * mebibyte } },
  // Effect's own path takes all of them at once: more than are read, and not without end.
  { name: "messages of 1 MiB", bulk: { messages: Math.ceil(seconds * 4) + 32, size: mebibyte } }
]

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)))
  return rows.map((row) => row.map((text, at) => text.padEnd(widths[at]!)).join("  ").trimEnd()).join("\n")
}

const start = (contender: Contenders.Contender, bulk: Scenario["bulk"]) =>
  Contenders.start(contender, { task: "bulk", bulk })

const heads = ["", "MiB/s", "pings", "unanswered", "p50, ms", "p98, ms", "max, ms", "Close after, ms"]

const rowOf = (name: string, { bytes, close, pings, time, unanswered }: Drained): ReadonlyArray<string> => {
  const sorted = pings.toSorted((left, right) => left - right)
  const quantile = (share: number) => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0
  const isLeft = (share: number) => sorted.length * (1 - share) < unanswered ? "> " : ""
  const times = [0.5, 0.98, 1].map((share) => `${isLeft(share)}${quantile(share).toFixed(1)}`)
  return [
    name,
    show(bytes / mebibyte / time * 1000),
    String(pings.length),
    String(unanswered),
    ...times,
    close === undefined ? "not" : close.toFixed(1)
  ]
}

const measureDelay = Effect.fnUntraced(function*({ bulk, name }: Scenario, seconds: number) {
  const rows = yield* Effect.forEach(Contenders.bulks, (contender) =>
    Effect.gen(function*() {
      const { greeting: { port } } = yield* start(contender, bulk)
      const drained = yield* drain({ port, rate, seconds, interval: 50, patience: 5000 })
      if (drained.bytes === 0) return yield* new ProgramFailed({ message: `${contender.name}: nothing came` })
      return rowOf(contender.name, drained)
    }).pipe(Effect.scoped))
  yield* Console.log(`\n${name}, read at 4 MiB/s\n${table([heads, ...rows])}`)
})

interface Cost {
  readonly wall: number
  readonly perSecond: number
}

const measureWindow = Effect.fnUntraced(function*(contender: Contenders.Contender, size: number, seconds: number) {
  const { ask, greeting: { port } } = yield* start(contender, { messages: 1e9, size })
  const before = yield* ask<Usage>({ do: "usage" })
  const drained = yield* drain({ port, rate: Infinity, seconds, interval: 50, patience: 5000 })
  const after = yield* ask<Usage>({ do: "usage" })
  const mebibytes = drained.bytes / mebibyte
  return { wall: mebibytes / drained.time * 1000, perSecond: mebibytes / (after.cpu - before.cpu) * 1e6 }
}, Effect.scoped)

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((left, right) => left - right)[values.length >> 1]!

const measureCost = Effect.fnUntraced(function*(size: number, rounds: number, seconds: number) {
  const ours = Contenders.bulks.filter(({ file }) => file.includes("ours"))
  const seen = new Map(ours.map(({ name }): [string, Array<Cost>] => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const contender of round % 2 === 0 ? ours : ours.toReversed()) {
      seen.get(contender.name)!.push(yield* measureWindow(contender, size, seconds))
    }
  }
  const rows = Array.from(seen, ([name, costs]) => [
    name,
    show(median(costs.map(({ wall }) => wall))),
    show(median(costs.map(({ perSecond }) => perSecond)))
  ])
  yield* Console.log(
    `\nmessages of ${show(size / 1024)} KiB, read at once\n${table([["", "MiB/s", "MiB/CPU s"], ...rows])}`
  )
})

const run = Effect.fnUntraced(function*({ brief, rounds, seconds }: Command.Command.Config.Infer<typeof flags>) {
  const length = brief ? 0.5 : seconds
  for (const scenario of scenarios(length)) yield* measureDelay(scenario, length)
  for (const size of [mebibyte, 16 * 1024]) yield* measureCost(size, brief ? 1 : rounds, brief ? 0.2 : 1)
})

Command.make("benchmark:control", flags, run).pipe(
  Command.withDescription("Measures control frames behind bulk"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
