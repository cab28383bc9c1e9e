/**
 * What was measured, over the rounds.
 */

/** Figures of one window, by name. `rate` is a second of the contender's processor; times are microseconds. */
export interface Figures {
  readonly [name: string]: number
}

/** What a figure was over the rounds. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** What a contender did in a cell. */
export interface Row {
  readonly contender: string
  readonly figures: { readonly [name: string]: Spread }
}

const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const median = (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** The spread of every figure. */
export const spreadOf = (windows: ReadonlyArray<Figures>): Row["figures"] =>
  Object.fromEntries(
    Object.keys(windows[0] ?? {}).map((name) => [name, spread(windows.map((figures) => figures[name]!))])
  )
