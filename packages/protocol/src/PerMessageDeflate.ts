/**
 * How permessage-deflate is agreed on, RFC 7692 sections 5 and 7.1: offers,
 * answers, and what they come to for either direction.
 *
 * Data in, data out: nothing is compressed here, see `DeflateTransform`. Names
 * are compared exactly, values are canonical decimal digits, and what is wrong
 * in an offer declines that offer, never the connection.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import type { Extension, Param } from "./Extension.ts"
import type * as Frame from "./Frame.ts"
import { HandshakeError, type Rule } from "./HandshakeError.ts"

/**
 * What the extension is called in Sec-WebSocket-Extensions.
 *
 * @category constants
 * @since 1.0.0
 */
export const extensionName = "permessage-deflate"

/**
 * RSV1 in place, the bit that a connection owns where the extension is agreed
 * on: set on the first frame of a compressed message and on no other, section 6.
 *
 * @category constants
 * @since 1.0.0
 */
export const reservedBit = 0x40

/**
 * Base-2 logarithm of an LZ77 window in bytes: 256 bytes to 32 KiB.
 *
 * @category models
 * @since 1.0.0
 */
export type WindowBits = 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15

/**
 * What a side wants of the extension. The names are those of the RFC: "server"
 * and "client" say who compresses, whichever side configures it.
 *
 * **Details**
 *
 * A server grants what an offer asks for beyond this. What it wants itself it
 * can always have, but for `clientMaxWindowBits`: see there.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options {
  /**
   * Whether the server's messages are compressed each by itself, so that neither
   * side needs to keep a context between them. Default false: a context makes
   * messages that resemble each other several times smaller, for memory.
   */
  readonly serverNoContextTakeover?: boolean | undefined
  /** The same for the client's messages. Default false. */
  readonly clientNoContextTakeover?: boolean | undefined
  /**
   * Largest window of the server's compressor, 8 to 15. Default 15: smaller ones
   * save memory on both sides, from some 256 KiB and 32 KiB, for size on the
   * wire. A client that asks for less than 15 is declined by servers that cannot
   * limit it, and for 8 by many that can: 9 is the least to count on.
   */
  readonly serverMaxWindowBits?: WindowBits | undefined
  /**
   * Largest window of the client's compressor, 8 to 15. Default 15. A server that
   * wants less declines the offers of clients that cannot be told (section
   * 7.1.2.2); for 8, see `serverMaxWindowBits`.
   */
  readonly clientMaxWindowBits?: WindowBits | undefined
  /**
   * Whether a client that asks something of the server also offers, second, to go
   * without. Default false: a limit is one, and a server that cannot keep it does
   * not compress.
   */
  readonly fallback?: boolean | undefined
}

/**
 * What both sides agreed on; each side's own view, since a client may keep to
 * less than it was told.
 *
 * @category models
 * @since 1.0.0
 */
export interface Agreement {
  readonly serverNoContextTakeover: boolean
  readonly clientNoContextTakeover: boolean
  readonly serverMaxWindowBits: WindowBits
  readonly clientMaxWindowBits: WindowBits
}

/**
 * An agreement as it is for one direction.
 *
 * @category models
 * @since 1.0.0
 */
export interface Direction {
  readonly windowBits: WindowBits
  readonly noContextTakeover: boolean
}

/**
 * What applies to the messages that `sender` compresses and its peer inflates.
 *
 * @category getters
 * @since 1.0.0
 */
export const directionFrom = (sender: Frame.Role, agreement: Agreement): Direction =>
  sender === "server"
    ? { windowBits: agreement.serverMaxWindowBits, noContextTakeover: agreement.serverNoContextTakeover }
    : { windowBits: agreement.clientMaxWindowBits, noContextTakeover: agreement.clientNoContextTakeover }

/**
 * The window bits to give zlib, for raw deflate and inflate, where `windowBits`
 * were agreed on.
 *
 * **Details**
 *
 * zlib refuses to deflate raw with 8 (Node quietly takes 9). With 9 it does what
 * 8 stands for: it never refers back further than its window less 262 bytes, so
 * 250, which a peer with a window of 256 follows. To inflate, a larger window is
 * always right. So 8 is agreed to and made with 9. A codec that is not zlib
 * may have no such margin, and has to bound its distances itself.
 *
 * @category conversions
 * @since 1.0.0
 */
export const zlibWindowBits = (windowBits: number): number => Math.max(windowBits, 9)

/** The parameters of an offer or of an answer. */
interface Parameters {
  readonly serverNoContextTakeover: boolean
  readonly clientNoContextTakeover: boolean
  readonly serverMaxWindowBits: WindowBits | undefined
  /** 15 where a client offers it without a value, which comes to the same. */
  readonly clientMaxWindowBits: WindowBits | undefined
}

/** Whether a parameter has a value. */
type Value = "never" | "optional" | "always"
type Grammar = ReadonlyMap<string, Value>

// sections 7.1.1 and 7.1.2; maps, so that no name is that of a prototype's property
const offerGrammar: Grammar = new Map([
  ["server_no_context_takeover", "never"],
  ["client_no_context_takeover", "never"],
  ["server_max_window_bits", "always"],
  ["client_max_window_bits", "optional"]
])
const responseGrammar: Grammar = new Map([...offerGrammar, ["client_max_window_bits", "always"]])

const isValid = (value: string | undefined, grammar: Value | undefined): boolean => {
  if (value === undefined) return grammar === "never" || grammar === "optional"
  // section 7.1.2: a decimal integer without leading zeros
  return (grammar === "always" || grammar === "optional") && /^(?:[89]|1[0-5])$/.test(value)
}

/** What parameters say, or `undefined` where one is unknown, repeated or has not the value it has to. */
const parse = (params: ReadonlyArray<Param>, grammar: Grammar): Parameters | undefined => {
  const values = new Map(params)
  if (values.size < params.length || !params.every(([name, value]) => isValid(value, grammar.get(name)))) {
    return undefined
  }
  const bits = (name: string) => values.has(name) ? Number(values.get(name) ?? 15) as WindowBits : undefined
  return {
    serverNoContextTakeover: values.has("server_no_context_takeover"),
    clientNoContextTakeover: values.has("client_no_context_takeover"),
    serverMaxWindowBits: bits("server_max_window_bits"),
    clientMaxWindowBits: bits("client_max_window_bits")
  }
}

const offersOf = (extensions: ReadonlyArray<Extension>): ReadonlyArray<Parameters> =>
  extensions.flatMap(({ name, params }) => (name === extensionName && parse(params, offerGrammar)) || [])

/** Writes parameters, those of bits where they are given; one that is empty has no value. */
const format = (
  { clientNoContextTakeover, serverNoContextTakeover }: Agreement,
  serverBits: string | undefined,
  clientBits: string | undefined
): Extension => {
  const params: Array<Param> = []
  if (serverNoContextTakeover) params.push(["server_no_context_takeover", undefined])
  if (clientNoContextTakeover) params.push(["client_no_context_takeover", undefined])
  if (serverBits !== undefined) params.push(["server_max_window_bits", serverBits])
  if (clientBits !== undefined) params.push(["client_max_window_bits", clientBits === "" ? undefined : clientBits])
  return { name: extensionName, params }
}

const withDefaults = (options: Options): Agreement => ({
  serverNoContextTakeover: options.serverNoContextTakeover ?? false,
  clientNoContextTakeover: options.clientNoContextTakeover ?? false,
  serverMaxWindowBits: options.serverMaxWindowBits ?? 15,
  clientMaxWindowBits: options.clientMaxWindowBits ?? 15
})

/** The bits as they are written where a limit that does not limit is left out. */
const unless15 = (bits: WindowBits): string | undefined => bits < 15 ? String(bits) : undefined

/**
 * Makes what a client offers, best first. Its own compressor it always lets be
 * limited.
 *
 * **Example** (Offering to inflate with 4 KiB)
 *
 * ```ts import.meta.vitest
 * import * as Extension from "@effect-websocket/protocol/Extension"
 * import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
 *
 * const offers = PerMessageDeflate.makeOffers({ serverMaxWindowBits: 12 })
 * Extension.format(offers) // => "permessage-deflate; server_max_window_bits=12; client_max_window_bits"
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeOffers = (options: Options): ReadonlyArray<Extension> => {
  const wanted = withDefaults(options)
  const clientBits = unless15(wanted.clientMaxWindowBits) ?? ""
  const offer = format(wanted, unless15(wanted.serverMaxWindowBits), clientBits)
  const asksOfServer = wanted.serverNoContextTakeover || wanted.serverMaxWindowBits < 15
  return options.fallback === true && asksOfServer
    ? [offer, format({ ...wanted, serverNoContextTakeover: false }, undefined, clientBits)]
    : [offer]
}

/**
 * What a server answers, and what that comes to.
 *
 * @category models
 * @since 1.0.0
 */
export interface Acceptance {
  readonly response: Extension
  readonly agreement: Agreement
}

const smaller = (left: WindowBits, right: WindowBits): WindowBits => left < right ? left : right

const accept = (offer: Parameters, wanted: Agreement): Acceptance | undefined => {
  // section 7.1.2.2: a client that does not offer it is not told
  if (offer.clientMaxWindowBits === undefined && wanted.clientMaxWindowBits < 15) return undefined
  const agreement: Agreement = {
    serverNoContextTakeover: offer.serverNoContextTakeover || wanted.serverNoContextTakeover,
    clientNoContextTakeover: offer.clientNoContextTakeover || wanted.clientNoContextTakeover,
    serverMaxWindowBits: smaller(offer.serverMaxWindowBits ?? 15, wanted.serverMaxWindowBits),
    clientMaxWindowBits: smaller(offer.clientMaxWindowBits ?? 15, wanted.clientMaxWindowBits)
  }
  const { clientMaxWindowBits, serverMaxWindowBits } = agreement
  // section 7.1.2.1: accepting the parameter means answering it, even with 15
  const serverBits = offer.serverMaxWindowBits === undefined ? unless15(serverMaxWindowBits) : `${serverMaxWindowBits}`
  return { response: format(agreement, serverBits, unless15(clientMaxWindowBits)), agreement }
}

/**
 * Accepts the first of a client's offers that a server can, or none. Other
 * extensions are passed over, and so are offers with a parameter that is
 * unknown, repeated or has not the value it has to.
 *
 * **Example** (Accepting the second offer)
 *
 * ```ts import.meta.vitest
 * import * as Extension from "@effect-websocket/protocol/Extension"
 * import * as PerMessageDeflate from "@effect-websocket/protocol/PerMessageDeflate"
 * import * as Result from "effect/Result"
 *
 * const text = "permessage-deflate; server_max_window_bits=99, permessage-deflate; client_max_window_bits"
 * const offers = Result.getOrThrow(Extension.parse([text]))
 * const accepted = PerMessageDeflate.acceptOffer(offers, { clientMaxWindowBits: 10 })!
 *
 * Extension.format([accepted.response]) // => "permessage-deflate; client_max_window_bits=10"
 * accepted.agreement.clientMaxWindowBits // => 10
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const acceptOffer = (offers: ReadonlyArray<Extension>, options: Options): Acceptance | undefined => {
  const wanted = withDefaults(options)
  for (const offer of offersOf(offers)) {
    const acceptance = accept(offer, wanted)
    if (acceptance !== undefined) return acceptance
  }
}

/** Whether an answer is one that the offer lets a server give. */
const fits = (answer: Parameters, offer: Parameters): boolean =>
  (answer.serverNoContextTakeover || !offer.serverNoContextTakeover) &&
  (answer.serverMaxWindowBits ?? 16) <= (offer.serverMaxWindowBits ?? 16) &&
  (answer.clientMaxWindowBits === undefined || offer.clientMaxWindowBits !== undefined)

/**
 * What an answer comes to for the client. It keeps to what it hinted at in an
 * offer (sections 7.1.1.2 and 7.1.2.2), in any that the answer may be to.
 */
const agree = (answer: Parameters, offers: ReadonlyArray<Parameters>): Agreement => ({
  serverNoContextTakeover: answer.serverNoContextTakeover,
  clientNoContextTakeover: [answer, ...offers].some(({ clientNoContextTakeover }) => clientNoContextTakeover),
  serverMaxWindowBits: answer.serverMaxWindowBits ?? 15,
  clientMaxWindowBits: [answer, ...offers].reduce<WindowBits>(
    (bits, { clientMaxWindowBits }) => smaller(bits, clientMaxWindowBits ?? 15),
    15
  )
})

const refuse = (rule: Rule): Result.Result<never, HandshakeError> => Result.fail(new HandshakeError({ rule }))

/**
 * Checks what a server answered to the offers a client made, `undefined` where
 * it declined. Other extensions are passed over.
 *
 * **Details**
 *
 * - `ConflictingExtensions`: the extension is there twice.
 * - `InvalidExtensionParameters`: a parameter is unknown, repeated or has not
 *   the value it has to.
 * - `UnofferedExtension`: the answer is to none of the offers. It grants less
 *   than was asked, or limits a client that did not say it can be.
 *
 * @category validation
 * @since 1.0.0
 */
export const checkResponse = (
  response: ReadonlyArray<Extension>,
  offers: ReadonlyArray<Extension>
): Result.Result<Agreement | undefined, HandshakeError> => {
  const [extension, ...others] = response.filter(({ name }) => name === extensionName)
  if (extension === undefined) return Result.succeed(undefined)
  if (others.length > 0) return refuse("ConflictingExtensions")
  const answer = parse(extension.params, responseGrammar)
  if (answer === undefined) return refuse("InvalidExtensionParameters")
  const answered = offersOf(offers).filter((offer) => fits(answer, offer))
  return answered.length === 0 ? refuse("UnofferedExtension") : Result.succeed(agree(answer, answered))
}
