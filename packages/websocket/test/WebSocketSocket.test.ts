import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as VirtualTime from "effect-websocket/testing/VirtualTime"
import * as Transport from "effect-websocket/Transport"
import type { ConnectOptions } from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as memory from "./fixtures/memory.ts"
import {
  assertBytes,
  binary,
  concat,
  type Options,
  pattern,
  roles,
  scripted,
  settle,
  text,
  type Wire
} from "./fixtures/streams.ts"

const mebibyte = 1024 * 1024
const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** What a pull or a write fails with, in short. */
const failure = <A>(effect: Effect.Effect<A, Socket.SocketError>) =>
  Effect.map(Effect.flip(effect), ({ reason }): ReadonlyArray<unknown> => {
    if (reason._tag === "SocketCloseError") return [reason._tag, reason.code, reason.closeReason]
    const { cause } = reason as { readonly cause?: any }
    return [reason._tag, cause?._tag, cause?.reason?._tag]
  })

const close = (code: number, reason: string = ""): Wire => ({
  opcode: 8,
  fin: true,
  payload: concat(Uint8Array.of(code >>> 8, code), new TextEncoder().encode(reason))
})

const socketOf = Effect.fnUntraced(function*(stream: WebSocketStream["Service"]) {
  const socket = WebSocketSocket.fromStream(stream)
  // Left open: a peer that is the test's would have to answer when it closes.
  const scope = yield* Scope.make()
  const { pull, upgrade } = yield* Scope.provide(socket.reader, scope)
  return { socket, pull, upgrade, writer: yield* socket.writer, scope }
})

for (const role of roles) {
  const open = Effect.fnUntraced(function*(options?: Options) {
    const opened = yield* scripted(role, options)
    return { ...opened, ...(yield* socketOf(opened.stream)) }
  })

  describe(`a stream as a Socket, as ${role}`, () => {
    describe("elements are messages", () => {
      it.effect("a text message is a string and a binary one is bytes, empty ones too", () =>
        Effect.gen(function*() {
          const { peer, pull } = yield* open()
          yield* peer.send(text("a", false), { opcode: 0, fin: true, payload: Uint8Array.of(98) }, text(""))
          yield* peer.send(binary(Uint8Array.of(1, 2)), binary(new Uint8Array(0)))
          const received: Array<unknown> = []
          while (received.length < 4) received.push(...(yield* pull))
          assert.deepStrictEqual(received, ["ab", "", Uint8Array.of(1, 2), new Uint8Array(0)])
        }))

      it.effect("all messages that are there come in one batch", () =>
        Effect.gen(function*() {
          const { peer, pull } = yield* open()
          yield* peer.send(text("a"), text("b"), text("c"))
          yield* settle
          assert.deepStrictEqual(yield* pull, ["a", "b", "c"])
        }))

      it.effect("a written string is a text message and bytes are a binary one", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open()
          yield* writer.write("héllo")
          yield* writer.write(Uint8Array.of(1))
          assert.deepStrictEqual(yield* peer.expect(2), [text("héllo"), binary(Uint8Array.of(1))])
        }))

      it.effect("writeAll hands its messages over together", () =>
        Effect.gen(function*() {
          const { peer, watched, writer } = yield* open()
          yield* writer.writeAll(["a", Uint8Array.of(1), "b"])
          assert.strictEqual(watched.writes.length, 1)
          assert.deepStrictEqual(yield* peer.expect(3), [text("a"), binary(Uint8Array.of(1)), text("b")])
        }))

      it.effect("cannot be upgraded to TLS", () =>
        Effect.gen(function*() {
          const { upgrade } = yield* open()
          assert.deepStrictEqual(yield* failure(upgrade()), ["SocketUpgradeError", undefined, undefined])
        }))
    })

    describe("the end", () => {
      const ends: ReadonlyArray<readonly [string, Wire, ReadonlyArray<unknown>]> = [
        ["a normal close", close(1000), ["SocketCloseError", 1000, undefined]],
        ["an application's code and reason", close(4001, "enough"), ["SocketCloseError", 4001, "enough"]],
        ["an empty Close frame", { opcode: 8, fin: true, payload: new Uint8Array(0) }, [
          "SocketCloseError",
          1005,
          undefined
        ]],
        ["a violation", { opcode: 3, fin: true, payload: new Uint8Array(0) }, [
          "SocketReadError",
          "ReadError",
          "ProtocolViolation"
        ]]
      ]
      for (const [name, frame, expected] of ends) {
        it.effect(`${name} is told after the messages before it, to every pull`, () =>
          Effect.gen(function*() {
            const { peer, pull } = yield* open()
            yield* peer.send(text("last"), frame)
            yield* settle
            assert.deepStrictEqual(yield* pull, ["last"])
            assert.deepStrictEqual(yield* failure(pull), expected)
            assert.deepStrictEqual(yield* failure(pull), expected)
          }))
      }

      it.effect("a transport that ends without a Close frame is a close with 1006", () =>
        Effect.gen(function*() {
          const { peer, pull } = yield* open()
          yield* peer.send(text("last"))
          yield* peer.end
          assert.deepStrictEqual(yield* pull, ["last"])
          assert.deepStrictEqual(yield* failure(pull), ["SocketCloseError", 1006, undefined])
        }))

      it.effect("a reset is a read failure whose cause says so", () =>
        Effect.gen(function*() {
          const { peer, pull, stream, writer } = yield* open()
          yield* peer.reset
          assert.deepStrictEqual(yield* failure(pull), ["SocketReadError", "ReadError", "TransportFailed"])
          yield* stream.closed
          assert.deepStrictEqual(yield* failure(writer.write("late")), [
            "SocketWriteError",
            "WriteError",
            "TransportFailed"
          ])
        }))

      it.effect("a write after the end fails with the close", () =>
        Effect.gen(function*() {
          const { peer, pull, writer } = yield* open()
          yield* peer.send(close(4002, "no more"))
          yield* Effect.flip(pull)
          const expected = ["SocketCloseError", 4002, "no more"]
          assert.deepStrictEqual(yield* failure(writer.write("late")), expected)
          assert.deepStrictEqual(yield* failure(writer.writeAll(["late"])), expected)
        }))
    })

    describe("closing", () => {
      it.effect("a CloseEvent is a Close frame with its code and reason, and waits for no answer", () =>
        Effect.gen(function*() {
          const { peer, pull, writer } = yield* open()
          yield* writer.write(new Socket.CloseEvent(4003, "bye"))
          assert.deepStrictEqual(yield* peer.expect(1), [close(4003, "bye")])
          yield* peer.send(text("still on its way"), close(4003))
          assert.deepStrictEqual(yield* pull, ["still on its way"])
          assert.deepStrictEqual(yield* failure(pull), ["SocketCloseError", 4003, undefined])
        }))

      it.effect("a CloseEvent that may not be sent fails and closes nothing", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open()
          const error = yield* failure(writer.write(new Socket.CloseEvent(1006)))
          assert.deepStrictEqual(error, ["SocketWriteError", "WriteError", "InvalidPayload"])
          yield* writer.write("still open")
          assert.deepStrictEqual(yield* peer.expect(1), [text("still open")])
        }))

      const exits: ReadonlyArray<readonly [string, Exit.Exit<void, string>, number]> = [
        ["success", Exit.void, 1000],
        ["failure", Exit.fail("no"), 1011],
        ["interruption", Exit.interrupt(), 1001]
      ]
      for (const [name, exit, code] of exits) {
        it.effect(`closing the reader's scope by ${name} sends ${code}, and a parked pull fails at once`, () =>
          Effect.gen(function*() {
            const { peer, pull, scope } = yield* open()
            const pulling = yield* fork(failure(pull))
            yield* settle
            const closing = yield* fork(Scope.close(scope, exit))
            // The peer has not answered.
            assert.deepStrictEqual(yield* Fiber.join(pulling), ["SocketCloseError", 1006, undefined])
            assert.deepStrictEqual(yield* failure(pull), ["SocketCloseError", 1006, undefined])
            assert.deepStrictEqual(yield* peer.expect(1), [close(code)])
            assert.isUndefined(closing.pollUnsafe())
            yield* peer.send(close(code))
            yield* TestClock.adjust("5 seconds")
            yield* Fiber.join(closing)
          }))
      }

      it.effect("a reader acquired after the end is given that end", () =>
        Effect.gen(function*() {
          const { peer, pull, socket } = yield* open()
          yield* peer.send(close(4004))
          yield* Effect.flip(pull)
          const again = yield* Scope.provide(socket.reader, yield* Scope.make())
          assert.deepStrictEqual(yield* failure(again.pull), ["SocketCloseError", 4004, undefined])
        }))
    })

    describe("back-pressure", () => {
      it.effect("300 x 1 MiB to a peer that never reads: the writer is suspended and memory bounded", () =>
        Effect.gen(function*() {
          const capacity = 256 * 1024
          const { watched, writer } = yield* open({ transport: { capacity } })
          const payload = pattern(mebibyte)
          const before = yield* memory.aliveBytes
          const writing = yield* fork(Effect.repeat(writer.write(payload), { times: 299 }))
          yield* settle
          assert.isUndefined(writing.pollUnsafe())
          const handed = watched.writes.reduce((sum, bytes) => sum + bytes.length, 0)
          assert.isAtMost(handed, capacity + 64 * 1024 + 14)
          assert.isAtMost((yield* memory.aliveBytes) - before, 2 * handed + 2 * mebibyte)
          yield* Fiber.interrupt(writing)
        }))

      it.effect("writes in several frames wait up to maxQueuedBytes, and one byte beyond it one is refused", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open({
            config: { fragmentSize: 100, maxQueuedBytes: 1000 },
            transport: { capacity: 100 }
          })
          const sizes = [400, 400, 200]
          const writing = yield* Effect.forEach(sizes, (size) => fork(writer.write(pattern(size))))
          const refused = ["SocketWriteError", "WriteError", "QueueFull"]
          assert.deepStrictEqual(yield* failure(writer.write(pattern(101))), refused)
          assert.deepStrictEqual(yield* failure(writer.writeAll(["a", pattern(101)])), refused)
          yield* peer.expect(4)
          // What is interrupted counts no more, where it has not begun.
          yield* Fiber.interrupt(writing[2]!)
          const last = yield* fork(writer.write(pattern(600)))
          assert.deepStrictEqual(yield* failure(writer.write(pattern(101))), refused)
          yield* peer.expect(4 + 6)
          yield* Fiber.joinAll([writing[0]!, writing[1]!, last])
          const long = yield* fork(writer.write(pattern(1100)))
          yield* peer.expect(11)
          yield* Fiber.join(long)
        }))

      it.effect("nobody who pulls stops the peer", () =>
        Effect.gen(function*() {
          const { peer, pull } = yield* open({ config: { readBuffer: 10_000 }, transport: { capacity: 4000 } })
          const sending = yield* fork(Effect.repeat(peer.send(binary(pattern(5000))), { times: 19 }))
          yield* settle
          assert.isUndefined(sending.pollUnsafe())
          let count = 0
          while (count < 20) count += (yield* pull).length
          yield* Fiber.join(sending)
        }))
    })

    describe("interruption", () => {
      const big = pattern(mebibyte)
      const transport = { capacity: 100_000 }

      const whole = (message: Uint8Array, frames: ReadonlyArray<Wire>) =>
        assertBytes(concat(...frames.map((frame) => frame.payload)), message)

      it.effect("a write interrupted between its frames goes out whole, and the next follows it", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open({ transport })
          const writing = yield* fork(writer.write(big))
          yield* settle
          yield* Fiber.interrupt(writing)
          const next = yield* fork(writer.write("next"))
          whole(big, yield* peer.expect(16))
          assert.deepStrictEqual(yield* peer.expect(1), [text("next")])
          yield* Fiber.join(next)
        }))

      it.effect("a batch interrupted between its messages goes out whole", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open({ transport })
          const writing = yield* fork(writer.writeAll([big, "and"]))
          yield* settle
          yield* Fiber.interrupt(writing)
          whole(big, yield* peer.expect(16))
          assert.deepStrictEqual(yield* peer.expect(1), [text("and")])
        }))

      it.effect("a write interrupted before its turn leaves nothing, however many there are", () =>
        Effect.gen(function*() {
          const { peer, writer } = yield* open({ transport })
          const first = yield* fork(writer.write(big))
          yield* settle
          const waiting = yield* Effect.forEach(Array.from({ length: 50 }), () => fork(writer.write(big)))
          const small = yield* fork(writer.write("small"))
          yield* settle
          yield* Fiber.interruptAll([first, ...waiting, small])
          const next = yield* fork(writer.write("next"))
          whole(big, yield* peer.expect(16))
          assert.deepStrictEqual(yield* peer.expect(1), [text("next")])
          yield* Fiber.join(next)
        }))

      it.effect("a write interrupted at any step leaves the next one its turn", () => {
        const interrupt = Effect.gen(function*() {
          const { peer, writer } = yield* open({ config: { fragmentSize: 10 } })
          const writing = yield* fork(writer.write(pattern(30)))
          yield* Fiber.interrupt(writing)
          yield* writer.write("as long as three frames")
          while (!(yield* peer.expect(1))[0]!.fin);
        })
        // The seed decides after how many operations fibers yield, and who is next.
        return Effect.forEach(
          Array.from({ length: 3000 }, (_, seed) => seed),
          (seed) => VirtualTime.run(Effect.scoped(interrupt), { seed, interleave: "everywhere", promises: false }),
          { discard: true }
        )
      }, 60_000)

      it.effect("a write interrupted just as it begins goes out whole or not at all", () => {
        const message = pattern(300)
        // The Socket's own steps come one by one, those of the stream below at once: a fiber that
        // looks whether a write has begun finds that it begins before the fiber's next step.
        // The Socket's writer asks nothing else of the stream.
        const step = 3
        const atOnce = (stream: WebSocketStream["Service"]): WebSocketStream["Service"] => ({
          ...stream,
          write: (payload) => Effect.provideService(stream.write(payload), Scheduler.MaxOpsBeforeYield, 1000)
        })
        const interrupt = Effect.fnUntraced(function*(steps: number) {
          const { peer, stream } = yield* scripted(role, { config: { fragmentSize: 10 }, transport: { capacity: 40 } })
          const writer = yield* WebSocketSocket.fromStream(atOnce(stream)).writer
          const writing = yield* fork(Effect.provideService(writer.write(message), Scheduler.MaxOpsBeforeYield, step))
          yield* Effect.repeat(Effect.yieldNow, { times: steps })
          const next = yield* fork(Effect.andThen(Fiber.interrupt(writing), writer.write("next")))
          const [first] = yield* peer.expect(1)
          const goesOut = first!.opcode !== 1
          if (goesOut) {
            whole(message, [first!, ...(yield* peer.expect(29))])
            assert.deepStrictEqual(yield* peer.expect(1), [text("next")])
          }
          yield* Fiber.join(next)
          return goesOut
        })
        const run = (seed: number) =>
          VirtualTime.run(Effect.scoped(interrupt(seed % 4)), { seed, interleave: true, promises: false })
        return Effect.gen(function*() {
          const goOut = yield* Effect.forEach(Array.from({ length: 400 }, (_, seed) => seed), run)
          assert.deepStrictEqual([...new Set(goOut)].toSorted(), [false, true])
        })
      }, 60_000)

      it.effect("a pull that is interrupted loses nothing", () =>
        Effect.gen(function*() {
          const { peer, pull } = yield* open()
          for (let i = 0; i < 20; i++) {
            const pulling = yield* fork(pull)
            yield* fork(peer.send(text(`${i}`)))
            yield* Effect.repeat(Effect.yieldNow, { times: i })
            yield* Fiber.interrupt(pulling)
            const exit = pulling.pollUnsafe()!
            assert.deepStrictEqual(Exit.isSuccess(exit) ? exit.value : yield* pull, [`${i}`])
          }
        }))
    })
  })
}

/** A server that gives its streams to the test, and the network it is on. */
const network = Effect.fnUntraced(function*(options: WebSocketServer.AcceptOptions = {}) {
  const streams = yield* Queue.unbounded<WebSocketStream["Service"]>()
  const handler = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    yield* Queue.offer(streams, stream)
    yield* stream.closed
  })
  const server = WebSocketServer.serve(handler).pipe(Layer.provide(WebSocketServer.layer(options)))
  const context = yield* Layer.build(Layer.provideMerge(server, MemoryTransport.layer()))
  return { streams, transport: Context.get(context, Transport.Transport) }
})

const dialling = Effect.fnUntraced(function*(
  { transport }: { readonly transport: Transport.Connection },
  options: ConnectOptions | Effect.Effect<ConnectOptions, string> = { url: "ws://localhost/" }
) {
  const layer = WebSocketSocket.layer(options).pipe(Layer.provide(Layer.succeed(Transport.Transport, transport)))
  return Context.get(yield* Layer.build(layer), Socket.Socket)
})

describe("a Socket that dials", () => {
  it.effect("opens a connection for each reader, with options of its own", () =>
    Effect.gen(function*() {
      const net = yield* network()
      let attempt = 0
      const options = Effect.sync(() => ({ url: `ws://localhost/${++attempt}` }))
      const socket = yield* dialling(net, options)
      assert.strictEqual(attempt, 0)
      for (const target of ["/1", "/2"]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          const stream = yield* Queue.take(net.streams)
          assert.strictEqual(stream.handshake.request.target, target)
          yield* stream.write("hi")
          assert.deepStrictEqual(yield* pull, ["hi"])
        }))
      }
    }))

  it.effect("writes wait for a connection, the writer survives reconnects, and the latest is written to", () =>
    Effect.gen(function*() {
      const net = yield* network()
      const socket = yield* dialling(net)
      const writer = yield* socket.writer
      for (const message of ["first", "second"]) {
        const writing = yield* fork(Effect.andThen(writer.write(message), writer.writeAll(["and", "more"])))
        yield* settle
        assert.isUndefined(writing.pollUnsafe())
        yield* Effect.scoped(Effect.gen(function*() {
          yield* socket.reader
          yield* Fiber.join(writing)
          const stream = yield* Queue.take(net.streams)
          const received: Array<unknown> = []
          while (received.length < 3) received.push(...(yield* stream.pull))
          assert.deepStrictEqual(received, [message, "and", "more"])
        }))
      }
    }))

  it.effect("a write that waits and is interrupted is written to no connection", () =>
    Effect.gen(function*() {
      const net = yield* network()
      const socket = yield* dialling(net)
      const writer = yield* socket.writer
      const writing = yield* fork(writer.write("never"))
      yield* settle
      yield* Fiber.interrupt(writing)
      yield* socket.reader
      yield* writer.write("only")
      const stream = yield* Queue.take(net.streams)
      assert.strictEqual(yield* stream.read, "only")
    }))

  it.effect("reading again after a close is a plain retry", () =>
    Effect.gen(function*() {
      const net = yield* network()
      const socket = yield* dialling(net)
      const received: Array<unknown> = []
      const reading = yield* Effect.gen(function*() {
        const { pull } = yield* socket.reader
        while (true) received.push(...(yield* pull))
      }).pipe(Effect.scoped, Effect.retry({ times: 2 }), Effect.flip, Effect.forkChild)
      for (const code of [4001, 4002, 4003]) {
        const stream = yield* Queue.take(net.streams)
        yield* stream.write(`${code}`)
        yield* stream.close({ code })
      }
      const { reason } = yield* Fiber.join(reading)
      assert.deepInclude(reason, { _tag: "SocketCloseError", code: 4003 })
      assert.deepStrictEqual(received, ["4001", "4002", "4003"])
    }))

  it.effect("a refusal is a SocketOpenError whose cause has the status, and the next attempt may succeed", () =>
    Effect.gen(function*() {
      let refuse = true
      const net = yield* network({
        accept: () => refuse ? Effect.fail(new WebSocketServer.Refusal({ status: 401 })) : Effect.succeed({})
      })
      const socket = yield* dialling(net)
      const error = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(error.reason, { _tag: "SocketOpenError", kind: "Unknown" })
      assert.deepInclude((error.reason as any).cause.reason, { _tag: "UpgradeDeclined", status: 401 })
      refuse = false
      yield* Effect.scoped(socket.reader)
    }))

  it.effect("what options fail with is the cause of a SocketOpenError", () =>
    Effect.gen(function*() {
      const socket = yield* dialling(yield* network(), Effect.fail("no token"))
      const error = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(error.reason, { _tag: "SocketOpenError", kind: "Unknown", cause: "no token" })
    }))

  it.effect("a handshake that takes too long is a timeout", () =>
    Effect.gen(function*() {
      const net = yield* network({ accept: () => Effect.never })
      const socket = yield* dialling(net, { url: "ws://localhost/", config: { handshakeTimeout: "3 seconds" } })
      const opening = yield* fork(Effect.flip(Effect.scoped(socket.reader)))
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(opening.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude((yield* Fiber.join(opening)).reason, { _tag: "SocketOpenError", kind: "Timeout" })
    }))

  it.effect("a dial that is interrupted leaves nothing behind, and the next one opens", () =>
    Effect.gen(function*() {
      const entered = yield* Deferred.make<void>()
      let wait = true
      const net = yield* network({
        accept: () => wait ? Effect.andThen(Deferred.succeed(entered, undefined), Effect.never) : Effect.succeed({})
      })
      const socket = yield* dialling(net)
      const opening = yield* fork(Effect.scoped(socket.reader))
      yield* Deferred.await(entered)
      yield* Fiber.interrupt(opening)
      wait = false
      yield* Effect.scoped(socket.reader)
    }))

  it.effect("runs as a channel", () =>
    Effect.gen(function*() {
      const net = yield* network()
      const socket = yield* dialling(net)
      yield* Effect.forkChild(Effect.gen(function*() {
        const stream = yield* Queue.take(net.streams)
        while (true) yield* stream.writeAll(yield* stream.pull)
      }))
      const received = yield* Stream.concat(Stream.make("a", "b"), Stream.never).pipe(
        Stream.pipeThroughChannelOrFail(Socket.toChannelString(socket)),
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(received, ["a", "b"])
    }))
})

describe("a Socket of a layer", () => {
  it.effect("closes a connection with its reader's scope, while the layer's stays open", () =>
    Effect.gen(function*() {
      const ended = yield* Deferred.make<number>()
      const handler = Effect.gen(function*() {
        const { closed } = yield* WebSocketStream
        yield* Deferred.succeed(ended, (yield* closed).code)
      })
      const server = WebSocketServer.serve(handler).pipe(Layer.provide(WebSocketServer.layer()))
      const layer = Layer.merge(server, WebSocketSocket.layer({ url: "ws://localhost/" }))
      const context = yield* Layer.build(Layer.provide(layer, MemoryTransport.layer()))
      const scope = yield* Scope.make()
      yield* Scope.provide(Context.get(context, Socket.Socket).reader, scope)
      yield* Scope.close(scope, Exit.fail("on purpose"))
      assert.strictEqual(yield* Deferred.await(ended), 1011)
    }))
})
