/**
 * UTF-8 validity across chunk edges, RFC 3629 and RFC 6455 section 8.1.
 *
 * Fails at the first byte that cannot be right, whatever would follow: overlong
 * forms, surrogates and code points above U+10FFFF are refused at their second
 * byte.
 *
 * @since 1.0.0
 */

/**
 * Where a validation stands: `boundary`, `invalid`, or, inside a code point,
 * how many bytes it still needs (from bit 16) and the range of the next one
 * (its lowest value from bit 8, its highest from bit 0).
 *
 * @category models
 * @since 1.0.0
 */
export type State = number

/**
 * The state between code points, where a text may begin and end.
 *
 * @category constants
 * @since 1.0.0
 */
export const boundary: State = 0

/**
 * The state after a byte that cannot be right. There is no way out of it.
 *
 * @category constants
 * @since 1.0.0
 */
export const invalid: State = -1

const continuation = 0x80bf

const afterLead = (lead: number): State => {
  if (lead < 0x80) return boundary
  if (lead < 0xc2) return invalid
  if (lead < 0xe0) return (1 << 16) | continuation
  if (lead === 0xe0) return (2 << 16) | 0xa0bf
  if (lead === 0xed) return (2 << 16) | 0x809f
  if (lead < 0xf0) return (2 << 16) | continuation
  if (lead === 0xf0) return (3 << 16) | 0x90bf
  if (lead < 0xf4) return (3 << 16) | continuation
  return lead === 0xf4 ? (3 << 16) | 0x808f : invalid
}

const leads = Int32Array.from({ length: 256 }, (_, lead) => afterLead(lead))

const afterContinuation = (state: State, byte: number): State => {
  if (byte < ((state >>> 8) & 0xff) || byte > (state & 0xff)) return invalid
  return state < 2 << 16 ? boundary : ((state >>> 16) - 1 << 16) | continuation
}

const skipAscii = (bytes: Uint8Array, start: number, end: number): number => {
  let i = start
  while (
    i + 8 <= end &&
    (bytes[i]! | bytes[i + 1]! | bytes[i + 2]! | bytes[i + 3]! | bytes[i + 4]! | bytes[i + 5]! | bytes[i + 6]! |
        bytes[i + 7]!) < 0x80
  ) i += 8
  while (i < end && bytes[i]! < 0x80) i++
  return i
}

/**
 * The state after the bytes from `start` to `end`, which follow those that led
 * to `state`.
 *
 * **Example** (Refusing an overlong form at its second byte)
 *
 * ```ts import.meta.vitest
 * import * as Utf8 from "@effect-websocket/protocol/Utf8"
 *
 * const afterLead = Utf8.advance(Utf8.boundary, Uint8Array.of(0xe0))
 * Utf8.advance(afterLead, Uint8Array.of(0x80)) // => Utf8.invalid
 * ```
 *
 * @category transforming
 * @since 1.0.0
 */
export const advance = (state: State, bytes: Uint8Array, start: number = 0, end: number = bytes.length): State => {
  let i = start
  while (i < end && state !== invalid) {
    if (state === boundary) {
      i = skipAscii(bytes, i, end)
      if (i < end) state = leads[bytes[i++]!]!
    } else {
      state = afterContinuation(state, bytes[i++]!)
    }
  }
  return state
}

/**
 * Whether bytes are a whole UTF-8 text.
 *
 * @category guards
 * @since 1.0.0
 */
export const isValid = (bytes: Uint8Array): boolean => advance(boundary, bytes) === boundary
