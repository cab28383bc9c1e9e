/**
 * @since 1.0.0
 */
export * as NodeDeflate from "./NodeDeflate.ts"

/**
 * @since 1.0.0
 */
export * as NodeHttp2Transport from "./NodeHttp2Transport.ts"

/**
 * @since 1.0.0
 */
export * as NodeHttp2TransportServer from "./NodeHttp2TransportServer.ts"

/**
 * @since 1.0.0
 */
export * as NodeHttp2WebSocketServer from "./NodeHttp2WebSocketServer.ts"

/**
 * @since 1.0.0
 */
export * as NodeProxy from "./NodeProxy.ts"

/**
 * @since 1.0.0
 */
export * as NodeTransport from "./NodeTransport.ts"

/**
 * @since 1.0.0
 */
export * as NodeTransportServer from "./NodeTransportServer.ts"

/**
 * @since 1.0.0
 */
export * as NodeWebSocketClient from "./NodeWebSocketClient.ts"

/**
 * @since 1.0.0
 */
export * as NodeWebSocketHttp from "./NodeWebSocketHttp.ts"

/**
 * @since 1.0.0
 */
export * as NodeWebSocketServer from "./NodeWebSocketServer.ts"
