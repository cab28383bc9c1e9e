/**
 * @since 1.0.0
 */
export * as CloseCode from "./CloseCode.ts"

/**
 * @since 1.0.0
 */
export * as Closing from "./Closing.ts"

/**
 * @since 1.0.0
 */
export * as Codec from "./Codec.ts"

/**
 * @since 1.0.0
 */
export * as Connection from "./Connection.ts"

/**
 * @since 1.0.0
 */
export * as DeflateTransform from "./DeflateTransform.ts"

/**
 * @since 1.0.0
 */
export * as ExtendedConnect from "./ExtendedConnect.ts"

/**
 * @since 1.0.0
 */
export * as Extension from "./Extension.ts"

/**
 * @since 1.0.0
 */
export * as Frame from "./Frame.ts"

/**
 * @since 1.0.0
 */
export * as FrameDecoder from "./FrameDecoder.ts"

/**
 * @since 1.0.0
 */
export * as FrameEncoder from "./FrameEncoder.ts"

/**
 * @since 1.0.0
 */
export * as Handshake from "./Handshake.ts"

/**
 * @since 1.0.0
 */
export * as HandshakeError from "./HandshakeError.ts"

/**
 * @since 1.0.0
 */
export * as HttpHead from "./HttpHead.ts"

/**
 * @since 1.0.0
 */
export * as Mask from "./Mask.ts"

/**
 * @since 1.0.0
 */
export * as Message from "./Message.ts"

/**
 * @since 1.0.0
 */
export * as Opcode from "./Opcode.ts"

/**
 * @since 1.0.0
 */
export * as PerMessageDeflate from "./PerMessageDeflate.ts"

/**
 * @since 1.0.0
 */
export * as ProtocolError from "./ProtocolError.ts"

/**
 * @since 1.0.0
 */
export * as Traffic from "./Traffic.ts"

/**
 * @since 1.0.0
 */
export * as Utf8 from "./Utf8.ts"
