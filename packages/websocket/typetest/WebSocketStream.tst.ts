import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import type * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import type { CloseStatus, HandshakeError, ReadError, WriteError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import {
  type ControlFrame,
  type MessagePart,
  type MessageStream,
  type MessageWriter,
  type Payload,
  type Sendable,
  type State,
  WebSocketStream
} from "effect-websocket/WebSocketStream"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"

declare const stream: WebSocketStream["Service"]
declare const server: WebSocketServer.WebSocketServer["Service"]
declare const parts: Stream.Stream<string, "parts", "needed">

class Tokens extends Context.Service<Tokens, { readonly token: string }>()(
  "effect-websocket/typetest/WebSocketStream.tst/Tokens"
) {}
class Rooms extends Context.Service<Rooms, { readonly room: string }>()(
  "effect-websocket/typetest/WebSocketStream.tst/Rooms"
) {}

describe("writing", () => {
  it("fails with WriteError and needs nothing", () => {
    expect(stream.writeSome(false, "a")).type.toBe<Effect.Effect<number, WriteError>>()
    expect(stream.write(new Uint8Array(1), { type: "text" })).type.toBe<Effect.Effect<number, WriteError>>()
    expect(stream.writeAll(["a", new Uint8Array(1)])).type.toBe<Effect.Effect<number, WriteError>>()
    expect(stream.sink()).type.toBe<Sink.Sink<void, Sendable, never, WriteError>>()
    expect(stream.pong()).type.toBe<Effect.Effect<void, WriteError>>()
    expect(stream.ping()).type.toBe<Effect.Effect<Duration.Duration, WriteError>>()
  })

  it("a message lives in a scope and its parts do not", () => {
    expect(stream.message("text")).type.toBe<Effect.Effect<MessageWriter, WriteError, Scope.Scope>>()
    expect<ReturnType<MessageWriter["write"]>>().type.toBe<Effect.Effect<number, WriteError>>()
    expect<Parameters<MessageWriter["write"]>>().type.toBeAssignableFrom<[part: Payload]>()
    expect<ReturnType<MessageWriter["finish"]>>().type.toBe<Effect.Effect<number, WriteError>>()
  })

  it("writeStream fails and needs as its parts do, and closes its scope itself", () => {
    expect(stream.writeStream("text", parts)).type.toBe<Effect.Effect<number, WriteError | "parts", "needed">>()
  })

  it("the type of a message is not an option where it is an argument", () => {
    expect(stream.message).type.not.toBeCallableWith("text", { type: "binary" })
    expect(stream.writeStream).type.not.toBeCallableWith("text", parts, { type: "binary" })
    expect(stream.write).type.not.toBeCallableWith(new ArrayBuffer(1))
  })
})

describe("reading", () => {
  it("fails with ReadError and needs nothing", () => {
    expect(stream.readSome).type.toBe<Effect.Effect<MessagePart, ReadError>>()
    expect(stream.read).type.toBe<Effect.Effect<Payload, ReadError>>()
    expect(stream.pull).type.toBe<Effect.Effect<NonEmptyReadonlyArray<Payload>, ReadError>>()
    expect(stream.messages).type.toBe<Stream.Stream<Payload, ReadError>>()
    expect(stream.messageStreams).type.toBe<Stream.Stream<MessageStream, ReadError>>()
    expect<MessageStream["parts"]>().type.toBe<Stream.Stream<MessagePart, ReadError>>()
  })

  it("what a part holds follows from its type", () => {
    expect<Extract<MessagePart, { type: "text" }>["data"]>().type.toBe<string>()
    expect<Extract<MessagePart, { type: "binary" }>["data"]>().type.toBe<Uint8Array>()
  })
})

describe("the end and what is watched", () => {
  it("close without options cannot fail, with options it can", () => {
    expect(stream.close()).type.toBe<Effect.Effect<CloseStatus>>()
    expect(stream.close({ code: 4000 })).type.toBe<Effect.Effect<CloseStatus, WriteError>>()
  })

  it("watching never fails", () => {
    expect(stream.closed).type.toBe<Effect.Effect<CloseStatus>>()
    expect(stream.state).type.toBe<Effect.Effect<State>>()
    expect(stream.stateChanges).type.toBe<Stream.Stream<State>>()
    expect(stream.controlFrames).type.toBe<Stream.Stream<ControlFrame>>()
  })
})

describe("WebSocketClient", () => {
  it("connect needs a transport and a scope", () => {
    expect(WebSocketClient.connect({ url: "ws://localhost/" })).type.toBe<
      Effect.Effect<WebSocketStream["Service"], HandshakeError, Transport.Transport | Scope.Scope>
    >()
  })

  it("dial needs a dialer and a scope, and follows redirections, which connect cannot", () => {
    const options = { url: "ws://localhost/", followRedirects: 3 }
    expect(WebSocketClient.dial(options)).type.toBe<
      Effect.Effect<WebSocketStream["Service"], HandshakeError, Transport.TransportDialer | Scope.Scope>
    >()
    expect(WebSocketClient.layerDial(options)).type.toBe<
      Layer.Layer<WebSocketStream, HandshakeError, Transport.TransportDialer>
    >()
    expect(WebSocketClient.connect).type.not.toBeCallableWith({ url: "ws://localhost/", followRedirects: 3 })
  })

  it("layer takes a transport and gives a stream", () => {
    expect(WebSocketClient.layer({ url: "ws://localhost/" })).type.toBe<
      Layer.Layer<WebSocketStream, HandshakeError, Transport.Transport>
    >()
  })

  it("options that are an effect add what they need and fail with", () => {
    const options = Effect.flatMap(
      Tokens,
      ({ token }) =>
        token === "" ? Effect.fail("no token") : Effect.succeed({ url: "ws://localhost/", headers: { token } })
    )
    expect(WebSocketClient.layer(options)).type.toBe<
      Layer.Layer<WebSocketStream, HandshakeError | string, Transport.Transport | Tokens>
    >()
  })
})

describe("ReconnectingWebSocket", () => {
  const connect = WebSocketClient.connect(Effect.as(Tokens, { url: "ws://localhost/" }))

  it("fails as connecting, and no longer needs what that needed but a scope", () => {
    expect(ReconnectingWebSocket.make({ connect })).type.toBe<
      Effect.Effect<
        ReconnectingWebSocket.ReconnectingWebSocket<HandshakeError>,
        never,
        Transport.Transport | Tokens | Scope.Scope
      >
    >()
  })

  it("adds what onOpen fails with and needs, in the connection's scope", () => {
    const onOpen = () => Effect.andThen(Rooms, Effect.andThen(Effect.scope, Effect.fail("denied" as const)))
    expect(ReconnectingWebSocket.make({ connect, onOpen })).type.toBe<
      Effect.Effect<
        ReconnectingWebSocket.ReconnectingWebSocket<HandshakeError | "denied">,
        never,
        Transport.Transport | Tokens | Rooms | Scope.Scope
      >
    >()
  })

  it("a schedule and a decision are given every failure there can be", () => {
    const onOpen = () => Effect.fail("denied" as const)
    const decide = (failure: HandshakeError | ReadError | "denied") => failure !== "denied"
    expect(ReconnectingWebSocket.make).type.toBeCallableWith({ connect, onOpen, while: decide })
    expect(ReconnectingWebSocket.make).type.not.toBeCallableWith({ connect, onOpen, while: (_: "denied") => true })
  })

  it("its operations fail with what ended it, and need nothing", () => {
    type Socket = ReconnectingWebSocket.ReconnectingWebSocket<HandshakeError>
    expect<Socket["current"]>().type.toBe<Effect.Effect<WebSocketStream["Service"], HandshakeError | ReadError>>()
    expect<ReturnType<Socket["write"]>>().type.toBe<
      Effect.Effect<number, HandshakeError | ReadError | WriteError>
    >()
    expect<Socket["messages"]>().type.toBe<
      Stream.Stream<Payload, HandshakeError | ReadError | ReconnectingWebSocket.MessagesMissed>
    >()
    expect<Socket["state"]>().type.toBe<Effect.Effect<ReconnectingWebSocket.State<HandshakeError>>>()
    expect<Socket["stateChanges"]>().type.toBe<Stream.Stream<ReconnectingWebSocket.State<HandshakeError>>>()
  })
})

describe("WebSocketServer", () => {
  const handler = Effect.gen(function*() {
    const { write } = yield* WebSocketStream
    yield* Effect.addFinalizer(() => Effect.void)
    yield* write((yield* Rooms).room)
  })

  it("accept needs a transport and a scope", () => {
    expect(WebSocketServer.accept()).type.toBe<
      Effect.Effect<WebSocketStream["Service"], HandshakeError, Transport.Transport | Scope.Scope>
    >()
  })

  it("layer takes a transport server, and what deciding needs", () => {
    expect(WebSocketServer.layer()).type.toBe<
      Layer.Layer<WebSocketServer.WebSocketServer, never, Transport.TransportServer>
    >()
    const accept = () => Effect.as(Tokens, {})
    expect(WebSocketServer.layer({ accept })).type.toBe<
      Layer.Layer<WebSocketServer.WebSocketServer, never, Transport.TransportServer | Tokens>
    >()
  })

  it("serve and run give a handler its stream and its scope, and ask for the rest", () => {
    expect(WebSocketServer.serve(handler)).type.toBe<
      Layer.Layer<never, never, WebSocketServer.WebSocketServer | Rooms>
    >()
    expect(server.run(handler)).type.toBe<Effect.Effect<never, Transport.TransportServerError, Rooms>>()
  })

  it("one handler runs under a server and a client alike", () => {
    expect(Effect.provide(handler, WebSocketClient.layer({ url: "ws://localhost/" }))).type.toBe<
      Effect.Effect<void, WriteError | HandshakeError, Transport.Transport | Scope.Scope | Rooms>
    >()
  })
})
