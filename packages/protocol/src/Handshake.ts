/**
 * The opening handshake over HTTP/1.1, RFC 6455 sections 4.1 and 4.2: builds
 * and checks requests and responses, for both sides.
 *
 * Heads in, heads out. The random key and the SHA-1 of the challenge are made
 * by the caller and come in as arguments. Every header may be missing: what a
 * peer sends is refused with a value and nothing here throws.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import * as Extension from "./Extension.ts"
import type { HandshakeError, Rule } from "./HandshakeError.ts"
import * as HttpHead from "./HttpHead.ts"
import {
  agreeing,
  checkAgreement,
  parseAuthority,
  parseOffers,
  parseTarget,
  refuse,
  type Target,
  withHeaders
} from "./internal/opening.ts"

/**
 * What is appended to the key before it is hashed, section 1.3.
 *
 * @category constants
 * @since 1.0.0
 */
export const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/**
 * Gives the ASCII text whose SHA-1, in base64, is the Sec-WebSocket-Accept that
 * answers a key.
 *
 * **Example** (Making the text to hash)
 *
 * ```ts import.meta.vitest
 * import * as Handshake from "@effect-websocket/protocol/Handshake"
 *
 * Handshake.challenge("dGhlIHNhbXBsZSBub25jZQ==") // => "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
 * ```
 *
 * @category getters
 * @since 1.0.0
 */
export const challenge = (key: string): string => key + guid

/**
 * Whether a text is 16 bytes in canonical base64, as a Sec-WebSocket-Key is.
 *
 * @category guards
 * @since 1.0.0
 */
export const isKey = (text: string): boolean => /^[A-Za-z0-9+/]{21}[AQgw]==$/.test(text)

/** Whether a text is 20 bytes in canonical base64, as a SHA-1 is. */
const isAccept = (text: string): boolean => /^[A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=$/.test(text)

/**
 * What a request is made of. All text is checked, so that nothing in it can end
 * a line.
 *
 * @category models
 * @since 1.0.0
 */
export interface RequestOptions {
  /** For Host: the host, and the port unless it is the scheme's. */
  readonly host: string
  /** Path and query, or a whole URI for a proxy; no fragment. */
  readonly target: string
  /** 16 fresh random bytes in base64. */
  readonly key: string
  readonly origin?: string | undefined
  /** In order of preference, no two the same. Default none. */
  readonly subprotocols?: ReadonlyArray<string> | undefined
  /** In order of preference. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers, such as Cookie and Authorization. Those of the handshake are refused with `ReservedHeader`. */
  readonly headers?: HttpHead.Headers | undefined
}

const brokenRequestRule = (options: RequestOptions): Rule | undefined => {
  const { extensions = [], origin, subprotocols = [] } = options
  if (parseAuthority(options.host) === undefined) return "InvalidHost"
  if (parseTarget(options.target) === undefined) return "InvalidTarget"
  if (!isKey(options.key)) return "InvalidKey"
  if (origin !== undefined && !HttpHead.isVisible(origin)) return "MalformedHeader"
  if (!Extension.isDistinctTokens(subprotocols)) return "InvalidSubprotocol"
  return extensions.every(Extension.isWritable) ? undefined : "InvalidExtensions"
}

/**
 * Makes a client's request, section 4.1.
 *
 * **Example** (Asking for a connection)
 *
 * ```ts import.meta.vitest
 * import * as Handshake from "@effect-websocket/protocol/Handshake"
 * import * as Result from "effect/Result"
 *
 * const key = "dGhlIHNhbXBsZSBub25jZQ=="
 * const request = Result.getOrThrow(Handshake.makeRequest({ host: "example.com:8080", target: "/chat", key }))
 *
 * request.headers[0] // => ["Host", "example.com:8080"]
 * Result.map(Handshake.checkRequest(request), (valid) => valid.key) // => Result.succeed(key)
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeRequest = (options: RequestOptions): Result.Result<HttpHead.RequestHead, HandshakeError> => {
  const rule = brokenRequestRule(options)
  if (rule !== undefined) return refuse(rule)
  const { extensions = [], headers, host, key, origin, subprotocols = [], target } = options
  const own: Array<HttpHead.Headers[number]> = [
    ["Host", host],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Key", key],
    ["Sec-WebSocket-Version", "13"]
  ]
  if (origin !== undefined) own.push(["Origin", origin])
  if (subprotocols.length > 0) own.push(["Sec-WebSocket-Protocol", subprotocols.join(", ")])
  if (extensions.length > 0) own.push(["Sec-WebSocket-Extensions", Extension.format(extensions)])
  return Result.map(withHeaders(own, headers), (headers) => ({ method: "GET", target, version: "HTTP/1.1", headers }))
}

/**
 * What a request for a WebSocket says, in any version of HTTP.
 *
 * @category models
 * @since 1.0.0
 */
export interface OpeningRequest {
  /** The head it was read from. */
  readonly head: HttpHead.RequestHead
  /** Path and query, also where the request's target was a whole URI. */
  readonly target: string
  /** Host and maybe port as written: of the target where that names one, else of Host (RFC 9112 section 3.2.2). */
  readonly host: string
  /** As written. Browsers always send one. */
  readonly origin: string | undefined
  /** What the client offers, best first. */
  readonly subprotocols: ReadonlyArray<string>
  /** What the client offers, best first. */
  readonly extensions: ReadonlyArray<Extension.Extension>
}

/**
 * A request over HTTP/1.1 that keeps every rule of section 4.2.1.
 *
 * @category models
 * @since 1.0.0
 */
export interface ValidRequest extends OpeningRequest {
  /** 16 bytes in base64. */
  readonly key: string
}

const checkTarget = (head: HttpHead.RequestHead): Result.Result<Target, HandshakeError> => {
  if (head.version !== "HTTP/1.1") return refuse("UnsupportedHttpVersion")
  if (head.method !== "GET") return refuse("MethodNotGet")
  const target = parseTarget(head.target)
  return target === undefined ? refuse("InvalidTarget") : Result.succeed(target)
}

const checkHost = ({ headers }: HttpHead.RequestHead): Result.Result<string, HandshakeError> =>
  Result.flatMap(
    HttpHead.single(headers, "host", "InvalidHost"),
    (host) => host === undefined || parseAuthority(host) === undefined ? refuse("InvalidHost") : Result.succeed(host)
  )

const checkKey = ({ headers }: HttpHead.RequestHead): Result.Result<string, HandshakeError> => {
  const hasBody = HttpHead.values(headers, "transfer-encoding").length > 0 ||
    HttpHead.values(headers, "content-length").some((length) => length !== "0")
  if (hasBody) return refuse("UnexpectedBody")
  if (!HttpHead.hasToken(headers, "upgrade", "websocket")) return refuse("MissingUpgrade")
  if (!HttpHead.hasToken(headers, "connection", "upgrade")) return refuse("MissingConnectionUpgrade")
  const keys = HttpHead.values(headers, "sec-websocket-key")
  if (keys.length !== 1 || !isKey(keys[0]!)) return refuse("InvalidKey")
  const versions = HttpHead.values(headers, "sec-websocket-version")
  return versions.length === 1 && versions[0] === "13" ? Result.succeed(keys[0]!) : refuse("UnsupportedVersion")
}

/**
 * Checks a request by the rules of section 4.2.1, in their order; the first
 * that is broken is the one reported. The Origin is only read: see
 * `checkOrigin`.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkRequest = (head: HttpHead.RequestHead): Result.Result<ValidRequest, HandshakeError> => {
  const target = checkTarget(head)
  if (Result.isFailure(target)) return Result.fail(target.failure)
  const host = checkHost(head)
  if (Result.isFailure(host)) return Result.fail(host.failure)
  const key = checkKey(head)
  if (Result.isFailure(key)) return Result.fail(key.failure)
  const offers = parseOffers(head.headers)
  if (Result.isFailure(offers)) return Result.fail(offers.failure)
  const { extensions, origin, subprotocols } = offers.success
  return Result.succeed({
    head,
    target: target.success.resource,
    host: target.success.host ?? host.success,
    key: key.success,
    origin,
    subprotocols,
    extensions
  })
}

/**
 * What a response that agrees is made of.
 *
 * @category models
 * @since 1.0.0
 */
export interface ResponseOptions {
  /** The SHA-1 of `challenge`, in base64. */
  readonly accept: string
  /** The one that was chosen of those offered, if any. */
  readonly subprotocol?: string | undefined
  /** What was agreed. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers, such as Set-Cookie. Those of the handshake are refused with `ReservedHeader`. */
  readonly headers?: HttpHead.Headers | undefined
}

/**
 * Makes a server's response that agrees, section 4.2.2.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeResponse = (options: ResponseOptions): Result.Result<HttpHead.ResponseHead, HandshakeError> => {
  const { accept } = options
  if (!isAccept(accept)) return refuse("InvalidAccept")
  const own: HttpHead.Headers = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", accept]
  ]
  return Result.map(
    agreeing(own, options),
    (headers) => ({ version: "HTTP/1.1", status: 101, reason: "Switching Protocols", headers })
  )
}

/**
 * Whether a response switches protocols; any other status declines or, as 3xx
 * and 401, asks for something first (section 4.1).
 *
 * @category guards
 * @since 1.0.0
 */
export const isSwitching = (head: HttpHead.ResponseHead): boolean => head.status === 101

/**
 * What the client's request lets a response say.
 *
 * @category models
 * @since 1.0.0
 */
export interface Expected {
  /** The SHA-1 of `challenge`, in base64. */
  readonly accept: string
  /** Those offered. */
  readonly subprotocols: ReadonlyArray<string>
  /** Those offered. */
  readonly extensions: ReadonlyArray<Extension.Extension>
}

/**
 * What a response agrees to.
 *
 * @category models
 * @since 1.0.0
 */
export interface Agreement {
  readonly subprotocol: string | undefined
  /** By name each was offered; whether its parameters were is for the extension to judge. */
  readonly extensions: ReadonlyArray<Extension.Extension>
}

/**
 * Checks a response for which `isSwitching` holds by the rules of section 4.1,
 * in their order.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkResponse = (
  head: HttpHead.ResponseHead,
  expected: Expected
): Result.Result<Agreement, HandshakeError> =>
  Result.gen(function*() {
    const { headers } = head
    if (head.version !== "HTTP/1.1") return yield* refuse("UnsupportedHttpVersion")
    // the value is websocket, where a request's need only contain it
    if (HttpHead.tokens(headers, "upgrade").join() !== "websocket") return yield* refuse("MissingUpgrade")
    if (!HttpHead.tokens(headers, "connection").includes("upgrade")) return yield* refuse("MissingConnectionUpgrade")
    const accept = yield* HttpHead.single(headers, "sec-websocket-accept", "InvalidAccept")
    if (accept !== expected.accept) return yield* refuse("InvalidAccept")
    return yield* checkAgreement(headers, expected)
  })

/**
 * A response that declines, after which the server closes the transport.
 *
 * @category models
 * @since 1.0.0
 */
export interface Refusal {
  readonly head: HttpHead.ResponseHead
  /** UTF-8. */
  readonly body: Uint8Array
}

/**
 * What goes into a refusal besides its status.
 *
 * @category models
 * @since 1.0.0
 */
export interface RefusalOptions {
  /**
   * Further headers, such as WWW-Authenticate, Retry-After or Location; one that
   * the refusal has by itself, such as Content-Type, takes its place. Those of
   * the handshake are refused with `ReservedHeader`.
   */
  readonly headers?: HttpHead.Headers | undefined
  /** Default empty. */
  readonly body?: string | undefined
}

const reasons: ReadonlyMap<number, string> = new Map([
  [301, "Moved Permanently"],
  [302, "Found"],
  [303, "See Other"],
  [307, "Temporary Redirect"],
  [308, "Permanent Redirect"],
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [408, "Request Timeout"],
  [410, "Gone"],
  [426, "Upgrade Required"],
  [429, "Too Many Requests"],
  [431, "Request Header Fields Too Large"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Unavailable"],
  [504, "Gateway Timeout"],
  [505, "HTTP Version Not Supported"]
])

// what RFC 9110 sections 15.5.6 and 15.5.22 and RFC 6455 section 4.4 want said
const headersOfStatus = (status: number): HttpHead.Headers => {
  if (status === 405) return [["Allow", "GET"]]
  return status === 426 ? [["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"]] : []
}

const encoder = new TextEncoder()

const refusal = (status: number, text: string, callers: HttpHead.Headers): Refusal => {
  const body = encoder.encode(text)
  const own: HttpHead.Headers = [
    ["Content-Type", "text/plain; charset=utf-8"],
    ...headersOfStatus(status),
    ["Content-Length", String(body.length)],
    // closed, so that nothing behind the request is taken for another one; RFC 9110 section 7.8 has Upgrade named here
    ["Connection", status === 426 ? "close, Upgrade" : "close"]
  ]
  const kept = own.filter(([name]) => HttpHead.values(callers, HttpHead.lowerAscii(name)).length === 0)
  const headers = [...kept, ...callers]
  return { head: { version: "HTTP/1.1", status, reason: reasons.get(status) ?? "", headers }, body }
}

/**
 * Makes a response that declines with a status of 300 to 599, section 4.2.2.
 *
 * **Details**
 *
 * It says that the connection closes, 405 which method is allowed, and 426
 * which version of which protocol (section 4.4).
 *
 * **Example** (Declining for now)
 *
 * ```ts import.meta.vitest
 * import * as Handshake from "@effect-websocket/protocol/Handshake"
 * import * as Result from "effect/Result"
 *
 * const refusal = Handshake.makeRefusal(503, { headers: [["Retry-After", "120"]], body: "later" })
 * Result.map(refusal, ({ head }) => `${head.status} ${head.reason}`) // => Result.succeed("503 Service Unavailable")
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeRefusal = (status: number, options: RefusalOptions = {}): Result.Result<Refusal, HandshakeError> => {
  if (!Number.isInteger(status) || status < 300 || status > 599) return refuse("InvalidStatus")
  return Result.map(withHeaders([], options.headers), (headers) => refusal(status, options.body ?? "", headers))
}

/**
 * Makes the response that declines a request for breaking a rule: the rule's
 * status, with one line of text that names it. Where a rule has no status, the
 * server's own doing, it is 500 and the text does not say more.
 *
 * @category constructors
 * @since 1.0.0
 */
export const refusalOf = (error: HandshakeError): Refusal =>
  error.status === undefined
    ? refusal(500, `${reasons.get(500)}\n`, [])
    : refusal(error.status, `${error.message}\n`, [])

/**
 * Encodes a refusal, head and body, as fresh bytes.
 *
 * @category encoding
 * @since 1.0.0
 */
export const encodeRefusal = ({ body, head }: Refusal): Result.Result<Uint8Array, HandshakeError> =>
  Result.map(HttpHead.formatResponse(head), (start) => {
    const bytes = new Uint8Array(start.length + body.length)
    bytes.set(start)
    bytes.set(body, start.length)
    return bytes
  })

/**
 * Which pages may connect: those of the server's own origin, all, or those of
 * the serialized origins listed, such as `https://example.com`.
 *
 * @category models
 * @since 1.0.0
 */
export type OriginPolicy = "same-origin" | "any" | ReadonlyArray<string>

/**
 * Whether the Origin of a request names the host and port the request was sent
 * to. False without an Origin, and for the `null` of a sandboxed page.
 *
 * **Details**
 *
 * A port left out, in either, is that of the Origin's scheme. `secure` says that
 * the client came by TLS; then an Origin of `http` is another one. Where it is
 * false both are taken, since TLS may have ended at a proxy.
 *
 * @category guards
 * @since 1.0.0
 */
export const sameOrigin = (request: OpeningRequest, secure: boolean): boolean => {
  const [, tls, authority] = /^(?:http|ws)(s?):\/\/(.*)$/i.exec(request.origin ?? "") ?? []
  if (tls === undefined || authority === undefined || (secure && tls === "")) return false
  const page = parseAuthority(authority)
  const server = parseAuthority(request.host)
  const port = tls === "" ? 80 : 443
  return page !== undefined && server !== undefined &&
    page.host === server.host && (page.port ?? port) === (server.port ?? port)
}

/**
 * Whether a policy lets a request in, section 10.2.
 *
 * **Details**
 *
 * A request without an Origin is not a browser's and is let in: the policy
 * guards users' cookies from other sites' pages, not the server from programs.
 * Listed origins are compared whole, A to Z in either case; a port is part of
 * them. `"null"` is let in only where it is listed. `secure` is as for
 * `sameOrigin`.
 *
 * **Example** (Listing the pages that may connect)
 *
 * ```ts import.meta.vitest
 * import * as Handshake from "@effect-websocket/protocol/Handshake"
 * import * as Result from "effect/Result"
 *
 * const request = Handshake.makeRequest({
 *   host: "api.example.com",
 *   target: "/",
 *   key: "dGhlIHNhbXBsZSBub25jZQ==",
 *   origin: "https://app.example.com"
 * })
 * const valid = Result.getOrThrow(Result.flatMap(request, Handshake.checkRequest))
 *
 * Handshake.isOriginAllowed(valid, "same-origin", true) // => false
 * Handshake.isOriginAllowed(valid, ["https://app.example.com"], true) // => true
 * ```
 *
 * @category guards
 * @since 1.0.0
 */
export const isOriginAllowed = (request: OpeningRequest, policy: OriginPolicy, secure: boolean): boolean => {
  if (request.origin === undefined || policy === "any") return true
  if (policy === "same-origin") return sameOrigin(request, secure)
  const origin = HttpHead.lowerAscii(request.origin)
  return policy.some((allowed) => HttpHead.lowerAscii(allowed) === origin)
}

/**
 * Gives the request back where `isOriginAllowed` holds, else `ForbiddenOrigin`.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkOrigin = <Request extends OpeningRequest>(
  request: Request,
  policy: OriginPolicy,
  secure: boolean
): Result.Result<Request, HandshakeError> =>
  isOriginAllowed(request, policy, secure) ? Result.succeed(request) : refuse("ForbiddenOrigin")
