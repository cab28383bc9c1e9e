import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import type { TransportDialer } from "effect-websocket/Transport"
import * as WebSocketConstructor from "effect-websocket/WebSocketConstructor"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import { assertBytes, pattern, settle } from "./fixtures/streams.ts"

const url = "ws://localhost/chat"
const types = ["open", "message", "error", "close"] as const
const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** A server that gives its streams to the test. */
const network = Effect.fnUntraced(function*(
  options: WebSocketServer.AcceptOptions = {},
  transport: MemoryTransport.Options = {}
) {
  const streams = yield* Queue.unbounded<WebSocketStream["Service"]>()
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Queue.offer(streams, stream)
    yield* stream.closed
  })
  const context = yield* Layer.build(
    WebSocketServer.serve(handler).pipe(
      Layer.provide(WebSocketServer.layer(options)),
      Layer.provideMerge(MemoryTransport.layer(transport))
    )
  )
  const provide = <A, E>(effect: Effect.Effect<A, E, TransportDialer | Scope.Scope>) =>
    Effect.provide(effect, Layer.succeedContext(context))
  return { streams, provide }
})

type Event = Socket.WebSocketEvent & { readonly error?: unknown; readonly wasClean?: boolean }

const eventsOf = Effect.fnUntraced(function*(socket: WebSocketConstructor.WebSocket) {
  const events = yield* Queue.unbounded<Event>()
  for (const type of types) socket.addEventListener(type, (event) => Queue.offerUnsafe(events, event))
  return events
})

/** A socket, its events, and the server's end once it is open. */
const opened = Effect.fnUntraced(function*(
  options: WebSocketServer.AcceptOptions = {},
  own: WebSocketConstructor.Options = {},
  transport: MemoryTransport.Options = {}
) {
  const { provide, streams } = yield* network(options, transport)
  const construct = yield* provide(WebSocketConstructor.make(own))
  const socket = construct(url, { protocols: ["a", "b"], headers: { "X-Token": "secret" } })
  const events = yield* eventsOf(socket)
  const peer = yield* Queue.take(streams)
  assert.deepStrictEqual(yield* Queue.take(events), { type: "open" })
  return { socket, events, peer, construct }
})

describe("events", () => {
  it.effect("open, messages and close come in order, with their data, code and reason", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened()
      assert.strictEqual(socket.readyState, 1)
      yield* peer.writeAll(["text", Uint8Array.of(1, 2)])
      yield* peer.close({ code: 4001, reason: "bye" })
      assert.deepStrictEqual(yield* Queue.take(events), { type: "message", data: "text" })
      assert.deepStrictEqual(yield* Queue.take(events), { type: "message", data: Uint8Array.of(1, 2) })
      assert.deepStrictEqual(yield* Queue.take(events), { type: "close", code: 4001, reason: "bye", wasClean: true })
      assert.strictEqual(socket.readyState, 3)
    }))

  it.effect("the subprotocol and the headers go into the handshake, those of the layer too", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* opened({ subprotocols: ["b"] }, { headers: { "X-Layer": "yes" } })
      assert.strictEqual(socket.protocol, "b")
      assert.strictEqual(socket.extensions, "")
      assert.strictEqual(socket.url, url)
      const { headers, target } = peer.handshake.request
      assert.strictEqual(target, "/chat")
      assert.deepInclude(headers, ["X-Token", "secret"])
      assert.deepInclude(headers, ["X-Layer", "yes"])
    }))

  it.effect("a refusal is an error with its status, and a close with 1006", () =>
    Effect.gen(function*() {
      const { provide } = yield* network({
        accept: () => Effect.fail(new WebSocketServer.Refusal({ status: 401 }))
      })
      const socket = (yield* provide(WebSocketConstructor.make()))(url, "a")
      const events = yield* eventsOf(socket)
      assert.strictEqual(socket.readyState, 0)
      assert.throws(() => socket.send("early"))
      const { error, type } = yield* Queue.take(events)
      assert.strictEqual(type, "error")
      assert.deepInclude((error as HandshakeError).reason, { _tag: "UpgradeDeclined", status: 401 })
      assert.deepStrictEqual(yield* Queue.take(events), { type: "close", code: 1006, reason: "", wasClean: false })
    }))

  it.effect("a violation is an error with its rule before the close", () =>
    Effect.gen(function*() {
      const { events, peer } = yield* opened({}, { config: { maxMessageSize: 10 } })
      yield* fork(peer.write("longer than ten"))
      const { error, type } = yield* Queue.take(events)
      assert.deepStrictEqual([type, (error as any).reason._tag], ["error", "MessageTooBig"])
      assert.strictEqual((yield* Queue.take(events)).type, "close")
    }))

  it.effect("a listener is added once, may be for one event, and may be removed", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened()
      const seen: Array<string> = []
      const listener = (name: string) => () => {
        seen.push(name)
      }
      const twice = listener("twice")
      const removed = listener("removed")
      socket.addEventListener("message", twice)
      socket.addEventListener("message", twice)
      socket.addEventListener("message", listener("once"), { once: true })
      socket.addEventListener("message", () => socket.removeEventListener("message", removed))
      socket.addEventListener("message", removed)
      yield* peer.writeAll(["1", "2"])
      yield* Queue.takeN(events, 2)
      assert.deepStrictEqual(seen, ["twice", "once", "twice"])
    }))

  it.effect("a listener that throws keeps the event from no other, and ends nothing", () =>
    Effect.gen(function*() {
      const { provide, streams } = yield* network()
      const socket = (yield* provide(WebSocketConstructor.make()))(url)
      socket.addEventListener("message", () => {
        throw new Error("on purpose")
      })
      const events = yield* eventsOf(socket)
      const peer = yield* Queue.take(streams)
      yield* peer.writeAll(["1", "2"])
      const all = yield* Queue.takeN(events, 3)
      assert.deepStrictEqual(all.map(({ data }) => data), [undefined, "1", "2"])
    }))
})

describe("sending", () => {
  it.effect("strings and bytes arrive as sent, whatever becomes of the array", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* opened()
      const bytes = Uint8Array.of(1, 2, 3)
      socket.send("first")
      socket.send(bytes)
      bytes.fill(0)
      socket.send("lone \ud800 surrogate")
      assert.strictEqual(yield* peer.read, "first")
      assert.deepStrictEqual(yield* peer.read, Uint8Array.of(1, 2, 3))
      assert.strictEqual(yield* peer.read, "lone \ufffd surrogate")
      yield* settle
      assert.strictEqual(socket.bufferedAmount, 0)
    }))

  it.effect("bufferedAmount is what no transport has accepted, and the limit holds at n and n + 1", () =>
    Effect.gen(function*() {
      const config = { maxQueuedBytes: 1_000_000 }
      const { peer, socket } = yield* opened({ config: { readBuffer: 1000 } }, { config }, { capacity: 1000 })
      for (let i = 0; i < 9; i++) socket.send(pattern(100_000) as Uint8Array<ArrayBuffer>)
      yield* settle
      assert.strictEqual(socket.bufferedAmount, 900_000)
      assert.throws(() => socket.send(pattern(100_001) as Uint8Array<ArrayBuffer>), /1000000/)
      socket.send(pattern(100_000) as Uint8Array<ArrayBuffer>)
      assert.strictEqual(socket.bufferedAmount, 1_000_000)
      for (let i = 0; i < 10; i++) assertBytes((yield* peer.read) as Uint8Array, pattern(100_000))
      yield* settle
      assert.strictEqual(socket.bufferedAmount, 0)
    }))

  it.effect("after the end it does nothing but count", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened()
      yield* peer.close()
      yield* Queue.take(events)
      socket.send("late")
      assert.strictEqual(socket.bufferedAmount, 4)
    }))
})

describe("closing", () => {
  it.effect("what was sent before goes out before the Close frame", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened({}, {}, { capacity: 1000 })
      socket.send(pattern(100_000) as Uint8Array<ArrayBuffer>)
      socket.send("last")
      socket.close(4002, "done")
      socket.close(4003)
      assert.strictEqual(socket.readyState, 2)
      assert.strictEqual(((yield* peer.read) as Uint8Array).length, 100_000)
      assert.strictEqual(yield* peer.read, "last")
      assert.deepInclude(yield* peer.closed, { code: 4002, reason: "done", clean: true })
      assert.deepInclude(yield* Queue.take(events), { type: "close", code: 4002, wasClean: true })
    }))

  it.effect("does not wait for ever for a peer that does not read", () =>
    Effect.gen(function*() {
      const { events, socket } = yield* opened({ config: { readBuffer: 1000 } }, {}, { capacity: 1000 })
      for (let i = 0; i < 10; i++) socket.send(pattern(100_000) as Uint8Array<ArrayBuffer>)
      yield* settle
      socket.close(1000)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Queue.take(events)).type, "close")
    }))

  it.effect("a code that may not travel throws and closes nothing", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* opened()
      assert.throws(() => socket.close(1006))
      assert.throws(() => socket.close(1000, "x".repeat(124)))
      socket.close()
      assert.deepInclude(yield* peer.closed, { code: 1005, clean: true })
    }))

  it.effect("before it is open it opens no more, and closes with 1006", () =>
    Effect.gen(function*() {
      const { provide } = yield* network({ accept: () => Effect.never })
      const socket = (yield* provide(WebSocketConstructor.make()))(url)
      const events = yield* eventsOf(socket)
      yield* settle
      socket.close()
      assert.deepInclude(yield* Queue.take(events), { type: "close", code: 1006, wasClean: false })
    }))

  it.effect("the scope of the constructor closes what is open with 1001", () =>
    Effect.gen(function*() {
      const { provide, streams } = yield* network()
      const scope = yield* Scope.make()
      const construct = yield* provide(Effect.provideService(WebSocketConstructor.make(), Scope.Scope, scope))
      construct(url)
      const peer = yield* Queue.take(streams)
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* peer.closed, { code: 1001, clean: true })
    }))
})

describe("pausing", () => {
  it.effect("no message comes while it is paused, not even one that a read waited for; the close waits too", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened()
      yield* settle
      socket.pause()
      assert.isTrue(socket.isPaused)
      yield* peer.writeAll(["1", "2"])
      yield* fork(peer.close())
      yield* settle
      assert.strictEqual(yield* Queue.size(events), 0)
      socket.resume()
      assert.isFalse(socket.isPaused)
      assert.deepStrictEqual((yield* Queue.takeN(events, 3)).map(({ type }) => type), ["message", "message", "close"])
    }))

  it.effect("a listener that pauses is given no message more", () =>
    Effect.gen(function*() {
      const { events, peer, socket } = yield* opened()
      socket.addEventListener("message", () => socket.pause())
      yield* peer.writeAll(["1", "2", "3"])
      yield* settle
      for (const data of ["1", "2", "3"]) {
        assert.deepInclude(yield* Queue.take(events), { data })
        yield* settle
        assert.strictEqual(yield* Queue.size(events), 0)
        socket.resume()
      }
    }))
})

describe("under Effect's Socket.makeWebSocket", () => {
  const dialling = Effect.fnUntraced(function*(options?: WebSocketServer.AcceptOptions) {
    const { provide, streams } = yield* network(options, { capacity: 10_000 })
    const context = yield* provide(Layer.build(WebSocketConstructor.layer()))
    const socket = yield* Effect.provideContext(Socket.makeWebSocket(url, { protocols: ["a"] }), context)
    return { socket, streams }
  })

  it.effect("messages and closes go both ways", () =>
    Effect.gen(function*() {
      const { socket, streams } = yield* dialling({ subprotocols: ["a"] })
      const { pull } = yield* socket.reader
      const writer = yield* socket.writer
      const peer = yield* Queue.take(streams)
      assert.strictEqual(peer.handshake.subprotocol, "a")
      yield* writer.writeAll(["one", Uint8Array.of(2)])
      assert.deepStrictEqual([yield* peer.read, yield* peer.read], ["one", Uint8Array.of(2)])
      yield* peer.write("back")
      assert.deepStrictEqual(yield* pull, ["back"])
      yield* writer.write(new Socket.CloseEvent(4004, "bye"))
      assert.deepInclude((yield* Effect.flip(pull)).reason, { _tag: "SocketCloseError", code: 4004 })
    }))

  it.effect("nobody who pulls stops the peer", () =>
    Effect.gen(function*() {
      const { socket, streams } = yield* dialling()
      const { pull } = yield* socket.reader
      const peer = yield* Queue.take(streams)
      const sending = yield* fork(Effect.repeat(peer.write(pattern(60_000)), { times: 49 }))
      yield* settle
      yield* settle
      assert.isUndefined(sending.pollUnsafe())
      let count = 0
      while (count < 50) count += (yield* pull).length
      yield* Fiber.join(sending)
    }))

  it.effect("a refusal can be read from the cause of the SocketOpenError", () =>
    Effect.gen(function*() {
      const { socket } = yield* dialling({ accept: () => Effect.fail(new WebSocketServer.Refusal({ status: 403 })) })
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.strictEqual(reason._tag, "SocketOpenError")
      assert.deepInclude((reason as any).cause.error.reason, { _tag: "UpgradeDeclined", status: 403 })
    }))
})
