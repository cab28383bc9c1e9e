/**
 * RFC 6455 sections 1 to 4: URIs and the opening handshake.
 *
 * @since 1.0.0
 */
import { type Requirement, section } from "./Requirement.ts"

const entropy = [
  "websocket/test/Entropy.test.ts",
  "comes from the platform's cryptographic generator, many at a call, none of them twice"
] as const
const urls = ["platform-node/test/NodeTransport.test.ts", "ws: and http: dial TCP, wss: and https: dial TLS"] as const
const sni = [
  "platform-node/test/NodeTransport.test.ts",
  "names the host it wants: the one dialled, the one given, and never an IP address"
] as const
const tls = ["platform-node/test/NodeTransport.test.ts", "a certificate for another host fails"] as const

const browser = "binds browsers; this is a library for programs"
const redirects = "redirects are not followed; a program that follows one dials anew"

export const opening: ReadonlyArray<Requirement> = [
  section(6455, "1.3", [
    [
      "accept-is-proof",
      "MUST",
      "both",
      "The answer proves that the request was read: a digest of its key and of a fixed GUID.",
      ["4.2.2/as-it-should-be", "4.1/answer-accept-of-another-key"]
    ]
  ]),
  section(6455, "3", [
    ["no-fragment", "MUST NOT", "client", "The URI has no fragment identifier.", ["4.1/unsent-fragment"]],
    ["escaped-hash", "MUST", "client", "A number sign that begins no fragment is percent-encoded.", [
      "4.1/unsent-fragment"
    ]],
    [
      "resource-name",
      "MUST",
      "client",
      "The resource name is path and query, with / for an empty path and no ? for an empty query.",
      ["4.1/request-of-the-root", "4.1/request-with-query*"]
    ],
    ["default-ports", "MUST", "client", "Without a port it is 80 for ws and 443 for wss.", [
      "4.1/request-with-the-default-port*",
      urls
    ]]
  ]),
  section(6455, "4.1", [
    ["valid-uri", "MUST", "client", "The URI is valid by section 3, or the client gives up.", [
      "4.1/unsent-no-url",
      "4.1/unsent-another-scheme",
      "4.1/unsent-user-and-password"
    ]],
    [
      "one-connecting",
      "MUST",
      "client",
      "No more than one connection to a host is being opened at a time, unless the application means several peers.",
      "one call opens one connection; an application that calls twice means two"
    ],
    ["limit-pending", "MUST NOT", "client", "No web page opens connections without bound.", browser],
    [
      "proxy-connect",
      "SHOULD",
      "client",
      "Where a proxy is configured the client asks it for a tunnel to host and port.",
      "the transport below dials, through a proxy or not"
    ],
    [
      "proxy-socks",
      "SHOULD",
      "client",
      "A SOCKS proxy meant for WebSockets is used for them, and preferred to others.",
      "the transport below dials, through a proxy or not"
    ],
    ["dial-failed", "MUST", "client", "Where the transport cannot be opened the connection fails.", [[
      "platform-node/test/NodeTransport.test.ts",
      "a refused connection fails with Node's error as its cause"
    ]]],
    [
      "tls-first",
      "MUST",
      "client",
      "For wss the TLS handshake comes before the opening handshake, and the connection fails where it does.",
      [urls, tls]
    ],
    ["sni", "MUST", "client", "TLS names the server it wants (SNI).", [sni]],
    [
      "handshake-sent",
      "MUST",
      "client",
      "Once there is a transport the client sends an opening handshake: an HTTP upgrade request.",
      ["4.1/request-plain"]
    ],
    ["valid-http", "MUST", "client", "The request is a valid HTTP request.", ["4.1/request-*"]],
    ["get-1.1", "MUST", "client", "The method is GET, and HTTP is at least 1.1.", ["4.1/request-*"]],
    ["request-uri", "MUST", "client", "The target is the resource name, or an absolute URI that means the same.", [
      "4.1/request-with-query",
      "4.1/request-of-the-root"
    ]],
    ["host", "MUST", "client", "There is a Host with the host, and the port where it is not the default.", [
      "4.1/request-with-port",
      "4.1/request-with-the-default-port*",
      "4.1/request-with-the-port-of-the-other-scheme"
    ]],
    ["upgrade", "MUST", "client", "There is an Upgrade that names websocket.", ["4.1/request-*"]],
    ["connection", "MUST", "client", "There is a Connection that names Upgrade.", ["4.1/request-*"]],
    ["key", "MUST", "client", "There is a Sec-WebSocket-Key: 16 bytes in base64.", ["4.1/request-*", "4.1/fresh-key"]],
    ["key-fresh", "MUST", "client", "The key is chosen at random anew for each connection.", [
      "4.1/fresh-key",
      entropy,
      ["websocket/test/WebSocketClient.test.ts", "is written in this order, with a fresh key of 16 bytes each time"]
    ]],
    ["origin", "MUST", "client", "A browser's request has an Origin; another client's may have one.", [
      "4.1/request-with-origin",
      "4.1/request-plain"
    ]],
    ["version", "MUST", "client", "There is a Sec-WebSocket-Version of 13.", ["4.1/request-*"]],
    [
      "subprotocols",
      "MUST",
      "client",
      "Subprotocols are a list in order of preference, of tokens no two of which are the same.",
      ["4.1/request-with-subprotocols", "4.1/unsent-subprotocol-*"]
    ],
    ["extensions", "MAY", "client", "Extensions may be asked for, in the form of section 9.1.", ["7692-7.1/offer-*"]],
    ["wait", "MUST", "client", "The client waits for the answer before it sends anything more.", [
      "4.1/nothing-before-the-answer"
    ]],
    [
      "other-status",
      "MUST",
      "client",
      "An answer whose status is not 101 is handled by the rules of HTTP, and gives no connection.",
      ["4.1/answer-status-*", "4.1/refusal-with-body"]
    ],
    ["redirects", "MAY", "client", "A redirect may be followed, but need not be.", redirects],
    [
      "check-upgrade",
      "MUST",
      "client",
      "An answer without an Upgrade of websocket, in any case, fails the connection.",
      ["4.1/answer-no-upgrade", "4.1/answer-upgrade-*", "4.1/agrees-tokens-in-any-case"]
    ],
    [
      "check-connection",
      "MUST",
      "client",
      "An answer whose Connection does not name Upgrade, in any case, fails the connection.",
      ["4.1/answer-no-connection", "4.1/answer-connection-keep-alive", "4.1/agrees-connection-among-others"]
    ],
    [
      "check-accept",
      "MUST",
      "client",
      "An answer without the right Sec-WebSocket-Accept, blanks around it ignored, fails the connection.",
      [
        "4.1/answer-no-accept",
        "4.1/answer-empty-accept",
        "4.1/answer-accept-*",
        "4.1/answer-two-accepts",
        "4.1/agrees-blanks-around-the-accept"
      ]
    ],
    ["check-extensions", "MUST", "client", "An answer with an extension that was not asked for fails the connection.", [
      "4.1/answer-extension-that-was-not-offered",
      "7692-5.1/answer-*"
    ]],
    [
      "check-subprotocol",
      "MUST",
      "client",
      "An answer with a subprotocol that was not asked for fails the connection.",
      ["4.1/answer-subprotocol-*", "4.1/answer-two-subprotocols*", "4.1/subprotocol-that-is-required"]
    ],
    ["check-all", "MUST", "client", "An answer that breaks any rule of a server's answer fails the connection.", [
      "4.1/answer-http-1.0",
      "4.1/answer-malformed-extensions",
      "4.1/answer-header-without-colon",
      "4.1/answer-folded-header",
      "4.1/agrees-*"
    ]],
    ["cookies", "MAY", "client", "The request may have further headers, for cookies and authentication too.", [
      "4.1/request-with-headers",
      "4.1/request-with-cookies",
      "4.1/unsent-header-with-a-line-end"
    ]]
  ]),
  section(6455, "4.2.1", [
    ["judge", "MUST", "server", "A request that lacks what follows is refused with an HTTP error, such as 400.", [
      "4.2.1/*",
      "4.2.2/byte-by-byte",
      "4.2.2/empty-line-before",
      "4.2.2/empty-body",
      "4.2.2/headers-in-another-order"
    ]],
    ["get", "MUST", "server", "The request is a GET over HTTP 1.1 or higher with a resource name.", [
      "4.2.1/post",
      "4.2.1/http-1.0",
      "4.2.1/lower-case-get",
      "4.2.1/fragment-in-target",
      "4.2.2/absolute-target",
      "4.2.2/query",
      "4.2.2/query"
    ]],
    ["host", "MUST", "server", "It has a Host with the server's authority.", [
      "4.2.1/no-host",
      "4.2.1/two-hosts",
      "4.2.1/empty-host",
      "4.2.1/host-with-a-path",
      "4.2.2/host-*",
      "4.2.1/host-with-a-path",
      "4.2.2/host-*"
    ]],
    ["upgrade", "MUST", "server", "It has an Upgrade that names websocket, in any case.", [
      "4.2.1/no-upgrade",
      "4.2.1/upgrade-*",
      "4.2.2/tokens-in-any-case",
      "4.2.2/upgrade-among-others"
    ]],
    ["connection", "MUST", "server", "It has a Connection that names Upgrade, in any case.", [
      "4.2.1/no-connection",
      "4.2.1/connection-keep-alive",
      "4.2.2/connection-*"
    ]],
    ["key", "MUST", "server", "It has a key that decodes to 16 bytes.", [
      "4.2.1/no-key",
      "4.2.1/two-keys",
      "4.2.1/empty-key",
      "4.2.1/key-*"
    ]],
    ["version", "MUST", "server", "It has version 13.", ["4.2.1/no-version", "4.2.1/version-*", "4.2.1/two-versions"]],
    [
      "optional",
      "MAY",
      "server",
      "Origin, subprotocols, extensions and other headers may be there; those that are not known are ignored.",
      ["4.2.2/browser", "4.2.2/unknown-*"]
    ]
  ]),
  section(6455, "4.2.2", [
    [
      "tls",
      "MUST",
      "server",
      "Behind an https port the TLS handshake comes first, and the connection is closed where it fails.",
      [[
        "platform-node/test/NodeWebSocket.test.ts",
        "messages arrive whole in both directions, and the target and the close code too"
      ], [
        "platform-node/test/NodeTransport.test.ts",
        "a client without the certificate required never reaches the handler"
      ]]
    ],
    ["authenticate", "MAY", "server", "Further authentication may be asked for, by 401.", [
      "4.2.2/refused-by-the-application"
    ]],
    ["redirect", "MAY", "server", "The client may be sent elsewhere, by a status of 3xx.", [
      "4.2.2/redirected-by-the-application"
    ]],
    [
      "origin",
      "MUST",
      "server",
      "A request whose origin is not accepted is answered with an error such as 403, and is not opened.",
      ["10.2/refuses-*"]
    ],
    [
      "version",
      "MUST",
      "server",
      "Another version is refused with an error such as 426 that names the versions there are.",
      ["4.2.1/version-*", "4.4/other-version"]
    ],
    ["resource", "MUST", "server", "A resource that is not there is refused with an error such as 404.", [
      "4.2.2/refused-by-the-application"
    ]],
    ["subprotocol", "MUST", "server", "The subprotocol is one the client offered, or none.", ["4.2.2/subprotocol-*"]],
    [
      "no-subprotocol",
      "MUST NOT",
      "server",
      "Where none is agreed there is no Sec-WebSocket-Protocol, not even an empty one.",
      ["4.2.2/subprotocol-none-offered", "4.2.2/subprotocol-unknown"]
    ],
    ["extensions", "MUST NOT", "server", "No extension is answered that was not asked for.", [
      "4.2.2/as-it-should-be",
      "4.2.2/unknown-extension",
      "7692-7.1/unasked"
    ]],
    ["status", "MUST", "server", "The answer is a 101 over HTTP/1.1.", ["4.2.2/as-it-should-be"]],
    ["upgrade", "MUST", "server", "It has an Upgrade of websocket.", ["4.2.2/as-it-should-be"]],
    ["connection", "MUST", "server", "It has a Connection of Upgrade.", ["4.2.2/as-it-should-be"]],
    ["accept", "MUST", "server", "It has the base64 of the SHA-1 of the key, without its blanks, and the GUID.", [
      "4.2.2/as-it-should-be",
      "4.2.2/blanks-around-values"
    ]],
    ["open", "MUST", "server", "With its answer sent the connection is open for the server, and it may send.", [
      "4.2.2/frames-behind-the-request",
      "4.2.2/unfinished-request",
      "4.2.2/broken-transport",
      "4.2.2/unfinished-request",
      "4.2.2/broken-transport"
    ]],
    ["no-crlf", "MUST NOT", "server", "Nothing the application adds breaks the answer's grammar.", [
      "4.2.2/headers-that-would-break-the-answer",
      "4.2.2/subprotocol-that-was-not-offered",
      "4.2.2/headers-of-the-application",
      "4.2.2/headers-of-the-application"
    ]]
  ]),
  section(6455, "4.3", [
    ["grammar", "MUST", "both", "The new headers keep to their grammar.", [
      ["protocol/test/Extension.test.ts", "refuses all lines for one that is malformed"],
      "4.2.1/empty-extensions",
      "4.2.1/extension-*",
      "4.2.1/empty-subprotocols",
      "4.1/answer-malformed-extensions"
    ]],
    ["once", "MUST NOT", "both", "Key, accept and the answer's subprotocol appear once.", [
      "4.2.1/two-keys",
      "4.2.1/two-versions",
      "4.1/answer-two-accepts",
      "4.1/answer-two-subprotocols"
    ]],
    [
      "several-lines",
      "MAY",
      "both",
      "Lists of extensions and subprotocols may be spread over lines, and mean the same as on one.",
      ["4.2.2/subprotocol-on-two-lines", ["protocol/test/Extension.test.ts", "joins all lines in their order"]]
    ]
  ]),
  section(6455, "4.4", [
    ["retry", "MUST", "server", "A server that does not speak the client's version answers with all it speaks.", [
      "4.4/other-version"
    ]],
    [
      "client-version",
      "MAY",
      "client",
      "A client may try again with a version that the server named.",
      "this client speaks 13 only, and says so by UpgradeDeclined with the answer's headers"
    ]
  ])
].flat()
