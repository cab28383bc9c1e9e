/**
 * What connections count, as Effect metrics.
 *
 * Always on: a message costs an addition or two, and what is counted is read when a
 * snapshot of the metrics is taken. Series are shared by all connections of one
 * role, `MetricRegistry` and `CurrentMetricAttributes`, and none belongs to a
 * connection.
 *
 * Every series has the attribute `role`, `"client"` or `"server"`; further
 * attributes are named with the metric. Sizes are bytes of payload as the
 * application sees it, without frame headers and before compression. A metric
 * whose series depend on what happens (a close code, a rule) has none until it
 * does; all others begin at 0 with the first connection.
 *
 * **Example** (Reading how many messages a server has received)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Metric from "effect/Metric"
 *
 * const echo = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   yield* stream.write(yield* stream.read)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   yield* stream.write("hello")
 *   yield* stream.read
 *   const texts = WebSocketMetrics.messagesReceived.pipe(Metric.withAttributes({ role: "server", type: "text" }))
 *   return (yield* Metric.value(texts)).count
 * })
 *
 * const server = WebSocketServer.serve(echo).pipe(Layer.provide(WebSocketServer.layer()))
 * const runnable = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.provideMerge(server, MemoryTransport.layer())),
 *   Effect.provideService(Metric.MetricRegistry, new Map())
 * )
 * await Effect.runPromise(runnable) // => 1
 * ```
 *
 * @since 1.0.0
 */
import type * as Duration from "effect/Duration"
import * as Metric from "effect/Metric"

const counter = (name: string, description: string): Metric.Counter<number> =>
  Metric.counter(name, { description, incremental: true })

/**
 * Connections that are open, those that are closing counted.
 *
 * @category connections
 * @since 1.0.0
 */
export const connectionsOpen: Metric.Gauge<number> = Metric.gauge("websocket_connections_open", {
  description: "WebSocket connections that are open, those that are closing counted"
})

/**
 * Connections whose opening handshake succeeded.
 *
 * @category connections
 * @since 1.0.0
 */
export const connectionsOpened = counter("websocket_connections_opened", "WebSocket connections opened")

/**
 * Connections that have ended, however they did.
 *
 * @category connections
 * @since 1.0.0
 */
export const connectionsClosed = counter("websocket_connections_closed", "WebSocket connections closed")

/**
 * Opening handshakes that failed, by `reason`, a reason's tag of `HandshakeError`
 * or `"Defect"`, and by `status` where the server's answer has one. Those that
 * were interrupted are not counted. Each redirection that is followed is a
 * handshake, which failed with its status.
 *
 * @category connections
 * @since 1.0.0
 */
export const handshakesFailed = counter("websocket_handshakes_failed", "WebSocket opening handshakes that failed")

/**
 * Close frames received, by `code`: 1005 for one without a code, 1006 for
 * connections that ended without one. Counted when the connection has ended. No
 * peer can make more series than there are codes, about 2000.
 *
 * @category connections
 * @since 1.0.0
 */
export const closesReceived = counter("websocket_closes_received", "WebSocket Close frames received")

/**
 * Close frames that the transport has accepted, by `code`: 1005 for one without a
 * code. Counted when the connection has ended.
 *
 * @category connections
 * @since 1.0.0
 */
export const closesSent = counter("websocket_closes_sent", "WebSocket Close frames sent")

/**
 * Times a peer broke a rule, by `rule`, as `ProtocolError.rules` names them. Each
 * ends its connection.
 *
 * @category connections
 * @since 1.0.0
 */
export const violations = counter("websocket_violations", "Rules of WebSocket that peers broke")

/**
 * Attempts of a `ReconnectingWebSocket` but for its first.
 *
 * @category connections
 * @since 1.0.0
 */
export const reconnects = counter("websocket_reconnects", "Attempts to open a WebSocket again")

/**
 * Messages received to their end, by `type`, `"text"` or `"binary"`.
 *
 * @category messages
 * @since 1.0.0
 */
export const messagesReceived = counter("websocket_messages_received", "WebSocket messages received")

/**
 * Messages framed to their end, by `type`, `"text"` or `"binary"`.
 *
 * @category messages
 * @since 1.0.0
 */
export const messagesSent = counter("websocket_messages_sent", "WebSocket messages sent")

/**
 * Payload of messages received, in bytes, by `type`. Counted part by part.
 *
 * @category messages
 * @since 1.0.0
 */
export const bytesReceived = counter("websocket_bytes_received", "Bytes of WebSocket messages received")

/**
 * Payload of messages sent, in bytes, by `type`. Counted frame by frame.
 *
 * @category messages
 * @since 1.0.0
 */
export const bytesSent = counter("websocket_bytes_sent", "Bytes of WebSocket messages sent")

/**
 * Frames received, by `opcode`: `"continuation"`, `"text"`, `"binary"`,
 * `"close"`, `"ping"` or `"pong"`. A data frame counts when its header has come,
 * a control frame when all of it has; one whose header breaks a rule does not.
 *
 * @category messages
 * @since 1.0.0
 */
export const framesReceived = counter("websocket_frames_received", "WebSocket frames received")

/**
 * Frames sent, by `opcode`.
 *
 * @category messages
 * @since 1.0.0
 */
export const framesSent = counter("websocket_frames_sent", "WebSocket frames sent")

/**
 * Payload of writes that are not completed, in bytes: what `maxQueuedBytes`
 * limits for each connection.
 *
 * @category messages
 * @since 1.0.0
 */
export const queuedBytes: Metric.Gauge<number> = Metric.gauge("websocket_queued_bytes", {
  description: "Bytes of WebSocket writes that wait"
})

/**
 * How long writes waited for others or for the transport, in milliseconds,
 * however they ended. Writes that had to wait for neither are not counted.
 *
 * @category messages
 * @since 1.0.0
 */
export const writeWait: Metric.Histogram<Duration.Duration> = Metric.timer("websocket_write_wait", {
  description: "Time that WebSocket writes waited"
})

/**
 * Time from a Ping to its Pong, in milliseconds: those of the application and of
 * `keepAlive`.
 *
 * @category messages
 * @since 1.0.0
 */
export const pingRoundTrip: Metric.Histogram<Duration.Duration> = Metric.timer("websocket_ping_round_trip", {
  description: "Time from a WebSocket Ping to its Pong"
})

/**
 * Payload of compressed messages sent, in bytes before compression. Its ratio to
 * `deflateBytesOut` is what compression saves.
 *
 * @category compression
 * @since 1.0.0
 */
export const deflateBytesIn = counter("websocket_deflate_bytes_in", "Bytes given to permessage-deflate to compress")

/**
 * Payload of compressed messages sent, in bytes on the wire.
 *
 * @category compression
 * @since 1.0.0
 */
export const deflateBytesOut = counter("websocket_deflate_bytes_out", "Bytes that permessage-deflate compressed to")

/**
 * Payload of compressed messages received, in bytes on the wire.
 *
 * @category compression
 * @since 1.0.0
 */
export const inflateBytesIn = counter("websocket_inflate_bytes_in", "Bytes given to permessage-deflate to inflate")

/**
 * Payload of compressed messages received, in bytes once inflated.
 *
 * @category compression
 * @since 1.0.0
 */
export const inflateBytesOut = counter("websocket_inflate_bytes_out", "Bytes that permessage-deflate inflated to")
