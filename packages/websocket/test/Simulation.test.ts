import { assert, describe, it } from "@effect/vitest"
import * as FaultSchedule from "effect-websocket/testing/FaultSchedule"
import * as Ledger from "effect-websocket/testing/Ledger"
import * as Permits from "effect-websocket/testing/Permits"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as Transcript from "effect-websocket/testing/Transcript"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Arbitrary from "effect/Arbitrary"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

class Wrong extends Data.TaggedError("Wrong")<{ readonly message: string }> {}

const echo = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  yield* Stream.run(stream.messages, stream.sink())
})

const layers = Layer.merge(
  WebSocketServer.serve(Effect.ignore(echo)).pipe(
    Layer.provide(WebSocketServer.layer()),
    Layer.provide(SimulatedNetwork.layerListen("server", 80))
  ),
  SimulatedNetwork.layerDialer("client")
)

/** Writes messages and reads them back, one a second. */
const talk = Effect.gen(function*() {
  const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
  for (let count = 0; count < 3; count++) {
    yield* stream.write(`message ${count}`)
    assert.strictEqual(yield* stream.read, `message ${count}`)
    yield* Effect.sleep("1 second")
  }
  yield* stream.close()
}).pipe(Effect.scoped, Effect.provide(layers))

const network = { latency: 5, jitter: 10, chunkSize: [1, 20] } as const

const links = [["client", "server"]] as const

const flip = <A>(effect: Effect.Effect<A, Simulation.SimulationFailed>) => Effect.flip(effect)

describe("Simulation", () => {
  describe("run", () => {
    it.effect("gives what the scenario gives", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Simulation.run({ seed: 1, scenario: Effect.as(talk, "done"), network }), "done")
      }))

    it.effect("fails with the seed, the faults and the end of the transcript", () =>
      Effect.gen(function*() {
        const faults = [{ _tag: "Reset", at: 1500, from: "client", to: "server" }] as const
        const maxTime = Duration.minutes(1)
        const { message } = yield* flip(Simulation.run({ seed: 7, scenario: talk, network, faults, maxTime }))
        assert.include(message, "seed 7")
        const source = [
          "To run it again: Simulation.run({",
          "  scenario,",
          "  seed: 7,",
          "  network: { latency: 5, jitter: 10, chunkSize: [1, 20] },",
          "  maxTime: 60000,",
          "  faults: [",
          "    { _tag: \"Reset\", at: 1500, from: \"client\", to: \"server\" }",
          "  ]",
          "})"
        ]
        assert.include(message, source.join("\n"))
        assert.include(message, "text \"message 1\"")
        assert.include(message, "client:49152  reset")
      }))

    it.effect("fails where an end of a connection or a listener is left behind", () =>
      Effect.gen(function*() {
        const leak = Effect.gen(function*() {
          const { listen } = yield* SimulatedNetwork.SimulatedNetwork
          yield* Scope.provide(listen("server", 80), Scope.makeUnsafe())
        })
        assert.include((yield* flip(Simulation.run({ scenario: leak }))).message, "a listener at server:80")
        const held = Effect.gen(function*() {
          const { dialer, listen } = yield* SimulatedNetwork.SimulatedNetwork
          yield* listen("server", 80)
          yield* Scope.provide(dialer("client").dial("ws://server/").reader, Scope.makeUnsafe())
        })
        assert.include((yield* flip(Simulation.run({ scenario: held }))).message, "#1 client:49152")
        const daemon = Effect.forkDetach(Effect.never, { startImmediately: true })
        assert.include((yield* flip(Simulation.run({ scenario: daemon }))).message, "fiber 2")
      }))

    it.effect("fails where a permit was not given back", () =>
      Effect.gen(function*() {
        const careless = Effect.gen(function*() {
          const semaphore = yield* Semaphore.make(2)
          yield* semaphore.take(1)
          yield* semaphore.withPermits(1)(Effect.sleep(10))
          yield* Permits.allFree(semaphore, { name: "uploads", permits: 2 })
        })
        const { message } = yield* flip(Simulation.run({ scenario: careless }))
        assert.include(message, "1 of 2 permits of uploads are not free")
        const careful = Effect.gen(function*() {
          const semaphore = yield* Semaphore.make(2)
          yield* semaphore.withPermits(2)(Effect.sleep(10))
          yield* Permits.allFree(semaphore, { name: "uploads", permits: 2 })
          assert.isTrue(yield* semaphore.takeIfAvailable(2), "and they are free afterwards")
        })
        yield* Simulation.run({ scenario: careful })
      }))

    it.effect("tells how many bytes were held at most", () =>
      Effect.gen(function*() {
        const { peaks } = yield* Simulation.observe({ scenario: talk, network: { capacity: 50 } })
        assert.deepStrictEqual(peaks.map(({ from, to }) => `${from} ${to}`), [
          "client:49152 server:80",
          "server:80 client:49152"
        ])
        for (const { underway } of peaks) assert.isTrue(underway > 0 && underway <= 50)
      }))

    it.effect("tells what writers waited with and what readers left unread, in its direction", () =>
      Effect.gen(function*() {
        const slow = Effect.gen(function*() {
          const stream = yield* WebSocketStream
          yield* Effect.sleep("1 second")
          yield* Stream.runDrain(stream.messages)
        })
        const upload = Effect.gen(function*() {
          const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
          yield* Effect.forEach([1, 2, 3, 4], () => stream.write(new Uint8Array(1000)), { concurrency: "unbounded" })
          yield* stream.close()
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.merge(
            WebSocketServer.serve(Effect.ignore(slow)).pipe(
              Layer.provide(WebSocketServer.layer({ config: { readBuffer: 1 } })),
              Layer.provide(SimulatedNetwork.layerListen("server", 80))
            ),
            SimulatedNetwork.layerDialer("client")
          ))
        )
        const { exit, peaks } = yield* Simulation.observe({ scenario: upload, network: { capacity: 1100 } })
        assert.isTrue(Exit.isSuccess(exit))
        const [up, down] = peaks
        // The first is on its way at once, and the second in part.
        assert.deepInclude(up, { queued: 3000, underway: 1100 })
        // A message, and 64 bytes for its part.
        assert.strictEqual(up!.unread, 1064)
        assert.deepInclude(down, { queued: 0, unread: 0 })
      }))
  })

  it.effect("a run that is given up tells what had crossed the network", () =>
    Effect.gen(function*() {
      const stuck = Effect.andThen(talk, Effect.never)
      for (let seed = 0; seed < 50; seed++) {
        const options = { seed, network, interleave: "everywhere", promises: false } as const
        const { exit, transcript } = yield* Simulation.observe({ ...options, scenario: stuck })
        assert.isTrue(Exit.isFailure(exit))
        const whole = yield* Simulation.observe({ ...options, scenario: talk })
        assert.strictEqual(Transcript.format(transcript), Transcript.format(whole.transcript))
        assert.isNotEmpty(transcript.events)
      }
    }))

  describe("the same seed", () => {
    const transcript = (seed: number, interleave = false) =>
      Effect.map(
        Simulation.observe({ seed, scenario: talk, network, interleave }),
        (report) => Transcript.format(report.transcript)
      )

    it.effect("gives the same transcript, and another seed another", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* transcript(1), yield* transcript(1))
        assert.notStrictEqual(yield* transcript(1), yield* transcript(2))
        assert.strictEqual(yield* transcript(1, true), yield* transcript(1, true))
      }))
  })

  describe("check", () => {
    it.effect("runs every seed where all hold", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Simulation.check({ seeds: 5, scenario: talk, network }), 5)
      }))

    it.effect("gives each seed a network of its own where asked", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const networkOf = (seed: number) => {
          seen.push(seed)
          return { latency: seed }
        }
        yield* Simulation.check({ seeds: 3, from: 5, scenario: talk, network: networkOf })
        assert.deepStrictEqual(seen, [5, 6, 7])
      }))

    it.effect("finds a schedule that breaks the scenario, and makes it as small as it gets", () =>
      Effect.gen(function*() {
        const { report } = yield* flip(Simulation.check({
          seeds: 50,
          scenario: talk,
          network,
          faults: FaultSchedule.arbitrary({ links, until: 3000, kinds: ["Reset", "Slow", "Refuse"] })
        }))
        assert.strictEqual(report.faults.length, 1)
        assert.strictEqual(report.faults[0]!._tag, "Reset")
        assert.include(FaultSchedule.source(report.faults), "_tag: \"Reset\"")
        // What is printed fails again.
        const pasted = Schema.decodeUnknownSync(FaultSchedule.FaultSchedule)(report.faults)
        yield* flip(Simulation.run({ seed: report.seed, scenario: talk, network, faults: pasted }))
      }))

    it.effect("keeps to the failure that it found first while it narrows down", () =>
      Effect.gen(function*() {
        class Twice extends Data.TaggedError("Twice")<{}> {}
        class Once extends Data.TaggedError("Once")<{}> {}
        const counts = Effect.gen(function*() {
          let resets = 0
          const stay = Effect.gen(function*() {
            const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
            if ((yield* stream.closed).code === 1006) resets++
          }).pipe(Effect.scoped, Effect.ignore, Effect.forever)
          yield* Effect.raceFirst(stay, Effect.sleep("10 seconds")).pipe(Effect.provide(layers))
          if (resets > 1) return yield* new Twice()
          if (resets === 1) return yield* new Once()
        })
        const faults = FaultSchedule.arbitrary({ links, until: 5000, kinds: ["Reset"] })
        const { report } = yield* flip(Simulation.check({ seeds: 20, scenario: counts, network, faults }))
        assert.strictEqual(report.faults.length, 2)
      }))

    it.effect("finds an order of fibers that loses an update", () =>
      Effect.gen(function*() {
        const deposits = Effect.gen(function*() {
          let balance = 0
          const deposit = Effect.flatMap(Effect.sync(() => balance), (before) =>
            Effect.sync(() => {
              balance = before + 1
            }))
          yield* Effect.all([deposit, deposit, deposit], { concurrency: "unbounded" })
          if (balance !== 3) return yield* new Wrong({ message: `${balance} deposits` })
        })
        assert.strictEqual(yield* Simulation.check({ seeds: 50, scenario: deposits }), 50)
        const { message } = yield* flip(Simulation.check({ seeds: 50, scenario: deposits, interleave: "everywhere" }))
        assert.match(message, /[12] deposits/)
      }))
  })

  describe("everywhere", () => {
    for (const at of ["operation", "frame", "byte"] as const) {
      it.effect(`a connection fails in each way at each ${at}, in order`, () =>
        Effect.gen(function*() {
          const short = Effect.gen(function*() {
            const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
            yield* stream.write("hi")
            yield* stream.read
            yield* stream.close()
          }).pipe(Effect.scoped, Effect.provide(layers))
          const clean = yield* Simulation.observe({ scenario: short })
          const places = Transcript.places(clean.transcript, at)
          const runs = yield* Simulation.everywhere({ scenario: short, at, how: ["end", "reset"], promises: false })
          assert.strictEqual(runs, 1 + 2 * places.length)
          assert.isTrue(places.length >= 6)
        }), 60_000)
    }

    it.effect("an assertion of the kit that does not hold is found, and other errors where they are told apart", () =>
      Effect.gen(function*() {
        // Who is not told of a loss that is none of the network's.
        const careless = Effect.gen(function*() {
          const ledger = Ledger.makeUnsafe()
          const channel = ledger.channel("client and back")
          const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
          yield* channel.write("hi", stream.write("hi"))
          yield* Effect.exit(Effect.flatMap(stream.read, (message) => channel.read(String(message))))
          yield* Effect.exit(stream.close())
          yield* ledger.check
        }).pipe(Effect.scoped, Effect.provide(layers))
        const everywhere = { at: "frame", how: ["reset"], promises: false } as const
        const { report } = yield* flip(Simulation.everywhere({ ...everywhere, scenario: careless }))
        assert.include(FaultSchedule.source(report.faults), "Truncate")
        assert.isTrue(Exit.isFailure(report.exit))
        const anything = { ...everywhere, scenario: careless, mayFail: () => true }
        assert.isAbove(yield* Simulation.everywhere(anything), 4)
        const nothing = { ...everywhere, scenario: Effect.asVoid(talk), mayFail: () => false }
        assert.include((yield* flip(Simulation.everywhere(nothing))).message, "ReadError")
      }))

    it.effect("the scenario is interrupted at each of its steps", () =>
      Effect.gen(function*() {
        assert.isTrue((yield* Simulation.everywhere({ scenario: talk, at: "step" })) > 10)
        assert.isTrue((yield* Simulation.everywhere({ scenario: talk, at: "step", interleave: "everywhere" })) > 10)
      }))

    it.effect("what is left behind by an interruption is found", () =>
      Effect.gen(function*() {
        const careless = Effect.gen(function*() {
          const { listen } = yield* SimulatedNetwork.SimulatedNetwork
          const scope = Scope.makeUnsafe()
          yield* Scope.provide(listen("server", 80), scope)
          yield* Effect.sleep(10)
          yield* Scope.close(scope, Exit.void)
        })
        yield* Simulation.run({ scenario: careless })
        const { message } = yield* flip(Simulation.everywhere({ scenario: careless, at: "step" }))
        assert.include(message, "interrupt")
      }))
  })
})

describe("FaultSchedule", () => {
  it.effect("generates what its schema takes, on the links it is given", () =>
    Effect.gen(function*() {
      const arbitrary = FaultSchedule.arbitrary({ links, until: 100, most: 3 })
      const schedules = yield* Arbitrary.sampleEffect(arbitrary, { count: 200, seed: 1 })
      for (const schedule of schedules) {
        assert.deepStrictEqual(Schema.decodeUnknownSync(FaultSchedule.FaultSchedule)(schedule), schedule)
        assert.isTrue(schedule.length <= 3 && schedule.every(({ at }) => at <= 100))
      }
      // What is printed is the schedule, as source.
      const source = `export default [${schedules.map(FaultSchedule.source).join(",\n")}]`
      const { default: pasted } = yield* Effect.promise(
        (): Promise<unknown> => import(`data:text/javascript,${encodeURIComponent(source)}`)
      ).pipe(Effect.flatMap(Schema.decodeUnknownEffect(Schema.Struct({
        default: Schema.Array(FaultSchedule.FaultSchedule)
      }))))
      assert.deepStrictEqual(pasted, schedules)
      const kinds = new Set(schedules.flat().map(({ _tag }) => _tag))
      assert.strictEqual(kinds.size, FaultSchedule.Fault.members.length)
    }))
})

describe("Ledger", () => {
  const broken = Effect.fnUntraced(function*(...reads: ReadonlyArray<string>) {
    const ledger = Ledger.makeUnsafe()
    const channel = ledger.channel("a")
    yield* channel.write("1", Effect.void)
    yield* Effect.exit(channel.write("2", Effect.fail("refused")))
    yield* channel.write("3", Effect.void)
    const read = Effect.forEach(reads, channel.read, { discard: true })
    const { rule } = yield* Effect.flip(Effect.andThen(read, ledger.check))
    return rule
  })

  it.effect("tells what is wrong", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* broken("1"), "Lost")
      assert.strictEqual(yield* broken("1", "1"), "Repeated")
      assert.strictEqual(yield* broken("3"), "OutOfOrder")
      assert.strictEqual(yield* broken("1", "3", "2"), "OutOfOrder")
      assert.strictEqual(yield* broken("4"), "Invented")
    }))

  it.effect("lets a failed write be read or not, and a reported loss pass", () =>
    Effect.gen(function*() {
      const ledger = Ledger.makeUnsafe()
      const channel = ledger.channel("a")
      yield* Effect.exit(channel.write("1", Effect.fail("refused")))
      yield* channel.write("2", Effect.void)
      assert.strictEqual(channel.underway(), 1)
      yield* channel.read("2")
      assert.strictEqual(channel.underway(), 0)
      yield* channel.write("3", Effect.void)
      yield* channel.report
      yield* ledger.check
    }))
})
