/**
 * What came of it as a table in Markdown.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Os from "node:os"
import { fileURLToPath } from "node:url"
import { type CaseName, cases } from "./cases.ts"
import { versionOf } from "./debian.ts"
import type { Peer } from "./peers.ts"
import type { Cell, Column } from "./trial.ts"

const marks: { readonly [T in Cell["_tag"]]: string } = { Passed: "yes", Failed: "**no**", Impossible: "–" }

const titleOf = ({ name, role }: Peer) => `${name} ${role}`

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const table = (columns: ReadonlyArray<Column>): ReadonlyArray<string> => [
  row(["", ...columns.map(({ peer }) => titleOf(peer))]),
  row(["---", ...columns.map(() => ":-:")]),
  ...Object.keys(cases).map((name) => row([name, ...columns.map(({ cells }) => marks[cells[name as CaseName]._tag])]))
]

/** How many of a peer's cases came out how, in a line. */
export const formatSummary = ({ cells, peer }: Column): string => {
  const count = (tag: Cell["_tag"]) => Object.values(cells).filter(({ _tag }) => _tag === tag).length
  return `${titleOf(peer)}: ${count("Passed")} passed, ${count("Failed")} failed, ${count("Impossible")} impossible`
}

const reasons = (columns: ReadonlyArray<Column>): ReadonlyArray<string> => {
  const lines = columns.flatMap(({ cells, peer }) =>
    Object.entries(cells).flatMap(([name, cell]) =>
      cell._tag === "Impossible" ? [{ peer: peer.name, name, why: cell.why }] : []
    )
  )
  const groups = Map.groupBy(lines, ({ name, why }) => `${name}: ${why}`)
  return Array.from(
    groups,
    ([text, entries]) => `- ${text} (${[...new Set(entries.map(({ peer }) => peer))].join(", ")})`
  )
}

const ownVersion = Effect.fnUntraced(function*(name: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const url = new URL(import.meta.resolve(`${name}/package.json`))
  const text = yield* fileSystem.readFileString(fileURLToPath(url))
  return `${name} ${(JSON.parse(text) as { readonly version: string }).version} from npm`
})

const versions = Effect.fnUntraced(function*(columns: ReadonlyArray<Column>) {
  const packages = [...new Set(columns.flatMap(({ peer }) => peer.packages))]
  const debian = yield* Effect.forEach(
    packages,
    (name) => Effect.map(versionOf(name), (version) => `${name} ${version} from Debian`)
  )
  return [yield* ownVersion("ws"), `Node ${process.versions.node}`, `undici ${process.versions["undici"]}`, ...debian]
})

const system = Effect.flatMap(
  FileSystem.FileSystem,
  (fileSystem) =>
    Effect.map(
      fileSystem.readFileString("/etc/os-release"),
      (text) => /^PRETTY_NAME="(.*)"$/m.exec(text)?.[1] ?? "unknown"
    )
)

/** The whole page. */
export const formatPage = Effect.fnUntraced(function*(columns: ReadonlyArray<Column>) {
  const page = [
    "# Against other implementations",
    "Written by `npm run interop`, which says itself what is tried: `packages/interop/cases.ts`. \"Client\" and \"server\" " +
    "are what the other side is. Compressed messages are 60 bytes, 64 KiB and 1 MiB, each twice; data in flight is 1 MiB.",
    table(columns).join("\n"),
    "Where there is a dash, it cannot be tried:",
    reasons(columns).join("\n"),
    `Made on ${yield* system}, ${Os.machine()}, with:`,
    (yield* versions(columns)).map((line) => `- ${line}`).join("\n")
  ]
  return `${page.join("\n\n")}\n`
})
