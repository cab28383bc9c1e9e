/**
 * The one error of the opening handshake: which rule of RFC 6455 section 4, of
 * its bootstrap over HTTP/2 (RFC 8441), or of HTTP (RFC 9112 and 9113), a request
 * or a response breaks.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"

/**
 * Every rule of the opening handshake: the section it comes from, the status a
 * server refuses a request with that breaks it, and one sentence for a log.
 *
 * **Details**
 *
 * Sections that start with "9110", "9112" or "9113" are of HTTP's RFCs, those with
 * "7692" of the compression's, those with "8441" of the bootstrap's over HTTP/2,
 * the others of RFC 6455. Rules without a status
 * are not about a request: a client that finds a response wrong answers
 * nothing, and a head that is built wrong is not sent.
 *
 * @category constants
 * @since 1.0.0
 */
export const rules = {
  MalformedStartLine: { section: "9112 3", status: 400, description: "the start line is not HTTP/1.1" },
  MalformedHeader: { section: "9112 5", status: 400, description: "a header line is malformed" },
  HeadTooLarge: { section: "9112 3", status: 431, description: "the head is larger than the limit" },
  UnsupportedHttpVersion: { section: "4.1", status: 505, description: "the HTTP version is not 1.1" },
  MethodNotGet: { section: "4.1", status: 405, description: "the method is not GET" },
  InvalidTarget: { section: "4.1", status: 400, description: "the request target is not a path or a ws or http URI" },
  UnexpectedBody: { section: "4.1", status: 400, description: "the request announces a body" },
  InvalidHost: { section: "4.2.1", status: 400, description: "Host is missing, repeated or malformed" },
  MissingUpgrade: { section: "4.2.1", status: 426, description: "Upgrade does not name websocket" },
  MissingConnectionUpgrade: { section: "4.2.1", status: 426, description: "Connection does not name upgrade" },
  InvalidKey: {
    section: "4.2.1",
    status: 400,
    description: "Sec-WebSocket-Key is missing, repeated or not 16 bytes of base64"
  },
  UnsupportedVersion: { section: "4.2.2", status: 426, description: "Sec-WebSocket-Version is not 13" },
  InvalidSubprotocol: { section: "4.2.1", status: 400, description: "Sec-WebSocket-Protocol is malformed" },
  InvalidExtensions: { section: "9.1", status: 400, description: "Sec-WebSocket-Extensions is malformed" },
  ForbiddenOrigin: { section: "10.2", status: 403, description: "the Origin is not allowed" },
  InvalidAccept: {
    section: "4.1",
    status: undefined,
    description: "Sec-WebSocket-Accept is missing or does not match the key"
  },
  UnofferedSubprotocol: {
    section: "4.1",
    status: undefined,
    description: "the server chose a subprotocol that was not offered"
  },
  UnofferedExtension: {
    section: "4.1",
    status: undefined,
    description: "the server chose an extension that was not offered, or not so"
  },
  InvalidExtensionParameters: {
    section: "7692 7.1",
    status: undefined,
    description: "the server chose an extension with parameters that are unknown, repeated or malformed"
  },
  ConflictingExtensions: {
    section: "7692 6",
    status: undefined,
    description: "the server chose extensions that need the same reserved bit"
  },
  ReservedHeader: { section: "4.1", status: undefined, description: "a header is one the handshake writes itself" },
  InvalidStatus: { section: "4.2.2", status: undefined, description: "the status of a refusal is not 300 to 599" },
  MethodNotConnect: { section: "8441 4", status: 405, description: "the method over HTTP/2 is not CONNECT" },
  UnsupportedProtocol: { section: "8441 5", status: 501, description: ":protocol is not websocket" },
  InvalidPseudoHeader: {
    section: "8441 4",
    status: 400,
    description: "a pseudo-header field is missing, repeated, unknown or malformed"
  },
  ConnectionSpecificHeader: {
    section: "9113 8.2.2",
    status: 400,
    description: "a header is one of a connection of HTTP/1.1"
  }
} as const

/**
 * The name of a rule in `rules`.
 *
 * @category models
 * @since 1.0.0
 */
export type Rule = keyof typeof rules

/**
 * The name of a limit on a head, see `HttpHead.Limits`.
 *
 * @category models
 * @since 1.0.0
 */
export type Limit = "maxHeadSize" | "maxHeaderLines" | "maxHeaderLineSize"

/**
 * A request or a response breaks `rule`.
 *
 * @category errors
 * @since 1.0.0
 */
export class HandshakeError extends Data.TaggedError("HandshakeError")<{
  readonly rule: Rule
  /** The limit that was exceeded, where the rule is `HeadTooLarge`. */
  readonly limit?: Limit | undefined
  /** The caller's header that was refused, in lower case, where the rule is `ReservedHeader`. */
  readonly header?: string | undefined
}> {
  /** The section of RFC 6455, 7692, 8441, 9110, 9112 or 9113 the rule is taken from. */
  get section(): string {
    return rules[this.rule].section
  }
  /** The status a server answers with, or `undefined` where a client notices. */
  get status(): number | undefined {
    return rules[this.rule].status
  }
  override get message(): string {
    const subject = this.limit ?? this.header
    const detail = subject === undefined ? "" : `: ${subject}`
    return `${rules[this.rule].description}${detail} (${this.rule}, section ${this.section})`
  }
}
