/**
 * Cases of RFC 6455 section 4.1: what a client asks, and what it does with
 * answers.
 *
 * @since 1.0.0
 */
import type * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as Effect from "effect/Effect"
import type { Case } from "../runner/Case.ts"
import { answers, getsHead, getsLines, goodResponse, instead, without } from "../runner/Heads.ts"
import { Mismatch } from "../runner/Mismatch.ts"
import {
  alive,
  breaks,
  ends,
  expectsGone,
  expectsNothing,
  opens,
  passes,
  reads,
  refused,
  sends,
  step,
  writes
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const client = { roles: ["client"], unopened: true } as const

const asked = getsLines(["GET /chat HTTP/1.1"])
const keyLine = /^Sec-WebSocket-Key: [A-Za-z0-9+/]{21}[AQgw]==$/

// ---- the request

type Asked = readonly [
  name: string,
  options: Partial<WebSocketClient.ConnectOptions>,
  start: string,
  host: string,
  ...more: ReadonlyArray<string>
]

const requests: ReadonlyArray<Asked> = [
  ["plain", {}, "GET /chat HTTP/1.1", "example.com"],
  ["of-the-root", { url: "ws://example.com" }, "GET / HTTP/1.1", "example.com"],
  ["with-query", { url: "ws://example.com/a?b=c" }, "GET /a?b=c HTTP/1.1", "example.com"],
  ["with-query-of-the-root", { url: "ws://example.com?b" }, "GET /?b HTTP/1.1", "example.com"],
  ["with-port", { url: "ws://example.com:8080/" }, "GET / HTTP/1.1", "example.com:8080"],
  ["with-the-default-port", { url: "ws://example.com:80/" }, "GET / HTTP/1.1", "example.com"],
  ["with-the-default-port-of-tls", { url: "wss://example.com:443/" }, "GET / HTTP/1.1", "example.com"],
  ["with-the-port-of-the-other-scheme", { url: "wss://example.com:80/" }, "GET / HTTP/1.1", "example.com:80"],
  ["of-ipv6", { url: "ws://[::1]:9000/" }, "GET / HTTP/1.1", "[::1]:9000"],
  ["of-a-scheme-in-capitals", { url: "WS://EXAMPLE.com/A" }, "GET /A HTTP/1.1", "example.com"],
  [
    "with-origin",
    { origin: "https://app.example" },
    "GET /chat HTTP/1.1",
    "example.com",
    "Origin: https://app.example"
  ],
  [
    "with-subprotocols",
    { subprotocols: ["b", "a"] },
    "GET /chat HTTP/1.1",
    "example.com",
    "Sec-WebSocket-Protocol: b, a"
  ],
  [
    "with-headers",
    { headers: { Authorization: "Bearer x" } },
    "GET /chat HTTP/1.1",
    "example.com",
    "Authorization: Bearer x"
  ],
  ["with-cookies", { cookies: { a: "1", b: "2" } }, "GET /chat HTTP/1.1", "example.com", "Cookie: a=1; b=2"]
]

const requestCases = requests.map(([name, options, start, host, ...lines]): Case => ({
  id: `4.1/request-${name}`,
  rule: "The request has the target, Host, the two tokens, a key, version 13, and what else was asked for.",
  ...client,
  client: options,
  script: [
    getsHead(
      start,
      `Host: ${host}`,
      "Upgrade: websocket",
      "Connection: Upgrade",
      keyLine,
      "Sec-WebSocket-Version: 13",
      ...lines
    ),
    answers(goodResponse),
    opens,
    alive
  ]
}))

const unsent: ReadonlyArray<readonly [name: string, options: Partial<WebSocketClient.ConnectOptions>, rule: string]> = [
  ["fragment", { url: "ws://example.com/#x" }, "InvalidTarget"],
  ["another-scheme", { url: "ftp://example.com/" }, "InvalidTarget"],
  ["no-url", { url: "nonsense" }, "InvalidTarget"],
  ["user-and-password", { url: "ws://user:secret@example.com/" }, "InvalidHost"],
  ["subprotocol-twice", { subprotocols: ["a", "a"] }, "InvalidSubprotocol"],
  ["subprotocol-with-a-blank", { subprotocols: ["a b"] }, "InvalidSubprotocol"],
  ["header-with-a-line-end", { headers: { X: "a\r\nY: b" } }, "MalformedHeader"],
  ["own-key", { headers: { "Sec-WebSocket-Key": "x" } }, "ReservedHeader"],
  ["own-extensions", { headers: { "Sec-WebSocket-Extensions": "x" } }, "ReservedHeader"]
]

const unsentCases = unsent.map(([name, options, rule]): Case => ({
  id: `4.1/unsent-${name}`,
  rule: "For what would be an invalid request the server is not even dialled: the application is told.",
  ...client,
  client: options,
  undialled: true,
  script: [refused({ _tag: "InvalidRequest", rule })]
}))

// ---- the answer

type Row = readonly [name: string, lines: ReadonlyArray<string>, reason: Record<string, unknown>]

const invalid = (rule: string) => ({ _tag: "InvalidResponse", rule })
const declined = (status: number) => ({ _tag: "UpgradeDeclined", status })
const start = "HTTP/1.1"

const rows: ReadonlyArray<Row> = [
  ["garbage", ["garbage"], invalid("MalformedStartLine")],
  ["http-1.0", instead(goodResponse, start, "HTTP/1.0 101 Switching Protocols"), invalid("UnsupportedHttpVersion")],
  ["no-upgrade", without(goodResponse, "Upgrade"), invalid("MissingUpgrade")],
  ["upgrade-to-http-2", instead(goodResponse, "Upgrade", "Upgrade: h2c"), invalid("MissingUpgrade")],
  ["upgrade-among-others", instead(goodResponse, "Upgrade", "Upgrade: websocket, h2c"), invalid("MissingUpgrade")],
  ["no-connection", without(goodResponse, "Connection"), invalid("MissingConnectionUpgrade")],
  [
    "connection-keep-alive",
    instead(goodResponse, "Connection", "Connection: keep-alive"),
    invalid("MissingConnectionUpgrade")
  ],
  ["no-accept", without(goodResponse, "Sec-WebSocket-Accept"), invalid("InvalidAccept")],
  ["empty-accept", instead(goodResponse, "Sec-WebSocket-Accept", "Sec-WebSocket-Accept: "), invalid("InvalidAccept")],
  [
    "accept-of-another-key",
    instead(goodResponse, "Sec-WebSocket-Accept", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    invalid("InvalidAccept")
  ],
  [
    "accept-with-more-behind",
    instead(goodResponse, "Sec-WebSocket-Accept", "Sec-WebSocket-Accept: $acceptx"),
    invalid("InvalidAccept")
  ],
  ["two-accepts", [...goodResponse, "Sec-WebSocket-Accept: $accept"], invalid("InvalidAccept")],
  ["extension-that-was-not-offered", [...goodResponse, "Sec-WebSocket-Extensions: permessage-deflate"], {
    _tag: "ExtensionRefused",
    extension: "permessage-deflate"
  }],
  ["malformed-extensions", [...goodResponse, "Sec-WebSocket-Extensions: ;"], invalid("InvalidExtensions")],
  ["subprotocol-that-was-not-offered", [...goodResponse, "Sec-WebSocket-Protocol: v9"], {
    _tag: "SubprotocolRefused",
    chosen: "v9"
  }],
  ["subprotocol-in-another-case", [...goodResponse, "Sec-WebSocket-Protocol: V1"], {
    _tag: "SubprotocolRefused",
    chosen: "V1"
  }],
  ["two-subprotocols-on-a-line", [...goodResponse, "Sec-WebSocket-Protocol: v1, v2"], { _tag: "SubprotocolRefused" }],
  [
    "two-subprotocols",
    [...goodResponse, "Sec-WebSocket-Protocol: v1", "Sec-WebSocket-Protocol: v2"],
    invalid("InvalidSubprotocol")
  ],
  ["header-without-colon", [...goodResponse, "oops"], invalid("MalformedHeader")],
  ["folded-header", [...goodResponse, "X: a", " b"], invalid("MalformedHeader")],
  ["blank-before-the-colon", [...goodResponse, "X : a"], invalid("MalformedHeader")],
  ["long-line", [...goodResponse, `X: ${"x".repeat(9000)}`], { _tag: "HeadTooLarge", limit: "maxHeaderLineSize" }],
  ["many-lines", [...goodResponse, ...Array.from({ length: 101 }, () => "X: y")], {
    _tag: "HeadTooLarge",
    limit: "maxHeaderLines"
  }],
  ...[200, 204, 301, 302, 307, 400, 401, 403, 404, 426, 500, 503].map((status): Row => [
    `status-${status}`,
    [`HTTP/1.1 ${status} Whatever`, "Content-Length: 0"],
    declined(status)
  ])
]

const refusals = rows.map(([name, lines, reason]): Case => ({
  id: `4.1/answer-${name}`,
  rule: `An answer with ${name.replaceAll("-", " ")} gives no connection, and nothing more is sent.`,
  ...client,
  client: { subprotocols: ["v1", "v2"] },
  script: [asked, answers(lines), refused(reason), expectsGone]
}))

const variants: ReadonlyArray<readonly [name: string, lines: ReadonlyArray<string>]> = [
  ["as-it-should-be", goodResponse],
  [
    "tokens-in-any-case",
    instead(instead(goodResponse, "Upgrade", "UPGRADE: WebSocket"), "Connection", "connection: uPGRADE")
  ],
  ["connection-among-others", instead(goodResponse, "Connection", "Connection: keep-alive, Upgrade")],
  ["blanks-around-the-accept", instead(goodResponse, "Sec-WebSocket-Accept", "Sec-WebSocket-Accept:  \t$accept \t")],
  ["another-reason-phrase", instead(goodResponse, start, "HTTP/1.1 101 Web Socket Protocol Handshake")],
  ["no-reason-phrase", instead(goodResponse, start, "HTTP/1.1 101 ")],
  ["unknown-headers", [...goodResponse, "Server: x", "Set-Cookie: a=b", "__proto__: c"]],
  ["an-offered-subprotocol", [...goodResponse, "Sec-WebSocket-Protocol: v2"]],
  ["behind-an-interim-one", ["HTTP/1.1 100 Continue", "", ...goodResponse]]
]

const agreements = variants.map(([name, lines]): Case => ({
  id: `4.1/agrees-${name}`,
  rule: "An answer that keeps the rules opens the connection.",
  ...client,
  client: { subprotocols: ["v1", "v2"] },
  script: [asked, answers(lines), opens, alive]
}))

const others: ReadonlyArray<Case> = [
  {
    id: "4.1/answer-byte-by-byte",
    rule: "An answer that arrives byte by byte is the same answer.",
    ...client,
    script: [asked, answers(goodResponse, { size: 1 }), opens, alive]
  },
  {
    id: "4.1/frames-behind-the-answer",
    rule: "Bytes behind the answer, in the same chunk, are frames.",
    ...client,
    script: [asked, answers(goodResponse, { behind: Wire.encode("server", Wire.text("early")) }), reads("early"), alive]
  },
  {
    id: "4.1/nothing-before-the-answer",
    rule: "A client sends no frame before the answer.",
    ...client,
    transports: ["memory"],
    script: [asked, writes("waits"), expectsNothing, answers(goodResponse), opens]
  },
  {
    id: "4.1/fresh-key",
    rule: "Each connection has a key of its own.",
    ...client,
    script: () => [
      step("the key is not that of another connection", ({ peer }) =>
        Effect.flatMap(peer.head, (head) => {
          const key = /Sec-WebSocket-Key: (.*)\r\n/.exec(head)?.[1] ?? ""
          return atob(key).length === 16 && key !== "dGhlIHNhbXBsZSBub25jZQ=="
            ? Effect.void
            : Effect.fail(new Mismatch({ expected: "16 random bytes", actual: key }))
        }))
    ]
  },
  {
    id: "4.1/subprotocol-that-is-required",
    rule: "A client that needs a subprotocol fails where the server chose none.",
    ...client,
    client: { subprotocols: ["v1"], requireSubprotocol: true },
    script: [asked, answers(goodResponse), refused({ _tag: "SubprotocolRefused" }), expectsGone]
  },
  {
    id: "4.1/answer-that-ends",
    rule: "A transport that ends inside the answer gives no connection.",
    ...client,
    script: [
      asked,
      sends(Wire.utf8("HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso")),
      ends,
      refused({ _tag: "TransportFailed" }),
      expectsGone
    ]
  },
  {
    id: "4.1/answer-that-breaks",
    rule: "A transport that breaks before the answer gives no connection.",
    ...client,
    transports: ["memory"],
    script: [asked, breaks, refused({ _tag: "TransportFailed" })]
  },
  {
    id: "4.1/refusal-with-body",
    rule: "A refusal is told with status, headers, Retry-After and the beginning of its body.",
    ...client,
    script: [
      asked,
      answers(["HTTP/1.1 503 Busy", "Retry-After: 7", "Content-Length: 4"], { behind: Wire.utf8("busy") }),
      refused({ _tag: "UpgradeDeclined", status: 503, retryAfter: 7000, body: Wire.utf8("busy") }),
      expectsGone
    ]
  },
  {
    id: "time/slow-answer",
    rule: "An answer that takes longer than the handshake timeout gives no connection.",
    ...client,
    transports: ["memory"],
    config: { handshakeTimeout: "10 seconds" },
    script: [asked, passes("10 seconds"), refused({ _tag: "HandshakeTimeout", timeout: 10_000 }), expectsGone]
  }
]

export const clientHandshake: ReadonlyArray<Case> = [
  ...requestCases,
  ...unsentCases,
  ...refusals,
  ...agreements,
  ...others
]
