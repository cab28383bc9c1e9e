import type * as CloseCode from "@effect-websocket/protocol/CloseCode"
import type * as Closing from "@effect-websocket/protocol/Closing"
import type * as Connection from "@effect-websocket/protocol/Connection"
import type * as Frame from "@effect-websocket/protocol/Frame"
import type * as FrameDecoder from "@effect-websocket/protocol/FrameDecoder"
import type * as Message from "@effect-websocket/protocol/Message"
import type * as Opcode from "@effect-websocket/protocol/Opcode"
import type * as ProtocolError from "@effect-websocket/protocol/ProtocolError"
import type * as Result from "effect/Result"
import { describe, expect, it } from "tstyche"

type Sent = Result.Result<Uint8Array, Connection.SendError>

describe("Connection", () => {
  it("fails to send with SendError only", () => {
    expect<ReturnType<Connection.Connection["sendPart"]>>().type.toBe<Sent>()
    expect<ReturnType<Connection.Connection["sendPing"]>>().type.toBe<Sent>()
    expect<ReturnType<Connection.Connection["sendPong"]>>().type.toBe<Sent>()
    expect<ReturnType<Connection.Connection["sendClose"]>>().type.toBe<Sent>()
    expect<Connection.SendError["rule"]>().type.toBe<
      "AfterClose" | "TypeChanged" | "CompressionChanged" | "ControlTooLong" | "InvalidClose"
    >()
  })

  it("receives without failing: a violation is an event", () => {
    expect<ReturnType<Connection.Connection["receive"]>>().type.toBe<Connection.Received>()
    expect<Extract<Connection.Event, { readonly _tag: "Violation" }>["error"]>().type.toBe<
      ProtocolError.ProtocolError
    >()
    expect<Connection.Event["_tag"]>().type.toBe<"Part" | "Ping" | "Pong" | "Close" | "Violation">()
    expect<Connection.Reply["_tag"]>().type.toBe<"Pong" | "Close">()
  })

  it("needs its role, its limits and a source of keys", () => {
    const options = { role: "client", maxMessageSize: 1, maxFragments: 1, maskingKey: () => 0 } as const
    expect(options).type.toBeAssignableTo<Connection.Options>()
    expect<Omit<typeof options, "role">>().type.not.toBeAssignableTo<Connection.Options>()
    expect<Omit<typeof options, "maxMessageSize">>().type.not.toBeAssignableTo<Connection.Options>()
    expect<Omit<typeof options, "maxFragments">>().type.not.toBeAssignableTo<Connection.Options>()
    expect<Omit<typeof options, "maskingKey">>().type.not.toBeAssignableTo<Connection.Options>()
  })

  it("is read, not written", () => {
    expect<Connection.Connection["state"]>().type.toBe<Closing.State>()
    expect<Connection.Received["events"]>().type.toBe<ReadonlyArray<Connection.Event>>()
    expect<Connection.Received["replies"]>().type.toBe<ReadonlyArray<Connection.Reply>>()
  })
})

describe("ProtocolError", () => {
  it("has a closed set of rules and of close codes", () => {
    expect<ProtocolError.Rule>().type.toBe<keyof typeof ProtocolError.rules>()
    expect<ProtocolError.ProtocolError["closeCode"]>().type.toBe<1002 | 1007 | 1008 | 1009>()
    expect<"NoSuchRule">().type.not.toBeAssignableTo<ProtocolError.Rule>()
  })
})

describe("CloseCode", () => {
  it("decodes a payload to a frame or a ProtocolError", () => {
    expect<ReturnType<typeof CloseCode.decodePayload>>().type.toBe<
      Result.Result<CloseCode.CloseFrame, ProtocolError.ProtocolError>
    >()
  })
})

describe("FrameDecoder and Message", () => {
  it("say that they need more bytes with undefined", () => {
    expect<ReturnType<FrameDecoder.FrameDecoder["next"]>>().type.toBe<FrameDecoder.Piece | undefined>()
    expect<ReturnType<Message.MessageAssembler["receive"]>>().type.toBe<Message.Part | undefined>()
  })

  it("keep a violation where it can be asked for", () => {
    expect<FrameDecoder.FrameDecoder["violation"]>().type.toBe<ProtocolError.ProtocolError | undefined>()
    expect<Message.MessageAssembler["violation"]>().type.toBe<ProtocolError.ProtocolError | undefined>()
  })
})

describe("Frame", () => {
  it("decodes a length to a number or the rule that is broken", () => {
    expect<ReturnType<typeof Frame.decodeLength>>().type.toBe<number | ProtocolError.Rule>()
    expect<ReturnType<typeof Frame.ruleOfStart>>().type.toBe<ProtocolError.Rule | undefined>()
  })

  it("has headers of the six opcodes only", () => {
    expect<Frame.Header["opcode"]>().type.toBe<0 | 1 | 2 | 8 | 9 | 10>()
    expect<Opcode.ControlOpcode>().type.toBe<8 | 9 | 10>()
  })
})
