import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Goldens from "./fixtures/goldens.ts"
import { Random } from "./fixtures/random.ts"
import * as Session from "./fixtures/session.ts"
import { frame, helloKey, hex, packed, toHex, utf8, type Wire } from "./fixtures/wire.ts"

const outgoing = (wire: Wire): FrameEncoder.OutgoingFrame => ({
  opcode: wire.opcode as Opcode,
  fin: wire.fin !== false,
  rsv: wire.rsv,
  payload: typeof wire.payload === "string" ? utf8(wire.payload) : wire.payload ?? new Uint8Array(0)
})

const lengths = [0, 1, 125, 126, 127, 65535, 65536]

describe("FrameEncoder", () => {
  describe("RFC 6455 section 5.7", () => {
    it.each<readonly [string, Wire, number | undefined, string]>([
      ["an unmasked text", { opcode: 1, payload: "Hello" }, undefined, "81 05 48 65 6c 6c 6f"],
      ["a masked text", { opcode: 1, payload: "Hello" }, helloKey, "81 85 37 fa 21 3d 7f 9f 4d 51 58"],
      ["a first fragment", { opcode: 1, fin: false, payload: "Hel" }, undefined, "01 03 48 65 6c"],
      ["a last fragment", { opcode: 0, payload: "lo" }, undefined, "80 02 6c 6f"],
      ["an unmasked ping", { opcode: 9, payload: "Hello" }, undefined, "89 05 48 65 6c 6c 6f"],
      ["a masked pong", { opcode: 10, payload: "Hello" }, helloKey, "8a 85 37 fa 21 3d 7f 9f 4d 51 58"]
    ])("encodes %s", (_, wire, key, bytes) => {
      assert.strictEqual(toHex(FrameEncoder.encode(outgoing(wire), key)), bytes)
    })

    it.each([[256, "82 7e 01 00"], [65536, "82 7f 00 00 00 00 00 01 00 00"]])(
      "encodes %i bytes in a frame that begins with %s",
      (length, header) => {
        const bytes = FrameEncoder.encode(outgoing({ opcode: 2, payload: new Uint8Array(length) }), undefined)
        assert.strictEqual(toHex(bytes).slice(0, header.length), header)
        assert.strictEqual(bytes.length, FrameEncoder.frameSize(length, false))
      }
    )
  })

  it.each(Session.frames.map((wire, i) => [i, wire] as const))("encodes golden %i as ws does", (i, wire) => {
    const { opcode } = wire
    const masked = Goldens.fromClient[i]!
    const header = masked.slice(2, 4) === "fe" ? 8 : 4
    const key = Number.parseInt(masked.slice(header, header + 8), 16)
    assert.strictEqual(packed(FrameEncoder.encode(outgoing(wire), undefined)), Goldens.fromServer[i], `${opcode}`)
    assert.strictEqual(packed(FrameEncoder.encode(outgoing(wire), key)), masked, `${opcode}`)
  })

  describe.each(Object.entries(Opcode))("%s", (_, opcode) => {
    it.each(lengths)("is exact with a payload of %i bytes, with every reserved bit, masked or not", (length) => {
      const payload = new Random(length).bytes(length)
      for (const rsv of [0, 0x40, 0x20, 0x10]) {
        for (const fin of [true, false]) {
          const wire = { opcode, fin, rsv, payload }
          assert.strictEqual(packed(FrameEncoder.encode(outgoing(wire), undefined)), packed(frame(wire)))
          assert.strictEqual(packed(FrameEncoder.encode(outgoing(wire), 0x80000001)), packed(frame(wire, 0x80000001)))
        }
      }
    })
  })

  it("masks with a key of zero without taking it for none", () => {
    assert.strictEqual(toHex(FrameEncoder.encode(outgoing({ opcode: 1, payload: "a" }), 0)), "81 81 00 00 00 00 61")
  })

  it("writes behind what is there, raises the length and leaves the rest", () => {
    const room = { bytes: new Uint8Array(16).fill(0xee), length: 2 }
    FrameEncoder.append(outgoing({ opcode: 1, payload: "Hello" }), helloKey, room)
    assert.strictEqual(room.length, 13)
    assert.strictEqual(toHex(room.bytes), "ee ee 81 85 37 fa 21 3d 7f 9f 4d 51 58 ee ee ee")
  })

  it("takes a payload that is a view into a larger array", () => {
    const payload = hex("ee ee 61 62 ee").subarray(2, 4)
    assert.strictEqual(toHex(FrameEncoder.encode({ opcode: 2, fin: true, payload }, undefined)), "82 02 61 62")
  })

  const Int = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

  it.prop(
    "never changes the payload and never keeps it",
    { seed: Int(0xffffffff), length: Int(700), key: Schema.UndefinedOr(Int(0xffffffff)) },
    ({ key, length, seed }) => {
      const payload = new Random(seed).bytes(length)
      const before = payload.slice()
      const bytes = FrameEncoder.encode({ opcode: 2, fin: true, payload }, key)
      assert.deepStrictEqual(payload, before)
      const encoded = packed(bytes)
      payload.fill(0)
      assert.strictEqual(packed(bytes), encoded)
      assert.strictEqual(encoded, packed(frame({ opcode: 2, payload: before }, key)))
    },
    { arbitrary: { runs: 500 } }
  )
})
