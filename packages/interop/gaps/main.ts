/**
 * Measures what Effect's own WebSocket path lacks, there and here, each on real connections over loopback.
 *
 *     npm run gaps
 *
 * You will see a table in Markdown with a row for each measurement: the gap, what was seen of Effect's own path and of
 * this library's, and whether it is closed. It takes half a minute, most of which Effect's server needs to stop. Fails
 * where a gap is neither closed nor has a reason.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Runtime from "effect/Runtime"
import * as Flow from "./flow.ts"
import * as Handshakes from "./handshakes.ts"
import { gaps, type Row } from "./measurement.ts"
import * as Reach from "./reach.ts"
import * as Routes from "./routes.ts"
import * as RpcGaps from "./rpc.ts"
import * as Stopping from "./stopping.ts"
import * as Telemetry from "./telemetry.ts"

class NotClosed extends Error {
  override readonly name = "NotClosed"
  override readonly [Runtime.errorReported] = false
}

const escape = (cell: string) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")

const lineOf = (cells: ReadonlyArray<string>, widths: ReadonlyArray<number>) =>
  `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`

const formatTable = (rows: ReadonlyArray<Row>): string => {
  const cells = rows.map((row) =>
    [`${row.gap}. ${gaps[row.gap]}`, row.what, row.theirs, row.ours, row.verdict].map(escape)
  )
  const head = ["gap", "measured", "Effect's own", "this library", "verdict"]
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i]!.length)))
  const rule = widths.map((width) => "-".repeat(width))
  return [head, rule, ...cells].map((row) => lineOf(row, widths)).join("\n")
}

/** In a row, since some weigh the memory of the process; but for one side of one, which mostly waits. */
const measure = Effect.gen(function*() {
  const patient = yield* Effect.forkChild(Stopping.patient, { startImmediately: true })
  const rows = yield* Effect.all([
    ...Flow.measurements,
    ...Stopping.measurements,
    ...Handshakes.measurements,
    ...Reach.measurements,
    ...RpcGaps.measurements,
    ...Routes.measurements,
    ...Telemetry.measurements,
    Stopping.afterwards(Fiber.join(patient))
  ])
  return rows.toSorted((left, right) => left.gap - right.gap)
})

const run = Effect.gen(function*() {
  const rows = yield* Effect.provideService(measure, References.MinimumLogLevel, "None")
  yield* Console.log(formatTable(rows))
  const open = new Set(rows.filter(({ isSettled }) => !isSettled).map(({ gap }) => gap))
  const count = Object.keys(gaps).length
  yield* Console.log(`\n${count - open.size} of ${count} gaps are closed or have a reason`)
  if (open.size > 0) return yield* Effect.fail(new NotClosed(`open: ${[...open].join(", ")}`))
})

NodeRuntime.runMain(run)
