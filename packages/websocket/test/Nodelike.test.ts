import { describe, it } from "@effect/vitest"
import * as MemoryTransport from "effect-websocket/testing/MemoryTransport"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as Effect from "effect/Effect"
import * as Nodelike from "./fixtures/nodelike.ts"

// The simulations show nothing of Node's ways where what stands for them is no transport.
const contract = (name: string, ways: Nodelike.Ways, options: MemoryTransport.Options) =>
  describe(`the contract, ${name}`, () => {
    const pair = Effect.flatMap(MemoryTransport.makePair(options), (ends) => Nodelike.pair(ends, ways))
    for (const law of TransportContract.laws) {
      it.live(law.name, () => law.check(TransportContract.fromPair(pair)))
    }
  })

describe("transports in memory with Node's ways", () => {
  contract("where writes are gathered", { gathers: 100, wakes: false }, {})
  contract("where who waits is told", { gathers: 0, wakes: true }, {})
  contract("both", { gathers: 100, wakes: true }, { capacity: 1000 })
})
