import { assert, describe, it } from "@effect/vitest"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as Ledger from "effect-websocket/testing/Ledger"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

const bytes = (from: number, to: number) => Uint8Array.from({ length: to - from }, (_, index) => from + index)

/** The ends of a connection whose client is wrapped. */
const openPair = Effect.fnUntraced(function*(plan: FaultTransport.Plan, options?: MemoryTransport.Options) {
  const [inner, server] = yield* MemoryTransport.makePair(options)
  const faults = FaultTransport.makeFaults(plan)
  const client = faults.wrap(inner)
  const end = Effect.fnUntraced(function*(connection: Transport.Connection) {
    const writer: Transport.Writer = yield* connection.writer
    return { pull: yield* Transport.readerBytes(connection), writer }
  })
  return { faults, client: yield* end(client), server: yield* end(server) }
})

const fault = (direction: "read" | "write", kind: FaultTransport.Kind, at: number): FaultTransport.Plan => ({
  bytes: [{ direction, kind, at }]
})

const readToEnd = Effect.fnUntraced(function*(pull: Transport.Endpoint["pull"]) {
  const seen: Array<number> = []
  while (true) {
    const result = yield* Effect.result(pull)
    if (result._tag === "Failure") return { seen: Uint8Array.from(seen), error: result.failure }
    for (const chunk of result.success) seen.push(...chunk)
  }
})

describe("FaultTransport", () => {
  describe("the contract, without a fault", () => {
    const wrapPair = Effect.map(MemoryTransport.makePair(), ([client, server]) => {
      const faults = FaultTransport.makeFaults({})
      return [faults.wrap(client), faults.wrap(server)] as const
    })
    for (const law of TransportContract.laws) {
      it.live(law.name, () => law.check(TransportContract.fromPair(wrapPair)))
    }
    const wrapClient = Effect.map(MemoryTransport.makeServer(), ({ client, server }) => ({
      client: FaultTransport.make(client, {}),
      server
    }))
    for (const law of TransportContract.dialingLaws) {
      it.live(law.name, () => law.check(TransportContract.fromServer(wrapClient)))
    }
  })

  describe("reading", () => {
    const kinds: ReadonlyArray<readonly [FaultTransport.Kind, Transport.End]> = [
      ["end", "PeerEnded"],
      ["cut", "Failed"]
    ]
    for (const [kind, end] of kinds) {
      it.effect(`${kind} lets exactly the bytes before it pass, wherever it is`, () =>
        Effect.gen(function*() {
          for (let at = 0; at <= 12; at++) {
            const { client, faults, server } = yield* openPair(fault("read", kind, at), { chunkSize: 5 })
            yield* server.writer.write(bytes(0, 12))
            const { error, seen } = yield* readToEnd(client.pull)
            assert.deepStrictEqual(seen, bytes(0, at))
            assert.strictEqual(Transport.endOf(error), end)
            assert.strictEqual(FaultTransport.isFault(error), kind === "cut")
            assert.isTrue(faults.fired())
          }
        }))
    }

    it.effect("reset takes along what its pull carried", () =>
      Effect.gen(function*() {
        const { client, server } = yield* openPair(fault("read", "reset", 9))
        yield* server.writer.write(bytes(0, 4))
        assert.deepStrictEqual(yield* client.pull, [bytes(0, 4)])
        yield* server.writer.writeAll([bytes(4, 8), bytes(8, 12)])
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(client.pull)))
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(client.writer.write("x"))))
        assert.strictEqual(Transport.endOf(yield* Effect.flip(server.pull)), "Failed")
      }))

    it.effect("corrupt changes one byte, and split ends a batch", () =>
      Effect.gen(function*() {
        const { client, server } = yield* openPair({
          bytes: [
            { direction: "read", kind: "split", at: 4 },
            { direction: "read", kind: "corrupt", at: 5, mask: 1 },
            { direction: "read", kind: "split", at: 6 },
            { direction: "read", kind: "split", at: 7 }
          ]
        })
        yield* server.writer.writeAll([bytes(0, 4), bytes(4, 8)])
        assert.deepStrictEqual(yield* client.pull, [bytes(0, 4)])
        assert.deepStrictEqual(yield* client.pull, [Uint8Array.of(4, 4)])
        assert.deepStrictEqual(yield* client.pull, [bytes(6, 7)])
        assert.deepStrictEqual(yield* client.pull, [bytes(7, 8)])
      }))

    it.effect("stall waits until the connection ends", () =>
      Effect.gen(function*() {
        const [inner, server] = yield* MemoryTransport.makePair()
        const scope = yield* Scope.make()
        const pull = yield* Scope.provide(
          Transport.readerBytes(FaultTransport.make(inner, fault("read", "stall", 3))),
          scope
        )
        const writer = yield* server.writer
        yield* writer.write(bytes(0, 6))
        assert.deepStrictEqual(yield* pull, [bytes(0, 3)])
        const stalled = yield* Effect.forkChild(Effect.flip(pull))
        const timeout = yield* Effect.forkChild(Effect.timeoutOption(pull, "1 hour"))
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* Fiber.join(timeout))._tag, "None")
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(Transport.endOf(yield* Fiber.join(stalled)), "Closed")
      }))
  })

  describe("writing", () => {
    for (const kind of ["end", "cut"] as const) {
      it.effect(`${kind} lets exactly the bytes before it reach the peer, wherever it is`, () =>
        Effect.gen(function*() {
          for (let at = 1; at <= 12; at++) {
            const { client, server } = yield* openPair(fault("write", kind, at))
            yield* Effect.ignore(client.writer.write(bytes(0, 7)))
            yield* Effect.ignore(client.writer.write(bytes(7, 12)))
            const { error, seen } = yield* readToEnd(server.pull)
            assert.deepStrictEqual(seen, bytes(0, at))
            assert.strictEqual(Transport.endOf(error), "PeerEnded")
            assert.isTrue(FaultTransport.isFault(yield* Effect.flip(client.writer.write("x"))))
          }
        }))
    }

    it.effect("reset lets no byte of its write pass", () =>
      Effect.gen(function*() {
        const { client, server } = yield* openPair(fault("write", "reset", 9))
        yield* client.writer.write(bytes(0, 4))
        assert.deepStrictEqual(yield* server.pull, [bytes(0, 4)])
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(client.writer.write(bytes(4, 12)))))
        assert.strictEqual(Transport.endOf(yield* Effect.flip(server.pull)), "Failed")
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(client.pull)))
      }))

    it.effect("corrupt leaves the writer's array alone, and split hands on two chunks", () =>
      Effect.gen(function*() {
        const { client, server } = yield* openPair({
          bytes: [{ direction: "write", kind: "corrupt", at: 1 }, { direction: "write", kind: "split", at: 2 }]
        })
        const written = bytes(0, 4)
        yield* client.writer.write(written)
        assert.deepStrictEqual(written, bytes(0, 4))
        assert.deepStrictEqual(yield* server.pull, [Uint8Array.of(0, 254), bytes(2, 4)])
      }))

    it.effect("a stalled write fails when the connection is destroyed", () =>
      Effect.gen(function*() {
        const { client } = yield* openPair(fault("write", "stall", 2))
        const fiber = yield* Effect.forkChild(Effect.flip(client.writer.write(bytes(0, 4))))
        yield* Effect.yieldNow
        assert.isUndefined(fiber.pollUnsafe())
        yield* Transport.destroy(client.writer)
        assert.strictEqual(Transport.endOf(yield* Fiber.join(fiber)), "Closed")
      }))

    it.effect("an offer never carries a fault", () =>
      Effect.gen(function*() {
        const { client, server } = yield* openPair(fault("write", "corrupt", 5))
        assert.isTrue(client.writer.offerUnsafe!(bytes(0, 4)))
        assert.isFalse(client.writer.offerUnsafe!(bytes(4, 8)))
        yield* client.writer.write(bytes(4, 8))
        assert.isTrue(client.writer.offerUnsafe!(bytes(8, 9)))
        assert.deepStrictEqual(yield* server.pull, [bytes(0, 4), Uint8Array.of(4, 250, 6, 7), bytes(8, 9)])
      }))
  })

  describe("failing from an operation on", () => {
    it.effect("fails it and all after it, at every connection of the plan, and tells the other end", () =>
      Effect.gen(function*() {
        const [client, server] = yield* MemoryTransport.makePair()
        const faults = FaultTransport.makeFaults({ failFrom: 3 })
        const wrapped = faults.wrap(client)
        const { pull } = yield* wrapped.reader
        const writer = yield* wrapped.writer
        const peer = yield* faults.wrap(server).reader
        yield* writer.write("ok")
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(writer.write("not ok"))))
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(pull)))
        assert.isTrue(FaultTransport.isFault(yield* Effect.flip(peer.pull)))
        assert.strictEqual(faults.operations(), 6)
      }))

    it.effect("fails an opening", () =>
      Effect.gen(function*() {
        const [client] = yield* MemoryTransport.makePair()
        const error = yield* Effect.flip(Effect.scoped(FaultTransport.make(client, { failFrom: 0 }).reader))
        assert.strictEqual(error.reason._tag, "SocketOpenError")
        assert.isTrue(FaultTransport.isFault(error))
        assert.isFalse(FaultTransport.isFault(Transport.peerEnded()))
      }))

    it.effect("destroys instead of a half-close", () =>
      Effect.gen(function*() {
        const [client, server] = yield* MemoryTransport.makePair()
        yield* Effect.scoped(FaultTransport.make(client, { failFrom: 0 }).writer)
        const { pull } = yield* server.reader
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "Failed")
      }))
  })

  describe("everywhere", () => {
    /** Sends a request, half-closes, and reads the answer: every operation there is. */
    const exchange = Effect.fnUntraced(function*(faults: FaultTransport.Faults) {
      const [left, right] = yield* MemoryTransport.makePair()
      const [client, server] = [faults.wrap(left), faults.wrap(right)]
      const answering = Effect.gen(function*() {
        const request = yield* readToEnd(yield* Transport.readerBytes(server))
        if (Transport.endOf(request.error) !== "PeerEnded") return yield* request.error
        const writer = yield* server.writer
        yield* writer.write(request.seen)
      })
      yield* Effect.forkScoped(Effect.scoped(answering))
      const pull = yield* Transport.readerBytes(client)
      yield* Effect.scoped(Effect.flatMap(client.writer, (writer) => writer.write(bytes(0, 20))))
      const answer = yield* readToEnd(pull)
      if (Transport.endOf(answer.error) !== "PeerEnded") return yield* answer.error
      return answer.seen
    })

    it.effect("fails at each operation once, then lets a run pass", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const runs = yield* FaultTransport.everywhere((faults) =>
          Effect.tap(exchange(faults), (answer) => {
            if (!faults.fired()) assert.deepStrictEqual(answer, bytes(0, 20))
            return Effect.sync(() => seen.push(faults.operations()))
          })
        )
        // Client: open, write, half-close, 2 pulls. Server: open, 2 pulls, write, half-close.
        assert.strictEqual(seen.at(-1), 10)
        assert.strictEqual(runs, 11)
      }))

    for (const kind of ["end", "cut", "reset"] as const) {
      it.effect(`a plan of its own: ${kind} at each byte`, () =>
        Effect.gen(function*() {
          const runs = yield* FaultTransport.everywhere((faults) => exchange(faults), {
            plan: (at) => fault("read", kind, at)
          })
          // One more than the bytes of the way: the end itself is reached after byte 20.
          assert.strictEqual(runs, 22)
        }))
    }

    it.effect("a run without a fault must succeed", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(FaultTransport.everywhere(() => Effect.fail("broken anyway")))
        assert.strictEqual(error, "broken anyway")
      }))

    it.effect("so does a broken assertion of the kit, and what is not allowed", () =>
      Effect.gen(function*() {
        const forgetful = Effect.fnUntraced(function*(faults: FaultTransport.Faults) {
          const ledger = Ledger.makeUnsafe()
          const [client, server] = yield* MemoryTransport.makePair()
          const { pull } = yield* faults.wrap(server).reader
          const writer = yield* client.writer
          yield* ledger.channel("a").write("hello", writer.write("hello"))
          if (Exit.isSuccess(yield* Effect.exit(pull))) yield* ledger.channel("a").read("hello")
          yield* ledger.check
        })
        const error = yield* Effect.flip(FaultTransport.everywhere(forgetful))
        assert.strictEqual(error._tag, "LedgerBroken")
        assert.strictEqual(yield* FaultTransport.everywhere(forgetful, { mayFail: () => true }), 3)
        yield* Effect.flip(FaultTransport.everywhere(forgetful, { mayFail: FaultTransport.isFault }))
      }))

    it.effect("a defect ends it at once", () =>
      Effect.gen(function*() {
        const scenario = (faults: FaultTransport.Faults) =>
          Effect.flatMap(MemoryTransport.makePair(), ([client]) => Effect.orDie(faults.wrap(client).reader))
        const exit = yield* Effect.exit(FaultTransport.everywhere(scenario))
        assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
      }))

    it.effect("gives up at its limit", () =>
      Effect.gen(function*() {
        const scenario = (faults: FaultTransport.Faults) =>
          Effect.flatMap(MemoryTransport.makePair(), ([client]) =>
            Effect.forEach(Array.from({ length: faults.plan.failFrom! + 1 }), () =>
              faults.wrap(client).reader))
        const error = yield* Effect.flip(FaultTransport.everywhere(scenario, { limit: 5 }))
        assert.deepStrictEqual(error, new FaultTransport.TooManyRuns({ runs: 5 }))
      }))
  })
})
