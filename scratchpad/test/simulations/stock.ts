/**
 * The calls of the stock under simulation. Each is answered, or its caller told that it may not have been; none is
 * taken twice; who watches sees every sale in order; what is interrupted here ends there; and within a bounded time
 * after the network is well, every call is answered.
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
import * as Random from "effect/Random"
import * as RpcClient from "effect/rpc/RpcClient"
import { RpcClientError } from "effect/rpc/RpcClientError"
import { RequestId } from "effect/rpc/RpcMessage"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Stream from "effect/Stream"
import * as Stock from "../../shared/stock.ts"
import * as Conditions from "./conditions.ts"

const buyers = ["ann", "bob"]
const inStock = 200

/** How many each wants, one after another. */
const each = 12

/**
 * Within what time a call is answered that is made again and again: a line that fell silent is given up after two
 * pings, 10 seconds, and dialled again within 5 seconds and those of the handshake.
 */
const patience = "30 seconds"

/** What was asked of the server, by the names of the calls. */
class Books {
  readonly taken = new Map<string, number>()
  readonly answered = new Set<string>()
  readonly sold: Array<string> = []
  /** Calls that the server is about. */
  busy = 0
  asked = 0
}

/** Lets in as the stock does, and keeps the books. */
const layerAudited = (books: Books) =>
  Layer.effect(
    Stock.Authentication,
    Effect.map(Stock.Authentication, (authenticate) => (effect, options) => {
      const call = options.headers["x-call"]
      books.busy++
      if (call !== undefined) books.taken.set(call, (books.taken.get(call) ?? 0) + 1)
      return Effect.ensuring(authenticate(effect, options), Effect.sync(() => books.busy--))
    })
  ).pipe(Layer.provideMerge(Stock.layer(inStock)))

const server = RpcServer.layer(Stock.Stock, { disableTracing: true }).pipe(
  Layer.provide(WebSocketRpcServer.layerProtocolWebSocket),
  Layer.provide(WebSocketServer.layer({ config: Conditions.config })),
  Layer.provide(SimulatedNetwork.layerListen("server", 80))
)

/** Requests are numbered and not traced, since neither Effect's numbers nor its traces come from the seed. */
const connect = Effect.fnUntraced(function*(host: string) {
  const dial = WebSocketClient.dial({
    url: "ws://server/",
    headers: { "X-Caller": host },
    config: Conditions.config
  })
  const protocol = yield* Layer.build(
    WebSocketRpcClient.layerProtocolWebSocket(dial).pipe(Layer.provide(SimulatedNetwork.layerDialer(host)))
  )
  let requests = 0
  const options = { disableTracing: true, generateRequestId: () => RequestId(requests++) }
  return { host, calls: yield* Effect.provide(RpcClient.make(Stock.Stock, options), protocol) }
})

type Client = Effect.Success<ReturnType<typeof connect>>

/** A call that was lost with its connection or its server, where it is not known whether it was taken. */
const isLost = (cause: Cause.Cause<unknown>): boolean =>
  // The second is the way in which Effect's RPC tells of a server that stops.
  Cause.hasInterruptsOnly(cause) || Cause.squash(cause) instanceof RpcClientError

/** What a call gave, unless it was lost. An interruption of this fiber is not caught. */
const answered = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<Option.Option<A>, E> =>
  Effect.catchCauseIf(Effect.asSome(call), isLost, () => Effect.succeedNone)

const buyOne = Effect.fnUntraced(function*(books: Books, { calls, host }: Client) {
  const call = `${host} ${books.asked++}`
  const answer = yield* calls.Buy({ count: 1 }, { headers: { "x-call": call } })
  if (!answer.startsWith(`1 for ${host}, `)) {
    return yield* new Conditions.Broken({ message: `Not for ${host}: ${answer}` })
  }
  books.answered.add(call)
  books.sold.push(answer.slice(answer.indexOf(",")))
})

/** Buys one at a time, and now and then thinks better of it. */
const buy = Effect.fnUntraced(function*(books: Books, client: Client) {
  for (let count = 0; count < each; count++) {
    yield* Effect.sleep("500 millis")
    const hasPatience = (yield* Random.nextIntBetween(0, 3)) > 0
    const millis = yield* Random.nextIntBetween(1, 500)
    const call = buyOne(books, client)
    yield* answered(hasPatience ? call : Effect.timeoutOption(call, millis))
  }
})

/** Watches again and again, and fails where a stream leaves something out or ends before all is sold. */
const watch = Effect.fnUntraced(function*({ calls }: Client) {
  while (true) {
    let last: number | undefined
    const watched = Stream.runForEach(calls.Watch(), (left) => {
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

/** Makes a call again until it is answered, which has to be soon. */
const insist = <A, E>(call: Effect.Effect<A, E>) =>
  answered(call).pipe(
    Effect.tap((answer) => Option.isNone(answer) ? Effect.sleep("500 millis") : Effect.void),
    Effect.repeat({ until: Option.isSome }),
    Effect.timeoutOrElse({
      duration: patience,
      orElse: () => new Conditions.Broken({ message: `No answer within ${patience}` })
    }),
    Effect.map(Option.getOrThrow)
  )

const broken = (books: Books, left: number): string | undefined => {
  const twice = Array.from(books.taken).find(([, times]) => times > 1)
  if (twice !== undefined) return `"${twice[0]}" was taken ${twice[1]} times`
  const invented = Array.from(books.answered).find((call) => !books.taken.has(call))
  if (invented !== undefined) return `"${invented}" was answered and not taken`
  if (new Set(books.sold).size < books.sold.length) return `One was sold twice: ${books.sold.join()}`
  const sold = inStock - left
  const isRight = books.answered.size <= sold && sold <= books.taken.size
  return isRight ? undefined : `${sold} were sold of ${books.taken.size} calls, ${books.answered.size} were answered`
}

/** Buys while things happen, and again when all is well. */
const use = Effect.fnUntraced(function*(
  books: Books,
  clients: ReadonlyArray<Client>,
  restarts: Fiber.Fiber<void, unknown>
) {
  yield* Effect.forEach(clients, (client) => buy(books, client), { concurrency: "unbounded" })
  yield* Fiber.join(restarts)
  yield* Effect.sleep(Conditions.calm)
  yield* Effect.forEach(clients, (client) => insist(buyOne(books, client)))
  const left = yield* insist(Stream.runHead(clients[1]!.calls.Watch()))
  const message = broken(books, Option.getOrThrow(left))
  if (message !== undefined) return yield* new Conditions.Broken({ message })
})

const scenarioOf = Effect.fnUntraced(function*(books: Books) {
  const restarts = yield* Conditions.restarting(server)
  const clients = yield* Effect.forEach(buyers, connect)
  yield* Effect.raceFirst(use(books, clients, restarts), watch(clients[0]!))
  // Both have left their streams, and both are still connected.
  yield* Effect.sleep(patience)
  if (books.busy > 0) return yield* new Conditions.Broken({ message: `The server is about ${books.busy} calls still` })
}, Effect.scoped)

const scenario = Effect.suspend(() => {
  const books = new Books()
  return Effect.provide(scenarioOf(books), Layer.mergeAll(layerAudited(books), RpcSerialization.layerJson))
})

export const { check, observe } = Conditions.simulated({ clients: buyers, kinds: Conditions.accidents }, scenario)
