/**
 * A foreign program: started, spoken to in lines, heard out in lines, and ended with its scope, by its id.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Line, type Report } from "./report.ts"

/** A peer that cannot be started, ended too soon or said what cannot be understood. */
export class PeerFailed extends Data.TaggedError("PeerFailed")<{ readonly message: string }> {}

/** A command and its arguments. */
export type Command = readonly [command: string, ...args: ReadonlyArray<string>]

const reasonOf = (problem: unknown) => problem instanceof Error ? problem.message : String(problem)

const failed = (command: Command, problem: unknown) =>
  new PeerFailed({ message: `${command.join(" ")}: ${reasonOf(problem)}` })

const linesOf = (bytes: Stream.Stream<Uint8Array, PlatformError.PlatformError>) =>
  Stream.splitLines(Stream.decodeText(bytes))

/** Runs a command to its end and returns what it printed. */
export const output = (
  command: Command,
  options?: { readonly env?: Record<string, string> }
): Effect.Effect<string, PeerFailed, ChildProcessSpawner> =>
  Effect.gen(function*() {
    const process = yield* ChildProcess.make(command[0], command.slice(1), {
      env: { DEBIAN_FRONTEND: "noninteractive", ...options?.env },
      extendEnv: true,
      stdin: "ignore"
    })
    const text = yield* Stream.mkString(Stream.decodeText(process.all))
    const code = yield* process.exitCode
    return code === 0 ? text : yield* failed(command, `exit code ${code}\n${text.slice(-2000)}`)
  }).pipe(
    Effect.catchTag("PlatformError", (error) => Effect.fail(failed(command, error))),
    Effect.scoped
  )

/** A program that speaks in lines. */
export interface Program {
  readonly send: (line: string) => Effect.Effect<void>
  /** The port it listens at, by the way of compressing. */
  readonly listening: Effect.Effect<{ readonly [mode: string]: number }, PeerFailed>
  /** The report of a connection. */
  readonly report: (id: string) => Effect.Effect<Report, PeerFailed>
  /** Waits until a line of standard error has had these words in it. */
  readonly said: (words: string) => Effect.Effect<void, PeerFailed>
}

/** What a program has said, and who waits for it. */
class Hub {
  readonly listening = Deferred.makeUnsafe<{ readonly [mode: string]: number }, PeerFailed>()
  readonly #reports = new Map<string, Deferred.Deferred<Report, PeerFailed>>()
  readonly #awaited = new Map<string, Deferred.Deferred<void, PeerFailed>>()
  readonly #complaints: Array<string> = []
  #end: PeerFailed | undefined

  readonly get = (id: string): Deferred.Deferred<Report, PeerFailed> => {
    const known = this.#reports.get(id) ?? Deferred.makeUnsafe<Report, PeerFailed>()
    if (this.#end !== undefined) Deferred.doneUnsafe(known, Effect.fail(this.#end))
    this.#reports.set(id, known)
    return known
  }

  readonly hear = (line: typeof Line.Type): void =>
    "listening" in line
      ? void Deferred.doneUnsafe(this.listening, Effect.succeed(line.listening))
      : void Deferred.doneUnsafe(this.get(line.id), Effect.succeed(line))

  readonly complain = (line: string): void => {
    this.#complaints.push(line)
    this.#awaited.forEach((said, words) => line.includes(words) && Deferred.doneUnsafe(said, Effect.void))
  }

  readonly said = (words: string): Effect.Effect<void, PeerFailed> =>
    Effect.suspend(() => {
      if (this.#complaints.some((line) => line.includes(words))) return Effect.void
      if (this.#end !== undefined) return Effect.fail(this.#end)
      const said = this.#awaited.get(words) ?? Deferred.makeUnsafe<void, PeerFailed>()
      this.#awaited.set(words, said)
      return Deferred.await(said)
    })

  readonly end = (command: Command, problem: unknown): void => {
    this.#end = failed(command, [reasonOf(problem), ...this.#complaints.slice(-20)].join("\n"))
    const failure = Effect.fail(this.#end)
    Deferred.doneUnsafe(this.listening, failure)
    this.#reports.forEach((report) => Deferred.doneUnsafe(report, failure))
    this.#awaited.forEach((said) => Deferred.doneUnsafe(said, failure))
  }
}

/** Starts a program, for as long as the scope is open. */
export const start = (
  command: Command,
  options?: ChildProcess.CommandOptions
): Effect.Effect<Program, PeerFailed, Scope.Scope | ChildProcessSpawner> =>
  Effect.gen(function*() {
    const input = yield* Queue.unbounded<string>()
    const hub = new Hub()
    const process = yield* ChildProcess.make(command[0], command.slice(1), {
      stdin: Stream.encodeText(Stream.map(Stream.fromQueue(input), (line) => `${line}\n`)),
      extendEnv: true,
      forceKillAfter: "5 seconds",
      ...options
    })
    const complaints = Stream.runForEach(linesOf(process.stderr), (line) => Effect.sync(() => hub.complain(line)))
    const lines = Stream.runForEach(
      linesOf(process.stdout),
      (line) => Effect.map(Schema.decodeUnknownEffect(Line)(line), hub.hear)
    )
    const over = Effect.flatMap(process.exitCode, (code) =>
      Effect.fail(new PeerFailed({ message: `ended with ${code}` })))
    yield* Effect.all([complaints, lines, over], { concurrency: "unbounded" }).pipe(
      Effect.catchCause((cause) =>
        Effect.sync(() => hub.end(command, Cause.squash(cause)))
      ),
      Effect.forkScoped
    )
    return {
      send: (line: string) => Effect.asVoid(Queue.offer(input, line)),
      listening: Deferred.await(hub.listening),
      report: (id: string) => Deferred.await(hub.get(id)),
      said: hub.said
    }
  }).pipe(Effect.mapError((error) => failed(command, error)))
