/**
 * Measures a cell: every contender as a process of its own, side by side in rounds, the order turned with each round.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "./bench.ts"
import type { Cell, Kind } from "./cells.ts"
import * as Contenders from "./contenders.ts"
import type { Moved } from "./contenders/child.ts"
import type { LoadOptions, Mark } from "./generator.ts"
import type { Usage } from "./lines.ts"
import { memoryOf } from "./memory.ts"
import { type Program, ProgramFailed } from "./program.ts"
import { type Figures, type Row, spreadOf } from "./statistics.ts"

/** A contender that is running, and its load. */
export interface Entry {
  readonly name: string
  readonly program: Program
}

type Window = (
  bench: Bench,
  cell: Cell,
  entry: Entry,
  warmUp: number
) => Effect.Effect<Figures, ProgramFailed>

const idOf = (entry: Entry) => entry.name

const loadOf = ({ extent: { brief } }: Bench, { load }: Cell): LoadOptions =>
  brief
    ? {
      ...load,
      connections: Math.min(load.connections, 4),
      inFlight: Math.min(load.inFlight, 4),
      shape: { ...load.shape, size: Math.min(load.shape.size, 2 ** 18) }
    }
    : load

type Seen = Usage & Moved

const marks = (bench: Bench, { name, program }: Entry) =>
  Effect.all([program.ask<Seen>({ do: "usage" }), bench.ask<Mark>({ do: "mark", id: name })], { concurrency: 2 })

/** What a client did, which what is on its way to the generator, or from it, would hide. */
const movedOf = (served: Seen, then: Seen, { load, setting }: Cell): number | undefined => {
  if (setting.task === "send") return (then.written - served.written) / (load.shape.size + 6)
  return setting.task === "receive" ? (then.read - served.read) / (load.shape.size + 2) : undefined
}

/** Shares of a processor, and what was done in the time; each process by its own clock. */
const figuresOf = (
  [[served, sent], [servedThen, sentThen]]: readonly [readonly [Seen, Mark], readonly [Seen, Mark]],
  cell: Cell
): Figures => {
  const moved = movedOf(served, servedThen, cell)
  const [from, to] = moved === undefined ? [sent, sentThen] : [served, servedThen]
  const seconds = (to.time - from.time) / 1000
  const share = (servedThen.cpu - served.cpu) / (servedThen.time - served.time) / 1000
  const messages = moved ?? sentThen.messages - sent.messages
  const wall = messages / seconds
  const [p50, p90, p99] = sentThen.latency
  return {
    rate: wall / share,
    mebibytes: wall / share * cell.load.shape.size / 2 ** 20,
    wall,
    share,
    generatorShare: (sentThen.cpu - sent.cpu) / (sentThen.time - sent.time) / 1000,
    bytesIn: (sentThen.bytesIn - sent.bytesIn) / messages,
    bytesOut: (sentThen.bytesOut - sent.bytesOut) / messages,
    p50,
    p90,
    p99
  }
}

const settling = 0.05

const loadWindow: Window = Effect.fnUntraced(function*(bench, cell, entry, warmUp) {
  const id = idOf(entry)
  if (cell.reopens === true) yield* open(bench, cell, entry)
  yield* bench.ask({ do: "start", id })
  yield* Effect.sleep((settling + warmUp) * 1000)
  const before = yield* marks(bench, entry)
  yield* Effect.sleep(bench.extent.seconds * 1000 * (cell.stretch ?? 1))
  let after = yield* marks(bench, entry)
  // A machine that is busy with others may not have come to it in a window that is brief.
  for (let more = 0; more < 100 && after[1].messages === before[1].messages; more++) {
    yield* Effect.sleep(50)
    after = yield* marks(bench, entry)
  }
  yield* bench.ask({ do: "stop", id })
  const resident = yield* entry.program.ask<number>({ do: "resident" })
  if (cell.reopens === true) yield* bench.ask({ do: "close", id })
  return { ...figuresOf([before, after], cell), resident: resident / 2 ** 20 }
})

const connectsWindow: Window = Effect.fnUntraced(function*(bench, cell, { program }, warmUp) {
  const { port } = program.greeting
  const visit = (seconds: number) =>
    bench.ask<Usage & { readonly messages: number }>({ do: "connects", port, atOnce: cell.load.connections, seconds })
  if (warmUp > 0) yield* visit(warmUp)
  const before = yield* program.ask<Usage>({ do: "usage" })
  const { cpu, messages, time } = yield* visit(bench.extent.seconds)
  const after = yield* program.ask<Usage>({ do: "usage" })
  const used = (after.cpu - before.cpu) / 1e6
  const share = used * 1000 / (after.time - before.time)
  return { rate: messages / used, wall: messages / time * 1000, share, generatorShare: cpu / time / 1000 }
})

const stallWindow: Window = Effect.fnUntraced(function*(bench, _cell, entry) {
  const { program } = entry
  yield* program.ask({ do: "watch" })
  const before = yield* program.ask<Usage>({ do: "usage" })
  yield* bench.ask({ do: "each", id: idOf(entry) })
  const after = yield* program.ask<Usage>({ do: "usage" })
  const stall = yield* program.ask<number>({ do: "stall" })
  return { stall, rate: 1e6 / (after.cpu - before.cpu), wall: 1000 / (after.time - before.time) }
})

const windows: { readonly [K in Exclude<Kind, "memory">]: Window } = {
  load: loadWindow,
  client: loadWindow,
  connects: connectsWindow,
  stall: stallWindow
}

const open = (bench: Bench, cell: Cell, entry: Entry) =>
  bench.ask({ do: "open", id: idOf(entry), port: entry.program.greeting.port, options: loadOf(bench, cell) })

/** Whether connections are kept from round to round. */
const isKept = ({ kind, reopens }: Cell) => (kind === "load" || kind === "stall") && reopens !== true

const enterServer = Effect.fnUntraced(function*(bench: Bench, cell: Cell, contender: Contenders.Contender) {
  const setting = cell.load.tls === true ? { ...cell.setting, tls: bench.tls } : cell.setting
  return { name: contender.name, program: yield* bench.start(contender, setting) }
})

/** A client, which the generator listens for. */
const enterClient = Effect.fnUntraced(function*(bench: Bench, cell: Cell, contender: Contenders.Contender) {
  const id = contender.name
  const { port } = yield* bench.ask<{ readonly port: number }>({ do: "listen", id, options: loadOf(bench, cell) })
  const program = yield* Contenders.start(contender, { ...cell.setting, url: `ws://127.0.0.1:${port}/` })
  return { name: id, program }
})

/** Closes the load of every contender, however the cell ended. */
const leave = (bench: Bench, cell: Cell, entries: ReadonlyArray<Entry>) =>
  !isKept(cell) && cell.kind !== "client"
    ? Effect.void
    : Effect.forEach(entries, (entry) => bench.ask({ do: "close", id: idOf(entry) }), { discard: true })

const rotate = <A>(values: ReadonlyArray<A>, by: number): ReadonlyArray<A> => {
  const at = by % values.length
  return [...values.slice(at), ...values.slice(0, at)]
}

const inRounds = Effect.fnUntraced(function*(bench: Bench, cell: Cell, window: Window) {
  const contenders = cell.contenders.filter(Contenders.isInstalled)
  const entries = cell.kind === "client"
    ? yield* Effect.forEach(contenders, (contender) => enterClient(bench, cell, contender))
    : yield* Effect.forEach(contenders, (contender) => enterServer(bench, cell, contender), { concurrency: 2 })
  if (isKept(cell)) yield* Effect.forEach(entries, (entry) => open(bench, cell, entry))
  const seen = new Map(entries.map(({ name }): [string, Array<Figures>] => [name, []]))
  const rounds = cell.reopens === true ? Math.min(2, bench.extent.rounds) : bench.extent.rounds
  for (let round = 0; round < rounds; round++) {
    for (const entry of rotate(entries, round)) {
      seen.get(entry.name)!.push(yield* window(bench, cell, entry, round === 0 ? bench.extent.warmUp : 0))
    }
  }
  yield* leave(bench, cell, entries)
  return entries.map(({ name }): Row => ({ contender: name, figures: spreadOf(seen.get(name)!) }))
})

const works = Effect.fnUntraced(function*(cell: Cell, rows: ReadonlyArray<Row>) {
  const idle = cell.kind === "memory" ? undefined : rows.find(({ figures }) => !(figures["wall"]!.median > 0))
  if (idle !== undefined) return yield* new ProgramFailed({ message: `${idle.contender}: no message came through` })
  return rows
})

/** Measures one cell. */
export const measure = (bench: Bench, cell: Cell): Effect.Effect<ReadonlyArray<Row>, ProgramFailed> =>
  (cell.kind === "memory" ? memoryOf(bench, cell) : inRounds(bench, cell, windows[cell.kind])).pipe(
    Effect.flatMap((rows) => works(cell, rows)),
    Effect.mapError(({ message }) => new ProgramFailed({ message: `${cell.name}: ${message}` })),
    Effect.scoped
  )
