import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { initialWindow, leastWindow, SendWindow } from "../src/internal/sendWindow.ts"
import { observe, quantile } from "./fixtures/line.ts"

const mebibyte = 2 ** 20
const target = 15

/** Sends all that is allowed, with markers, and gives the numbers of those. */
const fill = (window: SendWindow, now: number, next = 1024): ReadonlyArray<number> => {
  const markers: Array<number> = []
  for (;;) {
    const asked = window.ask(now, next, Infinity)
    if (asked === 0) return markers
    if (asked === "marker") markers.push(window.mark(now))
    else window.sent(asked)
  }
}

describe("a line that was quiet", () => {
  it("takes 128 KiB without a marker, and not a byte more", () => {
    const window = new SendWindow(target, 0)
    assert.strictEqual(window.ask(0, 1, initialWindow), initialWindow)
    assert.strictEqual(window.ask(0, 1, initialWindow + 1), "marker")
    window.sent(initialWindow - 1)
    assert.strictEqual(window.ask(999, 1, 1), 1)
    assert.strictEqual(window.ask(999, 2, 2), "marker")
    window.sent(1)
    assert.strictEqual(window.ask(999, 1, 1), "marker")
  })

  it("is quiet again after a second, in which nothing was heard of a marker", () => {
    const window = new SendWindow(target, 0)
    window.sent(initialWindow)
    assert.strictEqual(window.ask(999, 1, 1), "marker")
    assert.strictEqual(window.ask(1000, 1, 1), initialWindow)
    assert.strictEqual(window.outstanding, 0)
    window.sent(initialWindow)
    window.mark(1500)
    window.answered(0, 1600)
    assert.strictEqual(window.ask(2599, 1, 1), "marker")
    assert.strictEqual(window.ask(2600, 1, 1), initialWindow)
  })

  it("is asked by a marker first where more than that waits", () => {
    const window = new SendWindow(target, 0)
    assert.strictEqual(window.ask(0, 1024, Infinity), "marker")
    assert.strictEqual(window.mark(0), 0)
    assert.isAbove(Number(window.ask(0, 1024, Infinity)), 0)
  })
})

describe("what is on its way", () => {
  it("is never more than the window, where frames are no larger", () => {
    const window = new SendWindow(target, 0)
    const markers = fill(window, 0, 1000)
    assert.isAtMost(window.outstanding, initialWindow)
    assert.isAbove(window.outstanding, initialWindow - 1000)
    assert.strictEqual(window.markers, markers.length)
  })

  it("is one frame where that is larger than the window", () => {
    const window = new SendWindow(target, 0)
    window.mark(0)
    assert.strictEqual(window.ask(0, 2 ** 31, Infinity), 2 ** 31)
    window.sent(2 ** 31)
    assert.strictEqual(window.ask(0, 1, 1), "marker")
    const behind = window.mark(0)
    assert.strictEqual(window.ask(0, 1, 1), 0)
    window.answered(0, 5)
    assert.strictEqual(window.ask(5, 2 ** 31, Infinity), 0)
    window.answered(behind, 10)
    window.mark(10)
    assert.strictEqual(window.ask(10, 2 ** 31, Infinity), 2 ** 31)
  })

  it("an answer takes what its marker stood behind, and a later one what is left", () => {
    const window = new SendWindow(target, 0)
    const [first, ...later] = fill(window, 0)
    const all = window.outstanding
    window.answered(first!, 1)
    assert.strictEqual(window.outstanding, all)
    window.answered(later[0]!, 1)
    assert.isBelow(window.outstanding, all)
    assert.isAbove(window.outstanding, 0)
  })
})

describe("RFC 6455 section 5.5.3", () => {
  it("a Pong to the newest Ping answers those before it", () => {
    const window = new SendWindow(target, 0)
    const markers = fill(window, 0)
    assert.isTrue(window.answered(markers.at(-1)!, 1))
    assert.strictEqual(window.markers, 0)
    assert.isFalse(window.answered(markers[0]!, 2))
  })

  it("one that came before, one for no marker, and one for a marker to come change nothing", () => {
    const window = new SendWindow(target, 0)
    const markers = fill(window, 0)
    window.answered(markers[1]!, 1)
    const before = [window.size, window.outstanding, window.read, window.markers]
    for (const id of [markers[0]!, markers[1]!, -1, 0.5, NaN, markers.at(-1)! + 1, 2 ** 32]) {
      assert.isFalse(window.answered(id, 2), String(id))
    }
    assert.deepStrictEqual([window.size, window.outstanding, window.read, window.markers], before)
  })
})

describe("a peer that does not answer", () => {
  it("is waited for, and from then on nothing is held back until it does", () => {
    const window = new SendWindow(target, 0)
    const markers = fill(window, 0)
    assert.strictEqual(window.wait, 1000)
    window.giveUp()
    assert.isAtLeast(Number(window.ask(1000, 1024, Infinity)), mebibyte)
    window.sent(10 * mebibyte)
    assert.isAtLeast(Number(window.ask(1000, 1024, Infinity)), mebibyte)
    assert.isTrue(window.answered(markers.at(-1)!, 2000))
    assert.strictEqual(window.ask(2000, 1024, Infinity), "marker")
    window.mark(2000)
    assert.strictEqual(window.ask(2000, 1024, Infinity), 0)
  })

  it("is waited for four times as long as it took, from one second to ten", () => {
    for (const [delay, wait] of [[1, 1000], [250, 1000], [251, 1004], [2500, 10_000], [2501, 10_000]] as const) {
      const window = new SendWindow(target, 0)
      const markers = fill(window, 0)
      window.giveUp()
      window.answered(markers[0]!, delay)
      assert.strictEqual(window.wait, wait)
    }
  })
})

describe("fragments", () => {
  it("are an eighth of the window, and not below 4 KiB", () => {
    const window = new SendWindow(target, 0)
    assert.strictEqual(window.fragment, initialWindow / 8)
    let now = 0
    for (let round = 0; round < 50; round++) {
      const markers = fill(window, now)
      markers.forEach((id) => window.answered(id, now += 200 * (round + 1)))
    }
    assert.isAtLeast(window.size, leastWindow)
    assert.isAtLeast(window.fragment, 4096)
  })
})

describe("whatever the answers are", () => {
  const Step = Schema.Union([
    Schema.TaggedStruct("Send", {
      next: Schema.Int.check(Schema.isBetween({ minimum: 2, maximum: 70_000 })),
      queued: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10 * mebibyte }))
    }),
    Schema.TaggedStruct("Answer", { index: Schema.Int.check(Schema.isBetween({ minimum: -3, maximum: 20 })) }),
    Schema.TaggedStruct("Pass", {
      millis: Schema.Union([
        Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })),
        Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20_000 }))
      ])
    }),
    Schema.TaggedStruct("GiveUp", {})
  ])

  type Step = typeof Step.Type

  /** A connection that keeps to what it is told. */
  class Model {
    readonly window = new SendWindow(target, 0)
    now = 0
    newest = -1

    send(next: number, queued: number): boolean {
      for (let asked = 0; asked < 3; asked++) {
        const answer = this.window.ask(this.now, next, queued)
        if (answer === 0) return false
        if (answer === "marker") this.newest = this.window.mark(this.now)
        else {
          assert.isAtLeast(answer, next)
          this.window.sent(next)
          return true
        }
      }
      return assert.fail("a marker is asked for twice")
    }

    step(step: Step): void {
      if (step._tag === "Send") this.send(step.next, step.queued)
      else if (step._tag === "Answer") this.window.answered(this.newest - step.index, this.now)
      else if (step._tag === "Pass") this.now += step.millis
      else if (this.window.markers > 0) this.window.giveUp()
    }

    check(): void {
      const { fragment, markers, outstanding, size, wait } = this.window
      assert.isTrue([fragment, markers, outstanding, size, wait].every(Number.isFinite))
      assert.isAtLeast(outstanding, 0)
      assert.isAtLeast(size, leastWindow)
      assert.isAtMost(size, 2 ** 30)
      assert.isAtMost(markers, 66)
      assert.isTrue(wait >= 1000 && wait <= 10_000)
    }
  }

  const Steps = Schema.Array(Step).check(Schema.isMaxLength(200))

  it.prop("sizes stay finite and markers few", { steps: Steps }, ({ steps }) => {
    const model = new Model()
    for (const step of steps) {
      model.step(step)
      model.check()
    }
  }, { arbitrary: { runs: 500 } })

  it.prop("something may be sent once all is answered, or once that is given up", { steps: Steps }, ({ steps }) => {
    for (const ending of ["answers", "silence"] as const) {
      const model = new Model()
      for (const step of steps) model.step(step)
      for (let answers = 0; !model.send(1024, mebibyte); answers++) {
        assert.isAtMost(answers, 2)
        assert.isAbove(model.window.markers, 0)
        if (ending === "silence") model.window.giveUp()
        else model.window.answered(model.newest, model.now += 10)
      }
    }
  }, { arbitrary: { runs: 500 } })
})

describe("on a line, with room for 4 MiB below and a target of 15 ms", () => {
  const constant = (bandwidth: number) => () => bandwidth

  it("that slows down from 32 MiB/s to 2 MiB/s, what was sent drains, and pings take what they did before", () => {
    const changeAt = 5000
    const bandwidth = (time: number) => (time < changeAt ? 32 : 2) * mebibyte
    const { pings, rate } = observe({ bandwidth, latency: 10 }, { warmUp: changeAt, millis: 10_000 })
    // 0.64 s is what the window of the fast line takes on the slow one: 1.28 MiB.
    const settled = pings.slice(50)
    assert.isAtMost(quantile(pings, 1), 700)
    assert.isAtMost(quantile(settled, 0.98), 20 + 50)
    assert.isAtLeast(rate, 0.97 * 2 * mebibyte)
  })

  it("that becomes faster, from 2 MiB/s to 32 MiB/s, the window grows within two seconds", () => {
    const changeAt = 5000
    const bandwidth = (time: number) => (time < changeAt ? 2 : 32) * mebibyte
    const { pings, rate } = observe({ bandwidth, latency: 10 }, { warmUp: changeAt + 2000, millis: 5000 })
    assert.isAtLeast(rate, 0.9 * 32 * mebibyte)
    assert.isAtMost(quantile(pings, 0.98), 20 + 50)
  })

  it("of 256 KiB/s it holds as well", () => {
    const line = { bandwidth: constant(mebibyte / 4), latency: 15 }
    const { pings, rate } = observe(line, { warmUp: 3000, millis: 20_000 })
    assert.isAtLeast(rate, 0.9 * mebibyte / 4)
    assert.isAtMost(quantile(pings, 0.98), 30 + 50)
  })

  it("whose peer reads 64 KiB every 16 ms, no ping takes more than 50 ms", () => {
    const line = {
      bandwidth: constant(4 * mebibyte),
      latency: 0.05,
      reads: (time: number) => Math.ceil(time / 16) * 16
    }
    const { pings, rate } = observe(line, { warmUp: 1000, millis: 10_000 })
    assert.isAtLeast(rate, 0.85 * 4 * mebibyte)
    assert.isAtMost(quantile(pings, 0.98), 50)
  })

  it("whose peer rests for half of each second, the window does not shrink for that", () => {
    const rest = (time: number) => time % 1000 < 500 ? time - time % 1000 + 500 : time
    const line = { bandwidth: constant(16 * mebibyte), latency: 25, reads: rest }
    // Half of the bandwidth is what can be read at least; what is kept below while it rests can be read as well.
    const { rate } = observe(line, { warmUp: 5000, millis: 20_000 })
    assert.isAtLeast(rate, 0.5 * 16 * mebibyte)
  })

  it("whose peer has much queued on the way back, which nothing here can help, the rate is kept for the most part", () => {
    const line = { bandwidth: constant(16 * mebibyte), latency: 25, back: (time: number) => time < 10_000 ? 0 : 300 }
    const { rate } = observe(line, { warmUp: 15_000, millis: 20_000 })
    assert.isAtLeast(rate, 0.6 * 16 * mebibyte)
  })

  it("whose peer answers no marker, one wait is all it costs", () => {
    const line = { bandwidth: constant(4 * mebibyte), latency: 10, answers: () => false }
    const { givenUp, markers, rate } = observe(line, { warmUp: 0, millis: 10_000 })
    assert.strictEqual(givenUp, 1)
    assert.isAtMost(markers, 16)
    assert.isAtLeast(rate, 0.85 * 4 * mebibyte)
  })

  it("whose peer answers every third marker, pings are answered as fast, and most of the rate is kept", () => {
    const line = { bandwidth: constant(4 * mebibyte), latency: 10, answers: (marker: number) => marker % 3 === 0 }
    const { givenUp, pings, rate } = observe(line, { warmUp: 2000, millis: 10_000 })
    assert.strictEqual(givenUp, 0)
    assert.isAtLeast(rate, 0.75 * 4 * mebibyte)
    assert.isAtMost(quantile(pings, 0.98), 20 + 50)
  })

  it("markers are few: one for as much as is read in a third of the target, or for an eighth of the window", () => {
    const long = observe({ bandwidth: constant(4 * mebibyte), latency: 50 }, { warmUp: 2000, millis: 8000 })
    assert.isAtMost(long.markers, 10_000 / (target / 3) + 100)
    const short = observe({ bandwidth: constant(100 * mebibyte), latency: 0.05 }, { warmUp: 500, millis: 500 })
    assert.isAtMost(short.markers, 1.5 * 1000 / (target / 8))
  })
})
