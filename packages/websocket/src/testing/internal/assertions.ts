/**
 * Errors that tell of a broken law, and not of a broken line.
 *
 * @since 1.0.0
 */
import { LedgerBroken } from "../Ledger.ts"
import { PermitsLeft } from "../Permits.ts"
import { Unexpected } from "../ScriptedPeer.ts"

/**
 * Whether an error is that of one of the kit's assertions.
 *
 * @internal
 */
export const isAssertion = (error: unknown): boolean =>
  error instanceof LedgerBroken || error instanceof PermitsLeft || error instanceof Unexpected
