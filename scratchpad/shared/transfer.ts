/**
 * A file as one message: written with `writeSome` at one end, read with `readSome` at the other, hashed at both, with
 * pings from both ends in its middle.
 */
import type * as WebSocketError from "effect-websocket/WebSocketError"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { createHash, type Hash } from "node:crypto"

type Service = WebSocketStream["Service"]

/** What one end has seen of the message. `worstPing` is milliseconds. */
const Receipt = Schema.Struct({
  bytes: Schema.Int,
  parts: Schema.Int,
  pings: Schema.Int,
  worstPing: Schema.Finite,
  sha256: Schema.String
})
export type Receipt = typeof Receipt.Type

const ReceiptText = Schema.fromJsonString(Receipt)

/** One end's count so far. */
export class Tally {
  bytes = 0
  parts = 0
  pings = 0
  worstPing = 0
  readonly #hash: Hash = createHash("sha256")

  add(part: Uint8Array): void {
    this.#hash.update(part)
    this.bytes += part.length
    this.parts++
  }

  addPing(roundTrip: Duration.Duration): void {
    this.pings++
    this.worstPing = Math.max(this.worstPing, Duration.toMillis(roundTrip))
  }

  receipt(): Receipt {
    const { bytes, parts, pings, worstPing } = this
    return { bytes, parts, pings, worstPing, sha256: this.#hash.digest("hex") }
  }
}

const between = "1 millis"

/** Pings as long as the fiber that forked it runs. */
const keepPinging = (stream: Service, tally: Tally, onPong: Effect.Effect<unknown> = Effect.void) =>
  stream.ping().pipe(
    Effect.tap((roundTrip) => Effect.sync(() => tally.addPing(roundTrip))),
    Effect.tap(onPong),
    Effect.andThen(Effect.sleep(between)),
    Effect.forever,
    Effect.forkChild({ startImmediately: true })
  )

/** The server's handler: reads one message part by part, and answers with its receipt. */
export const receive = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  const tally = new Tally()
  const encoder = new TextEncoder()
  let fin = false
  while (!fin) {
    const part = yield* stream.readSome
    tally.add(part.type === "text" ? encoder.encode(part.data) : part.data)
    fin = part.fin
    if (tally.parts === 1) yield* keepPinging(stream, tally)
  }
  yield* stream.write(yield* Effect.orDie(Schema.encodeEffect(ReceiptText)(tally.receipt())))
  return yield* stream.closed
})

/** What both ends say, and how the connection closed. */
export interface Outcome {
  readonly sent: Receipt
  readonly received: Receipt
  readonly status: WebSocketError.CloseStatus
  readonly elapsed: Duration.Duration
}

const largestPart = 256 * 1024
const seed = "parts of uneven size"

/**
 * The client: writes a file of at least 2 bytes in parts of 1 byte to 256 KiB, then reads the receipt of the other end. The last part
 * waits until each end has had a ping answered, so that both were answered in the middle of the message.
 */
export const send = Effect.fnUntraced(
  function*(stream: Service, path: string, tally: Tally) {
    const file = yield* FileSystem.FileSystem.use((files) => files.open(path))
    const size = Number((yield* file.stat).size)
    const pingedHere = yield* Deferred.make<void>()
    const pingedThere = yield* Deferred.make<void>()
    yield* stream.controlFrames.pipe(
      Stream.runForEach(({ _tag }) => _tag === "Ping" ? Deferred.succeed(pingedThere, undefined) : Effect.void),
      Effect.forkChild({ startImmediately: true })
    )
    // One array for all parts: the stream has done with it when `writeSome` completes.
    const buffer = new Uint8Array(largestPart)
    const largest = Math.min(largestPart, size >> 1)
    let left = size
    while (left > 0) {
      const wanted = yield* Random.nextIntBetween(1, largest)
      const part = buffer.subarray(0, yield* file.read(buffer.subarray(0, wanted)))
      left -= part.length
      if (left === 0) yield* Effect.andThen(Deferred.await(pingedHere), Deferred.await(pingedThere))
      tally.add(part)
      yield* stream.writeSome(left === 0, part)
      if (tally.parts === 1) yield* keepPinging(stream, tally, Deferred.succeed(pingedHere, undefined))
    }
    const received = yield* Schema.decodeUnknownEffect(ReceiptText)(yield* stream.read)
    return { sent: tally.receipt(), received, status: yield* stream.close() }
  },
  Effect.timed,
  Effect.map(([elapsed, ends]): Outcome => ({ ...ends, elapsed })),
  Random.withSeed(seed)
)
