import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as WebSocketSocketServer from "effect-websocket/WebSocketSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type * as Socket from "effect/socket/Socket"
import { SocketServer } from "effect/socket/SocketServer"

class Greeting extends Context.Service<Greeting, string>()("effect-websocket/test/Greeting") {}

const serverLayer = WebSocketSocketServer.layer.pipe(
  Layer.provide(WebSocketServer.layer({ subprotocols: ["chat"] })),
  Layer.provideMerge(MemoryTransport.layer())
)

/** Runs `handler` for every connection, and `program` beside it. */
const running = Effect.fnUntraced(function*<A, E, R, B, E2, R2>(
  handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>,
  program: (running: Fiber.Fiber<never, unknown>) => Effect.Effect<B, E2, R2>
) {
  const server = yield* SocketServer
  return yield* program(yield* Effect.forkScoped(server.run(handler)))
}, Effect.provide(serverLayer))

const connect = (target: string = "/", subprotocols: ReadonlyArray<string> = []) =>
  WebSocketClient.connect({ url: `ws://localhost${target}`, subprotocols })

const echo = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  const writer = yield* socket.writer
  while (true) yield* writer.writeAll(yield* pull)
}, Effect.scoped)

describe("a server as a SocketServer", () => {
  it.effect("is where the server is", () =>
    Effect.gen(function*() {
      const server = yield* SocketServer
      assert.strictEqual(server.address._tag, "UnixPathAddress")
    }).pipe(Effect.provide(serverLayer)))

  it.effect("gives every connection to a handler of its own", () =>
    running(echo, () =>
      Effect.gen(function*() {
        const clients = yield* Effect.all([connect(), connect(), connect()])
        for (const [index, client] of clients.entries()) {
          yield* client.writeAll([`hello ${index}`, Uint8Array.of(index)])
        }
        for (const [index, client] of clients.entries()) {
          assert.strictEqual(yield* client.read, `hello ${index}`)
          assert.deepStrictEqual(yield* client.read, Uint8Array.of(index))
        }
      })))

  it.effect("has the handshake in the handler's context, and what run was given", () =>
    running(
      Effect.fnUntraced(function*(socket) {
        const { handshake } = Option.getOrThrow(yield* Effect.serviceOption(WebSocketStream))
        const writer = yield* socket.writer
        yield* writer.write(`${yield* Greeting} ${handshake.request.target} ${handshake.subprotocol}`)
      }, Effect.scoped),
      () =>
        Effect.gen(function*() {
          const client = yield* connect("/room?seat=1", ["chat"])
          assert.strictEqual(yield* client.read, "hello /room?seat=1 chat")
          assert.deepInclude(yield* client.closed, { code: 1000, clean: true })
        })
    ).pipe(Effect.provideService(Greeting, "hello")))

  it.effect("closes with 1000 behind a handler that ends, and with 1011 behind one that fails", () =>
    running(
      Effect.fnUntraced(function*(socket) {
        const { pull } = yield* socket.reader
        if ((yield* pull)[0] === "fail") return yield* Effect.fail("on purpose")
      }, Effect.scoped),
      () =>
        Effect.gen(function*() {
          for (const [message, code] of [["end", 1000], ["fail", 1011]] as const) {
            const client = yield* connect()
            yield* client.write(message)
            assert.deepInclude(yield* client.closed, { code, clean: true })
          }
        })
    ))

  it.effect("logs a handler's own failure as an error, and not that a peer went away", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        logged.push(`${logLevel} ${String(Array.isArray(message) ? message[0] : message)}`)
      })
      const ended = yield* Deferred.make<void>()
      const handler = (socket: Socket.Socket) =>
        Effect.ensuring(
          echo(socket),
          Deferred.succeed(ended, undefined)
        )
      yield* running(handler, () =>
        Effect.gen(function*() {
          const client = yield* connect()
          yield* client.close({ code: 4000 })
          yield* Deferred.await(ended)
          yield* Effect.yieldNow
        })).pipe(
          Effect.provide(Logger.layer([logger])),
          Effect.provideService(References.MinimumLogLevel, "Debug")
        )
      assert.deepStrictEqual(logged, ["Debug WebSocket connection ended"])
    }))

  it.effect("interrupting run tells every peer 1001 and lets go of every handler", () =>
    running(echo, (server) =>
      Effect.gen(function*() {
        const clients = yield* Effect.all([connect(), connect()])
        for (const client of clients) {
          yield* client.write("here")
          yield* client.read
        }
        yield* Fiber.interrupt(server)
        for (const client of clients) assert.deepInclude(yield* client.closed, { code: 1001, clean: true })
      })))
})
