import { assert, describe, it } from "@effect/vitest"
import type { MessagePart } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { aliveBytes } from "./fixtures/memory.ts"
import {
  assertBytes,
  binary,
  concat,
  connected,
  encode,
  more,
  otherRole,
  pattern,
  ping,
  pong,
  roles,
  scripted,
  settle,
  text,
  type Wire
} from "./fixtures/streams.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const mebibyte = 1024 * 1024

for (const role of roles) {
  describe(`as ${role}`, () => {
    describe("a peer that does not read", () => {
      it.effect("holds a writer of 300 x 1 MiB: it is suspended, and no more is taken than the transport holds", () =>
        Effect.gen(function*() {
          const capacity = 256 * 1024
          const { stream, watched } = yield* scripted(role, { transport: { capacity } })
          const payload = pattern(mebibyte)
          const before = yield* aliveBytes
          const writing = yield* fork(Effect.repeat(stream.write(payload), { times: 299 }))
          yield* settle
          assert.isUndefined(writing.pollUnsafe())
          const handed = watched.writes.reduce((sum, bytes) => sum + bytes.length, 0)
          // What the transport holds, and the one fragment that waits for room.
          assert.isAtMost(handed, capacity + 64 * 1024 + 14)
          assert.isAtLeast(handed, capacity)
          // That, its copy in the log of this test, and 2 MiB for all else.
          assert.isAtMost((yield* aliveBytes) - before, 2 * handed + 2 * mebibyte)
          yield* settle
          assert.strictEqual(watched.writes.reduce((sum, bytes) => sum + bytes.length, 0), handed)
          yield* Fiber.interrupt(writing)
        }))

      it.effect("lets the writer go on when it reads again", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 1000 } })
          const writing = yield* fork(Effect.repeat(stream.write(pattern(700)), { times: 9 }))
          for (let i = 0; i < 10; i++) {
            yield* settle
            assert.isUndefined(i < 8 ? writing.pollUnsafe() : undefined)
            const [frame] = yield* peer.expect(1)
            assertBytes(frame!.payload, pattern(700))
          }
          yield* Fiber.join(writing)
        }))

      it.effect("holds the 101st of 100 fibers' messages no less: their bytes stay with them", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role, { transport: { capacity: 500 } })
          const writing = yield* Effect.forEach(Array.from({ length: 100 }), () => fork(stream.write(pattern(200))))
          yield* settle
          const handed = watched.writes.reduce((sum, bytes) => sum + bytes.length, 0)
          assert.isAtMost(handed, 500 + 210)
          yield* peer.expect(100)
          yield* Fiber.joinAll(writing)
        }))
    })

    describe("a reader that does not come", () => {
      const readBuffer = 10_000
      const chunkSize = 1000

      it.effect("stops the peer: no more is taken from the transport than readBuffer and one chunk", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role, {
            config: { readBuffer },
            transport: { chunkSize, capacity: 4000 }
          })
          const sending = yield* fork(Effect.repeat(peer.send(binary(pattern(5000))), { times: 19 }))
          yield* settle
          assert.isUndefined(sending.pollUnsafe())
          // A batch is what the transport holds; its chunks are taken one by one.
          assert.isAtMost(watched.pulled, readBuffer + 4000 + chunkSize)
          const stopped = watched.pulled
          yield* settle
          assert.strictEqual(watched.pulled, stopped)
          for (let i = 0; i < 20; i++) assertBytes((yield* stream.read) as Uint8Array, pattern(5000))
          yield* Fiber.join(sending)
        }))

      it.effect("stops it at readBuffer and one chunk where the transport gives one chunk at a time", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role, {
            config: { readBuffer },
            transport: { capacity: chunkSize }
          })
          yield* fork(Effect.repeat(peer.send(binary(pattern(5000))), { times: 19 }))
          yield* Effect.repeat(Effect.yieldNow, { times: 300 })
          assert.isAtMost(watched.pulled, readBuffer + chunkSize)
          assert.isAtLeast(watched.pulled, readBuffer)
          yield* stream.readSome
          yield* settle
          assert.isAbove(watched.pulled, readBuffer)
        }))

      it.effect("pings are answered below that bound, and closes are noticed", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { config: { readBuffer } })
          yield* peer.send(binary(pattern(9000)), ping("a"))
          assert.deepStrictEqual(yield* peer.expect(1), [pong("a")])
          yield* peer.send({ opcode: 8, fin: true, payload: Uint8Array.of(3, 232) })
          assert.strictEqual((yield* peer.expect(1))[0]!.opcode, 8)
          assert.strictEqual(yield* stream.state, "Closing")
          assertBytes((yield* stream.read) as Uint8Array, pattern(9000))
        }))

      it.effect("empty messages fill the buffer too", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role, {
            config: { readBuffer },
            transport: { chunkSize: 60, capacity: 600 }
          })
          const flood = concat(...Array.from({ length: 3000 }, () => encode(otherRole(role), text(""))))
          const sending = yield* fork(peer.write(flood))
          yield* settle
          assert.isUndefined(sending.pollUnsafe())
          assert.isAtMost(watched.pulled, 3000)
          for (let i = 0; i < 3000; i++) assert.strictEqual(yield* stream.read, "")
          yield* Fiber.join(sending)
        }))

      it.effect("a message in one-byte fragments costs bytes and not objects", () =>
        Effect.gen(function*() {
          for (const first of [binary(pattern(1), false), text("x", false)]) {
            const { peer, stream } = yield* scripted(role, { config: { readBuffer: mebibyte, maxFragments: 1e6 } })
            const before = yield* aliveBytes
            const body: Wire = more("x", false)
            const fragments = concat(...Array.from({ length: 1000 }, () => encode(otherRole(role), body)))
            yield* peer.send(first)
            for (let i = 0; i < 60; i++) {
              yield* peer.write(fragments)
              yield* settle
            }
            assert.isAtMost((yield* aliveBytes) - before, 400_000)
            const parts: Array<MessagePart> = []
            yield* peer.send(more("end"))
            yield* settle
            while (parts.at(-1)?.fin !== true) parts.push(yield* stream.readSome)
            assert.strictEqual(parts.reduce((sum, part) => sum + part.data.length, 0), 60_004)
            assert.isAtMost(parts.length, 100)
          }
        }), 20_000)

      it.effect("what was read is let go of, though messages behind it wait", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, {
            config: { readBuffer: 4 * mebibyte },
            transport: { capacity: 4 * mebibyte }
          })
          yield* peer.send(binary(pattern(2 * mebibyte)))
          yield* peer.send(text("a"), text("b"), text("c"), text("d"))
          yield* settle
          const before = yield* aliveBytes
          yield* Effect.asVoid(stream.read)
          yield* settle
          assert.isAtMost((yield* aliveBytes) - before, -1.9 * mebibyte)
          assert.strictEqual(yield* stream.read, "a")
        }))
    })

    describe("a read of a message longer than readBuffer", () => {
      it.effect("does not wait for ever, and neither does pull", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { config: { readBuffer: 1000 }, transport: { capacity: 300 } })
          yield* fork(peer.send(binary(pattern(20_000)), binary(pattern(30_000, 2))))
          assertBytes((yield* stream.read) as Uint8Array, pattern(20_000))
          assertBytes((yield* stream.pull)[0] as Uint8Array, pattern(30_000, 2))
        }))

      it.effect("goes on when the reader comes after the buffer is full, or comes back", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role, {
            config: { readBuffer: 1000 },
            transport: { capacity: 300 }
          })
          const frame = encode(otherRole(role), binary(pattern(200_000)))
          const sending = yield* fork(peer.write(frame.slice(0, 100_000)))
          yield* settle
          assert.isAtMost(watched.pulled, 1600)
          const first = yield* fork(stream.read)
          yield* Fiber.join(sending)
          yield* Fiber.interrupt(first)
          yield* fork(peer.write(frame.slice(100_000)))
          yield* settle
          assert.isAtMost(watched.pulled, 100_600)
          assertBytes((yield* stream.read) as Uint8Array, pattern(200_000))
        }))

      it.effect("behind a reader of parts waits for its turn, and then goes on", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { config: { readBuffer: 100 }, transport: { capacity: 300 } })
          const part = yield* fork(stream.readSome)
          const whole = yield* fork(stream.read)
          yield* fork(peer.send(binary(pattern(5000))))
          const first = (yield* Fiber.join(part)).data as Uint8Array
          const rest = (yield* Fiber.join(whole)) as Uint8Array
          assertBytes(concat(first, rest), pattern(5000))
        }))
    })
  })
}

describe("end to end", () => {
  it.effect("a slow reader slows the writer down, and nothing is lost", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected({ transport: { capacity: 5000 }, config: { readBuffer: 5000 } })
      let written = 0
      const writing = yield* fork(Effect.repeat(
        Effect.map(client.write(pattern(1000)), () => {
          written++
        }),
        { times: 99 }
      ))
      for (let read = 0; read < 100; read++) {
        yield* settle
        // The buffer and a chunk behind it, and what the transport holds.
        assert.isAtMost(written, read + 16)
        assertBytes((yield* server.read) as Uint8Array, pattern(1000))
      }
      yield* Fiber.join(writing)
    }))
})
