/**
 * Sets figures against each other and against the targets.
 */
import type { Cell, Target } from "./cells.ts"
import type { Row } from "./statistics.ts"

/** A cell, without those who took part, and what was measured. */
export interface Measured {
  readonly cell: Pick<Cell, "name" | "kind" | "load" | "reopens" | "targets">
  readonly rows: ReadonlyArray<Row>
}

/** A target, what was reached, and whether that is enough. */
export interface Verdict {
  readonly target: Target
  readonly reached: number
  readonly met: boolean
}

/** The median of a contender's figure, where it has one. */
export const figureOf = ({ rows }: Measured, contender: string, figure: string): number | undefined =>
  rows.find((row) => row.contender === contender)?.figures[figure]?.median

/** A contender's figure divided by another's. */
export const ratioOf = (
  measured: Measured,
  contender: string,
  to: string,
  figure = "rate"
): number | undefined => {
  const above = figureOf(measured, contender, figure)
  const below = figureOf(measured, to, figure)
  return above === undefined || below === undefined ? undefined : above / below
}

const reachedOf = (target: Target, measured: Measured, all: ReadonlyArray<Measured>): number | undefined => {
  if (target.figure === "growth") {
    const first = all.find(({ cell }) => cell.name === "growth to 100")
    const small = first && figureOf(first, target.contender, "rate")
    return small === undefined ? undefined : small / figureOf(measured, target.contender, "rate")!
  }
  return target.to === undefined
    ? figureOf(measured, target.contender, target.figure)
    : ratioOf(measured, target.contender, target.to, target.figure)
}

/** How the targets of a cell were met, those left out whose contenders did not take part. */
export const verdictsOf = (measured: Measured, all: ReadonlyArray<Measured>): ReadonlyArray<Verdict> =>
  measured.cell.targets.flatMap((target) => {
    const reached = reachedOf(target, measured, all)
    if (reached === undefined) return []
    return [{ target, reached, met: reached >= (target.least ?? -Infinity) && reached <= (target.most ?? Infinity) }]
  })

/** Whether it is one of the cells that differ in their connections alone. */
export const isGrowth = ({ cell }: Measured): boolean => cell.name.startsWith("growth")

/** Whether it is one of the cells in which this library takes part with and without something. */
export const isCost = ({ cell }: Measured): boolean => cell.name.startsWith("cost")

/** How many targets were met. */
export const summaryOf = (all: ReadonlyArray<Measured>): string => {
  const verdicts = all.flatMap((measured) => verdictsOf(measured, all))
  return `${verdicts.filter(({ met }) => met).length} of ${verdicts.length} targets met`
}

/** Whether the generator had no processor left while the contender had: its rate by the clock says nothing then. */
export const isLimited = ({ figures }: Row): boolean =>
  (figures["generatorShare"]?.median ?? 0) > 0.95 && (figures["share"]?.median ?? 1) < 0.95
