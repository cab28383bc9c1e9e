/**
 * Ways to deflate and inflate on Node, side by side:
 *
 *   node packages/platform-node/benchmark/deflate.ts
 *
 * - `sync`: NodeDeflate, zlib's handle called on the event loop
 * - `sync, reset`: the same without context takeover
 * - `sync 64K`: a message in parts of 64 KiB, with a turn of the event loop between them
 * - `pool`: zlib's streams, the work in the thread pool, as `ws` does it
 * - `one-shot`: deflateRawSync for each message, the window handed over as its dictionary
 * - `portable`: PortableDeflate, JavaScript
 *
 * The others keep their context from message to message. CPU is that of the process,
 * all threads, and is what to read first. A stall is the longest time for which
 * the event loop did not turn.
 */
import * as NodeDeflate from "@effect-websocket/platform-node/NodeDeflate"
import type { Codec } from "@effect-websocket/protocol/Codec"
import * as Deflate from "effect-websocket/Deflate"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Zlib from "node:zlib"

interface Direction {
  /** Handles one message and gives what came of it. */
  readonly run: (message: Uint8Array) => Promise<Uint8Array> | Uint8Array
}

interface Way {
  readonly deflate: (windowBits: number, memLevel: number) => Direction
  readonly inflate: (windowBits: number) => Direction
}

const level = 6
const mebibyte = 1024 * 1024
const part = 64 * 1024

const codecOf = (layer: Layer.Layer<Deflate.Deflate>): Codec => Effect.runSync(Effect.provide(Deflate.Deflate, layer))

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** With `takeover`, messages share their context; otherwise it is reset behind each. */
const fromCodec = (codec: Codec, takeover: boolean): Way => ({
  deflate: (windowBits, memLevel) => {
    const deflater = codec.makeDeflater({ windowBits, memLevel, level })
    return {
      run: (message) => {
        const output = deflater.push(message, true)
        if (!takeover) deflater.reset()
        return output
      }
    }
  },
  inflate: (windowBits) => {
    const inflater = codec.makeInflater(windowBits)
    return {
      run: (message) => {
        const result = inflater.push(message, 64 * mebibyte)
        if (!takeover) inflater.reset()
        if (result._tag !== "Output") throw new Error(result._tag)
        return result.data
      }
    }
  }
})

/** Parts of input, since that is what a connection has in its hands when it may turn. */
const inParts = (direction: Direction): Direction => ({
  run: async (message) => {
    const outputs: Array<Uint8Array> = []
    for (let at = 0; at < message.length; at += part) {
      outputs.push(await direction.run(message.subarray(at, at + part)))
      await turn()
    }
    return Buffer.concat(outputs)
  }
})

const fromStream = (stream: Zlib.DeflateRaw | Zlib.InflateRaw): Direction => {
  let chunks: Array<Buffer> = []
  stream.on("data", (chunk: Buffer) => chunks.push(chunk))
  return {
    run: (message) =>
      new Promise((resolve) => {
        stream.write(message)
        stream.flush(Zlib.constants.Z_SYNC_FLUSH, () => {
          resolve(Buffer.concat(chunks))
          chunks = []
        })
      })
  }
}

const withWindow = (
  windowBits: number,
  run: (message: Uint8Array, window: Uint8Array | undefined) => { output: Uint8Array; plain: Uint8Array }
): Direction => {
  let window: Buffer | undefined
  return {
    run: (message) => {
      const { output, plain } = run(message, window)
      window = Buffer.from(Buffer.concat([window ?? Buffer.alloc(0), plain]).subarray(-(2 ** windowBits)))
      return output
    }
  }
}

const finishFlush = Zlib.constants.Z_SYNC_FLUSH
const dictionaryOf = (window: Uint8Array | undefined) => window === undefined ? {} : { dictionary: window }

const node = fromCodec(codecOf(NodeDeflate.layer), true)
const ways: Record<string, Way> = {
  sync: node,
  "sync, reset": fromCodec(codecOf(NodeDeflate.layer), false),
  "sync 64K": {
    deflate: (windowBits, memLevel) => inParts(node.deflate(windowBits, memLevel)),
    inflate: (windowBits) => inParts(node.inflate(windowBits))
  },
  pool: {
    deflate: (windowBits, memLevel) => fromStream(Zlib.createDeflateRaw({ windowBits, memLevel, level })),
    inflate: (windowBits) => fromStream(Zlib.createInflateRaw({ windowBits }))
  },
  "one-shot": {
    deflate: (windowBits, memLevel) =>
      withWindow(windowBits, (plain, window) => {
        const options = { windowBits, memLevel, level, finishFlush, ...dictionaryOf(window) }
        return { plain, output: Zlib.deflateRawSync(plain, options) }
      }),
    inflate: (windowBits) =>
      withWindow(windowBits, (message, window) => {
        const output = Zlib.inflateRawSync(message, { windowBits, finishFlush, ...dictionaryOf(window) })
        return { plain: output, output }
      })
  },
  portable: fromCodec(codecOf(PortableDeflate.layer), true)
}

/** Something like JSON of a feed, not the same twice. */
const makeText = (size: number, seed: number): Uint8Array => {
  let state = seed
  let text = ""
  while (text.length < size) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    text += `{"symbol":"${["EURUSD", "BTCUSD", "XAUUSD"][state % 3]}","price":${state % 100000},"id":"${state}"},`
  }
  return Buffer.from(text.slice(0, size))
}

const row = (label: string, cells: ReadonlyArray<string>) =>
  console.log(label.padEnd(30) + cells.map((cell) => cell.padStart(14)).join(""))

/** Microseconds of all processors and of the clock. */
const cost = async (run: () => Promise<ReadonlyArray<Uint8Array>>) => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const outputs = await run()
  const used = process.cpuUsage(cpu)
  return { outputs, cpu: used.user + used.system, wall: (performance.now() - start) * 1000 }
}

/** The longest time in microseconds without a turn of the event loop. Watching burns a processor: not for `cost`. */
const stallOf = async (run: () => Promise<unknown>): Promise<number> => {
  let stall = 0
  let last = performance.now()
  let watching = true
  const watch = () => {
    const now = performance.now()
    stall = Math.max(stall, now - last)
    last = now
    if (watching) setImmediate(watch)
  }
  watch()
  await run()
  watch()
  watching = false
  return stall * 1000
}

const runAll = async (direction: Direction, messages: ReadonlyArray<Uint8Array>) => {
  const outputs: Array<Uint8Array> = []
  for (const message of messages) {
    const output = direction.run(message)
    outputs.push(output instanceof Promise ? await output : output)
  }
  return outputs
}

const small = async () => {
  row("\nsmall messages, us each", ["deflate CPU", "deflate clock", "inflate CPU", "inflate clock"])
  for (const size of [16, 125, 1024]) {
    const messages = Array.from({ length: 3000 }, (_, index) => makeText(size, index))
    for (const name of ["sync", "sync, reset", "pool", "one-shot", "portable"]) {
      const cells: Array<string> = []
      const way = ways[name]!
      let input: ReadonlyArray<Uint8Array> = messages
      for (const make of [() => way.deflate(15, 8), () => way.inflate(15)]) {
        await runAll(make(), input.slice(0, 500))
        const { cpu, outputs, wall } = await cost(() => runAll(make(), input))
        cells.push((cpu / input.length).toFixed(1), (wall / input.length).toFixed(1))
        input = outputs
      }
      row(`${size} B ${name}`, cells)
    }
  }
}

const large = async () => {
  row("\nlarge messages, ms", ["deflate CPU", "deflate stall", "inflate CPU", "inflate stall"])
  for (const size of [1, 16]) {
    for (const name of ["sync", "sync 64K", "pool", "one-shot", "portable"]) {
      const cells: Array<string> = []
      const way = ways[name]!
      let input: ReadonlyArray<Uint8Array> = [makeText(size * mebibyte, 1)]
      for (const make of [() => way.deflate(15, 8), () => way.inflate(15)]) {
        const { cpu, outputs } = await cost(() => runAll(make(), input))
        const stall = await stallOf(() => runAll(make(), input))
        cells.push((cpu / 1000).toFixed(0), (stall / 1000).toFixed(1))
        input = outputs
      }
      row(`${size} MiB ${name}`, cells)
    }
  }
}

const connections = 400
const used = Array.from({ length: 40 }, (_, index) => makeText(1024, index))

/** In a process of its own: what a connection holds after 40 KiB each way. */
const idle = async (name: string, windowBits: number, memLevel: number) => {
  const way = ways[name]!
  const held: Array<Direction> = []
  const connect = async () => {
    const directions = [way.deflate(windowBits, memLevel), way.inflate(windowBits)] as const
    await runAll(directions[1], await runAll(directions[0], used))
    held.push(...directions)
  }
  // What the first ones load belongs to no connection.
  for (let index = 0; index < 20; index++) await connect()
  globalThis.gc!()
  const before = process.memoryUsage().rss
  for (let index = 0; index < connections; index++) await connect()
  globalThis.gc!()
  console.log(((process.memoryUsage().rss - before) / connections / 1024).toFixed(0))
}

/** The most memory that this process had, KiB. */
const peak = (): number => Number(/VmHWM:\s+(\d+)/.exec(Fs.readFileSync("/proc/self/status", "utf8"))![1])

/** In a process of its own: a mebibyte that stands for a gibibyte, met by a limit of 16 MiB. */
const bomb = (name: string) => {
  const codec = codecOf(name === "sync" ? NodeDeflate.layer : PortableDeflate.layer)
  const deflater = codec.makeDeflater({ windowBits: 15, level, memLevel: 8 })
  const zeros = new Uint8Array(mebibyte)
  const first = deflater.push(zeros, true)
  const other = deflater.push(zeros, true)
  const input = Buffer.concat([first, ...Array.from({ length: 1023 }, () => other)])
  // Linux: the peak counts from here on.
  Fs.writeFileSync("/proc/self/clear_refs", "5")
  const before = peak()
  const cpu = process.cpuUsage()
  const result = codec.makeInflater(15).push(input, 16 * mebibyte)
  const { system, user } = process.cpuUsage(cpu)
  const grown = (peak() - before) / 1024
  console.log(`${result._tag} after ${((user + system) / 1000).toFixed(0)} ms, peak RSS +${grown.toFixed(0)} MiB`)
}

const apart = (...args: ReadonlyArray<string>): string =>
  ChildProcess.execFileSync(process.execPath, ["--expose-gc", import.meta.filename, ...args], { encoding: "utf8" })
    .trim()

const memory = () => {
  const kinds = [[15, 8], [15, 1], [9, 8], [9, 1]] as const
  row("\nidle connection, KiB of RSS", kinds.map(([windowBits, memLevel]) => `${windowBits} bits/mem ${memLevel}`))
  for (const name of ["sync", "sync, reset", "pool", "portable"]) {
    row(name, kinds.map(([windowBits, memLevel]) => apart("idle", name, `${windowBits}`, `${memLevel}`)))
  }
  console.log("\n1 GiB from 1 MiB, limit 16 MiB")
  for (const name of ["sync", "portable"]) row(name, [apart("bomb", name)])
}

const [task, name, windowBits, memLevel] = process.argv.slice(2)
if (task === "idle") await idle(name!, Number(windowBits), Number(memLevel))
else if (task === "bomb") bomb(name!)
else {
  console.log(`Node ${process.version}, zlib ${process.versions.zlib}, level ${level}, 15 bits, memLevel 8`)
  await small()
  await large()
  memory()
}
