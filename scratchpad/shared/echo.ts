/**
 * Echoing in the three ways that a stream can be read and written.
 */
import type * as WebSocketError from "effect-websocket/WebSocketError"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import { tagPath } from "./errors.ts"

export type Mode = "whole" | "parts" | "batch"

type Service = WebSocketStream["Service"]

/** Echoes what is there and tells how many messages ended with it. */
type Step = (stream: Service) => Effect.Effect<number, WebSocketError.ReadError | WebSocketError.WriteError>

const steps: { readonly [M in Mode]: Step } = {
  // A string comes of a text message and goes out as one, bytes come of a binary message.
  whole: (stream) => Effect.flatMap(stream.read, (message) => Effect.as(stream.write(message), 1)),
  parts: (stream) =>
    Effect.flatMap(
      stream.readSome,
      ({ data, fin, type }) => Effect.as(stream.writeSome(fin, data, { type }), fin ? 1 : 0)
    ),
  batch: (stream) => Effect.flatMap(stream.pull, (messages) => Effect.as(stream.writeAll(messages), messages.length))
}

/** Echoes until the connection ends, which is its failure. */
export const forever = (
  stream: Service,
  mode: Mode
): Effect.Effect<never, WebSocketError.ReadError | WebSocketError.WriteError> => Effect.forever(steps[mode](stream))

/** The server's side of one connection: echoes until it ends, and says why with `--log-level debug`. */
export const handler = (mode: Mode): Effect.Effect<void, never, WebSocketStream> =>
  WebSocketStream.pipe(
    Effect.flatMap((stream) => forever(stream, mode)),
    Effect.catch((error) => Effect.logDebug(tagPath(error), error.message))
  )

/** Echoes at least `count` messages; a batch that is there is echoed whole. */
export const atLeast = Effect.fnUntraced(function*(stream: Service, mode: Mode, count: number) {
  const step = steps[mode](stream)
  let echoed = 0
  while (echoed < count) echoed += yield* step
  return echoed
})
