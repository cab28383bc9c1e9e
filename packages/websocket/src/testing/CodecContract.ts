/**
 * What every raw-deflate codec promises, as laws that can be run against any of
 * them, and against two at once: one compresses, the other decompresses.
 *
 * Laws need no test framework, no clock and no chance: what looks random comes
 * from fixed seeds.
 *
 * @since 1.0.0
 */
import type * as Codec from "@effect-websocket/protocol/Codec"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * Who compresses and who decompresses; may be the same.
 *
 * @category models
 * @since 1.0.0
 */
export interface Codecs {
  readonly deflate: Codec.Codec
  readonly inflate: Codec.Codec
}

/**
 * One promise: a sentence, and how to check it.
 *
 * @category models
 * @since 1.0.0
 */
export interface Law {
  readonly name: string
  readonly check: (codecs: Codecs) => Effect.Effect<void, LawBroken, Scope.Scope>
}

/**
 * A codec does not keep its promise.
 *
 * @category errors
 * @since 1.0.0
 */
export class LawBroken extends Data.TaggedError("LawBroken")<{ readonly message: string }> {}

const mebibyte = 1024 * 1024
const ample = 8 * mebibyte
const defaults: Codec.DeflaterOptions = { windowBits: 15, level: 6, memLevel: 8 }
const windows = [8, 9, 10, 11, 12, 13, 14, 15] as const

const ensure = (condition: boolean, message: string): Effect.Effect<void, LawBroken> =>
  condition ? Effect.void : Effect.fail(new LawBroken({ message }))

const same = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, index) => byte === right[index])

const expectBytes = (what: string, actual: Uint8Array, expected: Uint8Array): Effect.Effect<void, LawBroken> =>
  ensure(same(actual, expected), `${what}: ${actual.length} bytes are not the ${expected.length} expected`)

const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    out.set(chunk, at)
    at += chunk.length
  }
  return out
}

const hex = (text: string): Uint8Array => Uint8Array.from(text.split(" "), (byte) => Number.parseInt(byte, 16))

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A linear congruential generator (Knuth's MMIX multipliers, cut to 32 bits). */
const random = (seed: number) => {
  let state = seed >>> 0
  return (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const randomBytes = (seed: number, size: number): Uint8Array => {
  const next = random(seed)
  return Uint8Array.from({ length: size }, () => next(256))
}

const words = ["id", "name", "price", "true", "null", "péché", "quantity", "ok", "🙂", "timestamp"] as const

/** Text that compresses about as JSON does. */
const textBytes = (seed: number, size: number): Uint8Array => {
  const next = random(seed)
  const out = new Uint8Array(size)
  let at = 0
  while (at < size) {
    const word = utf8(`"${words[next(words.length)]}":${next(1000)},`)
    out.set(word.subarray(0, size - at), at)
    at += word.length
  }
  return out
}

/** Cuts into parts of at most `most` bytes, some of them empty. */
const cut = (bytes: Uint8Array, next: (below: number) => number, most: number): ReadonlyArray<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length;) {
    const size = next(most + 1)
    parts.push(bytes.subarray(at, at + size))
    at += size
  }
  return parts
}

const openDeflater = (codecs: Codecs, options: Partial<Codec.DeflaterOptions> = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => codecs.deflate.makeDeflater({ ...defaults, ...options })),
    (deflater) => Effect.sync(() => deflater.close())
  )

const openInflater = (codecs: Codecs, windowBits = 15) =>
  Effect.acquireRelease(
    Effect.sync(() => codecs.inflate.makeInflater(windowBits)),
    (inflater) => Effect.sync(() => inflater.close())
  )

/** All that `input` stands for, which must be right and at most 8 MiB. */
const output = Effect.fnUntraced(function*(inflater: Codec.Inflater, input: Uint8Array) {
  const result = inflater.push(input, ample)
  if (result._tag === "Output") return result.data
  return yield* new LawBroken({ message: `${input.length} bytes must inflate, and gave ${JSON.stringify(result)}` })
})

const expectTag = (what: string, result: Codec.Inflated, tag: Codec.Inflated["_tag"]) =>
  ensure(result._tag === tag, `${what} must be ${tag}, and is ${result._tag}`)

/** Compresses and decompresses in random parts, a third of them flushed, and compares. */
const roundTrip = Effect.fnUntraced(function*(
  codecs: Codecs,
  options: Partial<Codec.DeflaterOptions>,
  bytes: Uint8Array,
  seed: number
) {
  const next = random(seed)
  const deflater = yield* openDeflater(codecs, options)
  const inflater = yield* openInflater(codecs, options.windowBits)
  const compressed: Array<Uint8Array> = []
  for (const part of cut(bytes, next, 700)) compressed.push(deflater.push(part, next(3) === 0))
  compressed.push(deflater.push(new Uint8Array(0), true))
  const inflated: Array<Uint8Array> = []
  for (const part of cut(concat(compressed), next, 90)) inflated.push(yield* output(inflater, part))
  yield* expectBytes(`A round trip with ${JSON.stringify(options)}`, concat(inflated), bytes)
})

/** Packs bits, given as text of 0 and 1, into bytes, the first bit lowest (RFC 1951 section 3.1.1). */
const bits = (text: string): Uint8Array =>
  Uint8Array.from(
    { length: Math.ceil(text.length / 8) },
    (_, index) => Number.parseInt(Array.from(text.slice(index * 8, index * 8 + 8)).toReversed().join(""), 2)
  )

/** A fixed block that says: the three bytes `2 ** windowBits` back. Then an empty block, up to its 00 00 ff ff. */
const farthestReference = (windowBits: number): Uint8Array => {
  const distanceCode = (2 * windowBits - 1).toString(2).padStart(5, "0")
  return bits(`010${"0000001"}${distanceCode}${"1".repeat(windowBits - 2)}${"0000000"}${"000"}`)
}

const endsOnFlush = (bytes: Uint8Array): boolean => same(bytes.subarray(-4), hex("00 00 ff ff"))

const deflateLaws: ReadonlyArray<Law> = [
  {
    name: "what was compressed comes out again, at any split of both, with any flushes",
    check: Effect.fnUntraced(function*(codecs) {
      for (const level of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
        yield* roundTrip(codecs, { level }, textBytes(level, 9000), level)
      }
      for (const memLevel of [1, 2, 3, 4, 5, 6, 7, 8, 9]) {
        yield* roundTrip(codecs, { memLevel }, textBytes(memLevel, 9000), memLevel)
      }
    })
  },
  {
    name: "every window from 256 bytes to 32 KiB is kept to, at every level",
    check: Effect.fnUntraced(function*(codecs) {
      const bytes = concat([textBytes(1, 20_000), randomBytes(2, 5000), textBytes(1, 20_000)])
      for (const windowBits of windows) {
        for (const level of [1, 6, 9]) {
          yield* roundTrip(codecs, { windowBits, level }, bytes, windowBits)
          yield* roundTrip(codecs, { windowBits, level, memLevel: 1 }, bytes, windowBits)
        }
      }
    })
  },
  {
    name: "what comes again behind the window is not referred to",
    check: Effect.fnUntraced(function*(codecs) {
      for (const windowBits of windows) {
        const once = randomBytes(windowBits, 2 ** windowBits + 1)
        const deflater = yield* openDeflater(codecs, { windowBits, level: 9 })
        deflater.push(once, true)
        const again = deflater.push(once, true)
        yield* ensure(again.length > once.length, `${once.length} bytes again take ${again.length} with ${windowBits}`)
      }
    })
  },
  {
    name: "a flush gives all that was taken, and ends on 00 00 ff ff",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const inflater = yield* openInflater(codecs)
      yield* ensure(endsOnFlush(deflater.push(new Uint8Array(0), true)), "A first flush does not end on 00 00 ff ff")
      for (const size of [0, 1, 0, 0, 125, 16_383, 70_000, 0]) {
        const message = textBytes(size, size)
        const head = deflater.push(message.subarray(0, size >> 1), false)
        const rest = deflater.push(message.subarray(size >> 1), true)
        const flushed = endsOnFlush(rest) || (size === 0 && rest.length === 0)
        yield* ensure(flushed, `A flush of ${size} bytes does not end on 00 00 ff ff`)
        yield* expectBytes("A flushed message", yield* output(inflater, concat([head, rest])), message)
      }
    })
  },
  {
    name: "nothing given without a flush gives nothing",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      yield* expectBytes("Nothing", deflater.push(new Uint8Array(0), false), new Uint8Array(0))
      const inflater = yield* openInflater(codecs)
      yield* expectBytes("Nothing", yield* output(inflater, new Uint8Array(0)), new Uint8Array(0))
      yield* expectTag("Nothing with a limit of 0", inflater.push(new Uint8Array(0), 0), "Output")
    })
  },
  {
    name: "messages share their context",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const message = textBytes(3, 500)
      const first = deflater.push(message, true)
      const second = deflater.push(message, true)
      yield* ensure(second.length * 4 < first.length, `The same again takes ${second.length} bytes of ${first.length}`)
      const inflater = yield* openInflater(codecs)
      yield* expectBytes("The first message", yield* output(inflater, first), message)
      yield* expectBytes("The second message", yield* output(inflater, second), message)
    })
  },
  {
    name: "a reset makes what follows independent of what was before",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const inflater = yield* openInflater(codecs)
      deflater.reset()
      inflater.reset()
      const message = textBytes(4, 500)
      const first = deflater.push(message, true)
      const second = deflater.push(message, true)
      deflater.push(message.subarray(7), false)
      deflater.reset()
      yield* expectBytes("A message after a reset", deflater.push(message, true), first)
      yield* expectBytes("The first message", yield* output(inflater, first), message)
      inflater.push(second.subarray(0, 1), ample)
      inflater.reset()
      yield* expectTag("A message whose context was reset", inflater.push(second, ample), "Corrupt")
    })
  },
  {
    name: "connections that take turns do not see each other's contexts",
    check: Effect.fnUntraced(function*(codecs) {
      const pairs = yield* Effect.forEach(
        [0, 1, 2],
        () => Effect.all({ deflater: openDeflater(codecs), inflater: openInflater(codecs) })
      )
      for (let turn = 0; turn < 60; turn++) {
        const { deflater, inflater } = pairs[turn % 3]!
        const message = textBytes(turn % 7, 300)
        yield* expectBytes(`Turn ${turn}`, yield* output(inflater, deflater.push(message, true)), message)
        if (turn % 4 === 0) deflater.reset()
        if (turn % 4 === 0) inflater.reset()
      }
    })
  },
  {
    name: "a mebibyte goes through, whether it compresses or not",
    check: Effect.fnUntraced(function*(codecs) {
      // The sizes around 64 KiB fill an output buffer just so.
      for (const size of [65_505, 65_510, 65_515, 65_520, 65_525, 65_530, 65_535, 65_536, mebibyte]) {
        for (const bytes of [randomBytes(5, size), textBytes(5, size)]) {
          const deflater = yield* openDeflater(codecs, { level: 1 })
          const inflater = yield* openInflater(codecs)
          const compressed = deflater.push(bytes, true)
          yield* ensure(compressed.length < size + size / 1000 + 64, `${size} bytes became ${compressed.length}`)
          yield* expectBytes("A long message", yield* output(inflater, compressed), bytes)
        }
      }
    })
  }
]

/** RFC 7692 sections 7.2.3.1 to 7.2.3.5, with the four bytes that a receiver appends. */
const examples: ReadonlyArray<{ readonly section: string; readonly input: string }> = [
  { section: "7.2.3.1 one compressed block", input: "f2 48 cd c9 c9 07 00 00 00 ff ff" },
  { section: "7.2.3.2 the context of the message before", input: "f2 00 11 00 00 00 00 ff ff" },
  { section: "7.2.3.3 a block without compression", input: "00 05 00 fa ff 48 65 6c 6c 6f 00 00 00 ff ff" },
  { section: "7.2.3.4 a block with BFINAL", input: "f3 48 cd c9 c9 07 00 00 00 00 ff ff" },
  { section: "7.2.3.5 two blocks", input: "f2 48 05 00 00 00 ff ff ca c9 c9 07 00 00 00 ff ff" }
]

const corruptions: ReadonlyArray<{ readonly what: string; readonly input: string }> = [
  { what: "A block of the reserved type", input: "06" },
  { what: "A stored block whose length is told in two ways", input: "00 01 00 00 00" },
  { what: "A reference before the beginning", input: "02 02" },
  { what: "A block with too many symbols", input: "fc ff ff" },
  { what: "A block with a code that is not complete", input: "04 00 fe ff" }
]

const finalHello = hex("f3 48 cd c9 c9 07 00")
const hello = utf8("Hello")

const inflateLaws: ReadonlyArray<Law> = [
  {
    name: "the examples of RFC 7692 section 7.2.3 inflate",
    check: Effect.fnUntraced(function*(codecs) {
      const inflater = yield* openInflater(codecs)
      for (const { input, section } of examples) {
        yield* expectBytes(section, yield* output(inflater, hex(input)), hello)
      }
    })
  },
  {
    name: "a reference reaches the first byte of the window",
    check: Effect.fnUntraced(function*(codecs) {
      for (const windowBits of windows) {
        const inflater = yield* openInflater(codecs, windowBits)
        const window = randomBytes(windowBits, 2 ** windowBits)
        const deflater = yield* openDeflater(codecs, { windowBits, level: 0 })
        yield* expectBytes("A window", yield* output(inflater, deflater.push(window, true)), window)
        const input = concat([farthestReference(windowBits), hex("00 00 ff ff")])
        yield* expectBytes(`With ${windowBits} bits`, yield* output(inflater, input), window.subarray(0, 3))
      }
    })
  },
  {
    name: "a limit lets pass what fills it, and not one byte more",
    check: Effect.fnUntraced(function*(codecs) {
      for (const size of [0, 1, 125, 1000, 65_535, 65_536, 65_537, 131_072, 200_000]) {
        for (const bytes of [randomBytes(6, size), textBytes(6, size), new Uint8Array(size)]) {
          const deflater = yield* openDeflater(codecs, { level: 1 })
          const compressed = deflater.push(bytes, true)
          const inflater = yield* openInflater(codecs)
          const passed = inflater.push(compressed, size)
          yield* expectTag(`${size} bytes with a limit of as many`, passed, "Output")
          if (passed._tag === "Output") yield* expectBytes("At the limit", passed.data, bytes)
          yield* expectBytes("Behind the limit", yield* output(inflater, deflater.push(hello, true)), hello)
          const stopped = (yield* openInflater(codecs)).push(compressed, size - 1)
          if (size > 0) yield* expectTag(`${size} bytes with a limit of one less`, stopped, "TooBig")
        }
      }
    })
  },
  {
    name: "a mebibyte that stands for a gibibyte stops at the limit",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const zeros = new Uint8Array(mebibyte)
      const first = deflater.push(zeros, true)
      const other = deflater.push(zeros, true)
      const bomb = concat([first, ...Array.from({ length: 1023 }, () => other)])
      for (const limit of [0, 1, 100_000, mebibyte]) {
        yield* expectTag("A bomb", (yield* openInflater(codecs)).push(bomb, limit), "TooBig")
      }
    })
  },
  {
    name: "what is not deflate is corrupt",
    check: Effect.fnUntraced(function*(codecs) {
      for (const { input, what } of corruptions) {
        const inflater = yield* openInflater(codecs)
        yield* expectTag(what, inflater.push(hex(input), ample), "Corrupt")
        inflater.close()
        const late = yield* openInflater(codecs)
        yield* expectBytes("A message before it", yield* output(late, hex(examples[0]!.input)), hello)
        if (what !== "A reference before the beginning") {
          yield* expectTag(`${what}, later`, late.push(hex(input), ample), "Corrupt")
        }
      }
    })
  },
  {
    name: "a flipped bit anywhere never throws, and both codecs make the same of it",
    check: Effect.fnUntraced(function*(codecs) {
      const message = textBytes(7, 400)
      const compressed = (yield* openDeflater(codecs)).push(message, true)
      const inflated = (codec: Codec.Codec, input: Uint8Array): string => {
        const inflater = codec.makeInflater(15)
        const result = inflater.push(input, 1000)
        inflater.close()
        return result._tag === "Output" ? result.data.join() : JSON.stringify(result)
      }
      for (let bit = 0; bit < compressed.length * 8; bit++) {
        const flipped = compressed.slice()
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        const agreed = inflated(codecs.inflate, flipped) === inflated(codecs.deflate, flipped)
        yield* ensure(agreed, `The codecs disagree when bit ${bit} is flipped`)
      }
    })
  },
  {
    name: "a part of a message gives the part of its output, wherever it is cut",
    check: Effect.fnUntraced(function*(codecs) {
      const message = textBytes(8, 300)
      const compressed = (yield* openDeflater(codecs)).push(message, true)
      for (let size = 0; size <= compressed.length; size++) {
        const inflater = yield* openInflater(codecs)
        const head = yield* output(inflater, compressed.subarray(0, size))
        const rest = yield* output(inflater, compressed.subarray(size))
        yield* expectBytes(`A cut at ${size}`, concat([head, rest]), message)
      }
    })
  },
  {
    name: "a message is finished where its last block is whole but for the tail, and nowhere before",
    check: Effect.fnUntraced(function*(codecs) {
      for (const level of [0, 1, 9]) {
        for (const size of [0, 1, 5, 400, 70_000]) {
          const compressed = (yield* openDeflater(codecs, { level })).push(textBytes(11, size), true)
          const message = compressed.subarray(0, -4)
          const inflater = yield* openInflater(codecs)
          yield* output(inflater, message)
          yield* ensure(inflater.finish(), `${size} bytes are not finished where they end`)
          yield* expectBytes("The next message", yield* output(inflater, hex(examples[0]!.input)), hello)
          for (let length = Math.max(1, message.length - 300); length < message.length; length++) {
            // the header of a stored block alone is an empty message
            if (level === 0 && length === 1) continue
            const early = yield* openInflater(codecs)
            yield* output(early, message.subarray(0, length))
            yield* ensure(!early.finish(), `${size} bytes are finished ${message.length - length} bytes too early`)
          }
        }
      }
    })
  },
  {
    name: "a message is finished behind a block with BFINAL, with the 00 that may follow it or without",
    check: Effect.fnUntraced(function*(codecs) {
      const inflater = yield* openInflater(codecs)
      for (const rest of ["00", "", "03 00", "01", ""]) {
        const message = concat([finalHello, rest === "" ? new Uint8Array(0) : hex(rest)])
        yield* expectBytes("A message", yield* output(inflater, message), hello)
        yield* ensure(inflater.finish(), `A message that ends with a final block and [${rest}] is not finished`)
      }
    })
  },
  {
    name: "a block with BFINAL ends its stream, and the next begins behind it",
    check: Effect.fnUntraced(function*(codecs) {
      // "Hello" three times, each the end of a stream, an empty stream, and what a receiver appends.
      const input = concat([finalHello, finalHello, hex("03 00"), finalHello, hex("00 00 00 ff ff")])
      for (let at = 0; at <= input.length; at++) {
        const inflater = yield* openInflater(codecs)
        for (let message = 0; message < 2; message++) {
          const head = yield* output(inflater, input.subarray(0, at))
          const rest = yield* output(inflater, input.subarray(at))
          yield* expectBytes(`Streams cut at ${at}`, concat([head, rest]), utf8("HelloHelloHello"))
        }
      }
      const limited = yield* openInflater(codecs)
      yield* expectTag("Streams that fill a limit", limited.push(input, 15), "Output")
      yield* expectTag("Streams that pass a limit", limited.push(input, 14), "TooBig")
      const referring = concat([finalHello, hex("02 02")])
      yield* expectTag("A reference to an ended stream", (yield* openInflater(codecs)).push(referring, 99), "Corrupt")
    })
  }
]

const ownershipLaws: ReadonlyArray<Law> = [
  {
    name: "arrays that are given are not changed and not kept",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const inflater = yield* openInflater(codecs)
      const message = textBytes(9, 5000)
      const given = concat([hex("ff ff"), message, hex("ff")]).subarray(2, 5002)
      const head = deflater.push(given, false)
      yield* expectBytes("What was given to a deflater", given, message)
      given.fill(0)
      const compressed = concat([head, deflater.push(given.subarray(0, 0), true)])
      const half = compressed.slice(0, compressed.length >> 1)
      const first = yield* output(inflater, half)
      yield* expectBytes("What was given to an inflater", half, compressed.subarray(0, half.length))
      half.fill(0)
      const second = yield* output(inflater, compressed.subarray(half.length))
      yield* expectBytes("The message", concat([first, second]), message)
    })
  },
  {
    name: "arrays that are returned are the caller's own",
    check: Effect.fnUntraced(function*(codecs) {
      const deflater = yield* openDeflater(codecs)
      const inflater = yield* openInflater(codecs)
      for (const size of [0, 0, 10, 10, 3000, 3000, 70_000, 70_000]) {
        const message = textBytes(size, size)
        const compressed = deflater.push(message, true)
        const kept = compressed.slice()
        const data = yield* output(inflater, compressed)
        yield* expectBytes("A message", data, message)
        yield* expectBytes("What was compressed", compressed, kept)
        data.fill(7)
        compressed.fill(7)
        yield* ensure(compressed.buffer.byteLength === compressed.length, "A larger buffer is behind an output")
        yield* ensure(data.buffer.byteLength === data.length, "A larger buffer is behind an output")
      }
    })
  },
  {
    name: "closing is possible at any time and more than once, and nobody else notices",
    check: Effect.fnUntraced(function*(codecs) {
      const message = textBytes(10, 3000)
      const compressed = (yield* openDeflater(codecs)).push(message, true)
      const uses: ReadonlyArray<(deflater: Codec.Deflater, inflater: Codec.Inflater) => void> = [
        () => {},
        (deflater) => deflater.push(message, false),
        (deflater) => deflater.push(message, true),
        (_, inflater) => inflater.push(compressed.subarray(0, 100), ample),
        (_, inflater) => inflater.push(compressed, 10),
        (_, inflater) => inflater.push(hex("06"), 10),
        (deflater, inflater) => {
          deflater.reset()
          inflater.reset()
        }
      ]
      for (const use of uses) {
        const deflater = codecs.deflate.makeDeflater(defaults)
        const inflater = codecs.inflate.makeInflater(15)
        use(deflater, inflater)
        for (const half of [deflater, inflater, deflater, inflater]) half.close()
        yield* roundTrip(codecs, {}, message, 1)
      }
    })
  }
]

/**
 * What every codec promises, alone and with any other.
 *
 * @category laws
 * @since 1.0.0
 */
export const laws: ReadonlyArray<Law> = [...deflateLaws, ...inflateLaws, ...ownershipLaws]
