/**
 * Addresses as URLs.
 */
import * as NetAddress from "effect/net/NetAddress"

/** Where to connect to what listens at an address: `ws:`, `wss:`, `ws+unix:` or `wss+unix:`. */
export const urlOf = (address: NetAddress.SocketAddress, secure: boolean): string =>
  NetAddress.isInetAddress(address)
    ? `${secure ? "wss" : "ws"}://${NetAddress.formatInet(address)}`
    : `${secure ? "wss" : "ws"}+unix:${address.path}`
