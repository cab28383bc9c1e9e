/**
 * The chat on a simulated network: what its head comment promises.
 */
import { assert, describe, it } from "@effect/vitest"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Array from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Chat from "../shared/chat.ts"
import * as Simulated from "./simulations/chat.ts"

const server = (config: WebSocketServer.AcceptOptions["config"] = {}) =>
  WebSocketServer.serve(Chat.handler).pipe(
    Layer.provide(WebSocketServer.layer({ config })),
    Layer.provide(SimulatedNetwork.layerListen("server", 80))
  )

const config = { keepAlive: { interval: "5 seconds", misses: 1 }, handshakeTimeout: "5 seconds" } as const

const connect = WebSocketClient.dial({ url: "ws://server/", config })

const join = (host: string) =>
  Chat.client({ name: host, connect }).pipe(Effect.provide(SimulatedNetwork.layerDialer(host)))

const texts = (events: ReadonlyArray<Chat.Event>) =>
  events.map((event) => event._tag === "Said" ? `${event.id} ${event.name} ${event.text}` : `missed ${event.count}`)

const collect = <E>(client: Chat.Client<E>, count: number) => Stream.runCollect(Stream.take(client.events, count))

describe("the chat", () => {
  it.effect("gives each client what others say, in one order, and the history first", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const ann = yield* join("ann")
        assert.strictEqual(yield* ann.say("hello"), 1)
        const bob = yield* join("bob")
        assert.strictEqual(yield* bob.say("hi"), 2)
        const expected = ["1 ann hello", "2 bob hi"]
        assert.deepStrictEqual(texts(yield* collect(ann, 2)), expected)
        assert.deepStrictEqual(texts(yield* collect(bob, 2)), expected)
      }).pipe(Effect.scoped, Effect.provide(Layer.provide(server(), Chat.layerRoom()))),
      network: { latency: 10 }
    }))

  it.effect("goes on over a server that restarts while its clients speak", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const ann = yield* join("ann")
        const bob = yield* join("bob")
        const first = yield* Layer.build(server()).pipe(Effect.andThen(ann.say("one")), Effect.scoped)
        assert.strictEqual(first, 1)
        const meanwhile = yield* Effect.forkChild(bob.say("two"))
        yield* Effect.sleep("3 seconds")
        yield* Layer.build(server())
        assert.strictEqual(yield* Fiber.join(meanwhile), 2)
        assert.deepStrictEqual(texts(yield* collect(ann, 2)), ["1 ann one", "2 bob two"])
        assert.deepStrictEqual(texts(yield* collect(bob, 2)), ["1 ann one", "2 bob two"])
      }).pipe(Effect.scoped, Effect.provide(Chat.layerRoom())),
      network: { latency: 10 }
    }))

  it.effect("lets a member go with 1013 that is one message more behind than its queue holds", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const ann = yield* join("ann")
        yield* Effect.forkChild(Stream.runDrain(ann.events))
        const slow = yield* connect
        yield* slow.write(JSON.stringify({ _tag: "Join", client: "slow", name: "slow" }))
        yield* slow.read
        yield* Effect.replicateEffect(ann.say("x".repeat(2000)), 150) // more than all buffers on the way hold
        const read = yield* Stream.runCollect(Stream.catch(slow.messages, () => Stream.empty))
        assert.isBelow(read.length, 150)
        const { code, reason } = yield* slow.closed
        assert.deepStrictEqual([code, reason], [1013, "retry-after=1000"])
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.merge(Layer.provide(server(), Chat.layerRoom({ queue: 3 })), SimulatedNetwork.layerDialer("slow"))
        )
      )
    }))

  it.effect("tells how much a client missed that was away for longer than the room remembers", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const network = yield* SimulatedNetwork.SimulatedNetwork
        const ann = yield* join("ann")
        const bob = yield* join("bob")
        yield* ann.say("1")
        const heard = yield* Deferred.make<void>()
        const listening = yield* bob.events.pipe(
          Stream.tap(() => Deferred.succeed(heard, undefined)),
          Stream.take(4),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* Deferred.await(heard)
        yield* network.apply({ _tag: "Reset", at: 0, from: "bob", to: "server" })
        yield* Effect.forEach([2, 3, 4, 5], (number) => ann.say(String(number)))
        const expected = ["1 ann 1", "missed 2", "4 ann 4", "5 ann 5"]
        assert.deepStrictEqual(texts(yield* Fiber.join(listening)), expected)
      }).pipe(Effect.scoped, Effect.provide(Layer.provide(server(), Chat.layerRoom({ history: 2 }))))
    }))

  it.effect("tells of another room, whose messages come from their beginning", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const ann = yield* join("ann")
        const fresh = Effect.suspend(() => Layer.build(Layer.provide(server(), Layer.fresh(Chat.layerRoom()))))
        yield* Effect.scoped(Effect.andThen(fresh, ann.say("old")))
        yield* fresh
        yield* Effect.flatMap(join("bob"), (bob) => bob.say("new")) // before the other is back
        yield* ann.say("newer")
        const expected = ["1 ann old", "missed undefined", "1 bob new", "2 ann newer"]
        assert.deepStrictEqual(texts(yield* collect(ann, 4)), expected)
      }).pipe(Effect.scoped)
    }))

  it.effect("shows nothing twice to a client that was reading when it came back", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const network = yield* SimulatedNetwork.SimulatedNetwork
        const ann = yield* join("ann")
        const bob = yield* join("bob")
        yield* Effect.forkChild(Stream.runDrain(bob.events))
        yield* Effect.replicateEffect(bob.say("again"), 300) // more than a client reads ahead
        yield* Effect.sleep("1 second")
        yield* network.apply({ _tag: "Partition", at: 0, from: "ann", to: "server", for: 30_000, ways: "both" })
        yield* Effect.sleep("60 seconds")
        const ids = (yield* collect(ann, 300)).map((event) => event._tag === "Said" ? event.id : 0)
        assert.deepStrictEqual(ids, Array.range(1, 300))
        assert.strictEqual(yield* bob.say("last"), 301)
        assert.deepStrictEqual(texts(yield* collect(ann, 1)), ["301 bob last"])
      }).pipe(Effect.scoped, Effect.provide(Layer.provide(server(), Chat.layerRoom({ history: 1000, queue: 1000 }))))
    }))

  for (const message of ["no JSON", "{\"_tag\":\"Say\",\"number\":1,\"text\":\"\"}", new Uint8Array(3)]) {
    it.effect(`closes with 1008 after ${JSON.stringify(message)}`, () =>
      Simulation.run({
        scenario: Effect.gen(function*() {
          const stream = yield* connect
          yield* stream.write(message)
          assert.strictEqual((yield* stream.closed).code, 1008)
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.merge(Layer.provide(server(), Chat.layerRoom()), SimulatedNetwork.layerDialer("ann")))
        )
      }))
  }

  it.effect("closes with 3008 after ten seconds without a word", () =>
    Simulation.run({
      scenario: Effect.gen(function*() {
        const stream = yield* connect
        assert.deepStrictEqual([(yield* stream.closed).code, (yield* stream.closed).reason], [3008, "too late"])
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.merge(Layer.provide(server(), Chat.layerRoom()), SimulatedNetwork.layerDialer("ann")))
      )
    }))

  it.effect(
    "loses nothing, repeats nothing and keeps one order, whatever happens to the network and the server",
    () => Effect.map(Simulated.check({ seeds: 1000 }), (runs) => assert.strictEqual(runs, 1000)),
    300_000
  )
})
