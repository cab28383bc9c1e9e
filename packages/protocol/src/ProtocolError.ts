/**
 * The one error of the framing layer: what rule the peer broke, and with which
 * close code the connection is failed, RFC 6455 sections 5, 7.4 and 8.
 *
 * Rules are a closed set of names, so tests and metrics can count by them.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"

/**
 * Every framing, closing and size rule: the RFC section it comes from, the
 * close code its violation is answered with, and one sentence for a log.
 *
 * **Details**
 *
 * `1002` is for framing, `1007` for text that is not UTF-8, `1008` for a peer
 * that fragments beyond the limit, `1009` for size.
 *
 * @category constants
 * @since 1.0.0
 */
export const rules = {
  ReservedOpcode: { section: "5.2", closeCode: 1002, description: "the opcode is reserved" },
  ReservedBits: { section: "5.2", closeCode: 1002, description: "a reserved bit is set that no extension owns" },
  NonMinimalLength: { section: "5.2", closeCode: 1002, description: "the length is not in its shortest form" },
  InvalidLength: { section: "5.2", closeCode: 1002, description: "the 64-bit length has its top bit set" },
  UnmaskedFrame: { section: "5.1", closeCode: 1002, description: "a client frame is not masked" },
  MaskedFrame: { section: "5.1", closeCode: 1002, description: "a server frame is masked" },
  UnexpectedContinuation: { section: "5.4", closeCode: 1002, description: "a continuation has no message to continue" },
  UnexpectedDataFrame: { section: "5.4", closeCode: 1002, description: "a message starts inside another message" },
  FragmentedControlFrame: { section: "5.5", closeCode: 1002, description: "a control frame is fragmented" },
  ControlFrameTooLong: { section: "5.5", closeCode: 1002, description: "a control frame is longer than 125 bytes" },
  InvalidClosePayload: { section: "5.5.1", closeCode: 1002, description: "a close payload of one byte" },
  InvalidCloseCode: { section: "7.4", closeCode: 1002, description: "the close code may not travel" },
  InvalidCloseReason: { section: "5.5.1", closeCode: 1007, description: "the close reason is not UTF-8" },
  InvalidUtf8: { section: "8.1", closeCode: 1007, description: "a text message is not UTF-8" },
  MessageTooBig: { section: "10.4", closeCode: 1009, description: "a message is longer than the limit" },
  TooManyFragments: { section: "10.4", closeCode: 1008, description: "a message has more fragments than the limit" },
  CompressionRatioTooHigh: {
    section: "10.4",
    closeCode: 1009,
    description: "a compressed message stands for more than the limit allows its length"
  },
  CorruptDeflate: { section: "7692 7.2.2", closeCode: 1007, description: "a compressed message is not raw deflate" }
} as const

/**
 * The name of a rule in `rules`.
 *
 * @category models
 * @since 1.0.0
 */
export type Rule = keyof typeof rules

/**
 * A close code that a violation is answered with.
 *
 * @category models
 * @since 1.0.0
 */
export type ViolationCode = typeof rules[Rule]["closeCode"]

/**
 * The peer broke `rule`.
 *
 * @category errors
 * @since 1.0.0
 */
export class ProtocolError extends Data.TaggedError("ProtocolError")<{
  readonly rule: Rule
  /** The limit that was exceeded, in bytes, fragments or bytes for a byte, where the rule is a limit. */
  readonly limit?: number
}> {
  /** The section of RFC 6455 the rule is taken from, or of another RFC whose number stands before it. */
  get section(): string {
    return rules[this.rule].section
  }
  /** The close code to fail the connection with, section 7.4.1. */
  get closeCode(): ViolationCode {
    return rules[this.rule].closeCode
  }
  override get message(): string {
    const section = this.section.replace(/^(?:(\d{4}) )?/, (_, rfc = 6455) => `RFC ${rfc} section `)
    return `${rules[this.rule].description} (${this.rule}, ${section})`
  }
}
