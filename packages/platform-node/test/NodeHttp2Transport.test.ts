import { describe, it } from "@effect/vitest"
import * as TransportContract from "effect-websocket/testing/TransportContract"
import * as certificates from "./fixtures/certificates.ts"
import * as http2 from "./fixtures/http2.ts"

const identity = await certificates.selfSigned("DNS:localhost")

// Bytes flow once heads have been exchanged, so a write before the connection has nothing to wait for.
const dialingLaws = TransportContract.dialingLaws.filter(({ name }) => !name.startsWith("a write before"))

const contract = (name: string, make: Parameters<typeof TransportContract.fromServer>[0]) =>
  describe(`the contract over ${name}`, () => {
    for (const law of [...TransportContract.laws, ...dialingLaws]) {
      it.live(law.name, () => law.check(TransportContract.fromServer(make)))
    }
  })

contract("streams of HTTP/2", http2.streams())
contract("streams of HTTP/2 over TLS", http2.streams({ server: identity, client: { ca: identity.cert } }))
