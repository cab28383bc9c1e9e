import * as Frame from "@effect-websocket/protocol/Frame"
import { isControl, isOpcode, ofMessage, Opcode } from "@effect-websocket/protocol/Opcode"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { expectedRule } from "./fixtures/startRules.ts"
import { hex, roles, toHex } from "./fixtures/wire.ts"

const encoded = (header: Frame.Header): string => {
  const out = new Uint8Array(Frame.headerSize(header.length, header.key !== undefined))
  assert.strictEqual(Frame.encodeHeader(header, out, 0), out.length)
  return toHex(out)
}

/** Length, and the length field in hex: RFC 6455 section 5.2, both ends of each form. */
const lengthFields: ReadonlyArray<readonly [length: number, unmasked: string, masked: string]> = [
  [0, "00", "80"],
  [1, "01", "81"],
  [125, "7d", "fd"],
  [126, "7e 00 7e", "fe 00 7e"],
  [127, "7e 00 7f", "fe 00 7f"],
  [65535, "7e ff ff", "fe ff ff"],
  [65536, "7f 00 00 00 00 00 01 00 00", "ff 00 00 00 00 00 01 00 00"],
  [2 ** 31, "7f 00 00 00 00 80 00 00 00", "ff 00 00 00 00 80 00 00 00"],
  [2 ** 32 - 1, "7f 00 00 00 00 ff ff ff ff", "ff 00 00 00 00 ff ff ff ff"],
  [2 ** 32, "7f 00 00 00 01 00 00 00 00", "ff 00 00 00 01 00 00 00 00"],
  [2 ** 53 - 1, "7f 00 1f ff ff ff ff ff ff", "ff 00 1f ff ff ff ff ff ff"]
]

/** FIN, RSV and opcode, and the first byte. */
const firstBytes: ReadonlyArray<readonly [fin: boolean, rsv: number, opcode: Opcode, byte: string]> = [
  [true, 0, Opcode.Continuation, "80"],
  [true, 0, Opcode.Text, "81"],
  [true, 0, Opcode.Binary, "82"],
  [true, 0, Opcode.Close, "88"],
  [true, 0, Opcode.Ping, "89"],
  [true, 0, Opcode.Pong, "8a"],
  [false, 0, Opcode.Continuation, "00"],
  [false, 0, Opcode.Text, "01"],
  [false, 0, Opcode.Binary, "02"],
  [true, 0x40, Opcode.Text, "c1"],
  [true, 0x20, Opcode.Text, "a1"],
  [true, 0x10, Opcode.Text, "91"],
  [false, 0x70, Opcode.Binary, "72"]
]

const Length = Schema.Union([
  Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 70_000 })),
  Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
])
const Key = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffffffff }))
const Header = Schema.Struct({
  fin: Schema.Boolean,
  rsv: Schema.Literals([0, 0x10, 0x20, 0x40, 0x70]),
  opcode: Schema.Literals(Object.values(Opcode)),
  length: Length,
  key: Schema.UndefinedOr(Key)
})

describe("Frame", () => {
  describe("RFC 6455 section 5.2", () => {
    it.each(lengthFields)("a length of %i is unmasked '%s' and masked '%s'", (length, unmasked, masked) => {
      const header = { fin: true, rsv: 0, opcode: Opcode.Binary, length }
      assert.strictEqual(encoded({ ...header, key: undefined }), `82 ${unmasked}`)
      assert.strictEqual(encoded({ ...header, key: 0x37fa213d }), `82 ${masked} 37 fa 21 3d`)
    })

    it.each(firstBytes)("fin %s, reserved bits %i and opcode %i make the first byte %s", (fin, rsv, opcode, byte) => {
      assert.strictEqual(encoded({ fin, rsv, opcode, length: 0, key: undefined }), `${byte} 00`)
    })

    it.each([0, 1, 0x7fffffff, 0x80000000, 0xffffffff])("the key %i stands at the end", (key) => {
      const out = hex(encoded({ fin: true, rsv: 0, opcode: 1, length: 300, key }))
      assert.strictEqual(Frame.decodeKey(out, 0, out.length), key)
    })

    it("writes a header at an offset and nothing around it", () => {
      const out = new Uint8Array(20).fill(0xee)
      assert.strictEqual(Frame.encodeHeader({ fin: true, rsv: 0, opcode: 2, length: 2 ** 32, key: 1 }, out, 3), 17)
      assert.strictEqual(toHex(out), "ee ee ee 82 ff 00 00 00 01 00 00 00 00 00 00 00 01 ee ee ee")
    })

    it.each<readonly [string, number | string]>([
      ["82 7d", 125],
      ["82 7e 00 00", "NonMinimalLength"],
      ["82 7e 00 7d", "NonMinimalLength"],
      ["82 7e 00 7e", 126],
      ["82 7e ff ff", 65535],
      ["82 7f 00 00 00 00 00 00 00 00", "NonMinimalLength"],
      ["82 7f 00 00 00 00 00 00 00 7e", "NonMinimalLength"],
      ["82 7f 00 00 00 00 00 00 ff ff", "NonMinimalLength"],
      ["82 7f 00 00 00 00 00 01 00 00", 65536],
      ["82 7f 00 1f ff ff ff ff ff ff", Number.MAX_SAFE_INTEGER],
      ["82 7f 7f ff ff ff ff ff ff ff", 2 ** 63],
      ["82 7f 80 00 00 00 00 00 00 00", "InvalidLength"],
      ["82 7f 80 00 00 00 00 00 00 01", "InvalidLength"],
      ["82 7f ff ff ff ff ff ff ff ff", "InvalidLength"]
    ])("the length of %s is %s", (bytes, length) => {
      assert.strictEqual(Frame.decodeLength(hex(bytes), 0), length)
    })

    it("reads no length above 2^53 - 1 as one below", () => {
      for (const bytes of ["00 20 00 00 00 00 00 00", "00 20 00 00 00 00 00 01", "7f ff ff ff ff ff ff ff"]) {
        assert.isAbove(Frame.decodeLength(hex(`82 7f ${bytes}`), 0) as number, Number.MAX_SAFE_INTEGER)
      }
    })

    it("tells the header's size from the second byte alone", () => {
      for (let byte = 0; byte < 256; byte++) {
        const length = byte % 128 < 126 ? 0 : byte % 128 === 126 ? 126 : 65536
        assert.strictEqual(Frame.headerSizeOf(byte), Frame.headerSize(length, byte >= 128))
        assert.isAtMost(Frame.headerSizeOf(byte), Frame.maxHeaderSize)
      }
      assert.strictEqual(Frame.headerSizeOf(0xff), Frame.maxHeaderSize)
    })

    it("knows the six opcodes among the sixteen", () => {
      const bits = Array.from({ length: 16 }, (_, i) => i)
      assert.deepStrictEqual(bits.filter(isOpcode), [0, 1, 2, 8, 9, 10])
      assert.deepStrictEqual(bits.filter(isControl), [8, 9, 10, 11, 12, 13, 14, 15])
      assert.strictEqual(ofMessage("text"), 1)
      assert.strictEqual(ofMessage("binary"), 2)
    })
  })

  describe.each(roles)("all 65536 beginnings of a header that a %s receives", (role) => {
    it.each([0, 0x40, 0x70])("break the rule that the oracle says, where extensions own the bits %i", (ownedBits) => {
      for (let first = 0; first < 256; first++) {
        for (let second = 0; second < 256; second++) {
          const rule = Frame.ruleOfStart(first, second, role, ownedBits)
          if (rule === expectedRule(first, second, role, ownedBits)) continue
          assert.fail(`${first.toString(16)} ${second.toString(16)} breaks ${rule}`)
        }
      }
    })
  })

  it.prop("round-trips every header", { header: Header }, ({ header }) => {
    const bytes = hex(encoded(header))
    const masked = header.key !== undefined
    assert.strictEqual(Frame.headerSizeOf(bytes[1]!), bytes.length)
    assert.strictEqual(Frame.decodeLength(bytes, 0), header.length)
    assert.strictEqual(bytes[1]! >= 128, masked)
    if (masked) assert.strictEqual(Frame.decodeKey(bytes, 0, bytes.length), header.key)
    assert.strictEqual(bytes[0], (header.fin ? 0x80 : 0) + header.rsv + header.opcode)
  }, { arbitrary: { runs: 500 } })
})
