/**
 * The raw end of a case: sends exact bytes over a transport, and reads what
 * comes, heads and frames, only when a step asks for it.
 *
 * What it sends goes out in order by a fiber of its own, so that no step waits
 * for a library that is itself waiting.
 *
 * @since 1.0.0
 */
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { Mismatch } from "./Mismatch.ts"
import { type Arrived, concat, encode, FrameReader, opposite, type Role, type Sendable, utf8 } from "./Wire.ts"

/** What a request's key is answered with, section 4.2.2, by the platform's own SHA-1. */
export const acceptOf = (key: string): Effect.Effect<string> =>
  Effect.promise(async () =>
    Base64.encode(
      new Uint8Array(await crypto.subtle.digest("SHA-1", utf8(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).slice()))
    )
  )

const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")

interface Parts {
  readonly role: Role
  readonly pull: Effect.Effect<ReadonlyArray<Uint8Array>, Parameters<typeof Transport.endOf>[0]>
  readonly writer: Transport.Writer
  readonly writerScope: Scope.Closeable
  readonly outgoing: Queue.Queue<Effect.Effect<void>>
}

export class Peer {
  readonly role: Role
  /** Bytes that the transport has taken of it. */
  taken = 0
  #waiting = 0
  readonly #parts: Parts
  readonly #reader: FrameReader

  constructor(parts: Parts) {
    this.role = parts.role
    this.#parts = parts
    this.#reader = new FrameReader(opposite(parts.role))
  }

  /** Sends frames in one write. */
  send(frames: ReadonlyArray<Sendable>): void {
    this.sendBytes([concat(frames.map((frame) => encode(this.role, frame)))])
  }

  /** Sends chunks, each in a write of its own. A transport that does not take them any more is left alone. */
  sendBytes(chunks: ReadonlyArray<Uint8Array>): void {
    const { outgoing, writer } = this.#parts
    for (const chunk of chunks) {
      this.#waiting++
      const sent = Effect.map(Effect.ignore(writer.write(chunk)), () => {
        this.#waiting--
        this.taken += chunk.length
      })
      Queue.offerUnsafe(outgoing, sent)
    }
  }

  /** Whether nothing waits for the transport to take it. */
  get idle(): boolean {
    return this.#waiting === 0
  }

  /** Ends this side, after what was sent. */
  end(): void {
    Queue.offerUnsafe(this.#parts.outgoing, Scope.close(this.#parts.writerScope, Exit.void))
  }

  /** Ends both sides at once. */
  get destroy(): Effect.Effect<void> {
    return Transport.destroy(this.#parts.writer)
  }

  /** The next frame. */
  readonly frame: Effect.Effect<Arrived, Mismatch> = Effect.suspend(() => {
    const arrived = this.#reader.next()
    if (typeof arrived === "string") return new Mismatch({ expected: "a frame that may be sent", actual: arrived })
    if (arrived !== undefined) return Effect.succeed(arrived)
    return Effect.flatMap(this.#pull("a frame"), () => this.frame)
  })

  /** The next head of a request or response, latin1, its empty line included. */
  readonly head: Effect.Effect<string, Mismatch> = Effect.suspend(() => {
    const text = latin1(this.#reader.rest)
    const end = text.indexOf("\r\n\r\n")
    if (end < 0) return Effect.flatMap(this.#pull("a head"), () => this.head)
    this.#reader.rest = this.#reader.rest.slice(end + 4)
    return Effect.succeed(text.slice(0, end + 4))
  })

  /** Everything up to the end of the other side, as text. */
  readonly body: Effect.Effect<string> = Effect.suspend(() =>
    Effect.matchEffect(this.#parts.pull, {
      onFailure: () => Effect.sync(() => latin1(this.#reader.rest)),
      onSuccess: (chunks) => {
        chunks.forEach((chunk) => this.#reader.push(chunk))
        return this.body
      }
    })
  )

  /** How the other side ended, where nothing came before. */
  readonly ended: Effect.Effect<Transport.End, Mismatch> = Effect.suspend(() => {
    const arrived = this.#reader.next()
    if (arrived !== undefined || this.#reader.rest.length > 0) {
      return new Mismatch({
        expected: "the end",
        actual: `${JSON.stringify(arrived)} and ${this.#reader.rest.length} bytes`
      })
    }
    return Effect.matchEffect(this.#parts.pull, {
      onFailure: (error) => Effect.succeed(Transport.endOf(error)),
      onSuccess: (chunks) => {
        chunks.forEach((chunk) => this.#reader.push(chunk))
        return this.ended
      }
    })
  })

  #pull(expected: string): Effect.Effect<void, Mismatch> {
    return Effect.matchEffect(this.#parts.pull, {
      onFailure: (error) => new Mismatch({ expected, actual: `the transport's end (${Transport.endOf(error)})` }),
      onSuccess: (chunks) => Effect.sync(() => chunks.forEach((chunk) => this.#reader.push(chunk)))
    })
  }
}

/** Opens a transport for a script, for as long as the scope is open. */
export const open = Effect.fnUntraced(function*(role: Role, connection: Transport.Connection) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const writerScope = Scope.makeUnsafe()
  const pull = yield* Effect.orDie(Scope.provide(Transport.readerBytes(connection), scope))
  const writer: Transport.Writer = yield* Scope.provide(connection.writer, writerScope)
  const outgoing = yield* Queue.unbounded<Effect.Effect<void>>()
  const loop: Effect.Effect<never> = Effect.flatMap(Effect.flatten(Queue.take(outgoing)), () => loop)
  yield* Effect.forkScoped(loop)
  yield* Effect.addFinalizer(() => Transport.destroy(writer))
  return new Peer({ role, pull, writer, writerScope, outgoing })
})
