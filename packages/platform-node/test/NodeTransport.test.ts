import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import { assert, describe, it, vi } from "@effect/vitest"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as Transport from "effect-websocket/Transport"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import * as Net from "node:net"
import * as Path from "node:path"
import { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import * as certificates from "./fixtures/certificates.ts"
import * as transports from "./fixtures/transports.ts"

const identity = await certificates.selfSigned("DNS:localhost", "DNS:example.test")
const stranger = await certificates.selfSigned("DNS:elsewhere.test")
const visitor = await certificates.selfSigned("DNS:visitor.test")
const trust = { ca: identity.cert }

const contract = (name: string, make: Parameters<typeof TransportContract.fromServer>[0]) =>
  describe(`the contract over ${name}`, () => {
    for (const law of [...TransportContract.laws, ...TransportContract.dialingLaws]) {
      it.live(law.name, () => law.check(TransportContract.fromServer(make)))
    }
  })

const causeOf = (error: Socket.SocketError): { readonly code?: string } =>
  "cause" in error.reason ? error.reason.cause as { readonly code?: string } : {}

/** The port of a plain server of Node's, for what ours would not do. */
const rawServer = Effect.fnUntraced(function*(onConnection: (socket: Net.Socket) => void) {
  const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {})
    onConnection(socket)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.sync(() => server.close())
  )
  return (server.address() as Net.AddressInfo).port
})

/** Dials a server of ours and gives both ends. */
const open = Effect.fnUntraced(function*<E>(
  make: Effect.Effect<
    { readonly client: Transport.Connection; readonly server: Transport.TransportServer["Service"] },
    E,
    Scope.Scope
  >
) {
  const ends = yield* TransportContract.fromServer(make)
  const { pull } = yield* ends.client.reader
  const server = yield* ends.server
  return { client: ends.client, server, pull }
})

describe("NodeTransport", () => {
  contract("TCP", transports.tcp)
  contract("TLS 1.2", transports.tls({ ...identity, maxVersion: "TLSv1.2" }, trust))
  contract("TLS 1.3", transports.tls({ ...identity, minVersion: "TLSv1.3" }, trust))
  contract("a unix socket", transports.unix)

  describe("dialling", () => {
    it.live("a refused connection fails with Node's error as its cause", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { client } = yield* Scope.provide(transports.tcp, scope)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Effect.flip(client.reader)
        assert.strictEqual(error.reason._tag, "SocketOpenError")
        assert.strictEqual(causeOf(error).code, "ECONNREFUSED")
      }))

    it.live("a path without a socket, a port out of range and a bad certificate fail in the same way", () =>
      Effect.gen(function*() {
        const tls = { key: "not a key", cert: "not a certificate" }
        for (
          const options of [
            { path: "/nowhere/at/all" },
            { host: "127.0.0.1", port: 70_000 },
            { host: "127.0.0.1", port: 1, tls }
          ]
        ) {
          const error = yield* Effect.flip(NodeTransport.make(options).reader)
          assert.strictEqual(error.reason._tag, "SocketOpenError")
        }
      }))

    it.effect("gives up after connectTimeout, the TLS handshake included", () =>
      Effect.gen(function*() {
        const arrived = yield* Deferred.make<Net.Socket>()
        const port = yield* rawServer((socket) => Deferred.doneUnsafe(arrived, Exit.succeed(socket)))
        const client = NodeTransport.make({ host: "127.0.0.1", port, tls: {}, connectTimeout: "3 seconds" })
        const dialling = yield* Effect.forkChild(Effect.flip(client.reader))
        const socket = yield* Deferred.await(arrived)
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(dialling.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error = yield* Fiber.join(dialling)
        assert.strictEqual(error.reason._tag === "SocketOpenError" && error.reason.kind, "Timeout")
        socket.destroy()
      }))

    it.live("an interrupted dial leaves no socket", () =>
      Effect.gen(function*() {
        const closed = yield* Deferred.make<void>()
        const arrived = yield* Deferred.make<void>()
        const port = yield* rawServer((socket) => {
          socket.resume().on("close", () => Deferred.doneUnsafe(closed, Exit.void)).on("end", () => socket.end())
          Deferred.doneUnsafe(arrived, Exit.void)
        })
        const dialling = yield* Effect.forkChild(NodeTransport.make({ host: "127.0.0.1", port, tls: {} }).reader)
        yield* Deferred.await(arrived)
        yield* Fiber.interrupt(dialling)
        yield* Deferred.await(closed)
      }))

    it.live("knows who is at the other end", () =>
      Effect.gen(function*() {
        const { client, server } = yield* open(transports.tcp)
        const socket = NodeTransport.streamOf(client) as Net.Socket
        assert.strictEqual(
          NetAddress.formatSocketAddress(client.peerAddress!()!),
          `127.0.0.1:${socket.remotePort}`
        )
        assert.strictEqual(
          NetAddress.formatSocketAddress(server.peerAddress!()!),
          `127.0.0.1:${socket.localPort}`
        )
      }))

    it.live("TCP_NODELAY is set at both ends, unless declined", () =>
      Effect.gen(function*() {
        const probe = yield* open(transports.tcp)
        // Node has no getter: the handle's method is watched.
        const handle: { setNoDelay: (on: boolean) => void } = Object.getPrototypeOf(
          (NodeTransport.streamOf(probe.client) as unknown as { readonly _handle: object })._handle
        )
        const original = handle.setNoDelay
        const seen = new Set<object>()
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            handle.setNoDelay = function(on) {
              if (on) seen.add(this)
              return original.call(this, on)
            }
          }),
          () =>
            Effect.sync(() => {
              handle.setNoDelay = original
            })
        )
        yield* open(transports.tcp)
        assert.strictEqual(seen.size, 2)
        yield* open(transports.tls(identity, trust))
        assert.strictEqual(seen.size, 4)
        const quiet = Effect.map(NodeTransportServer.make({ port: 0, noDelay: false }), (server) => ({
          server,
          client: NodeTransport.make({ host: "127.0.0.1", port: transports.portOf(server), noDelay: false })
        }))
        yield* open(quiet)
        assert.strictEqual(seen.size, 4)
      }))
  })

  describe("TLS", () => {
    const fails = Effect.fnUntraced(function*(server: Tls.TlsOptions, client: NodeTransport.TlsOptions) {
      const ends = yield* transports.tls(server, client)
      const error = yield* Effect.flip(ends.client.reader)
      assert.strictEqual(error.reason._tag, "SocketOpenError")
      return causeOf(error).code
    })

    it.live("a certificate for another host fails", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* fails(stranger, { ca: stranger.cert }), "ERR_TLS_CERT_ALTNAME_INVALID")
        const named = { ca: identity.cert, servername: "elsewhere.test" }
        assert.strictEqual(yield* fails(identity, named), "ERR_TLS_CERT_ALTNAME_INVALID")
      }))

    it.live("a certificate nobody vouches for fails, unless told otherwise", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* fails(identity, {}), "DEPTH_ZERO_SELF_SIGNED_CERT")
        yield* open(transports.tls(stranger, { rejectUnauthorized: false }))
      }))

    it.live("names the host it wants: the one dialled, the one given, and never an IP address", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const SNICallback: NonNullable<Tls.TlsOptions["SNICallback"]> = (name, done) => {
          seen.push(name)
          done(null)
        }
        const server = yield* NodeTransportServer.make({ port: 0, tls: { ...identity, SNICallback } })
        yield* Effect.forkScoped(server.run(() => Effect.never))
        const port = transports.portOf(server)
        yield* NodeTransport.make({ host: "localhost", port, tls: trust }).reader
        yield* NodeTransport.make({ host: "127.0.0.1", port, tls: { ...trust, servername: "example.test" } }).reader
        yield* NodeTransport.make({ host: "127.0.0.1", port, tls: { ...trust, rejectUnauthorized: false } }).reader
        assert.deepStrictEqual(seen, ["localhost", "example.test"])
      }))

    it.live("a client's certificate reaches the server that requires it", () =>
      Effect.gen(function*() {
        const server = { ...identity, requestCert: true, ca: visitor.cert }
        const ends = yield* open(transports.tls(server, { ...trust, ...visitor }))
        const socket = NodeTransport.streamOf(ends.server) as Tls.TLSSocket
        assert.isTrue(socket.authorized)
        assert.strictEqual(socket.getPeerCertificate().subjectaltname, "DNS:visitor.test")
      }))

    it.live("a client without the certificate required never reaches the handler", () =>
      Effect.gen(function*() {
        const server = { ...identity, requestCert: true, ca: visitor.cert }
        yield* fails({ ...server, maxVersion: "TLSv1.2" }, trust)
        // A TLS 1.3 client has finished its handshake before the server looks at the certificate.
        const ends = yield* transports.tls({ ...server, minVersion: "TLSv1.3" }, { ...trust, ...stranger })
        let handled = false
        const handler = () =>
          Effect.sync(() => {
            handled = true
          })
        yield* Effect.forkScoped(ends.server.run(handler))
        const { pull } = yield* ends.client.reader
        yield* Effect.flip(pull)
        assert.isFalse(handled)
      }))

    it.live("agrees on a protocol by ALPN, and fails without one in common", () =>
      Effect.gen(function*() {
        const server = { ...identity, ALPNProtocols: ["h2", "http/1.1"] }
        const ends = yield* open(transports.tls(server, { ...trust, ALPNProtocols: ["http/1.1"] }))
        for (const end of [ends.client, ends.server]) {
          assert.strictEqual((NodeTransport.streamOf(end) as Tls.TLSSocket).alpnProtocol, "http/1.1")
        }
        yield* fails(server, { ...trust, ALPNProtocols: ["spdy/1"] })
      }))
  })

  describe("URLs", () => {
    const reaches = Effect.fnUntraced(function*(
      server: Transport.TransportServer["Service"],
      url: string,
      options?: NodeTransport.DialOptions
    ) {
      yield* Effect.forkScoped(server.run(() => Effect.never))
      yield* NodeTransport.fromUrl(url, options).reader
    })

    it.live("ws: and http: dial TCP, wss: and https: dial TLS", () =>
      Effect.gen(function*() {
        const plain = yield* NodeTransportServer.make({ port: 0 })
        const port = transports.portOf(plain)
        yield* reaches(plain, `ws://127.0.0.1:${port}/chat?a=b`)
        yield* reaches(plain, `ws://localhost:${port}`, { tls: { rejectUnauthorized: true } })
        yield* reaches(plain, `http://localhost:${port}`)
        const secure = yield* NodeTransportServer.make({ port: 0, tls: identity })
        yield* reaches(secure, `wss://localhost:${transports.portOf(secure)}`, { tls: trust })
        yield* reaches(secure, `https://localhost:${transports.portOf(secure)}`, { tls: trust })
      }))

    it.live("an IPv6 address is dialled without its brackets", () =>
      Effect.gen(function*() {
        const server = yield* Effect.result(NodeTransportServer.make({ port: 0, host: "::1" }))
        // Not every machine that runs tests has IPv6.
        if (server._tag === "Failure") return
        yield* reaches(server.success, `ws://[::1]:${transports.portOf(server.success)}`)
      }))

    it.live("ws+unix: and wss+unix: dial the path before the colon", () =>
      Effect.gen(function*() {
        const directory = yield* transports.directory
        const path = Path.join(directory, "a socket")
        const plain = yield* NodeTransportServer.make({ path })
        yield* reaches(plain, `ws+unix://${path}:/chat`)
        const secure = yield* NodeTransportServer.make({ path: `${path}.tls`, tls: identity })
        yield* reaches(secure, `wss+unix://${path}.tls:/chat`, { tls: { ...trust, servername: "localhost" } })
      }))

    it.live("what is not the URL of a WebSocket fails as dialling does", () =>
      Effect.gen(function*() {
        for (const url of ["ftp://localhost", "wsx://localhost", "nonsense", "ws://"]) {
          const error = yield* Effect.flip(NodeTransport.fromUrl(url).reader)
          assert.strictEqual(error.reason._tag, "SocketOpenError")
        }
      }))
  })

  describe("writing", () => {
    /** A stream that records what reaches it in one call. */
    const recorder = (calls: Array<Array<string>>) =>
      new Duplex({
        read() {},
        writev(chunks, done) {
          calls.push(chunks.map(({ chunk }) => String(chunk)))
          done()
        }
      })

    it.live("what one turn of the event loop writes leaves in one call", () =>
      Effect.gen(function*() {
        const calls: Array<Array<string>> = []
        const endpoint = NodeTransport.makeEndpoint(recorder(calls))
        yield* endpoint.write("a")
        endpoint.offerUnsafe!(new TextEncoder().encode("b"))
        yield* endpoint.writeAll(["c", "d"])
        assert.deepStrictEqual(calls, [])
        yield* Effect.yieldNow
        assert.deepStrictEqual(calls, [["abcd"]])
        yield* endpoint.write("e")
        yield* endpoint.end
        assert.deepStrictEqual(calls, [["abcd"], ["e"]])
      }))

    it.live("what 32 connections write in a turn is held back, and leaves when there is another", () =>
      Effect.gen(function*() {
        const calls: Array<Array<string>> = []
        const ends = Array.from({ length: 70 }, () => NodeTransport.makeEndpoint(recorder(calls)))
        const write = (from: number, to: number) =>
          Effect.forEach(ends.slice(from, to), (end, index) => end.write(`${from + index}`), { discard: true })
        const written = (to: number) => Array.from({ length: to }, (_, index) => [`${index}`])
        // Behind the turn of whatever was written before.
        yield* Effect.yieldNow
        yield* write(0, 32)
        assert.strictEqual(calls.length, 0)
        yield* write(32, 33)
        assert.deepStrictEqual(calls, written(32))
        yield* write(33, 64)
        assert.deepStrictEqual(calls, written(32))
        yield* write(64, 70)
        assert.deepStrictEqual(calls, written(64))
        yield* Effect.yieldNow
        assert.deepStrictEqual(calls, written(70))
      }))

    it.live("a stream that has the connection write on whose account it is written to loses nothing", () =>
      Effect.gen(function*() {
        const calls: Array<Array<string>> = []
        const last = NodeTransport.makeEndpoint(recorder(calls))
        const first = NodeTransport.makeEndpoint(
          new Duplex({
            read() {},
            write(_chunk, _encoding, done) {
              last.offerUnsafe!(new TextEncoder().encode("before"))
              done()
            }
          })
        )
        yield* first.write("x")
        const others = Array.from({ length: 31 }, () => NodeTransport.makeEndpoint(recorder([])))
        yield* Effect.forEach(others, (end) => end.write("x"), { discard: true })
        yield* last.write(" after")
        yield* Effect.yieldNow
        assert.deepStrictEqual(calls, [["before after"]])
      }))

    describe("where much is written", () => {
      const put = (endpoint: Transport.Endpoint, letter: string) => {
        const room = endpoint.roomUnsafe!(5000)!
        room.bytes.fill(letter.charCodeAt(0), room.length, room.length + 5000)
        room.length += 5000
      }

      /** What was written, without repetitions. */
      const lettersOf = (calls: ReadonlyArray<ReadonlyArray<string>>) =>
        calls.flat().join("").replace(/(.)\1{4999}/g, "$1")

      it.live("that of one connection leaves when the next begins, in order and whole", () =>
        Effect.gen(function*() {
          const [one, other]: [Array<Array<string>>, Array<Array<string>>] = [[], []]
          const ends = [NodeTransport.makeEndpoint(recorder(one)), NodeTransport.makeEndpoint(recorder(other))] as const
          put(ends[0], "a")
          put(ends[0], "b")
          assert.deepStrictEqual(one, [])
          put(ends[1], "x")
          assert.strictEqual(lettersOf(one), "ab")
          put(ends[0], "c")
          assert.strictEqual(lettersOf(other), "x")
          put(ends[0], "d")
          yield* Effect.yieldNow
          assert.deepStrictEqual([lettersOf(one), lettersOf(other)], ["abcd", "x"])
        }))

      it.live("a stream that has others write before it returns loses nothing of theirs", () =>
        Effect.gen(function*() {
          const calls: Array<Array<string>> = []
          const second = NodeTransport.makeEndpoint(recorder(calls))
          const first = NodeTransport.makeEndpoint(
            new Duplex({
              read() {},
              write(_chunk, _encoding, done) {
                put(second, "i")
                done()
              }
            })
          )
          put(first, "a")
          put(second, "j")
          put(first, "b")
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          assert.strictEqual(lettersOf(calls), "iji")
        }))
    })

    describe("where more is expected to follow", () => {
      const put = (endpoint: Transport.Endpoint, text: string, more: boolean) => {
        const room = endpoint.roomUnsafe!(text.length, more)!
        room.length += new TextEncoder().encodeInto(text, room.bytes.subarray(room.length)).written
      }

      /** Runs at a time that stands still until it is moved. */
      const atTime = (test: (now: { current: number }) => Effect.Effect<void>) =>
        Effect.suspend(() => {
          const now = { current: 0 }
          const spy = vi.spyOn(performance, "now").mockImplementation(() => now.current)
          return Effect.ensuring(test(now), Effect.sync(() => spy.mockRestore()))
        })

      it.live("what is written turn after turn leaves after two turns without a write", () =>
        atTime(Effect.fnUntraced(function*() {
          const calls: Array<Array<string>> = []
          const endpoint = NodeTransport.makeEndpoint(recorder(calls))
          for (const text of ["a", "b", "c"]) {
            put(endpoint, text, true)
            yield* Effect.yieldNow
            yield* Effect.yieldNow
            assert.deepStrictEqual(calls, [])
          }
          yield* Effect.yieldNow
          assert.deepStrictEqual(calls, [["abc"]])
        })))

      it.live("what is expected no more leaves with the turn", () =>
        atTime(Effect.fnUntraced(function*() {
          const calls: Array<Array<string>> = []
          const endpoint = NodeTransport.makeEndpoint(recorder(calls))
          put(endpoint, "a", true)
          put(endpoint, "b", false)
          yield* Effect.yieldNow
          assert.deepStrictEqual(calls, [["ab"]])
          put(endpoint, "c", true)
          endpoint.offerUnsafe!(new TextEncoder().encode("d"))
          yield* Effect.yieldNow
          assert.deepStrictEqual(calls, [["ab"], ["cd"]])
        })))

      it.live("nothing waits longer than five milliseconds", () =>
        atTime(Effect.fnUntraced(function*(now) {
          const calls: Array<Array<string>> = []
          const endpoint = NodeTransport.makeEndpoint(recorder(calls))
          put(endpoint, "a", true)
          now.current = 4.9
          yield* Effect.yieldNow
          put(endpoint, "b", true)
          assert.deepStrictEqual(calls, [])
          now.current = 5
          yield* Effect.yieldNow
          assert.deepStrictEqual(calls, [["ab"]])
        })))

      it.live("what is held back when the connection closes is sent", () =>
        atTime(Effect.fnUntraced(function*() {
          const calls: Array<Array<string>> = []
          const endpoint = NodeTransport.makeEndpoint(recorder(calls))
          put(endpoint, "a", true)
          yield* endpoint.end
          assert.deepStrictEqual(calls, [["a"]])
        })))
    })

    it.live("what was written in the turn that closes is sent", () =>
      Effect.gen(function*() {
        const calls: Array<Array<string>> = []
        const endpoint = NodeTransport.makeEndpoint(recorder(calls))
        yield* endpoint.write("last words")
        yield* endpoint.close
        assert.deepStrictEqual(calls, [["last words"]])
      }))

    it.live("closing waits for what the kernel had no room for", () =>
      Effect.gen(function*() {
        const size = 16 * 1024 * 1024
        const server = yield* NodeTransportServer.make({ port: 0 })
        const client = NodeTransport.make({ host: "127.0.0.1", port: transports.portOf(server), linger: "1 minute" })
        const ends = yield* TransportContract.fromServer(Effect.succeed({ server, client }))
        const sending = Effect.gen(function*() {
          yield* ends.client.reader
          const writer = yield* ends.client.writer
          yield* writer.write(new Uint8Array(size))
        })
        // A grace longer than the test: only the flush ends it.
        const done = yield* Effect.forkChild(Effect.scoped(sending))
        const pull = yield* Transport.readerBytes(yield* ends.server)
        let left = size
        while (left > 0) left -= (yield* pull).reduce((sum, chunk) => sum + chunk.length, 0)
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), "PeerEnded")
        yield* Fiber.join(done)
      }))

    it.effect("closing waits for a peer that does not read for as long as linger says", () =>
      Effect.gen(function*() {
        const server = yield* NodeTransportServer.make({ port: 0 })
        const client = NodeTransport.make({ host: "127.0.0.1", port: transports.portOf(server), linger: "1 minute" })
        const scope = yield* Scope.make()
        yield* Scope.provide(client.reader, scope)
        const writer = yield* client.writer
        const writing = yield* Effect.forkChild(
          Effect.flip(Effect.forever(writer.write(new Uint8Array(8 * 1024 * 1024))))
        )
        yield* Effect.yieldNow
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        assert.strictEqual(Transport.endOf(yield* Fiber.join(writing)), "Closed")
        yield* TestClock.adjust("59 seconds")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
      }))
  })

  describe("reading", () => {
    it.live("bytes pushed back on a stream come first", () =>
      Effect.gen(function*() {
        const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
        stream.unshift(Uint8Array.of(1, 2))
        const endpoint = NodeTransport.makeEndpoint(stream)
        stream.push(Uint8Array.of(3))
        stream.push(null)
        const seen: Array<number> = []
        const reading = Effect.forever(Effect.map(endpoint.pull, (batch) => {
          for (const chunk of batch) seen.push(...chunk)
        }))
        assert.strictEqual(Transport.endOf(yield* Effect.flip(reading)), "PeerEnded")
        assert.deepStrictEqual(seen, [1, 2, 3])
      }))

    it.live("a reset comes after the bytes that were read, and no error is left unhandled", () =>
      Effect.gen(function*() {
        const arrived = yield* Deferred.make<Net.Socket>()
        const port = yield* rawServer((socket) => Deferred.doneUnsafe(arrived, Exit.succeed(socket)))
        const client = NodeTransport.make({ host: "127.0.0.1", port })
        const scope = yield* Scope.make()
        const pull = yield* Scope.provide(Transport.readerBytes(client), scope)
        const writer = yield* client.writer
        const socket = yield* Deferred.await(arrived)
        socket.write("bye")
        assert.strictEqual(Buffer.concat(yield* pull).toString(), "bye")
        socket.resetAndDestroy()
        const error = yield* Effect.flip(pull)
        assert.strictEqual(error.reason._tag, "SocketReadError")
        assert.strictEqual((yield* Effect.flip(writer.write("x"))).reason._tag, "SocketWriteError")
        yield* Scope.close(scope, Exit.void)
        NodeTransport.streamOf(client)!.emit("error", new Error("late"))
      }))
  })

  describe("layers", () => {
    it.live("layerTcp, layerTls, layerUnix and layerUrl provide the transport", () =>
      Effect.gen(function*() {
        const directory = yield* transports.directory
        const path = Path.join(directory, "socket")
        const serve = (options: NodeTransportServer.Options) =>
          Effect.tap(NodeTransportServer.make(options), (server) => Effect.forkScoped(server.run(() => Effect.never)))
        const plain = transports.portOf(yield* serve({ port: 0 }))
        const secure = transports.portOf(yield* serve({ port: 0, tls: identity }))
        yield* serve({ path })
        for (
          const layer of [
            NodeTransport.layerTcp({ host: "127.0.0.1", port: plain }),
            NodeTransport.layerTls({ host: "localhost", port: secure, tls: trust }),
            NodeTransport.layerUnix({ path }),
            NodeTransport.layerUrl(new URL(`ws://127.0.0.1:${plain}`))
          ]
        ) {
          yield* Effect.flatMap(Transport.Transport, (transport) => transport.reader).pipe(Effect.provide(layer))
        }
      }))
  })
})
