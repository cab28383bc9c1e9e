/**
 * One WebSocket connection as a service, on the plan of Boost.Beast's
 * `websocket::stream`: messages whole or in parts, both ways, over whatever
 * transport a Layer provides.
 *
 * Any number of fibers may call any operation at any time. Writes are put in
 * order by a semaphore, reads queue, and pings and closes of the peer are
 * answered whether or not anybody reads.
 *
 * Byte arrays that are given are read while the operation runs, never changed
 * and never kept. Byte arrays that are received belong to the receiver, which may
 * change them. They may lie beside others in one `buffer`, of at most 4 KiB or four
 * times their size, so copy what is to be transferred to another thread. With
 * `reuseArrays` of `WebSocketConfig` they are the receiver's until the next read
 * of the same stream.
 *
 * @since 1.0.0
 */
import type { Extension } from "@effect-websocket/protocol/Extension"
import type { RequestHead, ResponseHead } from "@effect-websocket/protocol/HttpHead"
import type { MessageType } from "@effect-websocket/protocol/Opcode"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type { PreparedMessage } from "./PreparedMessage.ts"
import type { CloseStatus, ReadError, WriteError } from "./WebSocketError.ts"

/**
 * What is sent: a string is text, bytes are binary unless options say text.
 *
 * @category models
 * @since 1.0.0
 */
export type Payload = string | Uint8Array

/**
 * A whole message to be sent, as it is or prepared for many connections.
 *
 * @category models
 * @since 1.0.0
 */
export type Sendable = Payload | PreparedMessage

/**
 * What was agreed before the first message, RFC 6455 section 4.
 *
 * @category models
 * @since 1.0.0
 */
export interface Handshake {
  readonly request: RequestHead
  readonly response: ResponseHead
  /** The subprotocol in use, section 1.9. */
  readonly subprotocol: string | undefined
  /** The extensions in use, as answered by the server, section 9.1. */
  readonly extensions: ReadonlyArray<Extension>
  /** Who is at the other end of the transport, where it knows. */
  readonly peerAddress: NetAddress.SocketAddress | undefined
}

/**
 * How a message or a part is sent.
 *
 * @category models
 * @since 1.0.0
 */
export interface WriteOptions {
  /**
   * The type of the message, section 5.6. Default: text for a string, binary
   * for bytes; in the middle of a message, the message's own.
   */
  readonly type?: MessageType | undefined
  /**
   * What to do with a lone surrogate, which no UTF-8 can say: refuse the write
   * with `InvalidPayload`, or send U+FFFD in its place. Default `"refuse"`.
   */
  readonly loneSurrogates?: "refuse" | "replace" | undefined
  /**
   * Whether the message is compressed, where permessage-deflate was agreed.
   * Decided when the message starts. Default: when it has at least `threshold`
   * bytes, or its size is not known because it is written in parts.
   */
  readonly compress?: boolean | undefined
  /**
   * Whether all of this part is sent now. Without it a part of a compressed
   * message may stay in the compressor until a later part. Default false; the end
   * of a message is always sent.
   */
  readonly flush?: boolean | undefined
}

/**
 * A part of a message, as it arrived.
 *
 * **Details**
 *
 * Of a text message `data` is a string that never splits a code point; of a
 * binary message it is bytes that belong to the receiver, with `reuseArrays`
 * until the next read. It is empty only
 * where it ends the message. Parts follow what arrived, not how the peer cut
 * its fragments.
 *
 * @category models
 * @since 1.0.0
 */
export type MessagePart =
  | { readonly type: "text"; readonly data: string; readonly fin: boolean }
  | { readonly type: "binary"; readonly data: Uint8Array; readonly fin: boolean }

/**
 * A received message as a stream of its parts.
 *
 * @category models
 * @since 1.0.0
 */
export interface MessageStream {
  readonly type: MessageType
  /**
   * The parts, once. Running it ends with the message; what it leaves unread
   * is skipped when the next message is asked for.
   */
  readonly parts: Stream.Stream<MessagePart, ReadError>
}

/**
 * Owns one outgoing message until it is finished.
 *
 * **Details**
 *
 * Any fiber may use it; parts go out in the order of their calls. Other
 * messages wait until it is finished, control frames do not.
 *
 * @category models
 * @since 1.0.0
 */
export interface MessageWriter {
  readonly type: MessageType
  /** Sends a part as one or more whole frames; returns the payload's size in bytes. */
  readonly write: (part: Payload, options?: Pick<WriteOptions, "flush">) => Effect.Effect<number, WriteError>
  /** Ends the message, with a last part or an empty one; returns the part's size in bytes. */
  readonly finish: (part?: Payload) => Effect.Effect<number, WriteError>
}

/**
 * A control frame that arrived, section 5.5.
 *
 * @category models
 * @since 1.0.0
 */
export type ControlFrame =
  | { readonly _tag: "Ping"; readonly payload: Uint8Array }
  | { readonly _tag: "Pong"; readonly payload: Uint8Array }
  | { readonly _tag: "Close"; readonly code: number | undefined; readonly reason: string }

/**
 * Where a connection stands, section 7.1: a Close frame was asked for or has
 * arrived (`"Closing"`), and the transport is gone (`"Closed"`).
 *
 * @category models
 * @since 1.0.0
 */
export type State = "Open" | "Closing" | "Closed"

/**
 * How to close.
 *
 * @category models
 * @since 1.0.0
 */
export interface CloseOptions {
  /** One of `CloseCode`, or 3000 to 4999, section 7.4. Default 1000; `"none"` sends an empty Close frame. */
  readonly code?: number | "none" | undefined
  /** At most 123 bytes of UTF-8. Default empty. */
  readonly reason?: string | undefined
}

/**
 * One WebSocket connection.
 *
 * **Gotchas**
 *
 * Not the WHATWG class of the same name: this one also serves, takes part of a
 * message at a time, and applies back-pressure both ways.
 *
 * @category services
 * @since 1.0.0
 */
export class WebSocketStream extends Context.Service<WebSocketStream, {
  /** Which end this is; a client masks what it sends, section 5.1. */
  readonly role: "client" | "server"
  readonly handshake: Handshake

  /**
   * Sends one part of a message as one or more whole frames and returns the
   * size of its payload in bytes of UTF-8 or binary data.
   *
   * The first part carries the type, `fin` ends the message (section 5.4). All
   * parts must be written by the fiber that wrote the first; other messages
   * wait meanwhile. A `write` by that same fiber fails with `MessageInProgress`.
   * When that fiber ends before the message does, later messages fail with
   * `MessageAborted`; to write parts from several fibers, or under
   * `Effect.timeout` or `Effect.race` (which run them in fibers of their own),
   * use `message`.
   */
  readonly writeSome: (fin: boolean, payload: Payload, options?: WriteOptions) => Effect.Effect<number, WriteError>

  /**
   * Sends one message and returns the size of its payload in bytes. Completes
   * when the transport has accepted all of it, in fragments of at most
   * `fragmentSize` bytes.
   *
   * Interrupting it before its first byte is handed over leaves nothing on the
   * wire. After that the frame in progress goes out whole; when more were to
   * follow, later messages fail with `MessageAborted`.
   *
   * A text of more than 512 Ki units is looked through, and then encoded as it is
   * sent, a piece of it in a turn of the event loop; so are as many bytes of a
   * text. A string that the platform holds in pieces, as one that was made by
   * adding others, it makes one first, at once: `writeSome` and `message` do
   * without.
   */
  readonly write: (message: Sendable, options?: WriteOptions) => Effect.Effect<number, WriteError>

  /**
   * Sends messages in order, small ones together in one go, and returns the
   * size of all payloads in bytes. No other message comes between them.
   */
  readonly writeAll: (messages: ReadonlyArray<Sendable>, options?: WriteOptions) => Effect.Effect<number, WriteError>

  /**
   * Begins a message that is written in parts, from any fiber. Leaving the
   * scope after a part and without `finish` closes the connection, since nothing
   * may follow half a message: with 1011 after a failure, else with 1001. A
   * message without any part leaves nothing behind.
   */
  readonly message: (
    type: MessageType,
    options?: Omit<WriteOptions, "type">
  ) => Effect.Effect<MessageWriter, WriteError, Scope.Scope>

  /** Sends a stream of parts as one message and returns its size in bytes, as `message` does. */
  readonly writeStream: <E, R>(
    type: MessageType,
    parts: Stream.Stream<Payload, E, R>,
    options?: Omit<WriteOptions, "type">
  ) => Effect.Effect<number, WriteError | E, R>

  /** Sends every element as one message, chunk by chunk with `writeAll`. */
  readonly sink: (options?: WriteOptions) => Sink.Sink<void, Sendable, never, WriteError>

  /** The next part of a message, as soon as there is one. */
  readonly readSome: Effect.Effect<MessagePart, ReadError>

  /**
   * The next whole message; what is left of it, where `readSome` took its
   * beginning. Interrupting it, also by `Effect.timeout`, loses nothing.
   *
   * However long it is, the event loop goes on meanwhile: an array of more than
   * 512 KiB is put together a piece in a turn, and a text of more than 256 Ki
   * units is left to the platform in pieces. It makes them one where the text is
   * looked into for the first time, at once: a loop over `readSome` does without.
   *
   * `Effect.forever` yields after each step, which costs several times as much
   * as the read: a loop for many small messages says `disableYield`, since a fiber
   * yields by the number of its steps in any case.
   */
  readonly read: Effect.Effect<Payload, ReadError>

  /** All whole messages that are there, at least one: the fast way to read many. */
  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Payload>, ReadError>

  /**
   * All messages to come, one at a time, so that whoever leaves early leaves
   * the rest to others. Ends with the `ReadError` that ends the connection.
   */
  readonly messages: Stream.Stream<Payload, ReadError>

  /** All messages to come, each as a stream of its parts; run them one after another. */
  readonly messageStreams: Stream.Stream<MessageStream, ReadError>

  /**
   * Sends a Ping (section 5.5.2) ahead of waiting data, and waits for its Pong.
   * Returns the time between the two. The payload is at most 125 bytes; by
   * default it is one that no other ping of this connection has.
   */
  readonly ping: (payload?: Uint8Array) => Effect.Effect<Duration.Duration, WriteError>

  /** Sends a Pong that answers nothing, section 5.5.3, ahead of waiting data. At most 125 bytes. */
  readonly pong: (payload?: Uint8Array) => Effect.Effect<void, WriteError>

  /**
   * Control frames as they arrive from now on, for those who watch; they are
   * answered anyway. A watcher that is slow misses the oldest beyond 64. Ends
   * with the connection.
   */
  readonly controlFrames: Stream.Stream<ControlFrame>

  /**
   * Closes, section 7.1.2: sends a Close frame ahead of waiting data, waits at
   * most `closeTimeout` for the peer's, then ends the transport in bounded
   * time. What the peer still sends is delivered to readers. Messages not yet
   * sent fail with `ConnectionClosed`. Closing again waits for the same end.
   * Only options that may not be sent make it fail, with `InvalidPayload`.
   */
  readonly close: {
    (): Effect.Effect<CloseStatus>
    (options: CloseOptions): Effect.Effect<CloseStatus, WriteError>
  }

  /** Waits for the end of the connection, however it comes. */
  readonly closed: Effect.Effect<CloseStatus>

  /** Where the connection stands. */
  readonly state: Effect.Effect<State>

  /** The state now and its changes, until `"Closed"`. */
  readonly stateChanges: Stream.Stream<State>
}>()("effect-websocket/WebSocketStream") {}
