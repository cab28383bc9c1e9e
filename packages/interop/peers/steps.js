/**
 * The language of steps for whatever has the WebSocket interface of the web: Node's own, a browser's, `ws`.
 *
 * A peer reports what it saw as one object; see `../report.ts` for its fields.
 */

/** Messages and the close of a socket, in order, for one that waits for them. */
class Inbox {
  messages = []
  ended = undefined
  wake = () => {}

  constructor(socket) {
    socket.binaryType = "arraybuffer"
    socket.addEventListener("message", ({ data }) => {
      this.messages.push(data)
      this.wake()
    })
    socket.addEventListener("close", ({ code, reason }) => {
      this.ended = { code, reason }
      this.wake()
    })
  }

  /** The next message, `undefined` once there will be no more. */
  async next() {
    while (this.messages.length === 0 && this.ended === undefined) {
      await new Promise((resolve) => (this.wake = resolve))
    }
    return this.messages.shift()
  }
}

/** Takes so many messages, 0 for all, and tells how many came. */
const repeat = async (count, inbox, step) => {
  let done = 0
  while (done < (count || Infinity)) {
    const message = await inbox.next()
    if (message === undefined) break
    await step(message)
    done++
  }
  return done
}

const verbs = {
  echo: async ({ inbox, socket }, count) => void await repeat(Number(count), inbox, (data) => socket.send(data)),
  flood: ({ socket }, count, size) => {
    for (let sent = 0; sent < Number(count); sent++) socket.send(new Uint8Array(Number(size)).fill(sent))
  },
  count: async ({ inbox }) => ({ received: await repeat(0, inbox, () => {}) }),
  close: ({ socket }, code, reason) => code === undefined ? socket.close() : socket.close(Number(code), reason)
}

const opened = (socket) =>
  new Promise((resolve) => {
    if (socket.readyState === 1) return resolve(true)
    socket.addEventListener("open", () => resolve(true))
    socket.addEventListener("error", () => resolve(false))
  })

/** Performs steps on a socket, and those in `more` that the interface of the web lacks. */
export const perform = async (id, socket, steps, more = {}) => {
  const inbox = new Inbox(socket)
  if (!await opened(socket)) return { id, error: "no connection" }
  const report = { id, subprotocol: socket.protocol }
  for (const step of steps.split(",")) {
    const [verb, ...args] = step.split(":")
    Object.assign(report, await (more[verb] ?? verbs[verb])({ inbox, socket }, ...args))
  }
  await repeat(0, inbox, () => {})
  // Not `wasClean`: in Chromium it also means that all was sent, which it is not when the other side closes first.
  const { code, reason } = inbox.ended
  return { ...report, code, reason, ...code === 1006 ? { error: "no Close frame" } : {} }
}

/** Opens a socket of the web for a line such as `7 ws://127.0.0.1:9001/7 echo:0 chat.v1,chat.v2 none`. */
export const run = (line) => {
  const [id, url, steps, subprotocols] = line.split(" ")
  return perform(id, new WebSocket(url, subprotocols === "-" ? [] : subprotocols.split(",")), steps)
}
