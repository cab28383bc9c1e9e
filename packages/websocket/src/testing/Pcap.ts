/**
 * A transcript as a capture file, for Wireshark, tshark and tcpdump.
 *
 * The file is libpcap's classic format with microseconds and raw IPv4 packets.
 * What stands around the bytes, addresses, sequence numbers, handshakes and
 * checksums of TCP, is made up but consistent: hosts are 10.0.0.1 and so on in
 * the order in which they appear, and a packet is stamped with the time at which
 * it was sent. What a cut link held back is not sent twice.
 *
 * @since 1.0.0
 */
import type * as Transcript from "./Transcript.ts"

const flags = { FIN: 0x01, SYN: 0x02, RST: 0x04, PSH: 0x08, ACK: 0x10 } as const

/** Bytes of one packet's payload at most. */
const segmentSize = 1460
const headersSize = 40
/** LINKTYPE_RAW: packets begin with the IP header. */
const linkTypeRaw = 101

interface Packet {
  /** Milliseconds. */
  readonly at: number
  readonly from: string
  readonly to: string
  readonly flags: number
  readonly seq: number
  readonly ack: number
  readonly payload: Uint8Array
}

const checksum = (bytes: Uint8Array, initial = 0): number => {
  let sum = initial
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

const none = new Uint8Array(0)

/** Packets of one connection's events, with sequence numbers of each end. */
class Connection {
  readonly packets: Array<Packet> = []
  readonly #next = new Map<string, number>()

  add(event: Transcript.Event): void {
    const { at, from, to } = event
    if (event.kind === "open") {
      this.#send(at, from, to, flags.SYN, none, 1)
      this.#send(at, to, from, flags.SYN | flags.ACK, none, 1)
      this.#send(at, from, to, flags.ACK, none, 0)
    }
    if (event.kind === "end") this.#send(at, from, to, flags.FIN | flags.ACK, none, 1)
    if (event.kind === "reset") this.#send(at, from, to, flags.RST | flags.ACK, none, 0)
    const { bytes = none } = event
    for (let start = 0; start < bytes.length; start += segmentSize) {
      const payload = bytes.subarray(start, start + segmentSize)
      this.#send(at, from, to, flags.PSH | flags.ACK, payload, payload.length)
    }
  }

  #send(at: number, from: string, to: string, flags: number, payload: Uint8Array, advance: number): void {
    const seq = this.#next.get(from) ?? 0
    const ack = this.#next.get(to) ?? 0
    this.packets.push({ at, from, to, flags, seq, ack, payload })
    this.#next.set(from, seq + advance)
  }
}

const makeAddresses = () => {
  const hosts = new Map<string, number>()
  return (name: string): { readonly address: number; readonly port: number } => {
    const colon = name.lastIndexOf(":")
    const host = name.slice(0, colon)
    if (!hosts.has(host)) hosts.set(host, hosts.size + 1)
    return { address: (10 << 24) + hosts.get(host)!, port: Number(name.slice(colon + 1)) }
  }
}

type Addresses = ReturnType<typeof makeAddresses>

// RFC 791 section 3.1
const writeIp = (view: DataView, packet: Packet, id: number, addresses: Addresses): void => {
  view.setUint16(0, 0x4500)
  view.setUint16(2, headersSize + packet.payload.length)
  view.setUint16(4, id & 0xffff)
  view.setUint16(6, 0x4000)
  view.setUint16(8, (64 << 8) | 6)
  view.setUint32(12, addresses(packet.from).address)
  view.setUint32(16, addresses(packet.to).address)
  view.setUint16(10, checksum(new Uint8Array(view.buffer, view.byteOffset, 20)))
}

// RFC 9293 section 3.1; the pseudo-header is the addresses, the protocol and the length.
const writeTcp = (view: DataView, packet: Packet, addresses: Addresses): void => {
  view.setUint16(20, addresses(packet.from).port)
  view.setUint16(22, addresses(packet.to).port)
  view.setUint32(24, packet.seq)
  view.setUint32(28, (packet.flags & flags.ACK) === 0 ? 0 : packet.ack)
  view.setUint16(32, (5 << 12) | packet.flags)
  view.setUint16(34, 0xffff)
  const length = 20 + packet.payload.length
  const covered = new Uint8Array(view.buffer, view.byteOffset + 12, 8 + length)
  view.setUint16(36, checksum(covered, 6 + length))
}

const recordSize = (packet: Packet): number => 16 + headersSize + packet.payload.length

const writePacket = (out: Uint8Array, start: number, packet: Packet, id: number, addresses: Addresses): void => {
  const view = new DataView(out.buffer, start)
  const micros = Math.round(packet.at * 1000)
  view.setUint32(0, Math.floor(micros / 1_000_000))
  view.setUint32(4, micros % 1_000_000)
  view.setUint32(8, headersSize + packet.payload.length)
  view.setUint32(12, headersSize + packet.payload.length)
  out.set(packet.payload, start + 16 + headersSize)
  const body = new DataView(out.buffer, start + 16, headersSize + packet.payload.length)
  writeIp(body, packet, id, addresses)
  writeTcp(body, packet, addresses)
}

const packetsOf = ({ events }: Transcript.Transcript): ReadonlyArray<Packet> => {
  const connections = new Map<number, Connection>()
  return events.flatMap((event) => {
    if (event.connection === undefined) return []
    const connection = connections.get(event.connection) ?? new Connection()
    connections.set(event.connection, connection)
    connection.add(event)
    return connection.packets.splice(0)
  })
}

/**
 * Encodes a transcript as the bytes of a capture file.
 *
 * **Example** (An empty capture)
 *
 * ```ts import.meta.vitest
 * import * as Pcap from "effect-websocket/testing/Pcap"
 *
 * Pcap.encode({ events: [] }).length // => 24
 * ```
 *
 * @category converting
 * @since 1.0.0
 */
export const encode = (transcript: Transcript.Transcript): Uint8Array<ArrayBuffer> => {
  const packets = packetsOf(transcript)
  const out = new Uint8Array(packets.reduce((size, packet) => size + recordSize(packet), 24))
  const view = new DataView(out.buffer)
  view.setUint32(0, 0xa1b2c3d4)
  view.setUint16(4, 2)
  view.setUint16(6, 4)
  view.setUint32(16, 0xffff)
  view.setUint32(20, linkTypeRaw)
  const addresses = makeAddresses()
  let offset = 24
  packets.forEach((packet, id) => {
    writePacket(out, offset, packet, id, addresses)
    offset += recordSize(packet)
  })
  return out
}
