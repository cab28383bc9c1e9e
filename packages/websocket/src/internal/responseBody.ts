/**
 * The beginning of a response's body, RFC 9112 section 6: what a server says
 * when it declines.
 *
 * @since 1.0.0
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"

/** Cuts the data out of the chunked transfer coding, RFC 9112 section 7.1. What is malformed ends it. */
class Chunked {
  #line = ""
  /** Bytes of the current chunk that are still to come. */
  #left = 0
  ended = false

  push(bytes: Uint8Array, onData: (data: Uint8Array) => void): void {
    let at = 0
    while (at < bytes.length && !this.ended) {
      if (this.#left === 0) this.#takeCode(bytes[at++]!)
      else {
        const data = bytes.subarray(at, at + this.#left)
        this.#left -= data.length
        at += data.length
        onData(data)
      }
    }
  }

  #takeCode(code: number): void {
    if (code !== 0x0a) {
      this.#line += String.fromCharCode(code)
      this.ended = this.#line.length > maxSizeLine
      return
    }
    const line = this.#line
    this.#line = ""
    // the line end behind a chunk's data
    if (line === "\r") return
    const [, digits] = /^([0-9A-Fa-f]{1,8})[\t ]*(?:;.*)?\r$/.exec(line) ?? []
    this.#left = Number.parseInt(digits ?? "0", 16)
    this.ended = this.#left === 0
  }
}

const maxSizeLine = 256

/**
 * Collects a body, at most `limit` bytes of it.
 *
 * @internal
 */
export class ResponseBody {
  readonly #chunks: Array<Uint8Array> = []
  readonly #chunked: Chunked | undefined
  readonly #wanted: number
  #size = 0

  constructor(head: HttpHead.ResponseHead, limit: number) {
    const coding = HttpHead.tokens(head.headers, "transfer-encoding").at(-1)
    this.#chunked = coding === "chunked" ? new Chunked() : undefined
    this.#wanted = Math.min(limit, coding === undefined ? announced(head) : Infinity)
  }

  /** Whether no more need be read. Without a length the body ends with the connection. */
  get isWhole(): boolean {
    return this.#size >= this.#wanted || this.#chunked?.ended === true
  }

  get bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#size)
    let offset = 0
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset)
      offset += chunk.length
    }
    return bytes
  }

  /** Takes what the transport gave. Copies what it keeps. */
  push(bytes: Uint8Array): void {
    if (this.#chunked === undefined) this.#keep(bytes)
    else this.#chunked.push(bytes, (data) => this.#keep(data))
  }

  #keep(data: Uint8Array): void {
    const part = data.slice(0, Math.max(0, this.#wanted - this.#size))
    if (part.length === 0) return
    this.#chunks.push(part)
    this.#size += part.length
  }
}

// RFC 9112 section 6.3: no body after 1xx, 204 and 304
const announced = ({ headers, status }: HttpHead.ResponseHead): number => {
  if (status < 200 || status === 204 || status === 304) return 0
  const [length] = HttpHead.values(headers, "content-length")
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : Infinity
}
