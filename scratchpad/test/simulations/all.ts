/**
 * The simulations of the examples, by the names of their programs.
 */
import * as Chat from "./chat.ts"
import type * as Conditions from "./conditions.ts"
import * as Deployment from "./deployment.ts"
import * as Echo from "./echo.ts"
import * as Stock from "./stock.ts"

export const examples: { readonly [name: string]: Conditions.Simulated } = {
  "echo-server": Echo,
  chat: Chat,
  rpc: Stock,
  "graceful-deployment": Deployment
}
