/**
 * A browser's request, parsed and checked, and the answer, made and formatted:
 *
 *     node packages/protocol/benchmark/handshake.ts
 *
 * The SHA-1 between the two is the platform's and is left out.
 */
import * as Handshake from "@effect-websocket/protocol/Handshake"
import * as HttpHead from "@effect-websocket/protocol/HttpHead"
import * as Result from "effect/Result"
import { Bench } from "tinybench"

const request = new TextEncoder().encode([
  "GET /chat?room=1 HTTP/1.1",
  "Host: example.com",
  "Connection: Upgrade",
  "Pragma: no-cache",
  "Cache-Control: no-cache",
  "User-Agent: Mozilla/5.0 (X11; Linux x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
  "Upgrade: websocket",
  "Origin: https://example.com",
  "Sec-WebSocket-Version: 13",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Accept-Language: en-GB,en;q=0.9",
  "Cookie: session=0123456789abcdef0123456789abcdef",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
  "\r\n"
].join("\r\n"))

const limits = { maxHeadSize: 16_384, maxHeaderLines: 100, maxHeaderLineSize: 8192 }

const parse = () => Result.getOrThrow(HttpHead.makeParser("request", limits).push(request)!).head
const head = parse()
const makeResponse = () => Result.getOrThrow(Handshake.makeResponse({ accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }))
const response = makeResponse()

const bench = new Bench({ time: 200, throws: true })
  .add("request parsed", parse)
  .add("request checked", () => Result.getOrThrow(Handshake.checkRequest(head)))
  .add("response made", makeResponse)
  .add("response formatted", () => Result.getOrThrow(HttpHead.formatResponse(response)))

await bench.run()
console.table(bench.table())
