import type { Rule } from "@effect-websocket/protocol/HandshakeError"
import { assert, describe, it } from "@effect/vitest"
import * as Entropy from "effect-websocket/Entropy"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as WebSocketError from "effect-websocket/WebSocketError"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as Scripted from "./fixtures/scripted.ts"

const { bytes, close, encode, reasonOf, settled, text } = Scripted

type Options = Omit<WebSocketClient.ConnectOptions, "url"> & { readonly url?: string | URL }

const url = "ws://example.com/chat"

/** A client that has begun, and the raw server it talks to. */
const begin = Effect.fnUntraced(function*(options: Options = {}) {
  const [own, other] = yield* MemoryTransport.makePair()
  const connecting = yield* WebSocketClient.connect({ url, ...options }).pipe(
    Effect.provideService(Transport.Transport, own),
    Effect.forkChild
  )
  return { connecting, peer: yield* Scripted.open("server", other) }
})

/** The head of the request that options make. */
const requestOf = Effect.fnUntraced(function*(options: Options) {
  const { peer } = yield* begin(options)
  const { head } = yield* Scripted.takeHead(peer)
  yield* peer.end
  return head.split("\r\n").slice(0, -2)
})

/** What becomes of options for which no request may be sent. */
const invalid = Effect.fnUntraced(function*(options: Options) {
  const [own, other] = yield* MemoryTransport.makePair()
  const reason = yield* WebSocketClient.connect({ url, ...options }).pipe(
    Effect.provideService(Transport.Transport, own),
    reasonOf
  )
  const peer = yield* Scripted.open("server", other)
  yield* peer.read()
  yield* settled
  assert.deepStrictEqual(peer.seen, [])
  return reason
})

/** Answers a client's request, with `$accept` where the right Sec-WebSocket-Accept is to be. */
const answer = Effect.fnUntraced(function*(lines: ReadonlyArray<string>, options: Options = {}) {
  const { connecting, peer } = yield* begin(options)
  const { head } = yield* Scripted.takeHead(peer)
  const accept = /Sec-WebSocket-Accept: (.*)\r\n/.exec(Scripted.responseHead(head))![1]!
  yield* peer.send(bytes([...lines, "", ""].join("\r\n").replace("$accept", accept)))
  return { connecting, peer }
})

const good = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: $accept"
]

describe("RFC 6455 section 4.1: the request", () => {
  it.effect("is written in this order, with a fresh key of 16 bytes each time", () =>
    Effect.gen(function*() {
      const first = yield* requestOf({
        origin: "https://example.com",
        subprotocols: ["b", "a"],
        headers: { Authorization: "Bearer x" },
        cookies: { session: "1" }
      })
      const key = first[4]!
      assert.deepStrictEqual(first, [
        "GET /chat HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        key,
        "Sec-WebSocket-Version: 13",
        "Origin: https://example.com",
        "Sec-WebSocket-Protocol: b, a",
        "Authorization: Bearer x",
        "Cookie: session=1"
      ])
      assert.match(key, /^Sec-WebSocket-Key: [A-Za-z0-9+/]{21}[AQgw]==$/)
      assert.notStrictEqual((yield* requestOf({}))[4], key)
    }))

  it.effect("is the same for the same seed", () =>
    Effect.gen(function*() {
      const seeded = Effect.provide(requestOf({}), Entropy.layerRandom)
      assert.notDeepEqual(yield* seeded, yield* seeded)
      const fixed = Effect.provideService(requestOf({}), Entropy.Entropy, { uint32Unsafe: () => 0x61 })
      assert.strictEqual((yield* fixed)[4], "Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFhYQ==")
    }))

  it.effect.each([
    ["ws://example.com", "/", "example.com"],
    ["ws://example.com/", "/", "example.com"],
    ["ws://example.com:80/a", "/a", "example.com"],
    ["wss://example.com:443/a", "/a", "example.com"],
    ["http://example.com:80/a", "/a", "example.com"],
    ["https://example.com:443/a", "/a", "example.com"],
    ["ws://example.com:443/a", "/a", "example.com:443"],
    ["wss://example.com:80/a", "/a", "example.com:80"],
    ["ws://example.com:8080/a?b=c&d=%20#".slice(0, -1), "/a?b=c&d=%20", "example.com:8080"],
    ["ws://example.com?q", "/?q", "example.com"],
    ["ws://example.com/a b/é", "/a%20b/%C3%A9", "example.com"],
    ["WS://EXAMPLE.com/A", "/A", "example.com"],
    ["ws://[::1]:9000/", "/", "[::1]:9000"],
    ["ws://[2001:DB8::1]/", "/", "[2001:db8::1]"],
    ["ws://127.0.0.1/", "/", "127.0.0.1"],
    ["ws://bücher.example/", "/", "xn--bcher-kva.example"]
  ])("%s is asked for as %s of %s", ([url, target, host]) =>
    Effect.gen(function*() {
      for (const form of [url, new URL(url)]) {
        const [start, second] = yield* requestOf({ url: form })
        assert.deepStrictEqual([start, second], [`GET ${target} HTTP/1.1`, `Host: ${host}`])
      }
    }))

  it.effect.each(
    [
      ["no URL", { url: "nonsense" }, "InvalidTarget"],
      ["an empty URL", { url: "" }, "InvalidTarget"],
      ["another scheme", { url: "ftp://example.com/" }, "InvalidTarget"],
      ["a scheme that is like one", { url: "wsx://example.com/" }, "InvalidTarget"],
      ["a fragment", { url: "ws://example.com/#x" }, "InvalidTarget"],
      ["an empty fragment", { url: "ws://example.com/#" }, "InvalidTarget"],
      ["a fragment on a unix socket", { url: "ws+unix:///run/a.sock:/#x" }, "InvalidTarget"],
      ["a host beside a unix socket's path", { url: "ws+unix://run/a.sock:/" }, "InvalidHost"],
      ["a target without a slash on a unix socket", { url: "ws+unix:///run/a.sock:x" }, "InvalidTarget"],
      ["a user and password", { url: "ws://user:secret@example.com/" }, "InvalidHost"],
      ["a user", { url: "ws://user@example.com/" }, "InvalidHost"],
      ["a subprotocol that is no token", { subprotocols: ["a b"] }, "InvalidSubprotocol"],
      ["a subprotocol with a line end", { subprotocols: ["a\r\nX: y"] }, "InvalidSubprotocol"],
      ["a subprotocol twice", { subprotocols: ["a", "a"] }, "InvalidSubprotocol"],
      ["an empty subprotocol", { subprotocols: [""] }, "InvalidSubprotocol"],
      ["an Origin with a line end", { origin: "http://x\r\nX: y" }, "MalformedHeader"],
      ["a header with a line end", { headers: { X: "a\r\nY: b" } }, "MalformedHeader"],
      ["a header name with a blank", { headers: [["X Y", "z"]] }, "MalformedHeader"],
      ["a header beyond latin1", { headers: { X: "\u0100" } }, "MalformedHeader"],
      ["Host", { headers: { host: "other" } }, "ReservedHeader"],
      ["Sec-WebSocket-Key", { headers: { "Sec-WebSocket-Key": "x" } }, "ReservedHeader"],
      ["Sec-WebSocket-Protocol", { headers: { "sec-websocket-protocol": "x" } }, "ReservedHeader"],
      ["Origin twice", { headers: { Origin: "http://x" }, origin: "http://y" }, "ReservedHeader"],
      ["a cookie's name that is no token", { cookies: { "a b": "c" } }, "MalformedHeader"],
      ["a cookie's name that is empty", { cookies: { "": "c" } }, "MalformedHeader"],
      ["a cookie that holds another", { cookies: { a: "b; admin=1" } }, "MalformedHeader"],
      ["a cookie with a blank", { cookies: { a: "b c" } }, "MalformedHeader"],
      ["a cookie with a comma", { cookies: { a: "b,c" } }, "MalformedHeader"],
      ["a cookie with a quote inside", { cookies: { a: "b\"c" } }, "MalformedHeader"],
      ["a cookie with a backslash", { cookies: { a: "b\\c" } }, "MalformedHeader"],
      ["a cookie with a line end", { cookies: { a: "b\r\nX: y" } }, "MalformedHeader"],
      ["a cookie beyond ASCII", { cookies: { a: "é" } }, "MalformedHeader"]
    ] as ReadonlyArray<readonly [string, Options, Rule]>
  )("with %s is not sent", ([_, options, rule]) =>
    Effect.gen(function*() {
      const reason = yield* invalid(options)
      assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "InvalidRequest", rule })
    }))

  it.effect("takes headers as a record or as a list with repetitions, __proto__ and all", () =>
    Effect.gen(function*() {
      const list = yield* requestOf({ headers: [["X", "1"], ["x", "2"], ["__proto__", "3"]] })
      assert.deepStrictEqual(list.slice(6), ["X: 1", "x: 2", "__proto__: 3"])
      const record = yield* requestOf({ headers: { X: "1", Y: "é" } })
      assert.deepStrictEqual(record.slice(6), ["X: 1", "Y: é"])
    }))

  it.effect("has one Cookie header, whatever way cookies are given", () =>
    Effect.gen(function*() {
      const cookies = { b: "2", c: "\"3\"", d: "", e: "!#$%&'()*+-./:<=>?@[]^_`{|}~" }
      const head = yield* requestOf({ headers: [["cookie", "a=1"], ["X", "y"]], cookies })
      assert.deepStrictEqual(head.slice(6), [
        "X: y",
        "Cookie: a=1; b=2; c=\"3\"; d=; e=!#$%&'()*+-./:<=>?@[]^_`{|}~"
      ])
      assert.deepStrictEqual((yield* requestOf({ headers: { Cookie: "a=1" }, cookies: {} })).slice(6), ["Cookie: a=1"])
    }))
})

describe("RFC 6455 section 4.1: the response", () => {
  it.effect("that agrees gives a stream, with what was said on both sides", () =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* answer([...good, "Set-Cookie: a=b"])
      const stream = yield* Fiber.join(connecting)
      assert.strictEqual(stream.role, "client")
      assert.strictEqual(stream.handshake.request.target, "/chat")
      assert.deepStrictEqual(stream.handshake.response.headers.at(-1), ["Set-Cookie", "a=b"])
      assert.isUndefined(stream.handshake.subprotocol)
      assert.deepStrictEqual(stream.handshake.extensions, [])
      assert.isDefined(stream.handshake.peerAddress)
      yield* peer.end
    }))

  const without = (name: string) => good.filter((line) => !line.startsWith(name))
  it.effect.each(
    [
      ["garbage", ["garbage"], "MalformedStartLine"],
      ["a status of two digits", ["HTTP/1.1 10 x"], "MalformedStartLine"],
      ["HTTP/1.0", ["HTTP/1.0 101 x", ...good.slice(1)], "UnsupportedHttpVersion"],
      ["HTTP/2.0", ["HTTP/2.0 101 x", ...good.slice(1)], "UnsupportedHttpVersion"],
      ["a header without a colon", [...good, "oops"], "MalformedHeader"],
      ["a folded header", [...good, "X: a", " b"], "MalformedHeader"],
      ["no Upgrade", without("Upgrade"), "MissingUpgrade"],
      ["another Upgrade", [...without("Upgrade"), "Upgrade: h2c"], "MissingUpgrade"],
      ["two Upgrades", [...good, "Upgrade: h2c"], "MissingUpgrade"],
      ["no Connection", without("Connection"), "MissingConnectionUpgrade"],
      ["Connection: keep-alive", [...without("Connection"), "Connection: keep-alive"], "MissingConnectionUpgrade"],
      ["no Accept", without("Sec-"), "InvalidAccept"],
      ["Accept *", [...without("Sec-"), "Sec-WebSocket-Accept: *"], "InvalidAccept"],
      [
        "the Accept of another key",
        [...without("Sec-"), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
        "InvalidAccept"
      ],
      ["two Accepts", [...good, "Sec-WebSocket-Accept: $accept"], "InvalidAccept"],
      ["two subprotocols", [...good, "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"], "InvalidSubprotocol"],
      ["malformed extensions", [...good, "Sec-WebSocket-Extensions: ;"], "InvalidExtensions"]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<string>, Rule]>
  )("with %s is InvalidResponse, and the transport is closed", ([_, lines, rule]) =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* answer(lines)
      const reason = yield* reasonOf(Fiber.join(connecting))
      assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "InvalidResponse", rule })
      yield* peer.read()
      assert.strictEqual(yield* peer.next, "end")
    }))

  it.effect.each([
    ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"],
    ["connection: upgrade", "UPGRADE: WEBSOCKET"]
  ])("is read without regard to case, and among other tokens: %s, %s", (lines) =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* answer([good[0]!, ...lines, good[3]!])
      assert.strictEqual(yield* (yield* Fiber.join(connecting)).state, "Open")
      yield* peer.end
    }))

  it.effect("interim responses before it are passed over, eight at most", () =>
    Effect.gen(function*() {
      const interim = (count: number) =>
        Array.from({ length: count }, () => ["HTTP/1.1 103 Early Hints", "Link: x", ""])
      const eight = yield* answer([...interim(8).flat(), ...good])
      yield* Fiber.join(eight.connecting)
      yield* eight.peer.end
      const nine = yield* answer([...interim(9).flat(), ...good])
      assert.deepInclude({ ...(yield* reasonOf(Fiber.join(nine.connecting))) }, { status: 103 })
    }))

  it.effect.each([
    ["at the beginning", "", "PeerEnded"],
    ["in the middle", "HTTP/1.1 101 Sw", "PeerEnded"],
    ["behind the headers", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", "PeerEnded"]
  ])("that ends %s is TransportFailed", ([_, begun]) =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* begin()
      yield* Scripted.takeHead(peer)
      yield* peer.send(bytes(begun))
      yield* peer.end
      assert.strictEqual((yield* reasonOf(Fiber.join(connecting)))._tag, "TransportFailed")
    }))

  it.effect("heads may be as large as each limit, and one byte or line more is HeadTooLarge", () =>
    Effect.gen(function*() {
      const lines = [...good.slice(0, 3), `Sec-WebSocket-Accept: ${"x".repeat(28)}`, "X: 1"]
      const size = [...lines, "", ""].join("\r\n").length
      const longest = Math.max(...lines.map((line) => line.length)) + 2
      for (
        const [limit, exact] of [["maxHeadSize", size], ["maxHeaderLines", 4], ["maxHeaderLineSize", longest]] as const
      ) {
        const config = (value: number) => ({ config: { [limit]: value } })
        const fits = yield* answer([...good, "X: 1"], config(exact))
        yield* Fiber.join(fits.connecting)
        yield* fits.peer.end
        const tooLarge = yield* answer([...good, "X: 1"], config(exact - 1))
        const reason = yield* reasonOf(Fiber.join(tooLarge.connecting))
        assert.deepInclude({ ...reason, _tag: reason._tag }, { _tag: "HeadTooLarge", limit })
      }
    }))
})

describe("RFC 6455 section 1.9: subprotocols", () => {
  it.effect("the chosen one is told", () =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* answer([...good, "Sec-WebSocket-Protocol: b"], { subprotocols: ["a", "b"] })
      assert.strictEqual((yield* Fiber.join(connecting)).handshake.subprotocol, "b")
      yield* peer.end
    }))

  it.effect("none is chosen: taken unless one is required", () =>
    Effect.gen(function*() {
      const taken = yield* answer(good, { subprotocols: ["a"] })
      assert.isUndefined((yield* Fiber.join(taken.connecting)).handshake.subprotocol)
      yield* taken.peer.end
      const required = yield* answer(good, { subprotocols: ["a"], requireSubprotocol: true })
      const reason = yield* reasonOf(Fiber.join(required.connecting))
      assert.deepInclude({ ...reason, _tag: reason._tag }, {
        _tag: "SubprotocolRefused",
        offered: ["a"],
        chosen: undefined
      })
    }))

  it.effect.each(
    [
      ["c", ["a"]],
      ["A", ["a"]],
      ["a, b", ["a", "b"]],
      ["a", []]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<string>]>
  )("%s was not offered by %j", ([chosen, subprotocols]) =>
    Effect.gen(function*() {
      const { connecting } = yield* answer([...good, `Sec-WebSocket-Protocol: ${chosen}`], { subprotocols })
      const reason = yield* reasonOf(Fiber.join(connecting))
      assert.deepInclude({ ...reason, _tag: reason._tag }, {
        _tag: "SubprotocolRefused",
        offered: subprotocols,
        chosen
      })
    }))
})

it.effect("RFC 6455 section 9.1: an extension that was not offered is refused", () =>
  Effect.gen(function*() {
    const { connecting } = yield* answer([...good, "Sec-WebSocket-Extensions: permessage-deflate; x=1, y"])
    const reason = yield* reasonOf(Fiber.join(connecting))
    assert.deepInclude({ ...reason, _tag: reason._tag }, {
      _tag: "ExtensionRefused",
      extension: "permessage-deflate; x=1, y"
    })
  }))

describe("a refusal", () => {
  const refusal = Effect.fnUntraced(function*(lines: ReadonlyArray<string>, body = "", options: Options = {}) {
    const { connecting, peer } = yield* answer(lines, options)
    yield* peer.send(bytes(body))
    return { refused: yield* Effect.forkChild(reasonOf(Fiber.join(connecting))), peer }
  })

  const declined = (reason: { readonly _tag: string }) => {
    assert.instanceOf(reason, WebSocketError.UpgradeDeclined)
    return { ...reason, body: new TextDecoder().decode(reason.body) }
  }

  it.effect("tells status, headers as they came, body and when to try again", () =>
    Effect.gen(function*() {
      const headers = ["Content-Length: 5", "X: 1", "x: 2", "Retry-After: 120"]
      const { refused } = yield* refusal(["HTTP/1.1 503 Later", ...headers], "later and more")
      assert.deepInclude(declined(yield* Fiber.join(refused)), {
        status: 503,
        headers: [["Content-Length", "5"], ["X", "1"], ["x", "2"], ["Retry-After", "120"]],
        body: "later",
        retryAfter: 120_000
      })
    }))

  it.effect.each([
    ["0", 0],
    ["soon", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["9999999999999999", undefined],
    // dates in the three forms of RFC 9110 section 5.6.7, told at 07:27:30
    ["Wed, 21 Oct 2015 07:28:00 GMT", 30_000],
    ["Wednesday, 21-Oct-15 07:28:00 GMT", 30_000],
    ["Wed Oct 21 07:28:00 2015", 30_000],
    ["Wed, 21 Oct 2015 07:27:30 GMT", 0],
    ["Wed, 21 Oct 2015 07:27:29 GMT", 0],
    ["Wed, 21 Oct 2015 07:28:00 PST", undefined],
    ["Wed, 32 Oct 2015 07:28:00 GMT", undefined],
    ["2015-10-21T07:28:00Z", undefined]
  ])("Retry-After: %s is %s", ([value, retryAfter]) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_445_412_450_000)
      const { refused } = yield* refusal(["HTTP/1.1 503 x", "Content-Length: 0", `Retry-After: ${value}`])
      assert.strictEqual(declined(yield* Fiber.join(refused)).retryAfter, retryAfter)
    }))

  it.effect.each([100, 200, 204, 301, 304, 400, 401, 403, 426, 500, 599])(
    "of status %d is UpgradeDeclined",
    (status) =>
      Effect.gen(function*() {
        const lines = [`HTTP/1.1 ${status} x`, "Content-Length: 0"]
        const interim = status < 200 ? Array.from({ length: 9 }, () => [...lines, ""]).flat().slice(0, -1) : lines
        const { refused } = yield* refusal(interim)
        assert.strictEqual(declined(yield* Fiber.join(refused)).status, status)
      })
  )

  it.effect.each(
    [
      ["by Content-Length, at once", ["Content-Length: 4"], ["bo", "dy, and more"], "body", false],
      ["without one, by the end", [], ["bo", "dy"], "body", true],
      ["by a length that is none, by the end", ["Content-Length: -3"], ["body"], "body", true],
      ["by an end that comes early", ["Content-Length: 10"], ["body"], "body", true],
      ["over maxRefusalBody, cut there", ["Content-Length: 100"], ["0123456789"], "01234567", false],
      ["without an end, cut there", [], ["01234", "56789"], "01234567", false],
      ["in chunks", ["Transfer-Encoding: chunked"], ["2\r\nbo\r\n", "2;x=y\r", "\ndy\r\n0\r\n\r\n"], "body", false],
      ["in large chunks, cut", ["transfer-encoding: gzip, Chunked"], ["A\r\n0123456789\r\n"], "01234567", false],
      ["in broken chunks", ["Transfer-Encoding: chunked"], ["2\r\nbo\r\nzz\r\ndy"], "bo", false],
      ["in chunks of an endless size line", ["Transfer-Encoding: chunked"], ["1".repeat(300)], "", false],
      ["in chunks, one byte each", ["Transfer-Encoding: chunked"], [..."4\r\nbody\r\n0\r\n\r\n"], "body", false]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<string>, ReadonlyArray<string>, string, boolean]>
  )("its body ends %s", ([_, headers, parts, body, ends]) =>
    Effect.gen(function*() {
      const { peer, refused } = yield* refusal(["HTTP/1.1 403 No", ...headers], "", { config: { maxRefusalBody: 8 } })
      for (const part of parts) {
        yield* Effect.ignore(peer.writer.write(part))
        yield* settled
      }
      assert.strictEqual(refused.pollUnsafe() === undefined, ends)
      yield* peer.end
      assert.strictEqual(declined(yield* Fiber.join(refused)).body, body)
    }))

  it.effect.each([204, 304])("of status %d has no body to wait for", (status) =>
    Effect.gen(function*() {
      const { refused } = yield* refusal([`HTTP/1.1 ${status} x`])
      assert.strictEqual(declined(yield* Fiber.join(refused)).body, "")
    }))

  it.effect("that never ends is given after closeTimeout", () =>
    Effect.gen(function*() {
      const { refused } = yield* refusal(["HTTP/1.1 403 No"], "so far", { config: { closeTimeout: 2000 } })
      yield* TestClock.adjust(1999)
      assert.isUndefined(refused.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(declined(yield* Fiber.join(refused)).body, "so far")
    }))

  it.effect("closes the transport", () =>
    Effect.gen(function*() {
      const { peer, refused } = yield* refusal(["HTTP/1.1 403 No", "Content-Length: 0"])
      yield* Fiber.join(refused)
      yield* peer.read()
      assert.strictEqual(yield* peer.next, "end")
    }))
})

describe("bytes behind the response are frames", () => {
  const frames = [encode("server", text("first")), encode("server", text("second")), encode("server", close(4000))]
  it.effect("in the same chunk, or split from it at any byte", () =>
    Effect.gen(function*() {
      const length =
        Scripted.concat([bytes(Scripted.responseHead(`Sec-WebSocket-Key: ${Scripted.key}\r\n`)), ...frames]).length
      for (let at = 0; at <= length; at++) {
        const { connecting, peer } = yield* begin()
        const { head } = yield* Scripted.takeHead(peer)
        const whole = Scripted.concat([bytes(Scripted.responseHead(head)), ...frames])
        yield* peer.send(whole.subarray(0, at))
        yield* settled
        yield* peer.send(whole.subarray(at))
        const stream = yield* Fiber.join(connecting)
        assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["first", "second"], `split at ${at}`)
        yield* peer.end
        assert.strictEqual((yield* stream.closed).code, 4000)
      }
    }))

  it.effect("byte by byte", () =>
    Effect.gen(function*() {
      const { connecting, peer } = yield* begin()
      const { head } = yield* Scripted.takeHead(peer)
      for (const byte of Scripted.concat([bytes(Scripted.responseHead(head)), ...frames])) {
        yield* peer.send(Uint8Array.of(byte))
        yield* Effect.yieldNow
      }
      const stream = yield* Fiber.join(connecting)
      assert.deepStrictEqual([yield* stream.read, yield* stream.read], ["first", "second"])
      yield* peer.end
    }))
})

describe("connect", () => {
  /** A server that refuses the first `refusals` requests with 401 and notes what it is asked. */
  const picky = Effect.fnUntraced(function*(refusals: number) {
    const { client, server } = yield* MemoryTransport.makeServer()
    const tokens: Array<string> = []
    yield* server.run((connection) =>
      Effect.gen(function*() {
        const peer = yield* Scripted.open("server", connection)
        const { head } = yield* Scripted.takeHead(peer)
        tokens.push(/Authorization: (.*)\r\n/.exec(head)![1]!)
        if (tokens.length <= refusals) {
          return yield* peer.send(bytes("HTTP/1.1 401 No\r\nContent-Length: 0\r\nRetry-After: 2\r\n\r\n"))
        }
        yield* peer.send(bytes(Scripted.responseHead(head)))
        yield* peer.read()
        assert.strictEqual(yield* peer.next, "close 1000")
        yield* peer.send(close(1000))
      }).pipe(Effect.scoped, Effect.orDie)
    ).pipe(Effect.forkScoped)
    return { client, tokens }
  })

  it.effect("evaluates its options for every attempt, so that a retry has a fresh token", () =>
    Effect.gen(function*() {
      const { client, tokens } = yield* picky(3)
      let token = 0
      const options = Effect.sync(() => ({ url, headers: { Authorization: `token ${++token}` } }))
      const connecting = yield* WebSocketClient.connect(options).pipe(
        Effect.retry(Schedule.exponential("1 second")),
        Effect.flatMap((stream) => stream.state),
        Effect.scoped,
        Effect.provideService(Transport.Transport, client),
        Effect.forkChild
      )
      yield* settled
      yield* TestClock.adjust(6999)
      assert.deepStrictEqual(tokens, ["token 1", "token 2", "token 3"])
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(connecting), "Open")
      assert.deepStrictEqual(tokens.at(-1), "token 4")
    }))

  it.effect("a refusal tells a schedule when to come back", () =>
    Effect.gen(function*() {
      const { client, tokens } = yield* picky(1)
      const connecting = yield* WebSocketClient.connect({ url, headers: { Authorization: "x" } }).pipe(
        Effect.retry({
          while: (error) => error.reason._tag === "UpgradeDeclined",
          schedule: Schedule.forever.pipe(
            Schedule.passthrough,
            Schedule.modifyDelay(({ input }) =>
              Effect.succeed(
                input instanceof WebSocketError.HandshakeError && input.reason._tag === "UpgradeDeclined"
                  ? input.reason.retryAfter ?? 0
                  : 0
              )
            )
          )
        }),
        Effect.scoped,
        Effect.provideService(Transport.Transport, client),
        Effect.forkChild
      )
      yield* settled
      yield* TestClock.adjust(1999)
      assert.strictEqual(tokens.length, 1)
      yield* TestClock.adjust(1)
      yield* Fiber.join(connecting)
      assert.strictEqual(tokens.length, 2)
    }))

  it.effect("fails with the error of its options, having opened nothing", () =>
    Effect.gen(function*() {
      const never = Transport.make(Effect.die("opened"))
      const failing = WebSocketClient.connect(Effect.fail("no token" as const))
      assert.strictEqual(
        yield* Effect.flip(Effect.provideService(failing, Transport.Transport, never)),
        "no token"
      )
    }))

  it.effect("a transport that cannot be opened is TransportFailed", () =>
    Effect.gen(function*() {
      const refused = Transport.make(Effect.fail(Transport.locallyClosed()))
      const reason = yield* WebSocketClient.connect({ url }).pipe(
        Effect.provideService(Transport.Transport, refused),
        reasonOf
      )
      assert.strictEqual(reason._tag, "TransportFailed")
    }))

  it.effect("interrupted at any moment leaves the transport closed and nothing behind", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 30; turns++) {
        const [own, other] = yield* MemoryTransport.makePair()
        const peer = yield* Scripted.open("server", other)
        const serving = yield* Scripted.takeHead(peer).pipe(
          Effect.flatMap(({ head }) => peer.send(bytes(Scripted.responseHead(head)))),
          Effect.andThen(peer.read()),
          Effect.forkChild
        )
        const connecting = yield* WebSocketClient.connect({ url, config: { closeTimeout: 10 } }).pipe(
          Effect.andThen(Effect.never),
          Effect.scoped,
          Effect.provideService(Transport.Transport, own),
          Effect.forkChild
        )
        yield* Effect.replicateEffect(Effect.yieldNow, turns)
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(connecting))
        yield* TestClock.adjust(20)
        yield* Fiber.join(interrupting)
        yield* Fiber.interrupt(serving)
        assert.strictEqual(yield* Scripted.deadlines, 0, `after ${turns} turns`)
        // Whatever was reached, the peer's pulls do not wait.
        yield* Effect.ignore(Effect.forever(peer.pull))
      }
    }))

  it.effect("takes its limits from the environment, field by field under its own", () =>
    Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const connecting = yield* WebSocketClient.connect({ url, config: { maxMessageSize: 4 } }).pipe(
        Effect.provideService(Transport.Transport, own),
        Effect.provide(WebSocketConfig.layer({ maxMessageSize: 2, maxFragments: 1 })),
        Effect.forkChild
      )
      const peer = yield* Scripted.open("server", other)
      const { head } = yield* Scripted.takeHead(peer)
      yield* peer.send(bytes(Scripted.responseHead(head)), text("1234"), text("1", false), Scripted.continuation("2"))
      const stream = yield* Fiber.join(connecting)
      assert.strictEqual(yield* stream.read, "1234")
      assert.strictEqual((yield* reasonOf(stream.read))._tag, "TooManyFragments")
      yield* peer.end
    }))

  it.effect("streams over one transport are connections of their own, however they come about", () =>
    Effect.gen(function*() {
      const { client, server } = yield* MemoryTransport.makeServer()
      yield* server.run((connection) =>
        Effect.gen(function*() {
          const peer = yield* Scripted.open("server", connection)
          const { head } = yield* Scripted.takeHead(peer)
          yield* peer.send(bytes(Scripted.responseHead(head)), text(/GET \/(\S*)/.exec(head)![1]!))
          yield* peer.read()
          const echoed = yield* peer.next
          yield* peer.send(text(echoed), close(1000))
          yield* peer.end
          return yield* Effect.never
        }).pipe(Effect.scoped, Effect.orDie)
      ).pipe(Effect.forkScoped)
      const connect = (name: number) => WebSocketClient.connect({ url: `ws://h/${name}` })
      const streams = yield* Effect.forEach(Array.from({ length: 20 }, (_, n) => n), connect, {
        concurrency: "unbounded"
      }).pipe(
        Effect.provideService(Transport.Transport, client),
        // every step lets the others go on
        Effect.provideService(References.MaxOpsBeforeYield, 3)
      )
      for (const [name, stream] of streams.entries()) yield* stream.write(`I am ${name}`)
      for (const [name, stream] of streams.entries()) {
        assert.deepStrictEqual([yield* stream.read, yield* stream.read], [String(name), `text I am ${name}`])
        assert.isTrue((yield* stream.closed).clean)
      }
    }))

  it.effect("as a layer it closes with the layer", () =>
    Effect.gen(function*() {
      const [own, other] = yield* MemoryTransport.makePair()
      const peer = yield* Scripted.open("server", other)
      const program = Effect.flatMap(WebSocketStream, (stream) => stream.write("hello")).pipe(
        Effect.provide(
          Layer.provide(WebSocketClient.layer(Effect.succeed({ url })), Layer.succeed(Transport.Transport, own))
        )
      )
      const running = yield* Effect.forkChild(program)
      const { head } = yield* Scripted.takeHead(peer)
      yield* peer.send(bytes(Scripted.responseHead(head)))
      yield* peer.read()
      assert.deepStrictEqual(yield* peer.take(2), ["text hello", "close 1000"])
      yield* peer.send(close(1000))
      yield* peer.end
      assert.strictEqual(yield* Fiber.join(running), 5)
    }))
})
