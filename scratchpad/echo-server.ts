/**
 * Echoes every message as it came: text as text, bytes as bytes.
 *
 *     npm run echo-server -- --port 9001
 *     npm run echo-server -- --unix /tmp/echo.sock --mode parts
 *     npm run echo-server -- --port 0 --tls-cert cert.pem --tls-key key.pem
 *
 * You will see one line, `listening on ws://127.0.0.1:9001`, once clients can come. SIGINT and SIGTERM make it drain:
 * it takes nobody in any more, tells every peer 1001, and exits with 0. A second signal does not hurry it: handlers
 * have 10 seconds. `--log-level debug` shows what went wrong with single connections.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { TransportServer } from "effect-websocket/Transport"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Echo from "./shared/echo.ts"
import * as Options from "./shared/options.ts"
import { urlOf } from "./shared/urls.ts"

const options = {
  port: Flag.Int("port").pipe(Flag.withDescription("0 lets the system choose"), Flag.withDefault(9001)),
  host: Flag.String("host").pipe(Flag.withDefault("127.0.0.1")),
  unix: Flag.String("unix").pipe(
    Flag.withMetavar("PATH"),
    Flag.withDescription("Listen on a unix socket instead"),
    Flag.optional
  ),
  cert: Flag.FileText("tls-cert").pipe(Flag.withDescription("Certificate chain, PEM"), Flag.optional),
  key: Flag.FileText("tls-key").pipe(Flag.withDescription("Private key, PEM"), Flag.optional),
  mode: Options.mode,
  limits: Options.limits,
  compression: Options.compression
}

const serve = Effect.fnUntraced(function*(input: Command.Command.Config.Infer<typeof options>) {
  const identity = Option.getOrUndefined(Option.all({ cert: input.cert, key: input.key }))
  if (Option.isSome(input.cert) !== Option.isSome(input.key)) {
    return yield* new CliError.UserError({ cause: "--tls-cert and --tls-key go together" })
  }
  const target = Option.match(input.unix, {
    onNone: () => ({ host: input.host, port: input.port }),
    onSome: (path) => ({ path })
  })
  const server = WebSocketServer.make({
    origins: "any",
    config: Options.toConfig(input.limits),
    permessageDeflate: Options.toPermessageDeflate(input.compression)
  })
  const announce = Effect.tap(
    server,
    ({ address }) => Console.log(`listening on ${urlOf(address, identity !== undefined)}`)
  )
  return yield* Layer.launch(
    WebSocketServer.serve(Echo.handler(input.mode)).pipe(
      Layer.provide(Layer.effect(WebSocketServer.WebSocketServer, announce)),
      Layer.provide(Layer.effect(TransportServer, NodeTransportServer.make({ ...target, tls: identity }))),
      Layer.provide(NodeDeflate.layer)
    )
  )
})

Command.make("echo-server", options, serve).pipe(
  Command.withDescription("Echoes WebSocket messages"),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  // A server that was told to stop, and drained, has done what it was told.
  NodeRuntime.runMain({
    teardown: (exit, onExit) =>
      Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)
  })
)
