/**
 * A tunnel through an HTTP proxy, RFC 9110 section 9.3.6.
 *
 * @since 1.0.0
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import { ProxyRefused } from "effect-websocket/WebSocketError"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import type * as NodeProxy from "../NodeProxy.ts"
import type { TlsOptions } from "../NodeTransport.ts"

/**
 * Where a proxy is, and what to ask it for.
 *
 * @internal
 */
export interface Tunnel {
  readonly host: string
  readonly port: number
  /** What TLS with the proxy needs, where it is spoken. */
  readonly tls: TlsOptions | undefined
  /** The head of the CONNECT request. */
  readonly request: Uint8Array
}

const credentials = ({ password, username }: URL): HttpHead.Headers => {
  if (username === "" && password === "") return []
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return [["Proxy-Authorization", `Basic ${Buffer.from(pair).toString("base64")}`]]
}

/**
 * Makes the request for a tunnel. Throws where the proxy's options are wrong.
 *
 * @internal
 */
export const make = (proxy: NodeProxy.Options, { host, port }: Omit<NodeProxy.Target, "secure">): Tunnel => {
  const url = new URL(proxy.url)
  const secure = url.protocol === "https:"
  if (!secure && url.protocol !== "http:") throw new TypeError(`Not the URL of an HTTP proxy: ${url.protocol}`)
  const authority = `${Net.isIPv6(host) ? `[${host}]` : host}:${port}`
  const request = HttpHead.formatRequest({
    method: "CONNECT",
    target: authority,
    version: "HTTP/1.1",
    headers: [["Host", authority], ...credentials(url), ...proxy.headers ?? []]
  })
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
    tls: secure ? proxy.tls ?? {} : undefined,
    request: Result.getOrThrow(request)
  }
}

// Interim responses before the final one, RFC 9110 section 15.2.
const maxInterim = 8

/**
 * Asks an open proxy for the tunnel, and calls back once, with what is wrong
 * where it gives none.
 *
 * @internal
 */
export const establish = (socket: Net.Socket, { request }: Tunnel, done: (problem: unknown) => void): void => {
  let parser = HttpHead.makeParser("response", WebSocketConfig.defaults)
  let interim = 0
  const finish = (problem: unknown, rest?: Uint8Array) => {
    socket.off("data", receive).off("end", ended).pause()
    if (rest !== undefined && rest.length > 0) socket.unshift(rest)
    done(problem)
  }
  const ended = () => finish(new Error("The proxy ended the connection before it answered"))
  const receive = (chunk: Uint8Array): void => {
    const parsed = parser.push(chunk)
    if (parsed === undefined) return
    if (Result.isFailure(parsed)) return finish(parsed.failure)
    const { head: { headers, status }, rest } = parsed.success
    if (status >= 200 && status < 300) return finish(undefined, rest)
    if (status >= 200 || interim++ === maxInterim) return finish(new ProxyRefused({ status, headers }))
    parser = HttpHead.makeParser("response", WebSocketConfig.defaults)
    if (rest.length > 0) receive(rest)
  }
  socket.on("data", receive).on("end", ended)
  socket.write(request)
}
