/**
 * @since 1.0.0
 */
export * as NodeDeflate from "./NodeDeflate.ts"

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
