import * as HandshakeRule from "@effect-websocket/protocol/HandshakeError"
import * as ProtocolError from "@effect-websocket/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketError from "effect-websocket/WebSocketError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const {
  CloseStatus,
  ConnectionClosed,
  ExtensionRefused,
  HandshakeError,
  HandshakeTimeout,
  HeadTooLarge,
  IdleTimeout,
  InvalidPayload,
  InvalidRequest,
  InvalidResponse,
  CompressionRatioTooHigh,
  CorruptDeflate,
  InvalidUtf8,
  KeepAliveTimeout,
  MessageAborted,
  MessageInProgress,
  MessageTimeout,
  MessageTooBig,
  ProtocolViolation,
  QueueFull,
  ReadError,
  RedirectRefused,
  Refused,
  SubprotocolRefused,
  TooManyFragments,
  TransportFailed,
  UpgradeDeclined,
  WriteError
} = WebSocketError

const statuses = [
  new CloseStatus({
    code: 1001,
    reason: "bye",
    initiator: "peer",
    sent: { code: 1001, reason: "" },
    received: { code: 1001, reason: "bye" },
    clean: true
  }),
  new CloseStatus({
    code: 1005,
    reason: "",
    initiator: "local",
    sent: { code: undefined, reason: "" },
    received: { code: undefined, reason: "" },
    clean: true
  }),
  new CloseStatus({
    code: 1006,
    reason: "",
    initiator: "transport",
    sent: undefined,
    received: undefined,
    clean: false
  })
]

const closed = statuses.map((status) => new ConnectionClosed({ status }))
const failed = new TransportFailed({ cause: new Error("ECONNRESET") })

const read: ReadonlyArray<WebSocketError.ReadError["reason"]> = [
  ...closed,
  failed,
  ...Object.entries(ProtocolError.rules).map(([rule, { closeCode, section }]) =>
    new ProtocolViolation({ rule: rule as ProtocolError.Rule, section, closeCode })
  ),
  new CorruptDeflate({}),
  new CompressionRatioTooHigh({ limit: 100 }),
  new InvalidUtf8({}),
  new MessageTooBig({ limit: 16.5 }),
  new TooManyFragments({ limit: 3 }),
  new IdleTimeout({ timeout: 300_000 }),
  new KeepAliveTimeout({ misses: 2 }),
  new MessageTimeout({ timeout: 0.5 })
]

const write: ReadonlyArray<WebSocketError.WriteError["reason"]> = [
  ...closed,
  failed,
  new MessageInProgress({}),
  new MessageAborted({}),
  new InvalidPayload({ problem: "the string has a lone surrogate" }),
  new QueueFull({ limit: 100 })
]

const handshake: ReadonlyArray<WebSocketError.HandshakeError["reason"]> = [
  failed,
  new UpgradeDeclined({
    status: 401,
    headers: [["X", "1"], ["x", "é"], ["__proto__", "y"]],
    body: Uint8Array.of(0, 255),
    retryAfter: 1500
  }),
  new UpgradeDeclined({ status: 599, headers: [], body: new Uint8Array(0), retryAfter: undefined }),
  ...Object.entries(HandshakeRule.rules).flatMap(([rule, { section, status }]) => [
    new InvalidRequest({ rule: rule as HandshakeRule.Rule, section, status }),
    new InvalidResponse({ rule: rule as HandshakeRule.Rule, section })
  ]),
  ...Object.keys(WebSocketError.redirectRules).map((rule) =>
    new RedirectRefused({ rule: rule as WebSocketError.RedirectRule, status: 302, location: "ftp://é" })
  ),
  new WebSocketError.ProxyRefused({ status: 407, headers: [["Proxy-Authenticate", "Basic"]] }),
  new SubprotocolRefused({ offered: ["a", "b"], chosen: undefined }),
  new SubprotocolRefused({ offered: [], chosen: "c" }),
  new ExtensionRefused({ extension: "permessage-deflate" }),
  new Refused({ status: 403 }),
  ...(["maxHeadSize", "maxHeaderLines", "maxHeaderLineSize"] as const).map((limit) => new HeadTooLarge({ limit })),
  new HandshakeTimeout({ timeout: 30_000 })
]

const cases = [
  ["ReadError", ReadError, read.map((reason) => new ReadError({ reason }))],
  ["WriteError", WriteError, write.map((reason) => new WriteError({ reason }))],
  ["HandshakeError", HandshakeError, handshake.map((reason) => new HandshakeError({ reason }))]
] as const

const tagsOf = (error: { readonly fields: { readonly reason: { readonly members: ReadonlyArray<unknown> } } }) =>
  error.fields.reason.members.map((member) => (member as { readonly identifier: string }).identifier.split("/").at(-1))

describe.each(cases)("%s", (_, schema, errors) => {
  const codec = Schema.toCodecJson(schema as Schema.Codec<unknown, unknown>)

  it("has a case for every reason", () => {
    const tested = new Set<string>(errors.map(({ reason }) => reason._tag))
    assert.deepStrictEqual(tagsOf(schema).filter((tag) => !tested.has(tag!)), [])
  })

  it.effect.each(errors.map((error, index) => [`${index} ${error.reason._tag}`, error] as const))(
    "%s crosses a wire as JSON and comes back the same",
    ([_, error]) =>
      Effect.gen(function*() {
        const json = JSON.stringify(yield* Schema.encodeEffect(codec)(error))
        const back = yield* Schema.decodeEffect(codec)(JSON.parse(json))
        assert.isTrue(back instanceof schema)
        const { message, reason } = back as WebSocketError.ReadError
        assert.strictEqual(reason._tag, error.reason._tag)
        assert.strictEqual(message, error.message)
        assert.deepStrictEqual(fieldsOf(reason), fieldsOf(error.reason))
      })
  )

  it("each reason has a message of its own", () => {
    const messages = errors.map(({ message }) => message)
    assert.isTrue(messages.every((message) => message.length > 10))
    assert.isAtLeast(new Set(messages).size, new Set(errors.map(({ reason }) => reason._tag)).size)
  })
})

it.effect("every reason can be caught by its tag", () =>
  Effect.gen(function*() {
    for (const reason of read) {
      const caught = yield* Effect.fail(new ReadError({ reason })).pipe(
        Effect.catchReason("ReadError", reason._tag, (reason) => Effect.succeed<unknown>(reason)),
        Effect.catch((other) => Effect.succeed<unknown>(other))
      )
      assert.strictEqual(caught, reason)
    }
  }))

/** What a reason holds, with an Error's message in its place. */
const fieldsOf = (reason: object) =>
  Object.entries(reason).filter(([name]) => name !== "stack").map(([name, value]) => [
    name,
    value instanceof Error ? value.message : value
  ])

it("a CloseStatus reads well in a log", () => {
  assert.deepStrictEqual(statuses.map(String), [
    "1001 bye (peer, clean)",
    "1005 (local, clean)",
    "1006 (transport, not clean)"
  ])
})
