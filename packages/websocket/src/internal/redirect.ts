/**
 * Where a redirection leads, RFC 9110 section 15.4, and what goes along.
 *
 * @since 1.0.0
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Result from "effect/Result"
import type { DialOptions } from "../WebSocketClient.ts"
import { RedirectRefused, type RedirectRule, type UpgradeDeclined } from "../WebSocketError.ts"
import { toHeaders } from "./heads.ts"

const statuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

const schemes: { readonly [protocol: string]: "ws:" | "wss:" } = {
  "ws:": "ws:",
  "wss:": "wss:",
  "http:": "ws:",
  "https:": "wss:"
}

/** What is meant for one origin only. */
const credentials: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization"])

const isSecure = (url: URL): boolean => url.protocol.startsWith("wss") || url.protocol === "https:"

/** Resolves against a unix socket's target, which a relative Location stays behind. */
const resolveUnix = (location: string, from: URL): URL | null => {
  if (URL.canParse(location)) return URL.parse(location)
  const [path, ...target] = from.pathname.split(":")
  const resolved = URL.parse(location, `ws://localhost${target.join(":") || "/"}`)
  return resolved?.host === "localhost"
    ? URL.parse(`${from.protocol}//${path}:${resolved.pathname}${resolved.search}`)
    : null
}

const originOf = (url: URL): string =>
  Object.hasOwn(schemes, url.protocol)
    ? `${schemes[url.protocol]}//${url.hostname}:${url.port || (isSecure(url) ? 443 : 80)}`
    : `${url.protocol}//${url.pathname.split(":")[0]}`

const resolve = (location: string, from: URL): Result.Result<URL, RedirectRule> => {
  const isUnix = from.protocol.endsWith("+unix:")
  const to = isUnix ? resolveUnix(location, from) : URL.parse(location, from)
  if (to === null) return Result.fail("InvalidLocation")
  if (isUnix && originOf(to) === originOf(from)) return Result.succeed(to)
  const scheme = Object.hasOwn(schemes, to.protocol) ? schemes[to.protocol] : undefined
  if (scheme === undefined) return Result.fail("OtherScheme")
  // RFC 9110 section 4.2.4: it is likely there to obscure the host
  if (to.username !== "" || to.password !== "") return Result.fail("Userinfo")
  if (isSecure(from) && scheme === "ws:") return Result.fail("Downgrade")
  to.protocol = scheme
  // A request has no fragment, RFC 6455 section 3.
  to.hash = ""
  return Result.succeed(to)
}

const withoutCredentials = (options: DialOptions): DialOptions => ({
  ...options,
  headers: toHeaders(options.headers).filter(([name]) => !credentials.has(HttpHead.lowerAscii(name))),
  cookies: undefined
})

/**
 * The options of the request that a refusal redirects to, with one redirection
 * less to follow; nothing where it does not redirect.
 *
 * @internal
 */
export const follow = (
  options: DialOptions,
  { headers, status }: UpgradeDeclined
): Result.Result<DialOptions, RedirectRefused> | undefined => {
  const [location] = HttpHead.values(headers, "location")
  const left = options.followRedirects ?? 0
  const refuse = (rule: RedirectRule) => new RedirectRefused({ rule, status, location: location! })
  const from = URL.parse(options.url)
  if (location === undefined || from === null || !statuses.has(status)) return undefined
  if (left <= 0) return Result.fail(refuse("TooMany"))
  return Result.mapBoth(resolve(location, from), {
    onFailure: refuse,
    onSuccess: (url) => ({
      ...(originOf(url) === originOf(from) ? options : withoutCredentials(options)),
      url,
      followRedirects: left - 1
    })
  })
}
