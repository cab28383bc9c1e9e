import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as HttpUpgrade from "effect-websocket/HttpUpgrade"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as References from "effect/References"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { bytes, close, settled, text } = Scripted

const head = Result.getOrThrow(
  HttpHead.makeParser("request", WebSocketConfig.defaults).push(bytes(Scripted.requestHead()))!
).head

type Route = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest | Scope.Scope
>

/** An HTTP server without HTTP: its requests come in one by one. */
const serve = Effect.fnUntraced(function*(config: WebSocketConfig.Options = {}) {
  const upgrades = yield* HttpUpgrade.make({ config: { drainRetryAfter: "off", ...config } })
  const request = Effect.fnUntraced(function*(route: Route) {
    const [other, own] = yield* MemoryTransport.makePair()
    const peer = yield* Scripted.open("client", other)
    let taken = false
    const take = Effect.suspend(() => {
      taken = true
      return Effect.succeed(own)
    })
    const handover: HttpUpgrade.Handover = { head, peerAddress: undefined, secure: false, take }
    const answers: Array<number> = []
    const respond = (_: unknown, { status }: HttpServerResponse.HttpServerResponse) =>
      Effect.sync(() => void answers.push(status))
    const fiber = yield* HttpEffect.toHandled(upgrades.offer(handover, route), respond).pipe(
      Effect.provideService(
        HttpServerRequest.HttpServerRequest,
        HttpServerRequest.fromWeb(new Request("http://example.com/chat"))
      ),
      Effect.forkChild
    )
    yield* settled
    return { answers, fiber, peer, isTaken: () => taken }
  })
  const dial = Effect.fnUntraced(function*(route: Route) {
    const requested = yield* request(route)
    const { head, rest } = yield* Scripted.takeHead(requested.peer)
    yield* requested.peer.read([rest])
    return { ...requested, head }
  })
  return { upgrades, request, dial }
})

const readAll = Effect.flatMap(WebSocketStream, (stream) => Effect.forever(stream.read))

const leaves = Effect.fnUntraced(function*(peer: Scripted.Peer, code: number) {
  yield* peer.send(close(code))
  yield* peer.end
})

describe("a route", () => {
  it.effect("answers 101 by the connection, and gives it to the handler", () =>
    Effect.gen(function*() {
      const { dial, upgrades } = yield* serve()
      const echo = Effect.flatMap(WebSocketStream, (stream) =>
        Effect.flatMap(stream.read, (message) => stream.write(message)))
      const { answers, fiber, head, peer } = yield* dial(HttpUpgrade.upgrade(echo))
      assert.match(head, /^HTTP\/1.1 101 Switching Protocols\r\n/)
      assert.strictEqual(yield* upgrades.connections, 1)
      yield* peer.send(text("hi"))
      assert.strictEqual(yield* peer.next, "text hi")
      assert.strictEqual(yield* peer.next, "close 1000")
      assert.deepStrictEqual(answers, [])
      yield* leaves(peer, 1000)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(answers, [101])
      assert.strictEqual(yield* upgrades.connections, 0)
    }))

  it.effect("gives up on a decision after handshakeTimeout, its own before the server's", () =>
    Effect.gen(function*() {
      const { request } = yield* serve({ handshakeTimeout: "1 hour" })
      const accept = () => Effect.never
      const config = { handshakeTimeout: "3 seconds" } as const
      const { answers, isTaken } = yield* request(HttpUpgrade.upgrade(readAll, { accept, config }))
      yield* TestClock.adjust(2999)
      assert.deepStrictEqual(answers, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(answers, [408])
      assert.isFalse(isTaken())
    }))

  it.effect("answers 500 when the decision dies, or is one that cannot be sent", () =>
    Effect.gen(function*() {
      const { request } = yield* serve()
      const died = yield* request(HttpUpgrade.upgrade(readAll, { accept: () => Effect.die("oops") }))
      const reserved = () => Effect.succeed({ headers: { Upgrade: "h2c" } })
      const unsent = yield* request(HttpUpgrade.upgrade(readAll, { accept: reserved }))
      const unoffered = yield* request(
        HttpUpgrade.upgrade(readAll, { accept: () => Effect.succeed({ subprotocol: "x" }) })
      )
      const refused = () => new WebSocketServer.Refusal({ status: 200 })
      const allowed = yield* request(HttpUpgrade.upgrade(readAll, { accept: refused }))
      for (const { answers, isTaken } of [died, unsent, unoffered, allowed]) {
        assert.deepStrictEqual(answers, [500])
        assert.isFalse(isTaken())
      }
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))

  it.effect("is interrupted with its request, before and after the 101", () =>
    Effect.gen(function*() {
      const { dial, request, upgrades } = yield* serve()
      const deciding = yield* request(HttpUpgrade.upgrade(readAll, { accept: () => Effect.never }))
      yield* Fiber.interrupt(deciding.fiber)
      assert.isFalse(deciding.isTaken())
      const open = yield* dial(HttpUpgrade.upgrade(readAll))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(open.fiber))
      assert.strictEqual(yield* open.peer.next, "close 1001")
      yield* leaves(open.peer, 1001)
      yield* Fiber.join(interrupting)
      assert.strictEqual(yield* upgrades.connections, 0)
    }))
})

describe("limits", () => {
  it.effect("one connection more than maxConnections is refused with 503, decided about already or not", () =>
    Effect.gen(function*() {
      const { dial, request } = yield* serve({ maxConnections: 1 })
      let decide = () => {}
      const accept = () => Effect.callback<{}>((resume) => void (decide = () => resume(Effect.succeed({}))))
      const decided = yield* request(HttpUpgrade.upgrade(readAll, { accept }))
      const first = yield* dial(HttpUpgrade.upgrade(readAll))
      decide()
      yield* settled
      assert.deepStrictEqual(decided.answers, [503])
      assert.isFalse(decided.isTaken())
      assert.deepStrictEqual((yield* request(HttpUpgrade.upgrade(readAll))).answers, [503])
      yield* leaves(first.peer, 1000)
      yield* Fiber.join(first.fiber)
      assert.include((yield* dial(HttpUpgrade.upgrade(readAll))).head, " 101 ")
    }))

  it.effect("one decision more than maxHandshakes is refused with 503", () =>
    Effect.gen(function*() {
      const { dial, request } = yield* serve({ maxHandshakes: 1 })
      const deciding = yield* request(HttpUpgrade.upgrade(readAll, { accept: () => Effect.never }))
      assert.deepStrictEqual((yield* request(HttpUpgrade.upgrade(readAll))).answers, [503])
      yield* Fiber.interrupt(deciding.fiber)
      assert.include((yield* dial(HttpUpgrade.upgrade(readAll))).head, " 101 ")
    }))
})

describe("HttpServerRequest.upgrade", () => {
  it.effect("that finds no room when its reader is acquired has the request answered with 503", () =>
    Effect.gen(function*() {
      const { dial, request } = yield* serve({ maxConnections: 1 })
      const ready = yield* Deferred.make<void>()
      const errors: Array<unknown> = []
      const route = Effect.gen(function*() {
        const socket = yield* Effect.orDie((yield* HttpServerRequest.HttpServerRequest).upgrade)
        yield* Deferred.await(ready)
        errors.push(yield* Effect.orDie(Effect.flip(socket.reader)))
        return HttpServerResponse.text("whatever")
      })
      const slow = yield* request(route)
      yield* dial(HttpUpgrade.upgrade(readAll))
      yield* Deferred.succeed(ready, undefined)
      yield* settled
      assert.deepStrictEqual(slow.answers, [503])
      assert.isFalse(slow.isTaken())
      assert.lengthOf(errors, 1)
    }))
})

describe("draining", () => {
  it.effect("is over at once when nothing is open", () =>
    Effect.gen(function*() {
      const { upgrades } = yield* serve()
      yield* upgrades.drain
    }))

  it.effect("tells every peer and whoever is decided about, and ends when the last handler has", () =>
    Effect.gen(function*() {
      const { dial, request, upgrades } = yield* serve()
      const work = Effect.andThen(Effect.exit(readAll), Effect.sleep("3 seconds"))
      const open = [yield* dial(HttpUpgrade.upgrade(work)), yield* dial(HttpUpgrade.upgrade(work))]
      const deciding = yield* request(HttpUpgrade.upgrade(work, { accept: () => Effect.never }))
      const draining = yield* Effect.forkChild(upgrades.drain)
      for (const { peer } of open) {
        assert.strictEqual(yield* peer.next, "close 1001")
        yield* leaves(peer, 1001)
      }
      yield* settled
      assert.deepStrictEqual(deciding.answers, [503])
      assert.deepStrictEqual((yield* request(HttpUpgrade.upgrade(work))).answers, [503])
      yield* TestClock.adjust(2999)
      assert.isUndefined(draining.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(draining)
    }))

  it.effect("waits for drainTimeout and no longer", () =>
    Effect.gen(function*() {
      const { dial, upgrades } = yield* serve({ drainTimeout: "7 seconds" })
      const { peer } = yield* dial(HttpUpgrade.upgrade(Effect.never))
      const draining = yield* Effect.forkChild(Effect.andThen(upgrades.drain, Clock.currentTimeMillis))
      assert.strictEqual(yield* peer.next, "close 1001")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(draining), 7000)
    }))
})
