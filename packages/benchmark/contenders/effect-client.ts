/**
 * Effect's client: a `Socket` over Node's own WebSocket. It sends without end, only receives, or echoes.
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { Socket } from "effect/socket/Socket"
import { makePayload } from "../wire.ts"
import { ready, setting } from "./child.ts"

const { batch = 1, task, url = "" } = setting

const message = makePayload({ type: "binary", size: 125 }, 0)
const messages = Array.from({ length: batch }, () => message) as unknown as NonEmptyReadonlyArray<Uint8Array>

const program = Effect.gen(function*() {
  const socket = yield* Socket
  const { pull } = yield* socket.reader
  const { write, writeAll } = yield* socket.writer
  ready()
  if (task === "receive") return yield* Effect.forever(pull)
  if (task === "echo") return yield* Effect.forever(Effect.flatMap(pull, writeAll))
  return yield* Effect.forever(batch === 1 ? write(message) : writeAll(messages))
})

Effect.runFork(Effect.scoped(Effect.provide(program, NodeSocket.layerWebSocket(url))))
