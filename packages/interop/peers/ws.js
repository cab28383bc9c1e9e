/**
 * `ws` as a peer: `serve` listens, `connect` makes a connection for each line of standard input.
 */
import { Buffer } from "node:buffer"
import * as Http from "node:http"
import * as Readline from "node:readline"
import { WebSocket, WebSocketServer } from "ws"
import { perform } from "./steps.js"

const deflate = {
  none: false,
  takeover: { threshold: 0 },
  fresh: { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  window9: { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 9 }
}

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

const inThree = (socket, data) => {
  const binary = typeof data !== "string"
  const bytes = Buffer.from(data)
  const third = Math.ceil(bytes.length / 3)
  for (const part of [0, 1, 2]) {
    socket.send(bytes.subarray(part * third, (part + 1) * third), { binary, fin: part === 2 })
  }
}

/** What `ws` can do beyond the interface of the web. */
const more = {
  fragments: async ({ inbox, socket }, count) => {
    for (let done = 0; done < Number(count); done++) inThree(socket, await inbox.next())
  },
  ping: ({ socket }, data) =>
    new Promise((resolve) => {
      socket.once("pong", (payload) => resolve({ pong: payload.toString() }))
      socket.ping(data)
    })
}

const connect = async (line) => {
  const [id, url, steps, subprotocols, mode] = line.split(" ")
  const offered = subprotocols === "-" ? [] : subprotocols.split(",")
  const socket = new WebSocket(url, offered, { perMessageDeflate: deflate[mode] })
  const refused = new Promise((resolve) => {
    socket.on("unexpected-response", (request, { headers, statusCode }) => {
      request.destroy()
      resolve({ id, status: statusCode, challenge: headers["www-authenticate"] })
    })
  })
  print(await Promise.race([refused, perform(id, socket, steps, more)]))
}

const refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"interop\"\r\n" +
  "Content-Length: 0\r\nConnection: close\r\n\r\n"

const listen = (mode) =>
  new Promise((resolve) => {
    const server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: deflate[mode],
      handleProtocols: (offered) => offered.has("chat.v2") && "chat.v2"
    })
    const http = Http.createServer()
    http.on("upgrade", (request, stream, head) => {
      const { pathname, searchParams } = new URL(request.url, "http://127.0.0.1")
      if (pathname === "/refuse") return stream.end(refusal)
      server.handleUpgrade(request, stream, head, (socket) => {
        perform(searchParams.get("id"), socket, searchParams.get("do"), more).then(print)
      })
    })
    http.listen(0, "127.0.0.1", () => resolve([mode, http.address().port]))
  })

const serve = async () => {
  print({ listening: Object.fromEntries(await Promise.all(Object.keys(deflate).map(listen))) })
  process.stdin.on("end", () => process.exit(0)).resume()
}

if (process.argv[2] === "serve") await serve()
else for await (const line of Readline.createInterface({ input: process.stdin })) void connect(line)
