/**
 * What the examples are put through: networks that differ from seed to seed, faults that are drawn for each seed, and
 * servers that are stopped and started while somebody uses them.
 */
import * as FaultSchedule from "effect-websocket/testing/FaultSchedule"
import type * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as Simulation from "effect-websocket/testing/Simulation"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"

/** A law of an example does not hold. */
export class Broken extends Data.TaggedError("Broken")<{ readonly message: string }> {}

/** Deadlines short enough that a line which fell silent is given up within a run. */
export const config = {
  keepAlive: { interval: "5 seconds", misses: 1 },
  handshakeTimeout: "5 seconds",
  drainRetryAfter: { min: "100 millis", max: "1 second" }
} as const

/** Milliseconds within which faults begin, and after which all have ended. */
export const until = 6000
const longest = 4000
export const calm = until + longest

const networks: ReadonlyArray<SimulatedNetwork.Options> = [
  { latency: 20, jitter: 30 },
  { latency: 400, jitter: 400 },
  { latency: 10, bandwidth: 5000 },
  { latency: 5, jitter: 5, chunkSize: [1, 40], capacity: 500 },
  {}
]

export interface Conditions {
  /** Hosts that talk to the host `server`. */
  readonly clients: ReadonlyArray<string>
  readonly kinds: ReadonlyArray<FaultSchedule.Kind>
}

/** Some seeds of a scenario, the network and the faults of each drawn from it. */
export interface Seeds {
  readonly from?: number | undefined
  readonly seeds: number
  readonly interleave?: boolean | "everywhere" | undefined
}

/** A scenario under its conditions. */
export interface Simulated {
  /** Checks seeds, and gives how many. */
  readonly check: (seeds: Seeds) => Effect.Effect<number, Simulation.SimulationFailed>
  /** Runs one seed as `check` does, and tells what is known of the run. */
  readonly observe: (
    seed: number,
    interleave: boolean | "everywhere"
  ) => Effect.Effect<Simulation.Report<void, unknown>>
}

export const simulated = (
  { clients, kinds }: Conditions,
  scenario: Effect.Effect<void, unknown, Simulation.Provided>
): Simulated => {
  const options = {
    scenario,
    promises: false,
    maxTime: "10 minutes",
    network: (seed: number) => networks[seed % networks.length]!,
    faults: FaultSchedule.arbitrary({
      links: clients.map((client) => [client, "server"] as const),
      until,
      longest,
      // The first connection only: what happens at a byte happens late where the byte passes late.
      connections: 1,
      kinds
    })
  } as const
  return {
    check: (seeds) => Simulation.check({ ...options, ...seeds }),
    observe: (seed, interleave) => Simulation.observeSeed({ ...options, interleave }, seed)
  }
}

/** Everything but changed bytes, against which WebSocket has no means. */
export const accidents = [
  "Partition",
  "Slow",
  "Reset",
  "Vanish",
  "Crash",
  "Refuse",
  "Truncate"
] as const satisfies ReadonlyArray<FaultSchedule.Kind>

/** As long as a server stays until the next one comes. */
export const pause = Effect.flatMap(Random.nextIntBetween(500, 3000), (millis) => Effect.sleep(millis))

/** A server that is stopped and started anew twice while things happen. The fiber ends when it is there to stay. */
export const restarting = Effect.fnUntraced(function*<E, R>(server: Layer.Layer<never, E, R>) {
  const start = Layer.build(Layer.fresh(server))
  return yield* Effect.scoped(Effect.andThen(start, pause)).pipe(
    Effect.andThen(Effect.sleep("300 millis")),
    Effect.repeat({ times: 1 }),
    Effect.andThen(start),
    Effect.asVoid,
    Effect.forkScoped
  )
})
