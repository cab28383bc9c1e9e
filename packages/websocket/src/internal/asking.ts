/**
 * How a client asks, and what it is answered: by an upgrade in the connection's
 * bytes (HTTP/1.1), or by heads beside them (HTTP/2, RFC 8441).
 *
 * @since 1.0.0
 */
import * as ExtendedConnect from "@effect-websocket/protocol/ExtendedConnect"
import * as Handshake from "@effect-websocket/protocol/Handshake"
import type { HandshakeError as HandshakeRule } from "@effect-websocket/protocol/HandshakeError"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type Asking, isTransportError, type TransportError } from "../Transport.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import type { HandshakeError } from "../WebSocketError.ts"
import { readHead, ruleBroken, transportFailed } from "./heads.ts"
import type { Link } from "./link.ts"

/**
 * A server's answer.
 *
 * @internal
 */
export interface Answer {
  /** As it was sent. */
  readonly request: HttpHead.RequestHead
  readonly response: HttpHead.ResponseHead
  /** Bytes behind the response's head. */
  readonly leftover: Uint8Array
  readonly agrees: boolean
  readonly check: (expected: Handshake.Expected) => Result.Result<Handshake.Agreement, HandshakeRule>
}

const failed = (error: HandshakeRule | TransportError): HandshakeError =>
  isTransportError(error) ? transportFailed(error) : ruleBroken("response", error)

const maxInterim = 8

// Interim responses before the final one, RFC 9110 section 15.2, mean nothing here.
const readResponse = (
  link: Link,
  config: WebSocketConfig,
  leftover?: Uint8Array,
  interim: number = 0
): Effect.Effect<HttpHead.Parsed<HttpHead.ResponseHead>, HandshakeRule | TransportError> =>
  Effect.flatMap(
    readHead(link, "response", config, leftover),
    (response) =>
      response.head.status < 200 && !Handshake.isSwitching(response.head) && interim < maxInterim
        ? readResponse(link, config, response.rest, interim + 1)
        : Effect.succeed(response)
  )

const askUpgrade = Effect.fnUntraced(function*(link: Link, request: HttpHead.RequestHead, config: WebSocketConfig) {
  const bytes = yield* Effect.mapError(
    Effect.fromResult(HttpHead.formatRequest(request)),
    (error) => ruleBroken("request", error)
  )
  yield* Effect.mapError(link.writer.write(bytes), transportFailed)
  const { head: response, rest: leftover } = yield* Effect.mapError(readResponse(link, config), failed)
  const answer: Answer = {
    request,
    response,
    leftover,
    agrees: Handshake.isSwitching(response),
    check: (expected) => Handshake.checkResponse(response, expected)
  }
  return answer
})

const askConnect = Effect.fnUntraced(
  function*({ ask, scheme }: Asking, upgrade: HttpHead.RequestHead, config: WebSocketConfig) {
    const request = ExtendedConnect.fromUpgrade(upgrade)
    const fields = yield* ask(ExtendedConnect.formatRequest(request, scheme))
    const sized = ExtendedConnect.checkSize(fields, config)
    const response = yield* Effect.fromResult(Result.flatMap(sized, ExtendedConnect.parseResponse))
    const answer: Answer = {
      request,
      response,
      leftover: new Uint8Array(0),
      agrees: ExtendedConnect.isAgreeing(response),
      check: (expected) => ExtendedConnect.checkResponse(response, expected)
    }
    return answer
  },
  Effect.mapError(failed)
)

/**
 * Asks the server of a link for an upgrade, or over HTTP/2 for the same.
 *
 * @internal
 */
export const ask = (
  link: Link,
  upgrade: HttpHead.RequestHead,
  config: WebSocketConfig
): Effect.Effect<Answer, HandshakeError> =>
  link.bootstrap?._tag === "Asking" ? askConnect(link.bootstrap, upgrade, config) : askUpgrade(link, upgrade, config)
