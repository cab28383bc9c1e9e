import { assert, describe, it } from "@effect/vitest"
import * as RetryHint from "effect-websocket/RetryHint"
import * as WebSocketError from "effect-websocket/WebSocketError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const millis = (hint: Duration.Duration | undefined) => hint && Duration.toMillis(hint)

const status = (received: WebSocketError.CloseStatus["received"]) =>
  new WebSocketError.CloseStatus({
    code: received?.code ?? 1006,
    reason: received?.reason ?? "",
    received,
    sent: { code: 1001, reason: "retry-after=7" },
    initiator: "peer",
    clean: false
  })

const declined = (retryAfter: number | undefined) =>
  new WebSocketError.HandshakeError({
    reason: new WebSocketError.UpgradeDeclined({ status: 503, headers: [], body: new Uint8Array(), retryAfter })
  })

describe("a retry hint", () => {
  it("is read as it is written", () => {
    for (const time of [0, 1, 1234, 999_999_999]) {
      assert.strictEqual(millis(RetryHint.parse(RetryHint.format(Duration.millis(time)))), time)
    }
  })

  it.each([
    "",
    "retry-after=",
    "retry-after=-1",
    "retry-after=1.5",
    "retry-after=1234567890",
    " retry-after=1",
    "1234"
  ])(
    "is nothing else: %j",
    (reason) => assert.isUndefined(RetryHint.parse(reason))
  )

  it("is the peer's, of whatever ended the connection", () => {
    const told = status({ code: 1012, reason: "retry-after=1500" })
    const reason = new WebSocketError.ConnectionClosed({ status: told })
    assert.strictEqual(millis(RetryHint.of(told)), 1500)
    assert.strictEqual(millis(RetryHint.of(new WebSocketError.ReadError({ reason }))), 1500)
    assert.strictEqual(millis(RetryHint.of(new WebSocketError.WriteError({ reason }))), 1500)
    assert.strictEqual(millis(RetryHint.of(declined(2000))), 2000)
    assert.isUndefined(RetryHint.of(declined(undefined)))
    assert.isUndefined(RetryHint.of(status({ code: 1001, reason: "bye" })))
    assert.isUndefined(RetryHint.of(status(undefined)))
    assert.isUndefined(RetryHint.of(
      new WebSocketError.ReadError({ reason: new WebSocketError.TransportFailed({ cause: new Error("reset") }) })
    ))
  })

  it.effect("is drawn from the whole of its range and from nowhere else", () =>
    Effect.gen(function*() {
      const draws = yield* Effect.replicateEffect(RetryHint.draw({ min: "1 second", max: "1003 millis" }), 200)
      assert.deepStrictEqual(
        Array.from(new Set(draws.map(Duration.toMillis))).toSorted((a, b) => a - b),
        [1000, 1001, 1002, 1003]
      )
      assert.strictEqual(millis(yield* RetryHint.draw({ min: 50, max: 50 })), 50)
    }).pipe(Random.withSeed("hints")))
})
