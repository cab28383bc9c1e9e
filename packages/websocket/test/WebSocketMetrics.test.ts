import { assert, describe, it } from "@effect/vitest"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Compressed from "./fixtures/compressed.ts"
import * as Scripted from "./fixtures/scripted.ts"
import * as Streams from "./fixtures/streams.ts"

const { binary, close, continuation, ping, pong, roles, settled, text } = Scripted

/** With a registry of its own, so that counts begin at 0. */
const apart = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

/** Every series that is not 0, as `name{attributes}`, without the role where it is `role`'s alone. */
const counted = Effect.fnUntraced(function*(role: Scripted.Role) {
  const series: Array<readonly [string, number]> = []
  for (const { attributes, id, state } of yield* Metric.snapshot) {
    const { role: own, time_unit: _, ...others } = attributes ?? {}
    const value = "value" in state ? state.value : "count" in state ? state.count : undefined
    if (own !== role || Number(value) === 0) continue
    series.push([[id.replace("websocket_", ""), ...Object.values(others)].join(" "), Number(value)])
  }
  return Object.fromEntries(series)
})

const opened = { connections_open: 1, connections_opened: 1 }

describe.each(roles)("what a %s counts", (role) => {
  it.effect("a connection that is open, and nothing else", () =>
    apart(Effect.gen(function*() {
      yield* Scripted.connect(role)
      assert.deepStrictEqual(yield* counted(role), opened)
      assert.deepStrictEqual(yield* counted(role === "client" ? "server" : "client"), {})
    })))

  it.effect("messages, bytes and frames that arrive, by type and opcode, without headers and masks", () =>
    apart(Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* peer.send(text("grüße"), binary(new Uint8Array(300)), text(""))
      yield* peer.send(binary(new Uint8Array(10), false), ping("x"), continuation("12345", false), continuation(""))
      yield* peer.send(pong("nobody asked"))
      yield* stream.pull
      yield* settled
      assert.deepStrictEqual(yield* counted(role), {
        ...opened,
        "messages_received text": 2,
        "messages_received binary": 2,
        "bytes_received text": 7,
        "bytes_received binary": 315,
        "frames_received text": 2,
        "frames_received binary": 2,
        "frames_received continuation": 2,
        "frames_received ping": 1,
        "frames_received pong": 1,
        "frames_sent pong": 1
      })
    })))

  it.effect("a frame and a message once, however they are cut", () =>
    apart(Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      const bytes = Scripted.encode(role === "client" ? "server" : "client", text("héllo"))
      for (const byte of bytes) yield* peer.send(Uint8Array.of(byte))
      yield* stream.read
      assert.deepStrictEqual(yield* counted(role), {
        ...opened,
        "messages_received text": 1,
        "bytes_received text": 6,
        "frames_received text": 1
      })
    })))

  it.effect("messages, bytes and frames that are sent, fragments and parts among them", () =>
    apart(Effect.gen(function*() {
      const { stream } = yield* Scripted.connect(role, { config: { fragmentSize: 100 } })
      yield* stream.write("grüße")
      yield* stream.writeAll([new Uint8Array(250), new Uint8Array(0)])
      yield* stream.writeSome(false, "abc")
      yield* stream.writeSome(true, "de")
      yield* stream.pong()
      yield* Effect.forkChild(stream.ping())
      yield* settled
      assert.deepStrictEqual(yield* counted(role), {
        ...opened,
        "messages_sent text": 2,
        "messages_sent binary": 2,
        "bytes_sent text": 12,
        "bytes_sent binary": 250,
        "frames_sent text": 2,
        "frames_sent binary": 2,
        "frames_sent continuation": 3,
        "frames_sent ping": 1,
        "frames_sent pong": 1
      })
    })))

  it.effect("a message once that finds the transport full and goes out later, what waits and how long", () =>
    apart(Effect.gen(function*() {
      const { of } = yield* Streams.connected({ transport: { capacity: 300 }, config: { readBuffer: 1 } })
      // One is held, one more was on its way when there was no room for it, and one fills the transport.
      for (const size of [10, 250, 250]) yield* Effect.andThen(of(role).write(new Uint8Array(size)), settled)
      const waiting = yield* Effect.forkChild(Effect.all([
        of(role).write(new Uint8Array(60)),
        of(role).write(new Uint8Array(70))
      ], { concurrency: 2 }))
      yield* settled
      assert.strictEqual((yield* counted(role))["queued_bytes"], 130)
      yield* TestClock.adjust(40)
      for (let i = 0; i < 5; i++) yield* of(Streams.otherRole(role)).read
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* counted(role), {
        ...opened,
        "messages_sent binary": 5,
        "bytes_sent binary": 640,
        "frames_sent binary": 5,
        write_wait: 2
      })
      const wait = yield* Metric.value(Metric.withAttributes(WebSocketMetrics.writeWait, { role }))
      assert.strictEqual(wait.sum, 80)
    })))

  it.effect("the code of each Close frame when it is over", () =>
    apart(Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* peer.send(close(4001, "bye"))
      yield* settled
      yield* peer.end
      yield* stream.closed
      assert.deepStrictEqual(yield* counted(role), {
        connections_opened: 1,
        connections_closed: 1,
        "closes_received 4001": 1,
        "closes_sent 4001": 1,
        "frames_received close": 1,
        "frames_sent close": 1
      })
    })))

  it.effect("1005 for Close frames without a code, 1006 for none", () =>
    apart(Effect.gen(function*() {
      const empty = yield* Scripted.connect(role)
      yield* empty.peer.send(close())
      yield* settled
      yield* empty.peer.end
      yield* empty.stream.closed
      const none = yield* Scripted.connect(role)
      yield* none.peer.destroy
      yield* none.stream.closed
      const seen = yield* counted(role)
      assert.deepInclude(seen, { "closes_received 1005": 1, "closes_sent 1005": 1, "closes_received 1006": 1 })
      assert.deepInclude(seen, { connections_opened: 2, connections_closed: 2 })
      assert.notProperty(seen, "closes_sent 1006")
    })))

  it.effect("the rule that a peer breaks", () =>
    apart(Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role, { config: { maxMessageSize: 10 } })
      yield* peer.send(binary(new Uint8Array(11)))
      yield* Effect.ignore(stream.read)
      yield* settled
      assert.deepInclude(yield* counted(role), {
        "violations MessageTooBig": 1,
        "frames_received binary": 1,
        "frames_sent close": 1
      })
      assert.notProperty(yield* counted(role), "messages_received binary")
    })))

  it.effect("bytes before and after compression, both ways", () =>
    apart(Effect.gen(function*() {
      const { of } = yield* Compressed.connected({ config: { fragmentSize: 16 } })
      const other = Streams.otherRole(role)
      const message = "all work and no play ".repeat(20)
      yield* of(role).write(message)
      yield* of(role).writeSome(false, message)
      yield* of(role).writeSome(true, "")
      yield* of(role).write(message, { compress: false })
      for (let i = 0; i < 3; i++) yield* of(other).read
      const ours = yield* counted(role)
      const theirs = yield* counted(other)
      assert.strictEqual(ours["deflate_bytes_in"], 2 * message.length)
      assert.isBelow(ours["deflate_bytes_out"]!, message.length / 2)
      assert.strictEqual(ours["bytes_sent text"], 3 * message.length)
      assert.strictEqual(ours["messages_sent text"], 3)
      assert.strictEqual(theirs["inflate_bytes_in"], ours["deflate_bytes_out"])
      assert.strictEqual(theirs["inflate_bytes_out"], 2 * message.length)
      assert.strictEqual(theirs["bytes_received text"], 3 * message.length)
      assert.strictEqual(theirs["frames_received continuation"], ours["frames_sent continuation"])
      assert.notProperty(ours, "inflate_bytes_in")
    })))

  it.effect("bytes of a prepared message before and after compression, once for each connection", () =>
    apart(Effect.gen(function*() {
      const { of } = yield* Compressed.connected({ config: { fragmentSize: 16 } })
      const other = Streams.otherRole(role)
      const message = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(10)
      const prepared = yield* Effect.provide(PreparedMessage.makeCompressed(message), PortableDeflate.layer)
      yield* of(role).write(prepared)
      yield* of(other).read
      const ours = yield* counted(role)
      const theirs = yield* counted(other)
      assert.strictEqual(ours["deflate_bytes_in"], message.length)
      assert.strictEqual(ours["bytes_sent text"], message.length)
      assert.strictEqual(ours["messages_sent text"], 1)
      assert.strictEqual(theirs["inflate_bytes_in"], ours["deflate_bytes_out"])
      assert.strictEqual(theirs["inflate_bytes_out"], message.length)
    })))

  it.effect("round trips of the keep-alive", () =>
    apart(Effect.gen(function*() {
      const { peer } = yield* Scripted.connect(role, { config: { keepAlive: { interval: 1000, misses: 2 } } })
      yield* TestClock.adjust(1000)
      const sent = yield* peer.next
      yield* TestClock.adjust(250)
      yield* peer.send(pong(sent.slice("ping ".length)))
      yield* settled
      assert.strictEqual((yield* counted(role))["ping_round_trip"], 1)
    })))
})

describe("handshakes that fail", () => {
  const echo = Effect.flatMap(WebSocketStream, ({ closed }) => closed)

  const declined = (options: WebSocketServer.AcceptOptions, request: WebSocketClient.ConnectOptions) =>
    apart(
      Effect.gen(function*() {
        yield* Effect.exit(Effect.scoped(WebSocketClient.connect(request)))
        return { client: yield* counted("client"), server: yield* counted("server") }
      }).pipe(
        Effect.provide(
          Layer.provideMerge(
            WebSocketServer.serve(echo).pipe(Layer.provide(WebSocketServer.layer(options))),
            MemoryTransport.layer()
          )
        )
      )
    )

  it.effect("are counted by reason and status, at both ends", () =>
    Effect.gen(function*() {
      const accept = () => Effect.fail(new WebSocketServer.Refusal({ status: 401 }))
      assert.deepStrictEqual(yield* declined({ accept }, { url: "ws://h/" }), {
        client: { "handshakes_failed UpgradeDeclined 401": 1 },
        server: { "handshakes_failed Refused 401": 1 }
      })
    }))

  it.effect("of a request that breaks a rule are counted with it", () =>
    Effect.gen(function*() {
      const { server } = yield* declined({}, { url: "ws://h/", origin: "https://elsewhere.example" })
      assert.deepStrictEqual(server, { "handshakes_failed InvalidRequest 403": 1 })
    }))

  it.effect("by a defect are counted as one", () =>
    Effect.gen(function*() {
      const { server } = yield* declined({ accept: () => Effect.die("oh") }, { url: "ws://h/" })
      assert.deepStrictEqual(server, { "handshakes_failed Defect": 1 })
    }))

  it.effect("before anything is sent have no status", () =>
    Effect.gen(function*() {
      const { client, server } = yield* declined({}, { url: "ws://user:secret@h/" })
      assert.deepStrictEqual({ client, server }, { client: { "handshakes_failed InvalidRequest 400": 1 }, server: {} })
    }))

  it.effect("by an interruption are not counted", () =>
    apart(Effect.gen(function*() {
      const [own] = yield* MemoryTransport.makePair()
      const connecting = yield* WebSocketClient.connect({ url: "ws://h/" }).pipe(
        Effect.provideService(Transport.Transport, own),
        Effect.forkChild
      )
      yield* settled
      yield* Fiber.interrupt(connecting)
      assert.deepStrictEqual(yield* counted("client"), {})
    })))
})

it.effect("attempts to connect again are counted, and the first is not", () =>
  apart(
    Effect.gen(function*() {
      const { client } = yield* MemoryTransport.makeServer()
      const feed = yield* ReconnectingWebSocket.make({
        connect: Effect.provideService(WebSocketClient.connect({ url: "ws://h/" }), Transport.Transport, client),
        schedule: Schedule.recurs(2),
        while: () => true
      })
      const ended = yield* Effect.forkChild(Effect.exit(feed.current))
      yield* TestClock.adjust("2 minutes")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(ended)))
      assert.strictEqual((yield* counted("client"))["reconnects"], 2)
    })
  ))

describe("series", () => {
  const connectOnce = Effect.scoped(Effect.gen(function*() {
    const { client, server } = yield* Streams.connected()
    yield* client.write("x")
    yield* server.read
    yield* client.close()
    yield* server.closed
  }))

  it.effect(
    "do not become more with 1000 connections, whatever object their attributes come in",
    () =>
      apart(Effect.gen(function*() {
        const registry = yield* Metric.MetricRegistry
        const once = Effect.suspend(() =>
          Effect.provideService(connectOnce, Metric.CurrentMetricAttributes, { tenant: "a", zone: "b" })
        )
        yield* once
        const { size } = registry
        yield* Effect.replicateEffect(once, 999, { discard: true })
        assert.strictEqual(registry.size, size)
        const all = yield* counted("server")
        assert.strictEqual(all["messages_received a b text"], 1000)
        const open = WebSocketMetrics.connectionsOpen.pipe(
          Metric.withAttributes({ role: "server", tenant: "a", zone: "b" })
        )
        assert.strictEqual((yield* Metric.value(open)).value, 0)
      }))
  )

  it.effect("are apart for other attributes, and for other registries", () =>
    apart(Effect.gen(function*() {
      const of = (tenant: string) => Effect.provideService(connectOnce, Metric.CurrentMetricAttributes, { tenant })
      yield* of("a")
      yield* of("b")
      yield* of("b")
      yield* apart(of("a"))
      const opened = (tenant: string) =>
        WebSocketMetrics.connectionsOpened.pipe(Metric.withAttributes({ role: "client", tenant }), Metric.value)
      assert.strictEqual((yield* opened("a")).count, 1)
      assert.strictEqual((yield* opened("b")).count, 2)
    })))
})

describe("gauges are at 0 again", () => {
  const config = {
    closeTimeout: 500,
    handshakeTimeout: 2000,
    idleTimeout: 3000,
    keepAlive: "off",
    fragmentSize: 8
  } as const

  /** A client that writes more than there is room for, against a server that echoes. */
  const session = Effect.fnUntraced(function*(wrap: FaultTransport.Faults["wrap"], side: Scripted.Role) {
    const [clientEnd, serverEnd] = yield* MemoryTransport.makePair({ capacity: 64 })
    const over = (role: Scripted.Role, own: Transport.Connection) =>
      Effect.provideService(Transport.Transport, role === side ? wrap(own) : own)
    const server = WebSocketServer.accept({ config }).pipe(
      Effect.flatMap((stream) => Effect.forever(Effect.flatMap(stream.read, (message) => stream.write(message)))),
      Effect.scoped,
      over("server", serverEnd)
    )
    const client = WebSocketClient.connect({ url: "ws://h/", config }).pipe(
      Effect.flatMap((stream) =>
        Effect.all([
          stream.write(new Uint8Array(200)),
          stream.write("another"),
          stream.writeSome(true, "and a part"),
          Effect.replicateEffect(stream.read, 3)
        ], { concurrency: "unbounded", discard: true })
      ),
      Effect.scoped,
      over("client", clientEnd)
    )
    const ends = yield* Effect.forkChild(Effect.all([Effect.exit(server), Effect.exit(client)], { concurrency: 2 }))
    for (let i = 0; i < 16 && ends.pollUnsafe() === undefined; i++) yield* TestClock.adjust(500)
    const [, exit] = yield* Fiber.join(ends)
    yield* exit
  })

  it.effect.each(roles)("after a fault at every operation of the %s", (side) =>
    Effect.gen(function*() {
      const runs = yield* FaultTransport.everywhere((faults) =>
        apart(Effect.gen(function*() {
          const exit = yield* Effect.exit(session(faults.wrap, side))
          for (const role of roles) {
            const seen = yield* counted(role)
            assert.notProperty(seen, "connections_open")
            assert.notProperty(seen, "queued_bytes")
            assert.strictEqual(seen["connections_closed"], seen["connections_opened"])
          }
          yield* exit
        }))
      )
      assert.isAtLeast(runs, 10)
    }))

  it.effect("where the scope of a connection is closed already", () =>
    apart(Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const peer = yield* Scripted.open("server", other)
      const scope = yield* Scope.make()
      const connecting = yield* WebSocketClient.connect({ url: "ws://h/" }).pipe(
        Effect.provideService(Transport.Transport, own),
        Scope.provide(scope),
        Effect.forkChild
      )
      const { head } = yield* Scripted.takeHead(peer)
      yield* Scope.close(scope, Exit.void)
      yield* peer.send(Scripted.bytes(Scripted.responseHead(head)))
      yield* settled
      yield* TestClock.adjust("1 minute")
      yield* Fiber.await(connecting)
      assert.notProperty(yield* counted("client"), "connections_open")
    })))
})
