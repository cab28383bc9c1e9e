/**
 * The client of `ws`: sends without end, only receives, or echoes.
 */
import { WebSocket } from "ws"
import { maxMessageSize } from "../setting.ts"
import { makePayload } from "../wire.ts"
import { ready, setting } from "./child.ts"

const { batch = 1, task, url = "" } = setting

const message = makePayload({ type: "binary", size: 125 }, 0)
const socket = new WebSocket(url, { maxPayload: maxMessageSize, perMessageDeflate: false })

/** The callback of the last is the back-pressure that `ws` has; without a turn between them nothing else would run. */
const send = (): void => {
  for (let left = batch - 1; left > 0; left--) socket.send(message)
  socket.send(message, () => setImmediate(send))
}

socket.on("error", () => {})
socket.on("close", () => process.exit(0))
socket.on("open", () => {
  ready()
  if (task === "send") send()
})
if (task === "echo") socket.on("message", (data: Buffer, binary: boolean) => socket.send(data, { binary }))
if (task === "receive") socket.on("message", () => {})
