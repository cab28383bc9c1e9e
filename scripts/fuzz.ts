/**
 * Fuzzes for a while: `node scripts/fuzz.ts --seconds 60 --seed 1 --target heads`.
 * Without a target, each of them in turn for that long.
 *
 * The cases and laws are those of `packages/*\/test/fixtures`. Stops at the first
 * case that breaks a law, with the seed and the shortest input as a line for
 * `regressions.ts`, and exits with 1.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Random } from "../packages/protocol/test/fixtures/random.ts"
import * as Target from "../packages/protocol/test/fixtures/target.ts"
import { targets as ofProtocol } from "../packages/protocol/test/fixtures/targets.ts"
import * as StreamFuzz from "../packages/websocket/test/fixtures/streamFuzz.ts"

const targets = [...ofProtocol, StreamFuzz.target]

const batchSize = 50

class LawBroken extends Data.TaggedError("LawBroken")<{
  readonly target: string
  readonly seed: number
  readonly index: number
  readonly report: string
}> {
  override get message(): string {
    return `${this.target}, seed ${this.seed}, case ${this.index}: ${this.report}`
  }
}

const fuzz = Effect.fnUntraced(function*(target: Target.Target, seconds: number, seed: number) {
  const random = new Random(seed)
  const start = yield* Clock.currentTimeMillis
  let cases = 0
  let elapsed = 0
  while (elapsed < seconds * 1000) {
    const broken = yield* Target.run(target, random, batchSize)
    if (broken !== undefined) {
      const { index, report } = broken
      return yield* new LawBroken({ target: target.name, seed, index: cases + index, report })
    }
    cases += batchSize
    elapsed = (yield* Clock.currentTimeMillis) - start
  }
  const rate = Math.round(cases / (elapsed / 1000))
  yield* Console.log(`${target.name}, seed ${seed}: ${cases} cases, ${rate} cases/s, no law broken`)
})

const command = Command.make("fuzz", {
  seconds: Flag.Int("seconds").pipe(
    Flag.withDescription("How long to run a target, in seconds"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
    Flag.withDefault(10)
  ),
  seed: Flag.Int("seed").pipe(Flag.withDescription("Makes the same cases again"), Flag.withDefault(1)),
  target: Flag.Literals("target", targets.map(({ name }) => name)).pipe(
    Flag.withDescription("What to fuzz"),
    Flag.optional
  )
}, ({ seconds, seed, target }) =>
  Effect.forEach(
    targets.filter(({ name }) => Option.isNone(target) || target.value === name),
    (chosen) => fuzz(chosen, seconds, seed),
    { discard: true }
  )).pipe(Command.withDescription("Fuzz with laws"))

command.pipe(Command.run({ version: "0.0.0" }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
