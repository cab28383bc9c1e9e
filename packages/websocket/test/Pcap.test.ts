import { assert, describe, it } from "@effect/vitest"
import * as Pcap from "effect-websocket/testing/Pcap"
import type * as Transcript from "effect-websocket/testing/Transcript"

const ends = { connection: 1, from: "client:49152", to: "server:80" }
const back = { connection: 1, from: "server:80", to: "client:49152" }

const transcript: Transcript.Transcript = {
  events: [
    { at: 0, from: "client", to: "server:80", kind: "dial" },
    { at: 1.5, ...ends, kind: "open" },
    { at: 2, ...ends, kind: "data", bytes: new Uint8Array(1461).fill(7) },
    { at: 1003, ...back, kind: "data", bytes: Uint8Array.of(1, 2, 3) },
    { at: 1004, ...back, kind: "end" },
    { at: 1005, ...back, kind: "reset" }
  ]
}

interface Packet {
  readonly time: readonly [seconds: number, micros: number]
  readonly ip: DataView
  readonly tcp: DataView
}

const packets = (file: Uint8Array): ReadonlyArray<Packet> => {
  const view = new DataView(file.buffer)
  const found: Array<Packet> = []
  for (let at = 24; at < file.length; at += 16 + view.getUint32(at + 8)) {
    const size = view.getUint32(at + 8)
    const ip = new DataView(file.buffer, at + 16, 20)
    const tcp = new DataView(file.buffer, at + 36, size - 20)
    found.push({ time: [view.getUint32(at), view.getUint32(at + 4)], ip, tcp })
  }
  return found
}

/** The one's complement sum, which is all ones where the checksum is right. */
const sum = (views: ReadonlyArray<DataView>, initial = 0): number => {
  let total = initial
  for (const view of views) {
    for (let at = 0; at < view.byteLength; at += 2) {
      total += at + 1 < view.byteLength ? view.getUint16(at) : view.getUint8(at) << 8
    }
  }
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

describe("Pcap", () => {
  const file = Pcap.encode(transcript)

  it("has the header of raw IPv4 packets with microseconds", () => {
    const view = new DataView(file.buffer)
    assert.deepStrictEqual([view.getUint32(0), view.getUint32(20)], [0xa1b2c3d4, 101])
  })

  it("has a packet for each part of a connection", () => {
    const seen = packets(file).map((
      { tcp }
    ) => [tcp.getUint8(13), tcp.getUint32(4), tcp.getUint32(8), tcp.byteLength - 20])
    assert.deepStrictEqual(seen, [
      [0x02, 0, 0, 0],
      [0x12, 0, 1, 0],
      [0x10, 1, 1, 0],
      [0x18, 1, 1, 1460],
      [0x18, 1461, 1, 1],
      [0x18, 1, 1462, 3],
      [0x11, 4, 1462, 0],
      [0x14, 5, 1462, 0]
    ])
  })

  it("stamps packets with virtual time, and names hosts and ports", () => {
    const all = packets(file)
    assert.deepStrictEqual(all[0]!.time, [0, 1500])
    assert.deepStrictEqual(all[5]!.time, [1, 3000])
    const { ip, tcp } = all[5]!
    assert.deepStrictEqual([ip.getUint32(12), ip.getUint32(16)], [0x0a000002, 0x0a000001])
    assert.deepStrictEqual([tcp.getUint16(0), tcp.getUint16(2)], [80, 49_152])
  })

  it("has checksums that hold", () => {
    for (const { ip, tcp } of packets(file)) {
      assert.strictEqual(sum([ip]), 0xffff)
      const addresses = new DataView(ip.buffer, ip.byteOffset + 12, 8)
      assert.strictEqual(sum([addresses, tcp], 6 + tcp.byteLength), 0xffff)
    }
  })
})
