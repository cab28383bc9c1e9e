import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Alarm, Deadlines, deadlinesOf } from "../src/internal/deadlines.ts"
import * as Driver from "../src/internal/driver.ts"
import type { Link } from "../src/internal/link.ts"
import * as Scripted from "./fixtures/scripted.ts"

const { binary, bytes, close, continuation, encode, ping, pong, reasonOf, roles, settled, text } = Scripted

const sender = (role: Scripted.Role): Scripted.Role => role === "client" ? "server" : "client"

/** A clock that tells how many sleep on it. */
const countingClock = Effect.map(Clock.Clock, (clock) => {
  const counts = { sleeping: 0, slept: 0 }
  const counting: Clock.Clock = Object.assign(Object.create(clock), {
    sleep: (duration: Duration.Duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          counts.sleeping++
          counts.slept++
        }),
        () => clock.sleep(duration),
        () => Effect.sync(() => counts.sleeping--)
      )
  })
  return { counts, clock: counting }
})

describe("Deadlines", () => {
  const open = Effect.map(countingClock, ({ clock, counts }) => {
    const deadlines = new Deadlines(clock)
    const log: Array<string> = []
    const schedule = (name: string, delay: number) => deadlines.schedule(delay, () => log.push(name), Context.empty())
    return {
      deadlines,
      log,
      schedule,
      counts,
      cancel: (it: ReturnType<typeof schedule>) => deadlines.cancel(it, Context.empty())
    }
  })

  it.effect("come due whatever the fraction of a millisecond they were set at", () =>
    VirtualTime.run(
      Effect.gen(function*() {
        const deadlines = new Deadlines(yield* Clock.Clock)
        for (let nanos = 1; nanos <= 1000; nanos++) {
          yield* Effect.sleep(Duration.nanos(BigInt(nanos)))
          const due = yield* Deferred.make<void>()
          deadlines.schedule(5000, () => Deferred.doneUnsafe(due, Exit.void), Context.empty())
          yield* Deferred.await(due)
        }
      }),
      { maxTime: "2 hours", maxSteps: 100_000 }
    ))

  it.effect("run at their time, in order, whatever the order they were set in", () =>
    Effect.gen(function*() {
      const { deadlines, log, schedule } = yield* open
      for (const delay of [50, 10, 40, 20, 30, 20]) schedule(String(delay), delay)
      yield* TestClock.adjust(9)
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(log, ["10"])
      yield* TestClock.adjust(30)
      assert.deepStrictEqual(log, ["10", "20", "20", "30", "40"])
      assert.strictEqual(deadlines.size, 1)
      yield* TestClock.adjust(10)
      assert.strictEqual(deadlines.size, 0)
    }))

  it.effect("agree with a sorted list over a thousand random steps", () =>
    Effect.gen(function*() {
      const { cancel, deadlines, log, schedule } = yield* open
      // A linear congruence: the same steps every time.
      let seed = 1
      const random = (below: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below
      let model: Array<{ readonly at: number; readonly name: string; readonly entry: ReturnType<typeof schedule> }> = []
      let now = 0
      for (let step = 0; step < 1000; step++) {
        const choice = random(10)
        if (choice < 6) {
          const delay = 1 + random(500)
          model.push({ at: now + delay, name: String(now + delay), entry: schedule(String(now + delay), delay) })
        } else if (choice < 8 && model.length > 0) {
          const [gone] = model.splice(random(model.length), 1)
          cancel(gone!.entry)
          cancel(gone!.entry)
        } else {
          now += random(60)
          yield* TestClock.setTime(now)
          const due = model.filter(({ at }) => at <= now).toSorted((a, b) => a.at - b.at)
          model = model.filter(({ at }) => at > now)
          assert.deepStrictEqual(log.splice(0), due.map(({ name }) => name))
        }
        assert.strictEqual(deadlines.size, model.length)
      }
    }))

  it.effect("one sleeps for all, anew for an earlier one only, and none for none", () =>
    Effect.gen(function*() {
      const { cancel, counts, schedule } = yield* open
      const late = schedule("late", 100)
      schedule("later", 200)
      yield* settled
      assert.deepStrictEqual(counts, { sleeping: 1, slept: 1 })
      schedule("early", 50)
      yield* settled
      assert.deepStrictEqual(counts, { sleeping: 1, slept: 2 })
      cancel(late)
      yield* TestClock.adjust(200)
      yield* settled
      assert.strictEqual(counts.sleeping, 0)
      cancel(schedule("never", 10))
      yield* settled
      assert.strictEqual(counts.sleeping, 0)
    }))

  it.effect("what comes due may set and cancel others, and what throws takes nobody along", () =>
    Effect.gen(function*() {
      const { cancel, deadlines, log, schedule } = yield* open
      const victim = schedule("victim", 10)
      deadlines.schedule(5, () => {
        cancel(victim)
        schedule("child", 0)
      }, Context.empty())
      deadlines.schedule(5, () => {
        throw new Error("on purpose")
      }, Context.empty())
      schedule("other", 5)
      yield* TestClock.adjust(20)
      assert.sameMembers(log, ["child", "other"])
      assert.strictEqual(deadlines.size, 0)
    }))

  it.effect("what sets itself again for at once waits a millisecond", () =>
    Effect.gen(function*() {
      const { deadlines } = yield* open
      let runs = 0
      const again = () => {
        if (++runs < 100) deadlines.schedule(0, again, Context.empty())
      }
      deadlines.schedule(5, again, Context.empty())
      yield* TestClock.adjust(10)
      assert.strictEqual(runs, 6)
      yield* TestClock.adjust(100)
      assert.strictEqual(deadlines.size, 0)
    }))

  it.effect("do not follow a change of the date", () =>
    Effect.gen(function*() {
      const { clock } = yield* countingClock
      const jumping: Clock.Clock = Object.assign(Object.create(clock), { currentTimeMillisUnsafe: () => 1e12 })
      assert.strictEqual(new Deadlines(jumping).now, 0)
    }))

  it.effect("an alarm is set at most once, and not for ever", () =>
    Effect.gen(function*() {
      const { deadlines } = yield* open
      const log: Array<string> = []
      const alarm = new Alarm(deadlines, Context.empty())
      alarm.set(10, () => log.push("first"))
      alarm.set(20, () => log.push("second"))
      assert.strictEqual(deadlines.size, 1)
      assert.strictEqual(alarm.left, 20)
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(log, ["second"])
      assert.isUndefined(alarm.left)
      alarm.set(Infinity, () => log.push("never"))
      assert.strictEqual(deadlines.size, 0)
    }))
})

describe("ten thousand idle connections", () => {
  const link: Link = {
    pull: Effect.never,
    writer: { write: () => Effect.void, writeAll: () => Effect.void, offerUnsafe: () => true },
    listen: () => {},
    whenReady: () => false,
    peerAddress: undefined,
    halfClose: Effect.void,
    release: Effect.void,
    abort: Effect.void
  }
  const head = { version: "HTTP/1.1", headers: [] }
  const options: Driver.Options = {
    role: "server",
    link,
    handshake: {
      request: { ...head, method: "GET", target: "/" },
      response: { ...head, status: 101, reason: "" },
      subprotocol: undefined,
      extensions: [],
      peerAddress: undefined
    },
    config: { ...WebSocketConfig.defaults, messageTimeout: "1 minute" },
    leftover: new Uint8Array(0)
  }

  it.effect("hold one sleeping fiber, and none when they are closed", () =>
    Effect.gen(function*() {
      const { clock, counts } = yield* countingClock
      const deadlines = deadlinesOf(clock)
      const scope = yield* Scope.make("parallel")
      yield* Effect.replicateEffect(Driver.make(options), 10_000, { discard: true }).pipe(
        Scope.provide(scope),
        Effect.provideService(Clock.Clock, clock)
      )
      yield* settled
      // the earlier of idle and keep-alive
      assert.strictEqual(deadlines.size, 10_000)
      assert.strictEqual(counts.sleeping, 1)
      assert.isAtMost(counts.slept, 2)
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual(deadlines.size, 10_000)
      assert.strictEqual(counts.sleeping, 1)
      assert.isAtMost(counts.slept, 4)
      const leaving = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(leaving)
      assert.strictEqual(deadlines.size, 0)
      assert.strictEqual(counts.sleeping, 0)
    }))
})

describe("handshakeTimeout", () => {
  const config = { handshakeTimeout: 1000, closeTimeout: 300 }

  const asClient = Effect.fnUntraced(function*(options?: MemoryTransport.Options) {
    const [own, other] = yield* MemoryTransport.makePair(options)
    const connecting = yield* WebSocketClient.connect({ url: "ws://h/", config }).pipe(
      Effect.provideService(Transport.Transport, own),
      Effect.flip,
      Effect.forkChild
    )
    return { connecting, peer: yield* Scripted.open("server", other) }
  })

  const asServer = Effect.fnUntraced(
    function*(accept?: WebSocketServer.AcceptOptions["accept"], options?: MemoryTransport.Options) {
      const [other, own] = yield* MemoryTransport.makePair(options)
      const connecting = yield* WebSocketServer.accept({ config, accept }).pipe(
        Effect.provideService(Transport.Transport, own),
        Effect.flip,
        Effect.forkChild
      )
      const peer = yield* Scripted.open("client", other)
      return { connecting, peer, answer: yield* Effect.forkChild(Scripted.takeHead(peer)) }
    }
  )

  it.effect("a client gives up a server that is silent, at the time and not before", () =>
    Effect.gen(function*() {
      const { connecting } = yield* asClient()
      yield* TestClock.adjust(999)
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepInclude({ ...(yield* Fiber.join(connecting)).reason }, { timeout: 1000 })
    }))

  it.effect("a client gives up a server that answers byte by byte", () =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* asClient()
      for (const byte of bytes("HTTP/1.1 101 Switching")) {
        yield* peer.send(Uint8Array.of(byte))
        yield* TestClock.adjust(45)
      }
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust(10)
      assert.strictEqual((yield* Fiber.join(connecting)).reason._tag, "HandshakeTimeout")
    }))

  it.effect("a client gives up a server that does not take the request, and one that is not reached", () =>
    Effect.gen(function*() {
      const { connecting } = yield* asClient({ capacity: 10 })
      const unreachable = Transport.make(Effect.never)
      const dialing = yield* WebSocketClient.connect({ url: "ws://h/", config }).pipe(
        Effect.provideService(Transport.Transport, unreachable),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust(1000)
      assert.strictEqual((yield* Fiber.join(connecting)).reason._tag, "HandshakeTimeout")
      assert.strictEqual((yield* Fiber.join(dialing)).reason._tag, "HandshakeTimeout")
    }))

  it.effect("a client waits closeTimeout for a refusal's body, and gives what there is", () =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* asClient()
      yield* TestClock.adjust(900)
      yield* peer.send(bytes("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno"))
      yield* TestClock.adjust(299)
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust(1)
      const { reason } = yield* Fiber.join(connecting)
      assert.deepInclude({ ...reason }, { status: 403, body: bytes("no") })
    }))

  it.effect("a server answers 408 to a client that is silent or slow, and waits closeTimeout for it to go", () =>
    Effect.gen(function*() {
      for (const slowly of [[], ["GET / HT", "TP/1.1\r\n", "Host: h\r\n"]]) {
        const { answer, connecting, peer } = yield* asServer()
        for (const part of slowly) {
          yield* peer.send(bytes(part))
          yield* TestClock.adjust(300)
        }
        yield* TestClock.adjust(999 - 300 * slowly.length)
        assert.isUndefined(answer.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.include((yield* Fiber.join(answer)).head, "HTTP/1.1 408 Request Timeout\r\n")
        yield* TestClock.adjust(299)
        assert.isUndefined(connecting.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(connecting)).reason._tag, "HandshakeTimeout")
      }
    }))

  it.effect("an accept that takes too long is interrupted", () =>
    Effect.gen(function*() {
      let interrupted = false
      const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true))
      const { answer, connecting, peer } = yield* asServer(() => slow)
      yield* peer.send(bytes(Scripted.requestHead()))
      yield* TestClock.adjust(1000)
      assert.include((yield* Fiber.join(answer)).head, " 408 ")
      assert.isTrue(interrupted)
      yield* peer.leave
      assert.strictEqual((yield* Fiber.join(connecting)).reason._tag, "HandshakeTimeout")
    }))

  it.effect("a client that does not take the response is given up, and told nothing else", () =>
    Effect.gen(function*() {
      const { answer, connecting, peer } = yield* asServer(undefined, { serverToClient: { capacity: 20 } })
      yield* Fiber.interrupt(answer)
      yield* peer.send(bytes(Scripted.requestHead()))
      yield* TestClock.adjust(999)
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(connecting)).reason._tag, "HandshakeTimeout")
      assert.deepStrictEqual((yield* peer.pull).map((chunk) => new TextDecoder().decode(chunk)), [
        "HTTP/1.1 101 Switchi"
      ])
    }))

  it.effect("infinite, it never comes", () =>
    Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const connecting = yield* WebSocketClient.connect({
        url: "ws://h/",
        config: { handshakeTimeout: Duration.infinity }
      })
        .pipe(Effect.provideService(Transport.Transport, own), Effect.forkChild)
      const peer = yield* Scripted.open("server", other)
      const { head } = yield* Scripted.takeHead(peer)
      yield* TestClock.adjust("365 days")
      yield* peer.send(bytes(Scripted.responseHead(head)))
      assert.strictEqual((yield* Fiber.join(connecting)).role, "client")
      yield* peer.end
    }))
})

describe.each(roles)("idleTimeout of a %s", (role) => {
  const config = { idleTimeout: 1000, keepAlive: "off" } as const

  it.effect("fails reads at its time and not before, with 1001 to the peer", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      const reading = yield* Effect.forkChild(reasonOf(stream.read))
      yield* TestClock.adjust(999)
      assert.isUndefined(reading.pollUnsafe())
      yield* TestClock.adjust(1)
      const reason = yield* Fiber.join(reading)
      assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "IdleTimeout", timeout: 1000 })
      assert.strictEqual(yield* peer.next, "close 1001 idle")
      yield* peer.end
      assert.deepInclude({ ...(yield* stream.closed) }, { code: 1006, initiator: "local" })
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  const frame = encode(sender(role), text("hello"))
  it.effect.each(
    [
      ["a message", [text("x")]],
      ["a fragment", [text("x", false)]],
      ["a ping", [ping()]],
      ["a pong", [pong()]],
      ["one byte of a frame's header", [frame.subarray(0, 1)]],
      ["a byte in the middle of a frame", [frame.subarray(0, 7)]]
    ] as const
  )("%s postpones it", ([_, frames]) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      yield* TestClock.adjust(600)
      yield* peer.send(...frames)
      yield* TestClock.adjust(999)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closing")
    }))

  it.effect("what this side writes does not postpone it", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      yield* TestClock.adjust(999)
      yield* stream.write("x")
      yield* stream.pong()
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* peer.take(3), ["text x", "pong", "close 1001 idle"])
    }))

  it.effect("time in which nobody reads, and so the transport is not read, does not count", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { ...config, readBuffer: 1 } })
      yield* peer.send(text("a"))
      yield* settled
      yield* TestClock.adjust(10_500)
      assert.strictEqual(yield* stream.read, "a")
      yield* settled
      yield* TestClock.adjust(999)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closing")
    }))

  it.effect(`is ${role === "server" ? "300 seconds" : "off"} by default, and infinite is off`, () =>
    Effect.gen(function*() {
      const off = yield* Scripted.connect(role, { config: { idleTimeout: Duration.infinity, keepAlive: "off" } })
      const byDefault = yield* Scripted.connect(role, { config: { keepAlive: "off" } })
      yield* TestClock.adjust(299_999)
      assert.strictEqual(yield* byDefault.stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* byDefault.stream.state, role === "server" ? "Closing" : "Open")
      yield* byDefault.peer.end
      yield* TestClock.adjust("365 days")
      assert.strictEqual(yield* off.stream.state, "Open")
      yield* off.peer.end
    }))

  it.effect("does not come while closing", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      const closing = yield* Effect.forkChild(stream.close(), { startImmediately: true })
      yield* TestClock.adjust(2000)
      yield* peer.send(close(1000))
      yield* peer.end
      assert.isTrue((yield* Fiber.join(closing)).clean)
    }))
})

describe.each(roles)("messageTimeout of a %s", (role) => {
  const config = { messageTimeout: 1000, keepAlive: "off" } as const

  it.effect("fails a message that takes longer, from its first byte on, with 1008", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      yield* peer.send(text("slow", false))
      yield* TestClock.adjust(600)
      yield* peer.send(continuation("ly", false), ping())
      yield* TestClock.adjust(399)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* peer.take(2), ["pong", "close 1008 message timeout"])
      const reason = yield* reasonOf(stream.read)
      assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "MessageTimeout", timeout: 1000 })
      yield* peer.end
      yield* stream.closed
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("counts from a header that comes without its payload", () =>
    Effect.gen(function*() {
      for (const frame of [text("x"), binary(new Uint8Array(1))]) {
        const { peer, stream } = yield* Scripted.connect(role, { config })
        yield* peer.send(encode(peer.role, frame).subarray(0, -1))
        yield* settled
        yield* TestClock.adjust(999)
        assert.strictEqual(yield* stream.state, "Open")
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* stream.state, "Closing")
      }
    }))

  it.effect("a message that ends in time is left alone, and the next has its own time", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config })
      yield* peer.send(text("a", false))
      yield* settled
      yield* TestClock.adjust(900)
      // the end of one message and the beginning of another in one chunk
      yield* peer.send(continuation("b"), text("c", false))
      yield* settled
      yield* TestClock.adjust(999)
      yield* peer.send(continuation("d"))
      yield* settled
      yield* TestClock.adjust(5000)
      assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["ab", "cd"])
      assert.strictEqual(yield* stream.state, "Open")
    }))

  it.effect("time in which the transport is not read does not count", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { ...config, readBuffer: 2000 } })
      yield* peer.send(text("a", false))
      yield* settled
      yield* TestClock.adjust(400)
      // the inbox is full from here on
      yield* peer.send(continuation("b".repeat(3000), false))
      yield* settled
      yield* TestClock.adjust(10_000)
      yield* stream.readSome
      yield* stream.readSome
      yield* TestClock.adjust(599)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stream.state, "Closing")
    }))

  it.effect("is off by default", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { keepAlive: "off", idleTimeout: Duration.infinity }
      })
      yield* peer.send(text("a", false))
      yield* settled
      yield* TestClock.adjust("365 days")
      yield* peer.send(continuation("b"))
      assert.strictEqual(yield* stream.read, "ab")
    }))
})

describe.each(roles)("interrupted operations of a %s", (role) => {
  it.effect("leave no deadline behind, and no fiber asleep", () =>
    Effect.gen(function*() {
      const { counts, clock } = yield* countingClock
      const { peer, scope, stream } = yield* Effect.provideService(Scripted.connect(role), Clock.Clock, clock)
      for (const operation of [stream.read, stream.ping(), stream.close(), stream.closed]) {
        yield* Fiber.interrupt(yield* Effect.forkChild(Effect.ignore(operation), { startImmediately: true }))
      }
      yield* peer.send(close(1000))
      yield* peer.end
      yield* stream.closed
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(deadlinesOf(clock).size, 0)
      assert.strictEqual(counts.sleeping, 0)
    }))
})

describe.each(roles)("the deadlines of one open connection of a %s", (role) => {
  it.effect("are one, and each comes in its time", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { idleTimeout: 10_000, keepAlive: { interval: 3000, misses: 100 }, messageTimeout: 4000 }
      })
      assert.strictEqual(yield* Scripted.deadlines, 1)
      yield* TestClock.adjust(2999)
      assert.deepStrictEqual(peer.seen, [])
      yield* TestClock.adjust(1)
      assert.strictEqual(peer.seen.length, 1)
      assert.match(peer.seen[0]!, /^ping/)

      yield* peer.send(text("begun", false))
      yield* settled
      assert.strictEqual(yield* Scripted.deadlines, 1)
      yield* TestClock.adjust(2999)
      assert.strictEqual(peer.seen.length, 1, "what comes sooner has not put off the ping")
      yield* peer.send(continuation(" and ended"))
      yield* settled
      yield* TestClock.adjust(1)
      assert.strictEqual(peer.seen.length, 2)
      assert.strictEqual(yield* stream.read, "begun and ended")

      yield* TestClock.adjust(9998)
      assert.strictEqual(yield* stream.state, "Open", "the message that ended is not late, and the peer is not idle")
      assert.strictEqual(yield* Scripted.deadlines, 1)
      const reading = yield* Effect.forkChild(reasonOf(stream.read))
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(reading))._tag, "IdleTimeout")
      yield* peer.destroy
      yield* stream.closed
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("a message that is late ends it before the peer is idle", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, {
        config: { idleTimeout: 10_000, keepAlive: { interval: 9000, misses: 100 }, messageTimeout: 4000 }
      })
      yield* TestClock.adjust(500)
      yield* peer.send(text("begun", false))
      yield* settled
      yield* TestClock.adjust(3999)
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust(1)
      assert.strictEqual(
        (yield* reasonOf(stream.readSome.pipe(Effect.andThen(stream.readSome))))._tag,
        "MessageTimeout"
      )
      yield* peer.destroy
      yield* stream.closed
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))
})
