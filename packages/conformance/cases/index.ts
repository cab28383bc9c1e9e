/**
 * All cases, by section.
 *
 * @since 1.0.0
 */
import type { Case } from "../runner/Case.ts"
import { clientHandshake } from "./clientHandshake.ts"
import { closing } from "./closing.ts"
import { control } from "./control.ts"
import { deflate } from "./deflate.ts"
import { draining } from "./draining.ts"
import { fragmentation } from "./fragmentation.ts"
import { framing } from "./framing.ts"
import { limits } from "./limits.ts"
import { negotiation } from "./negotiation.ts"
import { serverHandshake } from "./serverHandshake.ts"
import { utf8 } from "./utf8.ts"

export const cases: ReadonlyArray<Case> = [
  ...clientHandshake,
  ...serverHandshake,
  ...framing,
  ...fragmentation,
  ...control,
  ...closing,
  ...utf8,
  ...limits,
  ...draining,
  ...negotiation,
  ...deflate
]
