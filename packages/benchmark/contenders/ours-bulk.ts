/**
 * Our server, sending bulk.
 */
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { bulk, ready, setting } from "./child.ts"

const { message, messages } = bulk()

const handler = Effect.flatMap(WebSocketStream, (stream) =>
  Effect.andThen(
    Effect.repeat(stream.write(message), { times: messages - 1 }),
    stream.closed
  ))

const { controlDelay } = setting.config ?? {}
const server = NodeWebSocketServer.layer({ port: 0, host: "127.0.0.1", config: { controlDelay } })

const announce = Layer.effectDiscard(
  Effect.map(WebSocketServer.WebSocketServer, ({ address }) => ready("port" in address ? address.port : 0))
)

Effect.runFork(Layer.launch(Layer.provide(Layer.mergeAll(WebSocketServer.serve(handler), announce), server)))
