/**
 * The page docs/benchmark.md and its plots, made of a run.
 */
import * as Effect from "effect/Effect"
import { isCost, isGrowth, type Measured, summaryOf } from "./judge.ts"
import * as Plots from "./plots.ts"
import { type Run, write } from "./results.ts"
import { rowsOf } from "./table.ts"

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const table = (measured: Measured, all: ReadonlyArray<Measured>): string => {
  const [heads = [], ...rows] = rowsOf(measured, all)
  return [row(heads), row(heads.map(() => "---")), ...rows.map(row)].join("\n")
}

const opening = `# Benchmark

Written by \`npm run benchmark\`, which says itself what is measured: \`packages/benchmark/cells.ts\`. Made of
\`benchmark/results.json\`.

Every contender is a server, or a client, in a process of its own; one more process sends frames that were encoded
beforehand over bare sockets, and of what comes back it looks at the headers alone. Contenders take turns in rounds, the
order turned with each, so that a machine that is busy is as busy for all. The figure to read is messages for a second of
the contender's processor, kernel included: the median of the rounds, with the least and the most. A star marks a rate by
the clock that the load, and not the contender, set.

- \`read+write\`, \`pull+writeAll\`, \`readSome+writeSome\`: this library, a message at a time, all that are there at once, and
  parts as they arrive. \`reuseArrays\`: the arrays of messages are the reader's until its next read.
- \`ws\`: without its optional native parts. \`effect\`: \`HttpServerRequest.upgrade\` of a NodeHttpServer. \`bun\`: Bun's own
  server.
- \`raw\`: the least that JavaScript over \`node:net\` can do. It unmasks and sends on, and checks nothing.

The name of a cell says the message, the connections, and the messages in flight on each. Messages that are compressed
look like the rows of a feed; both sides use level 6, memLevel 8, windows of 15 bits and no threshold. The load's own
frames are compressed with the context kept too where that was agreed, as a sequence longer than the window that begins
without context and is sent again and again. Connections of the memory cells are counted between 250 and 1000 of them, in
a process that has opened and closed 250 before: \`idle\` behind the handshake, \`used\` after a message of 2 KiB each way,
\`later\` after three seconds more; held by JavaScript and its buffers, and resident.`

const conditions = ({ command, date, machine, minutes, nodeFlags, versions }: Run): string =>
  [
    `Run on ${date.slice(0, 10)} with \`${command}\`, in ${
      minutes.toFixed(0)
    } minutes, on ${machine.processors} processors`,
    `(${machine.processor}, ${machine.system}). ${
      Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
    }; Node with \`${nodeFlags.join(" ")}\`.`
  ].join(" ")

const isLoad = (measured: Measured) => !isGrowth(measured) && !isCost(measured) && measured.cell.kind === "load"

/** Writes the page and the plots. */
export const publish = Effect.fnUntraced(function*(run: Run) {
  const { measured: all } = run
  const echoes = all.filter((measured) =>
    isLoad(measured) && measured.rows.some(({ contender }) => contender === "raw")
  )
  const others = all.filter((measured) =>
    !echoes.includes(measured) && !isCost(measured) &&
    (isLoad(measured) || ["client", "connects"].includes(measured.cell.kind))
  )
  const plots = {
    echo: yield* Effect.promise(() => Plots.bars("Echo: messages for a second of the processor", echoes)),
    others: yield* Effect.promise(() => Plots.bars("Compression, clients, fan-out, connects", others)),
    growth: yield* Effect.promise(() => Plots.growth(all))
  }
  for (const [name, svg] of Object.entries(plots)) yield* write(`benchmark/${name}.svg`, svg)
  const pictures = Object.keys(plots).map((name) => `![${name}](benchmark/${name}.svg)`)
  const tables = all.map((measured) => `### ${measured.cell.name}\n\n${table(measured, all)}`)
  yield* write(
    "benchmark.md",
    [opening, conditions(run), `**${summaryOf(all)}.**`, ...pictures, "## Every cell", ...tables].join("\n\n")
  )
})
