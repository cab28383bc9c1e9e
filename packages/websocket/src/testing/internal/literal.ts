/**
 * Plain data as TypeScript source.
 *
 * @since 1.0.0
 */
import * as Duration from "effect/Duration"

/**
 * Prints an object, an array or what they are made of; durations as milliseconds.
 *
 * @internal
 */
export const literal = (value: unknown): string => {
  if (typeof value === "bigint") return `${value}n`
  if (Duration.isDuration(value)) return `${Duration.toMillis(value)}`
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`
  if (typeof value !== "object" || value === null) return typeof value === "number" ? `${value}` : JSON.stringify(value)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  return `{ ${fields.map(([key, field]) => `${key}: ${literal(field)}`).join(", ")} }`
}
