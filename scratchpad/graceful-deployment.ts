/**
 * A new version of a server takes over while its clients talk, and nobody loses a word.
 *
 *     node scratchpad/graceful-deployment.ts
 *
 * You will see two members of a chat, one of whom says thirty things, while three versions of the server follow each
 * other at one address. Each version that goes tells its clients when to come back, each at a time of its own; they
 * come back to the next one and go on where they were. That nothing is lost is the doing of the chat's protocol, see
 * `shared/chat.ts`; that nobody is refused, of `shared/deployment.ts`.
 */
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as RetryHint from "effect-websocket/RetryHint"
import { TransportServer } from "effect-websocket/Transport"
import { ReadError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Chat from "./shared/chat.ts"
import * as Deployment from "./shared/deployment.ts"
import { urlOf } from "./shared/urls.ts"

const count = 30

/** A version of the server, which names itself in its answers. */
const version = (number: number) =>
  WebSocketServer.serve(Chat.handler).pipe(
    Layer.provide(WebSocketServer.layer({
      accept: () => Effect.succeed({ headers: { "X-Version": String(number) } }),
      config: { drainRetryAfter: { min: "100 millis", max: "600 millis" } }
    }))
  )

/** A member of the chat whose connections are told of. */
const join = Effect.fnUntraced(function*(url: string, name: string) {
  const client = yield* Chat.client({
    name,
    connect: NodeWebSocketClient.connect({ url }),
    schedule: Schedule.spaced("10 millis")
  })
  yield* Effect.forkScoped(Stream.runForEach(client.stateChanges, (state) => {
    if (state._tag === "Open") {
      const [number] = HttpHead.values(state.stream.handshake.response.headers, "x-version")
      return Console.log(`  ${name}: with version ${number}`)
    }
    if (state._tag !== "Waiting" || !(state.failure instanceof ReadError)) return Effect.void
    const hint = RetryHint.of(state.failure)
    return Console.log(`  ${name}: ${hint === undefined ? state.failure.message : `asked to come back in ${hint}`}`)
  }))
  return client
})

const program = Effect.gen(function*() {
  const transport = yield* NodeTransportServer.make({ host: "127.0.0.1", port: 0 })
  const deployment = yield* Deployment.make
  const deploy = (number: number) =>
    Console.log(`version ${number} is deployed`).pipe(
      Effect.andThen(deployment.deploy(version(number))),
      Effect.provideService(TransportServer, transport)
    )
  yield* deploy(1)
  const url = urlOf(transport.address, false)
  const [ann, bob] = yield* Effect.all([join(url, "ann"), join(url, "bob")])
  const hearing = yield* Effect.forkChild(Stream.runCollect(Stream.take(bob.events, count)))
  yield* Effect.forkScoped(Stream.runDrain(ann.events))
  for (let number = 1; number <= count; number++) {
    if (number % 10 === 0 && number < count) yield* Effect.forkScoped(deploy(number / 10 + 1))
    yield* ann.say(`${number}`)
  }
  const heard = yield* Fiber.join(hearing)
  const isWhole = heard.every((event, index) => event._tag === "Said" && event.text === `${index + 1}`)
  yield* Console.log(
    `bob heard ${heard.length} of ${count}, ${isWhole ? "each once and in order" : "but not in order"}`
  )
})

program.pipe(Effect.scoped, Effect.provide(Chat.layerRoom()), NodeRuntime.runMain)
