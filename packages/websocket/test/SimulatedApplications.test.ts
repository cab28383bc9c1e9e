/**
 * Bugs that applications have, planted in small ones, found by simulation and
 * narrowed down; the same applications without the bug pass.
 */
import { assert, describe, it } from "@effect/vitest"
import * as FaultSchedule from "effect-websocket/testing/FaultSchedule"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

class Wrong extends Data.TaggedError("Wrong")<{ readonly message: string }> {}

const serve = <E>(handler: Effect.Effect<void, E, WebSocketStream>) =>
  Layer.merge(
    WebSocketServer.serve(Effect.ignore(handler)).pipe(
      Layer.provide(WebSocketServer.layer()),
      Layer.provide(SimulatedNetwork.layerListen("server", 80))
    ),
    SimulatedNetwork.layerDialer("client")
  )

const dial = WebSocketClient.dial({ url: "ws://server/" })

const resets = FaultSchedule.arbitrary({
  links: [["client", "server"]],
  until: 1000,
  longest: 1000,
  kinds: ["Reset", "Slow", "Partition"]
})

const options = { seeds: 100, network: { latency: 10, jitter: 10 }, faults: resets, promises: false } as const

/** A counter whose clients add one until they are told that it was counted. */
const counter = Effect.fnUntraced(function*(remembers: boolean) {
  const counted = new Set<string>()
  let total = 0
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Stream.runForEach(stream.messages, (id) =>
      Effect.suspend(() => {
        if (!remembers || !counted.has(String(id))) total++
        counted.add(String(id))
        return stream.write(`counted ${id}`)
      }))
  })
  const add = Effect.fnUntraced(
    function*(id: number) {
      const stream = yield* dial
      yield* stream.write(`${id}`)
      yield* stream.read
    },
    Effect.scoped,
    Effect.eventually
  )
  yield* Effect.forEach([1, 2, 3, 4, 5], (id) => Effect.andThen(Effect.sleep(100), add(id))).pipe(
    Effect.provide(serve(handler))
  )
  if (total !== 5) return yield* new Wrong({ message: `Counted ${total} of 5` })
})

/** A client that asks for many long answers, and a server that gives them one by one. */
const answers = Effect.fnUntraced(function*(concurrency: 1 | 2) {
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Stream.runForEach(stream.messages, () => stream.write("x".repeat(100_000)))
  })
  yield* Effect.gen(function*() {
    const stream = yield* dial
    const ask = Effect.forEach(Array.from({ length: 40 }), () => stream.write("?".repeat(20_000)))
    const hear = Effect.replicateEffect(stream.read, 40)
    yield* Effect.all([ask, hear], { concurrency })
    yield* stream.close()
  }).pipe(Effect.scoped, Effect.provide(serve(handler)))
})

/** A room whose members are taken out when they have left. */
const room = Effect.fnUntraced(function*(always: boolean) {
  const members = new Set<object>()
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    members.add(stream)
    const leave = Effect.sync(() => members.delete(stream))
    const stay = Stream.runDrain(Stream.takeUntil(stream.messages, (message) => message === "bye"))
    yield* always ? Effect.ensuring(stay, leave) : Effect.andThen(stay, leave)
  })
  yield* Effect.gen(function*() {
    const stream = yield* dial
    yield* Effect.sleep(500)
    yield* stream.write("bye")
    yield* stream.closed
  }).pipe(Effect.scoped, Effect.ignore, Effect.provide(serve(handler)))
  if (members.size > 0) return yield* new Wrong({ message: `${members.size} members are left` })
})

const kinds = (failed: Simulation.SimulationFailed) => failed.report.faults.map(({ _tag }) => _tag)

describe("bugs of applications", () => {
  it.effect("an update that is counted twice after a reconnect: one fault is enough", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(Simulation.check({ ...options, scenario: counter(false) }))
      assert.deepStrictEqual(kinds(failed), ["Reset"])
      assert.match(failed.message, /Counted 6 of 5/)
      assert.strictEqual(yield* Simulation.check({ ...options, scenario: counter(true) }), options.seeds)
    }), 60_000)

  it.effect("a deadlock under back-pressure: no fault is needed", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(Simulation.check({ ...options, scenario: answers(1) }))
      assert.deepStrictEqual(kinds(failed), [])
      assert.match(failed.message, /Deadlock|TimeLimit/)
      yield* Simulation.run({ scenario: answers(2), network: options.network })
    }), 60_000)

  it.effect("a member that is never taken out after a reset: one fault is enough", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(Simulation.check({ ...options, scenario: room(false) }))
      assert.deepStrictEqual(kinds(failed), ["Reset"])
      assert.match(failed.message, /1 members are left/)
      assert.strictEqual(yield* Simulation.check({ ...options, scenario: room(true) }), options.seeds)
    }), 60_000)
})
