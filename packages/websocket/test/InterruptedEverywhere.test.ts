/**
 * Short uses of what the library has, interrupted at each of their steps: each
 * ends interrupted, in bounded time, and leaves nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const permessageDeflate = { threshold: 0 }
const config = { fragmentSize: 20 }

const echo = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  yield* Effect.ignore(Stream.runForEach(stream.messages, (message) => stream.write(message)))
})

const echoing = WebSocketServer.serve(echo).pipe(
  Layer.provide(WebSocketServer.layer({ config, permessageDeflate })),
  Layer.provide(SimulatedNetwork.layerListen("server", 80))
)

const dial = WebSocketClient.dial({ url: "ws://server/", config, permessageDeflate })

const dialer = SimulatedNetwork.layerDialer("client")

const parts = Effect.gen(function*() {
  const stream = yield* dial
  yield* stream.writeStream("text", Stream.make("a message", " in parts", " of some length"))
  yield* stream.writeSome(false, new Uint8Array(30))
  yield* stream.writeSome(true, new Uint8Array(0))
  yield* stream.ping()
  yield* stream.read
  yield* stream.readSome
  yield* Effect.all([stream.write("x".repeat(50)), stream.read], { concurrency: 2 })
  yield* stream.close()
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(echoing, dialer).pipe(Layer.provideMerge(PortableDeflate.layer)))
)

const Group = RpcGroup.make(
  Rpc.make("Double", { payload: { value: Schema.Int }, success: Schema.Int }),
  Rpc.make("Count", { success: Schema.Int, stream: true }),
  Rpc.make("Hang")
)

const handlers = Group.toLayer({
  Double: ({ value }) => Effect.succeed(2 * value),
  Count: () => Stream.range(1, 3),
  Hang: () => Effect.never
})

const calls = Effect.gen(function*() {
  const client = yield* RpcClient.make(Group, { disableTracing: true })
  yield* client.Double({ value: 1 })
  yield* Effect.all([Stream.runDrain(client.Count()), client.Double({ value: 2 })], { concurrency: 2 })
  yield* Effect.timeoutOption(client.Hang(), 100)
}).pipe(
  Effect.scoped,
  Effect.provide(
    Layer.merge(
      WebSocketRpcClient.layerProtocolWebSocket(WebSocketClient.dial({ url: "ws://server/", config })).pipe(
        Layer.provide(dialer)
      ),
      RpcServer.layer(Group, { disableTracing: true }).pipe(
        Layer.provide([handlers, WebSocketRpcServer.layerProtocolWebSocket]),
        Layer.provide(WebSocketServer.layer({ config })),
        Layer.provide(SimulatedNetwork.layerListen("server", 80))
      )
    ).pipe(Layer.provide(RpcSerialization.layerJson))
  )
)

const reconnecting = Effect.gen(function*() {
  const network = yield* SimulatedNetwork.SimulatedNetwork
  const socket = yield* ReconnectingWebSocket.make({
    connect: dial,
    onOpen: (stream) => stream.write("hello"),
    schedule: Schedule.spaced(100)
  })
  yield* Stream.runHead(socket.messages)
  yield* network.apply({ _tag: "Reset", at: 0, from: "client", to: "server" })
  yield* Stream.runHead(socket.messages)
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(echoing, dialer).pipe(Layer.provideMerge(PortableDeflate.layer)))
)

const scenarios: { readonly [name: string]: Effect.Effect<void, unknown, Simulation.Provided> } = {
  "messages in parts": parts,
  calls,
  "a connection that comes back": reconnecting
}

/** The seed decides after how many operations fibers yield: each divides the run into other steps. */
const seeds = [0, 1, 2, 3, 4, 5, 6, 7]

describe("interrupted at each of its steps, it ends so and leaves nothing", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it.effect(name, () =>
      Effect.forEach(seeds, (seed) =>
        Effect.gen(function*() {
          const runs = yield* Simulation.everywhere({
            at: "step",
            seed,
            scenario,
            interleave: seed === 0 ? false : "everywhere",
            network: { latency: 5 },
            promises: false,
            maxTime: "1 minute"
          })
          assert.isAbove(runs, 30)
        }), { discard: true }), 120_000)
  }
})
