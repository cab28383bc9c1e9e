import * as Closing from "@effect-websocket/protocol/Closing"
import { assert, describe, it } from "@effect/vitest"

/** RFC 6455 sections 5.5.1 and 7.1, cell by cell; a dash is what may not happen. */
const table = `
                SendData       SendClose  ReceiveData  ReceiveClose   TransportEnd
Open            Open           CloseSent  Open         CloseReceived  Closed
CloseSent       -              -          CloseSent    Closed         Closed
CloseReceived   CloseReceived  Closed     -            -              Closed
Closed          -              -          -            -              Closed
`

const [header, ...rows] = table.trim().split("\n").map((line) => line.trim().split(/\s+/))
const events = header as Array<Closing.Event>
const states = rows.map(([state]) => state as Closing.State)

const cells = rows.flatMap(([state, ...nexts]) =>
  nexts.map((next, i) => [state as Closing.State, events[i]!, next === "-" ? undefined : next] as const)
)

const reachable = (from: Closing.State): ReadonlySet<Closing.State> => {
  const seen = new Set([from])
  for (const state of seen) for (const next of Object.values(Closing.transitions[state])) seen.add(next)
  return seen
}

describe("Closing", () => {
  it.each(cells)("in %s, %s leads to %s", (state, event, next) => {
    assert.strictEqual(Closing.next(state, event), next)
  })

  it("has the states and events of the table and no others", () => {
    assert.sameMembers(Object.keys(Closing.transitions), states)
    for (const state of states) {
      for (const event of Object.keys(Closing.transitions[state])) assert.include(events, event)
    }
  })

  it("leads from Open to every state, and from every state only forward", () => {
    assert.sameMembers([...reachable("Open")], states)
    for (const state of states) assert.strictEqual(reachable(state).has("Open"), state === "Open")
  })

  describe("RFC 6455 section 5.5.1", () => {
    it("lets nobody send twice what ends the connection", () => {
      for (const state of states) {
        const after = Closing.next(state, "SendClose")
        if (after !== undefined) assert.isUndefined(Closing.next(after, "SendClose"))
      }
    })

    it("sends no data after a Close frame, from whatever state", () => {
      for (const state of states) {
        const after = Closing.next(state, "SendClose")
        if (after !== undefined) assert.isUndefined(Closing.next(after, "SendData"))
      }
    })
  })
})
