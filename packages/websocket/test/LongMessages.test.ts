/**
 * Messages so long that going through them at once would hold up everybody else: the same bytes, and so many in a turn of
 * the event loop.
 */
import { assert, describe, it } from "@effect/vitest"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as Transport from "effect-websocket/Transport"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { Payload, WebSocketStream, WriteOptions } from "effect-websocket/WebSocketStream"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { PartQueue } from "../src/internal/parts.ts"
import { copy, isLong, LongText, prepare } from "../src/internal/payload.ts"
import { connected as connectedCompressed } from "./fixtures/compressed.ts"
import { everyStep, type Fork, type Injection } from "./fixtures/steps.ts"
import {
  assertBytes,
  concat,
  connected,
  encode,
  otherRole,
  pattern,
  reasonOf,
  roles,
  settle,
  utf8
} from "./fixtures/streams.ts"

type Service = WebSocketStream["Service"]

/** One unit to a byte, two to three, two to two and, as surrogates, two to four. */
const letters = "a\u00e9\u4e2d\ud83d\ude00"

/** A long text with a code point of each length at every place near a cut, moved on by `shift` units. */
const longText = (shift: number) => "x".repeat(shift) + letters.repeat(150_000)

const measured = (text: string, mayBeLone = false): LongText => {
  const long = new LongText(text)
  while (long.measure(mayBeLone) === true);
  return long
}

const takeAll = (text: LongText, size: number): Uint8Array => {
  const pieces: Array<Uint8Array> = []
  for (let left = text.length; left > 0;) {
    const piece = text.take(size).slice()
    assert.strictEqual(piece.length, Math.min(size, left))
    left -= piece.length
    pieces.push(piece)
  }
  assert.strictEqual(text.take(size).length, 0)
  return concat(...pieces)
}

describe("law: a text that is encoded in pieces gives the bytes it gives at once", () => {
  it.each(Array.from({ length: 12 }, (_, i) => i + 1))("in pieces of %d bytes", (size) => {
    for (let shift = 0; shift < 5; shift++) {
      const text = "x".repeat(shift) + letters.repeat(20)
      assertBytes(takeAll(measured(text), size), utf8(text))
    }
  })

  it.each([
    "\ud83d",
    "a\ud83d",
    "\ude00a",
    "\ud83d\ud83d\ude00",
    "\ude00\ud83d",
    "\ud83da\ude00"
  ])("with lone surrogates replaced, %j", (text) => {
    for (const size of [1, 2, 3, 4, 7]) assertBytes(takeAll(measured(text.repeat(9), true), size), utf8(text.repeat(9)))
  })

  it.each([0, 1, 2, 3, 4])("wherever the pieces of a long one end, %d units on", (shift) => {
    const text = longText(shift)
    const long = measured(text)
    assert.strictEqual(long.length, utf8(text).length)
    assertBytes(takeAll(long, 65_536), utf8(text))
  })

  it("where every unit is a lone surrogate, or followed by one", () => {
    const text = "\ud83d\u4e2d".repeat(150_000)
    const long = measured(text, true)
    assertBytes(takeAll(long, 65_536), utf8(text))
  })

  it.effect("and is refused for a lone surrogate anywhere", () =>
    Effect.gen(function*() {
      const text = longText(0)
      for (const at of [0, 21_844, 21_845, 262_143, 262_144, 524_288, text.length]) {
        // not inside a pair
        const cut = (text.charCodeAt(at) & 0xfc00) === 0xdc00 ? at + 1 : at
        for (const lone of ["\ud83d", "\ude00"]) {
          const broken = `${text.slice(0, cut)}${lone}.${text.slice(cut)}`
          assert.strictEqual(yield* prepare(broken, undefined), "the string has a lone surrogate")
          const replaced = yield* prepare(broken, { loneSurrogates: "replace" })
          assert(replaced instanceof LongText)
          assertBytes(yield* copy(replaced), utf8(broken))
        }
      }
    }))
})

const makeParts = (data: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(data.length / size) }, (_, i) => data.subarray(i * size, (i + 1) * size))

/** Counts what `set` of arrays copies while `run` runs. */
const copied = (run: () => void): number => {
  const prototype: Uint8Array = Object.getPrototypeOf(Uint8Array.prototype)
  const { set } = prototype
  let bytes = 0
  prototype.set = function(this: Uint8Array, from: ArrayLike<number>, at?: number) {
    bytes += from.length
    return set.call(this, from, at)
  }
  try {
    run()
  } finally {
    prototype.set = set
  }
  return bytes
}

describe("a queue of parts", () => {
  const most = 100_000
  const data = pattern(2_000_003)

  const filled = (size: number, isOwned: boolean, reuses = false) => {
    const queue = new PartQueue(reuses)
    for (const part of makeParts(data, size)) {
      queue.begin(isOwned)
      queue.push({ type: "binary", data: part.slice(), size: part.length, fin: false }, 0)
    }
    queue.push({ type: "binary", data: new Uint8Array(0), size: 0, fin: true }, 0)
    return queue
  }

  it.each(
    [[999, true, false], [16_384, true, false], [16_384, false, false], [16_384, false, true], [
      300_000,
      true,
      true
    ]] as const
  )(
    "puts a long message of parts of %d bytes together by so much at a time, owned: %s, arrays used again: %s",
    (size, isOwned, reuses) => {
      const queue = filled(size, isOwned, reuses)
      let steps = 0
      const settle = () => {
        const held = queue.bytes
        const done: Array<boolean> = []
        assert.isAtMost(copied(() => done.push(queue.settle(most))), most)
        assert.isAtMost(queue.bytes, held + 64)
        steps++
        return done[0]!
      }
      while (!settle());
      assert.isAtLeast(steps, data.length / most)
      assert.strictEqual(queue.inPieces, false)
      const taken: Array<Payload> = []
      assert.strictEqual(copied(() => taken.push(queue.shiftMessage())), 0)
      assertBytes(taken[0] as Uint8Array, data)
      assert.strictEqual(queue.bytes, 0)
    }
  )

  it("gives parts of a message that was put together in part, and then the rest of it", () => {
    for (let steps = 0; steps < 5; steps++) {
      const queue = filled(16_384, steps > 2, steps % 2 === 0)
      for (let i = 0; i < steps; i++) queue.settle(most)
      const first = (queue.shift().data as Uint8Array).slice()
      while (!queue.settle(most));
      const rest = queue.shiftMessage() as Uint8Array
      assertBytes(concat(first, rest), data)
      assert.strictEqual(queue.bytes, 0)
    }
  })

  it("settles what comes behind other messages, and leaves those that are short alone", () => {
    const queue = new PartQueue(false)
    const push = (data: Payload, fin: boolean) =>
      queue.push({ type: typeof data === "string" ? "text" : "binary", data, size: data.length, fin }, 0)
    queue.begin(true)
    push("hello", true)
    push(pattern(5000), false)
    push(pattern(5000), true)
    for (const part of makeParts(data, 50_000)) push(part.slice(), false)
    push(pattern(1), true)
    while (!queue.settle(most));
    const [text, short, long] = queue.shiftMessages()
    assert.strictEqual(text, "hello")
    assertBytes(short as Uint8Array, concat(pattern(5000), pattern(5000)))
    assertBytes(long as Uint8Array, concat(data, pattern(1)))
  })

  it("holds a long text in few strings, and gives what came", () => {
    const queue = new PartQueue(false)
    const part = letters.repeat(1000)
    for (let i = 0; i < 400; i++) {
      queue.push({ type: "text", data: part, size: utf8(part).length, fin: i === 399 }, 0)
      // blocks of 256 Ki units, and the parts of the one that is not full
      assert.isAtMost(queue.length, Math.ceil((i + 1) / 53) + 53)
    }
    assert.isTrue(queue.shiftMessage() === part.repeat(400))
    assert.strictEqual(queue.bytes, 0)
  })
})

/** Counts the units of text that are encoded while `run` runs, from turn to turn. */
const encodedInTurns = Effect.fnUntraced(function*<E>(run: Effect.Effect<unknown, E>) {
  const { encode, encodeInto } = TextEncoder.prototype
  let total = 0
  Object.assign(TextEncoder.prototype, {
    encode(this: TextEncoder, text?: string) {
      total += text?.length ?? 0
      return encode.call(this, text)
    },
    encodeInto(this: TextEncoder, text: string, into: Uint8Array) {
      const result = encodeInto.call(this, text, into)
      total += result.read
      return result
    }
  })
  const turns: Array<number> = []
  const look = Effect.andThen(
    Effect.yieldNow,
    Effect.sync(() => {
      turns.push(total)
      total = 0
    })
  )
  const other = yield* Effect.forkChild(Effect.forever(look, { disableYield: true }))
  yield* Effect.ensuring(run, Effect.sync(() => Object.assign(TextEncoder.prototype, { encode, encodeInto })))
  yield* Fiber.interrupt(other)
  return turns.filter((units) => units > 0)
})

const text = longText(1)
const isText = (payload: Payload) => assert.isTrue(payload === text)

const writes: Readonly<Record<string, (stream: Service) => Effect.Effect<unknown, unknown>>> = {
  "write": (stream) => stream.write(text),
  "writeAll": (stream) => stream.writeAll([text]),
  "writeSome": (stream) => Effect.andThen(stream.writeSome(false, ""), stream.writeSome(true, text)),
  "writeStream": (stream) => stream.writeStream("text", Stream.make(text)),
  "bytes": (stream) => stream.write(utf8(text), { type: "text" }),
  "parts of bytes": (stream) => {
    const bytes = utf8(text)
    return Effect.andThen(
      stream.writeSome(false, bytes.subarray(0, 600_003), { type: "text" }),
      stream.writeSome(true, bytes.subarray(600_003))
    )
  }
}

describe.each(roles)("a %s", (role) => {
  it.effect.each(Object.keys(writes))(
    "encodes so much of a long text in a turn, by %s",
    (name) =>
      Effect.gen(function*() {
        const { of } = yield* connected()
        const reading = yield* Effect.forkChild(of(otherRole(role)).read)
        const turns = yield* encodedInTurns(writes[name]!(of(role)))
        isText(yield* Fiber.join(reading))
        assert.isAtMost(Math.max(0, ...turns), 400_000)
        if (!name.includes("bytes")) assert.isAtLeast(turns.length, 4)
      }).pipe(Effect.scoped)
  )

  it.effect("sends a long text as it is, compressed, in fragments of any size and in one frame", () =>
    Effect.gen(function*() {
      for (const fragmentSize of [0, 65_521, 700_000]) {
        const plain = yield* connected({ config: { fragmentSize } })
        const deflating = yield* connectedCompressed({ config: { fragmentSize } })
        for (const { of } of [plain, deflating]) {
          const reading = yield* Effect.forkChild(of(otherRole(role)).read)
          assert.strictEqual(yield* of(role).write(text), utf8(text).length)
          isText(yield* Fiber.join(reading))
        }
      }
    }).pipe(Effect.scoped))

  it.effect("keeps the order of messages of which some are long", () =>
    Effect.gen(function*() {
      const { of } = yield* connected()
      const peer = of(otherRole(role))
      const bytes = pattern(1_500_000)
      const sent = ["before", text, "between", bytes, "", text, "behind"]
      const reading = yield* Effect.forkChild(Effect.replicateEffect(peer.read, sent.length * 2))
      yield* of(role).writeAll(sent)
      yield* Effect.forEach(sent, (message) => of(role).write(message), { discard: true })
      const seen = yield* Fiber.join(reading)
      for (const [i, message] of [...sent, ...sent].entries()) {
        if (typeof message === "string") assert.isTrue(seen[i] === message)
        else assertBytes(seen[i] as Uint8Array, message)
      }
    }).pipe(Effect.scoped))

  it.effect("refuses a long text with a lone surrogate, and bytes that are not UTF-8, with nothing sent", () =>
    Effect.gen(function*() {
      const { of } = yield* connected()
      const stream = of(role)
      const broken = `${text}\ud83d`
      const cut = utf8(text).subarray(0, -1)
      const asText: WriteOptions = { type: "text" }
      const writing: ReadonlyArray<Effect.Effect<unknown, WebSocketError.WriteError>> = [
        stream.write(broken),
        stream.writeAll(["hello", broken]),
        stream.writeSome(true, broken),
        stream.write(cut, asText),
        stream.writeSome(true, cut, asText),
        Effect.scoped(Effect.flatMap(stream.message("text"), (writer) => writer.write(broken))),
        PreparedMessage.make(broken),
        PreparedMessage.make(cut, asText)
      ]
      for (const write of writing) assert.strictEqual(yield* reasonOf(write), "InvalidPayload")
      yield* stream.write("whole")
      assert.strictEqual(yield* of(otherRole(role)).read, "whole")
    }).pipe(Effect.scoped))

  it.effect("leaves nothing on the wire where a long write is interrupted before its turn", () =>
    Effect.gen(function*() {
      for (const write of [writes["write"]!, writes["writeAll"]!, writes["bytes"]!]) {
        for (let turns = 0; turns < 3; turns++) {
          const { of } = yield* connected()
          const fiber = yield* Effect.forkChild(write(of(role)), { startImmediately: true })
          yield* Effect.repeat(Effect.yieldNow, { times: turns })
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(yield* of(role).write("after"), 5)
          assert.strictEqual(yield* of(otherRole(role)).read, "after")
        }
      }
    }).pipe(Effect.scoped))

  const injections: ReadonlyArray<Injection> = ["turns", { operations: 3 }, { operations: 4 }]

  it.effect.each(injections)(
    "loses nothing where a read of a long message is interrupted at any step, by %j",
    (by) =>
      everyStep((fork: Fork) =>
        Effect.gen(function*() {
          const { of } = yield* connected({ config: { readBuffer: 1 << 21 } })
          const bytes = pattern(1_200_000)
          yield* of(otherRole(role)).write(bytes)
          yield* settle
          const fiber = yield* fork(of(role).read)
          const next = yield* Effect.forkChild(of(role).read, { startImmediately: true })
          yield* of(otherRole(role)).write("next")
          const exit = yield* Fiber.await(fiber)
          const seen = yield* Fiber.join(next)
          // a fiber that yields before its read has begun is behind the other
          const both = Exit.isSuccess(exit) ? [exit.value, seen] : [seen]
          assertBytes(both.find((message) => message !== "next") as Uint8Array, bytes)
          assert.strictEqual(both.filter((message) => message === "next").length, both.length - 1)
        }), by).pipe(Effect.map((steps) => assert.isAtLeast(steps, by === "turns" ? 4 : 0)))
  )

  it.effect("prepares long messages", () =>
    Effect.gen(function*() {
      const { of } = yield* connected()
      const bytes = new Uint8Array(Buffer.from(pattern(1_000_000)))
      const given = Buffer.from(bytes)
      const messages = [yield* PreparedMessage.make(text), yield* PreparedMessage.make(given)]
      given.fill(0)
      const reading = yield* Effect.forkChild(Effect.replicateEffect(of(otherRole(role)).read, 2))
      yield* of(role).writeAll(messages)
      const [first, second] = yield* Fiber.join(reading)
      isText(first!)
      assertBytes(second as Uint8Array, bytes)
    }).pipe(Effect.scoped))
})

/** The end of a connection whose peer is the test. */
class Sink implements Transport.Endpoint {
  listener: Transport.Listener = () => false
  #chunks: Array<Uint8Array>
  #wake: (() => void) | undefined
  #ended = false

  constructor(head: string) {
    this.#chunks = [utf8(head)]
  }

  readonly pull = Effect.callback<NonEmptyReadonlyArray<Uint8Array>, Transport.TransportError>((resume) => {
    this.#wake = () => {
      if (this.#chunks.length === 0 && !this.#ended) return
      this.#wake = undefined
      resume(this.#ended ? Effect.fail(Transport.peerEnded()) : Effect.succeed(this.#chunks.splice(0) as [Uint8Array]))
    }
    this.#wake()
  })
  readonly write = () => Effect.void
  readonly writeAll = () => Effect.void
  readonly end = Effect.void
  readonly close = Effect.void
  readonly listenUnsafe = (listener: Transport.Listener): void => void (this.listener = listener)

  finish(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** As a transport does: whether the chunk was taken at once. */
  give(chunk: Uint8Array): boolean {
    if (this.#wake !== undefined && this.listener(chunk)) return true
    this.#chunks.push(chunk)
    this.#wake?.()
    return false
  }
}

const request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

it.effect("takes no more than 512 KiB of a long message in one turn, however much is there", () =>
  Effect.gen(function*() {
    const sink = new Sink(request)
    const accepting = WebSocketServer.accept()
    const stream = yield* Effect.provideService(accepting, Transport.Transport, Transport.fromEndpoint(sink))
    const reading = yield* Effect.forkChild(stream.read, { startImmediately: true })
    yield* settle
    const data = pattern(2 << 20)
    const frame = encode("client", { opcode: 2, fin: true, payload: data })
    const turns: Array<number> = []
    for (const chunks = makeParts(frame, 65_536); chunks.length > 0;) {
      let taken = 0
      while (chunks.length > 0 && sink.give(chunks.shift()!)) taken++
      turns.push(taken)
      yield* settle
    }
    assertBytes((yield* Fiber.join(reading)) as Uint8Array, data)
    assert.isAtMost(Math.max(...turns), 8)
    assert.isAtLeast(turns.length, 4)
    sink.finish()
  }).pipe(Effect.scoped))

it("a message is long by its units, and bytes only where they are looked at", () => {
  const most = 512 * 1024
  assert.deepStrictEqual(
    [
      isLong("x".repeat(most), undefined),
      isLong("x".repeat(most + 1), undefined),
      isLong(new Uint8Array(most + 1), undefined),
      isLong(new Uint8Array(most + 1), "binary"),
      isLong(new Uint8Array(most), "text"),
      isLong(new Uint8Array(most + 1), "text")
    ],
    [false, true, false, false, false, true]
  )
})
