/**
 * Bytes that a connection holds: the slope between two counts of connections, in a fresh process that has opened and
 * closed some hundreds before, so that what is loaded, compiled and pooled once belongs to none.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "./bench.ts"
import type { Cell } from "./cells.ts"
import * as Contenders from "./contenders.ts"
import type { Memory } from "./contenders/child.ts"
import type { Program } from "./program.ts"
import { type Figures, type Row, spreadOf } from "./statistics.ts"

interface Counts {
  readonly warm: number
  readonly few: number
  readonly many: number
  /** Seconds between use and the last look; contenders that let go of contexts do it in 1 to 2. */
  readonly pause: number
}

const countsOf = ({ extent }: Bench): Counts =>
  extent.brief ? { warm: 4, few: 4, many: 8, pause: 0.01 } : { warm: 250, few: 250, many: 1000, pause: 3 }

// glibc keeps what was freed for what comes next; with this it gives back what is as large as a compressor's window.
const givesBack = { MALLOC_MMAP_THRESHOLD_: "16384" }

const look = ({ ask }: Program) => ask<Memory>({ do: "memory" })

/** After the handshakes, after a message there and back on each, and after a pause. */
const phases = Effect.fnUntraced(function*(bench: Bench, id: string, program: Program, pause: number) {
  const idle = yield* look(program)
  yield* bench.ask({ do: "each", id })
  const used = yield* look(program)
  yield* Effect.sleep(pause * 1000)
  return { idle, used, later: yield* look(program) }
})

const measureOne = Effect.fnUntraced(function*(bench: Bench, cell: Cell, contender: Contenders.Contender) {
  const { few, many, pause, warm } = countsOf(bench)
  const id = contender.name
  const program = yield* Contenders.start(contender, cell.setting, givesBack)
  const { port } = program.greeting
  const open = (connections: number) => bench.ask({ do: "open", id, port, options: { ...cell.load, connections } })
  yield* open(warm)
  yield* bench.ask({ do: "each", id })
  yield* bench.ask({ do: "close", id })
  yield* Effect.sleep(pause * 1000)
  yield* open(few)
  const before = yield* phases(bench, id, program, pause)
  yield* bench.ask({ do: "more", id, connections: many - few })
  const after = yield* phases(bench, id, program, pause)
  yield* bench.ask({ do: "close", id })
  const slope = (to: Memory, from: Memory, field: keyof Memory) => (to[field] - from[field]) / (many - few) / 1024
  const figures: Figures = {
    // What came in between the two counts was idle; those of before had been used.
    idle: slope(after.idle, before.later, "held"),
    idleResident: slope(after.idle, before.later, "resident"),
    used: slope(after.used, before.used, "held"),
    usedResident: slope(after.used, before.used, "resident"),
    later: slope(after.later, before.later, "held"),
    laterResident: slope(after.later, before.later, "resident")
  }
  const row: Row = { contender: id, figures: spreadOf([figures]) }
  return row
}, Effect.scoped)

/** Measures a cell of memory, KiB for each connection. */
export const memoryOf = (bench: Bench, cell: Cell) =>
  Effect.forEach(
    cell.contenders.filter(Contenders.isInstalled),
    (contender) => measureOne(bench, cell, contender)
  )
