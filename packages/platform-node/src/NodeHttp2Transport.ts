/**
 * Transports over HTTP/2 (RFC 8441) for clients: streams that share a session for
 * each origin, and HTTP/1.1 where the server does not have it.
 *
 * @since 1.0.0
 */
import * as Transport from "effect-websocket/Transport"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import type * as Tls from "node:tls"
import * as Http2Stream from "./internal/http2Stream.ts"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * How to dial, and how long to stay connected. With TLS, `ALPNProtocols` is not
 * looked at.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends NodeTransport.DialOptions {
  /** How long a session without a stream is kept for the next one. Default: 10 seconds. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Bytes that a server may send on a stream that is not read (SETTINGS_INITIAL_WINDOW_SIZE). Default 256 KiB. */
  readonly streamWindow?: number | undefined
}

const defaults = { idleTimeout: "10 seconds", streamWindow: 256 * 1024, linger: "1 second" } as const

/** Runs an effect of the dialer's own. */
type Fork = (effect: Effect.Effect<void>) => Fiber.Fiber<void>

/** A session, and how many transports it carries. */
class Session {
  readonly http2: Http2.ClientHttp2Session
  readonly socket: Net.Socket
  readonly peerAddress: NetAddress.SocketAddress | undefined
  readonly #options: Options
  readonly #fork: Fork
  #streams = 0
  #waiting: Fiber.Fiber<void> | undefined

  constructor(http2: Http2.ClientHttp2Session, socket: Net.Socket, options: Options, fork: Fork) {
    this.http2 = http2
    this.socket = socket
    this.peerAddress = options.peerAddress ?? NodeTransport.addressOf(socket.remoteAddress, socket.remotePort)
    this.#options = options
    this.#fork = fork
    Http2Stream.bind(http2, socket)
  }

  get isOpen(): boolean {
    return !this.http2.closed && !this.http2.destroyed
  }

  get hasRoom(): boolean {
    return this.isOpen && this.#streams < (this.http2.remoteSettings.maxConcurrentStreams ?? Infinity)
  }

  join(): void {
    this.#streams++
    this.#waiting?.interruptUnsafe()
  }

  leave(): void {
    if (--this.#streams > 0) return
    const { idleTimeout = defaults.idleTimeout } = this.#options
    this.#waiting = this.#fork(Effect.andThen(Effect.sleep(idleTimeout), this.end))
  }

  get end(): Effect.Effect<void> {
    return Http2Stream.endSession(this.http2, this.socket, this.#options.linger ?? defaults.linger)
  }
}

/** Where the server speaks HTTP/1.1. */
const fallback = Symbol("fallback")

const isHttp2 = (socket: Net.Socket, { tls }: NodeTransport.Options): boolean =>
  tls === undefined || (socket as Tls.TLSSocket).alpnProtocol === "h2"

const makeSession = (socket: Net.Socket, options: NodeTransport.Options & Options, fork: Fork): Session => {
  const http2 = Http2.connect("http://localhost", {
    createConnection: () => socket,
    maxSessionMemory: Http2Stream.maxSessionMemory,
    settings: { enablePush: false, initialWindowSize: options.streamWindow ?? defaults.streamWindow }
  })
  return new Session(http2, socket, options, fork)
}

/** Waits for what the server can do. What is not HTTP/2 ends the session. */
const supportsConnect = ({ http2, socket }: Session): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    http2.once("remoteSettings", ({ enableConnectProtocol }) => resume(Effect.succeed(enableConnectProtocol === true)))
    http2.once("close", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  })

/** The sessions to one place. */
class Origin {
  readonly sessions = new Set<Session>()
  readonly #options: NodeTransport.Options & Options
  readonly #fork: Fork
  readonly #turn = Semaphore.makeUnsafe(1)
  #speaksHttp1 = false

  constructor(options: NodeTransport.Options & Options, fork: Fork) {
    this.#options = options
    this.#fork = fork
  }

  /** A session with room, or a connection of HTTP/1.1. Who comes while one is dialled waits for what comes of it. */
  readonly open: Effect.Effect<Transport.Endpoint, Transport.TransportError> = Effect.suspend(() => {
    const found = this.#find()
    if (found !== undefined) return Effect.succeed(found)
    const opened = this.#turn.withPermit(Effect.suspend(() => {
      const session = this.#find()
      if (session !== undefined) return Effect.succeed(session)
      return this.#speaksHttp1 ? Effect.succeed(fallback) : this.#dial
    }))
    return Effect.flatMap(opened, (result) => result === fallback ? this.#dialHttp1 : Effect.succeed(result))
  })

  #find(): Transport.Endpoint | undefined {
    for (const session of this.sessions) {
      if (session.hasRoom) return makeAsking(session, this.#options)
    }
    return undefined
  }

  get #dial(): Effect.Effect<Transport.Endpoint | typeof fallback, Transport.TransportError> {
    const options = this.#options
    const tls = options.tls && { ...options.tls, ALPNProtocols: ["h2", "http/1.1"] }
    const opened = NodeTransport.openSocket(
      { ...options, tls },
      (socket) => isHttp2(socket, options) ? makeSession(socket, options, this.#fork) : socket
    )
    return Effect.flatMap(opened, (opened) => {
      if (opened instanceof Session) return this.#greet(opened)
      this.#speaksHttp1 = true
      return Effect.succeed(NodeTransport.makeEndpoint(opened, options))
    })
  }

  #greet(session: Session): Effect.Effect<Transport.Endpoint | typeof fallback> {
    return Effect.map(supportsConnect(session), (supported) => {
      if (!supported) {
        this.#speaksHttp1 = true
        session.socket.destroy()
        return fallback
      }
      this.sessions.add(session)
      session.socket.once("close", () => this.sessions.delete(session))
      return makeAsking(session, this.#options)
    })
  }

  get #dialHttp1(): Effect.Effect<Transport.Endpoint, Transport.TransportError> {
    const options = this.#options
    const tls = options.tls && { ...options.tls, ALPNProtocols: ["http/1.1"] }
    return NodeTransport.openSocket({ ...options, tls }, (socket) => NodeTransport.makeEndpoint(socket, options))
  }
}

// The stream is there once the request is made; whoever asks late is told that this side has closed.
const makeAsking = (session: Session, options: NodeTransport.Options & Options): Transport.Endpoint => {
  const { linger } = options
  const { peerAddress } = session
  let stream: Transport.Endpoint | undefined
  let left = false
  session.join()
  const ask: Transport.Asking["ask"] = (fields) =>
    Effect.callback((resume) => {
      let request: Http2.ClientHttp2Stream
      try {
        request = session.http2.request(Http2Stream.toNode(fields), { endStream: false })
      } catch (cause) {
        return resume(Effect.fail(NodeTransport.openFailed(cause)))
      }
      stream = Http2Stream.makeEndpoint(request, { linger, peerAddress })
      request.once("response", (_headers, _flags, raw: ReadonlyArray<string>) =>
        resume(Effect.succeed(Http2Stream.fromRaw(raw))))
      request.once("close", () =>
        resume(Effect.fail(Transport.readFailed(Http2Stream.failureOf(request, session.http2)))))
      return Effect.sync(() =>
        Http2Stream.reset(request)
      )
    })
  const use = <A>(
    operation: (stream: Transport.Endpoint) => Effect.Effect<A, Transport.TransportError>
  ): Effect.Effect<A, Transport.TransportError> =>
    Effect.suspend(() => stream === undefined || left ? Effect.fail(Transport.locallyClosed()) : operation(stream))
  const close = Effect.suspend(() => {
    if (left) return Effect.void
    left = true
    return Effect.ensuring(stream?.close ?? Effect.void, Effect.sync(() => session.leave()))
  })
  return {
    bootstrap: { _tag: "Asking", scheme: options.tls === undefined ? "http" : "https", ask },
    pull: use(({ pull }) => pull),
    write: (chunk) => use((stream) => stream.write(chunk)),
    writeAll: (chunks) => use((stream) => stream.writeAll(chunks)),
    offerUnsafe: (chunk) => stream?.offerUnsafe?.(chunk) ?? false,
    roomUnsafe: (size) => stream?.roomUnsafe?.(size),
    end: Effect.suspend(() => stream?.end ?? Effect.void),
    close,
    peerAddress,
    native: session.http2
  }
}

const keyOf = ({ host, path, port, tls }: NodeTransport.Options): string =>
  JSON.stringify([tls === undefined, path ?? `${host}:${port}`])

/**
 * Makes a dialer whose transports share sessions of HTTP/2, for as long as the
 * scope is open.
 *
 * **Details**
 *
 * With `wss:` the server chooses HTTP/2 by ALPN; with `ws:` it is spoken at once
 * ("prior knowledge", RFC 9113 section 3.3). A server that does not announce
 * extended CONNECT, or is not of HTTP/2, is dialled again with HTTP/1.1. `http:`
 * and `https:` URLs are taken as `ws:` and `wss:`.
 *
 * A session that is full is joined by another. One that nobody uses is ended
 * after `idleTimeout`, all of them with the scope.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeDialer = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<Transport.TransportDialer["Service"], never, Scope.Scope> {
    const fork = Effect.runForkWith(yield* Effect.context())
    const origins = new Map<string, Origin>()
    yield* Effect.addFinalizer(() =>
      Effect.forEach(
        Array.from(origins.values()).flatMap(({ sessions }) => Array.from(sessions)),
        (session) => session.end,
        { concurrency: "unbounded", discard: true }
      )
    )
    const originOf = (dialled: NodeTransport.Options): Origin => {
      const key = keyOf(dialled)
      const peerAddress = options.peerAddress ?? NodeTransport.unixAddress(dialled.path)
      const origin = origins.get(key) ?? new Origin({ ...options, ...dialled, peerAddress }, fork)
      origins.set(key, origin)
      return origin
    }
    return {
      dial: (url) => {
        const parsed = NodeTransport.toOptions(String(url).replace(/^http/i, "ws"), options)
        if (Result.isFailure(parsed)) return Transport.make(Effect.fail(parsed.failure))
        return Transport.make(
          NodeTransport.inTime(Effect.suspend(() => originOf(parsed.success).open), options)
        )
      }
    }
  }
)

/**
 * Provides transports over HTTP/2 or HTTP/1.1 to where WebSocket URLs point, as
 * `makeDialer`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerDialer = (options?: Options): Layer.Layer<Transport.TransportDialer> =>
  Layer.effect(Transport.TransportDialer, makeDialer(options))
