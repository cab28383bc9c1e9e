import { describe, it } from "@effect/vitest"
import * as Deflate from "effect-websocket/Deflate"
import * as PortableDeflate from "effect-websocket/PortableDeflate"
import * as CodecContract from "effect-websocket/testing/CodecContract"
import * as Effect from "effect/Effect"

describe("PortableDeflate", () => {
  it.layer(PortableDeflate.layer)("the contract", (it) => {
    for (const law of CodecContract.laws) {
      it.effect(
        law.name,
        () => Effect.flatMap(Deflate.Deflate, (codec) => law.check({ deflate: codec, inflate: codec }))
      )
    }
  })
})
