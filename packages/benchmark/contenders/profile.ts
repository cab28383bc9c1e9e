/**
 * Where the processor's time of a contender goes, by who wrote the code: sampled by V8, so in Node alone.
 */
import { type Profiler, Session } from "node:inspector/promises"

/** Shares of the samples in which the process was not idle, by who wrote the code, and by function, the largest first. */
export interface Profile {
  readonly groups: { readonly [group: string]: number }
  readonly functions: ReadonlyArray<readonly [name: string, share: number]>
}

type Frame = Profiler.ProfileNode["callFrame"]

const groups: ReadonlyArray<readonly [part: string, group: string]> = [
  ["/node_modules/effect/", "effect"],
  ["/node_modules/@effect/", "effect"],
  ["/node_modules/", "others"],
  ["/packages/benchmark/", "the contender"],
  ["/packages/", "this library"],
  ["node:", "node"]
]

// What has no file is native: what a socket writes ends in the kernel.
const natives: { readonly [name: string]: string } = {
  "(garbage collector)": "garbage collector",
  writeBuffer: "writing to the kernel",
  writev: "writing to the kernel",
  writeUtf8String: "writing to the kernel",
  writeLatin1String: "writing to the kernel"
}

const groupOf = ({ functionName, url }: Frame): string =>
  url === ""
    ? natives[functionName] ?? "other native code"
    : groups.find(([part]) => url.includes(part))?.[1] ?? "others"

const nameOf = ({ functionName, lineNumber, url }: Frame): string =>
  url === "" ? functionName : `${functionName || "anonymous"} ${url.split("/").slice(-2).join("/")}:${lineNumber + 1}`

const add = (sums: Map<string, number>, name: string, time: number): void =>
  void sums.set(name, (sums.get(name) ?? 0) + time)

const sharesOf = (sums: ReadonlyMap<string, number>): ReadonlyArray<readonly [string, number]> => {
  const total = Array.from(sums.values()).reduce((sum, time) => sum + time, 0)
  return Array.from(sums, ([name, time]) => [name, time / total] as const).toSorted(([, a], [, b]) => b - a)
}

const summaryOf = ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Profile => {
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const byGroup = new Map<string, number>()
  const byFunction = new Map<string, number>()
  samples.forEach((id, index) => {
    const frame = frames.get(id)!
    if (frame.functionName === "(idle)") return
    // How long after the sample the next one was taken.
    const time = timeDeltas[index + 1] ?? 0
    add(byGroup, groupOf(frame), time)
    add(byFunction, nameOf(frame), time)
  })
  return { groups: Object.fromEntries(sharesOf(byGroup)), functions: sharesOf(byFunction).slice(0, 12) }
}

let session: Session | undefined

/** Begins, and when called again gives what was seen since. */
export const profile = async (): Promise<Profile | undefined> => {
  if (session === undefined) {
    session = new Session()
    session.connect()
    await session.post("Profiler.enable")
    await session.post("Profiler.setSamplingInterval", { interval: 200 })
    await session.post("Profiler.start")
    return undefined
  }
  const { profile } = await session.post("Profiler.stop")
  session.disconnect()
  session = undefined
  return summaryOf(profile)
}
