import { assert, describe, it } from "@effect/vitest"
import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Free, Store } from "../src/internal/slabs.ts"
import { assertBytes, connected, otherRole, pattern, roles, type Service } from "./fixtures/streams.ts"

const bytesOf = (payload: Payload | undefined): Uint8Array => {
  assert.instanceOf(payload, Uint8Array)
  return payload as Uint8Array
}

const read = (stream: Service) => Effect.map(stream.read, bytesOf)

const config = { reuseArrays: true }

describe("arrays that are used again", () => {
  for (const role of roles) {
    // From one that shares an array with many to one that comes in several parts.
    for (const size of [1, 125, 5000, 40_000, 200_000]) {
      it.effect(`the ${role}'s read of ${size} bytes is its own until the next read, whatever arrives`, () =>
        Effect.gen(function*() {
          const { of } = yield* connected({ config })
          const reader = of(role)
          const writer = of(otherRole(role))
          const write = (seed: number) =>
            Effect.forkChild(writer.write(pattern(size, seed)), { startImmediately: true })
          const seen = new Set<ArrayBufferLike>()
          yield* write(0)
          for (let seed = 0; seed < 40; seed++) {
            const message = yield* read(reader)
            yield* write(seed + 1)
            yield* Effect.replicateEffect(Effect.yieldNow, 20, { discard: true })
            assertBytes(message, pattern(size, seed))
            seen.add(message.buffer)
          }
          // What is more than the transport holds comes in arrays that it gives away.
          if (size < 100_000) assert.isAtMost(seen.size, 4)
        }))
    }
  }

  it.effect("all messages of a pull are its own, those that are unread stay as they are, and so do other connections'", () =>
    Effect.gen(function*() {
      const one = yield* connected({ config })
      const other = yield* connected({ config })
      for (let round = 0; round < 50; round++) {
        yield* one.client.writeAll([pattern(300, 1), pattern(900, 2), pattern(5, 3)])
        yield* other.client.write(pattern(500, 4))
        const kept = yield* read(other.server)
        const pulled = (yield* one.server.pull).map(bytesOf)
        yield* one.client.write(pattern(800, 5))
        yield* other.client.write(pattern(800, 6))
        yield* Effect.replicateEffect(Effect.yieldNow, 20, { discard: true })
        assert.deepStrictEqual(pulled, [pattern(300, 1), pattern(900, 2), pattern(5, 3)])
        assertBytes(kept, pattern(500, 4))
        assertBytes(yield* read(one.server), pattern(800, 5))
        assertBytes(yield* read(other.server), pattern(800, 6))
      }
    }))

  it.effect("parts are the reader's own until the next part, and what is left of a message follows whole", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected({ config, transport: { chunkSize: 700 } })
      for (let round = 0; round < 10; round++) {
        const message = pattern(5000, round)
        yield* Effect.forkChild(client.write(message), { startImmediately: true })
        const first = bytesOf((yield* server.readSome).data)
        yield* Effect.replicateEffect(Effect.yieldNow, 50, { discard: true })
        assertBytes(first, message.subarray(0, first.length))
        const { length } = first
        assertBytes(yield* read(server), message.subarray(length))
      }
    }))

  it.effect("a message that comes byte by byte, with an empty end, is whole", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected({ config, transport: { chunkSize: 1 } })
      for (let round = 0; round < 5; round++) {
        const message = pattern(300, round)
        yield* client.writeSome(false, message)
        yield* client.writeSome(true, new Uint8Array(0))
        yield* client.write(pattern(10, 99))
        assertBytes(yield* read(server), message)
        assertBytes(yield* read(server), pattern(10, 99))
      }
    }))

  it.effect("by default arrays belong to whoever read them", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected()
      const messages: Array<Uint8Array> = []
      for (let seed = 0; seed < 100; seed++) {
        yield* client.write(pattern(1000, seed))
        messages.push(yield* read(server))
      }
      messages.forEach((message, seed) => assertBytes(message, pattern(1000, seed)))
    }))

  it.effect("a Socket's users have arrays of their own", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected({ config })
      const { pull } = yield* WebSocketSocket.fromStream(server).reader
      const messages: Array<unknown> = []
      for (let seed = 0; seed < 100; seed++) {
        yield* client.write(pattern(1000, seed))
        messages.push(...(yield* pull))
      }
      assert.deepStrictEqual(messages, Array.from({ length: 100 }, (_, seed) => pattern(1000, seed)))
    }))

  it.effect("a stream of messages gives each until the next is asked for", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected({ config })
      yield* client.writeAll(Array.from({ length: 100 }, (_, seed) => pattern(100, seed)))
      let seed = 0
      yield* server.messages.pipe(
        Stream.take(100),
        Stream.runForEach((message) => Effect.sync(() => assertBytes(bytesOf(message), pattern(100, seed++))))
      )
      assert.strictEqual(seed, 100)
    }))
})

describe("what keeps them", () => {
  it("waits for use up to its bound and not beyond", () => {
    const free = new Free(3 * 4096)
    const arrays = Array.from({ length: 4 }, () => new Uint8Array(4096))
    for (const bytes of arrays) free.give(bytes)
    const taken = Array.from({ length: 4 }, () => free.take(4096))
    assert.deepStrictEqual(taken.map((bytes) => arrays.findIndex((array) => array === bytes)), [2, 1, 0, -1])
    free.give(new Uint8Array(2 * 4096))
    free.give(new Uint8Array(2 * 4096))
    free.give(arrays[0]!)
    assert.strictEqual(free.take(4096), arrays[0])
    assert.strictEqual(free.take(4097).length, 2 * 4096)
  })

  for (const [asked, size] of [[1, 1], [2, 2], [3, 4], [4096, 4096], [4097, 8192]] as const) {
    it(`gives an array of ${size} bytes where ${asked} are needed`, () => {
      assert.strictEqual(new Free(0).take(asked).length, size)
    })
  }

  it("begins at the front of an array when nothing in it is in use, and not before", () => {
    const store = new Store(true)
    const slab = store.slabFor(10, 64)
    const [first, second] = [slab.keep(new Uint8Array(10)), slab.keep(new Uint8Array(10))]
    slab.release()
    assert.strictEqual(slab.keep(new Uint8Array(1)).byteOffset, 20)
    slab.release()
    slab.release()
    assert.strictEqual(slab.keep(new Uint8Array(1)).byteOffset, first.byteOffset)
    assert.notStrictEqual(first.byteOffset, second.byteOffset)
    assert.isFalse(slab.hasRoomFor(64))
    assert.notStrictEqual(store.slabFor(64, 64), slab)
  })
})
