/**
 * The raw-deflate codec of a platform as a service, for permessage-deflate (RFC
 * 7692).
 *
 * `NodeDeflate.layer` of `@effect-websocket/platform-node` provides it from
 * `node:zlib`, `PortableDeflate.layer` in JavaScript wherever that runs.
 *
 * @since 1.0.0
 */
import type * as Codec from "@effect-websocket/protocol/Codec"
import type * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"

/**
 * Makes compressors and decompressors, one for each direction of a connection.
 *
 * **When to use**
 *
 * Provide it where connections may compress. Nothing is held by a codec before
 * its first use.
 *
 * **Details**
 *
 * Everything is synchronous: what a message costs is spent where it is sent or
 * received, and nothing waits in queues with memory held. So that a long message
 * does not stop the event loop, connections and `PreparedMessage` deflate at most
 * 64 KiB and inflate about 256 KiB in one turn of it, whatever the messages' size
 * and `fragmentSize` are.
 *
 * Inflating stops at the byte that passes `maxMessageSize` or
 * `maxCompressionRatio`, and no more than 4 KiB of the wire are inflated, to at
 * most 1032 times as much, before `readBuffer` is looked at.
 *
 * **Example** (Compressing two messages that share a context)
 *
 * ```ts import.meta.vitest
 * import * as Deflate from "effect-websocket/Deflate"
 * import * as PortableDeflate from "effect-websocket/PortableDeflate"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const codec = yield* Deflate.Deflate
 *   const deflater = codec.makeDeflater({ windowBits: 15, level: 6, memLevel: 8 })
 *   const message = new TextEncoder().encode("a message that comes again")
 *   const first = deflater.push(message, true)
 *   const second = deflater.push(message, true)
 *   deflater.close()
 *   return second.length < first.length
 * })
 *
 * const smaller = await Effect.runPromise(program.pipe(Effect.provide(PortableDeflate.layer)))
 * smaller // => true
 * ```
 *
 * @category services
 * @since 1.0.0
 */
export class Deflate extends Context.Service<Deflate, Codec.Codec>()("effect-websocket/Deflate") {}

/**
 * How a connection compresses, where the peer agrees (RFC 7692 section 7): what
 * this side asks of permessage-deflate, and what it makes of it.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends PerMessageDeflate.Options {
  /**
   * Whether messages may refer to those before them. `false` is short for both
   * `serverNoContextTakeover` and `clientNoContextTakeover`, where those say
   * nothing else. Default true: messages that resemble each other are several
   * times smaller, for memory.
   *
   * A connection that was used both ways, with zlib's defaults, adds to the
   * process some 245 KiB, some 75 KiB once `releaseAfter` has passed, and some 28
   * KiB where it is `false`: nothing is held between messages then.
   */
  readonly contextTakeover?: boolean | undefined
  /**
   * Shortest message that is compressed, in bytes. It looks at the whole message
   * where that is known; a message that is written in parts is compressed, unless
   * its first part says `compress: false`. Default 1024: below, the CPU buys
   * little.
   */
  readonly threshold?: number | undefined
  /** 0 (none) to 9 (most). Default 6. */
  readonly level?: number | undefined
  /** Memory for the compressor's state, 1 to 9. Default 8. */
  readonly memLevel?: number | undefined
  /**
   * Time without a compressed message after which a context is freed, as far as
   * what was agreed lets it: the compressor's always, the decompressor's where the
   * peer keeps none either. It is looked at once in that time, so that it may take
   * twice as long. A compressor holds 260 KiB with zlib's defaults, and all that
   * freeing it costs is that the next message is compressed by itself. Default 5
   * seconds.
   */
  readonly releaseAfter?: Duration.Input | undefined
}
