/**
 * What crossed a `SimulatedNetwork`, as it was sent: dials, bytes, ends, resets
 * and faults with their virtual times, read as WebSocket frames.
 *
 * @since 1.0.0
 */
import * as FrameDecoder from "@effect-websocket/protocol/FrameDecoder"
import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
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
  /** How many bytes the head and the whole frames take. */
  size = 0
  readonly #masked: boolean
  readonly #frames: FrameDecoder.FrameDecoder
  #head: Uint8Array | undefined = new Uint8Array(0)
  #payload: Uint8Array = new Uint8Array(0)
  #broken = false

  constructor(sender: "client" | "server") {
    this.#masked = sender === "client"
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
    this.size = end
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
      this.size += FrameEncoder.frameSize(piece.length, this.#masked)
      lines.push(describeFrame(piece, this.#payload))
      this.#payload = new Uint8Array(0)
    }
    if (this.#frames.violation !== undefined) {
      this.#broken = true
      lines.push(`not a frame: ${this.#frames.violation.rule}`)
    }
    return lines
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
  const readingOf = makeReadings()
  return events.flatMap((event): ReadonlyArray<Line> => {
    const { at, bytes, connection, from, to } = event
    const reading = readingOf(event)
    const texts = reading === undefined ? [sayKind(event)] : reading.push(bytes!)
    return texts.map((text) => ({ at, connection, from, to, text }))
  })
}

/** Finds the reading that the bytes of an event go to. */
const makeReadings = () => {
  const readings = new Map<string, Reading>()
  const clients = new Map<number, string>()
  return ({ connection, from, kind }: Event): Reading | undefined => {
    if (kind === "open") clients.set(connection!, from)
    if (kind !== "data") return undefined
    const key = `${connection}/${from}`
    const reading = readings.get(key) ?? new Reading(clients.get(connection!) === from ? "client" : "server")
    readings.set(key, reading)
    return reading
  }
}

/**
 * A place in one direction of a connection.
 *
 * @category models
 * @since 1.0.0
 */
export interface Place {
  /** From 1, among the connections of the same two hosts. */
  readonly connection: number
  /** The hosts. */
  readonly from: string
  readonly to: string
  /** From 0. */
  readonly byte: number
}

/**
 * The places where something was sent: before each write that reached the
 * network, at the beginning of each frame, or at each byte.
 *
 * @category converting
 * @since 1.0.0
 */
export const places = ({ events }: Transcript, of: "operation" | "frame" | "byte"): ReadonlyArray<Place> => {
  const readingOf = makeReadings()
  const sent = new Map<string, number>()
  const ordinalOf = makeOrdinals()
  return events.flatMap((event): ReadonlyArray<Place> => {
    const connection = ordinalOf(event)
    const reading = readingOf(event)
    if (reading === undefined) return []
    const key = `${event.connection}/${event.from}`
    const start = sent.get(key) ?? 0
    const end = start + event.bytes!.length
    sent.set(key, end)
    const begun = begins(reading, event.bytes!)
    const bytes = of === "operation" ? [start] : of === "frame" ? begun : range(start, end)
    return bytes.map((byte) => ({ connection, from: hostOf(event.from), to: hostOf(event.to), byte }))
  })
}

const range = (start: number, end: number): ReadonlyArray<number> =>
  Array.from({ length: end - start }, (_, index) => start + index)

const hostOf = (name: string): string => name.slice(0, name.lastIndexOf(":"))

/** Where frames begin behind those that end in the bytes. */
const begins = (reading: Reading, bytes: Uint8Array): ReadonlyArray<number> => {
  const places = new Set<number>()
  for (const byte of bytes) {
    const { size } = reading
    reading.push(Uint8Array.of(byte))
    if (reading.size > size) places.add(reading.size)
  }
  return Array.from(places)
}

/** Counts connections of the same two hosts. */
const makeOrdinals = () => {
  const counts = new Map<string, number>()
  const ordinals = new Map<number | undefined, number>()
  return ({ connection, from, kind, to }: Event): number => {
    if (kind === "open") {
      const pair = [hostOf(from), hostOf(to)].toSorted().join("/")
      counts.set(pair, (counts.get(pair) ?? 0) + 1)
      ordinals.set(connection, counts.get(pair)!)
    }
    return ordinals.get(connection) ?? 0
  }
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
