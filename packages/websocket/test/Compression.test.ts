import type { Rule } from "@effect-websocket/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Deflate from "effect-websocket/Deflate"
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import type { Payload, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Random } from "../../protocol/test/fixtures/random.ts"
import { compressed, connected, Counting, makeDeflate, makeInflate, portable, scripted } from "./fixtures/compressed.ts"
import {
  binary,
  bytes,
  concat,
  continuation,
  encode,
  type Frame,
  hex,
  ping,
  reasonOf,
  type Role,
  roles,
  settled,
  text
} from "./fixtures/scripted.ts"
import * as Scripted from "./fixtures/scripted.ts"
import { everyStep, type Fork } from "./fixtures/steps.ts"
import { pattern } from "./fixtures/streams.ts"

type Service = WebSocketStream["Service"]

const hello = hex("f248cdc9c90700")
const tell = (frame: Frame) => `${frame.fin ? "fin " : ""}${frame.rsv ?? 0} ${frame.opcode}`
const toText = (data: Uint8Array) => new TextDecoder().decode(data)
const toBytes = (data: Payload) => typeof data === "string" ? bytes(data) : data

/** Bytes that do not compress. */
const noise = (size: number, seed = 1) => new Random(seed).bytes(size)
/** Bytes that compress somewhat. */
const prose = (size: number, seed = 1) => {
  const random = new Random(seed)
  return Uint8Array.from({ length: size }, () => 97 + random.below(5))
}

const params = (stream: Service) =>
  stream.handshake.extensions.map(({ name, params }) =>
    [name, ...params.map(([key, value]) => value === undefined ? key : `${key}=${value}`)].join("; ")
  )

const all: Required<
  Pick<
    Deflate.Options,
    "serverNoContextTakeover" | "clientNoContextTakeover" | "serverMaxWindowBits" | "clientMaxWindowBits"
  >
> = { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 10, clientMaxWindowBits: 11 }

describe("RFC 7692 section 5: whether messages are compressed", () => {
  const said = "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; " +
    "client_max_window_bits=11"

  it.effect.each([
    { name: "both ask", client: {}, server: {}, agreed: ["permessage-deflate"] },
    { name: "the server does not", client: {}, server: undefined, agreed: [] },
    { name: "the client does not", client: undefined, server: {}, agreed: [] },
    { name: "the client asks for everything", client: all, server: {}, agreed: [`permessage-deflate; ${said}`] },
    { name: "the server asks for everything", client: {}, server: all, agreed: [`permessage-deflate; ${said}`] }
  ])("$name", ({ agreed, client, server }) =>
    Effect.gen(function*() {
      const pair = yield* connected({ client: client && { ...client, threshold: 0 }, server })
      for (const role of roles) assert.deepStrictEqual(params(pair.of(role)), agreed)
      for (let i = 0; i < 3; i++) {
        yield* pair.client.write("up".repeat(500))
        assert.strictEqual(yield* pair.server.read, "up".repeat(500))
        yield* pair.server.write(pattern(70_000))
        assert.deepStrictEqual(yield* pair.client.read, pattern(70_000))
      }
    }))

  const neither = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
  it.effect.each([
    { options: { contextTakeover: true }, agreed: "permessage-deflate" },
    { options: { contextTakeover: false }, agreed: neither },
    { options: { contextTakeover: false, serverNoContextTakeover: true }, agreed: neither },
    {
      options: { contextTakeover: false, serverNoContextTakeover: false },
      agreed: "permessage-deflate; client_no_context_takeover"
    },
    {
      options: { contextTakeover: true, serverNoContextTakeover: true },
      agreed: "permessage-deflate; server_no_context_takeover"
    }
  ])("$options is $agreed, whichever side says it", ({ agreed, options }) =>
    Effect.gen(function*() {
      for (const role of roles) {
        const pair = yield* connected({ client: {}, server: {}, [role]: options })
        for (const side of roles) assert.deepStrictEqual(params(pair.of(side)), [agreed])
      }
    }))

  it.effect("without a Deflate it warns and asks for nothing", () =>
    Effect.gen(function*() {
      const warnings: Array<unknown> = []
      const logger = Logger.make(({ message }) => warnings.push(message))
      const [own, other] = yield* MemoryTransport.makePair()
      const peer = yield* Scripted.open("server", other)
      yield* WebSocketClient.connect({ url: "ws://example.com/", permessageDeflate: {} }).pipe(
        Effect.provideService(Transport.Transport, own),
        Effect.provide(Logger.layer([logger])),
        Effect.forkScoped
      )
      const { head } = yield* Scripted.takeHead(peer)
      assert.notInclude(head.toLowerCase(), "extensions")
      assert.deepStrictEqual(warnings, [["permessage-deflate is not used: no Deflate is provided"]])
      yield* peer.destroy
    }))

  it.effect.each([
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=08",
    "permessage-deflate; server_max_window_bits=x",
    "permessage-deflate; mystery",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate, permessage-deflate",
    "permessage-bzip2",
    "permessage-deflate, x-other"
  ])("an answer of %s is refused", (extension) =>
    Effect.gen(function*() {
      assert.deepInclude({ ...(yield* reasonOf(scripted("client", { extensions: extension }))) }, {
        _tag: "ExtensionRefused",
        extension
      })
    }))

  it.effect("an answer that grants less than was asked is refused", () =>
    Effect.gen(function*() {
      for (const deflate of [{ serverNoContextTakeover: true }, { serverMaxWindowBits: 10 } as const]) {
        assert.strictEqual((yield* reasonOf(scripted("client", { deflate })))._tag, "ExtensionRefused")
      }
    }))

  it.effect("an extension that was not offered is refused", () =>
    Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const peer = yield* Scripted.open("server", other)
      const fiber = yield* Effect.forkScoped(Effect.exit(reasonOf(
        WebSocketClient.connect({ url: "ws://example.com/" }).pipe(
          Effect.provideService(Transport.Transport, own),
          Effect.scoped
        )
      )))
      const { head } = yield* Scripted.takeHead(peer)
      const extension = "permessage-deflate"
      yield* peer.send(bytes(Scripted.responseHead(head, [`Sec-WebSocket-Extensions: ${extension}`])))
      const exit = yield* Fiber.join(fiber)
      assert.deepInclude({ ...(Exit.isSuccess(exit) ? exit.value : undefined) }, {
        _tag: "ExtensionRefused",
        extension
      })
    }))

  it.effect("an offer that cannot be kept is declined, and a later one taken", () =>
    Effect.gen(function*() {
      const extensions = "permessage-deflate; server_max_window_bits=99, permessage-deflate; server_max_window_bits=9"
      const { stream } = yield* scripted("server", { extensions })
      assert.deepStrictEqual(params(stream), ["permessage-deflate; server_max_window_bits=9"])
      assert.deepStrictEqual(params((yield* scripted("server", { extensions: "permessage-deflate; x" })).stream), [])
    }))
})

describe.each(roles)("RFC 7692 section 7.2: a %s on the wire", (role) => {
  it.effect("sends the Hello of section 7.2.3.1", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role, { reads: false })
      assert.strictEqual(yield* stream.write("Hello"), 5)
      const chunk = (yield* Effect.orDie(peer.pull))[0]
      if (role === "server") assert.deepStrictEqual(chunk, hex("c107f248cdc9c90700"))
      else assert.deepStrictEqual(chunk.subarray(0, 2), hex("c187"))
    }))

  it.effect.each([
    { takeover: true, second: "f200110000" },
    { takeover: false, second: "f248cdc9c90700" }
  ])("sends Hello twice, with takeover: $takeover", ({ second, takeover }) =>
    Effect.gen(function*() {
      const none = `${role}_no_context_takeover`
      const extensions = takeover ? "permessage-deflate" : `permessage-deflate; ${none}`
      const { next, stream } = yield* scripted(role, { extensions })
      yield* stream.writeAll(["Hello", "Hello"])
      assert.deepStrictEqual({ ...(yield* next) }, { opcode: 1, fin: true, rsv: 0x40, payload: hello })
      assert.deepStrictEqual({ ...(yield* next) }, { opcode: 1, fin: true, rsv: 0x40, payload: hex(second) })
    }))

  it.effect("reads Hello, with and without context, stored, fragmented, with a final block, and plain", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* scripted(role)
      const same: ReadonlyArray<ReadonlyArray<Frame>> = [
        [compressed(text(hello))],
        [compressed(text(hex("f200110000")))],
        [compressed(text(hex("000500faff48656c6c6f00")))],
        [compressed(text(hello.subarray(0, 3), false)), continuation(hello.subarray(3))],
        [
          compressed(text(hello.subarray(0, 1), false)),
          ping("x"),
          continuation("", false),
          continuation(hello.subarray(1))
        ],
        [compressed(text(hex("f348cdc9c9070000")))],
        [compressed(text(hex("f348cdc9c90700")))],
        [text("Hello")],
        [compressed(text(hex("f248050000 00ffff cac9c90700")))]
      ]
      for (const frames of same) {
        yield* peer.send(...frames)
        assert.strictEqual(yield* stream.read, "Hello")
      }
      for (const payload of ["00", "", "030000"]) {
        yield* peer.send(compressed(text(hex(payload))), compressed(text(hello)))
        assert.strictEqual(yield* stream.read, "")
        assert.strictEqual(yield* stream.read, "Hello")
      }
    }))

  it.effect("an empty message is one byte", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role)
      assert.strictEqual(yield* stream.write("", { compress: true }), 0)
      const { payload, ...frame } = yield* next
      assert.strictEqual(tell({ payload, ...frame }), "fin 64 1")
      assert.strictEqual(makeInflate()({ ...frame, payload }).length, 0)
      assert.isAtMost(payload.length, 2)
    }))

  it.effect("the threshold looks at the whole message, and compress overrides it", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role, { deflate: { threshold: 10 } })
      const bits = Effect.map(next, ({ rsv }) => rsv)
      const write = (size: number, options?: { readonly compress: boolean }) =>
        Effect.andThen(stream.write("x".repeat(size), options), bits)
      assert.strictEqual(yield* write(9), 0)
      assert.strictEqual(yield* write(10), 0x40)
      assert.strictEqual(yield* write(9, { compress: true }), 0x40)
      assert.strictEqual(yield* write(10, { compress: false }), 0)
      assert.strictEqual(yield* Effect.andThen(stream.write("é".repeat(5)), bits), 0x40)
      assert.strictEqual(yield* Effect.andThen(stream.writeSome(true, "123456789"), bits), 0)
      assert.strictEqual(yield* Effect.andThen(stream.writeSome(true, "1234567890"), bits), 0x40)
      yield* stream.writeSome(false, "1")
      yield* stream.writeSome(true, "2")
      assert.strictEqual(yield* bits, 0x40)
      yield* stream.writeSome(false, "1", { compress: false })
      yield* stream.writeSome(true, "2")
      assert.strictEqual(yield* bits, 0)
    }))

  it.effect("the default threshold is 1024 bytes", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role, { deflate: {} })
      yield* stream.writeAll(["x".repeat(1023), "x".repeat(1024)])
      assert.deepStrictEqual([(yield* next).rsv, (yield* next).rsv], [0, 0x40])
    }))

  it.effect("nothing is compressed where it was not agreed, whatever is asked", () =>
    Effect.gen(function*() {
      const pair = yield* connected({ server: undefined })
      const [from, to] = [pair.of(role), role === "client" ? pair.server : pair.client]
      yield* from.write("plain", { compress: true })
      assert.strictEqual(yield* to.read, "plain")
    }))

  // Beast, whose threshold is 5 here, sends "ab" and then "0123456789NEXTMESSAGE".
  it.effect("a message in parts stays one message, though nothing of its first part was sent", () =>
    Effect.gen(function*() {
      const { next, seen, stream } = yield* scripted(role, { deflate: { threshold: 5 } })
      assert.strictEqual(yield* stream.writeSome(false, "0123456789"), 10)
      yield* settled
      assert.strictEqual(seen.length, 0)
      assert.strictEqual(yield* stream.writeSome(true, "ab"), 2)
      yield* stream.write("NEXTMESSAGE")
      const inflate = makeInflate()
      assert.strictEqual(toText(inflate(yield* next)), "0123456789ab")
      assert.strictEqual(toText(inflate(yield* next)), "NEXTMESSAGE")
      assert.deepStrictEqual(seen.map(tell), ["fin 64 1", "fin 64 1"])
    }))

  it.effect("type and compression are decided once, also while nothing was sent", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role)
      yield* stream.writeSome(false, "text")
      const refused = [{ type: "binary" }, { compress: false }] as const
      for (const options of refused) {
        assert.strictEqual((yield* reasonOf(stream.writeSome(true, "more", options)))._tag, "InvalidPayload")
      }
      yield* stream.writeSome(true, bytes(" more"), { compress: true })
      const frame = yield* next
      assert.strictEqual(tell(frame), "fin 64 1")
      assert.strictEqual(toText(makeInflate()(frame)), "text more")

      yield* stream.writeSome(false, "text", { compress: false })
      assert.strictEqual((yield* reasonOf(stream.writeSome(true, "x", { compress: true })))._tag, "InvalidPayload")
      yield* stream.writeSome(true, "")
    }))

  it.effect("a flushed part arrives, and one that is not waits for the next", () =>
    Effect.gen(function*() {
      const pair = yield* connected()
      const [from, to] = [pair.of(role), role === "client" ? pair.server : pair.client]
      yield* from.writeSome(false, "held ")
      const waiting = yield* Effect.forkChild(to.readSome)
      yield* settled
      assert.isUndefined(waiting.pollUnsafe())
      yield* from.writeSome(false, "sent", { flush: true })
      let data = (yield* Fiber.join(waiting)).data as string
      while (data !== "held sent") data += (yield* to.readSome).data as string
      assert.strictEqual(yield* from.writeSome(false, "", { flush: true }), 0)
      yield* from.writeSome(true, "")
      assert.deepStrictEqual(yield* to.readSome, { type: "text", data: "", fin: true })

      yield* Effect.scoped(Effect.gen(function*() {
        const writer = yield* from.message("binary")
        assert.strictEqual(yield* writer.write(Uint8Array.of(1, 2), { flush: true }), 2)
        assert.deepStrictEqual((yield* to.readSome).data, Uint8Array.of(1, 2))
        assert.strictEqual(yield* writer.finish(Uint8Array.of(3)), 1)
        assert.deepStrictEqual((yield* to.readSome).data, Uint8Array.of(3))
      }))
    }))

  it.effect("however it is written, what arrives is the same and sizes are those before compression", () =>
    Effect.gen(function*() {
      const pair = yield* connected()
      const [from, to] = [pair.of(role), role === "client" ? pair.server : pair.client]
      const message = "a message, and more of a message. ".repeat(20)
      const parts = [message.slice(0, 100), message.slice(100, 101), "", message.slice(101)]
      assert.strictEqual(yield* from.writeAll([message, bytes(message), ""]), message.length * 2)
      assert.strictEqual(yield* from.writeStream("text", Stream.fromIterable(parts)), message.length)
      yield* Stream.run(Stream.fromIterable([message, "end"]), from.sink())
      assert.deepStrictEqual(yield* to.read, message)
      assert.deepStrictEqual(yield* to.read, bytes(message))
      assert.deepStrictEqual([yield* to.read, yield* to.read, yield* to.read, yield* to.read], [
        "",
        message,
        message,
        "end"
      ])
    }))
})

describe.each(roles)("a violation noticed by a %s", (role) => {
  const violated = Effect.fnUntraced(function*(
    frames: ReadonlyArray<Frame>,
    config: { readonly maxMessageSize?: number } = {}
  ) {
    const { next, peer, stream } = yield* scripted(role, { config })
    yield* peer.send(compressed(text(hello)), ...frames, compressed(text(hello)))
    const { opcode, payload } = yield* next
    assert.strictEqual(opcode, 8)
    assert.strictEqual(yield* stream.read, "Hello")
    const reason = yield* reasonOf(Effect.forever(stream.read))
    assert.strictEqual((yield* reasonOf(stream.write("late")))._tag, "ConnectionClosed")
    yield* peer.end
    assert.isFalse((yield* stream.closed).clean)
    assert.strictEqual(yield* Scripted.deadlines, 0)
    return { reason, code: (payload[0]! << 8) | payload[1]! }
  })

  const reserved: ReadonlyArray<ReadonlyArray<Frame>> = [
    [compressed(text(hello, false)), compressed(continuation(hello))],
    [text("plain", false), compressed(continuation("x"))],
    [compressed(ping("x"))],
    [compressed(Scripted.close(1000))],
    [{ ...text(hello), rsv: 0x20 }],
    [{ ...text(hello), rsv: 0x50 }]
  ]

  it.effect.each(reserved)("RSV1 is for the first frame of a message alone, %#", (frames) =>
    Effect.gen(function*() {
      const { code, reason } = yield* violated(frames)
      assert.strictEqual(code, 1002)
      assert.deepInclude({ ...reason }, { _tag: "ProtocolViolation", rule: "ReservedBits" satisfies Rule })
    }))

  it.effect("RSV1 without the extension is a violation", () =>
    Effect.gen(function*() {
      const { peer, stream } = yield* Scripted.connect(role)
      yield* peer.send(compressed(text(hello)))
      assert.deepInclude({ ...(yield* reasonOf(stream.read)) }, { rule: "ReservedBits" })
      yield* peer.destroy
    }))

  const corrupt: ReadonlyArray<ReadonlyArray<Frame>> = [
    [compressed(text(hex("07")))],
    [compressed(text(hex("ffffffff")))],
    [compressed(text(hello.subarray(0, 3)))],
    [compressed(text(hello.subarray(0, 4), false)), continuation("")],
    [compressed(binary(hex("000500fa00")))],
    [compressed(binary(hex("4b040202030400")))]
  ]

  it.effect.each(corrupt)(
    "data that is not deflate is CorruptDeflate and 1007, %#",
    (frames) =>
      Effect.gen(function*() {
        const { code, reason } = yield* violated(frames)
        assert.deepStrictEqual([reason._tag, code], ["CorruptDeflate", 1007])
      })
  )

  it.effect("text that is not UTF-8 once inflated is InvalidUtf8 and 1007", () =>
    Effect.gen(function*() {
      const { code, reason } = yield* violated([compressed(text(makeDeflate()(hex("61ff"))))])
      assert.deepStrictEqual([reason._tag, code], ["InvalidUtf8", 1007])
    }))

  it.effect("a message of maxMessageSize arrives, and one byte more is 1009", () =>
    Effect.gen(function*() {
      const maxMessageSize = 1000
      const shapes: ReadonlyArray<(data: Uint8Array) => ReadonlyArray<Frame>> = [
        (data) => [binary(data)],
        (data) => [compressed(binary(makeDeflate()(data)))],
        (data) => {
          const payload = makeDeflate()(data)
          return [compressed(binary(payload.subarray(0, 9), false)), continuation(payload.subarray(9))]
        }
      ]
      for (const make of [noise, prose, (size: number) => new Uint8Array(size)]) {
        for (const shape of shapes) {
          const { peer, stream } = yield* scripted(role, { config: { maxMessageSize } })
          yield* peer.send(...shape(make(maxMessageSize)))
          assert.deepStrictEqual(yield* stream.read, make(maxMessageSize))
          yield* peer.destroy
          yield* stream.closed
          const { code, reason } = yield* violated(shape(make(maxMessageSize + 1)), { maxMessageSize })
          assert.deepInclude({ ...reason, code }, { _tag: "MessageTooBig", limit: maxMessageSize, code: 1009 })
        }
      }
    }))

  it.effect("a message within the ratio is taken, and one byte more ends with 1009", () =>
    Effect.gen(function*() {
      const most = new Uint8Array(100_000)
      const maxCompressionRatio = (most.length - (64 << 10)) / makeDeflate()(most).length
      const deflate = makeDeflate()
      const { next, peer, stream } = yield* scripted(role, { config: { maxCompressionRatio } })
      yield* peer.send(compressed(binary(deflate(most))))
      assert.strictEqual((yield* stream.read).length, most.length)
      yield* peer.send(compressed(binary(makeDeflate()(new Uint8Array(most.length + 1)))))
      const { payload } = yield* next
      const code = (payload[0]! << 8) | payload[1]!
      const reason = yield* reasonOf(stream.read)
      assert.deepInclude({ ...reason, code }, {
        _tag: "CompressionRatioTooHigh",
        limit: maxCompressionRatio,
        code: 1009
      })
    }))

  it.effect("a bomb of a mebibyte, a gibibyte inside, ends with 1009 once the limit is inflated", () =>
    Effect.gen(function*() {
      const limit = 1 << 20
      const codec = new Counting()
      const { next, peer, stream } = yield* scripted(role, { codec, config: { maxMessageSize: limit } })
      const zeros = makeDeflate()(new Uint8Array(1 << 20))
      const bomb = new Uint8Array(1 << 20)
      for (let at = 0; at + zeros.length + 4 <= bomb.length; at += zeros.length + 4) {
        bomb.set(zeros, at)
        bomb.set(hex("0000ffff"), at + zeros.length)
      }
      const before = process.memoryUsage().arrayBuffers
      const sending = yield* Effect.forkChild(peer.send(compressed(binary(bomb, false))))
      assert.deepInclude({ ...(yield* reasonOf(stream.read)) }, { _tag: "MessageTooBig", limit })
      const { payload } = yield* next
      assert.strictEqual((payload[0]! << 8) | payload[1]!, 1009)
      assert.isAtMost(codec.inflated, limit)
      // the bomb itself, masked, and what is inflated, twice
      assert.isBelow(process.memoryUsage().arrayBuffers - before, 16 << 20)
      assert.strictEqual(codec.live.size, 0)
      yield* Fiber.interrupt(sending)
    }))

  it.effect("many messages that inflate well do not fill more than the buffer and a little", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const { peer, stream } = yield* scripted(role, { codec })
      const payload = makeDeflate()(new Uint8Array(1 << 20))
      const messages = Array.from({ length: 20 }, () => compressed(binary(payload)))
      yield* Effect.forkChild(peer.send(...messages))
      yield* settled
      assert.isBelow(codec.inflated, 8 << 20)
      for (let i = 0; i < messages.length; i++) assert.strictEqual((yield* stream.read).length, 1 << 20)
    }))

  it.effect("a byte that is wrong, anywhere in a short session, ends it with a reason or changes what it says", () =>
    Effect.gen(function*() {
      const deflate = makeDeflate()
      const [first, second] = [deflate(bytes("hello hello hello")), deflate(prose(60))]
      const session = concat([
        compressed(text(first)),
        compressed(binary(second.subarray(0, 9), false)),
        continuation(second.subarray(9)),
        Scripted.close(1000)
      ].map((frame) => encode(role === "client" ? "server" : "client", frame)))
      const ends = new Set<string>()
      for (let at = 0; at < session.length; at++) {
        for (const flip of [0x01, 0x80, 0xff]) {
          const { peer, stream } = yield* scripted(role)
          yield* peer.send(session.map((byte, i) => i === at ? byte ^ flip : byte))
          yield* peer.end
          ends.add((yield* reasonOf(Effect.forever(stream.read)))._tag)
          yield* peer.destroy
          yield* stream.closed
        }
      }
      const known = new Set<string>(
        [
          "CorruptDeflate",
          "ProtocolViolation",
          "InvalidUtf8",
          "ConnectionClosed",
          "MessageTooBig"
        ] satisfies ReadonlyArray<
          WebSocketError.ReadError["reason"]["_tag"]
        >
      )
      assert.deepStrictEqual(Array.from(ends).filter((end) => !known.has(end)), [])
      assert.isTrue(ends.has("CorruptDeflate") && ends.has("ConnectionClosed"))
    }))
})

describe.each(roles)("a long message of a %s", (role) => {
  it.effect("goes in fragments of at most fragmentSize, whatever the compressor holds back, and pings are answered between", () =>
    Effect.gen(function*() {
      for (const fragmentSize of [1000, 65_536]) {
        const { peer, seen, stream } = yield* scripted(role, { config: { fragmentSize }, toPeer: { capacity: 500 } })
        const message = prose(300_000)
        const writing = yield* Effect.forkChild(stream.write(message))
        yield* Effect.repeat(Effect.yieldNow, { until: () => seen.length > 0 })
        yield* peer.send(ping("now"))
        assert.strictEqual(yield* Fiber.join(writing), message.length)
        yield* settled
        const data = seen.filter(({ opcode }) => opcode !== 10)
        assert.isTrue(data.every(({ payload }) => payload.length > 0 && payload.length <= fragmentSize))
        assert.isTrue(data.slice(1).every(({ opcode, rsv }) => opcode === 0 && rsv === 0))
        const at = seen.findIndex(({ opcode }) => opcode === 10)
        assert.isTrue(at > 0 && at < seen.length - 1)
        assert.deepStrictEqual(makeInflate()(...data), message)
      }
    }))

  it.effect("without fragments is one frame, and so is each part of one", () =>
    Effect.gen(function*() {
      const { next, stream } = yield* scripted(role, { config: { fragmentSize: 0 } })
      const inflate = makeInflate()
      for (const size of [65_535, 65_536, 65_537, 300_000]) {
        yield* Effect.forkChild(stream.write(prose(size)))
        const frame = yield* next
        assert.strictEqual(tell(frame), "fin 64 2")
        assert.deepStrictEqual(inflate(frame), prose(size))
      }
      yield* Effect.forkChild(Effect.andThen(
        stream.writeSome(false, prose(300_000), { flush: true }),
        stream.writeSome(true, prose(300_000))
      ))
      const frames = [yield* next, yield* next]
      assert.deepStrictEqual(frames.map(tell), ["64 2", "fin 0 0"])
      assert.strictEqual(inflate(...frames).length, 600_000)
    }))

  it.effect("of which nothing was sent is taken back by an interruption, and the next is as if it had not been", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const { next, stream } = yield* scripted(role, { codec, config: { fragmentSize: 0 } })
      const inflate = makeInflate()
      yield* stream.write("before before")
      assert.strictEqual(toText(inflate(yield* next)), "before before")
      const writing = yield* Effect.forkChild(stream.write(prose(600_000)), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(writing)
      assert.isAtLeast(codec.deflated, 65_536)
      assert.isBelow(codec.deflated, 600_000)
      yield* stream.write("after before")
      assert.strictEqual(toText(inflate(yield* next)), "after before")
    }))

  it.effect("without fragments has a ping answered while it is compressed", () =>
    Effect.gen(function*() {
      const { next, peer, stream } = yield* scripted(role, { config: { fragmentSize: 0 } })
      const writing = yield* Effect.forkChild(stream.write(prose(600_000)), { startImmediately: true })
      yield* peer.send(ping("now"))
      assert.deepStrictEqual([tell(yield* next), tell(yield* next)], ["fin 0 10", "fin 64 2"])
      assert.strictEqual(yield* Fiber.join(writing), 600_000)
    }))
})

describe.each(roles)("a turn of the event loop of a %s", (role) => {
  const most = 65_536

  /** How much `total` of the codec grows from turn to turn while `run` does. */
  const steps = Effect.fnUntraced(function*<E>(total: () => number, run: Effect.Effect<unknown, E>) {
    const turns: Array<number> = []
    const look = Effect.andThen(Effect.yieldNow, Effect.sync(() => turns.push(total())))
    const other = yield* Effect.forkChild(Effect.forever(look, { disableYield: true }))
    yield* settled
    yield* run
    yield* Fiber.interrupt(other)
    return turns.map((now, i) => now - (turns[i - 1] ?? 0)).filter((step) => step > 0)
  })

  const message = new Uint8Array(600_000)
  const short = Array.from({ length: 10 }, () => new Uint8Array(60_000))
  const tiny = Array.from({ length: 600 }, () => new Uint8Array(1000))
  const each = (messages: ReadonlyArray<Payload>) => (stream: Service) =>
    Effect.forEach(messages, (payload) => stream.write(payload), { discard: true })
  const styles: Readonly<Record<string, (stream: Service) => Effect.Effect<unknown, WebSocketError.WriteError>>> = {
    "write": (stream) => stream.write(message),
    "write of a text": (stream) => stream.write(toText(message)),
    "write of many": each(short),
    "write of many more": each(tiny),
    "writeAll": (stream) => stream.writeAll([message]),
    "writeAll of many": (stream) => stream.writeAll(short),
    "writeAll of many more": (stream) => stream.writeAll(tiny),
    "writeSome": (stream) => Effect.andThen(stream.writeSome(false, message), stream.writeSome(true, message)),
    "writeStream": (stream) => stream.writeStream("binary", Stream.fromIterable(short))
  }

  it.effect.each(Object.keys(styles).flatMap((name) => [0, 1000, 1 << 20].map((size) => [name, size] as const)))(
    "compresses at most 64 KiB, by %s with fragments of %d",
    ([name, fragmentSize]) =>
      Effect.gen(function*() {
        const codec = new Counting()
        const { stream } = yield* scripted(role, { codec, config: { fragmentSize }, toPeer: { capacity: 1 << 20 } })
        const deflated = yield* steps(() => codec.deflated, styles[name]!(stream))
        assert.isAtMost(Math.max(...deflated), most)
        assert.isAtLeast(deflated.length, 8)
      })
  )

  it.effect("compresses at most 64 KiB for a prepared message", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const prepare = PreparedMessage.makeCompressed(message).pipe(Effect.provideService(Deflate.Deflate, codec))
      const deflated = yield* steps(() => codec.deflated, prepare)
      assert.deepStrictEqual(deflated, Array.from({ length: 9 }, () => most))
      assert.strictEqual(codec.live.size, 0)
    }))

  it.effect("decompresses no more than what a few bytes stand for, whatever the chunks", () =>
    Effect.gen(function*() {
      const payload = makeDeflate()(new Uint8Array(8 << 20))
      for (const chunkSize of [100, 4096, 1 << 20]) {
        const codec = new Counting()
        const { peer, stream } = yield* scripted(role, { codec, fromPeer: { chunkSize } })
        yield* Effect.forkChild(peer.send(compressed(binary(payload))))
        const inflated = yield* steps(() => codec.inflated, stream.read)
        assert.isAtMost(Math.max(...inflated), (256 << 10) + 512 * 1032)
        assert.isAtLeast(inflated.length, 10)
      }
    }))
})

describe("law: interrupting a compressed write leaves the wire legal", () => {
  const interrupted =
    (role: Role, write: (stream: Service) => Effect.Effect<unknown, WebSocketError.WriteError>) =>
    (fork: Fork): Effect.Effect<void, unknown, Scope.Scope> =>
      Effect.gen(function*() {
        const { seen, stream } = yield* scripted(role, { config: { fragmentSize: 2000 }, toPeer: { capacity: 1500 } })
        yield* stream.write("before before")
        const fiber = yield* fork(write(stream))
        yield* Fiber.await(fiber)
        const after = yield* Effect.exit(stream.write("after before"))
        yield* settled
        const inflate = makeInflate()
        let open: Array<Frame> = []
        const messages: Array<string> = []
        for (const frame of seen.filter(({ opcode }) => opcode < 8)) {
          assert.strictEqual(frame.opcode === 0, open.length > 0)
          assert.strictEqual(frame.rsv, open.length > 0 ? 0 : 0x40)
          open.push(frame)
          if (!frame.fin) continue
          messages.push(toText(inflate(...open)))
          open = []
        }
        assert.strictEqual(messages[0], "before before")
        if (Exit.isSuccess(after)) assert.deepStrictEqual([open.length, messages.at(-1)], [0, "after before"])
        else {assert.strictEqual(
            yield* reasonOf(stream.write("x")).pipe(Effect.map(({ _tag }) => _tag)),
            "MessageAborted"
          )}
      }).pipe(Effect.scoped)

  // in two pieces and several frames
  const long = "before ".repeat(9500) + toText(prose(12_000))
  const writes: Readonly<Record<string, (stream: Service) => Effect.Effect<unknown, WebSocketError.WriteError>>> = {
    write: (stream) => stream.write(long),
    "a short write": (stream) => stream.write("short before"),
    writeAll: (stream) => stream.writeAll(["one before", "two before", toText(prose(9000)), "three"])
  }

  it.effect.each(Object.keys(writes))("%s, at every step", (name) =>
    Effect.gen(function*() {
      let steps = 0
      for (const role of roles) {
        for (const injection of ["turns", { operations: 5 }, { operations: 32 }] as const) {
          steps += yield* everyStep(interrupted(role, writes[name]!), injection)
        }
      }
      assert.isAtLeast(steps, 2)
    }))
})

describe("law: what is written arrives, whole and in order", () => {
  const agreements: ReadonlyArray<Deflate.Options> = [
    {},
    { serverNoContextTakeover: true },
    { clientNoContextTakeover: true, serverMaxWindowBits: 9 },
    { clientMaxWindowBits: 9, serverNoContextTakeover: true },
    { serverMaxWindowBits: 8, clientMaxWindowBits: 8 },
    { serverNoContextTakeover: true, clientNoContextTakeover: true }
  ]
  const sizes = [0, 1, 5, 125, 126, 1000, 5000, 70_000]

  const makeMessage = (random: Random): Payload => {
    const size = random.pick(sizes)
    const data = random.oneIn(3) ? noise(size, random.bits()) : prose(size, random.below(3))
    return random.oneIn(2) ? toText(data.map((byte) => byte & 0x7f)) : data
  }

  const writeOne = (stream: Service, message: Payload, random: Random) => {
    const compress = random.pick([undefined, true, false])
    if (random.oneIn(2)) return stream.write(message, { compress })
    const cuts = Array.from({ length: random.below(4) }, () => random.below(message.length + 1)).toSorted((a, b) =>
      a - b
    )
    const parts = [0, ...cuts].map((from, i) => message.slice(from, cuts[i] ?? message.length))
    const flushes = parts.map(() => random.oneIn(3))
    if (random.oneIn(2)) {
      return Effect.forEach(
        parts,
        (part, i) => stream.writeSome(i === parts.length - 1, part, { compress, flush: flushes[i] })
      )
    }
    return Effect.scoped(Effect.flatMap(
      stream.message(typeof message === "string" ? "text" : "binary", { compress }),
      (writer) =>
        Effect.andThen(
          Effect.forEach(parts, (part, i) => writer.write(part, { flush: flushes[i] })),
          writer.finish()
        )
    ))
  }

  const readAll = Effect.fnUntraced(function*(stream: Service, count: number, how: number) {
    const messages: Array<Payload> = []
    while (messages.length < count) {
      if (how === 0) messages.push(yield* stream.read)
      else if (how === 1) messages.push(...(yield* stream.pull))
      else {
        const parts = [yield* stream.readSome]
        while (!parts.at(-1)!.fin) parts.push(yield* stream.readSome)
        messages.push(
          parts[0]!.type === "text"
            ? parts.map(({ data }) => data).join("")
            : concat(parts.map(({ data }) => toBytes(data)))
        )
      }
    }
    return messages
  })

  it.effect.each(agreements)("%j", (agreement) =>
    Effect.gen(function*() {
      for (let seed = 1; seed <= 6; seed++) {
        const random = new Random(seed)
        const pair = yield* connected({
          client: { ...agreement, threshold: random.pick([0, 100]) },
          server: { threshold: random.pick([0, 1024]) },
          transport: { chunkSize: random.pick([1000, 4096, 100_000]), capacity: random.pick([500, 65_536]) },
          config: { fragmentSize: random.pick([0, 300, 65_536]), readBuffer: random.pick([100, 65_536]) }
        })
        yield* Effect.all(
          roles.map((role) =>
            Effect.gen(function*() {
              const messages = Array.from({ length: 8 }, () => makeMessage(random))
              const reading = yield* Effect.forkChild(
                readAll(role === "client" ? pair.server : pair.client, messages.length, seed % 3)
              )
              for (const message of messages) yield* writeOne(pair.of(role), message, random)
              assert.deepStrictEqual(yield* Fiber.join(reading), messages)
            })
          ),
          { concurrency: 2 }
        )
      }
    }).pipe(Effect.scoped))

  it.effect("at any split, byte by byte", () =>
    Effect.gen(function*() {
      for (const chunkSize of [1, 2, 3, 7]) {
        const pair = yield* connected({ transport: { chunkSize }, config: { fragmentSize: 5 } })
        for (const role of roles) {
          const [from, to] = [pair.of(role), role === "client" ? pair.server : pair.client]
          const messages = ["héllo wörld €", "", prose(300), "héllo wörld 𝄞"]
          const reading = yield* Effect.forkChild(readAll(to, messages.length, chunkSize % 3))
          yield* from.writeAll(messages)
          assert.deepStrictEqual(yield* Fiber.join(reading), messages)
        }
      }
    }))
})

describe("contexts", () => {
  const echo = Effect.fnUntraced(function*(pair: { readonly client: Service; readonly server: Service }) {
    yield* pair.client.write("client client")
    assert.strictEqual(yield* pair.server.read, "client client")
    yield* pair.server.write("server server")
    assert.strictEqual(yield* pair.client.read, "server server")
  })

  it.effect("are allocated on first use, and freed with the connection", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const scope = yield* Scope.make()
      const pair = yield* Scope.provide(connected({ codec }), scope)
      yield* pair.client.write("plain", { compress: false })
      yield* pair.server.read
      assert.strictEqual(codec.live.size, 0)
      yield* pair.client.write("one direction")
      yield* pair.server.read
      assert.strictEqual(codec.live.size, 2)
      yield* echo(pair)
      assert.strictEqual(codec.live.size, 4)
      yield* pair.client.close()
      yield* pair.server.closed
      assert.strictEqual(codec.live.size, 0)
      assert.strictEqual(yield* Scripted.deadlines, 0)
      yield* Scope.close(scope, Exit.void)
    }))

  it.effect("are freed on close in the middle of messages", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const pair = yield* connected({ codec })
      for (const role of roles) yield* pair.of(role).writeSome(false, "half a message", { flush: true })
      for (const role of roles) yield* pair.of(role).readSome
      assert.strictEqual(codec.live.size, 4)
      yield* pair.server.close()
      yield* pair.client.closed
      assert.strictEqual(codec.live.size, 0)
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect.each([
    { name: "with takeover the compressors' are", agreement: {}, released: 2 },
    {
      name: "where the client keeps none, its decompressor's too",
      agreement: { clientNoContextTakeover: true },
      released: 1
    },
    {
      name: "where nobody keeps any, none is held at all",
      agreement: { clientNoContextTakeover: true, serverNoContextTakeover: true },
      released: 0
    }
  ])(
    "that are not used for releaseAfter are freed, and come back: $name",
    ({ agreement, released }) =>
      Effect.gen(function*() {
        const codec = new Counting()
        const client = { ...agreement, threshold: 0, releaseAfter: "10 seconds" } as const
        const pair = yield* connected({ codec, client, server: { threshold: 0, releaseAfter: "10 seconds" } })
        for (let round = 0; round < 3; round++) {
          yield* echo(pair)
          yield* TestClock.adjust("9 seconds")
          assert.strictEqual(codec.live.size, 2 * released)
          yield* TestClock.adjust("11 seconds")
          assert.strictEqual(codec.live.size, released)
        }
      })
  )

  it.effect("are kept by messages that come often, and inside a message for as long as it takes", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const options = { threshold: 0, releaseAfter: "10 seconds" } as const
      const pair = yield* connected({ codec, client: options, server: options })
      for (let i = 0; i < 8; i++) {
        yield* echo(pair)
        yield* TestClock.adjust("6 seconds")
        assert.strictEqual(codec.live.size, 4)
      }
      yield* pair.client.writeSome(false, "a long ")
      yield* TestClock.adjust("1 minute")
      yield* pair.client.writeSome(true, "pause")
      assert.strictEqual(yield* pair.server.read, "a long pause")
    }))

  it.effect("are let go also where only a later message of writeAll was compressed", () =>
    Effect.gen(function*() {
      const codec = new Counting()
      const options = { threshold: 5, releaseAfter: "10 seconds" } as const
      const pair = yield* connected({ codec, client: options, server: options })
      yield* pair.client.writeAll(["tiny", "not tiny at all"])
      yield* pair.server.pull
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(codec.live.size, 1)
    }))

  it.effect("a compressor that dies ends the connection, and nobody waits", () =>
    Effect.gen(function*() {
      const codec = {
        ...portable,
        makeDeflater: () => {
          throw new Error("no memory")
        }
      }
      const pair = yield* connected({ codec })
      const waiting = yield* Effect.forkChild(reasonOf(pair.client.read))
      assert.strictEqual((yield* reasonOf(pair.client.write("x")))._tag, "TransportFailed")
      yield* TestClock.adjust("10 seconds")
      yield* pair.client.closed
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "TransportFailed")
    }))
})
