/**
 * What a peer and the runner say to each other, a line each.
 *
 * A peer that connects is given lines of `ID URL STEPS SUBPROTOCOLS DEFLATE`, `-` for no subprotocols. A peer that
 * listens prints `{"listening":{MODE:PORT}}` once, one port for each way of compressing, and is told ID and STEPS by the
 * query of a request; it refuses `/refuse` with 401 and knows the subprotocol chat.v2. Either prints one report for each
 * connection, and ends with its standard input.
 *
 * Steps are words between commas, their arguments behind colons. After the last one a peer waits for the close.
 *
 * - `echo:N`: sends N messages back as they came, 0 for all until the close
 * - `fragments:N`: the same, each cut into fragments
 * - `ping:DATA`: sends a ping and reports the data of its pong
 * - `flood:N:SIZE`: sends N binary messages
 * - `count`: counts messages until the close
 * - `close:CODE:REASON`, `close`: sends a Close frame, an empty one without a code
 */
import * as Schema from "effect/Schema"

/** How messages are compressed, RFC 7692: not; with context takeover; without; with windows of 512 bytes. */
export type Mode = "none" | "takeover" | "fresh" | "window9"

/** A connection to make. */
export interface Job {
  readonly id: string
  readonly url: string
  readonly steps: string
  readonly subprotocols: ReadonlyArray<string>
  readonly mode: Mode
}

/** A job as a line for a peer. */
export const formatJob = ({ id, mode, steps, subprotocols, url }: Job): string =>
  [id, url, steps, subprotocols.join(",") || "-", mode].join(" ")

const field = <S extends Schema.Constraint>(schema: S) => Schema.optional(Schema.NullOr(schema))

/** What a peer saw of a connection; a field is missing where it cannot tell. */
export const Report = Schema.Struct({
  id: Schema.String,
  /** Why the connection failed. */
  error: field(Schema.String),
  /** The status of a refusal, and its WWW-Authenticate. */
  status: field(Schema.Int),
  challenge: field(Schema.String),
  subprotocol: field(Schema.String),
  /** The data of the pong to its ping. */
  pong: field(Schema.String),
  /** Messages counted. */
  received: field(Schema.Int),
  /** What the Close frame that it received said; 1005 for an empty one. */
  code: field(Schema.Int),
  reason: field(Schema.String)
})

export type Report = typeof Report.Type

/** Where a peer listens, by the way of compressing. */
export const Listening = Schema.Struct({
  listening: Schema.Record(Schema.String, Schema.Int)
})

/** A line of a peer's. */
export const Line = Schema.fromJsonString(Schema.Union([Listening, Report]))
