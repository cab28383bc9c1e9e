/**
 * Frames as they cross, RFC 6455 section 5.2, for the raw end of a case.
 *
 * Frames that are as they should be come from the protocol package's encoder;
 * what the library sends is read by the reader below, which shares no code with
 * it and refuses what no sender may do: a length that is not in its shortest
 * form, a payload masked by a server or not masked by a client.
 *
 * @since 1.0.0
 */
import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
import type { Opcode } from "@effect-websocket/protocol/Opcode"

export type Role = "client" | "server"

export const opposite = (role: Role): Role => role === "client" ? "server" : "client"

/** A frame. Reserved bits are in place: 0x40, 0x20, 0x10. */
export interface Frame {
  readonly opcode: number
  readonly fin: boolean
  readonly rsv: number
  readonly payload: Uint8Array
}

/** A frame, bytes as they are, or bytes that depend on who sends them. */
export type Sendable = Frame | Uint8Array | ((sender: Role) => Uint8Array)

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const utf8 = (text: string): Uint8Array => encoder.encode(text)

export const hex = (digits: string): Uint8Array =>
  Uint8Array.from(digits.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))

export const concat = (arrays: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(arrays.reduce((size, bytes) => size + bytes.length, 0))
  let offset = 0
  for (const bytes of arrays) {
    out.set(bytes, offset)
    offset += bytes.length
  }
  return out
}

/** Cuts bytes into chunks of `size`, the last one maybe shorter. */
export const chop = (bytes: Uint8Array, size: number): ReadonlyArray<Uint8Array> =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size))

/** Bytes that differ from their neighbours and from those 256 further on. */
export const pattern = (size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >>> 8) * 7 + 1) & 0xff)

const frame = (opcode: number, payload: string | Uint8Array, fin: boolean, rsv: number): Frame => ({
  opcode,
  fin,
  rsv,
  payload: typeof payload === "string" ? utf8(payload) : payload
})

export const text = (payload: string | Uint8Array = "", fin = true, rsv = 0) => frame(1, payload, fin, rsv)
export const binary = (payload: Uint8Array = new Uint8Array(0), fin = true, rsv = 0) => frame(2, payload, fin, rsv)
export const more = (payload: string | Uint8Array = "", fin = true, rsv = 0) => frame(0, payload, fin, rsv)
export const ping = (payload: string | Uint8Array = "") => frame(9, payload, true, 0)
export const pong = (payload: string | Uint8Array = "") => frame(10, payload, true, 0)
export const close = (code?: number, reason: string | Uint8Array = "") => {
  if (code === undefined) return frame(8, "", true, 0)
  return frame(
    8,
    concat([Uint8Array.of(code >>> 8, code), typeof reason === "string" ? utf8(reason) : reason]),
    true,
    0
  )
}

const key = 0x37fa213d
const keyBytes = [0x37, 0xfa, 0x21, 0x3d] as const

/** Any first byte with a payload in the shortest form of its length, masked as the sender has to. */
export const octet = (first: number, payload: Uint8Array = new Uint8Array(0)): Sendable =>
  frame(first & 0xf, payload, (first & 0x80) !== 0, first & 0x70)

/** A header written out in hex, without its mask; the sender's mask and key are added, and the payload behind it. */
export const header = (digits: string, payload: Uint8Array = new Uint8Array(0)) => (sender: Role): Uint8Array => {
  const bytes = hex(digits)
  if (sender === "server") return concat([bytes, payload])
  bytes[1]! |= 0x80
  return concat([bytes, Uint8Array.from(keyBytes), payload.map((byte, i) => byte ^ keyBytes[i & 3]!)])
}

/** A frame masked where its sender must not, and bare where it must. */
export const wrongWay = (sent: Frame) => (sender: Role): Uint8Array => encode(opposite(sender), sent)

/** A frame of a client with a masking key of its own. */
export const masked = (sent: Frame, ownKey: number) => (sender: Role): Uint8Array =>
  FrameEncoder.encode({ ...sent, opcode: sent.opcode as Opcode }, sender === "client" ? ownKey : undefined)

/** What `sender` puts on the wire. */
export const encode = (sender: Role, sent: Sendable): Uint8Array =>
  sent instanceof Uint8Array ? sent : typeof sent === "function" ? sent(sender) : masked(sent, key)(sender)

const names: Readonly<Record<number, string>> = { 0: "cont", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" }

const describePayload = ({ opcode, payload }: Frame): string => {
  if (payload.length === 0) return ""
  if (payload.length > 40) return ` of ${payload.length} bytes`
  if (opcode === 8) return ` ${(payload[0]! << 8) | payload[1]!} ${decoder.decode(payload.subarray(2))}`.trimEnd()
  if (opcode === 1) return ` ${JSON.stringify(decoder.decode(payload))}`
  return ` ${Array.from(payload, (byte) => byte.toString(16).padStart(2, "0")).join("")}`
}

/** A frame in a few words, for failures. */
export const describe = (shown: Frame): string =>
  `${names[shown.opcode] ?? `opcode ${shown.opcode}`}${shown.fin ? "" : "-"}${
    shown.rsv === 0 ? "" : ` (rsv ${shown.rsv.toString(16)})`
  }${describePayload(shown)}`

export const equalBytes = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, i) => byte === right[i])

export const equalFrames = (left: Frame, right: Frame): boolean =>
  left.opcode === right.opcode && left.fin === right.fin && left.rsv === right.rsv &&
  equalBytes(left.payload, right.payload)

/** A frame that arrived, and the key it was masked with. */
export interface Arrived extends Frame {
  readonly key: Uint8Array | undefined
}

/** Reads what `sender` sends. */
export class FrameReader {
  /** What arrived and is no whole frame yet. */
  rest: Uint8Array = new Uint8Array(0)
  readonly #sender: Role

  constructor(sender: Role) {
    this.#sender = sender
  }

  push(chunk: Uint8Array): void {
    this.rest = concat([this.rest, chunk])
  }

  /** The next whole frame, what is wrong with it, or `undefined` where it is not whole. */
  next(): Arrived | string | undefined {
    const bytes = this.rest
    if (bytes.length < 2) return undefined
    const isMasked = bytes[1]! >= 0x80
    if (isMasked !== (this.#sender === "client")) return isMasked ? "a masked frame" : "a frame that is not masked"
    const short = bytes[1]! & 0x7f
    const lengthSize = short < 126 ? 0 : short === 126 ? 2 : 8
    const start = 2 + lengthSize + (isMasked ? 4 : 0)
    if (bytes.length < start) return undefined
    const length = lengthSize === 0 ? short : Number(`0x${toHex(bytes.subarray(2, 2 + lengthSize))}`)
    if (lengthSize > 0 && length < (lengthSize === 2 ? 126 : 65_536)) return `a length of ${length} in a long form`
    if (bytes.length < start + length) return undefined
    const ownKey = isMasked ? bytes.slice(start - 4, start) : undefined
    const payload = bytes.slice(start, start + length)
    if (ownKey !== undefined) payload.forEach((byte, i) => payload[i] = byte ^ ownKey[i & 3]!)
    this.rest = bytes.slice(start + length)
    return { opcode: bytes[0]! & 0xf, fin: bytes[0]! >= 0x80, rsv: bytes[0]! & 0x70, payload, key: ownKey }
  }
}

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
