/**
 * What a script works on: the library's end with its application, and the raw
 * peer at the other.
 *
 * @since 1.0.0
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as Entropy from "effect-websocket/Entropy"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { Payload, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { Case } from "./Case.ts"
import { Mismatch } from "./Mismatch.ts"
import * as Peer from "./Peer.ts"
import { opposite, type Role } from "./Wire.ts"
import * as Wires from "./Wires.ts"

export type Stream = WebSocketStream["Service"]

/** What the application was told to do. */
export interface Task {
  readonly say: string
  readonly run: (stream: Stream) => Effect.Effect<unknown, unknown>
}

export class Rig {
  readonly role: Role
  readonly case: Case
  /** The peer that steps speak for. */
  peer: Peer.Peer
  readonly peers = new Map<string, Peer.Peer>()
  /** The lines of the head that the peer got last. */
  head: ReadonlyArray<string> = []
  /** What handlers of a whole server have noted. */
  readonly heard: Array<Payload> = []
  /** The end of the stream's scope, or of the server, once it has begun. */
  leaving: Fiber.Fiber<void> | undefined
  readonly opening: Fiber.Fiber<Stream, HandshakeError>
  /** Opens another raw client, of a whole server. */
  readonly dial: Effect.Effect<Peer.Peer>
  /** Leaves the scope of the stream, or stops the server. */
  readonly leave: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
  readonly #tasks: Queue.Queue<Task>
  readonly #problems: Array<Mismatch>

  constructor(parts: {
    readonly role: Role
    readonly case: Case
    readonly peer: Peer.Peer
    readonly opening: Fiber.Fiber<Stream, HandshakeError>
    readonly dial: Effect.Effect<Peer.Peer>
    readonly leave: Rig["leave"]
    readonly tasks: Queue.Queue<Task>
    readonly problems: Array<Mismatch>
  }) {
    this.role = parts.role
    this.case = parts.case
    this.peer = parts.peer
    this.opening = parts.opening
    this.dial = parts.dial
    this.leave = parts.leave
    this.#tasks = parts.tasks
    this.#problems = parts.problems
  }

  /** The library's stream, once the handshake is done. */
  readonly stream: Effect.Effect<Stream, Mismatch> = Effect.suspend(() =>
    Effect.mapError(
      Fiber.join(this.opening),
      (error) => new Mismatch({ expected: "an open connection", actual: `${error.reason._tag}: ${error.message}` })
    )
  )

  /** Has the application do something behind what it was told before, by one and the same fiber. */
  tell(task: Task): void {
    Queue.offerUnsafe(this.#tasks, task)
  }

  /** Waits until the application has done all it was told. */
  readonly idle: Effect.Effect<void, Mismatch> = Effect.suspend(() =>
    Effect.callback<void>((resume) => this.tell({ say: "rest", run: () => Effect.sync(() => resume(Effect.void)) }))
  ).pipe(
    Effect.andThen(Effect.suspend(() => this.#problems.length === 0 ? Effect.void : Effect.fail(this.#problems[0]!)))
  )
}

// No timer of the library's own, unless a case asks for one.
const quiet: WebSocketConfig.Options = { keepAlive: "off", idleTimeout: Duration.infinity, drainRetryAfter: "off" }

// Both codecs do all cases.
const codecs = { memory: PortableDeflate.layer, tcp: NodeDeflate.layer }

/** Numbers that differ, and are the same each time a case runs. */
const makeEntropy = (): Entropy.Entropy => {
  let state = 1
  return { uint32Unsafe: () => state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0 }
}

const connect = (case_: Case, role: Role): Effect.Effect<Stream, HandshakeError, Transport.Transport | Scope.Scope> => {
  const config = { ...quiet, ...case_.config }
  const permessageDeflate = case_.deflate
  return role === "client"
    ? WebSocketClient.connect({ url: "ws://example.com/chat", ...case_.client, config, permessageDeflate })
    : WebSocketServer.accept({ ...case_.server, config, permessageDeflate })
}

const runApplication = Effect.fnUntraced(function*(
  opening: Effect.Effect<Stream, HandshakeError>,
  tasks: Queue.Queue<Task>,
  problems: Array<Mismatch>
) {
  const stream = yield* Effect.option(opening)
  for (;;) {
    const { run, say } = yield* Queue.take(tasks)
    const exit = yield* Effect.exit(stream._tag === "Some" ? run(stream.value) : run(undefined as never))
    if (Exit.isSuccess(exit)) continue
    const error = Cause.squash(exit.cause)
    problems.push(
      error instanceof Mismatch ? error : new Mismatch({ expected: `the application to ${say}`, actual: String(error) })
    )
  }
})

// The end of a case waits for nothing: one that failed may have left what no time in memory will end.
const makeScope = Effect.acquireRelease(
  Effect.sync(() => Scope.makeUnsafe()),
  (scope) => Effect.forkDetach(Scope.close(scope, Exit.void))
)

/** One stream of the library and its raw peer. */
const makeOne = Effect.fnUntraced(function*(case_: Case, role: Role, transport: Wires.Name) {
  const wires = yield* Wires.make(transport, case_.memory)
  const accepted = yield* Wires.accepted(wires)
  const scope = yield* makeScope
  const own = role === "client" ? Effect.succeed(wires.client) : accepted
  const opening = yield* own.pipe(
    Effect.flatMap((transport) => Effect.provideService(connect(case_, role), Transport.Transport, transport)),
    Effect.provideService(Entropy.Entropy, makeEntropy()),
    Effect.provide(codecs[transport]),
    Scope.provide(scope),
    Effect.forkScoped
  )
  const other = role === "client" ? accepted : Effect.succeed(wires.client)
  const peer = case_.undialled === true
    ? undefined as never
    : yield* Effect.flatMap(other, (transport) => Peer.open(opposite(role), transport))
  const tasks = yield* Queue.unbounded<Task>()
  const problems: Array<Mismatch> = []
  yield* Effect.forkScoped(runApplication(Fiber.join(opening), tasks, problems))
  const leave: Rig["leave"] = (exit) => Scope.close(scope, exit)
  return new Rig({ role, case: case_, peer, opening, dial: Effect.never, leave, tasks, problems })
})

/** A whole server of the library; raw clients dial it. */
const makeServer = Effect.fnUntraced(function*(case_: Case, transport: Wires.Name) {
  const wires = yield* Wires.make(transport, case_.memory)
  const scope = yield* Effect.scope
  const server = yield* WebSocketServer.make({ ...case_.server, config: { ...quiet, ...case_.config } }).pipe(
    Effect.provideService(Transport.TransportServer, wires.server)
  )
  const dial = Effect.provideService(Peer.open("client", wires.client), Scope.Scope, scope)
  const rig: Rig = new Rig({
    role: "server",
    case: case_,
    peer: undefined as never,
    opening: yield* Effect.forkScoped(Effect.never),
    dial,
    leave: () => Fiber.interrupt(running),
    tasks: yield* Queue.unbounded<Task>(),
    problems: []
  })
  const running: Fiber.Fiber<unknown, unknown> = yield* Effect.acquireRelease(
    Effect.forkDetach(server.run(case_.handler!(rig))),
    (fiber) => Effect.sync(() => fiber.interruptUnsafe())
  )
  return rig
})

export const make = (case_: Case, role: Role, transport: Wires.Name): Effect.Effect<Rig, never, Scope.Scope> =>
  case_.handler === undefined ? makeOne(case_, role, transport) : makeServer(case_, transport)
