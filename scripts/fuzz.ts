/**
 * Fuzzes `Connection.receive` for a while: `node scripts/fuzz.ts --seconds 60 --seed 1`.
 *
 * The cases and laws are those of `packages/protocol/test/fixtures/fuzz.ts`.
 * Stops at the first case that breaks one, with the seed and the shortest input
 * in hex, and exits with 1.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fuzz from "../packages/protocol/test/fixtures/fuzz.ts"
import { Random } from "../packages/protocol/test/fixtures/random.ts"
import { toHex } from "../packages/protocol/test/fixtures/wire.ts"

const batchSize = 1000

class LawBroken extends Data.TaggedError("LawBroken")<{
  readonly seed: number
  readonly index: number
  readonly case: Fuzz.Case
}> {
  override get message(): string {
    const { bytes, ...settings } = this.case
    return `seed ${this.seed}, case ${this.index}: ${Fuzz.problemOf(this.case)}\n${JSON.stringify(settings)}\n${
      toHex(bytes)
    }`
  }
}

const fails = (case_: Fuzz.Case): boolean => Fuzz.problemOf(case_) !== undefined

const runBatch = (random: Random, seed: number, first: number): Effect.Effect<void, LawBroken> =>
  Effect.suspend(() => {
    for (let index = first; index < first + batchSize; index++) {
      const case_ = Fuzz.makeCase(random)
      if (fails(case_)) return Effect.fail(new LawBroken({ seed, index, case: Fuzz.shrink(case_, fails) }))
    }
    return Effect.void
  })

const fuzz = Effect.fnUntraced(function*(seconds: number, seed: number) {
  const random = new Random(seed)
  const start = yield* Clock.currentTimeMillis
  let cases = 0
  let elapsed = 0
  while (elapsed < seconds * 1000) {
    yield* runBatch(random, seed, cases)
    cases += batchSize
    elapsed = (yield* Clock.currentTimeMillis) - start
  }
  yield* Console.log(`seed ${seed}: ${cases} cases, ${Math.round(cases / (elapsed / 1000))} cases/s, no law broken`)
})

const command = Command.make("fuzz", {
  seconds: Flag.Int("seconds").pipe(
    Flag.withDescription("How long to run, in seconds"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
    Flag.withDefault(10)
  ),
  seed: Flag.Int("seed").pipe(Flag.withDescription("Makes the same cases again"), Flag.withDefault(1))
}, ({ seconds, seed }) => fuzz(seconds, seed)).pipe(Command.withDescription("Fuzz the framing core"))

command.pipe(Command.run({ version: "0.0.0" }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
