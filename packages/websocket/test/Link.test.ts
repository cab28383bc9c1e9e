import type * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { PackedHandshake } from "../src/internal/heads.ts"
import * as Link from "../src/internal/link.ts"

/** An endpoint that tells what is done to it. */
const makeEndpoint = () => {
  const log: Array<string> = []
  const tell = (what: string) => Effect.sync(() => void log.push(what))
  const endpoint: Transport.Endpoint = {
    pull: Effect.as(tell("pull"), [Uint8Array.of(1)] as const),
    write: (chunk) => tell(typeof chunk === "object" && !(chunk instanceof Uint8Array) ? "destroy" : "write"),
    writeAll: () => tell("writeAll"),
    end: tell("end"),
    close: tell("close")
  }
  return { endpoint, log }
}

describe("Transport.endpointOf", () => {
  it("gives the endpoint of a connection that is open already, and of no other", () => {
    const { endpoint } = makeEndpoint()
    const accepted = Transport.fromEndpoint(endpoint)
    assert.strictEqual(Transport.endpointOf(accepted), endpoint)
    assert.isUndefined(Transport.endpointOf({ ...accepted }), "what is made of it may have another reader")
    assert.isUndefined(Transport.endpointOf(Transport.make(Effect.succeed(endpoint))))
  })

  it.effect("what it gives is what the reader and the writer of the connection are", () =>
    Effect.gen(function*() {
      const { endpoint, log } = makeEndpoint()
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = Transport.fromEndpoint(endpoint)
        const { pull } = yield* connection.reader
        const writer = yield* connection.writer
        yield* pull
        yield* writer.write(Uint8Array.of(2))
      }))
      assert.deepStrictEqual(log, ["pull", "write", "end", "close"])
    }))
})

describe("a link", () => {
  it.effect.each([true, false])(
    "is used and let go of in the same way, with an endpoint: %s",
    (hasEndpoint) =>
      Effect.gen(function*() {
        const { endpoint, log } = makeEndpoint()
        const accepted = Transport.fromEndpoint(endpoint)
        const connection = hasEndpoint ? accepted : { ...accepted }
        const link = yield* Link.using(connection, Effect.succeed)
        yield* link.pull
        yield* link.writer.write(Uint8Array.of(1))
        yield* link.halfClose
        assert.deepStrictEqual(log, ["pull", "write", "end"])
        yield* link.release
        assert.include(log, "close")
        const aborted = yield* Link.using(connection, Effect.succeed)
        log.length = 0
        yield* aborted.abort
        assert.strictEqual(log[0], "destroy")
        assert.include(log, "close")
      })
  )

  it.effect.each([true, false])(
    "is let go of where its use fails, with an endpoint: %s",
    (hasEndpoint) =>
      Effect.gen(function*() {
        const { endpoint, log } = makeEndpoint()
        const accepted = Transport.fromEndpoint(endpoint)
        const exit = yield* Effect.exit(
          Link.using(hasEndpoint ? accepted : { ...accepted }, () => Effect.fail("refused" as const))
        )
        assert.deepStrictEqual(exit, Exit.fail("refused" as const))
        assert.include(log, "close")
      })
  )

  it.effect("of a transport in memory carries bytes both ways", () =>
    Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const [ours, theirs] = [yield* Link.using(own, Effect.succeed), yield* Link.using(other, Effect.succeed)]
      yield* ours.writer.write(Uint8Array.of(1, 2))
      assert.deepStrictEqual(Array.from((yield* theirs.pull)[0]), [1, 2])
      yield* theirs.writer.write(Uint8Array.of(3))
      assert.deepStrictEqual(Array.from((yield* ours.pull)[0]), [3])
      yield* ours.abort
      yield* theirs.release
    }))
})

describe("PackedHandshake", () => {
  const all: ReadonlyArray<HttpHead.Headers> = [
    [],
    [["Host", "example.com"]],
    [["Set-Cookie", "a=1"], ["set-cookie", "b=2; Path=/"], ["X-Empty", ""], ["X", "\t \u00e9\u0080\u00ff: , x"]]
  ]

  it.each(all)("gives back the heads as they were, %#", (...headers) => {
    for (const version of ["HTTP/1.1", "HTTP/2"]) {
      const handshake = {
        request: { method: "GET", target: "/a?b=c d", version, headers },
        response: { version, status: 101, reason: "", headers },
        subprotocol: "chat",
        extensions: [{ name: "x", params: [] }],
        peerAddress: undefined
      } as const
      const packed = new PackedHandshake(handshake as never, handshake)
      for (let look = 0; look < 2; look++) {
        assert.deepStrictEqual(packed.request, handshake.request as never)
        assert.deepStrictEqual(packed.response, handshake.response as never)
      }
      assert.deepStrictEqual([packed.subprotocol, packed.extensions, packed.peerAddress], [
        "chat",
        handshake.extensions,
        undefined
      ])
    }
  })
})
