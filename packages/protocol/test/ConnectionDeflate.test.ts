import * as Connection from "@effect-websocket/protocol/Connection"
import * as DeflateTransform from "@effect-websocket/protocol/DeflateTransform"
import type * as Frame from "@effect-websocket/protocol/Frame"
import type { Agreement } from "@effect-websocket/protocol/PerMessageDeflate"
import { rules } from "@effect-websocket/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { cutAt, everyByte, inTwo } from "./fixtures/cuts.ts"
import * as Fuzz from "./fixtures/fuzz.ts"
import { Random } from "./fixtures/random.ts"
import * as Receiving from "./fixtures/receiving.ts"
import { concat, hex, roles, utf8 } from "./fixtures/wire.ts"
import { makeCodec } from "./fixtures/zlibCodec.ts"

const takeover: Agreement = {
  serverNoContextTakeover: false,
  clientNoContextTakeover: false,
  serverMaxWindowBits: 15,
  clientMaxWindowBits: 15
}

const make = (role: Frame.Role, agreement: Agreement = takeover) => {
  const { codec } = makeCodec()
  const options = { codec, role, agreement }
  return new Connection.Connection({
    role,
    maxMessageSize: 1_000_000,
    maxFragments: 100,
    maskingKey: () => 0,
    deflate: {
      deflater: new DeflateTransform.MessageDeflater(options),
      inflater: new DeflateTransform.MessageInflater({ ...options, maxMessageSize: 1_000_000 })
    }
  })
}

const plain = (role: Frame.Role) =>
  new Connection.Connection({ role, maxMessageSize: 1000, maxFragments: 10, maskingKey: () => 0 })

const opposite = (role: Frame.Role): Frame.Role => role === "client" ? "server" : "client"

/** Bytes of a frame that a server sends; those of a client have a masking key of zeros. */
const frameOf = (sender: Frame.Role, first: number, payload: Uint8Array) =>
  sender === "server"
    ? concat(Uint8Array.of(first, payload.length), payload)
    : concat(Uint8Array.of(first, payload.length | 0x80, 0, 0, 0, 0), payload)

const messagesOf = (received: Connection.Received): ReadonlyArray<unknown> =>
  received.events.map((event) => event._tag === "Part" ? event.part.data : event._tag)

const ruleOf = <A>(result: Result.Result<A, Connection.SendError>) =>
  Result.isFailure(result) ? result.failure.rule : "none"

describe.each(roles)("RFC 7692: a %s", (role) => {
  it("sends the Hello of section 7.2.3.1, twice with a context", () => {
    const connection = make(role)
    const send = () => Result.getOrThrow(connection.sendCompressed("text", utf8("Hello"), true, false))
    assert.deepStrictEqual(send(), frameOf(role, 0xc1, hex("f248cdc9c90700")))
    assert.deepStrictEqual(send(), frameOf(role, 0xc1, hex("f200110000")))
  })

  it("sets RSV1 on the first frame it sends of a message, whichever part that is of", () => {
    const connection = make(role)
    assert.isUndefined(Result.getOrThrow(connection.sendCompressed("text", utf8("Hel"), false, false)))
    assert.strictEqual(connection.sending, "text")
    assert.deepStrictEqual(
      Result.getOrThrow(connection.sendCompressed("text", utf8("lo"), true, false)),
      frameOf(role, 0xc1, hex("f248cdc9c90700"))
    )
    assert.isUndefined(connection.sending)
    const first = Result.getOrThrow(connection.sendCompressed("binary", utf8("a"), false, true))!
    const last = Result.getOrThrow(connection.sendCompressed("binary", utf8("b"), true, false))!
    assert.deepStrictEqual([first[0], last[0]], [0x42, 0x80])
  })

  it("holds to what a message's first part decided, also while no frame was made", () => {
    const connection = make(role)
    const part = utf8("part")
    connection.sendCompressed("text", part, false, false)
    assert.strictEqual(ruleOf(connection.sendCompressed("binary", part, true, false)), "TypeChanged")
    assert.strictEqual(ruleOf(connection.sendPart("text", part, true)), "CompressionChanged")
    assert.isTrue(Result.isSuccess(connection.sendCompressed("text", part, true, false)))
    connection.sendPart("text", part, false)
    for (
      const result of [
        connection.sendCompressed("text", part, true, false),
        connection.sendDeflated("text", part, true)
      ]
    ) {
      assert.strictEqual(ruleOf(result), "CompressionChanged")
    }
  })

  it("compresses nothing where that was not agreed, or after its Close", () => {
    assert.strictEqual(ruleOf(plain(role).sendCompressed("text", utf8("x"), true, false)), "CompressionChanged")
    assert.strictEqual(ruleOf(plain(role).sendDeflated("text", utf8("x"), true)), "CompressionChanged")
    const connection = make(role)
    connection.sendClose({ code: 1000, reason: "" })
    assert.strictEqual(ruleOf(connection.sendCompressed("text", utf8("x"), true, false)), "AfterClose")
  })

  it("cuts what is compressed into any number of frames", () => {
    const [from, to] = [make(role), make(opposite(role))]
    const message = utf8("a message that is cut, and cut again")
    const deflated = Result.getOrThrow(from.deflatePart("binary", message, true, false))
    assert.strictEqual(from.sending, "binary")
    const frames = Array.from(
      deflated,
      (_, i) => Result.getOrThrow(from.sendDeflated("binary", deflated.subarray(i, i + 1), i === deflated.length - 1))
    )
    assert.isUndefined(from.sending)
    assert.strictEqual(frames[0]![0], 0x42)
    assert.isTrue(frames.slice(1).every((frame) => (frame[0]! & 0x7f) === 0))
    const data = to.receive(concat(...frames)).events.map((event) => event._tag === "Part" ? event.part.data : "?")
    assert.deepStrictEqual(concat(...data as Array<Uint8Array>), message)
  })

  it.each([takeover, { ...takeover, clientNoContextTakeover: true, serverNoContextTakeover: true }])(
    "forgets its context when it sends what was compressed elsewhere, %j",
    (agreement) => {
      const [from, to] = [make(role, agreement), make(opposite(role), agreement)]
      const text = "a message that comes again and again"
      const elsewhere = make(role)
      const foreign = Result.getOrThrow(elsewhere.deflatePart("text", utf8(`not ${text}`), true, false))
      const own = () => Result.getOrThrow(from.sendCompressed("text", utf8(text), true, false))!
      const first = own()
      const sent = [first, own(), Result.getOrThrow(from.sendDeflated("text", foreign, true))]
      const behind = own()
      assert.deepStrictEqual(behind, first)
      const received = to.receive(concat(...sent as Array<Uint8Array>, behind, own()))
      assert.deepStrictEqual(messagesOf(received), [text, text, `not ${text}`, text, text])
    }
  )

  it("what is not deflate breaks CorruptDeflate, with close code 1007, and nothing follows", () => {
    for (const payload of ["07", "ffffffff", "f248cd", "000500fa00"]) {
      const sender = opposite(role)
      const bad = frameOf(sender, 0xc2, hex(payload))
      const { events, replies } = make(role).receive(concat(bad, frameOf(sender, 0x81, utf8("x"))))
      const [event] = events
      assert.strictEqual(events.length, 1)
      assert.strictEqual(event?._tag === "Violation" && event.error.rule, "CorruptDeflate")
      assert.deepStrictEqual(replies.map((reply) => reply._tag === "Close" && reply.frame.code), [1007])
    }
    assert.strictEqual(rules.CorruptDeflate.closeCode, 1007)
  })

  const agrees = (chunks: ReadonlyArray<Uint8Array>) =>
    assert.deepStrictEqual(Receiving.inPlace(make(role), chunks), Receiving.byEvents(make(role), chunks))

  it("told in place, it is told what receive gives of compressed messages, cut in two at every byte", () => {
    const from = make(opposite(role))
    const send = (text: string, fin: boolean) => Result.getOrThrow(from.sendCompressed("text", utf8(text), fin, true))!
    const bytes = concat(
      send("one message", true),
      send("and one message in ", false),
      Result.getOrThrow(from.sendPing(utf8("between"))),
      send("parts", true),
      frameOf(opposite(role), 0xc2, hex("07"))
    )
    for (const chunks of inTwo(bytes)) agrees(chunks)
    agrees(everyByte(bytes))
  })

  it("told in place, it is told the same of whatever may arrive, however it is cut", () => {
    const random = new Random(12)
    const from = make(opposite(role))
    const deflate = (payload: Uint8Array) =>
      Result.getOrThrow(Result.map(from.deflatePart("binary", payload, true, false), (deflated) => {
        from.abandonMessage()
        return deflated
      }))
    for (let i = 0; i < 1000; i++) {
      const bytes = Fuzz.session(random, role, deflate)
      agrees(cutAt(bytes, Array.from({ length: random.below(8) }, () => random.below(bytes.length + 1))))
      agrees(everyByte(bytes))
    }
  })
})
