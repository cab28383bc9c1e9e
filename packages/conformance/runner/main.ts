/**
 * Runs the grid, checks the table of requirements and writes the page:
 * `npm run conformance -- --only 5.4 --transport memory`.
 *
 * Ends with `N passed, N failed`, and with 1 where something failed.
 *
 * @since 1.0.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { requirements } from "../requirements/index.ts"
import { audit } from "./Audit.ts"
import * as Grid from "./Grid.ts"
import * as Page from "./Page.ts"

/** Something failed, and has been told. */
class Failed extends Data.TaggedError("Failed")<{}> {}

const tell = ({ field, problem }: Grid.Outcome) =>
  Console.log(`FAILED ${field.case.id}, ${field.role}, ${field.transport}: ${problem}`)

// A part of the grid says nothing about the page; the whole grid writes it.
const checkPage = Effect.fnUntraced(function*(outcomes: ReadonlyArray<Grid.Outcome>, check: boolean) {
  const upToDate = yield* Page.isUpToDate
  if (!check) yield* Page.write(outcomes)
  if (!upToDate) {
    yield* Console.log(
      `FAILED docs/conformance.md was not that of the data${check ? "" : "; it has been written anew"}`
    )
  }
  return upToDate
})

const summarize = (outcomes: ReadonlyArray<Grid.Outcome>) => {
  const { cases, reasons, requirements, tested } = Page.counts
  const count = (name: "memory" | "tcp") => outcomes.filter(({ field }) => field.transport === name).length
  return Console.log(
    [
      `${requirements} requirements: ${tested} with tests, ${reasons} with a reason`,
      `${cases} cases; ran ${count("memory")} in memory and ${count("tcp")} over TCP, roles counted`
    ].join("\n")
  )
}

const conformance = Effect.fnUntraced(function*(filter: Grid.Filter, check: boolean) {
  const fields = Grid.fields(filter)
  if (fields.length === 0) yield* Console.log("FAILED nothing in the grid is like that")
  const outcomes = yield* Grid.run(fields, tell)
  const problems = yield* audit
  yield* Effect.forEach(problems, (problem) => Console.log(`FAILED ${problem}`), { discard: true })
  const isWhole = Object.values(filter).every((value) => value === undefined)
  const pages = isWhole ? [yield* checkPage(outcomes, check)] : []
  yield* summarize(outcomes)
  const failed = outcomes.filter(({ problem }) => problem !== undefined).length + problems.length +
    pages.filter((upToDate) => !upToDate).length + (fields.length === 0 ? 1 : 0)
  const passed = Math.max(1, outcomes.length) + requirements.length + pages.length - failed
  yield* Console.log(`${passed} passed, ${failed} failed`)
  if (failed > 0) return yield* new Failed()
})

const command = Command.make("conformance", {
  only: Flag.String("only").pipe(Flag.withDescription("Only cases whose ids begin so, as 5.4/text"), Flag.optional),
  role: Flag.Literals("role", ["client", "server"]).pipe(
    Flag.withDescription("Only this role of the library"),
    Flag.optional
  ),
  transport: Flag.Literals("transport", ["memory", "tcp"]).pipe(
    Flag.withDescription("Only over this transport"),
    Flag.optional
  ),
  check: Flag.Boolean("check").pipe(Flag.withDescription("Leave the page as it is"), Flag.withDefault(false))
}, ({ check, only, role, transport }) =>
  conformance({
    only: Option.getOrUndefined(only),
    role: Option.getOrUndefined(role),
    transport: Option.getOrUndefined(transport)
  }, check)).pipe(Command.withDescription("Hold the library to RFC 6455 and RFC 7692"))

command.pipe(
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
