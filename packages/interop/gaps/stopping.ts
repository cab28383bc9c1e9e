/**
 * Gaps 2 and 3: how servers stop while sockets are open.
 */
import * as NodeWebSocketClient from "@effect-websocket/platform-node/NodeWebSocketClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { listen, readAll, serve, upgraded, type Whose } from "./ends.ts"
import * as Measurement from "./measurement.ts"

const route = upgraded(readAll)

const openTo = (port: number) => NodeWebSocketClient.connect({ url: `ws://127.0.0.1:${port}/` })

const shutdown = Effect.fnUntraced(function*(whose: Whose) {
  const server = yield* Scope.make()
  const stream = yield* openTo(
    yield* Scope.provide(serve(HttpRouter.add("GET", "/", route), whose, "by default"), server)
  )
  const stopping = yield* Effect.forkChild(Scope.close(server, Exit.void))
  const millis = yield* Measurement.millisOf(stream.closed)
  yield* Fiber.join(stopping)
  return { millis, code: (yield* stream.closed).code }
})

const patience = 3000

// The same application, handed to the server as it is.
const withoutRouter = Effect.fnUntraced(function*(whose: Whose) {
  const server = yield* Scope.make()
  const stream = yield* openTo(yield* Scope.provide(listen(HttpServer.serve(route), whose), server))
  const stopping = yield* Effect.forkChild(Scope.close(server, Exit.void))
  const millis = yield* Effect.timeoutOption(Measurement.millisOf(Fiber.join(stopping)), patience)
  yield* stream.close()
  yield* Fiber.join(stopping)
  return Option.getOrUndefined(millis)
})

/** How Effect's server stops: after the 20 seconds that it waits by default. */
export const patient = Effect.scoped(shutdown("theirs"))

export const measurements = [
  Measurement.make({
    gap: 3,
    what: "until the server has stopped, a socket open",
    theirs: withoutRouter("theirs"),
    ours: withoutRouter("ours"),
    show: (millis) => millis === undefined ? `not after ${patience} ms` : `${millis} ms`,
    isGood: (millis) => millis !== undefined
  })
]

/** The same of this library's server, once the other one has stopped. */
export const afterwards = (theirs: typeof patient) =>
  Measurement.make({
    gap: 2,
    what: "until a peer knows that the server stops",
    theirs,
    ours: shutdown("ours"),
    show: ({ code, millis }) => `${millis} ms, code ${code}`,
    isGood: ({ code, millis }) => millis < 1000 && code === 1001
  })
