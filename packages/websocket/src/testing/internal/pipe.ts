/**
 * One direction of a connection in memory: bounded, in order, and delayed where
 * a clock is given.
 *
 * @since 1.0.0
 */
import * as Arr from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import * as Transport from "../../Transport.ts"

/**
 * When what is written can be read.
 *
 * @internal
 */
export interface Timing {
  readonly clock: Clock.Clock
  /** Milliseconds of a segment's way, asked anew for each; none arrives before the one in front of it. */
  readonly latency: () => number
  readonly millisPerByte: number
}

/**
 * Who sees, changes and loses what is on its way.
 *
 * @internal
 */
export interface Wire {
  /** Given each segment as it is accepted; may change it in place. What it does not give back is lost. */
  readonly pass: (bytes: Uint8Array) => Uint8Array
  /** Told after a segment is on its way. */
  readonly passed: () => void
  /** Told that the writing side has ended, behind what was accepted. */
  readonly ended: () => void
  /** Told how many bytes have been pulled. */
  readonly taken: (size: number) => void
}

/** Bytes on their way; no bytes mean that the writing side has ended. */
interface Segment {
  readonly bytes: Uint8Array
  /** The clock's milliseconds from which the segment can be read; 0 without a clock, `Infinity` while held back. */
  readyAt: number
}

/** What has been accepted and not yet pulled, in order. */
class Line {
  readonly segments: Array<Segment> = []
  readonly capacity: number
  /** Most bytes of the next segment. */
  readonly grain: () => number
  readonly timing: Timing | undefined
  wire: Wire | undefined
  held = 0
  /** The most that was held at one time. */
  peak = 0
  /** The clock's milliseconds at which the last byte has left the sender. */
  freeAt = 0
  /** Whether what is on its way does not arrive. */
  blocked = false

  constructor(options: PipeOptions) {
    this.capacity = Math.max(1, options.capacity)
    this.grain = options.grain
    this.timing = options.timing
  }
}

/**
 * How a pipe behaves.
 *
 * @internal
 */
export interface PipeOptions {
  /** Most bytes accepted and not yet pulled; at least 1. */
  readonly capacity: number
  /** Most bytes of the next segment, at least 1. */
  readonly grain: () => number
  readonly timing: Timing | undefined
}

const now = (line: Line): number => line.timing?.clock.currentTimeMillisUnsafe() ?? 0

const arrival = (line: Line, size: number): number => {
  const { timing } = line
  if (timing === undefined) return 0
  line.freeAt = Math.max(now(line), line.freeAt) + size * timing.millisPerByte
  if (line.blocked) return Infinity
  // Whole milliseconds, which every clock can reach; a billionth less, so that rounding errors do not cost one.
  return Math.ceil(line.freeAt + timing.latency() - 1e-6)
}

const push = (line: Line, copied: Uint8Array): void => {
  const bytes = line.wire === undefined ? copied : line.wire.pass(copied)
  if (bytes.length > 0) {
    line.segments.push({ bytes, readyAt: arrival(line, bytes.length) })
    line.held += bytes.length
    line.peak = Math.max(line.peak, line.held)
  }
  line.wire?.passed()
}

/**
 * Ends the line behind what it holds.
 *
 * @internal
 */
export const pushEnd = (line: Line): void => {
  line.segments.push({ bytes: new Uint8Array(0), readyAt: arrival(line, 0) })
  line.wire?.ended()
}

/** Copies what there is room for of `chunk` from `start` on, and returns where it stopped. */
const accept = (line: Line, chunk: Uint8Array, start: number): number => {
  const end = Math.min(chunk.length, start + line.capacity - line.held)
  for (let at = start; at < end;) {
    const next = Math.min(end, at + line.grain())
    push(line, new Uint8Array(chunk.subarray(at, next)))
    at = next
  }
  return end
}

type Batch = Arr.NonEmptyReadonlyArray<Uint8Array>

const takeReady = (line: Line): Batch | undefined => {
  const time = now(line)
  const ready = (segment: Segment) => segment.bytes.length > 0 && segment.readyAt <= time
  const stop = line.segments.findIndex((segment) => !ready(segment))
  if (stop === 0 || line.segments.length === 0) return undefined
  const batch = line.segments.splice(0, stop === -1 ? line.segments.length : stop).map((segment) => segment.bytes)
  const size = batch.reduce((sum, bytes) => sum + bytes.length, 0)
  line.held -= size
  line.wire?.taken(size)
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

/**
 * One direction of a connection.
 *
 * @internal
 */
export class Pipe {
  readonly writings: Array<Writing> = []
  readonly parked = new Set<() => void>()
  readonly line: Line
  /** Told what arrives while a pull waits. */
  listener: Transport.Listener | undefined
  /** Why pulls fail whatever is held. */
  readError: Socket.SocketError | undefined
  /** Why writes fail. */
  writeError: Socket.SocketError | undefined

  constructor(options: PipeOptions) {
    this.line = new Line(options)
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
  if (writing.ends) pushEnd(line)
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

/**
 * Makes writes fail from now on, the suspended ones among them.
 *
 * @internal
 */
export const stopWriting = (pipe: Pipe, error: Socket.SocketError): void => {
  pipe.writeError ??= error
  pipe.writings.splice(0).forEach((writing) => writing.resume(Effect.fail(error)))
}

/**
 * Makes pulls fail from now on and drops what is held.
 *
 * @internal
 */
export const stopReading = (pipe: Pipe, error: Socket.SocketError): void => {
  if (pipe.readError !== undefined) return
  pipe.readError = error
  pipe.line.segments.length = 0
  pipe.line.held = 0
  wake(pipe)
}

/**
 * Makes both ends of the pipe fail from now on and drops what it holds.
 *
 * @internal
 */
export const abort = (pipe: Pipe, readError: Socket.SocketError, writeError: Socket.SocketError): void => {
  if (pipe.readError !== undefined) return
  pipe.readError = readError
  pipe.line.segments.length = 0
  pipe.line.held = 0
  stopWriting(pipe, writeError)
  wake(pipe)
}

/**
 * Ends the writing side after what was accepted and what is suspended.
 *
 * @internal
 */
export const finish = (pipe: Pipe): void => {
  if (pipe.writeError !== undefined) return
  pipe.writeError = Transport.locallyClosed()
  pipe.writings.push({ chunks: [], ends: true, resume: () => {}, index: 0, offset: 0 })
  pump(pipe)
}

/**
 * Ends the writing side after what was accepted; suspended writes fail.
 *
 * @internal
 */
export const cut = (pipe: Pipe): void => {
  if (pipe.readError !== undefined) return
  const ended = pipe.writeError !== undefined && pipe.writings.length === 0
  stopWriting(pipe, Transport.locallyClosed())
  if (!ended) pushEnd(pipe.line)
  wake(pipe)
}

/**
 * As `cut`, where the other end may have stopped reading.
 *
 * @internal
 */
export const leave = (pipe: Pipe, error: Socket.SocketError): void => {
  if (pipe.readError === undefined) cut(pipe)
  else stopWriting(pipe, error)
}

/**
 * Holds back what is on its way and what is written from now on.
 *
 * @internal
 */
export const block = (pipe: Pipe): void => {
  const { line } = pipe
  if (line.blocked) return
  line.blocked = true
  const time = now(line)
  for (const segment of line.segments) if (segment.readyAt > time) segment.readyAt = Infinity
}

/**
 * Sends what was held back anew.
 *
 * @internal
 */
export const unblock = (pipe: Pipe): void => {
  const { line } = pipe
  if (!line.blocked) return
  line.blocked = false
  line.freeAt = now(line)
  for (const segment of line.segments) {
    if (segment.readyAt === Infinity) segment.readyAt = arrival(line, segment.bytes.length)
  }
  wake(pipe)
}

/** Waits for something to happen to the pipe after it had `head` in front; the fiber may have yielded since. */
const park = (pipe: Pipe, head: Segment | undefined, readyAt: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const next = pipe.line.segments[0]
    if (pipe.readError !== undefined || next !== head || (next?.readyAt ?? Infinity) !== readyAt) {
      return resume(Effect.void)
    }
    const wakeUp = () => resume(Effect.void)
    pipe.parked.add(wakeUp)
    return Effect.sync(() => pipe.parked.delete(wakeUp))
  })

// Of fractions of a millisecond a clock may stop just before the time; what a `Duration` rounds to zero would never end.
const remaining = (millis: number): Duration.Duration => Duration.nanos(BigInt(Math.max(1, Math.ceil(millis * 1e6))))

const untilReady = (pipe: Pipe): Effect.Effect<void> => {
  const head = pipe.line.segments[0]
  const readyAt = head?.readyAt ?? Infinity
  const parked = park(pipe, head, readyAt)
  return readyAt === Infinity
    ? parked
    : Effect.raceFirst(parked, pipe.line.timing!.clock.sleep(remaining(readyAt - now(pipe.line))))
}

/** What the listener refuses of what has arrived, if anything. */
const refused = (pipe: Pipe, batch: Batch): Batch | undefined => {
  const { listener } = pipe
  if (listener === undefined) return batch
  let taken = 0
  while (taken < batch.length && listener(batch[taken]!)) taken++
  const left = batch.slice(taken)
  return Arr.isReadonlyArrayNonEmpty(left) ? left : undefined
}

// Parking is only a signal; bytes leave the pipe in the fiber that pulls, so an interrupted pull loses none.
const pull = (pipe: Pipe, hasWaited = false): Transport.Endpoint["pull"] =>
  Effect.suspend(() => {
    if (pipe.readError !== undefined) return Effect.fail(pipe.readError)
    const batch = takeReady(pipe.line)
    if (batch !== undefined) {
      pump(pipe)
      const left = hasWaited ? refused(pipe, batch) : batch
      return left === undefined ? pull(pipe, true) : Effect.succeed(left)
    }
    if (atEnd(pipe.line)) return Effect.fail(Transport.peerEnded())
    // A turn of the scheduler, so that no reader runs inside the `offerUnsafe` that wakes it.
    return Effect.andThen(Effect.andThen(untilReady(pipe), Effect.yieldNow), pull(pipe, true))
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

const encoder = new TextEncoder()
const bytesOf = (chunk: Uint8Array | string): Uint8Array => typeof chunk === "string" ? encoder.encode(chunk) : chunk

/**
 * One end of a connection: the pipe it reads, the pipe it writes, and how it ends.
 *
 * @internal
 */
export interface End {
  readonly incoming: Pipe
  readonly outgoing: Pipe
  /** Ends both directions at once. */
  readonly destroy: () => void
  /** Ends the connection because its scope closes. */
  readonly close: () => void
}

/**
 * The end as a transport has it.
 *
 * @internal
 */
export const endpoint = ({ close, destroy, incoming, outgoing }: End): Transport.Endpoint => ({
  pull: pull(incoming),
  listenUnsafe: (listener) => {
    incoming.listener = listener
  },
  write: (chunk) => Socket.isCloseEvent(chunk) ? Effect.sync(destroy) : writeChunks(outgoing, [bytesOf(chunk)]),
  writeAll: (chunks) => writeChunks(outgoing, chunks.map(bytesOf)),
  offerUnsafe: (chunk) => offer(outgoing, chunk),
  end: Effect.sync(() => finish(outgoing)),
  close: Effect.sync(close)
})

/**
 * What an Ethernet frame leaves for TCP's payload: the grain in which a slow line delivers.
 *
 * @internal
 */
export const slowGrain = 1460

/**
 * Bytes held by a direction that is told nothing else.
 *
 * @internal
 */
export const defaultCapacity = 64 * 1024

/**
 * Where nothing accepts connections.
 *
 * @internal
 */
export const openFailed = (cause: unknown) =>
  new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })
