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
 * Writes a frame at `offset`, masked when a key is given, and returns the
 * offset after it. The caller reserves `frameSize` bytes.
 *
 * @category encoding
 * @since 1.0.0
 */
export const encodeInto = (
  frame: OutgoingFrame,
  key: number | undefined,
  out: Uint8Array,
  offset: number
): number => {
  const { fin, opcode, payload, rsv } = frame
  const start = Frame.encodeHeader({ fin, rsv: rsv ?? 0, opcode, length: payload.length, key }, out, offset)
  const end = start + payload.length
  out.set(payload, start)
  if (key !== undefined) Mask.applyInPlace(out, key, 0, start, end)
  return end
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
  const out = new Uint8Array(frameSize(frame.payload.length, key !== undefined))
  encodeInto(frame, key, out, 0)
  return out
}
