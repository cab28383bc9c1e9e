/**
 * How a child process is spoken to: a JSON value a line on standard input, and for each a line of answer on standard
 * output, in order. It ends when its input does.
 */
import * as Readline from "node:readline"

/** What the processor has done for this process, kernel included, and when: microseconds, milliseconds. */
export interface Usage {
  readonly cpu: number
  readonly time: number
}

/** Reads both clocks. */
export const usage = (): Usage => {
  const { system, user } = process.cpuUsage()
  return { cpu: system + user, time: performance.now() }
}

/** Says a line. */
export const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)

/** Answers every line. */
export const listen = (answer: (request: any) => unknown): void => {
  const lines = Readline.createInterface({ input: process.stdin })
  lines.on("line", (line) => void Promise.resolve(answer(JSON.parse(line))).then((value) => say(value ?? {})))
  lines.on("close", () => process.exit(0))
}
