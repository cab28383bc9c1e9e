import * as FrameEncoder from "@effect-websocket/protocol/FrameEncoder"
import { assert, describe, it } from "@effect/vitest"
import * as ScriptedPeer from "effect-websocket/testing/ScriptedPeer"
import * as Transcript from "effect-websocket/testing/Transcript"

const up = { connection: 1, from: "client:49152", to: "server:80", kind: "data" } as const
const down = { connection: 1, from: "server:80", to: "client:49152", kind: "data" } as const
const bytes = (text: string) => new TextEncoder().encode(text)

const hello = ScriptedPeer.encode("client", ScriptedPeer.text("hello"))
const compressed = FrameEncoder.encode(
  { opcode: 1, fin: true, rsv: 0x40, payload: Uint8Array.of(0xf2, 0x48) },
  undefined
)

const transcript: Transcript.Transcript = {
  events: [
    { at: 0, from: "client", to: "server:80", kind: "dial" },
    { at: 20, ...up, kind: "open" },
    { at: 20, ...up, bytes: bytes("GET / HTTP/1.1\r\nHost:") },
    { at: 21, ...up, bytes: bytes(" server\r\n\r\n") },
    { at: 40, ...down, bytes: bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n") },
    { at: 40, ...down, bytes: ScriptedPeer.encode("server", ScriptedPeer.text("a".repeat(60), false)) },
    { at: 50, ...up, bytes: hello.subarray(0, 7) },
    { at: 51, ...up, bytes: hello.subarray(7) },
    { at: 60, ...down, bytes: compressed },
    { at: 61.5, ...down, bytes: ScriptedPeer.encode("server", ScriptedPeer.binary(Uint8Array.of(1, 255))) },
    { at: 70, from: "", to: "", kind: "fault", fault: { _tag: "Reset", at: 70, from: "client", to: "server" } },
    { at: 71, ...up, bytes: ScriptedPeer.encode("client", ScriptedPeer.close(1000, "bye")) },
    { at: 72, ...down, bytes: Uint8Array.of(0x83, 0) },
    { at: 80, ...down, kind: "reset" }
  ]
}

describe("Transcript", () => {
  it("is read as heads, frames and events, each when its last byte was sent", () => {
    assert.deepStrictEqual(Transcript.format(transcript).split("\n"), [
      "       0.000  client > server:80  dial",
      "      20.000  #1 client:49152 > server:80  open",
      "      21.000  #1 client:49152 > server:80  GET / HTTP/1.1",
      "      40.000  #1 server:80 > client:49152  HTTP/1.1 101 Switching Protocols",
      `      40.000  #1 server:80 > client:49152  text (more follows) "${"a".repeat(47)}… (60 bytes)`,
      "      51.000  #1 client:49152 > server:80  text \"hello\"",
      "      60.000  #1 server:80 > client:49152  text compressed f248",
      "      61.500  #1 server:80 > client:49152  binary 01ff",
      "      70.000  ! { _tag: \"Reset\", at: 70, from: \"client\", to: \"server\" }",
      "      71.000  #1 client:49152 > server:80  close 1000 bye",
      "      72.000  #1 server:80 > client:49152  not a frame: ReservedOpcode",
      "      80.000  #1 server:80 > client:49152  reset"
    ])
  })

  it("can be cut to its end", () => {
    assert.strictEqual(Transcript.format(transcript, { last: 1 }), "      80.000  #1 server:80 > client:49152  reset")
  })

  it("knows where writes, frames and bytes begin", () => {
    const from = (host: string, of: "operation" | "frame" | "byte") =>
      Transcript.places(transcript, of).filter((place) => place.from === host).map(({ byte }) => byte)
    const head = 32
    assert.deepStrictEqual(from("client", "operation"), [0, 21, head, head + 7, head + hello.length])
    assert.deepStrictEqual(from("client", "frame"), [head, head + 11, head + 22])
    assert.strictEqual(from("client", "byte").length, head + 22)
  })
})
