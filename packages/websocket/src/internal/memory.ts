/**
 * Arrays to be filled.
 *
 * @since 1.0.0
 */

interface Unsafe {
  readonly allocUnsafeSlow: (size: number) => Uint8Array
}

const unsafe = (globalThis as { readonly Buffer?: Unsafe }).Buffer

/**
 * An array of a buffer of its own. Where the platform can do without, it is not
 * filled with zeros first, which would take as long as filling it: what is in it is
 * whatever was in memory, and no more of it may be given away than was written.
 *
 * @internal
 */
export const allocateUnsafe = (size: number): Uint8Array =>
  unsafe === undefined ? new Uint8Array(size) : new Uint8Array(unsafe.allocUnsafeSlow(size).buffer)
