/**
 * A codec over a compressor that is called as zlib is, RFC 1950's and RFC
 * 1951's reference implementation: bytes go in from an offset, bytes come out
 * into a buffer of a given size, until there is room left.
 *
 * What zlib leaves to its callers is here, once for every platform: output that
 * is bounded while it is made, the end of a stream inside the input, windows of
 * 256 bytes, and contexts that are held only while something is in them.
 *
 * @since 1.0.0
 */
import type * as Codec from "@effect-websocket/protocol/Codec"
import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"

/**
 * zlib's flush values: Z_NO_FLUSH, Z_SYNC_FLUSH, and Z_BLOCK, which has inflating
 * stop where a block ends.
 *
 * @category models
 * @since 1.0.0
 */
export type Flush = 0 | 2 | 5

/**
 * One raw-deflate stream: zlib's `z_stream` with the function it is for.
 *
 * @category models
 * @since 1.0.0
 */
export interface ZlibStream {
  /** Bytes at the end of the input that the last `write` did not read. */
  readonly unread: number
  /**
   * Reads `input` from `at` on, writes at most `room` bytes to the start of
   * `output` and gives their count; or what is wrong with the input. Input that
   * is not read while there is room means that the stream, or with Z_BLOCK a
   * block, has ended before it.
   */
  readonly write: (input: Uint8Array, at: number, flush: Flush, output: Uint8Array, room: number) => number | string
  /** Makes it as new. */
  readonly reset: () => void
  /** Frees what it holds. Called once; nothing is called afterwards. */
  readonly close: () => void
}

/**
 * Makes streams. Window bits are 9 to 15 for deflating, 8 to 15 for inflating.
 *
 * @category models
 * @since 1.0.0
 */
export interface Zlib {
  readonly deflate: (options: Codec.DeflaterOptions) => ZlibStream
  readonly inflate: (windowBits: number) => ZlibStream
}

/** Bytes of output made by one call, and all that is held above the limit of an inflater. */
const outputSize = 64 * 1024

const nothing = new Uint8Array(0)

const noFlush = 0
const syncFlush = 2
const blockFlush = 5

// What RFC 7692 section 7.2.2 has follow a message, and a byte that is not to be read.
const tailAndMore = Uint8Array.of(0x00, 0x00, 0xff, 0xff, 0x00)

/**
 * At most one stream of each kind that nobody has a context in. Streams without
 * context go round among the connections here, so that idle ones hold none.
 */
class Spares {
  private readonly streams = new Map<number, ZlibStream>()

  take(kind: number): ZlibStream | undefined {
    const stream = this.streams.get(kind)
    this.streams.delete(kind)
    return stream
  }

  give(kind: number, stream: ZlibStream): void {
    if (this.streams.has(kind)) return stream.close()
    stream.reset()
    this.streams.set(kind, stream)
  }
}

/** The stream of one direction: there from the first use until it is reset or closed. */
class Context {
  private readonly spares: Spares
  private readonly kind: number
  private readonly make: () => ZlibStream
  private stream: ZlibStream | undefined
  private closed = false

  constructor(spares: Spares, kind: number, make: () => ZlibStream) {
    this.spares = spares
    this.kind = kind
    this.make = make
  }

  use(): ZlibStream {
    if (this.closed) throw new Error("A codec is not used after it was closed")
    return this.stream ??= this.spares.take(this.kind) ?? this.make()
  }

  reset(): void {
    if (this.stream !== undefined) this.spares.give(this.kind, this.stream)
    this.stream = undefined
  }

  close(): void {
    this.closed = true
    this.stream?.close()
    this.stream = undefined
  }
}

const join = (parts: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  // Most messages fit into one part.
  if (parts.length === 1) return parts[0]!
  const out = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const deflate = (stream: ZlibStream, input: Uint8Array, flush: boolean, output: Uint8Array): Uint8Array => {
  const parts: Array<Uint8Array> = []
  let size = 0
  let at = 0
  while (true) {
    const made = stream.write(input, at, flush ? syncFlush : noFlush, output, output.length)
    if (typeof made === "string") throw new Error(`Deflating failed: ${made}`)
    if (made > 0) parts.push(output.slice(0, made))
    size += made
    at = input.length - stream.unread
    if (made < output.length) return join(parts, size)
  }
}

const inflate = (stream: ZlibStream, input: Uint8Array, limit: number, output: Uint8Array): Codec.Inflated => {
  const parts: Array<Uint8Array> = []
  let size = 0
  let at = 0
  while (true) {
    // One byte more than allowed tells a stream that ends at the limit from one that goes on.
    const room = Math.min(output.length, limit - size + 1)
    const made = stream.write(input, at, syncFlush, output, room)
    if (typeof made === "string") return { _tag: "Corrupt", message: made }
    size += made
    if (size > limit) return { _tag: "TooBig" }
    if (made > 0) parts.push(output.slice(0, made))
    at = input.length - stream.unread
    if (made === room) continue
    if (at === input.length) return { _tag: "Output", data: join(parts, size) }
    // A block with BFINAL has ended the stream; what is left begins the next (RFC 7692 section 7.2.3.4).
    stream.reset()
  }
}

/**
 * Inside a block the tail would be data: more or less of it would be read than four bytes, or something come out. It
 * is not read at all behind a block with BFINAL.
 */
const finish = (stream: ZlibStream, output: Uint8Array): boolean => {
  const made = stream.write(tailAndMore, 0, blockFlush, output, output.length)
  return made === 0 && (stream.unread === 1 || stream.unread === tailAndMore.length)
}

/**
 * Makes a codec.
 *
 * **Details**
 *
 * - Inflating stops at the byte that passes the limit. Until then the output is
 *   held once, in parts of at most 64 KiB, and twice while the parts of a
 *   message that keeps the limit are joined.
 * - Contexts are made at the first use. `reset` gives the context back: one of
 *   each kind is kept for whoever comes next, so that connections without
 *   context takeover hold nothing between messages. `close` frees at once.
 * - Deflating with 8 window bits is done with 9, and read by a peer with 8: see
 *   `PerMessageDeflate.zlibWindowBits`.
 *
 * **Gotchas**
 *
 * Pushing after `close` throws.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (zlib: Zlib): Codec.Codec => {
  const output = new Uint8Array(outputSize)
  const deflates = new Spares()
  const inflates = new Spares()
  return {
    makeDeflater: ({ level, memLevel, windowBits: wanted }) => {
      const windowBits = PerMessageDeflate.zlibWindowBits(wanted)
      const kind = (windowBits * 10 + level) * 10 + memLevel
      const context = new Context(deflates, kind, () => zlib.deflate({ windowBits, level, memLevel }))
      return {
        push: (input, flush) => input.length === 0 && !flush ? nothing : deflate(context.use(), input, flush, output),
        reset: () => context.reset(),
        close: () => context.close()
      }
    },
    makeInflater: (windowBits) => {
      const context = new Context(inflates, windowBits, () => zlib.inflate(windowBits))
      return {
        push: (input, limit) => inflate(context.use(), input, limit, output),
        finish: () => finish(context.use(), output),
        reset: () => context.reset(),
        close: () => context.close()
      }
    }
  }
}
