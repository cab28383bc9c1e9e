import { assert, describe, it } from "@effect/vitest"
import type * as RetryHint from "effect-websocket/RetryHint"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

const { defaults, layer, override, resolve } = WebSocketConfig

describe("WebSocketConfig", () => {
  it("every limit is finite by default, and every wait that ends a connection", () => {
    const { controlDelay, idleTimeout: _, keepAlive: __, messageTimeout, ...others } = defaults
    const { closeTimeout, drainRetryAfter, drainTimeout, handshakeTimeout, ...limits } = others
    assert.isTrue(Object.values(limits).filter((limit) => typeof limit === "number").every(Number.isFinite))
    assert.notStrictEqual(drainRetryAfter, "off")
    for (const time of [closeTimeout, drainTimeout, handshakeTimeout, (drainRetryAfter as RetryHint.Range).max]) {
      assert.isTrue(Duration.isFinite(Duration.fromInputUnsafe(time)))
    }
    for (const time of [messageTimeout, controlDelay]) {
      assert.isFalse(Duration.isFinite(Duration.fromInputUnsafe(time)))
    }
  })

  it.effect("takes an option over the environment's over the default, field by field", () =>
    Effect.gen(function*() {
      const config = yield* resolve({ maxFragments: 1, readBuffer: 2 })
      assert.deepStrictEqual(config, { ...defaults, maxMessageSize: 4, maxFragments: 1, readBuffer: 2 })
    }).pipe(Effect.provide(layer({ maxMessageSize: 4, maxFragments: 5 }))))

  it.effect("is the defaults where nothing is said", () =>
    Effect.map(resolve(), (config) => assert.deepStrictEqual(config, defaults)))

  it.effect("a field that is undefined takes no limit away", () =>
    Effect.gen(function*() {
      const config = yield* resolve({ maxMessageSize: undefined, keepAlive: undefined })
      assert.strictEqual(config.maxMessageSize, 7)
      assert.strictEqual(config.keepAlive, "off")
    }).pipe(Effect.provide(layer({ maxMessageSize: 7, maxFragments: undefined, keepAlive: "off" }))))

  it("override leaves what it is given alone", () => {
    const before = { ...defaults }
    assert.strictEqual(override(defaults, { maxFragments: 1 }).maxFragments, 1)
    assert.deepStrictEqual(override(defaults, undefined), defaults)
    assert.deepStrictEqual(defaults, before)
  })
})
