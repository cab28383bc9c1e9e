/**
 * The next layer: a byte-stream connection that a WebSocket runs over.
 *
 * A transport has the shape of Effect's `Socket.Socket` under a key of its own,
 * because a `WebSocketStream` can itself be seen as a `Socket.Socket` (one
 * element a message), and a Layer must be able to say which of the two it needs.
 *
 * The contract, which one shared suite checks for every transport:
 *
 * - Acquiring `reader` opens the connection; its scope owns the connection.
 * - `pull` yields non-empty batches, in order. The bytes belong to the reader,
 *   which may change them in place. A pull parked when its scope closes fails.
 * - `write` completes when the bytes are accepted and suspends while the layer
 *   below is full. The bytes of one write are contiguous, and the caller may
 *   reuse its array afterwards. A write to a connection that has ended fails.
 * - The ends are told apart: `endOf` says whether the peer ended its side, this
 *   side closed, or the connection failed.
 * - Releasing the writer's scope ends this side only (half-close), after what
 *   was written. `destroy` ends both at once and discards what was not sent.
 *
 * @since 1.0.0
 */
import type { Fields } from "@effect-websocket/protocol/ExtendedConnect"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type * as SocketServer from "effect/socket/SocketServer"

/**
 * The writing side of a transport.
 *
 * @category models
 * @since 1.0.0
 */
export interface Writer extends Socket.Writer {
  /**
   * Accepts all of `chunk` at once and returns `true`, or takes nothing and
   * returns `false` because the layer below is full, an earlier write waits, or
   * the connection is not open. Optional: what makes a write cost no fiber. The
   * bytes are the transport's from then on and are not changed by the caller.
   * No other fiber runs before it returns.
   */
  readonly offerUnsafe?: ((chunk: Uint8Array) => boolean) | undefined
  /**
   * Gives room for at least `size` bytes behind the first `length` of an array
   * of the transport's own, or `undefined` where `offerUnsafe` would return
   * `false` and where the size is more than it gives at once. The caller writes
   * there and raises `length` by what it wrote before anything else runs: so many
   * bytes are accepted. `more` says that more is likely to be written in the next
   * turn of the event loop, so that this may wait for it. Optional: what makes a
   * write cost no array.
   */
  readonly roomUnsafe?: ((size: number, more?: boolean) => Room | undefined) | undefined
}

/**
 * An array of a transport that bytes are written to, one behind the other.
 *
 * @category models
 * @since 1.0.0
 */
export interface Room {
  readonly bytes: Uint8Array
  /** How many of its bytes are taken, from the front. */
  length: number
}

/**
 * The client's side of an opening handshake whose heads do not go through the
 * bytes of the connection, as over HTTP/2 (RFC 8441).
 *
 * @category models
 * @since 1.0.0
 */
export interface Asking {
  readonly _tag: "Asking"
  readonly scheme: "http" | "https"
  /** Sends the request, once, and gives the final response. Bytes may be written after that, where the server agreed. */
  readonly ask: (request: Fields) => Effect.Effect<Fields, Socket.SocketError>
}

/**
 * The server's side of an opening handshake whose heads do not go through the
 * bytes of the connection, as over HTTP/2 (RFC 8441).
 *
 * @category models
 * @since 1.0.0
 */
export interface Asked {
  readonly _tag: "Asked"
  readonly request: Fields
  /** Fails when the client gives up before it is answered. */
  readonly lost: Effect.Effect<never, Socket.SocketError>
  /** Answers, once. A response with a body ends this side; that without leaves it open for bytes. */
  readonly respond: (response: Fields, body?: Uint8Array) => Effect.Effect<void, Socket.SocketError>
}

/**
 * A connection that has been opened or accepted, or that opens when its reader
 * is acquired. Every `Socket.Socket` is one.
 *
 * @category models
 * @since 1.0.0
 */
export interface Connection extends Socket.Socket {
  readonly writer: Effect.Effect<Writer, never, Scope.Scope>
  /** Who is at the other end, once the connection is open and where it is known. */
  readonly peerAddress?: (() => NetAddress.SocketAddress | undefined) | undefined
  /** How heads are exchanged on the open connection, where they do not go through its bytes. */
  readonly bootstrap?: (() => Asking | Asked | undefined) | undefined
  /** What the platform's open connection is made of, for its own modules to look into: a socket of Node's, say. */
  readonly native?: (() => unknown) | undefined
}

/**
 * A byte-stream connection, the next layer of a `WebSocketStream`.
 *
 * @category services
 * @since 1.0.0
 */
export class Transport extends Context.Service<Transport, Connection>()("effect-websocket/Transport") {}

/**
 * Opens transports to where URLs point, the next layer of a client that is told
 * by its URL alone where to go.
 *
 * **Details**
 *
 * `dial` opens nothing itself: the connection it gives dials each time its reader
 * is acquired. A URL that cannot be dialled fails then, with a `SocketOpenError`.
 *
 * @category services
 * @since 1.0.0
 */
export class TransportDialer extends Context.Service<TransportDialer, {
  readonly dial: (url: string | URL) => Connection
}>()("effect-websocket/Transport/TransportDialer") {}

/**
 * Accepts transports at an address, the next layer of a `WebSocketServer`.
 *
 * **Details**
 *
 * `run` gives every accepted connection to `handler` in a fiber of its own and
 * goes on until it is interrupted, which interrupts the handlers. Connections
 * that arrive before the first `run` wait for it.
 *
 * @category services
 * @since 1.0.0
 */
export class TransportServer extends Context.Service<TransportServer, {
  readonly address: NetAddress.SocketAddress
  readonly run: <R>(
    handler: (connection: Connection) => Effect.Effect<void, never, R>
  ) => Effect.Effect<never, SocketServer.SocketServerError, R>
  /** Tells peers to take new business elsewhere (GOAWAY), where the transport has words for it; what is open stays so. */
  readonly drain?: Effect.Effect<void> | undefined
}>()("effect-websocket/Transport/TransportServer") {}

/**
 * Sees one of Effect's own sockets as a transport, for the Node, Bun and Deno
 * sockets that ship with Effect.
 *
 * **Gotchas**
 *
 * The socket must carry bytes, not WebSocket messages. What it guarantees about
 * back-pressure and ends is what the transport guarantees.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromSocket = (
  socket: Socket.Socket,
  options?: { readonly peerAddress?: (() => NetAddress.SocketAddress | undefined) | undefined }
): Connection => ({ ...socket, peerAddress: options?.peerAddress })

/**
 * Sees one of Effect's own socket servers as a `TransportServer`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromSocketServer = (server: SocketServer.SocketServer["Service"]): TransportServer["Service"] =>
  TransportServer.of({
    address: server.address,
    run: (handler) => server.run((socket) => handler(fromSocket(socket)))
  })

/**
 * Why a transport failed or ended.
 *
 * @category errors
 * @since 1.0.0
 */
export type TransportError = Socket.SocketError

/**
 * Why a `TransportServer` cannot listen or goes on no longer.
 *
 * @category errors
 * @since 1.0.0
 */
export type TransportServerError = SocketServer.SocketServerError

/**
 * Whether a value is the error of a transport.
 *
 * @category guards
 * @since 1.0.0
 */
export const isTransportError: (u: unknown) => u is TransportError = Socket.isSocketError

/**
 * The error of a transport that failed while it read.
 *
 * @category errors
 * @since 1.0.0
 */
export const readFailed = (cause: unknown): TransportError =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause }) })

/**
 * The error of a transport that failed while it wrote.
 *
 * @category errors
 * @since 1.0.0
 */
export const writeFailed = (cause: unknown): TransportError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

/**
 * How a connection ended, told by the error that its `pull` failed with.
 *
 * - `"PeerEnded"`: the peer ended its side (TCP FIN); this side may still write.
 * - `"Closed"`: this side closed or destroyed the connection.
 * - `"Failed"`: reset, refused, timed out, or another failure.
 *
 * @category models
 * @since 1.0.0
 */
export type End = "PeerEnded" | "Closed" | "Failed"

/**
 * Tells how a connection ended.
 *
 * @category guards
 * @since 1.0.0
 */
export const endOf = (error: Socket.SocketError): End =>
  error.reason._tag !== "SocketCloseError" ? "Failed" : error.reason.code === 1000 ? "PeerEnded" : "Closed"

/**
 * The error of a pull after the peer ended its side.
 *
 * @category errors
 * @since 1.0.0
 */
export const peerEnded = (): Socket.SocketError => closeErrors.peerEnded

/**
 * The error of a pull or write after this side closed the connection.
 *
 * @category errors
 * @since 1.0.0
 */
export const locallyClosed = (): Socket.SocketError => closeErrors.locallyClosed

// Every connection ends, and most with one of these: where in the code that was says nothing, and costs the most.
const closeErrors = {
  peerEnded: new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1000 }) }),
  locallyClosed: new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })
}

/**
 * Ends both sides of a connection at once and discards what was not sent.
 *
 * @category destructors
 * @since 1.0.0
 */
export const destroy = (writer: Writer): Effect.Effect<void> => Effect.ignore(writer.write(new Socket.CloseEvent(1000)))

/**
 * Opens a connection whose `pull` yields bytes only.
 *
 * @category constructors
 * @since 1.0.0
 */
export const readerBytes = Socket.readerBytes

/**
 * One open connection, as the author of a transport describes it to `make`.
 *
 * **Details**
 *
 * Once the connection has ended, `pull`, `write` and `writeAll` fail; none of
 * them may wait for something that can no longer come. `end` and `close` may be
 * called at any time and any number of times.
 *
 * @category models
 * @since 1.0.0
 */
export interface Endpoint extends Writer {
  readonly pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError>
  /**
   * Has `listener` told what arrives while a pull waits, in place of that pull,
   * which goes on to wait. Where the listener returns `false` it has taken nothing
   * of the chunk: that and what comes behind it wait for pulls as everything else
   * does, the one that waits first. The listener may change the bytes and has them
   * until it returns. It does not throw, and is not told of ends. A later one takes
   * its place. Optional: what makes a read cost no fiber and no array.
   */
  readonly listenUnsafe?: ((listener: Listener) => void) | undefined
  /**
   * Has `wake` called, once, as soon as a pull would not wait: before it returns
   * where it would not now. Until then it is as if a pull waited, for `listenUnsafe`
   * too. A later one takes its place. Optional: what makes waiting cost no fiber.
   */
  readonly whenReadyUnsafe?: ((wake: () => void) => void) | undefined
  /**
   * Told by the connection above how many bytes it holds, whenever more than
   * before may be held. Optional: for transports of tests, that measure.
   */
  readonly onHeldUnsafe?: ((held: Held) => void) | undefined
  /** Ends this side only (half-close), after what was written. */
  readonly end: Effect.Effect<void>
  /** Ends the connection because its scope closes. Completes in bounded time. */
  readonly close: Effect.Effect<void>
  readonly peerAddress?: NetAddress.SocketAddress | undefined
  readonly bootstrap?: Asking | Asked | undefined
  readonly native?: unknown
}

/**
 * What the connection above a transport holds, in bytes.
 *
 * @category models
 * @since 1.0.0
 */
export interface Held {
  /** Payload of writes that are not completed. */
  readonly queued: number
  /** What has arrived and was not read, with what it takes to keep it. */
  readonly unread: number
}

/**
 * Takes a chunk as it arrives, or nothing of it.
 *
 * @category models
 * @since 1.0.0
 */
export type Listener = (chunk: Uint8Array) => boolean

interface Bound extends Writer {
  readonly end: Effect.Effect<void>
}

const connection = (open: Effect.Effect<Endpoint, Socket.SocketError>): Connection => {
  let current: Endpoint | undefined
  const opened = Latch.makeUnsafe(false)
  const made: Connection = {
    [Socket.TypeId]: Socket.TypeId,
    reader: makeReader(open, (endpoint) => {
      current = endpoint
      opened.openUnsafe()
    }),
    // Of the connection that is open when the writer is acquired, since others may be opened after it.
    writer: Effect.suspend(() => {
      const own = current
      return makeWriter(() => own ?? current, opened.await)
    }),
    peerAddress: () => current?.peerAddress,
    bootstrap: () => current?.bootstrap,
    native: () => current?.native
  }
  currents.set(made, () => current)
  return made
}

const makeReader = (
  open: Effect.Effect<Endpoint, Socket.SocketError>,
  onOpen: (endpoint: Endpoint) => void
): Connection["reader"] =>
  Effect.map(
    Effect.acquireRelease(open, (endpoint) => endpoint.close, { interruptible: true }),
    (endpoint) => {
      onOpen(endpoint)
      return { pull: endpoint.pull, upgrade: Socket.SocketUpgradeError.unsupported }
    }
  )

const makeWriter = (find: () => Endpoint | undefined, opened: Effect.Effect<void>): Connection["writer"] => {
  const whenOpen = (write: (endpoint: Endpoint) => Effect.Effect<void, Socket.SocketError>) =>
    Effect.suspend(() => {
      const endpoint = find()
      return endpoint !== undefined
        ? write(endpoint)
        : Effect.andThen(opened, Effect.suspend(() => write(find()!)))
    })
  const made: Bound = {
    write: (chunk) =>
      find() === undefined && Socket.isCloseEvent(chunk)
        ? Effect.void
        : whenOpen((endpoint) => endpoint.write(chunk)),
    writeAll: (chunks) => whenOpen((endpoint) => endpoint.writeAll(chunks)),
    offerUnsafe: (chunk) => find()?.offerUnsafe?.(chunk) ?? false,
    roomUnsafe: (size, more) => find()?.roomUnsafe?.(size, more),
    end: Effect.suspend(() => find()?.end ?? Effect.void)
  }
  return Effect.acquireRelease(Effect.succeed(made), ({ end }) => end)
}

// By the connection itself: what is made of it, with another reader, is not read in the same way.
const currents = new WeakMap<Connection, () => Endpoint | undefined>()

/**
 * Listens to the connection that is the one opened last now, as `Endpoint` says,
 * where this very connection was made here and its endpoint can. Elsewhere
 * nothing happens, and all that arrives is pulled.
 *
 * @category accessors
 * @since 1.0.0
 */
export const listenUnsafe = (connection: Connection): (listener: Listener) => void => {
  const endpoint = currentUnsafe(connection)
  return (listener) => endpoint?.listenUnsafe?.(listener)
}

/**
 * The endpoint that is open now, where this very connection was made here.
 *
 * @internal
 */
export const currentUnsafe = (connection: Connection): Endpoint | undefined =>
  endpoints.get(connection) ?? currents.get(connection)?.()

/**
 * Makes a connection that `open` opens anew each time its reader is acquired.
 *
 * **Details**
 *
 * A writer is of the connection that was opened last when it was acquired, so
 * that several can be open at one time. One acquired before the first follows
 * the connection opened last, and its writes wait for the first. Writes made
 * after the connection has ended fail. `open` may be interrupted and then
 * leaves nothing behind.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (open: Effect.Effect<Endpoint, Socket.SocketError>): Connection => connection(open)

/**
 * Makes a connection of one that is open already, as a server accepts them.
 *
 * **Details**
 *
 * Writes go through whether or not the reader has been acquired. The connection
 * opens no second time: a reader acquired after the end is given that end.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromEndpoint = (endpoint: Endpoint): Connection => {
  // A server makes one for each connection, and needs its endpoint alone: the rest is made when somebody asks.
  const made: Connection = {
    [Socket.TypeId]: Socket.TypeId,
    reader: Effect.suspend(() => makeReader(Effect.succeed(endpoint), () => {})),
    writer: Effect.suspend(() => makeWriter(() => endpoint, Effect.void)),
    peerAddress: () => endpoint.peerAddress,
    bootstrap: () => endpoint.bootstrap,
    native: () => endpoint.native
  }
  endpoints.set(made, endpoint)
  return made
}

// By the connection itself: what is made of it, with another reader, is not open in the same way.
const endpoints = new WeakMap<Connection, Endpoint>()

/**
 * The endpoint that `fromEndpoint` made this very connection of, for whoever
 * owns the connection alone and needs no scopes to let go of it.
 *
 * @category getters
 * @since 1.0.0
 */
export const endpointOf = (connection: Connection): Endpoint | undefined => endpoints.get(connection)

/**
 * Hands accepted connections to the handler of a `TransportServer`.
 *
 * @category models
 * @since 1.0.0
 */
export interface Acceptor {
  /**
   * Gives the connection to the running handler, or keeps it until there is
   * one. Returns `false`, and takes nothing, when too many wait already or the
   * acceptor's scope has closed.
   */
  readonly acceptUnsafe: (endpoint: Endpoint) => boolean
  readonly run: TransportServer["Service"]["run"]
}

/**
 * Makes the accepting half of a `TransportServer`, for authors of transports.
 *
 * **Details**
 *
 * At most `backlog` connections wait for `run` (default 128); those still
 * waiting when the scope closes are closed. A connection is closed when its
 * handler ends, and a defect of a handler is logged and ends that handler only.
 * Of several `run`s at one time the latest is given the connections.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeAcceptor = Effect.fnUntraced(
  function*(options?: { readonly backlog?: number | undefined }): Effect.fn.Return<Acceptor, never, Scope.Scope> {
    const backlog = options?.backlog ?? 128
    const waiting: Array<Endpoint> = []
    let open = true
    let handle: ((endpoint: Endpoint) => void) | undefined
    yield* Effect.addFinalizer(() => {
      open = false
      return Effect.forEach(waiting.splice(0), (endpoint) => endpoint.close, { discard: true })
    })
    const listen = (handler: (endpoint: Endpoint) => void) =>
      Effect.callback<never>(() => {
        handle = handler
        waiting.splice(0).forEach(handler)
        return Effect.sync(() => {
          if (handle === handler) handle = undefined
        })
      })
    return {
      acceptUnsafe: (endpoint) => {
        if (!open || (handle === undefined && waiting.length >= backlog)) return false
        if (handle === undefined) waiting.push(endpoint)
        else handle(endpoint)
        return true
      },
      run: (handler) =>
        Effect.acquireUseRelease(
          Effect.sync(() => new Set<Fiber.Fiber<void>>()),
          (fibers) => Effect.flatMap(handlerFibers(handler, fibers), listen),
          (fibers) => Fiber.interruptAll(fibers)
        )
    }
  }
)

const handlerFibers = <R>(
  handler: (connection: Connection) => Effect.Effect<void, never, R>,
  fibers: Set<Fiber.Fiber<void>>
) =>
  Effect.map(Effect.context<R>(), (context) => {
    const fork = Effect.runForkWith(context)
    // The last step of a fiber: an observer would be one more thing to hold for each.
    const leave = Effect.withFiber((fiber) => {
      fibers.delete(fiber as Fiber.Fiber<void>)
      return Effect.void
    })
    return (endpoint: Endpoint): void => {
      const fiber = fork(Effect.onExit(
        Effect.suspend(() => handler(fromEndpoint(endpoint))),
        (exit) => {
          const closed = isDeath(exit) ? Effect.andThen(endpoint.close, logDeath(exit.cause)) : endpoint.close
          return Effect.ensuring(closed, leave)
        }
      ))
      if (fiber.pollUnsafe() === undefined) fibers.add(fiber)
    }
  })

const isDeath = (exit: Exit.Exit<void>): exit is Exit.Failure<void, never> =>
  Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)

const logDeath = (cause: Cause.Cause<never>): Effect.Effect<void> =>
  Effect.ignoreCause(Effect.failCause(cause), { log: "Unhandled", message: "A connection's handler died" })
