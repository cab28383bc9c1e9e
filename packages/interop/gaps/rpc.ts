/**
 * Gaps 8 and 9: RPC over sockets.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import type { Options as Config } from "effect-websocket/WebSocketConfig"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import * as TestClock from "effect/testing/TestClock"
import { portOf, unread, type Whose } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const Group = RpcGroup.make(
  Rpc.make("Header", { payload: { name: Schema.String }, success: Schema.String }),
  Rpc.make("Upload", { payload: { text: Schema.String } })
)

const handlers = Group.toLayer({
  Header: ({ name }, { headers }) => Effect.succeed(headers[name] ?? "none"),
  Upload: () => Effect.void
})

const rpcs = RpcServer.layer(Group).pipe(Layer.provide(handlers))

const layerTheirServer = rpcs.pipe(
  Layer.provide(RpcServer.layerProtocolSocketServer),
  Layer.provideMerge(NodeSocketServer.layerWebSocket({ port: 0, host: "127.0.0.1" }))
)

const layerOurServer = rpcs.pipe(
  Layer.provide(WebSocketRpcServer.layerProtocolWebSocket),
  Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, config: { drainTimeout: 100, closeTimeout: 100 } }))
)

const listening = Effect.fnUntraced(function*(whose: Whose) {
  const { address } = whose === "theirs"
    ? Context.get(yield* Layer.build(layerTheirServer), SocketServer.SocketServer)
    : Context.get(yield* Layer.build(layerOurServer), WebSocketServer)
  return `ws://127.0.0.1:${portOf(address)}/`
}, Effect.provide(RpcSerialization.layerJson))

const headers = { "X-Token": "secret" }

/** Often enough to be seen, and never given up. */
const heartbeats = { interval: 50, patience: "1 hour" } as const

const layerTheirProtocol = (url: string) =>
  RpcClient.layerProtocolSocket({ pingInterval: heartbeats.interval, pingTimeout: heartbeats.patience }).pipe(
    Layer.provide(Socket.layerWebSocket(url, { headers })),
    Layer.provide(NodeWS.layerWebSocketConstructor)
  )

const layerOurProtocol = (url: string, config: Config = {}) => {
  const keepAlive = { interval: heartbeats.interval, misses: 1_000_000 }
  return WebSocketRpcClient.layerProtocolWebSocket(
    NodeWebSocketClient.connect({ url, headers, config: { keepAlive, closeTimeout: 100, ...config } })
  )
}

// Their protocol over our socket: none of Effect's own says that a write failed.
const layerTheirProtocolOverOurs = (url: string, config: Config) =>
  RpcClient.layerProtocolSocket({ pingInterval: heartbeats.patience }).pipe(
    Layer.provide(NodeWebSocketClient.layerSocket({ url, config: { closeTimeout: 100, ...config } }))
  )

const makeClient = Effect.fnUntraced(
  function*(protocol: Layer.Layer<RpcClient.Protocol, never, RpcSerialization.RpcSerialization>) {
    const context = yield* Layer.build(Layer.provide(protocol, RpcSerialization.layerJson))
    return yield* Effect.provideContext(RpcClient.make(Group), context)
  }
)

const headerSeen = Effect.fnUntraced(function*(whose: Whose) {
  const url = yield* listening(whose)
  const client = yield* makeClient(whose === "theirs" ? layerTheirProtocol(url) : layerOurProtocol(url))
  return yield* client.Header({ name: "x-token" })
})

/** More than the buffers of both sockets take. */
const bulk = "x".repeat(16 * 1024 * 1024)

/** Shakes hands, and gives the first bytes of what the client sends then; the rest of it waits. */
const beginning = Effect.fnUntraced(function*(peer: ScriptedPeer.ScriptedPeer) {
  const rest = yield* ScriptedPeer.handshake(peer)
  return rest.length > 0 ? [rest] : yield* peer.pull
})

const failedWrite = Effect.fnUntraced(function*(whose: Whose) {
  const begun = yield* Deferred.make<void>()
  const url = yield* unread((peer) =>
    beginning(peer).pipe(Effect.andThen(Deferred.succeed(begun, undefined)), Effect.andThen(Effect.never))
  )
  // No heartbeat comes before the upload.
  const config: Config = { maxQueuedBytes: 1000, keepAlive: "off" }
  const client = yield* makeClient(
    whose === "theirs" ? layerTheirProtocolOverOurs(url, config) : layerOurProtocol(url, config)
  )
  yield* Effect.forkScoped(client.Upload({ text: bulk }))
  yield* Deferred.await(begun)
  const exit = yield* Effect.exit(client.Header({ name: "x-token" }))
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) as RpcClientError | Socket.SocketError : undefined
  return { dies: Exit.hasDies(exit), reason: error?.reason._tag ?? "no error" }
})

const endsBulk = (line: string) => /^(?:text|cont) \d+ bytes/.test(line)
const isHeartbeat = (line: string) => line.startsWith("ping") || line.includes("\"Ping\"")

/**
 * The first heartbeat, which comes due when a long message has begun and is stuck, and whether it had to wait for the
 * end of that.
 */
const heartbeat = Effect.fnUntraced(function*(whose: Whose) {
  const found = yield* Deferred.make<{ readonly line: string; readonly waits: boolean }>()
  const url = yield* unread(Effect.fnUntraced(function*(peer) {
    const begun = yield* beginning(peer)
    yield* TestClock.adjust(heartbeats.interval)
    yield* peer.read(begun)
    let line = yield* peer.next
    let waits = false
    while (!isHeartbeat(line)) {
      waits ||= endsBulk(line)
      line = yield* peer.next
    }
    yield* peer.destroy
    yield* Deferred.succeed(found, { line, waits })
  }))
  const client = yield* makeClient(whose === "theirs" ? layerTheirProtocol(url) : layerOurProtocol(url))
  yield* Effect.forkScoped(client.Upload({ text: bulk }))
  return yield* Deferred.await(found)
}, Effect.provide(TestClock.layer()))

export const measurements = [
  Measurement.make({
    gap: 8,
    what: "a header of the handshake, seen by a handler of layerProtocolSocketServer and ours",
    theirs: headerSeen("theirs"),
    ours: headerSeen("ours"),
    show: (header) => header,
    isGood: (header) => header === headers["X-Token"]
  }),
  Measurement.make({
    gap: 9,
    what: "a call whose request cannot be written, over the same socket",
    theirs: failedWrite("theirs"),
    ours: failedWrite("ours"),
    show: ({ dies, reason }) => `${dies ? "dies" : "fails"} with ${reason}`,
    isGood: ({ dies, reason }) => !dies && reason === "SocketWriteError"
  }),
  Measurement.make({
    gap: 9,
    what: "the heartbeat behind the beginning of 16 MiB",
    theirs: heartbeat("theirs"),
    ours: heartbeat("ours"),
    show: ({ line, waits }) =>
      `${line.startsWith("ping") ? "a ping" : line}, ${waits ? "behind its end" : "in its middle"}`,
    isGood: ({ line, waits }) => line.startsWith("ping") && !waits
  })
]
