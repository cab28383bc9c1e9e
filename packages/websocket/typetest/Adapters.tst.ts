import type * as Transport from "effect-websocket/Transport"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketConstructor from "effect-websocket/WebSocketConstructor"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import * as WebSocketRunner from "effect-websocket/WebSocketRunner"
import type { WebSocketServer } from "effect-websocket/WebSocketServer"
import * as WebSocketSocket from "effect-websocket/WebSocketSocket"
import * as WebSocketSocketServer from "effect-websocket/WebSocketSocketServer"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import type * as Runners from "effect/cluster/Runners"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import type { RpcSerialization } from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import type { SocketServer } from "effect/socket/SocketServer"
import { describe, expect, it } from "tstyche"

declare const stream: WebSocketStream["Service"]

class Tokens extends Context.Service<Tokens, { readonly token: string }>()(
  "effect-websocket/typetest/Adapters.tst/Tokens"
) {}

const url = "ws://localhost/"
const tokens = Effect.flatMap(
  Tokens,
  ({ token }) => token === "" ? Effect.fail("no token") : Effect.succeed({ url, headers: { token } })
)

describe("WebSocketSocket", () => {
  it("a stream is a Socket", () => {
    expect(WebSocketSocket.fromStream(stream)).type.toBe<Socket.Socket>()
    expect(WebSocketSocket.layerStream).type.toBe<Layer.Layer<Socket.Socket, never, WebSocketStream>>()
  })

  it("one that dials cannot fail to be built: its reader says why it cannot open", () => {
    expect(WebSocketSocket.layer({ url })).type.toBe<Layer.Layer<Socket.Socket, never, Transport.Transport>>()
    expect(WebSocketSocket.layer(tokens)).type.toBe<Layer.Layer<Socket.Socket, never, Transport.Transport | Tokens>>()
    expect(WebSocketSocket.layerConnect(WebSocketClient.dial({ url }))).type.toBe<
      Layer.Layer<Socket.Socket, never, Transport.TransportDialer>
    >()
    expect(WebSocketSocket.make(WebSocketClient.dial({ url }))).type.toBe<
      Effect.Effect<Socket.Socket, never, Transport.TransportDialer>
    >()
  })

  it("Effect's RPC client takes it", () => {
    expect(RpcClient.layerProtocolSocket().pipe(Layer.provide(WebSocketSocket.layer({ url })))).type.toBe<
      Layer.Layer<RpcClient.Protocol, never, RpcSerialization | Transport.Transport>
    >()
  })
})

describe("WebSocketSocketServer", () => {
  it("a server is a SocketServer", () => {
    expect(WebSocketSocketServer.layer).type.toBe<Layer.Layer<SocketServer, never, WebSocketServer>>()
  })

  it("Effect's RPC server takes it", () => {
    expect(RpcServer.layerProtocolSocketServer.pipe(Layer.provide(WebSocketSocketServer.layer))).type.toBe<
      Layer.Layer<RpcServer.Protocol, never, RpcSerialization | WebSocketServer>
    >()
  })
})

describe("WebSocketConstructor", () => {
  it("dials where it is told", () => {
    expect(WebSocketConstructor.layer()).type.toBe<
      Layer.Layer<Socket.WebSocketConstructor, never, Transport.TransportDialer>
    >()
    expect(WebSocketConstructor.layer).type.not.toBeCallableWith({ url })
    expect<WebSocketConstructor.WebSocket>().type.toBeAssignableTo<Socket.WebSocketLike>()
  })
})

describe("RPC protocols", () => {
  it("the client's takes whatever connects", () => {
    expect(WebSocketRpcClient.layerProtocolWebSocket(WebSocketClient.connect(tokens))).type.toBe<
      Layer.Layer<RpcClient.Protocol, never, RpcSerialization | Transport.Transport | Tokens>
    >()
    expect(WebSocketRpcClient.makeProtocolWebSocket(WebSocketClient.dial({ url }))).type.toBe<
      Effect.Effect<
        RpcClient.Protocol["Service"],
        never,
        RpcSerialization | Transport.TransportDialer | Scope.Scope
      >
    >()
  })

  it("the server's runs on a server, or its handler where a connection is accepted", () => {
    expect(WebSocketRpcServer.layerProtocolWebSocket).type.toBe<
      Layer.Layer<RpcServer.Protocol, never, RpcSerialization | WebSocketServer>
    >()
    expect<Effect.Success<typeof WebSocketRpcServer.makeProtocolWithHandler>["handler"]>().type.toBe<
      Effect.Effect<void, never, WebSocketStream>
    >()
  })

  it("runners of a cluster call one another over what dials", () => {
    expect(WebSocketRunner.layerClientProtocol()).type.toBe<
      Layer.Layer<Runners.RpcClientProtocol, never, RpcSerialization | Transport.TransportDialer>
    >()
  })
})
