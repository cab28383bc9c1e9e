/**
 * What the opening handshakes over HTTP/1.1 and HTTP/2 have in common.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import * as Extension from "../Extension.ts"
import { HandshakeError, type Rule } from "../HandshakeError.ts"
import * as HttpHead from "../HttpHead.ts"

/**
 * A failure with a rule.
 *
 * @internal
 */
export const refuse = (rule: Rule): Result.Result<never, HandshakeError> => Result.fail(new HandshakeError({ rule }))

/**
 * A host, and a port where one is written.
 *
 * @internal
 */
export interface Authority {
  /** In lower case. */
  readonly host: string
  readonly port: number | undefined
}

const authorityForm =
  /^(\[[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}){1,255})(?::(\d{0,5}))?$/

/**
 * RFC 3986 section 3.2: host [":" port], an IPv6 address in brackets, no user information.
 *
 * @internal
 */
export const parseAuthority = (text: string): Authority | undefined => {
  const [, host, digits] = authorityForm.exec(text) ?? []
  const port = digits === undefined || digits === "" ? undefined : Number(digits)
  return host === undefined || (port ?? 0) > 65_535 ? undefined : { host: HttpHead.lowerAscii(host), port }
}

/**
 * What a request is for.
 *
 * @internal
 */
export interface Target {
  /** Path and query. */
  readonly resource: string
  /** Only an absolute target has one. */
  readonly host: string | undefined
}

/**
 * RFC 9112 sections 3.2.1 and 3.2.2; RFC 6455 section 3: no fragment.
 *
 * @internal
 */
export const parseTarget = (target: string): Target | undefined => {
  if (!HttpHead.isVisible(target) || target.includes("#")) return undefined
  if (target.startsWith("/")) return { resource: target, host: undefined }
  const [scheme] = /^(?:http|ws)s?:\/\//i.exec(target) ?? []
  if (scheme === undefined) return undefined
  const end = target.slice(scheme.length).search(/[/?]/)
  const host = end === -1 ? target.slice(scheme.length) : target.slice(scheme.length, scheme.length + end)
  const resource = target.slice(scheme.length + host.length)
  if (parseAuthority(host) === undefined) return undefined
  return { resource: resource.startsWith("/") ? resource : `/${resource}`, host }
}

const isReserved = (lowerCaseName: string): boolean =>
  lowerCaseName.startsWith("sec-websocket-") ||
  ["host", "upgrade", "connection", "content-length", "transfer-encoding"].includes(lowerCaseName)

/**
 * The caller's headers behind the handshake's own: none that could contradict those, none malformed.
 *
 * @internal
 */
export const withHeaders = (
  own: HttpHead.Headers,
  callers: HttpHead.Headers = []
): Result.Result<HttpHead.Headers, HandshakeError> => {
  for (const [name, value] of callers) {
    if (!HttpHead.isToken(name) || !HttpHead.isValue(value)) return refuse("MalformedHeader")
    const header = HttpHead.lowerAscii(name)
    const again = header === "origin" && HttpHead.values(own, header).length > 0
    if (isReserved(header) || again) return Result.fail(new HandshakeError({ rule: "ReservedHeader", header }))
  }
  return Result.succeed([...own, ...callers])
}

interface Offers {
  readonly origin: string | undefined
  readonly subprotocols: ReadonlyArray<string>
  readonly extensions: ReadonlyArray<Extension.Extension>
}

/**
 * What a request offers and where it comes from, in any version of HTTP.
 *
 * @internal
 */
export const parseOffers = (headers: HttpHead.Headers): Result.Result<Offers, HandshakeError> => {
  const subprotocols = Extension.parseTokens(HttpHead.values(headers, "sec-websocket-protocol"))
  if (Result.isFailure(subprotocols)) return Result.fail(subprotocols.failure)
  const extensions = Extension.parse(HttpHead.values(headers, "sec-websocket-extensions"))
  if (Result.isFailure(extensions)) return Result.fail(extensions.failure)
  const origin = HttpHead.single(headers, "origin", "MalformedHeader")
  if (Result.isFailure(origin)) return Result.fail(origin.failure)
  return Result.succeed({
    origin: origin.success,
    subprotocols: subprotocols.success,
    extensions: extensions.success
  })
}

/**
 * The headers of a response that agrees: those of its version of HTTP, what was agreed, and the caller's.
 *
 * @internal
 */
export const agreeing = (
  own: HttpHead.Headers,
  options: {
    readonly subprotocol?: string | undefined
    readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
    readonly headers?: HttpHead.Headers | undefined
  }
): Result.Result<HttpHead.Headers, HandshakeError> => {
  const { extensions = [], headers, subprotocol } = options
  if (subprotocol !== undefined && !HttpHead.isToken(subprotocol)) return refuse("InvalidSubprotocol")
  if (!extensions.every(Extension.isWritable)) return refuse("InvalidExtensions")
  const agreed: Array<HttpHead.Headers[number]> = [...own]
  if (subprotocol !== undefined) agreed.push(["Sec-WebSocket-Protocol", subprotocol])
  if (extensions.length > 0) agreed.push(["Sec-WebSocket-Extensions", Extension.format(extensions)])
  return withHeaders(agreed, headers)
}

/**
 * What a response agrees to, if that was offered, in any version of HTTP.
 *
 * @internal
 */
export const checkAgreement = (
  headers: HttpHead.Headers,
  expected: {
    readonly subprotocols: ReadonlyArray<string>
    readonly extensions: ReadonlyArray<Extension.Extension>
  }
) =>
  Result.gen(function*() {
    const subprotocol = yield* HttpHead.single(headers, "sec-websocket-protocol", "InvalidSubprotocol")
    if (subprotocol !== undefined && !expected.subprotocols.includes(subprotocol)) {
      return yield* refuse("UnofferedSubprotocol")
    }
    const extensions = yield* Extension.parse(HttpHead.values(headers, "sec-websocket-extensions"))
    const offered = new Set(expected.extensions.map(({ name }) => name))
    return extensions.every(({ name }) => offered.has(name))
      ? { subprotocol, extensions }
      : yield* refuse("UnofferedExtension")
  })
