/**
 * A WebSocket connection seen as Effect's `Socket`, one element a message, so
 * that Effect's RPC, cluster runners, devtools and channels run over it as they
 * are.
 *
 * What is different from the sockets of `Socket.makeWebSocket`:
 *
 * - A write completes when the transport has accepted the message, and suspends
 *   while it is full. Reading stops the peer when nobody pulls.
 * - A message goes out whole or not at all. Interrupting its write before its
 *   turn leaves nothing on the wire; after that it goes on without the fiber
 *   that wrote it, one message at most, and its bytes are read until it is sent.
 * - What kept a connection from opening, or ended it, is in the error's `cause`
 *   as a `HandshakeError`, `ReadError` or `WriteError`.
 * - Closing the reader's scope closes with 1000 after success, 1011 after
 *   failure and 1001 on interruption, and waits for the closing handshake, for
 *   a bounded time.
 *
 * @since 1.0.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { Connections } from "./internal/connections.ts"
import * as Sockets from "./internal/sockets.ts"
import type { Transport } from "./Transport.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import { type Payload, WebSocketStream } from "./WebSocketStream.ts"

type Stream = WebSocketStream["Service"]

interface Target {
  readonly stream: Stream
  readonly writer: Sockets.SocketWriter
}

const targetOf = (stream: Stream): Target => ({ stream, writer: new Sockets.SocketWriter(stream) })

type Write = (target: Target) => Effect.Effect<void, Socket.SocketError>

const makeWriter = (to: (write: Write) => Effect.Effect<void, Socket.SocketError>): Socket.Writer => ({
  write: (chunk) =>
    to(({ stream, writer }) => Socket.isCloseEvent(chunk) ? Sockets.beginClose(stream, chunk) : writer.write(chunk)),
  writeAll: (chunks: ReadonlyArray<Payload>) => to(({ writer }) => writer.writeAll(chunks))
})

/**
 * Sees a connection that is open already as a `Socket`.
 *
 * **Details**
 *
 * Writes go to this connection whether or not its reader has been acquired, and
 * fail once it has ended. Closing the reader's scope closes the connection. It
 * opens no second time: a reader acquired after the end is given that end.
 *
 * **Example** (Reading messages through a channel)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Socket from "effect/socket/Socket"
 *
 * const greeter = Effect.flatMap(WebSocketStream, (stream) => stream.writeAll(["hello", "world"]))
 *
 * const program = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   const pull = yield* Socket.readerString(WebSocketSocket.fromStream(stream))
 *   const received: Array<string> = []
 *   while (received.length < 2) received.push(...(yield* pull))
 *   const end = yield* Effect.flip(pull)
 *   return [...received, end.message]
 * })
 *
 * const server = WebSocketServer.serve(greeter).pipe(Layer.provide(WebSocketServer.layer()))
 * const runnable = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.provideMerge(server, MemoryTransport.layer()))
 * )
 * await Effect.runPromise(runnable) // => ["hello", "world", "1000"]
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const fromStream = (stream: Stream): Socket.Socket => {
  const target = targetOf(stream)
  return Socket.make({
    reader: Effect.andThen(
      Effect.addFinalizer((exit) => stream.close({ code: Sockets.closeCodeOf(exit) }).pipe(Effect.ignore)),
      Sockets.makeReader(stream)
    ),
    writer: Effect.succeed(makeWriter((write) => write(target)))
  })
}

/**
 * Makes a `Socket` that connects each time its reader is acquired.
 *
 * **Details**
 *
 * Whatever `connect` fails with becomes the cause of a `SocketOpenError`. The
 * writer belongs to no single connection: writes go to the one opened last, and
 * wait while there is none. A write to a connection that has ended fails until
 * its reader's scope closes.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = <E, R>(
  connect: Effect.Effect<Stream, E, R>
): Effect.Effect<Socket.Socket, never, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Scope.Scope>>) => {
    const connections = new Connections<Target>()
    const reader = Effect.gen(function*() {
      // The reader's scope, whatever scope the environment of the socket had.
      const own = Context.add(context, Scope.Scope, yield* Effect.scope) as Context.Context<R>
      const target = targetOf(yield* Effect.mapError(Effect.provideContext(connect, own), Sockets.openError))
      const reader = yield* Sockets.makeReader(target.stream)
      yield* connections.open(target)
      return reader
    })
    return Effect.succeed(
      Socket.make({ reader, writer: Effect.succeed(makeWriter((write) => connections.use(write))) })
    )
  })

/**
 * Layer of a `Socket` that connects each time its reader is acquired, as `make`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerConnect = <E, R>(
  connect: Effect.Effect<Stream, E, R>
): Layer.Layer<Socket.Socket, never, Exclude<R, Scope.Scope>> => Layer.effect(Socket.Socket, make(connect))

/**
 * Layer of a `Socket` that connects over the environment's `Transport` each time
 * its reader is acquired.
 *
 * **Details**
 *
 * Options may be an Effect; it runs anew for every attempt, so that a retry has
 * a fresh token.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = <E = never, R = never>(
  options: WebSocketClient.ConnectOptions | Effect.Effect<WebSocketClient.ConnectOptions, E, R>
): Layer.Layer<Socket.Socket, never, Transport | Exclude<R, Scope.Scope>> =>
  layerConnect(WebSocketClient.connect(options))

/**
 * Layer that sees the environment's `WebSocketStream` as a `Socket`, as
 * `fromStream`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerStream: Layer.Layer<Socket.Socket, never, WebSocketStream> = Layer.effect(
  Socket.Socket,
  Effect.map(WebSocketStream, fromStream)
)
