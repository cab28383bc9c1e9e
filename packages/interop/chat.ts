/**
 * The chat of the scratchpad in two tabs of Chromium: what is typed in one is shown in the other, over a restart of the
 * server as well, after which both come back when they were told to.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { Browser, Page } from "playwright-core"
import { same } from "./cases.ts"
import { launch } from "./chromium.ts"
import type { Version } from "./ours.ts"
import { PeerFailed } from "./program.ts"

const path = fileURLToPath(new URL("../../scratchpad/chat.ts", import.meta.url))

const inPage = <A>(what: string, act: () => Promise<A>) =>
  Effect.tryPromise({ try: act, catch: (error) => new PeerFailed({ message: `${what}: ${String(error)}` }) })

/** Starts the server, for as long as the scope is open. */
const start = Effect.fnUntraced(function*(version: Version) {
  const args = [path, "--port", "0", ...version === "HTTP/2" ? ["--http2"] : []]
  const server = yield* ChildProcess.make(process.execPath, args, {
    env: { NO_COLOR: "1" },
    extendEnv: true,
    forceKillAfter: "5 seconds"
  })
  const lines = yield* Queue.unbounded<string>()
  yield* server.all.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => Queue.offer(lines, line)),
    Effect.forkScoped
  )
  const restart = Effect.sync(() => process.kill(Number(server.pid), "SIGHUP"))
  return { line: Queue.take(lines), restart }
})

/** Notes when the page opens a WebSocket, when that closes, and with which reason. */
const recorder = `
  globalThis.sockets = []
  globalThis.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args)
      const record = { opened: performance.now() }
      sockets.push(record)
      this.addEventListener("close", ({ reason }) => Object.assign(record, { closed: performance.now(), reason }))
    }
  }`

const Sockets = Schema.Tuple([
  Schema.Struct({ opened: Schema.Number, closed: Schema.Number, reason: Schema.String }),
  Schema.Struct({ opened: Schema.Number })
])

const openTab = (browser: Browser, url: string, name: string) =>
  inPage(`the tab of ${name}`, async () => {
    const page = await browser.newPage({ viewport: { width: 760, height: 560 } })
    await page.addInitScript(recorder)
    await page.goto(`${url}/?name=${name}`)
    return page
  })

const isAt = (page: Page, state: "open" | "waiting") =>
  inPage(`the state ${state}`, () => page.waitForSelector(`#status[data-state="${state}"]`))

const say = (page: Page, words: string) =>
  inPage(`saying ${words}`, async () => {
    await page.fill("#text", words)
    await page.press("#text", "Enter")
  })

/** Waits until the page shows exactly these messages of the room, in their order; own ones with a star. */
const shows = (page: Page, expected: ReadonlyArray<string>) => {
  const shown = `JSON.stringify(Array.from(document.querySelectorAll("li:not(.pending)"), (li) =>
    (li.classList.contains("mine") ? "*" : "") + li.lastElementChild.textContent))`
  const wanted = JSON.stringify(expected)
  return inPage(
    "waiting for messages",
    () => page.waitForFunction(`${shown} === ${JSON.stringify(wanted)}`, undefined, { timeout: 20_000 })
  ).pipe(
    Effect.catch(() => inPage("messages", () => page.evaluate(shown))),
    Effect.flatMap((texts) => typeof texts === "string" ? same("messages", texts, wanted) : Effect.void)
  )
}

/** That the page came back no sooner than it was asked to. */
const waited = Effect.fnUntraced(function*(page: Page) {
  const records = yield* inPage("sockets", () => page.evaluate("sockets"))
  const [first, second] = yield* Schema.decodeUnknownEffect(Sockets)(records)
  const asked = Number(/^retry-after=(\d+)$/.exec(first.reason)?.[1])
  yield* same(`a hint in ${JSON.stringify(first)}`, asked >= 1000, true)
  const delay = second.opened - first.closed
  if (delay < asked - 1) return yield* new PeerFailed({ message: `came back after ${delay} ms, asked for ${asked}` })
})

/** By which request the connections came, and by which protocol the page did. */
const requests: { readonly [V in Version]: readonly [request: string, protocol: string] } = {
  "HTTP/1.1": ["GET /chat HTTP/1.1", "http/1.1"],
  "HTTP/2": ["CONNECT /chat HTTP/2", "h2"]
}

const bothCame = (server: { readonly line: Effect.Effect<string> }, version: Version) =>
  Effect.forEach([0, 1], () => Effect.flatMap(server.line, (line) => same("request", line, requests[version][0])))

const screenshots = Effect.fnUntraced(function*(version: Version) {
  const files = yield* FileSystem.FileSystem
  const directory = yield* files.makeTempDirectory({ prefix: "effect-websocket-chat-" })
  yield* Console.log(`screenshots of the chat over ${version} in ${directory}`)
  return (page: Page, name: string) =>
    inPage("a screenshot", () => page.screenshot({ path: `${directory}/${name}.png` }))
})

const converse = Effect.fnUntraced(function*(version: Version) {
  const server = yield* start(version)
  const url = (yield* server.line).replace("listening on ", "")
  const browser = yield* launch
  const take = yield* screenshots(version)
  const tabs = yield* Effect.forEach(["Ann", "Bob"], (name) => openTab(browser, url, name))
  const [ann, bob] = tabs as [Page, Page]
  const eachTab = <A, E>(act: (page: Page) => Effect.Effect<A, E>) =>
    Effect.forEach(tabs, act, { concurrency: "unbounded", discard: true })

  yield* bothCame(server, version)
  yield* eachTab((page) => isAt(page, "open"))
  yield* say(ann, "Hello Bob, can you read this?")
  yield* shows(bob, ["Hello Bob, can you read this?"])
  yield* say(bob, "I can. Grüße!")
  yield* shows(ann, ["*Hello Bob, can you read this?", "I can. Grüße!"])
  yield* take(ann, "before")

  yield* server.restart
  yield* eachTab((page) => isAt(page, "waiting"))
  yield* say(ann, "said while the server is away")
  yield* take(ann, "waiting")
  yield* same("the server listens again", yield* server.line, `listening on ${url}`)
  yield* bothCame(server, version)
  yield* eachTab((page) => isAt(page, "open"))
  yield* shows(bob, ["Hello Bob, can you read this?", "*I can. Grüße!", "said while the server is away"])
  yield* say(bob, "and this is said afterwards")
  yield* shows(ann, [
    "*Hello Bob, can you read this?",
    "I can. Grüße!",
    "*said while the server is away",
    "and this is said afterwards"
  ])
  yield* take(bob, "after")
  yield* eachTab(waited)
  const protocol = "performance.getEntriesByType(\"navigation\")[0].nextHopProtocol"
  yield* same("protocol of the page", yield* inPage("protocol", () => ann.evaluate(protocol)), requests[version][1])
})

/** Fails where the chat is not as it has to be. */
export const tryChat = (version: Version) => Effect.scoped(Effect.timeout(converse(version), "2 minutes"))
