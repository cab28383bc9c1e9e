/**
 * Who may connect is decided before the upgrade, and whoever may not learns why.
 *
 *     node scratchpad/authentication.ts
 *
 * You will see a client whose token is too old refused with 401, and the server's words on it; the same client connect
 * with a fresh one, since its options are an Effect that runs for every attempt; a page's cookie do for a token; and a
 * page of another site refused with 403, cookie or not.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as Layer from "effect/Layer"
import { urlOf } from "./shared/urls.ts"

/** Whose each token is. */
const tokens: { readonly [token: string]: string } = { "ann-1": "expired", "ann-2": "Ann", "bob-1": "Bob" }

const nameOf = ({ headers }: HttpHead.RequestHead): string | undefined => {
  const [bearer] = HttpHead.values(headers, "authorization")
  const cookies = Cookies.parseHeader(HttpHead.values(headers, "cookie").join("; "))
  return tokens[bearer?.replace(/^Bearer /, "") ?? cookies["session"] ?? ""]
}

const refuse = (why: string) =>
  Effect.fail(
    new WebSocketServer.Refusal({
      status: 401,
      headers: { "WWW-Authenticate": "Bearer", "Content-Type": "text/plain" },
      body: why
    })
  )

const accept = ({ head }: WebSocketServer.UpgradeRequest) => {
  const name = nameOf(head)
  if (name === undefined) return refuse("Who are you?")
  if (name === "expired") return refuse("Your token is too old.")
  return Effect.succeed({ headers: { "X-Name": name } })
}

const greet = WebSocketStream.use((stream) =>
  stream.write(`Welcome, ${HttpHead.values(stream.handshake.response.headers, "x-name")[0]}.`)
)

const server = WebSocketServer.serve(greet).pipe(
  Layer.provideMerge(NodeWebSocketServer.layer({ host: "127.0.0.1", port: 0, accept }))
)

/** What the server said in refusing, printed. */
const explain = ({ reason }: HandshakeError) =>
  reason._tag === "UpgradeDeclined"
    ? Console.log(`refused with ${reason.status}: ${new TextDecoder().decode(reason.body)}`)
    : Console.log(reason.message)

const isUnauthorized = ({ reason }: HandshakeError) => reason._tag === "UpgradeDeclined" && reason.status === 401

const program = Effect.gen(function*() {
  const { address } = yield* WebSocketServer.WebSocketServer
  const url = urlOf(address, false)
  const greeted = (options: NodeWebSocketClient.Options | Effect.Effect<NodeWebSocketClient.Options>) =>
    NodeWebSocketClient.connect(options).pipe(
      Effect.flatMap((stream) => stream.read),
      Effect.tap((greeting) => Console.log(greeting)),
      Effect.scoped
    )

  let issued = 0
  const freshToken = Effect.sync(() => `ann-${++issued}`)
  const options = Effect.map(freshToken, (token) => ({ url, headers: { Authorization: `Bearer ${token}` } }))
  yield* greeted(options).pipe(
    Effect.tapErrorTag("HandshakeError", explain),
    Effect.retry({ times: 1, while: (error) => error._tag === "HandshakeError" && isUnauthorized(error) })
  )

  yield* greeted({ url, headers: { Cookie: "theme=dark; session=bob-1" } })
  const elsewhere = { Cookie: "session=bob-1", Origin: "https://elsewhere.example" }
  yield* Effect.catchTag(greeted({ url, headers: elsewhere }), "HandshakeError", explain)
})

program.pipe(Effect.provide(server), NodeRuntime.runMain)
