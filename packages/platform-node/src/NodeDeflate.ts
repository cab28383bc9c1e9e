/**
 * `Deflate` from `node:zlib`, called synchronously on the event loop.
 *
 * Chosen by measurement (`benchmark/deflate.ts`; Node 26.10, 15 bits, memLevel 8,
 * level 6; 22.23 and 24.21 come to the same). CPU of a message of 16 B, of 125 B
 * and of 1 KiB of JSON, in microseconds, deflating + inflating:
 *
 * - here: 3 + 2, 5 + 2, 28 + 5
 * - zlib's streams, in the thread pool: 34 + 28, 32 + 30, 65 + 32
 * - `deflateRawSync` with the window as dictionary: 80 + 40, 100 + 43, 120 + 50
 *
 * The price is the event loop: deflating holds it for 21 ms a mebibyte, inflating
 * for 2. So connections deflate 64 KiB and inflate about 256 KiB before others have
 * their turn: one or two milliseconds, whatever the message's size, with the CPU of
 * one go.
 *
 * No cap on concurrent work is needed, as none is concurrent: memory grows with
 * contexts, never with messages under way, which is how the pool takes gigabytes
 * under load. A connection that was used both ways holds 260 KiB, with 9 bits
 * 115 KiB (the pool's streams 370 and 210 KiB), until it is idle for
 * `releaseAfter`, 5 seconds by default; then its inflater alone, some 40 KiB. `memLevel` saves little, as Node's
 * zlib has 64 KiB of hash table in any case. Without context takeover nothing is
 * held between messages.
 *
 * The public functions either keep no context or are not synchronous, so messages
 * go through `writeSync` of the stream's handle, as in Node's own
 * `deflateRawSync`. It is not documented, and the same in 22, 24 and 26. Opening,
 * resetting and closing are public.
 *
 * @since 1.0.0
 */
import * as Deflate from "effect-websocket/Deflate"
import * as ZlibCodec from "effect-websocket/ZlibCodec"
import * as Layer from "effect/Layer"
import * as Zlib from "node:zlib"

/** What a stream of `node:zlib` has inside. */
interface Internals {
  readonly _handle: {
    readonly writeSync: (
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputSize: number,
      output: Uint8Array,
      outputAt: number,
      outputSize: number
    ) => void
  }
  /** Set by `writeSync`: room left in the output, bytes left in the input. */
  readonly _writeState: Uint32Array
}

/** The least that Node takes: every stream has an output buffer of this size, not used here. */
const chunkSize = 64

const hasInternals = (stream: object): boolean => {
  const { _handle, _writeState } = stream as Partial<Internals>
  return typeof _handle?.writeSync === "function" && _writeState instanceof Uint32Array
}

const drive = (stream: Zlib.DeflateRaw | Zlib.InflateRaw): ZlibCodec.ZlibStream => {
  const { _handle: handle, _writeState: state } = stream as unknown as Internals
  let error = { message: "", code: "" }
  // In place of Node's, which destroys the stream and emits an 'error' event.
  Object.assign(handle, {
    onerror: (message: string, _errno: number, code: string) => {
      error = { message, code }
    }
  })
  return {
    get unread() {
      return state[1]!
    },
    write: (input, at, flush, output, room) => {
      handle.writeSync(flush, input, at, input.length - at, output, 0, room)
      const { code, message } = error
      if (code === "") return room - state[0]!
      error = { message: "", code: "" }
      if (code === "Z_DATA_ERROR") return message
      throw new Error(`zlib failed with ${code}: ${message}`)
    },
    reset: () => stream.reset(),
    close: () => stream.close()
  }
}

const zlib: ZlibCodec.Zlib = {
  deflate: (options) => drive(Zlib.createDeflateRaw({ ...options, chunkSize })),
  inflate: (windowBits) => drive(Zlib.createInflateRaw({ windowBits, chunkSize }))
}

/**
 * Provides `Deflate` from `node:zlib`.
 *
 * **Gotchas**
 *
 * Dies where `node:zlib` is not Node's and lacks what its synchronous functions
 * use. Provide `PortableDeflate.layer` there.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer: Layer.Layer<Deflate.Deflate> = Layer.sync(Deflate.Deflate, () => {
  const probe = Zlib.createInflateRaw({ chunkSize })
  const usable = hasInternals(probe)
  probe.close()
  if (!usable) throw new Error("node:zlib has no synchronous handle here: provide PortableDeflate.layer")
  return ZlibCodec.make(zlib)
})
