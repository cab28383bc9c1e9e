/**
 * Gap 11: what is told of a connection, and what counting costs.
 */
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import type * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import * as Tracer from "effect/Tracer"
import { makeSocket, portOf, type Whose } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const layerServer = (whose: Whose) =>
  whose === "theirs"
    ? NodeSocketServer.layerWebSocket({ port: 0, host: "127.0.0.1" })
    : NodeWebSocketServer.layerSocketServer({ port: 0, config: { drainTimeout: 100, closeTimeout: 100 } })

/** Serves sockets with a handler, and dials one. */
const connected = Effect.fnUntraced(function*(
  whose: Whose,
  handler: (socket: Socket.Socket) => Effect.Effect<unknown, unknown>
) {
  const server = Context.get(yield* Layer.build(layerServer(whose)), SocketServer.SocketServer)
  yield* Effect.forkScoped(server.run(handler))
  return yield* makeSocket(whose, `ws://127.0.0.1:${portOf(server.address)}/`)
})

const count = 100

const sendAll = Effect.fnUntraced(function*(socket: Socket.Socket) {
  yield* socket.reader
  const writer = yield* socket.writer
  for (let i = 0; i < count; i++) yield* writer.write("Grüße")
  yield* Effect.never
}, Effect.scoped)

const receiveAll = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  for (let received = 0; received < count;) received += (yield* pull).length
}, Effect.scoped)

/** The names of the spans and the metrics of a connection with some messages, at both ends. */
const observed = Effect.fnUntraced(function*(whose: Whose) {
  const spans = new Set<string>()
  const tracer = Tracer.make({
    span: (options) => {
      spans.add(options.name)
      return new Tracer.NativeSpan(options)
    }
  })
  const metrics = yield* Effect.gen(function*() {
    yield* receiveAll(yield* connected(whose, sendAll))
    return new Set((yield* Metric.snapshot).map(({ id }) => id))
  }).pipe(
    Effect.scoped,
    Effect.provideService(Tracer.Tracer, tracer),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )
  return { spans, metrics }
})

/** With what the failure of a handler is annotated in the log. */
const annotated = Effect.fnUntraced(function*(whose: Whose) {
  const logged = yield* Deferred.make<ReadonlyArray<string>>()
  const logger = Logger.make(({ fiber, logLevel }) => {
    if (logLevel !== "Error" && whose === "ours") return
    const annotations = Object.keys(fiber.getRef(References.CurrentLogAnnotations))
    Deferred.doneUnsafe(logged, Effect.succeed(annotations))
  })
  return yield* Effect.gen(function*() {
    const socket = yield* connected(
      whose,
      (socket) => Effect.scoped(Effect.andThen(socket.reader, Effect.fail(new Error("on purpose"))))
    )
    yield* Effect.forkScoped(receiveAll(socket))
    return yield* Deferred.await(logged)
  }).pipe(
    Effect.scoped,
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(References.MinimumLogLevel, "All")
  )
})

/** How often text was encoded while texts were received. */
const encodings = Effect.fnUntraced(function*(whose: Whose) {
  const socket = yield* connected(whose, sendAll)
  const { encode } = TextEncoder.prototype
  let encoded = 0
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      TextEncoder.prototype.encode = function(text) {
        if (text === "Grüße") encoded++
        return encode.call(this, text)
      }
    }),
    () =>
      Effect.sync(() => {
        TextEncoder.prototype.encode = encode
      })
  )
  yield* receiveAll(socket)
  return encoded
})

export const measurements = [
  Measurement.make({
    gap: 11,
    what: "of a connection with messages, at both ends",
    theirs: observed("theirs"),
    ours: observed("ours"),
    show: ({ metrics, spans }) => `${spans.size} spans, ${metrics.size} metrics`,
    isGood: ({ metrics, spans }) => spans.size >= 4 && metrics.size >= 10
  }),
  Measurement.make({
    gap: 11,
    what: "the failure of a handler in the log, with",
    theirs: annotated("theirs"),
    ours: annotated("ours"),
    show: (annotations) => annotations.join(", ") || "no annotation",
    isGood: (annotations) => annotations.length > 0
  }),
  Measurement.make({
    gap: 11,
    what: `texts encoded again to count the bytes of ${count} received`,
    theirs: encodings("theirs"),
    ours: encodings("ours"),
    show: String,
    isGood: (encoded) => encoded === 0
  })
]
