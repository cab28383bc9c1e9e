/**
 * What counting costs a message of 125 bytes that is received and sent back:
 *
 *     node packages/protocol/benchmark/traffic.ts
 *
 * The same code in two processes, in one of which nothing is counted; they take turns. Nanoseconds of the processor for
 * a message, kernel included: over the rounds the least, which others on the machine disturb least, and the median.
 */
import { Connection } from "@effect-websocket/protocol/Connection"
import * as Frame from "@effect-websocket/protocol/Frame"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import { Flow } from "@effect-websocket/protocol/Traffic"
import * as Result from "effect/Result"
import * as ChildProcess from "node:child_process"
import { once } from "node:events"

const ways = ["counted", "not counted"] as const
const rounds = 60
const size = 125
const messages = 500
const repeats = 100

const countNothing = (): void => {
  const ignore = () => {}
  Object.assign(Flow.prototype, { whole: ignore, frame: ignore, part: ignore, recall: ignore })
}

/** Masked frames, whose payload is another each time that it was unmasked in place. */
const makeChunk = (): Uint8Array => {
  const header: Frame.Header = { fin: true, rsv: 0, opcode: Opcode.Binary, length: size, key: 0x12345678 }
  const frameSize = Frame.headerSize(size, true) + size
  const chunk = new Uint8Array(messages * frameSize)
  for (let at = 0; at < chunk.length; at += frameSize) Frame.encodeHeader(header, chunk, at)
  return chunk
}

const makeEcho = () => {
  const connection = new Connection({
    role: "server",
    maxMessageSize: size,
    maxFragments: 1,
    maskingKey: () => 0
  })
  const chunk = makeChunk()
  return () => {
    for (const event of connection.receive(chunk).events) {
      if (event._tag !== "Part" || typeof event.part.data === "string") throw new Error(`not sent: ${event._tag}`)
      Result.getOrThrow(connection.sendPart("binary", event.part.data, event.part.fin))
    }
  }
}

const serve = (): void => {
  const echo = makeEcho()
  process.on("message", () => {
    const before = process.cpuUsage()
    for (let i = 0; i < repeats; i++) echo()
    const { system, user } = process.cpuUsage(before)
    process.send!((user + system) * 1000 / (messages * repeats))
  })
}

const ask = async (child: ChildProcess.ChildProcess): Promise<number> => {
  const answered = once(child, "message")
  child.send("again")
  const [nanoseconds] = await answered
  return Number(nanoseconds)
}

const main = async (): Promise<void> => {
  const children = ways.map((way) => ({
    way,
    child: ChildProcess.fork(import.meta.filename, [way]),
    seen: new Array<number>()
  }))
  for (let round = 0; round < rounds; round++) {
    for (const { child, seen } of round % 2 === 0 ? children : children.toReversed()) seen.push(await ask(child))
  }
  const rows = children.map(({ child, seen, way }) => {
    child.disconnect()
    // The first rounds are those of a process that is not warm.
    const sorted = seen.slice(10).toSorted((left, right) => left - right)
    return [way, { least: Math.round(sorted[0]!), median: Math.round(sorted[Math.floor(sorted.length / 2)]!) }]
  })
  console.table(Object.fromEntries(rows))
}

const [way] = process.argv.slice(2)
if (way === "not counted") countNothing()
if (way === undefined) await main()
else serve()
