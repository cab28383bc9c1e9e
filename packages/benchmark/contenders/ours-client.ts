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

/** A fiber has its turns by the number of its steps: it need not yield after each of these as well. */
const repeat = <E>(step: Effect.Effect<unknown, E>) => Effect.forever(step, { disableYield: true })

const send = (stream: Connection) => repeat(batch === 1 ? stream.write(message) : stream.writeAll(messages))

const receive = (stream: Connection) => repeat<unknown>(style === "read+write" ? stream.read : stream.pull)

const echo = (stream: Connection) =>
  repeat(
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
