/**
 * Who takes part, and how each is started.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Program from "./program.ts"
import type { Setting } from "./setting.ts"

/** One that takes part. */
export interface Contender {
  readonly name: string
  readonly file: string
  readonly runtime: "node" | "bun"
  readonly setting: Partial<Setting>
}

const contender = (
  name: string,
  file: string,
  setting: Partial<Setting> = {},
  runtime: "node" | "bun" = "node"
): Contender => ({ name, file: `contenders/${file}.ts`, setting, runtime })

/** Our server in its styles. */
export const ours = [
  contender("read+write", "ours", { style: "read+write" }),
  contender("pull+writeAll", "ours", { style: "pull+writeAll" }),
  contender("readSome+writeSome", "ours", { style: "readSome+writeSome" })
]

/** The same, with arrays of messages that are used again after the next read. */
export const reusing = ours.map(({ name, setting }) =>
  contender(`${name}, reuseArrays`, "ours", { ...setting, config: { reuseArrays: true } })
)

/** Ours with compression whose contexts are let go of soon. */
export const releasing = (takeover: boolean): Contender =>
  contender("releaseAfter 1 s", "ours", { style: "read+write", deflate: { takeover, threshold: 0, releaseAfter: 1 } })

/** The others, of whom `ws` and `raw` are what is measured against. */
export const ws = contender("ws", "ws")
export const raw = contender("raw", "raw")
export const effect = contender("effect", "effect")
export const bun = contender("bun", "bun", {}, "bun")

/** Our server with pieces turned off. */
export const safeties = [
  contender("defaults", "ours", { style: "read+write" }),
  contender("keepAlive off", "ours", { style: "read+write", config: { keepAlive: "off" } }),
  contender("idleTimeout off", "ours", { style: "read+write", config: { idleTimeout: "infinity" } }),
  contender("both off", "ours", { style: "read+write", config: { keepAlive: "off", idleTimeout: "infinity" } }),
  contender("no fragments", "ours", { style: "read+write", config: { fragmentSize: 0 } })
]

/** Our server as it is, with nothing counted, and with a tracer that makes every span and exports none. */
export const telemetries = (style: "read+write" | "pull+writeAll"): ReadonlyArray<Contender> => [
  contender("defaults", "ours", { style }),
  contender("nothing counted", "ours", { style, telemetry: "uncounted" }),
  contender("traced", "ours", { style, telemetry: "traced" })
]

/** Servers that send bulk. */
export const bulks = [
  contender("ours", "ours-bulk", { config: { controlDelay: 50 } }),
  contender("ours, controlDelay off", "ours-bulk"),
  contender("ws", "ws-bulk"),
  contender("effect", "effect-bulk")
]

/** Ours telling every connection, in two ways. */
export const broadcasters = [
  contender("Broadcast.writeAll", "ours", { style: "read+write" }),
  contender("PubSub+writeAll", "ours", { style: "pull+writeAll" })
]

/** Clients, a message at a time and many at once. */
export const clients = (batch: number): ReadonlyArray<Contender> => [
  contender("read+write", "ours-client", { style: "read+write" }),
  contender("pull+writeAll", "ours-client", { style: "pull+writeAll", batch }),
  contender("ws", "ws-client", { batch }),
  contender("effect", "effect-client", { batch })
]

/** Whether the runtime of a contender is here. */
export const isInstalled = ({ runtime }: Contender): boolean => runtime === "node" || Program.bunPath() !== undefined

/** Starts a contender and waits until it is ready. */
export const start = (
  { file, name, runtime, setting }: Contender,
  cell: Setting,
  env?: { readonly [name: string]: string }
): Effect.Effect<Program.Program, Program.ProgramFailed, Scope.Scope> =>
  Program.start({ name, file, runtime, env, args: [JSON.stringify({ ...cell, ...setting })] }, true)
