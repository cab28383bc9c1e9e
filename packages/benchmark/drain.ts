/**
 * A peer that is sent bulk and reads it at a rate, sends pings meanwhile and a Close frame at the end, and notes when
 * each is answered. Answers pings, as it must. Knows nothing of the libraries under test.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { makeFrame } from "./wire.ts"

/** What the peer does. */
export interface DrainOptions {
  readonly port: number
  /** Bytes a second; `Infinity` for all there are. */
  readonly rate: number
  readonly seconds: number
  /** Milliseconds between pings. */
  readonly interval: number
  /** Longest wait for the Close frame, in milliseconds. */
  readonly patience: number
}

/** What it saw. Times are milliseconds. */
export interface Drained {
  readonly bytes: number
  /** From reading the first byte to the Close frame that was sent. */
  readonly time: number
  /** How long each ping took. One that was not answered counts with the time up to the end. */
  readonly pings: ReadonlyArray<number>
  readonly unanswered: number
  /** From the Close frame that was sent to the one that came, `undefined` where none did. */
  readonly close: number | undefined
}

const key = Buffer.from([7, 11, 13, 17])

const head = [
  "GET / HTTP/1.1",
  "Host: 127.0.0.1",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "\r\n"
].join("\r\n")

/** Walks from frame to frame, and gives the control frames with their payload. */
class Controls {
  readonly #onControl: (opcode: number, payload: Buffer) => void
  #held: Buffer = Buffer.alloc(0)
  /** Bytes of a data frame that are passed over. */
  #skip = 0

  constructor(onControl: (opcode: number, payload: Buffer) => void) {
    this.#onControl = onControl
  }

  take(chunk: Buffer): void {
    const passed = Math.min(this.#skip, chunk.length)
    this.#skip -= passed
    let bytes = Buffer.concat([this.#held, chunk.subarray(passed)])
    for (;;) {
      const size = this.#next(bytes)
      if (size === undefined) break
      bytes = bytes.subarray(size)
    }
    this.#held = bytes
  }

  /** Size of what is at the front, where there is enough to know what it is; of data what there is of it. */
  #next(bytes: Buffer): number | undefined {
    const short = bytes.length < 2 ? undefined : bytes[1]! & 127
    const begin = short === undefined ? Infinity : short < 126 ? 2 : short === 126 ? 4 : 10
    if (bytes.length < begin) return undefined
    const length = begin === 2 ? short! : begin === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
    const opcode = bytes[0]! & 15
    if (opcode < 8) {
      this.#skip = Math.max(0, begin + length - bytes.length)
      return Math.min(bytes.length, begin + length)
    }
    if (bytes.length < begin + length) return undefined
    this.#onControl(opcode, bytes.subarray(begin, begin + length))
    return begin + length
  }
}

const bufferSize = 16 * 1024

/** Catches up on what timers were late, in milliseconds of reading. */
const slack = 8

class Peer {
  readonly #rate: number
  readonly #socket: Net.Socket
  readonly #controls = new Controls((opcode, payload) => this.#onControl(opcode, payload))
  /** The handshake is done. */
  readonly upgraded = Deferred.makeUnsafe<void>()
  /** When the Close frame came. */
  readonly closed = Deferred.makeUnsafe<number>()
  /** When each ping was sent, and how long it took. */
  readonly sentAt: Array<number> = []
  readonly pings: Array<number> = []
  bytes = 0
  #isUpgraded = false
  #freeAt = 0

  constructor(port: number, rate: number) {
    this.#rate = rate
    const onread = {
      buffer: Buffer.alloc(bufferSize),
      callback: (size: number, bytes: Uint8Array) => this.#onRead(size, bytes)
    }
    this.#socket = Net.connect({ host: "127.0.0.1", port, onread })
    this.#socket.on("error", () => {})
    this.#socket.setNoDelay(true)
    this.#socket.write(head)
  }

  send(opcode: number, payload: Buffer): void {
    this.#socket.write(makeFrame(0x80 | opcode, payload, key))
  }

  ping(): void {
    const payload = Buffer.alloc(4)
    payload.writeUInt32BE(this.sentAt.length)
    this.sentAt.push(performance.now())
    this.send(9, payload)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #onRead(size: number, bytes: Uint8Array): boolean {
    this.#take(Buffer.from(bytes.subarray(0, size)))
    const now = performance.now()
    this.#freeAt = Math.max(this.#freeAt, now - slack) + size / this.#rate * 1000
    const wait = this.#freeAt - now
    if (wait < 1) return true
    Effect.runFork(Effect.andThen(Effect.sleep(wait), Effect.sync(() => this.#socket.resume())))
    return false
  }

  #take(chunk: Buffer): void {
    if (this.#isUpgraded) {
      this.bytes += chunk.length
      return this.#controls.take(chunk)
    }
    const end = chunk.indexOf("\r\n\r\n")
    if (end < 0) return
    this.#isUpgraded = true
    Deferred.doneUnsafe(this.upgraded, Effect.void)
    this.#controls.take(chunk.subarray(end + 4))
  }

  #onControl(opcode: number, payload: Buffer): void {
    if (opcode === 8) Deferred.doneUnsafe(this.closed, Effect.succeed(performance.now()))
    else if (opcode === 9) this.send(10, payload)
    else this.#answerUpTo(payload.readUInt32BE(0))
  }

  /** A Pong answers the pings before it as well. */
  #answerUpTo(count: number): void {
    const now = performance.now()
    while (this.pings.length <= count) this.pings.push(now - this.sentAt[this.pings.length]!)
  }
}

/** Drains a server of bulk. */
export const drain = Effect.fnUntraced(function*(options: DrainOptions): Effect.fn.Return<Drained, never, Scope.Scope> {
  const { interval, patience, port, rate, seconds } = options
  const peer = yield* Effect.acquireRelease(
    Effect.sync(() => new Peer(port, rate)),
    (peer) => Effect.sync(() => peer.destroy())
  )
  yield* Deferred.await(peer.upgraded)
  const begunAt = performance.now()
  const pinging = yield* Effect.forkChild(
    Effect.repeat(Effect.sync(() => peer.ping()), Schedule.fixed(interval))
  )
  yield* Effect.sleep(seconds * 1000)
  yield* Fiber.interrupt(pinging)
  const { bytes } = peer
  const closedAt = performance.now()
  peer.send(8, Buffer.from([3, 232]))
  const close = yield* Effect.timeoutOption(Deferred.await(peer.closed), patience)
  const end = performance.now()
  const waiting = peer.sentAt.slice(peer.pings.length).map((at) => end - at)
  return {
    bytes,
    time: closedAt - begunAt,
    pings: [...peer.pings, ...waiting],
    unanswered: waiting.length,
    close: close._tag === "Some" ? close.value - closedAt : undefined
  }
}, Effect.scoped)
