/**
 * The grammar of Sec-WebSocket-Extensions, RFC 6455 section 9.1, and of the
 * list of tokens in Sec-WebSocket-Protocol, section 4.3.
 *
 * Text to data and back. What a name or a parameter means, and whether it may
 * be repeated, is for the extension itself to judge. Every character is looked
 * at a bounded number of times; how long a text may be is for the limits on a
 * head to say.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import { HandshakeError } from "./HandshakeError.ts"
import * as HttpHead from "./HttpHead.ts"

/**
 * A parameter: a token, and a token as its value if it has one.
 *
 * @category models
 * @since 1.0.0
 */
export type Param = readonly [name: string, value: string | undefined]

/**
 * One extension as offered by a client or answered by a server. Names and
 * values are as written, repeated parameters are kept.
 *
 * @category models
 * @since 1.0.0
 */
export interface Extension {
  readonly name: string
  readonly params: ReadonlyArray<Param>
}

interface Cursor {
  readonly text: string
  at: number
}

const comma = 0x2c
const semicolon = 0x3b
const equals = 0x3d
const quote = 0x22
const backslash = 0x5c

const skipBlanks = (cursor: Cursor): void => {
  let code = cursor.text.charCodeAt(cursor.at)
  while (code === 0x20 || code === 0x09) code = cursor.text.charCodeAt(++cursor.at)
}

/** Moves past `code`, and past blanks before it, if that is what comes next. */
const take = (cursor: Cursor, code: number): boolean => {
  skipBlanks(cursor)
  if (cursor.text.charCodeAt(cursor.at) !== code) return false
  cursor.at++
  return true
}

/** The token that comes next, after blanks: empty when there is none. */
const scanToken = (cursor: Cursor): string => {
  skipBlanks(cursor)
  const start = cursor.at
  while (HttpHead.isTokenCode(cursor.text.charCodeAt(cursor.at))) cursor.at++
  return cursor.text.slice(start, cursor.at)
}

/** The token inside a quoted string whose opening quote is behind the cursor: empty when it is not one. */
const scanQuoted = (cursor: Cursor): string => {
  let token = ""
  for (;;) {
    const code = cursor.text.charCodeAt(cursor.at++)
    if (code === quote) return token
    const character = code === backslash ? cursor.text.charCodeAt(cursor.at++) : code
    if (!HttpHead.isTokenCode(character)) return ""
    token += String.fromCharCode(character)
  }
}

/** What stands behind a semicolon, or `undefined` where the grammar is broken. */
const scanParam = (cursor: Cursor): Param | undefined => {
  const name = scanToken(cursor)
  if (name === "") return undefined
  if (!take(cursor, equals)) return [name, undefined]
  const value = take(cursor, quote) ? scanQuoted(cursor) : scanToken(cursor)
  return value === "" ? undefined : [name, value]
}

const scanExtension = (cursor: Cursor): Extension | undefined => {
  const name = scanToken(cursor)
  if (name === "") return undefined
  const params: Array<Param> = []
  while (take(cursor, semicolon)) {
    const param = scanParam(cursor)
    if (param === undefined) return undefined
    params.push(param)
  }
  return { name, params }
}

/** Adds the extensions of one header line. False where the grammar is broken. */
const scanLine = (text: string, extensions: Array<Extension>): boolean => {
  const cursor: Cursor = { text, at: 0 }
  for (;;) {
    // RFC 9110 section 5.6.1.2: empty elements of a list are passed over
    while (take(cursor, comma));
    if (cursor.at === text.length) return true
    const extension = scanExtension(cursor)
    if (extension === undefined) return false
    extensions.push(extension)
    if (!take(cursor, comma)) return cursor.at === text.length
  }
}

const noExtensions: Result.Result<ReadonlyArray<Extension>> = Result.succeed([])
const noTokens: Result.Result<ReadonlyArray<string>> = Result.succeed([])

/**
 * Parses the values of all Sec-WebSocket-Extensions lines as one list, in order
 * of preference. No lines are no extensions; lines with none on them are
 * `InvalidExtensions`.
 *
 * **Example** (Parsing an offer)
 *
 * ```ts import.meta.vitest
 * import * as Extension from "@effect-websocket/protocol/Extension"
 * import * as Result from "effect/Result"
 *
 * const sum: Extension.Extension = { name: "x-sum", params: [["bits", "10"], ["all", undefined]] }
 *
 * Extension.parse(['x-sum; bits="10"; all', "x-two"]) // => Result.succeed([sum, { name: "x-two", params: [] }])
 * ```
 *
 * @category parsing
 * @since 1.0.0
 */
export const parse = (
  headerValues: ReadonlyArray<string>
): Result.Result<ReadonlyArray<Extension>, HandshakeError> => {
  if (headerValues.length === 0) return noExtensions
  const extensions: Array<Extension> = []
  const valid = headerValues.every((value) => scanLine(value, extensions))
  // the list is 1#extension: at least one
  return valid && extensions.length > 0
    ? Result.succeed(extensions)
    : Result.fail(new HandshakeError({ rule: "InvalidExtensions" }))
}

/**
 * Parses the values of all Sec-WebSocket-Protocol lines as one list of tokens,
 * in order of preference. No lines are no tokens; lines with none on them, a
 * repeated one and anything else are `InvalidSubprotocol`.
 *
 * **Example** (Parsing subprotocols)
 *
 * ```ts import.meta.vitest
 * import * as Extension from "@effect-websocket/protocol/Extension"
 * import * as Result from "effect/Result"
 *
 * Extension.parseTokens(["chat, superchat", "v2.chat"]) // => Result.succeed(["chat", "superchat", "v2.chat"])
 * ```
 *
 * @category parsing
 * @since 1.0.0
 */
export const parseTokens = (
  headerValues: ReadonlyArray<string>
): Result.Result<ReadonlyArray<string>, HandshakeError> => {
  if (headerValues.length === 0) return noTokens
  const tokens = headerValues.flatMap((value) => value.split(",")).map(HttpHead.trimBlanks).filter((element) =>
    element !== ""
  )
  return isDistinctTokens(tokens) && tokens.length > 0
    ? Result.succeed(tokens)
    : Result.fail(new HandshakeError({ rule: "InvalidSubprotocol" }))
}

/**
 * Whether texts are tokens and no two of them are the same, as section 4.1
 * wants of subprotocols.
 *
 * @category guards
 * @since 1.0.0
 */
export const isDistinctTokens = (texts: ReadonlyArray<string>): boolean =>
  texts.every(HttpHead.isToken) && new Set(texts).size === texts.length

/**
 * Whether an extension can be written: its names and values are tokens.
 *
 * @category guards
 * @since 1.0.0
 */
export const isWritable = (extension: Extension): boolean =>
  HttpHead.isToken(extension.name) &&
  extension.params.every(([name, value]) => HttpHead.isToken(name) && (value === undefined || HttpHead.isToken(value)))

/**
 * Formats extensions, for which `isWritable` holds, as the value of one header
 * line. Quotes nothing, since tokens need none.
 *
 * **Example** (Formatting an answer)
 *
 * ```ts import.meta.vitest
 * import * as Extension from "@effect-websocket/protocol/Extension"
 *
 * const answer = { name: "permessage-deflate", params: [["server_max_window_bits", "10"], ["x", undefined]] } as const
 * Extension.format([answer]) // => "permessage-deflate; server_max_window_bits=10; x"
 * ```
 *
 * @category formatting
 * @since 1.0.0
 */
export const format = (extensions: ReadonlyArray<Extension>): string =>
  extensions.map(({ name, params }) =>
    [name, ...params.map(([param, value]) => value === undefined ? param : `${param}=${value}`)].join("; ")
  ).join(", ")
