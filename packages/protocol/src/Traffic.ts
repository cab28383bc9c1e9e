/**
 * What goes over connections, counted where frames are made and taken apart.
 *
 * Plain numbers that only grow, so that counting costs next to nothing. Many
 * connections may share them.
 *
 * @since 1.0.0
 */
import { type MessageType, ofMessage, Opcode } from "./Opcode.ts"

/**
 * One direction. All sizes are bytes.
 *
 * **Details**
 *
 * A frame counts when its header is valid, a message when it ends. Payload is
 * what the application sees of it: before it is compressed, after it is inflated.
 *
 * @category models
 * @since 1.0.0
 */
export class Flow {
  textMessages = 0
  binaryMessages = 0
  /** Payload of text messages, as UTF-8. */
  textBytes = 0
  binaryBytes = 0
  /** Payload of the messages that are compressed, before it is. */
  plainBytes = 0
  /** What that payload is on the wire. */
  compressedBytes = 0
  // Frames by opcode, but for one of each message that has ended: most messages are one frame, and are counted once.
  readonly #frames = new Float64Array(16)

  /** Frames with an opcode. */
  frames(opcode: Opcode): number {
    const others = this.#frames[opcode]!
    if (opcode === Opcode.Text) return this.textMessages + others
    return opcode === Opcode.Binary ? this.binaryMessages + others : others
  }

  /** Counts a message that is one frame. */
  whole(type: MessageType, size: number): void {
    if (type === "text") {
      this.textMessages++
      this.textBytes += size
    } else {
      this.binaryMessages++
      this.binaryBytes += size
    }
  }

  /** Counts a frame that is no whole message. */
  frame(opcode: Opcode): void {
    this.#frames[opcode]!++
  }

  /** Counts a part of a message, and the message where it ends. */
  part(type: MessageType, size: number, fin: boolean): void {
    if (fin) {
      this.whole(type, size)
      this.#frames[ofMessage(type)]!--
    } else if (type === "text") this.textBytes += size
    else this.binaryBytes += size
  }

  /** Takes back a message that is one frame. */
  recall(type: MessageType, size: number): void {
    this.part(type, -size, false)
    if (type === "text") this.textMessages--
    else this.binaryMessages--
  }
}

/**
 * Both directions, seen from this end.
 *
 * **Example** (Counting the frames of a connection)
 *
 * ```ts import.meta.vitest
 * import * as Connection from "@effect-websocket/protocol/Connection"
 * import * as Traffic from "@effect-websocket/protocol/Traffic"
 *
 * const traffic = new Traffic.Traffic()
 * const server = new Connection.Connection({
 *   role: "server",
 *   maxMessageSize: 1024,
 *   maxFragments: 16,
 *   maskingKey: () => 0,
 *   traffic
 * })
 * server.sendPart("text", new TextEncoder().encode("Hello"), true)
 *
 * traffic.sent.textMessages // => 1
 * traffic.sent.textBytes // => 5
 * traffic.sent.frames(1) // => 1
 * ```
 *
 * @category models
 * @since 1.0.0
 */
export class Traffic {
  readonly received: Flow = new Flow()
  readonly sent: Flow = new Flow()
}
