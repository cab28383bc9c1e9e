/**
 * A stock of goods as Effect RPC: one call, one stream, and who calls, which middleware reads from the handshake.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"

/** Who calls. */
export class Caller extends Context.Service<Caller, { readonly name: string }>()("scratchpad/stock/Caller") {}

export class Stranger extends Schema.TaggedError<Stranger>("scratchpad/stock/Stranger")("Stranger", {}) {}

export class SoldOut extends Schema.TaggedError<SoldOut>("scratchpad/stock/SoldOut")("SoldOut", { left: Schema.Int }) {}

/** Lets in whom the header `x-caller` of the handshake names. */
export class Authentication
  extends RpcMiddleware.Service<Authentication, { provides: Caller }>()("scratchpad/stock/Authentication", {
    error: Stranger
  })
{}

export const Stock = RpcGroup.make(
  /** Takes some, and says what to tell the buyer. */
  Rpc.make("Buy", { payload: { count: Schema.Int }, success: Schema.String, error: SoldOut }),
  /** What is left, now and whenever it changes, until nothing is. */
  Rpc.make("Watch", { success: Schema.Int, stream: true })
).middleware(Authentication)

const layerAuthentication = Layer.succeed(Authentication, (effect, { headers }) => {
  const name = headers["x-caller"]
  return name === undefined ? Effect.fail(new Stranger()) : Effect.provideService(effect, Caller, { name })
})

const buy = (stock: SubscriptionRef.SubscriptionRef<number>, count: number) =>
  SubscriptionRef.modifyEffect(
    stock,
    (left) => count > left ? Effect.fail(new SoldOut({ left })) : Effect.succeed([left - count, left - count])
  )

/** What the calls do, with so many in stock. */
export const layer = (inStock: number) =>
  Stock.toLayer(Effect.gen(function*() {
    const stock = yield* SubscriptionRef.make(inStock)
    return {
      Buy: Effect.fnUntraced(function*({ count }) {
        const { name } = yield* Caller
        const left = yield* buy(stock, count)
        return `${count} for ${name}, ${left} left`
      }),
      Watch: () => Stream.takeUntil(SubscriptionRef.changes(stock), (left) => left === 0)
    }
  })).pipe(Layer.merge(layerAuthentication))
