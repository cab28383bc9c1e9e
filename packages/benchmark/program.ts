/**
 * A child process that is asked in lines, one question at a time, and ended with its scope, by its id.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import * as Readline from "node:readline"

/** A child process that ended, or did not answer in time. */
export class ProgramFailed extends Data.TaggedError("ProgramFailed")<{ readonly message: string }> {}

/** A running program. */
export interface Program {
  /** Sends a question and waits for its answer. */
  readonly ask: <Answer>(question: object) => Effect.Effect<Answer, ProgramFailed>
  /** What it said first. */
  readonly greeting: { readonly port: number }
}

/** What is to be run, and by what. */
export interface ProgramOptions {
  readonly name: string
  readonly file: string
  readonly args: ReadonlyArray<string>
  readonly runtime: "node" | "bun"
  readonly env?: { readonly [name: string]: string } | undefined
}

/** Every Node, measured or measuring, has these. */
export const nodeFlags = ["--expose-gc", "--max-semi-space-size=16"]

/** The executable of Bun, where the optional dependency is installed. */
export const bunPath = (): string | undefined => {
  try {
    const path = Path.join(Path.dirname(createRequire(import.meta.url).resolve("bun/package.json")), "bin", "bun.exe")
    return Fs.existsSync(path) ? path : undefined
  } catch {
    return undefined
  }
}

type Resume = (answer: Effect.Effect<any, ProgramFailed>) => void

const commandOf = ({ args, file, runtime }: ProgramOptions): readonly [string, ReadonlyArray<string>] => {
  const path = Path.join(import.meta.dirname, file)
  return runtime === "bun" ? [bunPath()!, [path, ...args]] : [process.execPath, [...nodeFlags, path, ...args]]
}

class Child {
  readonly process: ChildProcess.ChildProcessByStdio<any, any, any>
  readonly #name: string
  #complaints = ""
  #resume: Resume | undefined

  constructor(options: ProgramOptions) {
    const [command, args] = commandOf(options)
    this.#name = options.name
    this.process = ChildProcess.spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...options.env }
    })
    this.process.stderr.on("data", (chunk: Buffer) => (this.#complaints = (this.#complaints + chunk).slice(-2000)))
    Readline.createInterface({ input: this.process.stdout }).on("line", (line) => {
      this.#resume?.(Effect.succeed(JSON.parse(line)))
    })
    this.process.on("close", (code) => this.#resume?.(this.failure(`ended with ${code}`)))
    this.process.stdin.on("error", () => {})
  }

  failure(what: string): Effect.Effect<never, ProgramFailed> {
    return Effect.fail(new ProgramFailed({ message: `${this.#name} ${what}\n${this.#complaints}`.trimEnd() }))
  }

  readonly ask = (question: object | undefined): Effect.Effect<any, ProgramFailed> =>
    Effect.callback<any, ProgramFailed>((resume) => {
      if (this.process.exitCode !== null) return resume(this.failure(`ended with ${this.process.exitCode}`))
      this.#resume = resume
      if (question !== undefined) this.process.stdin.write(`${JSON.stringify(question)}\n`)
    }).pipe(Effect.timeoutOrElse({
      duration: "3 minutes",
      orElse: () => this.failure(`did not answer ${JSON.stringify(question)}`)
    }))
}

/** Starts a program and waits until it greets, or until it runs where it is silent. */
export const start = Effect.fnUntraced(function*(
  options: ProgramOptions,
  greets: boolean
): Effect.fn.Return<Program, ProgramFailed, Scope.Scope> {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => new Child(options)),
    ({ process }) => Effect.sync(() => process.kill("SIGKILL"))
  )
  const greeting = greets ? yield* child.ask(undefined) : { port: 0 }
  return { ask: child.ask, greeting }
})
