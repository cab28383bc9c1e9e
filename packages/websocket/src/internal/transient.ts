/**
 * Which failures pass by themselves, so that it makes sense to try again: RFC
 * 6455 section 7.2.3 for what ends connections, RFC 9110 section 15 for what
 * refuses them.
 *
 * @since 1.0.0
 */
import { abnormal, CloseCode, noStatus } from "@effect-websocket/protocol/CloseCode"
import * as WebSocketError from "../WebSocketError.ts"

type Handshake = WebSocketError.HandshakeError["reason"]
type Connection = (WebSocketError.ReadError | WebSocketError.WriteError)["reason"]

type Table<Reason extends { readonly _tag: string }> = {
  readonly [Tag in Reason["_tag"]]: boolean | ((reason: Extract<Reason, { readonly _tag: Tag }>) => boolean)
}

/** Close codes of a peer behind which it may be back. 3008 is the Timeout that IANA registered. */
const transientCodes: ReadonlySet<number> = new Set([
  CloseCode.GoingAway,
  noStatus,
  abnormal,
  CloseCode.InternalError,
  CloseCode.ServiceRestart,
  CloseCode.TryAgainLater,
  CloseCode.BadGateway,
  3008
])

// An application that closes says 1000, a code of its own or none. This library says 1001 to 1011, for what the peer
// did or did not do, and on a transport that has failed nothing.
const isGivenUp = (sent: WebSocketError.CloseStatus["sent"]): boolean =>
  sent === undefined || (sent.code !== undefined && sent.code > CloseCode.Normal && sent.code < 3000)

const isTransientEnd = ({ code, initiator, sent }: WebSocketError.CloseStatus): boolean =>
  initiator === "local" ? isGivenUp(sent) : transientCodes.has(code)

const isTransientStatus = (status: number): boolean =>
  (status >= 500 && status < 600) || status === 408 || status === 425 || status === 429

const handshake: Table<Handshake> = {
  UpgradeDeclined: ({ status }) => isTransientStatus(status),
  ProxyRefused: ({ status }) => isTransientStatus(status),
  HandshakeTimeout: true,
  TransportFailed: true,
  RedirectRefused: false,
  InvalidRequest: false,
  InvalidResponse: false,
  SubprotocolRefused: false,
  ExtensionRefused: false,
  Refused: false,
  HeadTooLarge: false
}

const connection: Table<Connection> = {
  ConnectionClosed: ({ status }) => isTransientEnd(status),
  TransportFailed: true,
  IdleTimeout: true,
  KeepAliveTimeout: true,
  MessageTimeout: true,
  // What a peer did wrong may be right with the next one behind the same name.
  ProtocolViolation: true,
  InvalidUtf8: true,
  CorruptDeflate: true,
  CompressionRatioTooHigh: true,
  MessageTooBig: true,
  TooManyFragments: true,
  // What this side did wrong it would do again.
  MessageInProgress: false,
  MessageAborted: false,
  InvalidPayload: false,
  QueueFull: false
}

const look = <Reason extends { readonly _tag: string }>(table: Table<Reason>, reason: Reason): boolean => {
  const entry: unknown = table[reason._tag as Reason["_tag"]]
  return typeof entry === "function" ? entry(reason) : entry === true
}

/**
 * Whether a failure may pass by itself.
 *
 * @internal
 */
export const isTransient = (failure: unknown): boolean => {
  if (failure instanceof WebSocketError.HandshakeError) return look(handshake, failure.reason)
  if (failure instanceof WebSocketError.ReadError || failure instanceof WebSocketError.WriteError) {
    return look<Connection>(connection, failure.reason)
  }
  return true
}
