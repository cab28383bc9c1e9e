/**
 * Sends back what a server sends, until the connection ends.
 *
 *     npm run echo-client -- ws://127.0.0.1:9001/
 *     npm run echo-client -- wss://localhost:9001/ --tls-ca cert.pem --protocol chat --header Authorization:secret
 *     npm run echo-client -- ws://127.0.0.1:9001 --cases
 *
 * You will see, as the last line, how it ended:
 *
 *     {"code":1000,"reason":"","clean":true,"error":null}
 *
 * `error` is a path of tags such as "ReadError/ProtocolViolation/ReservedBits", `code` and `reason` are null when no
 * connection came about. The exit code is 0 when the connection ended cleanly.
 *
 * With `--cases` the URL is that of a fuzzing server, such as Autobahn's: every case it counts is run, each on a
 * connection of its own, and in the end it is told to write its report. The last line is about that last connection.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import type * as WebSocketStream from "effect-websocket/WebSocketStream"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Echo from "./shared/echo.ts"
import { type AnyError, tagPath } from "./shared/errors.ts"
import * as Options from "./shared/options.ts"

const agent = "effect-websocket"

const header = Flag.String("header").pipe(
  Flag.filterMap(
    (line) => Option.map(Option.liftPredicate(line.indexOf(":"), (at) => at > 0), (at) => splitAt(line, at)),
    (line) => `Expected NAME:VALUE, got ${line}`
  ),
  Flag.withMetavar("NAME:VALUE"),
  Flag.withDescription("A header of the request; repeatable"),
  Flag.atLeast(0)
)

const splitAt = (line: string, at: number) => [line.slice(0, at), line.slice(at + 1).trim()] as const

const options = {
  url: Argument.String("url").pipe(Argument.withDescription("ws:, wss:, or ws+unix:PATH")),
  mode: Options.mode,
  limits: Options.limits,
  compression: Options.compression,
  closeAfter: Flag.Int("close-after").pipe(
    Flag.withMetavar("N"),
    Flag.withDescription("Close with 1000 after N messages"),
    Flag.optional
  ),
  headers: header,
  subprotocols: Flag.String("protocol").pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription("A subprotocol to offer; repeatable"),
    Flag.atLeast(0)
  ),
  ca: Flag.FileText("tls-ca").pipe(Flag.withDescription("Certificate to trust, PEM"), Flag.optional),
  cases: Flag.Boolean("cases").pipe(Flag.withDescription("Run all cases of a fuzzing server"), Flag.withDefault(false))
}

type Input = Command.Command.Config.Infer<typeof options>
type Stream = WebSocketStream.WebSocketStream["Service"]

/** How a connection ended. */
interface Outcome {
  readonly code: number | null
  readonly reason: string | null
  readonly clean: boolean
  readonly error: string | null
}

const outcome = (status: WebSocketError.CloseStatus | undefined, error: AnyError | undefined): Outcome => ({
  code: status?.code ?? null,
  reason: status?.reason ?? null,
  clean: status?.clean ?? false,
  error: error === undefined || (error.reason._tag === "ConnectionClosed" && status?.clean === true)
    ? null
    : tagPath(error)
})

/** Connects, does what is to be done, and tells how the connection ended. */
const session = (
  input: Input,
  url: string,
  use: (stream: Stream) => Effect.Effect<unknown, AnyError>
): Effect.Effect<Outcome> => {
  const config = Options.toConfig(input.limits)
  const { headers, subprotocols } = input
  const tls = { ca: Option.getOrUndefined(input.ca) }
  const permessageDeflate = Options.toPermessageDeflate(input.compression)
  return NodeWebSocketClient.connect({ url, headers, subprotocols, config, permessageDeflate, tls }).pipe(
    Effect.flatMap((stream) =>
      Effect.matchEffect(use(stream), {
        onSuccess: () => Effect.map(stream.closed, (status) => outcome(status, undefined)),
        onFailure: (error) => Effect.map(stream.closed, (status) => outcome(status, error))
      })
    ),
    Effect.catch((error) => Effect.succeed(outcome(undefined, error))),
    Effect.scoped,
    Effect.provide(NodeDeflate.layer)
  )
}

const echo = (input: Input) => (stream: Stream) =>
  Option.match(input.closeAfter, {
    onNone: () => Echo.forever(stream, input.mode),
    onSome: (count) => Effect.andThen(Echo.atLeast(stream, input.mode, count), stream.close())
  })

const runCases = Effect.fnUntraced(function*(input: Input) {
  let count = 0
  const asked = yield* session(
    input,
    `${input.url}/getCaseCount`,
    (stream) =>
      Effect.flatMap(stream.read, (message) => {
        count = Number(message)
        return stream.read
      })
  )
  if (!asked.clean) return asked
  for (let number = 1; number <= count; number++) {
    const ended = yield* session(input, `${input.url}/runCase?case=${number}&agent=${agent}`, echo(input))
    yield* Console.log(`case ${number} of ${count}: ${ended.error ?? ended.code}`)
  }
  return yield* session(input, `${input.url}/updateReports?agent=${agent}`, (stream) => stream.read)
})

const run = Effect.fnUntraced(function*(input: Input) {
  const ended = yield* input.cases ? runCases(input) : session(input, input.url, echo(input))
  yield* Console.log(JSON.stringify(ended))
  return ended.clean
})

class NotClean extends Error {
  override readonly name = "NotClean"
  override readonly [Runtime.errorReported] = false
}

Command.make(
  "echo-client",
  options,
  (input) => Effect.flatMap(run(input), (clean) => clean ? Effect.void : Effect.fail(new NotClean()))
).pipe(
  Command.withDescription("Sends back what a WebSocket server sends"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
