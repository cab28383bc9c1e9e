import { assert, describe, it } from "@effect/vitest"
import * as Entropy from "effect-websocket/Entropy"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Transcript from "effect-websocket/testing/Transcript"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

const url = "ws://server/"

const contract = (name: string, options: SimulatedNetwork.Options) =>
  describe(`the contract, ${name}`, () => {
    const make = Effect.gen(function*() {
      const network = yield* SimulatedNetwork.make({ seed: 1, ...options })
      return { server: yield* network.listen("server", 80), client: network.dialer("client").dial(url) }
    })
    for (const law of [...TransportContract.laws, ...TransportContract.dialingLaws]) {
      it.live(law.name, () => law.check(TransportContract.fromServer(make)))
    }
  })

/** Both ends of a connection, past the dial. */
const connect = Effect.fnUntraced(function*(options?: SimulatedNetwork.Options) {
  const network = yield* SimulatedNetwork.make({ seed: 1, ...options })
  const server = yield* network.listen("server", 80)
  const accepted = yield* Queue.unbounded<Transport.Connection>()
  yield* Effect.forkScoped(server.run((connection) => Effect.andThen(Queue.offer(accepted, connection), Effect.never)))
  const client = network.dialer("client").dial(url)
  const opening = yield* Effect.forkChild(openEnd(client))
  yield* TestClock.adjust("10 seconds")
  return { network, client: yield* Fiber.join(opening), server: yield* openEnd(yield* Queue.take(accepted)) }
})

const openEnd = Effect.fnUntraced(function*(connection: Transport.Connection) {
  const pull = yield* Transport.readerBytes(connection)
  const writer: Transport.Writer = yield* connection.writer
  return { pull, writer }
})

type End = Effect.Success<ReturnType<typeof openEnd>>

/** What has happened to a pull after a time. */
const pulled = Effect.fnUntraced(function*(end: End, millis: number) {
  const fiber = yield* Effect.forkChild(Effect.match(end.pull, {
    onFailure: (error) => Transport.endOf(error),
    onSuccess: (chunks) => chunks.reduce((text, chunk) => text + new TextDecoder().decode(chunk), "")
  }))
  yield* TestClock.adjust(millis)
  const exit = fiber.pollUnsafe()
  if (exit === undefined) yield* Fiber.interrupt(fiber)
  return exit === undefined ? "waits" : exit._tag === "Success" ? exit.value : exit
})

describe("SimulatedNetwork", () => {
  contract("by default", {})
  contract("with room for 1000 bytes in chunks of 1 to 90", { capacity: 1000, chunkSize: [1, 90] })
  contract("with latency, jitter and bandwidth", { latency: "1 millis", jitter: "2 millis", bandwidth: 2 ** 26 })

  describe("links", () => {
    it.effect("each direction has its own latency", () =>
      Effect.gen(function*() {
        const { client, server } = yield* connect({
          links: [{ from: "client", to: "server", latency: 30 }, { from: "server", to: "client", latency: 50 }]
        })
        yield* client.writer.write("up")
        assert.strictEqual(yield* pulled(server, 29), "waits")
        assert.strictEqual(yield* pulled(server, 1), "up")
        yield* server.writer.write("down")
        assert.strictEqual(yield* pulled(client, 49), "waits")
        assert.strictEqual(yield* pulled(client, 1), "down")
      }))

    it.effect("jitter keeps the order and stays below its bound", () =>
      Effect.gen(function*() {
        const { client, server } = yield* connect({ latency: 10, jitter: 20, chunkSize: 1 })
        yield* client.writer.write("abcdefghijklmnopqrstuvwxyz")
        assert.strictEqual(yield* pulled(server, 9), "waits")
        let text = ""
        for (let millis = 10; millis <= 30; millis++) {
          const part = yield* pulled(server, 1)
          if (part !== "waits") text += part
        }
        assert.strictEqual(text, "abcdefghijklmnopqrstuvwxyz")
      }))

    it.effect("each direction has its own bandwidth, which the bytes of one connection share", () =>
      Effect.gen(function*() {
        const { client, server } = yield* connect({ links: [{ from: "client", to: "server", bandwidth: 100 }] })
        yield* client.writer.write("abcde")
        yield* client.writer.write("fgh")
        assert.strictEqual(yield* pulled(server, 49), "waits")
        assert.strictEqual(yield* pulled(server, 1), "abcde")
        assert.strictEqual(yield* pulled(server, 29), "waits")
        assert.strictEqual(yield* pulled(server, 1), "fgh")
        yield* server.writer.write("x".repeat(1000))
        assert.strictEqual(yield* pulled(client, 0), "x".repeat(1000))
      }))

    it.effect("each direction has its own room: a write of it completes, a byte more waits", () =>
      Effect.gen(function*() {
        const { client, server } = yield* connect({ links: [{ from: "client", to: "server", capacity: 5 }] })
        yield* client.writer.write("abcde")
        const more = yield* Effect.forkChild(client.writer.write("f"))
        yield* TestClock.adjust("1 minute")
        assert.isUndefined(more.pollUnsafe())
        assert.strictEqual(yield* pulled(server, 0), "abcde")
        yield* Fiber.join(more)
        yield* server.writer.write("x".repeat(1000))
      }))

    it.effect("chunks are as large as the range says, at either end of it", () =>
      Effect.gen(function*() {
        const { client, server } = yield* connect({ chunkSize: [3, 5] })
        yield* client.writer.write("x".repeat(3000))
        const sizes = (yield* server.pull).map(({ length }) => length)
        sizes.pop() // what was left
        assert.sameMembers(Array.from(new Set(sizes)), [3, 4, 5])
      }))

    it.effect("what arrives between two readings of the clock is pulled, whatever the fraction of a millisecond", () =>
      Effect.gen(function*() {
        for (let millis = 1; millis < 200; millis++) {
          const { client, server } = yield* connect({ latency: 1000 / 7 })
          yield* client.writer.write("late")
          yield* TestClock.adjust(millis / 3)
          assert.strictEqual(yield* pulled(server, 200), "late")
        }
      }))

    it.effect("a dial takes a round trip, and the time of a slow connect besides", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make({ latency: 20, connectDelay: 100 })
        yield* network.listen("server", 80)
        const fiber = yield* Effect.forkChild(openEnd(network.dialer("client").dial(url)))
        yield* TestClock.adjust(139)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isDefined(fiber.pollUnsafe())
      }))

    it.effect("a dial to where nobody listens is refused after a round trip", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make({ latency: 20 })
        const fiber = yield* Effect.forkChild(Effect.flip(openEnd(network.dialer("client").dial("ws://server:81/"))))
        yield* TestClock.adjust(39)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "SocketOpenError")
      }))

    it.effect("a URL that is none fails to open", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make()
        for (const wrong of ["nonsense", "ftp://server/"]) {
          const error = yield* Effect.flip(openEnd(network.dialer("client").dial(wrong)))
          assert.strictEqual(error.reason._tag, "SocketOpenError")
        }
      }))

    it.effect("hosts have addresses of their own, and each dial a port", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make()
        const servers = yield* Effect.all([network.listen("server", 80), network.listen("other", 80)])
        assert.notStrictEqual(String(servers[0].address), String(servers[1].address))
        const peers = yield* Queue.unbounded<string>()
        yield* Effect.forkScoped(servers[0].run(({ peerAddress }) => Queue.offer(peers, String(peerAddress?.()))))
        const { dial } = network.dialer("client")
        yield* Effect.all([openEnd(dial(url)), openEnd(dial(url))])
        assert.notStrictEqual(yield* Queue.take(peers), yield* Queue.take(peers))
      }))

    it.effect("an address is taken while something listens there", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make()
        yield* Effect.scoped(network.listen("server", 80))
        yield* network.listen("server", 80)
        assert.strictEqual((yield* Effect.flip(network.listen("SERVER", 80))).reason._tag, "SocketServerOpenError")
        yield* network.listen("server", 81)
      }))
  })

  describe("faults", () => {
    it.effect("all that were applied and played are told, in their order, before they happen too", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make({ seed: 1 })
        assert.deepStrictEqual(yield* network.faults, [])
        const reset = { _tag: "Reset", at: 0, from: "client", to: "server" } as const
        const refuse = { _tag: "Refuse", at: 1000, host: "server", for: 100 } as const
        const truncate = { _tag: "Truncate", at: 0, from: "a", to: "b", connection: 1, byte: 5, how: "end" } as const
        yield* network.apply(reset)
        yield* network.play([refuse, truncate])
        assert.deepStrictEqual(yield* network.faults, [reset, refuse, truncate])
        yield* network.shutdown
      }))

    it.effect("a partition holds bytes back and lets them arrive afterwards, in order", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect({ latency: 10 })
        yield* client.writer.write("a")
        yield* network.apply({ _tag: "Partition", at: 0, from: "client", to: "server", for: 1000, ways: "both" })
        yield* client.writer.write("b")
        yield* server.writer.write("c")
        assert.strictEqual(yield* pulled(server, 1009), "waits")
        assert.strictEqual(yield* pulled(server, 1), "ab")
        assert.strictEqual(yield* pulled(client, 0), "c")
      }))

    it.effect("a partition one way lets the other way pass", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect({ latency: 10 })
        yield* network.apply({ _tag: "Partition", at: 0, from: "client", to: "server", for: 1000, ways: "one" })
        yield* client.writer.write("b")
        yield* server.writer.write("c")
        assert.strictEqual(yield* pulled(client, 10), "c")
        assert.strictEqual(yield* pulled(server, 0), "waits")
      }))

    it.effect("partitions that overlap end with the last", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect()
        yield* network.apply({ _tag: "Partition", at: 0, from: "client", to: "server", for: 100, ways: "one" })
        yield* network.apply({ _tag: "Partition", at: 0, from: "server", to: "client", for: 200, ways: "both" })
        yield* client.writer.write("a")
        assert.strictEqual(yield* pulled(server, 199), "waits")
        assert.strictEqual(yield* pulled(server, 1), "a")
      }))

    it.effect("a dial waits for a partition to end", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make({ latency: 10 })
        yield* network.listen("server", 80)
        yield* network.apply({ _tag: "Partition", at: 0, from: "server", to: "client", for: 100, ways: "one" })
        const fiber = yield* Effect.forkChild(openEnd(network.dialer("client").dial(url)))
        yield* TestClock.adjust(109)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isDefined(fiber.pollUnsafe())
      }))

    it.effect("a slow link takes so much longer, one way and for a while", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect({ latency: 10 })
        yield* network.apply({ _tag: "Slow", at: 0, from: "client", to: "server", for: 100, by: 50 })
        yield* client.writer.write("late")
        yield* server.writer.write("soon")
        assert.strictEqual(yield* pulled(client, 10), "soon")
        assert.strictEqual(yield* pulled(server, 49), "waits")
        assert.strictEqual(yield* pulled(server, 1), "late")
        yield* TestClock.adjust(40)
        yield* client.writer.write("in time")
        assert.strictEqual(yield* pulled(server, 10), "in time")
      }))

    it.effect("a host refuses for a while, and what is open stays so", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect()
        const dial = openEnd(network.dialer("client").dial(url))
        yield* network.apply({ _tag: "Refuse", at: 0, host: "server", for: 100 })
        assert.strictEqual((yield* Effect.flip(dial)).reason._tag, "SocketOpenError")
        yield* client.writer.write("still here")
        assert.strictEqual(yield* pulled(server, 99), "still here")
        yield* Effect.flip(dial)
        yield* TestClock.adjust(1)
        yield* dial
      }))

    it.effect("a server that starts again is reached by who dials then, and by nobody before", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make()
        const dial = Effect.scoped(openEnd(network.dialer("client").dial(url)))
        for (let start = 0; start < 3; start++) {
          assert.strictEqual((yield* Effect.flip(dial)).reason._tag, "SocketOpenError")
          yield* Effect.scoped(Effect.andThen(network.listen("server", 80), dial))
        }
        assert.deepStrictEqual(yield* network.residue, { listeners: [], ends: [] })
      }))

    it.effect("a reset fails both ends", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect()
        yield* client.writer.write("lost")
        yield* network.apply({ _tag: "Reset", at: 0, from: "client", to: "server" })
        assert.strictEqual(yield* pulled(client, 0), "Failed")
        assert.strictEqual(yield* pulled(server, 0), "Failed")
        yield* Effect.flip(client.writer.write("more"))
      }))

    it.effect("after a connection has vanished there is silence, both ways, for ever", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect()
        yield* network.apply({ _tag: "Vanish", at: 0, from: "client", to: "server" })
        yield* client.writer.write("a")
        yield* Transport.destroy(server.writer)
        assert.strictEqual(yield* pulled(client, 86_400_000), "waits")
      }))

    it.effect("a crash resets the peers at once, and the host refuses until it is back", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect({ latency: 10 })
        yield* network.apply({ _tag: "Crash", at: 0, host: "server", for: 100, how: "reset" })
        assert.strictEqual(yield* pulled(server, 0), "Failed")
        assert.strictEqual(yield* pulled(client, 9), "waits")
        assert.strictEqual(yield* pulled(client, 1), "Failed")
        const refused = yield* Effect.forkChild(Effect.flip(openEnd(network.dialer("client").dial(url))))
        yield* TestClock.adjust(89)
        yield* Fiber.join(refused)
        const again = yield* Effect.forkChild(openEnd(network.dialer("client").dial(url)))
        yield* TestClock.adjust(20)
        yield* Fiber.join(again)
      }))

    it.effect("a host that vanished answers with a reset once it is back, not before", () =>
      Effect.gen(function*() {
        const { client, network } = yield* connect({ latency: 10 })
        yield* network.apply({ _tag: "Crash", at: 0, host: "server", for: 1000, how: "vanish" })
        yield* client.writer.write("anybody there?")
        assert.strictEqual(yield* pulled(client, 1019), "waits")
        assert.strictEqual(yield* pulled(client, 1), "Failed")
      }))

    it.effect("a byte is corrupted where it is told", () =>
      Effect.gen(function*() {
        const { client, network, server } = yield* connect({ chunkSize: 2 })
        const fault = { at: 0, from: "client", to: "server", connection: 1 }
        yield* network.apply({ _tag: "Corrupt", ...fault, byte: 3, mask: 0x20 })
        yield* client.writer.write("abcde")
        assert.strictEqual(yield* pulled(server, 0), "abcDe")
        yield* server.writer.write("abcde")
        assert.strictEqual(yield* pulled(client, 0), "abcde")
      }))

    for (const [how, end] of [["end", "PeerEnded"], ["reset", "Failed"], ["stall", "waits"]] as const) {
      it.effect(`what follows a byte is lost, and then: ${how}`, () =>
        Effect.gen(function*() {
          const { client, network, server } = yield* connect()
          const fault = { at: 0, from: "client", to: "server", connection: 1 }
          yield* network.apply({ _tag: "Truncate", ...fault, byte: 3, how })
          yield* client.writer.write("abcde")
          yield* Effect.ignore(client.writer.write("fgh"))
          assert.strictEqual(yield* pulled(server, 0), "abc")
          assert.strictEqual(yield* pulled(server, 1000), end)
        }))
    }

    it.effect("what is sent to an end that has gone is answered with a reset", () =>
      Effect.gen(function*() {
        const network = yield* SimulatedNetwork.make({ latency: 10 })
        const listening = yield* network.listen("server", 80)
        yield* Effect.forkScoped(
          listening.run((connection) => Effect.scoped(Effect.orDie(Effect.asVoid(openEnd(connection)))))
        )
        const opening = yield* Effect.forkChild(openEnd(network.dialer("client").dial(url)))
        yield* TestClock.adjust(30)
        const client = yield* Fiber.join(opening)
        assert.strictEqual(yield* pulled(client, 0), "PeerEnded")
        yield* client.writer.write("stray")
        yield* TestClock.adjust(20)
        yield* Effect.flip(client.writer.write("stray"))
      }))

    it.effect("a schedule happens at its times", () =>
      Effect.gen(function*() {
        const { client, network } = yield* connect()
        yield* network.play([{ _tag: "Reset", at: 10_500, from: "client", to: "server" }])
        assert.strictEqual(yield* pulled(client, 499), "waits")
        assert.strictEqual(yield* pulled(client, 1), "Failed")
      }))
  })

  describe("the same seed", () => {
    const echo = Effect.gen(function*() {
      const stream = yield* WebSocketStream
      yield* Stream.run(stream.messages, stream.sink())
    })

    const run = (seed: number) =>
      Effect.gen(function*() {
        const server = WebSocketServer.serve(Effect.ignore(echo)).pipe(
          Layer.provide(WebSocketServer.layer()),
          Layer.provide(SimulatedNetwork.layerListen("server", 80))
        )
        const network = yield* SimulatedNetwork.SimulatedNetwork
        yield* Layer.build(server)
        const client = Effect.gen(function*() {
          const stream = yield* WebSocketClient.dial({ url })
          for (const message of ["one", "two", "three"]) {
            yield* stream.write(message)
            assert.strictEqual(yield* stream.read, message)
          }
          yield* stream.close()
        }).pipe(Effect.scoped, Effect.provide(SimulatedNetwork.layerDialer("client")))
        const fiber = yield* Effect.forkChild(client)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        return yield* network.transcript
      }).pipe(
        Effect.scoped,
        Effect.provide(
          SimulatedNetwork.layer({ latency: 5, jitter: 20, chunkSize: [1, 30] }).pipe(
            Layer.provideMerge(Layer.merge(Entropy.layerRandom, TestClock.layer()))
          )
        ),
        Random.withSeed(seed)
      )

    it.effect("gives the same run, byte for byte, and another seed another", () =>
      Effect.gen(function*() {
        const first = yield* run(1)
        assert.deepStrictEqual(yield* run(1), first)
        assert.notDeepEqual(yield* run(2), first)
        assert.include(Transcript.format(first), "text \"three\"")
      }))
  })
})
