/**
 * A large upload as one message in parts: its progress, a receiver that is slower than the sender, and a change of mind.
 *
 *     node scratchpad/upload.ts
 *
 * You will see 8 MiB go to a server that takes its time with every part. How far the sender is ahead does not depend on
 * the length of the file: the buffers on the way fill, and then each part waits until there is room. A second upload is
 * interrupted in its middle, and the server, which has had parts of it, is told so by a typed error and a close code.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

const size = 8 * 2 ** 20
const part = 64 * 2 ** 10

/** What the server has of the upload at hand, and what came of each. */
class Uploads extends Context.Service<Uploads, {
  received: number
  readonly outcomes: Queue.Queue<string>
}>()("scratchpad/upload/Uploads") {}

const layerUploads = Layer.effect(
  Uploads,
  Effect.map(Queue.unbounded<string>(), (outcomes) => ({ received: 0, outcomes }))
)

const takeUpload = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  const uploads = yield* Uploads
  uploads.received = 0
  yield* stream.readSome.pipe(
    Effect.tap(() => Effect.sleep("1 millis")),
    Effect.tap(({ data }) => Effect.sync(() => uploads.received += data.length)),
    Effect.repeat({ until: ({ fin }) => fin })
  )
  yield* stream.write("thank you")
  yield* Queue.offer(uploads.outcomes, `an upload of ${uploads.received} bytes`)
})

/** What the server sees of an upload that is broken off. */
const handler = Effect.catchTag(takeUpload, "ReadError", (error) =>
  Uploads.use(({ outcomes, received }) => {
    const { _tag } = error.reason
    const code = error.reason._tag === "ConnectionClosed" ? error.reason.status.code : "none"
    const place = received > 0 && received < size ? "in the middle of an upload" : "outside of an upload"
    return Queue.offer(outcomes, `ReadError/${_tag} ${place}, close code ${code}`)
  }))

/** The file, made as it is sent. A part is asked for when the one before has been accepted by the transport. */
const file = (progress: (sent: number) => Effect.Effect<void>) =>
  Stream.range(1, size / part).pipe(
    Stream.rechunk(1),
    Stream.mapEffect((number) => Effect.as(progress((number - 1) * part), new Uint8Array(part).fill(number)))
  )

const upload = Effect.gen(function*() {
  const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
  const uploads = yield* Uploads
  let ahead = 0
  const progress = Effect.fnUntraced(function*(sent: number) {
    ahead = Math.max(ahead, sent - uploads.received)
    if (sent > 0 && sent % (size / 4) === 0) yield* Console.log(`  sent ${(sent / size) * 100} %`)
  })
  yield* stream.writeStream("binary", file(progress))
  yield* Console.log(`the server says: ${yield* stream.read}, and has ${yield* Queue.take(uploads.outcomes)}`)
  yield* Console.log(`the sender was ${Math.ceil(ahead / 1024)} KiB ahead at most`)
}).pipe(Effect.scoped)

const changeOfMind = Effect.gen(function*() {
  const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
  const half = yield* Deferred.make<void>()
  const sending = yield* Effect.forkChild(stream.writeStream(
    "binary",
    file((sent) => sent < size / 2 ? Effect.void : Deferred.succeed(half, undefined))
  ))
  yield* Deferred.await(half)
  yield* Fiber.interrupt(sending)
  const { outcomes } = yield* Uploads
  yield* Console.log(`interrupted at 50 %, the server sees: ${yield* Queue.take(outcomes)}`)
}).pipe(Effect.scoped)

const server = WebSocketServer.serve(handler).pipe(
  Layer.provide(WebSocketServer.layer()),
  Layer.provideMerge([MemoryTransport.layer(), layerUploads])
)

Effect.andThen(upload, changeOfMind).pipe(Effect.provide(server), NodeRuntime.runMain)
