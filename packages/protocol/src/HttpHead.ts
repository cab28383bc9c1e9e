/**
 * Heads of HTTP/1.1 messages, RFC 9112 sections 2 to 5: bytes to request or
 * response heads and back.
 *
 * Strict where leniency has let requests be smuggled: lines end with CRLF and
 * nothing else, no line continues another, no blank stands before a colon, no
 * control character is let in or out. Text is latin1, one byte a character.
 * Sizes are bytes and include line ends. Bodies are not looked at.
 *
 * @since 1.0.0
 */
import * as Result from "effect/Result"
import { HandshakeError, type Limit, type Rule } from "./HandshakeError.ts"

/**
 * What a head may measure, line ends included. `HeadTooLarge` names the one
 * that was exceeded. A limit may be `Infinity`.
 *
 * @category models
 * @since 1.0.0
 */
export interface Limits {
  /** Bytes of the head, from its first to the line feed of its empty line. */
  readonly maxHeadSize: number
  /** Header lines, repeated names counted, the start line not. */
  readonly maxHeaderLines: number
  /** Bytes of any one line, the start line included. */
  readonly maxHeaderLineSize: number
}

/**
 * Header lines in order, one entry a line, names as they were written.
 *
 * **Details**
 *
 * Values are latin1 text without the blanks around them. Nothing is keyed by
 * name, so a header called `__proto__` is one like any other.
 *
 * @category models
 * @since 1.0.0
 */
export type Headers = ReadonlyArray<readonly [name: string, value: string]>

/**
 * The head of a request.
 *
 * @category models
 * @since 1.0.0
 */
export interface RequestHead {
  /** As written: methods are case-sensitive. */
  readonly method: string
  /** The request target as written, printable ASCII. */
  readonly target: string
  /** `HTTP/1.1`, the only one that the parser gives, or `HTTP/2`: see `ExtendedConnect`. */
  readonly version: string
  readonly headers: Headers
}

/**
 * The head of a response.
 *
 * @category models
 * @since 1.0.0
 */
export interface ResponseHead {
  /** `HTTP/1.1`; the parser gives `HTTP/1.0` too, where the status is not 101. `HTTP/2`: see `ExtendedConnect`. */
  readonly version: string
  /** 100 to 599. */
  readonly status: number
  /** The reason phrase, may be empty. */
  readonly reason: string
  readonly headers: Headers
}

/**
 * The two kinds of head.
 *
 * @category models
 * @since 1.0.0
 */
export interface Heads {
  readonly request: RequestHead
  readonly response: ResponseHead
}

const codesOf = (allowed: RegExp): Uint8Array =>
  Uint8Array.from({ length: 256 }, (_, code) => allowed.test(String.fromCharCode(code)) ? 1 : 0)

const tokenCodes = codesOf(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/)
const visibleCodes = codesOf(/[!-~]/)
const textCodes = codesOf(/[\t -~\x80-\xff]/)

const consistsOf = (text: string, codes: Uint8Array): boolean => {
  for (let i = 0; i < text.length; i++) {
    if (codes[text.charCodeAt(i)] !== 1) return false
  }
  return true
}

/**
 * Whether a character code is one of a token's, RFC 9110 section 5.6.2.
 *
 * @category guards
 * @since 1.0.0
 */
export const isTokenCode = (code: number): boolean => tokenCodes[code] === 1

/**
 * Whether a text is a token, RFC 9110 section 5.6.2: one or more letters,
 * digits and some marks, what names in a head are made of.
 *
 * @category guards
 * @since 1.0.0
 */
export const isToken = (text: string): boolean => text !== "" && consistsOf(text, tokenCodes)

/**
 * Whether a text may be written as a header's value, RFC 9110 section 5.5: tab,
 * space, printable ASCII and 0x80 to 0xff. It may be empty.
 *
 * @category guards
 * @since 1.0.0
 */
export const isValue = (text: string): boolean => consistsOf(text, textCodes)

/**
 * Whether a text is one or more printable ASCII characters without a space,
 * which is all a request target may be.
 *
 * @category guards
 * @since 1.0.0
 */
export const isVisible = (text: string): boolean => text !== "" && consistsOf(text, visibleCodes)

/**
 * Lowers A to Z and nothing else, so that no other letter turns into an ASCII
 * one (as the Kelvin sign does in `toLowerCase`).
 *
 * @category conversions
 * @since 1.0.0
 */
export const lowerAscii = (text: string): string =>
  hasUpper(text) ? text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text

const isUpperCode = (code: number): boolean => code >= 0x41 && code <= 0x5a

const hasUpper = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    if (isUpperCode(text.charCodeAt(i))) return true
  }
  return false
}

// Whether `lowerAscii` makes `lowerCase` of a text, without making anything.
const isNamed = (text: string, lowerCase: string): boolean => {
  // most names are of another length
  if (text.length !== lowerCase.length) return false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if ((isUpperCode(code) ? code + 0x20 : code) !== lowerCase.charCodeAt(i)) return false
  }
  return true
}

const isBlankCode = (code: number): boolean => code === 0x20 || code === 0x09

/**
 * Cuts spaces and tabs off both ends, and no other white space, unlike
 * `String.trim`.
 *
 * @category conversions
 * @since 1.0.0
 */
export const trimBlanks = (text: string): string => {
  let start = 0
  let end = text.length
  while (start < end && isBlankCode(text.charCodeAt(start))) start++
  while (start < end && isBlankCode(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

/**
 * Gives the values of every line with a name, in order.
 *
 * **Example** (Reading a repeated header)
 *
 * ```ts import.meta.vitest
 * import * as HttpHead from "@effect-websocket/protocol/HttpHead"
 *
 * HttpHead.values([["Cookie", "a=1"], ["Host", "h"], ["cookie", "b=2"]], "cookie") // => ["a=1", "b=2"]
 * ```
 *
 * @category getters
 * @since 1.0.0
 */
export const values = (headers: Headers, lowerCaseName: string): ReadonlyArray<string> => {
  let found: Array<string> | undefined
  // By index: a request is looked through a dozen times.
  for (let i = 0; i < headers.length; i++) {
    const header = headers[i]!
    if (!isNamed(header[0], lowerCaseName)) continue
    if (found === undefined) found = [header[1]]
    else found.push(header[1])
  }
  return found ?? none
}

const none: ReadonlyArray<string> = []

/**
 * Gives the value of a header that may stand once: `undefined` when it is
 * absent, a failure with `rule` when it is repeated.
 *
 * @category getters
 * @since 1.0.0
 */
export const single = (
  headers: Headers,
  lowerCaseName: string,
  rule: Rule
): Result.Result<string | undefined, HandshakeError> => {
  const found = values(headers, lowerCaseName)
  return found.length > 1 ? Result.fail(new HandshakeError({ rule })) : Result.succeed(found[0])
}

/**
 * Gives the elements of a comma separated header over all its lines, in lower
 * case, without empty ones, RFC 9110 section 5.6.1.
 *
 * **Example** (Reading Connection)
 *
 * ```ts import.meta.vitest
 * import * as HttpHead from "@effect-websocket/protocol/HttpHead"
 *
 * const headers = [["Connection", "keep-alive, ,"], ["connection", "Upgrade"]] as const
 *
 * HttpHead.tokens(headers, "connection") // => ["keep-alive", "upgrade"]
 * ```
 *
 * @category getters
 * @since 1.0.0
 */
export const tokens = (headers: Headers, lowerCaseName: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (const value of values(headers, lowerCaseName)) {
    for (const element of value.split(",")) {
      const token = trimBlanks(element)
      if (token !== "") found.push(lowerAscii(token))
    }
  }
  return found
}

/**
 * Whether a token, given in lower case, is among `tokens`.
 *
 * @internal
 */
export const hasToken = (headers: Headers, lowerCaseName: string, token: string): boolean => {
  const found = values(headers, lowerCaseName)
  // Most often it is the only one.
  return (found.length === 1 && isNamed(found[0]!, token)) || tokens(headers, lowerCaseName).includes(token)
}

const fail = (rule: Rule): Result.Result<never, HandshakeError> => Result.fail(new HandshakeError({ rule }))

const tooLarge = (limit: Limit): HandshakeError => new HandshakeError({ rule: "HeadTooLarge", limit })

const version = "HTTP/1.1"

const checkVersion = <A>(written: string, head: A): Result.Result<A, HandshakeError> =>
  written === version ? Result.succeed(head) : fail("UnsupportedHttpVersion")

// RFC 9112 section 3: method SP request-target SP HTTP-version
const parseRequestLine = (line: string, headers: Headers): Result.Result<RequestHead, HandshakeError> => {
  const first = line.indexOf(" ")
  const second = line.indexOf(" ", first + 1)
  if (second === -1) return fail("MalformedStartLine")
  const method = line.slice(0, first)
  const target = line.slice(first + 1, second)
  const written = line.slice(second + 1)
  if (!isToken(method) || !isVisible(target) || !/^HTTP\/\d\.\d$/.test(written)) return fail("MalformedStartLine")
  return checkVersion(written, { method, target, version, headers })
}

// RFC 9112 section 4: HTTP-version SP status-code SP [reason-phrase]
const parseStatusLine = (line: string, headers: Headers): Result.Result<ResponseHead, HandshakeError> => {
  const written = line.slice(0, 8)
  const status = line.slice(8, 12)
  const reason = line.slice(13)
  if (!/^HTTP\/\d\.\d$/.test(written) || !/^ [1-5]\d\d$/.test(status)) return fail("MalformedStartLine")
  // the space behind the status is left out by many servers whose reason is empty
  if ((line.length > 12 && line[12] !== " ") || !isValue(reason)) return fail("MalformedStartLine")
  // a server that refuses may speak 1.0, and what it says is still what it says; it cannot switch protocols
  const refuses = written === "HTTP/1.0" && status !== " 101"
  const head = { version: refuses ? written : version, status: Number(status), reason, headers }
  return refuses ? Result.succeed(head) : checkVersion(written, head)
}

const parseHeader = (line: string): Result.Result<Headers[number], HandshakeError> => {
  const colon = line.indexOf(":")
  const name = line.slice(0, colon)
  const value = trimBlanks(line.slice(colon + 1))
  // a folded line starts with a blank and a blank before the colon is in the name: neither is a token
  return colon === -1 || !isToken(name) || !isValue(value) ? fail("MalformedHeader") : Result.succeed([name, value])
}

const ascii = new TextDecoder()

const isAscii = (bytes: Uint8Array): boolean => {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i]! > 0x7f) return false
  }
  return true
}

// Each byte is a character code, which nearly always is one of ASCII: that a decoder reads at once.
const decode = (bytes: Uint8Array): string =>
  isAscii(bytes) ? ascii.decode(bytes) : Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")

/**
 * Cuts chunks into lines. Every byte is searched once; only the beginning of a
 * line that a chunk leaves unfinished is copied, once on arrival and, since the
 * buffer doubles, once more on average when it grows.
 */
class LineReader {
  private readonly limits: Limits
  private buffer = new Uint8Array(0)
  private held = 0
  private size = 0
  /** Position in the current chunk. */
  at = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  /** The next line without its line feed, `undefined` when it is not all there. */
  next(chunk: Uint8Array): string | HandshakeError | undefined {
    const inLine = this.limits.maxHeaderLineSize - this.held
    const inHead = this.limits.maxHeadSize - this.size
    const window = chunk.subarray(this.at, Math.min(chunk.length, this.at + Math.max(0, Math.min(inLine, inHead))))
    const feed = window.indexOf(0x0a)
    if (feed === -1 && this.at + window.length < chunk.length) {
      return tooLarge(inHead < inLine ? "maxHeadSize" : "maxHeaderLineSize")
    }
    const part = feed === -1 ? window : window.subarray(0, feed)
    const taken = feed === -1 ? part.length : feed + 1
    this.at += taken
    this.size += taken
    if (feed !== -1 && this.held === 0) return decode(part)
    this.hold(part)
    return feed === -1 ? undefined : this.release()
  }

  private hold(part: Uint8Array): void {
    const size = this.held + part.length
    if (size > this.buffer.length) {
      const grown = new Uint8Array(Math.min(Math.max(256, 2 * size), this.limits.maxHeaderLineSize))
      grown.set(this.buffer.subarray(0, this.held))
      this.buffer = grown
    }
    this.buffer.set(part, this.held)
    this.held = size
  }

  private release(): string {
    const line = decode(this.buffer.subarray(0, this.held))
    this.held = 0
    return line
  }
}

/**
 * A head and what came behind it.
 *
 * @category models
 * @since 1.0.0
 */
export interface Parsed<Head> {
  readonly head: Head
  /**
   * The bytes behind the head, maybe none: a view into the chunk that was
   * pushed last, and good for as long as that chunk is.
   */
  readonly rest: Uint8Array
}

/**
 * A parser of one head.
 *
 * @category models
 * @since 1.0.0
 */
export interface Parser<Head> {
  /**
   * Takes the next bytes. Gives `undefined` while more are needed.
   *
   * **Details**
   *
   * The chunk is not kept: what is needed of it later is copied, at most
   * `maxHeaderLineSize` bytes. How the bytes are cut into chunks changes
   * nothing about the outcome. Once there is one the parser is used up: a
   * further call is a mistake, reads nothing and gives the same outcome.
   */
  push(chunk: Uint8Array): Result.Result<Parsed<Head>, HandshakeError> | undefined
}

type StartLine<Head> = (line: string, headers: Headers) => Result.Result<Head, HandshakeError>

class HeadParser<Head> implements Parser<Head> {
  private readonly parseStart: StartLine<Head>
  private readonly limits: Limits
  private readonly lines: LineReader
  private readonly headers: Array<Headers[number]> = []
  private emptyLines: number
  private head: Head | undefined
  private outcome: Result.Result<Parsed<Head>, HandshakeError> | undefined

  constructor(parseStart: StartLine<Head>, limits: Limits, emptyLines: number) {
    this.parseStart = parseStart
    this.limits = limits
    this.lines = new LineReader(limits)
    this.emptyLines = emptyLines
  }

  push(chunk: Uint8Array): Result.Result<Parsed<Head>, HandshakeError> | undefined {
    this.lines.at = 0
    while (this.outcome === undefined) {
      const line = this.lines.next(chunk)
      if (line === undefined) return undefined
      const end = typeof line === "string" ? this.take(line) : Result.fail(line)
      if (end === undefined) continue
      this.outcome = Result.map(end, (head) => ({ head, rest: chunk.subarray(this.lines.at) }))
    }
    return this.outcome
  }

  /** Takes a line that may still have its carriage return. Gives the head at its end. */
  private take(ended: string): Result.Result<Head, HandshakeError> | undefined {
    const line = ended.slice(0, -1)
    if (!ended.endsWith("\r")) return fail(this.head === undefined ? "MalformedStartLine" : "MalformedHeader")
    if (this.head === undefined) return this.takeStart(line)
    if (line === "") return Result.succeed(this.head)
    if (this.headers.length >= this.limits.maxHeaderLines) return Result.fail(tooLarge("maxHeaderLines"))
    const header = parseHeader(line)
    if (Result.isFailure(header)) return Result.fail(header.failure)
    this.headers.push(header.success)
    return undefined
  }

  private takeStart(line: string): Result.Result<Head, HandshakeError> | undefined {
    if (line === "" && this.emptyLines-- > 0) return undefined
    const start = this.parseStart(line, this.headers)
    if (Result.isFailure(start)) return start
    this.head = start.success
    return undefined
  }
}

const startLines: { readonly [K in keyof Heads]: StartLine<Heads[K]> } = {
  request: parseRequestLine,
  response: parseStatusLine
}

// RFC 9112 section 2.2: a server ignores an empty line before the request line
const emptyLines = { request: 1, response: 0 } as const

/**
 * Makes a parser of one request head or one response head.
 *
 * **Details**
 *
 * Time is linear in the bytes pushed, whatever they are. Memory is that of the
 * headers so far and of one unfinished line, both within `limits`. A line that
 * does not end fails with the first byte beyond its limit. Before a request
 * line one empty line is passed over; its two bytes count.
 *
 * **Example** (Parsing a request in two chunks)
 *
 * ```ts import.meta.vitest
 * import * as HttpHead from "@effect-websocket/protocol/HttpHead"
 * import * as Result from "effect/Result"
 *
 * const bytes = (text: string) => new TextEncoder().encode(text)
 * const parser = HttpHead.makeParser("request", { maxHeadSize: 16384, maxHeaderLines: 100, maxHeaderLineSize: 8192 })
 *
 * parser.push(bytes("GET /chat HTTP/1.1\r\nHo")) // => undefined
 * const { head, rest } = Result.getOrThrow(parser.push(bytes("st: example.com\r\n\r\nmore"))!)
 * head // => { method: "GET", target: "/chat", version: "HTTP/1.1", headers: [["Host", "example.com"]] }
 * rest // => bytes("more")
 * ```
 *
 * @category constructors
 * @since 1.0.0
 */
export const makeParser = <K extends keyof Heads>(kind: K, limits: Limits): Parser<Heads[K]> =>
  new HeadParser<Heads[K]>(startLines[kind], limits, emptyLines[kind])

const encode = (text: string): Uint8Array => {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

const format = (startLine: string, headers: Headers): Result.Result<Uint8Array, HandshakeError> => {
  let text = `${startLine}\r\n`
  for (const [name, value] of headers) {
    if (!isToken(name) || !isValue(value)) return fail("MalformedHeader")
    text += `${name}: ${value}\r\n`
  }
  return Result.succeed(encode(`${text}\r\n`))
}

/**
 * Formats a request's head as fresh bytes.
 *
 * **Details**
 *
 * What could not be read back is not written: a method or a name that is no
 * token, a target that is not printable ASCII, a value with a line end or
 * another control character or one beyond latin1, a version other than 1.1.
 *
 * @category formatting
 * @since 1.0.0
 */
export const formatRequest = (head: RequestHead): Result.Result<Uint8Array, HandshakeError> => {
  if (!isToken(head.method) || !isVisible(head.target)) return fail("MalformedStartLine")
  if (head.version !== version) return fail("UnsupportedHttpVersion")
  return format(`${head.method} ${head.target} ${version}`, head.headers)
}

/**
 * Formats a response's head as fresh bytes, as strictly as `formatRequest`.
 *
 * **Example** (Formatting a refusal)
 *
 * ```ts import.meta.vitest
 * import * as HttpHead from "@effect-websocket/protocol/HttpHead"
 * import * as Result from "effect/Result"
 *
 * const head = { version: "HTTP/1.1", status: 404, reason: "Not Found", headers: [] }
 * Result.map(HttpHead.formatResponse(head), (bytes) => bytes.length) // => Result.succeed(26)
 * ```
 *
 * @category formatting
 * @since 1.0.0
 */
export const formatResponse = (head: ResponseHead): Result.Result<Uint8Array, HandshakeError> => {
  const { reason, status } = head
  if (!Number.isInteger(status) || status < 100 || status > 599 || !isValue(reason)) return fail("MalformedStartLine")
  if (head.version !== version) return fail("UnsupportedHttpVersion")
  return format(`${version} ${status} ${reason}`, head.headers)
}
