import { type Rule, rules } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { bytes, close, encode, ping, reasonOf, settled, text } = Scripted

/** A server's end of one connection that has begun to accept, and its raw client. */
const begin = Effect.fnUntraced(function*(options: WebSocketServer.AcceptOptions = {}) {
  const [other, own] = yield* MemoryTransport.makePair()
  const accepting = yield* WebSocketServer.accept(options).pipe(
    Effect.provideService(Transport.Transport, own),
    Effect.forkChild
  )
  return { accepting, peer: yield* Scripted.open("client", other) }
})

const good = Scripted.requestHead().split("\r\n").slice(0, -2)
const lines = (head: ReadonlyArray<string>) => bytes([...head, "", ""].join("\r\n"))

/** What a request is answered with, head and body, where the server ends the connection behind it. */
const refusal = Effect.fnUntraced(function*(
  request: Uint8Array,
  options: WebSocketServer.AcceptOptions = {}
) {
  const { accepting, peer } = yield* begin(options)
  yield* peer.send(request)
  const { head, rest } = yield* Scripted.takeHead(peer)
  let body = new TextDecoder().decode(rest)
  const pull: Effect.Effect<void> = Effect.matchEffect(peer.pull, {
    onFailure: (error) => Effect.sync(() => assert.strictEqual(Transport.endOf(error), "PeerEnded")),
    onSuccess: (chunks) => {
      body += chunks.map((chunk) => new TextDecoder().decode(chunk)).join("")
      return pull
    }
  })
  yield* pull
  yield* peer.leave
  const exit = yield* Fiber.await(accepting)
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return { head: head.split("\r\n").slice(0, -2), body, error: error as { readonly reason: { readonly _tag: string } } }
})

/** The response that a request is agreed to with, and its stream. */
const agreement = Effect.fnUntraced(function*(head: ReadonlyArray<string>, options?: WebSocketServer.AcceptOptions) {
  const { accepting, peer } = yield* begin(options)
  yield* peer.send(lines(head))
  const response = yield* Scripted.takeHead(peer)
  return { stream: yield* Fiber.join(accepting), head: response.head.split("\r\n").slice(0, -2), peer }
})

const ends = ({ peer }: { readonly peer: Scripted.Peer }) => peer.leave

const without = (name: string) => good.filter((line) => !line.startsWith(name))
const instead = (name: string, ...others: ReadonlyArray<string>) => [...without(name), ...others]

describe("RFC 6455 section 4.2.2: the response", () => {
  it.effect("that agrees is written in this order", () =>
    Effect.gen(function*() {
      const agreed = yield* agreement(good)
      assert.deepStrictEqual(agreed.head, [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
      ])
      const { handshake, role } = agreed.stream
      assert.strictEqual(role, "server")
      assert.strictEqual(handshake.request.target, "/chat")
      assert.strictEqual(handshake.response.status, 101)
      assert.isUndefined(handshake.subprotocol)
      assert.isDefined(handshake.peerAddress)
      yield* ends(agreed)
    }))

  it.effect.each<readonly [string, ReadonlyArray<string>]>([
    ["tokens in any case and among others", instead("Connection", "connection: keep-alive, uPGRADE", "X: y")],
    ["Upgrade among others", instead("Upgrade", "Upgrade: h2c, WebSocket")],
    ["an empty line before it", ["", ...good]],
    ["an absolute target", ["GET ws://example.com/chat HTTP/1.1", ...good.slice(1)]],
    ["an empty body", [...good, "Content-Length: 0"]],
    ["an extension that is not known", [...good, "Sec-WebSocket-Extensions: permessage-deflate; x"]],
    ["a header called __proto__", [...good, "__proto__: x", "constructor: y"]]
  ])("%s is agreed to", ([_, head]) =>
    Effect.gen(function*() {
      const agreed = yield* agreement(head)
      assert.strictEqual(agreed.head[0], "HTTP/1.1 101 Switching Protocols")
      assert.notInclude(agreed.head.join(), "Extensions")
      yield* ends(agreed)
    }))
})

describe("RFC 6455 section 4.2.1: the request", () => {
  const cases: ReadonlyArray<readonly [Rule, string, ReadonlyArray<string>]> = [
    ["MalformedStartLine", "garbage", ["garbage"]],
    ["MalformedStartLine", "a TLS hello", ["\u0016\u0003\u0001"]],
    ["MalformedHeader", "no colon", [...good, "oops"]],
    ["MalformedHeader", "a folded line", [...good, "X: a", " b"]],
    ["MalformedHeader", "a blank before the colon", [...good, "X : a"]],
    ["MalformedHeader", "two Origins", [...good, "Origin: http://example.com", "Origin: http://example.com"]],
    ["HeadTooLarge", "a long line", [...good, `X: ${"x".repeat(8192)}`]],
    ["HeadTooLarge", "many lines", [...good, ...Array.from({ length: 101 }, () => "X: y")]],
    ["HeadTooLarge", "a long head", [...good, ...Array.from({ length: 20 }, () => `X: ${"x".repeat(1000)}`)]],
    ["UnsupportedHttpVersion", "HTTP/1.0", ["GET /chat HTTP/1.0", ...good.slice(1)]],
    ["UnsupportedHttpVersion", "HTTP/2.0", ["GET /chat HTTP/2.0", ...good.slice(1)]],
    ["MethodNotGet", "POST", ["POST /chat HTTP/1.1", ...good.slice(1)]],
    ["MethodNotGet", "get", ["get /chat HTTP/1.1", ...good.slice(1)]],
    ["InvalidTarget", "no path", ["GET chat HTTP/1.1", ...good.slice(1)]],
    ["InvalidTarget", "a fragment", ["GET /chat#x HTTP/1.1", ...good.slice(1)]],
    ["InvalidTarget", "another scheme", ["GET ftp://example.com/ HTTP/1.1", ...good.slice(1)]],
    ["UnexpectedBody", "a length", [...good, "Content-Length: 1"]],
    ["UnexpectedBody", "chunks", [...good, "Transfer-Encoding: chunked"]],
    ["InvalidHost", "none", without("Host")],
    ["InvalidHost", "two", [...good, "Host: example.com"]],
    ["InvalidHost", "a user", instead("Host", "Host: user@example.com")],
    ["MissingUpgrade", "none", without("Upgrade")],
    ["MissingUpgrade", "another", instead("Upgrade", "Upgrade: HTTP/2")],
    ["MissingConnectionUpgrade", "none", without("Connection")],
    ["MissingConnectionUpgrade", "keep-alive", instead("Connection", "Connection: keep-alive")],
    ["InvalidKey", "none", without("Sec-WebSocket-Key")],
    ["InvalidKey", "short", instead("Sec-WebSocket-Key", "Sec-WebSocket-Key: 1234")],
    ["InvalidKey", "long", instead("Sec-WebSocket-Key", `Sec-WebSocket-Key: ${"A".repeat(46)}`)],
    ["InvalidKey", "two", [...good, `Sec-WebSocket-Key: ${Scripted.key}`]],
    ["UnsupportedVersion", "none", without("Sec-WebSocket-Version")],
    ["UnsupportedVersion", "12", instead("Sec-WebSocket-Version", "Sec-WebSocket-Version: 12")],
    ["UnsupportedVersion", "13 and 8", [...good, "Sec-WebSocket-Version: 8"]],
    ["InvalidSubprotocol", "not ASCII", [...good, "Sec-WebSocket-Protocol: \u00e9"]],
    ["InvalidSubprotocol", "twice the same", [...good, "Sec-WebSocket-Protocol: a, a"]],
    ["InvalidExtensions", "half a parameter", [...good, "Sec-WebSocket-Extensions: x; ="]],
    ["ForbiddenOrigin", "of another page", [...good, "Origin: https://evil.example"]]
  ]

  it("every rule about a request has its case", () => {
    const tested = new Set(cases.map(([rule]) => rule))
    const overHttp1 = Object.entries(rules).filter(([, { section }]) => !/^(?:8441|9113) /.test(section))
    const about = overHttp1.filter(([, { status }]) => status !== undefined).map(([rule]) => rule as Rule)
    assert.deepStrictEqual(about.filter((rule) => !tested.has(rule)), [])
  })

  it.effect.each(cases)(
    "%s: %s is refused with its status, and what is behind is not run",
    ([rule, _, head]) =>
      Effect.gen(function*() {
        const pipelined = encode("client", text("smuggled"))
        let asked = false
        const { body, error, head: answer } = yield* refusal(
          Scripted.concat([
            Uint8Array.from([...head, "", ""].join("\r\n"), (c) => c.charCodeAt(0)),
            pipelined,
            lines(good)
          ]),
          {
            accept: () => {
              asked = true
              return Effect.succeed({})
            }
          }
        )
        const { description, status } = rules[rule]
        assert.isTrue(answer[0]!.startsWith(`HTTP/1.1 ${status} `), answer[0])
        assert.isTrue(answer.some((line) => /^Connection: close(, Upgrade)?$/.test(line)))
        assert.include(answer, `Content-Length: ${body.length}`)
        assert.include(body, description)
        if (status === 426) assert.include(answer, "Sec-WebSocket-Version: 13")
        if (status === 405) assert.include(answer, "Allow: GET")
        assert.strictEqual(error.reason._tag, rule === "HeadTooLarge" ? "HeadTooLarge" : "InvalidRequest")
        if (rule !== "HeadTooLarge") assert.deepInclude<object>({ ...error.reason }, { rule, status })
        assert.isFalse(asked)
      })
  )

  it.effect("heads may be as large as each limit, and one byte or line more is 431", () =>
    Effect.gen(function*() {
      const limits = [
        ["maxHeadSize", lines(good).length],
        ["maxHeaderLines", good.length - 1],
        ["maxHeaderLineSize", Math.max(...good.map((line) => line.length)) + 2]
      ] as const
      for (const [limit, exact] of limits) {
        yield* ends(yield* agreement(good, { config: { [limit]: exact } }))
        const { error, head } = yield* refusal(lines(good), { config: { [limit]: exact - 1 } })
        assert.strictEqual(head[0], "HTTP/1.1 431 Request Header Fields Too Large")
        assert.deepInclude<object>({ ...error.reason }, { limit })
      }
    }))

  it.effect.each(["", "GET /chat HT"])(
    "an end behind %j is TransportFailed, and nothing is answered",
    (begun) =>
      Effect.gen(function*() {
        const { accepting, peer } = yield* begin()
        yield* peer.send(bytes(begun))
        yield* peer.end
        assert.strictEqual((yield* reasonOf(Fiber.join(accepting)))._tag, "TransportFailed")
        yield* peer.read()
        assert.strictEqual(yield* peer.next, "end")
      })
  )

  it.effect("a refused client that stays is left after closeTimeout", () =>
    Effect.gen(function*() {
      const { accepting, peer } = yield* begin({ config: { closeTimeout: 1000 } })
      yield* peer.send(lines(["garbage"]))
      yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.ignore(peer.send(ping())), Effect.sleep(100))))
      yield* TestClock.adjust(999)
      assert.isUndefined(accepting.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* reasonOf(Fiber.join(accepting)))._tag, "InvalidRequest")
    }))
})

describe("RFC 6455 section 10.2: Origin", () => {
  const tried: ReadonlyArray<readonly [WebSocketServer.AcceptOptions, string | undefined, boolean]> = [
    [{}, undefined, true],
    [{}, "http://example.com", true],
    [{}, "https://example.com", true],
    [{}, "https://EXAMPLE.com", true],
    [{}, "http://example.com:8080", false],
    [{}, "https://sub.example.com", false],
    [{}, "https://example.com.evil.example", false],
    [{}, "null", false],
    [{ secure: true }, "http://example.com", false],
    [{ secure: true }, "https://example.com", true],
    [{ origins: "any" }, "https://evil.example", true],
    [{ origins: [] }, undefined, true],
    [{ origins: [] }, "https://example.com", false],
    [{ origins: ["https://app.example"] }, "https://app.example", true],
    [{ origins: ["https://app.example"] }, "https://app.example.evil", false],
    [{ origins: ["https://app.example"] }, "http://app.example", false],
    [{ origins: ["null"] }, "null", true]
  ]
  it.effect.each(tried)("%j with Origin %s: %s", ([options, origin, allowed]) =>
    Effect.gen(function*() {
      const head = origin === undefined ? good : [...good, `Origin: ${origin}`]
      if (allowed) return yield* ends(yield* agreement(head, options))
      const { error, head: answer } = yield* refusal(lines(head), options)
      assert.strictEqual(answer[0], "HTTP/1.1 403 Forbidden")
      assert.deepInclude<object>({ ...error.reason }, { rule: "ForbiddenOrigin", status: 403 })
    }))
})

describe("accept", () => {
  it.effect("is asked about the request and says headers, subprotocol and limits", () =>
    Effect.gen(function*() {
      const agreed = yield* agreement([...good, "Sec-WebSocket-Protocol: a, b", "X: y"], {
        subprotocols: ["a"],
        config: { maxMessageSize: 10 },
        accept: ({ head, host, peerAddress, subprotocols, target }) => {
          assert.deepStrictEqual([target, host, subprotocols], ["/chat", "example.com", ["a", "b"]])
          assert.deepStrictEqual(HttpHead.values(head.headers, "x"), ["y"])
          assert.isDefined(peerAddress)
          return Effect.succeed({
            subprotocol: "b",
            headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]],
            config: { maxMessageSize: 4, maxFragments: undefined }
          })
        }
      })
      assert.deepStrictEqual(agreed.head.slice(4), ["Sec-WebSocket-Protocol: b", "Set-Cookie: a=1", "Set-Cookie: b=2"])
      assert.strictEqual(agreed.stream.handshake.subprotocol, "b")
      yield* agreed.peer.send(text("1234"), text("12345"))
      assert.strictEqual(yield* agreed.stream.read, "1234")
      assert.deepInclude({ ...(yield* reasonOf(agreed.stream.read)) }, { limit: 4 })
      yield* ends(agreed)
    }))

  it.effect.each(
    [
      [["a", "b"], "b, a", {}, "a"],
      [["a", "b"], "b", {}, "b"],
      [["a", "b"], "c", {}, undefined],
      [["a"], undefined, {}, undefined],
      [[], "a", {}, undefined],
      [["a"], "a", { subprotocol: undefined }, undefined],
      [["a"], "a, z", { subprotocol: "z" }, "z"]
    ] as ReadonlyArray<
      readonly [ReadonlyArray<string>, string | undefined, WebSocketServer.Acceptance, string | undefined]
    >
  )(
    "prefers %j: offered %s, decided %j, chosen %s",
    ([subprotocols, offered, acceptance, chosen]) =>
      Effect.gen(function*() {
        const head = offered === undefined ? good : [...good, `Sec-WebSocket-Protocol: ${offered}`]
        const agreed = yield* agreement(head, { subprotocols, accept: () => Effect.succeed(acceptance) })
        assert.strictEqual(agreed.stream.handshake.subprotocol, chosen)
        assert.deepStrictEqual(agreed.head.slice(4), chosen === undefined ? [] : [`Sec-WebSocket-Protocol: ${chosen}`])
        yield* ends(agreed)
      })
  )

  it.effect("refuses with a status, headers and a body", () =>
    Effect.gen(function*() {
      const { body, error, head } = yield* refusal(lines(good), {
        accept: () =>
          Effect.fail(
            new WebSocketServer.Refusal({
              status: 401,
              headers: { "WWW-Authenticate": "Bearer" },
              body: "who are you?"
            })
          )
      })
      assert.strictEqual(head[0], "HTTP/1.1 401 Unauthorized")
      assert.includeMembers(head, ["WWW-Authenticate: Bearer", "Connection: close", "Content-Length: 12"])
      assert.strictEqual(body, "who are you?")
      assert.deepInclude<object>({ ...error.reason, _tag: error.reason._tag }, { _tag: "Refused", status: 401 })
    }))

  it.effect.each(
    [
      ["a status that refuses nothing", Effect.fail(new WebSocketServer.Refusal({ status: 200 })), "InvalidResponse"],
      [
        "a header with a line end",
        Effect.fail(new WebSocketServer.Refusal({ status: 403, headers: { X: "a\r\nb" } })),
        "InvalidResponse"
      ],
      ["a header of the handshake", Effect.succeed({ headers: { Upgrade: "x" } }), "InvalidResponse"],
      ["a header that is malformed", Effect.succeed({ headers: { "X Y": "x" } }), "InvalidResponse"],
      ["a subprotocol that was not offered", Effect.succeed({ subprotocol: "x" }), "SubprotocolRefused"]
    ] as ReadonlyArray<readonly [string, Effect.Effect<WebSocketServer.Acceptance, WebSocketServer.Refusal>, string]>
  )("that answers with %s makes it 500", ([_, decision, tag]) =>
    Effect.gen(function*() {
      const { error, head } = yield* refusal(lines(good), { accept: () => decision })
      assert.strictEqual(head[0], "HTTP/1.1 500 Internal Server Error")
      assert.strictEqual(error.reason._tag, tag)
    }))

  it.effect("that dies, or throws, makes it 500, and stays a defect", () =>
    Effect.gen(function*() {
      const accepts: ReadonlyArray<() => Effect.Effect<never>> = [
        () => Effect.die("oops"),
        () => {
          throw "oops"
        }
      ]
      for (const accept of accepts) {
        const { error, head } = yield* refusal(lines(good), { accept })
        assert.strictEqual(head[0], "HTTP/1.1 500 Internal Server Error")
        assert.strictEqual<unknown>(error, "oops")
      }
    }))
})

it.effect("bytes behind the request are frames, split anywhere", () =>
  Effect.gen(function*() {
    const frames = [text("first"), text("second"), close(4000)].map((frame) => encode("client", frame))
    const whole = Scripted.concat([lines(good), ...frames])
    for (let at = 0; at <= whole.length; at++) {
      const { accepting, peer } = yield* begin()
      yield* peer.send(whole.subarray(0, at))
      yield* settled
      yield* peer.send(whole.subarray(at))
      yield* peer.end
      const stream = yield* Fiber.join(accepting)
      assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["first", "second"], `split at ${at}`)
      assert.strictEqual((yield* stream.closed).code, 4000)
    }
  }))

// --- the server

interface Line {
  readonly level: string
  readonly message: unknown
}

/** A server in memory that runs `handler`; how to dial it, and what it logs. */
const serve = Effect.fnUntraced(function*<E>(
  handler: Effect.Effect<unknown, E, WebSocketStream | Scope.Scope>,
  options: WebSocketServer.AcceptOptions = {}
) {
  const memory = yield* Layer.build(MemoryTransport.layer())
  const config = { drainRetryAfter: "off" as const, ...options.config }
  const server = yield* Effect.provideContext(WebSocketServer.make({ ...options, config }), memory)
  const log: Array<Line> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => void log.push({ level: logLevel, message }))
  const running = yield* server.run(handler).pipe(
    Effect.provideService(References.MinimumLogLevel, "Debug"),
    Effect.provide(Logger.layer([logger])),
    Effect.forkChild
  )
  const transport = Context.get(memory, Transport.Transport)
  const open = Scripted.open("client", transport)
  const dial = Effect.gen(function*() {
    const peer = yield* open
    yield* peer.send(lines(good))
    const { head, rest } = yield* Scripted.takeHead(peer)
    yield* peer.read([rest])
    return { peer, head }
  })
  return { server, running, transport, log, open, dial }
})

const readAll = Effect.flatMap(WebSocketStream, (stream) => Effect.forever(stream.read))
const errors = (log: ReadonlyArray<Line>) => log.filter(({ level }) => level === "Error")

describe("a handler", () => {
  it.effect.each([
    ["succeeds", Effect.void, "close 1000", 0],
    ["fails", Effect.fail("oops"), "close 1011", 1],
    ["dies", Effect.die("oops"), "close 1011", 1],
    ["is interrupted", Effect.interrupt, "close 1001", 0]
  ] as ReadonlyArray<readonly [string, Effect.Effect<unknown, string>, string, number]>)(
    "that %s closes its connection with its code, and logs an error where it is one",
    ([_, handler, line, errorCount]) =>
      Effect.gen(function*() {
        const { dial, log } = yield* serve(handler)
        const { peer } = yield* dial
        assert.strictEqual(yield* peer.next, line)
        yield* peer.send(close(1000))
        assert.strictEqual(yield* peer.next, "end")
        yield* peer.leave
        yield* settled
        assert.strictEqual(errors(log).length, errorCount)
      })
  )

  it.effect.each(
    [
      ["closes", (peer) => peer.send(close(1001))],
      ["ends", (peer) => peer.end],
      ["resets", (peer) => peer.destroy],
      ["breaks a rule", (peer) => peer.send(Scripted.hex("8f8001020304"))]
    ] as ReadonlyArray<readonly [string, (peer: Scripted.Peer) => Effect.Effect<void>]>
  )("whose peer %s fails, and no error is logged", ([_, act]) =>
    Effect.gen(function*() {
      const { dial, log, server } = yield* serve(readAll)
      const { peer } = yield* dial
      yield* act(peer)
      yield* settled
      yield* peer.leave
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(errors(log), [])
      assert.deepStrictEqual(log.map(({ level }) => level), ["Debug"])
      assert.strictEqual(yield* server.connections, 0)
    }))

  it.effect("that writes wrongly is logged", () =>
    Effect.gen(function*() {
      const { dial, log } = yield* serve(Effect.flatMap(WebSocketStream, (stream) => stream.write("\ud800")))
      const { peer } = yield* dial
      assert.strictEqual(yield* peer.next, "close 1011")
      yield* peer.leave
      yield* settled
      assert.strictEqual(errors(log).length, 1)
    }))

  it.effect("has a scope of its own, which ends before its connection does", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const handler = Effect.gen(function*() {
        const stream = yield* WebSocketStream
        yield* Effect.addFinalizer(() => Effect.orDie(stream.write("bye")))
        log.push(yield* Effect.orDie(Effect.map(stream.read, String)))
      })
      const { dial } = yield* serve(handler)
      const { peer } = yield* dial
      yield* peer.send(text("hello"))
      assert.deepStrictEqual(yield* peer.take(2), ["text bye", "close 1000"])
      assert.deepStrictEqual(log, ["hello"])
    }))

  it.effect("runs for each connection, and one bad one disturbs no other", () =>
    Effect.gen(function*() {
      const echo = Effect.flatMap(WebSocketStream, (stream) =>
        Effect.forever(Effect.flatMap(stream.read, (message) =>
          message === "die" ? Effect.die("asked to") : stream.write(message))))
      const { dial, log, open, server } = yield* serve(echo)
      const one = (yield* dial).peer
      const two = (yield* dial).peer
      const bad = yield* open
      yield* bad.send(bytes("garbage\r\n\r\n"))
      const gone = yield* open
      yield* gone.destroy
      yield* one.send(text("die"))
      assert.strictEqual(yield* one.next, "close 1011")
      yield* two.send(text("still there"))
      assert.strictEqual(yield* two.next, "text still there")
      yield* one.leave
      yield* bad.leave
      yield* settled
      assert.strictEqual(yield* server.connections, 1)
      assert.strictEqual(errors(log).length, 1)
    }))

  it.effect("runs unchanged under a server, under a client and with a stream at hand", () =>
    Effect.gen(function*() {
      const shout = Effect.flatMap(
        WebSocketStream,
        (stream) => Effect.flatMap(stream.read, (message) => stream.write(String(message).toUpperCase()))
      )
      // under a server
      const { dial } = yield* serve(shout)
      const { peer } = yield* dial
      yield* peer.send(text("a"))
      assert.strictEqual(yield* peer.next, "text A")
      // under a client
      const [own, other] = yield* MemoryTransport.makePair()
      const running = yield* shout.pipe(
        Effect.provide(WebSocketClient.layer({ url: "ws://h/" })),
        Effect.provideService(Transport.Transport, own),
        Effect.forkChild
      )
      const raw = yield* Scripted.open("server", other)
      yield* raw.send(bytes(Scripted.responseHead((yield* Scripted.takeHead(raw)).head)), text("b"))
      yield* raw.read()
      assert.strictEqual(yield* raw.next, "text B")
      yield* raw.leave
      yield* Fiber.await(running)
      // with a stream at hand
      const connected = yield* Scripted.connect("server")
      yield* connected.peer.send(text("c"))
      yield* Effect.provideService(shout, WebSocketStream, connected.stream)
      assert.strictEqual(yield* connected.peer.next, "text C")
    }))
})

describe("limits of a server", () => {
  const busy = (config: WebSocketConfig.Options, accept?: WebSocketServer.AcceptOptions["accept"]) =>
    serve(readAll, { config, accept })

  const refused = (head: string) => {
    assert.include(head, "HTTP/1.1 503 Service Unavailable\r\n")
    assert.include(head, "Retry-After: 1\r\n")
    assert.include(head, "Connection: close\r\n")
  }

  it.effect("maxConnections are let in, one more is told 503, and again let in when one has left", () =>
    Effect.gen(function*() {
      const { dial, log, open, server } = yield* busy({ maxConnections: 2 })
      const first = yield* dial
      yield* dial
      const third = yield* open
      refused((yield* Scripted.takeHead(third)).head)
      yield* third.leave
      assert.strictEqual(yield* server.connections, 2)
      yield* first.peer.send(close(1000))
      assert.deepStrictEqual(yield* first.peer.take(2), ["close 1000", "end"])
      // it still counts until its transport has ended
      const fourth = yield* open
      refused((yield* Scripted.takeHead(fourth)).head)
      yield* fourth.leave
      yield* first.peer.leave
      yield* settled
      assert.strictEqual(yield* server.connections, 1)
      assert.include((yield* dial).head, " 101 ")
      assert.deepStrictEqual(errors(log), [])
    }))

  it.effect("handshakes that end at once cannot take more than the places there are", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { open, server } = yield* busy({ maxConnections: 2 }, () => Effect.as(Deferred.await(gate), {}))
      const peers = yield* Effect.replicateEffect(open, 5)
      for (const peer of peers) yield* peer.send(lines(good))
      yield* settled
      yield* Deferred.succeed(gate, undefined)
      const heads = yield* Effect.forEach(peers, (peer) => Scripted.takeHead(peer))
      assert.deepStrictEqual(heads.map(({ head }) => head.slice(9, 12)), ["101", "101", "503", "503", "503"])
      assert.strictEqual(yield* server.connections, 2)
      for (const peer of peers) yield* peer.leave
    }))

  it.effect("maxHandshakes are in progress at once, one more is told 503, and disturbs none of them", () =>
    Effect.gen(function*() {
      const { dial, open } = yield* busy({ maxHandshakes: 2 })
      const slow = yield* Effect.replicateEffect(open, 2)
      for (const peer of slow) yield* peer.send(bytes("GET /chat HTTP/1.1\r\n"))
      yield* settled
      const third = yield* open
      refused((yield* Scripted.takeHead(third)).head)
      // the refused one is still there when the others go on
      for (const peer of slow) {
        yield* peer.send(lines(good.slice(1)))
        assert.include((yield* Scripted.takeHead(peer)).head, " 101 ")
      }
      assert.include((yield* dial).head, " 101 ")
      yield* third.leave
      for (const peer of slow) yield* peer.leave
    }))

  it.effect("connections that are closing, and clients that were refused, hold up no handshake", () =>
    Effect.gen(function*() {
      const { dial, open } = yield* busy({ maxHandshakes: 1 })
      for (let n = 0; n < 5; n++) {
        const { peer } = yield* dial
        yield* peer.send(close(1000))
        const bad = yield* open
        yield* bad.send(bytes("garbage\r\n\r\n"))
        yield* settled
      }
      assert.include((yield* dial).head, " 101 ")
    }))
})

it.effect("interrupting an accept at any moment leaves the transport closed and nothing behind", () =>
  Effect.gen(function*() {
    for (let turns = 0; turns < 30; turns++) {
      const [other, own] = yield* MemoryTransport.makePair()
      const accepting = yield* WebSocketServer.accept({ config: { closeTimeout: 10 } }).pipe(
        Effect.andThen(Effect.never),
        Effect.scoped,
        Effect.provideService(Transport.Transport, own),
        Effect.forkChild
      )
      const peer = yield* Scripted.open("client", other)
      yield* peer.send(lines(good))
      yield* Effect.replicateEffect(Effect.yieldNow, turns)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(accepting))
      yield* TestClock.adjust(20)
      yield* Fiber.join(interrupting)
      assert.strictEqual(yield* Scripted.deadlines, 0, `after ${turns} turns`)
      yield* Effect.ignore(Effect.forever(peer.pull))
    }
  }))

describe("draining", () => {
  it.effect("is over at once when nothing is open, again and again", () =>
    Effect.gen(function*() {
      const { dial, running, server } = yield* serve(readAll)
      const { peer } = yield* dial
      yield* peer.send(close(1000))
      yield* peer.leave
      yield* settled
      yield* Fiber.interrupt(running)
      const again = yield* Effect.forkChild(server.run(readAll))
      assert.include((yield* dial).head, " 101 ")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(again))
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(interrupting)
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("tells every peer 1001 and new ones 503, and ends when the last handler has", () =>
    Effect.gen(function*() {
      const work = Effect.gen(function*() {
        yield* Effect.exit(readAll)
        yield* Effect.sleep("3 seconds")
      })
      const { dial, log, open, running, server } = yield* serve(work)
      const peers = [(yield* dial).peer, (yield* dial).peer]
      const handshaking = yield* open
      yield* handshaking.send(bytes("GET /chat"))
      yield* settled
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      for (const peer of peers) {
        assert.strictEqual(yield* peer.next, "close 1001")
        yield* peer.send(close(1001))
        yield* peer.end
      }
      assert.include((yield* Scripted.takeHead(handshaking)).head, " 503 ")
      yield* handshaking.leave
      const late = yield* open
      assert.include((yield* Scripted.takeHead(late)).head, " 503 ")
      yield* late.leave
      yield* settled
      assert.strictEqual(yield* server.connections, 2)
      yield* TestClock.adjust(2999)
      assert.isUndefined(interrupting.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(errors(log), [])
    }))

  it.effect("asks each peer to come back at a time of its own, and latecomers too, and peers with the code it is told", () =>
    Effect.gen(function*() {
      const drainRetryAfter = { min: "2 seconds", max: "3 seconds" } as const
      const { dial, open, running } = yield* serve(readAll, { config: { drainCode: 1012, drainRetryAfter } })
      const peers = yield* Effect.replicateEffect(Effect.map(dial, ({ peer }) => peer), 5)
      const late = yield* open
      yield* settled
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      const hints = new Set<number>()
      for (const peer of peers) {
        const [, hint] = /^close 1012 retry-after=(\d+)$/.exec(yield* peer.next) ?? []
        hints.add(Number(hint))
        yield* peer.send(close(1012))
        yield* peer.end
      }
      assert.strictEqual(hints.size, peers.length)
      assert.isTrue(Array.from(hints).every((hint) => hint >= 2000 && hint <= 3000))
      assert.match((yield* Scripted.takeHead(late)).head, / 503 [^]*\r\nRetry-After: 3\r\n/)
      yield* late.leave
      yield* Fiber.join(interrupting)
    }).pipe(Random.withSeed("drain")))

  it.effect("handlers have drainTimeout and are then interrupted", () =>
    Effect.gen(function*() {
      const interrupted: Array<number> = []
      const work = Effect.onInterrupt(
        Effect.never,
        () => Effect.map(Clock.currentTimeMillis, (now) => interrupted.push(now))
      )
      const { dial, running } = yield* serve(work, { config: { drainTimeout: "7 seconds" } })
      const { peer } = yield* dial
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      assert.strictEqual(yield* peer.next, "close 1001")
      yield* peer.send(close(1001))
      yield* peer.end
      yield* TestClock.adjust(6999)
      assert.deepStrictEqual(interrupted, [])
      yield* TestClock.adjust(1)
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(interrupted, [7000])
    }))

  it.effect("a peer that never answers holds it up for its closeTimeouts and no longer", () =>
    Effect.gen(function*() {
      const { dial, running } = yield* serve(readAll, { config: { closeTimeout: 1000 } })
      const { peer } = yield* dial
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      assert.strictEqual(yield* peer.next, "close 1001")
      yield* TestClock.adjust(999)
      assert.isUndefined(interrupting.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(interrupting)
      yield* settled
      assert.strictEqual(yield* Scripted.deadlines, 0)
    }))

  it.effect("a stream that comes about meanwhile is told at once", () =>
    Effect.gen(function*() {
      const [other, own] = yield* MemoryTransport.makePair({ serverToClient: { capacity: 50 } })
      const transports = Transport.TransportServer.of({
        address: { _tag: "UnixPathAddress" } as never,
        run: (handler) => Effect.andThen(handler(own), Effect.never)
      })
      const making = WebSocketServer.make({ config: { drainRetryAfter: "off" } })
      const server = yield* Effect.provideService(making, Transport.TransportServer, transports)
      const running = yield* Effect.forkChild(server.run(readAll))
      const peer = yield* Scripted.open("client", other)
      yield* peer.send(lines(good))
      yield* settled
      // its response does not fit, so that it is on its way when draining begins
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      yield* settled
      const { head, rest } = yield* Scripted.takeHead(peer)
      assert.include(head, " 101 ")
      yield* peer.read([rest])
      assert.strictEqual(yield* peer.next, "close 1001")
      yield* peer.send(close(1001))
      yield* peer.end
      yield* Fiber.join(interrupting)
    }))
})

it.effect("serve runs a handler for as long as its layer lives", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const memory = yield* Layer.build(MemoryTransport.layer())
    const layer = WebSocketServer.serve(readAll).pipe(Layer.provide(WebSocketServer.layer()))
    yield* Effect.provideContext(Layer.buildWithScope(layer, scope), memory)
    const client = yield* WebSocketClient.connect({ url: "ws://h/" }).pipe(Effect.provideContext(memory))
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    assert.strictEqual((yield* client.closed).code, 1001)
    yield* Fiber.join(closing)
  }))
