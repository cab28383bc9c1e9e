/**
 * What Effect itself offers: `HttpServerRequest.upgrade` of a NodeHttpServer, a `Socket` whose reader is pulled.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Http from "node:http"
import * as Https from "node:https"
import { maxMessageSize } from "../setting.ts"
import { ready, setting } from "./child.ts"

const { tls } = setting

const echo = Effect.gen(function*() {
  const request = yield* HttpServerRequest
  const socket = yield* request.upgrade
  const { pull } = yield* socket.reader
  const { writeAll } = yield* socket.writer
  return yield* Effect.forever(Effect.flatMap(pull, writeAll))
}).pipe(
  Effect.scoped,
  Effect.catch(() => Effect.succeed(HttpServerResponse.empty()))
)

const announce = Layer.effectDiscard(
  Effect.map(HttpServer.HttpServer, ({ address }) => ready("port" in address ? address.port : 0))
)

Effect.runFork(
  Layer.launch(
    Layer.mergeAll(HttpServer.serve(echo), announce).pipe(
      Layer.provide(
        NodeHttpServer.layer(() => tls === undefined ? Http.createServer() : Https.createServer(tls), {
          port: 0,
          host: "127.0.0.1",
          websocket: { maxPayload: maxMessageSize }
        })
      )
    )
  )
)
