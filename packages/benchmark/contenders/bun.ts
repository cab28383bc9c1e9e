/**
 * Bun's own server.
 */
import { maxMessageSize } from "../setting.ts"
import { ready, setting } from "./child.ts"

/** The part of Bun's that is used here. */
interface Socket {
  readonly send: (message: string | Uint8Array) => number
  readonly subscribe: (topic: string) => void
}
interface Server {
  readonly port: number
  readonly upgrade: (request: unknown) => boolean
  readonly publish: (topic: string, message: string | Uint8Array) => number
}
declare const Bun: { readonly serve: (options: object) => Server }

const { task, tls } = setting

const server: Server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  tls,
  fetch: (request: unknown) => server.upgrade(request) ? undefined : new Response("", { status: 400 }),
  websocket: {
    maxPayloadLength: maxMessageSize,
    backpressureLimit: maxMessageSize,
    open: (socket: Socket) => task === "echo" ? undefined : socket.subscribe("all"),
    message: (socket: Socket, message: string | Uint8Array) =>
      task === "echo" ? void socket.send(message) : void server.publish("all", message)
  }
})

ready(server.port)
