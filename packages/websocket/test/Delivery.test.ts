import { assert, describe, it } from "@effect/vitest"
import type { ReadError, WriteError } from "effect-websocket/WebSocketError"
import type { MessagePart, Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  concat,
  connected,
  encode,
  otherRole,
  pattern,
  roles,
  scripted,
  type Service,
  utf8,
  type Wire
} from "./fixtures/streams.ts"

const Int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const ListOf = <S extends Schema.Constraint>(item: S, most: number) =>
  Schema.Array(item).check(Schema.isMaxLength(most))

/** Bytes where given a size, else text. */
const messageOf = (largest: number) =>
  Schema.Union([Schema.String, Schema.Struct({ size: Int(0, largest), seed: Int(0, 255) })])

const toPayload = (spec: string | { readonly size: number; readonly seed: number }): Payload =>
  typeof spec === "string" ? spec.toWellFormed() : pattern(spec.size, spec.seed)

const bytesOf = (message: Payload): Uint8Array => typeof message === "string" ? utf8(message) : message

const Cuts = ListOf(Int(0, 60), 4)

const piecesOf = (bytes: Uint8Array, cuts: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const edges = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b), bytes.length]
  return edges.slice(1).map((edge, i) => bytes.subarray(edges[i], edge))
}

const How = Schema.Literals(["write", "writeSome", "writeAll", "message", "writeStream"])

const send = (
  stream: Service,
  how: typeof How.Type,
  message: Payload,
  cuts: ReadonlyArray<number>
): Effect.Effect<number, WriteError> => {
  const type = typeof message === "string" ? "text" as const : "binary" as const
  const pieces = piecesOf(bytesOf(message), cuts)
  switch (how) {
    case "write":
      return stream.write(message)
    case "writeAll":
      return stream.writeAll([message])
    case "writeStream":
      return stream.writeStream(type, Stream.fromIterable(pieces))
    case "writeSome":
      return Effect.map(
        Effect.forEach(pieces, (piece, i) => stream.writeSome(i === pieces.length - 1, piece, { type })),
        (sizes) => sizes.reduce((sum, size) => sum + size, 0)
      )
    case "message":
      return Effect.scoped(Effect.gen(function*() {
        const writer = yield* stream.message(type)
        let size = 0
        for (const piece of pieces) size += yield* writer.write(piece)
        return size + (yield* writer.finish())
      }))
  }
}

const View = Schema.Literals(["readSome", "read", "pull", "messages"])

/** Puts messages together from whatever views give. */
class Collector {
  readonly messages: Array<Payload> = []
  #parts: Array<MessagePart["data"]> = []

  part({ data, fin }: MessagePart): void {
    this.#parts.push(data)
    if (fin) this.rest(typeof data === "string" ? "" : new Uint8Array(0))
  }

  rest(data: Payload): void {
    const parts = [...this.#parts, data]
    this.#parts = []
    this.messages.push(
      typeof data === "string" ? parts.join("") : concat(...parts.filter((part) => part instanceof Uint8Array))
    )
  }
}

const collect = Effect.fnUntraced(function*(
  stream: Service,
  count: number,
  views: ReadonlyArray<typeof View.Type>
): Effect.fn.Return<ReadonlyArray<Payload>, ReadError> {
  const collector = new Collector()
  for (let i = 0; collector.messages.length < count; i++) {
    switch (views[i % views.length]) {
      case "readSome":
        collector.part(yield* stream.readSome)
        break
      case "pull":
        for (const message of yield* stream.pull) collector.rest(message)
        break
      case "messages":
        yield* Stream.runForEach(
          Stream.take(stream.messages, 1),
          (message) => Effect.sync(() => collector.rest(message))
        )
        break
      default:
        collector.rest(yield* stream.read)
    }
  }
  return collector.messages
})

const transport = { capacity: Int(1, 300), chunkSize: Int(1, 40) }
const config = { fragmentSize: Int(0, 50), readBuffer: Int(1, 200) }

describe("law: what is written arrives, whole and in order", () => {
  for (const role of roles) {
    it.effect.prop(
      `from the ${role}, however it is written, cut, chopped, held up, interrupted by pings and read`,
      {
        messages: ListOf(Schema.Struct({ message: messageOf(150), how: How, cuts: Cuts }), 8),
        views: ListOf(View, 5),
        pings: Int(0, 5),
        ...transport,
        ...config
      },
      Effect.fnUntraced(function*({ capacity, chunkSize, fragmentSize, messages, pings, readBuffer, views }) {
        const { of } = yield* connected({ transport: { capacity, chunkSize }, config: { fragmentSize, readBuffer } })
        const [from, to] = [of(role), of(otherRole(role))]
        const payloads = messages.map(({ message }) => toPayload(message))
        const writing = yield* Effect.forkChild(
          Effect.forEach(messages, ({ cuts, how }, i) => send(from, how, payloads[i]!, cuts))
        )
        const pinging = yield* Effect.forkChild(
          Effect.forEach(
            [from, to],
            (stream) => Effect.repeat(Effect.andThen(Effect.yieldNow, stream.ping()), { times: pings }),
            { concurrency: 2 }
          )
        )
        assert.deepStrictEqual(yield* collect(to, payloads.length, views), payloads)
        assert.deepStrictEqual(yield* Fiber.join(writing), payloads.map((payload) => bytesOf(payload).length))
        yield* Fiber.join(pinging)
      }, Effect.scoped),
      { arbitrary: { runs: 150 }, timeout: 20_000 }
    )

    it.effect.prop(
      `to the ${role}, however the peer fragments it and puts control frames between`,
      {
        messages: ListOf(
          Schema.Struct({ message: messageOf(3000), cuts: Cuts, control: Schema.Literals([0, 9, 10]) }),
          8
        ),
        views: ListOf(View, 5),
        chunkSize: Int(1, 2000),
        readBuffer: Int(1, 5000)
      },
      Effect.fnUntraced(function*({ chunkSize, messages, readBuffer, views }) {
        const { peer, stream } = yield* scripted(role, { transport: { chunkSize }, config: { readBuffer } })
        const payloads = messages.map(({ message }) => toPayload(message))
        const frames = messages.flatMap(({ control, cuts }, i): ReadonlyArray<Wire> => {
          const pieces = piecesOf(bytesOf(payloads[i]!), cuts)
          return pieces.flatMap((payload, j): ReadonlyArray<Wire> => [
            { opcode: j > 0 ? 0 : typeof payloads[i] === "string" ? 1 : 2, fin: j === pieces.length - 1, payload },
            ...(control === 0 ? [] : [{ opcode: control, fin: true, payload: Uint8Array.of(i, j) }])
          ])
        })
        yield* Effect.forkChild(peer.write(concat(...frames.map((frame) => encode(otherRole(role), frame)))))
        assert.deepStrictEqual(yield* collect(stream, payloads.length, views), payloads)
        const pings = frames.filter((frame) => frame.opcode === 9)
        if (pings.length === 0) return
        // Pongs that wait are one; the last ping has its answer in any case.
        const last = pings.at(-1)!.payload
        yield* Effect.repeat(peer.expect(1), {
          until: ([frame]) => frame!.opcode === 10 && Buffer.from(frame!.payload).equals(last)
        })
      }, Effect.scoped),
      { arbitrary: { runs: 150 }, timeout: 20_000 }
    )
  }

  it.effect.prop(
    "both ways at once",
    { messages: ListOf(messageOf(400), 10), ...transport, ...config },
    Effect.fnUntraced(function*({ capacity, chunkSize, fragmentSize, messages, readBuffer }) {
      const { of } = yield* connected({ transport: { capacity, chunkSize }, config: { fragmentSize, readBuffer } })
      const payloads = messages.map(toPayload)
      const run = Effect.forEach(roles, (role) =>
        Effect.all([
          Effect.forEach(payloads, (payload) => of(role).write(payload), { discard: true }),
          Effect.map(collect(of(role), payloads.length, ["read"]), (read) => assert.deepStrictEqual(read, payloads))
        ], { concurrency: 2 }), { concurrency: 2 })
      yield* run
    }, Effect.scoped),
    { arbitrary: { runs: 60 }, timeout: 20_000 }
  )
})
