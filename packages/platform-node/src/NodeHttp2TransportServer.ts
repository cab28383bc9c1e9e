/**
 * Servers of transports over HTTP/2 (RFC 8441) and HTTP/1.1 on one port: every
 * extended CONNECT is a connection, and so is every connection that does not
 * speak HTTP/2.
 *
 * With TLS the client chooses by ALPN. Without, a client that begins with the
 * preface of HTTP/2 speaks it ("prior knowledge", RFC 9113 section 3.3).
 *
 * @since 1.0.0
 */
import * as Transport from "effect-websocket/Transport"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as SocketServer from "effect/socket/SocketServer"
import { Buffer } from "node:buffer"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import type * as Tls from "node:tls"
import * as Http2Stream from "./internal/http2Stream.ts"
import * as NodeTransport from "./NodeTransport.ts"
import * as NodeTransportServer from "./NodeTransportServer.ts"

/**
 * How to serve over HTTP/2.
 *
 * @category models
 * @since 1.0.0
 */
export interface Http2Options {
  /** Streams that one session may have open (SETTINGS_MAX_CONCURRENT_STREAMS). Default 100. */
  readonly maxStreams?: number | undefined
  /** Sessions that may be open; what comes beyond is dropped. Default 4096. */
  readonly maxSessions?: number | undefined
  /** How long a session may have no stream before it is ended with GOAWAY. Default: 60 seconds. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Bytes that a client may send on a stream that is not read (SETTINGS_INITIAL_WINDOW_SIZE). Default 256 KiB. */
  readonly streamWindow?: number | undefined
  /** Streams that a session may reset at once, and then each second; beyond, it is ended. Default 200 and 20. */
  readonly resets?: { readonly burst: number; readonly perSecond: number } | undefined
  /**
   * Answers requests over HTTP/2 whose method is not CONNECT, such as those for
   * the page that then opens a WebSocket. Default: 405. What it throws is its own
   * doing; the stream is its own to end.
   */
  readonly onRequest?: ((stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => void) | undefined
}

/**
 * Where and how to serve.
 *
 * @category models
 * @since 1.0.0
 */
export type Options = NodeTransportServer.Options & Http2Options

const defaults = {
  maxStreams: 100,
  maxSessions: 4096,
  idleTimeout: "60 seconds",
  streamWindow: 256 * 1024,
  resets: { burst: 200, perSecond: 20 },
  handshakeTimeout: "10 seconds",
  linger: "1 second"
} as const

/** Node refuses a longer field section by itself, RFC 9113 section 6.5.2. Shorter ones are `WebSocketConfig`'s. */
const maxHeaderListSize = 64 * 1024

const sessionOptions = (options: Http2Options): Http2.SecureServerOptions => {
  const { burst, perSecond } = options.resets ?? defaults.resets
  return {
    settings: {
      enableConnectProtocol: true,
      enablePush: false,
      initialWindowSize: options.streamWindow ?? defaults.streamWindow,
      maxConcurrentStreams: options.maxStreams ?? defaults.maxStreams,
      maxHeaderListSize
    },
    maxHeaderListPairs: 128,
    maxOutstandingPings: 10,
    maxSettings: 32,
    maxSessionMemory: Http2Stream.maxSessionMemory,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    streamResetBurst: burst,
    streamResetRate: perSecond
  }
}

/** A session and the socket it owns, which Node hides. */
interface Session {
  readonly http2: Http2.ServerHttp2Session
  readonly socket: Net.Socket
}

class Host {
  readonly sessions = new Set<Session>()
  readonly #options: Options
  readonly #fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>

  constructor(options: Options, fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>) {
    this.#options = options
    this.#fork = fork
  }

  /** Speaks HTTP/2 on a socket. */
  serve(socket: Net.Socket, acceptor: Transport.Acceptor): void {
    if (this.sessions.size >= (this.#options.maxSessions ?? defaults.maxSessions)) return void socket.destroy()
    const peerAddress = NodeTransport.addressOf(socket.remoteAddress, socket.remotePort)
    const http2 = Http2.performServerHandshake(socket, sessionOptions(this.#options))
    const session = { http2, socket }
    this.sessions.add(session)
    socket.once("close", () => this.sessions.delete(session))
    Http2Stream.bind(http2, socket)
    this.#endWhenIdle(session)
    http2.on("stream", (stream, headers, _flags, raw: ReadonlyArray<string>) => {
      const { linger, onRequest } = this.#options
      if (onRequest !== undefined && headers[":method"] !== "CONNECT") {
        stream.on("error", () => {})
        return onRequest(stream, headers)
      }
      const bootstrap = makeAsked(stream, raw)
      const endpoint = Http2Stream.makeEndpoint(stream, { linger, peerAddress })
      if (!acceptor.acceptUnsafe(Object.assign(endpoint, { bootstrap }))) {
        stream.close(Http2.constants.NGHTTP2_REFUSED_STREAM)
      }
    })
  }

  readonly drain: Effect.Effect<void> = Effect.sync(() => this.sessions.forEach(({ http2 }) => http2.close()))

  readonly close: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(Array.from(this.sessions), (session) => this.#end(session), {
      concurrency: "unbounded",
      discard: true
    })
  )

  #end({ http2, socket }: Session): Effect.Effect<void> {
    return Http2Stream.endSession(http2, socket, this.#options.linger ?? defaults.linger)
  }

  #endWhenIdle(session: Session): void {
    const { idleTimeout = defaults.idleTimeout } = this.#options
    const wait = () => this.#fork(Effect.andThen(Effect.sleep(idleTimeout), this.#end(session)))
    let streams = 0
    let waiting = wait()
    session.http2.on("stream", (stream: Http2.ServerHttp2Stream) => {
      if (streams++ === 0) waiting.interruptUnsafe()
      stream.once("close", () => {
        if (--streams === 0 && !session.socket.destroyed) waiting = wait()
      })
    })
    session.socket.once("close", () => waiting.interruptUnsafe())
  }
}

const makeAsked = (stream: Http2.ServerHttp2Stream, raw: ReadonlyArray<string>): Transport.Asked => ({
  _tag: "Asked",
  request: Http2Stream.fromRaw(raw),
  lost: Http2Stream.lost(stream),
  respond: (response, body) =>
    Effect.try({
      try: () => {
        stream.respond(Http2Stream.toNode(response))
        if (body !== undefined) stream.end(Buffer.from(body))
      },
      catch: Transport.writeFailed
    })
})

/** The first bytes of HTTP/2 in the clear, RFC 9113 section 3.4. No method of HTTP/1.1 begins with them. */
const preface = Buffer.from("PRI ")

/** Tells HTTP/2 from HTTP/1.1 by its first bytes, and puts them back. */
const sniff = (socket: Net.Socket, timeout: number, decide: (isHttp2: boolean) => void): void => {
  let start = Buffer.alloc(0)
  const give = () => {
    socket.setTimeout(0).off("data", listen).off("end", give).off("timeout", drop).off("error", drop).pause()
    if (start.length > 0) socket.unshift(start)
    decide(start.subarray(0, preface.length).equals(preface))
  }
  const drop = () => void socket.destroy()
  const listen = (chunk: Buffer) => {
    start = Buffer.concat([start, chunk])
    if (start.length >= preface.length || !preface.subarray(0, start.length).equals(start)) give()
  }
  socket.on("data", listen).on("end", give).on("error", drop).setTimeout(timeout, drop)
}

/**
 * Listens for connections until the scope closes.
 *
 * **Details**
 *
 * As `NodeTransportServer.make`. A connection over HTTP/2 is a stream: resetting
 * it ends no other, and each has flow control of its own. Of each session, idle
 * time, streams, resets and memory are bounded. `drain`, and closing the scope,
 * send GOAWAY.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(
  function*(
    options: Options
  ): Effect.fn.Return<Transport.TransportServer["Service"], SocketServer.SocketServerError, Scope.Scope> {
    const fork = Effect.runForkWith(yield* Effect.context())
    const host = yield* Effect.acquireRelease(Effect.sync(() => new Host(options, fork)), ({ close }) => close)
    const timeout = Duration.toMillis(options.handshakeTimeout ?? defaults.handshakeTimeout)
    const take = (socket: Net.Socket, acceptor: Transport.Acceptor) => (isHttp2: boolean) =>
      isHttp2 ? host.serve(socket, acceptor) : NodeTransportServer.acceptSocket(socket, options, acceptor)
    const { tls } = options
    const server = yield* NodeTransportServer.makeWith(
      tls === undefined ? options : { ...options, tls: { ALPNProtocols: ["h2", "http/1.1"], ...tls } },
      (socket, acceptor) => {
        const decide = take(socket, acceptor)
        if (tls === undefined) sniff(socket, timeout, decide)
        else decide((socket as Tls.TLSSocket).alpnProtocol === "h2")
      }
    )
    return Transport.TransportServer.of({ ...server, drain: host.drain })
  }
)

/**
 * Provides a server of both versions of HTTP on one port.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (options: Options): Layer.Layer<Transport.TransportServer, SocketServer.SocketServerError> =>
  Layer.effectContext(Effect.map(make(options), (server) => Context.make(Transport.TransportServer, server)))
