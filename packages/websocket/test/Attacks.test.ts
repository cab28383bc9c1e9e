import * as Connection from "@effect-websocket/protocol/Connection"
import * as Extension from "@effect-websocket/protocol/Extension"
import { assert, describe, it } from "@effect/vitest"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Zlib from "node:zlib"
import * as Fuzz from "../../protocol/test/fixtures/fuzz.ts"
import { Random } from "../../protocol/test/fixtures/random.ts"
import * as Attacker from "./fixtures/attacker.ts"
import { namesIn, table } from "./fixtures/attacks.ts"
import * as Scripted from "./fixtures/scripted.ts"
import * as StreamFuzz from "./fixtures/streamFuzz.ts"

const { aliveBytes, atEveryCut, connect, deflated, ended, kibibyte, mebibyte, message, opening, variants } = Attacker
const { binary, bytes, close, concat, continuation, encode, hex, ping, pong, settled, text } = Scripted

type Variant = Attacker.Variant
type Run = (variant: Variant) => Effect.Effect<void, unknown, Scope.Scope>

interface Test {
  readonly over: ReadonlyArray<Variant>
  readonly run: Run
}

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
const plain = variants.filter(({ compressed }) => !compressed)

const all = (run: Run): Test => ({ over: variants, run })
const bothRoles = (run: Run): Test => ({ over: plain, run })
const asServer = (run: Run): Test => ({ over: variants.filter(({ role }) => role === "server"), run })
const asClient = (run: Run): Test => ({ over: variants.filter(({ role }) => role === "client"), run })
const compressing = (run: Run): Test => ({ over: variants.filter(({ compressed }) => compressed), run })
const once = (run: () => Effect.Effect<void, unknown, Scope.Scope>): Test => ({ over: plain.slice(0, 1), run })

const peerOf = ({ role }: Variant): Scripted.Role => role === "client" ? "server" : "client"

/** The bytes of frames as the peer of the attacked end sends them. */
const fromPeer = (variant: Variant, ...frames: ReadonlyArray<Scripted.Frame>): Uint8Array => wireOf(variant, frames)

const wireOf = (variant: Variant, frames: ReadonlyArray<Scripted.Frame>): Uint8Array =>
  concat(frames.map((frame) => encode(peerOf(variant), frame)))

/** A header in hex, masked as the peer has to. */
const header = ({ role }: Variant, digits: string): Uint8Array => {
  const head = hex(digits)
  if (role === "client") return head
  head[1]! |= 0x80
  return concat([head, hex("01020304")])
}

/** A message in fragments of `size` bytes; without its end if `open`. */
const fragments = (frame: Scripted.Frame, size: number, open = false): ReadonlyArray<Scripted.Frame> => {
  const count = Math.ceil(frame.payload.length / size)
  return Array.from({ length: count }, (_, i): Scripted.Frame => {
    const payload = frame.payload.subarray(i * size, (i + 1) * size)
    const fin = !open && i === count - 1
    return i === 0 ? { ...frame, fin, payload } : continuation(payload, fin)
  })
}

/** What a flood has cost at most, told once. */
const assertCost = (cost: number, limit: number): void => assert.isAtMost(cost, limit, "bytes held")

/** Sends `frame` again and again in large writes. */
const flood = (variant: Variant, peer: Scripted.Peer, frame: Scripted.Frame, count: number) => {
  const each = fromPeer(variant, frame)
  const some = Math.min(count, 10_000)
  const many = new Uint8Array(each.length * some)
  for (let i = 0; i < some; i++) many.set(each, i * each.length)
  return Effect.replicateEffect(Effect.andThen(peer.send(many), Effect.yieldNow), count / some, { discard: true })
}

const random = (size: number): Uint8Array => new Random(size).bytes(size)

/** Ends with `code` and `reason`, cut at every offset. */
const refused = (
  variant: Variant,
  attack: Uint8Array,
  expected: Effect.Success<ReturnType<typeof ended>>,
  config: WebSocketConfig.Options = {}
) =>
  atEveryCut(
    variant,
    attack,
    { config },
    (attacked) => Effect.map(ended(attacked), (actual) => assert.deepStrictEqual(actual, expected))
  )

const violation = { code: 1002, reason: "ProtocolViolation" as const }
const notText = { code: 1007, reason: "InvalidUtf8" as const }
const tooBig = { code: 1009, reason: "MessageTooBig" as const }
const tooMany = { code: 1008, reason: "TooManyFragments" as const }

const memory: Record<string, Test> = {
  "a number as a payload sends nothing, and what comes behind it is whole": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      const number = 1000 as never
      const uses = [
        () => stream.ping(number),
        () => stream.pong(number),
        () => stream.write(number),
        () => stream.writeSome(true, number),
        () => stream.write(new Uint32Array(100) as never)
      ]
      for (const use of uses) {
        const using = yield* fork(Effect.exit(Effect.suspend(use)))
        yield* settled
        assert.isDefined(using.pollUnsafe(), "it waits for nothing")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(using)))
      }
      yield* settled
      assert.deepStrictEqual(peer.seen, [])
      yield* fork(stream.close())
      assert.strictEqual(yield* peer.next, "close 1000")
    })
  ),
  "a close reason is counted in bytes of UTF-8, and nothing but a string is one": bothRoles((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      const long = ["x".repeat(124), "é".repeat(62), "€".repeat(42), "\ud800", new Uint32Array(10) as never]
      for (const reason of long) assert.isTrue(Exit.isFailure(yield* Effect.exit(stream.close({ reason }))))
      assert.strictEqual(yield* stream.state, "Open")
      yield* fork(stream.close({ reason: "€".repeat(41) }))
      assert.strictEqual(yield* peer.next, `close 1000 ${"€".repeat(41)}`)
    })
  ),
  "a byte that waits to be read does not pin the chunk it came in": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { reads: false })
      const flooding = Array.from({ length: 400 }, () => pong("x".repeat(125)))
      const tiny = [message(variant, binary(hex("2a"))), ...fragments(message(variant, binary(hex("2b"))), 1)]
      yield* peer.send(fromPeer(variant, ...flooding, ...tiny, ...flooding))
      yield* settled
      for (const byte of [0x2a, 0x2b]) {
        const data = (yield* stream.read) as Uint8Array
        assert.deepStrictEqual(Array.from(data), [byte])
        assert.isAtMost(data.buffer.byteLength, 4096)
      }
    })
  ),
  "a hundred thousand pongs that answer nothing leave nothing": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      const before = yield* aliveBytes
      yield* flood(variant, peer, pong("x".repeat(20)), 100_000)
      yield* settled
      assertCost((yield* aliveBytes) - before, mebibyte)
      assert.deepStrictEqual(peer.seen, [])
      yield* peer.send(text("alive"))
      assert.strictEqual(yield* stream.read, "alive")
    })
  ),
  "ten thousand pings from a peer that does not read cost one pong": all((variant) =>
    Effect.gen(function*() {
      const { peer } = yield* connect(variant, { reads: false, toPeer: { capacity: 4096 } })
      const before = yield* aliveBytes
      yield* flood(variant, peer, ping("x".repeat(100)), 9_999)
      yield* peer.send(ping("the last"))
      yield* settled
      assertCost((yield* aliveBytes) - before, mebibyte)
      yield* peer.read()
      yield* settled
      // what the transport held, the one frame that waited for room, and the latest answer
      assert.isAtMost(peer.seen.length, 4096 / 102 + 2)
      assert.strictEqual(peer.seen.at(-1), "pong the last")
    })
  ),
  "ten pings in one go from a peer that reads get ten pongs": all((variant) =>
    Effect.gen(function*() {
      const { peer } = yield* connect(variant)
      yield* peer.send(...Array.from({ length: 10 }, (_, i) => ping(`payload-${i}`)))
      assert.deepStrictEqual(yield* peer.take(10), Array.from({ length: 10 }, (_, i) => `pong payload-${i}`))
    })
  )
}

const floods: Record<string, Test> = {
  "a million empty fragments cost bounded memory and end in 1008": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { maxFragments: 1_000_000 } })
      const before = yield* aliveBytes
      yield* peer.send({ ...text("", false), rsv: variant.compressed ? 0x40 : 0 })
      yield* flood(variant, peer, continuation("", false), 990_000)
      yield* settled
      assertCost((yield* aliveBytes) - before, mebibyte)
      assert.deepStrictEqual(peer.seen, [])
      yield* flood(variant, peer, continuation("", false), 10_000)
      assert.deepStrictEqual(yield* ended({ peer, stream }), tooMany)
    })
  ),
  "a hundred thousand one-byte fragments that nobody reads cost bounded memory": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      const payload = random(100_000)
      const frames = fragments(message(variant, binary(payload)), 1)
      const wire = wireOf(variant, frames)
      const before = yield* aliveBytes
      const sending = yield* fork(peer.writer.write(wire))
      yield* settled
      // what is held to be read, and what the transport holds
      assertCost((yield* aliveBytes) - before, 3 * mebibyte)
      assert.isTrue(Buffer.from((yield* stream.read) as Uint8Array).equals(payload))
      yield* Fiber.join(sending)
    })
  ),
  "130000 empty messages that nobody reads stop the peer": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      const before = yield* aliveBytes
      const sending = yield* fork(flood(variant, peer, message(variant, text("")), 130_000))
      yield* settled
      assert.isUndefined(sending.pollUnsafe())
      assertCost((yield* aliveBytes) - before, 4 * mebibyte)
      for (let i = 0; i < 130_000;) i += (yield* stream.pull).length
      yield* Fiber.join(sending)
    })
  ),
  "two hundred thousand fragments of one message are joined in time": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { maxFragments: 1_000_000 } })
      const payload = random(200_000)
      const sending = yield* fork(peer.send(wireOf(variant, fragments(message(variant, binary(payload)), 1))))
      assert.isTrue(Buffer.from((yield* stream.read) as Uint8Array).equals(payload))
      yield* Fiber.join(sending)
    })
  ),
  "an endless message is refused at the limit, of which no more is held": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { maxMessageSize: 64 * kibibyte } })
      const reading = yield* fork(ended({ peer, stream }))
      const before = yield* aliveBytes
      const endless = fragments(message(variant, binary(random(200_000))), 1000, true)
      let sent = 0
      while (peer.seen.length === 0 && sent < endless.length) {
        yield* peer.send(endless[sent++]!)
        yield* settled
      }
      assert.approximately(sent, 66, 1)
      assertCost((yield* aliveBytes) - before, mebibyte)
      assert.deepStrictEqual(yield* Fiber.join(reading), tooBig)
    })
  ),
  "a bomb of 64 MiB is stopped at the limit, in one frame and in many": compressing((variant) =>
    Effect.gen(function*() {
      const bomb = message(variant, binary(new Uint8Array(64 * mebibyte)))
      for (const frames of [[bomb], fragments(bomb, 100)]) {
        const { peer, stream } = yield* connect(variant, { config: { maxMessageSize: mebibyte } })
        const reading = yield* fork(ended({ peer, stream }))
        const before = process.memoryUsage().arrayBuffers
        yield* peer.send(wireOf(variant, frames))
        yield* settled
        assertCost(process.memoryUsage().arrayBuffers - before, 4 * mebibyte)
        assert.deepStrictEqual(yield* Fiber.join(reading), tooBig)
      }
    })
  ),
  "a bomb in small messages over one context is bounded by the read buffer": compressing((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { maxMessageSize: 64 * kibibyte } })
      const bomb = message(variant, binary(new Uint8Array(64 * kibibyte)))
      const before = yield* aliveBytes
      const sending = yield* fork(flood(variant, peer, bomb, 2000))
      yield* settled
      assert.isUndefined(sending.pollUnsafe())
      assertCost((yield* aliveBytes) - before, 6 * mebibyte)
      for (let i = 0; i < 2000; i++) assert.lengthOf((yield* stream.read) as Uint8Array, 64 * kibibyte)
      yield* Fiber.join(sending)
    })
  ),
  "a slow reader suspends its own writer alone, and its queue is capped": all((variant) =>
    Effect.gen(function*() {
      const config = { maxQueuedBytes: 10_000, closeTimeout: 1000, handshakeTimeout: "1 hour" } as const
      const opening = yield* fork(connect(variant, { config, toPeer: { bandwidth: 1, capacity: 2000 } }))
      yield* TestClock.adjust("20 minutes")
      const slow = yield* Fiber.join(opening)
      const fast = yield* connect(variant, { config })
      const payloads = new Random(38)
      const writes = yield* Effect.forEach(Array.from({ length: 50 }, () => payloads.bytes(1000)), (payload) =>
        Effect.all([fork(Effect.exit(slow.stream.write(payload))), fork(fast.stream.write(payload))]))
      for (const [, toFast] of writes) {
        assert.strictEqual(yield* Fiber.join(toFast), 1000)
      }
      const exits = writes.map(([toSlow]) =>
        toSlow.pollUnsafe()
      )
      const written = exits.filter((exit) => exit !== undefined && Exit.isSuccess(exit) && Exit.isSuccess(exit.value))
      const waiting = exits.filter((exit) => exit === undefined)
      // one or two are in the transport, ten wait, and no more
      assert.lengthOf(waiting, 10)
      assert.isAtMost(written.length, 2)
      assert.strictEqual((yield* Scripted.reasonOf(slow.stream.write(random(1000))))._tag, "QueueFull")
      yield* TestClock.adjust("6 hours")
      for (const [toSlow] of writes) yield* Fiber.join(toSlow)
    })
  )
}

const bits = (variant: Variant): ReadonlyArray<Uint8Array> => {
  const rsv1 = variant.compressed ? [] : [header(variant, "c100"), header(variant, "c200")]
  return [
    ...rsv1,
    ...["a100", "9100", "a200", "c900", "ca00", "c800", "a900"].map((digits) => header(variant, digits)),
    concat([fromPeer(variant, message(variant, text("a", false))), header(variant, "c000")])
  ]
}

const lengths: ReadonlyArray<readonly [digits: string, expected: typeof violation | typeof tooBig]> = [
  ["827f8000000000000000", violation],
  ["827fffffffffffffffff", violation],
  ["827ffffffffffffffff1", violation],
  ["827f7fffffffffffffff", tooBig],
  ["827f0020000000000000", tooBig],
  ["827f0000000100000000", tooBig],
  ["827f00000000fffffff6", tooBig]
]

const frames: Record<string, Test> = {
  "a reserved bit on a continuation, on a control frame or unagreed ends in 1002": all((variant) =>
    Effect.forEach(bits(variant), (attack) => refused(variant, attack, violation), { discard: true })
  ),
  "a length beyond all limits is refused at its header, and nothing is allocated for it": all((variant) =>
    Effect.gen(function*() {
      const before = process.memoryUsage().arrayBuffers
      for (const [digits, expected] of lengths) yield* refused(variant, header(variant, digits), expected)
      assertCost(process.memoryUsage().arrayBuffers - before, 32 * mebibyte)
    })
  ),
  "control frames between fragments do not reset the limits": all((variant) =>
    Effect.gen(function*() {
      const config = { maxMessageSize: 8, maxFragments: 12 }
      const parts = fragments(message(variant, binary(random(9))), 2)
      const between = parts.flatMap((part) => [part, pong("x"), ping("y")])
      yield* refused(variant, fromPeer(variant, ...between), tooBig, config)
      const many = Array.from({ length: 13 }, () => [continuation("", false), pong(), ping()]).flat()
      const first = message(variant, text("", false))
      const { peer, stream } = yield* connect(variant, { config })
      yield* peer.send(first, ...many)
      assert.deepStrictEqual(yield* ended({ peer, stream }), tooMany)
    })
  ),
  "without a limit a length is still one, and what was announced is not allocated": bothRoles((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { maxMessageSize: Infinity, maxFragments: Infinity } })
      const before = yield* aliveBytes
      yield* peer.send(concat([header(variant, "827f001fffffffffffff"), new Uint8Array(100)]))
      assert.isFalse((yield* stream.readSome).fin)
      assertCost((yield* aliveBytes) - before, mebibyte)
      yield* refused(variant, header(variant, "827f7fffffffffffffff"), tooBig, { maxMessageSize: Infinity })
    })
  ),
  "messages behind one with a final block are delivered": compressing((variant) => {
    const final = { ...text(Zlib.deflateRawSync("one")), rsv: 0x40 }
    const padded = { ...text(concat([Zlib.deflateRawSync("two"), hex("00")])), rsv: 0x40 }
    const attack = fromPeer(variant, final, padded, message(variant, text("three")), message(variant, text("")))
    return atEveryCut(variant, attack, {}, ({ stream }) =>
      Effect.gen(function*() {
        for (const expected of ["one", "two", "three", ""]) assert.strictEqual(yield* stream.read, expected)
      }))
  }),
  "a frame masked the wrong way ends in 1002": all((variant) =>
    refused(variant, encode(variant.role, message(variant, text("masked?"))), violation)
  ),
  "every frame of a client has a fresh mask, and none of a server has one": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { reads: false })
      const writing = yield* fork(Effect.replicateEffect(stream.write("x"), 1000))
      const keys = new Set<number>()
      let frames = 0
      while (frames < 1000) {
        const wire = Buffer.from(concat(yield* peer.pull))
        for (let at = 0; at < wire.length; frames++) {
          const masked = (wire[at + 1]! & 0x80) !== 0
          assert.strictEqual(masked, variant.role === "client")
          if (masked) keys.add(wire.readUInt32BE(at + 2))
          at += (wire[at + 1]! & 0x7f) + (masked ? 6 : 2)
        }
      }
      yield* Fiber.join(writing)
      if (variant.role === "client") assert.isAtLeast(keys.size, 998)
    })
  ),
  "close codes that may not travel end in 1002, and those that may are echoed": all((variant) =>
    Effect.gen(function*() {
      for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]) {
        yield* refused(variant, fromPeer(variant, close(code)), violation)
      }
      yield* refused(variant, fromPeer(variant, { ...close(), payload: hex("03") }), violation)
      for (const code of [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999]) {
        yield* atEveryCut(
          variant,
          fromPeer(variant, close(code)),
          {},
          ({ peer }) => Effect.map(peer.next, (line) => assert.strictEqual(line, `close ${code}`))
        )
      }
      yield* atEveryCut(
        variant,
        fromPeer(variant, close()),
        {},
        ({ peer }) => Effect.map(peer.next, (line) => assert.strictEqual(line, "close"))
      )
    })
  ),
  "malformed frames end in 1002, wherever the bytes are cut": all((variant) =>
    Effect.gen(function*() {
      const opcodes = ["83", "84", "85", "86", "87", "8b", "8c", "8d", "8e", "8f"].map((first) => `${first}00`)
      const lengths = ["827e007d", "827e0000", "827f000000000000ffff", "827f000000000000007d"]
      const controls = ["0900", "0a00", "0800", "897e007e", "8a7e0080", "897f0000000000010000"]
      const orders = ["8000", "0000", "0100 8100", "0200 8200", "0100 8200", "8100 8000"].map((digits) =>
        concat(digits.split(" ").map((one) => header(variant, one)))
      )
      const headers = [...opcodes, ...lengths, ...controls].map((digits) => header(variant, digits))
      for (const attack of [...headers, ...orders]) yield* refused(variant, attack, violation)
    })
  ),
  "text that is not UTF-8 ends in 1007, whole, over fragments, compressed and in a close reason": all((variant) =>
    Effect.gen(function*() {
      const wrong = ["ff", "c080", "eda080", "e282", "f4908080"]
      for (const digits of wrong) {
        const whole = message(variant, text(hex(digits)))
        yield* refused(variant, fromPeer(variant, whole), notText)
        yield* refused(variant, fromPeer(variant, ...fragments(whole, 1)), notText)
        const reason = { ...close(), payload: hex(`03e8${digits}`) }
        yield* refused(variant, fromPeer(variant, reason), { code: 1007, reason: "ProtocolViolation" as const })
      }
    })
  ),
  "data behind a close is not looked at": all((variant) =>
    Effect.gen(function*() {
      const behind = concat([fromPeer(variant, close(1000), text("behind"), ping()), header(variant, "8f00")])
      yield* atEveryCut(variant, behind, {}, (attacked) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* ended(attacked), { code: 1000, reason: "ConnectionClosed" as const })
          yield* settled
          assert.deepStrictEqual(attacked.peer.seen, ["close 1000", "end"])
        }))
    })
  ),
  "every step of the parser consumes or waits: no more events than bytes": once(() =>
    Effect.sync(() => {
      const cases = new Random(28)
      for (let i = 0; i < 300; i++) {
        const case_ = Fuzz.makeCase(cases)
        const options = { ...case_, maskingKey: () => 0 }
        const connection = new Connection.Connection(options)
        for (let at = 0; at < case_.bytes.length; at++) {
          const { events, replies } = connection.receive(case_.bytes.slice(at, at + 1))
          // a byte may end a frame, and a message with it
          assert.isAtMost(events.length, 2)
          assert.isAtMost(replies.length, 1)
        }
      }
    })
  ),
  "whatever a peer sends ends typed, without a defect, and leaves nothing behind": once(() =>
    Effect.gen(function*() {
      const cases = new Random(24)
      for (let i = 0; i < 100; i++) {
        assert.isUndefined(yield* StreamFuzz.target.problemOf(StreamFuzz.target.makeCase(cases)))
      }
    })
  )
}

/** The request, with lines changed by name: replaced, or left out. */
const request = (changes: Readonly<Record<string, string | undefined>> = {}, first = "GET /chat HTTP/1.1"): string => {
  const lines = {
    Host: "Host: example.com",
    Upgrade: "Upgrade: websocket",
    Connection: "Connection: Upgrade",
    Key: `Sec-WebSocket-Key: ${Scripted.key}`,
    Version: "Sec-WebSocket-Version: 13",
    ...changes
  }
  return [first, ...Object.values(lines).filter((line) => line !== undefined), "\r\n"].join("\r\n")
}

const latin1 = (line: string): Uint8Array => Uint8Array.from(line, (character) => character.charCodeAt(0))

/** What a server answers to a request that it refuses, and why. Whatever is behind it is never run. */
const answered = Effect.fnUntraced(function*(variant: Variant, head: string, options: Attacker.Options = {}) {
  const { outcome, peer } = yield* opening(variant, options)
  yield* peer.send(concat([latin1(head), fromPeer(variant, text("GET /secret HTTP/1.1\r\n\r\n"))]))
  const answer = (yield* Scripted.takeHead(peer)).head
  yield* peer.end
  const exit = yield* Fiber.join(outcome)
  assert.isTrue(Exit.isFailure(exit), head)
  const rest = yield* Effect.exit(peer.pull)
  return { answer, status: Number(answer.slice(9, 12)), closed: Exit.isFailure(rest) }
}, Effect.scoped)

/** Why a client refuses a response. */
const responded = Effect.fnUntraced(
  function*(variant: Variant, response: (request: string) => string, options: Attacker.Options = {}) {
    const { outcome, peer } = yield* opening(variant, options)
    const { head } = yield* Scripted.takeHead(peer)
    yield* peer.send(latin1(response(head)))
    yield* peer.end
    const exit = yield* Fiber.join(outcome)
    return yield* Effect.map(Scripted.reasonOf(Effect.flatMap(exit, () => Effect.never)), ({ _tag }) => _tag)
  },
  Effect.scoped
)

const prototypes = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"]
const wrongWindows = ["7", "16", "x", "", "08", "-8", "1e1", "99999999999999999999", "8.0", "__proto__"]

const handshakes: Record<string, Test> = {
  "an extension or a parameter named after a prototype's property is one that nobody knows": all((variant) =>
    Effect.gen(function*() {
      for (const name of prototypes) {
        const line = `Sec-WebSocket-Extensions: ${name}; ${name}=1, permessage-deflate; ${name}`
        if (variant.role === "client") {
          assert.strictEqual(
            yield* responded(variant, (head) => Scripted.responseHead(head, [line])),
            "ExtensionRefused"
          )
          continue
        }
        const { outcome, peer } = yield* opening(variant)
        yield* peer.send(bytes(Scripted.requestHead([line])))
        assert.notInclude((yield* Scripted.takeHead(peer)).head, "Extensions")
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(outcome)))
      }
    })
  ),
  "runs of 250000 blanks, quotes and commas are judged in time": once(() =>
    Effect.sync(() => {
      const n = 250_000
      const runs = [" ", "\t ", "\"", ",", ", ", ";", "\\\"", "a;", "a=\"", "a;b=\"\\"]
      for (const run of runs) {
        for (const text of [run.repeat(n), `a${run.repeat(n)}`, `a; b="${run.repeat(n)}`, `${run.repeat(n)}a`]) {
          Extension.parse([text])
          Extension.parseTokens([text])
        }
      }
    })
  ),
  "a header beyond the limit is answered 431, wherever Upgrade is": asServer((variant) =>
    Effect.gen(function*() {
      const padding = Array.from({ length: 101 }, (_, i) => `X-${i}: y`).join("\r\n")
      const heads = [request({ Host: `${padding}\r\nHost: a` }), request({ Upgrade: undefined, Host: padding })]
      for (const head of heads) assert.strictEqual((yield* answered(variant, head)).status, 431)
    })
  ),
  "every header of the handshake may be missing": all((variant) =>
    Effect.gen(function*() {
      const statuses = { Host: 400, Upgrade: 426, Connection: 426, Key: 400, Version: 426 }
      for (const [name, status] of Object.entries(statuses)) {
        if (variant.role === "server") {
          assert.strictEqual((yield* answered(variant, request({ [name]: undefined }))).status, status)
        }
      }
      if (variant.role === "server") return
      for (const name of ["Upgrade", "Connection", "Sec-WebSocket-Accept"]) {
        const without = (head: string) => Scripted.responseHead(head).replace(new RegExp(`${name}: .*\r\n`), "")
        assert.strictEqual(yield* responded(variant, without), "InvalidResponse")
      }
      assert.strictEqual(yield* responded(variant, () => "HTTP/1.1 101\r\n\r\n"), "InvalidResponse")
    })
  ),
  "windows that are none fail a client's handshake, and decline a client's offer": compressing((variant) =>
    Effect.gen(function*() {
      for (const bits of wrongWindows) {
        for (const side of ["server", "client"]) {
          const line = `Sec-WebSocket-Extensions: permessage-deflate; ${side}_max_window_bits=${bits}`
          if (variant.role === "client") {
            const reason = yield* responded(variant, (head) => Scripted.responseHead(head, [line]))
            assert.oneOf(reason, ["ExtensionRefused", "InvalidResponse"])
            continue
          }
          const { peer } = yield* opening(variant)
          yield* peer.send(bytes(Scripted.requestHead([line])))
          const { head } = yield* Scripted.takeHead(peer)
          assert.notInclude(head, "permessage-deflate")
        }
      }
    })
  ),
  "a head of 1 GiB is given up at the limit, in every size of chunk": all((variant) =>
    Effect.gen(function*() {
      const first = variant.role === "server" ? "GET / HTTP/1.1\r\n" : "HTTP/1.1 101 x\r\n"
      const before = yield* aliveBytes
      // lines without end, and lines that end
      for (
        const [line, size] of [["x", 1000], ["x", 1], ["X: y\r\n", 64], [`X: ${"y".repeat(1000)}\r\n`, 1]] as const
      ) {
        const { outcome, peer } = yield* opening(variant)
        const answer = yield* fork(Effect.exit(variant.role === "server" ? Scripted.takeHead(peer) : Effect.never))
        const repeated = bytes(line.repeat(Math.ceil(size / line.length)))
        yield* peer.send(bytes(first))
        let sent = first.length
        while (outcome.pollUnsafe() === undefined && answer.pollUnsafe() === undefined && sent < 32 * kibibyte) {
          yield* peer.send(repeated)
          sent += repeated.length
          if (repeated.length > 100 || sent % 64 === 0) yield* settled
        }
        assert.isAtMost(sent, 17 * kibibyte)
      }
      assertCost((yield* aliveBytes) - before, mebibyte)
    })
  ),
  "a header repeated beyond the limit counts line by line": all((variant) =>
    Effect.gen(function*() {
      const lines = Array.from({ length: 101 }, () => "X-Same: y")
      if (variant.role === "client") {
        assert.strictEqual(yield* responded(variant, (head) => Scripted.responseHead(head, lines)), "HeadTooLarge")
      } else assert.strictEqual((yield* answered(variant, Scripted.requestHead(lines))).status, 431)
    })
  ),
  "bytes beyond ASCII in a handshake header are refused as a value": all((variant) =>
    Effect.gen(function*() {
      for (const value of ["\xff", "chat\x80", "ch\xc3\xa9at", "\x00", "a\x7f"]) {
        for (const name of ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]) {
          const line = `${name}: ${value}`
          if (variant.role === "server") {
            assert.strictEqual((yield* answered(variant, Scripted.requestHead([line]))).status, 400)
          } else {
            const reason = yield* responded(variant, (head) => Scripted.responseHead(head, [line]))
            assert.oneOf(reason, ["InvalidResponse", "SubprotocolRefused"])
          }
        }
      }
    })
  ),
  "pages of other origins are answered 403, also those whose origin contains ours": asServer((variant) =>
    Effect.gen(function*() {
      const others = ["evil.com", "example.com.evil.com", "evil-example.com", "example.com:81", "xexample.com"]
      const origins = [...others.map((host) => `http://${host}`), "null", "file://", "http://example.com@evil.com"]
      for (const origin of origins) {
        const { status } = yield* answered(variant, Scripted.requestHead([`Origin: ${origin}`, "Cookie: a=b"]))
        assert.strictEqual(status, 403, origin)
      }
      const { outcome, peer } = yield* opening(variant)
      yield* peer.send(bytes(Scripted.requestHead(["Origin: http://example.com"])))
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(outcome)))
    })
  ),
  "a request that breaks a rule is answered and closed, and what is pipelined behind it is never run": asServer(
    (variant) =>
      Effect.gen(function*() {
        const broken: ReadonlyArray<readonly [status: number, head: string]> = [
          [426, request({ Version: "Sec-WebSocket-Version: 12" })],
          [426, request({ Version: "Sec-WebSocket-Version: 13, 8" })],
          [426, request({ Version: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13" })],
          [426, request({ Upgrade: "Upgrade: websocketx" })],
          [426, request({ Connection: "Connection: keep-alive" })],
          [405, request({}, "POST /chat HTTP/1.1")],
          [505, request({}, "GET /chat HTTP/1.0")],
          [400, request({ Key: "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ" })],
          [400, request({ Key: "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1" })],
          [400, request({ Host: "Host: a\r\nHost: b" })],
          [400, request({ Host: "Host: example.com\r\nContent-Length: 5" })],
          [400, request({ Host: "Host: example.com\r\nTransfer-Encoding: chunked" })],
          [400, request({ Host: "Host: example.com\r\n folded: x" })],
          [400, request({ Host: "Host : example.com" })]
        ]
        for (const [status, head] of broken) {
          const answer = yield* answered(variant, head)
          assert.deepStrictEqual([answer.status, answer.closed], [status, true], head)
          assert.match(answer.answer, /\r\nConnection: close/)
          if (status === 426) assert.include(answer.answer, "Sec-WebSocket-Version: 13\r\n")
        }
      })
  ),
  "a response that is not an upgrade opens nothing": asClient((variant) =>
    Effect.gen(function*() {
      const lie = (status: string) => (head: string) =>
        Scripted.responseHead(head).replace("101 Switching Protocols", status)
      for (const status of ["200 OK", "204 No Content", "426 Upgrade Required", "500 x"]) {
        assert.strictEqual(yield* responded(variant, lie(status)), "UpgradeDeclined")
      }
      const changes: ReadonlyArray<readonly [string | RegExp, string]> = [
        ["HTTP/1.1", "HTTP/1.0"],
        [/Sec-WebSocket-Accept: .*/, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
        ["Upgrade: websocket", "Upgrade: h2c"],
        ["Connection: Upgrade", "Connection: close"]
      ]
      for (const [from, to] of changes) {
        const reason = yield* responded(variant, (head) => Scripted.responseHead(head).replace(from, to))
        assert.strictEqual(reason, "InvalidResponse")
      }
    })
  ),
  "frames that come with the head are read, wherever the bytes are cut": all((variant) =>
    Effect.gen(function*() {
      const extensions = variant.compressed ? ["Sec-WebSocket-Extensions: permessage-deflate"] : []
      const frame = fromPeer(variant, message(variant, text("early")))
      const tail = 40
      for (let cut = 0; cut < tail + frame.length; cut++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const pair = yield* Attacker.reading(variant)
          const head = variant.role === "server"
            ? Scripted.requestHead(extensions)
            : Scripted.responseHead((yield* Scripted.takeHead(pair.peer)).head, extensions)
          const wire = concat([bytes(head), frame])
          const at = head.length - tail + cut
          yield* pair.peer.send(wire.subarray(0, at))
          yield* settled
          yield* pair.peer.send(wire.subarray(at))
          assert.strictEqual(yield* Fiber.join(pair.first), "early")
        }))
      }
    })
  ),
  "HTTP where frames belong is refused": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant)
      yield* peer.send(bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
      assert.deepStrictEqual(yield* ended({ peer, stream }), violation)
      if (variant.role === "client") {
        assert.strictEqual(yield* responded(variant, () => "\x81\x05early\r\n\r\n"), "InvalidResponse")
      }
    })
  ),
  "a line end in a header, a subprotocol, a URL or a cookie is never sent": once(() =>
    Effect.gen(function*() {
      const evil = "a\r\nX-Evil: 1"
      const url = "ws://example.com/"
      const asked: ReadonlyArray<WebSocketClient.ConnectOptions> = [
        { url, headers: { "X-A": evil } },
        { url, headers: { [evil]: "a" } },
        { url, subprotocols: [evil] },
        { url, origin: evil },
        { url, cookies: { a: evil } },
        { url, cookies: { [evil]: "a" } }
      ]
      for (const options of asked) {
        let touched = false
        const transport = Transport.make(Effect.suspend(() => {
          touched = true
          return Effect.never
        }))
        const connecting = Effect.provideService(WebSocketClient.connect(options), Transport.Transport, transport)
        assert.strictEqual((yield* Scripted.reasonOf(connecting))._tag, "InvalidRequest")
        assert.isFalse(touched)
      }
      const accepting: ReadonlyArray<WebSocketServer.AcceptOptions["accept"]> = [
        () => Effect.succeed({ headers: { "X-A": evil } }),
        () => Effect.succeed({ subprotocol: evil }),
        () => Effect.fail(new WebSocketServer.Refusal({ status: 302, headers: { Location: evil } }))
      ]
      for (const accept of accepting) {
        const { answer } = yield* accepted(accept)
        assert.include(answer, "HTTP/1.1 500 ")
        assert.notInclude(answer, "Evil")
      }
    })
  ),
  "a redirect is an answer and is not followed: nothing is sent twice": asClient((variant) =>
    Effect.gen(function*() {
      for (const location of ["https://evil.com/", "ws://evil.com/", "/elsewhere"]) {
        const redirect = `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`
        const { outcome, peer } = yield* opening(variant)
        yield* Scripted.takeHead(peer)
        yield* peer.send(bytes(redirect))
        assert.isTrue(Exit.isFailure(yield* Fiber.join(outcome)))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(peer.pull)), "nothing but the end follows")
      }
    })
  )
}

/** What a server with this `accept` answers to a request without fault. */
const accepted = Effect.fnUntraced(function*(accept: WebSocketServer.AcceptOptions["accept"]) {
  const peer = yield* Attacker.accepting(accept)
  yield* peer.send(bytes(Scripted.requestHead()))
  return { answer: (yield* Scripted.takeHead(peer)).head }
}, Effect.scoped)

/** Sends byte after byte, each a second after the last. */
const dribble = (peer: Scripted.Peer, wire: Uint8Array) =>
  Effect.forEach(wire, (byte) => Effect.andThen(peer.send(Uint8Array.of(byte)), TestClock.adjust("1 second")), {
    discard: true
  })

const slowness: Record<string, Test> = {
  "a handshake of one byte a second ends at its deadline": all((variant) =>
    Effect.gen(function*() {
      const { outcome, peer } = yield* opening(variant, { config: { handshakeTimeout: "20 seconds" } })
      yield* dribble(peer, bytes("x".repeat(19)))
      assert.isUndefined(outcome.pollUnsafe())
      yield* TestClock.adjust("1 second")
      if (variant.role === "server") assert.include((yield* Scripted.takeHead(peer)).head, " 408 ")
      yield* peer.end
      const exit = yield* Fiber.join(outcome)
      const reason = yield* Scripted.reasonOf(Effect.flatMap(exit, () => Effect.never))
      assert.strictEqual(reason._tag, "HandshakeTimeout")
      assert.strictEqual(yield* Scripted.deadlines, 0)
    })
  ),
  "a frame header of one byte a second ends at its deadline": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { idleTimeout: "5 seconds" } })
      const header = fromPeer(variant, binary(new Uint8Array(70_000))).subarray(0, variant.role === "client" ? 9 : 13)
      yield* dribble(peer, header)
      yield* TestClock.adjust("3999 millis")
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Scripted.reasonOf(stream.read))._tag, "IdleTimeout")
    })
  ),
  "a payload of one byte a second ends at its deadline": all((variant) =>
    Effect.gen(function*() {
      const config = { idleTimeout: "5 seconds", messageTimeout: "30 seconds" } as const
      const { peer, stream } = yield* connect(variant, { config })
      const wire = fromPeer(variant, message(variant, binary(random(100))))
      const header = wire.length - (variant.compressed ? deflated(random(100)).length : 100)
      yield* peer.send(wire.subarray(0, header))
      yield* dribble(peer, wire.subarray(header, header + 29))
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* stream.state, "Open")
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* ended({ peer, stream }), { code: 1008, reason: "MessageTimeout" as const })
    })
  ),
  "a close of one byte a second ends at its deadline": all((variant) =>
    Effect.gen(function*() {
      const { peer, stream } = yield* connect(variant, { config: { closeTimeout: "5 seconds" } })
      const closing = yield* fork(stream.close())
      yield* dribble(peer, fromPeer(variant, close(1000, "so slowly")).subarray(0, 4))
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.isFalse((yield* Fiber.join(closing)).clean)
      assert.strictEqual(yield* Scripted.deadlines, 0)
    })
  ),
  "a peer that never completes the close is left in bounded time, with nothing behind": all((variant) =>
    Effect.gen(function*() {
      const half = yield* connect(variant, { config: { closeTimeout: "5 seconds" } })
      const closing = yield* fork(half.stream.close())
      yield* TestClock.adjust("5 seconds")
      assert.isFalse((yield* Fiber.join(closing)).clean)
      // one that answers the Close and keeps its side of the transport
      const open = yield* connect(variant, { config: { closeTimeout: "5 seconds" } })
      const ending = yield* fork(open.stream.close())
      yield* open.peer.send(close(1000))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(ending)
      assert.strictEqual(yield* Scripted.deadlines, 0)
    })
  )
}

const tests: Readonly<Record<string, Test>> = { ...memory, ...floods, ...frames, ...handshakes, ...slowness }

describe("the table", () => {
  it("has every row once, in order, and each is tested or has its reason", () => {
    assert.deepStrictEqual(table.map(({ row }) => row), Array.from({ length: 38 }, (_, i) => i + 1))
    for (const attack of table) {
      const count = namesIn(attack, "tests").length + namesIn(attack, "nodeTests").length
      assert.isTrue("reason" in attack ? attack.reason.length > 20 : count > 0, String(attack.row))
    }
  })

  it("names every test here, and no other", () => {
    const named = table.flatMap((attack) => namesIn(attack, "tests"))
    assert.deepStrictEqual(named.toSorted(), Object.keys(tests).toSorted())
  })
})

describe.each(table.filter((attack) => namesIn(attack, "tests").length > 0))("row $row, $attack", (attack) => {
  const rows = namesIn(attack, "tests").flatMap((name) =>
    (tests[name]?.over ?? []).map((variant) => ({ name, variant }))
  )
  for (const { name, variant } of rows) {
    it.effect(`${name} (${Attacker.nameOf(variant)})`, () => tests[name]!.run(variant), 15_000)
  }
})
