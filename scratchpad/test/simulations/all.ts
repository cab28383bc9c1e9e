/**
 * The simulations of the examples, by the names of their programs.
 */
import type * as Simulation from "effect-websocket/testing/Simulation"
import type * as Effect from "effect/Effect"
import * as Chat from "./chat.ts"
import type * as Conditions from "./conditions.ts"
import * as Deployment from "./deployment.ts"
import * as Echo from "./echo.ts"
import * as Stock from "./stock.ts"

type Check = (seeds: Conditions.Seeds) => Effect.Effect<number, Simulation.SimulationFailed>

/** Checks seeds, and gives how many. */
export const checks: { readonly [name: string]: Check } = {
  "echo-server": Echo.check,
  chat: Chat.check,
  rpc: Stock.check,
  "graceful-deployment": Deployment.check
}
