/**
 * Chromium as a peer: a page served on loopback opens the sockets.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Http from "node:http"
import type * as Http2 from "node:http2"
import { type Browser, chromium, type Page } from "playwright-core"
import { PeerFailed } from "./program.ts"
import { formatJob, type Job, Report } from "./report.ts"

const types: { readonly [name: string]: string } = { "page.html": "text/html", "steps.js": "text/javascript" }

/** The files that make the page. */
export const files: ReadonlyArray<string> = Object.keys(types)

const folder = new URL("peers/", import.meta.url)

const failed = (error: unknown) => new PeerFailed({ message: `chromium: ${String(error)}` })

const respond: Http.RequestListener = (request, response) => {
  const name = (request.url ?? "").slice(1)
  const type = types[name]
  if (type === undefined) return void response.writeHead(404).end()
  Fs.readFile(new URL(name, folder)).then((body) => response.writeHead(200, { "Content-Type": type }).end(body))
}

/** Answers requests over HTTP/2 with the page. */
export const respondOverHttp2 = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders): void => {
  const name = (headers[":path"] ?? "").slice(1)
  const type = types[name]
  if (type === undefined) return stream.respond({ ":status": 404 }, { endStream: true })
  Fs.readFile(new URL(name, folder)).then((body) => {
    if (stream.destroyed) return
    stream.respond({ ":status": 200, "content-type": type })
    stream.end(body)
  })
}

/** Serves the page on a port of its own and returns its origin. */
export const servePage = Effect.acquireRelease(
  Effect.callback<Http.Server>((resume) => {
    const server = Http.createServer(respond)
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
).pipe(Effect.map((server) => {
  const address = server.address()
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : address}`
}))

/** Starts the browser, for as long as the scope is open. */
export const launch: Effect.Effect<Browser, PeerFailed, Scope.Scope> = Effect.acquireRelease(
  Effect.tryPromise({
    try: () =>
      chromium.launch({
        executablePath: "/usr/bin/chromium",
        headless: true,
        args: [
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
          // those made for a run
          "--ignore-certificate-errors"
        ]
      }),
    catch: failed
  }),
  (browser) => Effect.promise(() => browser.close())
)

/** The status of refused requests, which the page cannot see and the browser tells. */
const watchStatus = (page: Page): ReadonlyMap<string, number> => {
  const statuses = new Map<string, number>()
  page.on("websocket", (socket) =>
    socket.on("socketerror", (error) => {
      const status = /Unexpected response code: (\d+)/.exec(error)?.[1]
      if (status !== undefined) statuses.set(socket.url(), Number(status))
    }))
  return statuses
}

/** Opens the page of an origin, which then does jobs. */
export const open = Effect.fnUntraced(function*(browser: Browser, origin: string) {
  const page = yield* Effect.tryPromise({ try: () => browser.newPage(), catch: failed })
  const statuses = watchStatus(page)
  yield* Effect.tryPromise({
    try: async () => {
      await page.goto(`${origin}/page.html`)
      await page.waitForFunction("globalThis.run !== undefined")
    },
    catch: failed
  })
  return (job: Job): Effect.Effect<Report, PeerFailed> =>
    Effect.tryPromise({
      try: () => page.evaluate(`run(${JSON.stringify(formatJob(job))})`),
      catch: failed
    }).pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Report)),
      Effect.mapError(failed),
      Effect.map((report) => ({ ...report, status: statuses.get(job.url) }))
    )
})
