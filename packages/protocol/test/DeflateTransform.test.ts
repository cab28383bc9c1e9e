import type * as Codec from "@effect-websocket/protocol/Codec"
import * as DeflateTransform from "@effect-websocket/protocol/DeflateTransform"
import type * as Frame from "@effect-websocket/protocol/Frame"
import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Zlib from "node:zlib"
import { cutAt, everyByte, inThree, inTwo } from "./fixtures/cuts.ts"
import { distancesOf } from "./fixtures/distances.ts"
import { allocatedBy } from "./fixtures/memory.ts"
import { Random } from "./fixtures/random.ts"
import { concat, hex, packed, roles, toHex, utf8 } from "./fixtures/wire.ts"
import { makeCodec } from "./fixtures/zlibCodec.ts"

const kept: PerMessageDeflate.Agreement = {
  serverNoContextTakeover: false,
  clientNoContextTakeover: false,
  serverMaxWindowBits: 15,
  clientMaxWindowBits: 15
}
const once: PerMessageDeflate.Agreement = { ...kept, serverNoContextTakeover: true, clientNoContextTakeover: true }
const agreements = [["with context takeover", kept], ["without context takeover", once]] as const

const peerOf = (role: Frame.Role): Frame.Role => role === "client" ? "server" : "client"

const makeDeflater = (options: Partial<DeflateTransform.DeflateOptions> = {}) =>
  new DeflateTransform.MessageDeflater({ codec: makeCodec().codec, role: "client", agreement: kept, ...options })

const makeInflater = (options: Partial<DeflateTransform.InflateOptions> = {}) =>
  new DeflateTransform.MessageInflater({
    codec: makeCodec().codec,
    role: "server",
    agreement: kept,
    maxMessageSize: 0x1000000,
    ...options
  })

/** What the pieces of a message stand for, or the tag of what went wrong. */
const inflate = (
  inflater: DeflateTransform.MessageInflater,
  pieces: ReadonlyArray<Uint8Array>
): Uint8Array | Exclude<DeflateTransform.InflatedMessage["_tag"], "Output"> => {
  const outputs: Array<Uint8Array> = []
  for (const [i, piece] of pieces.entries()) {
    const inflated = inflater.push(piece, i === pieces.length - 1)
    if (inflated._tag !== "Output") return inflated._tag
    outputs.push(inflated.data)
  }
  return new Uint8Array(Buffer.concat(outputs))
}

const textOf = (inflated: Uint8Array | string): string =>
  typeof inflated === "string" ? inflated : new TextDecoder().decode(inflated)

const hello = utf8("Hello")
const empty = new Uint8Array(0)

/** The examples of section 7.2.3, each what a new context makes of "Hello". */
const oneBlock = hex("f2 48 cd c9 c9 07 00")
const sharedWindow = hex("f2 00 11 00 00")
const stored = hex("00 05 00 fa ff 48 65 6c 6c 6f 00")
const finalBlock = hex("f3 48 cd c9 c9 07 00 00")
const twoBlocks = [hex("f2 48 05 00 00 00 ff ff"), hex("ca c9 c9 07 00")] as const

describe("RFC 7692 section 7.2.3", () => {
  it("7.2.3.1: a message compressed with one block", () => {
    assert.strictEqual(toHex(makeDeflater().finish(hello)), toHex(oneBlock))
    for (const pieces of inThree(oneBlock)) assert.strictEqual(textOf(inflate(makeInflater(), pieces)), "Hello")
  })

  it("7.2.3.2: a message that shares the window of the one before", () => {
    const deflater = makeDeflater()
    assert.strictEqual(toHex(deflater.finish(hello)), toHex(oneBlock))
    assert.strictEqual(toHex(deflater.finish(hello)), toHex(sharedWindow))
    const inflater = makeInflater()
    assert.strictEqual(textOf(inflate(inflater, [oneBlock])), "Hello")
    for (const pieces of inThree(sharedWindow)) assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
  })

  it("7.2.3.2: a message that shares no window where no context is taken over", () => {
    const deflater = makeDeflater({ agreement: once })
    for (let i = 0; i < 3; i++) assert.strictEqual(toHex(deflater.finish(hello)), toHex(oneBlock))
    const inflater = makeInflater({ agreement: once })
    for (let i = 0; i < 3; i++) assert.strictEqual(textOf(inflate(inflater, [oneBlock])), "Hello")
    assert.strictEqual(inflate(inflater, [sharedWindow]), "Corrupt")
  })

  it("7.2.3.3: a message in a block with no compression", () => {
    assert.strictEqual(toHex(makeDeflater({ level: 0 }).finish(hello)), toHex(stored))
    for (const pieces of inThree(stored)) assert.strictEqual(textOf(inflate(makeInflater(), pieces)), "Hello")
  })

  it("7.2.3.4: a message in a block with BFINAL set, then others", () => {
    for (const pieces of inThree(finalBlock)) {
      const inflater = makeInflater()
      assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
      assert.strictEqual(textOf(inflate(inflater, [oneBlock])), "Hello")
      assert.strictEqual(textOf(inflate(inflater, [sharedWindow])), "Hello")
      assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
    }
  })

  it("7.2.3.5: a message in two blocks, the first flushed", () => {
    const deflater = makeDeflater()
    assert.strictEqual(toHex(deflater.part(utf8("He"), true)), toHex(twoBlocks[0]))
    assert.strictEqual(toHex(deflater.finish(utf8("llo"))), toHex(twoBlocks[1]))
    assert.strictEqual(textOf(inflate(makeInflater(), twoBlocks)), "Hello")
    for (const pieces of inThree(concat(...twoBlocks))) {
      assert.strictEqual(textOf(inflate(makeInflater(), pieces)), "Hello")
    }
    assert.deepStrictEqual(makeInflater().push(twoBlocks[0], false), { _tag: "Output", data: utf8("He") })
  })

  it.each(agreements)("7.2.3.6: an empty message is one byte, also behind others, %s", (_, agreement) => {
    const deflater = makeDeflater({ agreement })
    const inflater = makeInflater({ agreement })
    for (const payload of [empty, empty, hello, empty, empty, hello]) {
      const sent = deflater.finish(payload)
      if (payload.length === 0) assert.strictEqual(toHex(sent), "00")
      assert.deepStrictEqual(inflate(inflater, [sent]), payload)
    }
  })
})

describe("RFC 7692 section 7.2.1, deflating", () => {
  it("a part without output yet gives nothing, and the bytes come with the next", () => {
    const deflater = makeDeflater()
    assert.strictEqual(deflater.part(utf8("He"), false).length, 0)
    assert.strictEqual(deflater.part(empty, false).length, 0)
    assert.strictEqual(deflater.part(utf8("l"), false).length, 0)
    assert.strictEqual(toHex(deflater.finish(utf8("lo"))), toHex(oneBlock))
  })

  it("a flush gives all bytes so far", () => {
    const deflater = makeDeflater()
    const inflater = makeInflater()
    deflater.part(utf8("He"), false)
    for (const text of ["l", "", "lo"]) {
      const flushed = deflater.part(utf8(text), true)
      const expected = text === "l" ? "Hel" : text
      assert.deepStrictEqual(inflater.push(flushed, false), { _tag: "Output", data: utf8(expected) })
    }
    assert.deepStrictEqual(inflater.push(deflater.finish(empty), true), { _tag: "Output", data: empty })
  })

  it.each([[[]], [["Hello"]], [["", "Hello", ""]]])(
    "a message that ends with nothing behind a flush of %j",
    (texts) => {
      const deflater = makeDeflater()
      const inflater = makeInflater()
      for (let i = 0; i < 3; i++) {
        const parts = texts.map((text) => deflater.part(utf8(text), true))
        const last = deflater.finish(empty)
        assert.strictEqual(toHex(last), "00")
        assert.strictEqual(textOf(inflate(inflater, [...parts, last])), texts.join(""))
      }
    }
  )

  it("takes a codec that flushes even where nothing came since, as one that does not", () => {
    const { codec } = makeCodec()
    const eager: Codec.Codec = {
      ...codec,
      makeDeflater: (options) => {
        const deflater = codec.makeDeflater(options)
        return {
          ...deflater,
          push: (input, flush) => {
            const output = deflater.push(input, flush)
            return flush && output.length === 0 ? hex("00 00 00 ff ff") : output
          }
        }
      }
    }
    const deflater = makeDeflater({ codec: eager })
    const inflater = makeInflater()
    for (let i = 0; i < 3; i++) {
      const pieces = [deflater.part(hello, true), deflater.part(empty, true), deflater.finish(empty)]
      assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
      assert.strictEqual(toHex(deflater.finish(empty)), "00")
    }
  })

  it("changes no payload and keeps none", () => {
    for (const agreement of [kept, once]) {
      const deflater = makeDeflater({ agreement })
      const inflater = makeInflater({ agreement })
      const payload = new Random(1).bytes(300)
      const before = payload.slice()
      const held = deflater.part(payload, false)
      assert.deepStrictEqual(payload, before)
      payload.fill(0)
      const sent = [held, deflater.finish(empty)]
      const copies = sent.map((bytes) => bytes.slice())
      deflater.finish(new Random(2).bytes(300))
      assert.deepStrictEqual(sent, copies)
      assert.deepStrictEqual(inflate(inflater, sent), before)
    }
  })
})

describe("RFC 7692 section 7.2.2, inflating", () => {
  /** A message whose last block is final and that does not have the 00 of section 7.2.3.4 behind it. */
  const finished = (text: string): Uint8Array => Zlib.deflateRawSync(utf8(text))

  it.each(agreements)("a message that ends on a final block is whole, and the next are, %s", (_, agreement) => {
    const texts = ["Hello", "", "x".repeat(5000), "Hello", packed(new Random(3).bytes(4000))]
    const deflater = makeDeflater({ agreement })
    const inflater = makeInflater({ agreement })
    for (const text of texts) {
      assert.strictEqual(textOf(inflate(inflater, [finished(text)])), text)
      assert.strictEqual(textOf(inflate(inflater, everyByte(finished(text)))), text)
      assert.strictEqual(textOf(inflate(inflater, [finished(text), empty])), text)
      assert.strictEqual(textOf(inflate(inflater, [hex("00")])), "")
      const fresh = makeDeflater({ agreement })
      for (const next of [text, "next", text]) {
        assert.strictEqual(textOf(inflate(inflater, [fresh.finish(utf8(next))])), next)
      }
      deflater.release()
    }
  })

  it("several final blocks in one message, and final blocks of nothing", () => {
    const inflater = makeInflater()
    for (const rest of ["", "00", "0300", "030000", "0100 00ff ff", "01"]) {
      const message = concat(finished("He"), finished(""), finished("llo"), hex(rest))
      for (const pieces of inTwo(message)) assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
    }
  })

  it("a final block forgets what was before it", () => {
    const inflater = makeInflater()
    assert.strictEqual(textOf(inflate(inflater, [finalBlock])), "Hello")
    assert.strictEqual(inflate(inflater, [sharedWindow]), "Corrupt")
  })

  it("a message of no bytes at all is empty and leaves the context", () => {
    const inflater = makeInflater()
    for (const pieces of [[empty], [empty, empty, empty]]) {
      assert.strictEqual(textOf(inflate(inflater, pieces)), "")
      assert.strictEqual(textOf(inflate(inflater, [oneBlock])), "Hello")
      assert.strictEqual(textOf(inflate(inflater, pieces)), "")
      assert.strictEqual(textOf(inflate(inflater, [sharedWindow])), "Hello")
    }
  })

  it("empty pieces change nothing", () => {
    const pieces = everyByte(oneBlock).flatMap((byte) => [empty, byte])
    assert.strictEqual(textOf(inflate(makeInflater(), [...pieces, empty])), "Hello")
  })

  it("keeps what it is given as it is, and none of it", () => {
    const inflater = makeInflater()
    const pieces = everyByte(oneBlock).map((piece) => piece.slice())
    const outputs = pieces.map((piece, i) => {
      const before = piece.slice()
      const inflated = inflater.push(piece, i === pieces.length - 1)
      assert.deepStrictEqual(piece, before)
      piece.fill(0xff)
      return inflated._tag === "Output" ? inflated.data : empty
    })
    assert.strictEqual(textOf(concat(...outputs)), "Hello")
  })
})

describe("Corrupt data", () => {
  const text = utf8("Hello, hello, hello, world, hello world. ".repeat(3))
  const messages = {
    "fixed codes": oneBlock,
    "a stored block": stored,
    "two blocks": concat(...twoBlocks),
    "a final block": finalBlock,
    "dynamic codes": makeDeflater().finish(concat(...Array.from({ length: 40 }, (_, i) => utf8(`${i * i} `)), text)),
    "no compression": makeDeflater({ level: 0 }).finish(text)
  }
  const tags = ["Output", "TooBig", "Corrupt"]

  it.each(Object.entries(messages))("is a result and never a throw, whichever bits are flipped: %s", (_, message) => {
    for (let at = 0; at < message.length; at++) {
      for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
        for (const agreement of [kept, once]) {
          const flipped = message.slice()
          flipped[at]! ^= mask
          const inflater = makeInflater({ agreement, maxMessageSize: 300 })
          for (const sent of [flipped, message, message]) {
            const inflated = inflater.push(sent, true)
            assert.include(tags, inflated._tag)
            if (inflated._tag !== "Output") break
            assert.isAtMost(inflated.data.length, 300)
          }
        }
      }
    }
  })

  it.each<[string, string]>([
    ["07", "a block of the reserved type"],
    ["ff ff ff ff", "a block of the reserved type, again"],
    ["00 05 00 fb ff 48 65 6c 6c 6f 00", "a stored block whose length and complement differ"],
    ["f2 00 11 00 00", "a distance further back than there is anything"],
    ["04 00 00 00 00 00", "a block of dynamic codes that ends in its header"],
    ["f2 48 cd", "a block of fixed codes that does not end"]
  ])("is refused: %s, %s", (bytes) => {
    for (const pieces of inTwo(hex(bytes))) assert.strictEqual(inflate(makeInflater(), pieces), "Corrupt")
  })

  it("says what the codec says of it", () => {
    const inflated = makeInflater().push(hex("07"), true)
    assert.deepStrictEqual(inflated, { _tag: "Corrupt", message: "invalid block type" })
  })

  it("a message that ends inside a stored block is refused", () => {
    const message = makeDeflater({ level: 0 }).finish(text)
    const accepted = Array.from(message, (_, i) => i + 1).filter((length) =>
      typeof inflate(makeInflater(), [message.subarray(0, length)]) !== "string"
    )
    // an empty block without its tail is an empty message
    assert.deepStrictEqual(accepted, [1, message.length])
  })

  it("a message that is cut short adds nothing of its own, nor anything to the next", () => {
    const next = packed(new Random(5).bytes(100))
    for (const message of Object.values(messages)) {
      const whole = inflate(makeInflater(), [message])
      assert(typeof whole !== "string")
      for (let length = 1; length < message.length; length++) {
        const inflater = makeInflater({ agreement: once })
        const inflated = inflate(inflater, [message.subarray(0, length)])
        if (typeof inflated === "string") continue
        assert.strictEqual(packed(inflated), packed(whole.subarray(0, inflated.length)))
        assert.strictEqual(textOf(inflate(inflater, [makeDeflater().finish(utf8(next))])), next)
      }
    }
  })

  it("a message that is cut short is refused", () => {
    const random = new Random(7)
    const words = Array.from({ length: 100 }, () => packed(random.bytes(1 + random.below(4))))
    let total = 0
    for (let i = 0; i < 30; i++) {
      const text = utf8(Array.from({ length: random.pick([5, 20, 100, 300]) }, () => random.pick(words)).join(" "))
      const message = makeDeflater({ level: random.pick([1, 6, 9]) }).finish(text)
      for (let length = 1; length < message.length; length++) {
        const cut = message.subarray(0, length)
        const inflated = inflate(makeInflater(), [cut])
        total++
        assert.strictEqual(inflated, "Corrupt", toHex(cut))
      }
    }
    assert.isAbove(total, 5000)
  })
})

describe("The limit on a message", () => {
  const payload = utf8("abcdefghij".repeat(100))
  const n = payload.length

  const cuts = [
    ["in one piece", (bytes: Uint8Array) => [bytes]],
    ["byte by byte", everyByte],
    ["in two", (bytes: Uint8Array) => cutAt(bytes, [bytes.length >> 1])],
    ["with an empty end", (bytes: Uint8Array) => [bytes, empty]]
  ] as const

  const sources: ReadonlyArray<readonly [string, () => Uint8Array]> = [
    ["compressed", () => makeDeflater().finish(payload)],
    ["stored", () => makeDeflater({ level: 0 }).finish(payload)],
    ["flushed after each byte", () => {
      const deflater = makeDeflater()
      return concat(...everyByte(payload).map((byte) => deflater.part(byte, true)), deflater.finish(empty))
    }],
    ["in final blocks", () => concat(...cutAt(payload, [300, 700]).map((part) => Zlib.deflateRawSync(part)))]
  ]

  describe.each(sources)("%s", (_, source) => {
    it.each(cuts)("takes n bytes and not n + 1, %s", (_, cut) => {
      const pieces = cut(source())
      for (const agreement of [kept, once]) {
        assert.deepStrictEqual(inflate(makeInflater({ agreement, maxMessageSize: n + 1 }), pieces), payload)
        assert.deepStrictEqual(inflate(makeInflater({ agreement, maxMessageSize: n }), pieces), payload)
        assert.strictEqual(inflate(makeInflater({ agreement, maxMessageSize: n - 1 }), pieces), "TooBig")
      }
    })
  })

  it("counts each message by itself", () => {
    const deflater = makeDeflater()
    const inflater = makeInflater({ maxMessageSize: n })
    for (let i = 0; i < 5; i++) assert.deepStrictEqual(inflate(inflater, [deflater.finish(payload)]), payload)
    assert.strictEqual(inflate(inflater, [deflater.finish(concat(payload, hello))]), "TooBig")
  })

  it("is 0 where only empty messages are taken", () => {
    const inflater = makeInflater({ maxMessageSize: 0 })
    assert.strictEqual(textOf(inflate(inflater, [hex("00")])), "")
    assert.strictEqual(textOf(inflate(inflater, [hex("03 00 00")])), "")
    assert.strictEqual(textOf(inflate(inflater, [hex("03 00")])), "")
    assert.strictEqual(inflate(inflater, [makeDeflater().finish(utf8("x"))]), "TooBig")
  })

  it("gives what was before it, in pieces that are within", () => {
    const inflater = makeInflater({ maxMessageSize: 4 })
    assert.deepStrictEqual(inflater.push(twoBlocks[0], false), { _tag: "Output", data: utf8("He") })
    assert.deepStrictEqual(inflater.push(twoBlocks[1], true), { _tag: "TooBig" })
  })

  it("hands the codec what is left, never less than nothing", () => {
    const limits: Array<number> = []
    const { codec } = makeCodec()
    const spying: Codec.Codec = {
      ...codec,
      makeInflater: (windowBits) => {
        const inflater = codec.makeInflater(windowBits)
        return {
          ...inflater,
          push: (input, limit) => {
            limits.push(limit)
            return inflater.push(input, limit)
          }
        }
      }
    }
    const inflater = makeInflater({ codec: spying, maxMessageSize: 5 })
    inflate(inflater, [...twoBlocks, hex("00 00 00 ff ff 00")])
    // 5, what "He" leaves, and nothing
    assert.deepStrictEqual(limits, [5, 3, 0])
  })

  it("stops a bomb where it is reached, in time and in memory", () => {
    const bomb = Zlib.deflateRawSync(new Uint8Array(64 * 1024 * 1024), { finishFlush: Zlib.constants.Z_SYNC_FLUSH })
    const inflater = makeInflater({ maxMessageSize: 1024 * 1024 })
    let result: DeflateTransform.InflatedMessage | undefined
    const allocated = allocatedBy(() => {
      result = inflater.push(bomb, true)
    })
    assert.strictEqual(result?._tag, "TooBig")
    assert.isBelow(allocated, 8 * 1024 * 1024)
  })
})

describe("The ratio of a message to its length", () => {
  const free = 64 * 1024

  const deflated = (size: number) => makeDeflater().finish(new Uint8Array(size))

  const cuts: ReadonlyArray<(bytes: Uint8Array) => ReadonlyArray<Uint8Array>> = [
    (bytes) => [bytes],
    everyByte,
    (bytes) => cutAt(bytes, [1, bytes.length >> 1])
  ]

  it("takes 64 KiB and n for each byte, and not one more", () => {
    for (const size of [free + 2000, free + 20_000, free + 300_000]) {
      const message = deflated(size)
      assert.strictEqual(message.length, deflated(size + 1).length)
      const maxCompressionRatio = (size - free) / message.length
      assert.strictEqual(inflate(makeInflater({ maxCompressionRatio }), [message]).length, size)
      for (const cut of cuts) {
        assert.strictEqual(inflate(makeInflater({ maxCompressionRatio }), cut(deflated(size + 1))), "RatioTooHigh")
      }
    }
  })

  it("is counted for each message by itself, and leaves out the first 64 KiB of each", () => {
    const inflater = makeInflater({ maxCompressionRatio: 0 })
    const deflater = makeDeflater()
    for (let i = 0; i < 5; i++) {
      assert.strictEqual(inflate(inflater, [deflater.finish(new Uint8Array(free))]).length, free)
    }
    assert.strictEqual(inflate(inflater, [deflater.finish(new Uint8Array(free + 1))]), "RatioTooHigh")
  })

  it("by default refuses nothing that deflate can do", () => {
    const size = 8 * 1024 * 1024
    const message = Zlib.deflateRawSync(new Uint8Array(size), { level: 9, memLevel: 9 })
    assert.isAbove(size / message.length, 1000)
    assert.strictEqual(inflate(makeInflater(), [message]).length, size)
  })

  it("is not what a message is refused for that is longer than the limit", () => {
    const message = deflated(free + 1)
    assert.strictEqual(inflate(makeInflater({ maxCompressionRatio: 0, maxMessageSize: free }), [message]), "TooBig")
  })
})

describe("Contexts", () => {
  it("are made with the first message and not before", () => {
    const { codec, log } = makeCodec()
    const deflater = makeDeflater({ codec })
    const inflater = makeInflater({ codec })
    deflater.part(empty, false)
    inflater.push(empty, false)
    deflater.close()
    inflater.close()
    assert.deepStrictEqual(log, [])
    deflater.part(hello, false)
    inflater.push(oneBlock, false)
    assert.deepStrictEqual(log, ["deflater 15 6 8", "inflater 15"])
  })

  describe.each(roles)("of a %s", (role) => {
    const agreement: PerMessageDeflate.Agreement = {
      serverNoContextTakeover: true,
      clientNoContextTakeover: false,
      serverMaxWindowBits: 9,
      clientMaxWindowBits: 14
    }
    const swapped: PerMessageDeflate.Agreement = {
      serverNoContextTakeover: false,
      clientNoContextTakeover: true,
      serverMaxWindowBits: 14,
      clientMaxWindowBits: 9
    }

    it("have the window and are reset as agreed for the direction", () => {
      for (const agreed of [agreement, swapped]) {
        const { codec, log } = makeCodec()
        const deflater = makeDeflater({ codec, role, agreement: agreed, level: 3, memLevel: 5 })
        const inflater = makeInflater({ codec, role, agreement: agreed })
        for (let i = 0; i < 2; i++) {
          deflater.part(hello, true)
          deflater.finish(hello)
        }
        for (let i = 0; i < 2; i++) inflate(inflater, cutAt(oneBlock, [3]))
        const small = (role === "server") === (agreed === agreement)
        assert.deepStrictEqual(
          log,
          small
            ? ["deflater 9 3 5", "reset deflater", "reset deflater", "inflater 14"]
            : ["deflater 14 3 5", "inflater 9", "reset inflater", "reset inflater"]
        )
      }
    })

    it("are those that the peer has", () => {
      for (const agreed of [agreement, swapped]) {
        const deflater = makeDeflater({ role, agreement: agreed })
        const inflater = makeInflater({ role: peerOf(role), agreement: agreed })
        for (let i = 0; i < 4; i++) {
          assert.strictEqual(textOf(inflate(inflater, [deflater.finish(hello)])), "Hello")
        }
      }
    })
  })

  it("are freed once, between messages and inside them", () => {
    for (const inside of [false, true]) {
      const { codec, log } = makeCodec()
      const deflater = makeDeflater({ codec })
      const inflater = makeInflater({ codec })
      if (inside) deflater.part(hello, false)
      else deflater.finish(hello)
      inflater.push(oneBlock, !inside)
      for (let i = 0; i < 3; i++) {
        deflater.close()
        inflater.close()
      }
      assert.deepStrictEqual(log, ["deflater 15 6 8", "inflater 15", "close deflater", "close inflater"])
    }
  })

  it("are freed where a message is corrupt or too big", () => {
    for (const message of [hex("07"), makeDeflater().finish(utf8("too long")), oneBlock.subarray(0, 5)]) {
      const { codec, log } = makeCodec()
      const inflater = makeInflater({ codec, maxMessageSize: 5 })
      assert.notStrictEqual(inflater.push(message, true)._tag, "Output")
      assert.deepStrictEqual(log, ["inflater 15", "close inflater"])
    }
  })

  it("are released between messages: the deflater's always, the inflater's where none is taken over", () => {
    for (const agreement of [kept, once]) {
      const { codec, log } = makeCodec()
      const deflater = makeDeflater({ codec, agreement })
      const inflater = makeInflater({ codec, agreement })
      for (let i = 0; i < 3; i++) {
        const pieces = [deflater.part(hello, true), deflater.finish(empty)]
        assert.strictEqual(textOf(inflate(inflater, pieces)), "Hello")
        deflater.release()
        inflater.release()
      }
      assert.strictEqual(log.filter((line) => line === "close deflater").length, 3)
      assert.strictEqual(log.filter((line) => line === "close inflater").length, agreement === once ? 3 : 0)
    }
  })

  it("are not released inside a message", () => {
    for (const agreement of [kept, once]) {
      const { codec, log } = makeCodec()
      const deflater = makeDeflater({ codec, agreement })
      const inflater = makeInflater({ codec, agreement })
      const pieces = [deflater.part(utf8("He"), false)]
      deflater.release()
      pieces.push(deflater.part(utf8("l"), true))
      deflater.release()
      pieces.push(deflater.finish(utf8("lo")))
      const sent = concat(...pieces)
      const outputs = everyByte(sent).map((byte, i) => {
        const inflated = inflater.push(byte, i === sent.length - 1)
        if (i < sent.length - 1) inflater.release()
        return inflated._tag === "Output" ? inflated.data : empty
      })
      assert.strictEqual(textOf(concat(...outputs)), "Hello")
      assert.notInclude(log.join(), "close")
    }
  })
})

describe("RFC 7692 section 7.1.2, windows", () => {
  // 64 of them, so that no block is better stored
  const letters = (random: Random, length: number): Uint8Array => random.bytes(length).map((byte) => byte & 63)

  /** Sequences that come again from 20 to `furthest` bytes behind. */
  const farApart = (furthest: number): Uint8Array => {
    const random = new Random(furthest)
    const step = Math.max(1, furthest >> 5)
    const parts: Array<Uint8Array> = []
    for (let distance = 20; distance <= furthest; distance += step) {
      const sequence = letters(random, 20)
      parts.push(sequence, letters(random, distance - 20), sequence)
    }
    return concat(...parts)
  }

  const allBits: ReadonlyArray<PerMessageDeflate.WindowBits> = [8, 9, 10, 11, 12, 13, 14, 15]

  /** The longest distance in what is sent, which is also given to a peer with no more than that window. */
  const longestDistance = (
    windowBits: PerMessageDeflate.WindowBits,
    payload: Uint8Array,
    options: Partial<DeflateTransform.DeflateOptions>
  ): number => {
    const agreement = { ...kept, clientMaxWindowBits: windowBits }
    const deflater = makeDeflater({ agreement, ...options })
    const inflater = makeInflater({ agreement })
    const messages = [deflater.finish(payload), deflater.finish(payload.subarray(0, 600))]
    for (const [i, message] of messages.entries()) {
      const expected = i === 0 ? payload : payload.subarray(0, 600)
      assert(Buffer.compare(inflate(inflater, everyByte(message)) as Uint8Array, expected) === 0)
    }
    const tail = hex("00 00 ff ff")
    return distancesOf(concat(...messages.flatMap((message) => [message, tail]))).reduce((a, b) => Math.max(a, b), 0)
  }

  it.each(allBits)("no distance is longer than a window of 2^%i bytes", (windowBits) => {
    const payload = farApart(Math.min(2 ** (windowBits + 1), 2 ** 14))
    const longest = longestDistance(windowBits, payload, {})
    assert.isAtMost(longest, 2 ** windowBits)
    // nor is it for want of trying
    assert.isAbove(longest, Math.min(2 ** windowBits, 2 ** 14) * 0.9 - 262)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9])(
    "no distance is longer than 250 where 8 bits are agreed on, level %i",
    (level) => {
      const payload = farApart(600)
      for (const memLevel of [1, 4, 8, 9]) {
        const longest = longestDistance(8, payload, { level, memLevel })
        assert.isAtMost(longest, 250)
        assert.isAbove(longest, 200)
      }
    }
  )

  it("zlib is given at least 9 bits", () => {
    assert.deepStrictEqual(allBits.map(PerMessageDeflate.zlibWindowBits), [9, 9, 10, 11, 12, 13, 14, 15])
  })
})

describe("Laws", () => {
  const Int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
  const Bits = Schema.Literals([8, 9, 10, 11, 12, 13, 14, 15])
  const Agreement = Schema.Struct({
    serverNoContextTakeover: Schema.Boolean,
    clientNoContextTakeover: Schema.Boolean,
    serverMaxWindowBits: Bits,
    clientMaxWindowBits: Bits
  })
  const Part = Schema.Struct({
    size: Schema.Literals([0, 0, 1, 2, 10, 300, 5000, 40_000]),
    repetitive: Schema.Boolean,
    flush: Schema.Boolean
  })
  const Message = Schema.Struct({ parts: Schema.Array(Part), released: Schema.Boolean, chops: Int(0, 12) })

  const contentOf = (random: Random, { repetitive, size }: typeof Part.Type): Uint8Array => {
    const period = repetitive ? 1 + random.below(700) : size
    const bytes = random.bytes(Math.min(period, size))
    if (period >= size) return bytes
    const content = new Uint8Array(size)
    for (let i = 0; i < size; i++) content[i] = bytes[i % period]!
    return content
  }

  it.prop(
    "any messages in any parts come through, under any agreement, chopped anywhere",
    {
      sender: Schema.Literals(roles),
      agreement: Agreement,
      level: Int(0, 9),
      memLevel: Int(1, 9),
      messages: Schema.Array(Message),
      seed: Int(0, 0xffffffff)
    },
    ({ agreement, level, memLevel, messages, seed, sender }) => {
      const random = new Random(seed)
      const deflater = makeDeflater({ role: sender, agreement, level, memLevel })
      const inflater = makeInflater({ role: peerOf(sender), agreement })
      for (const { chops, parts, released } of messages) {
        const contents = parts.map((part) => contentOf(random, part))
        const sent = contents.map((content, i) =>
          i === contents.length - 1 ? deflater.finish(content) : deflater.part(content, parts[i]!.flush)
        )
        if (contents.length === 0) sent.push(deflater.finish(empty))
        assert.isAbove(sent.at(-1)!.length, 0)
        const bytes = concat(...sent)
        const pieces = cutAt(bytes, Array.from({ length: chops }, () => random.below(bytes.length + 1)))
        const received = inflate(inflater, bytes.length < 500 ? everyByte(bytes) : pieces)
        assert(typeof received !== "string" && Buffer.compare(received, concat(...contents)) === 0)
        if (released) {
          deflater.release()
          inflater.release()
        }
      }
      deflater.close()
      inflater.close()
    },
    { arbitrary: { runs: 200 } }
  )

  it.prop(
    "any bytes give results within the limit, until one is final",
    { pieces: Schema.Array(Schema.Tuple([Schema.Array(Int(0, 255)), Schema.Boolean])), limit: Int(0, 100) },
    ({ limit, pieces }) => {
      const inflater = makeInflater({ maxMessageSize: limit })
      let size = 0
      for (const [bytes, last] of pieces) {
        const inflated = inflater.push(Uint8Array.from(bytes), last)
        if (inflated._tag !== "Output") break
        size += inflated.data.length
        assert.isAtMost(size, limit)
        if (last) size = 0
      }
      inflater.close()
    },
    { arbitrary: { runs: 500 } }
  )
})
