/**
 * The server of `ws`.
 */
import * as Http from "node:http"
import * as Https from "node:https"
import type * as Net from "node:net"
import { type WebSocket, WebSocketServer } from "ws"
import { maxMessageSize } from "../setting.ts"
import { ready, setting } from "./child.ts"

const { deflate, task, tls } = setting

const http = tls === undefined ? Http.createServer() : Https.createServer(tls)

const server = new WebSocketServer({
  server: http,
  maxPayload: maxMessageSize,
  perMessageDeflate: deflate !== undefined && {
    serverNoContextTakeover: !deflate.takeover,
    clientNoContextTakeover: !deflate.takeover,
    threshold: deflate.threshold,
    zlibDeflateOptions: { level: 6, memLevel: 8 }
  }
})

const echo = (socket: WebSocket) =>
  socket.on("message", (data: Buffer, binary: boolean) => socket.send(data, { binary }))

const tellAll = (socket: WebSocket) =>
  socket.on("message", (data: Buffer, binary: boolean) => {
    for (const to of server.clients) to.send(data, { binary })
  })

server.on("connection", (socket) => {
  socket.on("error", () => {})
  if (task === "echo") echo(socket)
  else tellAll(socket)
})
http.listen(0, "127.0.0.1", () => ready((http.address() as Net.AddressInfo).port))
