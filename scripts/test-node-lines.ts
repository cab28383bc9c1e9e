/**
 * Runs the tests under every line of Node that the packages support:
 *
 *     npm run test-node-lines
 *     npm run test-node-lines -- 22.19.0
 *
 * You will see a line for each version, behind what failed under it. Each Node comes from npm into a directory that is
 * deleted again. Exits with 1 where a test failed.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Path from "node:path"

const lines = ["22", "24", "26"]

const projects = ["@effect-websocket/protocol", "effect-websocket", "@effect-websocket/platform-node"]

const root = Path.join(import.meta.dirname, "..")

class Failed extends Data.TaggedError("Failed")<{ readonly message: string }> {}

/** Runs a command to its end and gives its exit code and what it printed. */
const run = Effect.fnUntraced(function*(command: string, args: ReadonlyArray<string>, path: string) {
  const handle = yield* ChildProcess.make(command, args, {
    cwd: root,
    env: { PATH: path },
    extendEnv: true,
    stdin: "ignore"
  })
  const text = yield* Stream.mkString(Stream.decodeText(handle.all))
  return { code: yield* handle.exitCode, text }
}, Effect.scoped)

const path = process.env["PATH"] ?? ""

/** Installs a version and returns the folder of its program. */
const install = Effect.fnUntraced(function*(version: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const directory = yield* fileSystem.makeTempDirectoryScoped()
  const args = ["install", "--prefix", directory, "--no-audit", "--no-fund", "--no-save", `node@${version}`]
  const { code, text } = yield* run("npm", args, path)
  return code === 0
    ? Path.join(directory, "node_modules", "node", "bin")
    : yield* new Failed({ message: `node@${version} cannot be installed\n${text}` })
})

const Results = Schema.fromJsonString(Schema.Struct({
  numPassedTests: Schema.Int,
  numFailedTests: Schema.Int,
  numFailedTestSuites: Schema.Int,
  testResults: Schema.Array(Schema.Struct({
    name: Schema.String,
    message: Schema.String,
    assertionResults: Schema.Array(Schema.Struct({
      fullName: Schema.String,
      status: Schema.String,
      failureMessages: Schema.optional(Schema.NullOr(Schema.Array(Schema.String)))
    }))
  }))
}))

const firstLine = (text: string | undefined): string => text?.split("\n")[0] ?? ""

const failuresOf = ({ testResults }: typeof Results.Type): ReadonlyArray<string> =>
  testResults.flatMap(({ assertionResults, message, name }) => {
    const file = Path.relative(root, name)
    const failed = assertionResults.filter(({ status }) => status === "failed")
    return message === "" || failed.length > 0
      ? failed.map(({ failureMessages, fullName }) => `  ${file}: ${fullName}: ${firstLine(failureMessages?.[0])}`)
      : [`  ${file}: ${message}`]
  })

/** Tests under a version and tells whether all is well. */
const test = Effect.fnUntraced(function*(version: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const bin = yield* install(version)
  const program = Path.join(bin, "node")
  const inside = `${bin}${Path.delimiter}${path}`
  const { text: exact } = yield* run(program, ["--version"], inside)
  const json = Path.join(bin, "tests.json")
  const vitest = Path.join(root, "node_modules", "vitest", "vitest.mjs")
  const reporting = ["--reporter=json", `--outputFile.json=${json}`]
  const chosen = projects.flatMap((project) => ["--project", project])
  const args = [vitest, "run", "--config", "vitest.workspace.ts", "--testTimeout=30000", ...reporting, ...chosen]
  const { code, text } = yield* run(program, args, inside)
  const results = yield* fileSystem.readFileString(json).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(Results)),
    Effect.mapError(() => new Failed({ message: `no results under Node ${exact.trim()}\n${text}` }))
  )
  yield* Effect.forEach(failuresOf(results), (failure) => Console.log(failure))
  const { numFailedTests, numPassedTests } = results
  yield* Console.log(`Node ${exact.trim()}: ${numPassedTests} passed, ${numFailedTests} failed`)
  return code === 0 && numPassedTests > 0
}, Effect.scoped)

Command.make(
  "test-node-lines",
  { versions: Argument.String("version").pipe(Argument.variadic()) },
  Effect.fnUntraced(function*({ versions }) {
    const results = yield* Effect.forEach(versions.length > 0 ? versions : lines, test)
    if (results.includes(false)) return yield* new Failed({ message: "tests failed" })
  })
).pipe(
  Command.withDescription("Runs the tests under several versions of Node"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
