import { assert, describe, it } from "@effect/vitest"
import * as Broadcast from "effect-websocket/Broadcast"
import * as Deflate from "effect-websocket/Deflate"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import type { WebSocketConfig } from "effect-websocket/WebSocketConfig"
import type { Sendable, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Compressed from "./fixtures/compressed.ts"
import { assertBytes, connected, pattern, scripted, settle } from "./fixtures/streams.ts"

type Service = WebSocketStream["Service"]

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const pairs = (count: number) => Effect.all(Array.from({ length: count }, () => connected()))

/** A connection whose peer reads only when it is told to, full to the brim. */
const stalled = Effect.fnUntraced(function*(config: Partial<WebSocketConfig> = {}) {
  const one = yield* scripted("server", { transport: { capacity: 100 }, config })
  const first = yield* fork(one.stream.write(pattern(500)))
  yield* settle
  assert.isUndefined(first.pollUnsafe())
  return one
})

const tagsOf = (undelivered: ReadonlyArray<Broadcast.Undelivered>) => undelivered.map(({ error }) => error.reason._tag)

describe("Broadcast", () => {
  it.effect("every connection gets the message, once, in the order of the broadcasts", () =>
    Effect.gen(function*() {
      const all = yield* pairs(5)
      const servers = all.map(({ server }) => server)
      const messages: ReadonlyArray<Sendable> = ["a", pattern(300), yield* PreparedMessage.make("c")]
      for (const message of messages) assert.deepStrictEqual(yield* Broadcast.write(servers, message), [])
      for (const { client } of all) {
        assert.strictEqual(yield* client.read, "a")
        assertBytes((yield* client.read) as Uint8Array, pattern(300))
        assert.strictEqual(yield* client.read, "c")
      }
    }))

  it.effect("messages go together, what there is no room for comes behind, and the order stays", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("server", { transport: { capacity: 100 } })
      const messages = Array.from({ length: 20 }, (_, i) => `message ${i}`)
      const telling = yield* fork(Broadcast.writeAll([stream], messages))
      const frames = yield* peer.expect(20)
      assert.deepStrictEqual(frames.map(({ payload }) => new TextDecoder().decode(payload)), messages)
      assert.deepStrictEqual(yield* Fiber.join(telling), [])
    }))

  it.effect("no messages are nothing to do", () =>
    Effect.gen(function*() {
      const [one] = yield* pairs(1)
      assert.deepStrictEqual(yield* Broadcast.writeAll([one!.server], []), [])
    }))

  it.effect("options are those of write", () =>
    Effect.gen(function*() {
      const [one] = yield* pairs(1)
      yield* Broadcast.write([one!.server], Uint8Array.of(0x61), { type: "text" })
      assert.strictEqual(yield* one!.client.read, "a")
    }))

  it.effect("nobody there is nothing to do", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Broadcast.write([], "a"), [])
    }))

  it.effect("a connection that has ended is given back with its error, and the others get the message", () =>
    Effect.gen(function*() {
      const [gone, there] = yield* pairs(2)
      yield* gone!.server.close()
      const undelivered = yield* Broadcast.write([gone!.server, there!.server], "a")
      assert.strictEqual(undelivered[0]!.stream, gone!.server)
      assert.deepStrictEqual(tagsOf(undelivered), ["ConnectionClosed"])
      assert.strictEqual(yield* there!.client.read, "a")
    }))

  it.effect("a message that may not be sent is given back for every connection, and none gets it", () =>
    Effect.gen(function*() {
      const all = yield* pairs(2)
      const undelivered = yield* Broadcast.write(all.map(({ server }) => server), "\ud800")
      assert.deepStrictEqual(tagsOf(undelivered), ["InvalidPayload", "InvalidPayload"])
      yield* Broadcast.write(all.map(({ server }) => server), "next")
      for (const { client } of all) assert.strictEqual(yield* client.read, "next")
    }))

  it.effect("a connection without room holds up the end, and none of the others", () =>
    Effect.gen(function*() {
      const slow = yield* stalled()
      const [fast] = yield* pairs(1)
      const telling = yield* fork(Broadcast.write([slow.stream, fast!.server], "a"))
      assert.strictEqual(yield* fast!.client.read, "a")
      yield* settle
      assert.isUndefined(telling.pollUnsafe())
      const frames = yield* slow.peer.expect(2)
      assert.strictEqual(new TextDecoder().decode(frames[1]!.payload), "a")
      assert.deepStrictEqual(yield* Fiber.join(telling), [])
    }))

  it.effect("a connection whose queue is full is given back with QueueFull at once", () =>
    Effect.gen(function*() {
      const slow = yield* stalled({ maxQueuedBytes: 500 })
      assert.deepStrictEqual(tagsOf(yield* Broadcast.write([slow.stream], "a")), ["QueueFull"])
    }))

  it.effect("interrupting it gives up the writes that wait, and leaves the wire legal", () =>
    Effect.gen(function*() {
      const slow = yield* stalled()
      const telling = yield* fork(Broadcast.write([slow.stream], "given up"))
      yield* settle
      yield* Fiber.interrupt(telling)
      const next = yield* fork(slow.stream.write("next"))
      const frames = yield* slow.peer.expect(2)
      assert.strictEqual(new TextDecoder().decode(frames[1]!.payload), "next")
      yield* Fiber.join(next)
    }))

  it.effect("it comes behind a message that is open on the connection", () =>
    Effect.gen(function*() {
      const [one] = yield* pairs(1)
      const writer = yield* one!.server.message("text")
      yield* writer.write("be")
      const telling = yield* fork(Broadcast.write([one!.server], "after"))
      yield* settle
      yield* writer.finish("fore")
      assert.strictEqual(yield* one!.client.read, "before")
      assert.strictEqual(yield* one!.client.read, "after")
      yield* Fiber.join(telling)
    }))

  it.effect("a connection that compresses does so, and takes the prepared form of what is prepared", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Compressed.connected({})
      const long = "to and fro ".repeat(500)
      const prepared = yield* Effect.provideService(
        PreparedMessage.makeCompressed(long),
        Deflate.Deflate,
        Compressed.portable
      )
      for (const message of [long, prepared]) {
        assert.deepStrictEqual(yield* Broadcast.write([server], message), [])
        assert.strictEqual(yield* client.read, long)
      }
    }))

  it.effect("others have their turn between 1024 connections and the next", () =>
    Effect.gen(function*() {
      const [one] = yield* pairs(1)
      const turnsDuring = Effect.fnUntraced(function*(count: number) {
        let turns = 0
        const other = yield* fork(Effect.forever(Effect.sync(() => turns++)))
        yield* Broadcast.write(Array.from({ length: count }, (): Service => one!.server), "")
        const seen = turns
        yield* Fiber.interrupt(other)
        return seen
      })
      const [few, more] = [yield* turnsDuring(1024), yield* turnsDuring(1025)]
      assert.isAbove(more, few)
    }))
})
