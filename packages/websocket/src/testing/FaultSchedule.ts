/**
 * What happens to a `SimulatedNetwork` and when, as data: written by hand,
 * generated, shrunk, and printed as source for a regression test.
 *
 * Times are milliseconds of virtual time since the network was made. Hosts are
 * named as they are dialled. Bytes are counted from 0 in each direction of a
 * connection; connections of two hosts are counted from 1 as they are dialled.
 *
 * @since 1.0.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { literal } from "./internal/literal.ts"

const Millis = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Host = Schema.NonEmptyString
const Index = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))

const link = { at: Millis, from: Host, to: Host }

/**
 * Nothing arrives for a while, from one host at the other or both ways. What is
 * sent meanwhile arrives afterwards, as TCP sends it again.
 *
 * @category models
 * @since 1.0.0
 */
export const Partition = Schema.TaggedStruct("Partition", {
  ...link,
  for: Millis,
  /** `"one"`: only what goes from `from` to `to` is lost. */
  ways: Schema.Literals(["one", "both"])
})

/**
 * What goes from one host to another takes so many milliseconds more for a while.
 *
 * @category models
 * @since 1.0.0
 */
export const Slow = Schema.TaggedStruct("Slow", { ...link, for: Millis, by: Millis })

/**
 * The connections between two hosts are reset: each end is told as if the other
 * had sent an RST.
 *
 * @category models
 * @since 1.0.0
 */
export const Reset = Schema.TaggedStruct("Reset", link)

/**
 * The connections between two hosts are forgotten on the way: nothing arrives on
 * them any more and neither end is told. New ones can be dialled.
 *
 * @category models
 * @since 1.0.0
 */
export const Vanish = Schema.TaggedStruct("Vanish", link)

/**
 * A host goes down and comes back after a while. Its own ends fail at once; its
 * peers are sent an RST (`"reset"`), or nothing until they send something to the
 * host that has come back (`"vanish"`). What listened listens again afterwards.
 *
 * @category models
 * @since 1.0.0
 */
export const Crash = Schema.TaggedStruct("Crash", {
  at: Millis,
  host: Host,
  for: Millis,
  how: Schema.Literals(["reset", "vanish"])
})

/**
 * A host refuses connections for a while. Those that are open stay open.
 *
 * @category models
 * @since 1.0.0
 */
export const Refuse = Schema.TaggedStruct("Refuse", { at: Millis, host: Host, for: Millis })

/**
 * A byte is changed on its way, by exclusive or with `mask`.
 *
 * @category models
 * @since 1.0.0
 */
export const Corrupt = Schema.TaggedStruct("Corrupt", {
  ...link,
  connection: Count,
  byte: Index,
  mask: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 255 }))
})

/**
 * The bytes before a byte pass and no more: then the direction ends (`"end"`),
 * both ends are reset (`"reset"`), or there is silence (`"stall"`).
 *
 * @category models
 * @since 1.0.0
 */
export const Truncate = Schema.TaggedStruct("Truncate", {
  ...link,
  connection: Count,
  byte: Index,
  how: Schema.Literals(["end", "reset", "stall"])
})

/**
 * One thing that happens.
 *
 * @category models
 * @since 1.0.0
 */
export const Fault = Schema.Union([Partition, Slow, Reset, Vanish, Crash, Refuse, Corrupt, Truncate])

/**
 * One thing that happens.
 *
 * @category models
 * @since 1.0.0
 */
export type Fault = typeof Fault.Type

/**
 * Everything that happens, in any order.
 *
 * @category models
 * @since 1.0.0
 */
export const FaultSchedule = Schema.Array(Fault)

/**
 * Everything that happens, in any order.
 *
 * @category models
 * @since 1.0.0
 */
export type FaultSchedule = typeof FaultSchedule.Type

/**
 * A kind of fault, by its tag.
 *
 * @category models
 * @since 1.0.0
 */
export type Kind = Fault["_tag"]

/**
 * What to generate.
 *
 * @category models
 * @since 1.0.0
 */
export interface GenerateOptions {
  /** Pairs of hosts between which things happen, in both directions. */
  readonly links: ReadonlyArray<readonly [string, string]>
  /** Hosts that crash and refuse. Default: all that `links` names. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** Milliseconds within which faults begin. Default 10000. */
  readonly until?: number | undefined
  /** Most milliseconds that a fault lasts. Default 5000. */
  readonly longest?: number | undefined
  /** Highest byte at which one is changed or lost. Default 2000. */
  readonly bytes?: number | undefined
  /** Highest connection of two hosts of which a byte is changed or lost. Default 3. */
  readonly connections?: number | undefined
  /** Most faults of one schedule. Default 5. */
  readonly most?: number | undefined
  /** What may happen. Default: everything. */
  readonly kinds?: ReadonlyArray<Kind> | undefined
}

const upTo = (maximum: number, minimum = 0) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

const oneOf = <const A extends string>(values: ReadonlyArray<A>) => Arbitrary.schema(Schema.Literals(values))

/** One of several, chosen by an index that shrinks to the first. */
const choose = <A>(choices: ReadonlyArray<Arbitrary.Arbitrary<A>>): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(upTo(choices.length - 1), (index) => choices[index]!)

type Fields = { readonly [field: string]: Arbitrary.Arbitrary<unknown> }

const generators = (options: GenerateOptions): { readonly [K in Kind]: Arbitrary.Arbitrary<Fault> } => {
  const at = upTo(options.until ?? 10_000)
  const lasting = upTo(options.longest ?? 5000)
  const hosts = oneOf(options.hosts ?? Array.from(new Set(options.links.flat())))
  const links = options.links.flatMap(([a, b]) => [[a, b], [b, a]] as const)
  const between = Arbitrary.map(upTo(links.length - 1), (index) => ({ from: links[index]![0], to: links[index]![1] }))
  const byte = { connection: upTo(options.connections ?? 3, 1), byte: upTo(options.bytes ?? 2000) }
  const onLink = (_tag: Kind, more: Fields) =>
    Arbitrary.map(
      Arbitrary.all([at, between, Arbitrary.all(more)]),
      ([at, ends, fields]) => ({ _tag, at, ...ends, ...fields }) as Fault
    )
  const onHost = (_tag: Kind, more: Fields) =>
    Arbitrary.map(
      Arbitrary.all([at, hosts, lasting, Arbitrary.all(more)]),
      ([at, host, lasts, fields]) => ({ _tag, at, host, for: lasts, ...fields }) as Fault
    )
  return {
    Partition: onLink("Partition", { for: lasting, ways: oneOf(["one", "both"]) }),
    Slow: onLink("Slow", { for: lasting, by: upTo(1000) }),
    Reset: onLink("Reset", {}),
    Vanish: onLink("Vanish", {}),
    Crash: onHost("Crash", { how: oneOf(["reset", "vanish"]) }),
    Refuse: onHost("Refuse", {}),
    Corrupt: onLink("Corrupt", { ...byte, mask: upTo(255, 1) }),
    Truncate: onLink("Truncate", { ...byte, how: oneOf(["end", "reset", "stall"]) })
  }
}

/**
 * Generates schedules, which shrink to fewer faults, earlier, shorter and nearer
 * to the first byte.
 *
 * @category generating
 * @since 1.0.0
 */
export const arbitrary = (options: GenerateOptions): Arbitrary.Arbitrary<FaultSchedule> => {
  const all = generators(options)
  const kinds = options.kinds ?? (Object.keys(all) as ReadonlyArray<Kind>)
  return Arbitrary.array(choose(kinds.map((kind) => all[kind])), { maxLength: options.most ?? 5 })
}

/**
 * Prints a schedule as TypeScript source, a fault a line, to paste into a test.
 *
 * **Example** (Printing)
 *
 * ```ts import.meta.vitest
 * import * as FaultSchedule from "effect-websocket/testing/FaultSchedule"
 *
 * FaultSchedule.source([{ _tag: "Reset", at: 40, from: "phone", to: "server" }])
 * // => '[\n  { _tag: "Reset", at: 40, from: "phone", to: "server" }\n]'
 * ```
 *
 * @category converting
 * @since 1.0.0
 */
export const source = (schedule: FaultSchedule): string =>
  schedule.length === 0 ? "[]" : `[\n${schedule.map((fault) => `  ${literal(fault)}`).join(",\n")}\n]`
