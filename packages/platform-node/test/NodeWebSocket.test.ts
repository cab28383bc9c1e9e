import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import * as Path from "node:path"
import * as certificates from "./fixtures/certificates.ts"

const identity = await certificates.selfSigned("DNS:localhost")

/** A server at a place of its own, and how to reach it. */
interface Place {
  readonly name: string
  readonly listen: () => NodeWebSocketServer.Options
  readonly reach: (server: WebSocketServer.WebSocketServer["Service"], target: string) => NodeWebSocketClient.Options
}

const portOf = (server: WebSocketServer.WebSocketServer["Service"]): number => {
  assert.isTrue(NetAddress.isInetAddress(server.address))
  return (server.address as NetAddress.InetAddress).port
}

let sockets = 0
// The server removes it when its scope closes.
const socketPath = () => Path.join(Os.tmpdir(), `effect-websocket-${process.pid}-${++sockets}.sock`)

const places: ReadonlyArray<Place> = [
  {
    name: "TCP",
    listen: () => ({ port: 0 }),
    reach: (server, target) => ({ url: `ws://127.0.0.1:${portOf(server)}${target}` })
  },
  {
    name: "TLS",
    listen: () => ({ port: 0, tls: identity }),
    reach: (server, target) => ({ url: `wss://localhost:${portOf(server)}${target}`, tls: { ca: identity.cert } })
  },
  {
    name: "a unix socket",
    listen: () => ({ path: socketPath() }),
    reach: (server, target) => ({ url: `ws+unix://${(server.address as NetAddress.UnixPathAddress).path}:${target}` })
  }
]

const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))

const serving = (options: NodeWebSocketServer.Options) =>
  Effect.map(
    Layer.build(WebSocketServer.serve(echo).pipe(Layer.provideMerge(NodeWebSocketServer.layer(options)))),
    (context) => Effect.provideContext(WebSocketServer.WebSocketServer, context)
  ).pipe(Effect.flatten)

describe.each(places)("over $name", ({ listen, reach }) => {
  it.live("messages arrive whole in both directions, and the target and the close code too", () =>
    Effect.gen(function*() {
      const server = yield* serving(listen())
      const stream = yield* NodeWebSocketClient.connect(reach(server, "/room?seat=1"))
      assert.strictEqual(stream.handshake.request.target, "/room?seat=1")
      const messages = [
        "",
        "héllo",
        Uint8Array.from({ length: 70_000 }, (_, i) => i),
        new Uint8Array(3_000_000).fill(9)
      ]
      yield* Effect.forkChild(stream.writeAll(messages))
      for (const message of messages) assert.deepStrictEqual(yield* stream.read, message)
      assert.isTrue(Duration.isGreaterThan(yield* stream.ping(), Duration.zero))
      const status = yield* stream.close({ code: 4001, reason: "bye" })
      assert.deepInclude(status, { code: 4001, clean: true, initiator: "local" })
    }))

  it.live("a server that leaves its scope says 1001 to its peers and is gone", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(serving(listen()), scope)
      const stream = yield* NodeWebSocketClient.connect(reach(server, "/"))
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* stream.closed, { code: 1001, clean: true, initiator: "peer" })
      const refused = yield* Effect.flip(NodeWebSocketClient.connect(reach(server, "/")))
      assert.strictEqual(refused.reason._tag, "TransportFailed")
    }))
})

describe("over TCP, many at once", () => {
  it.live("a thousand connections are open together, and each gets its own echo", () =>
    Effect.gen(function*() {
      const server = yield* serving({ port: 0 })
      const url = `ws://127.0.0.1:${portOf(server)}/`
      const everyone = yield* Deferred.make<void>()
      let open = 0
      const one = Effect.fnUntraced(function*(i: number) {
        const stream = yield* NodeWebSocketClient.connect({ url })
        if (++open === 1000) yield* Deferred.succeed(everyone, undefined)
        yield* Deferred.await(everyone)
        yield* stream.write(`message ${i}`)
        assert.strictEqual(yield* stream.read, `message ${i}`)
        return (yield* stream.close()).clean
      }, Effect.scoped)
      const fibers = yield* Effect.forEach(Array.from({ length: 1000 }, (_, i) => i), (i) => Effect.forkChild(one(i)))
      yield* Deferred.await(everyone)
      assert.strictEqual(yield* server.connections, 1000)
      const clean = yield* Effect.forEach(fibers, Fiber.join)
      assert.isTrue(clean.every((yes) => yes))
    }), 30_000)
})
