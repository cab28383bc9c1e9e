/**
 * Books of what was written and what was read, for the law that every message is
 * delivered once and in order, or its loss is reported to who wrote it.
 *
 * A channel is one order of messages, as those of one fiber on one connection.
 * Messages of a channel must differ.
 *
 * @since 1.0.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/**
 * A message was lost without a word, invented, repeated or out of order.
 *
 * @category errors
 * @since 1.0.0
 */
export class LedgerBroken extends Data.TaggedError("LedgerBroken")<{
  readonly channel: string
  readonly rule: "Lost" | "Invented" | "Repeated" | "OutOfOrder"
  readonly entry: string
}> {
  override get message(): string {
    return `${this.channel}: ${JSON.stringify(this.entry)} is ${this.rule}`
  }
}

interface Entry {
  readonly message: string
  /** Whether the write succeeded; `undefined` while it is under way. */
  accepted: boolean | undefined
  read: boolean
}

/**
 * One order of messages.
 *
 * @category models
 * @since 1.0.0
 */
export interface Channel {
  /** Writes a message by the effect, and notes how that went. An interrupted write may be read or not. */
  readonly write: <A, E, R>(message: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Notes that a message was read. Fails where it was not written, was read before, or overtook another. */
  readonly read: (message: string) => Effect.Effect<void, LedgerBroken>
  /** Notes that the writer was told that what it wrote may be lost. */
  readonly report: Effect.Effect<void>
  /** UTF-16 units of messages accepted and not yet read. */
  readonly underway: () => number
}

/**
 * The books of a scenario.
 *
 * @category models
 * @since 1.0.0
 */
export interface Ledger {
  /** The channel of a name, made when it is asked for first. */
  readonly channel: (name: string) => Channel
  /** Fails where a message was accepted, not read, and not reported. */
  readonly check: Effect.Effect<void, LedgerBroken>
}

class Book implements Channel {
  readonly name: string
  readonly entries: Array<Entry> = []
  reported = false
  #read = 0

  constructor(name: string) {
    this.name = name
  }

  readonly write = <A, E, R>(message: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      const entry: Entry = { message, accepted: undefined, read: false }
      this.entries.push(entry)
      return Effect.onExit(effect, (exit) =>
        Effect.sync(() => {
          entry.accepted = Exit.isSuccess(exit)
        }))
    })

  readonly read = (message: string): Effect.Effect<void, LedgerBroken> =>
    Effect.suspend(() => {
      const index = this.entries.findIndex((entry) => entry.message === message)
      const entry = this.entries[index]
      if (entry === undefined) return this.#broken("Invented", message)
      if (entry.read) return this.#broken("Repeated", message)
      if (index < this.#read) return this.#broken("OutOfOrder", message)
      const skipped = this.entries.slice(this.#read, index).find(({ accepted }) => accepted === true)
      if (skipped !== undefined) return this.#broken("OutOfOrder", message)
      entry.read = true
      this.#read = index + 1
      return Effect.void
    })

  readonly report = Effect.sync(() => {
    this.reported = true
  })

  readonly underway = (): number =>
    this.entries.reduce((sum, entry) => sum + (entry.accepted === true && !entry.read ? entry.message.length : 0), 0)

  get lost(): Effect.Effect<void, LedgerBroken> {
    const lost = this.reported ? undefined : this.entries.find(({ accepted, read }) => accepted === true && !read)
    return lost === undefined ? Effect.void : this.#broken("Lost", lost.message)
  }

  #broken(rule: LedgerBroken["rule"], entry: string): Effect.Effect<never, LedgerBroken> {
    return Effect.fail(new LedgerBroken({ channel: this.name, rule, entry: entry.slice(0, 80) }))
  }
}

/**
 * Opens the books.
 *
 * **Example** (A message that is lost)
 *
 * ```ts import.meta.vitest
 * import * as Ledger from "effect-websocket/testing/Ledger"
 * import * as Effect from "effect/Effect"
 *
 * const ledger = Ledger.makeUnsafe()
 * const channel = ledger.channel("phone > server")
 * const program = Effect.gen(function*() {
 *   yield* channel.write("one", Effect.void)
 *   yield* channel.write("two", Effect.void)
 *   yield* channel.read("one")
 *   return yield* Effect.flip(ledger.check)
 * })
 * Effect.runSync(program).message // => 'phone > server: "two" is Lost'
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeUnsafe = (): Ledger => {
  const books = new Map<string, Book>()
  return {
    channel: (name) => {
      const book = books.get(name) ?? new Book(name)
      books.set(name, book)
      return book
    },
    check: Effect.suspend(() => Effect.forEach(books.values(), ({ lost }) => lost, { discard: true }))
  }
}
