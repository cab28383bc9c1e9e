/**
 * What each safety costs a message that is read and written back, on a transport that costs next to nothing:
 *
 *     node packages/websocket/benchmark/safeties.ts
 *
 * Nanoseconds of the processor for a message, the collector included: over rounds in which the ways take turns the least,
 * which others on the machine disturb least, and the median. Messages come 32 in a chunk, as from a peer that does not
 * wait for answers.
 */
import { Flow } from "@effect-websocket/protocol/Traffic"
import * as Transport from "effect-websocket/Transport"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"

type Stream = WebSocketStream["Service"]

const sizes = [125, 1024]
const perChunk = 32
const chunksPerRound = 500
const rounds = 40
const warmUp = 10

const request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/** Masked frames with a key of zeros, so that what was unmasked in place can come again. */
const makeChunk = (opcode: number, size: number): Uint8Array => {
  const length = size < 126 ? [0x80 | size] : [0x80 | 126, size >>> 8, size & 0xff]
  const frame = Uint8Array.of(0x80 | opcode, ...length, 0, 0, 0, 0, ...new Uint8Array(size).fill(0x61))
  return Uint8Array.from({ length: frame.length * perChunk }, (_, at) => frame[at % frame.length]!)
}

/** The end of a connection whose peer is the benchmark, and takes whatever is sent. */
class Sink implements Transport.Endpoint {
  listener: Transport.Listener = () => false
  readonly #room: Transport.Room = { bytes: new Uint8Array(64 * 1024), length: 0 }
  #head: Uint8Array | undefined = new TextEncoder().encode(request)

  readonly pull = Effect.suspend(() => {
    const head = this.#head
    this.#head = undefined
    return head === undefined ? Effect.never : Effect.succeed([head] as const)
  })
  readonly write = () => Effect.void
  readonly writeAll = () => Effect.void
  readonly offerUnsafe = () => true
  readonly end = Effect.void
  readonly close = Effect.void

  readonly listenUnsafe = (listener: Transport.Listener): void => {
    this.listener = listener
  }

  readonly roomUnsafe = (size: number): Transport.Room => {
    if (this.#room.length + size > this.#room.bytes.length) this.#room.length = 0
    return this.#room
  }
}

const echo = (stream: Stream) => Effect.flatMap(stream.read, (message) => stream.write(message))

const locked = (stream: Stream) => {
  const lock = Semaphore.makeUnsafe(1)
  return Effect.flatMap(stream.read, (message) => lock.withPermit(stream.write(message)))
}

interface Way {
  readonly opcode?: number
  readonly config?: WebSocketConfig.Options
  readonly step?: (stream: Stream) => Effect.Effect<unknown, unknown>
  readonly counts?: false
}

const noDeadlines: WebSocketConfig.Options = {
  keepAlive: "off",
  idleTimeout: Duration.infinity,
  messageTimeout: Duration.infinity
}

const ways: { readonly [name: string]: Way } = {
  "as it is": {},
  "without deadlines": { config: noDeadlines },
  "nothing counted": { counts: false },
  "a Semaphore taken for each write": { step: locked },
  "text, checked both ways": { opcode: 1 }
}

const { frame, part, recall, whole } = Flow.prototype
const counting = { frame, part, recall, whole }
const notCounting = { frame: () => {}, part: () => {}, recall: () => {}, whole: () => {} }

const open = Effect.fnUntraced(function*({ config, step = echo }: Way) {
  const sink = new Sink()
  const accepting = WebSocketServer.accept({ config })
  const stream = yield* Effect.provideService(accepting, Transport.Transport, Transport.fromEndpoint(sink))
  yield* Effect.forkScoped(Effect.forever(step(stream), { disableYield: true }))
  return sink
})

const round = (sink: Sink, chunk: Uint8Array): number => {
  const before = process.cpuUsage()
  for (let i = 0; i < chunksPerRound; i++) {
    if (!sink.listener(chunk)) throw new Error("the chunk was not taken")
  }
  const { system, user } = process.cpuUsage(before)
  return (user + system) * 1000 / (chunksPerRound * perChunk)
}

const measure = Effect.fnUntraced(function*(size: number) {
  const entries = yield* Effect.forEach(Object.entries(ways), ([name, way]) =>
    Effect.map(open(way), (sink) => ({
      name,
      sink,
      way,
      chunk: makeChunk(way.opcode ?? 2, size),
      seen: new Array<number>()
    })))
  yield* Effect.yieldNow
  for (let i = 0; i < rounds; i++) {
    for (const { chunk, seen, sink, way } of i % 2 === 0 ? entries : entries.toReversed()) {
      Object.assign(Flow.prototype, way.counts === false ? notCounting : counting)
      seen.push(round(sink, chunk))
      yield* Effect.yieldNow
    }
  }
  const rows = entries.map(({ name, seen }) => {
    const sorted = seen.slice(warmUp).toSorted((left, right) => left - right)
    return [name, { least: Math.round(sorted[0]!), median: Math.round(sorted[sorted.length >> 1]!) }]
  })
  process.stdout.write(`\n${size} B\n`)
  console.table(Object.fromEntries(rows))
}, Effect.scoped)

await Effect.runPromise(Effect.forEach(sizes, measure))
