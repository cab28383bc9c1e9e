/**
 * Close codes and the payload of a Close frame, RFC 6455 sections 5.5.1 and 7.4.
 *
 * A payload is empty, or two bytes of code, most significant first, and a UTF-8
 * reason of at most 123 bytes.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import { ProtocolError } from "./ProtocolError.ts"
import * as Utf8 from "./Utf8.ts"

/**
 * The registered close codes that may travel in a Close frame, section 7.4.1
 * and the IANA registry.
 *
 * @category constants
 * @since 1.0.0
 */
export const CloseCode = {
  Normal: 1000,
  GoingAway: 1001,
  ProtocolError: 1002,
  UnsupportedData: 1003,
  InvalidPayload: 1007,
  PolicyViolation: 1008,
  MessageTooBig: 1009,
  MandatoryExtension: 1010,
  InternalError: 1011,
  ServiceRestart: 1012,
  TryAgainLater: 1013,
  BadGateway: 1014
} as const

/**
 * A Close frame without a code was received. Never travels, section 7.4.1.
 *
 * @category constants
 * @since 1.0.0
 */
export const noStatus = 1005

/**
 * The transport ended without a Close frame. Never travels, section 7.4.1.
 *
 * @category constants
 * @since 1.0.0
 */
export const abnormal = 1006

/**
 * Longest reason in bytes of UTF-8: 125 less the two of the code.
 *
 * @category constants
 * @since 1.0.0
 */
export const maxReasonLength = 123

/**
 * What a Close frame says. Without a code there can be no reason.
 *
 * @category models
 * @since 1.0.0
 */
export interface CloseFrame {
  readonly code: number | undefined
  /** At most 123 bytes of UTF-8. */
  readonly reason: string
}

/**
 * A Close frame without a payload.
 *
 * @category constants
 * @since 1.0.0
 */
export const empty: CloseFrame = { code: undefined, reason: "" }

/**
 * Whether a code may travel in a Close frame: registered ones, and 3000 to
 * 4999 for libraries, frameworks and applications (section 7.4.2).
 *
 * @category guards
 * @since 1.0.0
 */
export const isSendable = (code: number): boolean =>
  Number.isInteger(code) &&
  ((code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999))

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * Why a Close frame cannot be sent, or `undefined` when it can.
 *
 * @category guards
 * @since 1.0.0
 */
export const problemOf = (frame: CloseFrame): string | undefined => {
  if (frame.code === undefined) return frame.reason === "" ? undefined : "a close reason needs a close code"
  if (!isSendable(frame.code)) return `close code ${frame.code} may not be sent`
  if (!frame.reason.isWellFormed()) return "the close reason has a lone surrogate"
  return encoder.encode(frame.reason).length > maxReasonLength
    ? `the close reason is longer than ${maxReasonLength} bytes of UTF-8`
    : undefined
}

/**
 * Encodes a frame for which `problemOf` finds nothing as a fresh payload of 0
 * or 2 to 125 bytes.
 *
 * @category encoding
 * @since 1.0.0
 */
export const encodePayload = (frame: CloseFrame): Uint8Array => {
  if (frame.code === undefined) return new Uint8Array(0)
  const reason = encoder.encode(frame.reason)
  const payload = new Uint8Array(2 + reason.length)
  payload[0] = frame.code >>> 8
  payload[1] = frame.code
  payload.set(reason, 2)
  return payload
}

/**
 * Decodes the payload of a received Close frame. Copies nothing it keeps.
 *
 * **Example** (Decoding a payload)
 *
 * ```ts import.meta.vitest
 * import * as CloseCode from "@effect-websocket/protocol/CloseCode"
 * import * as Result from "effect/Result"
 *
 * const bye = Uint8Array.of(0x03, 0xe9, 0x62, 0x79, 0x65)
 * CloseCode.decodePayload(bye) // => Result.succeed({ code: 1001, reason: "bye" })
 * ```
 *
 * @category decoding
 * @since 1.0.0
 */
export const decodePayload = (payload: Uint8Array): Result.Result<CloseFrame, ProtocolError> => {
  if (payload.length === 0) return Result.succeed(empty)
  if (payload.length === 1) return Result.fail(new ProtocolError({ rule: "InvalidClosePayload" }))
  const code = (payload[0]! << 8) | payload[1]!
  if (!isSendable(code)) return Result.fail(new ProtocolError({ rule: "InvalidCloseCode" }))
  const reason = payload.subarray(2)
  if (!Utf8.isValid(reason)) return Result.fail(new ProtocolError({ rule: "InvalidCloseReason" }))
  return Result.succeed({ code, reason: decoder.decode(reason) })
}
