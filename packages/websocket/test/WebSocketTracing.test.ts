import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type { ReadError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as WebSocketTracing from "effect-websocket/WebSocketTracing"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as Scripted from "./fixtures/scripted.ts"

const { close, roles, settled, text } = Scripted

/** A tracer that keeps all spans, in the order they began. */
const makeTracer = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const named = (name: string) => spans.filter((span) => span.name === name)
  const only = (name: string): Tracer.NativeSpan => {
    assert.strictEqual(named(name).length, 1, name)
    return named(name)[0]!
  }
  const traced = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Tracer.Tracer, tracer)
  return { spans, named, only, traced }
}

const attributesOf = (span: Tracer.Span) => Object.fromEntries(span.attributes)

const parentOf = (span: Tracer.Span) => Option.getOrUndefined(span.parent)

const secondsOf = ({ status }: Tracer.Span) =>
  status._tag === "Ended" ? Number(status.endTime - status.startTime) / 1e9 : undefined

const exitOf = ({ status }: Tracer.Span) => status._tag === "Ended" ? status.exit : undefined

const echo = Effect.flatMap(
  WebSocketStream,
  (stream) => Effect.forever(Effect.withSpan(Effect.flatMap(stream.read, (message) => stream.write(message)), "echo"))
)

const serving = (options: WebSocketServer.AcceptOptions = {}, handler: typeof echo = echo) =>
  Layer.provideMerge(
    WebSocketServer.serve(handler).pipe(Layer.provide(WebSocketServer.layer(options))),
    MemoryTransport.layer()
  )

const url = "ws://example.com:8080/chat/room?token=hunter2"

const request: WebSocketClient.ConnectOptions = {
  url,
  subprotocols: ["chat"],
  headers: { "User-Agent": "probe/1", Authorization: "Bearer swordfish", Cookie: "session=opensesame" }
}

/** A client that says something, is answered and closes. */
const conversation = Effect.fnUntraced(function*(options: WebSocketClient.ConnectOptions = request) {
  const stream = yield* WebSocketClient.connect(options)
  yield* stream.write("x")
  yield* stream.read
  yield* stream.close({ code: 4000 })
  yield* settled
}, Effect.scoped)

describe("spans", () => {
  it.effect("of a client: the attempt, and below it the connection", () =>
    Effect.gen(function*() {
      const { only, traced } = makeTracer()
      yield* traced(Effect.withSpan(conversation(), "application")).pipe(
        Effect.provide(serving({ subprotocols: ["chat"] }))
      )
      const connect = only("WebSocketClient.connect")
      assert.strictEqual(connect.kind, "client")
      assert.strictEqual(parentOf(connect), only("application"))
      assert.deepStrictEqual(attributesOf(connect), {
        "network.peer.address": "memory",
        "network.protocol.name": "websocket",
        "network.protocol.version": "1.1",
        "http.request.method": "GET",
        "http.response.status_code": 101,
        "server.address": "example.com",
        "server.port": 8080,
        "url.scheme": "ws",
        "url.path": "/chat/room",
        "url.query": "REDACTED",
        "url.full": "ws://example.com:8080/chat/room?REDACTED",
        "websocket.subprotocol": "chat"
      })
      const connection = only("WebSocketClient.connection")
      assert.strictEqual(parentOf(connection), connect)
      assert.deepStrictEqual(attributesOf(connection), {
        "network.peer.address": "memory",
        "network.protocol.name": "websocket",
        "network.protocol.version": "1.1",
        "url.path": "/chat/room",
        "websocket.subprotocol": "chat",
        "websocket.close.code": 4000,
        "websocket.close.initiator": "local",
        "websocket.close.clean": true
      })
      assert.isTrue(Exit.isSuccess(exitOf(connection)!))
    }))

  it.effect("of a server: the handshake, below it the connection, below it what the handler does", () =>
    Effect.gen(function*() {
      const { only, traced } = makeTracer()
      yield* conversation().pipe(Effect.provide(serving({ subprotocols: ["chat"] })), traced)
      const accept = only("WebSocketServer.accept")
      assert.strictEqual(accept.kind, "server")
      assert.deepStrictEqual(attributesOf(accept), {
        "network.peer.address": "memory",
        "network.protocol.name": "websocket",
        "network.protocol.version": "1.1",
        "http.request.method": "GET",
        "http.response.status_code": 101,
        "server.address": "example.com",
        "server.port": 8080,
        "url.path": "/chat/room",
        "url.query": "REDACTED",
        "user_agent.original": "probe/1",
        "websocket.subprotocol": "chat"
      })
      const connection = only("WebSocketServer.connection")
      assert.strictEqual(parentOf(connection), accept)
      assert.strictEqual(connection.attributes.get("websocket.close.initiator"), "peer")
      assert.strictEqual(connection.attributes.get("websocket.close.code"), 4000)
    }))

  it.effect("of a handler have the connection for their parent", () =>
    Effect.gen(function*() {
      const { named, only, traced } = makeTracer()
      yield* traced(Effect.provide(conversation(), serving()))
      assert.isAbove(named("echo").length, 0)
      for (const span of named("echo")) assert.strictEqual(parentOf(span), only("WebSocketServer.connection"))
    }))

  it.effect("of what accept does have the handshake for their parent", () =>
    Effect.gen(function*() {
      const { only, traced } = makeTracer()
      const accept = () => Effect.withSpan(Effect.succeed({}), "authenticate")
      yield* traced(Effect.provide(conversation(), serving({ accept })))
      assert.strictEqual(parentOf(only("authenticate")), only("WebSocketServer.accept"))
    }))

  it.effect("of handshakes that fail say how, at both ends", () =>
    Effect.gen(function*() {
      const { named, only, traced } = makeTracer()
      const accept = () => Effect.fail(new WebSocketServer.Refusal({ status: 401 }))
      yield* traced(Effect.provide(Effect.exit(conversation()), serving({ accept })))
      const client = attributesOf(only("WebSocketClient.connect"))
      const server = attributesOf(only("WebSocketServer.accept"))
      assert.deepInclude(client, { "error.type": "UpgradeDeclined", "http.response.status_code": 401 })
      assert.deepInclude(server, { "error.type": "Refused", "http.response.status_code": 401 })
      assert.isTrue(Exit.isFailure(exitOf(only("WebSocketServer.accept"))!))
      assert.lengthOf([...named("WebSocketClient.connection"), ...named("WebSocketServer.connection")], 0)
    }))

  it.effect("have no query where it is not asked for, and no header and no user but the agent in any case", () =>
    Effect.gen(function*() {
      for (const [query, told] of [["redacted", false], ["plain", true]] as const) {
        const { spans, traced } = makeTracer()
        yield* Effect.scoped(Effect.exit(WebSocketClient.connect({ url: "ws://me:hunter1@example.com/" }))).pipe(
          Effect.andThen(conversation()),
          Effect.provide(Layer.provideMerge(serving(), WebSocketTracing.layer({ query }))),
          traced
        )
        const all = JSON.stringify(spans.map((span) => [span.name, attributesOf(span)]))
        assert.strictEqual(all.includes("hunter2"), told)
        assert.notMatch(all, /hunter1|swordfish|opensesame/)
      }
    }))

  it.effect("of connections are left out on request", () =>
    Effect.gen(function*() {
      const { named, traced } = makeTracer()
      const untold = WebSocketTracing.layer({ connections: false })
      yield* traced(Effect.provide(conversation(), Layer.provideMerge(serving(), untold)))
      assert.lengthOf([...named("WebSocketClient.connection"), ...named("WebSocketServer.connection")], 0)
      assert.lengthOf([...named("WebSocketClient.close"), ...named("WebSocketServer.close")], 0)
      assert.lengthOf(named("WebSocketServer.accept"), 1)
    }))

  it.effect("are not made where tracing is disabled", () =>
    Effect.gen(function*() {
      const { spans, traced } = makeTracer()
      yield* traced(Effect.withTracerEnabled(Effect.provide(conversation(), serving()), false))
      assert.lengthOf(spans, 0)
    }))

  describe.each(roles)("of a %s's close", (role) => {
    const owner = role === "client" ? "WebSocketClient" : "WebSocketServer"

    it.effect("begin with its own Close, and end with the connection", () =>
      Effect.gen(function*() {
        const { named, only, traced } = makeTracer()
        const { peer, stream } = yield* traced(Scripted.connect(role))
        yield* TestClock.adjust("1 minute")
        assert.lengthOf(named(`${owner}.close`), 0)
        const closing = yield* Effect.forkChild(stream.close({ code: 4000 }))
        yield* settled
        assert.strictEqual(only(`${owner}.close`).status._tag, "Started")
        yield* TestClock.adjust("3 seconds")
        yield* peer.send(close(4000))
        yield* peer.end
        yield* Fiber.join(closing)
        const span = only(`${owner}.close`)
        assert.strictEqual(parentOf(span), only(`${owner}.connection`))
        assert.strictEqual(span.kind, role)
        assert.deepStrictEqual(attributesOf(span), {
          "websocket.close.code": 4000,
          "websocket.close.initiator": "local",
          "websocket.close.clean": true
        })
        assert.strictEqual(secondsOf(span), 3)
        assert.strictEqual(secondsOf(only(`${owner}.connection`)), 63)
        assert.isTrue(Exit.isSuccess(exitOf(span)!))
      }))

    it.effect("say that the peer began it, and wait for the end of its side", () =>
      Effect.gen(function*() {
        const { only, traced } = makeTracer()
        const { peer, stream } = yield* traced(Scripted.connect(role, { config: { closeTimeout: "5 seconds" } }))
        yield* peer.send(close(1001))
        yield* settled
        assert.strictEqual(only(`${owner}.close`).status._tag, "Started")
        yield* TestClock.adjust("5 seconds")
        yield* stream.closed
        assert.deepInclude(attributesOf(only(`${owner}.close`)), {
          "websocket.close.code": 1001,
          "websocket.close.initiator": "peer"
        })
        assert.strictEqual(secondsOf(only(`${owner}.close`)), 5)
      }))

    it.effect("fail where the transport is lost, at once", () =>
      Effect.gen(function*() {
        const { only, traced } = makeTracer()
        const { peer, stream } = yield* traced(Scripted.connect(role))
        yield* peer.destroy
        yield* stream.closed
        const span = only(`${owner}.close`)
        assert.deepInclude(attributesOf(span), {
          "websocket.close.code": 1006,
          "websocket.close.initiator": "transport"
        })
        assert.strictEqual(secondsOf(span), 0)
        assert.isTrue(Exit.isFailure(exitOf(span)!))
        assert.strictEqual(span.attributes.get("error.type"), "TransportFailed")
      }))
  })

  describe.each(roles)("of a %s's connection", (role) => {
    const name = role === "client" ? "WebSocketClient.connection" : "WebSocketServer.connection"

    it.effect("are open as long as it is", () =>
      Effect.gen(function*() {
        const { only, traced } = makeTracer()
        const { peer, stream } = yield* traced(Scripted.connect(role))
        assert.strictEqual(only(name).status._tag, "Started")
        yield* peer.send(close(1000))
        yield* settled
        yield* peer.end
        yield* stream.closed
        assert.isTrue(Exit.isSuccess(exitOf(only(name))!))
      }))

    it.effect("fail with a rule that the peer broke", () =>
      Effect.gen(function*() {
        const { only, traced } = makeTracer()
        const { peer, stream } = yield* traced(Scripted.connect(role))
        yield* peer.send(text(Uint8Array.of(0xff)))
        yield* settled
        yield* peer.end
        yield* stream.closed
        const error = Exit.findErrorOption(exitOf(only(name))!) as Option.Option<ReadError>
        assert.strictEqual(Option.getOrThrow(error).reason._tag, "InvalidUtf8")
        assert.strictEqual(only(name).attributes.get("error.type"), "InvalidUtf8")
        assert.strictEqual(only(name).attributes.get("websocket.close.clean"), false)
      }))
  })
})

describe("logs", () => {
  interface Line {
    readonly level: string
    readonly message: unknown
    readonly annotations: Readonly<Record<string, unknown>>
  }

  /** What is logged at any level while a peer does something to a server. */
  const logged = Effect.fnUntraced(function*(
    handler: Effect.Effect<unknown, ReadError, WebSocketStream>,
    peerDoes: (stream: WebSocketStream["Service"]) => Effect.Effect<unknown, unknown>,
    options: WebSocketServer.AcceptOptions = {}
  ) {
    const lines: Array<Line> = []
    const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
      const [first] = Array.isArray(message) ? message : [message]
      lines.push({
        level: logLevel,
        message: first,
        annotations: fiber.getRef(References.CurrentLogAnnotations)
      })
    })
    const server = WebSocketServer.serve(handler).pipe(Layer.provide(WebSocketServer.layer(options)))
    yield* Effect.gen(function*() {
      yield* Effect.exit(
        Effect.scoped(Effect.flatMap(WebSocketClient.connect({ url: "ws://h/chat?token=1" }), peerDoes))
      )
      yield* settled
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.provideMerge(server, Layer.merge(MemoryTransport.layer(), Logger.layer([logger])))),
      Effect.provideService(References.MinimumLogLevel, "All")
    )
    return lines
  })

  const reads = Effect.flatMap(WebSocketStream, (stream) => Effect.forever(stream.read))
  const about = { "websocket.role": "server", "network.peer.address": "memory", "url.path": "/chat" }

  it.effect("tell a peer's close at debug level, with role and path and without the query", () =>
    Effect.gen(function*() {
      const lines = yield* logged(reads, (stream) => stream.close({ code: 4001 }))
      assert.deepStrictEqual(lines, [
        { level: "Debug", message: "WebSocket connection failed", annotations: about }
      ])
    }))

  it.effect("tell a peer that goes with an error at debug level", () =>
    Effect.gen(function*() {
      const lines = yield* logged(reads, () => Effect.fail("leaves"))
      assert.deepStrictEqual(lines.map(({ level }) => level), ["Debug"])
    }))

  it.effect("tell a handler's own fault as an error, with what it is about", () =>
    Effect.gen(function*() {
      const lines = yield* logged(Effect.die("oh"), (stream) => stream.closed)
      assert.deepStrictEqual(lines, [{ level: "Error", message: "WebSocket handler failed", annotations: about }])
    }))

  it.effect("tell a handshake that fails at debug level", () =>
    Effect.gen(function*() {
      const accept = () => Effect.fail(new WebSocketServer.Refusal({ status: 403 }))
      const lines = yield* logged(reads, () => Effect.void, { accept })
      assert.deepStrictEqual(lines, [
        {
          level: "Debug",
          message: "WebSocket handshake failed",
          annotations: { "websocket.role": "server", "network.peer.address": "memory" }
        }
      ])
    }))

  it.effect("tell nothing of a connection that ends well", () =>
    Effect.gen(function*() {
      const closed = Effect.flatMap(WebSocketStream, (stream) => stream.closed)
      assert.deepStrictEqual(yield* logged(closed, (stream) => stream.close()), [])
    }))
})
