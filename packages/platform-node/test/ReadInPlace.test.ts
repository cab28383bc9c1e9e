/**
 * Sockets that can be read in place, and those that cannot: then all is read by
 * `data` events, and the transport keeps the same contract.
 */
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { isInPlace, readInPlace } from "../src/internal/readInPlace.ts"
import * as NodeTransport from "../src/NodeTransport.ts"
import * as certificates from "./fixtures/certificates.ts"
import * as transports from "./fixtures/transports.ts"

const identity = await certificates.selfSigned("DNS:localhost")

/** A connected pair of Node's own sockets. */
const pair = Effect.gen(function*() {
  const server = yield* Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const server = Net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  const open = Effect.callback<readonly [Net.Socket, Net.Socket]>((resume) => {
    const client = Net.connect(port, "127.0.0.1")
    server.once("connection", (accepted) => resume(Effect.succeed([client, accepted])))
  })
  return yield* Effect.acquireRelease(open, (sockets) => Effect.sync(() => sockets.forEach((each) => each.destroy())))
})

const nextTurn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

/** Where Node keeps what sets the array that is read into. */
const prototypeOf = (socket: Net.Socket): object => {
  let found: unknown = Reflect.get(socket, "_handle")
  while (typeof found === "object" && found !== null && !Object.hasOwn(found, "useUserBuffer")) {
    found = Object.getPrototypeOf(found)
  }
  return typeof found === "object" && found !== null ? found : assert.fail("Node's handles have no useUserBuffer")
}

const contract = (name: string, make: Parameters<typeof TransportContract.fromServer>[0]) =>
  describe(name, () => {
    for (const law of [...TransportContract.laws, ...TransportContract.dialingLaws]) {
      it.live(law.name, () => law.check(TransportContract.fromServer(make)))
    }
  })

describe("readInPlace", () => {
  it.live("gives what arrives in one array, which the next read overwrites, and emits no data", () =>
    Effect.gen(function*() {
      const [client, accepted] = yield* pair
      const chunks: Array<Uint8Array> = []
      assert.isTrue(readInPlace(accepted, { receive: (chunk) => chunks.push(chunk) }))
      accepted.on("data", () => assert.fail("data was emitted")).resume()
      for (const text of ["one", "two"]) {
        client.write(text)
        yield* Effect.repeat(nextTurn, { until: () => String(chunks.at(-1)) === text })
      }
      assert.isTrue(chunks.every(isInPlace))
      assert.strictEqual(String(chunks[0]), "two")
    }))

  it.live("leaves alone what is no plain socket, what has no handle, and what has bytes already", () =>
    Effect.gen(function*() {
      const receiver = { receive: () => assert.fail("told of bytes") }
      assert.isFalse(readInPlace(undefined, receiver))
      assert.isFalse(readInPlace(new Duplex({ read() {} }), receiver))
      assert.isFalse(readInPlace(new Net.Socket(), receiver))
      const [client, accepted] = yield* pair
      accepted.unshift("before")
      assert.isFalse(readInPlace(accepted, receiver))
      client.write("after")
      let seen = ""
      accepted.on("data", (chunk) => seen += String(chunk))
      yield* Effect.repeat(nextTurn, { until: () => seen === "beforeafter" })
      accepted.destroy()
      assert.isFalse(readInPlace(accepted, receiver))
    }))

  it.live("leaves every socket alone where Node's option sets nothing that can be found", () =>
    Effect.gen(function*() {
      // Sockets that take no notice of `onread`.
      const Socket = new Proxy(Net.Socket, { construct: (target) => Reflect.construct(target, []) })
      vi.resetModules()
      vi.doMock("node:net", () => ({ ...Net, Socket, default: Net }))
      const elsewhere = yield* Effect.promise(() => import("../src/internal/readInPlace.ts"))
      vi.doUnmock("node:net")
      const [, accepted] = yield* pair
      assert.isTrue(accepted instanceof Socket)
      assert.isFalse(elsewhere.readInPlace(accepted, { receive: () => {} }))
      assert.isTrue(readInPlace(accepted, { receive: () => {} }))
    }))
})

const kinds = {
  TCP: { make: transports.tcp, inPlace: true },
  "a unix socket": { make: transports.unix, inPlace: true },
  TLS: { make: transports.tls(identity, { ca: identity.cert }), inPlace: false }
}

/** Opens a connection, and tells what it listens by and whether a listener was given what arrived. */
const observe = Effect.fnUntraced(function*(make: Parameters<typeof TransportContract.fromServer>[0]) {
  const { client, server } = yield* TransportContract.fromServer(make)
  const pull = yield* Transport.readerBytes(client)
  const writer = yield* (yield* server).writer
  let told = ""
  Transport.listenUnsafe(client)((chunk) => {
    told += String.fromCharCode(...chunk)
    return true
  })
  const pulling = yield* Effect.forkChild(pull)
  yield* Effect.yieldNow
  yield* writer.write("hello")
  yield* Effect.repeat(nextTurn, { until: () => told === "hello" || pulling.pollUnsafe() !== undefined })
  yield* Fiber.interrupt(pulling)
  return { told, dataListeners: NodeTransport.streamOf(client)?.listenerCount("data") }
})

describe("sockets that are read in place", () => {
  it.live.each(Object.entries(kinds))(
    "%s: by a listener, and by data events where it cannot be",
    ([, kind]) =>
      Effect.gen(function*() {
        const { dataListeners, told } = yield* observe(kind.make)
        assert.strictEqual(told, "hello")
        assert.strictEqual(dataListeners, kind.inPlace ? 0 : 1)
      })
  )
})

describe("sockets that cannot be read in place", () => {
  const hidden: Array<readonly [object, PropertyDescriptor]> = []

  beforeAll(() => {
    for (const socket of [Net.connect(1, "127.0.0.1"), Net.connect("/nowhere")]) {
      const prototype = prototypeOf(socket.on("error", () => {}))
      socket.destroy()
      const own = Object.getOwnPropertyDescriptor(prototype, "useUserBuffer")
      if (own?.value === undefined) continue
      hidden.push([prototype, own])
      Object.defineProperty(prototype, "useUserBuffer", { ...own, value: undefined })
    }
    assert.isNotEmpty(hidden)
  })

  afterAll(() => {
    for (const [prototype, own] of hidden) Object.defineProperty(prototype, "useUserBuffer", own)
  })

  it.live.each(Object.entries(kinds))(
    "%s is read by data events, which a listener is told of",
    ([, { make }]) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* observe(make), { told: "hello", dataListeners: 1 })
      })
  )

  contract("keep the contract over TCP", transports.tcp)
  contract("keep the contract over a unix socket", transports.unix)
})
