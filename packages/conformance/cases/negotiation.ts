/**
 * Cases of RFC 7692 sections 5 and 7.1: how compression is agreed on.
 *
 * @since 1.0.0
 */
import type * as Deflate from "effect-websocket/Deflate"
import type { Case } from "../runner/Case.ts"
import { agreed, answers, asks, getsHead, getsLines, goodRequest, goodResponse } from "../runner/Heads.ts"
import { alive, breaksRule, expectsGone, opens, refused, sends } from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const server = { roles: ["server"], unopened: true } as const
const client = { roles: ["client"], unopened: true } as const

const plain = "permessage-deflate"
const line = (value: string) => `Sec-WebSocket-Extensions: ${value}`
const takeovers = ["server_no_context_takeover", "client_no_context_takeover"]
const bits = [8, 9, 10, 11, 12, 13, 14, 15] as const

// ---- the server

const accepts = (name: string, offer: string, answer: string, options: Deflate.Options = {}): Case => ({
  id: `7692-7.1/accept-${name}`,
  rule: "A server takes an offer it can keep, and answers what it made of it.",
  ...server,
  deflate: options,
  script: [asks([...goodRequest, line(offer)]), getsHead(...agreed, line(answer)), opens, alive]
})

const acceptances: ReadonlyArray<Case> = [
  accepts("default", plain, plain),
  accepts("client_max_window_bits", `${plain}; client_max_window_bits`, plain),
  accepts("server_no_context_takeover", `${plain}; server_no_context_takeover`, `${plain}; server_no_context_takeover`),
  accepts("client_no_context_takeover", `${plain}; client_no_context_takeover`, `${plain}; client_no_context_takeover`),
  ...bits.map((n) =>
    accepts(
      `server_max_window_bits-${n}`,
      `${plain}; server_max_window_bits=${n}`,
      `${plain}; server_max_window_bits=${n}`
    )
  ),
  ...bits.map((n) =>
    accepts(
      `client_max_window_bits-${n}`,
      `${plain}; client_max_window_bits=${n}`,
      n === 15 ? plain : `${plain}; client_max_window_bits=${n}`
    )
  ),
  accepts("quoted-value", `${plain}; server_max_window_bits="10"`, `${plain}; server_max_window_bits=10`),
  accepts("blanks", ` ${plain} ;  server_no_context_takeover `, `${plain}; server_no_context_takeover`),
  accepts(
    "all",
    `${plain}; client_max_window_bits=9; server_max_window_bits=10; ${takeovers.toReversed().join("; ")}`,
    `${plain}; ${takeovers.join("; ")}; server_max_window_bits=10; client_max_window_bits=9`
  ),
  accepts("among-others", `x-other; a=b, ${plain}, x-more`, plain),
  accepts("own-takeover", plain, `${plain}; server_no_context_takeover; client_no_context_takeover`, {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true
  }),
  accepts("own-server-window", plain, `${plain}; server_max_window_bits=10`, { serverMaxWindowBits: 10 }),
  accepts(
    "the-smaller-server-window",
    `${plain}; server_max_window_bits=12`,
    `${plain}; server_max_window_bits=10`,
    { serverMaxWindowBits: 10 }
  ),
  accepts("own-client-window", `${plain}; client_max_window_bits`, `${plain}; client_max_window_bits=10`, {
    clientMaxWindowBits: 10
  }),
  {
    id: "7692-5/offers-in-order",
    rule: "Where an offer is declined the next one is looked at.",
    ...server,
    deflate: {},
    script: [
      asks([...goodRequest, line(`${plain}; unknown, ${plain}; server_no_context_takeover`), line(plain)]),
      getsHead(...agreed, line(`${plain}; server_no_context_takeover`)),
      opens,
      alive
    ]
  }
]

const declined: ReadonlyArray<readonly [name: string, params: string]> = [
  ["unknown", "unknown"],
  ["unknown-with-value", "unknown=1"],
  ["name-in-capitals", "SERVER_NO_CONTEXT_TAKEOVER"],
  ["server_no_context_takeover-with-value", "server_no_context_takeover=1"],
  ["client_no_context_takeover-with-value", "client_no_context_takeover=true"],
  ["server_no_context_takeover-twice", "server_no_context_takeover; server_no_context_takeover"],
  ["client_no_context_takeover-twice", "client_no_context_takeover; client_no_context_takeover"],
  ["server_max_window_bits-twice", "server_max_window_bits=10; server_max_window_bits=10"],
  ["client_max_window_bits-twice", "client_max_window_bits; client_max_window_bits=10"],
  ["server_max_window_bits-without-value", "server_max_window_bits"],
  ...["7", "16", "0", "08", "010", "9a", "1e1", "99999999999999999999"].flatMap((value) =>
    ["server", "client"].map((side) =>
      [
        `${side}_max_window_bits-${value}`,
        `${side}_max_window_bits=${value}`
      ] as const
    )
  )
]

const declines = (name: string, offer: string | undefined, options: Deflate.Options = {}): Case => ({
  id: `7692-7.1/${name}`,
  rule: "An offer that cannot be taken is declined: the connection opens without compression.",
  ...server,
  deflate: options,
  script: [
    asks([...goodRequest, ...offer === undefined ? [] : [line(offer)]]),
    getsHead(...agreed),
    opens,
    alive,
    sends(Wire.octet(0xc1, Wire.hex("f248cdc9c90700"))),
    breaksRule("ReservedBits", "5.2")
  ]
})

const declinings: ReadonlyArray<Case> = [
  ...declined.map(([name, params]) => declines(`decline-${name}`, `${plain}; ${params}`)),
  declines("decline-another-extension", "permessage-bzip2"),
  declines("decline-in-capitals", "Permessage-Deflate"),
  declines("accept-client-cannot-be-limited", plain, { clientMaxWindowBits: 10 }),
  declines("unasked", undefined)
]

// ---- the client

const offers = (name: string, options: Deflate.Options, offer: string, answer = plain): Case => ({
  id: `7692-7.1/offer-${name}`,
  rule: "A client offers what it was told to, and that its own window can be limited.",
  ...client,
  deflate: options,
  script: [getsLines([line(offer)]), answers([...goodResponse, line(answer)]), opens, alive]
})

const offerings: ReadonlyArray<Case> = [
  offers("default", {}, `${plain}; client_max_window_bits`),
  offers(
    "server_no_context_takeover",
    { serverNoContextTakeover: true },
    `${plain}; server_no_context_takeover; client_max_window_bits`,
    `${plain}; server_no_context_takeover`
  ),
  offers(
    "client_no_context_takeover",
    { clientNoContextTakeover: true },
    `${plain}; client_no_context_takeover; client_max_window_bits`
  ),
  offers(
    "server_max_window_bits",
    { serverMaxWindowBits: 10 },
    `${plain}; server_max_window_bits=10; client_max_window_bits`,
    `${plain}; server_max_window_bits=9`
  ),
  offers("client_max_window_bits", { clientMaxWindowBits: 10 }, `${plain}; client_max_window_bits=10`),
  offers(
    "with-fallback",
    { serverMaxWindowBits: 10, fallback: true },
    `${plain}; server_max_window_bits=10; client_max_window_bits, ${plain}; client_max_window_bits`
  ),
  {
    id: "7692-7.1/offer-declined",
    rule: "A client whose offer is declined goes without.",
    ...client,
    deflate: {},
    script: [
      getsLines([line(`${plain}; client_max_window_bits`)]),
      answers(goodResponse),
      opens,
      alive,
      sends(Wire.octet(0xc1, Wire.hex("f248cdc9c90700"))),
      breaksRule("ReservedBits", "5.2")
    ]
  }
]

const agrees = (name: string, params: string): Case => ({
  id: `7692-7.1/agreed-${name}`,
  rule: "A client takes every answer that its offer allows.",
  ...client,
  deflate: {},
  script: [getsLines(["GET /chat HTTP/1.1"]), answers([...goodResponse, line(`${plain}${params}`)]), opens, alive]
})

const agreements: ReadonlyArray<Case> = [
  agrees("default", ""),
  agrees("server_no_context_takeover", "; server_no_context_takeover"),
  agrees("client_no_context_takeover", "; client_no_context_takeover"),
  ...bits.map((n) => agrees(`server_max_window_bits-${n}`, `; server_max_window_bits=${n}`)),
  ...bits.map((n) => agrees(`client_max_window_bits-${n}`, `; client_max_window_bits=${n}`)),
  agrees("quoted-value", "; client_max_window_bits=\"10\""),
  agrees(
    "all",
    "; client_max_window_bits=9; server_max_window_bits=10; client_no_context_takeover; server_no_context_takeover"
  )
]

const refuses = (
  name: string,
  answer: string,
  reason: Record<string, unknown>,
  options: Deflate.Options = {}
): Case => ({
  id: `7692-5.1/answer-${name}`,
  rule: "An answer that no offer allows, or that is malformed, gives no connection.",
  ...client,
  deflate: options,
  script: [
    getsLines(["GET /chat HTTP/1.1"]),
    answers([...goodResponse, line(answer)]),
    refused(reason),
    expectsGone
  ]
})

const unoffered = { _tag: "ExtensionRefused" }

const refusals: ReadonlyArray<Case> = [
  ...declined.map(([name, params]) => refuses(name, `${plain}; ${params}`, unoffered)),
  refuses("client_max_window_bits-without-value", `${plain}; client_max_window_bits`, unoffered),
  refuses("twice", `${plain}, ${plain}`, unoffered),
  refuses("another-extension", "permessage-bzip2", unoffered),
  refuses("one-more-extension", `${plain}, permessage-bzip2`, unoffered),
  refuses("without-server_no_context_takeover", plain, unoffered, { serverNoContextTakeover: true }),
  refuses("without-server_max_window_bits", plain, unoffered, { serverMaxWindowBits: 10 }),
  refuses("larger-server_max_window_bits", `${plain}; server_max_window_bits=11`, unoffered, {
    serverMaxWindowBits: 10
  })
]

export const negotiation: ReadonlyArray<Case> = [
  ...acceptances,
  ...declinings,
  ...offerings,
  ...agreements,
  ...refusals
]
