/**
 * RFC 6455 sections 7 to 11: closing, errors, extensions, security, and what is
 * left to registries.
 *
 * @since 1.0.0
 */
import { type Requirement, section } from "./Requirement.ts"

const entropy = [
  "websocket/test/Entropy.test.ts",
  "comes from the platform's cryptographic generator, many at a call, none of them twice"
] as const

export const closing: ReadonlyArray<Requirement> = [
  section(6455, "7.1.1", [
    ["clean", "SHOULD", "both", "Transport and TLS are ended in order, and bytes that still come are read.", [
      "7.1.1/server-ends-first",
      "7.1.7/peer-that-keeps-sending"
    ]],
    [
      "server-first",
      "SHOULD",
      "server",
      "The server ends the transport first, so that it and not the client is left waiting.",
      ["7.1.1/server-ends-first"]
    ],
    ["client-bounded", "MAY", "client", "A client that waited long enough ends the transport itself.", [
      "7.1.1/client-does-not-wait-for-ever"
    ]],
    ["server-bounded", "MAY", "server", "A server need not wait for ever for the client's end.", [
      "7.1.1/server-does-not-wait-for-ever"
    ]]
  ]),
  section(6455, "7.1.2", [
    ["start", "MUST", "both", "Closing begins with a close frame of the given code and reason.", [
      "7.4/closes-with-*",
      "7.4/closes-without-code"
    ]],
    ["finish", "SHOULD", "both", "With a close sent and received the connection is closed as section 7.1.1 says.", [
      "7.1.2/messages-behind-our-close",
      "7.1.2/both-at-once",
      "7.1.2/twice"
    ]],
    ["unanswered", "SHOULD", "both", "A peer that never answers does not keep the connection.", [
      "7.1.2/peer-that-never-answers"
    ]]
  ]),
  section(6455, "7.1.3", [
    ["closing-state", "MUST", "both", "With a close sent or received the connection is closing.", ["7.1.3/state"]]
  ]),
  section(6455, "7.1.4", [
    [
      "closed-state",
      "MUST",
      "both",
      "With the transport ended it is closed, cleanly where the closing handshake was done before.",
      ["7.1.3/state", "7.1.7/end-without-close", "7.4/closes-with-1000"]
    ]
  ]),
  section(6455, "7.1.5", [
    [
      "code",
      "MUST",
      "both",
      "The connection's code is that of the first close received; 1005 where it had none; 1006 without a close.",
      ["7.1.5/other-code-than-ours", "5.5.1/empty", "7.1.7/end-without-close", "7.4/peer-closes-with-*"]
    ]
  ]),
  section(6455, "7.1.6", [
    ["reason", "MUST", "both", "The connection's reason is that of the first close received, or empty.", [
      "7.1.6/reason",
      "5.5.1/longest-reason",
      "5.5.1/empty"
    ]]
  ]),
  section(6455, "7.1.7", [
    [
      "client-fails",
      "MUST",
      "client",
      "A client that has to fail the connection ends the transport, and may tell its application.",
      ["7.1.7/nothing-after-a-failure", "4.1/answer-*"]
    ],
    ["server-fails", "SHOULD", "server", "A server that has to fail the connection ends the transport.", [
      "7.1.7/nothing-after-a-failure"
    ]],
    ["close-first", "SHOULD", "both", "Where the connection was open a close with the right code goes first.", [
      "5.2/opcode-*",
      "5.4/continuation-without-start",
      "8.1/wrong-*",
      "10.4/message-over-the-limit"
    ]],
    ["no-more", "MUST NOT", "both", "Nothing that arrives behind that is handled, not even the peer's close.", [
      "7.1.7/nothing-after-a-failure",
      "7.1.7/violation-while-closing"
    ]],
    [
      "not-otherwise",
      "SHOULD NOT",
      "both",
      "Without a reason by this protocol or its application the transport is not ended.",
      ["flood/pongs", "5.2/unfinished-header", "5.5.3/unasked-pong-*"]
    ]
  ]),
  section(6455, "7.2.1", [
    ["client-lost", "MUST", "client", "A client whose transport is lost fails the connection.", [
      "7.1.7/broken",
      "7.2.1/lost-while-writing",
      "7.1.7/end-without-close",
      "7.1.7/end-inside-*"
    ]]
  ]),
  section(6455, "7.2.2", [
    ["server-aborts", "MUST", "server", "A server that may or has to abort does so as failing says.", [
      "7.1.7/nothing-after-a-failure",
      "7.2.2/peer-vanishes-behind-its-close",
      "7.1.7/peer-that-keeps-sending"
    ]]
  ]),
  section(6455, "7.2.3", [
    [
      "backoff",
      "SHOULD",
      "client",
      "A client that reconnects waits a random time first, and longer each time.",
      "reconnecting is Effect.retry with a Schedule of the application's choice"
    ]
  ]),
  section(6455, "7.3", [
    ["server-closes", "MAY", "server", "A server may close whenever it wants, a client should not without a reason.", [
      "7.3/leaving-by-*",
      "drain/says-going-away"
    ]]
  ]),
  section(6455, "7.4.1", [
    ["defined", "MAY", "both", "The codes that are defined may be sent.", [
      "7.4/closes-with-1000",
      "7.4/closes-with-1001",
      "7.4/closes-with-1002",
      "7.4/closes-with-1003",
      "7.4/closes-with-1007",
      "7.4/closes-with-1008",
      "7.4/closes-with-1009",
      "7.4/closes-with-1010",
      "7.4/closes-with-1011"
    ]],
    ["1004", "MUST NOT", "both", "1004 is reserved and not sent.", [
      "7.4/refuses-to-close-with-1004",
      "7.4/peer-closes-with-1004"
    ]],
    ["1005", "MUST NOT", "both", "1005 is not sent.", ["7.4/refuses-to-close-with-1005", "7.4/peer-closes-with-1005"]],
    ["1006", "MUST NOT", "both", "1006 is not sent.", ["7.4/refuses-to-close-with-1006", "7.4/peer-closes-with-1006"]],
    ["1015", "MUST NOT", "both", "1015 is not sent.", ["7.4/refuses-to-close-with-1015", "7.4/peer-closes-with-1015"]],
    [
      "1010",
      "MAY",
      "client",
      "A client that needed an extension says which one it was.",
      "what is not as it was asked for fails in the opening handshake, before any close"
    ],
    [
      "meaning",
      "SHOULD",
      "both",
      "The code says what happened: 1002 for the framing, 1007 for text, 1009 for size, 1008 for a policy.",
      ["5.2/rsv-*", "8.1/wrong-*", "10.4/message-over-the-limit", "10.4/fragments-beyond-the-limit"]
    ]
  ]),
  section(6455, "7.4.2", [
    ["0-999", "MUST NOT", "both", "Codes up to 999 are not used.", [
      "7.4/refuses-to-close-with-0",
      "7.4/refuses-to-close-with-999",
      "7.4/peer-closes-with-0",
      "7.4/peer-closes-with-999",
      "7.4/*-with-1"
    ]],
    ["1000-2999", "MUST NOT", "both", "Codes up to 2999 that are not registered are not used.", [
      "7.4/refuses-to-close-with-1016",
      "7.4/refuses-to-close-with-2999",
      "7.4/peer-closes-with-1100",
      "7.4/peer-closes-with-2000",
      "7.4/refuses-to-close-with-1100",
      "7.4/refuses-to-close-with-1999",
      "7.4/refuses-to-close-with-2000"
    ]],
    ["3000-4999", "MAY", "both", "Codes from 3000 to 4999 are for libraries and applications.", [
      "7.4/closes-with-3000",
      "7.4/closes-with-3999",
      "7.4/closes-with-4000",
      "7.4/closes-with-4999",
      "7.4/peer-closes-with-4999",
      "7.4/*-with-5000",
      "7.4/*-with-65535"
    ]]
  ]),
  section(6455, "8.1", [
    ["fail", "MUST", "both", "Text that is not UTF-8 fails the connection, in the handshake too.", [
      "8.1/wrong-*",
      "5.5.1/reason-*"
    ]],
    ["whole-message", "MUST", "both", "It is the whole message that is judged.", [
      "8.1/right-*-scattered",
      "8.1/not-before-it-is-wrong",
      "8.1/messages-are-judged-apart",
      "8.1/long-text",
      "8.1/parts-are-whole-code-points"
    ]],
    ["sends-utf8", "MUST", "both", "What is sent as text is UTF-8.", [
      "8.1/lone-surrogates-are-not-sent",
      "6.1/bytes-as-text"
    ]],
    ["fail-fast", "MAY", "both", "It may be seen before the message ends.", [
      "8.1/wrong-surrogate-d800-at-once-in-a-frame",
      "8.1/wrong-ff-at-once-in-a-fragment"
    ]]
  ]),
  section(6455, "9.1", [
    [
      "grammar",
      "MUST",
      "both",
      "Sec-WebSocket-Extensions is a list of tokens with parameters; a quoted value is a token once unquoted.",
      ["4.2.1/extension-*", "4.2.2/unknown-extension", [
        "protocol/test/Extension.test.ts",
        "any text gives a result and never throws"
      ]]
    ],
    ["fail", "MUST", "both", "A header that breaks the grammar fails the connection.", [
      "4.2.1/empty-extensions",
      "4.2.1/extension-without-name",
      "4.1/answer-malformed-extensions"
    ]],
    ["order", "MUST", "both", "Extensions are in order of preference, and used in the order answered.", [[
      "protocol/test/Extension.test.ts",
      "joins all lines in their order"
    ], "7692-5/offers-in-order"]],
    ["only-asked", "MUST NOT", "server", "Nothing is answered that was not asked for.", [
      "7692-7.1/unasked",
      "4.2.2/unknown-extension"
    ]],
    ["supported", "MUST", "client", "A client asks for what it can do, and takes any answer to it.", [
      "7692-7.1/offer-*",
      "7692-7.1/agreed-*"
    ]]
  ]),
  section(6455, "9.2", [
    ["known", "MAY", "both", "Extensions are those that are known; others are passed over.", [
      "4.2.2/unknown-extension",
      "4.1/answer-extension-that-was-not-offered"
    ]]
  ]),
  section(6455, "10.1", [
    ["other-clients", "SHOULD", "server", "A server does not trust what a client says of itself.", [
      "4.2.1/*",
      "5.1/text-the-wrong-way"
    ]]
  ]),
  section(6455, "10.2", [
    ["origin", "SHOULD", "server", "A server not meant for every page checks the Origin, and answers 403.", [
      "10.2/refuses-*",
      "10.2/allows-*"
    ]]
  ]),
  section(6455, "10.3", [
    ["masking", "MUST", "client", "Clients mask, so that no page chooses the bytes on the wire.", [
      "5.1/sent-frames",
      "5.3/fresh-keys",
      entropy
    ]],
    [
      "before-fragments",
      "MUST NOT",
      "client",
      "Once a frame has begun nothing of it may be chosen by who knows its key.",
      ["5.3/fresh-keys", "5.4/sends-control-between-fragments"]
    ]
  ]),
  section(6455, "10.4", [
    ["limits", "MUST", "both", "What is received has limits of its own, for a frame and for a message of many.", [
      "10.4/message-over-the-limit",
      "10.4/fragments-*",
      "10.4/length-*",
      "flood/empty-fragments",
      "10.4/message-of-the-limit",
      "10.4/judged-at-the-header",
      "10.4/control-frames-do-not-count",
      "10.4/limits-are-per-message",
      "10.4/empty-fragments-beyond-the-limit"
    ]],
    ["connections", "SHOULD", "server", "A server limits how many connections and handshakes it has.", [
      "10.4/connections",
      "10.4/handshakes"
    ]]
  ]),
  section(6455, "10.5", [
    ["authentication", "MAY", "server", "Any authentication of HTTP may be used.", [
      "4.2.2/refused-by-the-application",
      "4.1/answer-status-401",
      "4.1/request-with-headers"
    ]]
  ]),
  section(6455, "10.6", [
    [
      "tls",
      "SHOULD",
      "both",
      "Confidentiality and integrity come from TLS with strong algorithms, and the server is who it says.",
      [["platform-node/test/NodeTransport.test.ts", "a certificate nobody vouches for fails, unless told otherwise"]]
    ]
  ]),
  section(6455, "10.7", [
    [
      "invalid-data",
      "MUST",
      "both",
      "Data that is not understood or not welcome ends the connection; nothing of it is trusted.",
      ["4.2.1/garbage", "5.2/opcode-*", "8.1/wrong-*", [
        "protocol/test/Fuzz.test.ts",
        "meets every rule and every event in its cases"
      ]]
    ],
    ["no-second-request", "MUST NOT", "server", "A request behind one that was refused is not run.", [
      "10.7/pipelined-behind-a-refusal"
    ]]
  ]),
  section(6455, "10.8", [
    ["sha-1", "MAY", "both", "SHA-1 is no protection here, and none is needed.", ["4.2.2/as-it-should-be"]]
  ]),
  section(6455, "11", [
    [
      "registries",
      "MUST",
      "other",
      "Schemes, headers, codes, opcodes and extensions are registered as the section says.",
      "binds IANA and the authors of extensions"
    ],
    [
      "header-use",
      "MUST NOT",
      "both",
      "The handshake's own headers appear in handshakes only, and once where the section says so.",
      ["4.1/unsent-own-*", "4.2.1/two-keys", "4.1/answer-two-accepts"]
    ]
  ])
].flat()
