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
  /** Gives what arrives to `listener`, where the transport can, as `Transport.Endpoint` says. */
  readonly listen: (listener: Transport.Listener) => void
  /**
   * Has `wake` called once a pull would not wait, as `Transport.Endpoint` says. Returns `false`, and does nothing, where
   * the transport cannot.
   */
  readonly whenReady: (wake: () => void) => boolean
  /** Told what the connection holds, where the transport measures it. */
  readonly onHeld?: ((held: Transport.Held) => void) | undefined
  readonly peerAddress: NetAddress.SocketAddress | undefined
  readonly bootstrap?: Transport.Asking | Transport.Asked | undefined
  /** Ends this side, after what was written. */
  readonly halfClose: Effect.Effect<void>
  /** Ends both sides and lets go of everything, in bounded time. What was written may still leave. */
  readonly release: Effect.Effect<void>
  /** Ends both sides at once, discards what was not sent, and lets go of everything. */
  readonly abort: Effect.Effect<void>
}

// What is open already needs no scopes: its endpoint can do all that a link must.
class OpenLink implements Link {
  readonly writer: Transport.Endpoint

  constructor(endpoint: Transport.Endpoint) {
    this.writer = endpoint
  }

  get pull(): Link["pull"] {
    return this.writer.pull
  }

  listen(listener: Transport.Listener): void {
    this.writer.listenUnsafe?.(listener)
  }

  whenReady(wake: () => void): boolean {
    this.writer.whenReadyUnsafe?.(wake)
    return this.writer.whenReadyUnsafe !== undefined
  }

  get onHeld(): Link["onHeld"] {
    return this.writer.onHeldUnsafe
  }

  get peerAddress(): NetAddress.SocketAddress | undefined {
    return this.writer.peerAddress
  }

  get bootstrap(): Link["bootstrap"] {
    return this.writer.bootstrap
  }

  get halfClose(): Effect.Effect<void> {
    return this.writer.end
  }

  get release(): Effect.Effect<void> {
    return this.writer.close
  }

  get abort(): Effect.Effect<void> {
    return Effect.andThen(Transport.destroy(this.writer), this.writer.close)
  }
}

const whenReadyOf = (endpoint: Transport.Endpoint | undefined): Link["whenReady"] => (wake) => {
  endpoint?.whenReadyUnsafe?.(wake)
  return endpoint?.whenReadyUnsafe !== undefined
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
          listen: Transport.listenUnsafe(transport),
          whenReady: whenReadyOf(Transport.currentUnsafe(transport)),
          onHeld: Transport.currentUnsafe(transport)?.onHeldUnsafe,
          peerAddress: transport.peerAddress?.(),
          bootstrap: transport.bootstrap?.(),
          halfClose: Scope.close(writerScope, Exit.void),
          release: Scope.close(scope, Exit.void),
          abort: Effect.andThen(Transport.destroy(writer), Scope.close(scope, Exit.void))
        }))
    )
    // The writer is that of the connection opened last, and so is what is listened to: no other may open in between.
    return Effect.provideService(opened, Scheduler.PreventSchedulerYield, true)
  })

/**
 * Gives the link of an accepted transport to `use`, whose success owns it from
 * then on. Where it fails, all there is to let go of is let go of.
 *
 * @internal
 */
export const using = <A, E, R>(
  transport: Transport.Connection,
  use: (link: Link) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | Transport.TransportError, R> =>
  Effect.suspend(() => {
    const endpoint = Transport.endpointOf(transport)
    if (endpoint !== undefined) return Effect.onError(use(new OpenLink(endpoint)), () => endpoint.close)
    const scope = Scope.makeUnsafe()
    return Effect.onError(
      Effect.flatMap(open(transport, scope), use),
      (cause) => Scope.close(scope, Exit.failCause(cause))
    )
  })
