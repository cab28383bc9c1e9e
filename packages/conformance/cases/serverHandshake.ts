/**
 * Cases of RFC 6455 sections 4.2 and 4.4: what a server does with requests.
 *
 * @since 1.0.0
 */
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Effect from "effect/Effect"
import type { Case, Script } from "../runner/Case.ts"
import {
  agreed,
  asks,
  bytesOf,
  getsHead,
  getsLines,
  getsRefusal,
  goodRequest,
  instead,
  key,
  without
} from "../runner/Heads.ts"
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
  sends
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const server = { roles: ["server"], unopened: true } as const

// ---- refused

type Row = readonly [name: string, lines: ReadonlyArray<string>, status: number, rule: string]

const rows: ReadonlyArray<Row> = [
  ["garbage", ["garbage"], 400, "MalformedStartLine"],
  ["tls-hello", ["\u0016\u0003\u0001"], 400, "MalformedStartLine"],
  ["http-1.0", instead(goodRequest, "GET", "GET /chat HTTP/1.0"), 505, "UnsupportedHttpVersion"],
  ["http-0.9", instead(goodRequest, "GET", "GET /chat HTTP/0.9"), 505, "UnsupportedHttpVersion"],
  ["http-2", instead(goodRequest, "GET", "GET /chat HTTP/2.0"), 505, "UnsupportedHttpVersion"],
  ["post", instead(goodRequest, "GET", "POST /chat HTTP/1.1"), 405, "MethodNotGet"],
  ["head", instead(goodRequest, "GET", "HEAD /chat HTTP/1.1"), 405, "MethodNotGet"],
  ["connect", instead(goodRequest, "GET", "CONNECT example.com:80 HTTP/1.1"), 405, "MethodNotGet"],
  ["lower-case-get", instead(goodRequest, "GET", "get /chat HTTP/1.1"), 405, "MethodNotGet"],
  ["fragment-in-target", instead(goodRequest, "GET", "GET /chat#x HTTP/1.1"), 400, "InvalidTarget"],
  ["target-without-slash", instead(goodRequest, "GET", "GET chat HTTP/1.1"), 400, "InvalidTarget"],
  ["target-of-another-scheme", instead(goodRequest, "GET", "GET ftp://example.com/ HTTP/1.1"), 400, "InvalidTarget"],
  ["no-host", without(goodRequest, "Host"), 400, "InvalidHost"],
  ["two-hosts", [...goodRequest, "Host: example.com"], 400, "InvalidHost"],
  ["empty-host", instead(goodRequest, "Host", "Host: "), 400, "InvalidHost"],
  ["host-with-a-path", instead(goodRequest, "Host", "Host: example.com/x"), 400, "InvalidHost"],
  ["no-upgrade", without(goodRequest, "Upgrade"), 426, "MissingUpgrade"],
  ["upgrade-to-http-2", instead(goodRequest, "Upgrade", "Upgrade: h2c"), 426, "MissingUpgrade"],
  ["upgrade-that-is-like-it", instead(goodRequest, "Upgrade", "Upgrade: websockets"), 426, "MissingUpgrade"],
  ["no-connection", without(goodRequest, "Connection"), 426, "MissingConnectionUpgrade"],
  [
    "connection-keep-alive",
    instead(goodRequest, "Connection", "Connection: keep-alive"),
    426,
    "MissingConnectionUpgrade"
  ],
  ["no-key", without(goodRequest, "Sec-WebSocket-Key"), 400, "InvalidKey"],
  ["two-keys", [...goodRequest, `Sec-WebSocket-Key: ${key}`], 400, "InvalidKey"],
  ["empty-key", instead(goodRequest, "Sec-WebSocket-Key", "Sec-WebSocket-Key: "), 400, "InvalidKey"],
  [
    "key-of-15-bytes",
    instead(goodRequest, "Sec-WebSocket-Key", "Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFh"),
    400,
    "InvalidKey"
  ],
  [
    "key-of-17-bytes",
    instead(goodRequest, "Sec-WebSocket-Key", "Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFhYWE="),
    400,
    "InvalidKey"
  ],
  [
    "key-without-padding",
    instead(goodRequest, "Sec-WebSocket-Key", `Sec-WebSocket-Key: ${key.slice(0, -2)}`),
    400,
    "InvalidKey"
  ],
  [
    "key-that-is-no-base64",
    instead(goodRequest, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q=="),
    400,
    "InvalidKey"
  ],
  [
    "key-with-stray-bits",
    instead(goodRequest, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="),
    400,
    "InvalidKey"
  ],
  ["no-version", without(goodRequest, "Sec-WebSocket-Version"), 426, "UnsupportedVersion"],
  ...["0", "8", "12", "14", "013", "13, 8", "x"].map((version): Row => [
    `version-${version.replace(", ", "-and-")}`,
    instead(goodRequest, "Sec-WebSocket-Version", `Sec-WebSocket-Version: ${version}`),
    426,
    "UnsupportedVersion"
  ]),
  ["two-versions", [...goodRequest, "Sec-WebSocket-Version: 13"], 426, "UnsupportedVersion"],
  ["empty-subprotocols", [...goodRequest, "Sec-WebSocket-Protocol: "], 400, "InvalidSubprotocol"],
  ["subprotocol-twice", [...goodRequest, "Sec-WebSocket-Protocol: a, a"], 400, "InvalidSubprotocol"],
  ["subprotocol-with-a-blank", [...goodRequest, "Sec-WebSocket-Protocol: a b"], 400, "InvalidSubprotocol"],
  ["subprotocol-beyond-ascii", [...goodRequest, "Sec-WebSocket-Protocol: \u00e9"], 400, "InvalidSubprotocol"],
  ["empty-extensions", [...goodRequest, "Sec-WebSocket-Extensions: "], 400, "InvalidExtensions"],
  ["extension-without-name", [...goodRequest, "Sec-WebSocket-Extensions: ;a"], 400, "InvalidExtensions"],
  ["extension-unfinished-quote", [...goodRequest, "Sec-WebSocket-Extensions: a; b=\"c"], 400, "InvalidExtensions"],
  ["extension-quoted-blank", [...goodRequest, "Sec-WebSocket-Extensions: a; b=\"c d\""], 400, "InvalidExtensions"],
  ["body", [...goodRequest, "Content-Length: 5"], 400, "UnexpectedBody"],
  ["chunked-body", [...goodRequest, "Transfer-Encoding: chunked"], 400, "UnexpectedBody"],
  ["header-without-colon", [...goodRequest, "oops"], 400, "MalformedHeader"],
  ["folded-header", [...goodRequest, "X: a", " b"], 400, "MalformedHeader"],
  ["blank-before-the-colon", [...goodRequest, "X : a"], 400, "MalformedHeader"],
  ["nul-in-a-header", [...goodRequest, "X: a\u0000b"], 400, "MalformedHeader"],
  ["two-origins", [...goodRequest, "Origin: http://example.com", "Origin: http://example.com"], 400, "MalformedHeader"]
]

const extraLines: Readonly<Record<number, ReadonlyArray<string>>> = {
  405: ["Allow: GET"],
  426: ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
}

const refusals = rows.map(([name, lines, status, rule]): Case => ({
  id: `4.2.1/${name}`,
  rule: `A request with ${
    name.replaceAll("-", " ")
  } is answered with ${status}, the transport is closed, and no frame is looked at.`,
  ...server,
  script: [
    asks(lines),
    sends(Wire.text("never looked at")),
    getsRefusal(status, ...extraLines[status] ?? []),
    refused({ _tag: "InvalidRequest", rule, status })
  ]
}))

const tooLarge: ReadonlyArray<Case> = ([
  ["long-line", { maxHeaderLineSize: 100 }, [...goodRequest, `X: ${"x".repeat(100)}`], "maxHeaderLineSize"],
  [
    "many-lines",
    { maxHeaderLines: 10 },
    [...goodRequest, ...Array.from({ length: 6 }, () => "X: y")],
    "maxHeaderLines"
  ],
  ["large-head", { maxHeadSize: 150 }, [...goodRequest, "X: y", "X: y", "X: y", "X: y", "X: y"], "maxHeadSize"],
  ["endless-first-line", {}, [`GET /${"x".repeat(10_000)}`], "maxHeaderLineSize"]
] as const).map(([name, config, lines, limit]): Case => ({
  id: `4.2.1/${name}`,
  rule: "A head beyond a limit is answered with 431.",
  ...server,
  config,
  script: [asks(lines), getsRefusal(431), refused({ _tag: "HeadTooLarge", limit })]
}))

// ---- agreed

const variants: ReadonlyArray<readonly [name: string, lines: ReadonlyArray<string>]> = [
  ["as-it-should-be", goodRequest],
  [
    "tokens-in-any-case",
    instead(instead(goodRequest, "Connection", "connection: uPGRADE"), "Upgrade", "UPGRADE: WebSocket")
  ],
  ["connection-among-others", instead(goodRequest, "Connection", "Connection: keep-alive, Upgrade")],
  ["connection-on-two-lines", instead(goodRequest, "Connection", "Connection: keep-alive", "Connection: Upgrade")],
  ["upgrade-among-others", instead(goodRequest, "Upgrade", "Upgrade: h2c, websocket")],
  ["headers-in-another-order", [goodRequest[0]!, ...goodRequest.slice(1).toReversed()]],
  ["blanks-around-values", instead(goodRequest, "Sec-WebSocket-Key", `Sec-WebSocket-Key:   ${key}  `)],
  ["absolute-target", instead(goodRequest, "GET", "GET http://example.com/chat HTTP/1.1")],
  ["query", instead(goodRequest, "GET", "GET /chat?a=b HTTP/1.1")],
  ["host-with-port", instead(goodRequest, "Host", "Host: example.com:8080")],
  ["host-is-ipv6", instead(goodRequest, "Host", "Host: [::1]:8080")],
  ["empty-body", [...goodRequest, "Content-Length: 0"]],
  ["unknown-headers", [...goodRequest, "X-Anything: goes", "__proto__: x", "constructor: y"]],
  ["unknown-extension", [...goodRequest, "Sec-WebSocket-Extensions: x-unknown; a; b=c; d=\"e\", x-other"]],
  ["unknown-subprotocol", [...goodRequest, "Sec-WebSocket-Protocol: unknown"]],
  ["browser", [
    ...goodRequest,
    "Origin: http://example.com",
    "Cookie: a=b",
    "Pragma: no-cache",
    "User-Agent: Mozilla/5.0",
    "Accept-Encoding: gzip"
  ]]
]

const agreements = variants.map(([name, lines]): Case => ({
  id: `4.2.2/${name}`,
  rule: "A request that keeps the rules is answered with 101, the right accept value, and nothing it did not ask for.",
  ...server,
  script: [asks(lines), getsHead(...agreed), opens, alive]
}))

const subprotocol = (name: string, offered: ReadonlyArray<string>, chosen: string | undefined): Case => ({
  id: `4.2.2/subprotocol-${name}`,
  rule: "The server chooses one of the subprotocols that were offered, by its own preference, or none.",
  ...server,
  server: { subprotocols: ["v2", "v1"] },
  script: [
    asks([...goodRequest, ...offered.map((line) => `Sec-WebSocket-Protocol: ${line}`)]),
    getsHead(...agreed, ...chosen === undefined ? [] : [`Sec-WebSocket-Protocol: ${chosen}`]),
    opens,
    alive
  ]
})

const refuses = (name: string, origin: string, options: WebSocketServer.AcceptOptions): Case => ({
  id: `10.2/refuses-${name}`,
  rule: "A page of an origin that was not allowed is answered with 403.",
  ...server,
  server: options,
  script: [
    asks([...goodRequest, `Origin: ${origin}`]),
    getsRefusal(403),
    refused({ _tag: "InvalidRequest", rule: "ForbiddenOrigin", status: 403 })
  ]
})

const allows = (name: string, origin: string, options: WebSocketServer.AcceptOptions): Case => ({
  id: `10.2/allows-${name}`,
  rule: "A page of an origin that was allowed is let in.",
  ...server,
  server: options,
  script: [asks([...goodRequest, `Origin: ${origin}`]), getsHead(...agreed), opens, alive]
})

const origins: ReadonlyArray<Case> = [
  refuses("another-origin", "http://evil.example", {}),
  refuses("an-origin-that-begins-so", "http://example.com.evil.example", {}),
  refuses("an-origin-that-ends-so", "http://evilexample.com", {}),
  refuses("another-port", "http://example.com:81", {}),
  refuses("null", "null", {}),
  refuses("plain-http-behind-tls", "http://example.com", { secure: true }),
  refuses("what-is-not-listed", "http://example.com", { origins: ["https://app.example"] }),
  allows("the-same", "http://example.com", {}),
  allows("the-same-in-capitals", "HTTP://EXAMPLE.COM", {}),
  allows("what-is-listed", "https://app.example", { origins: ["https://app.example"] }),
  allows("any", "http://evil.example", { origins: "any" })
]

const refusal: WebSocketServer.AcceptOptions = {
  accept: () =>
    Effect.fail(
      new WebSocketServer.Refusal({ status: 401, headers: { "WWW-Authenticate": "Basic" }, body: "who are you?" })
    )
}

const others: ReadonlyArray<Case> = [
  {
    id: "4.2.2/byte-by-byte",
    rule: "A request that arrives byte by byte is the same request.",
    ...server,
    script: [asks(goodRequest, 1), getsHead(...agreed), opens, alive]
  },
  {
    id: "4.2.2/empty-line-before",
    rule: "An empty line before a request is passed over.",
    ...server,
    script: [asks(["", ...goodRequest]), getsHead(...agreed), opens]
  },
  {
    id: "4.2.2/frames-behind-the-request",
    rule: "Bytes behind the request, in the same chunk, are frames, and they wait for the answer.",
    ...server,
    script: (role): Script => [
      sends(
        Wire.concat([bytesOf(goodRequest), Wire.encode(role === "server" ? "client" : "server", Wire.text("early"))])
      ),
      getsHead(...agreed),
      reads("early"),
      alive
    ]
  },
  {
    id: "4.2.2/refused-by-the-application",
    rule: "The application can refuse with a status, headers and a body.",
    ...server,
    server: refusal,
    script: [
      asks(goodRequest),
      getsRefusal(401, "WWW-Authenticate: Basic", "Content-Length: 12"),
      refused({ _tag: "Refused", status: 401 })
    ]
  },
  {
    id: "4.2.2/redirected-by-the-application",
    rule: "The application can send the client elsewhere.",
    ...server,
    server: {
      accept: () =>
        Effect.fail(new WebSocketServer.Refusal({ status: 307, headers: { Location: "ws://other.example/" } }))
    },
    script: [
      asks(goodRequest),
      getsRefusal(307, "Location: ws://other.example/"),
      refused({ _tag: "Refused", status: 307 })
    ]
  },
  {
    id: "4.2.2/headers-of-the-application",
    rule: "The application can add headers to the answer.",
    ...server,
    server: { accept: () => Effect.succeed({ headers: { "Set-Cookie": "a=b" } }) },
    script: [asks(goodRequest), getsHead(...agreed, "Set-Cookie: a=b"), opens, alive]
  },
  {
    id: "4.2.2/headers-that-would-break-the-answer",
    rule: "Headers of the application that would end a line are not sent: the answer is 500.",
    ...server,
    server: { accept: () => Effect.succeed({ headers: { X: "a\r\nY: b" } }) },
    script: [asks(goodRequest), getsRefusal(500), refused({ _tag: "InvalidResponse", rule: "MalformedHeader" })]
  },
  {
    id: "4.2.2/subprotocol-that-was-not-offered",
    rule: "A subprotocol that was not offered is not answered: the answer is 500.",
    ...server,
    server: { accept: () => Effect.succeed({ subprotocol: "v9" }) },
    script: [asks(goodRequest), getsRefusal(500), refused({ _tag: "SubprotocolRefused", chosen: "v9" })]
  },
  subprotocol("none-offered", [], undefined),
  subprotocol("unknown", ["v9"], undefined),
  subprotocol("one", ["v1"], "v1"),
  subprotocol("preferred", ["v1, v2"], "v2"),
  subprotocol("on-two-lines", ["v1", "v2"], "v2"),
  subprotocol("in-another-case", ["V1"], undefined),
  {
    id: "4.2.2/unfinished-request",
    rule: "A request that ends with the transport gives no connection and no answer.",
    ...server,
    script: [sends(bytesOf(goodRequest).slice(0, -4)), ends, expectsGone, refused({ _tag: "TransportFailed" })]
  },
  {
    id: "4.2.2/broken-transport",
    rule: "A transport that breaks inside a request gives no connection.",
    ...server,
    transports: ["memory"],
    script: [sends(bytesOf(goodRequest).slice(0, -4)), breaks, refused({ _tag: "TransportFailed" })]
  },
  {
    id: "time/slow-request",
    rule: "A request that takes longer than the handshake timeout is answered with 408.",
    ...server,
    transports: ["memory"],
    config: { handshakeTimeout: "10 seconds" },
    script: [
      sends(bytesOf(goodRequest).slice(0, 20)),
      passes("9999 millis"),
      expectsNothing,
      passes("1 millis"),
      getsLines([/^HTTP\/1.1 408 /]),
      ends,
      refused({ _tag: "HandshakeTimeout", timeout: 10_000 })
    ]
  },
  {
    id: "10.7/pipelined-behind-a-refusal",
    rule: "A second request behind one that was refused is never answered.",
    ...server,
    script: [
      sends(Wire.concat([bytesOf(without(goodRequest, "Upgrade")), bytesOf(goodRequest)])),
      getsRefusal(426),
      refused({ _tag: "InvalidRequest" })
    ]
  },
  {
    id: "4.4/other-version",
    rule: "A client of another version is told which one there is, and may try again on another connection.",
    ...server,
    script: [
      asks(instead(goodRequest, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 25")),
      getsRefusal(426, "Sec-WebSocket-Version: 13"),
      refused({ _tag: "InvalidRequest", rule: "UnsupportedVersion" })
    ]
  }
]

export const serverHandshake: ReadonlyArray<Case> = [...refusals, ...tooLarge, ...agreements, ...origins, ...others]
