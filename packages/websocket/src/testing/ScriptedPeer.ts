/**
 * A peer that does exactly what it is told: sends frames or bytes, right or
 * wrong, and tells what it was sent, for tests of how an application meets a
 * broken or hostile peer.
 *
 * What it is sent is told in lines, one a frame: `text hi`, `text- he` (more
 * fragments follow), `cont lo`, `binary 01ff`, `ping a`, `pong a`, `close`,
 * `close 1000 bye`, `broken RULE` for what is no frame; and of the transport
 * `end` (half-close) or `reset`. Payloads over 64 bytes are told by their length.
 *
 * @since 1.0.0
 */
import * as FrameDecoder from "@effect-websocket/protocol/FrameDecoder"
import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { acceptOf } from "../internal/heads.ts"
import * as Transport from "../Transport.ts"

/**
 * The role that the peer plays.
 *
 * @category models
 * @since 1.0.0
 */
export type Role = "client" | "server"

/**
 * A frame to send, legal or not.
 *
 * @category models
 * @since 1.0.0
 */
export interface Frame {
  readonly opcode: Opcode
  readonly fin: boolean
  /** The reserved bits, in place, RFC 6455 section 5.8. Default 0. */
  readonly rsv?: number
  readonly payload: Uint8Array
}

/**
 * The peer sent something else than was expected.
 *
 * @category errors
 * @since 1.0.0
 */
export class Unexpected extends Data.TaggedError("Unexpected")<{
  readonly expected: ReadonlyArray<string>
  readonly actual: ReadonlyArray<string>
}> {
  override get message(): string {
    return `Expected ${JSON.stringify(this.expected)} and was sent ${JSON.stringify(this.actual)}`
  }
}

/**
 * One end of a connection that follows a script.
 *
 * @category models
 * @since 1.0.0
 */
export interface ScriptedPeer {
  readonly role: Role
  /** Its side of the transport, for writes that may wait or fail. */
  readonly writer: Transport.Writer
  /** What it is sent, as bytes: before `read`, which takes them all from then on. */
  readonly pull: Transport.Endpoint["pull"]
  /** Every line so far. */
  readonly seen: ReadonlyArray<string>
  /** Sends frames, or bytes as they are, in one write. Dies where the connection has ended. */
  readonly send: (...frames: ReadonlyArray<Frame | Uint8Array>) => Effect.Effect<void>
  /** Ends this side of the transport (half-close), and goes on to read. */
  readonly end: Effect.Effect<void>
  /** Closes its end: what was sent arrives, and nothing more is read. */
  readonly leave: Effect.Effect<void>
  /** Ends both sides at once, as a reset does. */
  readonly destroy: Effect.Effect<void>
  /** The next line, waiting for it. */
  readonly next: Effect.Effect<string>
  /** The next lines, waiting for them. */
  readonly take: (count: number) => Effect.Effect<ReadonlyArray<string>>
  /** Takes as many lines as are given, and fails where they are others. */
  readonly expect: (...lines: ReadonlyArray<string>) => Effect.Effect<void, Unexpected>
  /** Reads frames from now on, `first` before anything else. */
  readonly read: (first?: ReadonlyArray<Uint8Array>) => Effect.Effect<void, never, Scope.Scope>
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0))
  let offset = 0
  for (const chunk of chunks) {
    out.set(chunk, offset)
    offset += chunk.length
  }
  return out
}

const frame = (opcode: Opcode, payload: string | Uint8Array, fin = true): Frame => ({
  opcode,
  fin,
  payload: typeof payload === "string" ? encoder.encode(payload) : payload
})

/**
 * A text frame, the first of several where `fin` is `false`. Bytes need not be UTF-8.
 *
 * @category frames
 * @since 1.0.0
 */
export const text = (payload: string | Uint8Array, fin = true): Frame => frame(Opcode.Text, payload, fin)

/**
 * A binary frame, the first of several where `fin` is `false`.
 *
 * @category frames
 * @since 1.0.0
 */
export const binary = (payload: Uint8Array, fin = true): Frame => frame(Opcode.Binary, payload, fin)

/**
 * A further frame of a message, the last unless `fin` is `false`.
 *
 * @category frames
 * @since 1.0.0
 */
export const continuation = (payload: string | Uint8Array, fin = true): Frame =>
  frame(Opcode.Continuation, payload, fin)

/**
 * A ping.
 *
 * @category frames
 * @since 1.0.0
 */
export const ping = (payload = ""): Frame => frame(Opcode.Ping, payload)

/**
 * A pong.
 *
 * @category frames
 * @since 1.0.0
 */
export const pong = (payload: string | Uint8Array = ""): Frame => frame(Opcode.Pong, payload)

/**
 * A Close frame; any code, or none.
 *
 * @category frames
 * @since 1.0.0
 */
export const close = (code?: number, reason = ""): Frame =>
  frame(Opcode.Close, code === undefined ? "" : concat([Uint8Array.of(code >>> 8, code), encoder.encode(reason)]))

/**
 * A frame as `sender` puts it on the wire: masked by a client, section 5.3, with
 * the same key each time. Bytes stay as they are.
 *
 * @category frames
 * @since 1.0.0
 */
export const encode = (sender: Role, frame: Frame | Uint8Array): Uint8Array =>
  frame instanceof Uint8Array ? frame : FrameEncoder.encode(frame, sender === "client" ? 0x01020304 : undefined)

const names: { readonly [code in Opcode]: string } = {
  0: "cont",
  1: "text",
  2: "binary",
  8: "close",
  9: "ping",
  10: "pong"
}

const describePayload = (opcode: Opcode, payload: Uint8Array): string => {
  if (payload.length === 0) return ""
  if (payload.length > 64 && opcode !== Opcode.Close) return ` ${payload.length} bytes`
  if (opcode === Opcode.Binary) return ` ${Array.from(payload, (byte) => byte.toString(16).padStart(2, "0")).join("")}`
  if (opcode !== Opcode.Close) return ` ${decoder.decode(payload)}`
  return ` ${(payload[0]! << 8) | payload[1]!} ${decoder.decode(payload.subarray(2))}`.trimEnd()
}

const describe = ({ fin, opcode, payload }: Frame): string =>
  names[opcode] + (fin ? "" : "-") + describePayload(opcode, payload)

/** What a role receives as lines. */
const makeReader = (role: Role) => {
  const frames = new FrameDecoder.FrameDecoder({ role })
  let payload: Uint8Array = new Uint8Array(0)
  return (chunk: Uint8Array): ReadonlyArray<string> => {
    const lines: Array<string> = []
    frames.push(chunk)
    for (let piece = frames.next(); piece !== undefined; piece = frames.next()) {
      payload = concat([payload, piece.payload])
      if (!piece.last) continue
      lines.push(describe({ ...piece, payload }))
      payload = new Uint8Array(0)
    }
    if (frames.violation !== undefined) lines.push(`broken ${frames.violation.rule}`)
    return lines
  }
}

/** Reads frames in a fiber, and tells their lines. */
const makeRead = (role: Role, pull: Transport.Endpoint["pull"], tell: (line: string) => void): ScriptedPeer["read"] => {
  const linesOf = makeReader(role)
  const take = (chunks: ReadonlyArray<Uint8Array>) => chunks.flatMap(linesOf).forEach(tell)
  const loop: Effect.Effect<void> = Effect.matchEffect(pull, {
    onFailure: (error) => Effect.sync(() => tell(Transport.endOf(error) === "PeerEnded" ? "end" : "reset")),
    onSuccess: (chunks) => {
      take(chunks)
      return loop
    }
  })
  return (first = []) =>
    Effect.asVoid(Effect.forkScoped(Effect.suspend(() => {
      take(first)
      return loop
    })))
}

const expectLines = Effect.fnUntraced(function*(next: Effect.Effect<string>, expected: ReadonlyArray<string>) {
  const actual = yield* Effect.replicateEffect(next, expected.length)
  if (expected.some((line, index) => line !== actual[index])) return yield* new Unexpected({ expected, actual })
})

/**
 * Opens one end of a connection for a script, without a handshake. `read` starts
 * to read frames; until then `pull` gives the bytes.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(function*(
  role: Role,
  connection: Transport.Connection
): Effect.fn.Return<ScriptedPeer, Transport.TransportError, Scope.Scope> {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const writerScope = Scope.makeUnsafe()
  const pull = yield* Scope.provide(Transport.readerBytes(connection), scope)
  const writer: Transport.Writer = yield* Scope.provide(connection.writer, writerScope)
  const lines = yield* Queue.unbounded<string>()
  const next = Queue.take(lines)
  const seen: Array<string> = []
  const tell = (line: string) => {
    seen.push(line)
    Queue.offerUnsafe(lines, line)
  }
  return {
    role,
    writer,
    pull,
    seen,
    send: (...frames) => Effect.orDie(writer.write(concat(frames.map((frame) => encode(role, frame))))),
    end: Scope.close(writerScope, Exit.void),
    leave: Scope.close(scope, Exit.void),
    destroy: Transport.destroy(writer),
    next,
    take: (count) => Effect.replicateEffect(next, count),
    expect: (...expected) => expectLines(next, expected),
    read: makeRead(role, pull, tell)
  }
})

/**
 * Reads up to the end of a head, and gives what came behind it.
 *
 * @category handshakes
 * @since 1.0.0
 */
export const takeHead = Effect.fnUntraced(function*(
  peer: ScriptedPeer
): Effect.fn.Return<{ readonly head: string; readonly rest: Uint8Array }> {
  let head = ""
  while (!head.includes("\r\n\r\n")) {
    const chunks = yield* Effect.orDie(peer.pull)
    head += chunks.map((chunk) => Array.from(chunk, (code) => String.fromCharCode(code)).join("")).join("")
  }
  const end = head.indexOf("\r\n\r\n") + 4
  return { head: head.slice(0, end), rest: Uint8Array.from(head.slice(end), (character) => character.charCodeAt(0)) }
})

/**
 * The head of a request for `/chat` at example.com, section 1.3.
 *
 * @category handshakes
 * @since 1.0.0
 */
export const requestHead = (headers: ReadonlyArray<string> = []): string =>
  [
    "GET /chat HTTP/1.1",
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    ...headers,
    "\r\n"
  ].join("\r\n")

/**
 * The head of the response that agrees to a request.
 *
 * @category handshakes
 * @since 1.0.0
 */
export const responseHead = (request: string, headers: ReadonlyArray<string> = []): string =>
  [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${acceptOf(/Sec-WebSocket-Key: (.*)\r\n/.exec(request)![1]!)}`,
    ...headers,
    "\r\n"
  ].join("\r\n")

/**
 * Does its part of a handshake, and gives what came behind the other's head: a
 * server takes any request, a client does not look at the response.
 *
 * @category handshakes
 * @since 1.0.0
 */
export const handshake = Effect.fnUntraced(function*(peer: ScriptedPeer): Effect.fn.Return<Uint8Array> {
  if (peer.role === "server") {
    const { head, rest } = yield* takeHead(peer)
    yield* peer.send(encoder.encode(responseHead(head)))
    return rest
  }
  yield* peer.send(encoder.encode(requestHead()))
  return (yield* takeHead(peer)).rest
})

/**
 * Opens one end of a connection, does its part of the handshake, and reads frames
 * from then on: a client of a transport that is dialled, a server of one that was
 * accepted.
 *
 * **Example** (A client that sends what no client may)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
 * import * as VirtualTime from "effect-websocket/testing/VirtualTime"
 * import { Transport } from "effect-websocket/Transport"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const silent = Effect.flatMap(WebSocketStream, (stream) => stream.closed)
 * const server = Layer.provideMerge(WebSocketServer.serve(silent), MemoryTransport.layerServer())
 *
 * const program = Effect.gen(function*() {
 *   const peer = yield* ScriptedPeer.connect("client", yield* Transport)
 *   yield* peer.send(ScriptedPeer.continuation("of nothing"))
 *   return yield* peer.next
 * }).pipe(Effect.scoped, Effect.provide(server))
 *
 * await Effect.runPromise(VirtualTime.run(program)) // => "close 1002 a continuation has no message to continue"
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const connect = Effect.fnUntraced(function*(
  role: Role,
  connection: Transport.Connection
): Effect.fn.Return<ScriptedPeer, Transport.TransportError, Scope.Scope> {
  const peer = yield* make(role, connection)
  yield* peer.read([yield* handshake(peer)])
  return peer
})

/**
 * Takes the connections of the environment's `TransportServer` from now on, and
 * gives what waits for the next of them and plays its server, as `connect` does.
 * They stay open until the scope closes, or the script ends them.
 *
 * **Example** (A server that sends what no server may)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
 * import * as VirtualTime from "effect-websocket/testing/VirtualTime"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const accept = yield* ScriptedPeer.accepting
 *   const connect = WebSocketClient.connect({ url: "ws://localhost/" })
 *   const [stream, peer] = yield* Effect.all([connect, accept], { concurrency: 2 })
 *   yield* peer.send(ScriptedPeer.continuation("of nothing"))
 *   return (yield* Effect.flip(stream.read)).reason._tag
 * }).pipe(Effect.scoped, Effect.provide(MemoryTransport.layer()))
 *
 * await Effect.runPromise(VirtualTime.run(program)) // => "ProtocolViolation"
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const accepting: Effect.Effect<
  Effect.Effect<ScriptedPeer, Transport.TransportError, Scope.Scope>,
  never,
  Transport.TransportServer | Scope.Scope
> = Effect.gen(function*() {
  const server = yield* Transport.TransportServer
  const accepted = yield* Queue.unbounded<Transport.Connection>()
  const hold = (connection: Transport.Connection) => Effect.andThen(Queue.offer(accepted, connection), Effect.never)
  yield* Effect.forkScoped(server.run(hold), { startImmediately: true })
  return Effect.flatMap(Queue.take(accepted), (connection) => connect("server", connection))
})
