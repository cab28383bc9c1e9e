/**
 * The two transports a case runs over: memory, where time is virtual, and TCP
 * over the loopback interface.
 *
 * @since 1.0.0
 */
import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import type * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

/** What a case runs over. */
export type Name = "memory" | "tcp"

export const names: ReadonlyArray<Name> = ["memory", "tcp"]

/** A server, and the transport that dials it. */
export interface Wires {
  readonly server: Transport.TransportServer["Service"]
  readonly client: Transport.Connection
}

// A short grace for bytes that a peer never reads, so that the end of a case is quick.
const linger = "20 millis"

const tcp = Effect.map(Effect.orDie(NodeTransportServer.make({ port: 0, linger })), (server): Wires => {
  const port = NetAddress.isInetAddress(server.address) ? server.address.port : 0
  return { server, client: NodeTransport.make({ host: "127.0.0.1", port, linger }) }
})

/** Listens, for as long as the scope is open. `options` are for memory. */
export const make = (name: Name, options?: MemoryTransport.Options): Effect.Effect<Wires, never, Scope.Scope> =>
  name === "tcp" ? tcp : MemoryTransport.makeServer(options)

/** The connections that are accepted, in order. */
export const accepted = Effect.fnUntraced(function*(wires: Wires) {
  const connections = yield* Queue.unbounded<Transport.Connection>()
  yield* Effect.forkScoped(wires.server.run((connection) =>
    Effect.suspend(() => {
      Queue.offerUnsafe(connections, connection)
      return Effect.never
    })
  ))
  return Queue.take(connections)
})
