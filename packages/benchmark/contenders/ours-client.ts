/**
 * Our client: sends without end, only receives, or echoes.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import { maxMessageSize } from "../setting.ts"
import { makePayload } from "../wire.ts"
import { ready, setting } from "./child.ts"

type Connection = WebSocketStream["Service"]

const { batch = 1, style, task, url = "" } = setting

const message = makePayload({ type: "binary", size: 125 }, 0)
const messages = Array.from({ length: batch }, () => message)

const send = (stream: Connection) => Effect.forever(batch === 1 ? stream.write(message) : stream.writeAll(messages))

const receive = (stream: Connection) => Effect.forever(style === "read+write" ? stream.read : stream.pull)

const echo = (stream: Connection) =>
  Effect.forever(
    style === "read+write"
      ? Effect.flatMap(stream.read, (message) => stream.write(message))
      : Effect.flatMap(stream.pull, (messages) => stream.writeAll(messages))
  )

const run = task === "send" ? send : task === "receive" ? receive : echo

Effect.runFork(
  NodeWebSocketClient.connect({ url, config: { maxMessageSize } }).pipe(
    Effect.tap(Effect.sync(() => ready())),
    Effect.flatMap(run),
    Effect.scoped
  )
)
