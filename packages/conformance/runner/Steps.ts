/**
 * The steps that scripts are made of.
 *
 * @since 1.0.0
 */
import { type ReadError, WriteError } from "effect-websocket/WebSocketError"
import type { CloseOptions, MessagePart, Payload, WriteOptions } from "effect-websocket/WebSocketStream"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { Script, Step } from "./Case.ts"
import { Mismatch, show } from "./Mismatch.ts"
import type { Rig, Stream } from "./Rig.ts"
import * as Wire from "./Wire.ts"

export const step = (say: string, run: Step["run"]): Step => ({ say, run })

const check = (holds: boolean, expected: string, actual: () => string): Effect.Effect<void, Mismatch> =>
  holds ? Effect.void : Effect.fail(new Mismatch({ expected, actual: actual() }))

const equalPayloads = (left: Payload, right: Payload): boolean =>
  typeof left === "string" || typeof right === "string" ? left === right : Wire.equalBytes(left, right)

/** Whether `actual` has every field of `expected`, with the same value. */
const includes = (actual: unknown, expected: unknown): boolean => {
  if (typeof expected !== "object" || expected === null) return Object.is(actual, expected)
  return typeof actual === "object" && actual !== null &&
    Object.entries(expected).every(([name, value]) => includes((actual as Record<string, unknown>)[name], value))
}

const checkFields = (what: string, actual: object, expected: object): Effect.Effect<void, Mismatch> =>
  check(includes(actual, expected), `${what} ${show(expected)}`, () => show({ ...actual, ...tagOf(actual) }))

const tagOf = (value: object): object => "_tag" in value ? { _tag: value._tag } : {}

// ---- the raw peer

/** Sends frames in one write. */
export const sends = (...frames: ReadonlyArray<Wire.Sendable>): Step =>
  step("the peer sends", ({ peer }) => Effect.sync(() => peer.send(frames)))

/** Sends frames in writes of `size` bytes. */
export const chops = (size: number, ...frames: ReadonlyArray<Wire.Sendable>): Step =>
  step(
    `the peer sends in writes of ${size}`,
    ({ peer }) =>
      Effect.sync(() =>
        peer.sendBytes(Wire.chop(Wire.concat(frames.map((frame) => Wire.encode(peer.role, frame))), size))
      )
  )

/** Ends the peer's side of the transport. */
export const ends: Step = step("the peer ends its side", ({ peer }) => Effect.sync(() => peer.end()))

/** Breaks the transport. */
export const breaks: Step = step("the peer breaks the transport", ({ peer }) => peer.destroy)

/** The next frames are these, and nothing else comes between. */
export const expects = (...frames: ReadonlyArray<Wire.Frame>): Script =>
  frames.map((frame) =>
    step(
      `the peer gets ${Wire.describe(frame)}`,
      ({ peer }) =>
        Effect.flatMap(
          peer.frame,
          (arrived) => check(Wire.equalFrames(arrived, frame), Wire.describe(frame), () => Wire.describe(arrived))
        )
    )
  )

/** The next frame is one for which this holds. */
export const expectsThat = (say: string, holds: (frame: Wire.Arrived, rig: Rig) => boolean): Step =>
  step(
    `the peer gets ${say}`,
    (rig) => Effect.flatMap(rig.peer.frame, (arrived) => check(holds(arrived, rig), say, () => Wire.describe(arrived)))
  )

const decoder = new TextDecoder("utf-8", { fatal: true })

/** The next frame is a Close with this code and any reason that may be sent. */
export const expectsClose = (code: number): Step =>
  expectsThat(`a close with ${code}`, ({ fin, opcode, payload, rsv }) => {
    decoder.decode(payload.subarray(2))
    return opcode === 8 && fin && rsv === 0 && payload.length <= 125 && payload[0] === code >>> 8 &&
      payload[1] === (code & 0xff)
  })

/** The other side ends its transport, behind everything that was expected. */
export const expectsEnd: Step = step(
  "the peer gets the end of the transport",
  ({ peer }) => Effect.flatMap(peer.ended, (end) => check(end === "PeerEnded", "PeerEnded", () => end))
)

/** The transport ends, in whatever way. */
export const expectsGone: Step = step("the peer gets the end, of whatever kind", ({ peer }) => peer.ended)

/** Lets everything run that can, in memory, where nothing takes time. */
export const settles: Step = step(
  "everything settles",
  () => Effect.replicateEffect(Effect.yieldNow, 60, { discard: true })
)

/** Nothing comes. In memory only. */
export const expectsNothing: Step = step("the peer gets nothing", ({ peer }) => {
  const settled = Effect.replicateEffect(Effect.yieldNow, 60, { discard: true })
  const anything = Effect.match(peer.frame, { onFailure: (error) => error.actual, onSuccess: Wire.describe })
  return Effect.flatMap(
    Effect.raceFirst(anything, settled),
    (came) => check(came === undefined, "nothing", () => String(came))
  )
})

const probe = Wire.utf8("still there?")

/** The connection is open and owes nothing: a ping is answered with the next frame. */
export const alive: Script = [
  step("a ping finds the connection alive", ({ peer }) => Effect.sync(() => peer.send([Wire.ping(probe)]))),
  expects(Wire.pong(probe))
]

/** Time passes. In memory only. */
export const passes = (duration: Duration.Input): Step =>
  step(`${String(duration)} pass`, () => TestClock.adjust(duration))

// ---- the library's application

/** Has the application do something, in a fiber that does all such things in order. */
export const does = (say: string, run: (stream: Stream) => Effect.Effect<unknown, unknown>): Step =>
  step(`the application begins to ${say}`, (rig) => Effect.sync(() => rig.tell({ say, run })))

/** The application has done all it was told, without a failure. */
export const done: Step = step("the application is done", (rig) => rig.idle)

/** Messages are read, in order. */
export const reads = (...messages: ReadonlyArray<Payload>): Script =>
  messages.map((message) =>
    step(`reads ${show(message)}`, ({ stream }) =>
      Effect.flatMap(stream, ({ read }) =>
        Effect.matchEffect(read, {
          onFailure: (error) => new Mismatch({ expected: show(message), actual: error.message }),
          onSuccess: (payload) => check(equalPayloads(payload, message), show(message), () => show(payload))
        })))
  )

/** The next part. */
export const readsPart = (type: MessagePart["type"], data: Payload, fin: boolean): Step =>
  step(
    `reads a part ${show({ type, data, fin })}`,
    ({ stream }) =>
      Effect.flatMap(stream, ({ readSome }) =>
        Effect.matchEffect(readSome, {
          onFailure: (error) => new Mismatch({ expected: show(data), actual: error.message }),
          onSuccess: (part) =>
            check(
              part.type === type && part.fin === fin && equalPayloads(part.data, data),
              show({ type, data, fin }),
              () => show(part)
            )
        }))
  )

/** A message is written, behind those before. */
export const writes = (message: Payload, options?: WriteOptions): Step =>
  does(`write ${show(message)}`, (stream) => stream.write(message, options))

/** A message is written by a fiber of its own. */
export const writesApart = (message: Payload): Step =>
  step(
    `another fiber writes ${show(message)}`,
    ({ stream }) =>
      Effect.flatMap(stream, (open) => Effect.forkDetach(Effect.ignore(open.write(message)))).pipe(Effect.asVoid)
  )

/** Part of a message is written. */
export const writesSome = (fin: boolean, part: Payload, options?: WriteOptions): Step =>
  does(`write a part ${show(part)}`, (stream) => stream.writeSome(fin, part, options))

/** Closing begins, and is not waited for. */
export const closes = (options?: CloseOptions): Step =>
  step(
    `closes with ${show(options ?? {})}`,
    ({ stream }) =>
      Effect.flatMap(stream, (open) => Effect.forkDetach(Effect.ignore(open.close(options ?? {})))).pipe(
        Effect.andThen(Effect.yieldNow)
      )
  )

/** A write fails, with these fields of its reason, and nothing is sent for it. */
export const refuses = (
  say: string,
  run: (stream: Stream) => Effect.Effect<unknown, unknown>,
  expected: { readonly _tag: WriteError["reason"]["_tag"] }
): Step =>
  step(`refuses to ${say}`, ({ stream }) =>
    Effect.flatMap(stream, (open) =>
      Effect.matchEffect(run(open), {
        onSuccess: (value) => new Mismatch({ expected: expected._tag, actual: `success ${show(value)}` }),
        onFailure: (error) =>
          error instanceof WriteError
            ? checkFields("a failure", error.reason, expected)
            : new Mismatch({ expected: expected._tag, actual: String(error) })
      })))

/** Reading fails from now on, with these fields of the reason. */
export const readFails = (expected: { readonly _tag: ReadError["reason"]["_tag"] } & Record<string, unknown>): Step =>
  step(
    `reading fails with ${show(expected)}`,
    ({ stream }) =>
      Effect.flatMap(stream, ({ read }) =>
        Effect.matchEffect(read, {
          onSuccess: (message) => new Mismatch({ expected: show(expected), actual: `message ${show(message)}` }),
          onFailure: (error) => checkFields("a failure", error.reason, expected)
        }))
  )

/** The connection ends with these fields of its status. */
export const status = (expected: Record<string, unknown>): Step =>
  step(
    `ends with ${show(expected)}`,
    ({ stream }) =>
      Effect.flatMap(stream, ({ closed }) =>
        Effect.flatMap(closed, (actual) => checkFields("a status", actual, expected)))
  )

/** Something holds of the stream. */
export const holds = (say: string, test: (stream: Stream) => Effect.Effect<boolean>): Step =>
  step(
    say,
    ({ stream }) =>
      Effect.flatMap(stream, (open) => Effect.flatMap(test(open), (yes) => check(yes, say, () => "something else")))
  )

/** Leaves the scope of the stream, or stops the server, and waits for no end. */
export const leaves = (exit: Exit.Exit<unknown, unknown> = Exit.void): Step =>
  step(
    "the application leaves",
    (rig) =>
      Effect.flatMap(Effect.forkDetach(rig.leave(exit)), (leaving) =>
        Effect.sync(() => {
          rig.leaving = leaving
        }))
  )

/** What was left has ended. */
export const left: Step = step("what was left has ended", (rig) => Fiber.join(rig.leaving!))

/** A raw client of its own dials the server; steps are its from now on. */
export const dials = (name: string): Step =>
  step(`${name} dials`, (rig) =>
    Effect.map(rig.dial, (peer) => {
      rig.peer = peer
      rig.peers.set(name, peer)
    }))

/** Steps of another raw client, and of none after it. */
export const as = (name: string, script: Script): Script => [
  step(`${name} goes on`, (rig) =>
    Effect.sync(() => {
      rig.peer = rig.peers.get(name)!
    })),
  script
]

/** The handlers have noted these messages. */
export const hears = (...messages: ReadonlyArray<Payload>): Step =>
  step(
    `handlers heard ${show(messages)}`,
    ({ heard }) => check(show(heard) === show(messages), show(messages), () => show(heard))
  )

/** The handshake is done. */
export const opens: Step = step("the connection opens", ({ stream }) => stream)

/** The handshake fails, with these fields of the reason. */
export const refused = (expected: Record<string, unknown>): Step =>
  step(`the handshake fails with ${show(expected)}`, ({ opening }) =>
    Effect.matchEffect(Fiber.join(opening), {
      onSuccess: () => new Mismatch({ expected: show(expected), actual: "an open connection" }),
      onFailure: ({ reason }) => checkFields("a failure", reason, expected)
    }))

// ---- what cases have in common

/** The peer sends messages, the application reads them, writes them back, and the peer gets them in one frame each. */
export const echoes = (...frames: ReadonlyArray<Wire.Frame>): Script =>
  frames.map((frame) => {
    const message = frame.opcode === 1
      ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(frame.payload)
      : frame.payload
    return [sends(frame), reads(message), writes(message), expects(frame), done]
  })

/** Both sides have sent a Close: the server ends the transport first, then the client. Section 7.1.1. */
export const endsCleanly: Step = step("the transport ends, the server's side first", (rig) => {
  if (rig.role === "server") return Effect.andThen(expectsEnd.run(rig), ends.run(rig))
  return Effect.andThen(ends.run(rig), expectsEnd.run(rig))
})

/** The library's end fails the connection: says why, ends its side, and tells readers. Section 7.1.7. */
export const violation = (
  code: number,
  reason: { readonly _tag: ReadError["reason"]["_tag"] } & Record<string, unknown>
): Script => [
  expectsClose(code),
  expectsEnd,
  ends,
  readFails(reason),
  status({ clean: false, sent: { code } })
]

/** A rule of the framing was broken. */
export const breaksRule = (rule: string, section: string, closeCode = 1002): Script =>
  violation(closeCode, { _tag: "ProtocolViolation", rule, section, closeCode })
