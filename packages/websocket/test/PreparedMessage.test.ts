import { assert, describe, it } from "@effect/vitest"
import * as Deflate from "effect-websocket/Deflate"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Random } from "../../protocol/test/fixtures/random.ts"
import { connected, Counting, makeInflate, portable, scripted } from "./fixtures/compressed.ts"
import { bytes, reasonOf, type Role, roles, settled } from "./fixtures/scripted.ts"
import { pattern } from "./fixtures/streams.ts"

const words = ["lorem", "ipsum", "dolor", "sit", "amet", "héllo", "€"]
const prose = (count: number, seed = 1): string => {
  const random = new Random(seed)
  return Array.from({ length: count }, () => random.pick(words)).join(" ")
}

const prepare = (message: Payload, options?: PreparedMessage.CompressedOptions, codec = portable) =>
  Effect.provideService(PreparedMessage.makeCompressed(message, options), Deflate.Deflate, codec)

const shown = { plain: 0, compressed: 0x40 }

describe("PreparedMessage", () => {
  it.effect("is refused as write refuses it", () =>
    Effect.gen(function*() {
      for (const make of [PreparedMessage.make, prepare]) {
        assert.strictEqual((yield* reasonOf(make("\ud800")))._tag, "InvalidPayload")
        assert.strictEqual((yield* reasonOf(make(Uint8Array.of(0xff), { type: "text" })))._tag, "InvalidPayload")
        assert.strictEqual((yield* make("\ud800", { loneSurrogates: "replace" })).size, 3)
      }
    }))

  it.effect("knows its type and its sizes", () =>
    Effect.gen(function*() {
      const plain = yield* PreparedMessage.make("é")
      assert.deepStrictEqual([plain.type, plain.size, plain.compressedSize], ["text", 2, undefined])
      const compressed = yield* prepare(new Uint8Array(1000))
      assert.deepStrictEqual([compressed.type, compressed.size], ["binary", 1000])
      assert.isBelow(compressed.compressedSize!, 20)
      assert.strictEqual((yield* prepare(bytes("text"), { type: "text" })).type, "text")
    }))

  it.effect("has no compressed form where that is no smaller", () =>
    Effect.gen(function*() {
      for (const message of ["", "x", new Random(1).bytes(500)]) {
        assert.isUndefined((yield* prepare(message)).compressedSize)
      }
    }))

  it.effect("does not change with the bytes it was made of", () =>
    Effect.gen(function*() {
      const data = pattern(100)
      const message = yield* PreparedMessage.make(data)
      data.fill(0)
      const pair = yield* connected({ client: undefined })
      assert.strictEqual(yield* pair.client.write(message), 100)
      assert.deepStrictEqual(yield* pair.server.read, pattern(100))
    }))

  it.effect("is compressed once for a hundred connections", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const text = prose(300)
      const message = yield* prepare(text, undefined, codec)
      for (let i = 0; i < 100; i++) {
        const pair = yield* connected({ codec, client: i % 2 === 0 ? {} : undefined })
        assert.strictEqual(yield* pair.server.write(message), bytes(text).length)
        assert.strictEqual(yield* pair.client.read, text)
      }
      assert.strictEqual(codec.pushes, 1)
    }), 10_000)

  it.effect("makes no context of its own, and frees what it compressed with", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const message = yield* prepare(prose(300), undefined, codec)
      assert.strictEqual(codec.live.size, 0)
      const { stream } = yield* scripted("server", { codec })
      yield* stream.write(message)
      assert.strictEqual(codec.live.size, 0)
    }))
})

describe.each(roles)("a prepared message of a %s", (role) => {
  const other = (role: Role): Role => role === "client" ? "server" : "client"
  const windowOf = (bits: number) => `permessage-deflate; ${role}_max_window_bits=${bits}`

  const cases = [
    { name: "the window that was agreed", extensions: windowOf(15), words: 20_000, bits: 15, form: "compressed" },
    { name: "a smaller window", extensions: windowOf(9), words: 20_000, bits: 9, form: "compressed" },
    { name: "a larger window than agreed", extensions: windowOf(9), words: 20_000, bits: 15, form: "plain" },
    { name: "a larger window, all of it within", extensions: windowOf(9), words: 70, bits: 15, form: "compressed" },
    { name: "8 bits, all of it within", extensions: windowOf(8), words: 30, bits: 15, form: "compressed" },
    { name: "8 bits, more than that", extensions: windowOf(8), words: 20_000, bits: 9, form: "plain" },
    { name: "8 bits for 8", extensions: windowOf(8), words: 20_000, bits: 8, form: "compressed" }
  ] as const

  it.effect.each(cases)("made for $name goes $form", ({ bits, extensions, form, words }) =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role, { extensions, config: { fragmentSize: 0 } })
      const text = prose(words)
      yield* Effect.forkChild(stream.write(yield* prepare(text, { windowBits: bits })))
      const frame = yield* next
      assert.strictEqual(frame.rsv, shown[form])
      const agreed = Number(/\d+$/.exec(extensions)![0])
      const data = form === "plain" ? frame.payload : makeInflate(portable, agreed)(frame)
      assert.strictEqual(new TextDecoder().decode(data), text)
    }))

  it.effect("goes plain where that is asked for, and where it has no other form", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role)
      const text = prose(100)
      yield* stream.write(yield* prepare(text), { compress: false })
      assert.strictEqual((yield* next).rsv, 0)
      yield* stream.write(yield* PreparedMessage.make(text), { compress: true })
      assert.strictEqual((yield* next).rsv, 0)
    }))

  const takeovers = [
    {},
    { clientNoContextTakeover: true },
    { serverNoContextTakeover: true },
    { clientNoContextTakeover: true, serverNoContextTakeover: true },
    { serverMaxWindowBits: 9, clientMaxWindowBits: 9 }
  ] as const

  // Without forgetting, what is compressed behind a prepared message refers to the wrong place of the peer's window.
  it.effect.each(takeovers)(
    "does not disturb those that are compressed before and behind it: %j",
    (agreement) =>
      Effect.gen(function*() {
        const pair = yield* connected({ client: { ...agreement, threshold: 0 } })
        const [from, to] = [pair.of(role), pair.of(other(role))]
        const random = new Random(7)
        const texts = Array.from({ length: 4 }, (_, i) => prose(50 * (i + 1), i % 2))
        const prepared = yield* Effect.forEach(texts, (text) => prepare(text, { windowBits: random.pick([9, 15]) }))
        for (let i = 0; i < 60; i++) {
          const at = random.below(texts.length)
          const expected = texts[at]!
          if (random.oneIn(2)) yield* from.write(prepared[at]!)
          else yield* from.write(expected, { compress: !random.oneIn(4) })
          assert.strictEqual(yield* to.read, expected)
        }
        const mixed = texts.flatMap((text, i) => [text, prepared[i]!, prepared[i]!, text, "plain"])
        const reading = yield* Effect.forkChild(Effect.replicateEffect(to.read, mixed.length * 2))
        yield* from.writeAll(mixed)
        yield* Stream.run(Stream.fromIterable(mixed), from.sink())
        const all = texts.flatMap((text) => [text, text, text, text, "plain"])
        assert.deepStrictEqual(yield* Fiber.join(reading), [...all, ...all])
      })
  )

  it.effect("starts the context anew for the message behind it", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role)
      const send = (message: Parameters<typeof stream.write>[0]) =>
        Effect.map(Effect.andThen(stream.write(message), next), ({ payload }) => payload)
      const text = prose(100)
      const first = yield* send(text)
      assert.isBelow((yield* send(text)).length, first.length / 2)
      yield* send(yield* prepare(prose(100, 2)))
      assert.deepStrictEqual(yield* send(text), first)
    }))

  it.effect("is cut above fragmentSize, with RSV1 on the first fragment", () =>
    Effect.gen(function*() {
      for (const form of ["plain", "compressed"] as const) {
        const { seen, stream } = yield* scripted(role, { config: { fragmentSize: 100 } })
        const text = prose(500)
        const message = form === "plain" ? yield* PreparedMessage.make(text) : yield* prepare(text)
        assert.strictEqual(yield* stream.write(message), bytes(text).length)
        yield* settled
        const size = form === "plain" ? message.size : message.compressedSize!
        assert.strictEqual(seen.length, Math.ceil(size / 100))
        assert.deepStrictEqual(seen.map(({ rsv }) => rsv), seen.map((_, i) => i === 0 ? shown[form] : 0))
        assert.deepStrictEqual(seen.map(({ fin }) => fin), seen.map((_, i) => i === seen.length - 1))
        if (form === "compressed") assert.strictEqual(new TextDecoder().decode(makeInflate()(...seen)), text)
      }
    }))

  it.effect("is masked afresh each time by a client, and never by a server", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role, { reads: false })
      const message = yield* prepare(prose(100))
      yield* stream.write(message)
      yield* stream.write(message)
      const chunks: Array<Uint8Array> = []
      while (chunks.length < 2) chunks.push(...(yield* Effect.orDie(peer.pull)))
      assert.strictEqual(Buffer.from(chunks[0]!).equals(chunks[1]!), role === "server")
    }))
})
