/**
 * Who is tried: one entry for each implementation in each of its roles, with what it cannot do.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import type { CaseName } from "./cases.ts"
import * as Chromium from "./chromium.ts"
import * as Ours from "./ours.ts"
import { type Command, output, type PeerFailed, type Program, start } from "./program.ts"
import { formatJob, type Job, type Report } from "./report.ts"

/** Why cases cannot be tried with a peer. */
export type Cannot = { readonly [N in CaseName]?: string }

type Needs = Scope.Scope | ChildProcessSpawner | FileSystem.FileSystem

/** A peer that connects to our server. */
export interface ClientPeer {
  /** Which pages our server lets in besides its own; default none. */
  readonly origins?: ReadonlyArray<string>
  /** The version of HTTP that our server must see; default HTTP/1.1. */
  readonly version?: Ours.Version
  /** Where the peer finds our server. */
  readonly urlOf: (port: number, id: string) => string
  readonly run: (job: Job) => Effect.Effect<Report, PeerFailed>
  /** Does a job from a page of another site. */
  readonly runAbroad?: (job: Job) => Effect.Effect<Report, PeerFailed>
}

type Open<A> = Effect.Effect<A, PeerFailed | PlatformError.PlatformError, Needs>

/** A column of the table. */
export type Peer =
  & {
    readonly name: string
    readonly cannot: Cannot
    /** Debian's packages that it is made of, the one with the version first. */
    readonly packages: ReadonlyArray<string>
  }
  & (
    | { readonly role: "client"; readonly open: Open<ClientPeer> }
    | { readonly role: "server"; readonly open: Open<Program> }
  )

const here = (name: string) => fileURLToPath(new URL(`peers/${name}`, import.meta.url))

const direct = (port: number, id: string) => `ws://127.0.0.1:${port}/${id}`

const clientOf = (program: Program): ClientPeer => ({
  urlOf: direct,
  run: (job) => Effect.andThen(program.send(formatJob(job)), program.report(job.id))
})

const scripted = (...command: Command) => ({
  client: Effect.map(start([...command, "connect"]), clientOf),
  server: start([...command, "serve"])
})

/** A program of one file, made by a compiler that is told where to put it. */
const compiled = (make: (into: string) => Effect.Effect<unknown, PeerFailed, ChildProcessSpawner>) => {
  const program = Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const directory = yield* fileSystem.makeTempDirectoryScoped()
    yield* make(`${directory}/peer`)
    return `${directory}/peer`
  })
  return {
    client: Effect.map(Effect.flatMap(program, (path) => start([path, "connect"])), clientOf),
    server: Effect.flatMap(program, (path) => start([path, "serve"]))
  }
}

const ws = scripted("node", here("ws.js"))
const undici = scripted("node", here("undici.js"))
// Debian's own, which sees Debian's packages.
const python = scripted("/usr/bin/python3", here("peer.py"))

const gorilla = compiled((into) =>
  output(["go", "build", "-o", into, here("peer.go")], {
    env: { GO111MODULE: "off", GOPATH: "/usr/share/gocode", GOFLAGS: "", GOTOOLCHAIN: "local" }
  })
)

const lws = compiled((into) => output(["cc", "-O1", "-Wall", "-o", into, here("peer.c"), "-lwebsockets"]))

const chromium: Open<ClientPeer> = Effect.gen(function*() {
  const browser = yield* Chromium.launch
  const [home, abroad] = yield* Effect.all([Chromium.servePage, Chromium.servePage])
  return {
    origins: [home],
    urlOf: direct,
    run: yield* Chromium.open(browser, home),
    runAbroad: yield* Chromium.open(browser, abroad)
  }
})

/**
 * A page of our own server for each of its ports: a browser asks over HTTP/2 where a session of that origin has announced
 * that it may.
 */
const chromiumOverHttp2: Open<ClientPeer> = Effect.gen(function*() {
  const browser = yield* Chromium.launch
  const pages = new Map<string, ClientPeer["run"]>()
  return {
    version: "HTTP/2",
    urlOf: (port, id) => `wss://localhost:${port}/${id}`,
    run: Effect.fnUntraced(function*(job) {
      const { host } = new URL(job.url)
      const run = pages.get(host) ?? (yield* Chromium.open(browser, `https://${host}`))
      pages.set(host, run)
      return yield* run(job)
    })
  }
})

/** A port that was free a moment ago, for a server that cannot choose. */
const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" ? address?.port ?? 0 : 0)))
  })
})

/** Starts nginx and returns its port. */
const nginx = Effect.gen(function*() {
  const fileSystem = yield* FileSystem.FileSystem
  const directory = yield* fileSystem.makeTempDirectoryScoped()
  const port = yield* freePort
  const template = yield* fileSystem.readFileString(here("nginx.conf"))
  yield* fileSystem.writeFileString(
    `${directory}/nginx.conf`,
    template.replaceAll("DIRECTORY", directory).replaceAll("PORT", String(port))
  )
  // Its workers may be another user's, who may not look into ours.
  yield* fileSystem.chmod(directory, 0o755)
  yield* fileSystem.makeDirectory(`${directory}/pages`)
  yield* Effect.forEach(Chromium.files, (name) => fileSystem.copyFile(here(name), `${directory}/pages/${name}`))
  const program = yield* start(["nginx", "-c", `${directory}/nginx.conf`], { stdin: "ignore" })
  yield* program.said("start worker processes")
  return port
})

const behindNginx = (open: Open<Pick<ClientPeer, "run">>): Open<ClientPeer> =>
  Effect.map(Effect.all([nginx, open]), ([proxy, { run }]) => ({
    run,
    urlOf: (port, id) => `ws://127.0.0.1:${proxy}/${port}/${id}`
  }))

/** A page of the site that is behind nginx, on the same origin. */
const chromiumBehindNginx: Open<ClientPeer> = Effect.gen(function*() {
  const proxy = yield* nginx
  const browser = yield* Chromium.launch
  const abroad = yield* Chromium.servePage
  return {
    urlOf: (port, id) => `ws://127.0.0.1:${proxy}/${port}/${id}`,
    run: yield* Chromium.open(browser, `http://127.0.0.1:${proxy}`),
    runAbroad: yield* Chromium.open(browser, abroad)
  }
})

const noPage: Cannot = { "another site's page refused with 403": "is no browser" }

const web: Cannot = {
  "fragmented by the peer": "the interface of the web has no fragments",
  "ping by the peer": "the interface of the web has no ping"
}

const gorillaCannot: Cannot = {
  ...noPage,
  "compressed, contexts kept": "always agrees on no context takeover",
  "compressed, 9 bits both ways": "does not negotiate window bits",
  "compressed, empty between others": "always agrees on no context takeover"
}

const lwsCannot: Cannot = {
  ...noPage,
  "close by the peer: no code": "sends no Close frame without a code",
  "our close against their data": "ends the connection when a Close arrives while a write of its own is unfinished",
  "their close against our data": "ends the connection when anything but a Close arrives behind its own Close",
  "compressed, empty between others": "its compressor stops at an assertion on an empty message behind another"
}

const lwsServerCannot: Cannot = {
  ...lwsCannot,
  "compressed, 9 bits both ways": "its server answers without the bits that it was asked for, which our client refuses"
}

/** All peers, in the order of the table. */
export const peers: ReadonlyArray<Peer> = [
  { name: "ws", role: "client", cannot: noPage, packages: [], open: ws.client },
  { name: "ws", role: "server", cannot: noPage, packages: [], open: ws.server },
  { name: "Node", role: "client", cannot: { ...web, ...noPage }, packages: [], open: undici.client },
  { name: "Chromium", role: "client", cannot: web, packages: ["chromium"], open: chromium },
  {
    name: "Chromium over HTTP/2",
    role: "client",
    cannot: {
      ...web,
      "another site's page refused with 403": "a page of another site has no session of HTTP/2 with our server"
    },
    packages: ["chromium"],
    open: chromiumOverHttp2
  },
  {
    name: "websockets",
    role: "client",
    cannot: noPage,
    packages: ["python3-websockets", "python3"],
    open: python.client
  },
  {
    name: "websockets",
    role: "server",
    cannot: noPage,
    packages: ["python3-websockets", "python3"],
    open: python.server
  },
  {
    name: "Gorilla",
    role: "client",
    cannot: gorillaCannot,
    packages: ["golang-github-gorilla-websocket-dev", "golang-go"],
    open: gorilla.client
  },
  {
    name: "Gorilla",
    role: "server",
    cannot: gorillaCannot,
    packages: ["golang-github-gorilla-websocket-dev", "golang-go"],
    open: gorilla.server
  },
  {
    name: "libwebsockets",
    role: "client",
    cannot: lwsCannot,
    packages: ["libwebsockets-dev", "gcc", "libc6-dev"],
    open: lws.client
  },
  {
    name: "libwebsockets",
    role: "server",
    cannot: lwsServerCannot,
    packages: ["libwebsockets-dev", "gcc", "libc6-dev"],
    open: lws.server
  },
  {
    name: "ours behind nginx",
    role: "client",
    cannot: noPage,
    packages: ["nginx"],
    open: behindNginx(Effect.succeed({ run: Ours.perform }))
  },
  { name: "ws behind nginx", role: "client", cannot: noPage, packages: ["nginx"], open: behindNginx(ws.client) },
  {
    name: "Chromium behind nginx",
    role: "client",
    cannot: web,
    packages: ["nginx", "chromium"],
    open: chromiumBehindNginx
  }
]
