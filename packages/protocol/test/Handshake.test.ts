import type * as Extension from "@effect-websocket/protocol/Extension"
import * as Handshake from "@effect-websocket/protocol/Handshake"
import { HandshakeError, type Rule, rules } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"

const limits: HttpHead.Limits = { maxHeadSize: 16_384, maxHeaderLines: 100, maxHeaderLineSize: 8192 }

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
const textOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
const sha1 = (text: string): string => Crypto.createHash("sha1").update(text).digest("base64")

const ruleOf = (result: Result.Result<unknown, HandshakeError>): Rule | "none" =>
  Result.isFailure(result) ? result.failure.rule : "none"

/** What the rule of a result is, and that its status and section are the table's. */
const assertRule = (result: Result.Result<unknown, HandshakeError>, rule: Rule | "none") => {
  assert.strictEqual(ruleOf(result), rule)
  if (!Result.isFailure(result) || rule === "none") return
  assert.strictEqual(result.failure.status, rules[rule].status)
  assert.strictEqual(result.failure.section, rules[rule].section)
}

/** Bytes, in one or more chunks, through the parser and the check. */
const receive = (...chunks: ReadonlyArray<string>): Result.Result<Handshake.ValidRequest, HandshakeError> => {
  const parser = HttpHead.makeParser("request", limits)
  const outcome = chunks.map((chunk) => parser.push(latin1(chunk))).at(-1)
  assert.isDefined(outcome)
  return Result.flatMap(outcome, ({ head }) => Handshake.checkRequest(head))
}

const good: HttpHead.Headers = [
  ["Host", "localhost:8080"],
  ["Upgrade", "WebSocket"],
  ["Connection", "keep-alive,upgrade"],
  ["Sec-WebSocket-Key", key],
  ["Sec-WebSocket-Version", "13"]
]

/** The good headers with those of a name replaced by lines with these values. */
const change = (name: string, ...values: ReadonlyArray<string>): HttpHead.Headers => [
  ...good.filter(([other]) => other !== name),
  ...values.map((value) => [name, value] as const)
]

const requestOf = (headers: HttpHead.Headers): HttpHead.RequestHead => ({
  method: "GET",
  target: "/",
  version: "HTTP/1.1",
  headers
})

const lines = (headers: HttpHead.Headers): string => headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")

const check = (headers: HttpHead.Headers) => Handshake.checkRequest(requestOf(headers))

describe("RFC 6455 section 1.3", () => {
  it("makes the text whose hash answers the key of the RFC", () => {
    assert.strictEqual(Handshake.challenge(key), `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    assert.strictEqual(sha1(Handshake.challenge(key)), accept)
  })

  const rfcRequest = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${key}`,
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Version: 13",
    "\r\n"
  ].join("\r\n")

  it("reads the request of the RFC, however it is split", () => {
    const whole = receive(rfcRequest)
    for (let n = 0; n < rfcRequest.length; n++) {
      assert.deepStrictEqual(receive(rfcRequest.slice(0, n), rfcRequest.slice(n)), whole)
    }
    const { head, ...valid } = Result.getOrThrow(whole)
    assert.strictEqual(head.headers.length, 7)
    assert.deepStrictEqual(valid, {
      target: "/chat",
      host: "server.example.com",
      origin: "http://example.com",
      key,
      subprotocols: ["chat", "superchat"],
      extensions: []
    })
  })

  it("makes the response of the RFC byte for byte", () => {
    const head = Handshake.makeResponse({ accept: sha1(Handshake.challenge(key)), subprotocol: "chat" })
    assert.strictEqual(
      textOf(Result.getOrThrow(Result.flatMap(head, HttpHead.formatResponse))),
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`
    )
  })
})

describe("RFC 6455 section 4.1, the request", () => {
  const extensions: ReadonlyArray<Extension.Extension> = [
    { name: "permessage-deflate", params: [["client_max_window_bits", undefined], ["server_max_window_bits", "10"]] },
    { name: "x", params: [] }
  ]
  const full: Handshake.RequestOptions = {
    host: "example.com:8080",
    target: "/chat?x=1",
    key,
    origin: "https://example.com",
    subprotocols: ["v2.chat", "chat"],
    extensions,
    headers: [["Cookie", "a=1"], ["X-Text", "caf\xe9"], ["Cookie", "b=2"]]
  }

  it("is written byte for byte in a fixed order", () => {
    const head = Handshake.makeRequest(full)
    assert.strictEqual(
      textOf(Result.getOrThrow(Result.flatMap(head, HttpHead.formatRequest))),
      "GET /chat?x=1 HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n` +
        "Sec-WebSocket-Protocol: v2.chat, chat\r\n" +
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=10, x\r\n" +
        "Cookie: a=1\r\nX-Text: caf\xe9\r\nCookie: b=2\r\n\r\n"
    )
  })

  it("leaves out what is not asked for", () => {
    const head = Handshake.makeRequest({ host: "h", target: "/", key, subprotocols: [], extensions: [], headers: [] })
    assert.strictEqual(
      textOf(Result.getOrThrow(Result.flatMap(head, HttpHead.formatRequest))),
      "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`
    )
  })

  it("is one that a server takes", () => {
    const head = Result.getOrThrow(Handshake.makeRequest(full))
    assert.deepStrictEqual(
      Handshake.checkRequest(head),
      Result.succeed({
        head,
        target: "/chat?x=1",
        host: "example.com:8080",
        origin: "https://example.com",
        key,
        subprotocols: ["v2.chat", "chat"],
        extensions
      })
    )
  })

  it.each<[Rule, Partial<Handshake.RequestOptions>]>([
    ["InvalidHost", { host: "" }],
    ["InvalidHost", { host: "a b" }],
    ["InvalidHost", { host: "user@example.com" }],
    ["InvalidTarget", { target: "" }],
    ["InvalidTarget", { target: "chat" }],
    ["InvalidTarget", { target: "/a b" }],
    ["InvalidTarget", { target: "/a#b" }],
    ["InvalidTarget", { target: "/caf\xe9" }],
    ["InvalidKey", { key: "" }],
    ["InvalidKey", { key: "short" }],
    ["MalformedHeader", { origin: "" }],
    ["MalformedHeader", { origin: "https://a https://b" }],
    ["InvalidSubprotocol", { subprotocols: [""] }],
    ["InvalidSubprotocol", { subprotocols: ["a", "b", "a"] }],
    ["InvalidSubprotocol", { subprotocols: ["a, b"] }],
    ["InvalidExtensions", { extensions: [{ name: "", params: [] }] }],
    ["InvalidExtensions", { extensions: [{ name: "x", params: [["y", "a b"]] }] }],
    ["MalformedHeader", { headers: [["", "x"]] }],
    ["MalformedHeader", { headers: [["A B", "x"]] }]
  ])("is refused as %s: %j", (rule, options) => {
    assertRule(Handshake.makeRequest({ ...full, ...options }), rule)
  })

  it.each(["\r\nX: y", "\n", "\r", "\0", "\x7f", "\u0100"])("lets %j in by no option", (text) => {
    const options: ReadonlyArray<Partial<Handshake.RequestOptions>> = [
      { host: `h${text}` },
      { target: `/${text}` },
      { key: `${key}${text}` },
      { key: text + key },
      { origin: `https://h${text}` },
      { subprotocols: ["a", `b${text}`] },
      { extensions: [{ name: `x${text}`, params: [] }] },
      { extensions: [{ name: "x", params: [[`y${text}`, undefined]] }] },
      { extensions: [{ name: "x", params: [["y", `z${text}`]] }] },
      { headers: [[`A${text}`, "b"]] },
      { headers: [["A", `b${text}`]] }
    ]
    for (const option of options) assert(Result.isFailure(Handshake.makeRequest({ ...full, ...option })))
  })

  it.each([
    "host",
    "Host",
    "UPGRADE",
    "connection",
    "Content-Length",
    "transfer-encoding",
    "sec-websocket-key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
    "sec-websocket-anything",
    "Origin"
  ])("takes no %s from the caller", (name) => {
    const result = Handshake.makeRequest({ ...full, headers: [["A", "b"], [name, "x"]] })
    assertRule(result, "ReservedHeader")
    assert(Result.isFailure(result))
    assert.strictEqual(result.failure.header, name.toLowerCase())
    assert.include(result.failure.message, name.toLowerCase())
  })

  it("takes Origin from the caller where the option does not write it", () => {
    const head = Handshake.makeRequest({ ...full, origin: undefined, headers: [["Origin", "null"]] })
    assert.strictEqual(Result.getOrThrow(Result.flatMap(head, Handshake.checkRequest)).origin, "null")
  })
})

describe("RFC 6455 section 4.2.1", () => {
  const refused: ReadonlyArray<readonly [Rule, string, string]> = [
    ["UnsupportedHttpVersion", "HTTP/1.0", `GET / HTTP/1.0\r\n${lines(good)}\r\n`],
    ["MethodNotGet", "POST", `POST / HTTP/1.1\r\n${lines(good)}\r\n`],
    ["InvalidHost", "no Host", `GET / HTTP/1.1\r\n${lines(change("Host"))}\r\n`],
    ["MissingConnectionUpgrade", "no Connection", `GET / HTTP/1.1\r\n${lines(change("Connection"))}\r\n`],
    [
      "MissingConnectionUpgrade",
      "Connection: keep-alive",
      `GET / HTTP/1.1\r\n${lines(change("Connection", "keep-alive"))}\r\n`
    ],
    ["MissingUpgrade", "no Upgrade", `GET / HTTP/1.1\r\n${lines(change("Upgrade"))}\r\n`],
    ["MissingUpgrade", "Upgrade: HTTP/2", `GET / HTTP/1.1\r\n${lines(change("Upgrade", "HTTP/2"))}\r\n`],
    ["InvalidKey", "no key", `GET / HTTP/1.1\r\n${lines(change("Sec-WebSocket-Key"))}\r\n`],
    [
      "InvalidKey",
      "a key of 46 characters",
      `GET / HTTP/1.1\r\n${lines(change("Sec-WebSocket-Key", `${key.slice(0, 22)}${key}`))}\r\n`
    ],
    ["UnsupportedVersion", "no version", `GET / HTTP/1.1\r\n${lines(change("Sec-WebSocket-Version"))}\r\n`],
    ["UnsupportedVersion", "version 1", `GET / HTTP/1.1\r\n${lines(change("Sec-WebSocket-Version", "1"))}\r\n`],
    ["UnsupportedVersion", "version 12", `GET / HTTP/1.1\r\n${lines(change("Sec-WebSocket-Version", "12"))}\r\n`]
  ]

  it.each(refused)("refuses as %s: %s, however it is split", (rule, _, text) => {
    for (const n of [1, text.length >> 1, text.length - 1]) assertRule(receive(text.slice(0, n), text.slice(n)), rule)
    for (let n = 0; n <= text.length; n++) assertRule(receive(text.slice(0, n), text.slice(n), ""), rule)
  })

  it("takes the tokens WebSocket and keep-alive,upgrade", () => {
    assertRule(receive(`GET / HTTP/1.1\r\n${lines(good)}\r\n`), "none")
  })

  const broken: ReadonlyArray<readonly [Rule, HttpHead.Headers]> = [
    ["InvalidHost", change("Host", "a", "a")],
    ["InvalidHost", change("Host", "a", "b")],
    ["UnexpectedBody", [...good, ["Content-Length", "1"]]],
    ["UnexpectedBody", [...good, ["Content-Length", "0"], ["content-length", "5"]]],
    ["UnexpectedBody", [...good, ["Content-Length", ""]]],
    ["UnexpectedBody", [...good, ["Content-Length", "0, 0"]]],
    ["UnexpectedBody", [...good, ["Content-Length", "-0"]]],
    ["UnexpectedBody", [...good, ["Transfer-Encoding", "chunked"]]],
    ["UnexpectedBody", [...good, ["Transfer-Encoding", ""]]],
    ["MissingUpgrade", change("Upgrade", "")],
    ["MissingUpgrade", change("Upgrade", "websockets")],
    ["MissingUpgrade", change("Upgrade", "websocket/13")],
    ["MissingUpgrade", change("Upgrade", "web socket")],
    ["MissingUpgrade", change("Upgrade", "\xa0websocket")],
    ["MissingUpgrade", change("Upgrade", "webSoc\u212aet")],
    ["MissingConnectionUpgrade", change("Connection", "")],
    ["MissingConnectionUpgrade", change("Connection", "upgraded")],
    ["MissingConnectionUpgrade", change("Connection", "close, no upgrade")],
    ["InvalidKey", change("Sec-WebSocket-Key", key, key)],
    ["InvalidKey", change("Sec-WebSocket-Key", "")],
    ["InvalidKey", change("Sec-WebSocket-Key", "x")],
    ["InvalidKey", change("Sec-WebSocket-Key", "1234")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "13", "13")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "13, 8")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "8")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "013")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "13.0")],
    ["UnsupportedVersion", change("Sec-WebSocket-Version", "")],
    ["InvalidSubprotocol", [...good, ["Sec-WebSocket-Protocol", ""]]],
    ["InvalidSubprotocol", [...good, ["Sec-WebSocket-Protocol", "a b"]]],
    ["InvalidSubprotocol", [...good, ["Sec-WebSocket-Protocol", "caf\xe9"]]],
    ["InvalidSubprotocol", [...good, ["Sec-WebSocket-Protocol", "a, b, a"]]],
    ["InvalidSubprotocol", [...good, ["Sec-WebSocket-Protocol", "a"], ["sec-websocket-protocol", "a"]]],
    ["InvalidExtensions", [...good, ["Sec-WebSocket-Extensions", ""]]],
    ["InvalidExtensions", [...good, ["Sec-WebSocket-Extensions", "x; y="]]],
    ["InvalidExtensions", [...good, ["Sec-WebSocket-Extensions", "x"], ["Sec-WebSocket-Extensions", ";"]]],
    ["MalformedHeader", [...good, ["Origin", "https://a"], ["origin", "https://a"]]]
  ]

  it.each(broken)("refuses as %s: %j", (rule, headers) => {
    assertRule(check(headers), rule)
  })

  it.each<[string, HttpHead.Headers]>([
    ["Content-Length: 0", [...good, ["Content-Length", "0"]]],
    ["Upgrade with others", change("Upgrade", "h2c, WEBSOCKET")],
    ["Upgrade over two lines", change("Upgrade", "h2c", "websocket")],
    ["Connection over two lines", change("Connection", "keep-alive", "Upgrade")],
    ["names in any case", good.map(([name, value]) => [name.toUpperCase(), value] as const)],
    ["names of prototypes", [...good, ["__proto__", "1"], ["constructor", "2"], ["__proto__", "3"]]],
    ["extensions nobody knows", [...good, ["Sec-WebSocket-Extensions", "__proto__; constructor=toString"]]]
  ])("takes %s", (_, headers) => {
    assertRule(check(headers), "none")
  })

  it("reports the first rule that is broken, in the order of the RFC", () => {
    let head: HttpHead.RequestHead = {
      version: "HTTP/2.0",
      method: "PUT",
      target: "*",
      headers: [
        ["Content-Length", "1"],
        ["Sec-WebSocket-Protocol", ";"],
        ["Sec-WebSocket-Extensions", ";"],
        ["Origin", "a"],
        ["Origin", "b"]
      ]
    }
    const repair = (name: string, ...values: ReadonlyArray<string>): HttpHead.RequestHead => ({
      ...head,
      headers: [...head.headers.filter(([other]) => other !== name), ...values.map((value) => [name, value] as const)]
    })
    const steps: ReadonlyArray<readonly [Rule, () => HttpHead.RequestHead]> = [
      ["UnsupportedHttpVersion", () => ({ ...head, version: "HTTP/1.1" })],
      ["MethodNotGet", () => ({ ...head, method: "GET" })],
      ["InvalidTarget", () => ({ ...head, target: "/" })],
      ["InvalidHost", () => repair("Host", "h")],
      ["UnexpectedBody", () => repair("Content-Length")],
      ["MissingUpgrade", () => repair("Upgrade", "websocket")],
      ["MissingConnectionUpgrade", () => repair("Connection", "upgrade")],
      ["InvalidKey", () => repair("Sec-WebSocket-Key", key)],
      ["UnsupportedVersion", () => repair("Sec-WebSocket-Version", "13")],
      ["InvalidSubprotocol", () => repair("Sec-WebSocket-Protocol", "a")],
      ["InvalidExtensions", () => repair("Sec-WebSocket-Extensions", "x")],
      ["MalformedHeader", () => repair("Origin", "null")]
    ]
    for (const [rule, fix] of steps) {
      assertRule(Handshake.checkRequest(head), rule)
      head = fix()
    }
    assertRule(Handshake.checkRequest(head), "none")
  })

  it.each([["get"], ["POST"], ["HEAD"], ["OPTIONS"], ["CONNECT"], [""]])("refuses the method %j", (method) => {
    assertRule(Handshake.checkRequest({ ...requestOf(good), method }), "MethodNotGet")
  })

  it.each([
    "a",
    "example.com",
    "EXAMPLE.com:8080",
    "127.0.0.1:1",
    "[::1]",
    "[::1]:65535",
    "[2001:db8::ff00:42:8329]:443",
    "[::ffff:127.0.0.1]",
    "a_b-c.d~e",
    "xn--bcher-kva.example",
    "caf%C3%A9.example",
    "example.com:"
  ])("takes the host %j", (host) => {
    assertRule(check(change("Host", host)), "none")
  })

  it.each([
    "",
    " ",
    ":80",
    "a b",
    "a:b",
    "a:80:80",
    "a:65536",
    "a:999999",
    "a:-1",
    "a/b",
    "a?b",
    "a#b",
    "a\\b",
    "user@a",
    "user:pass@a",
    "http://a",
    "[::1",
    "::1",
    "[]",
    "[a]",
    "[::1]a",
    "[::g]",
    "caf\xe9.example",
    "a%2",
    "a%zz",
    "a".repeat(256),
    `[${"0:".repeat(50)}]`
  ])("refuses the host %j", (host) => {
    assertRule(check(change("Host", host)), "InvalidHost")
  })

  it.each([
    ["/", "/", "localhost:8080"],
    ["/a/b?c=d/e?f", "/a/b?c=d/e?f", "localhost:8080"],
    ["//evil.org/x", "//evil.org/x", "localhost:8080"],
    ["/http://evil.org", "/http://evil.org", "localhost:8080"],
    ["http://other.example", "/", "other.example"],
    ["WS://other.example:81?x=1", "/?x=1", "other.example:81"],
    ["wss://[::1]:81/a?b", "/a?b", "[::1]:81"],
    ["https://other.example/a//b", "/a//b", "other.example"]
  ])("takes the target %j", (target, resource, host) => {
    const valid = Result.getOrThrow(Handshake.checkRequest({ ...requestOf(good), target }))
    assert.strictEqual(valid.target, resource)
    assert.strictEqual(valid.host, host)
    assert.strictEqual(valid.head.target, target)
  })

  it.each([
    "",
    "*",
    "chat",
    "example.com:80",
    "/a#b",
    "/a b",
    "/a\tb",
    "/a\0",
    "/caf\xe9",
    "ftp://h/",
    "http:/h",
    "http:///a",
    "http://user@h/",
    "http://h h/",
    "http://h#a",
    "ws://",
    "wsss://h/",
    "javascript:alert"
  ])("refuses the target %j", (target) => {
    assertRule(Handshake.checkRequest({ ...requestOf(good), target }), "InvalidTarget")
  })
})

describe("RFC 6455 section 4.1, the key", () => {
  it("is any 16 bytes in base64 and nothing else", () => {
    for (let byte = 0; byte < 256; byte++) {
      for (const length of [0, 1, 15, 17, 18]) {
        assert.isFalse(Handshake.isKey(Buffer.alloc(length, byte).toString("base64")))
      }
      assert.isTrue(Handshake.isKey(Buffer.alloc(16, byte).toString("base64")))
    }
  })

  it.each([
    "dGhlIHNhbXBsZSBub25jZR==",
    "dGhlIHNhbXBsZSBub25jZQ=",
    "dGhlIHNhbXBsZSBub25jZQ",
    "dGhlIHNhbXBsZSBub25jZQ==\n",
    "dGhlIHNhbXBsZSBub25j-_==",
    " dGhlIHNhbXBsZSBub25jZQ==",
    "dGhlIHNhbXBsZSBub25jZQ== "
  ])("is not %j", (text) => {
    assert.isFalse(Handshake.isKey(text))
  })
})

describe("RFC 6455 section 4.2.2", () => {
  it("writes a response byte for byte in a fixed order", () => {
    const head = Handshake.makeResponse({
      accept,
      subprotocol: "v2.chat",
      extensions: [{ name: "x", params: [["y", "1"]] }],
      headers: [["Set-Cookie", "a=1"], ["set-cookie", "b=2"]]
    })
    assert.strictEqual(
      textOf(Result.getOrThrow(Result.flatMap(head, HttpHead.formatResponse))),
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: v2.chat\r\n` +
        "Sec-WebSocket-Extensions: x; y=1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\n"
    )
  })

  it.each<[Rule, Partial<Handshake.ResponseOptions>]>([
    ["InvalidAccept", { accept: "" }],
    ["InvalidAccept", { accept: key }],
    ["InvalidAccept", { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=" }],
    ["InvalidSubprotocol", { subprotocol: "" }],
    ["InvalidSubprotocol", { subprotocol: "a, b" }],
    ["InvalidExtensions", { extensions: [{ name: "x y", params: [] }] }],
    ["MalformedHeader", { headers: [["A:", "b"]] }],
    ["ReservedHeader", { headers: [["UPGRADE", "h2c"]] }],
    ["ReservedHeader", { headers: [["Connection", "close"]] }],
    ["ReservedHeader", { headers: [["sec-websocket-accept", accept]] }],
    ["ReservedHeader", { headers: [["Sec-WebSocket-Protocol", "chat"]] }],
    ["ReservedHeader", { headers: [["Sec-WebSocket-Extensions", "x"]] }],
    ["ReservedHeader", { headers: [["Content-Length", "0"]] }],
    ["ReservedHeader", { headers: [["Transfer-Encoding", "chunked"]] }]
  ])("refuses to write as %s: %j", (rule, options) => {
    assertRule(Handshake.makeResponse({ accept, ...options }), rule)
  })

  it.each(["\r\nX: y", "\n", "\r", "\0", "\x7f", "\u0100"])("lets %j in by no option", (text) => {
    const options: ReadonlyArray<Partial<Handshake.ResponseOptions>> = [
      { accept: `${accept}${text}` },
      { accept: text + accept },
      { subprotocol: `a${text}` },
      { extensions: [{ name: `x${text}`, params: [] }] },
      { extensions: [{ name: "x", params: [["y", text]] }] },
      { headers: [[`A${text}`, "b"]] },
      { headers: [["A", text]] }
    ]
    for (const option of options) assert(Result.isFailure(Handshake.makeResponse({ accept, ...option })))
  })

  it.prop("accepts the hash of any challenge", {
    bytes: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))
  }, ({ bytes }) => {
    const key = Buffer.from([...bytes, ...Array.from({ length: 16 }, () => 0)].slice(0, 16)).toString("base64")
    const accept = sha1(Handshake.challenge(key))
    const head = Result.getOrThrow(Handshake.makeResponse({ accept }))
    assertRule(Handshake.checkResponse(head, { accept, subprotocols: [], extensions: [] }), "none")
  })
})

describe("RFC 6455 section 4.1, the response", () => {
  const expected: Handshake.Expected = {
    accept,
    subprotocols: ["chat", "superchat"],
    extensions: [{ name: "permessage-deflate", params: [["client_max_window_bits", undefined]] }, {
      name: "permessage-deflate",
      params: []
    }]
  }
  const agreed: HttpHead.Headers = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", accept]
  ]
  const responseOf = (headers: HttpHead.Headers): HttpHead.ResponseHead => ({
    version: "HTTP/1.1",
    status: 101,
    reason: "Switching Protocols",
    headers
  })
  const without = (name: string, ...values: ReadonlyArray<string>): HttpHead.Headers => [
    ...agreed.filter(([other]) => other !== name),
    ...values.map((value) => [name, value] as const)
  ]
  const parse = (text: string) => {
    const outcome = HttpHead.makeParser("response", limits).push(latin1(text))
    assert.isDefined(outcome)
    return Result.map(outcome, ({ head }) => head)
  }

  it.each<[string, Rule | "none", string]>([
    ["HTTP/1.0", "UnsupportedHttpVersion", `HTTP/1.0 101 Switching Protocols\r\n${lines(agreed)}\r\n`],
    ["no Connection", "MissingConnectionUpgrade", `HTTP/1.1 101 S\r\n${lines(without("Connection"))}\r\n`],
    ["keep-alive", "MissingConnectionUpgrade", `HTTP/1.1 101 S\r\n${lines(without("Connection", "keep-alive"))}\r\n`],
    ["no Upgrade", "MissingUpgrade", `HTTP/1.1 101 S\r\n${lines(without("Upgrade"))}\r\n`],
    ["HTTP/2", "MissingUpgrade", `HTTP/1.1 101 S\r\n${lines(without("Upgrade", "HTTP/2"))}\r\n`],
    ["no Accept", "InvalidAccept", `HTTP/1.1 101 S\r\n${lines(without("Sec-WebSocket-Accept"))}\r\n`],
    ["Accept: *", "InvalidAccept", `HTTP/1.1 101 S\r\n${lines(without("Sec-WebSocket-Accept", "*"))}\r\n`],
    ["none of these", "none", `HTTP/1.1 101 Switching Protocols\r\n${lines(agreed)}\r\n`]
  ])("with %s is %s", (_, rule, text) => {
    assertRule(Result.flatMap(parse(text), (head) => Handshake.checkResponse(head, expected)), rule)
  })

  it.each([
    ["HTTP/1.1 200 OK\r\n\r\n", false],
    ["HTTP/1.1 401 Unauthorized\r\n\r\n", false],
    ["HTTP/1.1 100 Continue\r\n\r\n", false],
    ["HTTP/1.1 101\r\n\r\n", true]
  ])("switches protocols by its status alone: %j %s", (text, switching) => {
    assert.strictEqual(Handshake.isSwitching(Result.getOrThrow(parse(text))), switching)
  })

  it.each<[Rule, HttpHead.Headers]>([
    ["MissingUpgrade", without("Upgrade", "websocket, h2c")],
    ["MissingUpgrade", without("Upgrade", "websocket", "websocket")],
    ["MissingUpgrade", without("Upgrade", "")],
    ["MissingConnectionUpgrade", without("Connection", "")],
    ["InvalidAccept", without("Sec-WebSocket-Accept", accept, accept)],
    ["InvalidAccept", without("Sec-WebSocket-Accept", accept.toLowerCase())],
    ["InvalidAccept", without("Sec-WebSocket-Accept", `${accept}=`)],
    ["InvalidAccept", without("Sec-WebSocket-Accept", `${accept}, ${accept}`)],
    ["InvalidSubprotocol", [...agreed, ["Sec-WebSocket-Protocol", "chat"], ["Sec-WebSocket-Protocol", "chat"]]],
    ["UnofferedSubprotocol", [...agreed, ["Sec-WebSocket-Protocol", "Chat"]]],
    ["UnofferedSubprotocol", [...agreed, ["Sec-WebSocket-Protocol", "chat, superchat"]]],
    ["UnofferedSubprotocol", [...agreed, ["Sec-WebSocket-Protocol", ""]]],
    ["UnofferedSubprotocol", [...agreed, ["Sec-WebSocket-Protocol", "__proto__"]]],
    ["InvalidExtensions", [...agreed, ["Sec-WebSocket-Extensions", ""]]],
    ["InvalidExtensions", [...agreed, ["Sec-WebSocket-Extensions", "permessage-deflate; x="]]],
    ["UnofferedExtension", [...agreed, ["Sec-WebSocket-Extensions", "permessage-deflate, x-foo"]]],
    ["UnofferedExtension", [...agreed, ["Sec-WebSocket-Extensions", "constructor"]]]
  ])("is refused as %s: %j", (rule, headers) => {
    assertRule(Handshake.checkResponse(responseOf(headers), expected), rule)
  })

  it("may choose a subprotocol and extensions that were offered", () => {
    const headers: HttpHead.Headers = [
      ["upgrade", "WebSocket"],
      ["connection", "keep-alive, UPGRADE"],
      ["sec-websocket-accept", accept],
      ["sec-websocket-protocol", "superchat"],
      ["sec-websocket-extensions", "permessage-deflate; client_max_window_bits=10"]
    ]
    assert.deepStrictEqual(
      Handshake.checkResponse(responseOf(headers), expected),
      Result.succeed({
        subprotocol: "superchat",
        extensions: [{ name: "permessage-deflate", params: [["client_max_window_bits", "10"]] }]
      })
    )
  })

  it("may choose nothing", () => {
    assert.deepStrictEqual(
      Handshake.checkResponse(responseOf(agreed), expected),
      Result.succeed({ subprotocol: undefined, extensions: [] })
    )
  })

  it("may choose nothing that was not offered", () => {
    const nothing = { accept, subprotocols: [], extensions: [] }
    const subprotocol = responseOf([...agreed, ["Sec-WebSocket-Protocol", "chat"]])
    const extension = responseOf([...agreed, ["Sec-WebSocket-Extensions", "permessage-deflate"]])
    assertRule(Handshake.checkResponse(subprotocol, nothing), "UnofferedSubprotocol")
    assertRule(Handshake.checkResponse(extension, nothing), "UnofferedExtension")
  })

  it("of another version is refused, though the parser lets none through", () => {
    const head = { ...responseOf(agreed), version: "HTTP/1.0" }
    assertRule(Handshake.checkResponse(head, expected), "UnsupportedHttpVersion")
  })
})

describe("RFC 6455 section 4.4", () => {
  const written = (refusal: Result.Result<Handshake.Refusal, HandshakeError>): string =>
    textOf(Result.getOrThrow(Result.flatMap(refusal, Handshake.encodeRefusal)))

  it("writes a refusal byte for byte", () => {
    assert.strictEqual(
      written(Handshake.makeRefusal(401, { headers: [["WWW-Authenticate", "Basic"]], body: "who\xe9\n" })),
      "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n" +
        "Connection: close\r\nWWW-Authenticate: Basic\r\n\r\nwho\xc3\xa9\n"
    )
  })

  it("says which method is allowed", () => {
    assert.strictEqual(
      written(Handshake.makeRefusal(405)),
      "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nAllow: GET\r\n" +
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
  })

  it("says which version to upgrade to", () => {
    const text = "Sec-WebSocket-Version is not 13 (UnsupportedVersion, section 4.2.2)\n"
    assert.strictEqual(
      written(Result.succeed(Handshake.refusalOf(new HandshakeError({ rule: "UnsupportedVersion" })))),
      "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain; charset=utf-8\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Version: 13\r\nContent-Length: ${text.length}\r\nConnection: close, Upgrade\r\n\r\n${text}`
    )
  })

  it.each(Object.keys(rules) as Array<Rule>)(
    "answers %s with its status and a body that is as long as it says",
    (rule) => {
      const { body, head } = Handshake.refusalOf(new HandshakeError({ rule }))
      assert.strictEqual(head.status, rules[rule].status ?? 500)
      assert.isNotEmpty(head.reason)
      assert.deepStrictEqual(HttpHead.values(head.headers, "content-length"), [String(body.length)])
      assert(HttpHead.tokens(head.headers, "connection").includes("close"))
      assert.strictEqual(textOf(body).includes(rule), rules[rule].status !== undefined)
      assert(Result.isSuccess(Handshake.encodeRefusal({ body, head })))
    }
  )

  it("lets the caller say what the body is", () => {
    const refusal = Handshake.makeRefusal(503, { headers: [["content-type", "application/json"]], body: "{}" })
    assert.strictEqual(
      written(refusal),
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n" +
        "content-type: application/json\r\n\r\n{}"
    )
  })

  it("has no reason for a status it does not know", () => {
    assert.isTrue(written(Handshake.makeRefusal(418)).startsWith("HTTP/1.1 418 \r\n"))
  })

  it.each([101, 200, 299, 600, 0, -1, 400.5, NaN, Infinity])("is not made of the status %d", (status) => {
    assertRule(Handshake.makeRefusal(status), "InvalidStatus")
  })

  it.each([300, 599])("is made of the status %d", (status) => {
    assertRule(Handshake.makeRefusal(status), "none")
  })

  it.each<[Rule, string, string]>([
    ["ReservedHeader", "content-length", "5"],
    ["ReservedHeader", "Transfer-Encoding", "chunked"],
    ["ReservedHeader", "CONNECTION", "keep-alive"],
    ["ReservedHeader", "Upgrade", "h2c"],
    ["ReservedHeader", "Sec-WebSocket-Version", "8"],
    ["MalformedHeader", "A\r\nB", "c"],
    ["MalformedHeader", "Location", "/\r\nSet-Cookie: a=1"],
    ["MalformedHeader", "Location", "/\u0100"]
  ])("is not made with a header that is %s: %j %j", (rule, name, value) => {
    assertRule(Handshake.makeRefusal(302, { headers: [[name, value]] }), rule)
  })
})

describe("RFC 6455 section 10.2", () => {
  const from = (origin: string | undefined, host = "example.com"): Handshake.ValidRequest => {
    const headers = origin === undefined ? change("Host", host) : [...change("Host", host), ["Origin", origin] as const]
    return Result.getOrThrow(check(headers))
  }

  it.each<[string, string, boolean]>([
    ["https://example.com", "example.com", true],
    ["https://example.com", "example.com:443", true],
    ["https://example.com:443", "example.com", true],
    ["HTTPS://EXAMPLE.com", "Example.COM", true],
    ["wss://example.com", "example.com", true],
    ["https://example.com:8443", "example.com:8443", true],
    ["https://[::1]:8443", "[::1]:8443", true],
    ["https://[2001:DB8::1]", "[2001:db8::1]:443", true],
    ["https://example.com", "example.com:8443", false],
    ["https://example.com:8443", "example.com", false],
    ["https://example.com:80", "example.com", false],
    ["https://example.com", "example.com:80", false],
    ["https://www.example.com", "example.com", false],
    ["https://example.com", "www.example.com", false],
    ["https://example.com.evil.org", "example.com", false],
    ["https://evil.org/example.com", "example.com", false],
    ["https://evil.org?example.com", "example.com", false],
    ["https://evil.org#example.com", "example.com", false],
    ["https://example.com@evil.org", "example.com", false],
    ["https://evil.org@example.com", "example.com", false],
    ["https://evilexample.com", "example.com", false],
    ["https://example.com\\.evil.org", "example.com", false],
    ["https://example.com/", "example.com", false],
    ["https://example.com https://evil.org", "example.com", false],
    ["https://evil.org https://example.com", "example.com", false],
    ["https://example.com:", "example.com", true],
    ["https://example.com:99999", "example.com:99", false],
    ["https:example.com", "example.com", false],
    ["example.com", "example.com", false],
    ["//example.com", "example.com", false],
    ["https://", "example.com", false],
    ["file://example.com", "example.com", false],
    ["chrome-extension://example.com", "example.com", false],
    ["xhttps://example.com", "example.com", false],
    ["null", "example.com", false],
    ["null", "null", false],
    ["", "example.com", false]
  ])("compares the origin %j with the host %j: %s", (origin, host, same) => {
    for (const secure of [true, false]) {
      assert.strictEqual(Handshake.sameOrigin(from(origin, host), secure), same)
      assert.strictEqual(Handshake.isOriginAllowed(from(origin, host), "same-origin", secure), same)
    }
  })

  it.each<[string, string, boolean]>([
    ["http://example.com", "example.com", true],
    ["http://example.com:80", "example.com", true],
    ["ws://example.com", "example.com:80", true],
    ["http://example.com", "example.com:443", false],
    ["http://localhost:3000", "localhost:3000", true],
    ["http://localhost:3000", "localhost:3001", false]
  ])("compares the insecure origin %j with the host %j: %s, and never over TLS", (origin, host, same) => {
    assert.strictEqual(Handshake.sameOrigin(from(origin, host), false), same)
    assert.isFalse(Handshake.sameOrigin(from(origin, host), true))
  })

  it("compares with the host of an absolute target and not with Host", () => {
    const head = { ...requestOf([...good, ["Origin", "https://example.com"]]), target: "wss://example.com/chat" }
    const valid = Result.getOrThrow(Handshake.checkRequest(head))
    assert.isTrue(Handshake.sameOrigin(valid, true))
  })

  it("lets a request without Origin in, which no browser sends", () => {
    for (const policy of ["same-origin", "any", [], ["https://example.com"]] as const) {
      assert.isTrue(Handshake.isOriginAllowed(from(undefined), policy, true))
    }
    assert.isFalse(Handshake.sameOrigin(from(undefined), true))
  })

  it.each(["https://example.com", "https://evil.org", "null", ""])("lets %j in where any may", (origin) => {
    assert.isTrue(Handshake.isOriginAllowed(from(origin), "any", true))
  })

  const listed = ["https://example.com", "https://app.example.com:8443", "http://Localhost:3000"]

  it.each([
    ["https://example.com", true],
    ["HTTPS://Example.COM", true],
    ["https://app.example.com:8443", true],
    ["http://localhost:3000", true],
    ["https://example.com:443", false],
    ["http://example.com", false],
    ["https://app.example.com", false],
    ["https://example.com.evil.org", false],
    ["https://evil.org/https://example.com", false],
    ["https://evil.org?https://example.com", false],
    ["https://www.example.com", false],
    ["https://example.co", false],
    ["https://examplescom", false],
    ["ttps://example.com", false],
    ["null", false],
    ["", false]
  ])("finds %j in a list only when it is whole: %s", (origin, allowed) => {
    assert.strictEqual(Handshake.isOriginAllowed(from(origin), listed, true), allowed)
  })

  it("lets null in only where it is listed, and nobody where nothing is", () => {
    assert.isTrue(Handshake.isOriginAllowed(from("null"), ["null"], true))
    assert.isFalse(Handshake.isOriginAllowed(from("https://example.com"), [], true))
  })

  it("is refused as ForbiddenOrigin", () => {
    assertRule(Handshake.checkOrigin(from("https://evil.org"), "same-origin", true), "ForbiddenOrigin")
    const request = from("https://example.com")
    assert.deepStrictEqual(Handshake.checkOrigin(request, "same-origin", true), Result.succeed(request))
  })
})

describe("Laws", () => {
  const Name = Schema.Literals([
    "Host",
    "upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
    "Origin",
    "Content-Length",
    "__proto__"
  ])
  const Value = Schema.Union([
    Schema.String,
    Schema.Literals(["h", "websocket", "upgrade", key, "13", "a, b", "x; y=z"])
  ])
  const Headers = Schema.Array(Schema.Tuple([Name, Value]))

  it.prop("any headers are taken or refused, and never throw", {
    own: Headers,
    target: Schema.String
  }, ({ own, target }) => {
    for (const headers of [own, [...good, ...own]]) {
      const request = Handshake.checkRequest({ ...requestOf(headers), target: `/${target}` })
      if (Result.isSuccess(request)) {
        assert.isBoolean(Handshake.isOriginAllowed(request.success, "same-origin", true))
      } else assert(Result.isSuccess(Handshake.encodeRefusal(Handshake.refusalOf(request.failure))))
      const head = { version: "HTTP/1.1", status: 101, reason: "", headers }
      assert(Result.isResult(Handshake.checkResponse(head, { accept, subprotocols: ["a"], extensions: [] })))
    }
  }, { arbitrary: { runs: 500 } })

  it.prop("whatever the options, what is made can be written and is taken by a server", {
    host: Schema.String,
    path: Schema.String,
    origin: Schema.UndefinedOr(Schema.String),
    subprotocols: Schema.Array(Schema.String),
    headers: Schema.Array(Schema.Tuple([Schema.String, Schema.String]))
  }, ({ headers, host, origin, path, subprotocols }) => {
    const made = Handshake.makeRequest({ host, target: `/${path}`, key, origin, subprotocols, headers })
    if (Result.isFailure(made)) return
    assert(Result.isSuccess(HttpHead.formatRequest(made.success)))
    assertRule(Handshake.checkRequest(made.success), "none")
  }, { arbitrary: { runs: 1000 } })
})
