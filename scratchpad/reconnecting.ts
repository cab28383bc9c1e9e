/**
 * A client that keeps its connection, through servers that come and go.
 *
 * You will see a feed of messages that goes on over three servers: the first drains, and asks its clients to come back
 * at a time of their own; the second is cut off in the middle; the third says that it is done, and so the feed ends.
 * Each time the client subscribes again before anybody else can use the connection.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const ends = [
  (stream: WebSocketStream["Service"]) => stream.close({ code: 1012, reason: "retry-after=700" }),
  (stream: WebSocketStream["Service"]) => stream.ping(), // and then the transport goes without a word
  (stream: WebSocketStream["Service"]) => stream.close({ code: 1000, reason: "no more news" })
]

const state = (state: ReconnectingWebSocket.State<unknown>) =>
  Console.log(`  ${state._tag}${state._tag === "Waiting" ? ` because of: ${String(state.failure)}` : ""}`)

const program = Effect.gen(function*() {
  const { client, server } = yield* MemoryTransport.makeServer()
  let served = 0
  yield* Effect.forkChild(server.run((connection) =>
    Effect.gen(function*() {
      const end = ends[served++]!
      const stream = yield* WebSocketServer.accept()
      const topic = yield* stream.read
      yield* stream.writeAll([`${topic} ${served}.1`, `${topic} ${served}.2`])
      yield* end(stream)
      yield* Effect.flatMap(connection.writer, Transport.destroy)
    }).pipe(Effect.provideService(Transport.Transport, connection), Effect.scoped, Effect.ignore)
  ))

  const feed = yield* ReconnectingWebSocket.make({
    connect: Effect.provideService(WebSocketClient.connect({ url: "ws://localhost/" }), Transport.Transport, client),
    onOpen: (stream) => stream.write("weather")
  })
  yield* Effect.forkChild(Stream.runForEach(feed.stateChanges, state))
  yield* Stream.runForEach(feed.messages, (message) => Console.log(message)).pipe(
    Effect.catchTag("ReadError", ({ message }) => Console.log(`the feed has ended: ${message}`))
  )
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
