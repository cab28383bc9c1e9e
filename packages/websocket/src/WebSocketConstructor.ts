/**
 * Effect's `Socket.WebSocketConstructor` on this engine, for what asks for one:
 * `Socket.makeWebSocket`, GraphQL clients, cluster runners, devtools.
 *
 * Where a `Socket` will do, `WebSocketSocket` is better: this interface has no
 * back-pressure on writes, only a limit.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { EventSocket } from "./internal/eventSocket.ts"
import { toHeaders } from "./internal/heads.ts"
import { TransportDialer } from "./Transport.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import * as WebSocketConfig from "./WebSocketConfig.ts"

/**
 * What every connection asks for, besides what is given to the constructor.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends Omit<WebSocketClient.DialOptions, "url" | "subprotocols"> {}

/**
 * A connection with the events and members of the WHATWG interface, and with
 * those of Node's sockets to stop and go on reading.
 *
 * **Details**
 *
 * - Messages are strings or `Uint8Array`s; there is no `binaryType`.
 * - While it is paused nothing but buffers in the kernel and `readBuffer` fills,
 *   and "message" and "close" wait.
 * - `send` copies what it is given. Beyond `maxQueuedBytes` it throws a
 *   `WriteError` with `QueueFull`. Before the connection is open it throws, and
 *   after its end it does nothing but count.
 * - `close` takes every code that may travel, and sends what was sent before it
 *   first, for `closeTimeout` at most.
 * - An "error" event has what happened as `error`: a `HandshakeError` or a
 *   `ReadError`.
 *
 * @category models
 * @since 1.0.0
 */
export interface WebSocket extends Socket.WebSocketLike {
  readonly url: string
  /** The subprotocol in use, empty for none. */
  readonly protocol: string
  /** The names of the extensions in use. */
  readonly extensions: string
  /** Bytes of payload that were sent and that no transport has accepted. */
  readonly bufferedAmount: number
  readonly isPaused: boolean
  readonly pause: () => void
  readonly resume: () => void
}

const subprotocolsOf = (options: Socket.WebSocketConstructorOptions | undefined): ReadonlyArray<string> => {
  const protocols = typeof options === "object" && !Array.isArray(options) ? options.protocols : options
  return typeof protocols === "string" ? [protocols] : protocols ?? []
}

const headersOf = (options: Socket.WebSocketConstructorOptions | undefined) =>
  typeof options === "object" && !Array.isArray(options) ? toHeaders(options.headers) : []

/**
 * Makes a constructor of connections over the environment's `TransportDialer`.
 * They live as long as the scope at most.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make: (
  options?: Options
) => Effect.Effect<
  (url: string, options?: Socket.WebSocketConstructorOptions) => WebSocket,
  never,
  TransportDialer | Scope.Scope
> = Effect.fnUntraced(function*(base: Options = {}) {
  const scope = yield* Effect.scope
  const context = yield* Effect.context<never>()
  const dialer = yield* TransportDialer
  const { closeTimeout, maxQueuedBytes } = yield* WebSocketConfig.resolve(base.config)
  const fork = (effect: Effect.Effect<unknown>) => Fiber.runIn(Effect.runForkWith(context)(effect), scope)
  return (url, options) => {
    const subprotocols = subprotocolsOf(options)
    const headers = [...toHeaders(base.headers), ...headersOf(options)]
    const connect = Effect.provideService(
      WebSocketClient.dial({ ...base, url, subprotocols, headers }),
      TransportDialer,
      dialer
    )
    return new EventSocket({ url, connect, maxQueuedBytes, closeTimeout, fork })
  }
})

/**
 * Layer of a `WebSocketConstructor` over the environment's `TransportDialer`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (options?: Options): Layer.Layer<Socket.WebSocketConstructor, never, TransportDialer> =>
  Layer.effect(Socket.WebSocketConstructor, make(options))
