/**
 * Gaps 1 and 12: what is held for a peer that does not read, and of a peer that nobody reads.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Socket from "effect/socket/Socket"
import { makeSocket, portOf, unread, type Whose } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const mebibyte = 1024 * 1024

const held = () => process.memoryUsage().arrayBuffers

const writing = Effect.fnUntraced(function*(whose: Whose) {
  const url = yield* unread((peer) => Effect.andThen(ScriptedPeer.handshake(peer), Effect.never))
  const socket = yield* makeSocket(whose, url)
  yield* socket.reader
  const writer = yield* socket.writer
  const before = held()
  const message = new Uint8Array(mebibyte)
  let accepted = 0
  const counted = Effect.andThen(writer.write(message), Effect.sync(() => accepted++))
  yield* Effect.forkScoped(Effect.repeat(counted, { times: 299 }))
  yield* Measurement.settled(() => accepted)
  return { accepted, mebibytes: Math.round((held() - before) / mebibyte) }
})

const messages = 64

/** A server that sends as fast as it is read; and how many messages it has got rid of. */
const sending = Effect.gen(function*() {
  const sent = { count: 0 }
  const flood = Effect.gen(function*() {
    const stream = yield* WebSocketStream
    const message = new Uint8Array(mebibyte)
    for (; sent.count < messages; sent.count++) yield* stream.write(message)
    yield* stream.closed
  })
  const server = WebSocketServer.serve(flood).pipe(
    Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, config: { drainTimeout: 0, closeTimeout: 100 } }))
  )
  const { address } = Context.get(yield* Layer.build(server), WebSocketServer.WebSocketServer)
  return { sent, url: `ws://127.0.0.1:${portOf(address)}/` }
})

const layerReader = (whose: Whose, url: string, highWaterMark: number | undefined) =>
  whose === "theirs"
    ? NodeSocket.layerWebSocket(url, { highWaterMark })
    : NodeWebSocketClient.layerSocket({ url, config: { readBuffer: highWaterMark, closeTimeout: 100 } })

const reading = Effect.fnUntraced(function*(whose: Whose, highWaterMark?: number) {
  const { sent, url } = yield* sending
  const socket = Context.get(yield* Layer.build(layerReader(whose, url, highWaterMark)), Socket.Socket)
  const { pull } = yield* socket.reader
  const taken = yield* Measurement.settled(() => sent.count)
  let read = 0
  const count = Effect.map(pull, (batch) => {
    read += batch.length
    return read < messages
  })
  const end = yield* Effect.match(Effect.repeat(count, { while: (more) => more }), {
    onSuccess: () => "then all read",
    onFailure: ({ reason }) => `then ${read} read and ${reason._tag}`
  })
  return { taken, end, isWhole: read === messages }
})

const showReading = ({ end, taken }: { readonly taken: number; readonly end: string }) => `${taken} taken, ${end}`
const isBounded = ({ isWhole, taken }: { readonly taken: number; readonly isWhole: boolean }) =>
  taken < messages / 2 && isWhole

const inBrowsers = "in a page the browser's own WebSocket is all there is, and that cannot be paused"

export const measurements = [
  Measurement.make({
    gap: 1,
    what: "of 300 x 1 MiB to a peer that reads nothing",
    theirs: writing("theirs"),
    ours: writing("ours"),
    show: ({ accepted, mebibytes }) => `${accepted} accepted, ${mebibytes} MiB held`,
    isGood: ({ accepted, mebibytes }) => accepted < 300 && mebibytes < 32
  }),
  Measurement.make({
    gap: 12,
    what: "of 64 x 1 MiB that nobody reads, with Node's own WebSocket",
    theirs: reading("theirs"),
    ours: reading("ours"),
    show: showReading,
    isGood: isBounded,
    reason: inBrowsers
  }),
  Measurement.make({
    gap: 12,
    what: "the same with a limit of 1 MiB",
    theirs: reading("theirs", mebibyte),
    ours: reading("ours", mebibyte),
    show: showReading,
    isGood: isBounded
  })
]
