/**
 * Command line options that the echo programs have in common.
 */
import type * as Deflate from "effect-websocket/Deflate"
import * as WebSocketConfig from "effect-websocket/WebSocketConfig"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Echo from "./echo.ts"

const { defaults } = WebSocketConfig

const atLeast = (least: number) => Flag.filter((value: number) => value >= least, () => `Expected at least ${least}`)

const bytes = (name: string, fallback: number, description: string) =>
  Flag.Int(name).pipe(
    atLeast(0),
    Flag.withMetavar("BYTES"),
    Flag.withDescription(description),
    Flag.withDefault(fallback)
  )

const millis = (name: string, description: string) =>
  Flag.Int(name).pipe(atLeast(1), Flag.withMetavar("MS"), Flag.withDescription(description))

const millisOr = (name: string, fallback: Duration.Input, description: string) =>
  millis(name, description).pipe(Flag.withDefault(Duration.toMillis(fallback)))

export const mode = Flag.Literals("mode", ["whole", "parts", "batch"]).pipe(
  Flag.withDescription("read and write, readSome and writeSome, or pull and writeAll"),
  Flag.withDefault("whole" as Echo.Mode)
)

export const limits = {
  maxMessageSize: bytes("max-message-size", defaults.maxMessageSize, "Longest message that is received: 1009 beyond"),
  maxFragments: Flag.Int("max-frames-per-message").pipe(
    atLeast(1),
    Flag.withDescription("Most fragments of a received message: 1008 beyond"),
    Flag.withDefault(defaults.maxFragments)
  ),
  fragmentSize: bytes("fragment-size", defaults.fragmentSize, "Longest frame that is sent; 0 sends messages whole"),
  handshakeTimeout: millisOr("handshake-timeout", defaults.handshakeTimeout, "Longest opening handshake"),
  idleTimeout: millis("idle-timeout", "Longest time in which nothing arrives").pipe(Flag.optional),
  closeTimeout: millisOr("close-timeout", defaults.closeTimeout, "Longest wait for the peer's Close frame")
}

export interface Limits {
  readonly maxMessageSize: number
  readonly maxFragments: number
  readonly fragmentSize: number
  readonly handshakeTimeout: number
  readonly idleTimeout: Option.Option<number>
  readonly closeTimeout: number
}

export const toConfig = (limits: Limits): Partial<WebSocketConfig.WebSocketConfig> => ({
  ...limits,
  idleTimeout: Option.getOrUndefined(limits.idleTimeout)
})

const windowBits = (name: string, description: string) =>
  Flag.Literals(name, ["8", "9", "10", "11", "12", "13", "14", "15"]).pipe(
    Flag.withDescription(description),
    Flag.map((bits) => Number(bits) as 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15),
    Flag.withDefault(15 as const)
  )

const flag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

export const compression = {
  permessageDeflate: flag("permessage-deflate", "Compress, where the peer agrees"),
  threshold: bytes("compression-threshold", 1024, "Shortest message that is compressed"),
  serverMaxWindowBits: windowBits("server-max-window-bits", "Largest window of the server's compressor"),
  clientMaxWindowBits: windowBits("client-max-window-bits", "Largest window of the client's compressor"),
  noContextTakeover: flag("no-context-takeover", "Compress each message by itself, both ways")
}

export interface Compression {
  readonly permessageDeflate: boolean
  readonly threshold: number
  readonly serverMaxWindowBits: Deflate.Options["serverMaxWindowBits"]
  readonly clientMaxWindowBits: Deflate.Options["clientMaxWindowBits"]
  readonly noContextTakeover: boolean
}

export const toPermessageDeflate = (input: Compression): Deflate.Options | undefined => {
  const { clientMaxWindowBits, noContextTakeover, permessageDeflate, serverMaxWindowBits, threshold } = input
  if (!permessageDeflate) return undefined
  const takeover = { serverNoContextTakeover: noContextTakeover, clientNoContextTakeover: noContextTakeover }
  return { ...takeover, serverMaxWindowBits, clientMaxWindowBits, threshold }
}
