/**
 * What an application gives to be sent, as bytes that may be sent.
 *
 * @since 1.0.0
 */
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import * as Utf8 from "@effect-websocket/protocol/Utf8"
import * as Effect from "effect/Effect"
import type { Payload, WriteOptions } from "../WebSocketStream.ts"
import { allocateUnsafe } from "./memory.ts"

const encoder = new TextEncoder()

/**
 * A message or part that is ready to be framed, or what is wrong with it.
 *
 * @internal
 */
export interface Outgoing {
  readonly type: MessageType
  readonly bytes: Source
  /** Where the text's validity stands after these bytes, for the next part. */
  readonly utf8: Utf8.State
  readonly problem: string | undefined
}

const none = new Uint8Array(0)

// Most bytes that one UTF-16 code unit takes.
const bytesPerUnit = 3

/**
 * Bytes of texts that are framed at once, so that none needs an array of its own.
 *
 * @internal
 */
export class Scratch {
  readonly #bytes = new Uint8Array(64 * 1024)
  #used = 0

  /** Forgets what was encoded. */
  clear(): void {
    this.#used = 0
  }

  /** A view of what becomes of the text, until it is forgotten; `undefined` where there is no room for it. */
  encode(text: string): Uint8Array | undefined {
    const start = this.#used
    if (text.length * bytesPerUnit > this.#bytes.length - start) return undefined
    this.#used += encoder.encodeInto(text, this.#bytes.subarray(start)).written
    return this.#bytes.subarray(start, this.#used)
  }

  /** Bytes that stay, whatever is encoded next. */
  keep(bytes: Source): Source {
    return bytes instanceof Uint8Array && bytes.buffer === this.#bytes.buffer ? bytes.slice() : bytes
  }
}

// Of a long payload so many bytes, or units of a string, are gone through before others have their turn. Where that takes
// memory which was not in use, it is the system that takes the time: up to a millisecond.
const pieceSize = 256 * 1024

// What is no longer than this is encoded at once, where it is written.
const longFrom = 512 * 1024

/**
 * Whether a payload, as one of that type, is gone through in pieces.
 *
 * @internal
 */
export const isLong = (payload: unknown, type: MessageType | undefined): payload is Payload =>
  typeof payload === "string"
    ? payload.length > longFrom
    : type === "text" && payload instanceof Uint8Array && payload.length > longFrom

const isHighSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xd800

/**
 * A long text, which becomes bytes as they are sent: at no time are there more of
 * them than one piece.
 *
 * @internal
 */
export class LongText {
  readonly #text: string
  readonly #scratch = new Uint8Array(64 * 1024)
  /** Units that were gone through. */
  #at = 0
  /** What was not taken yet of a code point. */
  #cut: Uint8Array = none
  #length = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Its size in bytes, once it was measured. */
  get length(): number {
    return this.#length
  }

  /** Goes through the next piece. Says what is wrong with it, or whether there is more. */
  measure(mayBeLone: boolean): boolean | string {
    const end = Math.min(this.#text.length, this.#at + pieceSize)
    while (this.#at < end) {
      const piece = this.#piece(this.#scratch.length / bytesPerUnit)
      if (!mayBeLone && !piece.isWellFormed()) return loneSurrogate
      const { read, written } = encoder.encodeInto(piece, this.#scratch)
      this.#length += written
      this.#at += read
    }
    if (this.#at < this.#text.length) return true
    this.#at = 0
    return false
  }

  /** The next bytes, as many as asked for or left; a view that is overwritten by the next call. */
  take(size: number): Uint8Array {
    const room = size > this.#scratch.length ? new Uint8Array(size) : this.#scratch
    let used = 0
    while (used < size) {
      if (this.#cut.length > 0) used += this.#takeCut(room, used, size)
      else if (this.#at === this.#text.length) break
      else {
        const { read, written } = encoder.encodeInto(this.#piece(size - used), room.subarray(used, size))
        used += written
        this.#at += read
        if (read === 0) this.#cutNext()
      }
    }
    return room.subarray(0, used)
  }

  /** The next units, so many or one more: none ends between two surrogates. */
  #piece(units: number): string {
    const end = Math.floor(this.#at + units)
    return this.#text.slice(this.#at, isHighSurrogate(this.#text.charCodeAt(end - 1)) ? end + 1 : end)
  }

  // There is no room for all of the next code point.
  #cutNext(): void {
    const next = String.fromCodePoint(this.#text.codePointAt(this.#at)!)
    this.#cut = encoder.encode(next)
    this.#at += next.length
  }

  #takeCut(room: Uint8Array, used: number, size: number): number {
    const taken = this.#cut.subarray(0, size - used)
    room.set(taken, used)
    this.#cut = this.#cut.subarray(taken.length)
    return taken.length
  }
}

/** Long bytes of a text, which were checked as what follows `from`. */
class CheckedBytes {
  readonly bytes: Uint8Array
  readonly from: Utf8.State
  /** Where the text's validity stands after those that were checked. */
  utf8: Utf8.State
  #at = 0

  constructor(bytes: Uint8Array, from: Utf8.State) {
    this.bytes = bytes
    this.from = from
    this.utf8 = from
  }

  /** Goes through the next piece, and says whether there is more. */
  check(): boolean {
    const end = Math.min(this.bytes.length, this.#at + pieceSize)
    this.utf8 = Utf8.advance(this.utf8, this.bytes, this.#at, end)
    this.#at = end
    return end < this.bytes.length && this.utf8 !== Utf8.invalid
  }
}

/**
 * Bytes of a message.
 *
 * @internal
 */
export type Source = Uint8Array | LongText

/**
 * A long payload that was gone through.
 *
 * @internal
 */
export type Prepared = LongText | CheckedBytes

const inTurns = (hasMore: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => hasMore() ? Effect.andThen(Effect.yieldNow, inTurns(hasMore)) : Effect.void)

const measured = (text: string, options: WriteOptions | undefined): Effect.Effect<Prepared | string> => {
  const long = new LongText(text)
  const mayBeLone = options?.loneSurrogates === "replace"
  let problem: string | undefined
  const measure = inTurns(() => {
    const more = long.measure(mayBeLone)
    if (typeof more === "boolean") return more
    problem = more
    return false
  })
  // A text of many pieces is made one at the first look, by the platform and at once: that has a turn for itself.
  const first = Effect.sync(() => text.charCodeAt(0))
  return Effect.andThen(Effect.andThen(first, Effect.yieldNow), Effect.map(measure, () => problem ?? long))
}

/**
 * Goes through a long payload, a piece in a turn of the event loop, and gives it
 * as `encode` takes it; or what is wrong with it.
 *
 * @internal
 */
export const prepare = (
  payload: Payload,
  options: WriteOptions | undefined,
  utf8: Utf8.State = Utf8.boundary
): Effect.Effect<Prepared | string> => {
  if (typeof payload === "string") return measured(payload, options)
  const checked = new CheckedBytes(payload, utf8)
  return Effect.as(inTurns(() => checked.check()), checked)
}

/**
 * A copy of bytes; of many, made a piece in a turn of the event loop.
 *
 * @internal
 */
export const copy = (source: Source): Effect.Effect<Uint8Array> => {
  // Not `slice`, which makes a view of a Node `Buffer`.
  if (source instanceof Uint8Array && source.length <= pieceSize) return Effect.succeed(new Uint8Array(source))
  const bytes = allocateUnsafe(source.length)
  let at = 0
  const step = inTurns(() => {
    const piece = source instanceof LongText ? source.take(pieceSize) : source.subarray(at, at + pieceSize)
    bytes.set(piece, at)
    at += piece.length
    return at < bytes.length
  })
  return Effect.as(step, bytes)
}

const loneSurrogate = "the string has a lone surrogate"

const wrong = (type: MessageType, problem: string): Outgoing => ({ type, bytes: none, utf8: Utf8.boundary, problem })

/**
 * Encodes a part of the open message `open`, or of a new one. With `scratch`, what
 * becomes of a string is there; what becomes of a long text is encoded as it is
 * taken.
 *
 * @internal
 */
export const encode = (
  payload: Payload | Prepared,
  fin: boolean,
  options: WriteOptions | undefined,
  open?: { readonly type: MessageType; readonly utf8: Utf8.State } | undefined,
  scratch?: Scratch
): Outgoing => {
  const isText = typeof payload === "string" || payload instanceof LongText
  const given = isText ? "text" : "binary"
  const type = open?.type ?? options?.type ?? given
  if (open !== undefined && options?.type !== undefined && options.type !== open.type) {
    return wrong(type, `the message is ${open.type} and this part is ${options.type}`)
  }
  if (isText) return encodeString(payload, fin, type, options, open, scratch)
  if (payload instanceof CheckedBytes) {
    const { bytes, from, utf8 } = payload
    const isNext = type === "text" && from === (open?.utf8 ?? Utf8.boundary)
    return isNext ? encodedBytes(bytes, utf8, fin) : encode(bytes, fin, options, open)
  }
  // callers without types: a number would be a length, and another array's elements are not bytes
  if (!(payload instanceof Uint8Array)) return wrong(type, "the payload is neither a string nor a Uint8Array")
  if (type === "binary") return { type, bytes: payload, utf8: Utf8.boundary, problem: undefined }
  return encodedBytes(payload, Utf8.advance(open?.utf8 ?? Utf8.boundary, payload), fin)
}

const encodedBytes = (bytes: Uint8Array, utf8: Utf8.State, fin: boolean): Outgoing =>
  utf8 === Utf8.invalid || (fin && utf8 !== Utf8.boundary)
    ? wrong("text", "the bytes of a text message are not UTF-8")
    : { type: "text", bytes, utf8, problem: undefined }

const encodeString = (
  text: string | LongText,
  fin: boolean,
  type: MessageType,
  options: WriteOptions | undefined,
  open: { readonly type: MessageType; readonly utf8: Utf8.State } | undefined,
  scratch: Scratch | undefined
): Outgoing => {
  if (open?.type === "binary" && options?.type === undefined) {
    return wrong(type, "the message is binary and this part is a string")
  }
  const utf8 = open?.utf8 ?? Utf8.boundary
  if (utf8 !== Utf8.boundary && (fin || text.length > 0)) return wrong(type, "the part before ends inside a code point")
  if (text instanceof LongText) return { type, bytes: text, utf8, problem: undefined }
  if (options?.loneSurrogates !== "replace" && !text.isWellFormed()) return wrong(type, loneSurrogate)
  return { type, bytes: scratch?.encode(text) ?? encoder.encode(text), utf8, problem: undefined }
}
