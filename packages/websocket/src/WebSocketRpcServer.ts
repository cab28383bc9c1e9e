/**
 * The server's side of Effect RPC over `WebSocketStream`s.
 *
 * `RpcServer.layerProtocolSocketServer` runs over a `WebSocketSocketServer` as it
 * is. This protocol is for what that one lacks:
 *
 * - The headers of the opening handshake are headers of every request, so that
 *   middleware sees cookies and tokens; handlers and middleware have the
 *   `WebSocketStream` in their context.
 * - An interruption that a response tells of does not tell the server's fiber.
 * - A response that cannot be sent closes its connection, and dies nowhere.
 * - A client that does not read holds up its own requests only, and pings of
 *   the protocol are read and answered all the same, until 256 responses wait
 *   for it: then it is not read either, so that what it asks costs bounded memory.
 *
 * @since 1.0.0
 */
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import type { FromClientEncoded, FromServerEncoded, RequestEncoded, ResponseExitEncoded } from "effect/rpc/RpcMessage"
import { constPong, ResponseDefectEncoded } from "effect/rpc/RpcMessage"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Sockets from "./internal/sockets.ts"
import { WebSocketServer } from "./WebSocketServer.ts"
import { WebSocketStream } from "./WebSocketStream.ts"

type Stream = WebSocketStream["Service"]
type Headers = ReadonlyArray<[string, string]>
type WriteRequest = (clientId: number, message: FromClientEncoded) => Effect.Effect<void>

// One entry a name, as RFC 9110 section 5.3 and RFC 6265 section 5.4 combine them.
const headersOf = ({ handshake }: Stream): Headers => {
  const combined = new Map<string, string>()
  for (const [name, value] of handshake.request.headers) {
    const key = HttpHead.lowerAscii(name)
    const before = combined.get(key)
    combined.set(key, before === undefined ? value : `${before}${key === "cookie" ? "; " : ", "}${value}`)
  }
  return Array.from(combined)
}

// They count the fibers of this process, which is nothing to tell a client, and differ from run to run.
const withoutFiberIds = (response: ResponseExitEncoded): ResponseExitEncoded => {
  const { exit } = response
  // In a schema's bytes an exit has no tag, and tells them.
  if (exit._tag !== "Failure" || !exit.cause.some(({ _tag }) => _tag === "Interrupt")) return response
  const cause = exit.cause.map((reason) => reason._tag === "Interrupt" ? { ...reason, fiberId: null } : reason)
  return { ...response, exit: { ...exit, cause } }
}

// A response that waits takes some kilobytes, with what made it, and the request that it answers a hundred bytes.
const mostUnsent = 256

/** One connection's requests and responses. */
class Client {
  readonly id: number
  readonly #stream: Stream
  readonly #headers: Headers
  readonly #parser: RpcSerialization.Parser
  readonly #writer: Sockets.SocketWriter
  readonly #encodeDefect: (defect: unknown) => unknown
  #answering = false
  /** Responses that wait to be sent. */
  #unsent = 0
  readonly #room = Latch.makeUnsafe(true)

  constructor(id: number, stream: Stream, serialization: RpcSerialization.RpcSerialization["Service"]) {
    this.id = id
    this.#stream = stream
    this.#headers = headersOf(stream)
    this.#parser = serialization.makeUnsafe()
    this.#writer = new Sockets.SocketWriter(stream)
    this.#encodeDefect = Schema.encodeSync(serialization.codecFor(Schema.Defect()))
  }

  send(response: FromServerEncoded): Effect.Effect<void> {
    return Effect.suspend(() => {
      const encoded = this.#encode(response)
      if (encoded === undefined) return Effect.void
      return Effect.catch(this.#sending(this.#writer.write(encoded)), (error) => this.#fail(error))
    })
  }

  #sending(write: Effect.Effect<void, Socket.SocketError>): Effect.Effect<void, Socket.SocketError> {
    return Effect.uninterruptibleMask((restore) => {
      if (++this.#unsent === mostUnsent) this.#room.closeUnsafe()
      return Effect.onExit(restore(write), () => {
        if (this.#unsent-- === mostUnsent) this.#room.openUnsafe()
        return Effect.void
      })
    })
  }

  #encode(response: FromServerEncoded): Uint8Array | string | undefined {
    try {
      return this.#parser.encode(response._tag === "Exit" ? withoutFiberIds(response) : response)
    } catch (cause) {
      return this.#parser.encode(ResponseDefectEncoded(this.#encodeDefect(cause)))
    }
  }

  // The client waits for a response that does not come: it is told by the close.
  #fail(error: Socket.SocketError): Effect.Effect<void> {
    return Effect.andThen(
      Effect.logDebug("An RPC response could not be sent", error),
      Effect.ignore(Sockets.beginClose(this.#stream, new Socket.CloseEvent(1011, "a response could not be sent")))
    )
  }

  #sendDefect(defect: unknown): Effect.Effect<void> {
    return Effect.suspend(() => this.send(ResponseDefectEncoded(this.#encodeDefect(defect))))
  }

  /** Reads requests until the connection ends. */
  readonly run = Effect.fnUntraced(function*(
    this: Client,
    write: WriteRequest
  ): Effect.fn.Return<never, Socket.SocketError, Scope.Scope> {
    const { pull } = yield* Sockets.makeReader(this.#stream)
    while (true) {
      for (const message of yield* pull) {
        yield* this.#room.await
        yield* this.#receive(message, write)
      }
    }
  })

  #receive(message: Uint8Array | string, write: WriteRequest): Effect.Effect<void> {
    return Effect.suspend(() => {
      const requests = this.#parser.decode(message) as ReadonlyArray<FromClientEncoded>
      return Effect.forEach(requests, (request) => this.#request(request, write), { discard: true })
    }).pipe(
      Effect.catchDefect((defect) =>
        Predicate.isTagged(defect, "MaxBufferSizeExceeded")
          ? Effect.ignore(Sockets.beginClose(this.#stream, new Socket.CloseEvent(1009, String(defect).slice(0, 123))))
          : this.#sendDefect(defect)
      )
    )
  }

  #request(request: FromClientEncoded, write: WriteRequest): Effect.Effect<void> {
    if (request._tag === "Ping") return this.#pong
    if (request._tag !== "Request") return write(this.id, request)
    const headers = [...this.#headers, ...(request.headers as Headers)]
    return write(this.id, { ...request, headers } satisfies RequestEncoded)
  }

  // One answer for all pings that came while it waits.
  readonly #pong: Effect.Effect<void> = Effect.suspend(() => {
    if (this.#answering) return Effect.void
    this.#answering = true
    const answered = Effect.sync(() => {
      this.#answering = false
    })
    return Effect.asVoid(Effect.forkDetach(Effect.ensuring(this.send(constPong), answered), { startImmediately: true }))
  })
}

/**
 * Makes the server's protocol together with the handler that attaches a
 * connection to it.
 *
 * **Details**
 *
 * Run the handler for each connection, by `WebSocketServer.run` or on a route of
 * an HTTP server. It ends when its connection does.
 *
 * **Gotchas**
 *
 * A request's own headers go over those of the handshake. What a proxy vouches
 * for is to be read from `WebSocketStream.handshake`.
 *
 * An `RpcServer` that stops interrupts what it has not answered and says so: at
 * the client such a call ends interrupted, not with an `RpcClientError`.
 *
 * It forks a fiber for each request, also where its `concurrency` is limited. How
 * many requests a client may have in progress is for middleware to say.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeProtocolWithHandler: Effect.Effect<
  {
    readonly protocol: RpcServer.Protocol["Service"]
    readonly handler: Effect.Effect<void, never, WebSocketStream>
  },
  never,
  RpcSerialization.RpcSerialization
> = Effect.gen(function*() {
  const serialization = yield* RpcSerialization.RpcSerialization
  const disconnects = yield* Queue.make<number>()
  const clients = new Map<number, Client>()
  const clientIds = new Set<number>()
  let count = 0
  let write!: WriteRequest

  const attach = (stream: Stream) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const client = new Client(count++, stream, serialization)
        clients.set(client.id, client)
        clientIds.add(client.id)
        return client
      }),
      ({ id }) => {
        clients.delete(id)
        clientIds.delete(id)
        return Queue.offer(disconnects, id)
      }
    )
  const handler = WebSocketStream.pipe(
    Effect.flatMap(attach),
    Effect.flatMap((client) => client.run((clientId, message) => write(clientId, message))),
    Effect.catch((error) => Effect.logDebug("RPC client disconnected", error)),
    Effect.scoped
  )
  const protocol = yield* RpcServer.Protocol.make((writeRequest) => {
    write = writeRequest
    return Effect.succeed({
      disconnects,
      send: (clientId, response) => clients.get(clientId)?.send(response) ?? Effect.void,
      end: () => Effect.void,
      clientIds: Effect.sync(() => clientIds),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true,
      supportsNotifications: true,
      codecFor: serialization.codecFor
    })
  })
  return { protocol, handler }
})

/**
 * Makes the server's protocol over the connections of the environment's
 * `WebSocketServer`, for as long as the scope is open.
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeProtocolWebSocket: Effect.Effect<
  RpcServer.Protocol["Service"],
  never,
  RpcSerialization.RpcSerialization | WebSocketServer | Scope.Scope
> = Effect.gen(function*() {
  const server = yield* WebSocketServer
  const { handler, protocol } = yield* makeProtocolWithHandler
  yield* Effect.forkScoped(server.run(handler))
  return protocol
})

/**
 * Layer of the server's protocol over the environment's `WebSocketServer`, as
 * `makeProtocolWebSocket`.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerProtocolWebSocket: Layer.Layer<
  RpcServer.Protocol,
  never,
  RpcSerialization.RpcSerialization | WebSocketServer
> = Layer.effect(RpcServer.Protocol, makeProtocolWebSocket)
