/**
 * Transports that fail on purpose, at a chosen operation or a chosen byte.
 *
 * Operations are counted from 0: opening, each pull, each write, `writeAll`,
 * offer and `destroy`, and each half-close. Bytes are counted from 0 in each
 * direction, anew for each connection that is opened.
 *
 * @since 1.0.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Socket from "effect/socket/Socket"
import * as Transport from "../Transport.ts"
import { isAssertion } from "./internal/assertions.ts"

/**
 * What happens at a byte.
 *
 * - `"stall"`: the bytes before it pass; the operation that would carry it waits
 *   until the connection ends.
 * - `"end"`: the bytes before it pass, then the direction ends as if the side
 *   that writes had ended it.
 * - `"cut"`: the bytes before it pass, then the connection is lost.
 * - `"reset"`: the connection is destroyed before any byte of the operation that
 *   would carry it passes.
 * - `"corrupt"`: the byte is changed, by exclusive or with `mask`.
 * - `"split"`: no chunk, and no batch of a pull, reaches over the point before it.
 *
 * @category models
 * @since 1.0.0
 */
export type Kind = "stall" | "end" | "cut" | "reset" | "corrupt" | "split"

/**
 * A fault at a byte of one direction, seen from the end that is wrapped.
 *
 * @category models
 * @since 1.0.0
 */
export interface ByteFault {
  readonly direction: "read" | "write"
  /** The byte's index, from 0. */
  readonly at: number
  readonly kind: Kind
  /** What `"corrupt"` changes: bits of the byte. Default 0xff. */
  readonly mask?: number | undefined
}

/**
 * What goes wrong, and where.
 *
 * @category models
 * @since 1.0.0
 */
export interface Plan {
  /** The operation from which on all fail. The first to fail destroys its connection. Default: none. */
  readonly failFrom?: number | undefined
  /** Faults at bytes. Default: none. */
  readonly bytes?: ReadonlyArray<ByteFault> | undefined
}

/**
 * The cause of an injected `SocketError`.
 *
 * @category errors
 * @since 1.0.0
 */
export class Fault extends Data.TaggedError("Fault")<{ readonly message: string }> {}

/**
 * `everywhere` ran its scenario as often as it may, and each run met a fault.
 *
 * @category errors
 * @since 1.0.0
 */
export class TooManyRuns extends Data.TaggedError("TooManyRuns")<{ readonly runs: number }> {
  override get message(): string {
    return `Each of ${this.runs} runs met a fault`
  }
}

/**
 * Tells whether an error, or what it names as its `reason` or `cause`, was
 * injected here. A fault that looks like the peer's end cannot be told.
 *
 * @category guards
 * @since 1.0.0
 */
export const isFault = (error: unknown): boolean =>
  error instanceof Fault ||
  (Predicate.hasProperty(error, "reason") && isFault(error.reason)) ||
  (Predicate.hasProperty(error, "cause") && isFault(error.cause))

/**
 * One plan and how far it has come: connections wrapped by the same `Faults`
 * share the count of operations.
 *
 * @category models
 * @since 1.0.0
 */
export interface Faults {
  readonly plan: Plan
  readonly wrap: (connection: Transport.Connection) => Transport.Connection
  /** Operations counted so far. */
  readonly operations: () => number
  /** Whether a fault has been injected. */
  readonly fired: () => boolean
}

/** What all connections of one plan share. */
interface Progress {
  readonly plan: Plan
  operations: number
  fired: boolean
}

/** Bytes of one direction that have passed, and the faults still ahead, nearest first. */
interface Lane {
  readonly ahead: Array<ByteFault>
  passed: number
}

/** One open connection under faults. */
interface Session {
  readonly progress: Progress
  readonly connection: Transport.Connection
  readonly read: Lane
  readonly write: Lane
  /** Completes when this side has ended the connection: what stalls waits for it. */
  readonly over: Deferred.Deferred<never, Socket.SocketError>
  /** Pulled bytes behind a split, for the next pull. */
  held: ReadonlyArray<Uint8Array>
  readError: Socket.SocketError | undefined
  writeError: Socket.SocketError | undefined
  release: Effect.Effect<void>
}

const encoder = new TextEncoder()

const makeLane = (plan: Plan, direction: ByteFault["direction"]): Lane => ({
  passed: 0,
  ahead: (plan.bytes ?? []).filter((fault) => fault.direction === direction).toSorted((a, b) => a.at - b.at)
})

const makeSession = (progress: Progress, connection: Transport.Connection): Session => ({
  progress,
  connection,
  read: makeLane(progress.plan, "read"),
  write: makeLane(progress.plan, "write"),
  over: Deferred.makeUnsafe(),
  held: [],
  readError: undefined,
  writeError: undefined,
  release: Effect.void
})

const readFault = (message: string) =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Fault({ message }) }) })

const writeFault = (message: string) =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause: new Fault({ message }) }) })

const openFault = (message: string) =>
  new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Fault({ message }) }) })

/** Counts an operation and tells whether it has to fail. */
const count = (progress: Progress): boolean => {
  const fails = progress.operations++ >= (progress.plan.failFrom ?? Infinity)
  progress.fired ||= fails
  return fails
}

const finishSession = (session: Session): void => {
  Deferred.doneUnsafe(session.over, Exit.fail(Transport.locallyClosed()))
}

/** Uses the wrapped connection's writer for a moment; its scope stays open, since closing it would half-close. */
const destroyWrapped = (session: Session): Effect.Effect<void> =>
  Effect.flatMap(Scope.provide(session.connection.writer, Scope.makeUnsafe()), Transport.destroy)

const halfCloseWrapped = (session: Session): Effect.Effect<void> =>
  Effect.scoped(Effect.asVoid(session.connection.writer))

const lose = (session: Session, message: string, how: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    session.readError ??= readFault(message)
    session.writeError ??= writeFault(message)
    finishSession(session)
    return how
  })

const describe = (fault: ByteFault): string => `${fault.kind} at byte ${fault.at} of ${fault.direction}`

const failedOperation = (progress: Progress): string => `failed at operation ${progress.operations - 1}`

const endRead = (session: Session): Effect.Effect<void> =>
  Effect.sync(() => {
    session.readError ??= Transport.peerEnded()
  })

const endWrite = (session: Session, message: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    session.writeError ??= writeFault(message)
    return halfCloseWrapped(session)
  })

/** Does what the nearest fault of the lane says. Completes unless the operation has to wait or fail. */
const act = (session: Session, lane: Lane): Effect.Effect<void, Socket.SocketError> => {
  const fault = lane.ahead[0]!
  session.progress.fired = true
  switch (fault.kind) {
    case "stall":
      return Deferred.await(session.over)
    case "end":
      return fault.direction === "read" ? endRead(session) : endWrite(session, describe(fault))
    case "cut":
      return lose(session, describe(fault), session.release)
    case "reset":
      return lose(session, describe(fault), destroyWrapped(session))
    case "corrupt":
    case "split":
      return Effect.void
  }
}

/** The next run of bytes that passes unharmed, what is left, and whether a fault comes before anything else. */
interface Step {
  readonly bytes: Uint8Array
  readonly rest: Uint8Array
  readonly blocked: boolean
}

const corrupted = (chunk: Uint8Array, index: number, mask: number): Uint8Array => {
  const copy = new Uint8Array(chunk)
  copy[index]! ^= mask
  return copy
}

const nothing = new Uint8Array(0)

/** Cuts a chunk at the nearest fault ahead. */
const step = (session: Session, lane: Lane, chunk: Uint8Array): Step => {
  const fault = lane.ahead[0]
  const distance = fault === undefined ? Infinity : Math.max(0, fault.at - lane.passed)
  if (fault === undefined || distance >= chunk.length) return { bytes: chunk, rest: nothing, blocked: false }
  switch (fault.kind) {
    case "corrupt":
      lane.ahead.shift()
      session.progress.fired = true
      return step(session, lane, corrupted(chunk, distance, fault.mask ?? 0xff))
    case "split":
      lane.ahead.shift()
      session.progress.fired = true
      return { bytes: chunk.subarray(0, distance), rest: chunk.subarray(distance), blocked: false }
    case "reset":
      return { bytes: nothing, rest: chunk, blocked: true }
    default:
      return { bytes: chunk.subarray(0, distance), rest: chunk.subarray(distance), blocked: distance === 0 }
  }
}

const isDue = (lane: Lane): boolean => {
  const fault = lane.ahead[0]
  return fault !== undefined && fault.at <= lane.passed && fault.kind !== "corrupt" && fault.kind !== "split"
}

/** Passes what a pull may see of `chunks`; the rest is held for the next one. */
const admit = (session: Session, chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => {
  const out: Array<Uint8Array> = []
  for (let index = 0; index < chunks.length; index++) {
    const { blocked, bytes, rest } = step(session, session.read, chunks[index]!)
    if (bytes.length > 0) out.push(bytes)
    session.read.passed += bytes.length
    if (blocked || rest.length > 0) {
      session.held = [rest, ...chunks.slice(index + 1)]
      if (!blocked || session.read.ahead[0]!.kind !== "reset") return out
      // A reset takes along what the operation has carried so far.
      session.read.passed = session.read.ahead[0]!.at
      return []
    }
  }
  return out
}

const pullThrough = (session: Session, pull: Transport.Endpoint["pull"]): Transport.Endpoint["pull"] =>
  Effect.suspend(() => {
    if (session.readError !== undefined) return Effect.fail(session.readError)
    if (isDue(session.read)) return Effect.andThen(act(session, session.read), pullThrough(session, pull))
    const held = session.held
    session.held = []
    const source = held.length > 0 ? Effect.succeed(held) : pull
    return Effect.flatMap(Effect.mapError(source, (error) => session.readError ?? error), (chunks) => {
      const out = admit(session, chunks)
      // Nothing passes where a split is just behind or another fault is due.
      return out.length > 0
        ? Effect.succeed(out as unknown as Arr.NonEmptyReadonlyArray<Uint8Array>)
        : pullThrough(session, pull)
    })
  })

const countedPull = (session: Session, pull: Transport.Endpoint["pull"]): Transport.Endpoint["pull"] =>
  Effect.suspend(() =>
    count(session.progress)
      ? Effect.andThen(
        lose(session, failedOperation(session.progress), destroyWrapped(session)),
        Effect.suspend(() => Effect.fail(session.readError!))
      )
      : pullThrough(session, pull)
  )

const writeThrough = Effect.fnUntraced(function*(session: Session, writer: Transport.Writer, chunk: Uint8Array) {
  const lane = session.write
  let left = chunk
  while (left.length > 0) {
    if (session.writeError !== undefined) return yield* session.writeError
    const { blocked, bytes, rest } = step(session, lane, left)
    if (bytes.length > 0) yield* Effect.mapError(writer.write(bytes), (error) => session.writeError ?? error)
    lane.passed += bytes.length
    left = rest
    if (blocked) yield* act(session, lane)
    // An end or a loss after the last byte written needs no further write to happen.
    else if (isDue(lane) && (lane.ahead[0]!.kind === "end" || lane.ahead[0]!.kind === "cut")) yield* act(session, lane)
  }
})

const writeChunks = Effect.fnUntraced(
  function*(session: Session, writer: Transport.Writer, chunks: ReadonlyArray<Uint8Array | string>) {
    if (count(session.progress)) {
      yield* lose(session, failedOperation(session.progress), destroyWrapped(session))
    }
    if (session.writeError !== undefined) return yield* session.writeError
    if (session.write.ahead.length === 0) {
      return yield* Effect.mapError(
        writer.writeAll(chunks as Arr.NonEmptyReadonlyArray<Uint8Array | string>),
        (error) => session.writeError ?? error
      )
    }
    for (const chunk of chunks) {
      yield* writeThrough(session, writer, typeof chunk === "string" ? encoder.encode(chunk) : chunk)
    }
  }
)

/** An offer passes only where nothing is ahead of it: no write under way and no fault among its bytes. */
const offerThrough = (session: Session, writer: Transport.Writer, idle: boolean, chunk: Uint8Array): boolean => {
  if (count(session.progress) || session.writeError !== undefined || !idle) return false
  const fault = session.write.ahead[0]
  if (fault !== undefined && fault.at <= session.write.passed + chunk.length) return false
  if (writer.offerUnsafe?.(chunk) !== true) return false
  session.write.passed += chunk.length
  return true
}

const destroyThrough = (session: Session, writer: Transport.Writer, event: Socket.CloseEvent) =>
  Effect.suspend(() => {
    count(session.progress)
    finishSession(session)
    return writer.write(event)
  })

const releaseWriter = (session: Session, scope: Scope.Closeable): Effect.Effect<void> =>
  Effect.suspend(() =>
    count(session.progress)
      ? lose(session, failedOperation(session.progress), destroyWrapped(session))
      : Scope.close(scope, Exit.void)
  )

const wrap = (progress: Progress, connection: Transport.Connection): Transport.Connection => {
  let session = makeSession(progress, connection)
  let opened = false

  const reader = Effect.gen(function*() {
    if (opened) session = makeSession(progress, connection)
    opened = true
    const own = session
    if (count(progress)) {
      const message = failedOperation(progress)
      yield* lose(own, message, destroyWrapped(own))
      return yield* openFault(message)
    }
    const scope = yield* Scope.fork(yield* Effect.scope)
    const pull = yield* Scope.provide(Transport.readerBytes(connection), scope)
    own.release = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => Effect.sync(() => finishSession(own)))
    return { pull: countedPull(own, pull), upgrade: Socket.SocketUpgradeError.unsupported }
  })

  const writer = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const lock = Semaphore.makeUnsafe(1)
    const inner: Transport.Writer = yield* Scope.provide(connection.writer, scope)
    yield* Effect.addFinalizer(() => releaseWriter(session, scope))
    let writing = 0
    const writeAll = (chunks: ReadonlyArray<Uint8Array | string>) =>
      Effect.suspend(() => {
        writing++
        const write = lock.withPermit(Effect.suspend(() => writeChunks(session, inner, chunks)))
        return Effect.ensuring(write, Effect.sync(() => writing--))
      })
    const out: Transport.Writer = {
      write: (chunk) => Socket.isCloseEvent(chunk) ? destroyThrough(session, inner, chunk) : writeAll([chunk]),
      writeAll,
      offerUnsafe: (chunk) => offerThrough(session, inner, writing === 0, chunk)
    }
    return out
  })

  return { ...connection, reader, writer }
}

/**
 * Makes what wraps the connections of one scenario.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeFaults = (plan: Plan): Faults => {
  const progress: Progress = { plan, operations: 0, fired: false }
  return {
    plan,
    wrap: (connection) => wrap(progress, connection),
    operations: () => progress.operations,
    fired: () => progress.fired
  }
}

/**
 * Wraps one connection with the faults of a plan.
 *
 * **Gotchas**
 *
 * A write with a fault among its bytes is handed on in pieces, so interrupting
 * it may leave it sent in part.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = (connection: Transport.Connection, plan: Plan): Transport.Connection =>
  makeFaults(plan).wrap(connection)

/**
 * Runs a scenario again and again, failing at operation 0, 1, 2 and so on, until
 * a run meets no fault, and gives back the number of runs.
 *
 * **Details**
 *
 * Each run has a scope and `Faults` of its own, with which the scenario wraps its
 * connections. A run that met a fault may succeed or fail with what `mayFail`
 * allows; a defect or an interruption ends the whole, and so does a failure of the
 * run without a fault.
 * `plan` chooses other faults for the n-th run, a cut at byte n for instance.
 *
 * **Gotchas**
 *
 * A run that hangs, hangs the whole: give the scenario its own `Effect.timeout`.
 *
 * **Example** (Failing at each operation)
 *
 * ```ts import.meta.vitest
 * import * as Effect from "effect/Effect"
 * import * as FaultTransport from "effect-websocket/testing/FaultTransport"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 *
 * const scenario = Effect.fnUntraced(function*(faults: FaultTransport.Faults) {
 *   const [client, server] = yield* MemoryTransport.makePair()
 *   const { pull } = yield* faults.wrap(server).reader
 *   const writer = yield* client.writer
 *   yield* writer.write("hello")
 *   yield* pull
 * })
 *
 * // Opening fails, then the pull fails, then nothing does.
 * Effect.runSync(FaultTransport.everywhere(scenario)) // => 3
 * ```
 *
 * @category testing
 * @since 1.0.0
 */
export const everywhere = Effect.fnUntraced(function*<A, E, R>(
  scenario: (faults: Faults) => Effect.Effect<A, E, R>,
  options?: {
    /** Most runs. Default 10000. */
    readonly limit?: number | undefined
    /** The faults of the n-th run. Default: fail from operation n on. */
    readonly plan?: ((n: number) => Plan) | undefined
    /**
     * Whether a run that met a fault may fail with this error. Default: with each but
     * those of the kit's own assertions, `LedgerBroken`, `PermitsLeft` and `Unexpected`.
     */
    readonly mayFail?: ((error: E) => boolean) | undefined
  }
): Effect.fn.Return<number, E | TooManyRuns, Exclude<R, Scope.Scope>> {
  const limit = options?.limit ?? 10_000
  const plan = options?.plan ?? ((n: number): Plan => ({ failFrom: n }))
  const mayFail = options?.mayFail ?? ((error) => !isAssertion(error))
  const isAllowed = (reason: Cause.Reason<E>) => Cause.isFailReason(reason) && mayFail(reason.error)
  for (let n = 0; n < limit; n++) {
    const faults = makeFaults(plan(n))
    const exit = yield* Effect.exit(Effect.scoped(scenario(faults)))
    const isOrderly = Exit.isSuccess(exit) || exit.cause.reasons.every(isAllowed)
    if (!isOrderly || (!faults.fired() && Exit.isFailure(exit))) return yield* Effect.failCause(exit.cause)
    if (!faults.fired()) return n + 1
  }
  return yield* new TooManyRuns({ runs: limit })
})
