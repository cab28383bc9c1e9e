import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import * as Handshake from "@effect-websocket/protocol/Handshake"
import { HandshakeError, type Rule, rules } from "@effect-websocket/protocol/HandshakeError"
import type * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"

const ruleOf = (result: Result.Result<unknown, HandshakeError>): Rule | "none" =>
  Result.isFailure(result) ? result.failure.rule : "none"

/** The request of section 5.1. */
const good: ExtendedConnect.Fields = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "https"],
  [":path", "/chat"],
  [":authority", "server.example.com"],
  ["sec-websocket-protocol", "chat, superchat"],
  ["sec-websocket-extensions", "permessage-deflate"],
  ["sec-websocket-version", "13"],
  ["origin", "http://www.example.com"]
]

const without = (name: string): ExtendedConnect.Fields => good.filter(([other]) => other !== name)

/** The good fields with another value at a name, in place. */
const change = (name: string, value: string): ExtendedConnect.Fields =>
  good.map((field) => field[0] === name ? [name, value] : field)

const withField = (name: string, value: string): ExtendedConnect.Fields => [...good, [name, value]]

describe("RFC 8441 section 5.1", () => {
  it("reads the request of the RFC", () => {
    const { head, ...valid } = Result.getOrThrow(ExtendedConnect.checkRequest(good))
    assert.deepStrictEqual(valid, {
      target: "/chat",
      host: "server.example.com",
      origin: "http://www.example.com",
      subprotocols: ["chat", "superchat"],
      extensions: [{ name: "permessage-deflate", params: [] }]
    })
    assert.deepStrictEqual(head, {
      method: "CONNECT",
      target: "/chat",
      version: "HTTP/2",
      headers: [["host", "server.example.com"], ...good.slice(5)]
    })
  })

  it("makes the response of the RFC", () => {
    const response = Result.getOrThrow(ExtendedConnect.makeResponse({ subprotocol: "chat" }))
    assert.deepStrictEqual(ExtendedConnect.formatResponse(response), [
      [":status", "200"],
      ["sec-websocket-protocol", "chat"]
    ])
  })
})

describe("a server's rules for a request", () => {
  const cases: ReadonlyArray<readonly [string, ExtendedConnect.Fields, Rule | "none"]> = [
    ["all that is asked for", good, "none"],
    ["no method", without(":method"), "MethodNotConnect"],
    ["another method", change(":method", "GET"), "MethodNotConnect"],
    ["a method in small letters", change(":method", "connect"), "MethodNotConnect"],
    ["no protocol, as for a tunnel", without(":protocol"), "UnsupportedProtocol"],
    ["another protocol", change(":protocol", "connect-udp"), "UnsupportedProtocol"],
    ["no scheme", without(":scheme"), "InvalidPseudoHeader"],
    ["the scheme of HTTP in the clear", change(":scheme", "http"), "none"],
    ["the scheme of a WebSocket URL", change(":scheme", "wss"), "InvalidPseudoHeader"],
    ["no path", without(":path"), "InvalidTarget"],
    ["an empty path", change(":path", ""), "InvalidTarget"],
    ["a whole URI as path", change(":path", "https://server.example.com/chat"), "InvalidTarget"],
    ["a path with a fragment", change(":path", "/chat#top"), "InvalidTarget"],
    ["a path with a blank", change(":path", "/chat room"), "InvalidTarget"],
    ["a path with a query", change(":path", "/chat?room=1"), "none"],
    ["no authority", without(":authority"), "InvalidHost"],
    ["an authority with a user", change(":authority", "user@server.example.com"), "InvalidHost"],
    ["Host in the place of an authority", [...without(":authority"), ["host", "server.example.com"]], "none"],
    ["Host that says the same", withField("host", "SERVER.example.com"), "none"],
    ["Host that says something else", withField("host", "other.example.com"), "InvalidHost"],
    ["Host twice", [...withField("host", "server.example.com"), ["host", "server.example.com"]], "InvalidHost"],
    ["a pseudo-header field twice", [[":method", "CONNECT"], ...good], "InvalidPseudoHeader"],
    ["a pseudo-header field behind the others", [...without(":path"), [":path", "/chat"]], "InvalidPseudoHeader"],
    ["an unknown pseudo-header field", [[":status", "200"], ...good], "InvalidPseudoHeader"],
    ["a name in capitals", withField("X-Token", "1"), "MalformedHeader"],
    ["a name that is no token", withField("x token", "1"), "MalformedHeader"],
    ["a value with a line end", withField("x-token", "1\r\nx-admin: 1"), "MalformedHeader"],
    ["Connection", withField("connection", "upgrade"), "ConnectionSpecificHeader"],
    ["Upgrade", withField("upgrade", "websocket"), "ConnectionSpecificHeader"],
    ["Transfer-Encoding", withField("transfer-encoding", "chunked"), "ConnectionSpecificHeader"],
    ["TE of trailers", withField("te", "trailers"), "none"],
    ["TE of more", withField("te", "gzip"), "ConnectionSpecificHeader"],
    ["Content-Length", withField("content-length", "0"), "UnexpectedBody"],
    ["no version", without("sec-websocket-version"), "UnsupportedVersion"],
    ["another version", change("sec-websocket-version", "8"), "UnsupportedVersion"],
    ["the version twice", withField("sec-websocket-version", "13"), "UnsupportedVersion"],
    ["a malformed subprotocol", change("sec-websocket-protocol", "chat room"), "InvalidSubprotocol"],
    ["a malformed extension", change("sec-websocket-extensions", "=1"), "InvalidExtensions"],
    ["two Origins", withField("origin", "http://www.example.com"), "MalformedHeader"],
    ["a key, which means nothing here", withField("sec-websocket-key", "short"), "none"]
  ]

  it.each(cases)("%s", (_name, fields, rule) => {
    assert.strictEqual(ruleOf(ExtendedConnect.checkRequest(fields)), rule)
  })

  it("puts the crumbs of a Cookie together, RFC 9113 section 8.2.3", () => {
    const fields = [...good, ["cookie", "a=1"], ["cookie", "b=2"]] as const
    const { head } = Result.getOrThrow(ExtendedConnect.checkRequest(fields))
    assert.deepStrictEqual(head.headers.at(-1), ["cookie", "a=1; b=2"])
  })

  it("every answer to a broken rule can cross the wire, and names the version or method it wants", () => {
    for (const rule of Object.keys(rules) as ReadonlyArray<Rule>) {
      const { head } = ExtendedConnect.refusalOf(new HandshakeError({ rule }))
      const fields = ExtendedConnect.formatResponse(head)
      assert.strictEqual(Result.getOrThrow(ExtendedConnect.parseResponse(fields)).status, head.status)
      assert.notStrictEqual(head.status, 426)
    }
    const valueOf = (rule: Rule, name: string) =>
      ExtendedConnect.formatResponse(ExtendedConnect.refusalOf(new HandshakeError({ rule })).head)
        .filter(([other]) => other === name)
    assert.deepStrictEqual(valueOf("MethodNotConnect", "allow"), [["allow", "CONNECT"]])
    assert.deepStrictEqual(valueOf("UnsupportedVersion", ":status"), [[":status", "400"]])
    assert.deepStrictEqual(valueOf("UnsupportedVersion", "sec-websocket-version"), [["sec-websocket-version", "13"]])
  })
})

describe("the size of a field section, RFC 9113 section 6.5.2", () => {
  const fields: ExtendedConnect.Fields = [["ab", "cde"], ["f", ""]]
  const size = 5 + 32 + 1 + 32
  const limits: HttpHead.Limits = { maxHeadSize: size, maxHeaderLines: 2, maxHeaderLineSize: 5 }
  const limitOf = (change: Partial<HttpHead.Limits>) => {
    const result = ExtendedConnect.checkSize(fields, { ...limits, ...change })
    return Result.isFailure(result) ? [result.failure.rule, result.failure.limit, result.failure.status] : "none"
  }

  it("each limit is kept at its value and exceeded one above", () => {
    assert.strictEqual(limitOf({}), "none")
    assert.deepStrictEqual(limitOf({ maxHeadSize: size - 1 }), ["HeadTooLarge", "maxHeadSize", 431])
    assert.deepStrictEqual(limitOf({ maxHeaderLines: 1 }), ["HeadTooLarge", "maxHeaderLines", 431])
    assert.deepStrictEqual(limitOf({ maxHeaderLineSize: 4 }), ["HeadTooLarge", "maxHeaderLineSize", 431])
  })
})

describe("a client", () => {
  const upgrade = Result.getOrThrow(Handshake.makeRequest({
    host: "example.com:8080",
    target: "/chat?room=1",
    key: "dGhlIHNhbXBsZSBub25jZQ==",
    origin: "https://example.com",
    subprotocols: ["chat"],
    headers: [["Authorization", "Bearer 1"], ["TE", "gzip"], ["Keep-Alive", "5"]]
  }))

  it("asks for what an upgrade asks for, without what is of HTTP/1.1 only", () => {
    const fields = ExtendedConnect.formatRequest(ExtendedConnect.fromUpgrade(upgrade), "http")
    assert.deepStrictEqual(fields, [
      [":method", "CONNECT"],
      [":protocol", "websocket"],
      [":scheme", "http"],
      [":authority", "example.com:8080"],
      [":path", "/chat?room=1"],
      ["sec-websocket-version", "13"],
      ["origin", "https://example.com"],
      ["sec-websocket-protocol", "chat"],
      ["authorization", "Bearer 1"]
    ])
    assert.strictEqual(ruleOf(ExtendedConnect.checkRequest(fields)), "none")
  })

  const responses: ReadonlyArray<readonly [string, ExtendedConnect.Fields, Rule | "none"]> = [
    ["200", [[":status", "200"]], "none"],
    ["what was offered", [[":status", "200"], ["sec-websocket-protocol", "chat"]], "none"],
    ["no status", [["sec-websocket-protocol", "chat"]], "InvalidPseudoHeader"],
    ["a status of two digits", [[":status", "20"]], "InvalidPseudoHeader"],
    ["a status twice", [[":status", "200"], [":status", "200"]], "InvalidPseudoHeader"],
    ["Upgrade", [[":status", "200"], ["upgrade", "websocket"]], "ConnectionSpecificHeader"],
    ["a subprotocol not offered", [[":status", "200"], ["sec-websocket-protocol", "mqtt"]], "UnofferedSubprotocol"],
    ["an extension not offered", [[":status", "200"], ["sec-websocket-extensions", "x"]], "UnofferedExtension"],
    [
      "two subprotocols",
      [[":status", "200"], ["sec-websocket-protocol", "chat"], ["sec-websocket-protocol", "chat"]],
      "InvalidSubprotocol"
    ]
  ]

  it.each(responses)("judges a response with %s", (_name, fields, rule) => {
    const checked = Result.flatMap(
      ExtendedConnect.parseResponse(fields),
      (head) => ExtendedConnect.checkResponse(head, { subprotocols: ["chat"], extensions: [] })
    )
    assert.strictEqual(ruleOf(checked), rule)
  })

  it("takes every status of 200 to 299 for agreement, and no other", () => {
    const agreeing = (status: number) =>
      ExtendedConnect.isAgreeing({ version: "HTTP/2", status, reason: "", headers: [] })
    assert.deepStrictEqual([101, 199, 200, 299, 300].map(agreeing), [false, false, true, true, false])
  })
})

describe("a server's own headers", () => {
  it("those of the handshake are refused, others are passed on", () => {
    const rule = (name: string) => ruleOf(ExtendedConnect.makeResponse({ headers: [[name, "1"]] }))
    assert.deepStrictEqual(["Sec-WebSocket-Protocol", "Upgrade", "X-Token"].map(rule), [
      "ReservedHeader",
      "ReservedHeader",
      "none"
    ])
  })
})
