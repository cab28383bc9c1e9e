/**
 * A transport that has been opened, with its two ends in hand.
 *
 * @since 1.0.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as NetAddress from "effect/net/NetAddress"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Transport from "../Transport.ts"

/**
 * An open transport.
 *
 * @internal
 */
export interface Link {
  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Transport.TransportError>
  readonly writer: Transport.Writer
  readonly peerAddress: NetAddress.SocketAddress | undefined
  readonly bootstrap?: Transport.Asking | Transport.Asked | undefined
  /** Ends this side, after what was written. */
  readonly halfClose: Effect.Effect<void>
  /** Ends both sides and lets go of everything, in bounded time. What was written may still leave. */
  readonly release: Effect.Effect<void>
  /** Ends both sides at once, discards what was not sent, and lets go of everything. */
  readonly abort: Effect.Effect<void>
}

/**
 * Opens a transport in a scope of its own, which owns all there is to let go of.
 *
 * @internal
 */
export const open = (
  transport: Transport.Connection,
  scope: Scope.Closeable
): Effect.Effect<Link, Transport.TransportError> =>
  Effect.suspend(() => {
    const writerScope = Scope.forkUnsafe(scope)
    const opened = Effect.flatMap(
      Scope.provide(Transport.readerBytes(transport), scope),
      (pull) =>
        Effect.map(Scope.provide(transport.writer, writerScope), (writer): Link => ({
          pull,
          writer,
          peerAddress: transport.peerAddress?.(),
          bootstrap: transport.bootstrap?.(),
          halfClose: Scope.close(writerScope, Exit.void),
          release: Scope.close(scope, Exit.void),
          abort: Effect.andThen(Transport.destroy(writer), Scope.close(scope, Exit.void))
        }))
    )
    // The writer is that of the connection opened last: no other may open in between.
    return Effect.provideService(opened, Scheduler.PreventSchedulerYield, true)
  })
