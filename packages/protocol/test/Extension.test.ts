import * as Extension from "@effect-websocket/protocol/Extension"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { vi } from "vitest"

const ruleOf = (values: ReadonlyArray<string>) => {
  const result = Extension.parse(values)
  return Result.isFailure(result) ? result.failure.rule : "none"
}

const deflate = "permessage-deflate"
const one = (...params: Extension.Extension["params"]) => [{ name: "x", params }]

describe("RFC 6455 section 9.1", () => {
  it.each<[string, ReadonlyArray<Extension.Extension>]>([
    ["x", one()],
    ["x;y", one(["y", undefined])],
    ["x; y=z", one(["y", "z"])],
    ["x; y=\"z\"", one(["y", "z"])],
    ["x; y=\"z\\-\\9\"", one(["y", "z-9"])],
    ["x ;\ty = z ; y", one(["y", "z"], ["y", undefined])],
    ["\t x\t;\t y \t=\t\"z\"\t ", one(["y", "z"])],
    ["x; __proto__=1; constructor", one(["__proto__", "1"], ["constructor", undefined])],
    ["X; Y=Z", [{ name: "X", params: [["Y", "Z"]] }]],
    ["x, x;y", [...one(), ...one(["y", undefined])]],
    [",, x ,\t, x,", [...one(), ...one()]],
    ["foo; bar; baz=2, foo; bar, foo", [
      { name: "foo", params: [["bar", undefined], ["baz", "2"]] },
      { name: "foo", params: [["bar", undefined]] },
      { name: "foo", params: [] }
    ]],
    [`${deflate}; client_max_window_bits; server_max_window_bits=10`, [
      { name: deflate, params: [["client_max_window_bits", undefined], ["server_max_window_bits", "10"]] }
    ]]
  ])("parses %j", (text, extensions) => {
    assert.deepStrictEqual(Extension.parse([text]), Result.succeed(extensions))
  })

  it("joins all lines in their order", () => {
    assert.deepStrictEqual(
      Extension.parse(["a", "", "b; c, d"]),
      Result.succeed([
        { name: "a", params: [] },
        { name: "b", params: [["c", undefined]] },
        { name: "d", params: [] }
      ])
    )
  })

  it("finds no extensions where there is no line", () => {
    assert.deepStrictEqual(Extension.parse([]), Result.succeed([]))
  })

  it.each([
    "",
    " ",
    ",",
    " , ,",
    ";",
    "=",
    "\"",
    "x;",
    "x; ",
    "x;;y",
    "x; ,",
    "x; =y",
    "x; y=",
    "x; y= ",
    "x; y=;z",
    "x; y=,",
    "x; y==z",
    "x; y=z=z",
    "x y",
    "x; y z",
    "x; y=z z",
    "x=y",
    "\"x\"",
    "x; \"y\"",
    "x; y=\"\"",
    "x; y=\"z",
    "x; y=\"",
    "x; y=\"z\\\"",
    "x; y=\"z\\",
    "x; y=\"z z\"",
    "x; y=\"z,z\"",
    "x; y=\"\\\"\"",
    "x; y=\"\\\\\"",
    "x; y=\"z\"z",
    "x; y=z\"z\"",
    "x; y=\"a\"\"b\"",
    "x; y='z z'",
    "x, y=z",
    "x/y",
    "x; y=(z)",
    "\xe9",
    "x; y=\xe9",
    "x; y=\"\xe9\"",
    "x\0",
    "x\r\ny",
    "x\xa0",
    "x;\vy",
    "x; y=\u0131"
  ])("refuses %j", (text) => {
    assert.strictEqual(ruleOf([text]), "InvalidExtensions")
  })

  it("refuses all lines for one that is malformed", () => {
    assert.strictEqual(ruleOf(["x", "y;"]), "InvalidExtensions")
    assert.strictEqual(ruleOf(["y;", "x"]), "InvalidExtensions")
  })

  it("does not join an extension over two lines", () => {
    assert.strictEqual(ruleOf(["x; y=\"z", "z\""]), "InvalidExtensions")
    assert.strictEqual(ruleOf(["x", "; y"]), "InvalidExtensions")
  })
})

describe("Work", () => {
  /** Counts how often a character was looked at. */
  const looks = (text: string): number => {
    const { charCodeAt } = String.prototype
    let count = 0
    const spy = vi.spyOn(String.prototype, "charCodeAt").mockImplementation(function(this: string, index) {
      count++
      return charCodeAt.call(this, index)
    })
    try {
      Extension.parse([text])
      return count
    } finally {
      spy.mockRestore()
    }
  }

  it.each([
    ["blanks behind a name", (n: number) => `x${" ".repeat(n)}y`],
    ["blanks in front", (n: number) => `${" ".repeat(n)}x`],
    ["blanks and semicolons", (n: number) => `x${" ;".repeat(n)}`],
    ["commas", (n: number) => `${", ".repeat(n)}x`],
    ["quotes", (n: number) => `x; y=${"\"".repeat(n)}`],
    ["an open quoted string", (n: number) => `x; y="${"z".repeat(n)}`],
    ["backslashes", (n: number) => `x; y="${"\\".repeat(n)}"`],
    ["escapes", (n: number) => `x; y="${"\\z".repeat(n)}"`],
    ["open quoted strings", (n: number) => "x; y=\"z".repeat(n)],
    ["parameters", (n: number) => `x${"; y = \"z\" ".repeat(n)}`],
    ["extensions", (n: number) => "x ,\t".repeat(n)]
  ])("looks at a character at most five times: %s", (_, make) => {
    for (const n of [500, 1000, 2000, 4000]) {
      const text = make(n)
      assert.isAtMost(looks(text), 5 * text.length)
    }
    assert.isAbove(looks("x"), 0)
  })
})

describe("RFC 6455 section 4.3", () => {
  it.each<[ReadonlyArray<string>, ReadonlyArray<string>]>([
    [[], []],
    [["chat"], ["chat"]],
    [["chat, superchat"], ["chat", "superchat"]],
    [["a,b\t,\tc", "d"], ["a", "b", "c", "d"]],
    [[",a,, ,b,"], ["a", "b"]],
    [["", "a"], ["a"]],
    [["chat, Chat, CHAT"], ["chat", "Chat", "CHAT"]],
    [["__proto__, constructor"], ["__proto__", "constructor"]]
  ])("parses the tokens of %j", (values, tokens) => {
    assert.deepStrictEqual(Extension.parseTokens(values), Result.succeed(tokens))
  })

  it.each([
    [[""]],
    [[" , ,"]],
    [["a b"]],
    [["a/b"]],
    [["\"a\""]],
    [["a;b"]],
    [["\xe9"]],
    [["\xa0a"]],
    [["a\0"]],
    [["a, b, a"]],
    [["a", "a"]]
  ])("refuses %j", (values) => {
    const result = Extension.parseTokens(values)
    assert(Result.isFailure(result))
    assert.strictEqual(result.failure.rule, "InvalidSubprotocol")
  })
})

describe("Formatting", () => {
  it("writes extensions byte for byte", () => {
    const extensions: ReadonlyArray<Extension.Extension> = [
      { name: deflate, params: [["client_max_window_bits", undefined], ["server_max_window_bits", "10"]] },
      { name: "x", params: [] }
    ]
    assert.strictEqual(
      Extension.format(extensions),
      "permessage-deflate; client_max_window_bits; server_max_window_bits=10, x"
    )
    assert.strictEqual(Extension.format([]), "")
  })

  it.each(["", "a b", "a\r\nX: y", "a;b", "a,b", "a=b", "\"a\"", "\xe9", "a\0"])("finds %j not writable", (text) => {
    assert.isFalse(Extension.isWritable({ name: text, params: [] }))
    assert.isFalse(Extension.isWritable({ name: "x", params: [["y", "z"], [text, undefined]] }))
    assert.isFalse(Extension.isWritable({ name: "x", params: [["y", text]] }))
    assert.isTrue(Extension.isWritable({ name: "x", params: [["y", undefined], ["y", "z"]] }))
  })
})

describe("Laws", () => {
  const Token = Schema.String.check(Schema.isPattern(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,6}$/))
  const Param = Schema.Tuple([Token, Schema.UndefinedOr(Token)])
  const Extensions = Schema.Array(Schema.Struct({ name: Token, params: Schema.Array(Param) }))
  const Piece = Schema.Literals(["x", "yz", ";", "=", ",", " ", "\t", "\"", "\\", "\xe9", "\"z\"", "; y=", "; y=\""])

  it.prop("what is formatted parses as itself", { extensions: Extensions }, ({ extensions }) => {
    const values = extensions.length === 0 ? [] : [Extension.format(extensions)]
    assert.deepStrictEqual(Extension.parse(values), Result.succeed(extensions))
  }, { arbitrary: { runs: 300 } })

  it.prop("what parses formats to something that parses the same", { pieces: Schema.Array(Piece) }, ({ pieces }) => {
    const result = Extension.parse([pieces.join("")])
    if (Result.isFailure(result)) return assert.strictEqual(result.failure.rule, "InvalidExtensions")
    assert(result.success.every(Extension.isWritable))
    assert.deepStrictEqual(Extension.parse([Extension.format(result.success)]), result)
  }, { arbitrary: { runs: 1000 } })

  it.prop("any text gives a result and never throws", { values: Schema.Array(Schema.String) }, ({ values }) => {
    assert(Result.isResult(Extension.parse(values)))
    assert(Result.isResult(Extension.parseTokens(values)))
  }, { arbitrary: { runs: 500 } })
})
