/**
 * Frame masking, RFC 6455 section 5.3.
 *
 * A masking key is four bytes held as one unsigned 32-bit integer, first byte
 * most significant. Masking is its own inverse. Everything here is synchronous
 * and works in place; choosing a key is the caller's job, since randomness is a
 * service and this package has none.
 *
 * @since 1.0.0
 */

// Below this length, setting up a word view costs more than it saves.
const wordwiseFrom = 64

const keyBytes = new Uint8Array(4)
const keyWord = new Int32Array(keyBytes.buffer)

const rotate = (key: number, phase: number): number =>
  (phase & 3) === 0 ? key : (key << ((phase & 3) << 3)) | (key >>> (32 - ((phase & 3) << 3)))

const applyBytewise = (bytes: Uint8Array, key: number, start: number, end: number): void => {
  for (let i = start, shift = 24; i < end; i++, shift = (shift - 8) & 31) {
    bytes[i]! ^= key >>> shift
  }
}

const wordOf = (key: number): number => {
  keyBytes[0] = key >>> 24
  keyBytes[1] = key >>> 16
  keyBytes[2] = key >>> 8
  keyBytes[3] = key
  return keyWord[0]!
}

// Eight words a step: half the time of one, where it is compiled. `BigUint64Array` would halve it again in V8, and cost
// a hundred times as much elsewhere.
const applyWordwise = (words: Int32Array, word: number, start: number, end: number): void => {
  let i = start
  for (const last = end - 8; i <= last; i += 8) {
    words[i]! ^= word
    words[i + 1]! ^= word
    words[i + 2]! ^= word
    words[i + 3]! ^= word
    words[i + 4]! ^= word
    words[i + 5]! ^= word
    words[i + 6]! ^= word
    words[i + 7]! ^= word
  }
  for (; i < end; i++) words[i]! ^= word
}

/**
 * All of an array's buffer as words, for `applyInPlace` to be called many times.
 *
 * @category models
 * @since 1.0.0
 */
export const wordsOf = ({ buffer }: Uint8Array): Int32Array => new Int32Array(buffer, 0, buffer.byteLength >>> 2)

/**
 * XORs `bytes` from `start` to `end` in place with `key`, beginning at byte
 * `phase` of the key.
 *
 * **Details**
 *
 * `phase` is how many payload bytes of the frame came before, so a payload that
 * arrives in chunks can be unmasked chunk by chunk. `start` defaults to 0 and
 * `end` to the array's length. `words` is what `wordsOf` gives for `bytes`; it is
 * made where it is needed and not given.
 *
 * **Example** (Unmasking a payload in two chunks)
 *
 * ```ts import.meta.vitest
 * import * as Mask from "@effect-websocket/protocol/Mask"
 *
 * const bytes = Uint8Array.of(0x7f, 0x9f, 0x4d, 0x51, 0x58)
 * Mask.applyInPlace(bytes.subarray(0, 2), 0x37fa213d, 0)
 * Mask.applyInPlace(bytes.subarray(2), 0x37fa213d, 2)
 *
 * new TextDecoder().decode(bytes) // => "Hello"
 * ```
 *
 * @category transforming
 * @since 1.0.0
 */
export const applyInPlace = (
  bytes: Uint8Array,
  key: number,
  phase: number,
  start: number = 0,
  end: number = bytes.length,
  words?: Int32Array
): void => {
  if (end - start < wordwiseFrom) return applyBytewise(bytes, rotate(key, phase), start, end)
  const aligned = start + (-(bytes.byteOffset + start) & 3)
  const tail = end - ((end - aligned) & 3)
  applyBytewise(bytes, rotate(key, phase), start, aligned)
  const { byteOffset } = bytes
  const rotated = rotate(key, phase + aligned - start)
  applyWordwise(words ?? wordsOf(bytes), wordOf(rotated), (byteOffset + aligned) >>> 2, (byteOffset + tail) >>> 2)
  applyBytewise(bytes, rotate(key, phase + tail - start), tail, end)
}
