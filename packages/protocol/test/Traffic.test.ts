import * as Connection from "@effect-websocket/protocol/Connection"
import { Opcode } from "@effect-websocket/protocol/Opcode"
import * as Traffic from "@effect-websocket/protocol/Traffic"
import { assert, describe, it } from "@effect/vitest"

const make = (role: "client" | "server", traffic: Traffic.Traffic) =>
  new Connection.Connection({ role, maskingKey: () => 0, maxMessageSize: 100, maxFragments: 10, traffic })

const framesOf = (flow: Traffic.Flow) => Object.values(Opcode).map((opcode) => flow.frames(opcode))

const none = { textMessages: 0, textBytes: 0, binaryMessages: 0, binaryBytes: 0, plainBytes: 0, compressedBytes: 0 }

describe("what is received", () => {
  const receive = (...chunks: ReadonlyArray<ReadonlyArray<number>>) => {
    const traffic = new Traffic.Traffic()
    const client = make("client", traffic)
    for (const chunk of chunks) client.receive(Uint8Array.from(chunk))
    return traffic.received
  }

  it("counts a message that is one frame with its frame", () => {
    const flow = receive([0x81, 0x02, 0x68, 0x69])
    assert.deepInclude(flow, { ...none, textMessages: 1, textBytes: 2 })
    assert.deepStrictEqual(framesOf(flow), [0, 1, 0, 0, 0, 0])
  })

  it("counts a frame with its header, and its message where it ends", () => {
    const begun = receive([0x82, 0x03], [0x01, 0x02])
    assert.deepInclude(begun, { ...none, binaryBytes: 2 })
    assert.deepStrictEqual(framesOf(begun), [0, 0, 1, 0, 0, 0])
    const ended = receive([0x82, 0x03], [0x01, 0x02], [0x03])
    assert.deepInclude(ended, { ...none, binaryMessages: 1, binaryBytes: 3 })
    assert.deepStrictEqual(framesOf(ended), [0, 0, 1, 0, 0, 0])
  })

  it("counts each fragment, and the message once", () => {
    const flow = receive([0x01, 0x01, 0x68, 0x00, 0x00, 0x89, 0x00, 0x80, 0x01, 0x69])
    assert.deepInclude(flow, { ...none, textMessages: 1, textBytes: 2 })
    assert.deepStrictEqual(framesOf(flow), [2, 1, 0, 0, 1, 0])
  })

  it("counts a frame that breaks a rule behind its header, and no message", () => {
    for (const frame of [[0x81, 0x01, 0xff], [0x82, 0x7e, 0x00, 0xff], [0x80, 0x00]]) {
      const flow = receive(frame)
      assert.deepInclude(flow, none)
      assert.strictEqual(framesOf(flow).reduce((sum, frames) => sum + frames), 1)
    }
  })

  it("counts no frame whose header breaks a rule", () => {
    assert.deepStrictEqual(framesOf(receive([0x83, 0x00])), [0, 0, 0, 0, 0, 0])
  })
})

describe("what is sent", () => {
  it("counts messages of one frame and of several", () => {
    const traffic = new Traffic.Traffic()
    const server = make("server", traffic)
    server.sendPart("text", Uint8Array.of(0x68), true)
    server.sendPart("binary", Uint8Array.of(1, 2), false)
    server.sendPart("binary", Uint8Array.of(3), true)
    server.sendPing(Uint8Array.of())
    server.sendClose({ code: 1000, reason: "" })
    server.sendPart("text", Uint8Array.of(0x68), true)
    const expected = { ...none, textMessages: 1, textBytes: 1, binaryMessages: 1, binaryBytes: 3 }
    assert.deepInclude(traffic.sent, expected)
    assert.deepStrictEqual(framesOf(traffic.sent), [1, 1, 1, 1, 1, 0])
  })

  it("takes back what is recalled", () => {
    const traffic = new Traffic.Traffic()
    const server = make("server", traffic)
    server.sendPart("text", Uint8Array.of(0x68), true)
    server.recall("text", 1)
    assert.deepInclude(traffic.sent, none)
    assert.deepStrictEqual(framesOf(traffic.sent), [0, 0, 0, 0, 0, 0])
  })
})
