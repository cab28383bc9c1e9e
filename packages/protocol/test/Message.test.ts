import type { Piece } from "@effect-websocket/protocol/FrameDecoder"
import { MessageAssembler, type Part } from "@effect-websocket/protocol/Message"
import type { Opcode } from "@effect-websocket/protocol/Opcode"
import { assert, describe, it } from "@effect/vitest"
import { cutAt, everyByte, inThree, inTwo } from "./fixtures/cuts.ts"
import { hex, toHex, utf8 } from "./fixtures/wire.ts"

interface Fragment {
  readonly opcode: Opcode
  readonly fin?: boolean
  readonly chunks?: ReadonlyArray<Uint8Array>
  /** Where it is not the sum of the chunks. */
  readonly length?: number
}

const none = new Uint8Array(0)

const piecesOf = ({ chunks = [none], fin = true, length: declared, opcode }: Fragment): ReadonlyArray<Piece> => {
  const arrived = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const length = declared ?? arrived
  return chunks.map((payload, i) => ({
    opcode,
    fin,
    rsv: 0,
    length,
    first: i === 0,
    last: i === chunks.length - 1 && length === arrived,
    payload
  }))
}

const partsOf = (assembler: MessageAssembler, ...fragments: ReadonlyArray<Fragment>): ReadonlyArray<Part> =>
  fragments.flatMap(piecesOf).map((piece) => assembler.receive(piece)).filter((part) => part !== undefined)

const assembler = (maxMessageSize = 1000, maxFragments = 100) => new MessageAssembler({ maxMessageSize, maxFragments })

const bytes = (length: number): ReadonlyArray<Uint8Array> => [new Uint8Array(length)]

/** The rule that the fragments break, `undefined` where they break none. */
const ruleOf = (limited: MessageAssembler, ...fragments: ReadonlyArray<Fragment>): string | undefined => {
  partsOf(limited, ...fragments)
  return limited.violation?.rule
}

const text = (parts: ReadonlyArray<Part>): string => parts.map((part) => part.data as string).join("")
const sizes = (parts: ReadonlyArray<Part>): number => parts.reduce((sum, part) => sum + part.size, 0)

describe("Message", () => {
  describe("RFC 6455 section 5.4", () => {
    it("carries the type of the first fragment through", () => {
      const parts = partsOf(
        assembler(),
        { opcode: 2, fin: false, chunks: [hex("01")] },
        { opcode: 0, fin: false, chunks: [hex("02"), hex("03")] },
        { opcode: 0, chunks: [hex("04")] }
      )
      assert.deepStrictEqual(parts.map(({ data, ...part }) => ({ ...part, data: toHex(data as Uint8Array) })), [
        { type: "binary", size: 1, fin: false, data: "01" },
        { type: "binary", size: 1, fin: false, data: "02" },
        { type: "binary", size: 1, fin: false, data: "03" },
        { type: "binary", size: 1, fin: true, data: "04" }
      ])
    })

    it.each<readonly [string, ReadonlyArray<Fragment>, string]>([
      ["a continuation without a message", [{ opcode: 0 }], "UnexpectedContinuation"],
      ["a continuation after a message", [{ opcode: 1 }, { opcode: 0 }], "UnexpectedContinuation"],
      ["an unfinished continuation first", [{ opcode: 0, fin: false }], "UnexpectedContinuation"],
      ["a text inside a text", [{ opcode: 1, fin: false }, { opcode: 1 }], "UnexpectedDataFrame"],
      ["a binary inside a text", [{ opcode: 1, fin: false }, { opcode: 2 }], "UnexpectedDataFrame"],
      [
        "a text inside a binary",
        [{ opcode: 2, fin: false }, { opcode: 0, fin: false }, { opcode: 1 }],
        "UnexpectedDataFrame"
      ]
    ])("refuses %s", (_, fragments, rule) => assert.strictEqual(ruleOf(assembler(), ...fragments), rule))

    it("says whether a message has begun and not ended", () => {
      const messages = assembler()
      assert.isFalse(messages.inMessage)
      partsOf(messages, { opcode: 1, fin: false })
      assert.isTrue(messages.inMessage)
      partsOf(messages, { opcode: 0, fin: false })
      assert.isTrue(messages.inMessage)
      partsOf(messages, { opcode: 0 })
      assert.isFalse(messages.inMessage)
    })

    it("ends a message with its last piece and not with its last frame's first", () => {
      const messages = assembler()
      const [first, second] = piecesOf({ opcode: 2, chunks: [hex("01"), hex("02")] })
      assert.strictEqual(messages.receive(first!)?.fin, false)
      assert.isTrue(messages.inMessage)
      assert.strictEqual(messages.receive(second!)?.fin, true)
      assert.isFalse(messages.inMessage)
    })

    it.each([1, 2] as const)(
      "gives one empty part for an empty message of opcode %i, in however many frames",
      (opcode) => {
        const fragments: ReadonlyArray<Fragment> = [{ opcode, fin: false }, { opcode: 0, fin: false }, { opcode: 0 }]
        for (const parts of [partsOf(assembler(), { opcode }), partsOf(assembler(), ...fragments)]) {
          assert.lengthOf(parts, 1)
          assert.lengthOf(parts[0]!.data, 0)
          assert.include(parts[0], { fin: true, size: 0, type: opcode === 1 ? "text" : "binary" })
        }
      }
    )

    it("gives binary data as views and copies nothing", () => {
      const chunk = hex("01 02 03")
      const [part] = partsOf(assembler(), { opcode: 2, chunks: [chunk] })
      assert.strictEqual((part!.data as Uint8Array).buffer, chunk.buffer)
    })
  })

  describe("RFC 6455 section 10.4", () => {
    it.each<readonly [string, number, ReadonlyArray<Fragment>]>([
      ["one frame", 10, [{ opcode: 2, chunks: bytes(10) }]],
      ["two frames", 10, [{ opcode: 2, fin: false, chunks: bytes(9) }, { opcode: 0, chunks: bytes(1) }]],
      ["frames around an empty one", 10, [
        { opcode: 1, fin: false, chunks: bytes(5) },
        { opcode: 0, fin: false },
        { opcode: 0, chunks: bytes(5) }
      ]],
      ["nothing", 0, [{ opcode: 1 }]]
    ])("takes a message as long as the limit and refuses one longer, in %s", (_, limit, fragments) => {
      assert.isUndefined(ruleOf(assembler(limit), ...fragments))
      if (limit > 0) {
        const refused = assembler(limit - 1)
        assert.strictEqual(ruleOf(refused, ...fragments), "MessageTooBig")
        assert.strictEqual(refused.violation?.limit, limit - 1)
      }
      const longer = assembler(limit)
      const first = { ...fragments[0]!, length: limit + 1, chunks: [none] }
      assert.strictEqual(ruleOf(longer, first), "MessageTooBig")
    })

    it("judges the declared length, before any payload", () => {
      for (const length of [1001, 2 ** 32, 2 ** 53, 2 ** 62]) {
        assert.strictEqual(ruleOf(assembler(1000), { opcode: 1, length }), "MessageTooBig")
      }
    })

    it("adds declared lengths without overflow", () => {
      const most = Number.MAX_SAFE_INTEGER
      const first = { opcode: 2, fin: false, chunks: bytes(1) } as const
      assert.isUndefined(ruleOf(assembler(most), first, { opcode: 0, length: most - 1 }))
      assert.strictEqual(ruleOf(assembler(most), first, { opcode: 0, length: most }), "MessageTooBig")
    })

    it("takes no length that cannot be counted, even without a limit", () => {
      const unlimited = Number.POSITIVE_INFINITY
      assert.isUndefined(ruleOf(assembler(unlimited), { opcode: 2, length: Number.MAX_SAFE_INTEGER }))
      assert.strictEqual(ruleOf(assembler(unlimited), { opcode: 2, length: 2 ** 53 }), "MessageTooBig")
      assert.strictEqual(ruleOf(assembler(unlimited), { opcode: 2, length: 2 ** 63 }), "MessageTooBig")
    })

    it.each([0, 1])("takes as many fragments as the limit and refuses one more, of %i bytes each", (length) => {
      const fragments: ReadonlyArray<Fragment> = [
        { opcode: 2, fin: false, chunks: bytes(length) },
        { opcode: 0, fin: false, chunks: bytes(length) },
        { opcode: 0, chunks: bytes(length) }
      ]
      assert.isUndefined(ruleOf(assembler(10, 3), ...fragments))
      const refused = assembler(10, 2)
      assert.strictEqual(ruleOf(refused, ...fragments), "TooManyFragments")
      assert.strictEqual(refused.violation?.limit, 2)
    })

    it("counts every message from nothing", () => {
      const limited = assembler(4, 2)
      const message: ReadonlyArray<Fragment> = [
        { opcode: 2, fin: false, chunks: bytes(2) },
        { opcode: 0, chunks: bytes(2) }
      ]
      assert.isUndefined(ruleOf(limited, ...message, ...message, { opcode: 1, chunks: bytes(4) }, ...message))
    })

    it("counts a fragment once, in however many pieces it arrives", () => {
      assert.isUndefined(ruleOf(assembler(10, 1), { opcode: 2, chunks: [none, ...everyByte(new Uint8Array(10))] }))
    })
  })

  describe("RFC 6455 section 8.1", () => {
    const texts = [
      "a\u0000é€\ufeff\uffff\ufffe😀\u{10ffff}z",
      "\ufeffstarts with a mark",
      "\ufeff",
      "κόσμε",
      "😀".repeat(5)
    ]

    it("gives parts that split no code point and add up, wherever a text is cut into frames or chunks", () => {
      for (const whole of texts) {
        for (const chunks of [...inTwo(utf8(whole)), ...inThree(utf8(whole)), everyByte(utf8(whole))]) {
          const inPieces = partsOf(assembler(), { opcode: 1, chunks })
          const inFrames = partsOf(
            assembler(),
            { opcode: 1, fin: false },
            ...chunks.map((chunk): Fragment => ({ opcode: 0, fin: false, chunks: [chunk] })),
            { opcode: 0 }
          )
          for (const parts of [inPieces, inFrames]) {
            assert.strictEqual(text(parts), whole)
            assert.strictEqual(sizes(parts), utf8(whole).length)
            assert.isTrue(parts.every((part) => (part.data as string).isWellFormed()))
          }
        }
      }
    })

    it.each<readonly [string, number]>([
      ["ff", 0],
      ["61 80", 1],
      ["c0 80", 0],
      ["ed a0 80", 1],
      ["ce ba e1 bd b9 cf 83 ce bc ce b5 f4 90 80 80", 12],
      ["f8 88", 0]
    ])("refuses %s at its first impossible byte", (invalid, index) => {
      const chunks = [...everyByte(hex(invalid)), hex("61")]
      const messages = assembler()
      const broken = piecesOf({ opcode: 1, chunks }).findIndex((piece) => {
        messages.receive(piece)
        return messages.violation !== undefined
      })
      assert.strictEqual(broken, index)
      assert.strictEqual(messages.violation?.rule, "InvalidUtf8")
    })

    it.each(["e2 82", "c3", "61 f0 9f 98"])("refuses a text that ends inside a code point: %s", (cut) => {
      assert.strictEqual(ruleOf(assembler(), { opcode: 1, chunks: [hex(cut)] }), "InvalidUtf8")
      for (const chunks of inTwo(hex(cut))) {
        assert.strictEqual(ruleOf(assembler(), { opcode: 1, chunks }), "InvalidUtf8")
      }
      const first: Fragment = { opcode: 1, fin: false, chunks: [hex(cut)] }
      assert.isUndefined(ruleOf(assembler(), first))
      assert.strictEqual(ruleOf(assembler(), first, { opcode: 0 }), "InvalidUtf8")
    })

    it("looks at no byte of a binary message", () => {
      assert.isUndefined(ruleOf(assembler(), { opcode: 2, chunks: [hex("ff c0 80 ed a0")] }))
    })

    it("starts every text anew, also after one that another connection refused", () => {
      ruleOf(assembler(), { opcode: 1, chunks: [hex("61 e2 82")] })
      ruleOf(assembler(), { opcode: 1, chunks: cutAt(hex("61 e2 82"), [2]) })
      const messages = assembler()
      for (const whole of texts) {
        assert.strictEqual(text(partsOf(messages, { opcode: 1, chunks: [utf8(whole)] })), whole)
        assert.strictEqual(text(partsOf(messages, { opcode: 1, chunks: everyByte(utf8(whole)) })), whole)
      }
    })
  })

  it("assembles nothing after a violation and keeps the first", () => {
    const messages = assembler(3)
    ruleOf(messages, { opcode: 2, fin: false, chunks: bytes(2) }, { opcode: 2 })
    assert.strictEqual(messages.violation?.rule, "UnexpectedDataFrame")
    assert.lengthOf(partsOf(messages, { opcode: 0, chunks: bytes(1) }, { opcode: 2, chunks: bytes(9) }), 0)
    assert.strictEqual(messages.violation?.rule, "UnexpectedDataFrame")
  })
})
