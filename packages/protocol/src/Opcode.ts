/**
 * Opcodes, RFC 6455 sections 5.2 and 11.8: four bits that say what a frame is.
 *
 * @since 1.0.0
 */

/**
 * The six opcodes that RFC 6455 defines.
 *
 * @category constants
 * @since 1.0.0
 */
export const Opcode = {
  Continuation: 0x0,
  Text: 0x1,
  Binary: 0x2,
  Close: 0x8,
  Ping: 0x9,
  Pong: 0xa
} as const

/**
 * One of the six opcodes that RFC 6455 defines.
 *
 * @category models
 * @since 1.0.0
 */
export type Opcode = typeof Opcode[keyof typeof Opcode]

/**
 * The opcode of a control frame, section 5.5.
 *
 * @category models
 * @since 1.0.0
 */
export type ControlOpcode = typeof Opcode.Close | typeof Opcode.Ping | typeof Opcode.Pong

/**
 * What a message carries: UTF-8 text or arbitrary bytes, section 5.6.
 *
 * @category models
 * @since 1.0.0
 */
export type MessageType = "text" | "binary"

/**
 * Whether four bits are an opcode at all; the others are reserved.
 *
 * @category guards
 * @since 1.0.0
 */
export const isOpcode = (bits: number): bits is Opcode =>
  bits <= Opcode.Binary || (bits >= Opcode.Close && bits <= Opcode.Pong)

/**
 * Whether an opcode is that of a control frame: its top bit is set, section 5.5.
 *
 * @category guards
 * @since 1.0.0
 */
export const isControl = (opcode: number): opcode is ControlOpcode => (opcode & 0x8) !== 0

/**
 * The opcode of a message's first frame.
 *
 * @category conversions
 * @since 1.0.0
 */
export const ofMessage = (type: MessageType): typeof Opcode.Text | typeof Opcode.Binary =>
  type === "text" ? Opcode.Text : Opcode.Binary
