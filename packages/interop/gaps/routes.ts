/**
 * Gap 10: WebSockets over HTTP/2, and as endpoints of an HttpApi.
 */
import * as NodeHttp2Transport from "@effect-websocket/platform-node/NodeHttp2Transport"
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Http2 from "node:http2"
import { portOf, readAll, serve, upgraded } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

/** Dials by HTTP/2 where the server has it for WebSockets, sends a message and gives what it came over. */
const dialled = Effect.fnUntraced(
  function*(port: number) {
    const stream = yield* WebSocketClient.dial({ url: `ws://127.0.0.1:${port}/`, config: { handshakeTimeout: 2000 } })
    yield* stream.write("hello")
    return `${yield* stream.read} over ${stream.handshake.response.version}`
  },
  (dialling) => Effect.catch(dialling, ({ message }) => Effect.succeed(message)),
  Effect.provide(NodeHttp2Transport.layerDialer())
)

const theirHttp2 = Effect.gen(function*() {
  const routes = HttpRouter.add("GET", "/", upgraded(readAll))
  const server = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layerServer(() => Http2.createServer(), { port: 0, host: "127.0.0.1" }))
  )
  return yield* dialled(portOf(Context.get(yield* Layer.build(server), HttpServer.HttpServer).address))
})

const ourHttp2 = Effect.gen(function*() {
  const server = WebSocketServer.serve(echo).pipe(Layer.provideMerge(NodeHttp2WebSocketServer.layer({ port: 0 })))
  return yield* dialled(portOf(Context.get(yield* Layer.build(server), WebSocketServer.WebSocketServer).address))
})

const apiOf = (success: Schema.Top) =>
  HttpApi.make("api").add(
    HttpApiGroup.make("rooms").add(
      HttpApiEndpoint.get("join", "/rooms/:id", { params: { id: Schema.FiniteFromString }, success })
    )
  )

const theirEndpoint = Effect.try({
  try: () => {
    apiOf(HttpApiSchema.Upgrade({ protocol: "websocket" }))
    return "an endpoint"
  },
  catch: (error) => error as Error
}).pipe(Effect.catch(({ message }) => Effect.succeed(message)))

const ourEndpoint = Effect.gen(function*() {
  const api = HttpApi.make("api").add(
    HttpApiGroup.make("rooms").add(
      HttpApiEndpoint.get("join", "/rooms/:id", {
        params: { id: Schema.FiniteFromString },
        success: HttpApiSchema.Empty(101)
      })
    )
  )
  const greet = (room: number) => Effect.flatMap(WebSocketStream, (stream) => stream.write(`room ${room}`))
  const rooms = HttpApiBuilder.group(
    api,
    "rooms",
    (handlers) => handlers.handleRaw("join", ({ params }) => HttpUpgrade.upgrade(greet(params.id)))
  )
  const port = yield* serve(HttpApiBuilder.layer(api).pipe(Layer.provide(rooms)), "ours")
  const stream = yield* NodeWebSocketClient.connect({ url: `ws://127.0.0.1:${port}/rooms/7` })
  return String(yield* stream.read)
})

export const measurements = [
  Measurement.make({
    gap: 10,
    what: "a message over HTTP/2",
    theirs: theirHttp2,
    ours: ourHttp2,
    show: (answer) => answer,
    isGood: (answer) => answer === "hello over HTTP/2"
  }),
  Measurement.make({
    gap: 10,
    what: "an endpoint /rooms/:id of an HttpApi",
    theirs: theirEndpoint,
    ours: ourEndpoint,
    show: (answer) => answer,
    isGood: (answer) => answer === "room 7"
  })
]
