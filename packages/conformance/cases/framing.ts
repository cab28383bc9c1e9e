/**
 * Cases of RFC 6455 sections 5.1 to 5.3: masking direction, reserved bits and
 * opcodes, lengths.
 *
 * @since 1.0.0
 */
import type { Case, Script } from "../runner/Case.ts"
import {
  alive,
  breaksRule,
  chops,
  done,
  echoes,
  expects,
  expectsNothing,
  expectsThat,
  reads,
  sends,
  violation,
  writes
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { binary, header, hex, masked, more, octet, pattern, ping, text, wrongWay } = Wire

const ascii = (length: number): string => "the quick brown fox ".repeat(Math.ceil(length / 20)).slice(0, length)

// ---- 5.1: who masks

const wrongDirection = (name: string, frame: Wire.Frame): Case => ({
  id: `5.1/${name}-the-wrong-way`,
  rule: `A ${name} frame that a client does not mask, or a server does, fails the connection with 1002.`,
  script: (role) => [
    echoes(text("before")),
    sends(wrongWay(frame)),
    breaksRule(role === "server" ? "UnmaskedFrame" : "MaskedFrame", "5.1")
  ]
})

const sentWay: Case = {
  id: "5.1/sent-frames",
  rule: "What a client sends is masked, also control frames; what a server sends is not.",
  script: (role) => [
    writes("text"),
    writes(pattern(3)),
    sends(ping("a"), Wire.close(1000)),
    ["text", "binary", "pong", "close"].map((name) =>
      expectsThat(
        `a ${name} frame ${role === "client" ? "masked" : "bare"}`,
        ({ key }) => (key !== undefined) === (role === "client")
      )
    )
  ]
}

// ---- 5.2: lengths

const lengths = [0, 1, 2, 3, 4, 5, 7, 8, 9, 124, 125, 126, 127, 128, 254, 255, 256, 65_534, 65_535, 65_536, 65_537]

// One frame each way: nothing of this size may be cut.
const unfragmented = { fragmentSize: 0 }

const lengthCases = [...lengths, 1_048_576].flatMap((length): ReadonlyArray<Case> => [
  {
    id: `5.2/text-of-${length}`,
    rule: `A text message of ${length} bytes passes both ways in one frame, its length in the shortest form.`,
    config: unfragmented,
    script: [echoes(text(ascii(length))), alive]
  },
  {
    id: `5.2/binary-of-${length}`,
    rule: `A binary message of ${length} bytes passes both ways in one frame, its length in the shortest form.`,
    config: unfragmented,
    script: [echoes(binary(pattern(length))), alive]
  }
])

const chopped = [[125, 1], [126, 1], [300, 3], [65_535, 997], [65_536, 997], [131_072, 16_384]] as const

const choppedCases = chopped.map(([length, size]): Case => ({
  id: `5.2/binary-of-${length}-in-writes-of-${size}`,
  rule: `A frame of ${length} bytes that arrives in chunks of ${size} is the same frame.`,
  config: unfragmented,
  script: [
    chops(size, binary(pattern(length)), text("behind")),
    reads(pattern(length), "behind"),
    alive
  ]
}))

const batchCase: Case = {
  id: "5.2/many-frames-in-one-write",
  rule: "Frames that arrive together are told apart.",
  script: [
    sends(...Array.from({ length: 40 }, (_, i) => i % 2 === 0 ? text(`message ${i}`) : binary(pattern(i)))),
    reads(...Array.from({ length: 40 }, (_, i) => i % 2 === 0 ? `message ${i}` : pattern(i))),
    alive
  ]
}

const badLengths: ReadonlyArray<readonly [name: string, digits: string, rule: string]> = [
  ["0-in-16-bits", "827e0000", "NonMinimalLength"],
  ["125-in-16-bits", "827e007d", "NonMinimalLength"],
  ["0-in-64-bits", "827f0000000000000000", "NonMinimalLength"],
  ["125-in-64-bits", "827f000000000000007d", "NonMinimalLength"],
  ["65535-in-64-bits", "827f000000000000ffff", "NonMinimalLength"],
  ["top-bit-alone", "827f8000000000000000", "InvalidLength"],
  ["all-bits", "827fffffffffffffffff", "InvalidLength"]
]

const badLengthCases = badLengths.map(([name, digits, rule]): Case => ({
  id: `5.2/length-${name}`,
  rule: rule === "InvalidLength"
    ? "A 64-bit length with its top bit set fails the connection with 1002."
    : "A length that is not in its shortest form fails the connection with 1002.",
  script: [sends(header(digits)), breaksRule(rule, "5.2")]
}))

// ---- 5.2: reserved bits and opcodes

const rsvs = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70]

const rsvName = (rsv: number) => [0x40, 0x20, 0x10].flatMap((bit, i) => (rsv & bit) === 0 ? [] : [i + 1]).join("-")

const opcodes = [["text", 1], ["binary", 2], ["close", 8], ["ping", 9], ["pong", 10]] as const

const reservedBitCases = rsvs.flatMap((rsv) =>
  opcodes.map(([name, opcode]): Case => ({
    id: `5.2/rsv-${rsvName(rsv)}-on-${name}`,
    rule: `RSV${rsvName(rsv)} on a ${name} frame, with no extension to own it, fails the connection with 1002.`,
    script: [echoes(text("before")), sends(octet(0x80 | rsv | opcode)), breaksRule("ReservedBits", "5.2")]
  }))
)

const reservedBitLaterCases = [0x40, 0x20, 0x10].map((rsv): Case => ({
  id: `5.2/rsv-${rsvName(rsv)}-on-continuation`,
  rule: `RSV${rsvName(rsv)} on a continuation fails the connection with 1002.`,
  script: [sends(text("a", false), more("b", true, rsv)), breaksRule("ReservedBits", "5.2")]
}))

const reservedOpcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]

const opcodeCases = reservedOpcodes.flatMap((opcode): ReadonlyArray<Case> => {
  const name = opcode.toString(16)
  return [
    {
      id: `5.2/opcode-${name}`,
      rule: `Opcode ${name} is reserved: the connection fails with 1002 as soon as its header is there.`,
      script: [echoes(text("before")), sends(octet(0x80 | opcode)), breaksRule("ReservedOpcode", "5.2")]
    },
    {
      id: `5.2/opcode-${name}-with-payload`,
      rule: `Opcode ${name} is reserved, with a payload too, and what follows is not looked at.`,
      script: [sends(octet(0x80 | opcode, pattern(70)), ping("behind")), breaksRule("ReservedOpcode", "5.2")]
    },
    {
      id: `5.2/opcode-${name}-inside-a-message`,
      rule: `Opcode ${name} is reserved, between fragments too.`,
      script: [sends(text("a", false), octet(0x80 | opcode), more("b")), breaksRule("ReservedOpcode", "5.2")]
    }
  ]
})

// ---- 5.3: masking keys

const keys = [0, 1, 0xff, 0xff00_0000, 0xffff_ffff, 0x8000_0001]

const keyCases = keys.map((key): Case => ({
  id: `5.3/key-${key.toString(16).padStart(8, "0")}`,
  rule: `A payload masked with ${key.toString(16).padStart(8, "0")} is the payload, whatever its length and its cut.`,
  roles: ["server"],
  script: [
    sends(...[0, 1, 2, 3, 4, 5, 63, 64, 65, 127].map((length) => masked(binary(pattern(length)), key))),
    reads(...[0, 1, 2, 3, 4, 5, 63, 64, 65, 127].map((length) => pattern(length))),
    chops(3, masked(binary(pattern(100)), key), masked(text("héllo"), key)),
    reads(pattern(100), "héllo"),
    alive
  ]
}))

const freshKeys: Case = {
  id: "5.3/fresh-keys",
  rule: "Each frame of a client has a masking key of its own, fragments and control frames too.",
  roles: ["client"],
  config: { fragmentSize: 10 },
  script: () => {
    const seen = new Set<string>()
    return [
      writes(pattern(100)),
      writes("more"),
      Array.from({ length: 11 }, () =>
        expectsThat("a key not seen before", ({ key }) => {
          const before = seen.size
          return seen.add(String(key)).size === before + 1
        })),
      done
    ]
  }
}

const unmutated: Case = {
  id: "5.3/payload-is-not-changed",
  rule: "Masking does not change the application's array: it can be sent twice.",
  script: () => {
    const payload = pattern(300)
    return [writes(payload), writes(payload), expects(binary(pattern(300)), binary(pattern(300))), done]
  }
}

const tooLong: Case = {
  id: "5.2/length-of-2-63-less-1",
  rule: "A message of 2^63 - 1 bytes is refused at its header with 1009: nothing is allocated for it.",
  script: [sends(header("827f7fffffffffffffff")), violation(1009, { _tag: "MessageTooBig" })]
}

const headerCut: Case = {
  id: "5.2/header-cut-anywhere",
  rule: "A header that arrives byte by byte is a header, and one in its longest form too.",
  script: [
    chops(1, binary(pattern(126)), ping("p"), text("x")),
    reads(pattern(126), "x"),
    expects(Wire.pong("p")),
    chops(5, header("827f0000000000010000", pattern(65_536))),
    reads(pattern(65_536))
  ]
}

// ---- 5.7: the examples, byte for byte

/** Unmasked for a client's eyes, masked for a server's. */
const examples: ReadonlyArray<readonly [name: string, toClient: string, toServer: string, script: Script]> = [
  ["text", "810548656c6c6f", "818537fa213d7f9f4d5158", reads("Hello")],
  ["fragmented-text", "010348656c80026c6f", "018337fa213d7f9f4d808237fa213d5b95", reads("Hello")],
  ["ping", "890548656c6c6f", "898537fa213d7f9f4d5158", expects(Wire.pong("Hello"))],
  ["256-bytes", `827e0100${"00".repeat(256)}`, `82fe010000000000${"00".repeat(256)}`, reads(new Uint8Array(256))],
  [
    "64-kib",
    `827f0000000000010000${"00".repeat(65_536)}`,
    `82ff000000000001000000000000${"00".repeat(65_536)}`,
    reads(new Uint8Array(65_536))
  ]
]

const exampleCases = examples.map(([name, toClient, toServer, script]): Case => ({
  id: `5.7/${name}`,
  rule: "The section's examples are read as they stand there.",
  script: (role) => [sends(hex(role === "client" ? toClient : toServer)), script, alive]
}))

const onlyHalf: Case = {
  id: "5.2/unfinished-header",
  rule: "Half a header makes nothing happen.",
  transports: ["memory"],
  script: (role) => [
    sends(role === "server" ? hex("8282") : hex("82")),
    expectsNothing,
    sends(role === "server" ? hex("000000000102") : hex("020102")),
    reads(hex("0102"))
  ]
}

export const framing: ReadonlyArray<Case> = [
  wrongDirection("text", text("x")),
  wrongDirection("binary", binary(pattern(200))),
  wrongDirection("ping", ping()),
  wrongDirection("pong", Wire.pong()),
  wrongDirection("close", Wire.close(1000)),
  sentWay,
  ...lengthCases,
  ...choppedCases,
  batchCase,
  ...badLengthCases,
  tooLong,
  headerCut,
  onlyHalf,
  ...reservedBitCases,
  ...reservedBitLaterCases,
  ...opcodeCases,
  ...keyCases,
  freshKeys,
  unmutated,
  ...exampleCases
]
