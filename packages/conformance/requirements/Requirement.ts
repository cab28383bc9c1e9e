/**
 * What a requirement is: one demand of an RFC in our own words, and what holds
 * the library to it.
 *
 * @since 1.0.0
 */

export type Level = "MUST" | "MUST NOT" | "SHOULD" | "SHOULD NOT" | "MAY"

/** Whom it binds; `"other"` is anyone but an endpoint: a proxy, a registry, the author of an extension. */
export type Binds = "client" | "server" | "both" | "other"

/**
 * A case of the grid by its id, where a star at the end stands for all that
 * begin so, or a test by its file, below `packages`, and its name there.
 */
export type Test = string | readonly [file: string, name: string]

interface Demand {
  /** The RFC, the section, and a name. */
  readonly id: string
  readonly rfc: 6455 | 7692
  readonly section: string
  /** REQUIRED and SHALL are given as MUST. */
  readonly level: Level
  readonly role: Binds
  readonly text: string
}

export type Requirement = Demand & ({ readonly tests: ReadonlyArray<Test> } | { readonly reason: string })

type Row = readonly [name: string, level: Level, role: Binds, text: string, held: ReadonlyArray<Test> | string]

/** The requirements of one section; `held` is what tests them, or why nothing can. */
export const section = (
  rfc: Demand["rfc"],
  number: string,
  rows: ReadonlyArray<Row>
): ReadonlyArray<Requirement> =>
  rows.map(([name, level, role, text, held]) => ({
    id: `${rfc}-${number}-${name}`,
    rfc,
    section: number,
    level,
    role,
    text,
    ...typeof held === "string" ? { reason: held } : { tests: held }
  }))
