import { assert, describe, it } from "@effect/vitest"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  connected,
  more,
  type Options,
  otherRole,
  pattern,
  pong,
  reasonOf,
  roles,
  scripted,
  type Service,
  settle,
  text,
  utf8
} from "./fixtures/streams.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const waits = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(settle, () => assert.isUndefined(fiber.pollUnsafe(), "it should wait"))

/** One fiber's messages, each written in a way chosen by chance. */
const writeMany = Effect.fnUntraced(function*(stream: Service, name: number) {
  for (let i = 0; i < 8; i++) {
    const body = `${name}:${i}:${"x".repeat(yield* Random.nextIntBetween(0, 60))}.`
    const half = yield* Random.nextIntBetween(0, body.length)
    const how = yield* Random.nextIntBetween(0, 4)
    if (how === 0) yield* stream.write(body)
    else if (how === 1) yield* stream.writeAll([body])
    else if (how === 2) {
      yield* stream.writeSome(false, body.slice(0, half))
      yield* Effect.yieldNow
      yield* stream.writeSome(true, body.slice(half))
    } else {
      yield* Effect.scoped(Effect.gen(function*() {
        const message = yield* stream.message("text")
        yield* message.write(body.slice(0, half))
        yield* Effect.yieldNow
        yield* message.finish(body.slice(half))
      }))
    }
    if (how === 3) yield* stream.ping()
  }
})

describe("any number of fibers may write", () => {
  for (const role of roles) {
    it.effect(`100 fibers of the ${role} write messages, parts and pings: each message is whole, each fiber's in order`, () =>
      Effect.gen(function*() {
        const { of } = yield* connected({ transport: { capacity: 500, chunkSize: 90 }, config: { fragmentSize: 20 } })
        const next = new Map<string, number>()
        const reading = yield* fork(Effect.repeat(
          Effect.map(of(otherRole(role)).read, (message) => {
            assert.match(message as string, /^\d+:\d+:x*\.$/)
            const [name, index] = (message as string).split(":")
            assert.strictEqual(next.get(name!) ?? 0, Number(index))
            next.set(name!, Number(index) + 1)
          }),
          { times: 799 }
        ))
        const names = Array.from({ length: 100 }, (_, name) => name)
        yield* Effect.forEach(names, (name) => writeMany(of(role), name), { concurrency: "unbounded", discard: true })
        yield* Fiber.join(reading)
        assert.deepStrictEqual(Array.from(next.values()), Array.from({ length: 100 }, () => 8))
      }).pipe(Random.withSeed("a hundred fibers")))
  }

  it.effect("no other message comes between those of one writeAll, whatever has room at once", () => {
    const batches = (stream: Service, name: number) =>
      Effect.repeat(
        Effect.gen(function*() {
          const size = yield* Random.nextIntBetween(0, 30)
          const messages = Array.from({ length: 5 }, (_, index) => `${name}:${index}:${"x".repeat(size)}`)
          yield* stream.writeAll(messages)
        }),
        { times: 3 }
      )
    const read = Effect.fnUntraced(function*(stream: Service) {
      let last = ["", "4"]
      for (let i = 0; i < 60; i++) {
        const [name, index] = ((yield* stream.read) as string).split(":")
        assert.deepStrictEqual([name, index], last[1] === "4" ? [name, "0"] : [last[0], `${Number(last[1]) + 1}`])
        last = [name!, index!]
      }
    })
    const run = Effect.fnUntraced(function*(options: Options) {
      const { client, server } = yield* connected(options)
      const reading = yield* fork(read(server))
      yield* Effect.forEach([1, 2, 3], (name) => batches(client, name), { concurrency: "unbounded" })
      yield* Fiber.join(reading)
    })
    return Effect.forEach(
      Array.from({ length: 400 }, (_, seed) => seed),
      (seed) => {
        const size = 30 + seed
        const options = seed % 2 === 0
          ? { transport: { capacity: size } }
          : { ways: { gathers: size, wakes: seed % 4 === 1 } }
        return VirtualTime.run(Effect.scoped(run(options)), { seed, interleave: "everywhere", promises: false })
      },
      { discard: true }
    )
  }, 60_000)

  it.effect("messages go out in the order in which their writes began to wait", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      yield* stream.writeSome(false, "open")
      const writing = yield* Effect.forEach(["a", "b", "c", "d"], (message) => fork(stream.write(message)))
      yield* settle
      yield* stream.writeSome(true, "done")
      yield* Fiber.joinAll(writing)
      assert.deepStrictEqual((yield* peer.expect(6)).slice(2), ["a", "b", "c", "d"].map((message) => text(message)))
    }))

  it.effect("parts of a MessageWriter may come from any fibers, in the order of their calls", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { transport: { capacity: 200 } })
      const message = yield* stream.message("text")
      const parts = ["a".repeat(150), "b".repeat(150), "c", "d"]
      const writing = yield* Effect.forEach(parts, (part) => fork(message.write(part)))
      const finishing = yield* fork(message.finish())
      const frames = yield* peer.expect(5)
      assert.deepStrictEqual(frames.map((frame) => new TextDecoder().decode(frame.payload)), [...parts, ""])
      assert.deepStrictEqual(frames.map((frame) => frame.fin), [false, false, false, false, true])
      assert.deepStrictEqual(yield* Fiber.joinAll(writing), [150, 150, 1, 1])
      yield* Fiber.join(finishing)
    }))
})

describe("a message that is open", () => {
  it.effect("makes the fiber that opened it fail with MessageInProgress and not wait for itself", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      yield* stream.writeSome(false, "a")
      assert.deepStrictEqual(
        yield* Effect.all([
          reasonOf(stream.write("b")),
          reasonOf(stream.writeAll(["b"])),
          reasonOf(Effect.scoped(stream.message("text")))
        ]),
        ["MessageInProgress", "MessageInProgress", "MessageInProgress"]
      )
      yield* stream.writeSome(true, "c")
      yield* stream.write("d")
      assert.deepStrictEqual(yield* peer.expect(3), [text("a", false), more("c"), text("d")])
    }))

  it.effect("of a MessageWriter makes its fiber's writeSome fail too", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      const message = yield* stream.message("text")
      assert.deepStrictEqual(
        yield* Effect.all([
          reasonOf(stream.write("b")),
          reasonOf(stream.writeSome(false, "b")),
          reasonOf(stream.writeSome(true, "b")),
          reasonOf(stream.writeAll(["b"])),
          reasonOf(Effect.scoped(stream.message("text")))
        ]),
        ["MessageInProgress", "MessageInProgress", "MessageInProgress", "MessageInProgress", "MessageInProgress"]
      )
      yield* message.finish("c")
      yield* stream.write("d")
      assert.deepStrictEqual(yield* peer.expect(2), [text("c"), text("d")])
    }))

  it.effect("makes other fibers wait, with every operation", () =>
    Effect.gen(function*() {
      const { stream } = yield* scripted("client")
      yield* stream.writeSome(false, "a")
      const others = yield* Effect.all([
        fork(stream.write("b")),
        fork(stream.writeSome(true, "b")),
        fork(stream.writeAll(["b", "c"])),
        fork(Effect.scoped(Effect.flatMap(stream.message("text"), (message) => message.finish())))
      ])
      yield* Effect.forEach(others, waits)
      yield* stream.writeSome(true, "")
      assert.deepStrictEqual(yield* Fiber.joinAll(others), [1, 1, 2, 0])
    }))

  it.effect("whose fiber ends makes others fail with MessageAborted; pings still go", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      const done = yield* Deferred.make<void>()
      const owner = yield* fork(Effect.andThen(stream.writeSome(false, "half"), Deferred.await(done)))
      const waiting = yield* fork(reasonOf(stream.write("b")))
      yield* waits(waiting)
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(owner)
      assert.strictEqual(yield* Fiber.join(waiting), "MessageAborted")
      for (const write of [stream.write("c"), stream.writeSome(true, "c"), stream.writeSome(false, "c")]) {
        assert.strictEqual(yield* reasonOf(write), "MessageAborted")
      }
      assert.strictEqual(yield* reasonOf(Effect.scoped(stream.message("text"))), "MessageAborted")
      const pinging = yield* fork(stream.ping(utf8("x")))
      yield* peer.expect(2)
      yield* peer.send(pong("x"))
      yield* Fiber.join(pinging)
    }))

  it.effect("does not make anybody wait once the connection closes", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      const scope = yield* Scope.make()
      const message = yield* Scope.provide(stream.message("text"), scope)
      yield* message.write("half")
      const waiting = yield* fork(reasonOf(stream.write("b")))
      yield* waits(waiting)
      yield* peer.send({ opcode: 8, fin: true, payload: Uint8Array.of(3, 232) })
      assert.strictEqual(yield* Fiber.join(waiting), "ConnectionClosed")
      assert.strictEqual(yield* reasonOf(message.finish()), "ConnectionClosed")
      assert.strictEqual(yield* reasonOf(stream.write("c")), "ConnectionClosed")
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
    }))
})

describe("a message whose first part is on its way when the connection closes", () => {
  it.effect("lets those behind it fail, though its fiber goes on", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { transport: { capacity: 300 } })
      const owner = yield* fork(Effect.andThen(stream.writeSome(false, pattern(400)), Effect.never))
      const waiting = yield* fork(reasonOf(stream.write("b")))
      yield* fork(stream.close())
      yield* peer.expect(2)
      assert.strictEqual(yield* Fiber.join(waiting), "ConnectionClosed")
      yield* Fiber.interrupt(owner)
    }))
})

describe("maxQueuedBytes", () => {
  it.effect("a write that waits is taken at the limit and refused with QueueFull one byte beyond", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { config: { maxQueuedBytes: 20 } })
      yield* stream.writeSome(false, "open")
      const first = yield* fork(stream.write(pattern(12)))
      assert.strictEqual(yield* fork(reasonOf(stream.write(pattern(9)))).pipe(Effect.flatMap(Fiber.join)), "QueueFull")
      const second = yield* fork(stream.write(pattern(8)))
      assert.strictEqual(yield* fork(reasonOf(stream.write("é"))).pipe(Effect.flatMap(Fiber.join)), "QueueFull")
      assert.strictEqual(
        yield* fork(reasonOf(stream.writeSome(false, "x"))).pipe(Effect.flatMap(Fiber.join)),
        "QueueFull"
      )
      yield* waits(second)
      yield* stream.writeSome(true, "x")
      yield* Fiber.joinAll([first, second])
      assert.strictEqual(yield* stream.write(pattern(20)), 20)
      assert.strictEqual((yield* peer.expect(5)).length, 5)
    }))

  it.effect("a write that finds nobody waiting is never refused, whatever its size", () =>
    Effect.gen(function*() {
      const { stream } = yield* scripted("client", { config: { maxQueuedBytes: 1 } })
      assert.strictEqual(yield* stream.write(pattern(1000)), 1000)
      assert.strictEqual(yield* stream.writeAll([pattern(10), pattern(10)]), 20)
    }))
})

describe("concurrent readers", () => {
  it.effect("are served in the order in which they came, whatever they read", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("server")
      const readers = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (i) =>
        fork(Effect.map(
          i % 2 === 0 ? stream.read : Effect.map(stream.readSome, (part) => part.data),
          (message) => `${i} ${message}`
        )))
      for (const message of ["a", "b", "c"]) {
        yield* peer.send(text(message))
        yield* settle
      }
      yield* peer.send(text("d"), text("e"), text("f"))
      assert.deepStrictEqual(yield* Fiber.joinAll(readers), ["1 a", "2 b", "3 c", "4 d", "5 e", "6 f"])
    }))

  it.effect("share fairly: none reads twice while another waits", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("server")
      const order: Array<number> = []
      const readers = yield* Effect.forEach([0, 1, 2], (i) =>
        fork(Effect.repeat(Effect.map(stream.read, () => void order.push(i)), { times: 9 })))
      yield* peer.send(...Array.from({ length: 30 }, (_, i) =>
        text(`${i}`)))
      yield* Fiber.joinAll(readers)
      assert.deepStrictEqual(order.slice(0, 6), [0, 1, 2, 0, 1, 2])
      for (let i = 3; i <= 27; i += 3) assert.strictEqual(new Set(order.slice(i, i + 3)).size, 3)
    }))

  it.effect("one that comes again waits behind those that were there, also at the end", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("server")
      const twice = yield* fork(Effect.all([stream.read, stream.read]))
      const once = yield* fork(stream.read)
      yield* peer.send(text("a"), text("b"), text("c"), { opcode: 8, fin: true, payload: Uint8Array.of(3, 232) })
      assert.deepStrictEqual([yield* Fiber.join(twice), yield* Fiber.join(once)], [["a", "c"], "b"])
    }))

  it.effect("one that comes while another is about to take does not take the same", () =>
    Effect.gen(function*() {
      for (let operations = 3; operations < 20; operations++) {
        const { peer, stream } = yield* scripted("server")
        yield* peer.send(text("a"))
        yield* settle
        const slow = yield* fork(Effect.provideService(stream.read, Scheduler.MaxOpsBeforeYield, operations))
        const quick = yield* fork(stream.read)
        yield* peer.send(text("b"))
        assert.deepStrictEqual([yield* Fiber.join(slow), yield* Fiber.join(quick)].toSorted(), ["a", "b"])
      }
    }).pipe(Effect.scoped))

  it.effect("one that waits for a whole message does not keep those behind it from being interrupted or served", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("server")
      yield* peer.send(text("a", false))
      const whole = yield* fork(stream.read)
      const second = yield* fork(stream.readSome)
      const third = yield* fork(stream.readSome)
      yield* waits(second)
      yield* Fiber.interrupt(second)
      yield* Fiber.interrupt(whole)
      assert.deepStrictEqual(yield* Fiber.join(third), { type: "text", data: "a", fin: false })
    }))
})

describe("a control frame waits for at most one fragment", () => {
  it.effect(
    "a ping in the midst of a 64 MiB message over a slow transport is answered within a fragment's time",
    () =>
      Effect.gen(function*() {
        const bandwidth = 1024 * 1024
        const capacity = 8192
        const fragmentTime = (64 * 1024 * 1000) / bandwidth
        const capacityTime = (capacity * 1000) / bandwidth
        const { client, server } = yield* connected({
          transport: { capacity, clientToServer: { bandwidth, latency: "1 millis" } },
          server: { maxMessageSize: 2 ** 27 }
        })
        yield* fork(client.write(new Uint8Array(64 * 1024 * 1024)))
        yield* fork(Effect.forever(server.readSome))
        let longest = 0
        for (let i = 0; i < 12; i++) {
          // At another place of a fragment each time.
          yield* TestClock.adjust(fragmentTime * 2 + i * 7)
          const start = yield* Clock.currentTimeMillis
          const pinging = yield* fork(Effect.andThen(client.ping(), Clock.currentTimeMillis))
          yield* TestClock.adjust(fragmentTime * 3)
          const elapsed = (yield* Fiber.join(pinging)) - start
          longest = Math.max(longest, elapsed)
        }
        // Up to one fragment in front of it, what the transport holds, a millisecond on the way, two for rounding.
        assert.isAtMost(longest, fragmentTime + capacityTime + 3)
        assert.isAtLeast(longest, fragmentTime / 2)
      }).pipe(Effect.scoped),
    20_000
  )

  it.effect("the round trip that ping returns counts from the frame's acceptance", () =>
    Effect.gen(function*() {
      const { client } = yield* connected({ transport: { latency: "30 millis" } })
      const pinging = yield* fork(client.ping())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(pinging)), 60)
    }))
})
