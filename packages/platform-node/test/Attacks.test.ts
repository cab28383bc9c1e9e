import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Attacker from "../../websocket/test/fixtures/attacker.ts"
import { namesIn, table } from "../../websocket/test/fixtures/attacks.ts"
import * as Scripted from "../../websocket/test/fixtures/scripted.ts"
import * as certificates from "./fixtures/certificates.ts"

const { aliveBytes, deflated, mebibyte } = Attacker
const { bytes, encode, ping } = Scripted

const forLocalhost = await certificates.selfSigned("DNS:localhost")
const forAnother = await certificates.selfSigned("DNS:another.example")

type Stream = WebSocketStream["Service"]

const portOf = ({ address }: WebSocketServer.WebSocketServer["Service"]): number =>
  (address as NetAddress.InetAddress).port

/** A server whose only connection is handed over, and stays open until it closes by itself. */
const serving = Effect.fnUntraced(
  function*(options: Omit<NodeWebSocketServer.Options, "port" | "path" | "host"> = {}) {
    const accepted = yield* Deferred.make<Stream>()
    const handler = Effect.flatMap(
      WebSocketStream,
      (stream) => Effect.andThen(Deferred.succeed(accepted, stream), stream.closed)
    )
    const server = WebSocketServer.serve(handler).pipe(
      Layer.provideMerge(NodeWebSocketServer.layer({ ...options, port: 0 })),
      Layer.provide(NodeDeflate.layer)
    )
    const context = yield* Layer.build(server)
    return { accepted: Deferred.await(accepted), port: portOf(Context.get(context, WebSocketServer.WebSocketServer)) }
  }
)

/** A client that sends what it likes over TCP. */
const dial = (port: number) => Scripted.open("client", NodeTransport.make({ host: "127.0.0.1", port }))

const shaken = Effect.fnUntraced(function*(port: number, headers: ReadonlyArray<string> = []) {
  const peer = yield* dial(port)
  yield* peer.send(bytes(Scripted.requestHead(headers)))
  yield* Scripted.takeHead(peer)
  return peer
})

const tests: Readonly<Record<string, Effect.Effect<void, unknown, Scope.Scope>>> = {
  "a bomb of 64 MiB over TCP is stopped at the limit by node:zlib": Effect.gen(function*() {
    const { accepted, port } = yield* serving({ permessageDeflate: {}, config: { maxMessageSize: mebibyte } })
    const peer = yield* shaken(port, ["Sec-WebSocket-Extensions: permessage-deflate"])
    const stream = yield* accepted
    const bomb = encode("client", { opcode: 2, fin: true, rsv: 0x40, payload: deflated(new Uint8Array(64 * mebibyte)) })
    const before = yield* aliveBytes
    const reason = yield* Effect.forkChild(Scripted.reasonOf(stream.read))
    yield* peer.send(bomb)
    assert.strictEqual((yield* Fiber.join(reason))._tag, "MessageTooBig")
    assert.isAtMost((yield* aliveBytes) - before, 4 * mebibyte)
    yield* peer.destroy
  }),
  "a ping flood over TCP from a peer that does not read costs bounded memory": Effect.gen(function*() {
    const { accepted, port } = yield* serving()
    const peer = yield* shaken(port)
    const stream = yield* accepted
    const flood = Scripted.concat(Array.from({ length: 10_000 }, () => encode("client", ping("x".repeat(100)))))
    const before = yield* aliveBytes
    for (let i = 0; i < 8; i++) yield* peer.send(flood)
    yield* peer.send(encode("client", Scripted.text("behind")))
    assert.strictEqual(yield* stream.read, "behind")
    // 8 MB of pings, and the kernel's buffers hold what they hold
    assert.isAtMost((yield* aliveBytes) - before, 4 * mebibyte)
    yield* peer.destroy
  }),
  "a peer that keeps its half of a TCP connection open is left in bounded time": Effect.gen(function*() {
    const { accepted, port } = yield* serving({ config: { closeTimeout: 100 } })
    const peer = yield* shaken(port)
    const stream = yield* accepted
    yield* peer.read()
    const closing = yield* Effect.forkChild(stream.close())
    assert.strictEqual(yield* peer.next, "close 1000")
    yield* peer.send(Scripted.close(1000))
    assert.isTrue((yield* Fiber.join(closing)).clean)
    assert.strictEqual(yield* stream.state, "Closed")
    yield* peer.destroy
  }),
  "a head of 1 GiB dribbled over TCP is given up at the limit": Effect.gen(function*() {
    const { port } = yield* serving({ config: { closeTimeout: 500 } })
    const peer = yield* dial(port)
    const answer = yield* Effect.forkChild(Scripted.takeHead(peer))
    yield* peer.send(bytes("GET / HTTP/1.1\r\n"))
    const line = bytes(`X: ${"y".repeat(1000)}\r\n`)
    const before = yield* aliveBytes
    let sent = 0
    while (answer.pollUnsafe() === undefined && sent < 2 ** 30) {
      yield* peer.send(line)
      yield* Effect.yieldNow
      sent += line.length
    }
    assert.include((yield* Fiber.join(answer)).head, " 431 ")
    // the limit, and what was under way until the answer came
    assert.isAtMost(sent, 16 * mebibyte)
    assert.isAtMost((yield* aliveBytes) - before, 4 * mebibyte)
    yield* peer.destroy
  }),
  "a certificate for another host, or of nobody known, fails the handshake before a byte is sent": Effect.gen(
    function*() {
      for (const tls of [forAnother, forLocalhost]) {
        let requests = 0
        const accept = () => Effect.sync(() => ({ headers: { "X-Count": String(++requests) } }))
        const { port } = yield* serving({ tls, accept })
        const url = `wss://localhost:${port}/`
        const ca = tls === forAnother ? { tls: { ca: tls.cert } } : {}
        const error = yield* Effect.flip(NodeWebSocketClient.connect({ url, ...ca }))
        assert.strictEqual(error.reason._tag, "TransportFailed")
        assert.strictEqual(requests, 0)
      }
    }
  )
}

describe("attacks over real sockets", () => {
  for (const attack of table) {
    for (const name of namesIn(attack, "nodeTests")) {
      it.live(`row ${attack.row}: ${name}`, () => Effect.asVoid(tests[name]!))
    }
  }

  it("are those of the table", () => {
    const named = table.flatMap((attack) => namesIn(attack, "nodeTests"))
    assert.deepStrictEqual(named.toSorted(), Object.keys(tests).toSorted())
  })
})
