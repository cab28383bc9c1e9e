/**
 * The server of `ws`, sending bulk: each message once the socket has taken the one before.
 */
import type * as Net from "node:net"
import { type WebSocket, WebSocketServer } from "ws"
import { bulk, ready } from "./child.ts"

const { message, messages } = bulk()

const sendAll = (socket: WebSocket, left: number): void => {
  if (left > 0) socket.send(message, (error) => error == null && sendAll(socket, left - 1))
}

const server = new WebSocketServer({ port: 0, host: "127.0.0.1" })
server.on("connection", (socket) => {
  socket.on("error", () => {})
  sendAll(socket, messages)
})
server.on("listening", () => ready((server.address() as Net.AddressInfo).port))
