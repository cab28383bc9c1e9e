/**
 * What connections show of themselves in traces, and what is kept out of them.
 *
 * Spans are made where a `Tracer` is provided, and cost nothing where none is:
 * Effect's own, which exports nothing, is not asked.
 *
 * - `WebSocketClient.connect` (kind client): one attempt to connect. Made in any case.
 * - `WebSocketServer.accept` (kind server): one opening handshake. On an HTTP
 *   server's routes that is the request's own span.
 * - `WebSocketClient.connection`, `WebSocketServer.connection`: from the opening
 *   handshake, its parent, to the end. It is the parent of what a server's handler
 *   does. It fails where the connection does, by a transport or by a rule; a close
 *   is no failure.
 * - `WebSocketClient.close`, `WebSocketServer.close`: below the connection, from when
 *   one of the ends begins to close, or is lost, until it is over. It fails as the
 *   connection does.
 *
 * Attributes are those of OpenTelemetry's semantic conventions where there are
 * some: `server.address`, `server.port`, `url.scheme`, `url.path`, `url.query`,
 * `url.full` (client), `network.peer.address`, `network.peer.port`,
 * `network.protocol.name`, `network.protocol.version` (of the HTTP of the
 * handshake), `http.request.method`, `http.response.status_code`,
 * `user_agent.original` (server), `error.type` (a reason's tag). And our own:
 * `websocket.subprotocol`, `websocket.extensions`, and of connections and
 * closes `websocket.close.code`, `websocket.close.initiator` and
 * `websocket.close.clean`.
 *
 * Headers are never among them, but for the user agent, and no user or password of
 * a URL. A query is not told unless asked for, since it is where tokens are put. A
 * path is told as it is.
 *
 * @since 1.0.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * What is told to a tracer.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /**
   * Whether a connection has a span that lives as long, and its close one below.
   * Default true. Without it a handler's spans begin where its server does.
   */
  readonly connections: boolean
  /** Whether a URL's query is told, in `url.query` and `url.full`, or `REDACTED` in its place. Default `"redacted"`. */
  readonly query: "redacted" | "plain"
}

/**
 * What is told to a tracer by the connections opened below.
 *
 * **Example** (Telling queries)
 *
 * ```ts import.meta.vitest
 * import * as WebSocketTracing from "effect-websocket/WebSocketTracing"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.map(WebSocketTracing.WebSocketTracing, ({ query }) => query)
 *
 * Effect.runSync(program) // => "redacted"
 * Effect.runSync(Effect.provide(program, WebSocketTracing.layer({ query: "plain" }))) // => "plain"
 * ```
 *
 * @category references
 * @since 1.0.0
 */
export const WebSocketTracing: Context.Reference<Options> = Context.Reference<Options>(
  "effect-websocket/WebSocketTracing",
  { defaultValue: () => ({ connections: true, query: "redacted" }) }
)

/**
 * Layer that says what is told; the defaults where it says nothing.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = ({ connections = true, query = "redacted" }: Partial<Options>): Layer.Layer<never> =>
  Layer.succeed(WebSocketTracing, { connections, query })
