/**
 * The opening handshake over HTTP/2, RFC 8441: a CONNECT request whose
 * `:protocol` is websocket, answered with 200, makes of its stream what the
 * upgrade of HTTP/1.1 makes of a connection.
 *
 * Heads are those of `HttpHead`, of version `HTTP/2`: CONNECT, the path as
 * target, and `:authority` as Host, as RFC 9113 section 8.3.1 has it for whoever
 * passes a request on. `Fields` are the same heads as they cross the wire. There
 * is no Sec-WebSocket-Key and no Sec-WebSocket-Accept (section 5); the other
 * headers of the handshake are used unchanged. Nothing here throws.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import type * as Extension from "./Extension.ts"
import * as Handshake from "./Handshake.ts"
import { HandshakeError, type Limit } from "./HandshakeError.ts"
import * as HttpHead from "./HttpHead.ts"
import { agreeing, checkAgreement, parseAuthority, parseOffers, parseTarget, refuse } from "./internal/opening.ts"

/**
 * The field section of a request or a response in order, pseudo-header fields
 * first and names in lower case, RFC 9113 section 8.3.
 *
 * @category models
 * @since 1.0.0
 */
export type Fields = HttpHead.Headers

const version = "HTTP/2"

// RFC 9113 section 8.2.2: what speaks of a connection of HTTP/1.1
const connectionSpecific: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade"
])

// RFC 9113 section 6.5.2: what a field counts for beyond its name and value
const fieldOverhead = 32

/**
 * Checks what a field section measures, RFC 9113 section 6.5.2: octets of names
 * and values, and 32 for each field. A field counts as one line of a head.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkSize = (fields: Fields, limits: HttpHead.Limits): Result.Result<Fields, HandshakeError> => {
  const tooLarge = (limit: Limit) => Result.fail(new HandshakeError({ rule: "HeadTooLarge", limit }))
  if (fields.length > limits.maxHeaderLines) return tooLarge("maxHeaderLines")
  let size = 0
  for (const [name, value] of fields) {
    if (name.length + value.length > limits.maxHeaderLineSize) return tooLarge("maxHeaderLineSize")
    size += name.length + value.length + fieldOverhead
  }
  return size > limits.maxHeadSize ? tooLarge("maxHeadSize") : Result.succeed(fields)
}

interface Section {
  readonly pseudo: ReadonlyMap<string, string>
  readonly headers: HttpHead.Headers
}

/** RFC 9113 sections 8.2 and 8.3. */
const parseSection = (fields: Fields, known: ReadonlyArray<string>): Result.Result<Section, HandshakeError> => {
  const pseudo = new Map<string, string>()
  const headers: Array<HttpHead.Headers[number]> = []
  for (const [name, value] of fields) {
    if (name.startsWith(":")) {
      if (headers.length > 0 || pseudo.has(name) || !known.includes(name)) return refuse("InvalidPseudoHeader")
      pseudo.set(name, value)
      continue
    }
    if (!HttpHead.isToken(name) || HttpHead.lowerAscii(name) !== name || !HttpHead.isValue(value)) {
      return refuse("MalformedHeader")
    }
    if (connectionSpecific.has(name) && !(name === "te" && value === "trailers")) {
      return refuse("ConnectionSpecificHeader")
    }
    headers.push([name, value])
  }
  return Result.succeed({ pseudo, headers })
}

/** Without what means nothing over HTTP/2, names in lower case. */
const toFields = (headers: HttpHead.Headers, except: ReadonlyArray<string>): Fields =>
  headers.map(([name, value]) => [HttpHead.lowerAscii(name), value] as const).filter(([name]) =>
    !connectionSpecific.has(name) && !except.includes(name)
  )

/**
 * Gives the request over HTTP/2 that asks for what an upgrade asks for, as
 * `Handshake.makeRequest` makes it.
 *
 * **Example** (Asking over HTTP/2)
 *
 * ```ts import.meta.vitest
 * import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
 * import * as Handshake from "@effect-websocket/protocol/Handshake"
 * import * as Result from "effect/Result"
 *
 * const key = "dGhlIHNhbXBsZSBub25jZQ=="
 * const upgrade = Result.getOrThrow(Handshake.makeRequest({ host: "example.com", target: "/chat", key }))
 * const fields = ExtendedConnect.formatRequest(ExtendedConnect.fromUpgrade(upgrade), "https")
 *
 * fields.slice(0, 2) // => [[":method", "CONNECT"], [":protocol", "websocket"]]
 * Result.map(ExtendedConnect.checkRequest(fields), (valid) => valid.target) // => Result.succeed("/chat")
 * ```
 *
 * @category conversions
 * @since 1.0.0
 */
export const fromUpgrade = (upgrade: HttpHead.RequestHead): HttpHead.RequestHead => ({
  method: "CONNECT",
  target: parseTarget(upgrade.target)?.resource ?? upgrade.target,
  version,
  headers: toFields(upgrade.headers, ["sec-websocket-key"])
})

/**
 * Formats a request as it crosses the wire, section 4. The scheme is `http` for
 * `ws:` and `https` for `wss:`.
 *
 * @category formatting
 * @since 1.0.0
 */
export const formatRequest = (head: HttpHead.RequestHead, scheme: "http" | "https"): Fields => [
  [":method", head.method],
  [":protocol", "websocket"],
  [":scheme", scheme],
  [":authority", HttpHead.values(head.headers, "host")[0] ?? ""],
  [":path", head.target],
  ...toFields(head.headers, ["host"])
]

const requestFields = [":method", ":protocol", ":scheme", ":authority", ":path"]

const checkConnect = ({ pseudo }: Section): Result.Result<string, HandshakeError> => {
  if (pseudo.get(":method") !== "CONNECT") return refuse("MethodNotConnect")
  if (pseudo.get(":protocol") !== "websocket") return refuse("UnsupportedProtocol")
  if (!/^https?$/i.test(pseudo.get(":scheme") ?? "")) return refuse("InvalidPseudoHeader")
  const path = pseudo.get(":path") ?? ""
  return path.startsWith("/") && parseTarget(path) !== undefined ? Result.succeed(path) : refuse("InvalidTarget")
}

// RFC 9113 section 8.3.1: Host may say the same, or stand in its place
const checkAuthority = ({ headers, pseudo }: Section): Result.Result<string, HandshakeError> =>
  Result.flatMap(HttpHead.single(headers, "host", "InvalidHost"), (host) => {
    const authority = pseudo.get(":authority") ?? host
    const same = host === undefined || HttpHead.lowerAscii(host) === HttpHead.lowerAscii(authority ?? "")
    return authority !== undefined && parseAuthority(authority) !== undefined && same
      ? Result.succeed(authority)
      : refuse("InvalidHost")
  })

const checkVersion = ({ headers }: Section): Result.Result<void, HandshakeError> => {
  if (HttpHead.values(headers, "content-length").length > 0) return refuse("UnexpectedBody")
  const versions = HttpHead.values(headers, "sec-websocket-version")
  return versions.length === 1 && versions[0] === "13" ? Result.succeed(undefined) : refuse("UnsupportedVersion")
}

// RFC 9113 section 8.2.3: the crumbs of a Cookie are one header again
const headersOf = (host: string, headers: HttpHead.Headers): HttpHead.Headers => {
  const crumbs = HttpHead.values(headers, "cookie")
  const others = headers.filter(([name]) => name !== "host" && name !== "cookie")
  return [["host", host], ...others, ...crumbs.length === 0 ? [] : [["cookie", crumbs.join("; ")] as const]]
}

/**
 * Checks a request by the rules of sections 4 and 5, of RFC 9113 and of RFC 6455
 * section 4.2.1; the first that is broken is the one reported. The Origin is only
 * read: see `Handshake.checkOrigin`.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkRequest = (fields: Fields): Result.Result<Handshake.OpeningRequest, HandshakeError> =>
  Result.gen(function*() {
    const section = yield* parseSection(fields, requestFields)
    const target = yield* checkConnect(section)
    const host = yield* checkAuthority(section)
    yield* checkVersion(section)
    const offers = yield* parseOffers(section.headers)
    const headers = headersOf(host, section.headers)
    return { head: { method: "CONNECT", target, version, headers }, target, host, ...offers }
  })

/**
 * Makes a server's response that agrees, with status 200.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeResponse = (
  options: Omit<Handshake.ResponseOptions, "accept">
): Result.Result<HttpHead.ResponseHead, HandshakeError> =>
  Result.map(
    agreeing([], options),
    (headers) => ({ version, status: 200, reason: "", headers })
  )

/**
 * Formats a response, one that declines as well, as it crosses the wire.
 *
 * @category formatting
 * @since 1.0.0
 */
export const formatResponse = (head: HttpHead.ResponseHead): Fields => [
  [":status", String(head.status)],
  ...toFields(head.headers, [])
]

/**
 * Reads the head of a response.
 *
 * @category parsing
 * @since 1.0.0
 */
export const parseResponse = (fields: Fields): Result.Result<HttpHead.ResponseHead, HandshakeError> =>
  Result.flatMap(parseSection(fields, [":status"]), ({ headers, pseudo }) => {
    const status = pseudo.get(":status") ?? ""
    return /^[1-5]\d\d$/.test(status)
      ? Result.succeed({ version, status: Number(status), reason: "", headers })
      : refuse("InvalidPseudoHeader")
  })

/**
 * Whether a response agrees: any status of 200 to 299, RFC 9110 section 9.3.6.
 *
 * @category guards
 * @since 1.0.0
 */
export const isAgreeing = (head: HttpHead.ResponseHead): boolean => head.status >= 200 && head.status < 300

/**
 * Checks a response for which `isAgreeing` holds: it chooses among what was
 * offered, as over HTTP/1.1.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkResponse = (
  head: HttpHead.ResponseHead,
  expected: {
    readonly subprotocols: ReadonlyArray<string>
    readonly extensions: ReadonlyArray<Extension.Extension>
  }
): Result.Result<Handshake.Agreement, HandshakeError> => checkAgreement(head.headers, expected)

/**
 * Makes the response that declines a request for breaking a rule, as
 * `Handshake.refusalOf`.
 *
 * **Details**
 *
 * HTTP/2 has no Upgrade, so what would be 426 is 400; it names the version of the
 * protocol as well.
 *
 * @category constructors
 * @since 1.0.0
 */
export const refusalOf = (error: HandshakeError): Handshake.Refusal => {
  const refusal = Handshake.refusalOf(error)
  const { headers, status } = refusal.head
  if (status === 405) {
    const others = headers.filter(([name]) => name !== "Allow")
    return { ...refusal, head: { ...refusal.head, headers: [...others, ["Allow", "CONNECT"]] } }
  }
  return status === 426 ? { ...refusal, head: { ...refusal.head, status: 400, reason: "Bad Request" } } : refusal
}
