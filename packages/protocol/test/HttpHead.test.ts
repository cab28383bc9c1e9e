import type { HandshakeError, Limit, Rule } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { vi } from "vitest"

const generous: HttpHead.Limits = { maxHeadSize: 16_384, maxHeaderLines: 100, maxHeaderLineSize: 8192 }

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
const textOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")

type Outcome<Head> = Result.Result<HttpHead.Parsed<Head>, HandshakeError> | undefined

/** Pushes chunks until there is an outcome; the chunks that were not needed then count as rest too. */
const feed = <K extends keyof HttpHead.Heads>(
  kind: K,
  chunks: ReadonlyArray<Uint8Array>,
  limits: HttpHead.Limits = generous
) => {
  const parser = HttpHead.makeParser(kind, limits)
  let outcome: Outcome<HttpHead.Heads[K]>
  let unread = ""
  for (const chunk of chunks) {
    if (outcome === undefined) outcome = parser.push(chunk)
    else unread += textOf(chunk)
  }
  return show(outcome, unread)
}

const show = <Head>(outcome: Outcome<Head>, unread = "") => {
  if (outcome === undefined) return undefined
  return Result.isSuccess(outcome)
    ? { head: outcome.success.head, rest: textOf(outcome.success.rest) + unread }
    : { rule: outcome.failure.rule, limit: outcome.failure.limit, status: outcome.failure.status }
}

const headOf = (shown: ReturnType<typeof show>) => shown !== undefined && "head" in shown ? shown.head : undefined

const parse = <K extends keyof HttpHead.Heads>(kind: K, text: string, limits = generous) =>
  feed(kind, [latin1(text)], limits)

const bytewise = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => Array.from(bytes, (byte) => Uint8Array.of(byte))

const failure = (rule: Rule, status: number, limit?: Limit) => ({ rule, limit, status })

const request =
  "GET /chat?x=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade:websocket\r\nX-Empty:\r\nX-Text: \t caf\xe9 \t\r\n\r\n"
const requestHead: HttpHead.RequestHead = {
  method: "GET",
  target: "/chat?x=1",
  version: "HTTP/1.1",
  headers: [["Host", "example.com"], ["Upgrade", "websocket"], ["X-Empty", ""], ["X-Text", "caf\xe9"]]
}
const response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n"
const responseHead: HttpHead.ResponseHead = {
  version: "HTTP/1.1",
  status: 101,
  reason: "Switching Protocols",
  headers: [["Upgrade", "websocket"], ["set-cookie", "a"], ["set-cookie", "b"]]
}

/** Every way to cut these gives the same outcome as one piece. */
const corpus: ReadonlyArray<readonly [keyof HttpHead.Heads, string]> = [
  ["request", request],
  ["request", `\r\n${request}`],
  ["request", `${request}\x81\x85\r\nGET / HTTP/1.1\r\n\r\n`],
  ["request", "GET / HTTP/1.1\r\n\r\n"],
  ["request", "GET / HTTP/1.0\r\n\r\n"],
  ["request", "GET / HTTP/1.1\nHost: h\r\n\r\n"],
  ["request", "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n"],
  ["request", "\r\n\r\nGET / HTTP/1.1\r\n\r\n"],
  ["request", `GET / HTTP/1.1\r\nX: ${"y".repeat(80)}\r\n\r\n`],
  ["response", response],
  ["response", `${response}\x81\x02hi`],
  ["response", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"]
]

describe("RFC 9112 section 2.1", () => {
  it("parses a request", () => {
    assert.deepStrictEqual(parse("request", request), { head: requestHead, rest: "" })
  })

  it("parses a response", () => {
    assert.deepStrictEqual(parse("response", response), { head: responseHead, rest: "" })
  })

  it("parses a head without headers", () => {
    assert.deepStrictEqual(parse("request", "GET / HTTP/1.1\r\n\r\n"), {
      head: { method: "GET", target: "/", version: "HTTP/1.1", headers: [] },
      rest: ""
    })
  })

  it("gives the bytes behind the head as a view into the last chunk", () => {
    const chunk = latin1(`${request}\x81\x00rest`)
    const outcome = HttpHead.makeParser("request", generous).push(chunk)
    assert(outcome !== undefined && Result.isSuccess(outcome))
    assert.strictEqual(outcome.success.rest.buffer, chunk.buffer)
    assert.strictEqual(textOf(outcome.success.rest), "\x81\x00rest")
  })

  it("keeps no part of a chunk that was used up", () => {
    const parser = HttpHead.makeParser("request", generous)
    const chunk = latin1(request.slice(0, 40))
    assert.isUndefined(parser.push(chunk))
    chunk.fill(0)
    assert.deepStrictEqual(show(parser.push(latin1(request.slice(40)))), { head: requestHead, rest: "" })
  })

  it("gives the same outcome again once there is one", () => {
    for (const text of [request, "nonsense\r\n"]) {
      const parser = HttpHead.makeParser("request", generous)
      const outcome = parser.push(latin1(text))
      assert.isDefined(outcome)
      assert.strictEqual(parser.push(latin1(request)), outcome)
    }
  })

  it("reads no further than the failure", () => {
    assert.deepStrictEqual(parse("request", `bad\r\n${request}`), failure("MalformedStartLine", 400))
  })
})

describe("Chunks", () => {
  it.each(corpus)("needs more at every prefix that has no outcome: %s %j", (kind, text) => {
    const whole = feed(kind, [latin1(text)])
    const consumed = text.length - (whole !== undefined && "rest" in whole ? whole.rest.length : 0)
    let before: unknown
    for (let n = 0; n <= text.length; n++) {
      const outcome = parse(kind, text.slice(0, n))
      if (outcome !== undefined && "head" in outcome) {
        assert(n >= consumed)
        const { head } = outcome
        assert.deepStrictEqual({ head, rest: outcome.rest }, { head: headOf(whole), rest: text.slice(consumed, n) })
      } else if (outcome === undefined) assert.isUndefined(before, "an outcome is final")
      else assert.deepStrictEqual(outcome, whole)
      before = outcome
    }
  })

  it.each(corpus)("gives the same at every split: %s %j", (kind, text) => {
    const bytes = latin1(text)
    const whole = feed(kind, [bytes])
    for (let n = 0; n <= bytes.length; n++) {
      assert.deepStrictEqual(feed(kind, [bytes.subarray(0, n), bytes.subarray(n)]), whole)
    }
  })

  it.each(corpus)("gives the same byte by byte: %s %j", (kind, text) => {
    const bytes = latin1(text)
    assert.deepStrictEqual(feed(kind, bytewise(bytes)), feed(kind, [bytes]))
  })

  it.each(corpus)("gives the same at every split under every tight limit: %s %j", (kind, text) => {
    const bytes = latin1(text)
    for (let limit = 0; limit <= bytes.length; limit += 7) {
      for (
        const limits of [
          { ...generous, maxHeadSize: limit },
          { ...generous, maxHeaderLineSize: limit },
          { maxHeadSize: limit, maxHeaderLineSize: limit, maxHeaderLines: limit % 3 }
        ]
      ) assert.deepStrictEqual(feed(kind, bytewise(bytes), limits), feed(kind, [bytes], limits))
    }
  })
})

describe("RFC 9112 section 2.2", () => {
  it("passes over one empty line before a request line", () => {
    assert.deepStrictEqual(parse("request", `\r\n${request}`), { head: requestHead, rest: "" })
  })

  it.each(["\r\n\r\n", "\n", "\r", "\r\r\n"])("passes over nothing else: %j", (before) => {
    assert.deepStrictEqual(parse("request", before + request), failure("MalformedStartLine", 400))
  })

  it("passes over nothing before a status line", () => {
    assert.deepStrictEqual(parse("response", `\r\n${response}`), failure("MalformedStartLine", 400))
  })

  it.each([
    "GET / HTTP/1.1\n",
    "GET / HTTP/1.1\r\r\n",
    "GET /\r HTTP/1.1\r\n",
    "\n"
  ])("refuses a start line that ends with anything but CRLF: %j", (text) => {
    assert.deepStrictEqual(parse("request", `${text}Host: h\r\n\r\n`), failure("MalformedStartLine", 400))
  })

  it.each([
    "Host: h\n\r\n",
    "Host: h\r\r\n\r\n",
    "Host: h\rX: y\r\n\r\n",
    "Host: h\r\n\n",
    "Host: h\r\n\r\r\n",
    "Host: h\nX: y\r\n\r\n"
  ])("refuses a header line that ends with anything but CRLF: %j", (text) => {
    assert.deepStrictEqual(parse("request", `GET / HTTP/1.1\r\n${text}`), failure("MalformedHeader", 400))
  })
})

describe("RFC 9112 section 3", () => {
  it.each([
    "",
    " ",
    "GET",
    "GET /",
    "GET / ",
    "GET HTTP/1.1",
    " GET / HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET\t/\tHTTP/1.1",
    "GET / x HTTP/1.1",
    "GET / http/1.1",
    "GET / HTTP/1",
    "GET / HTTP/11",
    "GET / HTTP/1.10",
    "GET / HTTP/x.1",
    "GET / HTTPS/1.1",
    "GET /\x00 HTTP/1.1",
    "GET /\x7f HTTP/1.1",
    "GET /\xe9 HTTP/1.1",
    "G(T / HTTP/1.1",
    "G\xc9T / HTTP/1.1",
    "GET: / HTTP/1.1",
    "\x16\x03\x01\x02",
    "HTTP/1.1 200 OK"
  ])("refuses a request line: %j", (line) => {
    // two, since one empty line is passed over
    const text = line === "" ? "\r\n\r\n" : `${line}\r\n\r\n`
    assert.deepStrictEqual(parse("request", text), failure("MalformedStartLine", 400))
  })

  it.each(["HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9"])("knows %s as another version", (version) => {
    const refused = failure("UnsupportedHttpVersion", 505)
    assert.deepStrictEqual(parse("request", `GET / ${version}\r\n`), refused)
    assert.deepStrictEqual(parse("response", `${version} 101 Switching Protocols\r\n`), refused)
  })

  it("takes a refusal in HTTP/1.0, and no other answer in it", () => {
    const refusal = parse("response", "HTTP/1.0 401 Unauthorized\r\nRetry-After: 5\r\n\r\n")
    assert.deepNestedPropertyVal(refusal, "head.status", 401)
    assert.deepNestedPropertyVal(refusal, "head.version", "HTTP/1.0")
  })

  it.each(["*", "/", "/a?b#c", "http://h/", "h:80", "/%00"])("takes any printable target: %s", (target) => {
    assert.deepNestedPropertyVal(parse("request", `GET ${target} HTTP/1.1\r\n\r\n`), "head.target", target)
  })
})

describe("RFC 9112 section 4", () => {
  it.each([
    ["HTTP/1.1 200 OK", 200, "OK"],
    ["HTTP/1.1 200 ", 200, ""],
    ["HTTP/1.1 200", 200, ""],
    ["HTTP/1.1 100  two\tblanks ", 100, " two\tblanks "],
    ["HTTP/1.1 599 caf\xe9", 599, "caf\xe9"]
  ])("reads a status line: %j", (line, status, reason) => {
    const head = { version: "HTTP/1.1", status, reason, headers: [] }
    assert.deepStrictEqual(parse("response", `${line}\r\n\r\n`), { head, rest: "" })
  })

  it.each([
    "",
    "HTTP/1.1",
    "HTTP/1.1 ",
    "HTTP/1.1 20",
    "HTTP/1.1 2000",
    "HTTP/1.1 200OK",
    "HTTP/1.1 200\tOK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 099 Low",
    "HTTP/1.1 600 High",
    "HTTP/1.1 -10 Low",
    "HTTP/1.1 1e2 Odd",
    "HTTP/1.1 2\xb20 Odd",
    "HTTP/1.1 200 O\x00K",
    "HTTP/1.1 200 O\x7fK",
    "HTTP/2 200",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "GET / HTTP/1.1"
  ])("refuses a status line: %j", (line) => {
    assert.deepStrictEqual(parse("response", `${line}\r\n\r\n`), failure("MalformedStartLine", 400))
  })
})

describe("RFC 9112 section 5", () => {
  it.each([
    " folded",
    "\tfolded",
    "Host : h",
    "Host\t: h",
    " Host: h",
    ": h",
    ":",
    "Host",
    "Ho st: h",
    "H\xf6st: h",
    "Ho\x00st: h",
    "Host(: h",
    "\"Host\": h",
    "Host: a\x00b",
    "Host: a\x01b",
    "Host: a\x0bb",
    "Host: a\x1fb",
    "Host: a\x7fb",
    "Host: \x00"
  ])("refuses a header line: %j", (line) => {
    const text = `GET / HTTP/1.1\r\nA: b\r\n${line}\r\n\r\n`
    assert.deepStrictEqual(parse("request", text), failure("MalformedHeader", 400))
  })

  it.each([
    ["A:b", "A", "b"],
    ["A: b", "A", "b"],
    ["A: \t b c \t ", "A", "b c"],
    ["A:", "A", ""],
    ["A: \t ", "A", ""],
    ["A: b:c: d", "A", "b:c: d"],
    ["A: \xa0\x80\xff\xa0", "A", "\xa0\x80\xff\xa0"],
    ["!#$%&'*+-.^_`|~09azAZ: b", "!#$%&'*+-.^_`|~09azAZ", "b"]
  ])("reads a header line: %j", (line, name, value) => {
    const head = { method: "GET", target: "/", version: "HTTP/1.1", headers: [[name, value] as const] }
    assert.deepStrictEqual(parse("request", `GET / HTTP/1.1\r\n${line}\r\n\r\n`), { head, rest: "" })
  })

  it("takes every byte of a value as it is and refuses the controls", () => {
    for (let byte = 0; byte < 256; byte++) {
      const outcome = parse("request", `GET / HTTP/1.1\r\nA: x${String.fromCharCode(byte)}x\r\n\r\n`)
      if (byte === 0x09 || (byte >= 0x20 && byte !== 0x7f)) {
        assert.deepNestedPropertyVal(outcome, "head.headers[0][1]", `x${String.fromCharCode(byte)}x`)
      } else assert.deepStrictEqual(outcome, failure("MalformedHeader", 400))
    }
  })

  it("reads a name such as __proto__ like any other", () => {
    const names = ["__proto__", "constructor", "hasOwnProperty", "toString", "__proto__"]
    const text = `GET / HTTP/1.1\r\n${names.map((name, i) => `${name}: ${i}\r\n`).join("")}\r\n`
    const outcome = HttpHead.makeParser("request", generous).push(latin1(text))
    assert(outcome !== undefined && Result.isSuccess(outcome))
    const { headers } = outcome.success.head
    assert.deepStrictEqual(headers, names.map((name, i) => [name, String(i)] as const))
    assert.deepStrictEqual(HttpHead.values(headers, "__proto__"), ["0", "4"])
    assert.deepStrictEqual(HttpHead.values(headers, "valueof"), [])
    assert.isUndefined(Result.getOrThrow(HttpHead.single(headers, "prototype", "InvalidHost")))
  })
})

describe("Limits", () => {
  const line = (size: number) => `X: ${"y".repeat(size - 5)}\r\n`
  const start = "GET / HTTP/1.1\r\n"
  const heads: ReadonlyArray<readonly [Limit, (n: number) => string]> = [
    ["maxHeadSize", (n) => `${start}${line(n - start.length - 2)}\r\n`],
    ["maxHeadSize", (n) => `\r\n${start}${line(n - start.length - 4)}\r\n`],
    ["maxHeadSize", (n) => `${start}${line(10).repeat(20)}${line(n - start.length - 202)}\r\n`],
    ["maxHeaderLineSize", (n) => `${start}${line(n)}\r\n`],
    ["maxHeaderLineSize", (n) => `${start}A: b\r\n${line(n)}\r\n`],
    ["maxHeaderLineSize", (n) => `GET /${"x".repeat(n - start.length)} HTTP/1.1\r\n\r\n`],
    ["maxHeaderLines", (n) => `${start}${line(6).repeat(n)}\r\n`],
    ["maxHeaderLines", (n) => `${start}${Array.from({ length: n }, (_, i) => `N${i}:\r\n`).join("")}\r\n`]
  ]
  const unlimited = { maxHeadSize: Infinity, maxHeaderLines: Infinity, maxHeaderLineSize: Infinity }

  it.each(heads)("%s holds at n and fails at n + 1 (%#)", (limit, makeHead) => {
    const n = 300
    const limits = { ...unlimited, [limit]: n }
    for (const cut of [(bytes: Uint8Array) => [bytes], bytewise]) {
      assert.property(feed("request", cut(latin1(makeHead(n - 1))), limits), "head")
      assert.property(feed("request", cut(latin1(makeHead(n))), limits), "head")
      assert.deepStrictEqual(
        feed("request", cut(latin1(makeHead(n + 1))), limits),
        failure("HeadTooLarge", 431, limit)
      )
    }
  })

  it.each(["maxHeadSize", "maxHeaderLineSize"] as const)("%s counts the head's own bytes only", (limit) => {
    const limits = { ...unlimited, [limit]: 18 }
    assert.deepStrictEqual(parse("request", `${start}\r\n${"more".repeat(99)}`, limits), {
      head: { method: "GET", target: "/", version: "HTTP/1.1", headers: [] },
      rest: "more".repeat(99)
    })
  })

  it.each(["maxHeadSize", "maxHeaderLineSize"] as const)("%s fails with the first byte beyond it", (limit) => {
    const parser = HttpHead.makeParser("request", { ...unlimited, [limit]: 100 })
    for (let i = 0; i < 100; i++) assert.isUndefined(parser.push(Uint8Array.of(0x78)))
    assert.deepStrictEqual(show(parser.push(Uint8Array.of(0x78))), failure("HeadTooLarge", 431, limit))
  })

  it("counts lines and not names", () => {
    const limits = { ...generous, maxHeaderLines: 2 }
    assert.property(parse("request", `${start}A:\r\nA:\r\n\r\n`, limits), "head")
    assert.deepStrictEqual(
      parse("request", `${start}A:\r\nA:\r\na:\r\n\r\n`, limits),
      failure("HeadTooLarge", 431, "maxHeaderLines")
    )
  })

  it("may be zero", () => {
    const none = { maxHeadSize: 0, maxHeaderLines: 0, maxHeaderLineSize: 0 }
    assert.isUndefined(parse("request", "", none))
    assert.deepStrictEqual(parse("request", "G", none), failure("HeadTooLarge", 431, "maxHeaderLineSize"))
    assert.property(parse("request", `${start}\r\n`, { ...generous, maxHeaderLines: 0 }), "head")
  })

  it("may be absent: a head of megabytes is read without a fault", () => {
    const text = `${start}${line(2_000_000)}${line(6).repeat(1000)}\r\n`
    assert.nestedProperty(parse("request", text, unlimited), "head.headers[1000]")
  })

  it("says in its message which one it was", () => {
    const outcome = HttpHead.makeParser("request", { ...generous, maxHeaderLineSize: 1 }).push(latin1("GET"))
    assert(outcome !== undefined && Result.isFailure(outcome))
    assert.include(outcome.failure.message, "maxHeaderLineSize")
  })
})

describe("Work", () => {
  /** Counts the bytes that were searched for a line end, and the bytes that were copied. */
  const measure = (chunks: ReadonlyArray<Uint8Array>): { searched: number; copied: number; rule: unknown } => {
    const arrays: Uint8Array = Object.getPrototypeOf(Uint8Array.prototype)
    const { indexOf, set } = arrays
    let searched = 0
    let copied = 0
    const spies = [
      vi.spyOn(arrays, "indexOf").mockImplementation(function(this: Uint8Array, byte) {
        searched += this.length
        return indexOf.call(this, byte)
      }),
      vi.spyOn(arrays, "set").mockImplementation(function(this: Uint8Array, source, offset) {
        copied += source.length
        set.call(this, source, offset)
      })
    ]
    try {
      const unlimited = { maxHeadSize: Infinity, maxHeaderLines: Infinity, maxHeaderLineSize: Infinity }
      const parser = HttpHead.makeParser("request", unlimited)
      let rule: unknown
      for (const chunk of chunks) {
        const outcome = parser.push(chunk)
        if (outcome !== undefined) rule = Result.isFailure(outcome) ? outcome.failure.rule : "none"
      }
      return { searched, copied, rule }
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
  }

  it.each([
    ["a line without an end", (n: number) => "x".repeat(n)],
    ["carriage returns only", (n: number) => "\r".repeat(n)],
    ["a header of blanks", (n: number) => `GET / HTTP/1.1\r\nA: ${" ".repeat(n)}`]
  ])("searches each byte once and copies it at most three times: %s", (_, make) => {
    for (const n of [1000, 2000, 4000, 8000]) {
      const bytes = latin1(make(n))
      const { copied, searched } = measure(bytewise(bytes))
      assert.isAtLeast(searched, bytes.length)
      assert.isAtMost(searched, bytes.length)
      assert.isAtMost(copied, 3 * bytes.length)
    }
  })

  it("searches no byte twice when many lines share a chunk, and copies none of them", () => {
    const bytes = latin1(`GET / HTTP/1.1\r\n${"A: b\r\n".repeat(1000)}\r\n`)
    const { copied, rule } = measure([bytes])
    assert.strictEqual(rule, "none")
    assert.strictEqual(copied, 0)
  })
})

describe("HttpHead.tokens", () => {
  it("lists the elements of every line in lower case without empty ones", () => {
    const headers: HttpHead.Headers = [["Connection", "Keep-Alive,\tUPGRADE ,,"], ["x", "y"], ["CONNECTION", "a b"]]
    assert.deepStrictEqual(HttpHead.tokens(headers, "connection"), ["keep-alive", "upgrade", "a b"])
    assert.deepStrictEqual(HttpHead.tokens(headers, "upgrade"), [])
  })

  it("trims spaces and tabs and no other white space", () => {
    assert.deepStrictEqual(HttpHead.tokens([["upgrade", "\xa0websocket\xa0"]], "upgrade"), ["\xa0websocket\xa0"])
  })

  it("lowers ASCII letters and no others", () => {
    assert.deepStrictEqual(HttpHead.tokens([["upgrade", "webSoc\u212aet"]], "upgrade"), ["websoc\u212aet"])
  })
})

describe("HttpHead.single", () => {
  it("tells absent from repeated", () => {
    assert.deepStrictEqual(HttpHead.single([["A", "b"]], "host", "InvalidHost"), Result.succeed(undefined))
    assert.deepStrictEqual(HttpHead.single([["HOST", "h"]], "host", "InvalidHost"), Result.succeed("h"))
    const repeated = HttpHead.single([["Host", "h"], ["host", "h"]], "host", "InvalidHost")
    assert(Result.isFailure(repeated))
    assert.strictEqual(repeated.failure.rule, "InvalidHost")
  })
})

describe("Formatting", () => {
  const ruleOf = (result: Result.Result<unknown, HandshakeError>) =>
    Result.isFailure(result) ? result.failure.rule : undefined

  it("writes a request byte for byte", () => {
    assert.deepStrictEqual(
      HttpHead.formatRequest(requestHead),
      Result.succeed(
        latin1(
          "GET /chat?x=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nX-Empty: \r\nX-Text: caf\xe9\r\n\r\n"
        )
      )
    )
  })

  it("writes a response byte for byte", () => {
    assert.deepStrictEqual(HttpHead.formatResponse(responseHead), Result.succeed(latin1(response)))
  })

  const controls = ["\r\nX: y", "\n", "\r", "\0", "\x7f", "\x1f", "\u0100", "\u2028", "\ud800"]

  it.each(controls)("lets no %j into any part of a head", (text) => {
    const requests: ReadonlyArray<readonly [Rule, HttpHead.RequestHead]> = [
      ["MalformedStartLine", { ...requestHead, method: `G${text}` }],
      ["MalformedStartLine", { ...requestHead, target: `/${text}` }],
      ["UnsupportedHttpVersion", { ...requestHead, version: `HTTP/1.1${text}` }],
      ["MalformedHeader", { ...requestHead, headers: [[`A${text}`, "b"]] }],
      ["MalformedHeader", { ...requestHead, headers: [["A", `b${text}`]] }]
    ]
    for (const [rule, head] of requests) assert.strictEqual(ruleOf(HttpHead.formatRequest(head)), rule)
    const responses: ReadonlyArray<readonly [Rule, HttpHead.ResponseHead]> = [
      ["MalformedStartLine", { ...responseHead, reason: `OK${text}` }],
      ["UnsupportedHttpVersion", { ...responseHead, version: `HTTP/1.1${text}` }],
      ["MalformedHeader", { ...responseHead, headers: [[`A${text}`, "b"]] }],
      ["MalformedHeader", { ...responseHead, headers: [["A", text]] }]
    ]
    for (const [rule, head] of responses) assert.strictEqual(ruleOf(HttpHead.formatResponse(head)), rule)
  })

  it.each(["", "GET POST", "G:"])("refuses the method %j", (method) => {
    assert.strictEqual(ruleOf(HttpHead.formatRequest({ ...requestHead, method })), "MalformedStartLine")
  })

  it.each(["", "/a b", "/a\tb", "/\xe9"])("refuses the target %j", (target) => {
    assert.strictEqual(ruleOf(HttpHead.formatRequest({ ...requestHead, target })), "MalformedStartLine")
  })

  it.each([0, 99, 600, 200.5, NaN, -200])("refuses the status %d", (status) => {
    assert.strictEqual(ruleOf(HttpHead.formatResponse({ ...responseHead, status })), "MalformedStartLine")
  })

  it.each(["", "A B", "A:", "\xe9"])("refuses the header name %j", (name) => {
    const head = { ...requestHead, headers: [[name, "b"]] as const }
    assert.strictEqual(ruleOf(HttpHead.formatRequest(head)), "MalformedHeader")
  })
})

describe("Laws", () => {
  const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
  const Kind = Schema.Literals(["request", "response"])
  const Piece = Schema.Literals([
    "GET",
    " ",
    "/",
    "HTTP/1.1",
    "HTTP/1.0",
    "101",
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "Host",
    ":",
    "\t",
    ",",
    "\0",
    "\xff",
    "GET / HTTP/1.1\r\n",
    "HTTP/1.1 101 OK\r\n"
  ])
  const Token = Schema.String.check(Schema.isPattern(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,9}$/))
  const Value = Schema.String.check(Schema.isPattern(/^(?:[!-~\u00a1-\u00ff](?:[ -~]{0,9}[!-~])?)?$/))
  const Header = Schema.Tuple([Token, Value])

  it.prop("random bytes give an outcome or nothing, and never throw", {
    kind: Kind,
    bytes: Schema.Array(Byte)
  }, ({ bytes, kind }) => {
    const chunk = Uint8Array.from(bytes)
    assert.deepStrictEqual(feed(kind, bytewise(chunk)), feed(kind, [chunk]))
  }, { arbitrary: { runs: 500 } })

  it.prop("pieces of heads give the same outcome however they are cut", {
    kind: Kind,
    pieces: Schema.Array(Piece)
  }, ({ kind, pieces }) => {
    const bytes = latin1(pieces.join(""))
    const limits = { maxHeadSize: 60, maxHeaderLines: 2, maxHeaderLineSize: 30 }
    assert.deepStrictEqual(feed(kind, pieces.map(latin1), limits), feed(kind, [bytes], limits))
    assert.deepStrictEqual(feed(kind, bytewise(bytes), limits), feed(kind, [bytes], limits))
  }, { arbitrary: { runs: 500 } })

  it.prop("what is formatted parses as itself", {
    method: Token,
    target: Schema.String.check(Schema.isPattern(/^[!-~]{1,9}$/)),
    headers: Schema.Array(Header)
  }, ({ headers, method, target }) => {
    const head = { method, target, version: "HTTP/1.1", headers }
    const bytes = Result.getOrThrow(HttpHead.formatRequest(head))
    assert.deepStrictEqual(feed("request", [bytes]), { head, rest: "" })
  }, { arbitrary: { runs: 200 } })

  it.prop("what parses formats to something that parses the same", {
    pieces: Schema.Array(Schema.Literals(["A", ":", " ", "b", "\r\n", "\xe9", "\t"]))
  }, ({ pieces }) => {
    const outcome = parse("response", `HTTP/1.1 200 OK\r\n${pieces.join("")}\r\n\r\n`)
    assert.isDefined(outcome)
    if (!("head" in outcome)) return
    const bytes = Result.getOrThrow(HttpHead.formatResponse(outcome.head))
    assert.deepStrictEqual(feed("response", [bytes]), { head: outcome.head, rest: "" })
  }, { arbitrary: { runs: 300 } })
})
