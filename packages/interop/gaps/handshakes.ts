/**
 * Gaps 4, 5 and 7: what the ends of a handshake say to each other, and to the application; and how a client leaves.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import { HandshakeError } from "effect-websocket/WebSocketError"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { ask, makeSocket, readAll, scripted, serve, unread, upgraded, type Whose } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

const refusal = encoder.encode(
  [
    "HTTP/1.1 401 Unauthorized",
    "WWW-Authenticate: Bearer realm=\"gaps\"",
    "Retry-After: 7",
    "Content-Length: 13",
    "Connection: close",
    "",
    "token expired"
  ].join("\r\n")
)

/** What a program can learn of a refusal from the error that it is given. */
interface Told {
  readonly status: number | undefined
  readonly challenge: string | undefined
  readonly retryAfter: number | undefined
  readonly body: string | undefined
  readonly words: string
}

const nothing = { status: undefined, challenge: undefined, retryAfter: undefined, body: undefined }

const told = ({ reason }: Socket.SocketError): Told => {
  const event = "cause" in reason ? reason.cause as { readonly error?: unknown; readonly message?: string } : {}
  const error = event.error ?? event
  const words = event.message ?? ""
  if (!(error instanceof HandshakeError) || error.reason._tag !== "UpgradeDeclined") return { ...nothing, words }
  const { body, headers, retryAfter, status } = error.reason
  const [challenge] = HttpHead.values(headers, "www-authenticate")
  return { status, challenge, retryAfter, body: decoder.decode(body), words }
}

const layerUndici = (url: string) => NodeSocket.layerWebSocket(url)

const refused = Effect.fnUntraced(function*(
  make: (url: string) => Effect.Effect<Socket.Socket, unknown, Scope.Scope>
) {
  const url = yield* unread((peer) =>
    Effect.andThen(ScriptedPeer.takeHead(peer), Effect.andThen(peer.send(refusal), peer.leave))
  )
  const socket = yield* make(url)
  return told(yield* Effect.flip(Effect.scoped(socket.reader)))
})

const showTold = ({ body, challenge, retryAfter, status, words }: Told) =>
  status === undefined
    ? `only the words "${words}"`
    : `status ${status}, ${challenge}, again in ${retryAfter} ms, "${body}"`

const isTold = ({ body, challenge, retryAfter, status }: Told) =>
  status === 401 && challenge === "Bearer realm=\"gaps\"" && retryAfter === 7000 && body === "token expired"

const theirRoute = upgraded(readAll)
const ourRoute = HttpUpgrade.upgrade(Effect.flatMap(WebSocketStream, ({ closed }) => closed))

const asked = Effect.fnUntraced(function*(whose: Whose, headers: Record<string, string>) {
  const port = yield* serve(HttpRouter.add("GET", "/", whose === "theirs" ? theirRoute : ourRoute), whose)
  return yield* ask(port, "/", headers)
})

const chosen = (whose: Whose) =>
  Effect.map(
    asked(whose, { "Sec-WebSocket-Protocol": "admin, chat" }),
    ({ headers, status }) => ({ status, subprotocol: headers["sec-websocket-protocol"] })
  )

const withHeaders = Effect.fnUntraced(function*(whose: Whose) {
  const route = Effect.gen(function*() {
    const request = yield* HttpServerRequest
    const socket = yield* Effect.orDie(request.upgradeWith({ headers: { "X-Room": "blue" } }))
    yield* Effect.ignore(readAll(socket))
    return HttpServerResponse.empty()
  }).pipe(Effect.scoped)
  const { headers, status } = yield* ask(yield* serve(HttpRouter.add("GET", "/", route), whose), "/", {})
  return { status, room: headers["x-room"] }
})

const plain = Effect.fnUntraced(function*(whose: Whose) {
  const routes = RpcServer.layer(RpcGroup.make()).pipe(
    Layer.provide(RpcServer.layerProtocolWebsocket({ path: "/rpc" })),
    Layer.provide(RpcSerialization.layerJson)
  )
  return (yield* ask(yield* serve(routes, whose), "/rpc", "plain")).status
})

const attempts = Effect.fnUntraced(function*(whose: Whose) {
  const seen = yield* Queue.unbounded<string>()
  const url = yield* unread((peer) =>
    Effect.flatMap(
      ScriptedPeer.takeHead(peer),
      ({ head }) => Queue.offer(seen, /X-Token: (.*)\r/i.exec(head)?.[1] ?? "")
    )
  )
  let tokens = 0
  const socket = yield* makeSocket(whose, url, () => ({ "X-Token": `token ${++tokens}` }))
  yield* Effect.ignore(Effect.scoped(socket.reader))
  yield* Effect.ignore(Effect.scoped(socket.reader))
  return yield* Effect.replicateEffect(Queue.take(seen), 2)
})

const answerTime = 200

const left = Effect.fnUntraced(function*(whose: Whose) {
  const line = yield* Deferred.make<string>()
  let answered = false
  const url = yield* scripted(Effect.fnUntraced(function*(peer) {
    yield* Deferred.succeed(line, yield* peer.next)
    yield* Effect.sleep(answerTime)
    answered = true
    yield* peer.send(ScriptedPeer.close(1011))
    yield* peer.end
    yield* peer.next
  }))
  const socket = yield* makeSocket(whose, url)
  const scope = yield* Scope.make()
  yield* Scope.provide(socket.reader, scope)
  const millis = yield* Measurement.millisOf(Scope.close(scope, Exit.fail("on purpose")))
  const waited = answered
  return { line: yield* Deferred.await(line), millis, waited }
})

export const measurements = [
  Measurement.make({
    gap: 4,
    what: "of a 401, with ws",
    theirs: refused((url) => makeSocket("theirs", url)),
    ours: refused((url) => makeSocket("ours", url)),
    show: showTold,
    isGood: isTold
  }),
  Measurement.make({
    gap: 4,
    what: "of a 401, with Node's own WebSocket, ours behind Effect's Socket.makeWebSocket",
    theirs: refused((url) => Effect.map(Layer.build(layerUndici(url)), Context.get(Socket.Socket))),
    ours: refused((url) =>
      Effect.map(
        Layer.build(Socket.layerWebSocket(url).pipe(Layer.provide(NodeWebSocketClient.layerWebSocketConstructor()))),
        Context.get(Socket.Socket)
      )
    ),
    show: showTold,
    isGood: isTold
  }),
  Measurement.make({
    gap: 5,
    what: "a page of another site is answered",
    theirs: asked("theirs", { Origin: "https://evil.example" }),
    ours: asked("ours", { Origin: "https://evil.example" }),
    show: ({ status }) => String(status),
    isGood: ({ status }) => status === 403
  }),
  Measurement.make({
    gap: 5,
    what: "of the subprotocols admin and chat, the application having chosen none",
    theirs: chosen("theirs"),
    ours: chosen("ours"),
    show: ({ status, subprotocol }) => `${status} with ${subprotocol ?? "none"}`,
    isGood: ({ status, subprotocol }) => status === 101 && subprotocol === undefined
  }),
  Measurement.make({
    gap: 5,
    what: "upgradeWith a header",
    theirs: withHeaders("theirs"),
    ours: withHeaders("ours"),
    show: ({ room, status }) => `${status} ${room === undefined ? "without it" : "with it"}`,
    isGood: ({ room, status }) => status === 101 && room === "blue"
  }),
  Measurement.make({
    gap: 5,
    what: "a plain GET of an RPC route is answered",
    theirs: plain("theirs"),
    ours: plain("ours"),
    show: String,
    isGood: (status) => status === 426
  }),
  Measurement.make({
    gap: 7,
    what: "sent with two attempts",
    theirs: attempts("theirs"),
    ours: attempts("ours"),
    show: (tokens) => tokens.join(", then "),
    isGood: (tokens) => tokens.join() === "token 1,token 2"
  }),
  Measurement.make({
    gap: 7,
    what: `a program that fails leaves with, the peer answering after ${answerTime} ms`,
    theirs: left("theirs"),
    ours: left("ours"),
    show: ({ line, millis }) => `${line}, gone after ${millis} ms`,
    isGood: ({ line, waited }) => line === "close 1011" && waited
  })
]
