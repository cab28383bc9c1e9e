import { assert, describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketError from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Network from "./fixtures/network.ts"
import * as Scripted from "./fixtures/scripted.ts"

const secrets = {
  headers: { "authorization": "Bearer x", "Cookie": "a=1", "PROXY-authorization": "Basic x", "X-Trace": "1" },
  cookies: { b: "2" },
  subprotocols: ["chat"]
}
const sent = ["authorization: Bearer x", "PROXY-authorization: Basic x", "X-Trace: 1", "Cookie: a=1; b=2"]

/** Accepts, and sees the connection to its end. */
const accepts = (peer: Scripted.Peer) =>
  Effect.andThen(peer.read(), Effect.andThen(peer.next, Effect.andThen(peer.send(Scripted.close(1000)), peer.end)))

const to = (location: string, status = 302) => [`HTTP/1.1 ${status} x`, `Location: ${location}`]

/** Connects to a network that redirects to each of `locations` in turn and then accepts. */
const run = Effect.fnUntraced(
  function*(url: string, answers: ReadonlyArray<Network.Answer>, followRedirects: number | undefined = answers.length) {
    const { dialer, requests } = yield* Network.make((_, index) => answers[index] ?? accepts)
    const outcome = yield* WebSocketClient.dial({ url, followRedirects, ...secrets }).pipe(
      Effect.flatMap((stream) => stream.state),
      Effect.scoped,
      Effect.catchTag("HandshakeError", (error) => Effect.succeed(error.reason)),
      Effect.provideService(Transport.TransportDialer, dialer)
    )
    return { outcome, requests }
  }
)

const redirected = Effect.fnUntraced(function*(from: string, ...locations: ReadonlyArray<string>) {
  const { outcome, requests } = yield* run(from, locations.map((location) => to(location)))
  assert.strictEqual(outcome, "Open")
  return requests.slice(1)
})

describe("RFC 9110 section 15.4: redirections", () => {
  it.effect.each([301, 302, 303, 307, 308])(
    "with %d are followed where it is asked for",
    (status) =>
      Effect.gen(function*() {
        const { outcome, requests } = yield* run("ws://a/x?q", [to("/y", status)])
        assert.strictEqual(outcome, "Open")
        assert.deepStrictEqual(requests.map(({ url }) => url), ["ws://a/x?q", "ws://a/y"])
        assert.deepStrictEqual(requests[1]!.lines, [
          "GET /y HTTP/1.1",
          "Host: a",
          "Sec-WebSocket-Protocol: chat",
          ...sent
        ])
      })
  )

  it.effect.each([undefined, 0])("are not followed by default (%s)", (followRedirects) =>
    Effect.gen(function*() {
      const { dialer, requests } = yield* Network.make(() => to("/y"))
      const reason = yield* WebSocketClient.dial({ url: "ws://a/x", followRedirects }).pipe(
        Effect.provideService(Transport.TransportDialer, dialer),
        Scripted.reasonOf
      )
      assert.strictEqual(reason._tag, "UpgradeDeclined")
      assert.deepInclude((reason as WebSocketError.UpgradeDeclined).headers, ["Location", "/y"])
      assert.strictEqual(requests.length, 1)
    }))

  it.effect.each([200, 300, 304, 305, 306, 309, 401])(
    "%d with a Location is a refusal",
    (status) =>
      Effect.gen(function*() {
        const { outcome, requests } = yield* run("ws://a/x", [to("/y", status)])
        assert.deepInclude(outcome, { _tag: "UpgradeDeclined", status })
        assert.strictEqual(requests.length, 1)
      })
  )

  it.effect("302 without a Location is a refusal", () =>
    Effect.gen(function*() {
      const { outcome } = yield* run("ws://a/x", [["HTTP/1.1 302 x"]])
      assert.deepInclude(outcome, { _tag: "UpgradeDeclined", status: 302 })
    }))

  it.effect.each([
    ["ws://a/d/x?q", "y", "ws://a/d/y"],
    ["ws://a/d/x?q", "?p", "ws://a/d/x?p"],
    ["ws://a/d/x", "../y", "ws://a/y"],
    ["ws://a/x", "//b:81/y", "ws://b:81/y"],
    ["ws://a/x", "ws://b/y", "ws://b/y"],
    ["ws://a/x", "wss://b/y", "wss://b/y"],
    ["ws://a/x", "http://b/y", "ws://b/y"],
    ["ws://a/x", "https://b/y", "wss://b/y"],
    ["ws://a/x", "https://b:8443/y", "wss://b:8443/y"],
    ["ws://a/x", "HTTP://B:80/y", "ws://b/y"],
    ["wss://a/x", "https://b/y", "wss://b/y"],
    ["http://a/x", "/y", "ws://a/y"],
    ["https://a/x", "/y", "wss://a/y"],
    ["ws://a/x", "/y#fragment", "ws://a/y"],
    ["ws://a/x", "/y?é", "ws://a/y?%C3%83%C2%A9"],
    ["ws+unix:///run/a.sock:/d/x", "y", "ws+unix:///run/a.sock:/d/y"],
    ["ws+unix:///run/a.sock", "/y?q", "ws+unix:///run/a.sock:/y?q"],
    ["ws+unix:///run/a.sock:/x", "wss://b/y", "wss://b/y"],
    ["wss+unix:///run/a.sock:/x", "/y", "wss+unix:///run/a.sock:/y"]
  ])("from %s to %s lead to %s", ([from, location, url]) =>
    Effect.gen(function*() {
      const [request] = yield* redirected(from, location)
      assert.strictEqual(request!.url, url)
    }))

  it.effect.each(
    [
      ["wss://a/x", "ws://a/y", "Downgrade"],
      ["wss://a/x", "http://a/y", "Downgrade"],
      ["https://a/x", "ws://b/y", "Downgrade"],
      ["wss+unix:///s:/x", "ws://a/y", "Downgrade"],
      ["ws://a/x", "ftp://a/y", "OtherScheme"],
      ["ws://a/x", "file:///etc/passwd", "OtherScheme"],
      ["ws://a/x", "ws+unix:///run/docker.sock:/y", "OtherScheme"],
      ["ws+unix:///run/a.sock:/x", "ws+unix:///run/docker.sock:/y", "OtherScheme"],
      ["ws://a/x", "javascript:0", "OtherScheme"],
      ["ws://a/x", "ws://user:secret@b/y", "Userinfo"],
      ["ws://a/x", "ws://a@b/y", "Userinfo"],
      ["ws://a/x", "ws://[/y", "InvalidLocation"],
      ["ws+unix:///run/a.sock:/x", "//b/y", "InvalidLocation"]
    ] as ReadonlyArray<readonly [string, string, WebSocketError.RedirectRule]>
  )("from %s to %s are RedirectRefused: %s", ([from, location, rule]) =>
    Effect.gen(function*() {
      const { outcome, requests } = yield* run(from, [to(location)], 5)
      assert.deepInclude(outcome, { _tag: "RedirectRefused", rule, status: 302, location })
      assert.strictEqual(requests.length, 1)
    }))

  it.effect("are followed n times and no more, so that loops end", () =>
    Effect.gen(function*() {
      const loop = (count: number) => Array.from({ length: count }, () => to("/x"))
      assert.strictEqual((yield* run("ws://a/x", loop(3), 3)).outcome, "Open")
      const { outcome, requests } = yield* run("ws://a/x", loop(4), 3)
      assert.deepInclude(outcome, { _tag: "RedirectRefused", rule: "TooMany", status: 302, location: "/x" })
      assert.strictEqual(requests.length, 4)
    }))
})

describe("credentials", () => {
  const credentials = (request: Network.Request) => request.lines.filter((line) => !/^(?:GET|Host|Sec)/.test(line))

  it.effect.each([
    ["ws://a/x", "ws://a:80/y"],
    ["ws://a/x", "http://A/y"],
    ["wss://a/x", "https://a:443/y"],
    ["wss://a:8443/x", "/y"],
    ["ws+unix:///run/a.sock:/x", "/y"]
  ])("go along within an origin, from %s to %s", ([from, location]) =>
    Effect.gen(function*() {
      const [request] = yield* redirected(from, location)
      assert.deepStrictEqual(credentials(request!), sent)
    }))

  it.effect.each([
    ["ws://a/x", "ws://b/x"],
    ["ws://a/x", "ws://a.a/x"],
    ["ws://a/x", "ws://a:81/x"],
    ["ws://a/x", "wss://a/x"],
    ["wss://a/x", "//b/x"],
    ["ws+unix:///run/a.sock:/x", "ws://localhost/x"]
  ])("stay behind when the origin changes, from %s to %s", ([from, location]) =>
    Effect.gen(function*() {
      const [request] = yield* redirected(from, location)
      assert.deepStrictEqual(credentials(request!), ["X-Trace: 1"])
      assert.include(request!.lines, "Sec-WebSocket-Protocol: chat")
    }))

  it.effect("do not come back on the way back", () =>
    Effect.gen(function*() {
      const [away, back] = yield* redirected("ws://a/x", "ws://b/x", "ws://a/x")
      assert.deepStrictEqual([away, back].map((request) => credentials(request!)), [["X-Trace: 1"], ["X-Trace: 1"]])
    }))
})

describe("dial", () => {
  const server = WebSocketServer.serve(
    Effect.flatMap(WebSocketStream, (stream) => stream.write(stream.handshake.request.target))
  ).pipe(Layer.provide(WebSocketServer.layer()))
  const network = Layer.provideMerge(server, MemoryTransport.layer())

  it.effect("reaches the server of a memory transport by any URL, as a layer too", () =>
    Effect.gen(function*() {
      const read = Effect.flatMap(WebSocketStream, (stream) => stream.read)
      const dialled = Effect.provide(read, WebSocketClient.layerDial({ url: "wss://example.com/a" }))
      assert.strictEqual(yield* dialled, "/a")
      const stream = yield* WebSocketClient.dial(Effect.succeed({ url: new URL("ws://example.com/b") }))
      assert.strictEqual(yield* stream.read, "/b")
    }).pipe(Effect.provide(network)))

  it.effect("fails with the error of its options, having dialled nothing", () =>
    Effect.gen(function*() {
      const dialer = { dial: () => assert.fail("dialled") }
      const failing = WebSocketClient.dial(Effect.fail("no token" as const))
      assert.strictEqual(
        yield* Effect.flip(Effect.provideService(failing, Transport.TransportDialer, dialer)),
        "no token"
      )
    }))

  it.effect("a URL that cannot be dialled is TransportFailed", () =>
    Effect.gen(function*() {
      const dialer = { dial: () => Transport.make(Effect.fail(Transport.locallyClosed())) }
      const reason = yield* WebSocketClient.dial({ url: "ws://a/" }).pipe(
        Effect.provideService(Transport.TransportDialer, dialer),
        Scripted.reasonOf
      )
      assert.strictEqual(reason._tag, "TransportFailed")
    }))
})
