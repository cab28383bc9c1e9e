/**
 * A thousand headers written, and frames decoded from a chunk that holds many:
 *
 *     node packages/protocol/benchmark/frame.ts
 */
import * as Frame from "@effect-websocket/protocol/Frame"
import { FrameDecoder } from "@effect-websocket/protocol/FrameDecoder"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import { Bench } from "tinybench"

const key = 0x12345678
const out = new Uint8Array(Frame.maxHeaderSize)
const chunkSize = 65_536

const headerOf = (length: number): Frame.Header => ({ fin: true, rsv: 0, opcode: Opcode.Binary, length, key })

/** As many masked frames as a chunk holds. */
const fill = (length: number): Uint8Array => {
  const size = Frame.headerSize(length, true) + length
  const chunk = new Uint8Array(Math.floor(chunkSize / size) * size)
  for (let at = 0; at < chunk.length; at += size) Frame.encodeHeader(headerOf(length), chunk, at)
  return chunk
}

const bench = new Bench({ time: 200, throws: true })

for (const length of [16, 125, 1024, 65_000]) {
  const header = headerOf(length)
  const chunk = fill(length)
  const decoder = new FrameDecoder({ role: "server" })
  bench.add(`1000 headers of ${length} B, written`, () => {
    for (let count = 0; count < 1000; count++) Frame.encodeHeader(header, out, 0)
  })
  bench.add(`${chunk.length} B of frames of ${length} B, decoded`, () => {
    decoder.push(chunk)
    while (decoder.next() !== undefined);
  })
}

await bench.run()
console.table(bench.table())
