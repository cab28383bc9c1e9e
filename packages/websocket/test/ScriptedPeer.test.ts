import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

const { binary, close, continuation, encode, ping, pong, text } = ScriptedPeer

const roles = ["client", "server"] as const

const otherOf = (role: ScriptedPeer.Role): ScriptedPeer.Role => role === "client" ? "server" : "client"

/** A scripted peer, and the bytes at the other end. */
const open = Effect.fnUntraced(function*(role: ScriptedPeer.Role) {
  const [client, server] = yield* MemoryTransport.makePair()
  const [own, other] = role === "client" ? [client, server] : [server, client]
  const peer = yield* ScriptedPeer.make(role, own)
  const writer: Transport.Writer = yield* other.writer
  return { peer, pull: yield* Transport.readerBytes(other), writer }
})

describe.each(roles)("a scripted %s", (role) => {
  it.effect("sends exactly what it is told, in one write, frames masked by a client only", () =>
    Effect.gen(function*() {
      const { peer, pull } = yield* open(role)
      yield* peer.send(text("hi"), Uint8Array.of(1, 2, 3), { ...ping("p"), fin: false, rsv: 0x70 })
      const mask = role === "client" ? 0x80 : 0
      const key = role === "client" ? [1, 2, 3, 4] : []
      const masked = (payload: string) =>
        Array.from(payload, (character, at) => character.charCodeAt(0) ^ (key[at % 4] ?? 0))
      const first = [0x81, 2 | mask, ...key, ...masked("hi")]
      const last = [0x79, 1 | mask, ...key, ...masked("p")]
      const chunks = yield* pull
      assert.deepStrictEqual(chunks.map((chunk) => Array.from(chunk)), [[...first, 1, 2, 3, ...last]])
    }))

  it.effect("tells each frame that it is sent, what is none, and how the transport ends", () =>
    Effect.gen(function*() {
      const { peer, writer } = yield* open(role)
      yield* peer.read()
      const frames = [
        text("hi"),
        text("", false),
        continuation("lo"),
        binary(Uint8Array.of(1, 255)),
        binary(new Uint8Array(64)),
        binary(new Uint8Array(65)),
        ping("a"),
        pong(),
        close(),
        close(1000, "bye")
      ]
      for (const frame of frames) yield* writer.write(encode(otherOf(role), frame))
      yield* writer.write(Uint8Array.of(0x83, 0))
      const lines = [
        "text hi",
        "text-",
        "cont lo",
        "binary 01ff",
        `binary ${"00".repeat(64)}`,
        "binary 65 bytes",
        "ping a",
        "pong",
        "close",
        "close 1000 bye",
        "broken ReservedOpcode"
      ]
      yield* peer.expect(...lines)
      yield* Transport.destroy(writer)
      yield* peer.expect("reset")
      assert.deepStrictEqual(peer.seen, [...lines, "reset"])
    }))

  it.effect("fails where it is sent something else than it expects", () =>
    Effect.gen(function*() {
      const { peer, writer } = yield* open(role)
      yield* peer.read()
      yield* writer.write(encode(otherOf(role), text("hi")))
      const error = yield* Effect.flip(peer.expect("text ho"))
      assert.strictEqual(error._tag, "Unexpected")
      assert.strictEqual(error.message, `Expected ["text ho"] and was sent ["text hi"]`)
    }))

  for (
    const [name, end] of [
      ["end", "PeerEnded"],
      ["leave", "PeerEnded"],
      ["destroy", "Failed"]
    ] as const
  ) {
    it.effect(`${name} ends the connection as ${end}`, () =>
      Effect.gen(function*() {
        const { peer, pull } = yield* open(role)
        yield* peer[name]
        assert.strictEqual(Transport.endOf(yield* Effect.flip(pull)), end)
      }))
  }

  it.effect("does its part of the handshake, and reads what comes behind the other's head", () =>
    Effect.gen(function*() {
      const [client, server] = yield* MemoryTransport.makePair()
      const [own, other] = role === "client" ? [client, server] : [server, client]
      const peer = yield* Effect.forkChild(ScriptedPeer.connect(role, own))
      const answering = yield* ScriptedPeer.make(otherOf(role), other)
      yield* ScriptedPeer.handshake(answering)
      yield* answering.send(text("behind"))
      const { next } = yield* Fiber.join(peer)
      assert.strictEqual(yield* next, "text behind")
    }))
})

const dial = WebSocketClient.connect({ url: "ws://localhost/" })

describe("a scripted server that accepts", () => {
  it.effect("meets a client of the library", () =>
    Effect.gen(function*() {
      const accept = yield* ScriptedPeer.accepting
      const [stream, peer] = yield* Effect.all([dial, accept], { concurrency: 2 })
      yield* stream.write("hello")
      yield* peer.expect("text hello")
      yield* peer.send(continuation("of nothing"))
      assert.strictEqual((yield* Effect.flip(stream.read)).reason._tag, "ProtocolViolation")
      yield* peer.leave
    }).pipe(Effect.provide(MemoryTransport.layer())))

  it.effect("takes one connection after the other, also those that came before it asked", () =>
    Effect.gen(function*() {
      const accept = yield* ScriptedPeer.accepting
      const dialling = yield* Effect.forkChild(Effect.all([dial, dial], { concurrency: 2 }), { startImmediately: true })
      const peers = [yield* accept, yield* accept] as const
      const streams = yield* Fiber.join(dialling)
      for (const [index, stream] of streams.entries()) {
        yield* stream.write(`from ${index}`)
        yield* peers[index]!.expect(`text from ${index}`)
        yield* peers[index]!.leave
      }
    }).pipe(Effect.provide(MemoryTransport.layer())))

  it.effect("lets go of its connections with its scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const accept = yield* Scope.provide(ScriptedPeer.accepting, scope)
      const [stream] = yield* Effect.all([dial, Scope.provide(accept, scope)], { concurrency: 2 })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* stream.closed).code, 1006)
    }).pipe(Effect.provide(MemoryTransport.layer())))
})
