/**
 * RFC 7692: compression of messages.
 *
 * @since 1.0.0
 */
import { type Requirement, section } from "./Requirement.ts"

const pmd = (name: string) => ["protocol/test/PerMessageDeflate.test.ts", name] as const
const transform = (name: string) => ["protocol/test/DeflateTransform.test.ts", name] as const
const others = "binds authors of other extensions; there is one here"

export const compression: ReadonlyArray<Requirement> = [
  section(7692, "4", [
    [
      "names",
      "MUST",
      "both",
      "Extensions of this kind have names that begin with permessage-, and are asked for as RFC 6455 section 9.1 says.",
      ["7692-7.1/offer-default"]
    ]
  ]),
  section(7692, "5", [
    [
      "offer",
      "MUST",
      "client",
      "A client that wants it puts the extension into its request, with parameters or without.",
      ["7692-7.1/offer-*"]
    ],
    ["several", "MAY", "client", "An extension may be asked for more than once, in order of preference.", [
      "7692-7.1/offer-with-fallback",
      "7692-5/offers-in-order"
    ]],
    ["fallback", "SHOULD", "client", "Where parameters may be refused a plainer offer stands behind.", [
      "7692-7.1/offer-with-fallback",
      pmd("falls back only where it is told to")
    ]],
    [
      "accept",
      "MUST",
      "server",
      "A server that takes an offer answers with the extension and the parameters of its choice.",
      ["7692-7.1/accept-*"]
    ],
    ["decline", "MUST NOT", "server", "A server that takes none answers without the extension.", [
      "7692-7.1/decline-*"
    ]],
    ["unoffered", "MUST", "client", "An answer to no offer fails the connection.", [
      "4.1/answer-extension-that-was-not-offered",
      "7692-5.1/answer-*"
    ]]
  ]),
  section(7692, "5.1", [
    [
      "decline-invalid",
      "MUST",
      "server",
      "An offer with a parameter that is unknown, repeated, malformed or cannot be kept is declined.",
      [
        "7692-7.1/decline-*",
        pmd("is refused when it is repeated, with the same value or another"),
        pmd("is refused in another case")
      ]
    ],
    ["next-offer", "MAY", "server", "Then the next offer may be taken.", ["7692-5/offers-in-order"]],
    [
      "fail-invalid",
      "MUST",
      "client",
      "An answer with a parameter that is unknown, repeated, malformed or not as offered fails the connection.",
      ["7692-5.1/answer-*"]
    ],
    ["mean-the-same", "MUST", "both", "Both sides then work with what was agreed.", [
      "7692-7.1/agreed-*",
      "7692-7.2/*",
      pmd("gives an answer that the client takes, and means the same by it")
    ]]
  ]),
  section(7692, "6", [
    ["rsv1", "MUST", "both", "RSV1 on the first frame says that a message is compressed.", [
      "7692-6/compressed",
      "7692-6/fragmented"
    ]],
    ["rsv1-later", "MUST NOT", "both", "RSV1 is on no later fragment.", [
      "7692-6/rsv-1-on-continuation",
      "7692-6/fragmented"
    ]],
    ["rsv1-control", "MUST NOT", "both", "RSV1 is on no control frame.", [
      "7692-6/rsv-1-on-ping",
      "7692-6/rsv-1-on-pong",
      "7692-6/rsv-1-on-close",
      "7692-6/control-between"
    ]],
    ["rsv1-unagreed", "MUST", "both", "Without agreement RSV1 fails the connection.", [
      "7692-6/rsv-1-without-agreement",
      "5.2/rsv-1-on-*"
    ]],
    ["other-bits", "MUST", "both", "The other reserved bits still fail the connection.", [
      "7692-6/rsv-2-on-text",
      "7692-6/rsv-3-on-text"
    ]],
    ["one-extension", "MUST NOT", "both", "No two extensions that need the same bit are in use.", [
      pmd("a response with the extension twice is refused, whatever the two say")
    ]]
  ]),
  section(7692, "6.1", [
    ["per-message", "MUST", "both", "A message is compressed as a whole, and each may be or not.", [
      "7692-6/mixed",
      "7692-6/threshold"
    ]],
    ["then-fragment", "MUST", "both", "What is compressed is cut into frames; frames are not compressed one by one.", [
      "7692-6/fragmented",
      "7692-6/fragments-of-ours",
      "7692-6/flushed-parts",
      "7692-6/parts-that-stay"
    ]],
    ["control-unchanged", "MUST NOT", "both", "Control frames are not compressed.", ["7692-6/control-between"]],
    ["uncompressed", "MUST", "both", "A message that is not compressed is sent as it is, with RSV1 clear.", [
      "7692-6/threshold",
      "7692-6/mixed",
      "7692-6/not-agreed",
      "7692-7.2.2/compression-cannot-change"
    ]]
  ]),
  section(7692, "6.2", [
    ["decompress", "MUST", "both", "A message with RSV1 is decompressed as a whole, whatever its fragments.", [
      "7692-6/received-fragmented",
      "7692-7.2.3/*"
    ]],
    ["pass", "MUST", "both", "A message without RSV1 is taken as it is.", ["7692-6/mixed"]],
    ["limits", "SHOULD", "both", "What comes out has a limit.", [
      "7692-7.2.2/limit",
      "7692-7.2.2/bomb",
      "7692-7.2.2/limit-exceeded*",
      "7692-7.2.2/ratio*"
    ]]
  ]),
  section(7692, "7", [
    ["several-extensions", "MUST", "other", "An extension says how it works with others.", others]
  ]),
  section(7692, "7.1", [
    ["unknown-parameter", "MUST", "both", "A parameter that is not defined declines an offer and fails an answer.", [
      "7692-7.1/decline-unknown*",
      "7692-5.1/answer-unknown*"
    ]],
    ["invalid-value", "MUST", "both", "A value that is not allowed declines an offer and fails an answer.", [
      "7692-7.1/decline-*",
      "7692-5.1/answer-*"
    ]],
    ["twice", "MUST", "both", "A parameter that is there twice declines an offer and fails an answer.", [
      "7692-7.1/decline-*-twice",
      "7692-5.1/answer-*-twice"
    ]]
  ]),
  section(7692, "7.1.1.1", [
    ["no-value", "MUST NOT", "both", "server_no_context_takeover has no value.", [
      "7692-7.1/decline-server_no_context_takeover-with-value",
      "7692-5.1/answer-server_no_context_takeover-with-value"
    ]],
    ["server-keeps", "MUST", "server", "A server that takes an offer with it says so, and keeps no context.", [
      "7692-7.1/accept-server_no_context_takeover",
      "7692-7.2/*"
    ]],
    ["client-expects", "MUST", "client", "An answer that does not grant it is not an answer to that offer.", [
      "7692-5.1/answer-without-server_no_context_takeover"
    ]],
    ["unasked", "MAY", "server", "A server may say it though it was not asked.", [
      "7692-7.1/agreed-server_no_context_takeover"
    ]]
  ]),
  section(7692, "7.1.1.2", [
    ["no-value", "MUST NOT", "both", "client_no_context_takeover has no value.", [
      "7692-7.1/decline-client_no_context_takeover-with-value",
      "7692-5.1/answer-client_no_context_takeover-with-value"
    ]],
    ["client-keeps", "MUST", "client", "A client that is told so keeps no context.", [
      "7692-7.1/agreed-client_no_context_takeover",
      "7692-7.2/*"
    ]],
    ["unasked", "MAY", "server", "A server may say it though it was not hinted at.", [
      "7692-7.1/agreed-client_no_context_takeover"
    ]]
  ]),
  section(7692, "7.1.2.1", [
    ["value", "MUST", "both", "server_max_window_bits has a value from 8 to 15, decimal, without leading zeros.", [
      "7692-7.1/decline-server_max_window_bits-*",
      "7692-5.1/answer-server_max_window_bits-*"
    ]],
    [
      "server-keeps",
      "MUST",
      "server",
      "A server that takes an offer with it answers with that or less, and its window is no larger.",
      ["7692-7.1/accept-server_max_window_bits-*", "7692-7.2/*"]
    ],
    ["decline", "MUST", "server", "A server that cannot keep to it declines.", [
      pmd("keeps within what it is configured with, and what the offer asks for")
    ]],
    [
      "client-checks",
      "MUST",
      "client",
      "An answer with a larger window than was asked for is not an answer to that offer.",
      ["7692-5.1/answer-larger-server_max_window_bits", "7692-5.1/answer-without-server_max_window_bits"]
    ]
  ]),
  section(7692, "7.1.2.2", [
    ["value", "MUST", "both", "client_max_window_bits has no value, in an offer, or one from 8 to 15.", [
      "7692-7.1/decline-client_max_window_bits-*",
      "7692-5.1/answer-client_max_window_bits-*"
    ]],
    ["only-if-offered", "MUST NOT", "server", "It is not answered where it was not offered.", [
      "7692-7.1/accept-client-cannot-be-limited",
      pmd("a server passes over an offer that does not let it limit the client")
    ]],
    ["client-keeps", "MUST", "client", "The client's window is no larger than what was answered.", [
      "7692-7.1/agreed-client_max_window_bits-*",
      "7692-7.2/*"
    ]],
    ["client-checks", "MUST", "client", "An answer with it to an offer without it fails the connection.", [
      pmd("a client takes each answer to each offer as the tables have it")
    ]]
  ]),
  section(7692, "7.1.3", [
    ["examples", "MUST", "both", "Each combination of parameters that the section shows is agreed on as it says.", [
      "7692-7.1/agreed-*",
      "7692-7.1/accept-*",
      pmd("answers each offer under each configuration as the tables have it")
    ]]
  ]),
  section(7692, "7.2.1", [
    ["deflate", "MUST", "both", "A message is compressed with DEFLATE, by blocks of any kind.", [
      "7692-7.2/*",
      "7692-6/compressed"
    ]],
    ["tail", "MUST", "both", "It ends with an empty stored block whose last four bytes are left out.", [
      "7692-6/compressed",
      "7692-7.2/*"
    ]],
    ["empty", "MUST", "both", "An empty message is a byte and not nothing.", ["7692-6/empty-compressed"]],
    ["context", "MUST", "both", "The window goes on over messages unless it was agreed that it does not.", [
      "7692-7.2/*",
      transform("7.2.3.2: a message that shares the window of the one before"),
      transform("7.2.3.2: a message that shares no window where no context is taken over")
    ]],
    ["window", "MUST NOT", "both", "Nothing refers further back than the window that was agreed.", [
      "7692-7.2/*",
      transform("have the window and are reset as agreed for the direction")
    ]]
  ]),
  section(7692, "7.2.2", [
    ["tail", "MUST", "both", "The four bytes are put back before the message is decompressed.", ["7692-7.2.3/*"]],
    ["context", "MUST", "both", "The window goes on over messages unless the sender's does not.", [
      "7692-7.2.3/shared-window",
      "7692-7.2/*"
    ]],
    ["invalid", "MUST", "both", "What is no DEFLATE fails the connection.", [
      "7692-7.2.2/corrupt*",
      "7692-7.2.2/not-utf-8"
    ]]
  ]),
  section(7692, "7.2.3", [
    ["examples", "MUST", "both", "The examples of the section are read as they stand there.", [
      "7692-7.2.3/*",
      transform("7.2.3.1: a message compressed with one block"),
      transform("7.2.3.4: a message in a block with BFINAL set, then others")
    ]]
  ]),
  section(7692, "8", [
    [
      "secrets",
      "SHOULD",
      "both",
      "What is secret is not compressed together with what an attacker chooses.",
      "for the application to decide, message by message, with compress: false"
    ]
  ])
].flat()
