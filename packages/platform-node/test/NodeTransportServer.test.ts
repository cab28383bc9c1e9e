import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import { assert, describe, it } from "@effect/vitest"
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as certificates from "./fixtures/certificates.ts"
import * as transports from "./fixtures/transports.ts"

const identity = await certificates.selfSigned("DNS:localhost")

const dial = (server: Transport.TransportServer["Service"]) =>
  NodeTransport.make({ host: "127.0.0.1", port: transports.portOf(server), linger: transports.linger })

const secureDial = (server: Transport.TransportServer["Service"]) =>
  NodeTransport.make({ host: "localhost", port: transports.portOf(server), tls: { ca: identity.cert } })

const greet = (connection: Transport.Connection) =>
  Effect.scoped(Effect.flatMap(connection.writer, (writer) => Effect.ignore(writer.write("hello"))))

/** What a client is told, and how it ends. */
const listenTo = Effect.fnUntraced(function*(client: Transport.Connection) {
  const pull = yield* Transport.readerBytes(client)
  let text = ""
  while (true) {
    const result = yield* Effect.result(pull)
    if (result._tag === "Failure") return { text, end: Transport.endOf(result.failure) }
    text += Buffer.concat(result.success).toString()
  }
})

/** A client that speaks no TLS; completes when the server has ended the connection. */
const rawClient = (server: Transport.TransportServer["Service"], send: string) =>
  Effect.callback<void>((resume) => {
    const socket = Net.connect(transports.portOf(server), "127.0.0.1")
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.void))
    socket.resume().write(send)
    return Effect.sync(() => socket.destroy())
  })

describe("NodeTransportServer", () => {
  describe("listening", () => {
    it.live("tells the address it listens on", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0 })
        assert.match(NetAddress.formatSocketAddress(server.address), /^127\.0\.0\.1:[1-9]\d*$/)
        const directory = yield* transports.directory
        const unix = yield* NodeTransportServer.make({ path: Path.join(directory, "socket") })
        assert.strictEqual(NetAddress.formatSocketAddress(unix.address), `${directory}/socket`)
      }))

    it.live("an address in use, a port out of range and a bad certificate are typed failures", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0 })
        for (
          const options of [
            { port: transports.portOf(server) },
            { port: 70_000 },
            { path: "/nowhere/at/all" },
            { port: 0, tls: { cert: "not a certificate" } }
          ]
        ) {
          const error = yield* Effect.flip(NodeTransportServer.make(options))
          assert.strictEqual(error.reason._tag, "SocketServerOpenError")
        }
      }))

    it.live("the path of a unix socket is removed with the scope", () =>
      Effect.gen(function*() {
        const directory = yield* transports.directory
        const path = Path.join(directory, "socket")
        yield* Effect.scoped(Effect.andThen(
          NodeTransportServer.make({ path }),
          Effect.sync(() => assert.isTrue(Fs.existsSync(path)))
        ))
        assert.isFalse(Fs.existsSync(path))
      }))
  })

  describe("running", () => {
    it.live("connections that come before run wait for it, backlog of them at most", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0, backlog: 2 })
        const clients = [dial(server), dial(server), dial(server)]
        const pulls = []
        for (const client of clients) pulls.push(yield* Transport.readerBytes(client))
        // Refused: more wait than may. That it comes back at all shows that the first two have been accepted.
        yield* Effect.flip(pulls[2]!)
        yield* Effect.forkScoped(server.run(greet))
        for (const pull of pulls.slice(0, 2)) assert.strictEqual(Buffer.concat(yield* pull).toString(), "hello")
      }))

    it.live("a connection is closed when its handler has ended or died, and the server goes on", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0 })
        let count = 0
        yield* Effect.forkScoped(server.run((connection) => count++ === 0 ? Effect.die("a bug") : greet(connection)))
        assert.deepStrictEqual(yield* listenTo(dial(server)), { text: "", end: "PeerEnded" })
        assert.deepStrictEqual(yield* listenTo(dial(server)), { text: "hello", end: "PeerEnded" })
      }))

    it.live("handlers run side by side, and are interrupted with run", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0, linger: transports.linger })
        const started = yield* Queue.unbounded<void>()
        let interrupted = 0
        const wait = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
        const run = yield* Effect.forkChild(server.run(() => Effect.andThen(Queue.offer(started, undefined), wait)))
        const clients = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(listenTo(dial(server))))
        yield* Effect.forEach(clients, () => Queue.take(started))
        yield* Fiber.interrupt(run)
        assert.strictEqual(interrupted, 3)
        for (const client of clients) assert.strictEqual((yield* Fiber.join(client)).end, "PeerEnded")
      }))

    it.live("a second run takes over from one that was interrupted", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0 })
        const first = yield* Effect.forkChild(server.run(() => Effect.never))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(first)
        yield* Effect.forkScoped(server.run(greet))
        assert.deepStrictEqual(yield* listenTo(dial(server)), { text: "hello", end: "PeerEnded" })
      }))
  })

  describe("closing", () => {
    it.live("stops listening, ends what waits, and leaves alone what a handler owns", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = yield* Scope.provide(NodeTransportServer.make({ port: 0 }), scope)
        const accepted = yield* Queue.unbounded<Transport.Connection>()
        const running = yield* Effect.forkScoped(
          server.run((connection) => Effect.andThen(Queue.offer(accepted, connection), Effect.never))
        )
        const owned = yield* Transport.readerBytes(dial(server))
        const connection = yield* Queue.take(accepted)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Effect.flip(dial(server).reader)
        assert.strictEqual(error.reason._tag, "SocketOpenError")
        const writer = yield* connection.writer
        yield* writer.write("still here")
        assert.strictEqual(Buffer.concat(yield* owned).toString(), "still here")
        yield* Fiber.interrupt(running)
      }))

    it.live("ends the connections that wait for run", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = yield* Scope.provide(NodeTransportServer.make({ port: 0, backlog: 1 }), scope)
        const pull = yield* Transport.readerBytes(dial(server))
        // Refused, which shows that the first one has been accepted.
        yield* Effect.flip(yield* Transport.readerBytes(dial(server)))
        yield* Scope.close(scope, Exit.void)
        yield* Effect.flip(pull)
      }))
  })

  describe("TLS handshakes", () => {
    it.live("a client that speaks no TLS is dropped, and the others are served", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0, tls: identity })
        yield* Effect.forkScoped(server.run(greet))
        yield* rawClient(server, "GET / HTTP/1.1\r\n\r\n")
        assert.deepStrictEqual(yield* listenTo(secureDial(server)), { text: "hello", end: "PeerEnded" })
      }))

    it.live("a client that does not finish its handshake is dropped in time", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0, tls: identity, handshakeTimeout: "50 millis" })
        yield* rawClient(server, "")
        yield* Effect.forkScoped(server.run(greet))
        assert.strictEqual((yield* listenTo(secureDial(server))).text, "hello")
      }))

    it.live("a handshake under way ends with the server's scope", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = yield* Scope.provide(NodeTransportServer.make({ port: 0, tls: identity }), scope)
        const waiting = yield* Effect.forkChild(rawClient(server, ""))
        yield* Effect.forkScoped(server.run(greet))
        // Served after it was accepted, so the handshake before it has begun.
        assert.strictEqual((yield* listenTo(secureDial(server))).text, "hello")
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }))
  })

  describe("layers", () => {
    it.live("layer, layerTls and layerUnix provide the server", () =>
      Effect.gen(function*() {
        const directory = yield* transports.directory
        const serves = (
          layer: Layer.Layer<Transport.TransportServer, unknown>,
          client: (server: Transport.TransportServer["Service"]) => Transport.Connection
        ) =>
          Effect.gen(function*() {
            const server = yield* Transport.TransportServer
            yield* Effect.forkScoped(server.run(greet))
            assert.strictEqual((yield* listenTo(client(server))).text, "hello")
          }).pipe(Effect.provide(layer))
        const path = Path.join(directory, "socket")
        yield* serves(NodeTransportServer.layer({ port: 0 }), dial)
        yield* serves(NodeTransportServer.layerTls({ port: 0, tls: identity }), secureDial)
        yield* serves(NodeTransportServer.layerUnix({ path }), () => NodeTransport.make({ path }))
      }))
  })
})
