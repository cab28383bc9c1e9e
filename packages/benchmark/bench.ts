/**
 * What a run has at hand: its extent, the generator, certificates, and the starting of contenders.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Selfsigned from "selfsigned"
import * as Contenders from "./contenders.ts"
import type { Request } from "./generator.ts"
import * as Program from "./program.ts"
import type { Setting } from "./setting.ts"

/** How much is measured. */
export interface Extent {
  readonly rounds: number
  /** Of a window. */
  readonly seconds: number
  /** Seconds of load before the first window. */
  readonly warmUp: number
  /** Whether processes serve every cell that they can, on few connections, so that each is seen to work and no more. */
  readonly brief: boolean
}

/** Where cells are measured. */
export interface Bench {
  readonly extent: Extent
  readonly ask: <Answer = object>(request: Request) => Effect.Effect<Answer, Program.ProgramFailed>
  readonly start: (
    contender: Contenders.Contender,
    setting: Setting
  ) => Effect.Effect<Program.Program, Program.ProgramFailed, Scope.Scope>
  readonly tls: NonNullable<Setting["tls"]>
}

/** Makes one, for as long as the scope is open. */
export const make = Effect.fnUntraced(function*(extent: Extent) {
  const generator = yield* Program.start({ name: "generator", file: "generator.ts", args: [], runtime: "node" }, false)
  const pems = yield* Effect.promise(() => Selfsigned.generate([{ name: "commonName", value: "benchmark" }]))
  const scope = yield* Effect.scope
  const kept = new Map<string, Program.Program>()
  const startOnce: Bench["start"] = Effect.fnUntraced(function*(contender, setting) {
    const id = JSON.stringify([contender, setting])
    const program = kept.get(id) ?? (yield* Scope.provide(Contenders.start(contender, setting), scope))
    kept.set(id, program)
    return program
  })
  return {
    extent,
    ask: generator.ask,
    start: extent.brief ? startOnce : Contenders.start,
    tls: { cert: pems.cert, key: pems.private }
  } satisfies Bench as Bench
})
