/**
 * All requirements of RFC 6455 and RFC 7692.
 *
 * @since 1.0.0
 */
import { closing } from "./closing.ts"
import { compression } from "./compression.ts"
import { framing } from "./framing.ts"
import { opening } from "./opening.ts"
import type { Requirement } from "./Requirement.ts"

export const requirements: ReadonlyArray<Requirement> = [...opening, ...framing, ...closing, ...compression]
