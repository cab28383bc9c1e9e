/**
 * Cases of RFC 6455 section 8.1: text is UTF-8, judged as it arrives.
 *
 * @since 1.0.0
 */
import type { Case } from "../runner/Case.ts"
import {
  alive,
  chops,
  done,
  echoes,
  expects,
  reads,
  readsPart,
  refuses,
  sends,
  violation,
  writes
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { chop, header, hex, more, ping, pong, text } = Wire

/** One byte a fragment. */
const scattered = (bytes: Uint8Array): ReadonlyArray<Wire.Frame> =>
  chop(bytes, 1).map((byte, i) => (i === 0 ? text : more)(byte, i === bytes.length - 1))

const invalidText = violation(1007, { _tag: "InvalidUtf8" })

// ---- right

/** The first and the last of every length, the edges of the surrogates, and what some decoders swallow. */
const right: ReadonlyArray<readonly [name: string, digits: string]> = [
  ["u+0000", "00"],
  ["u+007f", "7f"],
  ["u+0080", "c280"],
  ["u+07ff", "dfbf"],
  ["u+0800", "e0a080"],
  ["u+d7ff", "ed9fbf"],
  ["u+e000", "ee8080"],
  ["u+fffd", "efbfbd"],
  ["u+fffe", "efbfbe"],
  ["u+ffff", "efbfbf"],
  ["u+10000", "f0908080"],
  ["u+1ffff", "f09fbfbf"],
  ["u+10ffff", "f48fbfbf"],
  ["u+feff-first", "efbbbf61"],
  ["u+feff-alone", "efbbbf"],
  ["u+feff-twice", "efbbbfefbbbf"],
  ["greek", "cebae1bdb9cf83cebcceb5"],
  ["emoji-of-many-code-points", "f09f91a9e2808df09f9a80"],
  ["all-lengths", "61c3a9e282acf09f9880"]
]

const rightCases = right.flatMap(([name, digits]): ReadonlyArray<Case> => {
  const bytes = hex(digits)
  const message = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)
  return [
    {
      id: `8.1/right-${name}`,
      rule: "Text that is UTF-8 passes both ways unchanged.",
      script: [echoes(text(bytes)), alive]
    },
    {
      id: `8.1/right-${name}-scattered`,
      rule: "Text that is UTF-8 may be cut anywhere by fragments.",
      script: [sends(...scattered(bytes)), reads(message), alive]
    },
    {
      id: `8.1/right-${name}-byte-by-byte`,
      rule: "Text that is UTF-8 may arrive byte by byte.",
      script: [chops(1, text(bytes), ...scattered(bytes)), reads(message, message), alive]
    }
  ]
})

// ---- wrong

/** What no UTF-8 has, and how many bytes it takes to see that; 0 where only the end tells. */
const wrong: ReadonlyArray<readonly [name: string, digits: string, seenAfter: number]> = [
  ["continuation-80", "80", 1],
  ["continuation-bf", "bf", 1],
  ["continuation-behind-ascii", "6180", 2],
  ["three-continuations", "808080", 1],
  ["c0", "c0af", 1],
  ["c1", "c1bf", 1],
  ["f5", "f5808080", 1],
  ["f8", "f888808080", 1],
  ["fc", "fc8480808080", 1],
  ["fe", "fe", 1],
  ["ff", "ff", 1],
  ["overlong-3-of-u+0000", "e08080", 2],
  ["overlong-3-of-u+07ff", "e09fbf", 2],
  ["overlong-4-of-u+0000", "f0808080", 2],
  ["overlong-4-of-u+ffff", "f08fbfbf", 2],
  ["surrogate-d800", "eda080", 2],
  ["surrogate-dbff", "edafbf", 2],
  ["surrogate-dc00", "edb080", 2],
  ["surrogate-dfff", "edbfbf", 2],
  ["surrogate-pair", "eda080edb080", 2],
  ["above-u+10ffff", "f4908080", 2],
  ["lead-2-then-ascii", "c328", 2],
  ["lead-3-then-ascii", "e28228", 3],
  ["lead-4-then-ascii", "f09f9828", 4],
  ["lead-then-lead", "c3c3a9", 2],
  ["surrogate-in-the-middle", "cebae1bdb9eda080656469746564", 7],
  ["behind-a-long-ascii-run", `${"61".repeat(200)}ff${"61".repeat(50)}`, 201],
  ["cut-after-1-of-2", "61c3", 0],
  ["cut-after-1-of-3", "e2", 0],
  ["cut-after-2-of-3", "e282", 0],
  ["cut-after-1-of-4", "f0", 0],
  ["cut-after-3-of-4", "f09f98", 0]
]

const wrongCases = wrong.flatMap(([name, digits, seenAfter]): ReadonlyArray<Case> => {
  const bytes = hex(digits)
  const whole: ReadonlyArray<Case> = [
    {
      id: `8.1/wrong-${name}`,
      rule: "Text that is not UTF-8 fails the connection with 1007.",
      script: [echoes(text("before")), sends(text(bytes), text("behind")), invalidText]
    },
    {
      id: `8.1/wrong-${name}-scattered`,
      rule: "Text that is not UTF-8 fails the connection with 1007, whatever its fragments.",
      script: [sends(...scattered(bytes)), invalidText]
    },
    {
      id: `8.1/wrong-${name}-byte-by-byte`,
      rule: "Text that is not UTF-8 fails the connection with 1007, however it arrives.",
      script: [chops(1, text(bytes)), invalidText]
    }
  ]
  if (seenAfter === 0) return whole
  const seen = bytes.slice(0, seenAfter)
  const early: ReadonlyArray<Case> = [
    {
      id: `8.1/wrong-${name}-at-once-in-a-fragment`,
      rule: "It fails with the first byte that cannot be right, before the message ends.",
      script: [sends(text(seen, false)), invalidText]
    },
    {
      id: `8.1/wrong-${name}-at-once-in-a-frame`,
      rule: "It fails with the first byte that cannot be right, before the frame ends.",
      script: [sends(header("817e0400", seen)), invalidText]
    }
  ]
  return [...whole, ...early]
})

// ---- timing and neighbours

const others: ReadonlyArray<Case> = [
  {
    id: "8.1/not-before-it-is-wrong",
    rule: "Text that may still become right is waited for, across fragments and pings.",
    script: [
      sends(text(hex("f0"), false), ping("a")),
      expects(pong("a")),
      sends(more(hex("9f98"), false), ping("b")),
      expects(pong("b")),
      sends(more(hex("80"))),
      reads("😀"),
      alive
    ]
  },
  {
    id: "8.1/parts-are-whole-code-points",
    rule: "A part of text never ends inside a code point, whatever the peer's cut.",
    script: [
      sends(text(hex("61e2"), false)),
      readsPart("text", "a", false),
      sends(more(hex("82"), false)),
      alive,
      sends(more(hex("ac62"))),
      readsPart("text", "€b", true),
      alive
    ]
  },
  {
    id: "8.1/messages-are-judged-apart",
    rule: "What one message lacks the next does not make up for.",
    script: [sends(text(hex("61e282"))), invalidText]
  },
  {
    id: "8.1/binary-is-not-judged",
    rule: "A binary message is not text, in fragments or whole.",
    script: [
      sends(Wire.binary(hex("ff")), Wire.binary(hex("c3"), false), more(hex("28"))),
      reads(hex("ff"), hex("c328")),
      alive
    ]
  },
  {
    id: "8.1/long-text",
    rule: "A long text is judged to its last byte.",
    script: [
      chops(4096, text("é".repeat(30_000))),
      reads("é".repeat(30_000)),
      chops(4096, text(Wire.concat([Wire.utf8("é".repeat(30_000)), hex("c3")]))),
      invalidText
    ]
  },
  {
    id: "8.1/lone-surrogates-are-not-sent",
    rule: "A string with a lone surrogate is refused, or sent with U+FFFD where that was asked for.",
    script: [
      refuses("send a lone surrogate", (stream) => stream.write("a\ud800b"), { _tag: "InvalidPayload" }),
      refuses("send a lone surrogate", (stream) => stream.write("\udc00"), { _tag: "InvalidPayload" }),
      writes("a\ud800b", { loneSurrogates: "replace" }),
      expects(text("a\ufffdb")),
      writes("\ud83d\ude00"),
      expects(text(hex("f09f9880"))),
      done,
      alive
    ]
  }
]

export const utf8: ReadonlyArray<Case> = [...rightCases, ...wrongCases, ...others]
