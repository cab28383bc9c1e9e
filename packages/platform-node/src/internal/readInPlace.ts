/**
 * Reads plain sockets into one array, where Node can.
 *
 * Node has that as the option `onread` of sockets it connects, and not of those a
 * server accepts, which read each time into 64 KiB of their own. So the option's
 * fields are set on the socket afterwards: they are found by looking at what the
 * option does to a socket, and where nothing is found all stays as it is.
 *
 * @since 1.0.0
 */
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import * as Tls from "node:tls"

/**
 * What all plain sockets are read into, one after the other: a turn of the event
 * loop reads much of it again and again, where an array for each read would be
 * cold, and garbage soon.
 */
const room = Buffer.allocUnsafeSlow(64 * 1024)

interface Handle {
  readonly useUserBuffer?: (buffer: Uint8Array) => void
}

interface Fields {
  readonly buffer: symbol
  readonly callback: symbol
}

const findFields = (): Fields | undefined => {
  const callback = () => true
  const socket = new Net.Socket({ onread: { buffer: room, callback } })
  const symbolOf = (value: unknown) =>
    Object.getOwnPropertySymbols(socket).find((symbol) => Reflect.get(socket, symbol) === value)
  const found = { buffer: symbolOf(room), callback: symbolOf(callback) }
  return found.buffer === undefined || found.callback === undefined ? undefined : found as Fields
}

const fields = findFields()

/**
 * Whether bytes are in the array that is read into, and not yet anybody's.
 *
 * @internal
 */
export const isInPlace = (bytes: Uint8Array): boolean => bytes.buffer === room.buffer

/**
 * Who takes what arrives on a socket.
 *
 * @internal
 */
export interface Receiver {
  readonly receive: (chunk: Uint8Array) => void
}

const receiver = Symbol("effect-websocket/receiver")

// Found by the socket that Node calls this on, so that all sockets have one function.
const callback = function(this: { readonly [receiver]: Receiver }, size: number): boolean {
  this[receiver].receive(room.subarray(0, size))
  return true
}

/**
 * Gives what arrives on a socket to `to` from now on, as a view that is
 * overwritten once it returns, and emits no `data` any more. Returns `false`, and
 * changes nothing, where that cannot be.
 *
 * @internal
 */
export const readInPlace = (socket: unknown, to: Receiver): boolean => {
  if (fields === undefined || !(socket instanceof Net.Socket) || socket instanceof Tls.TLSSocket) return false
  const handle = (socket as { readonly _handle?: Handle | null })._handle
  // What was read before is emitted as `data`.
  if (typeof handle?.useUserBuffer !== "function" || socket.readableLength > 0) return false
  Object.assign(socket, { [receiver]: to, [fields.buffer]: room, [fields.callback]: callback })
  handle.useUserBuffer(room)
  return true
}
