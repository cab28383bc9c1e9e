/**
 * Transports that exist in memory only, for tests of clients and servers in one
 * process.
 *
 * Deterministic: bytes move in the order in which fibers run, and time, where it
 * is asked for, is Effect's `Clock`. Sizes are bytes, times are `Duration`s.
 *
 * @since 1.0.0
 */
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Transport from "../Transport.ts"

/**
 * How one direction of a connection behaves.
 *
 * @category models
 * @since 1.0.0
 */
export interface DirectionOptions {
  /** Most bytes accepted and not yet pulled, before a write suspends. Default 65536. */
  readonly capacity?: number | undefined
  /** Most bytes of one pulled chunk. Default: as large as it was accepted. */
  readonly chunkSize?: number | undefined
  /** Time from acceptance to readability. Default 0. */
  readonly latency?: Duration.Input | undefined
  /** Bytes that become readable in a second, in chunks of at most 1460. Default: no limit. */
  readonly bandwidth?: number | undefined
}

/**
 * How a connection behaves, in both directions or told apart.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends DirectionOptions {
  /** What differs for bytes from the client to the server. */
  readonly clientToServer?: DirectionOptions | undefined
  /** What differs for bytes from the server to the client. */
  readonly serverToClient?: DirectionOptions | undefined
}

const defaultCapacity = 64 * 1024
/** What an Ethernet frame leaves for TCP's payload: the grain in which a slow line delivers. */
const slowGrain = 1460
const address = NetAddress.unixPathAddress("memory")
const encoder = new TextEncoder()

interface Delay {
  readonly clock: Clock.Clock
  readonly latency: number
  readonly millisPerByte: number
}

/** Bytes on their way; no bytes mean that the writing side has ended. */
interface Segment {
  readonly bytes: Uint8Array
  /** The clock's milliseconds from which the segment can be read; 0 without delay. */
  readonly readyAt: number
}

/** What has been accepted and not yet pulled, in order. */
class Line {
  readonly segments: Array<Segment> = []
  readonly capacity: number
  readonly grain: number
  readonly delay: Delay | undefined
  held = 0
  /** The clock's milliseconds at which the last byte has left the sender. */
  freeAt = 0

  constructor(capacity: number, grain: number, delay: Delay | undefined) {
    this.capacity = capacity
    this.grain = grain
    this.delay = delay
  }
}

const now = (line: Line): number => line.delay?.clock.currentTimeMillisUnsafe() ?? 0

const push = (line: Line, bytes: Uint8Array): void => {
  const { delay } = line
  if (delay !== undefined) line.freeAt = Math.max(now(line), line.freeAt) + bytes.length * delay.millisPerByte
  // Whole milliseconds, which every clock can reach; a billionth less, so that rounding errors do not cost one.
  const readyAt = delay === undefined ? 0 : Math.ceil(line.freeAt + delay.latency - 1e-6)
  line.segments.push({ bytes, readyAt })
  line.held += bytes.length
}

/** Copies what there is room for of `chunk` from `start` on, and returns where it stopped. */
const accept = (line: Line, chunk: Uint8Array, start: number): number => {
  const end = Math.min(chunk.length, start + line.capacity - line.held)
  for (let at = start; at < end; at += line.grain) {
    push(line, new Uint8Array(chunk.subarray(at, Math.min(end, at + line.grain))))
  }
  return end
}

const takeReady = (line: Line): Arr.NonEmptyReadonlyArray<Uint8Array> | undefined => {
  const time = now(line)
  const ready = (segment: Segment) => segment.bytes.length > 0 && segment.readyAt <= time
  const stop = line.segments.findIndex((segment) => !ready(segment))
  if (stop === 0 || line.segments.length === 0) return undefined
  const batch = line.segments.splice(0, stop === -1 ? line.segments.length : stop).map((segment) => segment.bytes)
  line.held -= batch.reduce((sum, bytes) => sum + bytes.length, 0)
  return batch as [Uint8Array, ...Array<Uint8Array>]
}

const atEnd = (line: Line): boolean => {
  const segment = line.segments[0]
  return segment !== undefined && segment.bytes.length === 0 && segment.readyAt <= now(line)
}

/** A write, or the end of the writing side, that waits for room. */
interface Writing {
  readonly chunks: ReadonlyArray<Uint8Array>
  readonly ends: boolean
  readonly resume: (result: Effect.Effect<void, Socket.SocketError>) => void
  index: number
  offset: number
}

/** One direction of a connection. */
class Pipe {
  readonly writings: Array<Writing> = []
  readonly parked = new Set<() => void>()
  readonly line: Line
  /** Why pulls fail whatever is held. */
  readError: Socket.SocketError | undefined
  /** Why writes fail. */
  writeError: Socket.SocketError | undefined

  constructor(line: Line) {
    this.line = line
  }
}

const advance = (line: Line, writing: Writing): boolean => {
  while (writing.index < writing.chunks.length) {
    const chunk = writing.chunks[writing.index]!
    writing.offset = accept(line, chunk, writing.offset)
    if (writing.offset < chunk.length) return false
    writing.index++
    writing.offset = 0
  }
  if (writing.ends) push(line, new Uint8Array(0))
  return true
}

const wake = (pipe: Pipe): void => {
  const parked = Array.from(pipe.parked)
  pipe.parked.clear()
  parked.forEach((resume) => resume())
}

// A resumed fiber runs before `resume` returns and may use the pipe: each step leaves it consistent.
const pump = (pipe: Pipe): void => {
  while (pipe.writings.length > 0 && advance(pipe.line, pipe.writings[0]!)) pipe.writings.shift()!.resume(Effect.void)
  if (pipe.line.segments.length > 0) wake(pipe)
}

/** Makes writes fail from now on, the suspended ones among them. */
const stopWriting = (pipe: Pipe, error: Socket.SocketError): void => {
  pipe.writeError ??= error
  pipe.writings.splice(0).forEach((writing) => writing.resume(Effect.fail(error)))
}

/** Makes both ends of the pipe fail from now on and drops what it holds. */
const abort = (pipe: Pipe, readError: Socket.SocketError, writeError: Socket.SocketError): void => {
  if (pipe.readError !== undefined) return
  pipe.readError = readError
  pipe.line.segments.length = 0
  pipe.line.held = 0
  stopWriting(pipe, writeError)
  wake(pipe)
}

/** Ends the writing side after what was accepted and what is suspended. */
const finish = (pipe: Pipe): void => {
  if (pipe.writeError !== undefined) return
  pipe.writeError = Transport.locallyClosed()
  pipe.writings.push({ chunks: [], ends: true, resume: () => {}, index: 0, offset: 0 })
  pump(pipe)
}

/** Ends the writing side after what was accepted; suspended writes fail. */
const cut = (pipe: Pipe): void => {
  if (pipe.readError !== undefined) return
  const ended = pipe.writeError !== undefined && pipe.writings.length === 0
  stopWriting(pipe, Transport.locallyClosed())
  if (!ended) push(pipe.line, new Uint8Array(0))
  wake(pipe)
}

const park = (pipe: Pipe): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const wakeUp = () => resume(Effect.void)
    pipe.parked.add(wakeUp)
    return Effect.sync(() => pipe.parked.delete(wakeUp))
  })

// Parking is only a signal; bytes leave the pipe in the fiber that pulls, so an interrupted pull loses none.
const pull = (pipe: Pipe): Transport.Endpoint["pull"] =>
  Effect.suspend(() => {
    if (pipe.readError !== undefined) return Effect.fail(pipe.readError)
    const batch = takeReady(pipe.line)
    if (batch !== undefined) {
      pump(pipe)
      return Effect.succeed(batch)
    }
    if (atEnd(pipe.line)) return Effect.fail(Transport.peerEnded())
    const next = pipe.line.segments[0]
    const signal = next === undefined
      ? park(pipe)
      : Effect.raceFirst(park(pipe), pipe.line.delay!.clock.sleep(Duration.millis(next.readyAt - now(pipe.line))))
    // A turn of the scheduler, so that no reader runs inside the `offerUnsafe` that wakes it.
    return Effect.andThen(Effect.andThen(signal, Effect.yieldNow), pull(pipe))
  })

const writeChunks = (pipe: Pipe, chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, Socket.SocketError> =>
  Effect.callback((resume) => {
    if (pipe.writeError !== undefined) return resume(Effect.fail(pipe.writeError))
    const writing: Writing = { chunks, ends: false, resume, index: 0, offset: 0 }
    pipe.writings.push(writing)
    if (pipe.writings.length === 1) pump(pipe)
    return Effect.sync(() => {
      const index = pipe.writings.indexOf(writing)
      if (index === -1) return
      pipe.writings.splice(index, 1)
      if (index === 0) pump(pipe)
    })
  })

const offer = (pipe: Pipe, chunk: Uint8Array): boolean => {
  const { line } = pipe
  if (pipe.writeError !== undefined || pipe.writings.length > 0 || chunk.length > line.capacity - line.held) {
    return false
  }
  accept(line, chunk, 0)
  pump(pipe)
  return true
}

const readError = (message: string) =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Error(message) }) })

const writeError = (message: string) =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause: new Error(message) }) })

const bytesOf = (chunk: Uint8Array | string): Uint8Array => typeof chunk === "string" ? encoder.encode(chunk) : chunk

const destroy = (incoming: Pipe, outgoing: Pipe): void => {
  abort(incoming, Transport.locallyClosed(), writeError("The peer has destroyed the connection"))
  abort(outgoing, readError("The peer has destroyed the connection"), Transport.locallyClosed())
}

const close = (incoming: Pipe, outgoing: Pipe): void => {
  abort(incoming, Transport.locallyClosed(), writeError("The peer has closed the connection"))
  cut(outgoing)
}

const endpoint = (incoming: Pipe, outgoing: Pipe): Transport.Endpoint => ({
  pull: pull(incoming),
  write: (chunk) =>
    Socket.isCloseEvent(chunk)
      ? Effect.sync(() => destroy(incoming, outgoing))
      : writeChunks(outgoing, [bytesOf(chunk)]),
  writeAll: (chunks) => writeChunks(outgoing, chunks.map(bytesOf)),
  offerUnsafe: (chunk) => offer(outgoing, chunk),
  end: Effect.sync(() => finish(outgoing)),
  close: Effect.sync(() => close(incoming, outgoing)),
  peerAddress: address
})

const makePipe = (clock: Clock.Clock, both: DirectionOptions, own: DirectionOptions | undefined): Pipe => {
  const latency = Duration.toMillis(own?.latency ?? both.latency ?? 0)
  const bandwidth = own?.bandwidth ?? both.bandwidth ?? Infinity
  const grain = Math.min(own?.chunkSize ?? both.chunkSize ?? Infinity, bandwidth === Infinity ? Infinity : slowGrain)
  const delayed = latency > 0 || bandwidth !== Infinity
  const delay = delayed ? { clock, latency, millisPerByte: 1000 / bandwidth } : undefined
  return new Pipe(new Line(Math.max(1, own?.capacity ?? both.capacity ?? defaultCapacity), Math.max(1, grain), delay))
}

const makeEndpoints = (clock: Clock.Clock, options: Options) => {
  const toServer = makePipe(clock, options, options.clientToServer)
  const toClient = makePipe(clock, options, options.serverToClient)
  return { client: endpoint(toClient, toServer), server: endpoint(toServer, toClient) }
}

/**
 * Makes two ends of one open connection.
 *
 * **Details**
 *
 * Written bytes are copied, so a writer may reuse its array and a reader may
 * change what it pulls. A write larger than the room is accepted piece by piece
 * and completes with its last byte. Half-close arrives behind the bytes; a
 * closed scope and `destroy` are known at both ends at once, whatever the
 * latency. After `destroy` the peer's pulls fail with a `SocketReadError`, and
 * after a closed scope it is given what was accepted and then the end.
 *
 * **Gotchas**
 *
 * An interrupted write may have been accepted in part.
 *
 * **Example** (Talking to oneself)
 *
 * ```ts import.meta.vitest
 * import * as Effect from "effect/Effect"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 *
 * const program = Effect.gen(function*() {
 *   const [client, server] = yield* MemoryTransport.makePair({ chunkSize: 2 })
 *   const writer = yield* client.writer
 *   yield* writer.write("hello")
 *   const { pull } = yield* server.reader
 *   return (yield* pull).map((chunk) => chunk.length)
 * })
 *
 * Effect.runSync(Effect.scoped(program)) // => [2, 2, 1]
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makePair = Effect.fnUntraced(
  function*(
    options?: Options
  ): Effect.fn.Return<readonly [client: Transport.Connection, server: Transport.Connection], never, Scope.Scope> {
    const ends = makeEndpoints(yield* Clock.Clock, options ?? {})
    yield* Effect.addFinalizer(() => Effect.andThen(ends.client.close, ends.server.close))
    return [Transport.fromEndpoint(ends.client), Transport.fromEndpoint(ends.server)]
  }
)

/**
 * Makes a server and the client that dials it.
 *
 * **Details**
 *
 * Each acquisition of the client's reader opens a connection of its own, whose
 * other end the server's `run` gives to its handler. Connections made before
 * `run` wait for it, 128 at most. Dialling fails with a `SocketOpenError` when
 * too many wait or the server's scope has closed.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeServer = Effect.fnUntraced(
  function*(
    options?: Options
  ): Effect.fn.Return<
    { readonly server: Transport.TransportServer["Service"]; readonly client: Transport.Connection },
    never,
    Scope.Scope
  > {
    const clock = yield* Clock.Clock
    const acceptor = yield* Transport.makeAcceptor()
    const dial = Effect.suspend(() => {
      const ends = makeEndpoints(clock, options ?? {})
      return acceptor.acceptUnsafe(ends.server) ? Effect.succeed(ends.client) : Effect.fail(refused())
    })
    return {
      server: Transport.TransportServer.of({ address, run: acceptor.run }),
      client: Transport.make(dial)
    }
  }
)

const refused = () =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("Nothing accepts connections here") })
  })

/**
 * Provides a server and the transport that dials it, also by a dialer, which
 * reaches it with every URL.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (
  options?: Options
): Layer.Layer<Transport.Transport | Transport.TransportDialer | Transport.TransportServer> =>
  Layer.effectContext(
    Effect.map(
      makeServer(options),
      ({ client, server }) =>
        Context.make(Transport.Transport, client).pipe(
          Context.add(Transport.TransportDialer, { dial: () => client }),
          Context.add(Transport.TransportServer, server)
        )
    )
  )
