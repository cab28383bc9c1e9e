/**
 * One peer, all cases: a column of the table.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { type Case, type CaseName, cases, Mismatch, same } from "./cases.ts"
import * as Ours from "./ours.ts"
import type { ClientPeer, Peer } from "./peers.ts"
import { PeerFailed, type Program } from "./program.ts"
import type { Job, Report } from "./report.ts"

/** What came of a case with a peer. */
export type Cell = Data.TaggedEnum<{
  Passed: {}
  Failed: { readonly why: string }
  Impossible: { readonly why: string }
}>
const Cell = Data.taggedEnum<Cell>()

/** What came of all cases with a peer. */
export interface Column {
  readonly peer: Peer
  readonly cells: { readonly [N in CaseName]: Cell }
}

const names = Object.keys(cases) as ReadonlyArray<CaseName>

/** Longest time for a peer to start, compilers included, and for one case. */
const startTimeout = "3 minutes"
const caseTimeout = "30 seconds"

const compare = Effect.fnUntraced(function*(report: Report, { refused, seen = {} }: Case) {
  if (refused === undefined && typeof report.error === "string") {
    return yield* new Mismatch({ message: `the peer says ${report.error}` })
  }
  for (const [field, expected] of Object.entries(seen)) {
    const actual = report[field as keyof Report] ?? undefined
    if (actual !== undefined) yield* same(`the peer's ${field}`, actual, expected)
  }
})

type Trial = (name: CaseName, id: string) => Effect.Effect<void, { readonly message: string }>

const tryClient = (peer: ClientPeer, server: Ours.Server): Trial => (name, id) => {
  const theCase: Case = cases[name]
  const { mode = "none", refused, subprotocols = [], theirs: steps } = theCase
  const job: Job = { id, url: peer.urlOf(server.ports[mode], id), steps, subprotocols, mode }
  const run = (refused === "origin" ? peer.runAbroad : undefined) ?? peer.run
  const reported = Effect.flatMap(run(job), (report) => compare(report, theCase))
  const attended = server.attend(id, theCase)
  if (refused !== "origin") return Effect.asVoid(Effect.all([attended, reported], { concurrency: 2 }))
  return Effect.raceFirst(reported, Effect.andThen(attended, Effect.fail(new Mismatch({ message: "was let in" }))))
}

const tryServer = (peer: Program, ports: { readonly [mode: string]: number }): Trial => (name, id) => {
  const theCase: Case = cases[name]
  const port = ports[theCase.mode ?? "none"]
  if (port === undefined) return Effect.fail(new PeerFailed({ message: `does not listen for ${theCase.mode}` }))
  const base = `ws://127.0.0.1:${port}`
  if (theCase.refused !== undefined) return Ours.visitRefused(`${base}/refuse`)
  return Effect.andThen(
    Ours.visit(`${base}/?id=${id}&do=${theCase.theirs}`, theCase),
    Effect.flatMap(peer.report(id), (report) => compare(report, theCase))
  )
}

const open = Effect.fnUntraced(function*(peer: Peer) {
  if (peer.role === "server") {
    const program = yield* peer.open
    return tryServer(program, yield* program.listening)
  }
  const client = yield* peer.open
  return tryClient(client, yield* Ours.serve(client.origins ?? "same-origin", client.version ?? "HTTP/1.1"))
})

const explain = (cause: Cause.Cause<{ readonly message: string }>): string => {
  const [error] = Cause.prettyErrors(cause)
  return error?.message ?? "interrupted"
}

const tryCase = Effect.fnUntraced(function*(trial: Trial, name: CaseName, index: number) {
  const exit = yield* Effect.exit(
    Effect.timeoutOrElse(trial(name, String(index)), {
      duration: caseTimeout,
      orElse: () => Effect.fail(new Mismatch({ message: `took longer than ${caseTimeout}` }))
    })
  )
  return Exit.isSuccess(exit) ? Cell.Passed() : Cell.Failed({ why: explain(exit.cause) })
})

/** Starts a peer and tries all cases that it can do. One that does not start fails them all. */
export const tryPeer = (
  peer: Peer
): Effect.Effect<Column, never, ChildProcessSpawner | FileSystem.FileSystem> => {
  const column = (cellOf: (name: CaseName, index: number) => Effect.Effect<Cell>) =>
    Effect.forEach(names, (name, index) => {
      const why = peer.cannot[name]
      const cell = why === undefined ? cellOf(name, index) : Effect.succeed<Cell>(Cell.Impossible({ why }))
      return Effect.map(cell, (result) => [name, result] as const)
    }).pipe(Effect.map((entries) => ({ peer, cells: Object.fromEntries(entries) as Column["cells"] })))
  return Effect.scoped(
    Effect.matchCauseEffect(Effect.timeout(open(peer), startTimeout), {
      onFailure: (cause) => column(() => Effect.succeed<Cell>(Cell.Failed({ why: explain(cause) }))),
      onSuccess: (trial) => column((name, index) => tryCase(trial, name, index))
    })
  )
}

/** A line for each case that failed. */
export const failuresOf = ({ cells }: Column): ReadonlyArray<string> =>
  names.flatMap((name) => {
    const cell = cells[name]
    return cell._tag === "Failed" ? [`  ${name}: ${cell.why}`] : []
  })
