/**
 * The figures as tables of text.
 */
import type { Cell } from "./cells.ts"
import { isCost, isGrowth, isLimited, type Measured, ratioOf, type Verdict, verdictsOf } from "./judge.ts"
import type { Row, Spread } from "./statistics.ts"

/** A number in three digits, thousands as k. */
export const show = (value: number): string => {
  const size = Math.abs(value)
  if (size >= 10_000) return `${(value / 1000).toFixed(size >= 100_000 ? 0 : 1)}k`
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2)
}

const withSpread = ({ max, median, min }: Spread) => `${show(median)} (${show(min)}..${show(max)})`

const percent = (spread: Spread | undefined) => spread === undefined ? "" : `${(spread.median * 100).toFixed(0)} %`

const median = (figure: string) => ({ figures }: Row) =>
  figures[figure] === undefined ? "" : show(figures[figure].median)

const spread = (figure: string) => ({ figures }: Row) =>
  figures[figure] === undefined ? "" : withSpread(figures[figure])

const times = (to: string) => (row: Row, measured: Measured) => {
  const ratio = ratioOf(measured, row.contender, to)
  return ratio === undefined ? "" : `${show(ratio)}x`
}

const nanoseconds = ({ figures: { rate } }: Row) =>
  rate === undefined ? "" : withSpread({ median: 1e9 / rate.median, min: 1e9 / rate.max, max: 1e9 / rate.min })

const latency = ({ figures }: Row) =>
  !figures["p50"]?.median ? "" : ["p50", "p90", "p99"].map((name) => show(figures[name]!.median)).join(" / ")

type Column = readonly [head: string, text: (row: Row, measured: Measured) => string]

const clocked: ReadonlyArray<Column> = [
  ["a second of the clock", (row) => `${median("wall")(row)}${isLimited(row) ? " (*)" : ""}`],
  ["CPU", ({ figures }) => percent(figures["share"])],
  ["load's CPU", ({ figures }) => percent(figures["generatorShare"])],
  ["to ws", times("ws")],
  ["to raw", times("raw")]
]

const loaded: ReadonlyArray<Column> = [
  ["messages/CPU s", spread("rate")],
  ["MiB/CPU s", median("mebibytes")],
  ...clocked,
  ["us p50 / p90 / p99", latency],
  ["bytes back", median("bytesIn")]
]

const held: ReadonlyArray<Column> = ["idle", "used", "later"].flatMap((name): ReadonlyArray<Column> => [
  [`${name}, KiB`, median(name)],
  [`${name}, resident`, median(`${name}Resident`)]
])

const columns: { readonly [K in Cell["kind"]]: ReadonlyArray<Column> } = {
  load: loaded,
  client: loaded.filter(([head]) => head !== "bytes back"),
  connects: [["connects/CPU s", spread("rate")], ...clocked],
  stall: [["stall, ms", spread("stall")], ["messages/CPU s", spread("rate")], ["to ws", times("ws")]],
  memory: held
}

const showVerdict = ({ met, reached, target: { figure, least, most, to } }: Verdict): string => {
  const bound = least === undefined ? `at most ${most}` : `at least ${least}`
  const what = figure === "rate" && to !== undefined ? "" : `${figure} `
  return `${met ? "met" : "MISSED"}: ${what}${show(reached)}${to === undefined ? "" : ` of ${to}`}, ${bound}`
}

/** A cell as rows of text, the first of them heads. */
export const rowsOf = (measured: Measured, all: ReadonlyArray<Measured>): ReadonlyArray<ReadonlyArray<string>> => {
  const verdicts = verdictsOf(measured, all)
  const resident: ReadonlyArray<Column> = isGrowth(measured) ? [["resident, MiB", median("resident")]] : []
  const cost: ReadonlyArray<Column> = isCost(measured) ? [["CPU ns each", nanoseconds]] : []
  const shown = [...columns[measured.cell.kind], ...cost, ...resident]
  const judged = (contender: string) =>
    verdicts.filter(({ target }) => target.contender === contender).map(showVerdict).join("; ")
  return [
    ["", ...shown.map(([head]) => head), "target"],
    ...measured.rows.map((row) => [
      row.contender,
      ...shown.map(([, text]) => text(row, measured)),
      judged(row.contender)
    ])
  ]
}

/** A cell as a table for the terminal. */
export const format = (measured: Measured, all: ReadonlyArray<Measured>): string => {
  const rows = rowsOf(measured, all)
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)))
  const lines = rows.map((row) => row.map((text, at) => text.padEnd(widths[at]!)).join("  ").trimEnd())
  return [`\n${measured.cell.name}`, ...lines].join("\n")
}
