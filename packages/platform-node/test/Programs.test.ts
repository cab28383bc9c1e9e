/**
 * The programs of the scratchpad, run as a user runs them: as processes of their own.
 */
import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeTransportServer from "@effect-websocket/platform-node/NodeTransportServer"
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { type Connection, Transport, TransportServer } from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import * as certificates from "./fixtures/certificates.ts"
import * as transports from "./fixtures/transports.ts"

const scratchpad = Path.join(import.meta.dirname, "../../../scratchpad")

/** A process takes a second to start where processors are busy. */
const patience = 60_000

const live = <A, E>(name: string, test: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  it.live(name, () => test.pipe(Effect.scoped, Effect.provide(NodeServices.layer)), patience)

/** Starts a program whose lines can be waited for; it is ended by its id with the scope. */
const start = Effect.fnUntraced(function*(program: string, args: ReadonlyArray<string>) {
  const handle = yield* ChildProcess.make(process.execPath, [Path.join(scratchpad, program), ...args], {
    env: { NO_COLOR: "1" },
    extendEnv: true
  })
  const lines = yield* Queue.make<string, Cause.Done>()
  yield* handle.all.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => Queue.offer(lines, line)),
    Effect.ensuring(Queue.end(lines)),
    Effect.forkScoped
  )
  return { handle, lines }
})

/** Runs a program to its end. */
const run = Effect.fnUntraced(function*(program: string, ...args: ReadonlyArray<string>) {
  const { handle, lines } = yield* start(program, args)
  const output = yield* Stream.runCollect(Stream.fromQueue(lines))
  return { code: Number(yield* handle.exitCode), output }
})

const has = (output: ReadonlyArray<string>, text: string) =>
  assert.isTrue(output.some((line) => line.includes(text)), `no "${text}" in:\n${output.join("\n")}`)

describe("the lessons", () => {
  const lessons = {
    "authentication.ts": ["refused with 401: Your token is too old.", "Welcome, Ann.", "Welcome, Bob.", "with 403"],
    "concurrent-writers.ts": ["answered before it", "100 fibers' messages and one of 8388608 bytes, 0 out of order"],
    "reconnecting.ts": ["weather 1.2", "1012 retry-after=700", "weather 2.2", "weather 3.2", "the feed has ended"],
    "graceful-deployment.ts": [
      "bob: asked to come back in",
      "bob: with version 3",
      "bob heard 30 of 30, each once and in order"
    ],
    "rpc.ts": ["in stock: 5", "2 for Ann, 3 left", "Ann wants 4 and 3 are left", "in stock: 0", "Stranger"],
    "typed-errors.ts": ["connected at attempt 3", "close code 1006 may not be sent", "MessageTooBig: over 4096 bytes"],
    "test-without-network.ts": ["10 minutes later: Open, 20 pings", "\"The peer left 2 pings unanswered\" after 420 s"],
    "upload.ts": [
      "sent 75 %",
      "thank you, and has an upload of 8388608 bytes",
      "KiB ahead at most",
      "the server sees: ReadError/ConnectionClosed in the middle of an upload, close code 1001"
    ]
  }
  for (const [program, texts] of Object.entries(lessons)) {
    live(
      `${program} runs to its end and shows what it says`,
      Effect.gen(function*() {
        const { code, output } = yield* run(program)
        for (const text of texts) has(output, text)
        assert.strictEqual(code, 0)
      })
    )
  }
})

describe("the upload", () => {
  live(
    "is ahead of a slow server by no more than what the buffers on the way hold",
    Effect.gen(function*() {
      const { output } = yield* run("upload.ts")
      const [, ahead] = /was (\d+) KiB ahead/.exec(output.join("\n"))!
      assert.isAtMost(Number(ahead), 512)
    })
  )
})

describe("the chat", () => {
  live(
    "serves its page and its socket on one port",
    Effect.gen(function*() {
      const { lines } = yield* start("chat.ts", ["--port", "0"])
      const url = (yield* Queue.take(lines)).replace("listening on ", "")
      assert.include(
        yield* Effect.promise(() => fetch(url).then((response) => response.text())),
        "<title>A chat</title>"
      )
      const stream = yield* NodeWebSocketClient.connect({ url: `${url.replace("http", "ws")}/chat` })
      yield* stream.write(JSON.stringify({ _tag: "Join", client: "1", name: "Ann" }))
      assert.include(yield* stream.read, "Welcome")
      assert.strictEqual(yield* Queue.take(lines), "GET /chat HTTP/1.1")
    })
  )
})

describe("the demo", () => {
  live(
    "streams a file over four transports and shows two typed errors",
    Effect.gen(function*() {
      const files = yield* FileSystem.FileSystem
      const path = Path.join(yield* files.makeTempDirectoryScoped(), "file")
      yield* files.writeFile(path, Uint8Array.from({ length: 300_000 }, (_, index) => index * index))
      const { code, output } = yield* run("stream-file.ts", "--file", path)
      for (const name of ["TCP", "TLS", "unix socket", "memory"]) {
        const row = output.find((line) => line.trim().startsWith(name) && line.endsWith("1000 clean"))
        assert.include(row, "300 000", `no row of ${name} in:\n${output.join("\n")}`)
      }
      has(output, "HandshakeError/UpgradeDeclined")
      has(output, "Retry-After: 30")
      has(output, "ReadError/ProtocolViolation/ReservedBits")
      has(output, "everything held")
      assert.strictEqual(code, 0)
    })
  )

  live(
    "fails for a file that is not there",
    Effect.gen(function*() {
      const { code } = yield* run("stream-file.ts", "--file", Path.join(scratchpad, "no such file"))
      assert.strictEqual(code, 1)
    })
  )
})

describe("the echo server", () => {
  interface Place {
    readonly args: ReadonlyArray<string>
    readonly url: RegExp
    readonly ca?: string
  }

  const places: {
    readonly [name: string]: Effect.Effect<Place, unknown, FileSystem.FileSystem | Scope.Scope>
  } = {
    "TCP": Effect.succeed({ args: ["--port", "0"], url: /^ws:\/\/127\.0\.0\.1:\d+$/ }),
    "TLS": Effect.gen(function*() {
      const { cert, key } = yield* Effect.promise(() => certificates.selfSigned("IP:127.0.0.1"))
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const paths = { cert: Path.join(directory, "cert.pem"), key: Path.join(directory, "key.pem") }
      yield* Effect.all([files.writeFileString(paths.cert, cert), files.writeFileString(paths.key, key)])
      const args = ["--port", "0", "--tls-cert", paths.cert, "--tls-key", paths.key]
      return { args, url: /^wss:\/\/127\.0\.0\.1:\d+$/, ca: cert }
    }),
    "a unix socket": Effect.map(transports.directory, (directory) => ({
      args: ["--unix", Path.join(directory, "echo.sock")],
      url: /^ws\+unix:\/.*echo\.sock$/
    }))
  }

  const announced = "listening on "
  const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => index)

  for (const [name, place] of Object.entries(places)) {
    for (const mode of ["whole", "parts", "batch"]) {
      live(
        `echoes over ${name} in the mode ${mode} and says 1001 when told to stop`,
        Effect.gen(function*() {
          const { args, ca, url } = yield* place
          const { handle, lines } = yield* start("echo-server.ts", [...args, "--mode", mode])
          const line = yield* Queue.take(lines)
          assert.isTrue(line.startsWith(announced), line)
          const at = line.slice(announced.length)
          assert.match(at, url)
          const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" }).pipe(
            Effect.provideService(Transport, NodeTransport.fromUrl(at, { tls: { ca } }))
          )
          yield* stream.writeAll(["grüße", ""])
          assert.strictEqual(yield* stream.read, "grüße")
          assert.strictEqual(yield* stream.read, "")
          yield* stream.write(bytes)
          assert.deepStrictEqual(yield* stream.read, bytes)
          yield* handle.kill({ killSignal: "SIGTERM" })
          const status = yield* stream.closed
          assert.deepStrictEqual([status.code, status.initiator, status.clean], [1001, "peer", true])
          assert.strictEqual(Number(yield* handle.exitCode), 0)
        })
      )
    }
  }

  live(
    "refuses a message over its limit with 1009",
    Effect.gen(function*() {
      const { lines } = yield* start("echo-server.ts", ["--port", "0", "--max-message-size", "10"])
      const line = yield* Queue.take(lines)
      const stream = yield* WebSocketClient.connect({ url: "ws://localhost/" }).pipe(
        Effect.provideService(Transport, NodeTransport.fromUrl(line.slice(announced.length)))
      )
      yield* stream.write("0123456789")
      assert.strictEqual(yield* stream.read, "0123456789")
      yield* stream.write("01234567890")
      assert.strictEqual((yield* stream.closed).code, 1009)
    })
  )
})

describe("the echo client", () => {
  const urlOf = (server: TransportServer["Service"]) => `ws://127.0.0.1:${transports.portOf(server)}`

  const lastLine = (output: ReadonlyArray<string>): unknown => JSON.parse(output.at(-1)!)

  /** Serves what `handler` does with each connection. */
  const serve = Effect.fnUntraced(function*<E>(
    handler: Effect.Effect<unknown, E, WebSocketStream>,
    options: WebSocketServer.AcceptOptions = {}
  ) {
    const transport = yield* NodeTransportServer.make({ port: 0, linger: transports.linger })
    yield* Layer.build(
      WebSocketServer.serve(handler).pipe(
        Layer.provide(WebSocketServer.layer(options)),
        Layer.provide(Layer.succeed(TransportServer, transport))
      )
    )
    return urlOf(transport)
  })

  live(
    "echoes until the server closes, with its headers and subprotocols",
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const url = yield* serve(
        WebSocketStream.use((stream) =>
          Effect.gen(function*() {
            const { request, subprotocol } = stream.handshake
            seen.push(subprotocol, request.headers.find(([name]) => name === "X-Token"))
            yield* stream.writeAll(["one", "two"])
            seen.push(yield* stream.read, yield* stream.read)
            yield* stream.close({ code: 4000, reason: "enough" })
          })
        ),
        { subprotocols: ["chat"] }
      )
      const args = ["--mode", "batch", "--header", "X-Token: a:b", "--protocol", "other", "--protocol", "chat"]
      const { code, output } = yield* run("echo-client.ts", `${url}/`, ...args)
      assert.deepStrictEqual(lastLine(output), { code: 4000, reason: "enough", clean: true, error: null })
      assert.deepStrictEqual(seen, ["chat", ["X-Token", "a:b"], "one", "two"])
      assert.strictEqual(code, 0)
    })
  )

  live(
    "closes after as many messages as it was told",
    Effect.gen(function*() {
      const url = yield* serve(
        WebSocketStream.use((stream) => Effect.andThen(stream.writeAll(["one", "two"]), stream.closed))
      )
      const { code, output } = yield* run("echo-client.ts", url, "--close-after", "2")
      assert.deepStrictEqual(lastLine(output), { code: 1000, reason: "", clean: true, error: null })
      assert.strictEqual(code, 0)
    })
  )

  live(
    "tells of a refused handshake",
    Effect.gen(function*() {
      const url = yield* serve(Effect.void, {
        accept: () => Effect.fail(new WebSocketServer.Refusal({ status: 403 }))
      })
      const { code, output } = yield* run("echo-client.ts", url)
      const error = "HandshakeError/UpgradeDeclined"
      assert.deepStrictEqual(lastLine(output), { code: null, reason: null, clean: false, error })
      assert.strictEqual(code, 1)
    })
  )

  // A reserved bit that no extension owns, behind the library's back.
  const violate = (connection: Connection) =>
    WebSocketServer.accept().pipe(
      Effect.provideService(Transport, connection),
      Effect.flatMap((stream) =>
        Effect.flatMap(connection.writer, (writer) =>
          Effect.andThen(
            writer.write(Uint8Array.of(0xc1, 0x00)),
            stream.closed
          ))
      ),
      Effect.scoped,
      Effect.orDie,
      Effect.asVoid
    )

  live(
    "tells of a violation",
    Effect.gen(function*() {
      const server = yield* NodeTransportServer.make({ port: 0, linger: transports.linger })
      yield* Effect.forkScoped(server.run(violate))
      const { code, output } = yield* run("echo-client.ts", urlOf(server))
      assert.include(lastLine(output), { clean: false, error: "ReadError/ProtocolViolation/ReservedBits" })
      assert.strictEqual(code, 1)
    })
  )

  live(
    "runs every case of a fuzzing server, whatever happens in it, and asks for the report",
    Effect.gen(function*() {
      const targets: Array<string> = []
      const echoed: Array<unknown> = []
      const cases: { readonly [target: string]: Effect.Effect<unknown, unknown, WebSocketStream> } = {
        "/getCaseCount": WebSocketStream.use((stream) => stream.write("3")),
        "/runCase?case=1&agent=effect-websocket": WebSocketStream.use((stream) =>
          Effect.gen(function*() {
            yield* stream.write("hello")
            echoed.push(yield* stream.read)
          })
        ),
        "/runCase?case=3&agent=effect-websocket": WebSocketStream.use((stream) => stream.close({ code: 1011 })),
        "/updateReports?agent=effect-websocket": Effect.void
      }
      const url = yield* serve(
        WebSocketStream.use((stream) => cases[stream.handshake.request.target]!),
        {
          accept: ({ head }) => {
            targets.push(head.target)
            return head.target in cases
              ? Effect.succeed({})
              : Effect.fail(new WebSocketServer.Refusal({ status: 500 }))
          }
        }
      )
      const { code, output } = yield* run("echo-client.ts", url, "--cases")
      assert.deepStrictEqual(output, [
        "case 1 of 3: 1000",
        "case 2 of 3: HandshakeError/UpgradeDeclined",
        "case 3 of 3: 1011",
        "{\"code\":1000,\"reason\":\"\",\"clean\":true,\"error\":null}"
      ])
      assert.deepStrictEqual(echoed, ["hello"])
      assert.deepStrictEqual(targets, [
        "/getCaseCount",
        ...[1, 2, 3].map((number) => `/runCase?case=${number}&agent=effect-websocket`),
        "/updateReports?agent=effect-websocket"
      ])
      assert.strictEqual(code, 0)
    })
  )
})
