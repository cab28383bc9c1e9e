/**
 * Transports that exist in memory only, for tests of clients and servers in one
 * process.
 *
 * Deterministic: bytes move in the order in which fibers run, and time, where it
 * is asked for, is Effect's `Clock`. Sizes are bytes, times are `Duration`s.
 *
 * @since 1.0.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Transport from "../Transport.ts"
import * as WebSocketServer from "../WebSocketServer.ts"
import * as Pipe from "./internal/pipe.ts"

/**
 * How one direction of a connection behaves.
 *
 * @category models
 * @since 1.0.0
 */
export interface DirectionOptions {
  /** Most bytes accepted and not yet pulled, before a write suspends. Default 65536. */
  readonly capacity?: number | undefined
  /** Most bytes of one pulled chunk. Default: as large as it was accepted. */
  readonly chunkSize?: number | undefined
  /** Time from acceptance to readability. Default 0. */
  readonly latency?: Duration.Input | undefined
  /** Bytes that become readable in a second, in chunks of at most 1460. Default: no limit. */
  readonly bandwidth?: number | undefined
}

/**
 * How a connection behaves, in both directions or told apart.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends DirectionOptions {
  /** What differs for bytes from the client to the server. */
  readonly clientToServer?: DirectionOptions | undefined
  /** What differs for bytes from the server to the client. */
  readonly serverToClient?: DirectionOptions | undefined
}

const address = NetAddress.unixPathAddress("memory")

const destroy = (incoming: Pipe.Pipe, outgoing: Pipe.Pipe): void => {
  const message = "The peer has destroyed the connection"
  Pipe.abort(incoming, Transport.locallyClosed(), Transport.writeFailed(new Error(message)))
  Pipe.abort(outgoing, Transport.readFailed(new Error(message)), Transport.locallyClosed())
}

const close = (incoming: Pipe.Pipe, outgoing: Pipe.Pipe): void => {
  const cause = new Error("The peer has closed the connection")
  Pipe.abort(incoming, Transport.locallyClosed(), Transport.writeFailed(cause))
  Pipe.cut(outgoing)
}

const endpoint = (incoming: Pipe.Pipe, outgoing: Pipe.Pipe): Transport.Endpoint => ({
  ...Pipe.endpoint({
    incoming,
    outgoing,
    destroy: () => destroy(incoming, outgoing),
    close: () => close(incoming, outgoing)
  }),
  peerAddress: address
})

const makePipe = (clock: Clock.Clock, both: DirectionOptions, own: DirectionOptions | undefined): Pipe.Pipe => {
  const latency = Duration.toMillis(own?.latency ?? both.latency ?? 0)
  const bandwidth = own?.bandwidth ?? both.bandwidth ?? Infinity
  const grain = Math.max(1, own?.chunkSize ?? both.chunkSize ?? Infinity)
  const most = bandwidth === Infinity ? grain : Math.min(grain, Pipe.slowGrain)
  const delayed = latency > 0 || bandwidth !== Infinity
  return new Pipe.Pipe({
    capacity: own?.capacity ?? both.capacity ?? Pipe.defaultCapacity,
    grain: () => most,
    timing: delayed ? { clock, latency: () => latency, millisPerByte: 1000 / bandwidth } : undefined
  })
}

const makeEndpoints = (clock: Clock.Clock, options: Options) => {
  const toServer = makePipe(clock, options, options.clientToServer)
  const toClient = makePipe(clock, options, options.serverToClient)
  return { client: endpoint(toClient, toServer), server: endpoint(toServer, toClient) }
}

/**
 * Makes two ends of one open connection.
 *
 * **Details**
 *
 * Written bytes are copied, so a writer may reuse its array and a reader may
 * change what it pulls. A write larger than the room is accepted piece by piece
 * and completes with its last byte. Half-close arrives behind the bytes; a
 * closed scope and `destroy` are known at both ends at once, whatever the
 * latency. After `destroy` the peer's pulls fail with a `SocketReadError`, and
 * after a closed scope it is given what was accepted and then the end.
 *
 * **Gotchas**
 *
 * An interrupted write may have been accepted in part.
 *
 * **Example** (Talking to oneself)
 *
 * ```ts import.meta.vitest
 * import * as Effect from "effect/Effect"
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 *
 * const program = Effect.gen(function*() {
 *   const [client, server] = yield* MemoryTransport.makePair({ chunkSize: 2 })
 *   const writer = yield* client.writer
 *   yield* writer.write("hello")
 *   const { pull } = yield* server.reader
 *   return (yield* pull).map((chunk) => chunk.length)
 * })
 *
 * Effect.runSync(Effect.scoped(program)) // => [2, 2, 1]
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makePair = Effect.fnUntraced(
  function*(
    options?: Options
  ): Effect.fn.Return<readonly [client: Transport.Connection, server: Transport.Connection], never, Scope.Scope> {
    const ends = makeEndpoints(yield* Clock.Clock, options ?? {})
    yield* Effect.addFinalizer(() => Effect.andThen(ends.client.close, ends.server.close))
    return [Transport.fromEndpoint(ends.client), Transport.fromEndpoint(ends.server)]
  }
)

/**
 * Makes a server and the client that dials it.
 *
 * **Details**
 *
 * Each acquisition of the client's reader opens a connection of its own, whose
 * other end the server's `run` gives to its handler. Connections made before
 * `run` wait for it, 128 at most. Dialling fails with a `SocketOpenError` when
 * too many wait or the server's scope has closed.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeServer = Effect.fnUntraced(
  function*(
    options?: Options
  ): Effect.fn.Return<
    { readonly server: Transport.TransportServer["Service"]; readonly client: Transport.Connection },
    never,
    Scope.Scope
  > {
    const clock = yield* Clock.Clock
    const acceptor = yield* Transport.makeAcceptor()
    const dial = Effect.suspend(() => {
      const ends = makeEndpoints(clock, options ?? {})
      return acceptor.acceptUnsafe(ends.server)
        ? Effect.succeed(ends.client)
        : Effect.fail(Pipe.openFailed(new Error("Nothing accepts connections here")))
    })
    return {
      server: Transport.TransportServer.of({ address, run: acceptor.run }),
      client: Transport.make(dial)
    }
  }
)

/**
 * Provides a server and the transport that dials it, also by a dialer, which
 * reaches it with every URL.
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (
  options?: Options
): Layer.Layer<Transport.Transport | Transport.TransportDialer | Transport.TransportServer> =>
  Layer.effectContext(
    Effect.map(
      makeServer(options),
      ({ client, server }) =>
        Context.make(Transport.Transport, client).pipe(
          Context.add(Transport.TransportDialer, { dial: () => client }),
          Context.add(Transport.TransportServer, server)
        )
    )
  )

/**
 * Provides a WebSocket server in memory and what clients reach it by, with every
 * URL: in a test what `NodeWebSocketServer.layer` is in production.
 *
 * **Example** (Testing a handler)
 *
 * ```ts import.meta.vitest
 * import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const echo = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   yield* stream.write(yield* stream.read)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" })
 *   yield* stream.write("hello")
 *   return yield* stream.read
 * })
 *
 * const server = Layer.provideMerge(WebSocketServer.serve(echo), MemoryTransport.layerServer())
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(server))) // => "hello"
 * ```
 *
 * @category layers
 * @since 1.0.0
 */
export const layerServer = <R = never>(
  options?: Options & WebSocketServer.AcceptOptions<R>
): Layer.Layer<
  WebSocketServer.WebSocketServer | Transport.Transport | Transport.TransportDialer | Transport.TransportServer,
  never,
  R
> => Layer.provideMerge(WebSocketServer.layer(options), layer(options))
