/**
 * The closing handshake, RFC 6455 section 7.1, as a table.
 *
 * The machine knows no clock and no transport. It says which state follows an
 * event; how long to wait in `CloseSent` is for the layer above to decide.
 *
 * @since 1.0.0
 */

/**
 * Where a connection stands after its opening handshake.
 *
 * @category models
 * @since 1.0.0
 */
export type State = "Open" | "CloseSent" | "CloseReceived" | "Closed"

/**
 * What moves a connection from one state to the next.
 *
 * @category models
 * @since 1.0.0
 */
export type Event = "SendData" | "SendClose" | "ReceiveData" | "ReceiveClose" | "TransportEnd"

/**
 * The whole closing handshake.
 *
 * **Details**
 *
 * An event without an entry may not happen: this side must not send data after
 * its Close frame (section 5.5.1), and what a peer sends after its own is not
 * looked at.
 *
 * @category constants
 * @since 1.0.0
 */
export const transitions: { readonly [S in State]: { readonly [E in Event]?: State } } = {
  Open: {
    SendData: "Open",
    SendClose: "CloseSent",
    ReceiveData: "Open",
    ReceiveClose: "CloseReceived",
    TransportEnd: "Closed"
  },
  CloseSent: { ReceiveData: "CloseSent", ReceiveClose: "Closed", TransportEnd: "Closed" },
  CloseReceived: { SendData: "CloseReceived", SendClose: "Closed", TransportEnd: "Closed" },
  Closed: { TransportEnd: "Closed" }
}

/**
 * The state that follows `event`, or `undefined` where it may not happen.
 *
 * **Example** (Echoing a close)
 *
 * ```ts import.meta.vitest
 * import * as Closing from "@effect-websocket/protocol/Closing"
 *
 * Closing.next("Open", "ReceiveClose") // => "CloseReceived"
 * Closing.next("CloseReceived", "SendClose") // => "Closed"
 * Closing.next("CloseSent", "SendData") // => undefined
 * ```
 *
 * @category transforming
 * @since 1.0.0
 */
export const next = (state: State, event: Event): State | undefined => transitions[state][event]
