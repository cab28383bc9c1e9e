/**
 * Cases of RFC 6455 section 10.4 and of what no RFC says: floods, memory, and
 * time. Each limit is tried at n and at n + 1.
 *
 * @since 1.0.0
 */
import { defaults } from "effect-websocket/WebSocketConfig"
import * as Effect from "effect/Effect"
import type { Case } from "../runner/Case.ts"
import { Mismatch } from "../runner/Mismatch.ts"
import {
  alive,
  chops,
  does,
  done,
  expects,
  expectsClose,
  expectsEnd,
  expectsNothing,
  expectsThat,
  passes,
  readFails,
  reads,
  refuses,
  sends,
  settles,
  step,
  violation,
  writes
} from "../runner/Steps.ts"
import * as Wire from "../runner/Wire.ts"

const { binary, header, more, pattern, ping, pong, text } = Wire

const small = { maxMessageSize: 1000, maxFragments: 10 }
const tooBig = violation(1009, { _tag: "MessageTooBig", limit: 1000 })
const tooMany = violation(1008, { _tag: "TooManyFragments", limit: 10 })

const pieces = (count: number, size: number, fin: boolean): ReadonlyArray<Wire.Frame> =>
  Array.from({ length: count }, (_, i) => (i === 0 ? binary : more)(pattern(size), fin && i === count - 1))

const sizes: ReadonlyArray<Case> = [
  {
    id: "10.4/message-of-the-limit",
    rule: "A message of as many bytes as the limit is taken, whole or in fragments.",
    config: small,
    script: [
      sends(binary(pattern(1000)), ...pieces(10, 100, true)),
      reads(pattern(1000), Wire.concat(Array.from({ length: 10 }, () => pattern(100)))),
      alive
    ]
  },
  {
    id: "10.4/message-over-the-limit",
    rule: "A message of one byte more than the limit fails the connection with 1009.",
    config: small,
    script: [sends(binary(pattern(1001))), tooBig]
  },
  {
    id: "10.4/judged-at-the-header",
    rule: "A frame over the limit is refused at its header: no payload is waited for.",
    config: small,
    script: [sends(header("827e03e9")), tooBig]
  },
  ...(["0000000000010000", "0000000100000000", "001fffffffffffff", "0020000000000000", "7fffffffffffffff"] as const)
    .map((length): Case => ({
      id: `10.4/length-${length}`,
      rule: "A length beyond any limit, or beyond what numbers hold exactly, is refused at its header with 1009.",
      config: small,
      script: [sends(header(`827f${length}`)), tooBig]
    })),
  {
    id: "10.4/fragments-over-the-limit",
    rule:
      "The limit is for the message: fragments are added up, and the one that goes beyond is refused at its header.",
    config: small,
    script: [sends(...pieces(2, 500, false), header("8001")), tooBig]
  },
  {
    id: "10.4/control-frames-do-not-count",
    rule: "Control frames between fragments touch neither limit.",
    config: small,
    script: [
      sends(...pieces(9, 100, false).flatMap((frame) => [frame, ping(pattern(125)), pong(pattern(125))])),
      expects(...Array.from({ length: 9 }, () => pong(pattern(125)))),
      sends(more(pattern(100))),
      reads(Wire.concat(Array.from({ length: 10 }, () => pattern(100)))),
      alive
    ]
  },
  {
    id: "10.4/limits-are-per-message",
    rule: "Each message has the limits to itself.",
    config: small,
    script: [
      sends(...Array.from({ length: 5 }, () => pieces(10, 100, true)).flat()),
      reads(...Array.from({ length: 5 }, () => Wire.concat(Array.from({ length: 10 }, () => pattern(100))))),
      alive
    ]
  },
  {
    id: "10.4/fragments-of-the-limit",
    rule: "A message in as many fragments as the limit is taken, empty ones counted.",
    config: small,
    script: [
      sends(...pieces(10, 0, true), ...pieces(10, 1, true)),
      reads(pattern(0), new Uint8Array(10).fill(1)),
      alive
    ]
  },
  {
    id: "10.4/fragments-beyond-the-limit",
    rule: "One fragment more than the limit fails the connection with 1008.",
    config: small,
    script: [sends(...pieces(11, 1, false)), tooMany]
  },
  {
    id: "10.4/empty-fragments-beyond-the-limit",
    rule: "Empty fragments count too.",
    config: small,
    script: [sends(...pieces(11, 0, false)), tooMany]
  }
]

// ---- floods

const flood = (count: number, frame: (i: number) => Wire.Frame): ReadonlyArray<Wire.Frame> =>
  Array.from({ length: count }, (_, i) => frame(i))

const emptyFragments = (sender: Wire.Role, count: number): Uint8Array => {
  const fragment = Wire.encode(sender, more("", false))
  const first = Wire.encode(sender, text("", false))
  return Wire.concat(Array.from({ length: count }, (_, i) => i === 0 ? first : fragment))
}

/** No more bytes of the peer were taken than this. */
const takes = (most: number) =>
  step(`at most ${most} bytes were taken`, ({ peer }) =>
    peer.taken <= most
      ? Effect.void
      : Effect.fail(new Mismatch({ expected: `at most ${most} bytes taken`, actual: `${peer.taken}` })))

/** Pongs in the order of their pings, some maybe left out, and this one last. */
const pongsUpTo = (last: string) =>
  step(`the peer gets pongs up to ${last}`, ({ peer }) => {
    const next = (after: number): Effect.Effect<void, Mismatch> =>
      Effect.flatMap(peer.frame, ({ opcode, payload }) => {
        const number = Number(new TextDecoder().decode(payload))
        if (opcode !== 10 || number <= after) return Effect.fail(new Mismatch({ expected: last, actual: `${number}` }))
        return number === Number(last) ? Effect.void : next(number)
      })
    return next(-1)
  })

const floods: ReadonlyArray<Case> = [
  {
    id: "flood/empty-fragments",
    rule: "A message of empty fragments without end is ended by the default limit.",
    script: [
      sends((sender) => emptyFragments(sender, defaults.maxFragments + 1)),
      violation(1008, { _tag: "TooManyFragments", limit: defaults.maxFragments })
    ]
  },
  {
    id: "flood/pings-read",
    rule: "A thousand pings to a peer that reads are answered, the last one in any case.",
    script: [sends(...flood(1000, (i) => ping(`${i}`))), pongsUpTo("999"), alive]
  },
  {
    id: "flood/pings-unread",
    rule: "Ten thousand pings of a peer that does not read cost one pong that waits.",
    transports: ["memory"],
    memory: { capacity: 300 },
    script: [
      does("write", (stream) => stream.write(pattern(1000))),
      settles,
      sends(...flood(10_000, (i) => ping(`${i}`))),
      step("all is taken", ({ peer }) => Effect.repeat(Effect.yieldNow, { until: () => peer.idle })),
      settles,
      expectsThat("the message", ({ opcode }) => opcode === 2),
      expects(pong("9999")),
      expectsNothing,
      done
    ]
  },
  {
    id: "flood/pongs",
    rule: "Ten thousand pongs that nothing asked for do nothing.",
    script: [sends(...flood(10_000, (i) => pong(`${i}`))), alive]
  },
  {
    id: "flood/empty-messages",
    rule: "Empty messages that nobody reads fill the buffer too: the peer is slowed.",
    transports: ["memory"],
    memory: { capacity: 1000 },
    config: { readBuffer: 6400 },
    script: [
      Array.from({ length: 100 }, () => sends(...flood(100, () => text("")))),
      Array.from({ length: 5 }, () => settles),
      takes(3000)
    ]
  },
  {
    id: "memory/unread-messages",
    rule: "Messages that nobody reads stop the transport from being read: the peer is slowed, and nothing is lost.",
    transports: ["memory"],
    memory: { capacity: 1000 },
    config: { readBuffer: 10_000 },
    script: [
      Array.from({ length: 100 }, () => sends(binary(pattern(1000)))),
      Array.from({ length: 5 }, () => settles),
      takes(14_000),
      reads(...Array.from({ length: 100 }, () => pattern(1000))),
      alive
    ]
  },
  {
    id: "memory/message-larger-than-the-buffer",
    rule: "A message that is waited for may be larger than the read buffer.",
    config: { readBuffer: 1000 },
    script: [sends(binary(pattern(100_000))), reads(pattern(100_000)), alive]
  },
  {
    id: "memory/unread-while-closing",
    rule: "A peer that closes behind more than the buffer holds is answered.",
    config: { readBuffer: 1000 },
    script: [
      sends(...flood(10, () => binary(pattern(900)))),
      sends(Wire.close(1000)),
      reads(...flood(10, () => text("")).map(() => pattern(900))),
      expects(Wire.close(1000))
    ]
  },
  {
    id: "memory/slow-peer",
    rule: "A write to a peer that does not read waits, and one that would wait behind too much is refused.",
    transports: ["memory"],
    memory: { capacity: 1000 },
    config: { maxQueuedBytes: 5000, fragmentSize: 0 },
    script: [
      writes(pattern(4000)),
      settles,
      refuses("queue more than the limit", (stream) => stream.write(pattern(1001)), { _tag: "QueueFull" }),
      expects(binary(pattern(4000))),
      done,
      writes(pattern(4000)),
      expects(binary(pattern(4000))),
      done
    ]
  },
  {
    id: "flood/byte-by-byte",
    rule: "Two thousand frames byte by byte are two thousand frames.",
    transports: ["memory"],
    script: [
      chops(1, ...flood(2000, () => binary(pattern(1)))),
      reads(...flood(2000, () => text()).map(() => pattern(1))),
      alive
    ]
  }
]

// ---- time

/** The peer gets a ping and answers it. */
const pingAnswered = step("a ping is answered", ({ peer }) =>
  Effect.flatMap(peer.frame, ({ opcode, payload }) => {
    if (opcode !== 9) return Effect.fail(new Mismatch({ expected: "a ping", actual: `opcode ${opcode}` }))
    peer.send([pong(payload)])
    return settles.run(undefined as never)
  }))

const times: ReadonlyArray<Case> = [
  {
    id: "time/idle",
    rule: "A peer of which nothing at all is heard for the idle timeout is failed.",
    transports: ["memory"],
    config: { idleTimeout: "10 seconds" },
    script: [
      passes("9 seconds"),
      sends(pong()),
      settles,
      passes("9999 millis"),
      expectsNothing,
      passes("1 millis"),
      expectsClose(1001),
      expectsEnd,
      readFails({ _tag: "IdleTimeout", timeout: 10_000 })
    ]
  },
  {
    id: "time/keep-alive",
    rule: "Pings that are not answered fail the connection; those that are do not.",
    transports: ["memory"],
    config: { keepAlive: { interval: "10 seconds", misses: 2 } },
    script: [
      passes("10 seconds"),
      pingAnswered,
      passes("10 seconds"),
      expectsThat("a ping", ({ opcode }) => opcode === 9),
      passes("10 seconds"),
      expectsThat("a ping", ({ opcode }) => opcode === 9),
      passes("10 seconds"),
      expectsClose(1011),
      expectsEnd,
      readFails({ _tag: "KeepAliveTimeout", misses: 2 })
    ]
  },
  {
    id: "time/slow-message",
    rule: "A message that takes longer than the message timeout fails the connection with 1008, pings or not.",
    transports: ["memory"],
    config: { messageTimeout: "10 seconds" },
    script: [
      sends(text("a", false)),
      settles,
      passes("5 seconds"),
      sends(more("b", false), ping("p")),
      expects(pong("p")),
      passes("5 seconds"),
      expectsClose(1008),
      expectsEnd,
      readFails({ _tag: "MessageTimeout", timeout: 10_000 })
    ]
  },
  {
    id: "time/slow-frame",
    rule: "A frame that never ends is a slow message too.",
    transports: ["memory"],
    config: { messageTimeout: "10 seconds" },
    script: [
      sends(header("827e0100", pattern(3))),
      settles,
      passes("10 seconds"),
      expectsClose(1008),
      expectsEnd,
      readFails({ _tag: "MessageTimeout" })
    ]
  }
]

export const limits: ReadonlyArray<Case> = [...sizes, ...floods, ...times]
