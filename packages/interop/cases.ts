/**
 * What is tried with every peer, in both roles: what the peer is told to do, what our end does meanwhile, and what the
 * peer must have seen.
 */
import type * as Extension from "@effect-websocket/protocol/Extension"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import type { CloseOptions, Payload, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Array from "effect/Array"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Mode, Report } from "./report.ts"

type Connection = WebSocketStream["Service"]

/** Something that is not as it has to be. */
export class Mismatch extends Data.TaggedError("Mismatch")<{ readonly message: string }> {}

export type Failure = Mismatch | WebSocketError.ReadError | WebSocketError.WriteError

/** What may be tried with a peer. */
export interface Case {
  /** What the peer is told to do, see `report.ts`. */
  readonly theirs: string
  readonly ours: (connection: Connection) => Effect.Effect<unknown, Failure>
  /** What the peer must have seen; a field that it does not report is not compared. */
  readonly seen?: Partial<Report>
  readonly mode?: Mode
  readonly subprotocols?: ReadonlyArray<string>
  /** The request is refused: no connection comes about. */
  readonly refused?: "unauthorized" | "origin"
}

const show = (value: unknown): string =>
  value instanceof Uint8Array
    ? `${value.length} bytes`
    : (JSON.stringify(value) ?? "nothing").slice(0, 60)

/** Fails where two values differ. */
export const same = (what: string, actual: unknown, expected: unknown): Effect.Effect<void, Mismatch> =>
  Equal.equals(actual, expected)
    ? Effect.void
    : Effect.fail(new Mismatch({ message: `${what}: ${show(actual)} instead of ${show(expected)}` }))

const repeatTo = (size: number, make: (index: number) => string): string => {
  let text = ""
  for (let index = 0; text.length < size; index++) text += make(index)
  return text.slice(0, size)
}

/** Text that compresses as telemetry does. */
const telemetry = (size: number) =>
  repeatTo(size, (index) => `{"sensor":${index % 17},"value":${(index * 7919) % 1000},"unit":"°C"}\n`)

/** Bytes that hardly compress, the same on every run. */
const noise = (size: number): Uint8Array => {
  let state = 0x2545f491
  return Uint8Array.from({ length: size }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state & 0xff
  })
}

const mebibyte = 1024 * 1024
const multiByte = "κόσμε, €uro, 日本語, 𝄞 and 👩‍🚀"

const exchange = (connection: Connection, message: Payload) =>
  Effect.andThen(
    connection.write(message),
    Effect.flatMap(connection.read, (echo) => same("echo", echo, message))
  )

const echoes = (...messages: ReadonlyArray<Payload>): Case => ({
  theirs: "echo:0",
  ours: (connection) => Effect.forEach(messages, (message) => exchange(connection, message), { discard: true }),
  seen: { code: 1000, reason: "" }
})

/** Our side in parts that the peer sees as fragments; bytes cut where no character ends. */
const inParts = (connection: Connection, type: "text" | "binary", bytes: Uint8Array) =>
  Effect.forEach(
    [0, 1, 2, 3],
    (part) =>
      connection.writeSome(part === 3, bytes.subarray(part * 7, part === 3 ? bytes.length : part * 7 + 7), { type })
  )

const fragmentedByUs: Case = {
  theirs: "echo:0",
  ours: Effect.fnUntraced(function*(connection) {
    yield* inParts(connection, "text", new TextEncoder().encode(multiByte))
    yield* Effect.flatMap(connection.read, (echo) => same("echo", echo, multiByte))
    const bytes = noise(100)
    yield* inParts(connection, "binary", bytes)
    yield* Effect.flatMap(connection.read, (echo) => same("echo", echo, bytes))
  }),
  seen: { code: 1000 }
}

const fragmentedByThem: Case = {
  ...echoes(multiByte.repeat(3), noise(1000)),
  theirs: "fragments:2"
}

const pingByUs: Case = {
  theirs: "echo:0",
  ours: Effect.fnUntraced(function*(connection) {
    const payload = noise(125)
    const pong = yield* Effect.forkChild(Stream.runHead(connection.controlFrames), { startImmediately: true })
    yield* connection.ping(payload)
    yield* same("pong", Option.getOrUndefined(yield* Fiber.join(pong)), { _tag: "Pong", payload })
    yield* connection.ping()
    yield* exchange(connection, "after the pings")
  })
}

const pingByThem: Case = {
  theirs: "ping:are-you-there,flood:1:10,echo:0",
  ours: (connection) =>
    Effect.flatMap(connection.read, (message) => same("message", message, new Uint8Array(10))).pipe(
      Effect.andThen(exchange(connection, "after the ping"))
    ),
  seen: { pong: "are-you-there" }
}

const ended = Effect.fnUntraced(function*(
  connection: Connection,
  expected: Partial<WebSocketError.CloseStatus>
) {
  const status = yield* connection.closed
  for (const [name, value] of Object.entries({ ...expected, clean: true })) {
    yield* same(`${name} of ${status}`, status[name as keyof typeof status], value)
  }
})

const closeByUs = (options: CloseOptions, seen: Partial<Report>): Case => ({
  theirs: "echo:0",
  ours: (connection) =>
    exchange(connection, "before the close").pipe(
      Effect.andThen(connection.close(options)),
      Effect.andThen(ended(connection, { initiator: "local" }))
    ),
  seen
})

const closeByThem = (args: string, expected: Partial<WebSocketError.CloseStatus>): Case => ({
  theirs: `echo:1,close${args}`,
  ours: (connection) =>
    Effect.andThen(exchange(connection, "before the close"), ended(connection, { initiator: "peer", ...expected }))
})

const floodSize = 16 * 1024
const floodCount = 64

const isClosed = ({ reason }: WebSocketError.ReadError | WebSocketError.WriteError) =>
  reason._tag === "ConnectionClosed"

/** Reads to the end and tells how many messages came. */
const countToEnd = (connection: Connection): Effect.Effect<number, WebSocketError.ReadError> => {
  let count = 0
  return connection.read.pipe(
    Effect.tap(() => Effect.sync(() => count++)),
    Effect.forever,
    Effect.catchIf(isClosed, () => Effect.sync(() => count))
  )
}

const flood = Array.makeBy(floodCount, (index) => new Uint8Array(floodSize).fill(index))

const closeBehindOurs: Case = {
  theirs: "count",
  ours: (connection) => Effect.andThen(connection.writeAll(flood), connection.close({ code: 3001, reason: "sent" })),
  seen: { received: floodCount, code: 3001, reason: "sent" }
}

const closeBehindTheirs: Case = {
  theirs: `flood:${floodCount}:${floodSize},close:1000:sent`,
  ours: Effect.fnUntraced(function*(connection) {
    yield* same("messages", yield* countToEnd(connection), floodCount)
    yield* ended(connection, { initiator: "peer", code: 1000, reason: "sent" })
  })
}

const closeAgainstTheirs: Case = {
  theirs: `flood:${floodCount}:${floodSize},echo:0`,
  ours: Effect.fnUntraced(function*(connection) {
    yield* connection.read
    const rest = yield* Effect.forkChild(countToEnd(connection))
    yield* connection.close({ code: 3002, reason: "enough" })
    yield* ended(connection, { initiator: "local" })
    yield* Fiber.join(rest)
  }),
  seen: { code: 3002, reason: "enough" }
}

const closeAgainstOurs: Case = {
  theirs: "echo:1,close:3003:enough",
  ours: (connection) =>
    connection.writeAll(flood).pipe(
      Effect.forever,
      Effect.catchIf(isClosed, () => Effect.void),
      Effect.andThen(countToEnd(connection)),
      Effect.andThen(ended(connection, { initiator: "peer", code: 3003, reason: "enough" }))
    )
}

const subprotocol: Case = {
  ...echoes("a message"),
  subprotocols: ["chat.v1", "chat.v2"],
  ours: (connection) =>
    Effect.andThen(same("subprotocol", connection.handshake.subprotocol, "chat.v2"), exchange(connection, "a message")),
  seen: { subprotocol: "chat.v2" }
}

type Params = Readonly<Record<string, string | undefined>>

/** What the answered parameters must be, by mode: those of takeover exactly, those of bits where they are given. */
const paramsOf: { readonly [M in Exclude<Mode, "none">]: (params: Params) => boolean } = {
  takeover: (params) => !Object.keys(params).some((name) => name.endsWith("_no_context_takeover")),
  fresh: (params) => "server_no_context_takeover" in params && "client_no_context_takeover" in params,
  window9: (params) => params["server_max_window_bits"] === "9" && params["client_max_window_bits"] === "9"
}

const agreed = (mode: Exclude<Mode, "none">, extensions: ReadonlyArray<Extension.Extension>) =>
  extensions.length === 1 && extensions[0]!.name === "permessage-deflate" &&
    paramsOf[mode](Object.fromEntries(extensions[0]!.params))
    ? Effect.void
    : Effect.fail(new Mismatch({ message: `agreed on ${show(extensions)}` }))

const compressedEchoes = (mode: Exclude<Mode, "none">, messages: ReadonlyArray<Payload>): Case => {
  const echo = echoes(...messages)
  return {
    ...echo,
    mode,
    ours: (connection) => Effect.andThen(agreed(mode, connection.handshake.extensions), echo.ours(connection))
  }
}

/** Each message twice: the second time it is in the window, where there is a context to take over. */
const compressed = (mode: Exclude<Mode, "none">): Case => {
  const messages = [telemetry(60), telemetry(64 * 1024), noise(64 * 1024), telemetry(mebibyte)]
  return compressedEchoes(mode, messages.flatMap((message) => [message, message]))
}

const refusedCase = (refused: NonNullable<Case["refused"]>, seen: Partial<Report>): Case => ({
  theirs: "count",
  ours: () => Effect.void,
  refused,
  seen
})

/** Every case, by the name it has in the table. */
export const cases = {
  "text": echoes("hello", telemetry(125), telemetry(126), telemetry(70_000)),
  "multi-byte text": echoes(multiByte, multiByte.repeat(5000)),
  "binary": echoes(noise(1), noise(125), noise(126), noise(65_535), noise(65_536)),
  "empty text and binary": echoes("", new Uint8Array(0), "not empty"),
  "1 MiB binary": echoes(noise(mebibyte)),
  "fragmented by us": fragmentedByUs,
  "fragmented by the peer": fragmentedByThem,
  "ping by us": pingByUs,
  "ping by the peer": pingByThem,
  "close by us: 1000": closeByUs({ code: 1000 }, { code: 1000, reason: "" }),
  "close by us: 3000 and a reason": closeByUs({ code: 3000, reason: "εύγε" }, { code: 3000, reason: "εύγε" }),
  "close by us: no code": closeByUs({ code: "none" }, { code: 1005, reason: "" }),
  "close by the peer: 1000": closeByThem(":1000", { code: 1000, reason: "" }),
  "close by the peer: 4999 and a reason": closeByThem(":4999:bye", { code: 4999, reason: "bye" }),
  "close by the peer: no code": closeByThem("", { code: 1005, reason: "" }),
  "our close behind our data": closeBehindOurs,
  "our close against their data": closeAgainstTheirs,
  "their close behind their data": closeBehindTheirs,
  "their close against our data": closeAgainstOurs,
  "refused with 401": refusedCase("unauthorized", { status: 401, challenge: "Bearer realm=\"interop\"" }),
  "another site's page refused with 403": refusedCase("origin", { status: 403 }),
  "subprotocol": subprotocol,
  "compressed, contexts kept": compressed("takeover"),
  "compressed, no contexts": compressed("fresh"),
  "compressed, 9 bits both ways": compressed("window9"),
  "compressed, empty between others": compressedEchoes("takeover", ["not empty", "", "", "not empty"])
} satisfies Readonly<Record<string, Case>>

export type CaseName = keyof typeof cases
