/**
 * The table of README's section on performance, made of a run.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { fileURLToPath } from "node:url"
import { figureOf, isCost, isGrowth, type Measured, ratioOf } from "./judge.ts"
import { ProgramFailed } from "./program.ts"
import type { Run } from "./results.ts"
import { show } from "./table.ts"

const path = fileURLToPath(new URL("../../README.md", import.meta.url))

const begin = "<!-- What npm run benchmark has measured: begin -->"
const end = "<!-- What npm run benchmark has measured: end -->"

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const table = (heads: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(heads), row(heads.map(() => "---")), ...rows.map(row)].join("\n")

const styles = ["read+write", "pull+writeAll", "readSome+writeSome"]
const others = ["effect", "raw", "bun"]

const times = (measured: Measured, contender: string): string => {
  const ratio = ratioOf(measured, contender, "ws")
  return ratio === undefined ? "" : show(ratio)
}

/** The second figure is that with `reuseArrays`, where it was measured. */
const both = (measured: Measured, contender: string): string =>
  [contender, `${contender}, reuseArrays`].map((name) => times(measured, name)).filter((text) => text !== "").join(
    " / "
  )

const isRate = (measured: Measured): boolean =>
  ["load", "client", "connects"].includes(measured.cell.kind) && !isCost(measured) && !isGrowth(measured) &&
  measured.rows.some(({ contender }) => styles.includes(contender))

const rates = (all: ReadonlyArray<Measured>): string =>
  table(
    ["times `ws`", ...styles.map((style) => `\`${style}\``), ...others],
    all.filter(isRate).map((measured) => [
      measured.cell.name,
      ...styles.map((style) => both(measured, style)),
      ...others.map((other) => times(measured, other))
    ])
  )

type Line = readonly [title: string, cell: string, figure: string]

const lines: ReadonlyArray<Line> = [
  ["an idle connection holds, KiB", "memory, plain", "idle"],
  ["after a compressed message, resident, KiB", "memory, compressed, takeover", "usedResident"],
  ["longest turn of the event loop, 1 MiB compressed, ms", "stall, 1 MiB compressed", "stall"],
  ["longest turn of the event loop, 16 MiB compressed, ms", "stall, 16 MiB compressed", "stall"],
  ["p50 of 125 B, one connection, us", "125 B binary/1/1", "p50"],
  ["p99 of 125 B, one connection, us", "125 B binary/1/1", "p99"],
  ["deliveries of 125 B to 1000, for a CPU second", "fan-out 125 B to 1000", "rate"]
]

const ours = [...styles, "Broadcast.writeAll"]

const figures = (all: ReadonlyArray<Measured>): string =>
  table(
    ["", "this library", "ws", ...others],
    lines.flatMap(([title, name, figure]) => {
      const measured = all.find(({ cell }) => cell.name === name)
      if (measured === undefined) return []
      const text = (contender: string) => {
        const value = figureOf(measured, contender, figure)
        return value === undefined ? "" : show(value)
      }
      const own = ours.map(text).filter((shown) => shown !== "").join(" / ")
      return [[title, own, text("ws"), ...others.map(text)]]
    })
  )

const sectionOf = ({ command, date, machine, measured, versions }: Run): string =>
  [
    `Measured on ${date.slice(0, 10)} by \`${command}\` on ${machine.processors} cores (${machine.processor}), ` +
    `with ${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")}.`,
    rates(measured),
    figures(measured)
  ].join("\n\n")

/** Puts what was measured between the marks. */
export const publish = Effect.fnUntraced(function*(run: Run) {
  const fileSystem = yield* FileSystem.FileSystem
  const text = yield* fileSystem.readFileString(path)
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from === -1 || to < from) return yield* new ProgramFailed({ message: "README.md has no place for the figures" })
  const section = `${text.slice(0, from)}${begin}\n\n${sectionOf(run)}\n\n${text.slice(to)}`
  yield* fileSystem.writeFileString(path, section)
})
