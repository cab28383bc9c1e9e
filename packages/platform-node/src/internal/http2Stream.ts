/**
 * A stream of HTTP/2 as one end of a connection, RFC 8441 section 5: END_STREAM
 * is the orderly end of a direction, RST_STREAM the end of both.
 *
 * @since 1.0.0
 */
import type { Fields } from "@effect-websocket/protocol/ExtendedConnect"
import * as Transport from "effect-websocket/Transport"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { addAbortSignal } from "node:stream"
import * as NodeTransport from "../NodeTransport.ts"

const { NGHTTP2_NO_ERROR } = Http2.constants

/** RFC 9113 section 7, by code. */
const codes = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED"
]

/**
 * Shared by all streams of a session, in bytes. Node gives it back as soon as
 * bytes arrive, so that no stream blocks another.
 *
 * @internal
 */
export const sessionWindow = 1024 * 1024

/**
 * MiB that a session may hold of headers, of what is to be sent, and of
 * unanswered PING and SETTINGS: Node's own default.
 *
 * @internal
 */
export const maxSessionMemory = 10

/**
 * Why a stream has failed, if it has: Node has no error for CANCEL, and for
 * NO_ERROR ends the stream as if the peer had.
 *
 * @internal
 */
export const failureOf = (stream: Http2.Http2Stream, session: Http2.Http2Session | undefined): Error | undefined => {
  if (session?.destroyed === true) return new Error("The HTTP/2 session has ended")
  const code = stream.rstCode ?? NGHTTP2_NO_ERROR
  return stream.aborted || code !== NGHTTP2_NO_ERROR
    ? new Error(`The HTTP/2 stream was reset with ${codes[code] ?? code}`)
    : undefined
}

/**
 * Fails when a stream has closed.
 *
 * @internal
 */
export const lost = (stream: Http2.Http2Stream): Effect.Effect<never, Transport.TransportError> => {
  const { session } = stream
  return Effect.callback((resume) => {
    const fail = () => resume(Effect.fail(Transport.readFailed(failureOf(stream, session))))
    if (stream.destroyed) return fail()
    stream.once("close", fail)
    return Effect.sync(() => stream.off("close", fail))
  })
}

/**
 * Ends a stream at once: with CANCEL (RFC 8441 section 5) where this side had
 * more to say.
 *
 * @internal
 */
export const reset = (stream: Http2.Http2Stream): void => {
  if (stream.writableFinished) stream.destroy()
  // `close` would send END_STREAM first, and say that this side had ended in order
  else addAbortSignal(AbortSignal.abort(), stream)
}

/**
 * Has a session end with its socket. HTTP/2 knows no connection that is half
 * open, and streams have errors of their own.
 *
 * @internal
 */
export const bind = (session: Http2.Http2Session, socket: Net.Socket): void => {
  socket.on("end", () => socket.destroy())
  session.on("error", () => socket.destroy())
  session.setLocalWindowSize(sessionWindow)
}

/**
 * Ends a session with GOAWAY, when its last stream has ended; after `linger`
 * whatever is left of it.
 *
 * @internal
 */
export const endSession = (
  session: Http2.Http2Session,
  socket: Net.Socket,
  linger: Duration.Input
): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const closed = () => resume(Effect.void)
    if (socket.destroyed) return closed()
    socket.once("close", closed)
    session.close()
    return Effect.sync(() => socket.off("close", closed))
  }).pipe(
    Effect.timeoutOption(linger),
    // a finalizer cannot be interrupted, the wait within it can
    Effect.interruptible,
    Effect.ensuring(Effect.sync(() => {
      session.destroy()
      socket.destroy()
    })),
    Effect.asVoid
  )

/**
 * Sees an open stream as one end of a connection.
 *
 * @internal
 */
export const makeEndpoint = (
  stream: Http2.Http2Stream,
  options: NodeTransport.EndpointOptions
): Transport.Endpoint => {
  const { session } = stream
  const kind = { destroy: () => reset(stream), failure: () => failureOf(stream, session) }
  return NodeTransport.makeEndpointOf(stream, kind, options)
}

/**
 * Fields as Node gives them, a flat list of names and values.
 *
 * @internal
 */
export const fromRaw = (raw: ReadonlyArray<string>): Fields =>
  Array.from({ length: raw.length / 2 }, (_, at) => [raw[2 * at]!, raw[2 * at + 1]!] as const)

/**
 * Fields as Node takes them, by name.
 *
 * @internal
 */
export const toNode = (fields: Fields): Http2.OutgoingHttpHeaders => {
  // a header may be called __proto__
  const headers: Record<string, string | Array<string>> = Object.create(null)
  for (const [name, value] of fields) {
    const before = headers[name]
    headers[name] = before === undefined ? value : [before, value].flat()
  }
  return headers
}
