import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Tls from "node:tls"
import * as certificates from "./fixtures/certificates.ts"
import * as proxies from "./fixtures/proxies.ts"
import * as transports from "./fixtures/transports.ts"

const identity = await certificates.selfSigned("DNS:localhost", "IP:127.0.0.1")
const visitor = await certificates.selfSigned("DNS:visitor.test")

const failure = (options: NodeWebSocketClient.Options) =>
  Effect.map(Effect.flip(NodeWebSocketClient.connect(options)), ({ reason }) => reason)

/** What Node said, at the bottom of a failed transport. */
const codeOf = (reason: WebSocketError.HandshakeError["reason"]): unknown => {
  assert.instanceOf(reason, WebSocketError.TransportFailed)
  const { cause } = (reason.cause as { readonly reason: { readonly cause: { readonly code: unknown } } }).reason
  return cause.code
}

/** A request, and what its connection said before. */
interface Seen {
  readonly head: string
  readonly servername: string | false | null | undefined
  readonly certificate: string | undefined
}

/** Answers each request with a refusal of these lines. */
const answering = Effect.fnUntraced(function*(lines: ReadonlyArray<string>, tls?: Tls.TlsOptions) {
  const seen: Array<Seen> = []
  const serve = (socket: Net.Socket) =>
    socket.on("error", () => {}).once("data", (head) => {
      const secured = socket instanceof Tls.TLSSocket ? socket : undefined
      seen.push({
        head: head.toString(),
        servername: secured?.servername,
        certificate: secured?.getPeerCertificate().subjectaltname
      })
      socket.end([...lines, "Content-Length: 0", "", ""].join("\r\n"))
    })
  const server = tls === undefined
    ? Net.createServer(serve)
    : Tls.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, serve)
  return { seen, port: (yield* proxies.listening(server)).port }
})

const forbidden = ["HTTP/1.1 403 No", "Set-Cookie: a=1", "set-cookie: b=2"]

describe("a failure to dial", () => {
  it.live("is TransportFailed with Node's error as its cause, and its words", () =>
    Effect.gen(function*() {
      const { port } = yield* Effect.scoped(answering([]))
      for (const host of ["127.0.0.1", "localhost"]) {
        const refused = yield* failure({ url: `ws://${host}:${port}/` })
        assert.strictEqual(codeOf(refused), "ECONNREFUSED")
        assert.match(refused.message, /^The transport failed: connect ECONNREFUSED (127\.0\.0\.1|::1)/)
      }
    }))

  it.live("because of a certificate says so", () =>
    Effect.gen(function*() {
      const { port } = yield* answering(forbidden, identity)
      const untrusted = yield* failure({ url: `wss://localhost:${port}/` })
      assert.strictEqual(codeOf(untrusted), "DEPTH_ZERO_SELF_SIGNED_CERT")
      assert.match(untrusted.message, /self-signed certificate/)
      const other = yield* answering(forbidden, visitor)
      const misnamed = yield* failure({ url: `wss://127.0.0.1:${other.port}/`, tls: { ca: visitor.cert } })
      assert.strictEqual(codeOf(misnamed), "ERR_TLS_CERT_ALTNAME_INVALID")
    }))

  it.live("is none where the certificate is for the IP address, of which no server name is sent", () =>
    Effect.gen(function*() {
      const { port, seen } = yield* answering(forbidden, identity)
      const reason = yield* failure({ url: `wss://127.0.0.1:${port}/`, tls: { ca: identity.cert } })
      assert.strictEqual(reason._tag, "UpgradeDeclined")
      assert.strictEqual(seen[0]!.servername, false)
    }))
})

describe("over a unix socket", () => {
  it.live("Host is localhost, and the target stands behind the colon", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* transports.directory, "socket")
      const heads: Array<ReadonlyArray<readonly [string, string]>> = []
      const say = Effect.flatMap(WebSocketStream, ({ handshake, write }) => {
        heads.push(handshake.request.headers)
        return write(handshake.request.target)
      })
      yield* Layer.build(WebSocketServer.serve(say).pipe(Layer.provide(NodeWebSocketServer.layer({ path }))))
      const stream = yield* NodeWebSocketClient.connect({ url: `ws+unix://${path}:/room?seat=1` })
      assert.strictEqual(yield* stream.read, "/room?seat=1")
      assert.deepStrictEqual(heads[0]![0], ["Host", "localhost"])
    }))

  it.live("a path without a socket, or no path, is TransportFailed", () =>
    Effect.gen(function*() {
      const directory = yield* transports.directory
      assert.strictEqual(codeOf(yield* failure({ url: `ws+unix://${directory}/none:/` })), "ENOENT")
      assert.strictEqual((yield* failure({ url: "ws+unix://" }))._tag, "TransportFailed")
    }))
})

describe("redirections", () => {
  const tls = { ca: identity.cert, ...visitor }
  const options = (port: number): NodeWebSocketClient.Options => ({
    url: `wss://localhost:${port}/`,
    followRedirects: 1,
    headers: { Authorization: "Bearer x" },
    tls: { ...tls, servername: "localhost" }
  })

  it.live("to another host show it no client certificate, no server name of the first and no credentials", () =>
    Effect.gen(function*() {
      const target = yield* answering(forbidden, identity)
      const source = yield* answering([
        "HTTP/1.1 307 x",
        `Location: https://127.0.0.1:${target.port}/y`
      ], identity)
      assert.deepInclude(yield* failure(options(source.port)), { _tag: "UpgradeDeclined", status: 403 })
      const shown = ({ certificate, head, servername }: Seen) => [certificate, servername, head.includes("Bearer")]
      assert.deepStrictEqual(source.seen.map(shown), [["DNS:visitor.test", "localhost", true]])
      assert.deepStrictEqual(target.seen.map(shown), [[undefined, false, false]])
    }))

  it.live("within one host keep them", () =>
    Effect.gen(function*() {
      const source = yield* answering(["HTTP/1.1 307 x", "Location: /y"], identity)
      const reason = yield* failure(options(source.port))
      assert.deepInclude(reason, { _tag: "RedirectRefused", rule: "TooMany" })
      assert.deepStrictEqual(source.seen.map(({ certificate, head }) => [certificate, head.includes("Bearer")]), [
        ["DNS:visitor.test", true],
        ["DNS:visitor.test", true]
      ])
    }))
})

describe("cookies", () => {
  const cookies = (headers: ReadonlyArray<readonly [string, string]>) =>
    headers.filter(([name]) => name.toLowerCase() === "set-cookie").map(([_, value]) => value)

  it.live("that a server sets are told, with a connection and with a refusal", () =>
    Effect.gen(function*() {
      const { port } = yield* answering(forbidden)
      const refusal = yield* failure({ url: `ws://127.0.0.1:${port}/` })
      assert.deepStrictEqual(cookies((refusal as WebSocketError.UpgradeDeclined).headers), ["a=1", "b=2"])
      const accept = () => Effect.succeed({ headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]] as const })
      const context = yield* Layer.build(
        WebSocketServer.serve(Effect.void).pipe(Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, accept })))
      )
      const { address } = yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
      const { port: open } = address as NetAddress.InetAddress
      const { handshake } = yield* NodeWebSocketClient.connect({ url: `ws://127.0.0.1:${open}/` })
      assert.deepStrictEqual(cookies(handshake.response.headers), ["a=1", "b=2"])
    }))
})
