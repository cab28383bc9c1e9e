/**
 * Spans of handshakes and connections, and what they and logs tell about them.
 *
 * @since 1.0.0
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as NetAddress from "effect/net/NetAddress"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import * as WebSocketError from "../WebSocketError.ts"
import type { UpgradeRequest } from "../WebSocketServer.ts"
import type { Handshake } from "../WebSocketStream.ts"
import * as WebSocketTracing from "../WebSocketTracing.ts"

type Attributes = Readonly<Record<string, unknown>>
type Role = "client" | "server"

const traced = new WeakMap<Context.Context<never>, boolean>()

// Effect's own tracer exports nothing: nobody would see the span. All connections of a server have one context.
const isTraced = (context: Context.Context<never>): boolean => {
  let known = traced.get(context)
  if (known === undefined) traced.set(context, known = seesSpans(context))
  return known
}

const seesSpans = (context: Context.Context<never>): boolean =>
  Context.get(context, References.TracerEnabled) && Context.get(context, Tracer.Tracer) !== Tracer.nativeTracer

const annotate = (context: Context.Context<never>, attributes: () => Attributes): void => {
  if (!isTraced(context)) return
  const span = Context.getOrUndefined(context, Tracer.ParentSpan)
  if (span?._tag === "Span") annotateSpan(span, attributes())
}

const annotateSpan = (span: Tracer.Span, attributes: Attributes): void => {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) span.attribute(name, value)
}

const addressOf = (address: NetAddress.SocketAddress | undefined): Attributes => {
  if (address === undefined) return {}
  return NetAddress.isInetAddress(address)
    ? { "network.peer.address": String(address.address), "network.peer.port": address.port }
    : { "network.peer.address": address.path }
}

const pathOf = (target: string): string => target.split("?", 1)[0]!

const redacted = "REDACTED"

const queryOf = (query: string, context: Context.Context<never>): string | undefined => {
  if (query === "") return undefined
  return Context.get(context, WebSocketTracing.WebSocketTracing).query === "plain" ? query : redacted
}

const defaultPorts: { readonly [scheme: string]: number } = { ws: 80, http: 80, wss: 443, https: 443 }

const portOf = (url: URL): number | undefined =>
  url.port === "" ? defaultPorts[url.protocol.slice(0, -1)] : Number(url.port)

const urlAttributes = (input: string | URL, context: Context.Context<never>): Attributes => {
  const url = URL.parse(input)
  if (url === null) return {}
  const query = queryOf(url.search.slice(1), context)
  return {
    "server.address": url.hostname === "" ? undefined : url.hostname,
    "server.port": portOf(url),
    "url.scheme": url.protocol.slice(0, -1),
    "url.path": url.pathname,
    "url.query": query,
    "url.full": `${url.protocol}//${url.host}${url.pathname}${query === undefined ? "" : `?${query}`}`
  }
}

const protocol = { "network.protocol.name": "websocket" }

/**
 * A client is about to ask.
 *
 * @internal
 */
export const asking = (url: string | URL): Effect.Effect<void> =>
  Effect.contextWith((context: Context.Context<never>) => {
    annotate(context, () => ({ ...protocol, "http.request.method": "GET", ...urlAttributes(url, context) }))
    return Effect.void
  })

/**
 * A server has read a request.
 *
 * @internal
 */
export const asked = (context: Context.Context<never>, request: UpgradeRequest): void =>
  annotate(context, () => {
    const { head, host, peerAddress, target } = request
    const server = URL.parse(`http://${host}`)
    return {
      ...protocol,
      "network.protocol.version": head.version.slice("HTTP/".length),
      "http.request.method": head.method,
      "server.address": server?.hostname,
      "server.port": server === null || server.port === "" ? undefined : Number(server.port),
      "url.path": pathOf(target),
      "url.query": queryOf(target.slice(pathOf(target).length + 1), context),
      "user_agent.original": HttpHead.values(head.headers, "user-agent")[0],
      ...addressOf(peerAddress)
    }
  })

const agreementOf = ({ extensions, peerAddress, request, subprotocol }: Handshake): Attributes => ({
  ...protocol,
  "network.protocol.version": request.version.slice("HTTP/".length),
  "websocket.subprotocol": subprotocol,
  "websocket.extensions": extensions.length === 0 ? undefined : extensions.map(({ name }) => name),
  ...addressOf(peerAddress)
})

/**
 * An opening handshake has succeeded.
 *
 * @internal
 */
export const agreed = (context: Context.Context<never>, handshake: Handshake): void =>
  annotate(context, () => ({
    ...agreementOf(handshake),
    "http.response.status_code": handshake.response.status
  }))

/**
 * As `agreed`, in the environment.
 *
 * @internal
 */
export const shaken = (handshake: Handshake): Effect.Effect<void> =>
  Effect.contextWith((context: Context.Context<never>) => {
    agreed(context, handshake)
    return Effect.void
  })

/**
 * An opening handshake has failed.
 *
 * @internal
 */
export const failed = (context: Context.Context<never>, cause: Cause.Cause<unknown>): void =>
  annotate(context, () => {
    const error = cause.reasons.find(Cause.isFailReason)?.error
    if (!(error instanceof WebSocketError.HandshakeError)) return {}
    const { reason } = error
    return { "error.type": reason._tag, "http.response.status_code": "status" in reason ? reason.status : undefined }
  })

/**
 * Makes a handshake of a server a span, where somebody sees it.
 *
 * @internal
 */
export const accepting = <A, E, R>(
  context: Context.Context<R>,
  accept: (context: Context.Context<R>) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  isTraced(context)
    ? Effect.provideContext(
      Effect.useSpan(
        "WebSocketServer.accept",
        { kind: "server" },
        (span) => accept(Context.add(context, Tracer.ParentSpan, span) as Context.Context<R>)
      ),
      context
    )
    : accept(context)

const ownerOf = (role: Role): string => role === "client" ? "WebSocketClient" : "WebSocketServer"

/**
 * A connection that somebody sees, and its close.
 *
 * @internal
 */
export class ConnectionSpan {
  readonly span: Tracer.Span
  readonly #role: Role
  readonly #context: Context.Context<never>
  #close: Tracer.Span | undefined

  constructor(span: Tracer.Span, role: Role, context: Context.Context<never>) {
    this.span = span
    this.#role = role
    this.#context = context
  }

  /** One of the ends has begun to close. */
  close(): void {
    const close = Effect.makeSpan(`${ownerOf(this.#role)}.close`, { kind: this.#role, parent: this.span })
    this.#close = Effect.runSyncWith(this.#context)(close)
  }

  end(status: WebSocketError.CloseStatus, failure: WebSocketError.ReadError | undefined): void {
    const now = Context.get(this.#context, Clock.Clock).currentTimeNanosUnsafe()
    const exit = failure === undefined ? Exit.void : Exit.fail(failure)
    for (const span of [this.#close, this.span]) {
      if (span === undefined) continue
      annotateSpan(span, {
        "websocket.close.code": status.code,
        "websocket.close.initiator": status.initiator,
        "websocket.close.clean": status.clean,
        "error.type": failure?.reason._tag
      })
      span.end(now, exit)
    }
  }
}

/**
 * Begins the span of a connection, where somebody sees it; else gives
 * `undefined`, at no cost.
 *
 * @internal
 */
export const connection = (
  context: Context.Context<never>,
  role: Role,
  handshake: Handshake
): Effect.Effect<ConnectionSpan> | undefined => {
  if (!isTraced(context) || !Context.get(context, WebSocketTracing.WebSocketTracing).connections) return undefined
  const { target } = handshake.request
  const attributes = { "url.path": pathOf(target), ...agreementOf(handshake) }
  return Effect.makeSpan(`${ownerOf(role)}.connection`, { kind: role }).pipe(
    Effect.map((span) => {
      annotateSpan(span, attributes)
      return new ConnectionSpan(span, role, context)
    }),
    Effect.provideContext(context)
  )
}

/**
 * What logs tell about a connection of a server.
 *
 * @internal
 */
export const annotationsOf = (
  peerAddress: NetAddress.SocketAddress | undefined,
  target?: string
): Record<string, unknown> => ({
  "websocket.role": "server",
  ...addressOf(peerAddress),
  ...(target === undefined ? {} : { "url.path": pathOf(target) })
})
