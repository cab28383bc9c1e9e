/**
 * Every failure is a value with a reason, so a program can do the right thing about each.
 *
 * You will see a client that is told 503 come again when Retry-After says so, then three operations that fail, each
 * caught by its reason, with the connection alive until the one that ends it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

let attempts = 0
const busy = new WebSocketServer.Refusal({ status: 503, headers: { "Retry-After": "1" }, body: "busy" })

const server = WebSocketServer.serve(WebSocketStream.use((stream) => stream.write(new Uint8Array(5000)))).pipe(
  Layer.provide(WebSocketServer.layer({ accept: () => ++attempts < 3 ? Effect.fail(busy) : Effect.succeed({}) }))
)

/** How long the server wants the client to wait. */
const pause = ({ reason }: WebSocketError.HandshakeError) =>
  Duration.millis(reason._tag === "UpgradeDeclined" ? reason.retryAfter ?? 100 : 100)

const program = Effect.gen(function*() {
  const stream = yield* WebSocketClient.connect({ url: "ws://localhost/", config: { maxMessageSize: 4096 } }).pipe(
    Effect.tapError((error) => Console.log(`${error._tag}/${error.reason._tag}: ${error.message}`)),
    Effect.retry(($) => $(Schedule.recurs(5)).pipe(Schedule.modifyDelay(({ input }) => Effect.succeed(pause(input)))))
  )
  yield* Console.log(`connected at attempt ${attempts}`)

  yield* stream.write("half a character: \ud800").pipe(
    Effect.catchReason("WriteError", "InvalidPayload", (reason) => Console.log(`InvalidPayload: ${reason.message}`))
  )
  yield* stream.close({ code: 1006 }).pipe(
    Effect.catchReason("WriteError", "InvalidPayload", (reason) => Console.log(`InvalidPayload: ${reason.message}`))
  )
  yield* stream.read.pipe(
    Effect.catchReason("ReadError", "MessageTooBig", ({ limit }) => Console.log(`MessageTooBig: over ${limit} bytes`))
  )
  yield* Console.log(`closed: ${yield* stream.closed}`)
})

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.provideMerge(server, MemoryTransport.layer())),
  NodeRuntime.runMain
)
