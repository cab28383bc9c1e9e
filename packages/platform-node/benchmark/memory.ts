/**
 * Memory of a connection that does nothing, ours beside `ws`:
 *
 *   node packages/platform-node/benchmark/memory.ts
 *
 * A server process of its own for each row, with 500 connections over loopback from
 * this one. Kibibytes a connection, over the server before any came:
 *
 * - `idle`: after the handshake
 * - `used`: after one message of 2 KiB of JSON was echoed
 * - `later`: after another ten seconds, in which ours lets go of contexts (`releaseAfter` is 4 seconds here)
 *
 * each as what JavaScript holds after a full collection (heap and array buffers), and
 * as resident memory, which has zlib's contexts. The allocator may keep what was freed
 * and use it again for what comes next: with MALLOC_MMAP_THRESHOLD_=16384 in the
 * environment glibc gives it back, and `later` shows what was let go.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import { once } from "node:events"
import { createRequire } from "node:module"
import { setTimeout } from "node:timers/promises"

const count = 500
const kinds = ["ours, plain", "ws, plain", "ours, compressed", "ours, no takeover", "ws, compressed", "ws, no takeover"]

/** The part of `ws` that is used here; it comes with @effect/platform-node. */
interface Socket extends NodeJS.EventEmitter {
  readonly send: (data: string | Uint8Array, options?: { readonly binary: boolean }) => void
  readonly terminate: () => void
}
const Ws = createRequire(import.meta.url)("ws") as {
  readonly WebSocket: new(url: string, options: object) => Socket
  readonly WebSocketServer: new(options: object) => NodeJS.EventEmitter & { readonly address: () => { port: number } }
}

const message = JSON.stringify(
  Array.from({ length: 25 }, (_, i) => ({ id: i * 7919, name: `row ${i}`, tags: ["a", "b"], value: i / 7 }))
)

const noTakeover = { serverNoContextTakeover: true, clientNoContextTakeover: true }

const serveOurs = (kind: string): Promise<number> => {
  const echo = Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))
  const permessageDeflate = kind.includes("plain")
    ? undefined
    : { releaseAfter: "4 seconds" as const, ...(kind.includes("no takeover") ? noTakeover : {}) }
  const server = WebSocketServer.serve(echo).pipe(
    Layer.provideMerge(NodeWebSocketServer.layer({ port: 0, permessageDeflate })),
    Layer.provide(NodeDeflate.layer)
  )
  return new Promise((resolve) => {
    const listening = Effect.map(WebSocketServer.WebSocketServer, ({ address }) => {
      if (NetAddress.isInetAddress(address)) resolve(address.port)
    })
    Effect.runFork(Effect.scoped(Effect.flatMap(
      Layer.build(server),
      (context) => Effect.andThen(Effect.provideContext(listening, context), Effect.never)
    )))
  })
}

const serveWs = async (kind: string): Promise<number> => {
  const perMessageDeflate = !kind.includes("plain") && (kind.includes("no takeover") ? noTakeover : true)
  const server = new Ws.WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate })
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => {})
    socket.on("message", (data: Uint8Array, binary: boolean) => socket.send(data, { binary }))
  })
  await once(server, "listening")
  return server.address().port
}

interface Memory {
  readonly resident: number
  readonly held: number
}

const measure = async (): Promise<Memory> => {
  for (let i = 0; i < 4; i++) {
    globalThis.gc!()
    await setTimeout(50)
  }
  const { external, heapUsed, rss } = process.memoryUsage()
  return { resident: rss, held: heapUsed + external }
}

const serve = async (kind: string): Promise<void> => {
  const port = await (kind.startsWith("ours") ? serveOurs(kind) : serveWs(kind))
  process.on("message", async () => process.send!(await measure()))
  process.on("disconnect", () => process.exit())
  process.send!(port)
}

const answerOf = async (server: ChildProcess.ChildProcess): Promise<unknown> => (await once(server, "message"))[0]

const ask = async (server: ChildProcess.ChildProcess): Promise<Memory> => {
  server.send("measure")
  return await answerOf(server) as Memory
}

const connect = async (port: number, perMessageDeflate: boolean): Promise<Socket> => {
  const socket = new Ws.WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate })
  await once(socket, "open")
  return socket
}

const echo = async (socket: Socket): Promise<void> => {
  socket.send(message)
  await once(socket, "message")
}

const run = async (kind: string): Promise<Record<string, string>> => {
  const server = ChildProcess.fork(import.meta.filename, [kind], { execArgv: ["--expose-gc"] })
  const port = await answerOf(server) as number
  // What is loaded and compiled with the first connections is not theirs.
  for (let i = 0; i < 50; i++) {
    const socket = await connect(port, !kind.includes("plain"))
    await echo(socket)
    socket.terminate()
  }
  await setTimeout(5000)
  const before = await ask(server)
  const sockets: Array<Socket> = []
  while (sockets.length < count) sockets.push(await connect(port, !kind.includes("plain")))
  const idle = await ask(server)
  for (const socket of sockets) await echo(socket)
  const used = await ask(server)
  await setTimeout(10_000)
  const later = await ask(server)
  for (const socket of sockets) socket.terminate()
  server.disconnect()
  const each = (now: Memory, field: keyof Memory) => ((now[field] - before[field]) / count / 1024).toFixed(1)
  const cells = Object.entries({ idle, used, later }).map(([name, now]) => [
    [name, each(now, "held")],
    [`${name}, resident`, each(now, "resident")]
  ])
  return Object.fromEntries(cells.flat())
}

const main = async () => {
  const rows: Record<string, Record<string, string>> = {}
  for (const kind of kinds) rows[kind] = await run(kind)
  console.log(
    `Node ${process.version}, ${process.arch}, ${count} connections, KiB each; message of ${message.length} bytes`
  )
  console.table(rows)
  process.exit()
}

await (process.argv[2] === undefined ? main() : serve(process.argv[2]))
