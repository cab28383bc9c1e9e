/**
 * Two things that go wrong on purpose: a server that refuses, and a peer that breaks a rule.
 */
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { destroy, readerBytes, Transport } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const refusal = new WebSocketServer.Refusal({
  status: 401,
  headers: { "WWW-Authenticate": "Bearer realm=\"demo\"", "Retry-After": "30" },
  body: "Show your token."
})

/** The error of a client that a server refuses. */
export const refused = WebSocketClient.connect({ url: "ws://localhost/private" }).pipe(
  Effect.flip,
  Effect.scoped,
  Effect.provide(
    WebSocketServer.serve(Effect.void).pipe(
      Layer.provide(WebSocketServer.layer({ accept: () => Effect.fail(refusal) }))
    )
  )
)

const request = [
  "GET / HTTP/1.1",
  "Host: localhost",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "\r\n"
].join("\r\n")

/** FIN, a reserved bit that no extension owns, text; masked, empty. */
export const badFrame = Uint8Array.of(0xc1, 0x80, 0, 0, 0, 0)

/** The error of a server whose peer, bytes and no library, sets a reserved bit; and the last bytes the peer is sent. */
export const violated = Effect.gen(function*() {
  const [client, server] = yield* MemoryTransport.makePair()
  const pull = yield* readerBytes(client)
  const peer = yield* client.writer
  yield* peer.write(request)
  const stream = yield* Effect.provideService(WebSocketServer.accept(), Transport, server)
  yield* pull
  yield* peer.write(badFrame)
  const error = yield* Effect.flip(stream.read)
  const answer = (yield* pull).at(-1)!
  yield* destroy(peer)
  return { error, answer }
}).pipe(Effect.scoped)
