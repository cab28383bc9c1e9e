/**
 * What Effect itself offers, sending bulk. Its writes do not wait.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Http from "node:http"
import { bulk, ready } from "./child.ts"

const { message, messages } = bulk()

const send = Effect.gen(function*() {
  const request = yield* HttpServerRequest
  const socket = yield* request.upgrade
  const { pull } = yield* socket.reader
  const { write } = yield* socket.writer
  yield* Effect.repeat(write(message), { times: messages - 1 })
  return yield* Effect.forever(pull)
}).pipe(
  Effect.scoped,
  Effect.catch(() => Effect.succeed(HttpServerResponse.empty()))
)

const announce = Layer.effectDiscard(
  Effect.map(HttpServer.HttpServer, ({ address }) => ready("port" in address ? address.port : 0))
)

const server = NodeHttpServer.layer(() => Http.createServer(), { port: 0, host: "127.0.0.1" })

Effect.runFork(Layer.launch(Layer.provide(Layer.mergeAll(HttpServer.serve(send), announce), server)))
