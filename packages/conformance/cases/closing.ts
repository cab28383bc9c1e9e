/**
 * Cases of RFC 6455 section 7: how connections end, and with which codes.
 *
 * @since 1.0.0
 */
import type { State } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Case } from "../runner/Case.ts"
import {
  alive,
  breaks,
  breaksRule,
  closes,
  ends,
  endsCleanly,
  expects,
  expectsClose,
  expectsEnd,
  expectsGone,
  expectsNothing,
  expectsThat,
  holds,
  leaves,
  passes,
  readFails,
  reads,
  refuses,
  sends,
  settles,
  status,
  writesApart
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { close, hex, more, ping, text } = Wire

// ---- 7.4: codes

const sendable = [
  1000,
  1001,
  1002,
  1003,
  1007,
  1008,
  1009,
  1010,
  1011,
  1012,
  1013,
  1014,
  3000,
  3999,
  4000,
  4999
]
const unsendable = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535]

const codes: ReadonlyArray<Case> = [
  ...sendable.flatMap((code): ReadonlyArray<Case> => [
    {
      id: `7.4/peer-closes-with-${code}`,
      rule: `A close with ${code} is answered with ${code}, and the application is told code and reason.`,
      script: [
        sends(close(code, "bye ✓")),
        expects(close(code)),
        endsCleanly,
        status({ code, reason: "bye ✓", initiator: "peer", clean: true, received: { code, reason: "bye ✓" } }),
        readFails({ _tag: "ConnectionClosed", status: { code, reason: "bye ✓" } })
      ]
    },
    {
      id: `7.4/closes-with-${code}`,
      rule: `The application can close with ${code} and a reason.`,
      script: [
        closes({ code, reason: "bye ✓" }),
        expects(close(code, "bye ✓")),
        sends(close(code)),
        endsCleanly,
        status({ code, initiator: "local", clean: true, sent: { code, reason: "bye ✓" } })
      ]
    }
  ]),
  ...unsendable.flatMap((code): ReadonlyArray<Case> => [
    {
      id: `7.4/peer-closes-with-${code}`,
      rule: `A close with ${code}, which may not travel, fails the connection with 1002.`,
      script: [sends(close(code)), breaksRule("InvalidCloseCode", "7.4")]
    },
    {
      id: `7.4/refuses-to-close-with-${code}`,
      rule: `The application cannot close with ${code}: it is told, and nothing is sent.`,
      script: [
        refuses(`close with ${code}`, (stream) => stream.close({ code }), { _tag: "InvalidPayload" }),
        alive
      ]
    }
  ]),
  {
    id: "7.4/refuses-a-long-reason",
    rule: "A reason of 124 bytes cannot be sent, one of 123 can.",
    script: [
      refuses("close with a long reason", (stream) => stream.close({ reason: "é".repeat(62) }), {
        _tag: "InvalidPayload"
      }),
      alive,
      closes({ reason: `${"é".repeat(61)}x` }),
      expects(close(1000, `${"é".repeat(61)}x`)),
      sends(close(1000)),
      endsCleanly,
      status({ clean: true })
    ]
  },
  {
    id: "7.4/refuses-a-reason-without-code",
    rule: "A reason needs a code, and is UTF-8.",
    script: [
      refuses("give a reason without a code", (stream) => stream.close({ code: "none", reason: "x" }), {
        _tag: "InvalidPayload"
      }),
      refuses("give a lone surrogate", (stream) => stream.close({ reason: "\ud800" }), { _tag: "InvalidPayload" }),
      alive
    ]
  },
  {
    id: "7.4/closes-without-code",
    rule: "The application can send an empty close.",
    script: [
      closes({ code: "none" }),
      expects(close()),
      sends(close()),
      endsCleanly,
      status({ code: 1005, initiator: "local", clean: true })
    ]
  }
]

// ---- 7.1: the closing handshake

const stateIs = (state: State) =>
  holds(`the state is ${state}`, (stream) => Effect.map(stream.state, (now) => now === state))

const handshake: ReadonlyArray<Case> = [
  {
    id: "7.1.1/server-ends-first",
    rule: "The server ends the transport once both sides have closed, and does not wait for the client.",
    roles: ["server"],
    script: [sends(close(1000)), expects(close(1000)), expectsEnd, ends, status({ clean: true })]
  },
  {
    id: "7.1.1/client-waits",
    rule: "The client leaves it to the server to end the transport first.",
    roles: ["client"],
    transports: ["memory"],
    script: [sends(close(1000)), expects(close(1000)), expectsNothing, ends, expectsEnd, status({ clean: true })]
  },
  {
    id: "7.1.1/client-does-not-wait-for-ever",
    rule: "A client ends the transport itself when the server does not in time.",
    roles: ["client"],
    transports: ["memory"],
    config: { closeTimeout: "3 seconds" },
    script: [
      sends(close(1000)),
      expects(close(1000)),
      passes("2999 millis"),
      expectsNothing,
      passes("1 millis"),
      expectsGone,
      status({ clean: true, code: 1000 })
    ]
  },
  {
    id: "7.1.1/server-does-not-wait-for-ever",
    rule: "A server destroys the transport when the client does not end its side in time.",
    roles: ["server"],
    transports: ["memory"],
    config: { closeTimeout: "3 seconds" },
    script: [
      closes(),
      expects(close(1000)),
      sends(close(1000)),
      expectsEnd,
      passes("3 seconds"),
      status({ clean: true, code: 1000 })
    ]
  },
  {
    id: "7.1.2/peer-that-never-answers",
    rule: "A close that is not answered in time ends the transport, with 1006.",
    transports: ["memory"],
    config: { closeTimeout: "3 seconds" },
    script: [
      closes({ code: 4000 }),
      expects(close(4000)),
      passes("3 seconds"),
      expectsGone,
      status({ code: 1006, clean: false, initiator: "local", sent: { code: 4000 } }),
      readFails({ _tag: "ConnectionClosed", status: { code: 1006 } })
    ]
  },
  {
    id: "7.1.2/messages-behind-our-close",
    rule: "What the peer sends between our close and its own is delivered, and its pings are not answered.",
    script: [
      closes({ code: 1001 }),
      expects(close(1001)),
      sends(text("on its way"), ping("unanswered"), text("fra", false), more("gments"), close(1001)),
      reads("on its way", "fragments"),
      endsCleanly,
      status({ clean: true, code: 1001, initiator: "local" })
    ]
  },
  {
    id: "7.1.2/both-at-once",
    rule: "Where both sides close at once each has sent one close, and nobody answers again.",
    script: [
      sends(close(4001)),
      closes({ code: 4002 }),
      expectsThat(
        "one close, ours or the answer",
        ({ opcode, payload }) => opcode === 8 && [4001, 4002].includes((payload[0]! << 8) | payload[1]!)
      ),
      endsCleanly,
      status({ clean: true, code: 4001 })
    ]
  },
  {
    id: "7.1.2/twice",
    rule: "Closing twice sends one close.",
    script: [
      closes({ code: 4001 }),
      closes({ code: 4002 }),
      expects(close(4001)),
      sends(close(4001)),
      endsCleanly,
      status({ clean: true, sent: { code: 4001 } })
    ]
  },
  {
    id: "7.1.3/state",
    rule: "The state is closing from the close that was sent or received on, and then closed.",
    transports: ["memory"],
    script: [
      stateIs("Open"),
      sends(close(1000)),
      settles,
      stateIs("Closing"),
      expects(close(1000)),
      endsCleanly,
      status({ clean: true }),
      stateIs("Closed")
    ]
  },
  {
    id: "7.1.5/other-code-than-ours",
    rule: "The connection's code is that of the peer's close, also when we closed first with another.",
    script: [
      closes({ code: 4000, reason: "ours" }),
      expects(close(4000, "ours")),
      sends(close(1001, "theirs")),
      endsCleanly,
      status({ code: 1001, reason: "theirs", sent: { code: 4000, reason: "ours" }, clean: true })
    ]
  },
  {
    id: "7.1.6/reason",
    rule: "The reason is that of the peer's close, empty where it has none.",
    script: [
      sends(close(1000, "κόσμε")),
      expects(close(1000)),
      endsCleanly,
      status({ reason: "κόσμε", received: { code: 1000, reason: "κόσμε" } })
    ]
  },
  {
    id: "7.1.7/end-without-close",
    rule: "A transport that ends without a close is 1006 and not clean.",
    script: [
      alive,
      ends,
      expectsGone,
      status({ code: 1006, clean: false, initiator: "transport" }),
      readFails({ _tag: "ConnectionClosed", status: { code: 1006 } })
    ]
  },
  {
    id: "7.1.7/end-inside-a-frame",
    rule: "A transport that ends inside a frame is 1006; half a message is not delivered.",
    script: [
      sends(text("whole"), (sender) => Wire.encode(sender, text("cut off")).slice(0, -1)),
      ends,
      expectsGone,
      status({ code: 1006, clean: false }),
      reads("whole"),
      readFails({ _tag: "ConnectionClosed", status: { code: 1006 } })
    ]
  },
  {
    id: "7.1.7/end-inside-a-message",
    rule: "A transport that ends between fragments is 1006; the unfinished message is not delivered.",
    script: [
      sends(text("whole"), text("unfin", false)),
      ends,
      expectsGone,
      status({ code: 1006, clean: false }),
      reads("whole"),
      readFails({ _tag: "ConnectionClosed" })
    ]
  },
  {
    id: "7.1.7/broken",
    rule: "A transport that breaks is 1006 and told apart from one that ends, where it says so.",
    transports: ["memory"],
    script: [alive, breaks, readFails({ _tag: "TransportFailed" }), status({ code: 1006, clean: false })]
  },
  {
    id: "7.1.7/nothing-after-a-failure",
    rule: "Once the connection failed nothing is read or sent any more: what follows a violation is ignored.",
    script: [
      sends(text("before"), Wire.octet(0x83), text("behind"), ping("behind"), close(1000)),
      expectsClose(1002),
      expectsEnd,
      ends,
      reads("before"),
      readFails({ _tag: "ProtocolViolation", rule: "ReservedOpcode" }),
      refuses("write", (stream) => stream.write("x"), { _tag: "ConnectionClosed" })
    ]
  },
  {
    id: "7.1.7/violation-while-closing",
    rule: "A violation behind our own close ends the transport; a second close is not sent.",
    script: [
      closes({ code: 1000 }),
      expects(close(1000)),
      sends(Wire.octet(0x83)),
      expectsEnd,
      ends,
      readFails({ _tag: "ProtocolViolation", rule: "ReservedOpcode" }),
      status({ clean: false, sent: { code: 1000 } })
    ]
  },
  {
    id: "7.1.7/peer-that-keeps-sending",
    rule: "A peer that keeps sending after it was failed does not keep the connection: it ends in time.",
    transports: ["memory"],
    config: { closeTimeout: "3 seconds" },
    script: [
      sends(hex("ffff")),
      expectsClose(1002),
      expectsEnd,
      sends(...Array.from({ length: 1000 }, () => text("still there?"))),
      passes("3 seconds"),
      status({ clean: false, code: 1006 })
    ]
  }
]

// ---- 7.2 and 7.3: why connections are closed

const exits: ReadonlyArray<readonly [name: string, exit: Exit.Exit<void, string>, code: number]> = [
  ["success", Exit.void, 1000],
  ["failure", Exit.fail("broken"), 1011],
  ["interruption", Exit.interrupt(), 1001]
]

const scopes = exits.map(([name, exit, code]): Case => ({
  id: `7.3/leaving-by-${name}`,
  rule: `Leaving the stream's scope by ${name} closes with ${code}.`,
  script: [
    leaves(exit),
    expects(close(code)),
    sends(close(code)),
    endsCleanly,
    status({ clean: true, sent: { code } })
  ]
}))

const abnormal: ReadonlyArray<Case> = [
  {
    id: "7.2.1/lost-while-writing",
    rule: "A write to a transport that is gone fails, and so does everything after it.",
    transports: ["memory"],
    memory: { capacity: 64 },
    script: [
      writesApart(Wire.pattern(1000)),
      settles,
      breaks,
      status({ code: 1006, clean: false }),
      refuses("write", (stream) => stream.write("x"), { _tag: "TransportFailed" }),
      readFails({ _tag: "TransportFailed" })
    ]
  },
  {
    id: "7.2.2/peer-vanishes-behind-its-close",
    rule: "A peer that closes and is gone before the answer has closed all the same: its code is known.",
    script: [sends(close(4000, "gone")), ends, status({ code: 4000, reason: "gone", initiator: "peer" })]
  }
]

export const closing: ReadonlyArray<Case> = [...codes, ...handshake, ...scopes, ...abnormal]
