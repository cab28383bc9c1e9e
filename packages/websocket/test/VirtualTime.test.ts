import { assert, describe, it } from "@effect/vitest"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"

const note = (notes: Array<string>, text: string) =>
  Effect.map(Clock.currentTimeMillis, (time) => notes.push(`${time} ${text}`))

describe("VirtualTime", () => {
  describe("time", () => {
    it.effect("jumps to the next sleep, and those that end together run in the order they began", () =>
      Effect.gen(function*() {
        const notes: Array<string> = []
        const sleeper = (name: string, millis: number) => Effect.delay(note(notes, name), millis)
        yield* VirtualTime.run(
          Effect.all([sleeper("b", 2000), sleeper("a", 1000), sleeper("c", 2000)], { concurrency: "unbounded" })
        )
        assert.deepStrictEqual(notes, ["1000 a", "2000 b", "2000 c"])
      }))

    it.effect("stands still while a fiber can run", () =>
      Effect.gen(function*() {
        const time = yield* VirtualTime.run(Effect.gen(function*() {
          yield* Effect.forkChild(Effect.sleep(10))
          yield* Effect.replicateEffect(Effect.yieldNow, 1000)
          return yield* Clock.currentTimeMillis
        }))
        assert.strictEqual(time, 0)
      }))

    it.effect("waits for promises that wait for nothing else", () =>
      Effect.gen(function*() {
        const slow = Effect.promise(async () => {
          for (let turn = 0; turn < 50; turn++) await Promise.resolve()
        })
        const time = yield* VirtualTime.run(
          Effect.raceFirst(Effect.andThen(slow, Clock.currentTimeMillis), Effect.as(Effect.sleep(1), -1))
        )
        assert.strictEqual(time, 0)
      }))

    it.effect("stands still while something outside is waited for", () =>
      Effect.gen(function*() {
        const outside = Effect.callback<void>((resume) => {
          setTimeout(() => resume(Effect.void), 20)
        })
        const time = yield* VirtualTime.run(
          Effect.raceFirst(
            Effect.andThen(VirtualTime.external(outside), Clock.currentTimeMillis),
            Effect.as(Effect.sleep(1), -1)
          )
        )
        assert.strictEqual(time, 0)
      }))

    it.effect("TestClock.adjust returns when all that was due by then has run", () =>
      Effect.gen(function*() {
        const notes: Array<string> = []
        yield* VirtualTime.run(Effect.gen(function*() {
          yield* Effect.forkChild(Effect.delay(Effect.andThen(Effect.yieldNow, note(notes, "slept")), 1000))
          yield* TestClock.adjust(999)
          assert.deepStrictEqual(notes, [])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(notes, ["1000 slept"])
          const late = Effect.andThen(
            Effect.replicateEffect(Effect.yieldNow, 5),
            Effect.delay(note(notes, "late"), 1000)
          )
          yield* Effect.forkChild(late)
          yield* TestClock.adjust(1000)
          assert.deepStrictEqual(notes, ["1000 slept", "2000 late"])
          yield* TestClock.setTime(5000)
          assert.strictEqual(yield* Clock.currentTimeMillis, 5000)
        }))
      }))

    it.effect("an interrupted sleep is forgotten", () =>
      Effect.gen(function*() {
        const { time } = yield* VirtualTime.observe(Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(Effect.sleep(1000))
          yield* Effect.sleep(1)
          yield* Fiber.interrupt(fiber)
          yield* Effect.sleep(1)
        }))
        assert.strictEqual(time, 2)
      }))
  })

  describe("a run that does not end", () => {
    it.effect("is a deadlock where nobody sleeps, and says who waits", () =>
      Effect.gen(function*() {
        const waiter = Effect.fn("waiter")(function*() {
          yield* Deferred.await(yield* Deferred.make<void>())
        })
        const error = yield* Effect.flip(VirtualTime.run(Effect.andThen(Effect.sleep(7), waiter())))
        assert.strictEqual(error._tag, "Deadlock")
        assert.include(error.message, "After 7 ms")
        assert.include(error.message, "waiter")
      }))

    it.effect("reaches the limit of time, which what ends at the limit does not", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(VirtualTime.run(Effect.sleep(1001), { maxTime: 1000 }))
        assert.strictEqual(error._tag, "TimeLimit")
        assert.include(error.message, "sleeps until 1001 ms")
        yield* VirtualTime.run(Effect.sleep(1000), { maxTime: 1000 })
      }))

    it.effect("reaches the limit of steps", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(VirtualTime.run(Effect.forever(Effect.yieldNow), { maxSteps: 500 }))
        assert.strictEqual(error._tag, "StepLimit")
      }))

    it.effect("is interrupted, finalizers and all", () =>
      Effect.gen(function*() {
        const notes: Array<string> = []
        const program = Effect.ensuring(Effect.never, Effect.delay(note(notes, "released"), 10))
        yield* Effect.flip(VirtualTime.run(program))
        assert.deepStrictEqual(notes, ["10 released"])
      }))

    it.effect("interrupting it from outside runs its finalizers", () =>
      Effect.gen(function*() {
        const notes: Array<string> = []
        const program = Effect.ensuring(VirtualTime.external(Effect.never), note(notes, "released"))
        const fiber = yield* Effect.forkChild(VirtualTime.run(program), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(notes, ["0 released"])
      }))
  })

  it.effect("tells which fibers outlive the run", () =>
    Effect.gen(function*() {
      const daemon = Effect.fn("daemon")(function*() {
        return yield* Effect.never
      })
      const { left } = yield* VirtualTime.observe(Effect.forkDetach(daemon(), { startImmediately: true }))
      assert.deepStrictEqual(left, ["fiber 2 in daemon"])
      const { left: none } = yield* VirtualTime.observe(Effect.forkDetach(Effect.yieldNow))
      assert.deepStrictEqual(none, [])
    }))

  it.effect("is interrupted at the step that is asked for", () =>
    Effect.gen(function*() {
      const steps = Effect.fnUntraced(function*(interruptAt: number) {
        let count = 0
        const program = Effect.gen(function*() {
          for (let turn = 0; turn < 10; turn++) {
            yield* Effect.yieldNow
            count++
          }
        })
        const { exit } = yield* VirtualTime.observe(program, { interruptAt })
        return [count, Exit.isSuccess(exit)]
      })
      assert.deepStrictEqual(yield* steps(4), [3, false])
      assert.deepStrictEqual(yield* steps(11), [10, true])
    }))

  describe("the seed", () => {
    const lostUpdate = Effect.gen(function*() {
      let balance = 0
      const deposit = Effect.flatMap(Effect.sync(() => balance), (before) =>
        Effect.sync(() => {
          balance = before + 1
        }))
      yield* Effect.all(Array.from({ length: 4 }, () => deposit), { concurrency: "unbounded" })
      return balance
    })

    it.effect("decides about chance", () =>
      Effect.gen(function*() {
        const draw = (seed: number) => VirtualTime.run(Random.next, { seed })
        assert.strictEqual(yield* draw(1), yield* draw(1))
        assert.notStrictEqual(yield* draw(1), yield* draw(2))
      }))

    const seeds = Array.from({ length: 40 }, (_, seed) => seed)

    it.effect("decides who runs next where asked, the same each time", () =>
      Effect.gen(function*() {
        const race = Effect.gen(function*() {
          const order: Array<string> = []
          const runner = (name: string) => Effect.andThen(Effect.yieldNow, Effect.sync(() => order.push(name)))
          yield* Effect.all(["a", "b", "c"].map(runner), { concurrency: "unbounded" })
          return order.join("")
        })
        const orders = (interleave: boolean) =>
          Effect.forEach(seeds, (seed) => VirtualTime.run(race, { seed, interleave }))
        assert.deepStrictEqual(new Set(yield* orders(false)), new Set(["abc"]))
        const found = yield* orders(true)
        assert.strictEqual(new Set(found).size, 6)
        assert.deepStrictEqual(yield* orders(true), found)
      }))

    it.effect("decides that fibers yield so early that Effect.timeout loses what comes as its time is up, at worst", () =>
      Effect.gen(function*() {
        const losses = Effect.fnUntraced(function*(operations: number) {
          let lost = 0
          for (let seed = 0; seed < 200; seed++) {
            let given = false
            const giving = Effect.andThen(Effect.sleep(1), Effect.sync(() => given = true))
            const taking = Effect.provideService(
              Effect.timeoutOption(giving, 1),
              Scheduler.MaxOpsBeforeYield,
              operations
            )
            const taken = yield* VirtualTime.run(taking, { seed, interleave: true, promises: false })
            if (given && taken._tag === "None") lost++
          }
          return lost
        })
        assert.isAbove(yield* losses(3), 0)
        assert.strictEqual(yield* losses(4), 0)
      }))

    it.effect("decides where fibers yield where asked, the same each time", () =>
      Effect.gen(function*() {
        const balances = (interleave: boolean | "everywhere") =>
          Effect.forEach(seeds, (seed) => VirtualTime.run(lostUpdate, { seed, interleave }))
        assert.deepStrictEqual(new Set(yield* balances(true)), new Set([4]))
        const found = yield* balances("everywhere")
        assert.isTrue(found.some((balance) => balance < 4))
        assert.deepStrictEqual(yield* balances("everywhere"), found)
      }))
  })
})
