/**
 * Cases of a whole server: what it does when it stops, and when there are too
 * many connections. RFC 6455 leaves this to implementations, but for the codes
 * of section 7.4.1.
 *
 * @since 1.0.0
 */
import { WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Case, Script } from "../runner/Case.ts"
import { asks, getsLines, getsRefusal, goodRequest } from "../runner/Heads.ts"
import {
  as,
  dials,
  ends,
  expects,
  expectsEnd,
  expectsGone,
  expectsNothing,
  hears,
  leaves,
  left,
  passes,
  sends,
  settles
} from "../runner/Steps.ts"
import { close, text } from "../runner/Wire.ts"

const echo = () => Effect.flatMap(WebSocketStream, (stream) => Stream.run(stream.messages, stream.sink()))
const forever = () => Effect.never

/** A client of its own that has shaken hands. */
const joins = (
  name: string
): Script => [dials(name), asks(goodRequest), getsLines(["HTTP/1.1 101 Switching Protocols"])]

const rounds = (message: string): Script => [sends(text(message)), expects(text(message))]

const goesAway: Script = [expects(close(1001)), sends(close(1001)), expectsEnd, ends]

export const draining: ReadonlyArray<Case> = [
  {
    id: "drain/says-going-away",
    rule: "A server that stops sends 1001 to every peer, waits for theirs, and is gone.",
    handler: echo,
    script: [
      joins("a"),
      rounds("one"),
      joins("b"),
      rounds("two"),
      leaves(),
      as("a", goesAway),
      as("b", goesAway),
      left
    ]
  },
  {
    id: "drain/nobody-there",
    rule: "A server with no connection stops at once.",
    handler: echo,
    script: [leaves(), left]
  },
  {
    id: "drain/nobody-there-any-more",
    rule: "A server whose connections have ended stops at once.",
    handler: echo,
    script: [
      joins("a"),
      rounds("one"),
      sends(close(1000)),
      expects(close(1000)),
      expectsEnd,
      ends,
      leaves(),
      left
    ]
  },
  {
    id: "drain/messages-under-way",
    rule: "What a peer sent before its own close is still delivered while the server stops.",
    transports: ["memory"],
    handler: ({ heard }) =>
      Effect.flatMap(
        WebSocketStream,
        (stream) => Stream.runForEach(stream.messages, (message) => Effect.sync(() => heard.push(message)))
      ),
    script: [
      joins("a"),
      leaves(),
      expects(close(1001)),
      sends(text("under way"), close(1001)),
      expectsEnd,
      ends,
      left,
      hears("under way")
    ]
  },
  {
    id: "drain/latecomers",
    rule: "A client that comes while the server stops is refused with 503.",
    transports: ["memory"],
    handler: forever,
    script: [
      joins("a"),
      leaves(),
      settles,
      dials("late"),
      asks(goodRequest),
      getsRefusal(503, /^Retry-After: \d+$/),
      as("a", goesAway),
      passes("10 seconds"),
      left
    ]
  },
  {
    id: "drain/unfinished-request",
    rule: "A client whose request is not complete when the server stops is refused with 503.",
    transports: ["memory"],
    handler: echo,
    script: [
      dials("slow"),
      sends(new TextEncoder().encode("GET / HTTP/1.1\r\n")),
      settles,
      leaves(),
      getsRefusal(503),
      left
    ]
  },
  {
    id: "drain/handler-that-does-not-end",
    rule: "A handler that does not end in time is interrupted.",
    transports: ["memory"],
    config: { drainTimeout: "10 seconds" },
    handler: forever,
    script: [joins("a"), leaves(), goesAway, passes("9999 millis"), settles, passes("1 millis"), left]
  },
  {
    id: "drain/peer-that-does-not-answer",
    rule: "A peer that does not answer the close does not keep the server.",
    transports: ["memory"],
    config: { closeTimeout: "3 seconds", drainTimeout: "10 seconds" },
    handler: echo,
    script: [joins("a"), leaves(), expects(close(1001)), passes("3 seconds"), expectsGone, left]
  },
  {
    id: "drain/handler-that-ends",
    rule: "A handler that ends closes its connection with 1000, and the others stay.",
    handler: () =>
      Effect.flatMap(WebSocketStream, (stream) => Effect.flatMap(stream.read, (message) => stream.write(message))),
    script: [
      joins("a"),
      joins("b"),
      as("a", [rounds("done"), expects(close(1000)), sends(close(1000)), expectsEnd, ends]),
      as("b", rounds("still here")),
      expects(close(1000)),
      sends(close(1000)),
      expectsEnd,
      ends
    ]
  },
  {
    id: "drain/handler-that-is-interrupted",
    rule: "A handler that is interrupted closes its connection with 1001, and the server goes on.",
    handler: () => Effect.flatMap(WebSocketStream, (stream) => Effect.andThen(stream.read, Effect.interrupt)),
    script: [
      joins("a"),
      sends(text("x")),
      expects(close(1001)),
      sends(close(1001)),
      expectsEnd,
      ends,
      joins("b")
    ]
  },
  {
    id: "10.4/connections",
    rule: "One connection more than the limit is refused with 503, and let in when there is room again.",
    config: { maxConnections: 2 },
    handler: echo,
    script: [
      joins("a"),
      joins("b"),
      dials("c"),
      asks(goodRequest),
      getsRefusal(503),
      as("a", [sends(close(1000)), expects(close(1000)), expectsEnd, ends]),
      settles,
      as("b", rounds("still here")),
      joins("d"),
      rounds("room")
    ]
  },
  {
    id: "10.4/handshakes",
    rule: "One handshake more than the limit is refused with 503, and does not disturb those under way.",
    transports: ["memory"],
    config: { maxHandshakes: 2 },
    handler: echo,
    script: [
      dials("a"),
      dials("b"),
      settles,
      dials("c"),
      asks(goodRequest),
      getsRefusal(503),
      as("a", [asks(goodRequest), getsLines(["HTTP/1.1 101 Switching Protocols"]), rounds("in")]),
      as("b", [expectsNothing])
    ]
  }
]
