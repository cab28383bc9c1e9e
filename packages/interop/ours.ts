/**
 * Our ends: a server whose requests name the case they belong to, a client, and a peer made of our own client, for what
 * stands between two ends.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeHttp2WebSocketServer from "@effect-websocket/platform-node/NodeHttp2WebSocketServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import type * as Handshake from "@effect-websocket/protocol/Handshake"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import type * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { type Payload, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SelfSigned from "selfsigned"
import { type Case, type Failure, Mismatch, same } from "./cases.ts"
import { respondOverHttp2 } from "./chromium.ts"
import { PeerFailed } from "./program.ts"
import type { Job, Mode, Report } from "./report.ts"

type Connection = WebSocketStream["Service"]

const deflate: { readonly [M in Mode]: PerMessageDeflate.Options | undefined } = {
  none: undefined,
  takeover: {},
  fresh: { serverNoContextTakeover: true, clientNoContextTakeover: true },
  window9: { serverMaxWindowBits: 9, clientMaxWindowBits: 9 }
}

/** Compresses everything, however short. */
const permessageDeflate = (mode: Mode) => {
  const options = deflate[mode]
  return options === undefined ? undefined : { ...options, threshold: 0 }
}

const challenge = "Bearer realm=\"interop\""

const refusal = new WebSocketServer.Refusal({ status: 401, headers: { "WWW-Authenticate": challenge } })

const isIdOf = (target: string) => /(\d+)$/.exec(target)?.[1] ?? ""

/** Our server, for the cases of one peer. */
export interface Server {
  readonly ports: { readonly [M in Mode]: number }
  /** Attends to the connection that asks for the id, and waits for what comes of it. */
  readonly attend: (id: string, theCase: Case) => Effect.Effect<void, Failure>
}

/** A certificate for the time of a run. */
const identity = Effect.promise(async () => {
  const names = [{ name: "subjectAltName" as const, altNames: [{ type: 2 as const, value: "localhost" }] }]
  const pems = await SelfSigned.generate([{ name: "commonName", value: "localhost" }], { extensions: names })
  return { key: pems.private, cert: pems.cert }
})

/** How a peer comes: with TLS and HTTP/2, a port serves the page as well. */
export type Version = "HTTP/1.1" | "HTTP/2"

/** Listens once for each way of compressing, for as long as the scope is open. */
export const serve = Effect.fnUntraced(function*(origins: Handshake.OriginPolicy, version: Version) {
  const waiting = new Map<string, { readonly theCase: Case; readonly done: Deferred.Deferred<void, Failure> }>()

  const accept = ({ head }: WebSocketServer.UpgradeRequest) => {
    const entry = waiting.get(isIdOf(head.target))
    return entry?.theCase.refused === "unauthorized"
      ? Effect.andThen(Deferred.into(same("version of HTTP", head.version, version), entry.done), Effect.fail(refusal))
      : Effect.succeed({})
  }

  const handler = Effect.gen(function*() {
    const connection = yield* WebSocketStream
    const entry = waiting.get(isIdOf(connection.handshake.request.target))
    if (entry === undefined) return
    const came = same("version of HTTP", connection.handshake.request.version, version)
    yield* Deferred.into(Effect.andThen(came, Effect.asVoid(entry.theCase.ours(connection))), entry.done)
  })

  const listen = Effect.fnUntraced(function*(mode: Mode) {
    const options = {
      port: 0,
      host: "127.0.0.1",
      origins,
      accept,
      subprotocols: ["chat.v2"],
      permessageDeflate: permessageDeflate(mode)
    }
    const server = version === "HTTP/1.1"
      ? NodeWebSocketServer.layer(options)
      : NodeHttp2WebSocketServer.layer({ ...options, tls: yield* identity, onRequest: respondOverHttp2 })
    const context = yield* Layer.build(
      Layer.provide(Layer.provideMerge(WebSocketServer.serve(handler), server), NodeDeflate.layer)
    )
    const { address } = yield* Effect.provide(WebSocketServer.WebSocketServer, context)
    return "port" in address ? address.port : yield* new PeerFailed({ message: "the server has no port" })
  })

  const ports = yield* Effect.all({
    none: listen("none"),
    takeover: listen("takeover"),
    fresh: listen("fresh"),
    window9: listen("window9")
  })
  return {
    ports,
    attend: (id, theCase) => {
      const done = Deferred.makeUnsafe<void, Failure>()
      return Effect.acquireUseRelease(
        Effect.sync(() => waiting.set(id, { theCase, done })),
        () => Deferred.await(done),
        () => Effect.sync(() => waiting.delete(id))
      )
    }
  } satisfies Server as Server
})

const connect = (
  url: string,
  subprotocols: ReadonlyArray<string>,
  mode: Mode
): Effect.Effect<Connection, WebSocketError.HandshakeError, Scope.Scope> =>
  NodeWebSocketClient.connect({ url, subprotocols, permessageDeflate: permessageDeflate(mode) }).pipe(
    Effect.provide(NodeDeflate.layer)
  )

/** Connects to a peer and does our part of a case. */
export const visit = (url: string, theCase: Case): Effect.Effect<void, Failure | WebSocketError.HandshakeError> =>
  Effect.scoped(
    Effect.flatMap(
      connect(url, theCase.subprotocols ?? [], theCase.mode ?? "none"),
      (connection) => theCase.ours(connection)
    )
  ).pipe(Effect.asVoid)

const refusalOf = ({ reason }: WebSocketError.HandshakeError) =>
  reason._tag === "UpgradeDeclined"
    ? { status: reason.status, challenge: HttpHead.values(reason.headers, "www-authenticate")[0] }
    : undefined

/** Connects to a peer that has to refuse. */
export const visitRefused = (url: string): Effect.Effect<void, Mismatch> =>
  Effect.scoped(connect(url, [], "none")).pipe(
    Effect.matchEffect({
      onSuccess: () => Effect.fail(new Mismatch({ message: "was not refused" })),
      onFailure: (error) => same("refusal", refusalOf(error), { status: 401, challenge })
    })
  )

type Step = (
  connection: Connection,
  args: ReadonlyArray<string>
) => Effect.Effect<Partial<Report> | void, WebSocketError.ReadError | WebSocketError.WriteError>

const repeat = <E>(connection: Connection, count: number, step: (message: Payload) => Effect.Effect<unknown, E>) => {
  const once = Effect.flatMap(connection.read, step)
  return Effect.asVoid(count === 0 ? Effect.forever(once) : Effect.repeat(once, { times: count - 1 }))
}

const inThree = (connection: Connection) => (message: Payload) => {
  const bytes = typeof message === "string" ? new TextEncoder().encode(message) : message
  const third = Math.ceil(bytes.length / 3)
  const type = typeof message === "string" ? "text" : "binary"
  return Effect.forEach(
    [0, 1, 2],
    (part) => connection.writeSome(part === 2, bytes.subarray(part * third, (part + 1) * third), { type })
  )
}

const counted = (connection: Connection) => {
  let received = 0
  return repeat(connection, 0, () => Effect.sync(() => received++)).pipe(
    Effect.catch(() => Effect.sync(() => ({ received })))
  )
}

const steps: { readonly [verb: string]: Step } = {
  echo: (connection, [count]) => repeat(connection, Number(count), (message) => connection.write(message)),
  fragments: (connection, [count]) => repeat(connection, Number(count), inThree(connection)),
  flood: (connection, [count, size]) =>
    Effect.asVoid(
      connection.writeAll(Array.from({ length: Number(count) }, (_, at) => new Uint8Array(Number(size)).fill(at)))
    ),
  count: counted,
  ping: (connection, [data]) => Effect.as(connection.ping(new TextEncoder().encode(data)), { pong: data }),
  close: (connection, [code, reason]) =>
    Effect.asVoid(connection.close(code === undefined ? { code: "none" } : { code: Number(code), reason }))
}

/** Our own client as a peer. */
export const perform = (job: Job): Effect.Effect<Report, never> =>
  Effect.gen(function*() {
    const connection = yield* connect(job.url, job.subprotocols, job.mode)
    const report: Record<string, unknown> = { subprotocol: connection.handshake.subprotocol }
    const acts = Effect.forEach(job.steps.split(","), (step) => {
      const [verb = "", ...args] = step.split(":")
      return Effect.map(steps[verb]!(connection, args), (seen) => Object.assign(report, seen))
    })
    // To the end, whoever brings it about; what is wrong with it is told by the status.
    const all = Effect.andThen(acts, Effect.forever(connection.read))
    yield* Effect.catch(all, () => Effect.void)
    const { clean, code, reason } = yield* connection.closed
    return { ...report, id: job.id, code, reason, ...clean ? {} : { error: "not clean" } }
  }).pipe(
    Effect.catch((error) => Effect.succeed({ id: job.id, ...refusalOf(error), error: error.message })),
    Effect.scoped
  )
