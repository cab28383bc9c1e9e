import { assert, describe, it } from "@effect/vitest"
import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import * as FaultTransport from "effect-websocket/testing/FaultTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketError from "effect-websocket/WebSocketError"
import type { Payload } from "effect-websocket/WebSocketStream"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Network from "./fixtures/network.ts"
import * as Scripted from "./fixtures/scripted.ts"

const { close, settled, text } = Scripted

type Peer = Scripted.Peer
type State<E = WebSocketError.HandshakeError> = ReconnectingWebSocket.State<E>

const config = { closeTimeout: 100 }
const second = Schedule.spaced("1 second")

/** Holds on to the connections it accepts, for the test to play the server. */
const accepting = () => {
  const peers: Array<Peer> = []
  const accept = (peer: Peer) => {
    peers.push(peer)
    return Effect.andThen(peer.read(), Effect.never)
  }
  const hold = (peer: Peer) => {
    peers.push(peer)
    return Effect.never
  }
  return { peers, accept, hold }
}

/** Says these messages and closes with `code`. */
const says = (messages: ReadonlyArray<string>, code: number, reason = ""): Network.Answer => (peer) =>
  Effect.andThen(
    peer.send(...messages.map((message) => text(message)), close(code, reason)),
    Effect.andThen(peer.read(), Effect.andThen(peer.next, peer.end))
  )

type Options = Omit<ReconnectingWebSocket.Options<never, never, unknown>, "connect">

/** A reconnecting client in a scope of its own, and a network that answers as `answers` say, and then accepts. */
const begin = Effect.fnUntraced(function*(
  answers: ReadonlyArray<Network.Answer | "hold"> = [],
  options: Options = {}
) {
  const { accept, hold, peers } = accepting()
  const { dialer, requests } = yield* Network.make((_, index) => {
    const answer = answers[index] ?? accept
    return answer === "hold" ? hold : answer
  })
  const scope = yield* Scope.fork(yield* Effect.scope)
  let token = 0
  const connect = WebSocketClient.dial(Effect.sync(() => {
    token++
    return {
      url: `ws://h/${token}`,
      headers: { Authorization: `Bearer ${token}` },
      cookies: { session: `${token}` },
      subprotocols: [`v${token}`],
      config
    }
  }))
  const socket = yield* ReconnectingWebSocket.make(
    { connect, schedule: second, ...options } as ReconnectingWebSocket.Options<
      WebSocketError.HandshakeError,
      Transport.TransportDialer | Scope.Scope,
      never
    >
  ).pipe(Effect.provideService(Transport.TransportDialer, dialer), Scope.provide(scope))
  const states: Array<State> = []
  yield* Effect.forkChild(Stream.runForEach(socket.stateChanges, (state) => Effect.sync(() => states.push(state))))
  // A peer that answers no Close frame would be waited for.
  yield* Effect.addFinalizer(() => Effect.forEach(peers, (peer) => peer.destroy))
  yield* settled
  return {
    socket,
    peers,
    requests,
    scope,
    states,
    leave: (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit)
  }
})

const describeState = (state: State): string => {
  switch (state._tag) {
    case "Connecting":
      return `connecting ${state.attempt}`
    case "Waiting":
      return `waiting ${Duration.toMillis(state.delay)} for ${state.attempt}`
    case "Ended":
      return `ended ${reasonOf(Cause.squash(state.cause))}`
    default:
      return state._tag.toLowerCase()
  }
}

const reasonOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null || !("reason" in error)) return String(error)
  const reason = error.reason as WebSocketError.ReadError["reason"]
  return reason._tag === "ConnectionClosed" ? `closed ${reason.status.code}` : reason._tag
}

const failure = <A, R>(effect: Effect.Effect<A, unknown, R>) => Effect.map(Effect.flip(effect), reasonOf)

const collect = Effect.fnUntraced(function*<E>(messages: Stream.Stream<Payload, E>) {
  const seen: Array<Payload | string> = []
  const fiber = yield* messages.pipe(
    Stream.runForEach((message) => Effect.sync(() => seen.push(message))),
    Effect.catch((error) => Effect.sync(() => seen.push(`! ${reasonOf(error)}`))),
    Effect.forkChild
  )
  yield* settled
  return { seen, fiber }
})

describe("a connection that ends is followed by another", () => {
  it.effect("who watches before the first attempt begins is told of it once", () =>
    Effect.gen(function*() {
      const connect = Effect.fail("refused")
      const socket = yield* ReconnectingWebSocket.make({ connect, schedule: Schedule.recurs(0) })
      const watching = yield* Effect.forkChild(Stream.runCollect(socket.stateChanges), { startImmediately: true })
      assert.deepStrictEqual((yield* Fiber.join(watching)).map(({ _tag }) => _tag), ["Connecting", "Ended"])
    }))

  it.effect("leaving while the peer closes tells of the closing once", () =>
    Effect.gen(function*() {
      const { leave, peers, states } = yield* begin()
      yield* peers[0]!.send(close(1001))
      yield* settled
      assert.strictEqual(states.at(-1)?._tag, "Closing")
      const leaving = yield* Effect.forkChild(leave(Exit.void))
      yield* settled
      yield* TestClock.adjust(2 * config.closeTimeout)
      yield* Fiber.join(leaving)
      assert.deepStrictEqual(states.map(({ _tag }) => _tag), ["Connecting", "Open", "Closing", "Ended"])
    }))

  it.effect("and every state on the way is told, from the current one on", () =>
    Effect.gen(function*() {
      const { peers, socket, states } = yield* begin(["cut", "cut"])
      yield* TestClock.adjust("2 seconds")
      yield* settled
      yield* peers[0]!.send(close(1012))
      yield* settled
      yield* peers[0]!.end
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* settled
      assert.deepStrictEqual(states.map(describeState), [
        "connecting 1",
        "waiting 1000 for 2",
        "connecting 2",
        "waiting 1000 for 3",
        "connecting 3",
        "open",
        "closing",
        "waiting 1000 for 4",
        "connecting 4",
        "open"
      ])
      assert.strictEqual((yield* socket.state)._tag, "Open")
      const late = yield* Stream.runHead(socket.stateChanges)
      assert.deepInclude(late, { _tag: "Some" })
    }))

  it.effect("with URL, headers, cookies and subprotocols that are evaluated for each attempt", () =>
    Effect.gen(function*() {
      const { requests } = yield* begin(["cut", says([], 1001)])
      yield* TestClock.adjust("2 seconds")
      yield* settled
      const lines = (n: number) => [
        `GET /${n} HTTP/1.1`,
        "Host: h",
        `Sec-WebSocket-Protocol: v${n}`,
        `Authorization: Bearer ${n}`,
        `Cookie: session=${n}`
      ]
      assert.deepStrictEqual(requests, [1, 2, 3].map((n) => ({ url: `ws://h/${n}`, lines: lines(n) })))
    }))

  it.effect("until it ends for good: then all fails with the last failure, and the states end", () =>
    Effect.gen(function*() {
      const { socket, states } = yield* begin(["cut", ["HTTP/1.1 401 No"]])
      const waiting = yield* Effect.forkChild(failure(socket.current))
      const messages = yield* collect(socket.messages)
      yield* TestClock.adjust("1 second")
      yield* settled
      assert.strictEqual(yield* Fiber.join(waiting), "UpgradeDeclined")
      assert.strictEqual(yield* failure(socket.current), "UpgradeDeclined")
      assert.strictEqual(yield* failure(socket.write("x")), "UpgradeDeclined")
      assert.strictEqual(yield* failure(Stream.runDrain(socket.messages)), "UpgradeDeclined")
      assert.deepStrictEqual(messages.seen, ["! UpgradeDeclined"])
      assert.strictEqual(describeState(states.at(-1)!), "ended UpgradeDeclined")
      assert.strictEqual((yield* Stream.runCollect(socket.stateChanges)).length, 1)
    }))

  it.effect("a defect ends it too, and is everyone's", () =>
    Effect.gen(function*() {
      const socket = yield* ReconnectingWebSocket.make({ connect: Effect.die("defect") })
      yield* settled
      const exit = yield* Effect.exit(socket.current)
      assert.deepStrictEqual(exit, Exit.die("defect"))
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(socket.messages)), Exit.die("defect"))
    }))

  it.effect("an attempt that interrupts itself ends it, and nobody waits for ever", () =>
    Effect.gen(function*() {
      const socket = yield* ReconnectingWebSocket.make({ connect: Effect.interrupt })
      yield* settled
      assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(socket.current)))
    }))
})

describe("leaving the scope", () => {
  it.effect.each(
    [
      ["success", Exit.void, "close 1000"],
      ["failure", Exit.fail("x"), "close 1011"],
      ["interruption", Exit.interrupt(), "close 1001"]
    ] as ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, string]>
  )("closes by what it was left with: %s", ([_, exit, line]) =>
    Effect.gen(function*() {
      const { leave, peers, requests, socket, states } = yield* begin()
      const messages = yield* collect(socket.messages)
      const leaving = yield* Effect.forkChild(leave(exit))
      assert.strictEqual(yield* peers[0]!.next, line)
      yield* peers[0]!.send(close(Number(line.slice(6))))
      yield* peers[0]!.end
      yield* Fiber.join(leaving)
      yield* TestClock.adjust("1 hour")
      yield* settled
      assert.strictEqual(requests.length, 1)
      const code = line.slice(6)
      assert.deepStrictEqual(states.map(describeState), ["connecting 1", "open", "closing", `ended closed ${code}`])
      assert.deepStrictEqual(messages.seen, [`! closed ${code}`])
      assert.strictEqual(yield* failure(socket.write("x")), `closed ${code}`)
    }))

  it.effect("while it waits: who waits for a connection is told, and no attempt follows", () =>
    Effect.gen(function*() {
      const { leave, requests, socket, states } = yield* begin(["cut"])
      const waiting = yield* Effect.forkChild(failure(socket.write("x")))
      yield* leave(Exit.void)
      assert.strictEqual(yield* Fiber.join(waiting), "closed 1006")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(requests.length, 1)
      yield* settled
      assert.deepStrictEqual(states.map(describeState).at(-1), "ended closed 1006")
    }))

  it.effect("at any moment leaves no deadline and no transport behind", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 60; turns++) {
        const scope = yield* Scope.make()
        const program = Effect.gen(function*() {
          const { dialer } = yield* Network.make(() => says(["hello"], 1012))
          const socket = yield* ReconnectingWebSocket.make({
            connect: WebSocketClient.dial({ url: "ws://h/", config }),
            schedule: second
          }).pipe(Effect.provideService(Transport.TransportDialer, dialer))
          yield* Effect.forkScoped(Effect.ignore(Stream.runDrain(socket.messages)))
        })
        yield* Scope.provide(program, scope)
        yield* Effect.replicateEffect(Effect.yieldNow, turns)
        const leaving = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust(1000)
        yield* Fiber.join(leaving)
        assert.strictEqual(yield* Scripted.deadlines, 0, `after ${turns} turns`)
      }
    }))
})

describe("write", () => {
  it.effect("waits for a connection, and for the next while one ends", () =>
    Effect.gen(function*() {
      const { peers, socket } = yield* begin(["cut"])
      const first = yield* Effect.forkChild(socket.write("first"))
      yield* settled
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(first), 5)
      yield* peers[0]!.send(close(1001))
      yield* settled
      // Closing: the peer has not ended its transport yet
      assert.strictEqual((yield* socket.state)._tag, "Closing")
      const second = yield* Effect.forkChild(socket.write("second"))
      yield* peers[0]!.end
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(second)
      yield* settled
      assert.deepStrictEqual(peers.map(({ seen }) => seen.slice(0, 2)), [["text first", "close 1001"], ["text second"]])
    }))

  it.effect("under which the connection ends fails, and the message is not sent again", () =>
    Effect.gen(function*() {
      const { peers, socket } = yield* begin(["hold"])
      const long = yield* Effect.forkChild(failure(socket.write("x".repeat(1_000_000))))
      yield* settled
      assert.isUndefined(long.pollUnsafe())
      yield* peers[0]!.destroy
      assert.strictEqual(yield* Fiber.join(long), "TransportFailed")
      yield* TestClock.adjust("2 seconds")
      yield* settled
      yield* socket.write("next")
      yield* settled
      assert.deepStrictEqual(peers[1]!.seen, ["text next"])
    }))

  it.effect("what may not be sent is refused as by one connection", () =>
    Effect.gen(function*() {
      const { socket } = yield* begin()
      assert.strictEqual(yield* failure(socket.write("\ud800")), "InvalidPayload")
    }))
})

describe("messages", () => {
  it.effect("come from one connection after another, and fail with what ended the last", () =>
    Effect.gen(function*() {
      const { socket } = yield* begin([says(["a", "b"], 1001), "cut", says([], 1012), says(["c"], 1000)])
      const { seen } = yield* collect(socket.messages)
      yield* TestClock.adjust("3 seconds")
      yield* settled
      assert.deepStrictEqual(seen, ["a", "b", "c", "! closed 1000"])
    }))

  it.effect("that nobody has read when the next connection opens come first", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { socket } = yield* begin([says(["a", "b"], 1001), says(["c", "d"], 1001), says(["e"], 1001)])
      const seen: Array<Payload> = []
      const reading = yield* socket.messages.pipe(
        Stream.take(5),
        Stream.runForEach((message) => {
          seen.push(message)
          return Deferred.await(gate)
        }),
        Effect.forkChild
      )
      yield* TestClock.adjust("3 seconds")
      yield* settled
      assert.strictEqual((yield* socket.state)._tag, "Open")
      assert.deepStrictEqual(seen, ["a"])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(reading)
      assert.deepStrictEqual(seen, ["a", "b", "c", "d", "e"])
    }))

  it.effect("that arrived before anybody asked are there, though their connection has ended", () =>
    Effect.gen(function*() {
      const { socket } = yield* begin([says(["a", "b"], 1000)])
      yield* settled
      assert.strictEqual((yield* socket.state)._tag, "Ended")
      const first = yield* socket.messages.pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(first, ["a"])
      const { seen } = yield* collect(socket.messages)
      assert.deepStrictEqual(seen, ["b", "! closed 1000"])
    }))

  it.effect("are shared by those who run it", () =>
    Effect.gen(function*() {
      const { peers, socket } = yield* begin()
      const readers = [yield* collect(socket.messages), yield* collect(socket.messages)]
      yield* peers[0]!.send(text("a"), text("b"), text("c"), text("d"))
      yield* settled
      assert.deepStrictEqual(readers.flatMap(({ seen }) => seen).toSorted(), ["a", "b", "c", "d"])
    }))

  it.effect("of 16 connections wait for a slow reader, and one more is MessagesMissed behind them", () =>
    Effect.gen(function*() {
      for (const count of [16, 17]) {
        const gate = yield* Deferred.make<void>()
        const { socket } = yield* begin(Array.from({ length: count + 1 }, (_, n) => says([`${n}`], 1001)))
        const seen: Array<Payload> = []
        const reading = yield* socket.messages.pipe(
          Stream.runForEach((message) => {
            seen.push(message)
            return Deferred.await(gate)
          }),
          Effect.flip,
          Effect.forkChild
        )
        yield* settled
        for (let n = 0; n < count; n++) {
          yield* TestClock.adjust("1 second")
          yield* settled
        }
        yield* Deferred.succeed(gate, undefined)
        yield* settled
        assert.deepStrictEqual(seen, Array.from({ length: 17 }, (_, n) => `${n}`))
        assert.strictEqual(reading.pollUnsafe() === undefined, count === 16)
        if (count === 17) assert.deepInclude(yield* Fiber.join(reading), { _tag: "MessagesMissed", connections: 16 })
      }
    }))

  it.effect("left unread are let go of with the connection: its scope closes when the next has opened", () =>
    Effect.gen(function*() {
      const closed: Array<number> = []
      const { dialer } = yield* Network.make((_, index) => says(["a"], index < 2 ? 1001 : 1000))
      let attempts = 0
      const scope = yield* Scope.make()
      const connect = Effect.gen(function*() {
        const attempt = ++attempts
        yield* Effect.addFinalizer(() => Effect.sync(() => closed.push(attempt)))
        return yield* WebSocketClient.dial({ url: "ws://h/", config })
      })
      const socket = yield* ReconnectingWebSocket.make({ connect, schedule: second }).pipe(
        Effect.provideService(Transport.TransportDialer, dialer),
        Scope.provide(scope)
      )
      const reading = yield* Effect.forkChild(Effect.ignore(
        Stream.runForEach(socket.messages, () => attempts === 1 ? Effect.never : Effect.void)
      ))
      yield* settled
      yield* TestClock.adjust("2 seconds")
      yield* settled
      assert.deepStrictEqual(closed, [])
      yield* Fiber.interrupt(reading)
      assert.deepStrictEqual(closed, [1, 2])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(closed, [1, 2, 3])
    }))
})

describe("onOpen", () => {
  it.effect("runs with each connection before anybody else is given it", () =>
    Effect.gen(function*() {
      const { peers, requests, socket } = yield* begin([], { onOpen: (stream) => stream.write("subscribe") })
      yield* socket.write("a")
      yield* peers[0]!.send(close(1001))
      yield* peers[0]!.end
      yield* settled
      const waiting = yield* Effect.forkChild(socket.write("b"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      yield* settled
      assert.strictEqual(requests.length, 2)
      assert.deepStrictEqual(peers.map(({ seen }) => seen.slice(0, 2)), [
        ["text subscribe", "text a"],
        ["text subscribe", "text b"]
      ])
    }))

  it.effect("holds others back while it runs, and keeps what it read", () =>
    Effect.gen(function*() {
      const { peers, socket } = yield* begin([], { onOpen: (stream) => stream.read })
      const waiting = yield* Effect.forkChild(socket.current)
      yield* settled
      assert.deepStrictEqual([(yield* socket.state)._tag, waiting.pollUnsafe()], ["Connecting", undefined])
      yield* peers[0]!.send(text("welcome"), text("news"))
      const stream = yield* Fiber.join(waiting)
      assert.strictEqual(yield* stream.read, "news")
    }))

  it.effect("that fails closes the connection with 1011 and counts as a failed attempt", () =>
    Effect.gen(function*() {
      let times = 0
      const onOpen = () => ++times < 3 ? Effect.fail("not yet") : Effect.void
      const { peers, states } = yield* begin([], { onOpen })
      for (let n = 0; n < 2; n++) {
        assert.strictEqual(yield* peers[n]!.next, "close 1011")
        yield* peers[n]!.send(close(1011))
        yield* peers[n]!.end
        yield* settled
        yield* TestClock.adjust("1 second")
        yield* settled
      }
      assert.deepStrictEqual(states.map(describeState), [
        "connecting 1",
        "waiting 1000 for 2",
        "connecting 2",
        "waiting 1000 for 3",
        "connecting 3",
        "open"
      ])
    }))
})

describe("whether to try again", () => {
  /** What follows on an answer: another request, or the end. */
  const again = Effect.fnUntraced(function*(answer: Network.Answer, options?: Options) {
    const { requests, socket } = yield* begin([answer], options)
    yield* TestClock.adjust("2 seconds")
    yield* settled
    const ended = (yield* socket.state)._tag === "Ended"
    assert.strictEqual(requests.length, ended ? 1 : 2)
    return !ended
  })

  it.effect.each(
    [
      [1000, false],
      [1001, true],
      [1002, false],
      [1003, false],
      [1007, false],
      [1008, false],
      [1009, false],
      [1010, false],
      [1011, true],
      [1012, true],
      [1013, true],
      [1014, true],
      [3000, false],
      [3003, false],
      [3008, true],
      [4000, false],
      [4999, false]
    ] as const
  )("the peer closes with %d: %s", ([code, expected]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* again(says([], code)), expected)
    }))

  it.effect("the peer closes without a code, or ends without a Close: true", () =>
    Effect.gen(function*() {
      const empty = (peer: Peer) => Effect.andThen(peer.send(close()), Effect.andThen(peer.read(), peer.end))
      assert.isTrue(yield* again(empty))
      assert.isTrue(yield* again((peer) => peer.end))
      assert.isTrue(yield* again((peer) => peer.destroy))
    }))

  it.effect.each(
    [
      [200, false],
      [302, false],
      [400, false],
      [401, false],
      [403, false],
      [404, false],
      [407, false],
      [408, true],
      [409, false],
      [424, false],
      [425, true],
      [426, false],
      [428, false],
      [429, true],
      [430, false],
      [499, false],
      [500, true],
      [501, true],
      [502, true],
      [503, true],
      [504, true],
      [599, true]
    ] as const
  )("the server declines with %d: %s", ([status, expected]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* again([`HTTP/1.1 ${status} x`]), expected)
    }))

  it.effect("the connection cannot be made, or its answer is none: as the table says", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* again("cut"))
      assert.isFalse(yield* again(["HTTP/1.1 101 x"]))
      assert.isFalse(yield* again(["nonsense"]))
    }))

  it.effect.each(
    [
      ["1000", { code: 1000 }, false],
      ["none", { code: "none" }, false],
      ["4000", { code: 4000 }, false],
      ["1001, as this library does after silence", { code: 1001 }, true]
    ] as const
  )("the application closes with %s: %s", ([_, options, expected]) =>
    Effect.gen(function*() {
      const answer = Effect.fnUntraced(function*(peer: Peer) {
        yield* peer.read()
        const line = yield* peer.next
        yield* peer.send(line === "close" ? close() : close(Number(line.slice(6))))
        yield* peer.end
      })
      const { requests, socket } = yield* begin([answer])
      yield* (yield* socket.current).close(options)
      yield* TestClock.adjust("2 seconds")
      yield* settled
      assert.strictEqual(requests.length, expected ? 2 : 1)
    }))

  it.effect("a violation by the peer: true", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* again((peer) => Effect.andThen(peer.send(Uint8Array.of(0xff, 0xff)), Effect.never)))
    }))

  const status = new WebSocketError.CloseStatus({
    code: 1000,
    reason: "",
    initiator: "peer",
    sent: undefined,
    received: { code: 1000, reason: "" },
    clean: false
  })
  it.each([
    [new WebSocketError.ConnectionClosed({ status }), false],
    [new WebSocketError.TransportFailed({ cause: "x" }), true],
    [new WebSocketError.MessageInProgress({}), false],
    [new WebSocketError.MessageAborted({}), false],
    [new WebSocketError.InvalidPayload({ problem: "x" }), false],
    [new WebSocketError.QueueFull({ limit: 1 }), false]
  ])("a write of onOpen fails with %s: %s", (reason, expected) => {
    assert.strictEqual(ReconnectingWebSocket.isTransient(new WebSocketError.WriteError({ reason })), expected)
  })

  it.each([
    [new WebSocketError.IdleTimeout({ timeout: 1 }), true],
    [new WebSocketError.KeepAliveTimeout({ misses: 1 }), true],
    [new WebSocketError.MessageTimeout({ timeout: 1 }), true],
    [new WebSocketError.InvalidUtf8({}), true],
    [new WebSocketError.MessageTooBig({ limit: 1 }), true]
  ])("a read of onOpen fails with %s: %s", (reason, expected) => {
    assert.strictEqual(ReconnectingWebSocket.isTransient(new WebSocketError.ReadError({ reason })), expected)
  })

  it.each([
    [new WebSocketError.HandshakeTimeout({ timeout: 1 }), true],
    [new WebSocketError.RedirectRefused({ rule: "TooMany", status: 302, location: "/" }), false],
    [new WebSocketError.InvalidRequest({ rule: "InvalidTarget", section: "4.1", status: undefined }), false],
    [new WebSocketError.SubprotocolRefused({ offered: [], chosen: undefined }), false],
    [new WebSocketError.ExtensionRefused({ extension: "x" }), false],
    [new WebSocketError.HeadTooLarge({ limit: "maxHeadSize" }), false],
    [new WebSocketError.ProxyRefused({ status: 407, headers: [] }), false],
    [new WebSocketError.ProxyRefused({ status: 502, headers: [] }), true]
  ])("a handshake fails with %s: %s", (reason, expected) => {
    assert.strictEqual(ReconnectingWebSocket.isTransient(new WebSocketError.HandshakeError({ reason })), expected)
  })

  it.each(["no token", new Error("x"), undefined])("what is no error of this library, as %s: true", (error) => {
    assert.isTrue(ReconnectingWebSocket.isTransient(error))
  })

  it.effect("is for `while` to say, where it is given", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* again(["HTTP/1.1 401 No"], { while: (error) => reasonOf(error) === "UpgradeDeclined" }))
      assert.isFalse(yield* again("cut", { while: (error) => reasonOf(error) === "UpgradeDeclined" }))
    }))

  it.effect("ends with the schedule, and the failure that came last", () =>
    Effect.gen(function*() {
      const schedule = Schedule.upTo(second, { times: 2 })
      const { requests, states } = yield* begin(["cut", "cut", ["HTTP/1.1 503 x"], "cut"], { schedule })
      yield* TestClock.adjust("1 minute")
      yield* settled
      assert.strictEqual(requests.length, 3)
      assert.strictEqual(describeState(states.at(-1)!), "ended UpgradeDeclined")
    }))
})

describe("when to try again", () => {
  /** The delays before each attempt, given what became of the attempts before. */
  const delays = Effect.fnUntraced(function*(answers: ReadonlyArray<Network.Answer>, options: Options) {
    const { states } = yield* begin(answers, options)
    for (let n = 0; n < answers.length; n++) {
      yield* TestClock.adjust("10 minutes")
      yield* settled
    }
    return states.flatMap((state) => state._tag === "Waiting" ? [Duration.toMillis(state.delay)] : [])
  })
  const cuts = (count: number): ReadonlyArray<Network.Answer> => Array.from({ length: count }, () => "cut")

  it.effect("by default: longer each time up to 30 seconds, a fifth more or less, the same for the same seed", () =>
    Effect.gen(function*() {
      const run = delays(cuts(9), { schedule: undefined })
      const expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
      const seeded = yield* Random.withSeed(run, "seed")
      assert.strictEqual(seeded.length, expected.length)
      for (const [n, delay] of seeded.entries()) {
        assert.isAtLeast(delay, expected[n]! * 0.8)
        assert.isAtMost(delay, expected[n]! * 1.2)
      }
      assert.notDeepEqual(seeded, expected)
      assert.deepStrictEqual(yield* Random.withSeed(run, "seed"), seeded)
      assert.notDeepEqual(yield* Random.withSeed(run, "another"), seeded)
    }))

  it.effect("no sooner than the server asks, by Retry-After or as it goes away", () =>
    Effect.gen(function*() {
      const answers = [
        ["HTTP/1.1 503 x", "Retry-After: 2"],
        says([], 1012, "retry-after=1500"),
        says([], 1001, "retry-after=999"),
        says([], 1001, "bye")
      ]
      assert.deepStrictEqual(yield* delays(answers, { resetAfter: "1 hour" }), [2000, 1500, 1000, 1000])
    }))

  it.effect("no later than maxRetryHint, whatever the server asks, 5 minutes by default", () =>
    Effect.gen(function*() {
      const asks = ["300", "301"].map((seconds) => ["HTTP/1.1 503 x", `Retry-After: ${seconds}`])
      assert.deepStrictEqual(yield* delays(asks, {}), [300_000, 300_000])
      const close = [says([], 1001, "retry-after=7000"), says([], 1001, "retry-after=7001")]
      assert.deepStrictEqual(yield* delays(close, { maxRetryHint: 7000 }), [7000, 7000])
      assert.deepStrictEqual(yield* delays(asks, { maxRetryHint: 10 }), [1000, 1000])
    }))

  it.effect("from the beginning, after a connection that stayed open for resetAfter", () =>
    Effect.gen(function*() {
      const schedule = Schedule.exponential("1 second")
      for (const [open, expected] of [[29_999, "waiting 2000 for 3"], [30_000, "waiting 1000 for 1"]] as const) {
        const { peers, states } = yield* begin(["cut"], { schedule })
        yield* TestClock.adjust("1 second")
        yield* settled
        yield* TestClock.adjust(open)
        yield* peers[0]!.destroy
        yield* settled
        assert.strictEqual(describeState(states.at(-1)!), expected)
      }
    }))
})

describe("over transports that fail", () => {
  it.effect("at any operation of the first connection, the second delivers", () =>
    FaultTransport.everywhere((faults) =>
      Effect.gen(function*() {
        const { dialer } = yield* Network.make((_, index) => says([`${index}`], index === 0 ? 1012 : 1000))
        let dialled = 0
        const faulty = {
          dial: (url: string | URL) => dialled++ === 0 ? faults.wrap(dialer.dial(url)) : dialer.dial(url)
        }
        const socket = yield* ReconnectingWebSocket.make({
          connect: WebSocketClient.dial({ url: "ws://h/", config: { ...config, handshakeTimeout: 1000 } }),
          schedule: second
        }).pipe(Effect.provideService(Transport.TransportDialer, faulty))
        const reader = yield* collect(socket.messages)
        yield* TestClock.adjust("10 seconds")
        yield* settled
        assert.deepStrictEqual(reader.seen.slice(-2), ["1", "! closed 1000"])
      }).pipe(Effect.scoped)
    ))
})
