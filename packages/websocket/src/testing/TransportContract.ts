/**
 * What every transport promises, as laws that can be run against any of them.
 *
 * A law opens a connection, uses both of its ends and fails with a `LawBroken`
 * when they do not behave as `Transport` says. Laws need no test framework and
 * no particular clock: they wait for events, and only the bound on a wait (10
 * seconds) is time. Whoever runs them under `TestClock` bounds them from outside.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as Transport from "../Transport.ts"

/**
 * The two ends of a connection that is opened by acquiring the client's reader.
 *
 * @category models
 * @since 1.0.0
 */
export interface Ends {
  readonly client: Transport.Connection
  /** The other end of the connection opened last; waits for it. */
  readonly server: Effect.Effect<Transport.Connection, unknown>
}

/**
 * One promise: a sentence, and how to check it on the ends that `open` makes.
 *
 * @category models
 * @since 1.0.0
 */
export interface Law {
  readonly name: string
  readonly check: (open: Effect.Effect<Ends, unknown, Scope.Scope>) => Effect.Effect<void, unknown, Scope.Scope>
}

/**
 * A transport does not keep its promise.
 *
 * @category errors
 * @since 1.0.0
 */
export class LawBroken extends Data.TaggedError("LawBroken")<{ readonly message: string }> {}

/**
 * Opens the ends for the laws as a pair that is connected already.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromPair = <E>(
  pair: Effect.Effect<readonly [client: Transport.Connection, server: Transport.Connection], E, Scope.Scope>
): Effect.Effect<Ends, E, Scope.Scope> =>
  Effect.map(pair, ([client, server]) => ({ client, server: Effect.succeed(server) }))

/**
 * Opens the ends for the laws by letting a client dial a server.
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromServer = Effect.fnUntraced(function*<E>(
  make: Effect.Effect<
    { readonly client: Transport.Connection; readonly server: Transport.TransportServer["Service"] },
    E,
    Scope.Scope
  >
): Effect.fn.Return<Ends, E, Scope.Scope> {
  const { client, server } = yield* make
  const accepted = yield* Queue.unbounded<Transport.Connection>()
  // The handler holds the connection until the law's scope closes; a law ends it earlier by its own means.
  yield* Effect.forkScoped(
    server.run((connection) => Effect.andThen(Queue.offer(accepted, connection), Effect.never))
  )
  return { client, server: Queue.take(accepted) }
})

const patience = "10 seconds"
/** Turns of the scheduler without progress after which a writer counts as suspended. */
const quietTurns = 256
const mebibyte = 1024 * 1024
/** More than any transport may accept while nobody reads. */
const acceptedLimit = 64 * mebibyte

interface End {
  readonly pull: Transport.Endpoint["pull"]
  readonly listen: (listener: Transport.Listener) => void
  readonly whenReady: ((wake: () => void) => void) | undefined
  readonly writer: Transport.Writer
  readonly closeReader: Effect.Effect<void>
  readonly closeWriter: Effect.Effect<void>
}

interface Open {
  readonly client: End
  readonly server: End
}

const broken = (message: string): Effect.Effect<never, LawBroken> => Effect.fail(new LawBroken({ message }))

const ensure = (condition: boolean, message: string): Effect.Effect<void, LawBroken> =>
  condition ? Effect.void : broken(message)

const within = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LawBroken, R> =>
  Effect.timeoutOrElse(effect, { duration: patience, orElse: () => broken(`${what} must end, and did not`) })

const failure = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<E, LawBroken, R> =>
  within(what, effect).pipe(
    Effect.matchEffect({
      onFailure: (error) => error instanceof LawBroken ? Effect.fail(error) : Effect.succeed(error),
      onSuccess: () => broken(`${what} must fail, and succeeded`)
    })
  )

const endOf = Effect.fnUntraced(function*(
  what: string,
  effect: Effect.Effect<unknown, Socket.SocketError>,
  expected: Transport.End
) {
  const end = Transport.endOf(yield* failure(what, effect))
  yield* ensure(end === expected, `${what} must tell ${expected}, and told ${end}`)
})

const openEnd = Effect.fnUntraced(function*(connection: Transport.Connection) {
  const scope = yield* Effect.scope
  const readerScope = yield* Scope.fork(scope)
  const writerScope = yield* Scope.fork(scope)
  const pull = yield* Scope.provide(Transport.readerBytes(connection), readerScope)
  const writer: Transport.Writer = yield* Scope.provide(connection.writer, writerScope)
  const endpoint = Transport.currentUnsafe(connection)
  const end: End = {
    pull,
    listen: Transport.listenUnsafe(connection),
    whenReady: endpoint?.whenReadyUnsafe && ((wake) => endpoint.whenReadyUnsafe!(wake)),
    writer,
    closeReader: Scope.close(readerScope, Exit.void),
    closeWriter: Scope.close(writerScope, Exit.void)
  }
  return end
})

const openEnds = Effect.fnUntraced(function*(ends: Ends) {
  const client = yield* within("Opening the client's end", openEnd(ends.client))
  const server = yield* within("Opening the server's end", Effect.flatMap(ends.server, openEnd))
  const open: Open = { client, server }
  return open
})

type Check = (open: Open) => Effect.Effect<void, Socket.SocketError | LawBroken, Scope.Scope>

const law = (
  name: string,
  check: Check
): Law => ({ name, check: (open) => Effect.flatMap(Effect.flatMap(open, openEnds), check) })

const turns = (count: number): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow, { discard: true })

const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  chunks.reduce((at, chunk) => {
    out.set(chunk, at)
    return at + chunk.length
  }, 0)
  return out
}

const same = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, index) => byte === right[index])

/** A linear congruential generator (Knuth's MMIX multipliers, cut to 32 bits): enough for sizes and filling. */
const random = (seed: number) => {
  let state = seed >>> 0
  return (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const randomBytes = (next: (below: number) => number, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, () => next(256))

/** Pulls until `count` bytes are there. */
const read = Effect.fnUntraced(function*(end: End, count: number) {
  const chunks: Array<Uint8Array> = []
  let size = 0
  while (size < count) {
    const batch = yield* within(`A pull (${size} of ${count} bytes so far)`, end.pull)
    yield* ensure(batch.length > 0, "A batch must not be empty")
    for (const chunk of batch) {
      yield* ensure(chunk.length > 0, "A chunk must not be empty")
      chunks.push(chunk)
      size += chunk.length
    }
  }
  return concat(chunks)
})

/** Pulls until a pull fails. */
const readToEnd = Effect.fnUntraced(function*(end: End) {
  const chunks: Array<Uint8Array> = []
  while (true) {
    const exit = yield* Effect.result(within("A pull", end.pull))
    if (exit._tag === "Success") {
      chunks.push(...exit.success)
    } else if (exit.failure instanceof LawBroken) {
      return yield* exit.failure
    } else {
      return { bytes: concat(chunks), error: exit.failure }
    }
  }
})

const expectBytes = (what: string, actual: Uint8Array, expected: Uint8Array) =>
  ensure(same(actual, expected), `${what}: the ${actual.length} bytes are not the ${expected.length} written`)

/** Writes one chunk after the other while the test goes on: there may be room for a byte only. */
const send = (end: End, ...chunks: ReadonlyArray<Uint8Array | string>) =>
  Effect.forkScoped(Effect.forEach(chunks, (chunk) => end.writer.write(chunk), { discard: true }))

/** Waits until a number that other fibers change has stood still for a while. */
const quiet = Effect.fnUntraced(function*(progress: () => number) {
  let last = progress()
  for (let still = 0; still < quietTurns; still++) {
    yield* Effect.yieldNow
    if (progress() !== last) {
      last = progress()
      still = 0
    }
  }
  return last
})

/** Writes numbered blocks with nobody reading, until a write suspends. */
const fill = Effect.fnUntraced(function*(end: End, block: Uint8Array) {
  let accepted = 0
  const writing = Effect.gen(function*() {
    while (accepted < acceptedLimit) {
      yield* end.writer.write(block.fill(accepted / block.length))
      accepted += block.length
    }
  })
  const fiber = yield* Effect.forkScoped(writing)
  yield* quiet(() => accepted)
  yield* ensure(fiber.pollUnsafe() === undefined, `A write must suspend when nobody reads (${accepted} bytes accepted)`)
  return { fiber, accepted }
})

const blockOf = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value)

/** Whether every block is full of its number, except that the last may be cut short. */
const numbered = (bytes: Uint8Array, size: number): boolean =>
  bytes.every((byte, index) => byte === (Math.floor(index / size) & 0xff))

/** Writes until a write fails: TCP tells a writer of the peer's end only after a while. */
const writesFail = (end: End) =>
  failure(
    "A write to a connection that the other end has closed",
    Effect.forever(Effect.andThen(end.writer.write(blockOf(1024, 0)), turns(4)))
  )

const bytesLaws: ReadonlyArray<Law> = [
  law(
    "batches and chunks are not empty, and come in the order written",
    Effect.fnUntraced(function*({ client, server }) {
      const expected = Uint8Array.from({ length: 200 }, (_, index) => index)
      yield* send(client, ...Array.from(expected, (byte) => Uint8Array.of(byte)))
      yield* expectBytes("200 writes of one byte", yield* read(server, 200), expected)
    })
  ),
  law(
    "bytes of any size arrive as they were written, both ways at once",
    Effect.fnUntraced(function*({ client, server }) {
      const exchange = Effect.fnUntraced(function*(from: End, to: End, seed: number) {
        const next = random(seed)
        const chunks = Array.from({ length: 24 }, (_, index) => randomBytes(next, next(1 << (index % 18))))
        yield* send(from, ...chunks)
        const expected = concat(chunks)
        yield* expectBytes("Random chunks", yield* read(to, expected.length), expected)
      })
      yield* Effect.all([exchange(client, server, 1), exchange(server, client, 2)], { concurrency: 2 })
    })
  ),
  law(
    "writeAll sends its chunks in order, and text as UTF-8",
    Effect.fnUntraced(function*({ client, server }) {
      const writes = Effect.andThen(
        client.writer.writeAll(["één", Uint8Array.of(0, 255), "", "二"]),
        client.writer.write("🙂")
      )
      yield* Effect.forkScoped(writes)
      const expected = concat([
        new TextEncoder().encode("één"),
        Uint8Array.of(0, 255),
        new TextEncoder().encode("二🙂")
      ])
      yield* expectBytes("Text and bytes", yield* read(server, expected.length), expected)
    })
  ),
  law(
    "an empty write completes and sends nothing",
    Effect.fnUntraced(function*({ client, server }) {
      yield* within("An empty write", client.writer.write(new Uint8Array(0)))
      yield* within("An empty write", client.writer.write(""))
      yield* send(client, Uint8Array.of(7))
      yield* expectBytes("One byte after nothing", yield* read(server, 1), Uint8Array.of(7))
    })
  ),
  law(
    "an array may be reused once its write has completed",
    Effect.fnUntraced(function*({ client, server }) {
      const size = 16 * 1024
      const { accepted, fiber } = yield* fill(client, new Uint8Array(size))
      yield* ensure(numbered(yield* read(server, accepted), size), "Bytes changed after their write had completed")
      yield* Fiber.interrupt(fiber)
    })
  ),
  law(
    "pulled bytes may be changed in place",
    Effect.fnUntraced(function*({ client, server }) {
      const written = blockOf(1000, 5)
      yield* send(client, written)
      let left = 1000
      while (left > 0) {
        const batch = yield* within("A pull", server.pull)
        for (const chunk of batch) {
          yield* ensure(chunk.every((byte) => byte === 5), "Changing one chunk changed another")
          chunk.fill(9)
          left -= chunk.length
        }
      }
      yield* ensure(written.every((byte) => byte === 5), "The writer's array was changed")
      yield* send(client, written)
      yield* expectBytes("A second write", yield* read(server, 1000), blockOf(1000, 5))
    })
  ),
  law(
    "the bytes of one write stay together whoever else writes",
    Effect.fnUntraced(function*({ client, server }) {
      const size = 50_000
      const halves = (value: number) => [blockOf(size / 2, value), blockOf(size / 2, value)] as const
      const writes = Array.from(
        { length: 16 },
        (_, index) =>
          index % 2 === 0 ? client.writer.write(blockOf(size, index)) : client.writer.writeAll(halves(index))
      )
      yield* Effect.forkScoped(Effect.all(writes, { concurrency: "unbounded" }))
      const bytes = yield* read(server, 16 * size)
      const whole = bytes.every((byte, index) => byte === bytes[index - (index % size)])
      yield* ensure(whole, "The bytes of two writes are mixed")
    })
  )
]

/** Keeps copies of what a listener is told, which takes as often as `takes` says. */
const hear = (end: End, heard: Array<Uint8Array>, takes: () => boolean): void =>
  end.listen((chunk) => {
    if (!takes()) return false
    heard.push(new Uint8Array(chunk))
    chunk.fill(0)
    return true
  })

/** Pulls into `heard` until so many bytes are there. */
const pullInto = Effect.fnUntraced(function*(end: End, heard: Array<Uint8Array>, count: number) {
  const size = () => heard.reduce((sum, { length }) => sum + length, 0)
  const pulling = yield* Effect.forkScoped(Effect.forever(Effect.map(end.pull, (chunks) => heard.push(...chunks))))
  yield* within(
    `What is written (${count} bytes)`,
    Effect.repeat(Effect.yieldNow, { until: () => size() >= count || pulling.pollUnsafe() !== undefined })
  )
  yield* Fiber.interrupt(pulling)
})

/** Waits for bytes as `whenReadyUnsafe` tells, where the transport does, and pulls then. */
const waiting = (end: End): End => {
  const { whenReady } = end
  if (whenReady === undefined) return end
  const ready = Effect.callback<void>((resume) => whenReady(() => resume(Effect.void)))
  return { ...end, pull: Effect.andThen(ready, end.pull) }
}

/** A law of listeners, which are told while a pull waits and while it is waited without one. */
const listening = (name: string, check: Check): ReadonlyArray<Law> => [
  law(name, check),
  law(
    `${name}, where it is waited without a pull`,
    ({ client, server }) => check({ client: waiting(client), server: waiting(server) })
  )
]

// A transport may have nothing to listen by: then a listener is never told, and everything is pulled.
const listeningLaws: ReadonlyArray<Law> = [
  ...listening(
    "what a listener takes and what is pulled are what was written, once and in order, whatever it refuses",
    Effect.fnUntraced(function*({ client, server }) {
      const next = random(4)
      const chunks = Array.from({ length: 200 }, () => randomBytes(next, 1 + next(3000)))
      const expected = concat(chunks)
      yield* Effect.forkScoped(
        Effect.forEach(chunks, (chunk) => Effect.andThen(client.writer.write(chunk), turns(next(4))), { discard: true })
      )
      const heard = [yield* read(server, 5000)]
      hear(server, heard, () => next(3) > 0)
      yield* pullInto(server, heard, expected.length)
      yield* expectBytes("What was taken and pulled", concat(heard), expected)
    })
  ),
  ...listening(
    "what a listener takes and what is pulled are in order wherever the fiber that pulls yields",
    Effect.fnUntraced(function*({ client, server }) {
      const next = random(5)
      for (let operations = 3; operations < 40; operations++) {
        const heard: Array<Uint8Array> = []
        const expected = Uint8Array.from({ length: 60 }, (_, index) => index)
        yield* Effect.forkScoped(
          Effect.forEach(expected, (byte) => Effect.andThen(client.writer.write(Uint8Array.of(byte)), turns(next(3))))
        )
        hear(server, heard, () => next(3) > 0)
        yield* Effect.provideService(
          pullInto(server, heard, expected.length),
          Scheduler.MaxOpsBeforeYield,
          operations
        )
        yield* expectBytes("What was taken and pulled", concat(heard), expected)
      }
    })
  ),
  ...listening(
    "what waited before a pull is pulled, and not a listener's",
    Effect.fnUntraced(function*({ client, server }) {
      yield* send(client, blockOf(10, 1))
      // The first byte is pulled so that the others are known to have come with it, or to be about to.
      const first = yield* within("A pull", server.pull)
      let told = 0
      server.listen((chunk) => {
        told += chunk.length
        return false
      })
      const rest = yield* read(server, 10 - concat(first).length)
      yield* expectBytes("What was refused", concat([...first, rest]), blockOf(10, 1))
      yield* ensure(told <= 9, `The listener was told of ${told} bytes, and one had been pulled before`)
    })
  ),
  ...listening(
    "a listener that refuses is told nothing more until what it refused was pulled, and slows the writer",
    Effect.fnUntraced(function*({ client, server }) {
      let told = 0
      server.listen(() => {
        told++
        return false
      })
      const first = yield* Effect.forkScoped(server.pull)
      yield* turns(8)
      const size = 64 * 1024
      const { accepted, fiber } = yield* fill(client, new Uint8Array(size))
      const seen = told
      yield* ensure(seen <= 1, `The listener was told ${seen} times while what it had refused waited`)
      const start = concat(yield* within("The pull that waited", Fiber.join(first)))
      const rest = yield* read(server, accepted - start.length)
      yield* ensure(numbered(concat([start, rest]), size), "What was refused is not what was written")
      yield* Fiber.interrupt(fiber)
    })
  ),
  ...listening(
    "ends are told to pulls, once what came before them has been taken, and no listener is told anything afterwards",
    Effect.fnUntraced(function*({ client, server }) {
      const heard: Array<Uint8Array> = []
      hear(server, heard, () => true)
      const ended = yield* Effect.forkScoped(readToEnd(server))
      yield* turns(8)
      const bytes = randomBytes(random(6), 100_000)
      yield* Effect.forkScoped(Effect.andThen(client.writer.write(bytes), client.closeWriter))
      const pulled = yield* within("The end", Fiber.join(ended))
      yield* endOf("A pull after the peer's end", Effect.fail(pulled.error), "PeerEnded")
      yield* ensure(concat(heard).length + pulled.bytes.length === bytes.length, "Bytes were lost before the end")
      const known = heard.length
      yield* endOf("Another pull", server.pull, "PeerEnded")
      yield* server.closeReader
      yield* endOf("A pull after the scope has closed", server.pull, "Closed")
      yield* ensure(heard.length === known, "The listener was told something after the end")
    })
  ),
  ...listening(
    "a later listener takes the place of the one before",
    Effect.fnUntraced(function*({ client, server }) {
      const [before, after]: [Array<Uint8Array>, Array<Uint8Array>] = [[], []]
      hear(server, before, () => true)
      hear(server, after, () => true)
      yield* send(client, blockOf(100, 1))
      yield* pullInto(server, after, 100)
      yield* expectBytes("What was taken and pulled", concat(after), blockOf(100, 1))
      yield* ensure(before.length === 0, "The first listener was told as well")
    })
  ),
  law(
    "what waits without a pull is told once: at once where a pull would not wait, else by the first bytes or the end",
    Effect.fnUntraced(function*({ client, server }) {
      const { whenReady } = server
      if (whenReady === undefined) return
      const told: Array<string> = []
      const wait = (name: string) => whenReady(() => told.push(name))
      wait("replaced")
      wait("by bytes")
      yield* quiet(() => told.length)
      yield* ensure(told.length === 0, "A wait was told before there was anything")
      yield* send(client, blockOf(10, 1))
      yield* within("A wait", Effect.repeat(Effect.yieldNow, { until: () => told.length > 0 }))
      wait("at once")
      yield* ensure(told.join() === "by bytes,at once", `Told were ${told.join()}`)
      yield* expectBytes("What was waited for", yield* read(server, 10), blockOf(10, 1))
      wait("by the end")
      yield* client.closeWriter
      yield* within("A wait", Effect.repeat(Effect.yieldNow, { until: () => told.length > 2 }))
      wait("after it")
      yield* ensure(told.slice(2).join() === "by the end,after it", `Told were ${told.join()}`)
      yield* endOf("A pull after the peer's end", server.pull, "PeerEnded")
    })
  )
]

const flowLaws: ReadonlyArray<Law> = [
  law(
    "a write suspends while the peer does not read, and completes when it does",
    Effect.fnUntraced(function*({ client, server }) {
      const size = 64 * 1024
      const { accepted, fiber } = yield* fill(client, new Uint8Array(size))
      yield* ensure(accepted < acceptedLimit, "Bytes are accepted without bound")
      const bytes = yield* read(server, Math.min(accepted + mebibyte, acceptedLimit))
      yield* ensure(numbered(bytes, size), "Bytes were lost or mixed where a write was suspended")
      yield* Fiber.interrupt(fiber)
    })
  ),
  law(
    "an interrupted pull loses no byte",
    Effect.fnUntraced(function*({ client, server }) {
      const chunks: Array<Uint8Array> = []
      const bytes = Uint8Array.from({ length: 50 }, (_, index) => index)
      const writes = Effect.forEach(bytes, (byte) => Effect.andThen(client.writer.write(Uint8Array.of(byte)), turns(3)))
      yield* Effect.forkScoped(writes)
      for (let index = 0; index < 50; index++) {
        const fiber = yield* Effect.forkScoped(server.pull)
        yield* turns(index % 7)
        yield* Fiber.interrupt(fiber)
        const exit = yield* Fiber.await(fiber)
        if (Exit.isSuccess(exit)) chunks.push(...exit.value)
      }
      const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      yield* expectBytes("50 bytes", concat([...chunks, yield* read(server, 50 - size)]), bytes)
    })
  ),
  law(
    "a pull misses nothing wherever its fiber yields",
    Effect.fnUntraced(function*({ client, server }) {
      for (let operations = 3; operations < 40; operations++) {
        yield* send(client, Uint8Array.of(operations))
        const pulled = yield* Effect.provideService(read(server, 1), Scheduler.MaxOpsBeforeYield, operations)
        yield* expectBytes("One byte", pulled, Uint8Array.of(operations))
      }
    })
  ),
  law(
    "an interrupted write leaves a connection that works or has failed, and is not stuck",
    Effect.fnUntraced(function*({ client, server }) {
      const { fiber } = yield* fill(client, new Uint8Array(64 * 1024))
      yield* within("Interrupting a suspended write", Fiber.interrupt(fiber))
      const marker = yield* Effect.forkScoped(Effect.ensuring(client.writer.write(blockOf(3, 255)), client.closeWriter))
      yield* readToEnd(server)
      yield* within("A write after an interrupted one", Fiber.await(marker))
    })
  ),
  law(
    "offerUnsafe takes all of a chunk or nothing of it, and keeps the order",
    Effect.fnUntraced(function*({ client, server }) {
      const { offerUnsafe } = client.writer
      if (offerUnsafe === undefined) return
      const size = 10_000
      let count = 0
      while (count * size < acceptedLimit && offerUnsafe(blockOf(size, count))) count++
      yield* ensure(count * size < acceptedLimit, "offerUnsafe accepts without bound")
      const last = count
      const fiber = yield* Effect.forkScoped(client.writer.write(blockOf(size, last)))
      yield* ensure(numbered(yield* read(server, (count + 1) * size), size), "An offered chunk was cut or out of order")
      yield* within("A write behind an offer", Fiber.join(fiber))
      if (count > 0) {
        yield* within(
          "An offer when there is room",
          Effect.repeat(Effect.yieldNow, { until: () => offerUnsafe(blockOf(1, 1)) })
        )
      }
      yield* client.closeWriter
      yield* ensure(!offerUnsafe(blockOf(1, 1)), "offerUnsafe must refuse after the end")
    })
  )
]

/** One end sends a request and half-closes; the other answers to that. */
const halfCloses = Effect.fnUntraced(function*(asking: End, answering: End) {
  const request = randomBytes(random(3), 100_000)
  yield* Effect.forkScoped(Effect.andThen(asking.writer.write(request), asking.closeWriter))
  const received = yield* readToEnd(answering)
  yield* expectBytes("The bytes before the end", received.bytes, request)
  yield* endOf("A pull after the peer's end", Effect.fail(received.error), "PeerEnded")
  yield* failure("A write after this side's end", asking.writer.write(blockOf(1, 1)))
  const answer = yield* send(answering, blockOf(1000, 1))
  yield* expectBytes("The answer", yield* read(asking, 1000), blockOf(1000, 1))
  yield* within("The write of the answer", Fiber.join(answer))
  yield* answering.closeWriter
  yield* endOf("A pull after both ends", asking.pull, "PeerEnded")
})

const endLaws: ReadonlyArray<Law> = [
  law(
    "half-close comes after all bytes, and the other direction still works",
    ({ client, server }) => halfCloses(client, server)
  ),
  law(
    "the end that was dialled may half-close first as well",
    ({ client, server }) => halfCloses(server, client)
  ),
  law(
    "a parked pull fails when its scope closes, and every operation after it",
    Effect.fnUntraced(function*({ client }) {
      const fiber = yield* Effect.forkScoped(client.pull)
      yield* turns(8)
      yield* within("Closing the reader's scope", client.closeReader)
      yield* endOf("A pull parked when its scope closes", Fiber.join(fiber), "Closed")
      yield* endOf("A pull after its scope has closed", client.pull, "Closed")
      yield* failure("A write after the scope has closed", client.writer.write(blockOf(1, 1)))
      yield* failure("A writeAll after the scope has closed", client.writer.writeAll([blockOf(1, 1)]))
    })
  ),
  law(
    "the peer learns that the scope has closed",
    Effect.fnUntraced(function*({ client, server }) {
      yield* send(client, blockOf(10, 1))
      yield* read(server, 10)
      const fiber = yield* Effect.forkScoped(server.pull)
      yield* turns(8)
      yield* within("Closing both scopes", Effect.andThen(client.closeWriter, client.closeReader))
      yield* endOf("A pull whose peer has closed", Fiber.join(fiber), "PeerEnded")
      yield* writesFail(server)
    })
  ),
  law(
    "destroy fails the pulls and writes of both ends",
    Effect.fnUntraced(function*({ client, server }) {
      const pulls = yield* Effect.forEach([client, server], (end) => Effect.forkScoped(end.pull))
      yield* turns(8)
      yield* within("destroy", Transport.destroy(client.writer))
      yield* endOf("A parked pull of the destroying end", Fiber.join(pulls[0]!), "Closed")
      yield* failure("A parked pull of the other end", Fiber.join(pulls[1]!))
      yield* failure("A write of the destroying end", client.writer.write(blockOf(1, 1)))
      yield* writesFail(server)
      yield* within("destroy again", Transport.destroy(client.writer))
    })
  ),
  law(
    "destroy fails a suspended write of either end",
    Effect.fnUntraced(function*({ client, server }) {
      const own = yield* fill(client, new Uint8Array(64 * 1024))
      const other = yield* fill(server, new Uint8Array(64 * 1024))
      yield* within("destroy", Transport.destroy(client.writer))
      yield* failure("A suspended write of the destroying end", Fiber.join(own.fiber))
      yield* failure("A suspended write of the other end", Fiber.join(other.fiber))
    })
  ),
  law(
    "destroy goes ahead of a half-close that waits for its turn",
    Effect.fnUntraced(function*({ client, server }) {
      const { fiber } = yield* fill(client, new Uint8Array(64 * 1024))
      yield* within("Half-close behind a suspended write", client.closeWriter)
      yield* within("destroy", Transport.destroy(client.writer))
      yield* failure("A suspended write", Fiber.join(fiber))
      yield* readToEnd(server)
    })
  ),
  law(
    "closing with unsent bytes to a peer that never reads ends in bounded time",
    Effect.fnUntraced(function*({ client }) {
      const { fiber } = yield* fill(client, new Uint8Array(64 * 1024))
      const closed = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Effect.andThen(Effect.andThen(client.closeWriter, client.closeReader), Deferred.succeed(closed, undefined))
      )
      yield* within("Closing with unsent bytes", Deferred.await(closed))
      yield* failure("A write suspended when the scope closes", Fiber.join(fiber))
      yield* failure("A write after the scope has closed", client.writer.write(blockOf(1, 1)))
    })
  ),
  law(
    "closing the reader's scope alone fails a suspended write",
    Effect.fnUntraced(function*({ client, server }) {
      const { fiber } = yield* fill(client, new Uint8Array(64 * 1024))
      yield* within("Closing the reader's scope", client.closeReader)
      yield* failure("A write suspended when the scope closes", Fiber.join(fiber))
      yield* readToEnd(server)
    })
  )
]

/**
 * What every transport promises.
 *
 * **Example** (Checking a transport)
 *
 * ```ts import.meta.vitest
 * import * as Effect from "effect/Effect"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as TransportContract from "effect-websocket/testing/TransportContract"
 *
 * const open = TransportContract.fromPair(MemoryTransport.makePair({ capacity: 1000 }))
 * const checks = TransportContract.laws.map((law) => Effect.scoped(law.check(open)))
 *
 * await Effect.runPromise(Effect.all(checks, { discard: true })) // => undefined
 * ```
 *
 * @category laws
 * @since 1.0.0
 */
export const laws: ReadonlyArray<Law> = [...bytesLaws, ...flowLaws, ...listeningLaws, ...endLaws]

/**
 * What a transport promises as well whose reader dials each time it is acquired.
 *
 * @category laws
 * @since 1.0.0
 */
export const dialingLaws: ReadonlyArray<Law> = [
  {
    name: "acquiring the reader again dials anew, and the writer follows",
    check: Effect.fnUntraced(function*(open) {
      const ends = yield* open
      const writer: Transport.Writer = yield* ends.client.writer
      for (let index = 1; index <= 3; index++) {
        const client = yield* within("Dialling", openEnd(ends.client))
        const server = yield* within("Accepting", Effect.flatMap(ends.server, openEnd))
        yield* Effect.forkScoped(writer.write(blockOf(index, index)))
        yield* expectBytes("The bytes of this connection", yield* read(server, index), blockOf(index, index))
        yield* client.closeReader
        yield* failure("A write between connections", writer.write(blockOf(1, 1)))
      }
    })
  },
  {
    name: "a write before the first connection waits for it",
    check: Effect.fnUntraced(function*(open) {
      const ends = yield* open
      const writer: Transport.Writer = yield* ends.client.writer
      const fiber = yield* Effect.forkScoped(writer.write(blockOf(5, 5)))
      yield* turns(8)
      yield* ensure(fiber.pollUnsafe() === undefined, "A write before the first connection must wait")
      const { server } = yield* openEnds(ends)
      yield* expectBytes("The bytes written before", yield* read(server, 5), blockOf(5, 5))
      yield* within("A write made before the connection", Fiber.join(fiber))
    })
  },
  {
    name: "several connections at one time are read apart, and each has its own listener",
    check: Effect.fnUntraced(function*(open) {
      const ends = yield* open
      const opened = yield* Effect.replicateEffect(openEnds(ends), 3)
      const heard = opened.map((): Array<Uint8Array> => [])
      for (const [index, { client }] of opened.entries()) hear(client, heard[index]!, () => true)
      const exchange = ({ client, server }: Open, index: number) =>
        Effect.andThen(send(server, blockOf(100, index)), pullInto(client, heard[index]!, 100))
      yield* Effect.forEach(opened, exchange, { concurrency: "unbounded", discard: true })
      for (const [index, chunks] of heard.entries()) {
        yield* expectBytes("The bytes of this connection", concat(chunks), blockOf(100, index))
      }
    })
  }
]
