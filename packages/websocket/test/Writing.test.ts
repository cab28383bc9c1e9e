import { assert, describe, it } from "@effect/vitest"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  assertBytes,
  binary,
  concat,
  decode,
  encode,
  more,
  type Options,
  pattern,
  ping,
  pong,
  reasonOf,
  type Role,
  roles,
  scripted,
  type Service,
  settle,
  text,
  utf8,
  type Wire
} from "./fixtures/streams.ts"

/** What a program returns, and the exact bytes it makes a stream write, one entry a transport write. */
const written = Effect.fnUntraced(function*<A, E>(
  role: Role,
  program: (stream: Service) => Effect.Effect<A, E, Scope.Scope>,
  options?: Options
) {
  const { stream, watched } = yield* scripted(role, options)
  return { result: yield* program(stream), writes: watched.writes }
})

const sends = Effect.fnUntraced(function*<A, E>(
  role: Role,
  program: (stream: Service) => Effect.Effect<A, E, Scope.Scope>,
  result: NoInfer<A>,
  writes: ReadonlyArray<ReadonlyArray<Wire>>,
  options?: Options
) {
  const actual = yield* written(role, program, options)
  assert.deepStrictEqual(actual.result, result)
  assert.deepStrictEqual(actual.writes, writes.map((frames) => concat(...frames.map((wire) => encode(role, wire)))))
})

const fragmentSize = (fragmentSize: number): Options => ({ config: { fragmentSize } })

const invalid = Effect.fnUntraced(function*<A, E>(
  role: Role,
  program: (stream: Service) => Effect.Effect<A, E, Scope.Scope>,
  problem: string
) {
  const actual = yield* written(role, (stream) => Effect.exit(program(stream)))
  assert.strictEqual(actual.writes.length, 0)
  assert.include(JSON.stringify(actual.result), problem)
  assert.include(JSON.stringify(actual.result), "InvalidPayload")
})

for (const role of roles) {
  describe(`as ${role}`, () => {
    describe("RFC 6455 section 5.6: data frames", () => {
      it.effect("write sends a string as a text message and returns its size in bytes of UTF-8", () =>
        sends(role, (stream) => stream.write("κόσμε"), 10, [[text("κόσμε")]]))

      it.effect("write sends bytes as a binary message", () =>
        sends(role, (stream) => stream.write(pattern(5)), 5, [[binary(pattern(5))]]))

      it.effect("write sends bytes as text when asked to", () =>
        sends(role, (stream) => stream.write(utf8("κ"), { type: "text" }), 2, [[text("κ")]]))

      it.effect("write sends a string as binary when asked to", () =>
        sends(role, (stream) => stream.write("κ", { type: "binary" }), 2, [[binary(utf8("κ"))]]))

      it.effect("an empty message is one empty frame", () =>
        sends(
          role,
          (stream) => Effect.all([stream.write(""), stream.write(new Uint8Array(0))]),
          [0, 0],
          [[text("")], [binary(pattern(0))]]
        ))

      it.effect("lengths take the shortest form at 125, 126, 65535 and 65536", () =>
        Effect.forEach(
          [125, 126, 65535, 65536],
          (size) =>
            sends(role, (stream) => stream.write(pattern(size)), size, [[binary(pattern(size))]], {
              transport: { capacity: 1 << 20 }
            })
        ))
    })

    describe("RFC 6455 section 5.4: fragmentation", () => {
      it.effect("writeSome sends the first part with its type and the later ones as continuations", () =>
        sends(
          role,
          (stream) =>
            Effect.all([stream.writeSome(false, "Hel"), stream.writeSome(false, "l"), stream.writeSome(true, "o")]),
          [3, 1, 1],
          [[text("Hel", false)], [more("l", false)], [more("o")]]
        ))

      it.effect("writeSome with fin sends a whole message", () =>
        sends(role, (stream) => stream.writeSome(true, "Hello"), 5, [[text("Hello")]]))

      it.effect("empty parts are empty frames", () =>
        sends(
          role,
          (stream) =>
            Effect.all([stream.writeSome(false, ""), stream.writeSome(false, ""), stream.writeSome(true, "")]),
          [0, 0, 0],
          [[text("", false)], [more("", false)], [more("")]]
        ))

      it.effect("a message of fragmentSize - 1 and of fragmentSize bytes is one frame, of one more is two", () =>
        Effect.forEach([7, 8, 9], (size) =>
          sends(
            role,
            (stream) => stream.write(pattern(size)),
            size,
            size <= 8
              ? [[binary(pattern(size))]]
              : [[binary(pattern(9).subarray(0, 8), false)], [more(pattern(9).subarray(8))]],
            fragmentSize(8)
          )))

      it.effect("a part is cut as a message is, and only its last fragment can end the message", () =>
        sends(
          role,
          (stream) => Effect.all([stream.writeSome(false, "0123456789"), stream.writeSome(true, "abcde")]),
          [10, 5],
          [
            [text("0123", false)],
            [more("4567", false)],
            [more("89", false)],
            [more("abcd", false)],
            [more("e")]
          ],
          fragmentSize(4)
        ))

      it.effect("fragmentSize 0 sends a message of any size as one frame", () =>
        sends(role, (stream) => stream.write(pattern(200_000)), 200_000, [[binary(pattern(200_000))]], {
          config: { fragmentSize: 0 },
          transport: { capacity: 1 << 20 }
        }))

      it.effect("fragments may split code points, since the message is what is UTF-8", () =>
        sends(
          role,
          (stream) => stream.write("κό"),
          4,
          [[{ ...text("", false), payload: utf8("κό").subarray(0, 3) }], [more(utf8("κό").subarray(3))]],
          fragmentSize(3)
        ))
    })

    describe("writeAll", () => {
      it.effect("sends several small messages in one transport write", () =>
        sends(
          role,
          (stream) => stream.writeAll(["a", "", pattern(3), "ü"]),
          6,
          [[text("a"), text(""), binary(pattern(3)), text("ü")]]
        ))

      it.effect("sends nothing for no messages", () => sends(role, (stream) => stream.writeAll([]), 0, []))

      it.effect("fills a transport write up to a fragment's size and no further", () =>
        Effect.gen(function*() {
          const sizes = [20, 30, 90, 10, 200, 5, 5]
          const messages = sizes.map((size) => pattern(size))
          const { writes } = yield* written(role, (stream) => stream.writeAll(messages), fragmentSize(100))
          const expected = role === "server" ? [22 + 32, 92, 12, 102, 102, 7 + 7] : [26 + 36, 96, 16, 106, 106, 11 + 11]
          assert.deepStrictEqual(writes.map((bytes) => bytes.length), expected)
          assert.deepStrictEqual(
            decode(role, concat(...writes)).frames.map((frame) => frame.payload.length),
            [20, 30, 90, 10, 100, 100, 5, 5]
          )
        }))

      it.effect("fills at most 64 KiB where messages are not fragmented", () =>
        Effect.gen(function*() {
          const { writes } = yield* written(
            role,
            (stream) => stream.writeAll([pattern(40_000), pattern(20_000), pattern(10_000)]),
            { config: { fragmentSize: 0 }, transport: { capacity: 1 << 20 } }
          )
          assert.deepStrictEqual(writes.map((bytes) => decode(role, bytes).frames.length), [2, 1])
        }))

      it.effect("sends nothing when one of the messages cannot be sent", () =>
        invalid(role, (stream) => stream.writeAll(["fine", "\ud800"]), "lone surrogate"))
    })

    describe("message", () => {
      it.effect("sends its parts and ends with finish", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              const message = yield* stream.message("text")
              assert.strictEqual(message.type, "text")
              return [yield* message.write("κ"), yield* message.write(utf8("a")), yield* message.finish("b")]
            }),
          [2, 1, 1],
          [[text("κ", false)], [more("a", false)], [more("b")]]
        ))

      it.effect("finish without a part sends an empty last frame", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              const message = yield* stream.message("binary")
              return [yield* message.write(pattern(2)), yield* message.finish()]
            }),
          [2, 0],
          [[binary(pattern(2), false)], [more("")]]
        ))

      it.effect("finish alone sends a whole message", () =>
        sends(role, (stream) => Effect.flatMap(stream.message("text"), (message) => message.finish("all")), 3, [
          [text("all")]
        ]))

      it.effect("refuses parts after finish and sends nothing of them", () =>
        Effect.gen(function*() {
          const { stream, watched } = yield* scripted(role)
          const message = yield* stream.message("text")
          yield* message.finish("a")
          assert.strictEqual(yield* reasonOf(message.write("b")), "InvalidPayload")
          assert.strictEqual(yield* reasonOf(message.finish()), "InvalidPayload")
          yield* stream.write("next")
          assert.deepStrictEqual(watched.writes, [text("a"), text("next")].map((wire) => encode(role, wire)))
        }))

      it.effect("leaving its scope without a part leaves nothing on the wire and the lock free", () =>
        sends(
          role,
          (stream) => Effect.andThen(Effect.scoped(stream.message("text")), stream.write("next")),
          4,
          [[text("next")]]
        ))

      it.effect("leaving its scope after a part closes with 1001, after a failure with 1011", () =>
        Effect.forEach([Exit.void, Exit.fail("no")], (exit) =>
          Effect.gen(function*() {
            const { peer, stream } = yield* scripted(role)
            const scope = yield* Scope.make()
            const message = yield* Scope.provide(stream.message("text"), scope)
            yield* message.write("half")
            yield* Scope.close(scope, exit)
            const frames = yield* peer.expect(2)
            assert.deepStrictEqual(frames[0], text("half", false))
            assert.strictEqual(frames[1]!.opcode, 8)
            assert.strictEqual(frames[1]!.payload[1], Exit.isSuccess(exit) ? 1001 & 0xff : 1011 & 0xff)
            assert.strictEqual(yield* reasonOf(stream.write("more")), "ConnectionClosed")
            assert.strictEqual(yield* reasonOf(message.write("more")), "ConnectionClosed")
          })))
    })

    describe("writeStream and sink", () => {
      it.effect("writeStream sends parts as one message and returns its size", () =>
        sends(role, (stream) => stream.writeStream("text", Stream.make("a", "κ", utf8("b"))), 4, [
          [text("a", false)],
          [more("κ", false)],
          [more("b", false)],
          [more("")]
        ]))

      it.effect("writeStream of no parts sends an empty message", () =>
        sends(role, (stream) => stream.writeStream("binary", Stream.empty), 0, [[binary(pattern(0))]]))

      it.effect("writeStream fails with the error of its parts, after closing with 1011", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          const parts = Stream.concat(Stream.make("half"), Stream.fail("no"))
          assert.strictEqual(yield* Effect.flip(stream.writeStream("text", parts)), "no")
          const frames = yield* peer.expect(2)
          assert.deepStrictEqual(Array.from(frames[1]!.payload.subarray(0, 2)), [1011 >> 8, 1011 & 0xff])
        }))

      it.effect("writeStream that fails before its first part leaves nothing behind", () =>
        sends(
          role,
          (stream) =>
            Effect.andThen(Effect.flip(stream.writeStream("text", Stream.fail("no"))), () => stream.write("next")),
          4,
          [[text("next")]]
        ))

      it.effect("sink sends every element as a message, a chunk in one transport write", () =>
        sends(
          role,
          (stream) => Stream.run(Stream.make<Array<Payload>>("a", pattern(2), ""), stream.sink()),
          undefined,
          [[text("a"), binary(pattern(2)), text("")]]
        ))

      it.effect("sink takes options for all of them", () =>
        sends(
          role,
          (stream) => Stream.run(Stream.make("a\ud800"), stream.sink({ loneSurrogates: "replace" })),
          undefined,
          [
            [text("a\ufffd")]
          ]
        ))
    })

    describe("RFC 6455 section 8.1: text is UTF-8", () => {
      it.effect("a lone surrogate is refused, in every operation", () =>
        Effect.forEach(["\ud800", "a\udfff", "\udc00\ud800"], (lone) =>
          Effect.all([
            invalid(role, (stream) => stream.write(lone), "lone surrogate"),
            invalid(role, (stream) => stream.writeSome(false, lone), "lone surrogate"),
            invalid(role, (stream) => stream.write(lone, { type: "binary" }), "lone surrogate"),
            invalid(role, (stream) => Effect.flatMap(stream.message("text"), (_) => _.write(lone)), "lone surrogate")
          ])))

      it.effect("a lone surrogate is replaced when asked to", () =>
        sends(role, (stream) => stream.write("a\ud800b", { loneSurrogates: "replace" }), 5, [[text("a\ufffdb")]]))

      it.effect("a pair of surrogates is a character", () =>
        sends(role, (stream) => stream.write("😀"), 4, [[text("😀")]]))

      it.effect("bytes of a text message that are not UTF-8 are refused", () =>
        Effect.forEach(
          [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82]],
          (bytes) => invalid(role, (stream) => stream.write(Uint8Array.from(bytes), { type: "text" }), "not UTF-8")
        ))

      it.effect("a code point may be split over byte parts", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              const smile = utf8("😀")
              return [
                yield* stream.writeSome(false, smile.subarray(0, 1), { type: "text" }),
                yield* stream.writeSome(false, smile.subarray(1, 3)),
                yield* stream.writeSome(true, smile.subarray(3))
              ]
            }),
          [1, 2, 1],
          [
            [{ ...text("", false), payload: utf8("😀").subarray(0, 1) }],
            [more(utf8("😀").subarray(1, 3), false)],
            [more(utf8("😀").subarray(3))]
          ]
        ))

      it.effect("a part that no code point can go on with is refused and the message can go on", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              const euro = utf8("€")
              yield* stream.writeSome(false, euro.subarray(0, 2), { type: "text" })
              const refused = [
                yield* reasonOf(stream.writeSome(false, utf8("a"))),
                yield* reasonOf(stream.writeSome(false, "a")),
                yield* reasonOf(stream.writeSome(true, "")),
                yield* reasonOf(stream.writeSome(true, pattern(0)))
              ]
              yield* stream.writeSome(false, "")
              yield* stream.writeSome(true, euro.subarray(2))
              return refused
            }),
          ["InvalidPayload", "InvalidPayload", "InvalidPayload", "InvalidPayload"],
          [
            [{ ...text("", false), payload: utf8("€").subarray(0, 2) }],
            [more("", false)],
            [more(utf8("€").subarray(2))]
          ]
        ))
    })

    describe("a message keeps its type", () => {
      it.effect("a part that names another type is refused, and the message goes on", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              yield* stream.writeSome(false, "a")
              const refused = [
                yield* reasonOf(stream.writeSome(false, "b", { type: "binary" })),
                yield* reasonOf(stream.writeSome(true, utf8("b"), { type: "binary" }))
              ]
              yield* stream.writeSome(true, utf8("c"), { type: "text" })
              return refused
            }),
          ["InvalidPayload", "InvalidPayload"],
          [[text("a", false)], [more("c")]]
        ))

      it.effect("a string in a binary message is refused unless it is called binary", () =>
        sends(
          role,
          (stream) =>
            Effect.gen(function*() {
              yield* stream.writeSome(false, pattern(1))
              const refused = yield* reasonOf(stream.writeSome(true, "b"))
              yield* stream.writeSome(false, "c", { type: "binary" })
              yield* stream.writeSome(true, pattern(2))
              return refused
            }),
          "InvalidPayload",
          [[binary(pattern(1), false)], [more("c", false)], [more(pattern(2))]]
        ))

      it.effect("a MessageWriter of a binary message refuses strings", () =>
        Effect.gen(function*() {
          const { stream } = yield* scripted(role)
          const message = yield* stream.message("binary")
          assert.strictEqual(yield* reasonOf(message.write("b")), "InvalidPayload")
          assert.strictEqual(yield* message.finish(), 0)
        }))

      it.effect("the message after it may have another type", () =>
        sends(
          role,
          (stream) => Effect.all([stream.writeSome(false, "a"), stream.writeSome(true, "b"), stream.write(pattern(1))]),
          [1, 1, 1],
          [[text("a", false)], [more("b")], [binary(pattern(1))]]
        ))
    })

    describe("payload arrays", () => {
      it.effect("are not changed, and may be changed once the write completes", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, {
            config: { fragmentSize: 100 },
            transport: { capacity: 300 }
          })
          const payload = pattern(1000)
          const reading = yield* Effect.forkChild(peer.expect(10))
          yield* stream.write(payload)
          assertBytes(payload, pattern(1000))
          payload.fill(0)
          const frames = yield* Fiber.join(reading)
          assertBytes(concat(...frames.map((frame) => frame.payload)), pattern(1000))
        }))

      it.effect("of pings and pongs are copied when they are given", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, { transport: { capacity: 300 } })
          yield* Effect.forkChild(stream.write(pattern(400)), { startImmediately: true })
          const payload = utf8("abc")
          const pinging = yield* Effect.forkChild(stream.ping(payload), { startImmediately: true })
          yield* Effect.forkChild(stream.pong(payload), { startImmediately: true })
          payload.fill(0)
          assert.deepStrictEqual((yield* peer.expect(3)).slice(1), [ping("abc"), pong("abc")])
          yield* peer.send(pong("abc"))
          yield* Fiber.join(pinging)
        }))

      it.effect("may be views and Buffers", () =>
        sends(
          role,
          (stream) => Effect.all([stream.write(pattern(10).subarray(2, 5)), stream.write(Buffer.from("xyz"))]),
          [3, 3],
          [[binary(pattern(10).subarray(2, 5))], [binary(utf8("xyz"))]]
        ))
    })

    describe("RFC 6455 section 5.5: control frames", () => {
      it.effect("a payload of 125 bytes is sent, of 126 refused", () =>
        Effect.gen(function*() {
          const { peer, stream, watched } = yield* scripted(role)
          assert.strictEqual(yield* reasonOf(stream.pong(pattern(126))), "InvalidPayload")
          assert.strictEqual(yield* reasonOf(stream.ping(pattern(126))), "InvalidPayload")
          assert.strictEqual(watched.writes.length, 0)
          yield* stream.pong(pattern(125))
          yield* Effect.forkChild(stream.ping(pattern(125)), { startImmediately: true })
          assert.deepStrictEqual(yield* peer.expect(2), [
            { opcode: 10, fin: true, payload: pattern(125) },
            { opcode: 9, fin: true, payload: pattern(125) }
          ])
        }))

      it.effect("default payloads of pings differ, also from those of pings that wait", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* Effect.forkChild(stream.ping(Uint8Array.of(0, 0, 0, 2)), { startImmediately: true })
          for (let i = 0; i < 300; i++) yield* Effect.forkChild(stream.ping(), { startImmediately: true })
          const payloads = (yield* peer.expect(301)).map((frame) => Buffer.from(frame.payload).toString("hex"))
          assert.strictEqual(new Set(payloads).size, 301)
        }))

      it.effect("a ping goes between the parts of a message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* stream.writeSome(false, "a")
          yield* Effect.forkChild(stream.ping(utf8("p")), { startImmediately: true })
          yield* stream.writeSome(true, "b")
          assert.deepStrictEqual(yield* peer.expect(3), [text("a", false), ping("p"), more("b")])
        }))

      it.effect("pings and answers go after the fragment that is being sent, ahead of the rest of the message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, {
            transport: { capacity: 300 },
            config: { fragmentSize: 200 }
          })
          const writing = yield* Effect.forkChild(stream.write(pattern(1000)), { startImmediately: true })
          yield* Effect.forkChild(stream.ping(utf8("a")), { startImmediately: true })
          yield* Effect.forkChild(stream.pong(utf8("b")), { startImmediately: true })
          yield* peer.send(ping("c"))
          yield* settle
          const frames = yield* peer.expect(8)
          assert.deepStrictEqual(frames.map((frame) => frame.opcode), [2, 0, 10, 9, 10, 0, 0, 0])
          assert.deepStrictEqual(frames.slice(2, 5), [pong("c"), ping("a"), pong("b")])
          yield* Fiber.join(writing)
        }))

      it.effect("a Close goes after the fragment that is being sent, and the message fails at once", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role, {
            transport: { capacity: 300 },
            config: { fragmentSize: 200 }
          })
          const writing = yield* Effect.forkChild(reasonOf(stream.write(pattern(1000))), { startImmediately: true })
          const waiting = yield* Effect.forkChild(reasonOf(stream.write("next")), { startImmediately: true })
          yield* Effect.forkChild(stream.close(), { startImmediately: true })
          assert.strictEqual(yield* Fiber.join(writing), "ConnectionClosed")
          assert.strictEqual(yield* Fiber.join(waiting), "ConnectionClosed")
          const frames = yield* peer.expect(3)
          assert.deepStrictEqual(frames.map((frame) => frame.opcode), [2, 0, 8])
        }))

      it.effect("a ping is answered between the parts of a message", () =>
        Effect.gen(function*() {
          const { peer, stream } = yield* scripted(role)
          yield* stream.writeSome(false, "a")
          yield* peer.send(ping("p"))
          yield* settle
          yield* stream.writeSome(true, "b")
          assert.deepStrictEqual(yield* peer.expect(3), [text("a", false), pong("p"), more("b")])
        }))
    })

    it.effect("a write completes when the transport has accepted its bytes, and not before", () =>
      Effect.gen(function*() {
        const { peer, stream } = yield* scripted(role, { transport: { capacity: 200 } })
        const writing = yield* Effect.forkChild(stream.write(pattern(300)), { startImmediately: true })
        yield* settle
        assert.isUndefined(writing.pollUnsafe())
        yield* peer.expect(1)
        assert.strictEqual(yield* Fiber.join(writing), 300)
      }))

    it.effect("writes after close fail with ConnectionClosed", () =>
      Effect.gen(function*() {
        const { stream } = yield* scripted(role)
        yield* Effect.forkChild(stream.close(), { startImmediately: true })
        const operations: ReadonlyArray<Effect.Effect<unknown, { readonly reason: { readonly _tag: string } }>> = [
          stream.write("a"),
          stream.writeSome(false, "a"),
          stream.writeSome(true, "a"),
          stream.writeAll(["a"]),
          Effect.scoped(stream.message("text")),
          stream.writeStream("text", Stream.make("a")),
          Stream.run(Stream.make("a"), stream.sink()),
          stream.ping(),
          stream.pong()
        ]
        for (const operation of operations) assert.strictEqual(yield* reasonOf(operation), "ConnectionClosed")
      }))
  })
}
