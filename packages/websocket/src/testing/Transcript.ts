/**
 * What crossed a `SimulatedNetwork`, as it was sent: dials, bytes, ends, resets
 * and faults with their virtual times, read as WebSocket frames.
 *
 * @since 1.0.0
 */
import * as FrameDecoder from "@effect-websocket/protocol/FrameDecoder"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import * as FaultSchedule from "./FaultSchedule.ts"

/**
 * One thing that happened.
 *
 * @category models
 * @since 1.0.0
 */
export interface Event {
  /** Milliseconds since the network was made. */
  readonly at: number
  /** The connection, from 1 as they are opened; none for dials that fail and for faults. */
  readonly connection?: number | undefined
  /** `host:port` of the end that it comes from, or the host alone for a dial. */
  readonly from: string
  readonly to: string
  /**
   * - `"dial"`, `"open"`, `"refused"`: of opening a connection.
   * - `"data"`: bytes were sent.
   * - `"end"`: an end has ended its side (FIN).
   * - `"reset"`: an RST arrived at `to`.
   * - `"fault"`: a fault of the schedule happened.
   */
  readonly kind: "dial" | "open" | "refused" | "data" | "end" | "reset" | "fault"
  /** What was sent, as it left after faults. */
  readonly bytes?: Uint8Array | undefined
  readonly fault?: FaultSchedule.Fault | undefined
}

/**
 * Everything that happened, in order.
 *
 * @category models
 * @since 1.0.0
 */
export interface Transcript {
  readonly events: ReadonlyArray<Event>
}

/**
 * One line of a transcript: a head, a frame, or an event without bytes.
 *
 * @category models
 * @since 1.0.0
 */
export interface Line {
  /** Milliseconds at which its last byte was sent. */
  readonly at: number
  readonly connection: number | undefined
  readonly from: string
  readonly to: string
  readonly text: string
}

const decoder = new TextDecoder()

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const names: { readonly [code in Opcode]: string } = {
  0: "continuation",
  1: "text",
  2: "binary",
  8: "close",
  9: "ping",
  10: "pong"
}

const longest = 48

const shorten = (text: string, size: number): string =>
  text.length <= longest ? text : `${text.slice(0, longest)}… (${size} bytes)`

const isReadable = (opcode: Opcode): boolean =>
  opcode === Opcode.Text || opcode === Opcode.Continuation || opcode === Opcode.Ping || opcode === Opcode.Pong

const describePayload = (opcode: Opcode, rsv: number, payload: Uint8Array): string => {
  if (payload.length === 0) return ""
  if (opcode === Opcode.Close && payload.length >= 2) {
    return ` ${`${(payload[0]! << 8) | payload[1]!} ${decoder.decode(payload.subarray(2))}`.trimEnd()}`
  }
  if (rsv !== 0 || !isReadable(opcode)) return ` ${shorten(hexOf(payload), payload.length)}`
  return ` ${shorten(JSON.stringify(decoder.decode(payload)), payload.length)}`
}

/** What to say of a frame that is whole. */
const describeFrame = ({ fin, opcode, rsv }: FrameDecoder.Piece, payload: Uint8Array): string =>
  `${names[opcode]}${fin ? "" : " (more follows)"}${rsv === 0 ? "" : " compressed"}${
    describePayload(opcode, rsv, payload)
  }`

const join = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const out = new Uint8Array(left.length + right.length)
  out.set(left)
  out.set(right, left.length)
  return out
}

const headEnd = (bytes: Uint8Array): number => {
  for (let at = 0; at + 3 < bytes.length; at++) {
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4
  }
  return -1
}

/** Reads one direction of a connection: a head, then frames. */
class Reading {
  readonly #frames: FrameDecoder.FrameDecoder
  #head: Uint8Array | undefined = new Uint8Array(0)
  #payload: Uint8Array = new Uint8Array(0)
  #broken = false

  constructor(sender: "client" | "server") {
    // Every reserved bit is let through: whether it was agreed is not ours to say.
    this.#frames = new FrameDecoder.FrameDecoder({ role: sender === "client" ? "server" : "client", ownedBits: 0x70 })
  }

  push(bytes: Uint8Array): ReadonlyArray<string> {
    if (this.#head === undefined) return this.#read(new Uint8Array(bytes))
    this.#head = join(this.#head, bytes)
    const end = headEnd(this.#head)
    if (end === -1) return []
    const head = decoder.decode(this.#head.subarray(0, end))
    const rest = this.#head.slice(end)
    this.#head = undefined
    return [head.slice(0, head.indexOf("\r\n")), ...this.#read(rest)]
  }

  #read(bytes: Uint8Array): ReadonlyArray<string> {
    const lines: Array<string> = []
    if (this.#broken) return lines
    this.#frames.push(bytes)
    for (let piece = this.#frames.next(); piece !== undefined; piece = this.#frames.next()) {
      this.#payload = join(this.#payload, piece.payload)
      if (!piece.last) continue
      lines.push(describeFrame(piece, this.#payload))
      this.#payload = new Uint8Array(0)
    }
    if (this.#frames.violation !== undefined) {
      this.#broken = true
      lines.push(`not a frame: ${this.#frames.violation.rule}`)
    }
    return lines
  }

  /** What the direction breaks off in. */
  get left(): string | undefined {
    if (this.#payload.length > 0) return `(${this.#payload.length} bytes of a frame that is not whole)`
    return this.#head !== undefined && this.#head.length > 0 ? "(a head that is not whole)" : undefined
  }
}

const sayKind = (event: Event): string =>
  event.kind === "fault" ? `! ${FaultSchedule.source([event.fault!]).slice(4, -2)}` : event.kind

/**
 * Reads a transcript as lines: heads by their first line, frames, and events.
 *
 * @category converting
 * @since 1.0.0
 */
export const lines = ({ events }: Transcript): ReadonlyArray<Line> => {
  const readings = new Map<string, Reading>()
  const clients = new Map<number, string>()
  return events.flatMap(({ at, bytes, connection, from, to, ...event }): ReadonlyArray<Line> => {
    if (event.kind === "open") clients.set(connection!, from)
    if (event.kind !== "data") return [{ at, connection, from, to, text: sayKind({ at, from, to, ...event }) }]
    const key = `${connection}/${from}`
    const reading = readings.get(key) ?? new Reading(clients.get(connection!) === from ? "client" : "server")
    readings.set(key, reading)
    return reading.push(bytes!).map((text) => ({ at, connection, from, to, text }))
  })
}

const formatLine = ({ at, connection, from, text, to }: Line): string => {
  const where = from === "" ? "" : `${connection === undefined ? "" : `#${connection} `}${from} > ${to}  `
  return `${at.toFixed(3).padStart(12)}  ${where}${text}`
}

/**
 * A transcript as text, a line each: the time in milliseconds, the connection,
 * its ends, and what was sent.
 *
 * @category converting
 * @since 1.0.0
 */
export const format = (
  transcript: Transcript,
  options?: {
    /** Only so many lines, the last ones. Default: all. */
    readonly last?: number | undefined
  }
): string => lines(transcript).slice(-(options?.last ?? Infinity)).map(formatLine).join("\n")
