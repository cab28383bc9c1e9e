/**
 * Errors as short paths of tags, such as `ReadError/ProtocolViolation/ReservedBits`.
 */
import type * as WebSocketError from "effect-websocket/WebSocketError"

export type AnyError = WebSocketError.HandshakeError | WebSocketError.ReadError | WebSocketError.WriteError

export const tagPath = ({ _tag, reason }: AnyError): string =>
  [_tag, reason._tag, ..."rule" in reason ? [reason.rule] : []].join("/")
