/**
 * A server and the transport that dials it, over each next layer there is.
 */
import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import { type Connection, Transport, TransportServer } from "effect-websocket/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Path from "effect/Path"
import { generate } from "selfsigned"

const both = (server: TransportServer["Service"], client: Connection) =>
  Context.make(Transport, client).pipe(Context.add(TransportServer, server))

const portOf = (server: TransportServer["Service"]) =>
  NetAddress.isInetAddress(server.address) ? server.address.port : 0

const host = "localhost"

const tcp = Effect.map(
  NodeTransportServer.make({ host, port: 0 }),
  (server) => both(server, NodeTransport.make({ host, port: portOf(server) }))
)

/** A certificate that signs itself, for this run only. */
const certificate = Effect.promise(() =>
  generate([{ name: "commonName", value: host }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: host }] }]
  })
)

const tls = Effect.gen(function*() {
  const { cert, private: key } = yield* certificate
  const server = yield* NodeTransportServer.make({ host, port: 0, tls: { cert, key } })
  return both(server, NodeTransport.make({ host, port: portOf(server), tls: { ca: cert } }))
})

const unix = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const path = join(yield* files.makeTempDirectoryScoped({ prefix: "effect-websocket-" }), "socket")
  return both(yield* NodeTransportServer.make({ path }), NodeTransport.make({ path }))
})

export const layerTcp = Layer.effectContext(tcp)

/** The transports by the names that the demo prints. */
export const all = {
  TCP: layerTcp,
  TLS: Layer.effectContext(tls),
  "unix socket": Layer.effectContext(unix),
  memory: MemoryTransport.layer()
}
