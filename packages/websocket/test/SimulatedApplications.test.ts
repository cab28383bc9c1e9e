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
import * as Schema from "effect/Schema"
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

/** A counter whose client counts as done what it has written, or waits until the server says so. */
const meter = Effect.fnUntraced(function*(waits: boolean) {
  const read = new Set<string>()
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Stream.runForEach(stream.messages, (reading) =>
      Effect.suspend(() => {
        read.add(String(reading))
        return stream.write("read")
      }))
  })
  const report = Effect.fnUntraced(function*(left: Array<number>) {
    const stream = yield* dial
    while (left.length > 0) {
      yield* Effect.sleep(20)
      yield* stream.write(`${left[0]}`)
      if (waits) yield* stream.read
      left.shift()
    }
    yield* stream.close()
  }, Effect.scoped)
  const left = Array.from({ length: 20 }, (_, index) => index)
  yield* Effect.eventually(Effect.suspend(() => report(left))).pipe(Effect.provide(serve(handler)))
  if (read.size !== 20) return yield* new Wrong({ message: `${read.size} of 20 readings` })
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

/** Finds the bug, and finds it again by what the failure says. */
const find = Effect.fnUntraced(function*<E>(scenario: Effect.Effect<void, E, Simulation.Provided>) {
  const failed = yield* Effect.flip(Simulation.check({ ...options, scenario }))
  const { faults, seed, settings } = failed.report
  const pasted = yield* Schema.decodeUnknownEffect(FaultSchedule.FaultSchedule)(JSON.parse(JSON.stringify(faults)))
  const again = yield* Effect.flip(Simulation.run({ ...settings, scenario, seed, faults: pasted }))
  assert.deepStrictEqual(again.report.transcript, failed.report.transcript)
  return again
})

describe("bugs of applications", () => {
  it.effect("an update that is lost on a reconnect: one fault is enough", () =>
    Effect.gen(function*() {
      const failed = yield* find(meter(false))
      assert.deepStrictEqual(kinds(failed), ["Reset"])
      assert.match(failed.message, /\d+ of 20 readings/)
      assert.strictEqual(yield* Simulation.check({ ...options, scenario: meter(true) }), options.seeds)
    }), 60_000)

  it.effect("an update that is counted twice after a reconnect: one fault is enough", () =>
    Effect.gen(function*() {
      const failed = yield* find(counter(false))
      assert.deepStrictEqual(kinds(failed), ["Reset"])
      assert.match(failed.message, /Counted 6 of 5/)
      assert.strictEqual(yield* Simulation.check({ ...options, scenario: counter(true) }), options.seeds)
    }), 60_000)

  it.effect("a deadlock under back-pressure: no fault is needed", () =>
    Effect.gen(function*() {
      const failed = yield* find(answers(1))
      assert.deepStrictEqual(kinds(failed), [])
      assert.match(failed.message, /Deadlock|TimeLimit/)
      yield* Simulation.run({ scenario: answers(2), network: options.network })
    }), 60_000)

  it.effect("a member that is never taken out after a reset: one fault is enough", () =>
    Effect.gen(function*() {
      const failed = yield* find(room(false))
      assert.deepStrictEqual(kinds(failed), ["Reset"])
      assert.match(failed.message, /1 members are left/)
      assert.strictEqual(yield* Simulation.check({ ...options, scenario: room(true) }), options.seeds)
    }), 60_000)
})
