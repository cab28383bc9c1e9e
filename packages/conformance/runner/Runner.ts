/**
 * Runs a case in one role over one transport.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { type Case, type Script, stepsOf } from "./Case.ts"
import * as Heads from "./Heads.ts"
import { Mismatch } from "./Mismatch.ts"
import * as Rig from "./Rig.ts"
import type { Role } from "./Wire.ts"
import type * as Wires from "./Wires.ts"

const scriptOf = (case_: Case, role: Role): Script => {
  const script = typeof case_.script === "function" ? case_.script(role) : case_.script
  return case_.unopened === true || case_.handler !== undefined ? script : [Heads.shakes, script]
}

/** Runs a case, and tells of each step before it. In memory the clock is to be a `TestClock`. */
export const run = (
  case_: Case,
  role: Role,
  transport: Wires.Name,
  onStep: (say: string) => void = () => {}
): Effect.Effect<void, Mismatch> =>
  Rig.make(case_, role, transport).pipe(
    Effect.flatMap((rig) =>
      Effect.forEach(stepsOf(scriptOf(case_, role)), ({ run, say }, index) => {
        onStep(`${index}, ${say}`)
        return Effect.mapError(
          run(rig),
          ({ actual, expected }) => new Mismatch({ expected: `at step ${index}, ${say}: ${expected}`, actual })
        )
      }, { discard: true })
    ),
    Effect.scoped
  )

// Real time, which only a case that hangs uses up.
const patience = "10 seconds"

/** Runs a case by itself: with a clock of its own in memory, and not for ever. */
export const runAlone = (case_: Case, role: Role, transport: Wires.Name): Effect.Effect<void, Mismatch> =>
  Effect.suspend(() => {
    let last = "no step"
    const running = run(case_, role, transport, (say) => last = say)
    return Effect.timeoutOrElse(transport === "memory" ? Effect.provide(running, TestClock.layer()) : running, {
      duration: patience,
      orElse: () => Effect.fail(new Mismatch({ expected: `an end of step ${last}`, actual: `none in ${patience}` }))
    })
  })
