/**
 * Masking in place, 64 KiB of payload in frames of a size, each behind its header as it is on the wire:
 *
 *     node packages/protocol/benchmark/mask.ts
 *
 * `byte by byte` is the loop that section 5.3 writes down.
 */
import * as Mask from "@effect-websocket/protocol/Mask"
import { Bench } from "tinybench"

const key = 0x12345678
const keyBytes = [0x12, 0x34, 0x56, 0x78]

const byteByByte = (memory: Uint8Array, start: number, end: number) => {
  for (let at = start; at < end; at++) memory[at]! ^= keyBytes[(at - start) & 3]!
}

const bench = new Bench({ time: 200, throws: true })

for (const size of [16, 125, 1024, 16_384, 65_536]) {
  const stride = size + 8
  const memory = new Uint8Array(Math.round(65_536 / size) * stride)
  bench.add(`${size} B`, () => {
    for (let at = 6; at < memory.length; at += stride) Mask.applyInPlace(memory, key, 0, at, at + size)
  })
  bench.add(`${size} B, byte by byte`, () => {
    for (let at = 6; at < memory.length; at += stride) byteByByte(memory, at, at + size)
  })
}

await bench.run()
console.table(bench.table())
