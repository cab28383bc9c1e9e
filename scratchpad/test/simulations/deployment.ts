/**
 * Servers that follow each other at one address under simulation. No message is lost, nobody is refused who is not told
 * when to come back, and everybody comes back to the server that is there last.
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import type * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import type * as FaultSchedule from "effect-websocket/testing/FaultSchedule"
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import { HandshakeError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Chat from "../../shared/chat.ts"
import * as Deployment from "../../shared/deployment.ts"
import * as Conditions from "./conditions.ts"
import * as Conversation from "./conversation.ts"

const versions = 4

/** Without what makes a host refuse by itself. */
const kinds: ReadonlyArray<FaultSchedule.Kind> = ["Partition", "Slow", "Reset", "Vanish", "Truncate"]

/** A version of the server, which names itself in its answers. */
const server = (version: number) =>
  WebSocketServer.serve(Chat.handler).pipe(
    Layer.provide(WebSocketServer.layer({
      accept: () => Effect.succeed({ headers: { "X-Version": `${version}` } }),
      config: Conditions.config
    }))
  )

const connect = WebSocketClient.dial({ url: "ws://server/", config: Conditions.config })

type State = ReconnectingWebSocket.State<unknown>

const versionOf = (state: State): number | undefined =>
  state._tag === "Open" ? Number(HttpHead.values(state.stream.handshake.response.headers, "x-version")[0]) : undefined

/** Whether a server has said no without a time to come back at, or the host has no server. */
const isRefusal = (state: State): boolean => {
  if (state._tag !== "Waiting" || !(state.failure instanceof HandshakeError)) return false
  const { message, reason } = state.failure
  return reason._tag === "UpgradeDeclined" ? reason.retryAfter === undefined : message.includes("refuses connections")
}

/** Where a member has been. */
interface Seen {
  refusals: number
  /** The version that it is connected to. */
  version: number | undefined
}

const follow = Effect.fnUntraced(function*(member: Chat.Client<unknown>) {
  const seen: Seen = { refusals: 0, version: undefined }
  yield* Effect.forkScoped(Stream.runForEach(member.stateChanges, (state) =>
    Effect.sync(() => {
      if (isRefusal(state)) seen.refusals++
      seen.version = versionOf(state)
    })))
  return seen
})

const deployAll = Effect.fnUntraced(function*(deployment: Deployment.Deployment) {
  for (let version = 1; version <= versions; version++) {
    yield* deployment.deploy(server(version))
    yield* Conditions.pause
  }
})

/** What is wrong with where a member has been. */
const astray = ({ refusals, version }: Seen): string | undefined => {
  if (refusals > 0) return `Refused ${refusals} times`
  return version === versions ? undefined : `In the end with version ${version}`
}

const scenario = Effect.gen(function*() {
  const deployment = yield* Deployment.make
  yield* deployment.deploy(server(0))
  const deploying = yield* Effect.forkScoped(deployAll(deployment))
  const members = yield* Effect.forEach(
    Conversation.members,
    (name) => Effect.provide(Chat.client({ name, connect }), SimulatedNetwork.layerDialer(name))
  )
  const seen = yield* Effect.forEach(members, follow)
  const heard = yield* Effect.forEach(members, Conversation.talk, { concurrency: "unbounded" })
  yield* Fiber.join(deploying)
  yield* Effect.sleep(Conditions.calm)
  const message = [Conversation.broken(heard), ...seen.map(astray)].find((problem) => problem !== undefined)
  if (message !== undefined) return yield* new Conditions.Broken({ message })
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.mergeAll(Chat.layerRoom(), SimulatedNetwork.layerListen("server", 80)))
)

export const { check, observe } = Conditions.simulated({ clients: Conversation.members, kinds }, scenario)
