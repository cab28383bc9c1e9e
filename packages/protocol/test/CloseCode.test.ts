import * as CloseCode from "@effect-websocket/protocol/CloseCode"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { hex, toHex, utf8 } from "./fixtures/wire.ts"

/** RFC 6455 section 7.4 and the IANA registry: the first and last code of every range, and whether it may travel. */
const ranges: ReadonlyArray<readonly [first: number, last: number, mayTravel: boolean]> = [
  [0, 999, false],
  [1000, 1003, true],
  [1004, 1006, false],
  [1007, 1014, true],
  [1015, 2999, false],
  [3000, 4999, true],
  [5000, 65535, false]
]

const ruleOf = (payload: Uint8Array): string | undefined => {
  const decoded = CloseCode.decodePayload(payload)
  return Result.isFailure(decoded) ? decoded.failure.rule : undefined
}

const payloadOf = (code: number, reason: Uint8Array = new Uint8Array(0)): Uint8Array =>
  Uint8Array.of(code >>> 8, code & 0xff, ...reason)

describe("CloseCode", () => {
  describe("RFC 6455 section 7.4", () => {
    it.each(ranges)("from %i to %i a code may travel: %s", (first, last, mayTravel) => {
      for (let code = first; code <= last; code++) {
        const problem = CloseCode.problemOf({ code, reason: "" })
        if (CloseCode.isSendable(code) !== mayTravel) assert.fail(`isSendable(${code})`)
        if (problem !== (mayTravel ? undefined : `close code ${code} may not be sent`)) assert.fail(`${problem}`)
        if (ruleOf(payloadOf(code)) !== (mayTravel ? undefined : "InvalidCloseCode")) assert.fail(`decoding ${code}`)
      }
    })

    it("lists every code from 0 to 65535 once", () => {
      assert.strictEqual(ranges.reduce((next, [first, last]) => first === next ? last + 1 : -1, 0), 65536)
    })

    it("names only codes that may travel, and the two that never do apart", () => {
      for (const code of Object.values(CloseCode.CloseCode)) assert.isTrue(CloseCode.isSendable(code))
      assert.isFalse(CloseCode.isSendable(CloseCode.noStatus))
      assert.isFalse(CloseCode.isSendable(CloseCode.abnormal))
    })

    it.each([1000.5, 1007.1, 3000.5, Number.NaN, Number.POSITIVE_INFINITY, -1000, 65536 + 1000])(
      "%d is no code",
      (code) => assert.isDefined(CloseCode.problemOf({ code, reason: "" }))
    )
  })

  describe("RFC 6455 section 5.5.1", () => {
    it.each([
      ["", { code: undefined, reason: "" }],
      ["03 e8", { code: 1000, reason: "" }],
      ["03 e9 62 79 65", { code: 1001, reason: "bye" }],
      ["0f a0 ef bb bf 61", { code: 4000, reason: "\ufeffa" }],
      ["0b b8 e2 82 ac 00", { code: 3000, reason: "€\u0000" }]
    ])("'%s' is what %o says", (text, frame) => {
      assert.deepStrictEqual(CloseCode.decodePayload(hex(text)), Result.succeed(frame))
      assert.strictEqual(toHex(CloseCode.encodePayload(frame)), text)
      assert.isUndefined(CloseCode.problemOf(frame))
    })

    it("refuses every payload of one byte", () => {
      for (let byte = 0; byte < 256; byte++) assert.strictEqual(ruleOf(Uint8Array.of(byte)), "InvalidClosePayload")
    })

    it("checks the code before the reason", () => {
      assert.strictEqual(ruleOf(payloadOf(1005, hex("ff"))), "InvalidCloseCode")
    })

    it.each(["ff", "c0 80", "ed a0 80", "e2 82", "61 f4 90 80 80", "15 0f d7 73 43"])(
      "refuses the reason %s, which is not UTF-8",
      (reason) => assert.strictEqual(ruleOf(payloadOf(1000, hex(reason))), "InvalidCloseReason")
    )

    it("keeps nothing of the payload", () => {
      const payload = payloadOf(1000, utf8("bye"))
      const decoded = CloseCode.decodePayload(payload)
      payload.fill(0)
      assert.deepStrictEqual(decoded, Result.succeed({ code: 1000, reason: "bye" }))
    })
  })

  describe("problemOf", () => {
    const tooLong = "the close reason is longer than 123 bytes of UTF-8"
    const surrogate = "the close reason has a lone surrogate"

    it.each<readonly [code: number | undefined, reason: string, problem: string | undefined]>([
      [undefined, "", undefined],
      [undefined, "why", "a close reason needs a close code"],
      [1005, "", "close code 1005 may not be sent"],
      [1000, "x".repeat(123), undefined],
      [1000, "x".repeat(124), tooLong],
      [1000, "€".repeat(41), undefined],
      [1000, "€".repeat(41) + "x", tooLong],
      [1000, "😀".repeat(30) + "xyz", undefined],
      [1000, "😀".repeat(31), tooLong],
      [1000, "\ud83d", surrogate],
      [1000, "\ude00\ud83d", surrogate],
      [1000, "ok \udfff", surrogate]
    ])("of code %s with reason %j is %s", (code, reason, problem) => {
      assert.strictEqual(CloseCode.problemOf({ code, reason }), problem)
    })
  })

  const Code = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65535 }))

  it.prop("a frame without a problem survives the wire", { code: Code, reason: Schema.String }, ({ code, reason }) => {
    for (const frame of [{ code, reason }, { code: 3000 + (code % 2000), reason }, { code: undefined, reason: "" }]) {
      if (CloseCode.problemOf(frame) !== undefined) continue
      const payload = CloseCode.encodePayload(frame)
      assert.isAtMost(payload.length, 125)
      assert.deepStrictEqual(CloseCode.decodePayload(payload), Result.succeed(frame))
    }
  }, { arbitrary: { runs: 500 } })
})
