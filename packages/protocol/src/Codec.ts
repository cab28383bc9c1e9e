/**
 * The raw-deflate codec that permessage-deflate works with, RFC 1951 and RFC
 * 7692 section 7.2, as a shape: the layer above provides it.
 *
 * Everything is synchronous. Arrays that are given are read, not changed and
 * not kept; arrays that are returned are fresh and the caller's own.
 *
 * @since 1.0.0
 */

/**
 * Compresses one direction of a connection.
 *
 * @category models
 * @since 1.0.0
 */
export interface Deflater {
  /**
   * Takes input and gives what output there is. With `flush` all of it is given,
   * ending on a byte boundary with the four bytes 00 00 ff ff (a sync flush). A
   * flush that follows another with no input between may give nothing.
   */
  readonly push: (input: Uint8Array, flush: boolean) => Uint8Array
  /** Forgets the context: the next output refers to nothing before it. */
  readonly reset: () => void
  /** Frees what it holds. Idempotent; nothing is called afterwards. */
  readonly close: () => void
}

/**
 * What came of inflating.
 *
 * **Details**
 *
 * - `Output`: all that the input stands for.
 * - `TooBig`: it stands for more than the limit; inflating stopped there.
 * - `Corrupt`: it is not raw deflate.
 *
 * After `TooBig` and `Corrupt` the inflater is only closed.
 *
 * @category models
 * @since 1.0.0
 */
export type Inflated =
  | { readonly _tag: "Output"; readonly data: Uint8Array }
  | { readonly _tag: "TooBig" }
  | { readonly _tag: "Corrupt"; readonly message: string }

/**
 * Decompresses one direction of a connection.
 *
 * @category models
 * @since 1.0.0
 */
export interface Inflater {
  /**
   * Takes input and gives all output it stands for, at most `limit` bytes, 0 and
   * more: neither more output nor more memory than that is made. Where it stands
   * for `limit` bytes exactly, all the input was taken.
   *
   * A block with BFINAL (RFC 7692 section 7.2.3.4) ends a deflate stream; what
   * follows it begins the next one, also within one input.
   */
  readonly push: (input: Uint8Array, limit: number) => Inflated
  /**
   * Takes the four bytes 00 00 ff ff that RFC 7692 section 7.2.2 has follow a
   * message, and says whether they end it: either they complete an empty stored
   * block, or a block with BFINAL was the last. `false` where the input stands
   * inside another block; then the inflater is only closed.
   */
  readonly finish: () => boolean
  /** Forgets the context, as the peer's compressor did. */
  readonly reset: () => void
  /** Frees what it holds. Idempotent; nothing is called afterwards. */
  readonly close: () => void
}

/**
 * How to compress.
 *
 * @category models
 * @since 1.0.0
 */
export interface DeflaterOptions {
  /**
   * Base-2 logarithm of the LZ77 window, 8 to 15: how far back, in bytes, output
   * may refer. Raw zlib has no 8: see `PerMessageDeflate.zlibWindowBits`.
   */
  readonly windowBits: number
  /** 0 (none) to 9 (most). */
  readonly level: number
  /** Memory for the compressor's state, 1 (least) to 9. */
  readonly memLevel: number
}

/**
 * Makes the two halves.
 *
 * @category models
 * @since 1.0.0
 */
export interface Codec {
  readonly makeDeflater: (options: DeflaterOptions) => Deflater
  /** `windowBits` is the base-2 logarithm of the peer's window, 8 to 15. */
  readonly makeInflater: (windowBits: number) => Inflater
}
