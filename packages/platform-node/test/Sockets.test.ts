import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketHttp from "@effect-websocket/platform-node/NodeWebSocketHttp"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Socket from "effect/socket/Socket"
import { SocketServer } from "effect/socket/SocketServer"
import * as Http from "node:http"
import * as memory from "../../websocket/test/fixtures/memory.ts"
import * as rpc from "../../websocket/test/fixtures/rpc.ts"

const mebibyte = 1024 * 1024
const urlOf = ({ address }: { readonly address: NetAddress.SocketAddress }) =>
  `ws://127.0.0.1:${(address as NetAddress.InetAddress).port}/`

/** Runs `handler` for the connections of a server over TCP, and tells where it is. */
const serving = Effect.fnUntraced(function*<A, E>(handler: (socket: Socket.Socket) => Effect.Effect<A, E>) {
  const context = yield* Layer.build(NodeWebSocketServer.layerSocketServer({ port: 0 }))
  const server = Context.get(context, SocketServer)
  yield* Effect.forkScoped(server.run(handler))
  return urlOf(server)
})

const echo = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  const writer = yield* socket.writer
  while (true) yield* writer.writeAll(yield* pull)
}, Effect.scoped)

const turn = Effect.callback<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/** Turns of the event loop until `value` has not changed for 200 of them; `step` runs in each. */
const stable = Effect.fnUntraced(function*(value: () => number, step: Effect.Effect<unknown, unknown> = Effect.void) {
  let last = value()
  for (let unchanged = 0; unchanged < 200; unchanged++) {
    yield* step
    yield* turn
    if (value() !== last) unchanged = 0
    last = value()
  }
  return last
})

describe("Effect's sockets over TCP", () => {
  const sockets: Readonly<Record<string, (url: string) => Layer.Layer<Socket.Socket>>> = {
    "a Socket that dials": (url) => NodeWebSocketClient.layerSocket({ url }),
    "a Socket of Effect's over our WebSocketConstructor": (url) =>
      Socket.layerWebSocket(url).pipe(Layer.provide(NodeWebSocketClient.layerWebSocketConstructor()))
  }
  for (const [name, layer] of Object.entries(sockets)) {
    it.live(`${name} talks to a SocketServer, and reconnects`, () =>
      Effect.gen(function*() {
        const url = yield* serving(echo)
        const socket = Context.get(yield* Layer.build(layer(url)), Socket.Socket)
        const writer = yield* socket.writer
        const big = new Uint8Array(3_000_000).fill(7)
        for (const code of [4001, 4002]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const { pull } = yield* socket.reader
            yield* Effect.forkChild(writer.writeAll(["text", big]))
            const received: Array<string | Uint8Array> = []
            while (received.length < 2) received.push(...(yield* pull))
            assert.strictEqual(received[0], "text")
            assert.isTrue(Buffer.from(received[1] as Uint8Array).equals(big))
            yield* writer.write(new Socket.CloseEvent(code))
            assert.deepInclude((yield* Effect.flip(pull)).reason, { _tag: "SocketCloseError", code })
          }))
        }
      }))
  }

  it.live("nobody listening is a SocketOpenError", () =>
    Effect.gen(function*() {
      const url = yield* Effect.scoped(serving(echo))
      const socket = Context.get(yield* Layer.build(NodeWebSocketClient.layerSocket({ url })), Socket.Socket)
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(reason, { _tag: "SocketOpenError", kind: "Unknown" })
    }))
})

describe("back-pressure over TCP, to a client that never reads", () => {
  it.live("300 x 1 MiB through a Socket: the writer is suspended and memory bounded", () =>
    Effect.gen(function*() {
      let written = 0
      const ended = yield* Deferred.make<void>()
      const message = new Uint8Array(mebibyte)
      const url = yield* serving(Effect.fnUntraced(
        function*(socket) {
          yield* socket.reader
          const writer = yield* socket.writer
          for (; written < 300; written++) yield* writer.write(message)
        },
        Effect.scoped,
        Effect.ensuring(Deferred.succeed(ended, undefined))
      ))
      const before = yield* memory.aliveBytes
      const client = yield* NodeWebSocketClient.connect({ url, config: { closeTimeout: 100 } })
      const count = yield* stable(() => written)
      assert.isAtMost(count, 30, "what the kernel holds")
      assert.isAtMost((yield* memory.aliveBytes) - before, 8 * mebibyte)
      yield* client.close()
      yield* Deferred.await(ended)
      assert.isBelow(written, 300)
    }))

  const overServer = Effect.fnUntraced(function*(kind: rpc.Kind) {
    const context = yield* Layer.build(
      Layer.provideMerge(rpc.layerServer(kind), NodeWebSocketServer.layer({ port: 0 }))
    )
    return { server: Context.get(context, rpc.Server), url: urlOf(Context.get(context, WebSocketServer)) }
  })

  const onRoute = Effect.gen(function*() {
    const rpcs = rpc.layerServerOver(RpcServer.layerProtocolWebsocket({ path: "/" }))
    const context = yield* Layer.build(
      HttpRouter.serve(rpcs, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeWebSocketHttp.layerServer(() => Http.createServer(), { port: 0, host: "127.0.0.1" }))
      )
    )
    return { server: Context.get(context, rpc.Server), url: urlOf(Context.get(context, HttpServer.HttpServer)) }
  })

  const producers = {
    "our RPC server": overServer("ours"),
    "Effect's RPC server": overServer("Effect's"),
    "Effect's RPC server behind an HttpRouter": onRoute
  }
  for (const [name, producer] of Object.entries(producers)) {
    it.live(`1000 x 1 MiB as a stream of ${name}: the producer is suspended and memory bounded`, () =>
      Effect.gen(function*() {
        const { server, url } = yield* producer
        const before = yield* memory.aliveBytes
        const client = yield* NodeWebSocketClient.connect({ url, config: { closeTimeout: 100 } })
        yield* client.write(JSON.stringify({ _tag: "Request", id: "1", tag: "Bulk", payload: null, headers: [] }))
        // It says that it has read what it never reads.
        const count = yield* stable(
          () => server.produced,
          client.write(JSON.stringify({ _tag: "Ack", requestId: "1" }))
        )
        assert.isAtLeast(count, 1)
        assert.isAtMost(count, 30, "what the kernel holds")
        assert.isAtMost((yield* memory.aliveBytes) - before, 8 * mebibyte)
      }).pipe(Effect.provide(RpcSerialization.layerJson)))
  }
})
