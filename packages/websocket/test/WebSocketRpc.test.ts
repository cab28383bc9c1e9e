import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { Transport } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as RpcClient from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as memory from "./fixtures/memory.ts"
import * as rpc from "./fixtures/rpc.ts"
import { settle } from "./fixtures/streams.ts"

const mebibyte = 1024 * 1024
const capacity = 256 * 1024
const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
const dial = WebSocketClient.connect({ url: "ws://localhost/" })

/** A server of the group in memory, and what dials it. */
const serving = (
  kind: rpc.Kind,
  serialization: Layer.Layer<RpcSerialization.RpcSerialization> = RpcSerialization.layerJson
) =>
  rpc.layerServer(kind).pipe(
    Layer.provideMerge(WebSocketServer.layer()),
    Layer.provideMerge(Layer.merge(MemoryTransport.layer({ capacity }), serialization))
  )

const request = (id: number, tag: string, payload: unknown = null, headers: unknown = []) =>
  JSON.stringify({ _tag: "Request", id: `${id}`, tag, payload, headers })

const ack = (id: number) => JSON.stringify({ _tag: "Ack", requestId: `${id}` })

for (const kind of ["ours", "Effect's"] as const) {
  describe(`${kind} RPC server and a peer of its own`, () => {
    it.effect("300 chunks of 1 MiB to a client that never reads: the producer is suspended, memory bounded, and both go", () =>
      Effect.gen(function*() {
        const server = yield* rpc.Server
        const scope = yield* Scope.make()
        const client = yield* Scope.provide(dial, scope)
        const before = yield* memory.aliveBytes
        yield* client.write(request(1, "Bulk"))
        // It says that it has read what it never reads.
        yield* client.writeAll(Array.from({ length: 300 }, () => ack(1)))
        yield* settle
        yield* settle
        assert.strictEqual(server.produced, 1)
        // One chunk as text and as bytes, what the transport and the two streams hold, and code that ran first now.
        assert.isAtMost((yield* memory.aliveBytes) - before, 8 * mebibyte)
        const leaving = yield* fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(leaving)
        assert.strictEqual(yield* Queue.take(server.events), "Bulk ended")
      }).pipe(Effect.provide(serving(kind))))

    it.effect("connections that go while calls run leave no handler and no client behind", () =>
      Effect.gen(function*() {
        const server = yield* rpc.Server
        const { connections } = yield* WebSocketServer.WebSocketServer
        for (let i = 0; i < 50; i++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const client = yield* dial
            yield* client.writeAll([request(1, "Hang"), request(2, "Hang")])
            for (let began = 0; began < 2; began++) assert.strictEqual(yield* Queue.take(server.events), "Hang began")
          }))
          for (let ended = 0; ended < 2; ended++) {
            assert.strictEqual(yield* Queue.take(server.events), "Hang interrupted")
          }
        }
        yield* settle
        assert.strictEqual(yield* connections, 0)
        assert.strictEqual((yield* (yield* RpcServer.Protocol).clientIds).size, 0)
      }).pipe(Effect.provide(serving(kind))))
  })
}

describe("our RPC server and a client that reads no answers", () => {
  const requests = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => request(from + index, "Double", { value: 1 }))

  it.effect(
    "100,000 requests: it is not read any more, memory is bounded, and each is answered once it reads",
    () =>
      Effect.gen(function*() {
        const count = 100_000
        const client = yield* dial
        const before = yield* memory.aliveBytes
        let written = 0
        const asking = yield* fork(Effect.whileLoop({
          while: () => written < count,
          body: () => client.writeAll(requests(written, 500)),
          step: () => {
            written += 500
          }
        }))
        for (let i = 0; i < 20; i++) yield* settle
        assert.isUndefined(asking.pollUnsafe())
        assert.isBelow(written, count / 5)
        assert.isAtMost((yield* memory.aliveBytes) - before, 12 * mebibyte)
        const answered = new Set<string>()
        while (answered.size < count) {
          for (const message of yield* client.pull) answered.add(JSON.parse(String(message)).requestId)
        }
        yield* Fiber.join(asking)
      }).pipe(Effect.provide(serving("ours"))),
    60_000
  )

  for (const [waiting, isRead] of [[255, true], [256, false]] as const) {
    it.effect(`what it asks where ${waiting} answers wait is ${isRead ? "" : "not "}read`, () =>
      Effect.gen(function*() {
        const { events } = yield* rpc.Server
        const client = yield* dial
        // The first fills the line, and the others wait behind it.
        yield* client.write(request(0, "Bulk"))
        yield* settle
        yield* client.writeAll(requests(1, waiting - 1))
        yield* settle
        yield* client.write(request(1000, "Hang"))
        yield* settle
        assert.deepStrictEqual(yield* Queue.clear(events), isRead ? ["Hang began"] : [])
        for (let answers = 0; answers < waiting; answers++) yield* client.read
        yield* settle
        assert.deepStrictEqual(yield* Queue.clear(events), isRead ? [] : ["Hang began"])
      }).pipe(Effect.provide(serving("ours"))))
  }
})

describe("our RPC server and a peer that breaks the protocol", () => {
  const broken: Readonly<Record<string, string | Uint8Array>> = {
    "no JSON": "}{",
    "null": "null",
    "a number": "7",
    "a request without an id": "{\"_tag\":\"Request\"}",
    "headers that are none": request(1, "Double", { value: 1 }, 5),
    "headers that are no pairs": request(1, "Double", { value: 1 }, [5]),
    "an unknown message": "{\"_tag\":\"Nonsense\"}",
    "a payload that does not fit": request(1, "Double", { value: "one" }),
    "bytes that are no text": Uint8Array.of(0xff, 0xfe)
  }
  for (const [name, message] of Object.entries(broken)) {
    it.effect(`${name} is answered, and the connection goes on`, () =>
      Effect.gen(function*() {
        const client = yield* dial
        yield* client.write(message)
        const answer = yield* client.read
        assert.match(String(answer), /Defect|Die|Exit/)
        yield* client.write(request(2, "Double", { value: 2 }))
        assert.deepInclude(JSON.parse(String(yield* client.read)), { _tag: "Exit", requestId: "2" })
      }).pipe(Effect.provide(serving("ours"))))
  }

  it.effect("a line that is too long for the serialization closes with 1009", () =>
    Effect.gen(function*() {
      const client = yield* dial
      yield* client.write("x".repeat(101))
      assert.deepInclude(yield* client.closed, { code: 1009, clean: true })
    }).pipe(Effect.provide(serving("ours", RpcSerialization.layerNdjsonWith({ maxBufferSize: 100 })))))

  it.effect("pings of the RPC protocol are answered while the client does not read, and once", () =>
    Effect.gen(function*() {
      const client = yield* dial
      yield* client.write(request(1, "Bulk"))
      yield* settle
      for (let i = 0; i < 50; i++) yield* client.write("{\"_tag\":\"Ping\"}")
      // Read behind the pings: the server is not stuck in their answers.
      yield* client.write(request(2, "Hang"))
      const server = yield* rpc.Server
      assert.strictEqual(yield* Queue.take(server.events), "Hang began")
      assert.include(String(yield* client.read), "Chunk")
      assert.strictEqual(yield* client.read, "{\"_tag\":\"Pong\"}")
      yield* client.write(request(3, "Double", { value: 3 }))
      assert.deepInclude(JSON.parse(String(yield* client.read)), { requestId: "3" })
    }).pipe(Effect.provide(serving("ours"))))
})

const protocolOf = (kind: rpc.Kind, connect: Effect.Effect<WebSocketStream["Service"], HandshakeError, Scope.Scope>) =>
  kind === "ours"
    ? WebSocketRpcClient.layerProtocolWebSocket(connect, { retryPolicy: Schedule.recurs(3) })
    : RpcClient.layerProtocolSocket().pipe(Layer.provide(WebSocketSocket.layerConnect(connect)))

/** A client of a server that is the test's own, whose streams it is given. */
const calling = Effect.fnUntraced(function*(config: WebSocketConfig.Options = {}, kind: rpc.Kind = "ours") {
  const streams = yield* Queue.unbounded<WebSocketStream["Service"]>()
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Queue.offer(streams, stream)
    yield* stream.closed
  })
  const network = yield* Layer.build(
    WebSocketServer.serve(handler).pipe(
      Layer.provide(WebSocketServer.layer({ config: { keepAlive: "off" } })),
      Layer.provideMerge(MemoryTransport.layer({ capacity }))
    )
  )
  const connect = Effect.provideService(dial, Transport, Context.get(network, Transport))
  const client = protocolOf(kind, connect).pipe(
    Layer.provide([RpcSerialization.layerJson, WebSocketConfig.layer(config)])
  )
  return { streams, client: yield* rpc.make.pipe(Effect.provideContext(yield* Layer.build(client))) }
})

const reasonOf = <A>(exit: Exit.Exit<A, unknown>) => {
  assert.isTrue(Exit.isFailure(exit) && !Exit.hasDies(exit), "fails, and does not die")
  return (Cause.squash((exit as Exit.Failure<A, unknown>).cause) as RpcClientError).reason
}

for (const kind of ["ours", "Effect's"] as const) {
  describe(`${kind} RPC client and a peer of its own`, () => {
    it.effect("interrupting a request that is half sent leaves the connection usable", () =>
      Effect.gen(function*() {
        const { client, streams } = yield* calling({}, kind)
        const stream = yield* Queue.take(streams)
        const call = yield* fork(client.Upload({ text: rpc.bulk }))
        yield* settle
        yield* fork(Fiber.interrupt(call))
        yield* settle
        yield* fork(client.Double({ value: 1 }))
        const tags: Array<string> = []
        while (tags.length < 3) tags.push(JSON.parse(String(yield* stream.read))._tag)
        assert.deepStrictEqual(tags.toSorted(), ["Interrupt", "Request", "Request"])
      }))
  })
}

describe("our RPC client and a peer of its own", () => {
  it.effect("an interruption is told to the server however long the connection is busy with something else", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling()
      const stream = yield* Queue.take(streams)
      const call = yield* fork(client.Hang())
      yield* settle
      yield* fork(client.Upload({ text: rpc.bulk }))
      yield* settle
      const interrupting = yield* fork(Fiber.interrupt(call))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(interrupting)
      const tags: Array<string> = []
      yield* fork(
        Effect.forever(Effect.map(stream.read, (message) => tags.push(JSON.parse(String(message))._tag)))
      )
      yield* settle
      yield* settle
      assert.deepStrictEqual(tags, ["Request", "Request", "Interrupt"])
    }))

  it.effect("an interruption and an acknowledgement are sent however much is queued, where a request is refused", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling({ maxQueuedBytes: 1000 })
      const stream = yield* Queue.take(streams)
      const call = yield* fork(client.Hang())
      const counting = yield* fork(Stream.runHead(Stream.drop(client.Count({ to: 2 }), 1)))
      const { id } = JSON.parse(String(yield* Effect.andThen(stream.read, stream.read)))
      yield* fork(client.Upload({ text: rpc.bulk }))
      yield* settle
      assert.strictEqual(reasonOf(yield* Effect.exit(client.Double({ value: 1 })))._tag, "SocketWriteError")
      yield* fork(Fiber.interrupt(call))
      const chunk = (value: number) => JSON.stringify({ _tag: "Chunk", requestId: id, values: [value] })
      yield* stream.write(chunk(1))
      yield* settle
      const tags: Array<string> = []
      for (let count = 0; count < 3; count++) tags.push(JSON.parse(String(yield* stream.read))._tag)
      assert.deepStrictEqual(tags, ["Request", "Interrupt", "Ack"])
      yield* stream.write(chunk(2))
      assert.deepStrictEqual(yield* Fiber.join(counting), Option.some(2))
    }))

  it.effect("300 x 1 MiB to a server that never reads: the caller is suspended and memory bounded", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling()
      yield* Queue.take(streams)
      const before = yield* memory.aliveBytes
      let uploaded = 0
      const uploading = yield* fork(
        Effect.repeat(Effect.andThen(client.Upload({ text: rpc.bulk }), Effect.sync(() => uploaded++)), { times: 299 })
      )
      yield* settle
      yield* settle
      assert.strictEqual(uploaded, 0)
      assert.isAtMost((yield* memory.aliveBytes) - before, 8 * mebibyte)
      yield* fork(Fiber.interrupt(uploading))
      yield* TestClock.adjust("1 second")
      assert.isDefined(uploading.pollUnsafe())
      yield* TestClock.adjust("30 seconds")
    }))

  it.effect("an interruption never overtakes the request that it interrupts", () =>
    Effect.gen(function*() {
      // The request is more than one frame, its interruption is one.
      const { client, streams } = yield* calling({ fragmentSize: 150 })
      const stream = yield* Queue.take(streams)
      const call = yield* fork(Stream.runDrain(client.Count({ to: 3 }, { headers: { padding: "x".repeat(100) } })))
      yield* fork(Fiber.interrupt(call))
      const tags: Array<string> = []
      yield* fork(
        Effect.forever(Effect.map(stream.read, (message) => tags.push(JSON.parse(String(message))._tag)))
      )
      yield* settle
      assert.deepStrictEqual(tags, ["Request", "Interrupt"])
    }))

  it.effect("a request that is cut off by a close fails with its code and reason", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling()
      const stream = yield* Queue.take(streams)
      const call = yield* fork(client.Upload({ text: rpc.bulk }))
      yield* settle
      yield* stream.close({ code: 4005, reason: "not now" })
      assert.deepInclude(reasonOf(yield* Fiber.await(call)), {
        _tag: "SocketCloseError",
        code: 4005,
        closeReason: "not now"
      })
    }))

  it.effect("a request that cannot be sent fails with the WriteError as its cause, and does not die", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling({ maxQueuedBytes: 1000 })
      const stream = yield* Queue.take(streams)
      yield* fork(client.Upload({ text: rpc.bulk }))
      yield* settle
      const reason = reasonOf(yield* Effect.exit(client.Double({ value: 1 })))
      assert.strictEqual(reason._tag, "SocketWriteError")
      assert.deepInclude((reason as any).cause.reason, { _tag: "QueueFull", limit: 1000 })
      yield* stream.read
    }))

  it.effect("sends no messages of its own to stay alive, but pings every 5 seconds", () =>
    Effect.gen(function*() {
      const { streams } = yield* calling()
      const stream = yield* Queue.take(streams)
      const pings = yield* fork(Stream.runCollect(Stream.take(stream.controlFrames, 3)))
      const reading = yield* fork(stream.read)
      yield* settle
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual((yield* Fiber.join(pings)).map(({ _tag }) => _tag), ["Ping", "Ping", "Ping"])
      assert.isUndefined(reading.pollUnsafe())
    }))

  it.effect("the environment says otherwise about keep-alive where it does", () =>
    Effect.gen(function*() {
      const { streams } = yield* calling({ keepAlive: "off" })
      const stream = yield* Queue.take(streams)
      const pings = yield* fork(Stream.runHead(stream.controlFrames))
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(pings.pollUnsafe())
    }))

  it.effect("requests fail with what kept it from connecting, refusals with their status", () =>
    Effect.gen(function*() {
      const refusing = WebSocketServer.serve(Effect.never).pipe(
        Layer.provide(WebSocketServer.layer({
          accept: () => Effect.fail(new WebSocketServer.Refusal({ status: 403 }))
        })),
        Layer.provideMerge(MemoryTransport.layer())
      )
      const protocol = WebSocketRpcClient.layerProtocolWebSocket(dial, { retryPolicy: Schedule.recurs(1) }).pipe(
        Layer.provide([RpcSerialization.layerJson, refusing])
      )
      const client = yield* Effect.provideContext(rpc.make, yield* Layer.build(protocol))
      const reason = reasonOf(yield* Effect.exit(client.Double({ value: 1 })))
      assert.strictEqual(reason._tag, "SocketOpenError")
      assert.deepInclude((reason as any).cause.reason, { _tag: "UpgradeDeclined", status: 403 })
    }))

  it.effect("keeps requests waiting while connecting fails, where it is asked to", () =>
    Effect.gen(function*() {
      let attempts = 0
      const told: Array<string> = []
      const context = yield* Layer.build(serving("ours"))
      const failing = Effect.suspend(() => ++attempts < 4 ? Effect.fail("not yet") : Effect.void)
      const connect = Effect.andThen(failing, Effect.provideContext(dial, context))
      const protocol = WebSocketRpcClient.layerProtocolWebSocket(connect, {
        retryPolicy: Schedule.forever,
        retryTransientErrors: true,
        onTransientError: ({ reason }) => Effect.sync(() => told.push(reason._tag))
      }).pipe(Layer.provide(RpcSerialization.layerJson))
      const client = yield* Effect.provideContext(rpc.make, yield* Layer.build(protocol))
      assert.strictEqual(yield* client.Double({ value: 4 }), 8)
      assert.deepStrictEqual(told, ["SocketOpenError", "SocketOpenError", "SocketOpenError"])
    }))

  for (const [open, retries] of [[29_999, 3], [30_000, 4]] as const) {
    it.effect(`a policy of 3 retries allows ${retries} where each connection was open for ${open} ms`, () =>
      Effect.gen(function*() {
        const { streams } = yield* calling({ keepAlive: "off" })
        for (let retry = 0; retry < 4; retry++) {
          const stream = yield* Queue.take(streams)
          yield* settle
          yield* TestClock.adjust(open)
          yield* stream.close({ code: 4000 })
          yield* settle
        }
        assert.strictEqual(yield* Queue.size(streams), retries - 3)
      }))
  }

  const connectsAfter = Effect.fnUntraced(function*(streams: Queue.Queue<WebSocketStream["Service"]>, millis: number) {
    yield* settle
    yield* TestClock.adjust(millis - 1)
    yield* settle
    assert.strictEqual(yield* Queue.size(streams), 0, "too soon")
    yield* TestClock.adjust(1)
    return yield* Queue.take(streams)
  })

  it.effect("connects again no sooner than the server asks as it goes away, within 5 minutes", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling({ keepAlive: "off" })
      const first = yield* Queue.take(streams)
      yield* first.close({ code: 1012, reason: "retry-after=20000" })
      const second = yield* connectsAfter(streams, 20_000)
      yield* second.close({ code: 1001, reason: "retry-after=300001" })
      const third = yield* connectsAfter(streams, 300_000)
      const call = yield* fork(client.Double({ value: 1 }))
      assert.include(String(yield* third.read), "Double")
      yield* Fiber.interrupt(call)
    }))

  it.effect("connects again no sooner than the server asks by Retry-After, within maxRetryHint", () =>
    Effect.gen(function*() {
      const attempts: Array<number> = []
      const refusing = WebSocketServer.serve(Effect.never).pipe(
        Layer.provide(WebSocketServer.layer({
          accept: () => Effect.fail(new WebSocketServer.Refusal({ status: 503, headers: [["Retry-After", "7"]] }))
        })),
        Layer.provideMerge(MemoryTransport.layer())
      )
      const network = yield* Layer.build(refusing)
      const connect = Effect.andThen(
        Effect.map(Clock.currentTimeMillis, (now) => attempts.push(now)),
        Effect.provideContext(dial, network)
      )
      const connecting = (options: WebSocketRpcClient.Options) =>
        WebSocketRpcClient.layerProtocolWebSocket(connect, options).pipe(
          Layer.provide(RpcSerialization.layerJson),
          Layer.build,
          Effect.andThen(settle),
          Effect.andThen(TestClock.adjust("20 seconds")),
          Effect.scoped
        )
      yield* connecting({})
      assert.deepStrictEqual(attempts.splice(0), [0, 7000, 14_000])
      yield* connecting({ maxRetryHint: "9500 millis", retryPolicy: Schedule.spaced("9 seconds") })
      assert.deepStrictEqual(attempts.splice(0), [20_000, 29_000, 38_000])
      yield* connecting({ maxRetryHint: "6 seconds" })
      assert.deepStrictEqual(attempts, [40_000, 46_000, 52_000, 58_000])
    }))

  it.effect("what is no RPC message fails the calls in progress, and the connection goes on", () =>
    Effect.gen(function*() {
      const { client, streams } = yield* calling()
      const stream = yield* Queue.take(streams)
      for (const garbage of ["}{", "null", "[null]"]) {
        const call = yield* fork(client.Hang())
        yield* stream.read
        yield* stream.write(garbage)
        assert.strictEqual(reasonOf(yield* Fiber.await(call))._tag, "RpcClientDefect")
      }
    }))
})
