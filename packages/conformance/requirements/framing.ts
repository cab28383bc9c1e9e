/**
 * RFC 6455 sections 5 and 6: frames, and sending and receiving.
 *
 * @since 1.0.0
 */
import { type Requirement, section } from "./Requirement.ts"

const entropy = [
  "websocket/test/Entropy.test.ts",
  "comes from the platform's cryptographic generator, many at a call, none of them twice"
] as const
const noExtensionBeforeIt = "says how extensions are written; those we have are in RFC 7692's part"

export const framing: ReadonlyArray<Requirement> = [
  section(6455, "5.1", [
    ["client-masks", "MUST", "client", "A client masks every frame it sends, over TLS too.", [
      "5.1/sent-frames",
      "5.3/fresh-keys"
    ]],
    [
      "server-rejects-bare",
      "MUST",
      "server",
      "A server that gets a frame without a mask ends the connection, with 1002 if it says why.",
      ["5.1/text-the-wrong-way", "5.1/ping-the-wrong-way", "5.1/close-the-wrong-way"]
    ],
    ["server-does-not-mask", "MUST NOT", "server", "A server masks nothing it sends.", ["5.1/sent-frames"]],
    [
      "client-rejects-masked",
      "MUST",
      "client",
      "A client that gets a masked frame ends the connection, with 1002 if it says why.",
      ["5.1/binary-the-wrong-way", "5.1/pong-the-wrong-way", "5.1/text-the-wrong-way"]
    ],
    ["any-time", "MAY", "both", "Data may be sent at any time between the handshake and the own close.", [
      "4.2.2/frames-behind-the-request",
      "4.1/frames-behind-the-answer"
    ]]
  ]),
  section(6455, "5.2", [
    ["rsv", "MUST", "both", "Reserved bits are 0 unless an extension gives them a meaning.", [
      "5.2/text-of-*",
      "5.2/binary-of-*",
      "5.5.2/ping-*"
    ]],
    ["rsv-received", "MUST", "both", "A reserved bit that no extension owns fails the connection.", [
      "5.2/rsv-*",
      "7692-6/rsv-*"
    ]],
    ["opcode", "MUST", "both", "A frame of an unknown opcode fails the connection.", ["5.2/opcode-*"]],
    ["mask-bit", "MUST", "both", "The mask bit says whether the payload is masked, and a key is there where it does.", [
      "5.1/sent-frames",
      "5.1/text-the-wrong-way"
    ]],
    ["length-minimal", "MUST", "both", "Lengths are written in the fewest bytes.", [
      "5.2/text-of-*",
      "5.2/length-*-in-16-bits",
      "5.2/length-*-in-64-bits"
    ]],
    ["length-top-bit", "MUST", "both", "The top bit of a 64-bit length is 0.", [
      "5.2/length-top-bit-alone",
      "5.2/length-all-bits",
      "5.2/length-of-2-63-less-1",
      "5.2/length-of-2-63-less-1"
    ]],
    ["network-order", "MUST", "both", "Lengths have their most significant byte first.", [
      "5.2/binary-of-256",
      "5.2/binary-of-65537",
      "5.2/binary-of-1048576"
    ]],
    ["key", "MUST", "client", "The key stands behind the length of a masked frame.", ["5.1/sent-frames", "5.3/key-*"]],
    ["length-zero", "MAY", "both", "A payload may be empty.", ["5.2/text-of-0", "5.2/binary-of-0"]]
  ]),
  section(6455, "5.3", [
    ["fresh", "MUST", "client", "Each frame has a key of its own, chosen from all 32-bit values.", ["5.3/fresh-keys", [
      "websocket/test/Entropy.test.ts",
      "gives unsigned integers of 32 bits that use all of them"
    ]]],
    ["unpredictable", "MUST", "client", "Keys come from a strong source of entropy, and none tells the next.", [
      entropy
    ]],
    ["algorithm", "MUST", "both", "Byte i of the payload is combined with byte i modulo 4 of the key, both ways.", [
      "5.3/key-*",
      "5.3/payload-is-not-changed",
      ["protocol/test/FrameEncoder.test.ts", "encodes %s"]
    ]],
    ["length-unchanged", "MUST", "both", "Masking does not change the length.", ["5.3/key-*", "5.2/binary-of-*"]]
  ]),
  section(6455, "5.4", [
    ["single", "MUST", "both", "A message that is not fragmented is one frame with FIN and an opcode other than 0.", [
      "5.2/text-of-*",
      "6.1/messages-together"
    ]],
    [
      "several",
      "MUST",
      "both",
      "A fragmented one begins with FIN clear and its type, goes on with opcode 0, and ends with FIN.",
      ["5.4/sends-*", "5.4/text-fragments-*", "5.4/binary-fragments-*"]
    ],
    ["interleaved-control", "MAY", "both", "Control frames may come between fragments.", [
      "5.4/ping-between-fragments",
      "5.4/pings-between-all-fragments",
      "5.4/pong-between-fragments",
      "5.4/sends-control-between-*"
    ]],
    ["control-not-fragmented", "MUST NOT", "both", "Control frames themselves are not fragmented.", [
      "5.5/*-fragmented",
      "5.5/ping-fragmented-inside-a-message"
    ]],
    ["order", "MUST", "both", "Fragments arrive in the order in which they were sent.", [
      "5.4/text-fragments-one-byte-each",
      "5.4/fragments-*-in-small-writes"
    ]],
    ["not-interleaved", "MUST NOT", "both", "Fragments of one message are not mixed with those of another.", [
      "5.4/messages-are-not-interleaved",
      "5.4/text-inside-text",
      "5.4/binary-inside-text",
      "5.4/text-inside-binary",
      "5.4/binary-inside-binary",
      "5.4/*-inside-*",
      "5.4/*-inside-*"
    ]],
    ["continuation-needs-start", "MUST", "both", "A continuation with nothing to continue is an error.", [
      "5.4/continuation-*",
      "5.4/unfinished-continuation-without-start",
      "5.4/empty-continuation-without-start",
      "5.4/*continuation*-without-start*",
      "5.4/*continuation*-without-start*"
    ]],
    [
      "control-in-the-middle",
      "MUST",
      "both",
      "An endpoint can handle control frames in the middle of a fragmented message.",
      ["5.4/ping-between-fragments", "5.4/close-between-fragments", "5.4/empty-ping-between-empty-fragments"]
    ],
    ["any-size", "MAY", "both", "Fragments may have any size, none too.", [
      "5.4/text-fragments-*",
      "5.4/sends-1000-in-fragments-of-1000"
    ]],
    ["receives-both", "MUST", "both", "Clients and servers take both fragmented and whole messages.", [
      "5.4/messages-one-after-another"
    ]],
    [
      "intermediary-rsv",
      "MUST NOT",
      "other",
      "An intermediary does not re-fragment what it may not understand.",
      "binds intermediaries; this library is an endpoint"
    ],
    ["one-type", "MUST", "both", "All fragments of a message have one type, that of the first.", [
      "5.4/type-cannot-change",
      ["websocket/test/Writing.test.ts", "a part that names another type is refused, and the message goes on"]
    ]],
    ["buffering", "MAY", "both", "Parts may be handed on before the message has ended.", [
      "5.4/parts-are-there-before-the-end",
      "5.4/whole-message-waits-for-its-end"
    ]]
  ]),
  section(6455, "5.5", [
    ["length", "MUST", "both", "A control frame has at most 125 bytes of payload.", [
      "5.5/*-of-126",
      "5.5/*-of-65536",
      "5.5.3/sends-a-pong",
      "7.4/refuses-a-long-reason",
      "5.5/*-in-16-bits",
      "5.5/*-in-16-bits"
    ]],
    ["not-fragmented", "MUST NOT", "both", "A control frame is not fragmented.", [
      "5.5/close-fragmented*",
      "5.5/ping-fragmented*",
      "5.5/pong-fragmented*"
    ]]
  ]),
  section(6455, "5.5.1", [
    [
      "body",
      "MUST",
      "both",
      "A body begins with a code of two bytes, most significant first, and goes on with UTF-8.",
      [
        "7.4/closes-with-1000",
        "5.5.1/one-byte",
        "5.5.1/reason-*",
        "7.4/refuses-a-reason-without-code",
        "5.5.1/byte-by-byte"
      ]
    ],
    [
      "not-for-people",
      "MUST NOT",
      "both",
      "The reason is not shown to users, since it need not be meant for them.",
      "a matter of user interfaces; the library shows nothing"
    ],
    ["masked", "MUST", "client", "A client's close is masked as all its frames.", ["5.1/sent-frames"]],
    ["nothing-after", "MUST NOT", "both", "No data is sent behind a close.", [
      "6.1/not-after-close",
      "5.4/close-between-fragments-of-ours",
      "7.1.2/messages-behind-our-close"
    ]],
    ["answer", "MUST", "both", "A close is answered with a close, unless one was sent already.", [
      "7.4/peer-closes-with-1000",
      "5.5.1/empty",
      "7.1.2/both-at-once",
      "7.1.2/twice"
    ]],
    [
      "answer-soon",
      "SHOULD",
      "both",
      "It is answered as soon as can be, behind the message in progress at the latest.",
      ["5.5.1/answered-at-once", "5.4/close-between-fragments", "memory/unread-while-closing"]
    ],
    ["answer-code", "SHOULD", "both", "The answer has the code that was received.", ["7.4/peer-closes-with-*"]],
    [
      "end-transport",
      "MUST",
      "both",
      "With a close sent and one received the transport is ended, by the server at once.",
      ["7.1.1/server-ends-first", "7.4/closes-with-1000", "5.5.1/data-behind-a-close"]
    ],
    ["client-waits", "SHOULD", "client", "The client waits for the server to end the transport, for a time.", [
      "7.1.1/client-waits",
      "7.1.1/client-does-not-wait-for-ever"
    ]],
    ["at-once", "MUST", "both", "Where both close at once both have what they need, and the transport is ended.", [
      "7.1.2/both-at-once"
    ]]
  ]),
  section(6455, "5.5.2", [
    ["answer", "MUST", "both", "A ping is answered with a pong, unless a close was received.", [
      "5.5.2/ping-*",
      "5.5.2/ten-pings*",
      "5.5.2/after-a-close",
      "5.5.3/own-ping",
      "5.5.3/fresh-pings-differ"
    ]],
    ["answer-soon", "SHOULD", "both", "It is answered as soon as can be.", [
      "5.5.2/unread",
      "5.4/sends-control-between-fragments",
      "5.4/ping-between-fragments"
    ]]
  ]),
  section(6455, "5.5.3", [
    ["payload", "MUST", "both", "The pong has the payload of its ping.", [
      "5.5.2/ping-of-125",
      "5.5.2/ping-of-bytes-that-are-no-text"
    ]],
    ["latest", "MAY", "both", "Of pings not yet answered only the latest need be.", [
      "5.5.3/only-the-latest-while-full",
      "5.5.3/later-pong-answers-earlier-pings",
      "flood/pings-unread"
    ]],
    ["unasked", "MAY", "both", "A pong may come unasked, and nothing is expected in return.", [
      "5.5.3/unasked-pong-*",
      "5.5.3/sends-a-pong",
      "flood/pongs"
    ]]
  ]),
  section(6455, "5.6", [
    ["text", "MUST", "both", "The payload of a text message, all fragments together, is UTF-8.", [
      "8.1/right-*",
      "8.1/wrong-*"
    ]],
    ["text-fragment", "MAY", "both", "One fragment by itself need not be.", [
      "8.1/right-all-lengths-scattered",
      "5.4/fragments-cut-code-points"
    ]],
    ["binary", "MUST", "both", "The payload of a binary message is for the application alone to judge.", [
      "5.6/binary-is-anything",
      "8.1/binary-is-not-judged"
    ]]
  ]),
  section(6455, "5.7", [
    ["examples", "MUST", "both", "The examples of the section are read and written as they stand there.", [
      [
        "protocol/test/FrameEncoder.test.ts",
        "encodes %s"
      ],
      ["protocol/test/FrameDecoder.test.ts", "decodes each golden alone"],
      "5.7/*"
    ]]
  ]),
  section(6455, "5.8", [
    ["negotiated", "MUST", "both", "Extensions are agreed on in the opening handshake, and only then used.", [
      "5.2/rsv-*",
      "7692-6/rsv-1-without-agreement"
    ]],
    [
      "reserved",
      "MUST",
      "other",
      "An extension says which reserved bits, opcodes and bytes of payload it takes.",
      noExtensionBeforeIt
    ]
  ]),
  section(6455, "6.1", [
    [
      "open",
      "MUST",
      "both",
      "Data is sent on an open connection only, and what is on its way is given up when it is not.",
      ["4.1/nothing-before-the-answer", "6.1/not-after-close", "7.2.1/lost-while-writing"]
    ],
    [
      "encapsulate",
      "MUST",
      "both",
      "A message is put into a frame, or into several where it is too large or not all there.",
      ["5.2/binary-of-65537", "5.4/sends-*"]
    ],
    ["first-opcode", "MUST", "both", "The first frame says whether it is text or binary.", [
      "5.4/sends-parts",
      "5.6/text-is-a-string",
      "6.1/bytes-as-text"
    ]],
    ["last-fin", "MUST", "both", "The last frame has FIN.", ["5.4/sends-parts", "5.4/sends-1001-in-fragments-of-1000"]],
    ["masked", "MUST", "client", "A client's frames are masked.", ["5.1/sent-frames", "5.3/fresh-keys"]],
    ["transmitted", "MUST", "both", "Frames go out over the transport, whole and in order.", [
      "6.1/messages-together",
      "5.4/messages-are-not-interleaved"
    ]]
  ]),
  section(6455, "6.2", [
    ["parse", "MUST", "both", "What arrives is taken for frames, however it is cut.", [
      "5.2/header-cut-anywhere",
      "5.2/binary-of-*-in-writes-of-*",
      "5.2/many-frames-in-one-write",
      "flood/byte-by-byte"
    ]],
    ["control", "MUST", "both", "Control frames are handled as section 5.5 says, whether or not messages are read.", [
      "5.5.2/unread",
      "5.5.1/answered-at-once"
    ]],
    ["type", "MUST", "both", "The type of a message is that of its first frame.", [
      "5.6/text-is-a-string",
      "5.4/messages-one-after-another"
    ]],
    ["concatenate", "MUST", "both", "The payloads of fragments are joined.", [
      "5.4/text-fragments-*",
      "5.4/binary-fragments-*"
    ]],
    ["deliver", "MUST", "both", "A message is delivered when its last fragment has arrived.", [
      "5.4/whole-message-waits-for-its-end",
      "6.2/order",
      "6.2/delivered-before-the-close"
    ]],
    ["server-unmasks", "MUST", "server", "A server takes the mask off.", ["5.3/key-*", "5.2/text-of-*"]]
  ])
].flat()
