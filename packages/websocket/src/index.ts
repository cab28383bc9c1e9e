/**
 * @since 1.0.0
 */
export * as Broadcast from "./Broadcast.ts"

/**
 * @since 1.0.0
 */
export * as Deflate from "./Deflate.ts"

/**
 * @since 1.0.0
 */
export * as Entropy from "./Entropy.ts"

/**
 * @since 1.0.0
 */
export * as HttpUpgrade from "./HttpUpgrade.ts"

/**
 * @since 1.0.0
 */
export * as PreparedMessage from "./PreparedMessage.ts"

/**
 * @since 1.0.0
 */
export * as ReconnectingWebSocket from "./ReconnectingWebSocket.ts"

/**
 * @since 1.0.0
 */
export * as RetryHint from "./RetryHint.ts"

/**
 * @since 1.0.0
 */
export * as Transport from "./Transport.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketClient from "./WebSocketClient.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketConfig from "./WebSocketConfig.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketConstructor from "./WebSocketConstructor.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketError from "./WebSocketError.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketMetrics from "./WebSocketMetrics.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketRpcClient from "./WebSocketRpcClient.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketRpcServer from "./WebSocketRpcServer.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketRunner from "./WebSocketRunner.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketServer from "./WebSocketServer.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketSocket from "./WebSocketSocket.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketSocketServer from "./WebSocketSocketServer.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketStream from "./WebSocketStream.ts"

/**
 * @since 1.0.0
 */
export * as WebSocketTracing from "./WebSocketTracing.ts"

/**
 * @since 1.0.0
 */
export * as ZlibCodec from "./ZlibCodec.ts"
