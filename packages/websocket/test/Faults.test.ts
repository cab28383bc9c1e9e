import { assert, describe, it } from "@effect/vitest"
import * as Entropy from "effect-websocket/Entropy"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import { HandshakeError, ReadError, WriteError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

type Stream = WebSocketStream["Service"]
type Failure = HandshakeError | ReadError | WriteError
type Wrap = (connection: Transport.Connection) => Transport.Connection

const config: WebSocketConfig.Options = {
  handshakeTimeout: 2000,
  closeTimeout: 500,
  idleTimeout: 3000,
  keepAlive: "off",
  fragmentSize: 8
}

// Handshake, a refusal's body, silence, and the two waits of a close, in this order at worst.
const deadline = 2000 + 500 + 3000 + 500 + 500

/** Echoes until the other end closes well; anything else fails. */
const echo = (stream: Stream): Effect.Effect<void, Failure> =>
  Effect.forever(Effect.flatMap(stream.read, (message) => stream.write(message))).pipe(
    Effect.catch((error) =>
      error.reason._tag === "ConnectionClosed" && error.reason.status.clean ? Effect.void : Effect.fail(error)
    )
  )

const scenarios: { readonly [name: string]: (stream: Stream) => Effect.Effect<void, Failure, Scope.Scope> } = {
  "a handshake alone": () => Effect.void,
  "an echo of text, of fragments and of parts": Effect.fnUntraced(function*(stream) {
    yield* stream.write("short")
    yield* stream.read
    yield* stream.writeSome(false, "lo")
    yield* stream.writeSome(true, "ng enough for fragments")
    yield* stream.read
  }),
  "pings both ways": Effect.fnUntraced(function*(stream) {
    yield* stream.ping()
    yield* stream.pong()
  }),
  "a close while an answer is on its way": Effect.fnUntraced(function*(stream) {
    yield* stream.write("x")
    yield* stream.close({ code: 4000, reason: "bye" })
  }),
  "everything at once": Effect.fnUntraced(function*(stream) {
    const work = [stream.write("x"), stream.ping(), stream.read, Effect.scoped(stream.message("text"))]
    yield* Effect.all(work, { concurrency: "unbounded", discard: true }).pipe(
      Effect.catch((error) => error instanceof WriteError ? Effect.void : Effect.fail(error))
    )
    yield* stream.close()
  })
}

/** Counts connections that are open and have not been let go of. */
const makeCounter = () => {
  const counter = { open: 0 }
  const wrap: Wrap = (connection) => ({
    ...connection,
    reader: Effect.andThen(
      Effect.acquireRelease(Effect.sync(() => counter.open++), () => Effect.sync(() => counter.open--)),
      connection.reader
    )
  })
  return { counter, wrap }
}

/** A client that plays a scenario against a server that echoes, each in a scope of its own. */
const session = Effect.fnUntraced(
  function*(
    scenario: (stream: Stream) => Effect.Effect<void, Failure, Scope.Scope>,
    wraps: { readonly client?: Wrap; readonly server?: Wrap }
  ) {
    const [client, server] = yield* MemoryTransport.makePair({ capacity: 256 })
    const over = (own: Transport.Connection, wrap: Wrap | undefined) =>
      Effect.provideService(Transport.Transport, wrap?.(own) ?? own)
    const ends = [
      WebSocketServer.accept({ config }).pipe(Effect.flatMap(echo), Effect.scoped, over(server, wraps.server)),
      WebSocketClient.connect({ url: "ws://h/", config }).pipe(
        Effect.flatMap(scenario),
        Effect.scoped,
        over(client, wraps.client)
      )
    ]
    // Neither is interrupted because the other has failed: each has to find its own end.
    for (const exit of yield* Effect.all(ends.map((end) => Effect.exit(end)), { concurrency: 2 })) yield* exit
  },
  Effect.scoped,
  Effect.provide(Entropy.layerRandom)
)

/** Runs a session in virtual time; it ends by its deadline, with success or a typed error, and leaves nothing. */
const watched = Effect.fnUntraced(function*<E>(run: Effect.Effect<void, E>, counter: { readonly open: number }) {
  let live = 0
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void live++,
    recordFiberEnd: () => void live--
  }
  const counted = (effect: Effect.Effect<void, E>) =>
    Effect.forkChild(Effect.provideService(
      Effect.flatMap(Effect.forkChild(effect), (fiber) => Fiber.await(fiber)),
      Metric.FiberRuntimeMetrics,
      metrics
    ))
  yield* Fiber.await(yield* counted(Effect.void))
  const before = live
  const fiber = yield* counted(run)
  yield* Scripted.settled
  for (let elapsed = 0; elapsed < deadline && fiber.pollUnsafe() === undefined; elapsed += 500) {
    yield* TestClock.adjust(500)
  }
  const exit = fiber.pollUnsafe()
  if (exit === undefined) yield* Fiber.interrupt(fiber)
  assert.isDefined(exit, "it hangs")
  yield* Scripted.settled
  // The fiber that was forked and the one that waited for it, once for each.
  assert.strictEqual(live - before, before, "fibers are left")
  assert.strictEqual(counter.open, 0, "transports are left open")
  assert.strictEqual(yield* Scripted.deadlines, 0, "deadlines are left")
  const result = Exit.isSuccess(exit!) ? exit!.value : exit as Exit.Exit<void, E>
  if (Exit.isFailure(result)) {
    for (const reason of result.cause.reasons) {
      const typed = Cause.isFailReason(reason) &&
        [HandshakeError, ReadError, WriteError].some((type) => reason.error instanceof type)
      assert.isTrue(typed, `not typed: ${Cause.pretty(result.cause)}`)
    }
  }
  return yield* result
})

const runWith = (scenario: keyof typeof scenarios, side: "client" | "server", faults: FaultTransport.Faults) => {
  const { counter, wrap } = makeCounter()
  const wraps = {
    client: wrap,
    server: wrap,
    [side]: (connection: Transport.Connection) => wrap(faults.wrap(connection))
  }
  return watched(session(scenarios[scenario]!, wraps), counter)
}

describe("a fault at every operation", () => {
  describe.each(["client", "server"] as const)("of the %s", (side) => {
    it.effect.each(Object.keys(scenarios))("%s", (name) =>
      Effect.gen(function*() {
        const runs = yield* FaultTransport.everywhere((faults) => runWith(name, side, faults))
        assert.isAtLeast(runs, 5)
      }))
  })
})

describe("a fault at every byte", () => {
  const scenario = "a close while an answer is on its way"

  const length = Effect.fnUntraced(function*(direction: FaultTransport.ByteFault["direction"]) {
    let bytes = 0
    const { counter, wrap } = makeCounter()
    const counting: Wrap = (connection) => ({
      ...connection,
      reader: Effect.map(connection.reader, (reader) => ({
        ...reader,
        pull: Effect.tap(reader.pull, (chunks) => Effect.sync(() => chunks.forEach((chunk) => bytes += chunk.length)))
      }))
    })
    const end = direction === "read" ? "client" : "server"
    yield* watched(
      session(scenarios[scenario]!, {
        client: wrap,
        server: wrap,
        [end]: (it: Transport.Connection) => wrap(counting(it))
      }),
      counter
    )
    return bytes
  })

  const kinds: ReadonlyArray<FaultTransport.Kind> = ["cut", "stall", "reset", "end", "corrupt", "split"]
  for (const direction of ["read", "write"] as const) {
    it.effect.each(kinds)(`%s, on the client's ${direction} side`, (kind) =>
      Effect.gen(function*() {
        const bytes = yield* length(direction)
        assert.isAbove(bytes, 100)
        for (let at = 0; at <= bytes; at++) {
          const faults = FaultTransport.makeFaults({ bytes: [{ direction, kind, at }] })
          const exit = yield* Effect.exit(runWith(scenario, "client", faults))
          // What is cut differently is the same; what is lost in the middle of it is noticed.
          if (kind === "split") assert.isTrue(Exit.isSuccess(exit), `split at ${at}`)
          const noticed = kind === "cut" || kind === "reset" || kind === "stall"
          if (noticed && at > 0 && at < bytes - 20) assert.isTrue(Exit.isFailure(exit), `${kind} at ${at} of ${bytes}`)
        }
      }))
  }
})

it.effect("bytes that mean nothing end every handshake with a typed error", () =>
  Effect.gen(function*() {
    let seed = 7
    const random = (below: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below
    for (let run = 0; run < 100; run++) {
      const { counter, wrap } = makeCounter()
      const garbage = Uint8Array.from({ length: 1 + random(200) }, () => random(256))
      const [own, other] = yield* MemoryTransport.makePair()
      const accepting = WebSocketServer.accept({ config }).pipe(
        Effect.scoped,
        Effect.asVoid,
        Effect.provideService(Transport.Transport, wrap(own))
      )
      const peer = yield* Scripted.open("client", other)
      yield* peer.send(garbage)
      const exit = yield* Effect.exit(watched(accepting, counter))
      assert.isTrue(Exit.isFailure(exit))
    }
  }))
