/**
 * `Deflate` in JavaScript, over `pako`: for platforms that have no zlib of their
 * own to call synchronously. The library is loaded with this module only.
 *
 * Looked at in November 2026. pako 3.0.3 is a port of zlib 1.3.2 without
 * dependencies that gives away zlib's own calls (`zlibDeflate`, `zlibInflate`
 * over a `z_stream`): raw streams whose context outlives a flush, Z_SYNC_FLUSH,
 * windows of any size, and output into a buffer of the caller's, which is what
 * bounds it. fflate 0.8.3 is smaller but has no window bits, and its `Inflate`
 * makes all output of an input before it hands over any, so a bomb goes off
 * first. The web's `CompressionStream("deflate-raw")` cannot flush.
 *
 * @since 1.0.0
 */
import * as Layer from "effect/Layer"
import * as Pako from "pako"
import * as Deflate from "./Deflate.ts"
import * as ZlibCodec from "./ZlibCodec.ts"

const nothing = new Uint8Array(0)

const fail = (status: number): never => {
  throw new Error(`pako failed with ${status}`)
}

/** Calls `run` on the stream's buffers and lets go of them again. */
const write = (
  stream: Pako.ZStream,
  run: (stream: Pako.ZStream, flush: Pako.Z_FlushMode) => Pako.Z_CallStatus
): ZlibCodec.ZlibStream["write"] =>
(input, at, flush, output, room) => {
  stream.input = input
  stream.next_in = at
  stream.avail_in = input.length - at
  stream.output = output as Uint8Array<ArrayBuffer>
  stream.next_out = 0
  stream.avail_out = room
  const status = run(stream, flush)
  stream.input = nothing
  stream.output = nothing
  if (status === Pako.Z_DATA_ERROR) return stream.msg
  // Z_BUF_ERROR only says that there was nothing to do.
  if (status < Pako.Z_OK && status !== Pako.Z_BUF_ERROR) return fail(status)
  return room - stream.avail_out
}

const open = (
  init: (stream: Pako.ZStream) => Pako.Z_CallStatus,
  calls: {
    readonly run: (stream: Pako.ZStream, flush: Pako.Z_FlushMode) => Pako.Z_CallStatus
    readonly reset: (stream: Pako.ZStream) => Pako.Z_CallStatus
    readonly end: (stream: Pako.ZStream) => Pako.Z_CallStatus
  }
): ZlibCodec.ZlibStream => {
  const stream = new Pako.ZStream()
  const status = init(stream)
  if (status !== Pako.Z_OK) fail(status)
  return {
    get unread() {
      return stream.avail_in
    },
    write: write(stream, calls.run),
    reset: () => {
      calls.reset(stream)
    },
    close: () => {
      calls.end(stream)
    }
  }
}

const deflateCalls = { run: Pako.zlibDeflate, reset: Pako.zlibDeflateReset, end: Pako.zlibDeflateEnd }
const inflateCalls = { run: Pako.zlibInflate, reset: Pako.zlibInflateReset, end: Pako.zlibInflateEnd }

/** A window is told as its negative where the stream is raw, as in zlib. */
const zlib: ZlibCodec.Zlib = {
  deflate: ({ level, memLevel, windowBits }) =>
    open(
      (stream) => Pako.zlibDeflateInit2(stream, level, 8, -windowBits, memLevel, Pako.Z_DEFAULT_STRATEGY),
      deflateCalls
    ),
  inflate: (windowBits) => open((stream) => Pako.zlibInflateInit2(stream, -windowBits), inflateCalls)
}

/**
 * Provides `Deflate` in JavaScript.
 *
 * **When to use**
 *
 * In browsers, workers and other runtimes. On Node use `NodeDeflate.layer` of
 * `@effect-websocket/platform-node`, which is several times faster.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer: Layer.Layer<Deflate.Deflate> = Layer.sync(Deflate.Deflate, () => ZlibCodec.make(zlib))
