/**
 * What every contender does beside its task: says its port, tells the processor's time and its memory, and watches its
 * event loop when asked to. Runs in Node and in Bun.
 */
import { subscribe } from "node:diagnostics_channel"
import type * as Net from "node:net"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import { listen, say, usage } from "../lines.ts"
import type { Setting } from "../setting.ts"

/** Bytes that JavaScript and its buffers hold, and that the process has in memory. */
export interface Memory {
  readonly held: number
  readonly resident: number
}

declare const Bun: { readonly gc: (synchronously: boolean) => void } | undefined

const collect = () => typeof Bun === "undefined" ? globalThis.gc?.() : Bun.gc(true)

const memory = async (): Promise<Memory> => {
  for (let round = 0; round < 4; round++) {
    collect()
    await setTimeout(10)
  }
  const { arrayBuffers, external, heapUsed, rss } = process.memoryUsage()
  // `external` has the array buffers in it, in Node as in Bun.
  return { held: heapUsed + Math.max(external, arrayBuffers), resident: rss }
}

const dialled: Array<Net.Socket> = []
subscribe("net.client.socket", (event) => dialled.push((event as { readonly socket: Net.Socket }).socket))

/** Bytes that a client has given to the kernel and taken from it, or is about to. */
export interface Moved {
  readonly written: number
  readonly read: number
}

const moved = (): Moved => ({
  written: dialled.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0),
  read: dialled.reduce((sum, { bytesRead }) => sum + bytesRead, 0)
})

let delay: ReturnType<typeof monitorEventLoopDelay> | undefined

const watch = (): void => {
  delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
}

/** Milliseconds for which the event loop did not turn, the longest since it was watched. */
const stall = (): number => {
  delay!.disable()
  return Math.max(0, delay!.max / 1e6 - 1)
}

const answer = (request: { readonly do: "usage" | "memory" | "profile" | "resident" | "watch" | "stall" }): unknown => {
  if (request.do === "usage") return { ...usage(), ...moved() }
  if (request.do === "memory") return memory()
  // Not in Bun, nor where nobody asks.
  if (request.do === "profile") return import("./profile.ts").then(({ profile }) => profile())
  if (request.do === "resident") return process.memoryUsage.rss()
  return request.do === "watch" ? watch() : stall()
}

/** What the contender has to do. */
export const setting = JSON.parse(process.argv[2]!) as Setting

/** The message that every client is sent, and how many times. */
export const bulk = (): { readonly message: Buffer; readonly messages: number } => {
  const { messages, size } = setting.bulk!
  return { message: Buffer.alloc(size, 42), messages }
}

/** Says that the task has begun: a server at its port, a client at none. */
export const ready = (port = 0): void => {
  listen(answer)
  say({ port })
}
