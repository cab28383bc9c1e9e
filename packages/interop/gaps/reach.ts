/**
 * Gap 6: what of the protocol an application can see and do.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { makeSocket, portOf, readAll, serve, upgraded } from "./ends.ts"
import * as Measurement from "./measurement.ts"

/** What there is to reach, and the names by which sockets have it, those of the WHATWG interface and of ws among them. */
const names = {
  "subprotocol": ["subprotocol", "protocol", "handshake"],
  "extensions": ["extensions", "handshake"],
  "pings": ["ping", "pong"],
  "queued bytes": ["bufferedAmount", "queuedBytes"],
  "compression by message": ["compress"],
  "fragments": ["writeSome", "readSome", "fragment"]
} as const

type Reached = { readonly [Name in keyof typeof names]?: string }

// Whatever can be had of a Socket is a member of it, of its reader or of its writer.
const theirs = Effect.gen(function*() {
  const port = yield* serve(HttpRouter.add("GET", "/", upgraded(readAll)), "theirs")
  const socket = yield* makeSocket("theirs", `ws://127.0.0.1:${port}/`)
  const things = [socket, yield* socket.reader, yield* socket.writer]
  return Object.fromEntries(
    Object.entries(names).flatMap(([what, names]) => {
      const found = names.find((name) => things.some((thing) => name in thing))
      return found === undefined ? [] : [[what, found]]
    })
  ) as Reached
})

const valueOf = (metric: Metric.Counter<number> | Metric.Gauge<number>) =>
  Effect.map(
    Metric.value(Metric.withAttributes(metric as Metric.Metric<number, unknown>, { role: "client" })),
    (state) => Object.values(state as Record<string, unknown>)[0] as number
  )

/** Reads one message by its parts, and nothing more until it is told to. */
const handler = Effect.fnUntraced(function*(more: Effect.Effect<unknown>) {
  const stream = yield* WebSocketStream
  let parts = 0
  while (!(yield* stream.readSome).fin) parts++
  yield* stream.write(String(parts + 1))
  yield* more
  yield* Effect.forever(stream.read)
})

const fragments = Effect.fnUntraced(function*(stream: WebSocketStream["Service"]) {
  yield* stream.writeSome(false, "a message ", { compress: false })
  const trip = yield* stream.ping()
  yield* stream.writeSome(true, "in two parts")
  return { trip: Duration.toMillis(trip).toFixed(1), parts: yield* stream.read }
})

const compressed = Effect.fnUntraced(function*(stream: WebSocketStream["Service"]) {
  yield* stream.write("x".repeat(1000), { compress: true })
  yield* stream.write("x".repeat(1000), { compress: false })
  return yield* valueOf(WebSocketMetrics.deflateBytesIn)
})

/** How much waits while 16 MiB are written to a peer that reads nothing: more than the buffers of both sockets take. */
const queuedBytes = Effect.fnUntraced(function*(stream: WebSocketStream["Service"]) {
  const message = new Uint8Array(16 * 1024 * 1024)
  yield* Effect.forkScoped(stream.write(message, { compress: false }), { startImmediately: true })
  return yield* valueOf(WebSocketMetrics.queuedBytes)
})

const ours = Effect.gen(function*() {
  const more = yield* Latch.make()
  const server = WebSocketServer.serve(handler(more.await)).pipe(
    Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, subprotocols: ["chat"], permessageDeflate: {} })),
    Layer.provide(NodeDeflate.layer)
  )
  const { address } = Context.get(yield* Layer.build(server), WebSocketServer.WebSocketServer)
  const url = `ws://127.0.0.1:${portOf(address)}/`
  const stream = yield* NodeWebSocketClient.connect({ url, subprotocols: ["chat"], permessageDeflate: {} })
  const { extensions, subprotocol } = stream.handshake
  const { parts, trip } = yield* fragments(stream)
  const deflated = yield* compressed(stream)
  const queued = yield* queuedBytes(stream)
  yield* more.open
  return {
    ...subprotocol === "chat" && { "subprotocol": subprotocol },
    ...extensions.length === 1 && { "extensions": extensions[0]!.name },
    ...Number(trip) > 0 && { "pings": `${trip} ms` },
    ...queued > 0 && { "queued bytes": String(queued) },
    ...deflated === 1000 && { "compression by message": `${deflated} of 2000 bytes` },
    ...parts === "2" && { "fragments": `${parts} parts` }
  } as Reached
}).pipe(Effect.provide(NodeDeflate.layer), Effect.provideService(Metric.MetricRegistry, new Map()))

export const measurements = [
  Measurement.make({
    gap: 6,
    what: "seen or done on a connection",
    theirs,
    ours,
    show: (reached) => Object.entries(reached).map(([what, value]) => `${what}: ${value}`).join("; ") || "nothing",
    isGood: (reached) => Object.keys(names).every((what) => what in reached)
  })
]
