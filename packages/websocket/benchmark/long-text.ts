/**
 * What the platform takes for one long text at once, however it is called, beside going through it in pieces:
 *
 *     node packages/websocket/benchmark/long-text.ts [mebibytes]
 *
 * Milliseconds at one go: the least and the median of some runs. What takes memory that was not in use is as slow as the
 * system is to give it: a string in pieces that is made one always does, an array, or what it is decoded to, where none
 * that was let go of is at hand. No connection is quicker for who wants such a text, or array, in one piece.
 */

const mebibytes = Number(process.argv[2] ?? 16)
const pieceSize = 256 * 1024
const runs = 9

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
const scratch = new Uint8Array(3 * pieceSize)

/** Pieces as they arrive, each a string of its own. */
const makePieces = (unit: string): Array<string> =>
  Array.from({ length: mebibytes * 4 }, (_, i) => {
    const piece = String(i).padEnd(pieceSize, unit)
    // in one piece itself
    piece.charCodeAt(0)
    return piece
  })

const add = (pieces: ReadonlyArray<string>) => pieces.reduce((left, right) => left + right)

const flat = (pieces: ReadonlyArray<string>) => {
  const text = add(pieces)
  text.charCodeAt(0)
  return text
}

/** The longest of the steps is what counts. */
type Steps = () => Array<() => unknown>

const once = <A>(prepare: () => A, step: (given: A) => unknown): Steps => () => {
  const given = prepare()
  return [() => step(given)]
}

const waysOf = (unit: string): { readonly [name: string]: Steps } => ({
  "add the pieces up": once(() => makePieces(unit), add),
  "join the pieces": once(() => makePieces(unit), (pieces) => pieces.join("")),
  "look into a sum for the first time": once(() => add(makePieces(unit)), (text) => text.charCodeAt(0)),
  "encode a text": once(() => flat(makePieces(unit)), (text) => encoder.encode(text)),
  "decode an array": once(() => encoder.encode(flat(makePieces(unit))), (bytes) => decoder.decode(bytes)),
  "copy an array": once(() => encoder.encode(flat(makePieces(unit))), (bytes) => new Uint8Array(bytes)),
  "encode 256 Ki units of a text": () => {
    const text = flat(makePieces(unit))
    return Array.from(
      { length: mebibytes * 4 },
      (_, i) => () => encoder.encodeInto(text.slice(i * pieceSize, (i + 1) * pieceSize), scratch)
    )
  }
})

const longest = (steps: Steps): number =>
  Math.max(
    ...steps().map((step) => {
      const before = performance.now()
      step()
      return performance.now() - before
    })
  )

for (
  const [name, unit] of Object.entries({ "one byte each in memory": "text", "two bytes each": "\u4e2d\ud83d\ude00." })
) {
  const rows = Object.entries(waysOf(unit)).map(([way, steps]) => {
    const seen = Array.from({ length: runs }, () => longest(steps)).toSorted((left, right) => left - right)
    return [way, { least: Number(seen[0]!.toFixed(2)), median: Number(seen[runs >> 1]!.toFixed(2)) }]
  })
  process.stdout.write(`\n${mebibytes * 2 ** 20} units, ${name}\n`)
  console.table(Object.fromEntries(rows))
}
