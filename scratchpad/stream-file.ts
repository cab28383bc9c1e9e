/**
 * The main job: one large file as one message, over four transports in turn.
 *
 *     npm run demo
 *     npm run demo -- --file some.iso
 *
 * You will see, for TCP, TLS, a unix socket and memory: the file going over in parts of uneven size while both ends
 * ping each other in the middle of the message; a table of what both ends counted; then two failures as the typed
 * errors that a program matches on, a refused handshake and a peer that breaks a rule of RFC 6455.
 *
 * Both ends run in this one process, and both hash every byte: MiB/s is the price of all of it, file reading included,
 * and for the first transport warming up. The exit code is 0 only if the digests agree, pings were answered in
 * mid-message, closes were clean and the errors the expected ones.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Runtime from "effect/Runtime"
import { tagPath } from "./shared/errors.ts"
import * as Refusals from "./shared/refusals.ts"
import * as Screen from "./shared/screen.ts"
import * as Transfer from "./shared/transfer.ts"
import * as Transports from "./shared/transports.ts"

class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly problems: ReadonlyArray<string> }> {
  override readonly [Runtime.errorReported] = false
}

interface Input {
  readonly path: string
  readonly size: number
}

/** Files that come with the checkout, the one that was made for this machine first. */
const candidates = [
  `@typescript/typescript-${process.platform}-${process.arch}/lib/tsc`,
  "@dprint/typescript/plugin.wasm"
]

const findFile = Effect.fnUntraced(function*(wanted: Option.Option<string>) {
  const files = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const modules = join(import.meta.dirname, "..", "node_modules")
  const choices = Option.match(wanted, {
    onNone: () => candidates.map((name) => join(modules, name)),
    onSome: (path) => [path]
  })
  const path = yield* Effect.findFirst(choices, (path) => files.exists(path))
  if (Option.isNone(path)) return yield* new CliError.UserError({ cause: `No such file: ${choices.join(", ")}` })
  const { size } = yield* files.stat(path.value)
  if (size < 2n) return yield* new CliError.UserError({ cause: "A file of less than 2 bytes has no middle" })
  return { path: path.value, size: Number(size) }
})

const formatBytes = (size: number) => ByteSize.format(ByteSize.bytes(size), { precision: 1 })
const formatRate = (bytes: number, elapsed: Duration.Duration) =>
  (bytes / 2 ** 20 / Duration.toSeconds(elapsed)).toFixed(0)
const formatPing = (receipt: Transfer.Receipt) => receipt.worstPing.toFixed(2)
const formatCount = (count: number) => count.toLocaleString("en-US").replaceAll(",", " ")

const nameWidth = Math.max(...Object.keys(Transports.all).map((name) => name.length))

const progressLine =
  (screen: Screen.Screen, name: string, input: Input, tally: Transfer.Tally) => (columns: number) => {
    const share = tally.bytes / input.size
    const percent = `${Math.floor(share * 100)} %`.padStart(5)
    const pings = `${tally.pings} pings`.padStart(9)
    const bar = Screen.bar(screen, Math.max(10, Math.min(50, columns - nameWidth - 24)), share)
    return `  ${name.padEnd(nameWidth)}  ${bar}  ${percent}  ${screen.style("dim", pings)}`
  }

/** Far more than any transfer takes: what hangs is a failure, too. */
const patience = "1 minute"

const transfer = (screen: Screen.Screen, name: keyof typeof Transports.all, input: Input) => {
  const tally = new Transfer.Tally()
  const client = WebSocketClient.connect({ url: "ws://localhost/upload" }).pipe(
    Effect.flatMap((stream) => Transfer.send(stream, input.path, tally)),
    Effect.scoped
  )
  const server = WebSocketServer.serve(Transfer.receive).pipe(
    Layer.provide(WebSocketServer.layer({ config: { maxMessageSize: input.size } }))
  )
  return client.pipe(
    Effect.timeout(patience),
    screen.live(progressLine(screen, name, input, tally)),
    Effect.provide(Layer.provideMerge(server, Transports.all[name]))
  )
}

/** What did not hold. */
const problemsOf = (name: string, input: Input, { received, sent, status }: Transfer.Outcome): Array<string> =>
  Object.entries({
    "the digests differ": sent.sha256 === received.sha256,
    "bytes are missing": sent.bytes === input.size && received.bytes === input.size,
    "no ping of the client was answered in mid-message": sent.pings > 0,
    "no ping of the server was answered in mid-message": received.pings > 0,
    "it did not close with 1000": status.clean && status.code === 1000
  }).flatMap(([problem, holds]) => holds ? [] : [`${name}: ${problem}`])

const summary = (screen: Screen.Screen, name: string, { elapsed, received, sent }: Transfer.Outcome) =>
  `  ${name.padEnd(nameWidth)}  ${screen.style("green", "✓")} ${formatBytes(sent.bytes)} in ${
    Duration.toMillis(elapsed).toFixed(0)
  } ms, ${sent.pings + received.pings} pings on the way  ${
    screen.style("dim", `sha-256 ${received.sha256.slice(0, 8)}…`)
  }`

const row = (name: string, { elapsed, received, sent, status }: Transfer.Outcome): ReadonlyArray<string> => [
  name,
  formatCount(received.bytes),
  `${sent.parts} → ${received.parts}`,
  formatRate(received.bytes, elapsed),
  `${formatPing(sent)} / ${formatPing(received)}`,
  `${status.code} ${status.clean ? "clean" : "not clean"}`
]

const head = ["transport", "bytes", "parts", "MiB/s", "worst ping ms ↑/↓", "closed"]

const transferAll = Effect.fnUntraced(function*(screen: Screen.Screen, input: Input) {
  const rows: Array<ReadonlyArray<string>> = []
  const problems: Array<string> = []
  for (const name of Object.keys(Transports.all) as Array<keyof typeof Transports.all>) {
    const exit = yield* Effect.exit(transfer(screen, name, input))
    if (exit._tag === "Failure") {
      problems.push(`${name}: ${Cause.pretty(exit.cause)}`)
      continue
    }
    yield* screen.print(summary(screen, name, exit.value))
    rows.push(row(name, exit.value))
    problems.push(...problemsOf(name, input, exit.value))
  }
  yield* screen.print()
  for (const line of Screen.table(screen, head, rows)) yield* screen.print(line)
  return problems
})

const fields = (screen: Screen.Screen, entries: ReadonlyArray<readonly [string, string]>) =>
  Effect.forEach(entries, ([name, value]) => screen.print(`    ${screen.style("dim", name.padEnd(12))} ${value}`), {
    discard: true
  })

const refusedHandshake = Effect.fnUntraced(function*(screen: Screen.Screen) {
  const error = yield* Refusals.refused
  const { reason } = error
  yield* screen.print(`\n  A refused handshake is ${screen.style("red", tagPath(error))}`)
  yield* fields(screen, [["message", error.message]])
  if (reason._tag !== "UpgradeDeclined") return ["the refused handshake gave another error"]
  yield* fields(screen, [
    ...reason.headers.map(([name, value], index) => [index === 0 ? "headers" : "", `${name}: ${value}`] as const),
    ["body", new TextDecoder().decode(reason.body)],
    ["retryAfter", `${reason.retryAfter} ms`]
  ])
  return reason.status === 401 && reason.retryAfter === 30_000 ? [] : ["the refusal lost its status or Retry-After"]
}, Effect.provide(Transports.layerTcp))

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")

const protocolViolation = Effect.fnUntraced(function*(screen: Screen.Screen) {
  const { answer, error } = yield* Refusals.violated
  const { reason } = error
  yield* screen.print(`\n  A peer that breaks a rule is ${screen.style("red", tagPath(error))}`)
  yield* fields(screen, [["message", error.message], ["frame sent", hex(Refusals.badFrame)]])
  if (reason._tag !== "ProtocolViolation") return ["the violation gave another error"]
  yield* fields(screen, [
    ["answered", `Close ${reason.closeCode}: ${new TextDecoder().decode(answer.subarray(4))}`],
    ["", screen.style("dim", `${hex(answer.subarray(0, 12))} …`)]
  ])
  const code = new DataView(answer.buffer, answer.byteOffset).getUint16(2)
  return reason.rule === "ReservedBits" && code === 1002 ? [] : ["the violation gave another rule or close code"]
})

const demo = Effect.fnUntraced(function*(wanted: Option.Option<string>) {
  const screen = yield* Screen.make
  const input = yield* findFile(wanted)
  const { basename } = yield* Path.Path
  yield* screen.print(
    `\n  ${screen.style("bold", basename(input.path))}, ${
      formatBytes(input.size)
    }, as one message over each transport\n`
  )
  const problems = [
    ...(yield* transferAll(screen, input)),
    ...(yield* refusedHandshake(screen)),
    ...(yield* protocolViolation(screen))
  ]
  yield* screen.print()
  if (problems.length === 0) return yield* screen.print(`  ${screen.style("green", "✓")} everything held`)
  for (const problem of problems) yield* screen.print(`  ${screen.style("red", "✗")} ${problem}`)
  return yield* new DemoFailed({ problems })
})

const file = Flag.File("file", { mustExist: true }).pipe(
  Flag.withDescription("The file to stream; default, one of several MiB from this checkout"),
  Flag.optional
)

Command.make("stream-file", { file }, ({ file }) => demo(file)).pipe(
  Command.withDescription("Streams a file as one WebSocket message over four transports"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
