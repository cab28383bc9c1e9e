import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

const contract = (name: string, options: MemoryTransport.Options) =>
  describe(`the contract, ${name}`, () => {
    for (const law of TransportContract.laws) {
      it.live(law.name, () => law.check(TransportContract.fromPair(MemoryTransport.makePair(options))))
    }
    for (const law of [...TransportContract.laws, ...TransportContract.dialingLaws]) {
      it.live(`dialled: ${law.name}`, () =>
        law.check(TransportContract.fromServer(MemoryTransport.makeServer(options))))
    }
  })

const open = Effect.fnUntraced(function*(options?: MemoryTransport.Options) {
  const [client, server] = yield* MemoryTransport.makePair(options)
  const writer: Transport.Writer = yield* client.writer
  return { writer, pull: yield* Transport.readerBytes(server) }
})

const lengths = (batch: ReadonlyArray<Uint8Array>) => batch.map((chunk) => chunk.length)

describe("MemoryTransport", () => {
  contract("by default", {})
  contract("with room for 20 bytes", { capacity: 20 })
  contract("with room for 1000 bytes", { capacity: 1000 })
  contract("in chunks of 7 bytes", { chunkSize: 7, capacity: 4096 })
  contract("with latency and bandwidth", { latency: "1 millis", bandwidth: 2 ** 26 })

  describe("the contract under TestClock", () => {
    for (const law of TransportContract.laws) {
      it.effect(law.name, () => law.check(TransportContract.fromPair(MemoryTransport.makePair())))
    }
  })

  it.effect("a pull that yields just before it waits misses nothing", () =>
    Effect.gen(function*() {
      const meet = Effect.fnUntraced(function*(happens: (writer: Transport.Writer) => Effect.Effect<void, unknown>) {
        const { pull, writer } = yield* open()
        const pulling = yield* Effect.forkChild(Effect.exit(pull))
        yield* Effect.yieldNow
        yield* happens(writer)
        yield* Fiber.join(pulling)
      }, Effect.scoped)
      for (let seed = 0; seed < 100; seed++) {
        const options = { seed, interleave: "everywhere", promises: false } as const
        yield* VirtualTime.run(meet((writer) => writer.write("a")), options)
        yield* VirtualTime.run(meet((writer) => Transport.destroy(writer)), options)
      }
    }))

  describe("room", () => {
    it.effect("a write of the capacity completes, one byte more suspends", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ capacity: 10 })
        yield* writer.write(new Uint8Array(10))
        const fiber = yield* Effect.forkChild(writer.write(new Uint8Array(1)))
        yield* Effect.yieldNow
        assert.isUndefined(fiber.pollUnsafe())
        assert.deepStrictEqual(lengths(yield* pull), [10])
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(lengths(yield* pull), [1])
      }))

    it.effect("a write larger than the room is accepted piece by piece", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ capacity: 10, chunkSize: 4 })
        const fiber = yield* Effect.forkChild(writer.write(new Uint8Array(25)))
        yield* Effect.yieldNow
        assert.deepStrictEqual(lengths(yield* pull), [4, 4, 2])
        assert.isUndefined(fiber.pollUnsafe())
        assert.deepStrictEqual(lengths(yield* pull), [4, 4, 2])
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(lengths(yield* pull), [4, 1])
      }))

    it.effect("an interrupted write may be sent in part, and gives way to the next", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ capacity: 10 })
        const first = yield* Effect.forkChild(writer.write(new Uint8Array(11).fill(1)))
        const second = yield* Effect.forkChild(writer.write(new Uint8Array(3).fill(2)))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(first)
        assert.isUndefined(second.pollUnsafe())
        assert.deepStrictEqual(lengths(yield* pull), [10])
        yield* Fiber.join(second)
        assert.deepStrictEqual(yield* pull, [new Uint8Array(3).fill(2)])
      }))

    it.effect("an offer is refused over the capacity and behind a write that waits", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ capacity: 10 })
        const offer = writer.offerUnsafe!
        assert.isFalse(offer(new Uint8Array(11)))
        assert.isTrue(offer(new Uint8Array(9)))
        const fiber = yield* Effect.forkChild(writer.write(new Uint8Array(12)))
        yield* Effect.yieldNow
        assert.deepStrictEqual(lengths(yield* pull), [9, 1])
        assert.isFalse(offer(new Uint8Array(1)))
        assert.deepStrictEqual(lengths(yield* pull), [10])
        assert.deepStrictEqual(lengths(yield* pull), [1])
        yield* Fiber.join(fiber)
        assert.isTrue(offer(new Uint8Array(10)))
      }))

    it.effect("an offer runs no other fiber before it returns", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open()
        let pulled = false
        const fiber = yield* Effect.forkChild(Effect.tap(pull, () => {
          pulled = true
          return Effect.void
        }))
        yield* Effect.yieldNow
        writer.offerUnsafe!(new Uint8Array(1))
        assert.isFalse(pulled)
        yield* Fiber.join(fiber)
      }))

    it.effect("each direction has its own", () =>
      Effect.gen(function*() {
        const [client, server] = yield* MemoryTransport.makePair({ capacity: 5, serverToClient: { capacity: 7 } })
        const toServer: Transport.Writer = yield* client.writer
        const toClient: Transport.Writer = yield* server.writer
        assert.isFalse(toServer.offerUnsafe!(new Uint8Array(6)))
        assert.isTrue(toClient.offerUnsafe!(new Uint8Array(7)))
      }))
  })

  describe("time", () => {
    it.effect("bytes and the end arrive after the latency", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ latency: "50 millis" })
        yield* writer.write("a")
        const fiber = yield* Effect.forkChild(pull)
        yield* TestClock.adjust("49 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* writer.write("b")
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(lengths(yield* Fiber.join(fiber)), [1])
        const next = yield* Effect.forkChild(pull)
        yield* TestClock.adjust("48 millis")
        assert.isUndefined(next.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(lengths(yield* Fiber.join(next)), [1])
      }))

    it.effect("bytes arrive at the rate of the line, in the order written", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open({ bandwidth: 1_000_000, latency: "10 millis" })
        yield* writer.write(new Uint8Array(14_600))
        let size = 0
        yield* Effect.forkScoped(Effect.forever(Effect.map(pull, (batch) => {
          size += batch.reduce((sum, chunk) => sum + chunk.length, 0)
        })))
        const seen: Array<number> = []
        for (let millis = 1; millis <= 25; millis++) {
          yield* TestClock.adjust("1 millis")
          seen.push(size / 1460)
        }
        assert.deepStrictEqual(seen.slice(0, 11), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        assert.deepStrictEqual(seen.slice(11), [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10])
      }))

    it.effect("half-close arrives behind the bytes, and a destroyed connection at once", () =>
      Effect.gen(function*() {
        const [client, server] = yield* MemoryTransport.makePair({ latency: "1 minute" })
        const pull = yield* Transport.readerBytes(server)
        yield* Effect.scoped(Effect.flatMap(client.writer, (writer) => writer.write("a")))
        const fiber = yield* Effect.forkChild(pull)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(lengths(yield* Fiber.join(fiber)), [1])
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        yield* Transport.destroy(yield* client.writer)
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "Failed")
      }))
  })

  describe("ends", () => {
    it.effect("a closed scope delivers what was accepted, and drops what waits", () =>
      Effect.gen(function*() {
        const [client, server] = yield* MemoryTransport.makePair({ capacity: 4 })
        const scope = yield* Scope.make()
        yield* Scope.provide(client.reader, scope)
        const writer = yield* client.writer
        const fiber = yield* Effect.forkChild(Effect.flip(writer.write(new Uint8Array(9))))
        yield* Effect.yieldNow
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(Transport.endOf(yield* Fiber.join(fiber)), "Closed")
        const pull = yield* Transport.readerBytes(server)
        assert.deepStrictEqual(lengths(yield* pull), [4])
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        const back = yield* server.writer
        assert.strictEqual((yield* Effect.flip(back.write("x"))).reason._tag, "SocketWriteError")
      }))

    it.effect("a destroyed connection drops what was accepted", () =>
      Effect.gen(function*() {
        const { pull, writer } = yield* open()
        yield* writer.write("lost")
        yield* Transport.destroy(writer)
        assert.strictEqual((yield* Effect.flip(pull)).reason._tag, "SocketReadError")
      }))

    it.effect("the scope of a pair ends both of its ends", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const [client, server] = yield* Scope.provide(MemoryTransport.makePair(), scope)
        const pulls = yield* Effect.forEach([client, server], Transport.readerBytes)
        yield* Scope.close(scope, Exit.void)
        for (const pull of pulls) assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "Closed")
      }))
  })

  describe("a server", () => {
    const dial = Effect.flatMap(Transport.Transport, (transport) => transport.reader)

    it.effect("keeps connections that come before run, and knows its peers", () =>
      Effect.gen(function*() {
        const server = yield* Transport.TransportServer
        const client = yield* Transport.Transport
        const { pull } = yield* client.reader
        assert.strictEqual(server.address, client.peerAddress!())
        yield* Effect.forkScoped(server.run((connection) =>
          Effect.scoped(Effect.flatMap(connection.writer, (writer) => Effect.ignore(writer.write("hello"))))
        ))
        assert.deepStrictEqual(lengths((yield* pull) as ReadonlyArray<Uint8Array>), [5])
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
      }).pipe(Effect.provide(MemoryTransport.layer())))

    it.effect("closes a connection whose handler has ended or died", () =>
      Effect.gen(function*() {
        const server = yield* Transport.TransportServer
        let count = 0
        yield* Effect.forkScoped(server.run(() => count++ === 0 ? Effect.void : Effect.die("a bug")))
        for (let index = 0; index < 2; index++) {
          const { pull } = yield* dial
          assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        }
      }).pipe(Effect.provide(MemoryTransport.layer())))

    it.effect("interrupts its handlers when run is interrupted", () =>
      Effect.gen(function*() {
        const server = yield* Transport.TransportServer
        let interrupted = 0
        const run = yield* Effect.forkScoped(
          server.run(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
        )
        yield* Effect.yieldNow
        yield* dial
        const { pull } = yield* dial
        yield* Fiber.interrupt(run)
        assert.strictEqual(interrupted, 2)
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
      }).pipe(Effect.provide(MemoryTransport.layer())))

    it.effect("refuses the 129th connection that waits", () =>
      Effect.gen(function*() {
        for (let index = 0; index < 128; index++) yield* dial
        assert.strictEqual((yield* Effect.flip(dial)).reason._tag, "SocketOpenError")
      }).pipe(Effect.provide(MemoryTransport.layer())))

    it.effect("refuses connections once its scope has closed, and closes those that wait", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { client } = yield* Scope.provide(MemoryTransport.makeServer(), scope)
        const { pull } = yield* client.reader
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        assert.strictEqual((yield* Effect.flip(client.reader)).reason._tag, "SocketOpenError")
      }))
  })
})
