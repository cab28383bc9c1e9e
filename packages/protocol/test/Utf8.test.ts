import * as Utf8 from "@effect-websocket/protocol/Utf8"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { inThree, inTwo } from "./fixtures/cuts.ts"
import { Random } from "./fixtures/random.ts"
import { hex, toHex, utf8 } from "./fixtures/wire.ts"

const oracle = new TextDecoder("utf-8", { fatal: true })

const isText = (bytes: Uint8Array): boolean => {
  try {
    oracle.decode(bytes)
    return true
  } catch {
    return false
  }
}

/** The index of the first byte that cannot be right, or -1. */
const badIndex = (bytes: Uint8Array): number => {
  let state = Utf8.boundary
  return bytes.findIndex((_, i) => {
    state = Utf8.advance(state, bytes, i, i + 1)
    return state === Utf8.invalid
  })
}

/** Both ends of every range that RFC 3629 section 4 tells apart, and their neighbours. */
const edges = [
  0x00,
  0x7f,
  0x80,
  0x8f,
  0x90,
  0x9f,
  0xa0,
  0xbf,
  0xc0,
  0xc1,
  0xc2,
  0xdf,
  0xe0,
  0xe1,
  0xec,
  0xed,
  0xee,
  0xef,
  0xf0,
  0xf1,
  0xf3,
  0xf4,
  0xf5,
  0xff
]

const edgeSequences = (length: number): ReadonlyArray<ReadonlyArray<number>> =>
  length === 0 ? [[]] : edgeSequences(length - 1).flatMap((start) => edges.map((byte) => [...start, byte]))

const assertAgrees = (bytes: Uint8Array): void => {
  if (Utf8.isValid(bytes) !== isText(bytes)) assert.fail(`${toHex(bytes)} is wrongly ${Utf8.isValid(bytes)}`)
}

describe("Utf8", () => {
  describe("RFC 3629 section 4", () => {
    it("agrees with TextDecoder on all sequences of one and two bytes", () => {
      for (let first = 0; first < 256; first++) {
        assertAgrees(Uint8Array.of(first))
        for (let second = 0; second < 256; second++) assertAgrees(Uint8Array.of(first, second))
      }
    })

    it("agrees with TextDecoder on three and four bytes at both ends of every range", () => {
      for (const sequence of edgeSequences(3)) assertAgrees(Uint8Array.from(sequence))
      for (const sequence of edgeSequences(4)) {
        if (sequence[0]! >= 0xe0) assertAgrees(Uint8Array.from(sequence))
      }
    })

    it("agrees with TextDecoder on every second byte of three and four", () => {
      for (let lead = 0xe0; lead <= 0xff; lead++) {
        for (let second = 0; second < 256; second++) {
          assertAgrees(Uint8Array.of(lead, second, 0x80))
          assertAgrees(Uint8Array.of(lead, second, 0xbf, 0x80))
        }
      }
    })

    it("accepts every code point but surrogates", () => {
      for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 37) {
        const isSurrogate = code >= 0xd800 && code <= 0xdfff
        if (!isSurrogate && !Utf8.isValid(utf8(String.fromCodePoint(code)))) assert.fail(`U+${code.toString(16)}`)
      }
    })

    it.each(["ef bb bf", "ef bf be", "ef bf bf", "00", "f4 8f bf bf", "ed 9f bf", "ee 80 80", ""])(
      "accepts %s",
      (text) => assert.isTrue(Utf8.isValid(hex(text)))
    )
  })

  describe("RFC 6455 section 8.1", () => {
    it.each([
      ["80", 0],
      ["c0", 0],
      ["c1 bf", 0],
      ["f5", 0],
      ["ff", 0],
      ["61 c3 61", 2],
      ["c3 c3", 1],
      ["e0 9f", 1],
      ["e1 80 c0", 2],
      ["ed a0", 1],
      ["f0 8f", 1],
      ["f0 90 80 7f", 3],
      ["f4 90", 1],
      ["f1 80 80 80 80", 4],
      ["61 62 63 64 65 66 67 68 61 62 63 64 65 66 67 ff", 15]
    ])("fails %s at its first impossible byte", (text, index) => {
      assert.strictEqual(badIndex(hex(text)), index)
    })

    // Autobahn cases 6.4.1 to 6.4.4: a text that goes wrong at its thirteenth byte.
    it("takes ce ba e1 bd b9 cf 83 ce bc ce b5 f4 and refuses the 90 after it", () => {
      const state = Utf8.advance(Utf8.boundary, hex("ce ba e1 bd b9 cf 83 ce bc ce b5 f4"))
      assert.notStrictEqual(state, Utf8.invalid)
      assert.notStrictEqual(state, Utf8.boundary)
      assert.strictEqual(Utf8.advance(state, hex("90")), Utf8.invalid)
      assert.notStrictEqual(Utf8.advance(state, hex("80")), Utf8.invalid)
    })

    it("never leaves the invalid state", () => {
      assert.strictEqual(Utf8.advance(Utf8.invalid, utf8("fine")), Utf8.invalid)
      assert.strictEqual(Utf8.advance(Utf8.invalid, hex("")), Utf8.invalid)
    })

    it("looks at no byte outside start and end", () => {
      assert.strictEqual(Utf8.advance(Utf8.boundary, hex("ff 61 ff"), 1, 2), Utf8.boundary)
      assert.strictEqual(Utf8.advance(Utf8.boundary, hex("61 62 63 64 65 66 67 c3"), 0, 7), Utf8.boundary)
    })

    it("finds an invalid byte at every place of an ASCII run", () => {
      for (let length = 1; length <= 40; length++) {
        for (let at = 0; at < length; at++) {
          const bytes = new Uint8Array(length).fill(0x61)
          bytes[at] = 0xff
          assert.strictEqual(badIndex(bytes), at)
          assert.isFalse(Utf8.isValid(bytes))
        }
      }
    })

    it("comes to the same state wherever a text is cut", () => {
      for (const text of ["a\u0000é€\ufeff\uffff😀\u{10ffff}z", "ASCII only, and long", "κόσμε"]) {
        for (const chunks of inTwo(utf8(text))) {
          assert.strictEqual(chunks.reduce(advanceBy, Utf8.boundary), Utf8.boundary)
        }
        for (const chunks of inThree(utf8(text))) {
          assert.strictEqual(chunks.reduce(advanceBy, Utf8.boundary), Utf8.boundary)
        }
      }
      for (const chunks of inThree(hex("61 62 f4 8f bf c0 61"))) {
        assert.strictEqual(chunks.reduce(advanceBy, Utf8.boundary), Utf8.invalid)
      }
    })
  })

  const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffffffff }))

  it.prop("agrees with TextDecoder on texts with a byte changed", { text: Schema.String, seed: Seed }, (law) => {
    const random = new Random(law.seed)
    const bytes = utf8(law.text)
    assert.isTrue(Utf8.isValid(bytes))
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256)
    assert.strictEqual(Utf8.isValid(bytes), isText(bytes))
  }, { arbitrary: { runs: 500 } })
})

const advanceBy = (state: Utf8.State, chunk: Uint8Array): Utf8.State => Utf8.advance(state, chunk)
