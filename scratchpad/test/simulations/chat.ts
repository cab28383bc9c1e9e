/**
 * The chat under simulation. Everybody sees all that is said, once and in one order, and each speaker's words in theirs,
 * whatever happens to the network and however often the server restarts.
 */
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Chat from "../../shared/chat.ts"
import * as Conditions from "./conditions.ts"
import * as Conversation from "./conversation.ts"

const server = WebSocketServer.serve(Chat.handler).pipe(
  Layer.provide(WebSocketServer.layer({ config: Conditions.config })),
  Layer.provide(SimulatedNetwork.layerListen("server", 80))
)

const connect = WebSocketClient.dial({ url: "ws://server/", config: Conditions.config })

const talk = (name: string) =>
  Effect.provide(
    Effect.flatMap(Chat.client({ name, connect }), Conversation.talk),
    SimulatedNetwork.layerDialer(name)
  )

const scenario = Effect.gen(function*() {
  yield* Conditions.restarting(server)
  const message = Conversation.broken(
    yield* Effect.forEach(Conversation.members, talk, { concurrency: "unbounded" })
  )
  if (message !== undefined) return yield* new Conditions.Broken({ message })
}).pipe(Effect.scoped, Effect.provide(Chat.layerRoom()))

export const { check, observe } = Conditions.simulated(
  { clients: Conversation.members, kinds: Conditions.accidents },
  scenario
)
