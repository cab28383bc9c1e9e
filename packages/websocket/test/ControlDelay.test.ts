import { assert, describe, it } from "@effect/vitest"
import * as Entropy from "effect-websocket/Entropy"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { initialWindow } from "../src/internal/sendWindow.ts"
import * as Scripted from "./fixtures/scripted.ts"

const { binary, close, ping, pong } = Scripted

const mebibyte = 2 ** 20

interface Line extends SimulatedNetwork.LinkOptions {
  readonly bandwidth: number
  readonly latency: number
  readonly jitter?: number
}

interface Seen {
  /** Share of the line's bandwidth that arrived, once it was warm. */
  readonly kept: number
  readonly pings: ReadonlyArray<number>
  /** From the call of `close` to the Close frame's arrival. */
  readonly close: number
}

type Connection = WebSocketStream["Service"]

/** A server that sends without end, and a client that reads all it gets. */
const observe = Effect.fnUntraced(function*(
  line: Line,
  { millis, seed = 0, warmUp }: { readonly warmUp: number; readonly millis: number; readonly seed?: number },
  send: (stream: Connection) => Effect.Effect<unknown, unknown>,
  config: WebSocketConfig.Options = { controlDelay: "50 millis" }
) {
  const scenario = Effect.gen(function*() {
    let read = 0
    const pings: Array<number> = []
    let closedAt = 0
    const handler = Effect.gen(function*() {
      const stream = yield* WebSocketStream
      yield* Effect.forkScoped(Effect.ignore(send(stream)))
      yield* Effect.sleep(warmUp)
      const before = read
      const pinging = yield* Effect.forkScoped(
        Effect.forever(Effect.andThen(
          Effect.forkScoped(Effect.map(stream.ping(), (time) => pings.push(Duration.toMillis(time)))),
          Effect.sleep(20)
        ))
      )
      yield* Effect.sleep(millis)
      yield* Fiber.interrupt(pinging)
      const kept = (read - before) / line.bandwidth / millis * 1000
      const begin = yield* Clock.currentTimeMillis
      yield* stream.close()
      return { kept, pings, close: closedAt - begin }
    }).pipe(Effect.scoped)
    const results: Array<Seen> = []
    const server = WebSocketServer.serve(Effect.map(handler, (seen) => results.push(seen))).pipe(
      Layer.provide(WebSocketServer.layer({ config })),
      Layer.provide(SimulatedNetwork.layerListen("server", 80))
    )
    const client = Effect.gen(function*() {
      const stream = yield* WebSocketClient.dial({ url: "ws://server/", config: { maxMessageSize: 2 ** 30 } })
      const part = Effect.map(stream.readSome, ({ data }) => (read += data.length))
      yield* Effect.ignore(Effect.forever(part, { disableYield: true }))
      closedAt = yield* Clock.currentTimeMillis
      yield* stream.closed
    })
    yield* client.pipe(
      Effect.scoped,
      Effect.provide(Layer.merge(server, SimulatedNetwork.layerDialer("client")))
    )
    return results[0]!
  })
  return yield* Simulation.run({
    seed,
    scenario,
    network: { capacity: 4 * mebibyte, record: false, ...line },
    maxSteps: 1e9,
    promises: false
  })
})

const quantile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((left, right) => left - right)[Math.ceil(values.length * share) - 1]!

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

const message = new Uint8Array(mebibyte)

const endless = (stream: Connection) => Effect.forever(stream.write(message))

const lines: ReadonlyArray<readonly [name: string, Line, warmUp: number, millis: number, seeds: number]> = [
  ["4 MiB/s, 1 ms", { bandwidth: 4 * mebibyte, latency: 0.5 }, 1000, 10_000, 1],
  ["4 MiB/s, 100 ms", { bandwidth: 4 * mebibyte, latency: 50 }, 3000, 10_000, 1],
  ["64 MiB/s, 100 ms", { bandwidth: 64 * mebibyte, latency: 50 }, 3000, 3000, 1],
  ["1 MiB/s, 20 to 40 ms each way", { bandwidth: mebibyte, latency: 20, jitter: 20 }, 3000, 20_000, 4],
  ["1 MiB/s, 0 to 40 ms each way", { bandwidth: mebibyte, latency: 0, jitter: 40 }, 3000, 20_000, 4],
  ["100 MiB/s, 0.1 ms", { bandwidth: 100 * mebibyte, latency: 0.05 }, 500, 1000, 1]
]

describe("controlDelay of 50 ms, with 4 MiB of room below", () => {
  it.effect.each(lines)(
    "%s: pings and closes take at most 50 ms more than on the empty line, and nine tenths of it are used",
    ([_, line, warmUp, millis, seeds]) =>
      Effect.gen(function*() {
        const runs = yield* Effect.forEach(
          Array.from({ length: seeds }, (_, seed) => seed),
          (seed) => observe(line, { warmUp, millis, seed }, endless)
        )
        const oneWay = line.latency + (line.jitter ?? 0)
        assert.isAtLeast(mean(runs.map(({ kept }) => kept)), 0.9)
        assert.isAtMost(quantile(runs.flatMap(({ pings }) => pings), 0.98), 2 * oneWay + 50)
        for (const { close } of runs) assert.isAtMost(close, oneWay + 50)
      }),
    60_000
  )

  it.effect("one message of 64 MiB is cut so that they pass, as messages of 1 MiB are", () =>
    Effect.gen(function*() {
      const line = { bandwidth: 4 * mebibyte, latency: 0.5 }
      const send = (stream: Connection) => stream.write(new Uint8Array(64 * mebibyte))
      const { close, kept, pings } = yield* observe(line, { warmUp: 1000, millis: 10_000 }, send)
      assert.isAtLeast(kept, 0.9)
      assert.isAtMost(quantile(pings, 0.98), 1 + 50)
      assert.isAtMost(close, 1 + 50)
    }), 60_000)

  it.effect("many messages of 100 bytes at once are held as well", () =>
    Effect.gen(function*() {
      const line = { bandwidth: mebibyte, latency: 0.5 }
      const messages = Array.from({ length: 500 }, () => new Uint8Array(100))
      const send = (stream: Connection) => Effect.forever(stream.writeAll(messages))
      const { close, kept, pings } = yield* observe(line, { warmUp: 1000, millis: 4000 }, send)
      assert.isAtLeast(kept, 0.9)
      assert.isAtMost(quantile(pings, 0.98), 1 + 50)
      assert.isAtMost(close, 1 + 50)
    }), 60_000)

  it.effect("off, as it is by default, a ping takes what fills the room below", () =>
    Effect.gen(function*() {
      const line = { bandwidth: 4 * mebibyte, latency: 0.5 }
      const { pings } = yield* observe(line, { warmUp: 2000, millis: 3000 }, endless, {})
      assert.isAtLeast(quantile(pings, 0.5), 900)
    }), 60_000)
})

// The first bytes of a marker are four of chance.
const key = Effect.provideService(Entropy.Entropy, { uint32Unsafe: () => 0x6d61726b })

const marker = (count: number) => Uint8Array.of(0x6d, 0x61, 0x72, 0x6b, 0, 0, 0, count)

const markers = (seen: ReadonlyArray<string>) => seen.filter((line) => line.startsWith("ping mark")).length

const config: WebSocketConfig.Options = { controlDelay: "50 millis", keepAlive: "off", idleTimeout: "Infinity" }

const connect = (role: Scripted.Role, options: WebSocketConfig.Options = {}) =>
  key(Scripted.connect(role, { config: { ...config, ...options }, toPeer: { capacity: 64 * mebibyte } }))

const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkScoped(effect, { startImmediately: true })

describe.each(Scripted.roles)("the markers of a %s", (role) => {
  /** Of a frame with up to 65535 bytes. */
  const header = role === "client" ? 8 : 4

  it.effect("do not come for 128 KiB in a second, headers counted, and come for more", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      const send = Effect.replicateEffect(stream.write(new Uint8Array(2048 - header)), 64)
      for (let second = 0; second < 3; second++) {
        yield* send
        yield* Scripted.settled
        assert.strictEqual(markers(peer.seen), 0)
        yield* TestClock.adjust(1000)
      }
      yield* send
      yield* TestClock.adjust(999)
      assert.strictEqual(markers(peer.seen), 0)
      const writing = yield* fork(stream.write("x"))
      yield* Scripted.settled
      assert.strictEqual(peer.seen.at(-1), "ping mark\0\0\0\0")
      yield* peer.send(pong(marker(0)))
      yield* Fiber.join(writing)
      yield* Scripted.settled
      assert.deepStrictEqual(peer.seen.slice(-2), ["ping mark\0\0\0\u0001", "text x"])
    }))

  it.effect("are ahead of a message that is longer, and between its fragments", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      yield* fork(stream.write(new Uint8Array(mebibyte)))
      yield* Scripted.settled
      assert.strictEqual(peer.seen[0], "ping mark\0\0\0\0")
      assert.isAbove(markers(peer.seen), 4)
      assert.isTrue(peer.seen.every((line) => /^ping mark|^binary- |^cont- /.test(line)))
    }))

  it.effect("are no events, and neither are their Pongs; a Pong that nobody asked for is", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      const watching = yield* fork(Stream.runCollect(stream.controlFrames))
      yield* fork(stream.write(new Uint8Array(mebibyte)))
      yield* peer.send(pong(marker(0)), pong("unasked"), pong(marker(1)), pong(marker(1)), pong(marker(200)))
      yield* peer.send(close(1000))
      yield* peer.end
      const seen = yield* Fiber.join(watching)
      assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["Pong", "Close"])
    }))

  it.effect("and pings of the application answer each other, section 5.5.3", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      const first = yield* fork(stream.ping(Scripted.bytes("mine")))
      const writing = yield* fork(stream.write(new Uint8Array(mebibyte)))
      yield* Scripted.settled
      assert.strictEqual(peer.seen[0], "ping mine")
      // The newest alone: it answers the application's ping, and every marker.
      yield* peer.send(pong(marker(markers(peer.seen) - 1)))
      yield* Fiber.join(first)
      yield* Scripted.settled
      const second = yield* fork(stream.ping(Scripted.bytes("again")))
      yield* Scripted.settled
      const before = peer.seen.length
      assert.isUndefined(writing.pollUnsafe())
      yield* peer.send(pong("again"))
      yield* Fiber.join(second)
      yield* Scripted.settled
      assert.isAbove(peer.seen.length, before)
    }))

  it.effect("are frames that are counted, and not round trips of pings", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      yield* fork(stream.write(new Uint8Array(mebibyte)))
      yield* Scripted.settled
      const sent = markers(peer.seen)
      yield* peer.send(pong(marker(0)), pong(marker(1)))
      yield* Scripted.settled
      const states = yield* Metric.snapshot
      const of = (id: string, opcode?: string) =>
        states.filter(({ attributes, id: own }) =>
          own === id && attributes?.["role"] === role && (opcode === undefined || attributes["opcode"] === opcode)
        ).map(({ state }) => "count" in state ? Number(state.count) : 0)
      assert.deepStrictEqual(of("websocket_frames_sent", "ping"), [markers(peer.seen)])
      assert.isAtLeast(markers(peer.seen), sent)
      assert.isTrue(of("websocket_ping_round_trip").every((count) => count === 0))
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("where none is answered hold data back for one second, and once", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      const writing = yield* fork(stream.write(new Uint8Array(4 * mebibyte)))
      yield* TestClock.adjust(999)
      assert.isUndefined(writing.pollUnsafe())
      const held = peer.seen.length
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(writing), 4 * mebibyte)
      yield* Scripted.settled
      assert.isAbove(peer.seen.length, held)
      const sent = markers(peer.seen)
      yield* stream.write(new Uint8Array(4 * mebibyte))
      yield* Scripted.settled
      assert.strictEqual(markers(peer.seen), sent)
      // From the first answer on data is held again.
      yield* peer.send(pong(marker(sent - 1)))
      yield* Scripted.settled
      const again = yield* fork(stream.write(new Uint8Array(4 * mebibyte)))
      yield* TestClock.adjust(999)
      assert.isUndefined(again.pollUnsafe())
      assert.isAbove(markers(peer.seen), sent)
    }))

  it.effect("hold data back for one second where the application does not read, and Pongs behind what it does not", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role, { readBuffer: 1000 })
      yield* peer.send(binary(new Uint8Array(1000)))
      yield* Scripted.settled
      const writing = yield* fork(stream.write(new Uint8Array(4 * mebibyte)))
      yield* Scripted.settled
      yield* peer.send(pong(marker(markers(peer.seen) - 1)))
      yield* TestClock.adjust(999)
      assert.isUndefined(writing.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(writing)
      assert.strictEqual((yield* stream.read).length, 1000)
    }))

  it.effect("do not keep a Close frame, a ping or a pong waiting, and leave no deadline", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      const writing = yield* fork(Effect.flip(stream.write(new Uint8Array(mebibyte))))
      yield* Scripted.settled
      const held = peer.seen.length
      yield* fork(stream.ping(Scripted.bytes("p")))
      yield* peer.send(ping("q"))
      yield* Scripted.settled
      yield* fork(stream.close())
      yield* Scripted.settled
      assert.deepStrictEqual(peer.seen.slice(held), ["ping p", "pong q", "close 1000"])
      assert.strictEqual((yield* Fiber.join(writing)).reason._tag, "ConnectionClosed")
      yield* peer.send(close(1000))
      yield* peer.end
      yield* stream.closed
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("a write that is held back can be interrupted before its first byte, and another takes its turn", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role)
      yield* stream.write(new Uint8Array(initialWindow - 1024))
      const held = yield* fork(Effect.replicateEffect(stream.write(new Uint8Array(32 * 1024)), 10))
      yield* Scripted.settled
      assert.isUndefined(held.pollUnsafe())
      yield* Fiber.interrupt(held)
      const next = yield* fork(stream.write("next"))
      yield* TestClock.adjust(1000)
      yield* Fiber.join(next)
      yield* Scripted.settled
      assert.strictEqual(peer.seen.at(-1), "text next")
    }))

  it.effect("are there where fragments are turned off, between whole messages", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role, { fragmentSize: 0 })
      const writing = yield* fork(Effect.replicateEffect(stream.write(new Uint8Array(mebibyte)), 2))
      yield* Scripted.settled
      assert.deepStrictEqual(peer.seen, ["ping mark\0\0\0\0", "binary 1048576 bytes", "ping mark\0\0\0\u0001"])
      yield* peer.send(pong(marker(1)))
      yield* Fiber.join(writing)
    }))

  it.effect("are not sent where controlDelay is off", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(role, { controlDelay: Duration.infinity })
      yield* stream.write(new Uint8Array(8 * mebibyte))
      yield* Scripted.settled
      assert.strictEqual(peer.seen.length, 128)
      assert.strictEqual(markers(peer.seen), 0)
    }))
})
