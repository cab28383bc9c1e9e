/**
 * The calls of the stock under simulation. Every call is answered, fails with a typed error, or is interrupted by a
 * server that stops; nothing is sold twice, who watches sees every sale in order, and once the network is well every
 * call is answered.
 */
import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
import * as WebSocketClient from "effect-websocket/WebSocketClient"
import * as WebSocketRpcClient from "effect-websocket/WebSocketRpcClient"
import * as WebSocketRpcServer from "effect-websocket/WebSocketRpcServer"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RpcClient from "effect/rpc/RpcClient"
import { RpcClientError } from "effect/rpc/RpcClientError"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Stream from "effect/Stream"
import * as Stock from "../../shared/stock.ts"
import * as Conditions from "./conditions.ts"

const buyers = ["ann", "bob"]
const inStock = 100

/** How many each wants, one after another. */
const each = 12

const server = RpcServer.layer(Stock.Stock).pipe(
  Layer.provide(WebSocketRpcServer.layerProtocolWebSocket),
  Layer.provide(WebSocketServer.layer({ config: Conditions.config })),
  Layer.provide(SimulatedNetwork.layerListen("server", 80))
)

const connect = Effect.fnUntraced(function*(host: string) {
  const dial = WebSocketClient.dial({
    url: "ws://server/",
    headers: { "X-Caller": host },
    config: Conditions.config
  })
  const protocol = yield* Layer.build(
    WebSocketRpcClient.layerProtocolWebSocket(dial).pipe(Layer.provide(SimulatedNetwork.layerDialer(host)))
  )
  return yield* Effect.provide(RpcClient.make(Stock.Stock), protocol)
})

type Client = Effect.Success<ReturnType<typeof connect>>

/** What is left after a purchase, by its answer. */
const leftOf = (host: string, answer: string): number => {
  const found = new RegExp(`^1 for ${host}, (\\d+) left$`).exec(answer)
  return found === null ? Number.NaN : Number(found[1])
}

/** What a call gave, unless the connection was lost or the server stopped. */
const answered = <A, E>(call: Effect.Effect<A, E | RpcClientError>): Effect.Effect<Option.Option<A>, E> =>
  call.pipe(
    Effect.asSome,
    Effect.catchIf((error) => error instanceof RpcClientError, () => Effect.succeedNone),
    // The way in which Effect's RPC tells of a server that stops. An interruption of this fiber is not caught.
    Effect.catchCauseIf(Cause.hasInterruptsOnly, () => Effect.succeedNone)
  ) as Effect.Effect<Option.Option<A>, E>

/** Buys one at a time, and gives what was left after each purchase that was answered. */
const buy = Effect.fnUntraced(function*(host: string, client: Client) {
  const lefts: Array<number> = []
  for (let count = 0; count < each; count++) {
    yield* Effect.sleep("500 millis")
    const answer = yield* answered(client.Buy({ count: 1 }))
    if (answer._tag === "Some") lefts.push(leftOf(host, answer.value))
  }
  return lefts
})

/** Watches again and again, and fails where a stream leaves something out or ends before all is sold. */
const watch = Effect.fnUntraced(function*(client: Client) {
  while (true) {
    let last: number | undefined
    const watched = Stream.runForEach(client.Watch(), (left) => {
      const before = last
      last = left
      return before === undefined || left === before - 1
        ? Effect.void
        : new Conditions.Broken({ message: `After ${before} a watcher saw ${left}` })
    })
    const ended = yield* answered(watched)
    if (ended._tag === "Some") return yield* new Conditions.Broken({ message: `A watcher's stream ended at ${last}` })
    yield* Effect.sleep("500 millis")
  }
})

const broken = (lefts: ReadonlyArray<number>, left: number | undefined): string | undefined => {
  if (new Set(lefts).size < lefts.length) return `One was sold twice: ${lefts}`
  const asked = (each + 1) * buyers.length
  const isRight = left !== undefined && left >= inStock - asked && left <= inStock - lefts.length
  return isRight ? undefined : `${left} are left of ${inStock} after ${lefts.length} sales`
}

/** Buys while things happen, and again when all is well. */
const use = Effect.fnUntraced(function*(clients: ReadonlyArray<Client>, restarts: Fiber.Fiber<void, unknown>) {
  const lefts = yield* Effect.forEach(clients, (client, index) => buy(buyers[index]!, client), {
    concurrency: "unbounded"
  })
  yield* Fiber.join(restarts)
  yield* Effect.sleep(Conditions.calm)
  const last = yield* Effect.forEach(
    clients,
    (client, index) => Effect.map(client.Buy({ count: 1 }), (answer) => leftOf(buyers[index]!, answer))
  )
  const left = yield* Stream.runHead(clients[1]!.Watch())
  const message = broken([...lefts.flat(), ...last], Option.getOrUndefined(left))
  if (message !== undefined) return yield* new Conditions.Broken({ message })
})

const scenario = Effect.gen(function*() {
  const restarts = yield* Conditions.restarting(server)
  const clients = yield* Effect.forEach(buyers, connect)
  yield* Effect.raceFirst(use(clients, restarts), watch(clients[0]!))
}).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Stock.layer(inStock), RpcSerialization.layerJson)))

/** Checks seeds, and gives how many. */
export const check = (seeds: Conditions.Seeds) =>
  Conditions.check({ clients: buyers, kinds: Conditions.accidents }, scenario, seeds)
