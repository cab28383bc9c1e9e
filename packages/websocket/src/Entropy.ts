/**
 * Where masking keys and handshake keys come from, RFC 6455 sections 4.1, 5.3
 * and 10.3.
 *
 * @since 1.0.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"

/**
 * A source of unpredictable numbers.
 *
 * @category models
 * @since 1.0.0
 */
export interface Entropy {
  /** A fresh unsigned 32-bit integer. */
  readonly uint32Unsafe: () => number
}

// One call for this many numbers: a call costs far more than a number.
const poolSize = 1024

const makeCrypto = (): Entropy => {
  const pool = new Uint32Array(poolSize)
  let used = poolSize
  return {
    uint32Unsafe: () => {
      if (used === poolSize) {
        crypto.getRandomValues(pool)
        used = 0
      }
      const value = pool[used]!
      pool[used++] = 0
      return value
    }
  }
}

/**
 * The source in use. Default: the platform's cryptographic generator, as
 * section 10.3 demands of masking keys.
 *
 * @category references
 * @since 1.0.0
 */
export const Entropy: Context.Reference<Entropy> = Context.Reference<Entropy>("effect-websocket/Entropy", {
  defaultValue: makeCrypto
})

/**
 * The source that takes numbers from a generator, for tests that must give the
 * same bytes for the same seed.
 *
 * **Gotchas**
 *
 * Predictable. Never for connections that leave the process.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromRandom = (random: typeof Random.Random.Service): Entropy => ({
  uint32Unsafe: () => Math.floor(random.nextDoubleUnsafe() * 0x100000000)
})

/**
 * Layer that takes numbers from Effect's `Random`, for tests that must give the
 * same bytes for the same seed.
 *
 * **Gotchas**
 *
 * Predictable. Never for connections that leave the process.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerRandom: Layer.Layer<never> = Layer.effect(Entropy, Effect.map(Random.Random, fromRandom))

/**
 * `size` fresh bytes, for a handshake key.
 *
 * @category getters
 * @since 1.0.0
 */
export const bytesUnsafe = (entropy: Entropy, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, () => entropy.uint32Unsafe() & 0xff)
