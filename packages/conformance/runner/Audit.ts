/**
 * Holds the table of requirements to its word: every test it names is there.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { cases } from "../cases/index.ts"
import { requirements } from "../requirements/index.ts"
import type { Requirement, Test } from "../requirements/Requirement.ts"

/** Whether an id is one that a pattern means: a star stands for any characters. */
export const matches = (pattern: string, id: string): boolean => {
  const [first = "", ...rest] = pattern.split("*")
  if (rest.length === 0) return id === pattern
  if (!id.startsWith(first)) return false
  const last = rest.pop()!
  let at = first.length
  for (const part of rest) {
    const found = id.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return id.length - last.length >= at && id.endsWith(last)
}

/** The cases that a pattern means. */
export const casesOf = (pattern: string): ReadonlyArray<string> =>
  cases.filter(({ id }) => matches(pattern, id)).map(({ id }) => id)

export const isCase = (test: Test): test is string => typeof test === "string"

type Read = (file: string) => Effect.Effect<string, PlatformError>

const isThere = (test: Test, read: Read): Effect.Effect<boolean> =>
  isCase(test)
    ? Effect.succeed(casesOf(test).length > 0)
    : read(test[0]).pipe(
      Effect.map((source) => source.includes(JSON.stringify(test[1]))),
      Effect.orElseSucceed(() => false)
    )

const problemsOf = (requirement: Requirement, read: Read): Effect.Effect<ReadonlyArray<string>> => {
  if ("reason" in requirement) {
    return Effect.succeed(requirement.reason === "" ? [`${requirement.id} has no reason`] : [])
  }
  if (requirement.tests.length === 0) return Effect.succeed([`${requirement.id} has no test`])
  return Effect.map(
    Effect.filter(requirement.tests, (test) => Effect.map(isThere(test, read), (there) => !there)),
    (missing) => missing.map((test) => `${requirement.id} names what is not there: ${[test].flat().join(", ")}`)
  )
}

const repeated = (ids: ReadonlyArray<string>): ReadonlyArray<string> =>
  ids.filter((id, i) => ids.indexOf(id) < i).map((id) => `${id} is there twice`)

/** What is wrong with the table and with the grid, by requirement; nothing where all is well. */
export const audit: Effect.Effect<ReadonlyArray<string>, never, FileSystem.FileSystem | Path.Path> = Effect.gen(
  function*() {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const packages = path.join(import.meta.dirname, "../..")
    const sources = new Map<string, string>()
    const read: Read = (file) => {
      const known = sources.get(file)
      if (known !== undefined) return Effect.succeed(known)
      return Effect.tap(
        files.readFileString(path.join(packages, file)),
        (source) => Effect.sync(() => sources.set(file, source))
      )
    }
    const problems = yield* Effect.forEach(requirements, (requirement) => problemsOf(requirement, read))
    return [
      ...problems.flat(),
      ...repeated(requirements.map(({ id }) => id)),
      ...repeated(cases.map(({ id }) => id))
    ]
  }
)
