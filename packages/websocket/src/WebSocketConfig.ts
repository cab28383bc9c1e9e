/**
 * Every limit and every time of a connection on one page, with its unit, its
 * default and its reason.
 *
 * A limit is counted before memory is taken and gives a typed error when hit.
 * Times run on Effect's `Clock`; `Duration.infinity` turns one off.
 *
 * @since 1.0.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as RetryHint from "./RetryHint.ts"

/**
 * Pings sent by the library to learn whether the peer is alive.
 *
 * @category models
 * @since 1.0.0
 */
export interface KeepAlive {
  /** Time between pings. */
  readonly interval: Duration.Input
  /** Pings in a row without a sign of life after which the connection fails. At least 1. */
  readonly misses: number
}

/**
 * Limits and times of a connection. Sizes are bytes.
 *
 * @category models
 * @since 1.0.0
 */
export interface WebSocketConfig {
  /**
   * Longest message that is received, in bytes. Checked against the declared
   * length, before any of it is stored: 1009. Default 16 MiB: what most peers
   * accept, and 1000 hostile connections cannot take more than 16 GiB.
   */
  readonly maxMessageSize: number
  /**
   * Most fragments of one received message, empty ones counted: 1008. Default
   * 131072: a 16 MiB message in fragments of 128 bytes. Small parts are kept
   * together, so that it is the CPU this bounds, not memory.
   */
  readonly maxFragments: number
  /**
   * Most bytes that a received compressed message may stand for by each byte of
   * it, beyond the first 64 KiB, which are free: 1009. Default 1032, the most that
   * deflate can do, since a message of one value reaches it honestly and
   * `maxMessageSize` bounds the memory; lower it where messages are known to vary.
   */
  readonly maxCompressionRatio: number
  /**
   * Payload held for a reader that does not come, in bytes, and 64 more for
   * every part it is kept in. Beyond it, and one chunk more, the transport is
   * not read, so that the peer is slowed. A message that `read` waits for may
   * grow to `maxMessageSize`. Default 64 KiB: a socket buffer's worth.
   */
  readonly readBuffer: number
  /**
   * Whether the arrays of received binary messages are used again. What a read
   * has given belongs to its reader until the next read of the same stream only:
   * after that it is overwritten, with bytes of any connection. Copy what is kept
   * for longer, and read on when what was to be written of it is written. Without
   * an array to make and to collect for each message, those of some KiB cost a
   * fifth to three fifths less on Node. Sockets, `WebSocketConstructor` and RPC, whose users know
   * nothing of this, copy. Default false: arrays belong to whoever read them.
   */
  readonly reuseArrays: boolean
  /**
   * Longest frame that is sent, in bytes of payload; longer messages are cut
   * into fragments so that pings and closes can pass between them. 0 turns
   * fragmenting off. Default 64 KiB: 50 ms at 10 Mbit/s.
   */
  readonly fragmentSize: number
  /**
   * How much longer than on an empty line a ping, pong or Close frame may take
   * behind data that this side sends, as 50 milliseconds. What waits below is kept
   * so short by Pings of the library's own between the frames, which the peer's
   * Pongs answer and nobody else sees, and by smaller fragments. A peer that does
   * not answer one for a second, or four times as long as they took, is not
   * waited for until it does. Costs up to a tenth of a line's rate, more where
   * the application pauses between messages or the peer's Pongs are slow for
   * other reasons, and some CPU for each byte. Default off: megabytes may wait
   * below, 600 ms at 4 MiB/s.
   */
  readonly controlDelay: Duration.Input
  /**
   * Payload of writers that wait for others, in bytes; beyond it a write fails
   * with `QueueFull` and does not wait. A write that finds nobody waiting is
   * never refused. Default 64 MiB.
   */
  readonly maxQueuedBytes: number
  /** Longest head of a request or response, in bytes. Default 16 KiB, as Node's HTTP server. */
  readonly maxHeadSize: number
  /** Most header lines, repeated names counted. Default 100. */
  readonly maxHeaderLines: number
  /** Longest line of a head, in bytes. Default 8 KiB: a cookie and a half. */
  readonly maxHeaderLineSize: number
  /** Bytes of a refusal's body that a client keeps. Default 16 KiB: an error page. */
  readonly maxRefusalBody: number
  /**
   * From the beginning to an open connection; a client's includes opening the
   * transport, a server's the `accept` that decides. Default 30 seconds.
   */
  readonly handshakeTimeout: Duration.Input
  /**
   * Longest time in which nothing at all arrives. Like the two that follow it
   * leaves out the time in which the transport is not read because `readBuffer`
   * is full. Default 300 seconds on a server, off on a client.
   */
  readonly idleTimeout: Duration.Input | undefined
  /** Pings to learn whether the peer is alive. Default every 30 seconds and 2 misses on a server, off on a client. */
  readonly keepAlive: KeepAlive | "off" | undefined
  /** From a received message's first frame to its last. Default off, since a message may be a long stream. */
  readonly messageTimeout: Duration.Input
  /**
   * Longest wait for the peer's Close frame, and again for the end of its side
   * of the transport; also for a refused client to leave, and for a refusal's
   * body. Default 5 seconds.
   */
  readonly closeTimeout: Duration.Input
  /** Longest wait for a server's handlers once it shuts down. Default 10 seconds. */
  readonly drainTimeout: Duration.Input
  /** The code of the Close frame with which a server shuts down: going away, or 1012, service restart. Default 1001. */
  readonly drainCode: 1001 | 1012
  /**
   * When the peers of a server that shuts down are asked to come back; each is
   * told another time, see `RetryHint`. Default 1 to 5 seconds: a restart's worth.
   */
  readonly drainRetryAfter: RetryHint.Range | "off"
  /** Connections a server holds at once, those that are closing counted; more are refused with 503. Default 16384. */
  readonly maxConnections: number
  /** Handshakes a server has in progress at once; more are refused with 503. Default 1024. */
  readonly maxHandshakes: number
}

/**
 * The defaults.
 *
 * @category constants
 * @since 1.0.0
 */
export const defaults: WebSocketConfig = {
  maxMessageSize: 16 * 1024 * 1024,
  maxFragments: 131_072,
  maxCompressionRatio: 1032,
  readBuffer: 64 * 1024,
  reuseArrays: false,
  fragmentSize: 64 * 1024,
  controlDelay: Duration.infinity,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxHeadSize: 16 * 1024,
  maxHeaderLines: 100,
  maxHeaderLineSize: 8 * 1024,
  maxRefusalBody: 16 * 1024,
  handshakeTimeout: Duration.seconds(30),
  idleTimeout: undefined,
  keepAlive: undefined,
  messageTimeout: Duration.infinity,
  closeTimeout: Duration.seconds(5),
  drainTimeout: Duration.seconds(10),
  drainCode: 1001,
  drainRetryAfter: { min: Duration.seconds(1), max: Duration.seconds(5) },
  maxConnections: 16_384,
  maxHandshakes: 1024
}

/**
 * Some of the fields. Those left out, or `undefined`, are taken from elsewhere.
 *
 * @category models
 * @since 1.0.0
 */
export type Options = { readonly [Field in keyof WebSocketConfig]?: WebSocketConfig[Field] | undefined }

/**
 * The configuration that `connect` and `accept` start from; their own `config`
 * option goes over it, field by field.
 *
 * **Example** (Setting a limit for everything below)
 *
 * ```ts import.meta.vitest
 * import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.map(WebSocketConfig.resolve({ maxFragments: 10 }), (config) => [
 *   config.maxMessageSize,
 *   config.maxFragments
 * ])
 *
 * Effect.runSync(program.pipe(Effect.provide(WebSocketConfig.layer({ maxMessageSize: 1024 })))) // => [1024, 10]
 * ```
 *
 * @category references
 * @since 1.0.0
 */
export const WebSocketConfig: Context.Reference<Options> = Context.Reference<Options>(
  "effect-websocket/WebSocketConfig",
  { defaultValue: () => ({}) }
)

/**
 * Layer that sets fields for everything built below it.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (config: Options): Layer.Layer<never> => Layer.succeed(WebSocketConfig, config)

/**
 * Puts fields over a configuration. One that is `undefined` changes nothing, so
 * that no limit can be lost by mistake.
 *
 * @category combining
 * @since 1.0.0
 */
export const override = (config: WebSocketConfig, options: Options | undefined): WebSocketConfig => ({
  ...config,
  ...Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined))
})

/**
 * The defaults, under the environment's fields, under `options`.
 *
 * @category getters
 * @since 1.0.0
 */
export const resolve = (options?: Options): Effect.Effect<WebSocketConfig> =>
  Effect.map(WebSocketConfig, (config) => override(override(defaults, config), options))
