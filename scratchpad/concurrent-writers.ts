/**
 * Any number of fibers may write to one connection at any time.
 *
 * You will see one fiber write a message of 8 MiB and 100 others 10 messages each, at once and without a lock of their
 * own. Every message arrives whole, each fiber's in the order in which it wrote them, and a ping gets its answer while
 * the long message is under way: it waits for one fragment of 64 KiB and not for 8 MiB.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

const fibers = 100
const each = 10

/** Checks the order of what each fiber wrote, and tells the sender what came. */
const check = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  const next = new Map<string, number>()
  let [long, outOfOrder] = [0, 0]
  yield* stream.messages.pipe(
    Stream.take(fibers * each + 1),
    Stream.runForEach((message) =>
      Effect.sync(() => {
        if (typeof message !== "string") return void (long = message.length)
        const [fiber, number] = message.split(":") as [string, string]
        if (Number(number) !== (next.get(fiber) ?? 0)) outOfOrder++
        next.set(fiber, Number(number) + 1)
      })
    )
  )
  yield* stream.write(`${next.size} fibers' messages and one of ${long} bytes, ${outOfOrder} out of order`)
  yield* stream.closed
})

const program = Effect.gen(function*() {
  const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
  const long = yield* Effect.forkChild(stream.write(new Uint8Array(8 * 2 ** 20)), { startImmediately: true })
  const ping = yield* stream.ping()
  yield* Console.log(
    `ping during the long message: answered ${long.pollUnsafe() === undefined ? "before" : "after"} it`
  )
  yield* Console.log(`round trip: ${Duration.toMillis(ping).toFixed(1)} ms over a line of 1 ms`)
  const numbers = Array.from({ length: each }, (_, number) => number)
  const writer = (fiber: number) => Effect.forEach(numbers, (number) => stream.write(`${fiber}:${number}`))
  yield* Effect.forEach(Array.from({ length: fibers }, (_, fiber) => fiber), writer, { concurrency: "unbounded" })
  yield* Fiber.join(long)
  yield* Console.log(`the server got: ${yield* stream.read}`)
  yield* Console.log(`closed: ${yield* stream.close()}`)
})

const server = WebSocketServer.serve(check).pipe(Layer.provide(WebSocketServer.layer()))

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.provideMerge(server, MemoryTransport.layer({ latency: "1 millis" }))),
  NodeRuntime.runMain
)
