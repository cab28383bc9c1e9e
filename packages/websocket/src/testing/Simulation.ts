/**
 * Runs scenarios of whole applications on a simulated network, in virtual time,
 * from one seed, and looks for the seed and the faults that break them.
 *
 * A scenario is an Effect that starts servers and clients on the network, uses
 * them, and fails where they do not what they should. When it ends, nothing of
 * it may be left: no fiber, no listener, no end of a connection.
 *
 * @since 1.0.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as FaultSchedule from "./FaultSchedule.ts"
import { isAssertion } from "./internal/assertions.ts"
import { literal } from "./internal/literal.ts"
import * as SimulatedNetwork from "./SimulatedNetwork.ts"
import * as Transcript from "./Transcript.ts"
import * as VirtualTime from "./VirtualTime.ts"

/**
 * What a scenario may require besides its own.
 *
 * @category models
 * @since 1.0.0
 */
export type Provided = SimulatedNetwork.SimulatedNetwork | Scope.Scope

/**
 * What to run, and how.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options<A, E, R> extends VirtualTime.Options {
  readonly scenario: Effect.Effect<A, E, R>
  /** How the network behaves. Its chance comes from the seed. Default: no latency, no limits. */
  readonly network?: SimulatedNetwork.Options | undefined
  /** What happens to the network. Default: nothing. */
  readonly faults?: FaultSchedule.FaultSchedule | undefined
}

/**
 * What a scenario is run with, besides the seed and the faults.
 *
 * @category models
 * @since 1.0.0
 */
export interface Settings extends Omit<VirtualTime.Options, "seed"> {
  readonly network?: SimulatedNetwork.Options | undefined
}

/**
 * What is known of a run.
 *
 * @category models
 * @since 1.0.0
 */
export interface Report<A, E> extends VirtualTime.Outcome<A, E> {
  readonly seed: number | string
  readonly faults: FaultSchedule.FaultSchedule
  /** All else that the scenario was run with. */
  readonly settings: Settings
  readonly transcript: Transcript.Transcript
  /** The most bytes that each direction of each connection took at one time. */
  readonly peaks: ReadonlyArray<SimulatedNetwork.Peak>
  /** Listeners and ends of connections that outlived the run. */
  readonly residue: SimulatedNetwork.Residue
}

/**
 * A scenario has failed, or left something behind.
 *
 * @category errors
 * @since 1.0.0
 */
export class SimulationFailed extends Data.TaggedError("SimulationFailed")<{
  readonly report: Report<unknown, unknown>
  /** Runs up to this one. */
  readonly runs: number
}> {
  override get message(): string {
    const { seed, time, transcript } = this.report
    return [
      `Run ${this.runs} failed with seed ${JSON.stringify(seed)} after ${time} ms of virtual time`,
      problemOf(this.report)?.text ?? "",
      `To run it again: ${source(this.report)}`,
      "The end of the transcript:",
      Transcript.format(transcript, { last: 40 })
    ].join("\n")
  }
}

const field = (name: string, value: unknown): ReadonlyArray<string> =>
  value === undefined ? [] : [`  ${name}: ${literal(value)},\n`]

/** A run as TypeScript, to paste into a test. */
const source = ({ faults, seed, settings }: Report<unknown, unknown>): string => {
  const fields = Object.entries({ seed, ...settings }).flatMap(([name, value]) => field(name, value))
  const schedule = FaultSchedule.source(faults).replaceAll("\n", "\n  ")
  return `Simulation.run({\n  scenario,\n${fields.join("")}  faults: ${schedule}\n})`
}

interface Problem {
  /** What tells one kind of failure from another. */
  readonly kind: string
  readonly text: string
}

const kindOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "Failure"
}

const leftOf = ({ left, residue }: Report<unknown, unknown>): string | undefined => {
  const all = [
    ...left,
    ...residue.listeners.map((address) => `a listener at ${address}`),
    ...residue.ends.map((end) => `an end of connection ${end}`)
  ]
  return all.length === 0 ? undefined : `Left behind:\n  ${all.join("\n  ")}`
}

const problemOf = (report: Report<unknown, unknown>): Problem | undefined => {
  const left = leftOf(report)
  if (Exit.isFailure(report.exit)) {
    const text = Cause.pretty(report.exit.cause)
    return { kind: kindOf(report.exit.cause), text: left === undefined ? text : `${text}\n${left}` }
  }
  return left === undefined ? undefined : { kind: "Left", text: left }
}

/**
 * Runs a scenario once and tells all that is known of the run, whatever its end.
 *
 * @category running
 * @since 1.0.0
 */
export const observe = <A, E, R>(
  options: Options<A, E, R>
): Effect.Effect<Report<A, E>, never, Exclude<R, Provided>> =>
  Effect.suspend(() => {
    const { faults = [], scenario, seed = 0 } = options
    const settings = settingsOf(options)
    let network: SimulatedNetwork.SimulatedNetwork["Service"] | undefined
    let seen: Pick<Report<A, E>, "peaks" | "residue" | "transcript"> = nothing
    const program = Effect.gen(function*() {
      network = yield* SimulatedNetwork.make({ seed, ...options.network })
      yield* network.play(faults)
      const provided = Effect.provideService(scenario, SimulatedNetwork.SimulatedNetwork, network)
      return yield* Effect.scoped(provided)
    })
    const finished = Effect.suspend(() => network === undefined ? Effect.void : look(network)).pipe(
      Effect.map((all) => {
        seen = all ?? seen
      })
    )
    return Effect.map(
      VirtualTime.observe(program, { ...options, finished }),
      (outcome): Report<A, E> => ({ ...outcome, ...seen, seed, faults, settings })
    ) as Effect.Effect<Report<A, E>, never, Exclude<R, Provided>>
  })

const settingsOf = ({ interleave, interruptAt, maxSteps, maxTime, network, promises }: Settings): Settings => ({
  network,
  interleave,
  promises,
  maxTime,
  maxSteps,
  interruptAt
})

/** What is known of a run that ended before it had a network. */
const nothing = { peaks: [], residue: { listeners: [], ends: [] }, transcript: { events: [] } }

const look = ({ peaks, residue, shutdown, transcript }: SimulatedNetwork.SimulatedNetwork["Service"]) =>
  Effect.andThen(shutdown, Effect.all({ peaks, residue, transcript }))

const failed = (report: Report<unknown, unknown>, runs: number) => new SimulationFailed({ report, runs })

/**
 * Runs a scenario once. Fails with the seed, the faults and the end of the
 * transcript where the scenario fails or leaves something behind.
 *
 * **Example** (A connection that is reset)
 *
 * ```ts import.meta.vitest
 * import * as Simulation from "effect-websocket/testing/Simulation"
 * import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const silent = Effect.flatMap(WebSocketStream, (stream) => stream.closed)
 *
 * const server = WebSocketServer.serve(silent).pipe(
 *   Layer.provide(SimulatedNetwork.layerServer("server", 80))
 * )
 *
 * const scenario = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.dial({ url: "ws://server/" })
 *   return (yield* stream.closed).code
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(Layer.merge(server, SimulatedNetwork.layerDialer("phone")))
 * )
 *
 * const faults = [{ _tag: "Reset", at: 60_000, from: "phone", to: "server" }] as const
 * await Effect.runPromise(Simulation.run({ seed: 1, scenario, faults })) // => 1006
 * ```
 *
 * @category running
 * @since 1.0.0
 */
export const run = <A, E, R>(
  options: Options<A, E, R>
): Effect.Effect<A, SimulationFailed, Exclude<R, Provided>> =>
  Effect.flatMap(observe(options), (report) =>
    problemOf(report) === undefined && Exit.isSuccess(report.exit)
      ? Effect.succeed(report.exit.value)
      : Effect.fail(failed(report, 1)))

/**
 * What to check, and how.
 *
 * @category models
 * @since 1.0.0
 */
export interface CheckOptions<A, E, R> extends Omit<Options<A, E, R>, "seed" | "faults" | "network"> {
  /** How the network behaves, or how it does for each seed. Default: no latency, no limits. */
  readonly network?: SimulatedNetwork.Options | ((seed: number) => SimulatedNetwork.Options) | undefined
  /** How many seeds. */
  readonly seeds: number
  /** The first seed. Default 0. */
  readonly from?: number | undefined
  /** What may happen to the network: `FaultSchedule.arbitrary`. Default: nothing. */
  readonly faults?: Arbitrary.Arbitrary<FaultSchedule.FaultSchedule> | undefined
  /** Most runs to find a smaller schedule that fails in the same way. Default 400. */
  readonly maxShrinks?: number | undefined
}

type Checked<A, E, R> = Omit<CheckOptions<A, E, R>, "seeds" | "from" | "maxShrinks">

/** The options of one run. */
const runOf = <A, E, R>(
  options: Checked<A, E, R>,
  seed: number,
  faults: FaultSchedule.FaultSchedule,
  record: boolean
): Options<A, E, R> => {
  const network = typeof options.network === "function" ? options.network(seed) : options.network
  return { ...options, seed, faults, network: record ? network : { ...network, record } }
}

const arbitraryOf = <A, E, R>({ faults }: Checked<A, E, R>) =>
  faults ?? Arbitrary.Constant<FaultSchedule.FaultSchedule>([])

/** The schedule of a seed. */
const drawn = Effect.fnUntraced(function*<A, E, R>(options: Checked<A, E, R>, seed: number) {
  let first: FaultSchedule.FaultSchedule = []
  const take = (faults: FaultSchedule.FaultSchedule) =>
    Effect.sync(() => {
      first = faults
      return true
    })
  yield* Arbitrary.checkEffect(arbitraryOf(options), take, { seed, runs: 1 })
  return first
})

/** The schedule of a seed where its run fails, made as small as it gets. */
const falsify = Effect.fnUntraced(function*<A, E, R>(options: CheckOptions<A, E, R>, seed: number) {
  let first: string | undefined
  const holds = (faults: FaultSchedule.FaultSchedule) =>
    Effect.map(observe(runOf(options, seed, faults, false)), (report) => {
      const problem = problemOf(report)
      first ??= problem?.kind
      return problem === undefined || problem.kind !== first
    })
  const result = yield* Arbitrary.checkEffect(arbitraryOf(options), holds, {
    seed,
    runs: 1,
    maxShrinks: options.maxShrinks ?? 400
  })
  return result._tag === "Falsified" ? result.shrunkInput : undefined
})

/**
 * Runs a scenario once as `check` does with a seed, with the faults that it draws,
 * and tells all that is known of the run, whatever its end.
 *
 * @category running
 * @since 1.0.0
 */
export const observeSeed = Effect.fnUntraced(function*<A, E, R>(
  options: Omit<CheckOptions<A, E, R>, "seeds" | "from" | "maxShrinks">,
  seed: number
): Effect.fn.Return<Report<A, E>, never, Exclude<R, Provided>> {
  const faults = yield* drawn(options, seed)
  return yield* observe(runOf(options, seed, faults, true))
})

/**
 * Runs a scenario with one seed after another, each with faults of its own, and
 * fails with the first that fails, its schedule shrunk. Returns the number of runs.
 *
 * @category running
 * @since 1.0.0
 */
export const check = Effect.fnUntraced(function*<A, E, R>(
  options: CheckOptions<A, E, R>
): Effect.fn.Return<number, SimulationFailed, Exclude<R, Provided>> {
  const from = options.from ?? 0
  for (let seed = from; seed < from + options.seeds; seed++) {
    const faults = yield* falsify(options, seed)
    if (faults === undefined) continue
    return yield* failed(yield* observe(runOf(options, seed, faults, true)), seed - from + 1)
  }
  return options.seeds
})

/**
 * Where to fail.
 *
 * @category models
 * @since 1.0.0
 */
export interface EverywhereOptions<A, E, R> extends Omit<Options<A, E, R>, "faults"> {
  /**
   * - `"operation"`: before each write that reaches the network.
   * - `"frame"`: between frames.
   * - `"byte"`: before each byte.
   * - `"step"`: the scenario is interrupted at each of its steps.
   */
  readonly at: "operation" | "frame" | "byte" | "step"
  /** How connections fail. Default: end, reset and stall in turn. Without meaning for steps. */
  readonly how?: ReadonlyArray<"end" | "reset" | "stall"> | undefined
  /**
   * Whether a run with a failure may fail with this error. Default: with each but
   * those of the kit's own assertions, `LedgerBroken`, `PermitsLeft` and `Unexpected`.
   */
  readonly mayFail?: ((error: E) => boolean) | undefined
}

const mayBreak = (error: unknown): boolean => !isAssertion(error)

/** Whether a run in which something was broken on purpose ended as it may: with success, a typed failure, or interrupted. */
const isOrderly = <A, E>(report: Report<A, E>, at: string, mayFail: (error: E) => boolean): boolean => {
  if (leftOf(report) !== undefined) return false
  return Exit.isSuccess(report.exit) || report.exit.cause.reasons.every((reason) => {
    if (at === "step") return Cause.isInterruptReason(reason)
    return Cause.isFailReason(reason) && !VirtualTime.isStuck(reason.error) && mayFail(reason.error)
  })
}

/**
 * Runs a scenario without faults, and then again with a failure at each place of
 * that run. Returns the number of runs.
 *
 * **Details**
 *
 * The run without faults must succeed. One with a failure may fail, but with a
 * typed error that `mayFail` allows, or by the interruption of a step. It may not
 * die, as a broken `assert` does, or be stuck, and nothing may be left behind.
 *
 * @category running
 * @since 1.0.0
 */
export const everywhere = Effect.fnUntraced(function*<A, E, R>(
  options: EverywhereOptions<A, E, R>
): Effect.fn.Return<number, SimulationFailed, Exclude<R, Provided>> {
  const { at, how = ["end", "reset", "stall"], mayFail = mayBreak } = options
  const clean = yield* observe(options)
  if (problemOf(clean) !== undefined) return yield* failed(clean, 1)
  let runs = 1
  const broken = at === "step"
    ? Array.from({ length: clean.steps }, (_, step) => ({ ...options, interruptAt: step + 1 }))
    : how.flatMap((how) =>
      Transcript.places(clean.transcript, at).map((place): Options<A, E, R> => ({
        ...options,
        faults: [{ _tag: "Truncate", at: 0, ...place, how }]
      }))
    )
  for (const plan of broken) {
    const report = yield* observe(plan)
    runs++
    if (!isOrderly(report, at, mayFail)) return yield* failed(report, runs)
  }
  return runs
})
