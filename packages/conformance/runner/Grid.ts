/**
 * The grid: every case in each of its roles over each of its transports.
 *
 * @since 1.0.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { cases } from "../cases/index.ts"
import { type Case, rolesOf, transportsOf } from "./Case.ts"
import * as Runner from "./Runner.ts"
import type { Role } from "./Wire.ts"
import type * as Wires from "./Wires.ts"

/** One field of the grid. */
export interface Field {
  readonly case: Case
  readonly role: Role
  readonly transport: Wires.Name
}

export interface Filter {
  /** The beginning of the ids to run. Default all. */
  readonly only?: string | undefined
  readonly role?: Role | undefined
  readonly transport?: Wires.Name | undefined
}

/** The fields of the grid that a filter leaves. */
export const fields = ({ only = "", role, transport }: Filter = {}): ReadonlyArray<Field> =>
  cases.filter(({ id }) => id.startsWith(only)).flatMap((case_) =>
    transportsOf(case_).filter((name) => name === (transport ?? name)).flatMap((name) =>
      rolesOf(case_).filter((own) => own === (role ?? own)).map((own): Field => ({
        case: case_,
        role: own,
        transport: name
      }))
    )
  )

/** What came of a field. */
export interface Outcome {
  readonly field: Field
  /** Why it failed, if it did. */
  readonly problem: string | undefined
}

/** Runs fields one after another; `onFailure` hears of each that fails as soon as it does. */
export const run = (
  chosen: ReadonlyArray<Field>,
  onFailure: (outcome: Outcome) => Effect.Effect<void>
): Effect.Effect<ReadonlyArray<Outcome>> =>
  Effect.forEach(chosen, (field) =>
    Runner.runAlone(field.case, field.role, field.transport).pipe(
      Effect.matchCause({
        onFailure: (cause): Outcome => ({ field, problem: String(Cause.squash(cause)) }),
        onSuccess: (): Outcome => ({ field, problem: undefined })
      }),
      Effect.tap((outcome) => outcome.problem === undefined ? Effect.void : onFailure(outcome))
    ))
