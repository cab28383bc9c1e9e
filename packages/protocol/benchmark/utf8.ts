/**
 * Validating UTF-8, 64 KiB in texts of a size, by how much of it is beyond ASCII:
 *
 *     node packages/protocol/benchmark/utf8.ts
 *
 * Beside it `TextDecoder`, which also makes the string.
 */
import * as Utf8 from "@effect-websocket/protocol/Utf8"
import { Bench } from "tinybench"

const words = { ASCII: "plain words, ", Latin: "déjà vu, ça et là ", Greek: "ένα δύο τρία ", emoji: "👍🏽🎉 " }

const decoder = new TextDecoder("utf-8", { fatal: true })
const bench = new Bench({ time: 200, throws: true })

for (const size of [16, 125, 1024, 16_384]) {
  for (const [name, word] of Object.entries(words)) {
    const text = word.repeat(Math.ceil(size / Buffer.byteLength(word)))
    const texts = Array.from({ length: Math.ceil(65_536 / size) }, () => new TextEncoder().encode(text))
    bench.add(`${size} B ${name}`, () => texts.every(Utf8.isValid))
    bench.add(`${size} B ${name}, TextDecoder`, () => texts.forEach((bytes) => decoder.decode(bytes)))
  }
}

await bench.run()
console.table(bench.table())
