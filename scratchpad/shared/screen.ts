/**
 * What the demo draws with: styles where there is colour, one live line where there is a terminal, tables.
 */
import * as CliOutput from "effect/cli/CliOutput"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Terminal from "effect/Terminal"
import { styleText } from "node:util"

export type Style = "bold" | "cyan" | "dim" | "green" | "red"

export interface Screen {
  readonly style: (style: Style, text: string) => string
  readonly print: (text?: string) => Effect.Effect<void>
  /** Shows a line again and again while `effect` runs, given the columns; nothing where nobody watches. */
  readonly live: (
    line: (columns: number) => string
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

const hideCursor = "\x1b[?25l"
const showCursor = "\x1b[?25h"
const eraseRest = "\x1b[K"
const frame = "40 millis"

export const make: Effect.Effect<Screen, never, Terminal.Terminal> = Effect.gen(function*() {
  const { canAnimate, canColor } = yield* TerminalCapabilities.TerminalCapabilities
  const terminal = yield* Terminal.Terminal
  const display = (text: string) => Effect.ignore(terminal.display(text))
  // Written over itself and never erased first, so that it does not flicker.
  const draw = (line: (columns: number) => string) =>
    Effect.flatMap(terminal.columns, (columns) => display(`\r${line(columns)}${eraseRest}`))
  return {
    style: (style, text) => canColor ? styleText(style, text, { validateStream: false }) : text,
    print: (text = "") => Console.log(text),
    live: (line) => (effect) =>
      !canAnimate ? effect : Effect.acquireUseRelease(
        display(hideCursor),
        () => Effect.raceFirst(effect, Effect.andThen(Effect.repeat(draw(line), Schedule.spaced(frame)), Effect.never)),
        () => display(`\r${eraseRest}${showCursor}`)
      )
  }
})

const eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]

/** A bar of `width` columns, `share` of it full. */
export const bar = (screen: Screen, width: number, share: number): string => {
  const filled = Math.floor(width * Math.min(1, share) * 8)
  const full = "█".repeat(filled >> 3) + eighths[filled & 7]!
  return screen.style("cyan", full) + screen.style("dim", "·".repeat(Math.max(0, width - full.length)))
}

export const padEnd = (text: string, width: number): string =>
  text + " ".repeat(Math.max(0, width - CliOutput.displayWidth(text)))

export const padStart = (text: string, width: number): string =>
  " ".repeat(Math.max(0, width - CliOutput.displayWidth(text))) + text

/** Rows under a head, the first column to the left, the others to the right. */
export const table = (
  screen: Screen,
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>
): ReadonlyArray<string> => {
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column]!)].map((cell) => CliOutput.displayWidth(cell)))
  )
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, column) => (column === 0 ? padEnd : padStart)(cell, widths[column]!)).join("  ")
  const rule = screen.style("dim", widths.map((width) => "─".repeat(width)).join("──"))
  return [screen.style("bold", line(head)), rule, ...rows.map(line)].map((text) => `  ${text}`)
}
