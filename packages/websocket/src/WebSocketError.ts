/**
 * Why a WebSocket operation failed: three errors, one per phase, each with a
 * `reason` to match with `Effect.catchReason`.
 *
 * - `HandshakeError`: no connection came about.
 * - `ReadError`: no more messages will come.
 * - `WriteError`: this message was not sent.
 *
 * The first cause of a connection's end is kept: every later read and write
 * fails with it. All errors are schemas, so they can cross a wire.
 *
 * @since 1.0.0
 */
import * as HandshakeRule from "@effect-websocket/protocol/HandshakeError"
import * as ProtocolError from "@effect-websocket/protocol/ProtocolError"
import * as Schema from "effect/Schema"

const literals = <Name extends string>(rules: { readonly [N in Name]: unknown }) =>
  Schema.Literals(Object.keys(rules) as unknown as readonly [Name, ...Array<Name>])

/**
 * What a Close frame said: no code for an empty one, RFC 6455 section 5.5.1.
 *
 * @category schemas
 * @since 1.0.0
 */
export const CloseFrame = Schema.Struct({
  code: Schema.UndefinedOr(Schema.Int),
  reason: Schema.String
})

/**
 * How a connection ended, RFC 6455 section 7.1.
 *
 * **Details**
 *
 * - `code` and `reason` are "the WebSocket connection close code" and reason of
 *   section 7.1.5: those of the peer's Close frame; 1005 when it had none, 1006
 *   when the connection ended without one.
 * - `initiator` says who began: this side sent its Close frame first
 *   (`"local"`), the peer did (`"peer"`), or the transport ended with neither
 *   (`"transport"`).
 * - `sent` is this side's Close frame once the transport has accepted it.
 * - `clean` is true when a Close frame went each way, section 7.1.4.
 *
 * @category schemas
 * @since 1.0.0
 */
export class CloseStatus extends Schema.Class<CloseStatus>("effect-websocket/WebSocketError/CloseStatus")({
  code: Schema.Int,
  reason: Schema.String,
  initiator: Schema.Literals(["local", "peer", "transport"]),
  sent: Schema.UndefinedOr(CloseFrame),
  received: Schema.UndefinedOr(CloseFrame),
  clean: Schema.Boolean
}) {
  override toString(): string {
    return `${this.code}${this.reason === "" ? "" : ` ${this.reason}`} (${this.initiator}, ${
      this.clean ? "clean" : "not clean"
    })`
  }
}

/**
 * The connection is closed, or closing and past the point of this operation.
 * `status` tells how; for a write while closing, what is known by then.
 *
 * @category reasons
 * @since 1.0.0
 */
export class ConnectionClosed
  extends Schema.TaggedError<ConnectionClosed>("effect-websocket/WebSocketError/ConnectionClosed")("ConnectionClosed", {
    status: CloseStatus
  })
{
  override get message(): string {
    return `The connection closed: ${this.status}`
  }
}

// A `SocketError` has its reason, and that the error of the platform, which says more; one that tried several addresses
// has an error for each.
const inside = (error: Error): unknown =>
  error instanceof AggregateError ? error.errors[0] : "reason" in error ? error.reason : error.cause

const innermost = (error: Error): Error => {
  const inner = inside(error)
  return inner instanceof Error ? innermost(inner) : error
}

/**
 * The transport below failed: refused, reset, timed out; or it ended before the
 * handshake did. `cause` is its `SocketError`.
 *
 * @category reasons
 * @since 1.0.0
 */
export class TransportFailed
  extends Schema.TaggedError<TransportFailed>("effect-websocket/WebSocketError/TransportFailed")("TransportFailed", {
    cause: Schema.Defect()
  })
{
  override get message(): string {
    const { cause } = this
    return `The transport failed: ${cause instanceof Error ? innermost(cause).message : String(cause)}`
  }
}

/**
 * The peer broke a rule of the framing. The connection was failed with
 * `closeCode`, RFC 6455 section 7.1.7.
 *
 * @category reasons
 * @since 1.0.0
 */
export class ProtocolViolation
  extends Schema.TaggedError<ProtocolViolation>("effect-websocket/WebSocketError/ProtocolViolation")(
    "ProtocolViolation",
    { rule: literals(ProtocolError.rules), section: Schema.String, closeCode: Schema.Int }
  )
{
  override get message(): string {
    return `The peer broke RFC 6455 section ${this.section}: ${ProtocolError.rules[this.rule].description}`
  }
}

/**
 * A text message of the peer is not UTF-8, RFC 6455 section 8.1. The connection
 * was failed with 1007, at the first byte that could not be right.
 *
 * @category reasons
 * @since 1.0.0
 */
export class InvalidUtf8
  extends Schema.TaggedError<InvalidUtf8>("effect-websocket/WebSocketError/InvalidUtf8")("InvalidUtf8", {})
{
  override get message(): string {
    return "The peer sent text that is not UTF-8"
  }
}

/**
 * A compressed message of the peer is not raw deflate, RFC 7692 section 7.2.2.
 * The connection was failed with 1007.
 *
 * @category reasons
 * @since 1.0.0
 */
export class CorruptDeflate
  extends Schema.TaggedError<CorruptDeflate>("effect-websocket/WebSocketError/CorruptDeflate")("CorruptDeflate", {})
{
  override get message(): string {
    return "The peer sent a compressed message that is not raw deflate"
  }
}

/**
 * A compressed message of the peer stands for more than `limit` bytes by each byte
 * of it, beyond the first 64 KiB. The connection was failed with 1009, before more
 * was inflated.
 *
 * @category reasons
 * @since 1.0.0
 */
export class CompressionRatioTooHigh extends Schema.TaggedError<CompressionRatioTooHigh>(
  "effect-websocket/WebSocketError/CompressionRatioTooHigh"
)("CompressionRatioTooHigh", { limit: Schema.Finite }) {
  override get message(): string {
    return `The peer sent a message that stands for more than ${this.limit} times its length`
  }
}

/**
 * A message of the peer is longer than `limit` bytes, RFC 6455 section 10.4.
 * The connection was failed with 1009, before the message was received.
 *
 * @category reasons
 * @since 1.0.0
 */
export class MessageTooBig
  extends Schema.TaggedError<MessageTooBig>("effect-websocket/WebSocketError/MessageTooBig")("MessageTooBig", {
    limit: Schema.Finite
  })
{
  override get message(): string {
    return `The peer sent a message of more than ${this.limit} bytes`
  }
}

/**
 * A message of the peer came in more than `limit` fragments, RFC 6455 section
 * 10.4. The connection was failed with 1008.
 *
 * @category reasons
 * @since 1.0.0
 */
export class TooManyFragments
  extends Schema.TaggedError<TooManyFragments>("effect-websocket/WebSocketError/TooManyFragments")("TooManyFragments", {
    limit: Schema.Finite
  })
{
  override get message(): string {
    return `The peer sent a message in more than ${this.limit} fragments`
  }
}

/**
 * Nothing at all arrived for `timeout` milliseconds.
 *
 * @category reasons
 * @since 1.0.0
 */
export class IdleTimeout
  extends Schema.TaggedError<IdleTimeout>("effect-websocket/WebSocketError/IdleTimeout")("IdleTimeout", {
    timeout: Schema.Finite
  })
{
  override get message(): string {
    return `Nothing arrived for ${this.timeout} ms`
  }
}

/**
 * The peer left `misses` keep-alive pings in a row unanswered and sent nothing
 * else either.
 *
 * @category reasons
 * @since 1.0.0
 */
export class KeepAliveTimeout
  extends Schema.TaggedError<KeepAliveTimeout>("effect-websocket/WebSocketError/KeepAliveTimeout")("KeepAliveTimeout", {
    misses: Schema.Int
  })
{
  override get message(): string {
    return `The peer left ${this.misses} pings unanswered`
  }
}

/**
 * The peer took longer than `timeout` milliseconds from a message's first frame
 * to its last.
 *
 * @category reasons
 * @since 1.0.0
 */
export class MessageTimeout
  extends Schema.TaggedError<MessageTimeout>("effect-websocket/WebSocketError/MessageTimeout")("MessageTimeout", {
    timeout: Schema.Finite
  })
{
  override get message(): string {
    return `A message took longer than ${this.timeout} ms to arrive`
  }
}

/**
 * This fiber has a message open and may not begin another one: waiting for
 * itself it would wait for ever.
 *
 * @category reasons
 * @since 1.0.0
 */
export class MessageInProgress
  extends Schema.TaggedError<MessageInProgress>("effect-websocket/WebSocketError/MessageInProgress")(
    "MessageInProgress",
    {}
  )
{
  override get message(): string {
    return "This fiber has begun a message with writeSome and must end it first"
  }
}

/**
 * A message was begun and can never be ended: its writer was interrupted, or
 * its fiber ended, between the frames. Nothing but control frames can follow.
 *
 * @category reasons
 * @since 1.0.0
 */
export class MessageAborted
  extends Schema.TaggedError<MessageAborted>("effect-websocket/WebSocketError/MessageAborted")("MessageAborted", {})
{
  override get message(): string {
    return "A message was left without its end: its writer was interrupted or its fiber ended"
  }
}

/**
 * What was to be sent cannot be: a lone surrogate, bytes that are not UTF-8 in
 * a text message, another type in the middle of a message, a control payload
 * over 125 bytes, a close code that may not travel. Nothing was sent.
 *
 * @category reasons
 * @since 1.0.0
 */
export class InvalidPayload
  extends Schema.TaggedError<InvalidPayload>("effect-websocket/WebSocketError/InvalidPayload")("InvalidPayload", {
    problem: Schema.String
  })
{
  override get message(): string {
    return `The payload cannot be sent: ${this.problem}`
  }
}

/**
 * Writers that wait hold more than `limit` bytes already. Nothing was sent.
 *
 * @category reasons
 * @since 1.0.0
 */
export class QueueFull extends Schema.TaggedError<QueueFull>("effect-websocket/WebSocketError/QueueFull")("QueueFull", {
  limit: Schema.Finite
}) {
  override get message(): string {
    return `More than ${this.limit} bytes are waiting to be sent`
  }
}

/**
 * The server answered with a status other than 101, RFC 6455 section 4.1.
 *
 * **Details**
 *
 * `headers` are name and value as received, in order, one per line. `body` is
 * the beginning of the response's body, at most `maxRefusalBody` bytes.
 * `retryAfter` is Retry-After in milliseconds from the refusal on, whether the
 * header gave seconds or a date (RFC 9110 section 10.2.3); 0 for a date that has
 * passed.
 *
 * @category reasons
 * @since 1.0.0
 */
export class UpgradeDeclined
  extends Schema.TaggedError<UpgradeDeclined>("effect-websocket/WebSocketError/UpgradeDeclined")("UpgradeDeclined", {
    status: Schema.Int,
    headers: Schema.Array(Schema.Tuple([Schema.String, Schema.String])),
    body: Schema.Uint8Array,
    retryAfter: Schema.UndefinedOr(Schema.Finite)
  })
{
  override get message(): string {
    return `The server declined the upgrade with ${this.status}`
  }
}

const handshakeRule = literals(HandshakeRule.rules)

/**
 * The request breaks a rule of RFC 6455 section 4.2.1, or of HTTP/1.1. A server
 * has answered it with `status`; a client has not sent it.
 *
 * @category reasons
 * @since 1.0.0
 */
export class InvalidRequest
  extends Schema.TaggedError<InvalidRequest>("effect-websocket/WebSocketError/InvalidRequest")("InvalidRequest", {
    rule: handshakeRule,
    section: Schema.String,
    status: Schema.UndefinedOr(Schema.Int)
  })
{
  override get message(): string {
    return `The request is invalid: ${HandshakeRule.rules[this.rule].description}`
  }
}

/**
 * The response breaks a rule of RFC 6455 section 4.1, or of HTTP/1.1. A server
 * has not sent it, and answered 500.
 *
 * @category reasons
 * @since 1.0.0
 */
export class InvalidResponse
  extends Schema.TaggedError<InvalidResponse>("effect-websocket/WebSocketError/InvalidResponse")("InvalidResponse", {
    rule: handshakeRule,
    section: Schema.String
  })
{
  override get message(): string {
    return `The response is invalid: ${HandshakeRule.rules[this.rule].description}`
  }
}

/**
 * No subprotocol could be agreed, and one is required, RFC 6455 section 1.9.
 *
 * @category reasons
 * @since 1.0.0
 */
export class SubprotocolRefused
  extends Schema.TaggedError<SubprotocolRefused>("effect-websocket/WebSocketError/SubprotocolRefused")(
    "SubprotocolRefused",
    { offered: Schema.Array(Schema.String), chosen: Schema.UndefinedOr(Schema.String) }
  )
{
  override get message(): string {
    return `No subprotocol was agreed: offered ${this.offered.join(", ") || "none"}, chosen ${this.chosen ?? "none"}`
  }
}

/**
 * An extension was answered that was not offered, or not as offered, RFC 6455
 * section 9.1.
 *
 * @category reasons
 * @since 1.0.0
 */
export class ExtensionRefused
  extends Schema.TaggedError<ExtensionRefused>("effect-websocket/WebSocketError/ExtensionRefused")("ExtensionRefused", {
    extension: Schema.String
  })
{
  override get message(): string {
    return `The extension was not offered so: ${this.extension}`
  }
}

/**
 * Why a redirection was not followed, with one sentence for a log.
 *
 * @category constants
 * @since 1.0.0
 */
export const redirectRules = {
  TooMany: "it is one more than `followRedirects` allows",
  Downgrade: "it leads from TLS to a connection without",
  OtherScheme: "it leads elsewhere than to ws:, wss:, http: or https:",
  Userinfo: "its URL has a user or a password (RFC 9110 section 4.2.4)",
  InvalidLocation: "its Location is not a URL"
} as const

/**
 * The name of a rule in `redirectRules`.
 *
 * @category models
 * @since 1.0.0
 */
export type RedirectRule = keyof typeof redirectRules

/**
 * The server redirected with `status` to `location`, as it wrote it, and the
 * client was asked to follow but may not go there.
 *
 * @category reasons
 * @since 1.0.0
 */
export class RedirectRefused
  extends Schema.TaggedError<RedirectRefused>("effect-websocket/WebSocketError/RedirectRefused")("RedirectRefused", {
    rule: literals(redirectRules),
    status: Schema.Int,
    location: Schema.String
  })
{
  override get message(): string {
    return `The redirection with ${this.status} was not followed: ${redirectRules[this.rule]}`
  }
}

/**
 * The proxy on the way to the server answered CONNECT with `status`, RFC 9110
 * section 9.3.6: 407 where it asks for other credentials. `headers` are its
 * response's, as received.
 *
 * @category reasons
 * @since 1.0.0
 */
export class ProxyRefused
  extends Schema.TaggedError<ProxyRefused>("effect-websocket/WebSocketError/ProxyRefused")("ProxyRefused", {
    status: Schema.Int,
    headers: Schema.Array(Schema.Tuple([Schema.String, Schema.String]))
  })
{
  override get message(): string {
    return `The proxy refused the tunnel with ${this.status}`
  }
}

/**
 * The server's `accept` refused the request, and it was answered with `status`.
 *
 * @category reasons
 * @since 1.0.0
 */
export class Refused
  extends Schema.TaggedError<Refused>("effect-websocket/WebSocketError/Refused")("Refused", { status: Schema.Int })
{
  override get message(): string {
    return `The request was refused with ${this.status}`
  }
}

/**
 * The peer's head is larger than a limit of `WebSocketConfig`.
 *
 * @category reasons
 * @since 1.0.0
 */
export class HeadTooLarge
  extends Schema.TaggedError<HeadTooLarge>("effect-websocket/WebSocketError/HeadTooLarge")("HeadTooLarge", {
    limit: Schema.Literals(["maxHeadSize", "maxHeaderLines", "maxHeaderLineSize"])
  })
{
  override get message(): string {
    return `The peer's head exceeds ${this.limit}`
  }
}

/**
 * The opening handshake took longer than `timeout` milliseconds.
 *
 * @category reasons
 * @since 1.0.0
 */
export class HandshakeTimeout
  extends Schema.TaggedError<HandshakeTimeout>("effect-websocket/WebSocketError/HandshakeTimeout")("HandshakeTimeout", {
    timeout: Schema.Finite
  })
{
  override get message(): string {
    return `The opening handshake took longer than ${this.timeout} ms`
  }
}

/**
 * The opening handshake failed.
 *
 * @category errors
 * @since 1.0.0
 */
export class HandshakeError
  extends Schema.TaggedError<HandshakeError>("effect-websocket/WebSocketError/HandshakeError")("HandshakeError", {
    reason: Schema.Union([
      UpgradeDeclined,
      RedirectRefused,
      ProxyRefused,
      InvalidRequest,
      InvalidResponse,
      SubprotocolRefused,
      ExtensionRefused,
      Refused,
      HeadTooLarge,
      HandshakeTimeout,
      TransportFailed
    ])
  })
{
  override get message(): string {
    return this.reason.message
  }
}

/**
 * No more messages will come. What arrived before has been delivered.
 *
 * @category errors
 * @since 1.0.0
 */
export class ReadError extends Schema.TaggedError<ReadError>("effect-websocket/WebSocketError/ReadError")("ReadError", {
  reason: Schema.Union([
    ConnectionClosed,
    ProtocolViolation,
    InvalidUtf8,
    CorruptDeflate,
    CompressionRatioTooHigh,
    MessageTooBig,
    TooManyFragments,
    IdleTimeout,
    KeepAliveTimeout,
    MessageTimeout,
    TransportFailed
  ])
}) {
  override get message(): string {
    return this.reason.message
  }
}

/**
 * The message, part or control frame was not sent.
 *
 * @category errors
 * @since 1.0.0
 */
export class WriteError
  extends Schema.TaggedError<WriteError>("effect-websocket/WebSocketError/WriteError")("WriteError", {
    reason: Schema.Union([
      ConnectionClosed,
      MessageInProgress,
      MessageAborted,
      InvalidPayload,
      QueueFull,
      TransportFailed
    ])
  })
{
  override get message(): string {
    return this.reason.message
  }
}
