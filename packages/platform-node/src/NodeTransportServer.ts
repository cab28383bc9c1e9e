/**
 * Servers of transports over TCP, TLS and unix sockets.
 *
 * @since 1.0.0
 */
import * as Transport from "effect-websocket/Transport"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as SocketServer from "effect/socket/SocketServer"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Tls from "node:tls"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * Where to listen: a port, or the path of a unix socket, which is removed again
 * when the server's scope closes.
 *
 * @category models
 * @since 1.0.0
 */
export type Target =
  | {
    /** 0 lets the system choose; `address` tells what it chose. */
    readonly port: number
    /** Default "127.0.0.1": reachable from this machine only. */
    readonly host?: string | undefined
    readonly path?: undefined
  }
  | { readonly path: string; readonly port?: undefined; readonly host?: undefined }

/**
 * How to serve.
 *
 * @category models
 * @since 1.0.0
 */
export interface ServeOptions {
  /** Speaks TLS when given; the options of Node's `tls.createServer`. */
  readonly tls?: Tls.TlsOptions | undefined
  /** Connections that may wait, in the kernel and for the first `run`. Default: 511. */
  readonly backlog?: number | undefined
  /** Sends small writes at once (TCP_NODELAY). Default `true`; without meaning for unix sockets. */
  readonly noDelay?: boolean | undefined
  /** How long a client may take for its TLS handshake, by Node's own timer. Default: 10 seconds. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /** How long closing a connection waits for written bytes to leave for the kernel. Default: 1 second. */
  readonly linger?: Duration.Input | undefined
}

/**
 * Where and how to serve.
 *
 * @category models
 * @since 1.0.0
 */
export type Options = Target & ServeOptions

const defaultBacklog = 511

const openFailed = (cause: unknown) =>
  new SocketServer.SocketServerError({ reason: new SocketServer.SocketServerOpenError({ cause }) })

const createServer = (options: Options): Net.Server => {
  // `allowHalfOpen`: the peer's end must not end our side.
  const common = { allowHalfOpen: true, noDelay: options.noDelay ?? true }
  return options.tls === undefined ? Net.createServer(common) : Tls.createServer({
    ...common,
    handshakeTimeout: Duration.toMillis(options.handshakeTimeout ?? "10 seconds"),
    ...options.tls
  })
}

const listen = (server: Net.Server, options: Options): Effect.Effect<void, SocketServer.SocketServerError> =>
  Effect.callback((resume) => {
    const fail = (cause: unknown) => resume(Effect.fail(openFailed(cause)))
    server.once("error", fail)
    const backlog = options.backlog ?? defaultBacklog
    const target = options.path === undefined
      ? { port: options.port, host: options.host ?? "127.0.0.1", backlog }
      : { path: options.path, backlog }
    try {
      server.listen(target, () => {
        server.off("error", fail)
        resume(Effect.void)
      })
    } catch (cause) {
      // A port out of range.
      fail(cause)
    }
  })

const addressOf = (server: Net.Server): NetAddress.SocketAddress => {
  const address = server.address()
  if (address === null || typeof address === "string") return NetAddress.unixPathAddress(address ?? "")
  const zones = NetAddress.scopeIdsFromInterfaces(Object.entries(Os.networkInterfaces()))
  return NetAddress.inetAddressFromNativeUnsafe(address.address, address.port, zones)
}

/** Accepted sockets that have not finished their TLS handshake, by the peer's address. */
class Handshakes {
  readonly sockets = new Map<string, Net.Socket>()
}

// A TLS socket does not say which socket it runs over; both know the peer's address. The peers of a unix socket have
// none: their handshakes end at `handshakeTimeout` at the latest.
const peerOf = (socket: Net.Socket): string | undefined =>
  socket.remotePort === undefined ? undefined : `${socket.remoteAddress} ${socket.remotePort}`

const trackHandshakes = (server: Net.Server, handshakes: Handshakes): void => {
  server.on("connection", (socket: Net.Socket) => {
    const peer = peerOf(socket)
    if (peer === undefined) return
    handshakes.sockets.set(peer, socket)
    socket.on("close", () => {
      if (handshakes.sockets.get(peer) === socket) handshakes.sockets.delete(peer)
    })
  })
  server.on("secureConnection", (socket: Tls.TLSSocket) => handshakes.sockets.delete(peerOf(socket) ?? ""))
  // Node reports a handshake that takes too long, and leaves it at that.
  server.on("tlsClientError", (_error, socket: Tls.TLSSocket) => socket.destroy())
}

/**
 * Gives a socket to an acceptor.
 *
 * @internal
 */
export const acceptSocket = (socket: Net.Socket, options: Options, acceptor: Transport.Acceptor): void => {
  const endpoint = NodeTransport.makeEndpoint(socket, { linger: options.linger })
  if (!acceptor.acceptUnsafe(endpoint)) socket.destroy()
}

/** Errors of accepting, such as too many open files, concern the connection not accepted and not the server. */
const logErrors = (server: Net.Server): Effect.Effect<void> =>
  Effect.map(Effect.context(), (context) => {
    const log = Effect.runForkWith(context)
    server.on("error", (cause) => log(Effect.logWarning("A connection could not be accepted", cause)))
  })

const stop = (server: Net.Server, handshakes: Handshakes): Effect.Effect<void> =>
  Effect.sync(() => {
    // Stops listening at once; its callback would wait for the connections that handlers still own.
    server.close()
    handshakes.sockets.forEach((socket) => socket.destroy())
  })

/**
 * Listens for connections until the scope closes.
 *
 * **Details**
 *
 * Connections that arrive before `run` wait, unread, `backlog` of them at most.
 * When the scope closes the server stops listening and ends the connections that
 * no handler has yet; those of running handlers are `run`'s. A client that fails
 * its TLS handshake, or is slow at it, is dropped and disturbs nothing else. An
 * address that cannot be listened on fails with a `SocketServerError`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (
  options: Options
): Effect.Effect<Transport.TransportServer["Service"], SocketServer.SocketServerError, Scope.Scope> =>
  makeWith(options, (socket, acceptor) => acceptSocket(socket, options, acceptor))

/**
 * `make`, where `take` says what becomes of an accepted socket.
 *
 * @internal
 */
export const makeWith = Effect.fnUntraced(
  function*(
    options: Options,
    take: (socket: Net.Socket, acceptor: Transport.Acceptor) => void
  ): Effect.fn.Return<Transport.TransportServer["Service"], SocketServer.SocketServerError, Scope.Scope> {
    const handshakes = new Handshakes()
    const acceptor = yield* Transport.makeAcceptor({ backlog: options.backlog ?? defaultBacklog })
    const server = yield* Effect.acquireRelease(
      Effect.try({ try: () => createServer(options), catch: openFailed }),
      (server) => stop(server, handshakes)
    )
    if (options.tls !== undefined) trackHandshakes(server, handshakes)
    const accepted = options.tls === undefined ? "connection" : "secureConnection"
    server.on(accepted, (socket: Net.Socket) => take(socket, acceptor))
    yield* listen(server, options)
    yield* logErrors(server)
    return Transport.TransportServer.of({ address: addressOf(server), run: acceptor.run })
  }
)

const layerOf = (options: Options): Layer.Layer<Transport.TransportServer, SocketServer.SocketServerError> =>
  Layer.effectContext(Effect.map(make(options), (server) => Context.make(Transport.TransportServer, server)))

/**
 * Provides a server over TCP.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (
  options: { readonly port: number; readonly host?: string | undefined } & Omit<ServeOptions, "tls">
): Layer.Layer<Transport.TransportServer, SocketServer.SocketServerError> => layerOf(options)

/**
 * Provides a server over TLS.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerTls = (
  options:
    & { readonly port: number; readonly host?: string | undefined; readonly tls: Tls.TlsOptions }
    & Omit<ServeOptions, "tls">
): Layer.Layer<Transport.TransportServer, SocketServer.SocketServerError> => layerOf(options)

/**
 * Provides a server over a unix socket.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerUnix = (
  options: { readonly path: string } & ServeOptions
): Layer.Layer<Transport.TransportServer, SocketServer.SocketServerError> => layerOf(options)
