import { assert, describe, it } from "@effect/vitest"
import type { ReadError } from "effect-websocket/WebSocketError"
import type { MessagePart, Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  assertBytes,
  binary,
  concat,
  encode,
  more,
  otherRole,
  pattern,
  ping,
  pong,
  reasonOf,
  roles,
  scripted,
  settle,
  text,
  utf8,
  type Wire
} from "./fixtures/streams.ts"

const textPart = (data: string, fin: boolean = true): MessagePart => ({ type: "text", data, fin })
const binaryPart = (data: Uint8Array, fin: boolean = true): MessagePart => ({ type: "binary", data, fin })

const raw = (opcode: number, fin: boolean, payload: Uint8Array): Wire => ({ opcode, fin, payload })

for (const role of roles) {
  describe(`as ${role}`, () => {
    describe("whole messages", () => {
      it.effect("read gives them in order, text as strings and binary as bytes", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("κόσμε"), binary(pattern(3)), text(""), binary(pattern(0)))
          for (const expected of ["κόσμε", pattern(3), "", pattern(0)]) {
            assert.deepStrictEqual(yield* stream.read, expected)
          }
        }))

      it.effect("read waits for the last fragment and joins them", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const reading = yield* Effect.forkChild(stream.read, { startImmediately: true })
          for (const wire of [text("a", false), more("", false), more("b", false)]) {
            yield* peer.send(wire)
            yield* settle
            assert.isUndefined(reading.pollUnsafe())
          }
          yield* peer.send(more("c"))
          assert.strictEqual(yield* Fiber.join(reading), "abc")
        }))

      it.effect("a byte order mark is text like any other", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("\ufeffa"), text("\ufeff", false), more("\ufeffb"))
          assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["\ufeffa", "\ufeff\ufeffb"])
        }))

      it.effect("pull gives all that are there, and waits for one when there is none", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a"), binary(pattern(2)), text("b", false), more("c"), text("half", false))
          yield* settle
          assert.deepStrictEqual(yield* stream.pull, ["a", pattern(2), "bc"])
          const pulling = yield* Effect.forkChild(stream.pull, { startImmediately: true })
          yield* settle
          assert.isUndefined(pulling.pollUnsafe())
          yield* peer.send(more(" done"), text("next"))
          assert.deepStrictEqual(yield* Fiber.join(pulling), ["half done", "next"])
        }))

      it.effect("messages gives all until the end, and then its error", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a"), text("b"), text("c"), raw(8, true, Uint8Array.of(3, 232)))
          const seen: Array<Payload> = []
          const end = yield* reasonOf(Stream.runForEach(stream.messages, (message) =>
            Effect.sync(() => {
              seen.push(message)
            })))
          assert.deepStrictEqual([seen, end], [["a", "b", "c"], "ConnectionClosed"])
        }))

      it.effect("control frames between fragments are no part of the message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false), ping("x"), more("b", false), pong("y"), more("c"))
          assert.strictEqual(yield* stream.read, "abc")
          assert.deepStrictEqual(yield* peer.expect(1), [pong("x")])
        }))
    })

    describe("parts", () => {
      it.effect("readSome gives what is there, and the end of the message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false))
          assert.deepStrictEqual(yield* stream.readSome, textPart("a", false))
          yield* peer.send(more("", false))
          const reading = yield* Effect.forkChild(stream.readSome, { startImmediately: true })
          yield* settle
          assert.isUndefined(reading.pollUnsafe())
          yield* peer.send(more(""))
          assert.deepStrictEqual(yield* Fiber.join(reading), textPart(""))
        }))

      it.effect("readSome gives a frame's payload before the frame has ended", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const frame = encode(otherRole(role), binary(pattern(100)))
          yield* peer.write(frame.slice(0, 50))
          const first = yield* stream.readSome
          assert.isFalse(first.fin)
          yield* peer.write(frame.slice(50))
          const second = yield* stream.readSome
          assert.isTrue(second.fin)
          assertBytes(concat(first.data as Uint8Array, second.data as Uint8Array), pattern(100))
        }))

      it.effect("a text part never splits a code point, however the bytes arrive", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { chunkSize: 1 } })
          const message = "a😀é€b"
          const bytes = utf8(message)
          yield* peer.send(
            raw(1, false, bytes.slice(0, 3)),
            raw(0, false, bytes.slice(3, 4)),
            raw(0, true, bytes.slice(4))
          )
          const parts: Array<MessagePart> = []
          yield* Effect.repeat(Effect.tap(stream.readSome, (part) => Effect.sync(() => parts.push(part))), {
            until: (part) => part.fin
          })
          assert.strictEqual(parts.map((part) => part.data).join(""), message)
          for (const { data } of parts) assert.isTrue((data as string).isWellFormed())
        }))

      it.effect("small parts of one message are given together when nobody read them", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false), more("b", false), more("c", false))
          yield* settle
          assert.deepStrictEqual(yield* stream.readSome, textPart("abc", false))
          yield* peer.send(more("d"), text("e"))
          yield* settle
          assert.deepStrictEqual(yield* stream.readSome, textPart("d"))
          assert.deepStrictEqual(yield* stream.readSome, textPart("e"))
        }))
    })

    describe("the views are of one sequence", () => {
      it.effect("read gives what readSome has left of a message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false))
          assert.deepStrictEqual(yield* stream.readSome, textPart("a", false))
          yield* peer.send(more("b", false), more("c"), text("d"))
          assert.strictEqual(yield* stream.read, "bc")
          assert.deepStrictEqual(yield* stream.readSome, textPart("d"))
        }))

      it.effect("pull gives what readSome has left of a message, and the messages behind it", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(binary(pattern(1), false))
          yield* stream.readSome
          yield* peer.send(more(pattern(2)), text("d"), text("e", false))
          yield* settle
          assert.deepStrictEqual(yield* stream.pull, [pattern(2), "d"])
          assert.deepStrictEqual(yield* stream.readSome, textPart("e", false))
        }))

      it.effect("leaving messages loses none of those that are there", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(...["a", "b", "c", "d"].map((payload) => text(payload)))
          yield* settle
          assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream.messages, 1)), ["a"])
          assert.strictEqual(yield* stream.read, "b")
          yield* Effect.flip(Stream.runForEach(stream.messages, () => Effect.fail("enough")))
          assert.deepStrictEqual(yield* stream.pull, ["d"])
        }))
    })

    describe("messageStreams", () => {
      it.effect("gives each message as a stream of its parts", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false), more("b", false), more("c"), binary(pattern(2)), text(""))
          const seen = yield* stream.messageStreams.pipe(
            Stream.take(3),
            Stream.mapEffect(({ parts, type }) => Effect.map(Stream.runCollect(parts), (parts) => ({ type, parts }))),
            Stream.runCollect
          )
          assert.deepStrictEqual(seen.map(({ type }) => type), ["text", "binary", "text"])
          assert.deepStrictEqual(seen.map(({ parts }) => parts.map(({ data }) => data)).slice(0, 1), [["abc"]])
          assert.deepStrictEqual(seen[1]!.parts, [binaryPart(pattern(2))])
          assert.deepStrictEqual(seen[2]!.parts, [textPart("")])
        }))

      it.effect("gives parts as they arrive", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const seen: Array<MessagePart> = []
          const running = yield* stream.messageStreams.pipe(
            Stream.flatMap(({ parts }) => parts),
            Stream.runForEach((part) => Effect.sync(() => void seen.push(part))),
            Effect.forkChild
          )
          for (const wire of [text("a", false), more("b", false), more("c")]) {
            yield* peer.send(wire)
            yield* settle
          }
          assert.deepStrictEqual(seen, [textPart("a", false), textPart("b", false), textPart("c")])
          yield* Fiber.interrupt(running)
        }))

      it.effect("skips what is left of a message when the next is asked for", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const sending = yield* Effect.forkChild(Effect.gen(function*() {
            for (
              const wire of [text("a", false), more("b", false), more("c"), text("d"), text("e", false), more("f")]
            ) {
              yield* peer.send(wire)
              yield* settle
            }
          }))
          const firsts = yield* stream.messageStreams.pipe(
            Stream.mapEffect(({ parts }) => Stream.runHead(parts)),
            Stream.take(3),
            Stream.runCollect
          )
          assert.deepStrictEqual(firsts.map((part) => part._tag === "Some" && part.value.data), ["a", "d", "e"])
          yield* Fiber.join(sending)
          assert.strictEqual(yield* stream.read, "f")
        }))

      it.effect("skips nothing when another read took what was left", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false))
          const seen: Array<Payload> = []
          const running = yield* stream.messageStreams.pipe(
            Stream.mapEffect(({ parts }) =>
              Effect.gen(function*() {
                const [first] = yield* Stream.runCollect(Stream.take(parts, 1))
                seen.push(first!.data)
                if (!first!.fin) seen.push(yield* stream.read)
                assert.deepStrictEqual(yield* Stream.runCollect(Stream.drop(parts, 1)), [])
              })
            ),
            Stream.take(2),
            Stream.runDrain,
            Effect.forkChild
          )
          yield* settle
          yield* peer.send(more("b"), text("c"))
          yield* Fiber.join(running)
          assert.deepStrictEqual(seen, ["a", "b", "c"])
        }))

      it.effect("fails with the error that ends the connection", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a", false), raw(8, true, Uint8Array.of(3, 232)))
          const parts = stream.messageStreams.pipe(Stream.flatMap(({ parts }) => parts), Stream.runDrain)
          assert.strictEqual(yield* reasonOf(parts), "ConnectionClosed")
        }))
    })

    describe("what is received belongs to the receiver", () => {
      it.effect("no array shares memory with another", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(binary(pattern(10)), binary(pattern(3000)), binary(pattern(20)), binary(pattern(500)))
          const messages = (yield* stream.pull) as ReadonlyArray<Uint8Array>
          for (const message of messages) message.fill(0)
          messages.forEach((message, i) => {
            message.fill(i + 1)
            assert.isTrue(messages.every((other, j) => other.every((byte) => byte === (j > i ? 0 : j + 1))))
          })
        }))

      it.effect("none keeps more alive than four times its size, or 4 KiB of others", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(...Array.from({ length: 40 }, (_, i) => binary(pattern(i * 37, i))))
          for (let i = 0; i < 40; i++) {
            const message = (yield* stream.read) as Uint8Array
            assertBytes(message, pattern(i * 37, i))
            assert.isAtMost(message.buffer.byteLength, Math.max(message.length * 4, 4096))
          }
        }))

      it.effect("small ones that came one by one lie together, so that a thousand of 8 bytes keep 16 KiB alive at most", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const buffers = new Set<ArrayBufferLike>()
          for (let i = 0; i < 1000; i++) {
            yield* peer.send(binary(pattern(8, i)))
            buffers.add(((yield* stream.read) as Uint8Array).buffer)
          }
          assert.isAtMost(Array.from(buffers).reduce((size, { byteLength }) => size + byteLength, 0), 16 * 1024)
        }))

      it.effect("one that was transferred to another thread takes none with it that come later", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(binary(pattern(8)))
          const { buffer } = (yield* stream.read) as Uint8Array<ArrayBuffer>
          buffer.transfer()
          assert.isTrue(buffer.detached)
          yield* peer.send(binary(pattern(10)))
          assertBytes((yield* stream.read) as Uint8Array, pattern(10))
        }))

      it.effect("an array is a Uint8Array of its own kind, even where the transport gives Buffers", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.write(Buffer.from(encode(otherRole(role), binary(pattern(3)))))
          assert.strictEqual(Object.getPrototypeOf(yield* stream.read), Uint8Array.prototype)
        }))
    })

    describe("the end", () => {
      const close = raw(8, true, Uint8Array.of(0x0f, 0xa0, 0x62, 0x79, 0x65))

      it.effect("what arrived before the peer's close is read first, then every read fails alike", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a"), text("b"), text("half", false), close)
          yield* settle
          assert.strictEqual(yield* stream.read, "a")
          assert.deepStrictEqual(yield* stream.pull, ["b"])
          assert.strictEqual(yield* reasonOf(stream.read), "ConnectionClosed")
          assert.deepStrictEqual(yield* stream.readSome, textPart("half", false))
          const errors = yield* Effect.all([
            Effect.flip(stream.read),
            Effect.flip(stream.readSome),
            Effect.flip(stream.pull)
          ])
          assert.strictEqual(new Set(errors).size, 1)
          const { reason } = errors[0]!
          assert.isTrue(reason._tag === "ConnectionClosed" && reason.status.code === 4000)
        }))

      it.effect("readers that wait all fail when the connection ends", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const reads: ReadonlyArray<Effect.Effect<unknown, ReadError>> = [
            stream.read,
            stream.readSome,
            stream.pull,
            stream.read
          ]
          const waiting = yield* Effect.forEach(reads, (read) => Effect.forkChild(reasonOf(read)))
          yield* settle
          yield* peer.send(close)
          assert.deepStrictEqual(
            yield* Effect.forEach(waiting, (fiber) => Fiber.join(fiber)),
            ["ConnectionClosed", "ConnectionClosed", "ConnectionClosed", "ConnectionClosed"]
          )
        }))

      it.effect("section 8.1: text fails at the first byte that cannot be right, after what came before it", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("fine"))
          // The header of a long message, three good bytes, and one that cannot follow.
          const frame = encode(otherRole(role), raw(1, true, concat(utf8("abc"), Uint8Array.of(0xff), pattern(1000))))
          yield* peer.write(frame.slice(0, frame.length - 1000))
          assert.strictEqual(yield* stream.read, "fine")
          assert.strictEqual(yield* reasonOf(stream.read), "InvalidUtf8")
          assert.strictEqual((yield* peer.expect(1))[0]!.payload[1], 1007 & 0xff)
        }))

      it.effect("section 5.4: a violation fails reads after the messages before it", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(text("a"), more("stray"))
          assert.strictEqual(yield* stream.read, "a")
          assert.strictEqual(yield* reasonOf(stream.read), "ProtocolViolation")
          assert.strictEqual(yield* reasonOf(stream.readSome), "ProtocolViolation")
        }))
    })
  })
}
