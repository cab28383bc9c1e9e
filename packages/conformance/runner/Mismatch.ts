/**
 * How a case fails: what a step expected, and what there was instead.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"

export class Mismatch extends Data.TaggedError("Mismatch")<{
  readonly expected: string
  readonly actual: string
}> {
  override get message(): string {
    return `expected ${this.expected}, got ${this.actual}`
  }
}

/** Values in one line. */
export const show = (value: unknown): string => {
  const text = JSON.stringify(value, (_, inner) => inner instanceof Uint8Array ? `${inner.length} bytes` : inner)
  return text === undefined ? String(value) : text.length > 300 ? `${text.slice(0, 300)}...` : text
}
