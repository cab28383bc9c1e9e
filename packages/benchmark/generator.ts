/**
 * The load, as a process of its own: raw sockets, frames encoded beforehand and sent in batches, and of what comes back
 * the headers alone are looked at. Either it connects to a server, or listens for a client.
 */
import * as Crypto from "node:crypto"
import { once } from "node:events"
import * as Net from "node:net"
import { setTimeout } from "node:timers/promises"
import * as Tls from "node:tls"
import { Histogram } from "./histogram.ts"
import { listen, type Usage, usage } from "./lines.ts"
import { makeFrame, makeSequence, payloadOf, type Sequence, type Shape, Walker } from "./wire.ts"

/** What a load consists of. */
export interface LoadOptions {
  /**
   * `echo`: every message comes back. `fan-out`: the first connection's messages come back on all. `sink`: only receives.
   * `source`: sends as fast as the socket takes.
   */
  readonly kind: "echo" | "fan-out" | "sink" | "source"
  readonly shape: Shape
  readonly connections: number
  /** Messages on their way, on each connection. */
  readonly inFlight: number
  readonly tls?: boolean
}

/** What was counted since the mark before. */
export interface Mark extends Usage {
  readonly messages: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** Microseconds from sending to the end of the answer: p50, p90, p99. */
  readonly latency: readonly [number, number, number]
}

/** What is asked of the generator. */
export type Request =
  | { readonly do: "open"; readonly id: string; readonly port: number; readonly options: LoadOptions }
  | { readonly do: "listen"; readonly id: string; readonly options: LoadOptions }
  | { readonly do: "more"; readonly id: string; readonly connections: number }
  | { readonly do: "each" | "start" | "mark" | "stop" | "close"; readonly id: string }
  | { readonly do: "connects"; readonly port: number; readonly atOnce: number; readonly seconds: number }

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
const handshakesAtOnce = 64

const extensionOf = ({ deflate }: Shape): string =>
  deflate === undefined
    ? ""
    : `Sec-WebSocket-Extensions: permessage-deflate${
      deflate.takeover ? "" : "; server_no_context_takeover; client_no_context_takeover"
    }\r\n`

const requestOf = (port: number, shape: Shape): string =>
  `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${extensionOf(shape)}\r\n`

const bye = makeFrame(0x88, Buffer.from([3, 232]), Buffer.from([1, 2, 3, 4]))

/** One connection behind its handshake. */
class Peer {
  readonly walker = new Walker()
  readonly load: Load
  readonly socket: Net.Socket
  /** Whether all of what is sent was answered. */
  sent = 0
  seen = 0
  /** Where in the sequence it stands. */
  #at = 0
  #probe = 0
  #probeTime = 0
  /** What came, kept while it is being checked. */
  kept: Array<Buffer> | undefined

  constructor(load: Load, socket: Net.Socket) {
    this.load = load
    this.socket = socket
  }

  send(count: number, done?: () => void): void {
    const { bytes, count: period, offsets } = this.load.sequence
    const chunk = bytes.subarray(offsets[this.#at]!, offsets[this.#at + count]!)
    this.#at = (this.#at + count) % period
    if (this.#probeTime === 0) {
      this.#probe = this.sent
      this.#probeTime = performance.now()
    }
    this.sent += count
    this.load.bytesOut += chunk.length
    this.socket.write(chunk, done)
  }

  receive(chunk: Uint8Array, size: number): void {
    if (this.kept !== undefined) this.kept.push(Buffer.from(chunk.subarray(0, size)))
    this.load.bytesIn += size
    this.walker.walk(chunk, size)
    const news = this.walker.messages - this.seen
    if (news === 0) return
    this.seen += news
    if (this.#probeTime > 0 && this.seen > this.#probe) {
      this.load.latency.add((performance.now() - this.#probeTime) * 1000)
      this.#probeTime = 0
    }
    this.load.onMessages(this, news)
  }

  /** Sends batches for as long as the load runs, each when the kernel has taken the one before. */
  pour(): void {
    const count = this.load.options.inFlight
    this.send(count, () => {
      this.load.messages += count
      // Callbacks alone would leave no turn to anything else.
      if (this.load.running) setImmediate(() => this.pour())
    })
  }
}

let last: { readonly key: string; readonly sequence: Sequence } | undefined

/** The contenders of a cell have the same, one after another. */
const sequenceOf = (...args: Parameters<typeof makeSequence>): Sequence => {
  const key = JSON.stringify(args)
  if (last?.key !== key) last = { key, sequence: makeSequence(...args) }
  return last.sequence
}

class Load {
  readonly options: LoadOptions
  readonly sequence: Sequence
  readonly latency = new Histogram()
  readonly peers: Array<Peer> = []
  port = 0
  listener: Net.Server | undefined
  running = false
  messages = 0
  bytesIn = 0
  bytesOut = 0
  #published = 0

  constructor(options: LoadOptions, masked: boolean) {
    this.options = options
    const { inFlight, shape } = options
    // More than a window of text, so that a context never finds the same message again.
    const count = shape.size > 2 ** 18 ? 1 : shape.deflate ? Math.max(8, Math.ceil(2 ** 17 / shape.size)) : inFlight
    this.sequence = sequenceOf(shape, count, inFlight, masked)
  }

  onMessages(peer: Peer, news: number): void {
    const { connections, inFlight, kind } = this.options
    this.messages += news
    if (!this.running) return
    if (kind === "echo") peer.send(news)
    if (kind !== "fan-out") return
    const delivered = Math.floor(this.messages / connections)
    const free = inFlight - (this.#published - delivered)
    if (free > 0) this.publish(free)
  }

  publish(count: number): void {
    this.#published += count
    this.peers[0]!.send(count)
  }

  get pending(): boolean {
    if (this.options.kind === "fan-out") return this.messages < this.#published * this.options.connections
    return this.options.kind === "echo" && this.peers.some(({ seen, sent }) => seen < sent)
  }

  start(): void {
    this.running = true
    const { inFlight, kind } = this.options
    if (kind === "fan-out") this.publish(inFlight)
    if (kind === "echo") { for (const peer of this.peers) peer.send(inFlight) }
    if (kind === "source") { for (const peer of this.peers) peer.pour() }
    if (kind === "sink") { for (const { socket } of this.peers) socket.resume() }
  }

  /** Sends one message on each connection and waits for what comes of it. */
  async each(): Promise<void> {
    if (this.options.kind === "fan-out") this.publish(1)
    else for (const peer of this.peers) peer.send(1)
    await this.settle()
  }

  async settle(): Promise<void> {
    const deadline = performance.now() + 20_000
    while (this.pending) {
      if (performance.now() > deadline) throw new Error("what was sent did not come back")
      await setTimeout(2)
    }
  }

  mark(): Mark {
    const mark = { ...usage(), messages: this.messages, bytesIn: this.bytesIn, bytesOut: this.bytesOut }
    return { ...mark, latency: this.latency.take() }
  }
}

/** Reads a head, and gives what came behind it. */
const readHead = async (socket: Net.Socket): Promise<readonly [string, Buffer]> => {
  let bytes = Buffer.alloc(0)
  for (;;) {
    const [chunk] = await once(socket, "data") as [Buffer]
    bytes = Buffer.concat([bytes, chunk])
    const end = bytes.indexOf("\r\n\r\n")
    if (end >= 0) return [bytes.toString("latin1", 0, end + 4), bytes.subarray(end + 4)]
  }
}

const fail = (error: Error): never => {
  console.error(error)
  process.exit(1)
}

const attach = (load: Load, socket: Net.Socket, rest: Buffer): Peer => {
  const peer = new Peer(load, socket)
  socket.on("data", (chunk: Buffer) => peer.receive(chunk, chunk.length))
  socket.on("close", () => load.running ? fail(new Error("the connection was closed")) : undefined)
  if (rest.length > 0) peer.receive(rest, rest.length)
  load.peers.push(peer)
  return peer
}

const dial = async (port: number, tls: boolean): Promise<Net.Socket> => {
  const target = { port, host: "127.0.0.1", rejectUnauthorized: false, noDelay: true }
  const socket = tls ? Tls.connect(target) : Net.connect(target)
  await once(socket, tls ? "secureConnect" : "connect")
  socket.on("error", () => {})
  return socket
}

const connect = async (load: Load): Promise<void> => {
  const socket = await dial(load.port, load.options.tls === true)
  socket.write(requestOf(load.port, load.options.shape))
  const [head, rest] = await readHead(socket)
  if (!head.startsWith("HTTP/1.1 101")) throw new Error(`refused: ${head}`)
  const agreed = /^sec-websocket-extensions: *permessage-deflate/im.test(head)
  if (agreed !== (load.options.shape.deflate !== undefined)) throw new Error(`compression was not agreed: ${head}`)
  attach(load, socket, rest)
}

const inParallel = async (count: number, run: () => Promise<void>): Promise<void> => {
  let left = count
  const lane = async () => {
    while (left-- > 0) await run()
  }
  await Promise.all(Array.from({ length: Math.min(count, handshakesAtOnce) }, lane))
}

/** One message there and back, byte for byte. */
const check = async (load: Load): Promise<void> => {
  const peer = load.peers[0]!
  peer.kept = []
  if (load.options.kind === "fan-out") load.publish(1)
  else peer.send(1)
  await load.settle()
  const answer = payloadOf(Buffer.concat(peer.kept))
  peer.kept = undefined
  if (!answer.equals(load.sequence.first)) throw new Error("what came back is not what was sent")
}

const accept = async (load: Load, socket: Net.Socket): Promise<void> => {
  socket.on("error", () => {})
  socket.setNoDelay(true)
  const [head, rest] = await readHead(socket)
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)![1]!
  const answer = Crypto.createHash("sha1").update(key + guid).digest("base64")
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`
  )
  const peer = attach(load, socket, rest)
  // Back-pressure holds clients that send without end until it is their turn.
  if (load.options.kind === "sink") peer.socket.pause()
}

/** Connects, says Close, waits for the end, and begins anew; how often it did. */
const visit = async (port: number): Promise<void> => {
  const socket = await dial(port, false)
  socket.write(requestOf(port, { type: "binary", size: 0 }))
  const [head] = await readHead(socket)
  if (!head.startsWith("HTTP/1.1 101")) throw new Error(`refused: ${head}`)
  const ended = once(socket, "close")
  socket.write(bye)
  await ended
}

const connects = async (port: number, atOnce: number, seconds: number) => {
  let messages = 0
  const begin = usage()
  const deadline = begin.time + seconds * 1000
  const lane = async () => {
    while (performance.now() < deadline) {
      await visit(port)
      messages++
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  const end = usage()
  return { messages, cpu: end.cpu - begin.cpu, time: end.time - begin.time }
}

const loads = new Map<string, Load>()

const open = async (id: string, port: number, options: LoadOptions): Promise<void> => {
  const load = new Load(options, true)
  load.port = port
  loads.set(id, load)
  await inParallel(options.connections, () => connect(load))
  await check(load)
}

const serve = async (id: string, options: LoadOptions): Promise<{ readonly port: number }> => {
  const load = new Load(options, false)
  loads.set(id, load)
  load.listener = Net.createServer((socket) => void accept(load, socket).catch(fail)).listen(0, "127.0.0.1")
  await once(load.listener, "listening")
  return { port: (load.listener.address() as Net.AddressInfo).port }
}

const stop = async (load: Load): Promise<void> => {
  load.running = false
  if (load.options.kind === "sink") { for (const { socket } of load.peers) socket.pause() }
  await load.settle()
}

const close = async (id: string, load: Load): Promise<void> => {
  load.running = false
  loads.delete(id)
  load.listener?.close()
  await Promise.all(load.peers.map(({ socket }) => {
    const ended = socket.closed ? undefined : once(socket, "close")
    socket.destroy()
    return ended
  }))
}

const answer = (request: Request): unknown => {
  if (request.do === "connects") return connects(request.port, request.atOnce, request.seconds)
  if (request.do === "open") return open(request.id, request.port, request.options)
  if (request.do === "listen") return serve(request.id, request.options)
  const load = loads.get(request.id)!
  if (request.do === "more") return inParallel(request.connections, () => connect(load))
  if (request.do === "each") return load.each()
  if (request.do === "start") return load.start()
  if (request.do === "mark") return load.mark()
  return request.do === "stop" ? stop(load) : close(request.id, load)
}

process.on("unhandledRejection", (error) => fail(error as Error))
listen(answer)
