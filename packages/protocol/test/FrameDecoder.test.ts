import type * as Frame from "@effect-websocket/protocol/Frame"
import { FrameDecoder, type Piece } from "@effect-websocket/protocol/FrameDecoder"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cutAt, everyByte, inThree, inTwo } from "./fixtures/cuts.ts"
import * as Goldens from "./fixtures/goldens.ts"
import { allocatedBy, collect } from "./fixtures/memory.ts"
import * as Session from "./fixtures/session.ts"
import { expectedRule } from "./fixtures/startRules.ts"
import { concat, frame, helloKey, hex, packed, roles, toHex, toRole, utf8, type Wire } from "./fixtures/wire.ts"

const piecesOf = (decoder: FrameDecoder, chunks: Iterable<Uint8Array>): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  for (const chunk of chunks) {
    decoder.push(chunk.slice())
    for (let piece = decoder.next(); piece !== undefined; piece = decoder.next()) pieces.push(piece)
  }
  return pieces
}

const headOf = (piece: Piece): string =>
  `${piece.fin ? "fin " : ""}rsv ${piece.rsv} opcode ${piece.opcode} length ${piece.length}:`

/** A line a frame, pieces joined; a frame without its end has dots. */
const framesOf = (pieces: ReadonlyArray<Piece>): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const piece of pieces) {
    const start = piece.first ? headOf(piece) : lines.pop()!.replace(/\.\.\.$/, "")
    lines.push(`${start}${packed(piece.payload)}${piece.last ? "" : "..."}`)
  }
  return lines
}

const lineOf = (wire: Wire): string => {
  const payload = typeof wire.payload === "string" ? utf8(wire.payload) : wire.payload ?? new Uint8Array(0)
  const head = `${wire.fin === false ? "" : "fin "}rsv ${wire.rsv ?? 0} opcode ${wire.opcode}`
  return `${head} length ${payload.length}:${packed(payload)}`
}

const decode = (role: Frame.Role, chunks: Iterable<Uint8Array>, ownedBits = 0): ReadonlyArray<string> => {
  const decoder = new FrameDecoder({ role, ownedBits })
  const frames = framesOf(piecesOf(decoder, chunks))
  return decoder.violation === undefined ? frames : [...frames, decoder.violation.rule]
}

const goldens = { client: Goldens.fromServer, server: Goldens.fromClient }

describe("FrameDecoder", () => {
  describe.each(roles)("a %s that receives the session", (role) => {
    const session = hex(goldens[role].join(""))
    const expected = Session.frames.map(lineOf)

    it("decodes each golden alone", () => {
      goldens[role].forEach((golden, i) => assert.deepStrictEqual(decode(role, [hex(golden)]), [expected[i]]))
    })

    it("decodes the same frames cut in two at every byte", () => {
      for (const chunks of inTwo(session)) assert.deepStrictEqual(decode(role, chunks), expected)
    })

    it("decodes the same frames byte by byte", () => {
      assert.deepStrictEqual(decode(role, everyByte(session)), expected)
    })

    it("decodes the same frames in chunks of every size", () => {
      for (let size = 2; size < 200; size++) {
        const cuts = Array.from({ length: Math.floor(session.length / size) }, (_, i) => (i + 1) * size)
        assert.deepStrictEqual(decode(role, cutAt(session, cuts)), expected)
      }
    })

    it("decodes whole frames and the start of the next from every prefix", () => {
      for (let end = 0; end <= session.length; end++) {
        const frames = decode(role, [session.subarray(0, end)])
        const whole = frames.filter((line) => !line.endsWith("..."))
        assert.deepStrictEqual(whole, expected.slice(0, whole.length))
        if (whole.length < frames.length) assert.isTrue(expected[whole.length]!.startsWith(frames.at(-1)!.slice(0, -3)))
      }
    })

    it("decodes the same short frames cut in three at every pair of bytes", () => {
      const short = concat(...Session.shortFrames.map((wire) => toRole(role, wire)))
      const lines = Session.shortFrames.map(lineOf)
      for (const chunks of inThree(short)) assert.deepStrictEqual(decode(role, chunks), lines)
    })

    it("decodes the lengths at which the header changes, cut around every header", () => {
      const wires = Session.longFrames.map((wire) => toRole(role, wire))
      const long = concat(...wires)
      const lines = Session.longFrames.map(lineOf)
      let start = 0
      for (const wire of wires) {
        for (let cut = start; cut < start + 16; cut += 3) {
          assert.deepStrictEqual(decode(role, cutAt(long, [cut, cut + 1])), lines)
        }
        start += wire.length
      }
    })
  })

  describe.each(roles)("all 65536 beginnings of a header that a %s receives", (role) => {
    const ruleAfter = (chunks: ReadonlyArray<Uint8Array>): string | undefined => {
      const decoder = new FrameDecoder({ role })
      for (const chunk of chunks) {
        decoder.push(chunk)
        decoder.next()
      }
      return decoder.violation?.rule
    }

    it("are judged as the oracle says before another byte arrives, whole or cut", () => {
      for (let first = 0; first < 256; first++) {
        for (let second = 0; second < 256; second++) {
          const expected = expectedRule(first, second, role)
          const whole = ruleAfter([Uint8Array.of(first, second)])
          const cut = ruleAfter([Uint8Array.of(first), Uint8Array.of(second)])
          const more = ruleAfter([Uint8Array.of(first, second, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)])
          if (whole === expected && cut === expected && (expected === undefined || more === expected)) continue
          assert.fail(`${toHex(Uint8Array.of(first, second))} breaks ${whole}, cut ${cut}, with more ${more}`)
        }
      }
    })
  })

  describe("RFC 6455 section 5.2", () => {
    it.each<readonly [string, Wire, string]>([
      ["7 bits", { opcode: 2, payload: "x".repeat(125) }, "fin"],
      ["16 bits for 125", { opcode: 2, payload: "x".repeat(125), form: 16 }, "NonMinimalLength"],
      ["16 bits for 126", { opcode: 2, payload: "x".repeat(126), form: 16 }, "fin"],
      ["16 bits for 0", { opcode: 2, form: 16 }, "NonMinimalLength"],
      ["64 bits for 0", { opcode: 2, form: 64 }, "NonMinimalLength"],
      ["64 bits for 65535", { opcode: 2, payload: "x".repeat(65535), form: 64 }, "NonMinimalLength"],
      ["64 bits for 65536", { opcode: 2, payload: "x".repeat(65536), form: 64 }, "fin"],
      ["the top bit", { opcode: 2, length: 2n ** 63n }, "InvalidLength"],
      ["all bits", { opcode: 2, length: 2n ** 64n - 1n }, "InvalidLength"],
      ["all but the top bit", { opcode: 2, length: 2n ** 63n - 1n }, "fin"]
    ])("takes a length in its shortest form only: %s", (_, wire, expected) => {
      for (const role of roles) {
        const bytes = toRole(role, wire)
        assert.deepStrictEqual(decode(role, [bytes])[0]!.split(" ")[0], expected)
        assert.deepStrictEqual(decode(role, cutAt(bytes, [1, 2, 3, 7, 9]))[0]!.split(" ")[0], expected)
      }
    })

    it("lets extensions own reserved bits on the first frame of a message", () => {
      const wires: ReadonlyArray<Wire> = [
        { opcode: 1, rsv: 0x40, fin: false, payload: "a" },
        { opcode: 0, payload: "b" },
        { opcode: 2, rsv: 0x70, payload: "c" }
      ]
      const bytes = wires.map((wire) => toRole("client", wire))
      assert.deepStrictEqual(decode("client", bytes, 0x70), wires.map(lineOf))
      assert.deepStrictEqual(decode("client", bytes, 0x40), [lineOf(wires[0]!), lineOf(wires[1]!), "ReservedBits"])
      assert.deepStrictEqual(decode("client", bytes), ["ReservedBits"])
    })
  })

  describe("early", () => {
    it("gives a data frame's first piece with its header, before any payload", () => {
      for (const role of roles) {
        const header = toRole(role, { opcode: 2, length: 70_000n })
        const decoder = new FrameDecoder({ role })
        assert.lengthOf(piecesOf(decoder, [header.subarray(0, -1)]), 0)
        const [piece] = piecesOf(decoder, [header.subarray(-1)])
        assert.include(piece, { first: true, last: false, length: 70_000 })
        assert.lengthOf(piece!.payload, 0)
      }
    })

    it("gives a control frame only when it is whole, once", () => {
      for (const role of roles) {
        const bytes = toRole(role, { opcode: 9, payload: "x".repeat(125) })
        const decoder = new FrameDecoder({ role })
        assert.lengthOf(piecesOf(decoder, everyByte(bytes.subarray(0, -1))), 0)
        const pieces = piecesOf(decoder, [bytes.subarray(-1)])
        assert.lengthOf(pieces, 1)
        assert.include(pieces[0], { first: true, last: true, length: 125 })
      }
    })

    it("gives no piece without payload in the middle of a frame", () => {
      const decoder = new FrameDecoder({ role: "client" })
      assert.lengthOf(piecesOf(decoder, [hex("82 03 01")]), 1)
      assert.lengthOf(piecesOf(decoder, [hex(""), hex("")]), 0)
      assert.lengthOf(piecesOf(decoder, [hex("02"), hex("03")]), 2)
    })
  })

  describe("after a violation", () => {
    it("gives the frames before it and nothing else, whatever follows", () => {
      const decoder = new FrameDecoder({ role: "client" })
      assert.lengthOf(piecesOf(decoder, [hex("81 01 61 83 00 81 01 62")]), 1)
      const { violation } = decoder
      assert.strictEqual(violation?.rule, "ReservedOpcode")
      assert.lengthOf(piecesOf(decoder, [hex("81 01 62"), hex("ff ff")]), 0)
      assert.strictEqual(decoder.violation, violation)
    })
  })

  describe("memory", () => {
    it("allocates nothing by a declared length", () => {
      for (const length of [2n ** 31n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 62n]) {
        for (const role of roles) {
          const header = toRole(role, { opcode: 2, length })
          assert.isBelow(allocatedBy(() => void piecesOf(new FrameDecoder({ role }), everyByte(header))), 1 << 16)
        }
      }
    })

    it("gives data as views into the chunk, and control payloads as copies", () => {
      for (const role of roles) {
        const chunk = concat(toRole(role, { opcode: 2, payload: "data" }), toRole(role, { opcode: 9, payload: "ping" }))
        const decoder = new FrameDecoder({ role })
        decoder.push(chunk)
        const [data, ping] = [decoder.next()!, decoder.next()!]
        assert.strictEqual(data.payload.buffer, chunk.buffer)
        assert.notStrictEqual(ping.payload.buffer, chunk.buffer)
        assert.strictEqual(toHex(ping.payload), toHex(utf8("ping")))
      }
    })

    it("gives plain arrays and copies control payloads of a Node Buffer too, whose slice does not copy", () => {
      const chunk = Buffer.from(concat(frame({ opcode: 2, payload: "d" }), frame({ opcode: 9, payload: "ping" })))
      const decoder = new FrameDecoder({ role: "client" })
      decoder.push(chunk)
      const [data, ping] = [decoder.next()!, decoder.next()!]
      assert.strictEqual(data.payload.constructor, Uint8Array)
      assert.strictEqual(ping.payload.constructor, Uint8Array)
      chunk.fill(0)
      assert.strictEqual(toHex(data.payload), "00")
      assert.strictEqual(toHex(ping.payload), toHex(utf8("ping")))
    })

    it("unmasks a chunk that is a view without touching the bytes around it", () => {
      const wire = frame({ opcode: 2, payload: "x".repeat(200) }, helloKey)
      const around = concat(new Uint8Array(5).fill(0xee), wire, new Uint8Array(5).fill(0xee))
      const decoder = new FrameDecoder({ role: "server" })
      decoder.push(around.subarray(5, -5))
      assert.strictEqual(decoder.next()!.payload.length, 200)
      assert.strictEqual(toHex(around.subarray(0, 5)) + toHex(around.subarray(-5)), "ee ee ee ee eeee ee ee ee ee")
    })

    it.effect("keeps no chunk alive between chunks", () =>
      Effect.gen(function*() {
        const ends = ["", "81", "82 7f 00 00", "82 05 01", "82 01 01", "89 05 01", "83 00"]
        const decoders = ends.map(() => new FrameDecoder({ role: "client" }))
        const chunks = ends.map((end, i) => {
          const chunk = concat(frame({ opcode: 2, payload: new Uint8Array(1 << 16) }), hex(end))
          const reference = new WeakRef(chunk.buffer)
          decoders[i]!.push(chunk)
          while (decoders[i]!.next() !== undefined);
          return reference
        })
        yield* Effect.yieldNow
        yield* Effect.yieldNow
        collect()
        assert.deepStrictEqual(chunks.map((chunk) => chunk.deref()?.byteLength), ends.map(() => undefined))
        assert.lengthOf(decoders, ends.length)
      }))
  })
})
