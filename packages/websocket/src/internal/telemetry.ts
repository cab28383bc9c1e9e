/**
 * What connections count, and where metrics find it.
 *
 * Connections of one role, metric registry and set of attributes share one
 * object, whose fields the registry reads when somebody looks. What is counted
 * by message and by frame is a field; what is rare has a series once it happens.
 *
 * @since 1.0.0
 */
import * as CloseCode from "@effect-websocket/protocol/CloseCode"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import type { Rule } from "@effect-websocket/protocol/ProtocolError"
import { type Flow, Traffic } from "@effect-websocket/protocol/Traffic"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as WebSocketError from "../WebSocketError.ts"
import * as WebSocketMetrics from "../WebSocketMetrics.ts"
import * as Tracing from "./tracing.ts"

type Role = "client" | "server"
type Attributes = Metric.Metric.AttributeSet

const ignore = () => {}

interface Series {
  count: number
}

/**
 * What the connections of one role, registry and set of attributes have in
 * common.
 *
 * @internal
 */
export class Counts {
  readonly traffic: Traffic = new Traffic()
  queuedBytes = 0
  #opened = 0
  #closed = 0
  readonly #registry: Metric.MetricRegistry
  readonly #attributes: Attributes
  readonly #context: Context.Context<never>
  readonly #series = new Map<string, Series>()
  // Every connection closes: these are found by the code alone.
  readonly #closesReceived = new Map<number, Series>()
  readonly #closesSent = new Map<number, Series>()

  constructor(registry: Metric.MetricRegistry, attributes: Attributes) {
    this.#registry = registry
    this.#attributes = attributes
    this.#context = this.#contextOf({})
    this.#gauge(WebSocketMetrics.connectionsOpen, () => this.#opened - this.#closed)
    this.#gauge(WebSocketMetrics.queuedBytes, () => this.queuedBytes)
    this.#counter(WebSocketMetrics.connectionsOpened, {}, () => this.#opened)
    this.#counter(WebSocketMetrics.connectionsClosed, {}, () => this.#closed)
    const { received, sent } = this.traffic
    this.#messages(WebSocketMetrics.messagesReceived, WebSocketMetrics.bytesReceived, received)
    this.#messages(WebSocketMetrics.messagesSent, WebSocketMetrics.bytesSent, sent)
    this.#frames(WebSocketMetrics.framesReceived, received)
    this.#frames(WebSocketMetrics.framesSent, sent)
    this.#counter(WebSocketMetrics.deflateBytesIn, {}, () => sent.plainBytes)
    this.#counter(WebSocketMetrics.deflateBytesOut, {}, () => sent.compressedBytes)
    this.#counter(WebSocketMetrics.inflateBytesIn, {}, () => received.compressedBytes)
    this.#counter(WebSocketMetrics.inflateBytesOut, {}, () => received.plainBytes)
  }

  onOpened(): void {
    this.#opened++
  }

  onClosed({ code, sent }: WebSocketError.CloseStatus): void {
    this.#closed++
    this.#incrementCode(WebSocketMetrics.closesReceived, this.#closesReceived, code)
    if (sent !== undefined) {
      this.#incrementCode(WebSocketMetrics.closesSent, this.#closesSent, sent.code ?? CloseCode.noStatus)
    }
  }

  onHandshakeFailed(reason: string, status: number | undefined): void {
    this.#increment(
      WebSocketMetrics.handshakesFailed,
      status === undefined ? { reason } : { reason, status: String(status) }
    )
  }

  onViolation(rule: Rule): void {
    this.#increment(WebSocketMetrics.violations, { rule })
  }

  onReconnect(): void {
    this.#increment(WebSocketMetrics.reconnects, {})
  }

  onRoundTrip(time: Duration.Duration): void {
    WebSocketMetrics.pingRoundTrip.updateUnsafe(time, this.#context)
  }

  /** A write waited so many milliseconds. */
  onWaited(time: number): void {
    WebSocketMetrics.writeWait.updateUnsafe(Duration.millis(time), this.#context)
  }

  #incrementCode(metric: Metric.Counter<number>, known: Map<number, Series>, code: number): void {
    let series = known.get(code)
    if (series === undefined) known.set(code, series = this.#seriesOf(metric, { code: String(code) }))
    series.count++
  }

  #increment(metric: Metric.Counter<number>, attributes: Attributes): void {
    this.#seriesOf(metric, attributes).count++
  }

  #seriesOf(metric: Metric.Counter<number>, attributes: Attributes): Series {
    const key = JSON.stringify([metric.id, attributes])
    const known = this.#series.get(key)
    if (known !== undefined) return known
    const series = { count: 0 }
    this.#series.set(key, series)
    this.#counter(metric, attributes, () => series.count)
    return series
  }

  #messages(messages: Metric.Counter<number>, bytes: Metric.Counter<number>, flow: Flow): void {
    this.#counter(messages, { type: "text" }, () => flow.textMessages)
    this.#counter(messages, { type: "binary" }, () => flow.binaryMessages)
    this.#counter(bytes, { type: "text" }, () => flow.textBytes)
    this.#counter(bytes, { type: "binary" }, () => flow.binaryBytes)
  }

  #frames(metric: Metric.Counter<number>, flow: Flow): void {
    for (const [name, opcode] of Object.entries(Opcode)) {
      this.#counter(metric, { opcode: name.toLowerCase() }, () => flow.frames(opcode))
    }
  }

  #gauge(metric: Metric.Gauge<number>, get: () => number): void {
    const hooks = { get: () => ({ value: get() }), update: ignore, modify: ignore }
    Metric.registerUnsafe(metric, this.#context, hooks)
  }

  #counter(metric: Metric.Counter<number>, attributes: Attributes, get: () => number): void {
    const hooks = { get: () => ({ count: get(), incremental: true }), update: ignore, modify: ignore }
    Metric.registerUnsafe(metric, this.#contextOf(attributes), hooks)
  }

  #contextOf(attributes: Attributes): Context.Context<never> {
    const all = { ...this.#attributes, ...attributes }
    return Context.add(Context.make(Metric.MetricRegistry, this.#registry), Metric.CurrentMetricAttributes, all)
  }
}

const keys = new WeakMap<Attributes, string>()

// Of equal sets there may be many, a fresh one for each connection even; a series there is but one of.
const keyOf = (attributes: Attributes): string => {
  let key = keys.get(attributes)
  if (key === undefined) {
    const entries = Object.entries(attributes).toSorted(([left], [right]) => left < right ? -1 : 1)
    keys.set(attributes, key = JSON.stringify(entries))
  }
  return key
}

const byRegistry = new WeakMap<Metric.MetricRegistry, Map<string, Counts>>()

/**
 * What a connection of `role` counts to.
 *
 * @internal
 */
export const countsOf = (context: Context.Context<never>, role: Role): Counts => {
  const registry = Context.get(context, Metric.MetricRegistry)
  const attributes = Context.get(context, Metric.CurrentMetricAttributes)
  let all = byRegistry.get(registry)
  if (all === undefined) byRegistry.set(registry, all = new Map())
  const key = role + keyOf(attributes)
  let counts = all.get(key)
  if (counts === undefined) all.set(key, counts = new Counts(registry, { ...attributes, role }))
  return counts
}

const statusOf = (reason: WebSocketError.HandshakeError["reason"]): number | undefined =>
  "status" in reason ? reason.status : undefined

/**
 * Counts a handshake that failed, and not one that was interrupted, and tells its span.
 *
 * @internal
 */
export const countFailure = (context: Context.Context<never>, role: Role, cause: Cause.Cause<unknown>): void => {
  Tracing.failed(context, cause)
  const reason = cause.reasons.find((reason) => !Cause.isInterruptReason(reason))
  if (reason === undefined) return
  const error = Cause.isFailReason(reason) ? reason.error : undefined
  if (error instanceof WebSocketError.HandshakeError) {
    countsOf(context, role).onHandshakeFailed(error.reason._tag, statusOf(error.reason))
  } else if (Cause.isDieReason(reason)) countsOf(context, role).onHandshakeFailed("Defect", undefined)
}

/**
 * As `countFailure`, in the environment.
 *
 * @internal
 */
export const handshakeFailed = (role: Role, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.contextWith((context: Context.Context<never>) => Effect.sync(() => countFailure(context, role, cause)))

/**
 * Counts an attempt to connect again.
 *
 * @internal
 */
export const reconnecting: Effect.Effect<void> = Effect.contextWith((context: Context.Context<never>) =>
  Effect.sync(() => countsOf(context, "client").onReconnect())
)
