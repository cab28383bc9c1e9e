/**
 * A message that goes to many connections, encoded and compressed once.
 *
 * @since 1.0.0
 */
import { MessageDeflater } from "@effect-websocket/protocol/DeflateTransform"
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import type { WindowBits } from "@effect-websocket/protocol/PerMessageDeflate"
import * as Effect from "effect/Effect"
import * as Deflate from "./Deflate.ts"
import { deflateSize } from "./internal/compression.ts"
import type { Outgoing } from "./internal/outbox.ts"
import { concatPieces } from "./internal/parts.ts"
import * as OutgoingPayload from "./internal/payload.ts"
import * as WebSocketError from "./WebSocketError.ts"
import type { Payload, WriteOptions } from "./WebSocketStream.ts"

/**
 * What is to be known of a message.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Pick<WriteOptions, "type" | "loneSurrogates"> {}

/**
 * What is to be known of a message that is compressed.
 *
 * @category models
 * @since 1.0.0
 */
export interface CompressedOptions extends Options {
  /**
   * Base-2 logarithm of the window in bytes, 8 to 15. Default 15. Connections that
   * agreed on less for this side get the plain form, unless all of the message
   * is within their window.
   */
  readonly windowBits?: WindowBits | undefined
  /** 0 (none) to 9 (most). Default 6. */
  readonly level?: number | undefined
  /** Memory for the compressor's state while this runs, 1 to 9. Default 8. */
  readonly memLevel?: number | undefined
}

/** A message without context, and the least window in which its peers can follow it. */
interface Deflated {
  readonly bytes: Uint8Array
  readonly windowBits: number
}

/**
 * A message that is ready to be framed. `write`, `writeAll` and `sink` of
 * `WebSocketStream` take it as they take a string or bytes.
 *
 * **Details**
 *
 * A connection that agreed to permessage-deflate sends the compressed form, where
 * there is one and its window is large enough; every other sends the plain one.
 * Of the options of a write only `compress: false` matters: it asks for the plain
 * form.
 *
 * Where a connection keeps a context between messages, a compressed form ends the
 * one before it: the message behind it is compressed as the first was.
 *
 * @category models
 * @since 1.0.0
 */
export class PreparedMessage {
  readonly type: MessageType
  /** The plain form, which nothing changes. */
  readonly #plain: Outgoing
  readonly #compressed: Outgoing | undefined
  readonly #windowBits: number

  /** @internal */
  constructor(type: MessageType, bytes: Uint8Array, deflated: Deflated | undefined) {
    this.type = type
    this.#plain = { type, bytes, compress: false, deflated: undefined }
    this.#compressed = deflated && { ...this.#plain, deflated: deflated.bytes }
    this.#windowBits = deflated?.windowBits ?? Infinity
  }

  /** Size of the plain form in bytes. */
  get size(): number {
    return this.#plain.bytes.length
  }

  /** Size of the compressed form in bytes, `undefined` where there is none. */
  get compressedSize(): number | undefined {
    return this.#compressed?.deflated?.length
  }

  /**
   * As it is sent where the window is of so many bits, 0 without compression.
   *
   * @internal
   */
  outgoing(windowBits: number): Outgoing {
    return this.#windowBits <= windowBits ? this.#compressed ?? this.#plain : this.#plain
  }
}

interface Encoded {
  readonly type: MessageType
  readonly bytes: Uint8Array
}

const invalid = (problem: string) =>
  Effect.fail(new WebSocketError.WriteError({ reason: new WebSocketError.InvalidPayload({ problem }) }))

/** Encodes; the bytes are a copy. */
const encode = (
  message: Payload,
  options: Options | undefined
): Effect.Effect<Encoded, WebSocketError.WriteError> => {
  if (!OutgoingPayload.isLong(message, options?.type)) return encodePrepared(message, options)
  return Effect.flatMap(
    OutgoingPayload.prepare(message, options),
    (prepared) => typeof prepared === "string" ? invalid(prepared) : encodePrepared(prepared, options)
  )
}

const encodePrepared = (
  message: Payload | OutgoingPayload.Prepared,
  options: Options | undefined
): Effect.Effect<Encoded, WebSocketError.WriteError> => {
  const { bytes, problem, type } = OutgoingPayload.encode(message, true, options)
  if (problem !== undefined) return invalid(problem)
  if (typeof message === "string" && bytes instanceof Uint8Array) return Effect.succeed({ type, bytes })
  return Effect.map(OutgoingPayload.copy(bytes), (copied) => ({ type, bytes: copied }))
}

/**
 * Encodes a message, for connections that do not compress. Fails with
 * `InvalidPayload` where `write` would.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (
  message: Payload,
  options?: Options
): Effect.Effect<PreparedMessage, WebSocketError.WriteError> =>
  Effect.suspend(() =>
    Effect.map(encode(message, options), ({ bytes, type }) => new PreparedMessage(type, bytes, undefined))
  )

// No reference is longer than the message, so that a window of its size is enough.
const windowBitsFor = (size: number, windowBits: WindowBits): number =>
  Math.min(windowBits, Math.max(8, Math.ceil(Math.log2(size))))

const deflate = (
  codec: Deflate.Deflate["Service"],
  bytes: Uint8Array,
  { level, memLevel, windowBits = 15 }: CompressedOptions
): Effect.Effect<Deflated | undefined> => {
  const agreement = {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    serverMaxWindowBits: windowBits,
    clientMaxWindowBits: windowBits
  }
  const deflater = new MessageDeflater({ codec, role: "server", agreement, level, memLevel })
  return Effect.ensuring(deflatePieces(deflater, bytes), Effect.sync(() => deflater.close())).pipe(
    Effect.map((deflated) =>
      deflated.length < bytes.length
        ? { bytes: deflated, windowBits: windowBitsFor(bytes.length, windowBits) }
        : undefined
    )
  )
}

// Others have their turn between two pieces.
const deflatePieces = (deflater: MessageDeflater, bytes: Uint8Array): Effect.Effect<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  const next = (from: number): Effect.Effect<Uint8Array> =>
    Effect.suspend(() => {
      const to = from + deflateSize
      if (to >= bytes.length) {
        pieces.push(deflater.finish(bytes.subarray(from)))
        return Effect.succeed(concatPieces(pieces))
      }
      pieces.push(deflater.part(bytes.subarray(from, to), false))
      return Effect.andThen(Effect.yieldNow, next(to))
    })
  return next(0)
}

/**
 * Encodes a message and compresses it, without context. What does not get smaller
 * has no compressed form.
 *
 * **When to use**
 *
 * For one message to many connections with compression: a compressor runs once
 * and not once a connection. For messages that resemble those before them a
 * connection's own context is the smaller on the wire.
 *
 * **Example** (Broadcasting)
 *
 * ```ts import.meta.vitest
 * import * as PortableDeflate from "effect-websocket/PortableDeflate"
 * import * as PreparedMessage from "effect-websocket/PreparedMessage"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const program = Effect.gen(function*() {
 *   const news = yield* PreparedMessage.makeCompressed("all is well. ".repeat(100))
 *   const tell = Effect.flatMap(WebSocketStream, (stream) => stream.write(news))
 *   const server = WebSocketServer.serve(tell).pipe(
 *     Layer.provide(WebSocketServer.layer({ permessageDeflate: {} })),
 *     Layer.provideMerge(MemoryTransport.layer())
 *   )
 *   const listen = (permessageDeflate?: {}) =>
 *     WebSocketClient.connect({ url: "ws://localhost/", permessageDeflate }).pipe(
 *       Effect.flatMap((stream) => stream.read),
 *       Effect.scoped
 *     )
 *   return yield* Effect.provide(Effect.all([listen({}), listen()]), server)
 * })
 *
 * const [compressed, plain] = await Effect.runPromise(Effect.provide(program, PortableDeflate.layer))
 * compressed === plain // => true
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeCompressed = (
  message: Payload,
  options: CompressedOptions = {}
): Effect.Effect<PreparedMessage, WebSocketError.WriteError, Deflate.Deflate> =>
  Effect.flatMap(
    Deflate.Deflate,
    (codec) =>
      Effect.flatMap(Effect.suspend(() => encode(message, options)), ({ bytes, type }) =>
        Effect.map(deflate(codec, bytes, options), (deflated) =>
          new PreparedMessage(type, bytes, deflated)))
  )
