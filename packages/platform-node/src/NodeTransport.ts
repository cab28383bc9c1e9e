/**
 * Byte-stream transports over TCP, TLS and unix sockets, and over any duplex
 * stream of Node's.
 *
 * Built for WebSocket traffic, where Effect's `NodeSocket` is for sockets in
 * general: the writes of one turn of the event loop leave in one system call, a
 * write to a connection that has ended fails and never waits, and closing ends in
 * bounded time whatever the peer does. Sizes are bytes.
 *
 * @since 1.0.0
 */
import * as Transport from "effect-websocket/Transport"
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Socket from "effect/socket/Socket"
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import * as Os from "node:os"
import { Duplex } from "node:stream"
import * as Tls from "node:tls"
import { isInPlace, readInPlace, type Receiver } from "./internal/readInPlace.ts"
import * as Tunnel from "./internal/tunnel.ts"
import * as NodeProxy from "./NodeProxy.ts"

/**
 * Pulled bytes held above Node's own buffer, from which on the stream is paused.
 * Then Node reads its 64 KiB more, and after that the kernel pushes back.
 */
const readMark = 64 * 1024

/** An array that writes are gathered in, and that is used again. */
class Slab implements Transport.Room {
  readonly bytes: Uint8Array
  length = 0
  readonly #free: Array<Slab>
  readonly #most: number

  constructor(size: number, free: Array<Slab>, most: number) {
    this.bytes = Buffer.allocUnsafeSlow(size)
    this.#free = free
    this.#most = most
  }

  /** Nobody may have use of it any more. */
  giveBack(): void {
    this.length = 0
    if (this.#free.length < this.#most) this.#free.push(this)
  }
}

/** Arrays of one size. */
class Slabs {
  readonly size: number
  readonly #most: number
  readonly #free: Array<Slab> = []

  constructor(size: number, most: number) {
    this.size = size
    this.#most = most
  }

  take(): Slab {
    return this.#free.pop() ?? new Slab(this.size, this.#free, this.#most)
  }
}

/**
 * Arrays that the writes of a turn are gathered in: most turns need a small one.
 * The large one takes a fragment of 64 KiB with its header.
 */
const smallSlabs = new Slabs(4 * 1024, 1024)
const largeSlabs = new Slabs(64 * 1024 + 64, 32)

const takeSlab = (size: number): Slab => (size <= smallSlabs.size ? smallSlabs : largeSlabs).take()

/** What has been read and not yet pulled. */
class Inbound {
  listener: Transport.Listener | undefined
  /** Told in place of a pull that waits. */
  waiter: (() => void) | undefined
  // Most connections have neither: what arrives is taken as it does.
  chunks: Array<Uint8Array> | undefined
  parked: Set<() => void> | undefined
  size = 0
  end: Socket.SocketError | undefined
}

/** A write that waits for room, or the end of this side. */
interface Waiting {
  readonly chunks: ReadonlyArray<Uint8Array | string> | undefined
  readonly resume: (result: Effect.Effect<void, Socket.SocketError>) => void
}

/** What has been written and not yet taken by the stream. */
class Outbound {
  waiting: Array<Waiting> | undefined
  /** The stream holds more than its high-water mark and has not drained since. */
  full = false
  /** What was written in this turn of the event loop. */
  room: Slab | undefined
  /** The kernel did not take all of what it was given last. */
  behind = false
  flushing = false
  /** When it was first held back for what may follow, in milliseconds; `undefined` where it is not. */
  heldSince: number | undefined
  /** How much of it was there in the turn before. */
  seen = 0
  /** How many turns in a row brought nothing. */
  idle = 0
  end: Socket.SocketError | undefined
}

const isAwaited = (inbound: Inbound): boolean =>
  inbound.waiter !== undefined || (inbound.parked !== undefined && inbound.parked.size > 0)

const wake = (inbound: Inbound): void => {
  const { parked, waiter } = inbound
  inbound.waiter = undefined
  inbound.parked = undefined
  waiter?.()
  parked?.forEach((resume) => resume())
}

/** Ends both directions, for the first reason of each. */
const endBoth = (
  inbound: Inbound,
  outbound: Outbound,
  readError: Socket.SocketError,
  writeError: Socket.SocketError
): void => {
  // Both before either wakes a fiber, which runs at once and must find the other ended too.
  inbound.end ??= readError
  outbound.end ??= writeError
  outbound.waiting?.splice(0).forEach((waiting) => waiting.resume(Effect.fail(writeError)))
  wake(inbound)
}

const readFailed = (cause: unknown) => new Socket.SocketError({ reason: new Socket.SocketReadError({ cause }) })

const writeFailed = (cause: unknown) => new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

/**
 * The error of a dial that failed.
 *
 * @internal
 */
export const openFailed = (cause: unknown, kind: "Unknown" | "Timeout" = "Unknown"): Transport.TransportError =>
  new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind, cause }) })

const receive = (stream: Duplex, inbound: Inbound, chunk: Uint8Array): void => {
  // Closing: what the peer still sends is read, so that it can read us, and dropped.
  if (inbound.end !== undefined) return
  // Where none is parked, what a pull has taken may still be on its way to its fiber.
  if (isAwaited(inbound) && inbound.listener?.(chunk) === true) return
  const kept = isInPlace(chunk) ? new Uint8Array(chunk) : chunk
  if (inbound.chunks === undefined) inbound.chunks = [kept]
  else inbound.chunks.push(kept)
  inbound.size += chunk.length
  if (inbound.size >= readMark) stream.pause()
  wake(inbound)
}

// Parking is only a signal; bytes leave the queue in the fiber that pulls, so an interrupted pull loses none.
const pull = (stream: Duplex, inbound: Inbound): Transport.Endpoint["pull"] => {
  const attempt: Transport.Endpoint["pull"] = Effect.suspend(() => {
    if (inbound.size > 0) {
      const batch = inbound.chunks
      inbound.chunks = undefined
      inbound.size = 0
      if (stream.isPaused()) stream.resume()
      return Effect.succeed(batch as unknown as Arr.NonEmptyReadonlyArray<Uint8Array>)
    }
    if (inbound.end !== undefined) return Effect.fail(inbound.end)
    if (stream.isPaused()) stream.resume()
    return parked
  })
  const parked: Transport.Endpoint["pull"] = Effect.callback((resume) => {
    // The fiber may have yielded since it found nothing.
    if (inbound.size > 0 || inbound.end !== undefined) return resume(attempt)
    const wakeUp = () => resume(attempt)
    const parked = inbound.parked ??= new Set()
    parked.add(wakeUp)
    return Effect.sync(() => parked.delete(wakeUp))
  })
  return attempt
}

const whenReady = (stream: Duplex, inbound: Inbound, wake: () => void): void => {
  if (inbound.size > 0 || inbound.end !== undefined) return wake()
  inbound.waiter = wake
  if (stream.isPaused()) stream.resume()
}

/**
 * Holds back what is written until the turn of the event loop is over, where
 * `setImmediate` runs: all the frames that a connection wrote because of what
 * came in leave together, and those of all connections one after the other, so
 * that a peer on the same machine is woken once. Where a turn has to do with many
 * connections it is not waited for: what the first of them wrote leaves while the
 * processor has it at hand. Written from within `setImmediate`, as Effect's
 * scheduler does, they leave in the next turn, which begins at once.
 */
const flushLater = (stream: Duplex, outbound: Outbound, more: boolean): void => {
  if (outbound.flushing) return
  if (more) return holdings.add(stream, outbound)
  if (turn.length === mostInTurn) {
    endTurn()
    return flushLater(stream, outbound, more)
  }
  outbound.flushing = true
  if (turn.length === 0) setImmediate(endTurn)
  turn.push([stream, outbound])
}

// Connections whose writes are held back for the turn. Of 1000 connections with a message each, 32 make a message a tenth
// cheaper than all of them do, and of 6000 a fifth; fewer wake the peer more often.
const mostInTurn = 32

let turn: Array<readonly [Duplex, Outbound]> = []

const endTurn = (): void => {
  const ending = turn
  turn = []
  for (const [stream, outbound] of ending) {
    outbound.flushing = false
    flush(stream, outbound)
  }
}

// How long the first of what is held back waits at most, in milliseconds.
const heldAtMost = 5

// How many turns without a write tell that no more follows.
const idleAtMost = 2

/**
 * Those that hold back what they wrote, since more is to come.
 *
 * A fiber that answers one message and yields before it takes the next (as
 * `Effect.forever` does) writes in as many turns as there are messages. It goes
 * on in the next or the one after, so that two without a write tell that it does
 * not.
 */
class Holdings {
  #held: Array<readonly [Duplex, Outbound]> = []
  #looking = false
  #lookedAt = 0

  add(stream: Duplex, outbound: Outbound): void {
    if (outbound.heldSince !== undefined) return
    if (!this.#looking) {
      this.#looking = true
      this.#lookedAt = performance.now()
      setImmediate(() => this.#look())
    }
    outbound.heldSince = this.#lookedAt
    outbound.seen = 0
    outbound.idle = 0
    this.#held.push([stream, outbound])
  }

  #look(): void {
    const now = this.#lookedAt = performance.now()
    this.#held = this.#held.filter(([stream, outbound]) => {
      const length = outbound.room?.length ?? 0
      if (outbound.heldSince === undefined || length === 0) return false
      outbound.idle = length === outbound.seen ? outbound.idle + 1 : 0
      const goesOn = outbound.idle < idleAtMost && now - outbound.heldSince < heldAtMost
      outbound.seen = length
      if (!goesOn) flush(stream, outbound)
      return goesOn
    })
    this.#looking = this.#held.length > 0
    if (this.#looking) setImmediate(() => this.#look())
  }
}

const holdings = new Holdings()

// Not TLS, which keeps what it is given.
const isPlain = (stream: Duplex): boolean => stream instanceof Net.Socket && !(stream instanceof Tls.TLSSocket)

/** Gives what was gathered to the stream. */
const flush = (stream: Duplex, outbound: Outbound): void => {
  const { room } = outbound
  if (room === undefined) return
  outbound.room = undefined
  outbound.heldSince = undefined
  if (large?.[1] === outbound) large = undefined
  if (room.length === 0 || stream.destroyed || stream.writableEnded) return room.giveBack()
  const bytes = room.bytes.subarray(0, room.length)
  const mayGoAtOnce = isPlain(stream) && stream.writableLength === 0
  if (mayGoAtOnce && !outbound.behind) {
    hand(stream, outbound, bytes)
    outbound.behind = stream.writableLength > 0
    // The kernel has taken all of it. What it has not is left to the collector, this once.
    if (!outbound.behind) room.giveBack()
  } else if (!mayGoAtOnce && bytes.length * 2 < room.bytes.length) {
    // A stream that keeps what it is given, for who knows how long, is given no more than that.
    hand(stream, outbound, Buffer.from(bytes))
    room.giveBack()
  } else {
    hand(stream, outbound, bytes, (error) => error == null ? room.giveBack() : undefined)
    outbound.behind = stream.writableLength > 0
  }
}

const hand = (
  stream: Duplex,
  outbound: Outbound,
  chunk: Uint8Array,
  onTaken?: (error: Error | null | undefined) => void
): void => {
  // Where the kernel takes all at once, the stream is not full, however long the chunk.
  outbound.full = !stream.write(chunk, onTaken) && stream.writableLength > 0
}

const hasWaiting = ({ waiting }: Outbound): boolean => waiting !== undefined && waiting.length > 0

const isOpen = (outbound: Outbound): boolean => !outbound.full && outbound.end === undefined && !hasWaiting(outbound)

/** Who has a large array, or is about to. */
let large: readonly [Duplex, Outbound] | undefined

/**
 * Gives what the one before has gathered in a large array to its stream, so that
 * the array, which the processor has at hand, serves the next. A stream may have
 * others write before it returns.
 */
const passOn = (stream: Duplex, outbound: Outbound): void => {
  const before = large
  large = [stream, outbound]
  if (before !== undefined) flush(...before)
}

/** Room for `size` bytes behind what was gathered. */
const gather = (stream: Duplex, outbound: Outbound, size: number, more: boolean): Transport.Room => {
  flushLater(stream, outbound, more)
  const { room } = outbound
  const length = room?.length ?? 0
  if (room !== undefined && length + size <= room.bytes.length) return room
  if (length > 0 && length + size > largeSlabs.size) {
    flush(stream, outbound)
    return gather(stream, outbound, size, more)
  }
  if (length + size > smallSlabs.size && large?.[1] !== outbound) {
    passOn(stream, outbound)
    return gather(stream, outbound, size, more)
  }
  const slab = takeSlab(length + size)
  if (room !== undefined) {
    slab.bytes.set(room.bytes.subarray(0, length))
    slab.length = length
    room.giveBack()
  }
  return outbound.room = slab
}

const giveRoom = (
  stream: Duplex,
  outbound: Outbound,
  size: number,
  more: boolean
): Transport.Room | undefined => {
  if (!isOpen(outbound) || size > largeSlabs.size) return undefined
  const room = gather(stream, outbound, size, more)
  if (!outbound.full) return room
}

/** Takes a chunk; one that is not ours to keep is copied. */
const put = (stream: Duplex, outbound: Outbound, chunk: Uint8Array, owned: boolean): void => {
  if (chunk.length === 0) return
  if (chunk.length <= largeSlabs.size) {
    const room = gather(stream, outbound, chunk.length, false)
    room.bytes.set(chunk, room.length)
    room.length += chunk.length
  } else {
    flush(stream, outbound)
    hand(stream, outbound, owned ? chunk : Buffer.from(chunk))
  }
}

/** Takes a write, or the end of this side, whose turn has come. */
const take = (stream: Duplex, outbound: Outbound, chunks: Waiting["chunks"]): void => {
  for (const chunk of chunks ?? []) {
    if (typeof chunk === "string") put(stream, outbound, Buffer.from(chunk), true)
    else put(stream, outbound, chunk, false)
  }
  if (chunks !== undefined) return
  flush(stream, outbound)
  stream.end()
}

// A resumed fiber runs before `resume` returns and may write: each step leaves the queue consistent.
const drained = (stream: Duplex, outbound: Outbound): void => {
  outbound.full = false
  while (!outbound.full && hasWaiting(outbound)) {
    const next = outbound.waiting!.shift()!
    take(stream, outbound, next.chunks)
    next.resume(Effect.void)
  }
}

const write = (
  stream: Duplex,
  outbound: Outbound,
  chunks: ReadonlyArray<Uint8Array | string>
): Effect.Effect<void, Socket.SocketError> =>
  Effect.suspend(() => {
    if (outbound.end !== undefined) return Effect.fail(outbound.end)
    if (!isOpen(outbound)) return waitForRoom(outbound, chunks)
    take(stream, outbound, chunks)
    return Effect.void
  })

const waitForRoom = (outbound: Outbound, chunks: Waiting["chunks"]): Effect.Effect<void, Socket.SocketError> =>
  Effect.callback((resume) => {
    const waiting: Waiting = { chunks, resume }
    const all = outbound.waiting ??= []
    all.push(waiting)
    return Effect.sync(() => {
      const index = all.indexOf(waiting)
      if (index !== -1) all.splice(index, 1)
    })
  })

const offer = (stream: Duplex, outbound: Outbound, chunk: Uint8Array): boolean => {
  if (!isOpen(outbound)) return false
  put(stream, outbound, chunk, true)
  return true
}

const halfClose = (stream: Duplex, outbound: Outbound): void => {
  if (outbound.end !== undefined) return
  outbound.end = Transport.locallyClosed()
  if (outbound.waiting !== undefined && outbound.waiting.length > 0) {
    outbound.waiting.push({ chunks: undefined, resume: () => {} })
  } else take(stream, outbound, undefined)
}

const endHere = (inbound: Inbound, outbound: Outbound): void => {
  const error = Transport.locallyClosed()
  inbound.chunks = undefined
  inbound.size = 0
  inbound.end = error
  inbound.listener = undefined
  endBoth(inbound, outbound, error, error)
}

const destroyNow = (stream: Duplex, kind: StreamKind): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    stream.once("close", () => resume(Effect.void))
    kind.destroy(stream)
  })

/** Waits until what the stream has taken is in the kernel, at most for `linger`, and then destroys it. */
const flushAndDestroy = (stream: Duplex, linger: Duration.Duration, kind: StreamKind): Effect.Effect<void> =>
  Effect.flatMap(Effect.context(), (context) =>
    Effect.callback<void>((resume) => {
      // A fiber of its own: a finalizer cannot be interrupted, so it cannot race against a sleep.
      const destroy = () => kind.destroy(stream)
      const impatient = Effect.runForkWith(context)(Effect.andThen(Effect.sleep(linger), Effect.sync(destroy)))
      stream.once("finish", destroy)
      stream.once("close", () => {
        impatient.interruptUnsafe()
        resume(Effect.void)
      })
      stream.end()
      stream.resume()
    }))

const scopeIds = (): ReadonlyMap<string, number> =>
  NetAddress.scopeIdsFromInterfaces(Object.entries(Os.networkInterfaces()))

/**
 * The address of a host and port as Node writes them.
 *
 * @internal
 */
export const addressOf = (
  host: string | undefined,
  port: number | undefined
): NetAddress.SocketAddress | undefined => {
  if (host === undefined || port === undefined) return undefined
  const zones = host.includes("%") ? scopeIds() : undefined
  return Result.getOrUndefined(NetAddress.inetAddressFromHostString(host, port, zones))
}

/**
 * Who is at the other end of a socket, where it is known.
 *
 * @internal
 */
export const peerOf = (socket: Net.Socket): NetAddress.SocketAddress | undefined =>
  addressOf(socket.remoteAddress, socket.remotePort)

/**
 * How a stream is seen as a transport.
 *
 * @category models
 * @since 1.0.0
 */
export interface EndpointOptions {
  /**
   * How long closing waits for written bytes to leave for the kernel. What has
   * not left by then is discarded. Default: 1 second.
   */
  readonly linger?: Duration.Input | undefined
  /** Who is at the other end. Default: what the stream knows of it. */
  readonly peerAddress?: NetAddress.SocketAddress | undefined
}

/**
 * Sees an open duplex stream as one end of a connection, for servers and for
 * streams that come from elsewhere, such as an HTTP upgrade.
 *
 * **Details**
 *
 * Takes the stream over: its events, errors included, are handled from now until
 * it is destroyed. Bytes read before belong back on it, by `unshift`. For
 * half-close the stream must have been made with `allowHalfOpen`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeEndpoint = (stream: Duplex, options?: EndpointOptions): Transport.Endpoint =>
  makeEndpointOf(stream, anyKind, options)

const anyKind: StreamKind = {
  destroy: (stream) => void stream.destroy(),
  failure: () => undefined
}

/**
 * What is particular about a kind of stream.
 *
 * @internal
 */
export interface StreamKind {
  /** Ends both directions at once. */
  readonly destroy: (stream: Duplex) => void
  /** Why the stream has failed, where neither its end nor its close says that it has. */
  readonly failure: () => Error | undefined
}

/**
 * `makeEndpoint` for a kind of stream.
 *
 * @internal
 */
export const makeEndpointOf = (stream: Duplex, kind: StreamKind, options?: EndpointOptions): Transport.Endpoint =>
  new StreamEndpoint(stream, kind, options)

// A class, since an idle connection holds an endpoint and little else: what it does is made when it is asked for.
class StreamEndpoint implements Transport.Endpoint, Receiver {
  readonly native: Duplex
  readonly #kind: StreamKind
  readonly #linger: Duration.Duration
  readonly #inbound = new Inbound()
  readonly #outbound = new Outbound()
  readonly #peerAddress: NetAddress.SocketAddress | undefined

  constructor(stream: Duplex, kind: StreamKind, options: EndpointOptions | undefined) {
    this.native = stream
    this.#peerAddress = options?.peerAddress
    // A socket remembers who is at its other end, once it is asked while it is open.
    if (stream instanceof Net.Socket) void stream.remotePort
    this.#kind = kind
    this.#linger = options?.linger === undefined ? defaultLinger : Duration.fromInputUnsafe(options.linger)
    listen(stream, this)
  }

  get peerAddress(): NetAddress.SocketAddress | undefined {
    return this.#peerAddress ?? (this.native instanceof Net.Socket ? peerOf(this.native) : undefined)
  }

  get pull(): Transport.Endpoint["pull"] {
    return pull(this.native, this.#inbound)
  }

  listenUnsafe(listener: Transport.Listener): void {
    this.#inbound.listener = listener
  }

  whenReadyUnsafe(wake: () => void): void {
    whenReady(this.native, this.#inbound, wake)
  }

  get end(): Effect.Effect<void> {
    return Effect.sync(() => halfClose(this.native, this.#outbound))
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      endHere(this.#inbound, this.#outbound)
      if (this.native.destroyed) return Effect.void
      flush(this.native, this.#outbound)
      return this.native.writableFinished
        ? destroyNow(this.native, this.#kind)
        : flushAndDestroy(this.native, this.#linger, this.#kind)
    })
  }

  write(chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> {
    return Socket.isCloseEvent(chunk) ? this.#destroy : write(this.native, this.#outbound, [chunk])
  }

  writeAll(chunks: ReadonlyArray<Uint8Array | string>): Effect.Effect<void, Socket.SocketError> {
    return write(this.native, this.#outbound, chunks)
  }

  offerUnsafe(chunk: Uint8Array): boolean {
    return offer(this.native, this.#outbound, chunk)
  }

  roomUnsafe(size: number, more: boolean = false): Transport.Room | undefined {
    return giveRoom(this.native, this.#outbound, size, more)
  }

  get #destroy(): Effect.Effect<void> {
    return Effect.sync(() => {
      endHere(this.#inbound, this.#outbound)
      this.#kind.destroy(this.native)
    })
  }

  receive(chunk: Uint8Array): void {
    receive(this.native, this.#inbound, chunk)
  }

  onEnd(): void {
    const failure = this.#kind.failure()
    this.#inbound.end ??= failure === undefined ? Transport.peerEnded() : readFailed(failure)
    wake(this.#inbound)
  }

  onDrain(): void {
    drained(this.native, this.#outbound)
  }

  onError(cause: Error): void {
    endBoth(this.#inbound, this.#outbound, readFailed(cause), writeFailed(cause))
  }

  onClose(): void {
    // Most have ended in both directions: an error that nobody sees would cost more than all the rest of closing.
    const isOver = this.#inbound.end !== undefined && this.#outbound.end !== undefined && !hasWaiting(this.#outbound)
    if (isOver) return wake(this.#inbound)
    const cause = this.#kind.failure() ?? new Error("The connection has been closed")
    endBoth(this.#inbound, this.#outbound, readFailed(cause), writeFailed(cause))
  }
}

const defaultLinger = Duration.seconds(1)

const endpointKey = Symbol("effect-websocket/endpoint")

/** A stream that was taken over. */
type Taken = Duplex & { readonly [endpointKey]: StreamEndpoint }

// Listeners find the endpoint by the stream they are called on, so that all streams have the same ones.
const listeners = {
  data(this: Taken, chunk: Uint8Array) {
    this[endpointKey].receive(chunk)
  },
  end(this: Taken) {
    this[endpointKey].onEnd()
  },
  drain(this: Taken) {
    this[endpointKey].onDrain()
  },
  error(this: Taken, cause: Error) {
    this[endpointKey].onError(cause)
  },
  close(this: Taken) {
    this[endpointKey].onClose()
  }
}

const listen = (stream: Duplex, endpoint: StreamEndpoint): void => {
  Object.assign(stream, { [endpointKey]: endpoint })
  // Paused until the first pull; a `data` listener alone would set it flowing.
  stream.pause()
  if (!readInPlace(stream, endpoint)) stream.on("data", listeners.data)
  stream.on("end", listeners.end)
  stream.on("drain", listeners.drain)
  stream.on("error", listeners.error)
  stream.on("close", listeners.close)
}

/**
 * What TLS needs beyond an address, as Node's `tls.connect` names it.
 *
 * **Details**
 *
 * `servername` is by default the host, unless that is an IP address. The peer's
 * certificate is verified against it unless `rejectUnauthorized` is `false`.
 *
 * @category models
 * @since 1.0.0
 */
export type TlsOptions = Pick<
  Tls.ConnectionOptions,
  | "ALPNProtocols"
  | "ca"
  | "cert"
  | "checkServerIdentity"
  | "ciphers"
  | "key"
  | "maxVersion"
  | "minVersion"
  | "passphrase"
  | "pfx"
  | "rejectUnauthorized"
  | "secureContext"
  | "servername"
  | "session"
>

/**
 * Where to dial: a host and port, or the path of a unix socket.
 *
 * @category models
 * @since 1.0.0
 */
export type Target =
  | { readonly host: string; readonly port: number; readonly path?: undefined }
  | { readonly path: string; readonly host?: undefined; readonly port?: undefined }

/**
 * How to dial.
 *
 * @category models
 * @since 1.0.0
 */
export interface DialOptions extends EndpointOptions {
  /** Speaks TLS when given. */
  readonly tls?: TlsOptions | undefined
  /** Sends small writes at once (TCP_NODELAY). Default `true`; without meaning for unix sockets. */
  readonly noDelay?: boolean | undefined
  /**
   * Goes by an HTTP proxy, through a tunnel. Without meaning for unix sockets.
   * Default: none, whatever the environment says. `peerAddress` is the proxy's then.
   */
  readonly proxy?: NodeProxy.Proxy | undefined
  /** How long to wait for the connection, the TLS handshake and a proxy's answer included. Default: 30 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Where and how to dial.
 *
 * @category models
 * @since 1.0.0
 */
export type Options = Target & DialOptions

const connect = (target: Target, tls: TlsOptions | undefined, { noDelay = true }: DialOptions): Net.Socket => {
  // `allowHalfOpen`: the peer's end must not end our side. `autoSelectFamily` stays as Node has it.
  const { host, path, port } = target
  const to = path === undefined ? { host: host!, port: port!, allowHalfOpen: true } : { path, allowHalfOpen: true }
  // Not an option of `connect`: `tls.connect` does not know it.
  return (tls === undefined ? Net.connect(to) : Tls.connect({ ...to, ...secured(tls, host) })).setNoDelay(noDelay)
}

const secured = (tls: TlsOptions, host: string | undefined): Tls.ConnectionOptions => {
  const servername = tls.servername ?? (host === undefined || Net.isIP(host) !== 0 ? undefined : host)
  return {
    ...tls,
    rejectUnauthorized: tls.rejectUnauthorized ?? true,
    ...(servername === undefined ? {} : { servername })
  }
}

/** One dial, of one socket or of one inside another. Whatever is wrong ends it, with nothing left open. */
class Dial {
  readonly fail: (cause: unknown) => void
  readonly #sockets: Array<Net.Socket> = []
  readonly #closed = () => this.fail(new Error("The connection was closed while it opened"))

  constructor(onFailure: (cause: unknown) => void) {
    this.fail = (cause) => {
      this.destroy()
      onFailure(cause)
    }
  }

  /** Makes a socket, and goes on once it is open. */
  open(make: () => Net.Socket, isSecure: boolean, then: (socket: Net.Socket) => void): void {
    try {
      const socket = make()
      this.#sockets.push(socket)
      socket.on("error", this.fail).on("close", this.#closed)
      socket.once(isSecure ? "secureConnect" : "connect", () => then(socket))
    } catch (cause) {
      // A certificate that cannot be read, a port out of range.
      this.fail(cause)
    }
  }

  /** Lets go of the socket that is open. One that it is inside of stays watched, since its errors are told by that. */
  release(): void {
    this.#sockets.pop()?.off("error", this.fail).off("close", this.#closed)
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

const tunnelOf = (
  { host, port, proxy, tls }: Options
): Effect.Effect<Tunnel.Tunnel | undefined, Socket.SocketError> => {
  if (proxy === undefined || host === undefined) return Effect.undefined
  const found = proxy === "environment"
    ? Effect.mapError(
      NodeProxy.fromEnvironment({ host, port, secure: tls !== undefined }),
      (error) => openFailed(error)
    )
    : Effect.succeed(proxy)
  return Effect.flatMap(found, (proxy) =>
    Effect.try({
      try: () => proxy && Tunnel.make(proxy, { host, port }),
      catch: (cause) => openFailed(cause)
    }))
}

/**
 * Dials, and gives the socket to `use` before it can emit anything more.
 *
 * @internal
 */
export const openSocket = <A>(
  options: Options,
  use: (socket: Net.Socket) => A
): Effect.Effect<A, Socket.SocketError> =>
  Effect.flatMap(tunnelOf(options), (tunnel) =>
    Effect.callback((resume) => {
      const dial = new Dial((cause) => resume(Effect.fail(openFailed(cause))))
      const finish = (socket: Net.Socket) => {
        const used = use(socket)
        dial.release()
        resume(Effect.succeed(used))
      }
      if (tunnel !== undefined) dialThrough(dial, tunnel, options, finish)
      else dial.open(() => connect(options, options.tls, options), options.tls !== undefined, finish)
      return Effect.sync(() => dial.destroy())
    }))

const dialThrough = (dial: Dial, tunnel: Tunnel.Tunnel, options: Options, finish: (socket: Net.Socket) => void) =>
  dial.open(
    () => connect(tunnel, tunnel.tls, options),
    tunnel.tls !== undefined,
    (socket) =>
      Tunnel.establish(socket, tunnel, (problem) => {
        const { host, tls } = options
        if (problem !== undefined) return dial.fail(problem)
        if (tls === undefined) return finish(socket)
        dial.open(() => Tls.connect({ socket, host, ...secured(tls, host) }), true, finish)
      })
  )

const open = (options: Options): Effect.Effect<Transport.Endpoint, Socket.SocketError> =>
  openSocket(options, (socket) => makeEndpoint(socket, { peerAddress: unixAddress(options.path), ...options }))

/**
 * The address of a unix socket.
 *
 * @internal
 */
export const unixAddress = (path: string | undefined): NetAddress.SocketAddress | undefined =>
  path === undefined ? undefined : NetAddress.unixPathAddress(path)

/**
 * Makes a connection that dials each time its reader is acquired.
 *
 * **Details**
 *
 * Dialling fails with a `SocketOpenError`, whose cause is Node's error; its kind
 * is `"Timeout"` after `connectTimeout`. A proxy that refuses the tunnel is the
 * cause `ProxyRefused`, which a client's `HandshakeError` has as its reason. `destroy` discards what has not left for
 * the kernel; closing the scope sends it, for `linger` at most.
 *
 * **Gotchas**
 *
 * Closing does not wait for the peer's end: where the peer is still sending, the
 * kernel may reset the connection and the peer may lose the last bytes. Half-close
 * and read to the end first if they matter.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (options: Options): Transport.Connection => Transport.make(inTime(open(options), options))

/**
 * Bounds a dial by `connectTimeout`.
 *
 * @internal
 */
export const inTime = <A>(dial: Effect.Effect<A, Socket.SocketError>, { connectTimeout }: DialOptions) =>
  Effect.timeoutOrElse(dial, {
    duration: connectTimeout ?? "30 seconds",
    orElse: () => Effect.fail(openFailed(new Error("The connection did not open in time"), "Timeout"))
  })

interface UrlTarget {
  readonly target: Target
  readonly secure: boolean
}

const defaultPorts: { readonly [protocol: string]: number } = { "ws:": 80, "wss:": 443, "http:": 80, "https:": 443 }

const parseUrl = (input: string | URL): UrlTarget => {
  const url = new URL(input)
  const secure = url.protocol.startsWith("wss") || url.protocol === "https:"
  if (url.protocol === "ws+unix:" || url.protocol === "wss+unix:") {
    // The path of the socket, then a colon and the request's target.
    return { secure, target: { path: decodeURIComponent(url.pathname.split(":", 1)[0]!) } }
  }
  const port = url.port === "" ? defaultPorts[url.protocol] : Number(url.port)
  if (!Object.hasOwn(defaultPorts, url.protocol) || port === undefined) {
    throw new TypeError(`Not a WebSocket URL: ${url.protocol}`)
  }
  // An IPv6 address stands in brackets in a URL only.
  return { secure, target: { host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port } }
}

/**
 * Makes a connection to where a URL points: `ws:` or `http:`, `wss:` or `https:`,
 * and `ws+unix:` or `wss+unix:`, whose path is the socket's, then `:` and the
 * request's target.
 *
 * **Details**
 *
 * A secure scheme speaks TLS whether or not `tls` is given, a plain one never. A
 * URL that cannot be dialled fails as dialling does, with a `SocketOpenError`.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromUrl = (url: string | URL, options?: DialOptions): Transport.Connection => {
  const parsed = toOptions(url, options)
  return Result.isFailure(parsed) ? Transport.make(Effect.fail(parsed.failure)) : make(parsed.success)
}

/**
 * Where a URL points, and how to dial it.
 *
 * @internal
 */
export const toOptions = (
  url: string | URL,
  options: DialOptions | undefined
): Result.Result<Options, Socket.SocketError> =>
  Result.mapBoth(Result.try(() => parseUrl(url)), {
    onFailure: (cause) => openFailed(cause),
    onSuccess: ({ secure, target }) => ({ ...options, ...target, tls: secure ? options?.tls ?? {} : undefined })
  })

/**
 * The stream of Node's that a connection is open on, to learn what is specific to
 * it: the peer's certificate, the protocol that ALPN agreed on.
 *
 * **Gotchas**
 *
 * `undefined` before the connection opens, and for transports not made here.
 *
 * @category getters
 * @since 1.0.0
 */
export const streamOf = (connection: Transport.Connection): Duplex | undefined => {
  const native = connection.native?.()
  return native instanceof Duplex ? native : undefined
}

const layerOf = (connection: Transport.Connection): Layer.Layer<Transport.Transport> =>
  Layer.succeedContext(Context.make(Transport.Transport, connection))

/**
 * Provides a transport over TCP.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerTcp = (
  options: { readonly host: string; readonly port: number } & Omit<DialOptions, "tls">
): Layer.Layer<Transport.Transport> => layerOf(make(options))

/**
 * Provides a transport over TLS.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerTls = (
  options: { readonly host: string; readonly port: number } & DialOptions
): Layer.Layer<Transport.Transport> => layerOf(make({ ...options, tls: options.tls ?? {} }))

/**
 * Provides a transport over a unix socket.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerUnix = (
  options: { readonly path: string } & DialOptions
): Layer.Layer<Transport.Transport> => layerOf(make(options))

/**
 * Provides the transport to where a WebSocket URL points.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerUrl = (url: string | URL, options?: DialOptions): Layer.Layer<Transport.Transport> =>
  layerOf(fromUrl(url, options))

/**
 * Provides the transports to where WebSocket URLs point.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerDialer = (options?: DialOptions): Layer.Layer<Transport.TransportDialer> =>
  Layer.succeed(Transport.TransportDialer, { dial: (url) => fromUrl(url, options) })
