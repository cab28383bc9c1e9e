/**
 * What a case is: a script for the raw peer and for the application at the
 * library's end, one step a line.
 *
 * @since 1.0.0
 */
import type * as Deflate from "effect-websocket/Deflate"
import type * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import type * as WebSocketClient from "effect-websocket/WebSocketClient"
import type * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import type * as WebSocketServer from "effect-websocket/WebSocketServer"
import type { WebSocketStream } from "effect-websocket/WebSocketStream"
import type * as Effect from "effect/Effect"
import type { Mismatch } from "./Mismatch.ts"
import type { Rig } from "./Rig.ts"
import type * as Wire from "./Wire.ts"
import type * as Wires from "./Wires.ts"

export interface Step {
  /** What it does, for the message of its failure. */
  readonly say: string
  readonly run: (rig: Rig) => Effect.Effect<void, Mismatch>
}

export type Script = ReadonlyArray<Step | Script>

export interface Case {
  /** The section and a name: `5.4/continuation-without-start`. Sections of RFC 7692 begin with `7692-`. */
  readonly id: string
  /** What is held, in one sentence. */
  readonly rule: string
  /** The roles of the library's end. Default both. */
  readonly roles?: ReadonlyArray<Wire.Role>
  /** Default both. Memory only where time has to pass, or nothing has to happen. */
  readonly transports?: ReadonlyArray<Wires.Name>
  readonly client?: Partial<WebSocketClient.ConnectOptions>
  readonly server?: WebSocketServer.AcceptOptions
  readonly config?: WebSocketConfig.Options
  readonly memory?: MemoryTransport.Options
  /** What the library's end compresses with. Default: nothing. */
  readonly deflate?: Deflate.Options
  /** The value of the raw peer's Sec-WebSocket-Extensions. */
  readonly extensions?: string
  /** Whether the script begins with the handshake. Default: it begins behind one that succeeded. */
  readonly unopened?: boolean
  /** Whether the library never dials, so that there is no peer. */
  readonly undialled?: boolean
  /** Makes the library's end a whole server with this handler for each connection. The script dials it. */
  readonly handler?: (rig: Rig) => Effect.Effect<unknown, unknown, WebSocketStream>
  readonly script: Script | ((role: Wire.Role) => Script)
}

export const rolesOf = (case_: Case): ReadonlyArray<Wire.Role> =>
  case_.handler === undefined ? case_.roles ?? ["client", "server"] : ["server"]

export const transportsOf = (case_: Case): ReadonlyArray<Wires.Name> => case_.transports ?? ["memory", "tcp"]

/** The section of its RFC: everything before the slash. */
export const sectionOf = (case_: Case): string => case_.id.slice(0, case_.id.indexOf("/"))

export const stepsOf = (script: Script): ReadonlyArray<Step> =>
  script.flatMap((step) => "say" in step ? [step] : stepsOf(step))
