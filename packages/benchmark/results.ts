/**
 * A whole run as JSON, from which the page and the plots are made.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Os from "node:os"
import { fileURLToPath } from "node:url"
import type { Measured } from "./judge.ts"
import { bunPath, nodeFlags } from "./program.ts"

/** What was measured, where and how. */
export interface Run {
  readonly date: string
  readonly command: string
  readonly machine: { readonly processor: string; readonly processors: number; readonly system: string }
  readonly versions: { readonly [name: string]: string }
  readonly nodeFlags: ReadonlyArray<string>
  readonly minutes: number
  readonly measured: ReadonlyArray<Measured>
}

const pathOf = (name: string) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url))

const resultsPath = pathOf("benchmark/results.json")

const versionOf = Effect.fnUntraced(function*(name: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const text = yield* fileSystem.readFileString(fileURLToPath(new URL(import.meta.resolve(`${name}/package.json`))))
  return [name, (JSON.parse(text) as { readonly version: string }).version] as const
})

/** The run that is going on, with what was measured. */
export const makeRun = Effect.fnUntraced(
  function*(command: string, minutes: number, measured: ReadonlyArray<Measured>) {
    const others = ["effect", "@effect/platform-node", "ws", ...(bunPath() === undefined ? [] : ["bun"])]
    const versions = yield* Effect.forEach(others, versionOf)
    return {
      date: DateTime.formatIso(yield* DateTime.now),
      command,
      machine: { processor: Os.cpus()[0]!.model, processors: Os.cpus().length, system: `${Os.type()} ${Os.release()}` },
      versions: { node: process.versions.node, zlib: process.versions.zlib, ...Object.fromEntries(versions) },
      nodeFlags,
      minutes,
      measured
    } satisfies Run as Run
  }
)

const four = (_: string, value: unknown) => typeof value === "number" ? Number(value.toPrecision(4)) : value

/** Keeps a run. */
export const save = Effect.fnUntraced(function*(run: Run) {
  yield* write("benchmark/results.json", JSON.stringify(run, four, 2))
})

/** Reads the run that was kept. */
export const load = Effect.flatMap(
  FileSystem.FileSystem,
  (fileSystem) => Effect.map(fileSystem.readFileString(resultsPath), (text) => JSON.parse(text) as Run)
)

/** Writes a file under `docs`. */
export const write = Effect.fnUntraced(function*(name: string, text: string) {
  const fileSystem = yield* FileSystem.FileSystem
  yield* fileSystem.makeDirectory(pathOf("benchmark"), { recursive: true })
  yield* fileSystem.writeFileString(pathOf(name), `${text.trimEnd()}\n`)
})
