/**
 * The echo server under simulation. Every message is answered once and in order, or its sender is told that the
 * connection has ended; and once the network is well, whoever asks again is answered.
 */
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import type { TransportDialer } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Echo from "../../shared/echo.ts"
import * as Conditions from "./conditions.ts"

const clients = ["ann", "bob"]

const server = (mode: Echo.Mode) =>
  WebSocketServer.serve(Echo.handler(mode)).pipe(
    Layer.provide(WebSocketServer.layer({ config: Conditions.config })),
    Layer.provide(SimulatedNetwork.layerListen("server", 80))
  )

/** Text of characters that take one byte to four, or as many bytes. */
const makeMessage = Effect.fnUntraced(function*(number: number) {
  const size = yield* Random.nextIntBetween(0, 150)
  const isText = yield* Random.nextBoolean
  const text = `${number} ${"aé水🙂".repeat(size)}`
  return isText ? text : new TextEncoder().encode(text)
})

const isSame = (left: Payload, right: Payload): boolean => {
  if (typeof left === "string" || typeof right === "string") return left === right
  return left.length === right.length && left.every((byte, index) => byte === right[index])
}

/** Sends messages while it takes their answers, and ends the connection when it has them all. */
const converse = Effect.fnUntraced(function*(messages: ReadonlyArray<Payload>) {
  const stream = yield* WebSocketClient.dial({ url: "ws://server/", config: Conditions.config })
  const asking = yield* Effect.forkChild(
    Effect.forEach(messages, (message) => Effect.andThen(stream.write(message), Effect.sleep("100 millis")))
  )
  for (const [index, message] of messages.entries()) {
    const answer = yield* stream.read
    if (!isSame(answer, message)) return yield* new Conditions.Broken({ message: `Answer ${index} is another` })
  }
  yield* Fiber.join(asking)
  yield* stream.close()
  const more = yield* Effect.option(stream.read)
  if (more._tag === "Some") return yield* new Conditions.Broken({ message: `An answer to nothing: ${more.value}` })
}, Effect.scoped)

const insist = (messages: ReadonlyArray<Payload>) =>
  Effect.retry(converse(messages), {
    schedule: Schedule.spaced("500 millis"),
    while: ({ _tag }) => _tag !== "Broken"
  })

const scenario = Effect.gen(function*() {
  const mode = (["whole", "parts", "batch"] as const)[yield* Random.nextIntBetween(0, 2)]!
  const messages = yield* Effect.forEach(Array.range(1, 10), makeMessage)
  const each = <A, E, R>(effect: Effect.Effect<A, E, R | TransportDialer>) =>
    Effect.forEach(clients, (host) => Effect.provide(effect, SimulatedNetwork.layerDialer(host)), {
      concurrency: "unbounded"
    })
  const restarts = yield* Conditions.restarting(server(mode))
  yield* each(insist(messages))
  yield* Fiber.join(restarts)
  yield* Effect.sleep(Conditions.calm)
  yield* each(converse(messages))
}).pipe(Effect.scoped)

export const { check, observe } = Conditions.simulated({ clients, kinds: Conditions.accidents }, scenario)
