/**
 * What an application gives to be sent, as bytes that may be sent.
 *
 * @since 1.0.0
 */
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import * as Utf8 from "@effect-websocket/protocol/Utf8"
import type { Payload, WriteOptions } from "../WebSocketStream.ts"

const encoder = new TextEncoder()

/**
 * A message or part that is ready to be framed, or what is wrong with it.
 *
 * @internal
 */
export interface Outgoing {
  readonly type: MessageType
  readonly bytes: Uint8Array
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
  keep(bytes: Uint8Array): Uint8Array {
    return bytes.buffer === this.#bytes.buffer ? bytes.slice() : bytes
  }
}

const wrong = (type: MessageType, problem: string): Outgoing => ({ type, bytes: none, utf8: Utf8.boundary, problem })

/**
 * Encodes a part of the open message `open`, or of a new one. With `scratch`, what
 * becomes of a string is there.
 *
 * @internal
 */
export const encode = (
  payload: Payload,
  fin: boolean,
  options: WriteOptions | undefined,
  open?: { readonly type: MessageType; readonly utf8: Utf8.State } | undefined,
  scratch?: Scratch
): Outgoing => {
  const given = typeof payload === "string" ? "text" : "binary"
  const type = open?.type ?? options?.type ?? given
  if (open !== undefined && options?.type !== undefined && options.type !== open.type) {
    return wrong(type, `the message is ${open.type} and this part is ${options.type}`)
  }
  if (typeof payload === "string") return encodeString(payload, fin, type, options, open, scratch)
  // callers without types: a number would be a length, and another array's elements are not bytes
  if (!(payload instanceof Uint8Array)) return wrong(type, "the payload is neither a string nor a Uint8Array")
  if (type === "binary") return { type, bytes: payload, utf8: Utf8.boundary, problem: undefined }
  const utf8 = Utf8.advance(open?.utf8 ?? Utf8.boundary, payload)
  return utf8 === Utf8.invalid || (fin && utf8 !== Utf8.boundary)
    ? wrong(type, "the bytes of a text message are not UTF-8")
    : { type, bytes: payload, utf8, problem: undefined }
}

const encodeString = (
  text: string,
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
  if (utf8 !== Utf8.boundary && (fin || text !== "")) return wrong(type, "the part before ends inside a code point")
  if (options?.loneSurrogates !== "replace" && !text.isWellFormed()) {
    return wrong(type, "the string has a lone surrogate")
  }
  return { type, bytes: scratch?.encode(text) ?? encoder.encode(text), utf8, problem: undefined }
}
