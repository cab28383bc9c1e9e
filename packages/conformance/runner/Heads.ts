/**
 * Steps of the opening handshake, RFC 6455 section 4: requests and responses
 * line by line.
 *
 * @since 1.0.0
 */
import * as Effect from "effect/Effect"
import type { Script, Step } from "./Case.ts"
import { Mismatch } from "./Mismatch.ts"
import { acceptOf } from "./Peer.ts"
import type { Rig } from "./Rig.ts"
import * as Steps from "./Steps.ts"
import { chop } from "./Wire.ts"

/** The key of section 1.3, and its answer. */
export const key = "dGhlIHNhbXBsZSBub25jZQ=="
export const keysAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/** A request that keeps every rule. */
export const goodRequest: ReadonlyArray<string> = [
  "GET /chat HTTP/1.1",
  "Host: example.com",
  "Upgrade: websocket",
  "Connection: Upgrade",
  `Sec-WebSocket-Key: ${key}`,
  "Sec-WebSocket-Version: 13"
]

/** A response that keeps every rule; `$accept` stands for the answer to the key. */
export const goodResponse: ReadonlyArray<string> = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: $accept"
]

/** Lines without the one that begins so. */
export const without = (lines: ReadonlyArray<string>, name: string): ReadonlyArray<string> =>
  lines.filter((line) => !line.startsWith(name))

/** Lines with others in place of the one that begins so. */
export const instead = (lines: ReadonlyArray<string>, name: string, ...others: ReadonlyArray<string>) =>
  lines.flatMap((line) => line.startsWith(name) ? others : [line])

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** Lines as bytes, latin1. */
export const bytesOf = (lines: ReadonlyArray<string>): Uint8Array => latin1([...lines, "", ""].join("\r\n"))

/** Sends a head, in writes of `size` bytes. */
export const asks = (lines: ReadonlyArray<string>, size = Infinity): Step =>
  Steps.step("the peer asks", ({ peer }) =>
    Effect.sync(() => {
      const bytes = bytesOf(lines)
      peer.sendBytes(size === Infinity ? [bytes] : chop(bytes, size))
    }))

/** The lines of the head that the peer got last. */
const takeHead = (rig: Rig): Effect.Effect<ReadonlyArray<string>, Mismatch> =>
  Effect.map(rig.peer.head, (head) => {
    const lines = head.split("\r\n").slice(0, -2)
    rig.head = lines
    return lines
  })

const checkLines = (lines: ReadonlyArray<string>, expected: ReadonlyArray<string | RegExp>) => {
  const matches = (line: string | undefined, wanted: string | RegExp) =>
    line !== undefined && (typeof wanted === "string" ? line === wanted : wanted.test(line))
  const holds = lines.length === expected.length && expected.every((wanted, i) => matches(lines[i], wanted))
  return holds
    ? Effect.void
    : new Mismatch({ expected: expected.map(String).join(" | "), actual: lines.join(" | ") })
}

/** The peer gets a head of exactly these lines. */
export const getsHead = (...expected: ReadonlyArray<string | RegExp>): Step =>
  Steps.step("the peer gets a head", (rig) => Effect.flatMap(takeHead(rig), (lines) => checkLines(lines, expected)))

/** The peer gets a head that has these lines and none of the others. */
export const getsLines = (expected: ReadonlyArray<string | RegExp>, absent: ReadonlyArray<RegExp> = []): Step =>
  Steps.step("the peer gets a head", (rig) =>
    Effect.flatMap(takeHead(rig), (lines) => {
      const has = (wanted: string | RegExp) =>
        lines.some((line) => typeof wanted === "string" ? line === wanted : wanted.test(line))
      return expected.every(has) && !absent.some(has)
        ? Effect.void
        : new Mismatch({ expected: expected.map(String).join(" | "), actual: lines.join(" | ") })
    }))

/** Answers the request that the peer got last, and sends `behind` in the same write. */
export const answers = (
  lines: ReadonlyArray<string>,
  options: { readonly size?: number; readonly behind?: Uint8Array } = {}
): Step =>
  Steps.step("the peer answers", (rig) => {
    const asked = rig.head.find((line) => line.startsWith("Sec-WebSocket-Key: "))?.slice(19) ?? ""
    return Effect.map(acceptOf(asked), (accept) => {
      const head = bytesOf(lines.map((line) => line.replace("$accept", accept)))
      const bytes = new Uint8Array([...head, ...options.behind ?? []])
      rig.peer.sendBytes(options.size === undefined ? [bytes] : chop(bytes, options.size))
    })
  })

/** What the server answers a good request with. */
export const agreed: ReadonlyArray<string> = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  `Sec-WebSocket-Accept: ${keysAccept}`
]

const extensionLine = (value: string | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : [`Sec-WebSocket-Extensions: ${value}`]

/** The whole handshake, in either role. */
export const shakes: Step = Steps.step("the handshake", (rig) => {
  const extensions = extensionLine(rig.case.extensions)
  const script = rig.role === "server"
    ? [asks([...goodRequest, ...extensions]), getsLines([agreed[0]!]), Steps.opens]
    : [getsLines(["GET /chat HTTP/1.1"]), answers([...goodResponse, ...extensions]), Steps.opens]
  return Effect.forEach(script, ({ run }) => run(rig), { discard: true })
})

/** A refusal: status line, header lines, a body that ends with the transport. */
export const getsRefusal = (status: number, ...lines: ReadonlyArray<string | RegExp>): Script => [
  getsLines([new RegExp(`^HTTP/1.1 ${status} `), /^Connection: close/, ...lines], [/^Sec-WebSocket-Accept/i]),
  Steps.step("the peer gets the rest and the end", ({ peer }) => Effect.asVoid(peer.body)),
  Steps.ends
]
