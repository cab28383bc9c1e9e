/**
 * Our server, in its three styles.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { Flow } from "@effect-websocket/protocol/Traffic"
import * as Broadcast from "effect-websocket/Broadcast"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Tracer from "effect/Tracer"
import { maxMessageSize, type Style } from "../setting.ts"
import { ready, setting } from "./child.ts"

type Connection = WebSocketStream["Service"]

/** A fiber has its turns by the number of its steps: it need not yield after each of these as well. */
const repeat = <E>(step: Effect.Effect<unknown, E>) => Effect.forever(step, { disableYield: true })

const echo: { readonly [S in Style]: (stream: Connection) => Effect.Effect<never, unknown> } = {
  "read+write": (stream) => repeat(Effect.flatMap(stream.read, (message) => stream.write(message))),
  "pull+writeAll": (stream) => repeat(Effect.flatMap(stream.pull, (messages) => stream.writeAll(messages))),
  "readSome+writeSome": (stream) =>
    repeat(Effect.flatMap(stream.readSome, ({ data, fin, type }) => stream.writeSome(fin, data, { type })))
}

const connections = new Set<Connection>()

const prepared = (stream: Connection) =>
  Effect.flatMap(stream.pull, Effect.forEach((message) => PreparedMessage.make(message)))

/** Every message is written to every connection. */
const tellEach = (stream: Connection) =>
  Effect.acquireUseRelease(
    Effect.sync(() => connections.add(stream)),
    () => repeat(Effect.flatMap(prepared(stream), (messages) => Broadcast.writeAll(connections, messages))),
    () => Effect.sync(() => connections.delete(stream))
  )

const hub = Effect.runSync(PubSub.unbounded<PreparedMessage.PreparedMessage>())

/** Every connection subscribes, and writes all there is for it at once. */
const tellAll = Effect.fnUntraced(function*(stream: Connection) {
  const subscription = yield* PubSub.subscribe(hub)
  yield* Effect.forkScoped(
    repeat(Effect.flatMap(PubSub.takeAll(subscription), (messages) => stream.writeAll(messages)))
  )
  return yield* repeat(
    Effect.flatMap(prepared(stream), (messages) => PubSub.publishAll(hub, messages))
  )
})

const ignore = () => {}

/** The same code with the counting taken out. */
const countNothing = (): void => {
  Object.assign(Flow.prototype, { whole: ignore, frame: ignore, part: ignore, recall: ignore })
  for (const metric of [WebSocketMetrics.writeWait, WebSocketMetrics.pingRoundTrip]) {
    Object.assign(metric, { updateUnsafe: ignore })
  }
}

const tracer = Layer.succeed(Tracer.Tracer, Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))

const { config, deflate, style = "read+write", task, telemetry, tls } = setting
if (telemetry === "uncounted") countNothing()
const tell = style === "read+write" ? tellEach : tellAll
const handler = Effect.flatMap(WebSocketStream, task === "echo" ? echo[style] : tell)

const takeover = { serverNoContextTakeover: true, clientNoContextTakeover: true }

const server = NodeWebSocketServer.layer({
  port: 0,
  host: "127.0.0.1",
  tls,
  permessageDeflate: deflate && {
    ...(deflate.takeover ? {} : takeover),
    threshold: deflate.threshold,
    level: 6,
    memLevel: 8,
    releaseAfter: deflate.releaseAfter && Duration.seconds(deflate.releaseAfter)
  },
  config: {
    ...config,
    idleTimeout: config?.idleTimeout === "infinity" ? Duration.infinity : undefined,
    maxMessageSize
  }
})

const announce = Layer.effectDiscard(
  Effect.map(WebSocketServer.WebSocketServer, ({ address }) => ready("port" in address ? address.port : 0))
)

Effect.runFork(
  Layer.launch(
    Layer.mergeAll(WebSocketServer.serve(handler), announce).pipe(
      Layer.provide(server),
      Layer.provide(NodeDeflate.layer),
      Layer.provide(telemetry === "traced" ? tracer : Layer.empty)
    )
  )
)
