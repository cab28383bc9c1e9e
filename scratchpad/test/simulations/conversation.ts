/**
 * Two members of the chat who talk, and what must hold of what they hear.
 */
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type * as Chat from "../../shared/chat.ts"

export const members = ["ann", "bob"]

/** How many messages each says. */
const each = 10

/** Says its messages, and gives what it hears. */
export const talk = Effect.fnUntraced(function*<E>(client: Chat.Client<E>) {
  const hearing = yield* Effect.forkChild(Stream.runCollect(Stream.take(client.events, each * members.length)))
  yield* Effect.forEach(
    Array.range(1, each),
    (number) => Effect.andThen(Effect.sleep("600 millis"), client.say(`${number}`))
  )
  return yield* Fiber.join(hearing)
})

/** What is wrong: all hear the same, in the room's order, and of each member everything once and in order. */
export const broken = (heard: ReadonlyArray<ReadonlyArray<Chat.Event>>): string | undefined => {
  const texts = heard.map((events) => JSON.stringify(events))
  if (new Set(texts).size > 1) return `They heard different things: ${texts.join(" and ")}`
  const said = heard[0]!.filter((event) => event._tag === "Said")
  if (said.some(({ id }, index) => id !== index + 1)) return `Not in the room's order: ${texts[0]}`
  const wrong = members.find((member) =>
    said.filter(({ name }) => name === member).map(({ text }) => text).join() !== Array.range(1, each).join()
  )
  return wrong === undefined ? undefined : `Not what ${wrong} said: ${texts[0]}`
}
