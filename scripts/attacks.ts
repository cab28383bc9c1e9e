/**
 * Prints what has broken other implementations, and the tests that hold each
 * here: `node scripts/attacks.ts`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type Attack, namesIn, table } from "../packages/websocket/test/fixtures/attacks.ts"

const described = (attack: Attack): string =>
  "reason" in attack
    ? `     not tested: ${attack.reason}`
    : [
      ...namesIn(attack, "tests").map((name) => `     ${name}`),
      ...namesIn(attack, "nodeTests").map((name) => `     ${name} (platform-node)`)
    ].join("\n")

const rows = table.map((attack) => `${String(attack.row).padStart(3)}  ${attack.attack}\n${described(attack)}`)

NodeRuntime.runMain(
  Effect.andThen(Effect.forEach(rows, (row) => Console.log(row)), Console.log(`${table.length} rows`))
)
