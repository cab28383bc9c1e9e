/**
 * Tries every case with every peer and writes `docs/interop.md`.
 *
 *     npm run interop
 *     npm run interop -- --only ws
 *     npm run interop -- --only chat
 *
 * You will see a line for each peer, what failed, the table, how the chat of the scratchpad did in a browser, and as the
 * last line `N passed, N failed`. What is missing of Debian's packages is installed first. With `--only` the page is not
 * written.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import { fileURLToPath } from "node:url"
import { tryChat } from "./chat.ts"
import { install } from "./debian.ts"
import { formatPage, formatSummary } from "./page.ts"
import { peers } from "./peers.ts"
import { output } from "./program.ts"
import { type Column, failuresOf, tryPeer } from "./trial.ts"

class NotGreen extends Error {
  override readonly name = "NotGreen"
  override readonly [Runtime.errorReported] = false
}

const pagePath = fileURLToPath(new URL("../../docs/interop.md", import.meta.url))

const writePage = Effect.fnUntraced(function*(columns: ReadonlyArray<Column>) {
  const fileSystem = yield* FileSystem.FileSystem
  yield* fileSystem.makeDirectory(fileURLToPath(new URL("../../docs", import.meta.url)), { recursive: true })
  yield* fileSystem.writeFileString(pagePath, yield* formatPage(columns))
  yield* output(["dprint", "fmt", pagePath])
})

/** The scratchpad's chat in Chromium: whether it failed, by version of HTTP. */
const chat = Effect.gen(function*() {
  yield* install(["chromium"])
  return yield* Effect.forEach(["HTTP/1.1", "HTTP/2"] as const, (version) =>
    tryChat(version).pipe(
      Effect.match({
        onSuccess: () => ({ _tag: "Passed", line: `the chat in Chromium over ${version}: passed` }) as const,
        onFailure: ({ message }) =>
          ({ _tag: "Failed", line: `the chat in Chromium over ${version}: ${message}` }) as const
      }),
      Effect.tap(({ line }) => Console.log(line))
    ))
})

const run = Effect.fnUntraced(function*(only: Option.Option<string>) {
  const chosen = peers.filter(({ name }) => Option.isNone(only) || name === only.value)
  yield* install([...new Set(chosen.flatMap(({ packages }) => packages))])
  const columns = yield* Effect.forEach(
    chosen,
    (peer) =>
      Effect.tap(tryPeer(peer), (column) => Console.log([formatSummary(column), ...failuresOf(column)].join("\n")))
  )
  if (Option.isNone(only)) yield* writePage(columns)
  const tried = Option.isNone(only) || only.value === "chat" ? yield* chat : []
  const results = [...columns.flatMap(({ cells }) => Object.values(cells)), ...tried]
  const failed = results.filter(({ _tag }) => _tag === "Failed").length
  yield* Console.log(`${results.filter(({ _tag }) => _tag === "Passed").length} passed, ${failed} failed`)
  if (failed > 0 || results.length === 0) return yield* Effect.fail(new NotGreen())
})

Command.make(
  "interop",
  { only: Flag.String("only").pipe(Flag.withMetavar("PEER"), Flag.withDescription("One peer by name"), Flag.optional) },
  ({ only }) => run(only)
).pipe(
  Command.withDescription("Tries effect-websocket against other implementations"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
