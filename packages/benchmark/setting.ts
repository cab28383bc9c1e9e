/**
 * What a contender is told when it starts, as JSON in its first argument.
 */

/** How our stream is used: a message at a time, all that are there, or parts. */
export type Style = "read+write" | "pull+writeAll" | "readSome+writeSome"

/** A server's task, or a client's. */
export interface Setting {
  /** Servers echo, send what one says to all, or send `bulk`; clients send, receive or echo, at `url`. */
  readonly task: "echo" | "fan-out" | "bulk" | "send" | "receive"
  /** What every client of a server is sent: so many messages, one after another, of so many bytes. */
  readonly bulk?: { readonly messages: number; readonly size: number }
  readonly url?: string
  readonly style?: Style
  /** How many messages a client writes at once. Default 1. */
  readonly batch?: number
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Of both sides, with level 6, memLevel 8 and windows of 15 bits; `releaseAfter`, in seconds, is ours alone. */
  readonly deflate?: { readonly takeover: boolean; readonly threshold: number; readonly releaseAfter?: number }
  /** Ours without what it counts, or with a tracer. Default: counted, and traced by nobody. */
  readonly telemetry?: "uncounted" | "traced"
  /** Fields of our configuration. */
  readonly config?: {
    readonly keepAlive?: "off"
    readonly idleTimeout?: "infinity"
    readonly fragmentSize?: number
    readonly reuseArrays?: boolean
    /** Milliseconds. */
    readonly controlDelay?: number | undefined
  }
}

/** The largest message of any cell, with room: every contender takes it. */
export const maxMessageSize = 64 * 1024 * 1024
