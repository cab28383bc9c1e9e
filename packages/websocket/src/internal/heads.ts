/**
 * Heads over a link: what both sides of the opening handshake share.
 *
 * @since 1.0.0
 */
import * as Handshake from "@effect-websocket/protocol/Handshake"
import type { HandshakeError as HandshakeRule } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { sha1 } from "@noble/hashes/legacy.js"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type { TransportError } from "../Transport.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import * as WebSocketError from "../WebSocketError.ts"
import type { Handshake as OpeningHandshake } from "../WebSocketStream.ts"
import type { Link } from "./link.ts"

/**
 * Headers as callers give them.
 *
 * @internal
 */
export type HeadersInput = Readonly<Record<string, string>> | HttpHead.Headers

/**
 * Headers as the protocol takes them.
 *
 * @internal
 */
export const toHeaders = (input: HeadersInput | undefined): HttpHead.Headers => {
  if (input === undefined) return []
  return Array.isArray(input) ? input : Object.entries(input)
}

/**
 * A handshake error with a reason.
 *
 * @internal
 */
export const handshakeError = (reason: WebSocketError.HandshakeError["reason"]): WebSocketError.HandshakeError =>
  new WebSocketError.HandshakeError({ reason })

/**
 * A transport's error as a handshake error.
 *
 * @internal
 */
export const transportFailed = (cause: TransportError): WebSocketError.HandshakeError => {
  const refusal = cause.reason.cause
  return handshakeError(
    refusal instanceof WebSocketError.ProxyRefused ? refusal : new WebSocketError.TransportFailed({ cause })
  )
}

/**
 * A broken rule as a handshake error of the side that noticed.
 *
 * @internal
 */
export const ruleBroken = (side: "request" | "response", error: HandshakeRule): WebSocketError.HandshakeError => {
  const { limit, rule, section, status } = error
  if (limit !== undefined) return handshakeError(new WebSocketError.HeadTooLarge({ limit }))
  return handshakeError(
    side === "request"
      ? new WebSocketError.InvalidRequest({ rule, section, status })
      : new WebSocketError.InvalidResponse({ rule, section })
  )
}

/**
 * Sec-WebSocket-Accept for a key, RFC 6455 section 4.2.2.
 *
 * @internal
 */
export const acceptOf = (key: string): string => Base64.encode(sha1(new TextEncoder().encode(Handshake.challenge(key))))

const pack = (startLine: ReadonlyArray<string>, headers: HttpHead.Headers): string => {
  const parts = [...startLine]
  for (const [name, value] of headers) parts.push(name, value)
  // no part of a head that was read, or may be written, has a line feed in it
  return parts.join("\n")
}

const unpack = (packed: string): readonly [string, string, string, HttpHead.Headers] => {
  const [version, first, second, ...parts] = packed.split("\n") as [string, string, string, ...Array<string>]
  const headers: Array<HttpHead.Headers[number]> = []
  for (let i = 0; i < parts.length; i += 2) headers.push([parts[i]!, parts[i + 1]!])
  return [version, first, second, headers]
}

// Most responses say nothing but what follows from the key.
const plainAccept = ({ headers, version }: HttpHead.ResponseHead): string | undefined => {
  const [upgrade, connection, accept] = headers
  const isPlain = headers.length === 3 && version === "HTTP/1.1" && upgrade![0] === "Upgrade" &&
    connection![0] === "Connection" && accept![0] === "Sec-WebSocket-Accept"
  return isPlain ? accept![1] : undefined
}

/**
 * The handshake of a connection, whose heads are a string each until somebody
 * looks at them: as objects they would be a third of what an idle connection
 * holds.
 *
 * @internal
 */
export class PackedHandshake implements OpeningHandshake {
  readonly subprotocol: string | undefined
  readonly extensions: OpeningHandshake["extensions"]
  readonly #from: Pick<OpeningHandshake, "peerAddress">
  readonly #request: string
  readonly #response: string

  constructor(
    { extensions, request, response, subprotocol }: Omit<OpeningHandshake, "peerAddress">,
    from: Pick<OpeningHandshake, "peerAddress">
  ) {
    this.subprotocol = subprotocol
    this.extensions = extensions
    this.#from = from
    this.#request = pack([request.version, request.method, request.target], request.headers)
    this.#response = plainAccept(response) ??
      pack([response.version, String(response.status), response.reason], response.headers)
  }

  get peerAddress(): OpeningHandshake["peerAddress"] {
    return this.#from.peerAddress
  }

  get request(): HttpHead.RequestHead {
    const [version, method, target, headers] = unpack(this.#request)
    return { method, target, version, headers }
  }

  get response(): HttpHead.ResponseHead {
    if (!this.#response.includes("\n")) return Result.getOrThrow(Handshake.makeResponse({ accept: this.#response }))
    const [version, status, reason, headers] = unpack(this.#response)
    return { version, status: Number(status), reason, headers }
  }
}

const none = new Uint8Array(0)

const joined = (first: Uint8Array, rest: ReadonlyArray<Uint8Array>): Uint8Array => {
  // What a view is of would be held with it.
  if (rest.length === 0) return first.length === 0 ? none : first
  const out = new Uint8Array(rest.reduce((size, chunk) => size + chunk.length, first.length))
  let offset = first.length
  out.set(first)
  for (const chunk of rest) {
    out.set(chunk, offset)
    offset += chunk.length
  }
  return out
}

/**
 * Reads one head, and gives the bytes that came behind it.
 *
 * @internal
 */
export const readHead = <K extends keyof HttpHead.Heads>(
  link: Link,
  kind: K,
  config: WebSocketConfig,
  leftover: Uint8Array = none
): Effect.Effect<HttpHead.Parsed<HttpHead.Heads[K]>, TransportError | HandshakeRule> =>
  readOn(link, HttpHead.makeParser(kind, config), leftover)

/**
 * As `readHead`, by a parser that may have begun.
 *
 * @internal
 */
export const readOn = <Head>(
  link: Link,
  parser: HttpHead.Parser<Head>,
  leftover: Uint8Array = none
): Effect.Effect<HttpHead.Parsed<Head>, TransportError | HandshakeRule> => {
  const parse = (chunks: ReadonlyArray<Uint8Array>): ReturnType<typeof parser.push> => {
    for (let i = 0; i < chunks.length; i++) {
      const parsed = parser.push(chunks[i]!)
      if (parsed === undefined) continue
      return Result.map(parsed, ({ head, rest }) => ({ head, rest: joined(rest, chunks.slice(i + 1)) }))
    }
  }
  const settle = (chunks: ReadonlyArray<Uint8Array>): ReturnType<typeof next> => {
    const parsed = parse(chunks)
    return parsed === undefined ? next() : Effect.fromResult(parsed)
  }
  const next = (): Effect.Effect<HttpHead.Parsed<Head>, TransportError | HandshakeRule> =>
    Effect.flatMap(link.pull, settle)
  return leftover.length === 0 ? next() : settle([leftover])
}
