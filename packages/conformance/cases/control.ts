/**
 * Cases of RFC 6455 section 5.5: control frames, pings and pongs.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import type { Case, Script } from "../runner/Case.ts"
import {
  alive,
  breaksRule,
  chops,
  does,
  done,
  echoes,
  endsCleanly,
  expects,
  expectsNothing,
  expectsThat,
  holds,
  reads,
  refuses,
  sends,
  settles,
  status,
  violation
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { close, header, hex, pattern, ping, pong, text } = Wire

const opcodes = [["close", "8"], ["ping", "9"], ["pong", "a"]] as const

// ---- 5.5: what all control frames keep to

const shape = opcodes.flatMap(([name, opcode]): ReadonlyArray<Case> => [
  {
    id: `5.5/${name}-of-126`,
    rule: `A ${name} of 126 bytes fails the connection with 1002, at its header.`,
    script: [sends(header(`8${opcode}7e007e`)), breaksRule("ControlFrameTooLong", "5.5")]
  },
  {
    id: `5.5/${name}-of-65536`,
    rule: `A ${name} of 65536 bytes fails the connection with 1002, at its header.`,
    script: [sends(header(`8${opcode}7f0000000000010000`)), breaksRule("ControlFrameTooLong", "5.5")]
  },
  {
    id: `5.5/${name}-of-2-in-16-bits`,
    rule: `A ${name} whose length is in 16 bits fails the connection with 1002, whatever the length.`,
    script: [sends(header(`8${opcode}7e0002`, hex("03e8"))), breaksRule("ControlFrameTooLong", "5.5")]
  },
  {
    id: `5.5/${name}-fragmented`,
    rule: `A ${name} without FIN fails the connection with 1002.`,
    script: [sends(header(`0${opcode}00`)), breaksRule("FragmentedControlFrame", "5.5")]
  },
  {
    id: `5.5/${name}-fragmented-inside-a-message`,
    rule: `A ${name} without FIN fails the connection with 1002, between fragments too.`,
    script: [sends(text("a", false), header(`0${opcode}00`)), breaksRule("FragmentedControlFrame", "5.5")]
  }
])

// ---- 5.5.2: pings

const payloads: ReadonlyArray<readonly [name: string, payload: Uint8Array]> = [
  ["without-payload", new Uint8Array(0)],
  ["of-text", Wire.utf8("Hello")],
  ["of-1", pattern(1)],
  ["of-124", pattern(124)],
  ["of-125", pattern(125)],
  ["of-bytes-that-are-no-text", hex("00fffefdfcfb00ff")]
]

const pings: ReadonlyArray<Case> = [
  ...payloads.flatMap(([name, payload]): ReadonlyArray<Case> => [
    {
      id: `5.5.2/ping-${name}`,
      rule: "A ping is answered with a pong that has its payload.",
      script: [sends(ping(payload)), expects(pong(payload)), alive]
    },
    {
      id: `5.5.2/ping-${name}-byte-by-byte`,
      rule: "A ping that arrives byte by byte is a ping.",
      script: [chops(1, ping(payload)), expects(pong(payload)), alive]
    }
  ]),
  {
    id: "5.5.2/ten-pings",
    rule: "Ten pings in a row are answered with ten pongs, in order.",
    script: [
      Array.from({ length: 10 }, (_, i) => sends(ping(`ping ${i}`))),
      expects(...Array.from({ length: 10 }, (_, i) => pong(`ping ${i}`))),
      alive
    ]
  },
  {
    id: "5.5.2/ten-pings-in-one-write",
    rule: "Ten pings that arrive together are answered with ten pongs, in order.",
    script: [
      sends(...Array.from({ length: 10 }, (_, i) => ping(`ping ${i}`))),
      expects(...Array.from({ length: 10 }, (_, i) => pong(`ping ${i}`))),
      alive
    ]
  },
  {
    id: "5.5.2/ten-pings-byte-by-byte",
    rule: "Ten pings that arrive byte by byte are answered with ten pongs, in order.",
    script: [
      chops(1, ...Array.from({ length: 10 }, (_, i) => ping(`ping ${i}`))),
      expects(...Array.from({ length: 10 }, (_, i) => pong(`ping ${i}`))),
      alive
    ]
  },
  {
    id: "5.5.2/unread",
    rule: "A ping is answered though nobody reads the messages before it.",
    script: [sends(text("unread"), ping("p"), text("unread")), expects(pong("p")), reads("unread", "unread"), alive]
  },
  {
    id: "5.5.2/after-a-close",
    rule: "A ping behind a close is not answered.",
    script: [
      sends(close(1000), ping("late")),
      expects(close(1000)),
      endsCleanly,
      status({ clean: true, code: 1000 })
    ]
  }
]

// ---- 5.5.3: pongs

const pongs: ReadonlyArray<Case> = [
  ...payloads.map(([name, payload]): Case => ({
    id: `5.5.3/unasked-pong-${name}`,
    rule: "A pong that nothing asked for is not answered and does no harm.",
    script: [sends(pong(payload)), alive, echoes(text("after"))]
  })),
  {
    id: "5.5.3/unasked-pong-then-ping",
    rule: "A ping behind an unasked pong is answered with its own payload.",
    script: [sends(pong("unasked"), ping("asked")), expects(pong("asked")), alive]
  },
  {
    id: "5.5.3/own-ping",
    rule: "A ping of the application completes with the pong that has its payload, and with no other.",
    transports: ["memory"],
    script: () => {
      let completed = false
      return [
        does("ping", (stream) => Effect.tap(stream.ping(pattern(125)), () => Effect.sync(() => completed = true))),
        expects(ping(pattern(125))),
        sends(pong("another")),
        settles,
        holds("the ping waits", () => Effect.sync(() => !completed)),
        sends(pong(pattern(125))),
        done,
        holds("the ping is answered", () => Effect.sync(() => completed))
      ]
    }
  },
  {
    id: "5.5.3/later-pong-answers-earlier-pings",
    rule: "A pong for the latest ping answers those before it.",
    script: [
      does(
        "ping twice",
        (stream) => Effect.all([stream.ping(Wire.utf8("a")), stream.ping(Wire.utf8("b"))], { concurrency: 2 })
      ),
      expects(ping("a"), ping("b")),
      sends(pong("b")),
      done
    ]
  },
  {
    id: "5.5.3/fresh-pings-differ",
    rule: "Pings without a payload of the application's have payloads that differ.",
    script: () => {
      const seen = new Set<string>()
      return [
        Array.from({ length: 5 }, (): Script => [
          does("ping", (stream) => stream.ping()),
          expectsThat("a ping not seen before, and answers it", ({ opcode, payload }, { peer }) => {
            const before = seen.size
            peer.send([pong(payload)])
            return opcode === 9 && payload.length <= 125 && seen.add(String(payload)).size === before + 1
          }),
          done
        ])
      ]
    }
  },
  {
    id: "5.5.3/sends-a-pong",
    rule: "The application can send a pong that nothing asked for, and no payload over 125 bytes.",
    script: [
      does("pong", (stream) => stream.pong(pattern(125))),
      expects(pong(pattern(125))),
      refuses("send a long pong", (stream) => stream.pong(pattern(126)), { _tag: "InvalidPayload" }),
      refuses("send a long ping", (stream) => stream.ping(pattern(126)), { _tag: "InvalidPayload" }),
      alive
    ]
  },
  {
    id: "5.5.3/only-the-latest-while-full",
    rule: "Of pings that arrive while nothing can be sent the latest is answered: a flood costs one pong.",
    transports: ["memory"],
    memory: { capacity: 200 },
    script: [
      does("write", (stream) => stream.write(pattern(400))),
      settles,
      Array.from({ length: 100 }, (_, i) => sends(ping(`${i}`))),
      settles,
      settles,
      expectsThat("the message", ({ opcode }) => opcode === 2),
      expects(pong("99")),
      expectsNothing,
      done
    ]
  }
]

// ---- 5.5.1: what a close says

const closing: ReadonlyArray<Case> = [
  {
    id: "5.5.1/one-byte",
    rule: "A close with a payload of one byte fails the connection with 1002.",
    script: [sends(header("8801", hex("03"))), breaksRule("InvalidClosePayload", "5.5.1")]
  },
  {
    id: "5.5.1/empty",
    rule: "An empty close is answered with an empty one, and read as 1005.",
    script: [
      sends(close()),
      expects(close()),
      endsCleanly,
      status({ code: 1005, reason: "", clean: true, initiator: "peer" })
    ]
  },
  {
    id: "5.5.1/byte-by-byte",
    rule: "A close that arrives byte by byte is a close.",
    script: [
      chops(1, close(1000, "byte by byte")),
      expects(close(1000)),
      endsCleanly,
      status({ code: 1000, reason: "byte by byte", clean: true })
    ]
  },
  {
    id: "5.5.1/longest-reason",
    rule: "A reason of 123 bytes is read whole.",
    script: [
      sends(close(1000, "r".repeat(123))),
      expects(close(1000)),
      endsCleanly,
      status({ code: 1000, reason: "r".repeat(123) })
    ]
  },
  ...([["not-text", "ff"], ["cut", "61e282"], ["surrogate", "eda080"], ["overlong", "c080"]] as const).map((
    [name, digits]
  ): Case => ({
    id: `5.5.1/reason-${name}`,
    rule: "A reason that is not UTF-8 fails the connection with 1007.",
    script: [
      sends(close(1000, hex(digits))),
      violation(1007, { _tag: "ProtocolViolation", rule: "InvalidCloseReason", closeCode: 1007 })
    ]
  })),
  {
    id: "5.5.1/data-behind-a-close",
    rule: "What comes behind a close is not looked at, right or wrong.",
    script: [
      sends(close(1000), text("late"), Wire.more("wrong"), ping("late"), close(1001), hex("ffffffff")),
      expects(close(1000)),
      endsCleanly,
      status({ code: 1000, clean: true, initiator: "peer" })
    ]
  },
  {
    id: "5.5.1/answered-at-once",
    rule: "A close is answered though messages before it were not read.",
    script: [
      sends(text("unread"), close(3000, "now")),
      expects(close(3000)),
      endsCleanly,
      status({ code: 3000, reason: "now", clean: true }),
      reads("unread")
    ]
  }
]

export const control: ReadonlyArray<Case> = [...shape, ...closing, ...pings, ...pongs]
