/**
 * The least that JavaScript over `node:net` can do and still be right: every chunk is unmasked and sent on in one write,
 * no message is ever held, nothing is checked. What others cost above it is what they do.
 */
import * as Crypto from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { ready, setting } from "./child.ts"

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

const upgrade = (socket: Net.Socket, head: string): void => {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)![1]!
  const accept = Crypto.createHash("sha1").update(key + guid).digest("base64")
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
  )
}

const headSize = (second: number): number => {
  const length = second & 127
  return 6 + (length < 126 ? 0 : length === 126 ? 2 : 8)
}

/** Unmasks and frames anew what comes in. */
class Echo {
  readonly #socket: Net.Socket
  #key = 0
  #left = 0
  #head = Buffer.alloc(14)
  #have = 0

  constructor(socket: Net.Socket) {
    this.#socket = socket
  }

  receive(chunk: Buffer): void {
    // Without its key no header is longer than with it; what is kept of a header comes on top.
    const output = Buffer.allocUnsafe(chunk.length + 14)
    let at = 0
    let to = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left)
        this.#left -= end - at
        to = this.#unmask(chunk, at, end, output, to)
        at = end
      } else {
        this.#head[this.#have++] = chunk[at++]!
        if (this.#have >= 2 && this.#have === headSize(this.#head[1]!)) to = this.#begin(output, to)
      }
    }
    if (to > 0 && this.#socket.writable) this.#socket.write(output.subarray(0, to))
  }

  #begin(output: Buffer, to: number): number {
    const size = this.#have - 4
    if ((this.#head[0]! & 15) === 8) this.#socket.end(Buffer.from([0x88, 0])).removeAllListeners("data")
    this.#head[1]! &= 127
    this.#key = this.#head.readInt32LE(size)
    this.#left = size === 2 ? this.#head[1]! : size === 4 ? this.#head.readUInt16BE(2) : this.#head.readUInt32BE(6)
    this.#have = 0
    return to + this.#head.copy(output, to, 0, size)
  }

  #unmask(chunk: Buffer, at: number, end: number, output: Buffer, to: number): number {
    const key = this.#key
    const phase = at
    for (; at < end; at++) output[to++] = chunk[at]! ^ (key >> (((at - phase) & 3) << 3))
    const turned = ((end - phase) & 3) << 3
    if (turned > 0) this.#key = (key >>> turned) | (key << (32 - turned))
    return to
  }
}

const serve = (socket: Net.Socket): void => {
  socket.setNoDelay(true)
  socket.on("error", () => {})
  const echo = new Echo(socket)
  let head = ""
  socket.on("data", (chunk: Buffer) => {
    if (head.endsWith("\r\n\r\n")) return echo.receive(chunk)
    head += chunk.toString("latin1")
    if (head.endsWith("\r\n\r\n")) upgrade(socket, head)
  })
}

const server = setting.tls === undefined ? Net.createServer(serve) : Tls.createServer(setting.tls, serve)
server.listen(0, "127.0.0.1", () => ready((server.address() as Net.AddressInfo).port))
