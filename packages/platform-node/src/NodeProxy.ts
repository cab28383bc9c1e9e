/**
 * HTTP proxies on the way to a server: a tunnel by CONNECT (RFC 9110 section
 * 9.3.6), given outright or found in the environment.
 *
 * @since 1.0.0
 */
import type { Headers } from "@effect-websocket/protocol/HttpHead"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Net from "node:net"
import type { TlsOptions } from "./NodeTransport.ts"

/**
 * A proxy.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /**
   * An `http:` URL, or an `https:` one to speak TLS with the proxy itself. A user
   * and password are sent to it in Proxy-Authorization.
   */
  readonly url: string | URL
  /** Further headers of the CONNECT request. */
  readonly headers?: Headers | undefined
  /** What TLS with the proxy itself needs. The `tls` of the dial is for the server behind it. */
  readonly tls?: TlsOptions | undefined
}

/**
 * Which proxy to go by: this one, or the one that the environment names for
 * where the dial goes, see `fromEnvironment`.
 *
 * @category models
 * @since 1.0.0
 */
export type Proxy = Options | "environment"

/**
 * Where a dial goes.
 *
 * @category models
 * @since 1.0.0
 */
export interface Target {
  /** A name in lower case, or an IP address without brackets. */
  readonly host: string
  readonly port: number
  /** Whether TLS is spoken there. */
  readonly secure: boolean
}

const read = (name: string): Effect.Effect<string, Config.ConfigError> =>
  Effect.map(Config.option(Config.String(name)), Option.getOrElse(() => ""))

/** The first of the variables that is set and not empty. */
const first = (names: ReadonlyArray<string>): Effect.Effect<string, Config.ConfigError> =>
  Effect.map(Effect.forEach(names, read), (values) => values.find((value) => value !== "") ?? "")

/**
 * The proxy that the environment names, read by Effect's `ConfigProvider`.
 *
 * **Details**
 *
 * For TLS `https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`, without it
 * `http_proxy`, `HTTP_PROXY`, `all_proxy` or `ALL_PROXY`, the first that is not
 * empty. A value without a scheme is an `http:` proxy. None where `no_proxy` or
 * `NO_PROXY` names the target, see `isExcluded`.
 *
 * **Gotchas**
 *
 * In a CGI program a request's Proxy header becomes `HTTP_PROXY`, so that one is
 * passed over where `REQUEST_METHOD` is set.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromEnvironment = Effect.fnUntraced(
  function*(target: Target): Effect.fn.Return<Options | undefined, Config.ConfigError> {
    const isCgi = (yield* read("REQUEST_METHOD")) !== ""
    const plain = isCgi ? ["http_proxy"] : ["http_proxy", "HTTP_PROXY"]
    const names = target.secure ? ["https_proxy", "HTTPS_PROXY"] : plain
    const url = yield* first([...names, "all_proxy", "ALL_PROXY"])
    if (url === "" || isExcluded(yield* first(["no_proxy", "NO_PROXY"]), target)) return undefined
    return { url: url.includes("://") ? url : `http://${url}` }
  }
)

/**
 * Whether a `NO_PROXY` list names a target.
 *
 * **Details**
 *
 * Rules stand between commas or blanks. `*` names all. `example.com`,
 * `.example.com` and `*.example.com` name that host and all below it. An IP
 * address names itself, in whatever form, and `10.0.0.0/8` all in it. A port
 * behind a rule, as in `example.com:8080` or `[::1]:8080`, restricts it to that
 * port. What is none of these names nothing.
 *
 * **Example** (Looking up hosts)
 *
 * ```ts import.meta.vitest
 * import * as NodeProxy from "@effect-websocket/platform-node/NodeProxy"
 *
 * const rules = "localhost, .example.com:443, 10.0.0.0/8"
 * NodeProxy.isExcluded(rules, { host: "localhost", port: 80 }) // => true
 * NodeProxy.isExcluded(rules, { host: "api.example.com", port: 443 }) // => true
 * NodeProxy.isExcluded(rules, { host: "api.example.com", port: 80 }) // => false
 * NodeProxy.isExcluded(rules, { host: "10.1.2.3", port: 80 }) // => true
 * NodeProxy.isExcluded(rules, { host: "10.example.org", port: 80 }) // => false
 * ```
 *
 * @category guards
 * @since 1.0.0
 */
export const isExcluded = (rules: string, target: Omit<Target, "secure">): boolean =>
  rules.toLowerCase().split(/[\s,]+/).some((rule) => rule === "*" || matches(rule, target))

const matches = (rule: string, { host, port }: Omit<Target, "secure">): boolean => {
  const [, name = "", rulePort] = Net.isIPv6(rule) || rule.includes("/")
    ? [rule, rule]
    : /^\[?(.*?)\]?(?::(\d+))?$/.exec(rule)!
  if (rulePort !== undefined && Number(rulePort) !== port) return false
  if (Net.isIP(host) !== 0) return includesAddress(name, host)
  const suffix = withoutDot(name.replace(/^\*?\./, ""))
  const own = withoutDot(host.toLowerCase())
  return suffix !== "" && (own === suffix || own.endsWith(`.${suffix}`))
}

// The root's dot at the end of a name means nothing here.
const withoutDot = (name: string): string => name.replace(/\.$/, "")

const includesAddress = (rule: string, host: string): boolean => {
  const [address = "", bits] = rule.split("/")
  const family = Net.isIPv6(address) ? "ipv6" : "ipv4"
  const most = family === "ipv6" ? 128 : 32
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : Infinity
  if (Net.isIP(address) === 0 || prefix > most) return false
  const list = new Net.BlockList()
  list.addSubnet(address, prefix, family)
  return list.check(host, Net.isIPv6(host) ? "ipv6" : "ipv4")
}
