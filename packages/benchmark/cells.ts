/**
 * What is measured, as data: the load, who takes part, and what the library wants to reach.
 */
import * as Contenders from "./contenders.ts"
import type { LoadOptions } from "./generator.ts"
import type { Setting } from "./setting.ts"
import type { Shape } from "./wire.ts"

/** How a cell is measured, and what its first figure is. */
export type Kind = "load" | "client" | "connects" | "stall" | "memory"

/** What a contender should reach, as a ratio to another, or as a figure. */
export interface Target {
  readonly contender: string
  readonly figure: "rate" | "p99" | "bytesIn" | "idle" | "usedResident" | "stall" | "growth"
  /** Whom it is set against; none where `bound` is a figure. */
  readonly to?: "ws" | "raw"
  readonly least?: number
  readonly most?: number
}

/** A row of the table. */
export interface Cell {
  readonly name: string
  readonly kind: Kind
  readonly load: LoadOptions
  readonly setting: Omit<Setting, "tls">
  readonly contenders: ReadonlyArray<Contenders.Contender>
  readonly targets: ReadonlyArray<Target>
  /** Connections are opened for each window, since all contenders' at once are too many; there are two rounds at most. */
  readonly reopens?: boolean
  /** How many times longer than others its windows are, so that every connection has its turns. Default 1. */
  readonly stretch?: number
}

const { bun, effect, ours, raw, reusing, ws } = Contenders
const everyone = [...ours, ws, effect, raw, bun]
const styles = ours.map(({ name }) => name)

const atLeast = (least: ReadonlyArray<number>, to: "ws" | "raw" = "ws"): ReadonlyArray<Target> =>
  least.map((bound, at) => ({ contender: styles[at]!, figure: "rate", to, least: bound }))

/** The same for those that use arrays again. */
const andReusing = (targets: ReadonlyArray<Target>): ReadonlyArray<Target> => [
  ...targets,
  ...targets.map((target) => ({ ...target, contender: `${target.contender}, reuseArrays` }))
]

// Where arrays are made for messages, and not for strings, and are large enough to matter.
const hasArrays = ({ size, type }: Shape): boolean => type === "binary" && size >= 1024

const every = (bound: number): ReadonlyArray<number> => styles.map(() => bound)

const sizeName = (size: number) =>
  size < 1024 ? `${size} B` : size < 2 ** 20 ? `${size / 1024} KiB` : `${size / 2 ** 20} MiB`

const echo = (
  shape: Shape,
  connections: number,
  inFlight: number,
  targets: ReadonlyArray<Target> = [],
  { prefix = "", tls = false } = {}
): Cell => ({
  name: `${prefix}${sizeName(shape.size)} ${shape.type}/${connections}/${inFlight}${
    shape.fragments === undefined ? "" : ` in ${shape.fragments} fragments`
  }`,
  kind: "load",
  load: { kind: "echo", shape, connections, inFlight, tls },
  setting: { task: "echo" },
  contenders: hasArrays(shape) ? [...everyone, ...reusing] : everyone,
  targets: hasArrays(shape) ? andReusing(targets) : targets
})

const binary = (size: number): Shape => ({ type: "binary", size })

const alone = [...atLeast(every(1.1)), ...atLeast(every(0.85), "raw")]

const echoes = [
  echo(binary(16), 64, 32, atLeast([5, 10, 4])),
  echo(binary(125), 64, 32, atLeast([5, 10, 4])),
  echo(binary(1024), 64, 32, atLeast([5, 8, 4])),
  echo({ type: "text", size: 1024 }, 64, 32, atLeast([5, 8, 4])),
  echo(binary(16384), 64, 32, atLeast(every(2.2))),
  echo(binary(125), 1, 1),
  echo(binary(125), 64, 1, alone),
  echo(binary(125), 1000, 1, alone),
  echo(binary(16384), 64, 1, atLeast(every(3.5))),
  echo(binary(2 ** 20), 64, 1, atLeast(every(2.5))),
  echo({ type: "binary", size: 16384, fragments: 4 }, 64, 8),
  echo(binary(1024), 64, 32, [], { prefix: "TLS ", tls: true })
]

const compressed = (size: number, inFlight: number, takeover: boolean, least: number): Cell => {
  const cell = echo({ type: "json", size, deflate: { takeover } }, 64, inFlight)
  return {
    ...cell,
    name: `${cell.name} compressed, ${takeover ? "takeover" : "no takeover"}`,
    setting: { task: "echo", deflate: { takeover, threshold: 0 } },
    contenders: [...ours, ws],
    stretch: inFlight === 1 ? 1 : 4,
    targets: styles.flatMap((contender): ReadonlyArray<Target> => [
      { contender, figure: "rate", to: "ws", least },
      ...(contender === "readSome+writeSome" ? [] : [{ contender, figure: "bytesIn", to: "ws", most: 1.05 } as const]),
      { contender, figure: "p99", to: "ws", most: 1 }
    ])
  }
}

const compression = [
  compressed(1024, 32, true, 2),
  compressed(1024, 32, false, 5),
  compressed(16384, 1, true, 1.2),
  compressed(16384, 1, false, 1.2)
]

const stall = (mebibytes: number): Cell => ({
  ...echo({ type: "json", size: mebibytes * 2 ** 20, deflate: { takeover: true } }, 1, 1),
  name: `stall, ${mebibytes} MiB compressed`,
  kind: "stall",
  setting: { task: "echo", deflate: { takeover: true, threshold: 0 } },
  contenders: [...ours, ws],
  targets: styles.map((contender) => ({ contender, figure: "stall", most: 10 }))
})

const client = (
  name: string,
  load: LoadOptions,
  task: Setting["task"],
  batch: number,
  targets: ReadonlyArray<number>
): Cell => ({
  name: `client ${name}`,
  kind: "client",
  load,
  setting: { task },
  // Nothing holds Effect's own client while the others have their turns: it dies of what it has accepted.
  contenders: Contenders.clients(batch).filter(({ name }) => task !== "send" || name !== "effect"),
  targets: targets.map((least, at) => ({
    contender: styles[at]!,
    figure: "rate",
    to: "ws",
    least
  }))
})

const alongside = { connections: 1, inFlight: 64 }

const clients = [
  client("sends 125 B", { kind: "sink", shape: binary(125), ...alongside }, "send", 64, [5, 5]),
  client("receives 125 B", { kind: "source", shape: binary(125), ...alongside }, "receive", 64, [5, 5]),
  client(
    "echoes 1 MiB",
    { kind: "echo", shape: binary(2 ** 20), connections: 1, inFlight: 1 },
    "echo",
    1,
    [2, 2]
  )
]

const fanOut: Cell = {
  name: "fan-out 125 B to 1000",
  kind: "load",
  load: { kind: "fan-out", shape: binary(125), connections: 1000, inFlight: 8 },
  setting: { task: "fan-out" },
  contenders: [...Contenders.broadcasters, ws, bun],
  targets: Contenders.broadcasters.map(({ name }) => ({ contender: name, figure: "rate", to: "ws", least: 6 }))
}

const connects: Cell = {
  ...echo(binary(125), 64, 1),
  name: "connects",
  kind: "connects",
  contenders: [ours[0]!, ws, effect, raw, bun],
  targets: atLeast([1])
}

const memory = (name: string, deflate: Setting["deflate"], contenders: ReadonlyArray<Contenders.Contender>): Cell => ({
  name: `memory, ${name}`,
  kind: "memory",
  load: { kind: "echo", shape: { type: "json", size: 2048, ...(deflate && { deflate }) }, connections: 0, inFlight: 1 },
  setting: { task: "echo", ...(deflate && { deflate }) },
  contenders,
  targets: [
    { contender: "read+write", figure: "idle", to: "ws", most: 1 },
    ...(deflate === undefined
      ? []
      : [{ contender: "read+write", figure: "usedResident", to: "ws", most: 0.2 } as const])
  ]
})

const memories = [
  memory("plain", undefined, [ours[0]!, ws, effect, raw, bun]),
  memory("compressed, takeover", { takeover: true, threshold: 0 }, [ours[0]!, Contenders.releasing(true), ws]),
  memory("compressed, no takeover", { takeover: false, threshold: 0 }, [ours[0]!, Contenders.releasing(false), ws])
]

const growth = [100, 1000, 10_000].map((connections): Cell => ({
  ...echo(binary(125), connections, 1),
  name: `growth to ${connections}`,
  contenders: [ours[0]!, ours[1]!, ws, raw],
  reopens: connections === 10_000,
  stretch: connections === 10_000 ? 5 : 1,
  targets: connections < 10_000
    ? []
    : styles.slice(0, 2).map((contender) => ({ contender, figure: "growth", most: 1.3 }))
}))

const safety: Cell = {
  ...echo(binary(125), 64, 1),
  name: "cost of deadlines 125 B/64/1",
  contenders: Contenders.safeties
}

const telemetry: ReadonlyArray<Cell> = [
  {
    ...echo(binary(125), 64, 32),
    name: "cost of telemetry 125 B/64/32",
    contenders: Contenders.telemetries("pull+writeAll")
  },
  {
    ...echo(binary(125), 64, 1),
    name: "cost of telemetry 125 B/64/1",
    contenders: Contenders.telemetries("read+write")
  },
  { ...connects, name: "cost of telemetry, connects", contenders: Contenders.telemetries("read+write"), targets: [] }
]

const fragmenting: Cell = {
  ...echo(binary(2 ** 20), 64, 1),
  name: "cost of fragmenting 1 MiB/64/1",
  contenders: Contenders.safeties.filter(({ name }) => name === "defaults" || name === "no fragments")
}

/** Every cell, in the order of the table. */
export const cells: ReadonlyArray<Cell> = [
  ...echoes,
  ...compression,
  stall(1),
  stall(16),
  ...clients,
  fanOut,
  connects,
  ...memories,
  ...growth,
  safety,
  ...telemetry,
  fragmenting
]
