/**
 * The raw peer's compression, RFC 7692 section 7.2, by the platform's one-shot
 * functions: it shares no code and no state with the library's streams.
 *
 * A context that is taken over is a preset dictionary: the end of what this
 * direction said before.
 *
 * @since 1.0.0
 */
// @effect-diagnostics nodeBuiltinImport:off
import * as NodeZlib from "node:zlib"
import { concat } from "./Wire.ts"

/** What was agreed for one direction. */
export interface Direction {
  readonly windowBits: number
  readonly noContextTakeover: boolean
}

const tail = Uint8Array.of(0, 0, 0xff, 0xff)

// Output in such small pieces that what refers further back than the window is not found in the output itself.
const chunkSize = 64

/** Either half of one direction. */
export class Zlib {
  readonly #direction: Direction
  #history: Uint8Array = new Uint8Array(0)

  constructor(direction: Direction) {
    this.#direction = direction
  }

  deflate(message: Uint8Array): Uint8Array {
    const windowBits = Math.max(9, this.#direction.windowBits)
    const bytes = NodeZlib.deflateRawSync(message, {
      windowBits,
      finishFlush: NodeZlib.constants.Z_SYNC_FLUSH,
      ...this.#dictionary
    })
    this.#remember(message)
    return new Uint8Array(bytes.subarray(0, -4))
  }

  /** Throws where it is no DEFLATE, or refers further back than was agreed. */
  inflate(payload: Uint8Array): Uint8Array {
    const { windowBits } = this.#direction
    const bytes = NodeZlib.inflateRawSync(concat([payload, tail]), {
      windowBits,
      chunkSize,
      finishFlush: NodeZlib.constants.Z_SYNC_FLUSH,
      ...this.#dictionary
    })
    const message = new Uint8Array(bytes)
    this.#remember(message)
    return message
  }

  get #dictionary(): { readonly dictionary?: Uint8Array } {
    return this.#history.length === 0 ? {} : { dictionary: this.#history }
  }

  #remember(message: Uint8Array): void {
    if (this.#direction.noContextTakeover) return
    const all = concat([this.#history, message])
    this.#history = all.slice(Math.max(0, all.length - 2 ** this.#direction.windowBits))
  }
}
