/**
 * The client's side of the opening handshake, RFC 6455 section 4.1: a
 * `Transport` in, a `WebSocketStream` out.
 *
 * @since 1.0.0
 */
import * as Handshake from "@effect-websocket/protocol/Handshake"
import { HandshakeError as HandshakeRule, type Rule } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Deflate from "./Deflate.ts"
import * as Entropy from "./Entropy.ts"
import * as Asking from "./internal/asking.ts"
import * as Compression from "./internal/compression.ts"
import {
  acceptOf,
  handshakeError,
  type HeadersInput,
  ruleBroken,
  toHeaders,
  transportFailed
} from "./internal/heads.ts"
import * as Link from "./internal/link.ts"
import * as Redirect from "./internal/redirect.ts"
import { ResponseBody } from "./internal/responseBody.ts"
import * as Stream from "./internal/stream.ts"
import * as Telemetry from "./internal/telemetry.ts"
import * as Tracing from "./internal/tracing.ts"
import { Transport, TransportDialer, type TransportError } from "./Transport.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"
import * as WebSocketError from "./WebSocketError.ts"
import { WebSocketStream } from "./WebSocketStream.ts"

/**
 * What to ask the server for.
 *
 * @category models
 * @since 1.0.0
 */
export interface ConnectOptions {
  /**
   * A `ws:`, `wss:`, `http:` or `https:` URL, for Host and the request's target,
   * or a `ws+unix:` or `wss+unix:` one: the socket's path, a colon, the target.
   * Where the bytes go is for the transport to say. A fragment is refused
   * (section 3), and so are a user and password, which belong in an
   * Authorization header (RFC 9110 section 4.2.4).
   */
  readonly url: string | URL
  /** Offered in order of preference, section 1.9. Default none. */
  readonly subprotocols?: ReadonlyArray<string> | undefined
  /** Fail with `SubprotocolRefused` when the server chooses none. Default false. */
  readonly requireSubprotocol?: boolean | undefined
  /** Further headers. Those the handshake writes itself are refused. */
  readonly headers?: HeadersInput | undefined
  /** Cookies, by name, as one Cookie header behind those of `headers`. Written as they are, RFC 6265 section 4.1.1. */
  readonly cookies?: Readonly<Record<string, string>> | undefined
  /** The Origin, for servers that ask for one. Default none, since this is not a browser. */
  readonly origin?: string | undefined
  /**
   * Offers permessage-deflate (RFC 7692), where the environment provides a
   * `Deflate`; `{}` for its defaults. Default: no compression.
   */
  readonly permessageDeflate?: Deflate.Options | undefined
  /** Fields over those of the environment's `WebSocketConfig`. */
  readonly config?: WebSocketConfig.Options | undefined
}

/**
 * What to ask a server for that the URL points to.
 *
 * @category models
 * @since 1.0.0
 */
export interface DialOptions extends ConnectOptions {
  /**
   * How many redirections (301, 302, 303, 307 and 308) are followed, one after
   * another. Default 0: each is `UpgradeDeclined`, with its Location among the
   * headers.
   */
  readonly followRedirects?: number | undefined
}

interface Request {
  readonly head: HttpHead.RequestHead
  readonly expected: Handshake.Expected
  readonly offer: Compression.Offer | undefined
}

/**
 * Opens the transport and connects, for as long as the scope is open.
 *
 * **Details**
 *
 * Options may be an Effect; it runs anew for every attempt, so that a retry has
 * a fresh token. A refusal is a `HandshakeError` with `UpgradeDeclined`, which
 * carries status, headers, body and Retry-After for a `Schedule` to look at.
 * Opening and handshake together take at most `handshakeTimeout`, and the body
 * of a refusal at most `closeTimeout` more. What would be an invalid request
 * is not sent and fails with `InvalidRequest`.
 *
 * **Example** (Connecting in memory)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const echo = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   yield* stream.write(yield* stream.read)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   yield* stream.write("hello")
 *   return yield* stream.read
 * })
 *
 * const server = WebSocketServer.serve(echo).pipe(Layer.provide(WebSocketServer.layer()))
 * const runnable = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.provideMerge(server, MemoryTransport.layer()))
 * )
 * await Effect.runPromise(runnable) // => "hello"
 * ```
 *
 * **Example** (Keeping cookies from one attempt to the next)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Cookies from "effect/http/Cookies"
 * import * as Layer from "effect/Layer"
 * import * as Ref from "effect/Ref"
 *
 * const program = Effect.gen(function*() {
 *   const jar = yield* Ref.make(Cookies.empty)
 *   const keep = (headers: ReadonlyArray<readonly [name: string, value: string]>) => {
 *     const lines = headers.filter(([name]) => name.toLowerCase() === "set-cookie").map(([_, value]) => value)
 *     return Ref.update(jar, (cookies) => Cookies.merge(cookies, Cookies.fromSetCookie(lines)))
 *   }
 *   const options = Effect.map(Ref.get(jar), (cookies) => ({
 *     url: "ws://localhost/",
 *     cookies: Cookies.toRecord(cookies)
 *   }))
 *   const connect = WebSocketClient.connect(options).pipe(
 *     Effect.tap((stream) => keep(stream.handshake.response.headers)),
 *     // A refusal may set cookies too.
 *     Effect.tapError(({ reason }) => reason._tag === "UpgradeDeclined" ? keep(reason.headers) : Effect.void)
 *   )
 *   yield* connect
 *   const { handshake } = yield* connect
 *   return handshake.request.headers.at(-1)
 * })
 *
 * const untilClosed = Effect.flatMap(WebSocketStream, ({ closed }) => closed)
 * const server = WebSocketServer.serve(untilClosed).pipe(
 *   Layer.provide(WebSocketServer.layer({ accept: () => Effect.succeed({ headers: { "Set-Cookie": "session=1" } }) }))
 * )
 * const runnable = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.provideMerge(server, MemoryTransport.layer()))
 * )
 * await Effect.runPromise(runnable) // => ["Cookie", "session=1"]
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const connect: <E = never, R = never>(
  options: ConnectOptions | Effect.Effect<ConnectOptions, E, R>
) => Effect.Effect<
  WebSocketStream["Service"],
  WebSocketError.HandshakeError | E,
  Transport | Scope.Scope | R
> = Effect.fn("WebSocketClient.connect", { kind: "client" })(
  function*<E, R>(options: ConnectOptions | Effect.Effect<ConnectOptions, E, R>) {
    const resolved = Effect.isEffect(options) ? yield* options : options
    yield* Tracing.asking(resolved.url)
    const config = yield* WebSocketConfig.resolve(resolved.config)
    const entropy = yield* Entropy.Entropy
    const transport = yield* Transport
    const offer = yield* Compression.offer(resolved.permessageDeflate)
    const request = yield* Effect.mapError(Effect.fromResult(makeRequest(resolved, entropy, offer)), invalidRequest)
    const scope = Scope.makeUnsafe()
    const answered = Effect.flatMap(
      Effect.mapError(Link.open(transport, scope), transportFailed),
      (link) => Effect.map(Asking.ask(link, request.head, config), (answer) => ({ link, answer }))
    )
    return yield* withTimeout(answered, config.handshakeTimeout).pipe(
      Effect.flatMap(({ answer, link }) => judge(link, request, answer, resolved, config)),
      Effect.tap(({ handshake }) => Tracing.shaken(handshake)),
      Effect.flatMap(Stream.make),
      Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void)
    )
  },
  Effect.onError((cause) => Telemetry.handshakeFailed("client", cause))
)

/**
 * Dials where the URL points and connects, for as long as the scope is open.
 *
 * **Details**
 *
 * As `connect`, over the transport that the environment's `TransportDialer` has
 * for the URL of this attempt. With `followRedirects` a redirection is followed
 * to where its Location points, each with a `handshakeTimeout` of its own:
 *
 * - to `ws:`, `wss:`, `http:` and `https:` URLs only, or within the unix socket
 *   it came from, and never from TLS to a connection without;
 * - to another origin (scheme, host or port) without the headers Authorization,
 *   Cookie and Proxy-Authorization and without `cookies`, which do not come back
 *   with a later redirection either. Other headers and subprotocols go along: a
 *   secret in one of them is no reason to follow redirections.
 *
 * What may not be followed fails with `RedirectRefused`, a redirection without a
 * Location with `UpgradeDeclined`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const dial = Effect.fnUntraced(
  function*<E = never, R = never>(
    options: DialOptions | Effect.Effect<DialOptions, E, R>
  ): Effect.fn.Return<
    WebSocketStream["Service"],
    WebSocketError.HandshakeError | E,
    TransportDialer | Scope.Scope | R
  > {
    const resolved = Effect.isEffect(options) ? yield* options : options
    const dialer = yield* TransportDialer
    return yield* (resolved.followRedirects ?? 0) > 0 ? follow(resolved, dialer) : dialOnce(resolved, dialer)
  }
)

const dialOnce = (options: DialOptions, dialer: TransportDialer["Service"]) =>
  Effect.provideService(connect(options), Transport, dialer.dial(options.url))

const follow = (options: DialOptions, dialer: TransportDialer["Service"]): ReturnType<typeof dialOnce> =>
  Effect.catchReason(dialOnce(options, dialer), "HandshakeError", "UpgradeDeclined", (declined, error) => {
    const next = Redirect.follow(options, declined)
    if (next === undefined) return Effect.fail(error)
    return Result.isFailure(next) ? handshakeError(next.failure) : follow(next.success, dialer)
  })

/**
 * Layer that connects, for as long as the layer lives.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <E = never, R = never>(
  options: ConnectOptions | Effect.Effect<ConnectOptions, E, R>
): Layer.Layer<WebSocketStream, WebSocketError.HandshakeError | E, Transport | Exclude<R, Scope.Scope>> =>
  Layer.effect(WebSocketStream, connect(options))

/**
 * Layer that dials where the URL points and connects, for as long as the layer
 * lives.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerDial = <E = never, R = never>(
  options: DialOptions | Effect.Effect<DialOptions, E, R>
): Layer.Layer<WebSocketStream, WebSocketError.HandshakeError | E, TransportDialer | Exclude<R, Scope.Scope>> =>
  Layer.effect(WebSocketStream, dial(options))

const withTimeout = <A, E, R>(handshake: Effect.Effect<A, E, R>, timeout: Duration.Input) =>
  Effect.timeoutOrElse(handshake, {
    duration: timeout,
    orElse: () => handshakeError(new WebSocketError.HandshakeTimeout({ timeout: Duration.toMillis(timeout) }))
  })

const invalidRequest = (error: HandshakeRule) => ruleBroken("request", error)

const broken = (rule: Rule) => Result.fail(new HandshakeRule({ rule }))

// Section 3, and RFC 9110 section 4.2.4 about a user and password in a URL.
const hostAndTarget = (input: string | URL) => {
  const url = URL.parse(input)
  if (url === null || !/^(?:(?:ws|http)s?|wss?\+unix):$/.test(url.protocol) || url.href.includes("#")) {
    return broken("InvalidTarget")
  }
  const isUnix = url.protocol.endsWith("+unix:")
  if (url.username !== "" || url.password !== "" || (isUnix && url.host !== "")) return broken("InvalidHost")
  if (!isUnix) return Result.succeed({ host: url.host, target: url.pathname + url.search })
  // the path of the socket, then a colon and the target; no name to put into Host
  const colon = url.pathname.indexOf(":")
  return Result.succeed({ host: "localhost", target: (colon < 0 ? "/" : url.pathname.slice(colon + 1)) + url.search })
}

const isCookie = (name: string, value: string): boolean =>
  HttpHead.isToken(name) && /^(?:[!#-+\--:<-[\]-~]*|"[!#-+\--:<-[\]-~]*")$/.test(value)

// RFC 6265 section 5.4: one Cookie header at most
const headersOf = ({ cookies = {}, headers }: ConnectOptions): Result.Result<HttpHead.Headers, HandshakeRule> => {
  const given = toHeaders(headers)
  const pairs = Object.entries(cookies)
  if (pairs.length === 0) return Result.succeed(given)
  if (!pairs.every(([name, value]) => isCookie(name, value))) return broken("MalformedHeader")
  const values = [...HttpHead.values(given, "cookie"), ...pairs.map(([name, value]) => `${name}=${value}`)]
  const others = given.filter(([name]) => HttpHead.lowerAscii(name) !== "cookie")
  return Result.succeed([...others, ["Cookie", values.join("; ")]])
}

const makeRequest = (
  options: ConnectOptions,
  entropy: Entropy.Entropy,
  offer: Compression.Offer | undefined
): Result.Result<Request, HandshakeRule> =>
  Result.gen(function*() {
    const { host, target } = yield* hostAndTarget(options.url)
    const headers = yield* headersOf(options)
    const key = Base64.encode(Entropy.bytesUnsafe(entropy, 16))
    const { origin, subprotocols = [] } = options
    const extensions = offer === undefined ? [] : PerMessageDeflate.makeOffers(offer.options)
    const head = yield* Handshake.makeRequest({ host, target, key, origin, subprotocols, extensions, headers })
    return { head, expected: { accept: acceptOf(key), subprotocols, extensions }, offer }
  })

const judge = Effect.fnUntraced(function*(
  link: Link.Link,
  request: Request,
  { agrees, check, leftover, request: sent, response }: Asking.Answer,
  options: ConnectOptions,
  config: WebSocketConfig.WebSocketConfig
) {
  if (!agrees) return yield* declined(link, response, leftover, config)
  const checked = check(request.expected)
  if (Result.isFailure(checked)) return yield* refused(checked.failure, response, request)
  const { extensions, subprotocol } = checked.success
  const agreed = PerMessageDeflate.checkResponse(extensions, request.expected.extensions)
  if (Result.isFailure(agreed)) return yield* refused(agreed.failure, response, request)
  if (options.requireSubprotocol === true && subprotocol === undefined) {
    const offered = request.expected.subprotocols
    return yield* handshakeError(new WebSocketError.SubprotocolRefused({ offered, chosen: undefined }))
  }
  const { peerAddress } = link
  const handshake = { request: sent, response, subprotocol, extensions, peerAddress }
  const agreement = agreed.success
  const compression = agreement && request.offer && { ...request.offer, agreement }
  return { role: "client" as const, link, handshake, config, compression, leftover }
})

const aboutExtensions: ReadonlySet<Rule> = new Set<Rule>([
  "UnofferedExtension",
  "InvalidExtensionParameters",
  "ConflictingExtensions"
])

const refused = (error: HandshakeRule, head: HttpHead.ResponseHead, request: Request) => {
  if (error.rule === "UnofferedSubprotocol") {
    const chosen = HttpHead.values(head.headers, "sec-websocket-protocol")[0]
    const offered = request.expected.subprotocols
    return handshakeError(new WebSocketError.SubprotocolRefused({ offered, chosen }))
  }
  if (aboutExtensions.has(error.rule)) {
    const extension = HttpHead.values(head.headers, "sec-websocket-extensions").join(", ")
    return handshakeError(new WebSocketError.ExtensionRefused({ extension }))
  }
  return ruleBroken("response", error)
}

// A refusal's body is read until it ends, or this side has read or waited enough.
const declined = Effect.fnUntraced(function*(
  link: Link.Link,
  head: HttpHead.ResponseHead,
  rest: Uint8Array,
  config: WebSocketConfig.WebSocketConfig
) {
  const { headers, status } = head
  const body = new ResponseBody(head, config.maxRefusalBody)
  body.push(rest)
  const readAll: Effect.Effect<void, TransportError> = Effect.suspend(() =>
    body.isWhole ? Effect.void : Effect.flatMap(link.pull, (chunks) => {
      chunks.forEach((chunk) => body.push(chunk))
      return readAll
    })
  )
  yield* Effect.ignore(Effect.timeoutOption(readAll, config.closeTimeout))
  const after = retryAfter(headers, yield* Clock.currentTimeMillis)
  return yield* handshakeError(
    new WebSocketError.UpgradeDeclined({ status, headers, body: body.bytes, retryAfter: after })
  )
})

const parseDate = Schema.decodeOption(Schema.DateTimeUtcFromHttpDate)

// RFC 9110 section 10.2.3: seconds, or a date
const retryAfter = (headers: HttpHead.Headers, now: number): number | undefined => {
  const value = HttpHead.values(headers, "retry-after")[0]
  if (value === undefined) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const date = parseDate(value)
  return Option.isNone(date) ? undefined : Math.max(0, DateTime.toEpochMillis(date.value) - now)
}
