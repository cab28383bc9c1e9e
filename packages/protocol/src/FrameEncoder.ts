/**
 * Frames to bytes, RFC 6455 section 5.2.
 *
 * A payload is copied into the frame and masked there, so that the caller's
 * array is never changed and never kept.
 *
 * @since 1.0.0
 */
import * as Frame from "./Frame.ts"
import * as Mask from "./Mask.ts"
import type { Opcode } from "./Opcode.ts"

/**
 * A frame to encode.
 *
 * @category models
 * @since 1.0.0
 */
export interface OutgoingFrame {
  readonly opcode: Opcode
  readonly fin: boolean
  /** Reserved bits in place, section 5.8. Default 0. */
  readonly rsv?: number | undefined
  /** Read while encoding, not changed and not kept. */
  readonly payload: Uint8Array
}

/**
 * Size in bytes of a frame with a payload of `length` bytes.
 *
 * @category sizes
 * @since 1.0.0
 */
export const frameSize = (length: number, masked: boolean): number => Frame.headerSize(length, masked) + length

/**
 * An array that frames are written to, one behind the other.
 *
 * @category models
 * @since 1.0.0
 */
export interface Room {
  readonly bytes: Uint8Array
  /** How many of its bytes are taken, from the front. Writing a frame raises it. */
  length: number
}

// Below this length, a loop costs less than a call.
const setFrom = 24

const copyInto = (payload: Uint8Array, out: Uint8Array, offset: number): void => {
  if (payload.length >= setFrom) return out.set(payload, offset)
  for (let i = 0; i < payload.length; i++) out[offset + i] = payload[i]!
}

/**
 * Writes a frame behind those that are there, masked when a key is given. The
 * caller sees to it that `frameSize` bytes are free.
 *
 * @category encoding
 * @since 1.0.0
 */
export const append = (frame: OutgoingFrame, key: number | undefined, room: Room): void => {
  const { fin, opcode, payload, rsv } = frame
  const { length } = payload
  const start = Frame.encodeHeader({ fin, rsv: rsv ?? 0, opcode, length, key }, room.bytes, room.length)
  copyInto(payload, room.bytes, start)
  room.length = start + length
  if (key !== undefined) Mask.applyInPlace(room.bytes, key, 0, start, room.length)
}

/**
 * Encodes a frame as a fresh array, masked when a key is given.
 *
 * **Example** (Encoding the masked "Hello" of section 5.7)
 *
 * ```ts import.meta.vitest
 * import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
 *
 * const payload = new TextEncoder().encode("Hello")
 * const frame = FrameEncoder.encode({ opcode: 1, fin: true, payload }, 0x37fa213d)
 * Array.from(frame) // => [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
 * ```
 *
 * @category encoding
 * @since 1.0.0
 */
export const encode = (frame: OutgoingFrame, key: number | undefined): Uint8Array => {
  const bytes = new Uint8Array(frameSize(frame.payload.length, key !== undefined))
  append(frame, key, { bytes, length: 0 })
  return bytes
}
