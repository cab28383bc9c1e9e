/**
 * Cases of RFC 6455 sections 5.4 and 5.6, and of 6.1 and 6.2: messages in
 * fragments, both ways, with control frames between.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import type { Case, Script } from "../runner/Case.ts"
import {
  alive,
  breaksRule,
  chops,
  closes,
  does,
  done,
  endsCleanly,
  expects,
  expectsNothing,
  reads,
  readsPart,
  refuses,
  sends,
  settles,
  status,
  writes,
  writesApart,
  writesSome
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { binary, close, more, pattern, ping, pong, text, utf8 } = Wire

/** The frames of a message in these parts. */
const fragments = (first: typeof text | typeof binary, parts: ReadonlyArray<Uint8Array>): ReadonlyArray<Wire.Frame> =>
  parts.map((part, i) => (i === 0 ? first : more)(part, i === parts.length - 1))

const cut = (bytes: Uint8Array, size: number) => Wire.chop(bytes, size)

const none = new Uint8Array(0)
const alphabet = utf8("abcdefghijklmnopqrstuvwxyz")

// ---- received

const splits: ReadonlyArray<readonly [name: string, parts: ReadonlyArray<Uint8Array>]> = [
  ["two", [utf8("one"), utf8("two")]],
  ["the-first-empty", [none, utf8("ab")]],
  ["the-last-empty", [utf8("ab"), none]],
  ["the-middle-empty", [utf8("a"), none, utf8("b")]],
  ["all-empty", [none, none, none]],
  ["one-byte-each", cut(alphabet, 1)],
  ["125-and-126", [alphabet, utf8("x".repeat(125)), utf8("y".repeat(126))]],
  ["64-kib-each", cut(utf8("z".repeat(262_144)), 65_536)],
  ["1000-bytes-each", cut(utf8("w".repeat(100_000)), 1000)]
]

const split = ([name, parts]: typeof splits[number]): ReadonlyArray<Case> => {
  const whole = Wire.concat(parts)
  const message = new TextDecoder().decode(whole)
  return [
    {
      id: `5.4/text-fragments-${name}`,
      rule: "Fragments of a text message are one message, in order.",
      script: [sends(...fragments(text, parts)), reads(message), alive]
    },
    {
      id: `5.4/binary-fragments-${name}`,
      rule: "Fragments of a binary message are one message, in order.",
      script: [sends(...fragments(binary, parts)), reads(whole), alive]
    },
    {
      id: `5.4/fragments-${name}-in-small-writes`,
      rule: "How the bytes of fragments arrive makes no difference.",
      script: [chops(whole.length > 1000 ? 1021 : 1, ...fragments(text, parts)), reads(message), alive]
    }
  ]
}

const between: ReadonlyArray<Case> = [
  {
    id: "5.4/ping-between-fragments",
    rule: "A ping between fragments is answered before the message ends, and the message is whole.",
    script: [
      sends(text("a", false), ping("between")),
      expects(pong("between")),
      sends(more("b")),
      reads("ab"),
      alive
    ]
  },
  {
    id: "5.4/pings-between-all-fragments",
    rule: "Pings between all fragments are all answered, in order.",
    script: [
      fragments(text, cut(alphabet, 1)).map((frame, i): Script => [
        sends(frame, ping(`${i}`)),
        expects(pong(`${i}`))
      ]),
      reads("abcdefghijklmnopqrstuvwxyz"),
      alive
    ]
  },
  {
    id: "5.4/pong-between-fragments",
    rule: "A pong between fragments changes nothing.",
    script: [
      sends(binary(pattern(3), false), pong("unasked"), more(pattern(3))),
      reads(Wire.concat([pattern(3), pattern(3)])),
      alive
    ]
  },
  {
    id: "5.4/close-between-fragments",
    rule: "A close between fragments is answered; the rest of the message never comes.",
    script: [
      sends(text("a", false), close(1000), more("b")),
      expects(close(1000)),
      endsCleanly,
      status({ code: 1000, clean: true, initiator: "peer" })
    ]
  },
  {
    id: "5.4/empty-ping-between-empty-fragments",
    rule: "Empty fragments and empty pings between them are counted right.",
    script: [
      sends(binary(none, false), ping(), more(none, false), ping(), more(none)),
      expects(pong(), pong()),
      reads(none),
      alive
    ]
  },
  {
    id: "5.4/parts-are-there-before-the-end",
    rule: "A reader of parts has the first fragment while the last was not sent.",
    script: [
      sends(text("fir", false)),
      readsPart("text", "fir", false),
      sends(more("st", false)),
      readsPart("text", "st", false),
      sends(more("!")),
      readsPart("text", "!", true),
      alive
    ]
  },
  {
    id: "5.4/whole-message-waits-for-its-end",
    rule: "An unfinished message is not delivered as a whole.",
    script: [sends(text("un", false)), alive, sends(more("til")), reads("until"), alive]
  },
  {
    id: "5.4/messages-one-after-another",
    rule: "Fragmented and whole messages of both types follow one another.",
    script: [
      sends(text("a", false), more("b"), binary(pattern(2)), binary(pattern(1), false), more(pattern(1)), text("c")),
      reads("ab", pattern(2), Wire.concat([pattern(1), pattern(1)]), "c"),
      alive
    ]
  }
]

// ---- out of order

type Disorder = readonly [name: string, frames: ReadonlyArray<Wire.Frame>, before: ReadonlyArray<string>]

const continuations: ReadonlyArray<Disorder> = [
  ["continuation-without-start", [more("x")], []],
  ["unfinished-continuation-without-start", [more("x", false)], []],
  ["empty-continuation-without-start", [more("")], []],
  ["two-continuations-without-start", [more("x", false), more("y")], []],
  ["continuation-after-a-message", [text("a"), more("b")], ["a"]],
  ["continuation-after-a-fragmented-message", [text("a", false), more("b"), more("c")], ["ab"]]
]

const beginnings: ReadonlyArray<Disorder> = [
  ["text-inside-text", [text("a", false), text("b")], []],
  ["unfinished-text-inside-text", [text("a", false), text("b", false)], []],
  ["binary-inside-text", [text("a", false), binary(pattern(1))], []],
  ["text-inside-binary", [binary(pattern(1), false), text("b")], []],
  ["binary-inside-binary", [binary(pattern(1), false), binary(pattern(1))], []],
  ["text-inside-a-later-fragment", [text("a", false), more("b", false), text("c")], []],
  ["empty-text-inside-empty-text", [text("", false), text("")], []],
  ["text-behind-a-ping-inside-text", [text("a", false), ping(), text("b")], []]
]

const disorder = (rule: string, held: string) => ([name, frames, before]: Disorder): ReadonlyArray<Case> => {
  const pongs = frames.filter(({ opcode }) => opcode === 9).map(() => pong())
  const outcome = [expects(...pongs), reads(...before), breaksRule(rule, "5.4")]
  return [
    { id: `5.4/${name}`, rule: held, script: [sends(...frames), outcome] },
    { id: `5.4/${name}-byte-by-byte`, rule: `${held} Also byte by byte.`, script: [chops(1, ...frames), outcome] }
  ]
}

const disorderCases: ReadonlyArray<Case> = [
  ...continuations.flatMap(
    disorder("UnexpectedContinuation", "A continuation with nothing to continue fails the connection with 1002.")
  ),
  ...beginnings.flatMap(
    disorder("UnexpectedDataFrame", "A message that begins inside another fails the connection with 1002.")
  )
]

// ---- sent

const auto = [[1, 5], [10, 95], [10, 100], [125, 300], [126, 300], [1000, 1000], [1000, 1001], [
  65_536,
  200_000
]] as const

const autoCases = auto.map(([size, length]): Case => ({
  id: `5.4/sends-${length}-in-fragments-of-${size}`,
  rule: `A message of ${length} bytes leaves in fragments of at most ${size}: type first, FIN last, none empty.`,
  config: { fragmentSize: size },
  script: [
    writes(pattern(length)),
    expects(...fragments(binary, cut(pattern(length), size))),
    writes("x".repeat(length)),
    expects(...fragments(text, cut(utf8("x".repeat(length)), size))),
    done
  ]
}))

const sent: ReadonlyArray<Case> = [
  {
    id: "5.4/fragments-cut-code-points",
    rule: "Fragments of text that was cut inside a code point are still the text.",
    config: { fragmentSize: 1 },
    script: [writes("é😀"), expects(...fragments(text, cut(utf8("é😀"), 1))), done]
  },
  {
    id: "5.4/sends-parts",
    rule: "Parts leave as one frame each: the first carries the type, the last FIN, also when empty.",
    script: [
      writesSome(false, "Hel"),
      writesSome(false, ""),
      writesSome(false, "lo"),
      writesSome(true, ""),
      expects(text("Hel", false), more("", false), more("lo", false), more("")),
      writesSome(true, pattern(4)),
      expects(binary(pattern(4))),
      done
    ]
  },
  {
    id: "5.4/sends-control-between-parts",
    rule: "A pong, and a ping of the application, go between the parts of a message.",
    script: [
      writesSome(false, "a"),
      expects(text("a", false)),
      sends(ping("p")),
      expects(pong("p")),
      writesSome(true, "b"),
      expects(more("b")),
      done
    ]
  },
  {
    id: "5.4/sends-control-between-fragments",
    rule: "A ping that arrives while a long message is on its way is answered behind the fragment in progress.",
    transports: ["memory"],
    config: { fragmentSize: 100 },
    memory: { capacity: 64 },
    script: [
      writes(pattern(300)),
      settles,
      sends(ping("now")),
      settles,
      expects(binary(pattern(300).slice(0, 100), false), pong("now")),
      expects(more(pattern(300).slice(100, 200), false), more(pattern(300).slice(200))),
      done
    ]
  },
  {
    id: "5.4/close-between-fragments-of-ours",
    rule: "A close goes out behind the fragment in progress, and no data behind it.",
    transports: ["memory"],
    config: { fragmentSize: 100 },
    memory: { capacity: 64 },
    script: [
      writes(pattern(300)),
      settles,
      closes({ code: 1001 }),
      expects(binary(pattern(300).slice(0, 100), false), close(1001)),
      sends(close(1001)),
      endsCleanly,
      status({ clean: true, code: 1001 })
    ]
  },
  {
    id: "5.4/messages-are-not-interleaved",
    rule: "A message that is written while another is open waits for its end.",
    transports: ["memory"],
    script: [
      writesSome(false, "a"),
      expects(text("a", false)),
      writesApart("other"),
      expectsNothing,
      writesSome(true, "b"),
      expects(more("b"), text("other")),
      done
    ]
  },
  {
    id: "5.4/type-cannot-change",
    rule: "A part that names another type than its message has is refused, and nothing is sent.",
    script: [
      writesSome(false, "a"),
      does(
        "name another type",
        (stream) =>
          Effect.flatMap(
            Effect.flip(stream.writeSome(true, pattern(1), { type: "binary" })),
            ({ reason }) => reason._tag === "InvalidPayload" ? Effect.void : Effect.fail(reason)
          )
      ),
      writesSome(true, "b"),
      expects(text("a", false), more("b")),
      done
    ]
  }
]

const types: ReadonlyArray<Case> = [
  {
    id: "5.6/text-is-a-string",
    rule: "A text message is read as a string, a binary one as bytes, with the same payload.",
    script: [sends(text("6162"), binary(utf8("ab"))), reads("6162", utf8("ab")), alive]
  },
  {
    id: "5.6/binary-is-anything",
    rule: "A binary message may hold any bytes, also those that are no UTF-8.",
    script: [
      sends(binary(Wire.hex("ff00c080feff"))),
      reads(Wire.hex("ff00c080feff")),
      writes(Wire.hex("ff00c080feff")),
      expects(binary(Wire.hex("ff00c080feff"))),
      done
    ]
  },
  {
    id: "6.1/bytes-as-text",
    rule: "Bytes can be sent as text where they are UTF-8, and are refused where not.",
    script: [
      writes(utf8("é"), { type: "text" }),
      expects(text("é")),
      refuses("send bytes that are no text", (stream) => stream.write(Wire.hex("c3"), { type: "text" }), {
        _tag: "InvalidPayload"
      }),
      alive
    ]
  },
  {
    id: "6.1/messages-together",
    rule: "Messages written in one go leave in order, one frame each.",
    script: [
      ...["a", "b", "c"].map((message) => writes(message)),
      expects(text("a"), text("b"), text("c")),
      done
    ]
  },
  {
    id: "6.1/not-after-close",
    rule: "Once a close was sent no data is: a write fails and says so.",
    script: [
      closes(),
      expects(close(1000)),
      refuses("write after closing", (stream) => stream.write("late"), { _tag: "ConnectionClosed" }),
      sends(close(1000)),
      endsCleanly,
      status({ clean: true, code: 1000, initiator: "local" })
    ]
  },
  {
    id: "6.2/order",
    rule: "Messages are delivered in the order in which they arrived, whatever their sizes.",
    script: [
      sends(...[70_000, 0, 1, 66_000, 125, 126].map((length) => binary(pattern(length)))),
      reads(...[70_000, 0, 1, 66_000, 125, 126].map((length) => pattern(length))),
      alive
    ]
  },
  {
    id: "6.2/delivered-before-the-close",
    rule: "Messages that arrived before a close are delivered, and then reading fails.",
    script: [
      sends(text("a"), text("b"), close(1000)),
      expects(close(1000)),
      endsCleanly,
      reads("a", "b"),
      status({ clean: true })
    ]
  }
]

export const fragmentation: ReadonlyArray<Case> = [
  ...splits.flatMap(split),
  ...between,
  ...disorderCases,
  ...autoCases,
  ...sent,
  ...types
]
