import { Connection } from "@effect-websocket/protocol/Connection"
import { assert, describe, it } from "@effect/vitest"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import type { ReadError } from "effect-websocket/WebSocketError"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { everyStep, type Fork, injections } from "./fixtures/steps.ts"
import {
  binary,
  concat,
  connected,
  more,
  otherRole,
  pattern,
  type Peer,
  pong,
  type Role,
  roles,
  scripted,
  type Service,
  settle,
  text,
  utf8,
  type Wire
} from "./fixtures/streams.ts"

const forEachStep = <E>(
  name: string,
  scenario: (role: Role) => (fork: Fork) => Effect.Effect<void, E, Scope.Scope>,
  atLeast: number
) =>
  it.effect(`${name}, at every step`, () =>
    Effect.gen(function*() {
      let steps = 0
      for (const role of roles) {
        for (const injection of injections) steps += yield* everyStep(scenario(role), injection)
      }
      assert.isAtLeast(steps, atLeast)
    }), 60_000)

/** The result of a fiber that needs no time and must not hang. */
const finish = Effect.fnUntraced(function*<A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let i = 0; i < 3000 && fiber.pollUnsafe() === undefined; i++) yield* Effect.yieldNow
  const exit = fiber.pollUnsafe()
  if (exit === undefined) return assert.fail("the fiber hangs")
  return exit
})

// With fewer it yields when its time is up and before it interrupts what it waited for, which may end in between.
const stepsOfTimeout = 4

describe("law: an interrupted read loses nothing", () => {
  const early = [text("a"), binary(utf8("b1"), false)]
  const late = [more("b2"), text("c", false), more("c2", false), more("c3"), text("d")]
  const all = "ab1b2cc2c3d"

  const joined = (pieces: ReadonlyArray<Payload>): string =>
    pieces.map((piece) => typeof piece === "string" ? piece : new TextDecoder().decode(piece)).join("")

  const views: Readonly<Record<string, (stream: Service) => Effect.Effect<ReadonlyArray<Payload>, ReadError>>> = {
    readSome: (stream) => Effect.map(stream.readSome, (part) => [part.data]),
    read: (stream) => Effect.map(stream.read, (message) => [message]),
    pull: (stream) => stream.pull
  }

  // What comes out of an interruptible read is noted where no interruption can come between.
  const noting = (read: Effect.Effect<ReadonlyArray<Payload>, ReadError>, noted: Array<Payload>) =>
    Effect.whileLoop({
      while: () => joined(noted) !== all,
      body: () =>
        Effect.uninterruptibleMask((restore) =>
          Effect.map(restore(read), (pieces) => {
            noted.push(...pieces)
          })
        ),
      step: () => {}
    })

  for (const [name, view] of Object.entries(views)) {
    forEachStep(`${name} in a loop`, (role) => (fork) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* scripted(role, { config: { readBuffer: 4 } })
        const noted: Array<Payload> = []
        yield* peer.send(...early)
        yield* settle
        const reading = yield* fork(noting(view(stream), noted))
        yield* settle
        yield* peer.send(...late)
        yield* settle
        yield* Fiber.await(reading)
        yield* noting(view(stream), noted)
        assert.strictEqual(joined(noted), all)
      }), 40)
  }

  forEachStep("a read behind another reader, which then goes on", (role) => (fork) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role)
      const first = yield* Effect.forkChild(stream.read, { startImmediately: true })
      const second = yield* fork(stream.read)
      const third = yield* Effect.forkChild(stream.read, { startImmediately: true })
      yield* peer.send(text("a"), text("b"), text("c"))
      const exits = yield* Effect.forEach([first, second, third], finish)
      const read = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
      assert.strictEqual(read[0], "a")
      while (read.length < 3) read.push(yield* stream.read)
      assert.deepStrictEqual(read.toSorted(), ["a", "b", "c"])
    }), 3)

  it.effect(
    "messages that are all there, read in one run, interrupted in every yield at every alignment of it",
    () =>
      Effect.gen(function*() {
        const messages = Array.from({ length: 40 }, (_, i) => `${i}`)
        let steps = 0
        for (let padding = 0; padding < 32; padding++) {
          steps += yield* everyStep((fork) =>
            Effect.gen(function*() {
              const { peer, stream } = yield* scripted("client")
              yield* peer.send(...messages.map((message) => text(message)))
              yield* settle
              const noted: Array<Payload> = []
              const one = Effect.uninterruptibleMask((restore) =>
                Effect.map(restore(stream.read), (message) => {
                  noted.push(message)
                })
              )
              const reading = yield* fork(Effect.andThen(
                Effect.forEach(Array.from({ length: padding }), () => Effect.void),
                Effect.whileLoop({ while: () => noted.length < 40, body: () => one, step: () => {} })
              ))
              yield* Fiber.await(reading)
              while (noted.length < 40) yield* one
              assert.deepStrictEqual(noted, messages)
            }), { operations: 64 })
        }
        assert.isAtLeast(steps, 100)
      }),
    60_000
  )

  forEachStep(
    "a read of parts before one of a whole message longer than readBuffer",
    (role) => (fork) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* scripted(role, { config: { readBuffer: 100 }, transport: { capacity: 300 } })
        const part = yield* fork(stream.readSome)
        const whole = yield* Effect.forkChild(stream.read, { startImmediately: true })
        yield* Effect.forkChild(peer.send(binary(pattern(3000))))
        const rest = yield* finish(whole)
        // Where it came to the queue too late there is nothing left for it.
        yield* Fiber.interrupt(part)
        const first = yield* finish(part)
        const read: ReadonlyArray<Payload> = [
          ...(Exit.isSuccess(first) ? [first.value.data] : []),
          ...(Exit.isSuccess(rest) ? [rest.value] : [])
        ]
        assert.strictEqual(read.reduce((sum, bytes) => sum + bytes.length, 0), 3000)
      }),
    10
  )

  it.effect("Effect.timeout around reads of every kind, at every time", () =>
    Effect.gen(function*() {
      for (const [name, view] of Object.entries(views)) {
        for (let timeout = 1; timeout <= 12; timeout++) {
          const { client, server } = yield* connected({
            transport: { latency: "5 millis", bandwidth: 1500, chunkSize: 3 },
            config: { fragmentSize: 4 }
          })
          const noted: Array<Payload> = []
          let timeouts = 0
          const reading = yield* Effect.forkChild(Effect.repeat(
            Effect.map(Effect.timeoutOption(view(server), timeout), (pieces) => {
              if (Option.isSome(pieces)) noted.push(...pieces.value)
              else timeouts++
            }),
            { until: () => joined(noted) === "0123456789abcdefghij" }
          ))
          for (const message of ["01234567", utf8("89abcd"), "efgh", "ij"]) yield* client.write(message)
          yield* TestClock.adjust("200 millis")
          assert.isDefined(reading.pollUnsafe(), `${name} ${timeout} ${joined(noted)}`)
          if (timeout < 5) assert.isAbove(timeouts, 0)
        }
      }
    }).pipe(Effect.scoped))

  it.effect("Effect.timeout around reads, wherever fibers yield that take as many steps in a turn as it does", () => {
    const scenario = Effect.gen(function*() {
      const { client, server } = yield* connected()
      const messages = Array.from({ length: 30 }, (_, index) => `${index}`)
      yield* Effect.forkChild(
        Effect.forEach(messages, (message) => Effect.andThen(Effect.sleep(1), client.write(message)))
      )
      const noted: Array<Payload> = []
      while (noted.at(-1) !== "29") {
        const message = yield* Effect.timeoutOption(server.read, 1 + (noted.length % 2))
        if (Option.isSome(message)) noted.push(message.value)
      }
      assert.deepStrictEqual(noted, messages)
    }).pipe(Effect.scoped)
    return Effect.forEach(
      Array.from({ length: 1200 }, (_, seed) => seed),
      (seed) => {
        const yielding = Effect.provideService(scenario, Scheduler.MaxOpsBeforeYield, stepsOfTimeout + (seed % 2))
        return VirtualTime.run(yielding, { seed, interleave: true, promises: false })
      },
      { discard: true }
    )
  }, 60_000)

  it.effect.prop(
    "readers that come and go, and one that stays",
    { patience: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 }))) },
    Effect.fnUntraced(function*({ patience }) {
      const { client, server } = yield* connected({
        transport: { capacity: 10, chunkSize: 3 },
        config: { fragmentSize: 2 }
      })
      const messages = Array.from({ length: 20 }, (_, i) => `message ${i}`)
      yield* Effect.forkChild(Effect.forEach(messages, (message) => client.write(message)))
      const noted: Array<Payload> = []
      const read = Effect.uninterruptibleMask((restore) =>
        Effect.map(restore(server.read), (message) => {
          noted.push(message)
        })
      )
      for (const turns of patience) {
        const reading = yield* Effect.forkChild(read, { startImmediately: true })
        yield* Effect.repeat(Effect.yieldNow, { times: turns })
        yield* Fiber.interrupt(reading)
        if (noted.length === messages.length) return
      }
      yield* Effect.repeat(read, { until: () => noted.length === messages.length })
      assert.deepStrictEqual(noted, messages)
    }, Effect.scoped)
  )
})

/** Takes all that comes, as the other end of the connection would. */
const watch = Effect.fnUntraced(function*(role: Role, peer: Peer) {
  const connection = new Connection({
    role: otherRole(role),
    maxMessageSize: 1 << 20,
    maxFragments: 1000,
    maskingKey: () => 0
  })
  const messages: Array<string> = []
  let parts: Array<Uint8Array> = []
  let violation: string | undefined
  let pings = 0
  const take = Effect.map(peer.pull, (bytes) => {
    for (const event of connection.receive(bytes.slice()).events) {
      if (event._tag === "Violation") violation = event.error.rule
      if (event._tag === "Ping") pings++
      if (event._tag !== "Part") continue
      parts.push(typeof event.part.data === "string" ? utf8(event.part.data) : event.part.data.slice())
      if (!event.part.fin) continue
      messages.push(Buffer.from(concat(...parts)).toString("latin1"))
      parts = []
    }
  })
  yield* Effect.forkChild(Effect.forever(take))
  return {
    messages,
    get violation() {
      return violation
    },
    get open() {
      return parts.length > 0 || connection.receiving
    },
    get pings() {
      return pings
    }
  }
})

describe("law: an interrupted write leaves the wire legal and the lock free", () => {
  const big = Buffer.from(pattern(60)).toString("latin1")
  const bytes = pattern(60)

  const writes: Readonly<
    Record<string, {
      readonly write: (stream: Service) => Effect.Effect<unknown, unknown>
      /** The messages that it sends, of which any number may have arrived. */
      readonly sent: ReadonlyArray<string>
      /** What the next write may fail with. */
      readonly after: ReadonlyArray<string>
    }>
  > = {
    "write of a short message": { write: (stream) => stream.write("short"), sent: ["short"], after: [] },
    "write of a long message": { write: (stream) => stream.write(bytes), sent: [big], after: ["MessageAborted"] },
    "writeAll": {
      write: (stream) => stream.writeAll(["a", bytes, "b", bytes]),
      sent: ["a", big, "b", big],
      after: ["MessageAborted"]
    },
    "writeSome": {
      write: (stream) =>
        Effect.andThen(
          stream.writeSome(false, "first "),
          Effect.andThen(
            stream.writeSome(false, bytes, { type: "text" }).pipe(Effect.ignore),
            stream.writeSome(true, "last")
          )
        ),
      sent: ["first last"],
      after: ["MessageAborted"]
    },
    "writeSome in parts longer than a fragment": {
      write: (stream) => Effect.andThen(stream.writeSome(false, bytes), stream.writeSome(true, bytes)),
      sent: [big + big],
      after: ["MessageAborted"]
    },
    "message": {
      write: (stream) =>
        Effect.scoped(Effect.gen(function*() {
          const message = yield* stream.message("binary")
          yield* message.write(bytes)
          yield* message.finish(bytes)
        })),
      sent: [big + big],
      after: ["MessageAborted", "ConnectionClosed"]
    },
    "writeStream": {
      write: (stream) => stream.writeStream("binary", Stream.make(bytes, utf8("end"))),
      sent: [`${big}end`],
      after: ["MessageAborted", "ConnectionClosed"]
    },
    "sink": {
      write: (stream) => Stream.run(Stream.make<[Payload, Payload]>("a", bytes), stream.sink()),
      sent: ["a", big],
      after: ["MessageAborted"]
    },
    "pong": { write: (stream) => stream.pong(utf8("x")), sent: [], after: [] },
    "ping": { write: (stream) => stream.ping(utf8("x")), sent: [], after: [] }
  }

  const config = { fragmentSize: 8 }
  const transport = { capacity: 200, clientToServer: { capacity: 20 }, serverToClient: { capacity: 20 } }
  // The handshake needs its room.
  const roomy = (role: Role) => ({
    config,
    transport: role === "client"
      ? { ...transport, clientToServer: { capacity: 20 } }
      : { ...transport, serverToClient: { capacity: 20 } }
  })

  for (const [name, { after, sent, write }] of Object.entries(writes)) {
    forEachStep(`${name}, then the write of another fiber`, (role) => (fork) =>
      Effect.gen(function*() {
        const { peer, stream } = yield* scripted(role, roomy(role))
        const watched = yield* watch(role, peer)
        const writing = yield* fork(write(stream))
        if (name === "ping") {
          yield* settle
          yield* peer.send(pong("x"))
        }
        const ended = yield* finish(writing)
        const other = yield* Effect.forkChild(Effect.flip(Effect.flip(stream.write("after"))), {
          startImmediately: true
        })
        const next = yield* finish(other)
        yield* settle
        assert.isUndefined(watched.violation)
        const expected = Exit.isSuccess(ended) ? sent : sent.slice(0, watched.messages.length)
        if (Exit.isSuccess(next)) {
          assert.strictEqual(watched.messages.at(-1), "after")
          assert.isFalse(watched.open)
          assert.deepStrictEqual(watched.messages.slice(0, -1), expected.slice(0, watched.messages.length - 1))
        } else {
          assert.deepStrictEqual(watched.messages, expected)
          const error = Exit.findErrorOption(next)
          assert.include(after, Option.isSome(error) ? error.value.reason._tag : "none")
        }
        if (Exit.isSuccess(ended)) assert.isTrue(Exit.isSuccess(next))
      }), 5)
  }

  forEachStep("a write that waits for its turn", (role) => (fork) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role, { config: { maxQueuedBytes: 12 } })
      const watched = yield* watch(role, peer)
      yield* stream.writeSome(false, "open ")
      const waiting = yield* fork(stream.write("waiting"))
      yield* settle
      yield* stream.writeSome(true, "done")
      const ended = yield* finish(waiting)
      // Its bytes do not count any more, and its permit is given back.
      yield* stream.writeSome(false, "x")
      const third = yield* Effect.forkChild(stream.write("0123456789ab"), { startImmediately: true })
      yield* stream.writeSome(true, "")
      assert.isTrue(Exit.isSuccess(yield* finish(third)))
      yield* settle
      assert.isUndefined(watched.violation)
      assert.deepStrictEqual(watched.messages, [
        "open done",
        ...(watched.messages.includes("waiting") ? ["waiting"] : []),
        "x",
        "0123456789ab"
      ])
      if (Exit.isSuccess(ended)) assert.include(watched.messages, "waiting")
    }), 8)

  // Once it has begun it belongs to its scope.
  forEachStep("a message that waits for its turn, whose scope then closes", (role) => (fork) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role)
      const watched = yield* watch(role, peer)
      const scope = yield* Scope.make()
      yield* stream.writeSome(false, "open ")
      const waiting = yield* fork(Scope.provide(stream.message("text"), scope))
      yield* settle
      yield* stream.writeSome(true, "done")
      const ended = yield* finish(waiting)
      if (Exit.isSuccess(ended)) yield* ended.value.finish("theirs")
      yield* Scope.close(scope, Exit.void)
      const third = yield* Effect.forkChild(stream.write("last"), { startImmediately: true })
      assert.isTrue(Exit.isSuccess(yield* finish(third)))
      yield* settle
      assert.deepStrictEqual(watched.messages, ["open done", ...(Exit.isSuccess(ended) ? ["theirs"] : []), "last"])
    }), 100)

  it.effect("a message interrupted while it waits for its turn gives way, though its scope goes on", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client")
      yield* stream.writeSome(false, "open ")
      const scope = yield* Effect.scope
      const waiting = yield* Effect.forkChild(Scope.provide(stream.message("text"), scope), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      const third = yield* Effect.forkChild(stream.write("last"), { startImmediately: true })
      yield* stream.writeSome(true, "done")
      yield* Fiber.join(third)
      assert.deepStrictEqual(yield* peer.expect(3), [text("open ", false), more("done"), text("last")])
    }))

  it.effect("interrupted before its first byte is handed over, a write leaves nothing on the wire", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { transport: { capacity: 300 } })
      // A message that fills the transport: the next one waits behind it.
      const first = yield* Effect.forkChild(stream.write(pattern(400)), { startImmediately: true })
      const second = yield* Effect.forkChild(stream.write("never"), { startImmediately: true })
      const third = yield* Effect.forkChild(stream.write("third"), { startImmediately: true })
      yield* settle
      yield* Fiber.interrupt(second)
      assert.deepStrictEqual(yield* peer.expect(2), [binary(pattern(400)), text("third")])
      yield* Fiber.joinAll([first, third])
    }))

  it.effect("interrupted between fragments, a write ends its fragment and no data follows", () =>
    Effect.gen(function*() {
      const { peer, stream, watched } = yield* scripted("client", {
        transport: { capacity: 300 },
        config: { fragmentSize: 200 }
      })
      const writing = yield* Effect.forkChild(stream.write(pattern(1000)), { startImmediately: true })
      yield* settle
      yield* Fiber.interrupt(writing)
      const waiting = yield* Effect.forkChild(Effect.flip(stream.write("no")), { startImmediately: true })
      const pinging = yield* Effect.forkChild(stream.ping(utf8("x")), { startImmediately: true })
      const frames: ReadonlyArray<Wire> = yield* peer.expect(3)
      assert.deepStrictEqual(frames.map((frame) => frame.opcode), [2, 0, 9])
      assert.isFalse(frames[1]!.fin)
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "MessageAborted")
      yield* peer.send(pong("x"))
      yield* Fiber.join(pinging)
      assert.strictEqual(watched.writes.length, 3)
    }))

  it.effect("interrupted within a part, a MessageWriter's message is aborted at once, and its scope closes", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", {
        transport: { capacity: 300 },
        config: { fragmentSize: 200 }
      })
      const scope = yield* Scope.make()
      const message = yield* Scope.provide(stream.message("binary"), scope)
      const writing = yield* Effect.forkChild(message.write(pattern(1000)), { startImmediately: true })
      const waiting = yield* Effect.forkChild(Effect.flip(stream.write("no")), { startImmediately: true })
      yield* Fiber.interrupt(writing)
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "MessageAborted")
      assert.strictEqual((yield* Effect.flip(message.write(pattern(1)))).reason._tag, "MessageAborted")
      yield* Scope.close(scope, Exit.void)
      const frames = yield* peer.expect(3)
      assert.deepStrictEqual(frames.map((frame) => frame.opcode), [2, 0, 8])
      assert.strictEqual(frames[2]!.payload[1], 1001 & 0xff)
    }))

  it.effect("a scope that closes while a part of its message waits for the transport closes the connection", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { transport: { capacity: 300 } })
      const first = yield* Effect.forkChild(stream.pong(pattern(125)), { startImmediately: true })
      yield* Effect.forkChild(stream.pong(pattern(125)), { startImmediately: true })
      yield* Effect.forkChild(stream.pong(pattern(125)), { startImmediately: true })
      const scope = yield* Scope.make()
      const message = yield* Scope.provide(stream.message("binary"), scope)
      const writing = yield* Effect.forkChild(Effect.flip(message.write(pattern(10))), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(writing)).reason._tag, "ConnectionClosed")
      assert.deepStrictEqual((yield* peer.expect(4)).map((frame) => frame.opcode), [10, 10, 10, 8])
      yield* Fiber.join(first)
    }))

  it.effect("interrupted before it is sent, a part of a message leaves no trace in what the next may be", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", { transport: { capacity: 300 } })
      for (let i = 0; i < 3; i++) yield* Effect.forkChild(stream.pong(pattern(125)), { startImmediately: true })
      const message = yield* stream.message("text")
      const writing = yield* Effect.forkChild(message.write(utf8("€").subarray(0, 2)), { startImmediately: true })
      yield* Fiber.interrupt(writing)
      const finishing = yield* Effect.forkChild(message.finish("whole"), { startImmediately: true })
      assert.deepStrictEqual((yield* peer.expect(4))[3], text("whole"))
      yield* Fiber.join(finishing)
    }))

  it.effect("interrupted between the messages of writeAll, it leaves a whole message and others go on", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted("client", {
        transport: { capacity: 300 },
        config: { fragmentSize: 400 }
      })
      const writing = yield* Effect.forkChild(stream.writeAll([pattern(390), pattern(390), pattern(390)]), {
        startImmediately: true
      })
      yield* settle
      yield* Fiber.interrupt(writing)
      const next = yield* Effect.forkChild(stream.write("next"), { startImmediately: true })
      const frames = yield* peer.expect(2)
      assert.deepStrictEqual(frames, [binary(pattern(390)), text("next")])
      yield* Fiber.join(next)
    }))
})
