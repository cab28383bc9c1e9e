/**
 * The page docs/conformance.md: a static part, made of the data, and between two
 * marks what the last full run gave.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { cases } from "../cases/index.ts"
import { requirements } from "../requirements/index.ts"
import type { Requirement, Test } from "../requirements/Requirement.ts"
import { type Case, rolesOf, sectionOf, transportsOf } from "./Case.ts"
import * as Grid from "./Grid.ts"

const begin = "<!-- the last run -->"
const end = "<!-- end of the last run -->"

const cell = (text: string): string => text.replaceAll("|", "\\|")
const row = (...cells: ReadonlyArray<string>): string => `| ${cells.map(cell).join(" | ")} |`
const table = (heads: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => [
  row(...heads),
  row(...heads.map(() => "---")),
  ...rows.map((cells) => row(...cells)),
  ""
]

const groupBy = <A>(
  values: ReadonlyArray<A>,
  key: (value: A) => string
): ReadonlyArray<readonly [string, Array<A>]> => {
  const groups = new Map<string, Array<A>>()
  for (const value of values) {
    const group = groups.get(key(value))
    if (group === undefined) groups.set(key(value), [value])
    else group.push(value)
  }
  return Array.from(groups)
}

const showTest = (test: Test): string =>
  typeof test === "string" ? `\`${test}\`` : `"${test[1]}" in \`packages/${test[0]}\``

const held = (requirement: Requirement): string =>
  "reason" in requirement ? `None: ${requirement.reason}.` : requirement.tests.map(showTest).join(", ")

const requirementSections = groupBy(requirements, ({ rfc, section }) => `RFC ${rfc}, section ${section}`)

const requirementsPart = requirementSections.flatMap(([title, demands]) => [
  `### ${title}`,
  "",
  ...table(
    ["", "Level", "Binds", "Requirement", "Held by"],
    demands.map((demand) => [
      `\`${demand.id}\``,
      demand.level,
      demand.role,
      demand.text,
      held(demand)
    ])
  )
])

const where = (case_: Case, role: "client" | "server"): string =>
  rolesOf(case_).includes(role) ? transportsOf(case_).join(", ") : "-"

// By RFC and number, and what is beyond them last.
const rankOf = (section: string): string => {
  const [, rfc = "6455", number = ""] = /^(?:(\d{4})-)?([\d.]*)/.exec(section)!
  return number === ""
    ? `9999 ${section}`
    : `${rfc} ${number.split(".").map((part) => part.padStart(2, "0")).join(".")}`
}

const bySection = <A>(values: ReadonlyArray<A>, key: (value: A) => string) =>
  groupBy(values, key).toSorted(([left], [right]) => rankOf(left) < rankOf(right) ? -1 : 1)

const caseSections = bySection(cases, sectionOf)

const titleOf = (section: string): string =>
  /^\d+-/.test(section)
    ? `RFC ${section.replace("-", ", section ")}`
    : /^\d/.test(section)
    ? `RFC 6455, section ${section}`
    : `Beyond the RFCs: ${section}`

const casesPart = caseSections.flatMap(([section, own]) => [
  `### ${titleOf(section)}`,
  "",
  ...table(
    ["Case", "Rule", "Client", "Server"],
    own.map((case_) => [`\`${case_.id}\``, case_.rule, where(case_, "client"), where(case_, "server")])
  )
])

const tested = requirements.filter((requirement) => "tests" in requirement)

/** How much there is. */
export const counts = {
  requirements: requirements.length,
  tested: tested.length,
  reasons: requirements.length - tested.length,
  cases: cases.length,
  fields: Grid.fields().length
}

const opening = [
  "<!-- dprint-ignore-file -->",
  "",
  "# Conformance",
  "",
  "What RFC 6455 and RFC 7692 demand, in our own words, and the tests that hold this library to it. Made by",
  "`npm run conformance` from `packages/conformance`; edit the data there and not this page.",
  "",
  `- ${counts.requirements} requirements. Tests hold ${counts.tested}; ${counts.reasons} cannot be held, and say why.`,
  `- ${counts.cases} cases, each a script for a raw peer. Run in both roles of the library, and over memory in virtual`,
  "  time as well as over TCP, save where a role or a transport makes no sense, they are a grid of",
  `  ${counts.fields} fields.`,
  "",
  "A star in the name of a case stands for all cases whose names fit. `npm test` runs the grid in memory and some of",
  "it over TCP; `npm run conformance -- --only 5.4 --role client --transport tcp` runs a part of it."
]

/** The static part, before and behind the last run. */
export const staticPart = {
  before: [...opening, ""].join("\n"),
  behind: ["", "## Requirements", "", ...requirementsPart, "## Cases", "", ...casesPart].join("\n")
}

const runPart = (outcomes: ReadonlyArray<Grid.Outcome>): string => {
  const sections = bySection(outcomes, ({ field }) => sectionOf(field.case))
  const failures = outcomes.filter(({ problem }) => problem !== undefined)
  return [
    "## The last run",
    "",
    ...table(
      ["Section", "Passed", "Failed"],
      sections.map(([section, own]) => {
        const failed = own.filter(({ problem }) => problem !== undefined).length
        return [titleOf(section), String(own.length - failed), String(failed)]
      })
    ),
    ...failures.map(({ field, problem }) => `- \`${field.case.id}\`, ${field.role}, ${field.transport}: ${problem}`),
    ...failures.length > 0 ? [""] : []
  ].join("\n")
}

/** The whole page. */
export const render = (outcomes: ReadonlyArray<Grid.Outcome>): string =>
  `${staticPart.before}\n${begin}\n\n${runPart(outcomes)}\n${end}\n${staticPart.behind.trimEnd()}\n`

const file = Effect.map(Path.Path, (path) => path.join(import.meta.dirname, "../../../docs/conformance.md"))

const withoutRun = (page: string): string => {
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  return from < 0 || to < 0 ? page : page.slice(0, from) + page.slice(to)
}

/** Whether the page in the repository is that of the data, the last run apart. */
export const isUpToDate: Effect.Effect<boolean, never, FileSystem.FileSystem | Path.Path> = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const page = yield* Effect.orElseSucceed(files.readFileString(yield* file), () => "")
  return withoutRun(page) === withoutRun(render([]))
})

/** Writes the page. */
export const write = Effect.fnUntraced(function*(outcomes: ReadonlyArray<Grid.Outcome>) {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const target = yield* file
  yield* files.makeDirectory(path.dirname(target), { recursive: true })
  yield* files.writeFileString(target, render(outcomes))
})
