/**
 * permessage-deflate on one connection, RFC 7692: whether it is used, and the
 * contexts it holds.
 *
 * @since 1.0.0
 */
import type { Codec } from "@effect-websocket/protocol/Codec"
import type { MessageDeflate } from "@effect-websocket/protocol/Connection"
import { MessageDeflater, MessageInflater } from "@effect-websocket/protocol/DeflateTransform"
import type { Role } from "@effect-websocket/protocol/Frame"
import type { Agreement } from "@effect-websocket/protocol/PerMessageDeflate"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Deflate from "../Deflate.ts"
import type { WebSocketConfig } from "../WebSocketConfig.ts"
import type { Alarm } from "./deadlines.ts"

/**
 * What a side can compress with, before the peer was asked.
 *
 * @internal
 */
export interface Offer {
  readonly codec: Codec
  readonly options: Deflate.Options
}

/**
 * What both sides agreed on.
 *
 * @internal
 */
export interface Compression extends Offer {
  readonly agreement: Agreement
}

/**
 * What this side can compress with, if it is asked to and a codec is provided.
 *
 * @internal
 */
export const offer = (options: Deflate.Options | undefined): Effect.Effect<Offer | undefined> =>
  resolved(options === undefined ? undefined : withTakeover(options))

const withTakeover = (options: Deflate.Options): Deflate.Options => {
  const { clientNoContextTakeover, contextTakeover = true, serverNoContextTakeover } = options
  return {
    ...options,
    clientNoContextTakeover: clientNoContextTakeover ?? !contextTakeover,
    serverNoContextTakeover: serverNoContextTakeover ?? !contextTakeover
  }
}

const resolved = (options: Deflate.Options | undefined): Effect.Effect<Offer | undefined> =>
  options === undefined
    ? Effect.succeed(undefined)
    : Effect.flatMap(
      Effect.serviceOption(Deflate.Deflate),
      Option.match({
        onNone: () => Effect.as(Effect.logWarning("permessage-deflate is not used: no Deflate is provided"), undefined),
        onSome: (codec) => Effect.succeed({ codec, options })
      })
    )

/**
 * Most bytes that are compressed in one turn of the event loop, which takes one or two milliseconds.
 *
 * @internal
 */
export const deflateSize = 64 * 1024

const defaultReleaseAfter = Duration.seconds(5)

/**
 * Deflates and inflates, and frees contexts that are not used for a while.
 *
 * @internal
 */
export class Contexts {
  readonly messages: MessageDeflate
  readonly #alarm: Alarm
  readonly #releaseAfter: number
  #used = false
  #stopped = false

  constructor(role: Role, config: WebSocketConfig, { agreement, codec, options }: Compression, alarm: Alarm) {
    const { level, memLevel, releaseAfter } = options
    const { maxCompressionRatio, maxMessageSize } = config
    this.messages = {
      deflater: new MessageDeflater({ codec, role, agreement, level, memLevel }),
      inflater: new MessageInflater({ codec, role, agreement, maxMessageSize, maxCompressionRatio })
    }
    this.#alarm = alarm
    this.#releaseAfter = Duration.toMillis(releaseAfter ?? defaultReleaseAfter)
  }

  /** Something may have been compressed or decompressed. */
  use(): void {
    this.#used = true
    if (!this.#stopped && this.#alarm.left === undefined) this.#watch()
  }

  stop(): void {
    this.#stopped = true
    this.#alarm.clear()
  }

  #watch(): void {
    this.#used = false
    this.#alarm.set(this.#releaseAfter, () => {
      if (this.#used) return this.#watch()
      this.messages.deflater.release()
      this.messages.inflater.release()
    })
  }
}
