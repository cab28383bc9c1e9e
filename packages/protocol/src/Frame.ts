/**
 * Frame headers, RFC 6455 section 5.2.
 *
 * Bytes in, plain data out. A header is 2 to 14 bytes; lengths are bytes and
 * integers on the wire are big-endian.
 *
 * @since 1.0.0
 */
import { isControl, isOpcode, Opcode } from "./Opcode.ts"
import type { Rule } from "./ProtocolError.ts"

/**
 * Which end of a connection this is. A client masks what it sends and a server
 * does not, section 5.1.
 *
 * @category models
 * @since 1.0.0
 */
export type Role = "client" | "server"

/**
 * A frame header.
 *
 * @category models
 * @since 1.0.0
 */
export interface Header {
  readonly fin: boolean
  /** RSV1, RSV2 and RSV3 in place: 0x40, 0x20 and 0x10. They belong to extensions, section 5.8. */
  readonly rsv: number
  readonly opcode: Opcode
  /** Payload length in bytes, an integer of at most 2^53 - 1. */
  readonly length: number
  /** The masking key as an unsigned 32-bit integer, or `undefined` for an unmasked frame. */
  readonly key: number | undefined
}

/**
 * The three reserved bits of a header's first byte.
 *
 * @category constants
 * @since 1.0.0
 */
export const reservedBits = 0x70

/**
 * Longest header in bytes: 64-bit length and masking key.
 *
 * @category constants
 * @since 1.0.0
 */
export const maxHeaderSize = 14

/**
 * Longest payload of a control frame in bytes, section 5.5.
 *
 * @category constants
 * @since 1.0.0
 */
export const maxControlPayload = 125

/**
 * Size in bytes of the header of a frame with a payload of `length` bytes.
 *
 * @category sizes
 * @since 1.0.0
 */
export const headerSize = (length: number, masked: boolean): number =>
  (length < 126 ? 2 : length < 0x10000 ? 4 : 10) + (masked ? 4 : 0)

/**
 * Writes a header at `offset` and returns the offset after it. The caller
 * reserves `headerSize` bytes.
 *
 * **Example** (Encoding the header of the unmasked "Hello" of section 5.7)
 *
 * ```ts import.meta.vitest
 * import * as Frame from "@effect-websocket/protocol/Frame"
 *
 * const out = new Uint8Array(2)
 * Frame.encodeHeader({ fin: true, rsv: 0, opcode: 1, length: 5, key: undefined }, out, 0) // => 2
 * Array.from(out) // => [0x81, 0x05]
 * ```
 *
 * @category encoding
 * @since 1.0.0
 */
export const encodeHeader = (header: Header, out: Uint8Array, offset: number): number => {
  const { key, length } = header
  const mask = key === undefined ? 0 : 0x80
  out[offset++] = (header.fin ? 0x80 : 0) | header.rsv | header.opcode
  if (length < 126) {
    out[offset++] = mask | length
  } else if (length < 0x10000) {
    out[offset++] = mask | 126
    out[offset++] = length >>> 8
    out[offset++] = length
  } else {
    out[offset++] = mask | 127
    offset = encodeUint32(Math.floor(length / 0x100000000), out, offset)
    offset = encodeUint32(length >>> 0, out, offset)
  }
  return key === undefined ? offset : encodeUint32(key, out, offset)
}

const encodeUint32 = (value: number, out: Uint8Array, offset: number): number => {
  out[offset] = value >>> 24
  out[offset + 1] = value >>> 16
  out[offset + 2] = value >>> 8
  out[offset + 3] = value
  return offset + 4
}

const decodeUint32 = (bytes: Uint8Array, offset: number): number =>
  ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0

/**
 * The rule that a header's first two bytes break, where `role` receives them
 * and extensions own the bits of `ownedBits`.
 *
 * **Details**
 *
 * An extension's bits may be set on the first frame of a data message only: so
 * it is for every registered extension (RFC 7692 section 6).
 *
 * @category guards
 * @since 1.0.0
 */
export const ruleOfStart = (byte0: number, byte1: number, role: Role, ownedBits: number): Rule | undefined => {
  const opcode = byte0 & 0xf
  if (!isOpcode(opcode)) return "ReservedOpcode"
  const mayUse = isControl(opcode) || opcode === Opcode.Continuation ? 0 : ownedBits
  if ((byte0 & reservedBits & ~mayUse) !== 0) return "ReservedBits"
  if (isControl(opcode)) {
    if ((byte0 & 0x80) === 0) return "FragmentedControlFrame"
    if ((byte1 & 0x7f) > maxControlPayload) return "ControlFrameTooLong"
  }
  const masked = (byte1 & 0x80) !== 0
  if (masked !== (role === "server")) return masked ? "MaskedFrame" : "UnmaskedFrame"
}

/**
 * The size in bytes of the header that begins with `byte1` as its second byte.
 *
 * @category sizes
 * @since 1.0.0
 */
export const headerSizeOf = (byte1: number): number => {
  const short = byte1 & 0x7f
  return (short < 126 ? 2 : short === 126 ? 4 : 10) + ((byte1 & 0x80) >>> 5)
}

/**
 * The payload length, in bytes, of a header whose `headerSizeOf` bytes are at
 * `offset`, or the rule that its encoding breaks.
 *
 * **Details**
 *
 * Lengths above 2^53 - 1 come back inexact and larger than that, so that every
 * comparison with a limit still holds.
 *
 * @category decoding
 * @since 1.0.0
 */
export const decodeLength = (bytes: Uint8Array, offset: number): number | Rule => {
  const short = bytes[offset + 1]! & 0x7f
  if (short < 126) return short
  if (short === 126) {
    const length = (bytes[offset + 2]! << 8) | bytes[offset + 3]!
    return length < 126 ? "NonMinimalLength" : length
  }
  const high = decodeUint32(bytes, offset + 2)
  if (high >= 0x80000000) return "InvalidLength"
  const length = high * 0x100000000 + decodeUint32(bytes, offset + 6)
  return length < 0x10000 ? "NonMinimalLength" : length
}

/**
 * The masking key that ends the header of `size` bytes at `offset`, as an
 * unsigned 32-bit integer.
 *
 * @category decoding
 * @since 1.0.0
 */
export const decodeKey = (bytes: Uint8Array, offset: number, size: number): number =>
  decodeUint32(bytes, offset + size - 4)
