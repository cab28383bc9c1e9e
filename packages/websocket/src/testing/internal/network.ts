/**
 * The hosts, links and connections of a `SimulatedNetwork`.
 *
 * Signals without bytes, RST and what answers a dial, take a link's latency as
 * bytes do, and are lost where the link is cut; TCP's own repetition of lost
 * bytes is what a healed link sends anew.
 *
 * @since 1.0.0
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Random from "effect/Random"
import * as SocketServer from "effect/socket/SocketServer"
import { Deadlines } from "../../internal/deadlines.ts"
import * as Transport from "../../Transport.ts"
import type * as FaultSchedule from "../FaultSchedule.ts"
import type * as SimulatedNetwork from "../SimulatedNetwork.ts"
import type * as Transcript from "../Transcript.ts"
import * as Pipe from "./pipe.ts"

const seededRandom = (seed: string): Random.Random => Effect.runSync(Random.withSeed(Random.Random, seed))

interface Host {
  readonly name: string
  /** The third and fourth byte of its address in 10.0.0.0/16. */
  readonly number: number
  readonly listeners: Map<number, Transport.Acceptor>
  down: "reset" | "vanish" | undefined
  refusing: number
  nextPort: number
}

/** The way from one host to another. */
class Link {
  readonly from: Host
  readonly to: Host
  readonly settings: SimulatedNetwork.LinkOptions
  readonly random: Random.Random
  readonly waiting = new Set<() => void>()
  /** How many partitions are in force. */
  cuts = 0
  /** Milliseconds that faults add. */
  added = 0

  constructor(from: Host, to: Host, settings: SimulatedNetwork.LinkOptions, seed: string) {
    this.from = from
    this.to = to
    this.settings = settings
    this.random = seededRandom(`${seed}/${from.name}>${to.name}`)
  }

  get isOpen(): boolean {
    return this.cuts === 0 && this.from.down !== "vanish" && this.to.down !== "vanish"
  }

  readonly latency = (): number => {
    const jitter = this.settings.jitter === undefined ? 0 : Duration.toMillis(this.settings.jitter)
    const wobble = jitter === 0 ? 0 : this.random.nextDoubleUnsafe() * jitter
    return Duration.toMillis(this.settings.latency ?? 0) + this.added + wobble
  }

  readonly grain = (): number => {
    const { bandwidth, chunkSize = Infinity } = this.settings
    const size = typeof chunkSize === "number"
      ? chunkSize
      : chunkSize[0] + Math.floor(this.random.nextDoubleUnsafe() * (chunkSize[1] - chunkSize[0] + 1))
    return Math.max(1, bandwidth === undefined ? size : Math.min(size, Pipe.slowGrain))
  }

  makePipe(clock: Clock.Clock): Pipe.Pipe {
    return new Pipe.Pipe({
      capacity: this.settings.capacity ?? Pipe.defaultCapacity,
      grain: this.grain,
      timing: { clock, latency: this.latency, millisPerByte: 1000 / (this.settings.bandwidth ?? Infinity) }
    })
  }
}

type ByteFault = Extract<FaultSchedule.Fault, { readonly byte: number }>

/** One end of a connection. */
interface Side {
  readonly host: Host
  readonly port: number
  /** The way out. */
  readonly link: Link
  readonly incoming: Pipe.Pipe
  readonly outgoing: Pipe.Pipe
  /** Bytes that this side has sent. */
  sent: number
  readonly faults: Array<ByteFault>
  /** What follows is lost. */
  truncated: boolean
  /** What follows does not arrive. */
  stalled: boolean
  /** Whether the application has let go of it. */
  released: boolean
  /** The most that the WebSocket connection above has held. */
  queued: number
  unread: number
}

interface Connection {
  /** From 1, in the order in which connections are dialled. */
  readonly index: number
  /** From 1, among the connections of the same two hosts. */
  readonly ordinal: number
  readonly client: Side
  readonly server: Side
  /** Forgotten on the way: nothing arrives any more. */
  vanished: boolean
}

const pairOf = (a: string, b: string): string => a < b ? `${a}/${b}` : `${b}/${a}`

const isBetween = ({ client, server }: Connection, a: string, b: string): boolean =>
  pairOf(client.host.name, server.host.name) === pairOf(a, b)

const nameOf = ({ host, port }: Side): string => `${host.name}:${port}`

/**
 * The address of a host and port.
 *
 * @internal
 */
export const addressOf = (
  { host, port }: { readonly host: { readonly number: number }; readonly port: number }
): NetAddress.SocketAddress =>
  NetAddress.inetAddressFromIpStringUnsafe(`10.0.${host.number >> 8}.${host.number & 0xff}`, port)

const fail = (side: Side, cause: Error): void => {
  Pipe.stopReading(side.incoming, Transport.readFailed(cause))
  Pipe.stopWriting(side.outgoing, Transport.writeFailed(cause))
}

const firstPort = 49_152

/**
 * The state of a simulated network.
 *
 * @internal
 */
export class Network {
  readonly clock: Clock.Clock
  readonly record: Array<Transcript.Event> | undefined
  readonly connections: Array<Connection> = []
  readonly #options: SimulatedNetwork.Options
  readonly #seed: string
  readonly #deadlines: Deadlines
  readonly #context: Context.Context<never>
  readonly #start: number
  readonly #hosts = new Map<string, Host>()
  readonly #links = new Map<string, Link>()
  readonly #ordinals = new Map<string, number>()
  /** Faults at bytes of connections that are not open yet. */
  readonly #armed: Array<ByteFault> = []

  constructor(options: SimulatedNetwork.Options, seed: string, clock: Clock.Clock, context: Context.Context<never>) {
    this.#options = options
    this.#seed = seed
    this.clock = clock
    this.#context = context
    this.#deadlines = new Deadlines(clock)
    this.#start = clock.currentTimeMillisUnsafe()
    this.record = options.record === false ? undefined : []
  }

  /** Milliseconds since the network was made. */
  get now(): number {
    return this.clock.currentTimeMillisUnsafe() - this.#start
  }

  /** Connections that an application holds one end of or both. */
  get open(): ReadonlyArray<Connection> {
    return this.connections.filter(({ client, server }) => !client.released || !server.released)
  }

  /** The most bytes that were held at one time, of each direction of each connection. */
  get peaks(): ReadonlyArray<SimulatedNetwork.Peak> {
    return this.connections.flatMap(({ client, index, server }) =>
      ([[client, server], [server, client]] as const).map(([side, peer]) => ({
        connection: index,
        from: nameOf(side),
        to: nameOf(peer),
        queued: side.queued,
        underway: side.outgoing.line.peak,
        unread: peer.unread
      }))
    )
  }

  get listeners(): ReadonlyArray<string> {
    return Array.from(this.#hosts.values()).flatMap((host) =>
      Array.from(host.listeners.keys(), (port) => `${host.name}:${port}`)
    )
  }

  host(given: string): Host {
    const name = given.toLowerCase()
    const known = this.#hosts.get(name)
    if (known !== undefined) return known
    const host: Host = {
      name,
      number: this.#hosts.size + 1,
      listeners: new Map(),
      down: undefined,
      refusing: 0,
      nextPort: firstPort
    }
    this.#hosts.set(name, host)
    return host
  }

  link(from: Host, to: Host): Link {
    const key = `${from.name}>${to.name}`
    const known = this.#links.get(key)
    if (known !== undefined) return known
    const { links = [], ...all } = this.#options
    const own = links.filter((options) => options.from === from.name && options.to === to.name)
    const link = new Link(from, to, Object.assign({}, all, ...own), this.#seed)
    this.#links.set(key, link)
    return link
  }

  /** Runs something later; at once where there is no time between. */
  after(millis: number, run: () => void): void {
    if (millis <= 0) run()
    else this.later(millis, run)
  }

  /** Runs something in a millisecond at the earliest: a pipe that is being written to must not fail under its writer. */
  later(millis: number, run: () => void): void {
    this.#deadlines.schedule(Math.ceil(millis), run, this.#context)
  }

  note(event: Omit<Transcript.Event, "at">): void {
    this.record?.push({ at: this.now, ...event })
  }

  /** Drops everything that was to happen. */
  shutdown(): void {
    this.#deadlines.clear(this.#context)
  }

  // --- connections

  connect(client: Host, server: Host, port: number): Connection {
    const pair = pairOf(client.name, server.name)
    const ordinal = (this.#ordinals.get(pair) ?? 0) + 1
    this.#ordinals.set(pair, ordinal)
    const out = this.link(client, server)
    const back = this.link(server, client)
    const [up, down] = [out.makePipe(this.clock), back.makePipe(this.clock)]
    const connection: Connection = {
      index: this.connections.length + 1,
      ordinal,
      client: makeSide(client, client.nextPort++, out, down, up),
      server: makeSide(server, port, back, up, down),
      vanished: false
    }
    this.connections.push(connection)
    this.#attach(connection, connection.client, connection.server)
    this.#attach(connection, connection.server, connection.client)
    return connection
  }

  #attach(connection: Connection, side: Side, peer: Side): void {
    const { line } = side.outgoing
    const event = { connection: connection.index, from: nameOf(side), to: nameOf(peer) }
    side.faults.push(...this.#armed.filter((fault) => concerns(fault, connection, side)))
    line.blocked = !side.link.isOpen
    line.wire = {
      pass: (bytes) => this.#pass(side, bytes, event),
      passed: () => this.#passed(side, peer),
      ended: () => this.note({ ...event, kind: "end" }),
      taken: () => {}
    }
  }

  #pass(side: Side, bytes: Uint8Array, event: Omit<Transcript.Event, "at" | "kind">): Uint8Array {
    if (side.truncated) return bytes.subarray(0, 0)
    const start = side.sent
    side.sent += bytes.length
    let kept = bytes
    for (const fault of side.faults) {
      if (fault.byte < start || fault.byte >= start + kept.length) continue
      if (fault._tag === "Corrupt") kept[fault.byte - start]! ^= fault.mask
      else kept = kept.subarray(0, fault.byte - start)
    }
    if (kept.length > 0 && this.record !== undefined && !side.stalled) {
      this.note({ ...event, kind: "data", bytes: new Uint8Array(kept) })
    }
    return kept
  }

  #passed(side: Side, peer: Side): void {
    if (side.outgoing.readError !== undefined) this.#stray(side, peer)
    if (side.truncated || side.stalled) return
    for (const fault of side.faults) {
      if (fault._tag !== "Truncate" || fault.byte >= side.sent) continue
      return this.#truncate(side, peer, fault.how)
    }
  }

  #truncate(side: Side, peer: Side, how: "end" | "reset" | "stall"): void {
    if (how === "stall") {
      side.stalled = side.outgoing.line.blocked = true
      return
    }
    side.truncated = true
    if (how === "end") return Pipe.pushEnd(side.outgoing.line)
    this.later(side.link.latency(), () => this.#resetBoth(side, peer))
  }

  // What arrives where nobody has the connection is answered with an RST.
  #stray(side: Side, peer: Side): void {
    if (!side.outgoing.line.blocked) this.later(side.link.latency(), () => this.sendReset(peer, side))
  }

  /** An RST of `from` on its way to `to`. */
  sendReset(from: Side, to: Side): void {
    if (from.outgoing.line.blocked) return
    this.after(from.link.latency(), () => this.reset(to, from))
  }

  /** An RST of `peer` arrives at `side`. */
  reset(side: Side, peer: Side): void {
    if (side.incoming.readError !== undefined && side.outgoing.writeError !== undefined) return
    this.note({ connection: this.#indexOf(side), from: nameOf(peer), to: nameOf(side), kind: "reset" })
    fail(side, new Error(`The connection was reset by ${nameOf(peer)}`))
  }

  #indexOf(side: Side): number | undefined {
    return this.connections.find(({ client, server }) => client === side || server === side)?.index
  }

  endpoint(side: Side, peer: Side): Transport.Endpoint {
    const { incoming, outgoing } = side
    const destroy = () => {
      side.released = true
      Pipe.stopReading(incoming, Transport.locallyClosed())
      Pipe.stopWriting(outgoing, Transport.locallyClosed())
      this.sendReset(side, peer)
    }
    const close = () => {
      if (side.released) return
      side.released = true
      const unread = incoming.line.held > 0 || incoming.writings.length > 0
      Pipe.stopReading(incoming, Transport.locallyClosed())
      Pipe.leave(outgoing, Transport.locallyClosed())
      if (unread) this.sendReset(side, peer)
    }
    const onHeldUnsafe = ({ queued, unread }: Transport.Held) => {
      side.queued = Math.max(side.queued, queued)
      side.unread = Math.max(side.unread, unread)
    }
    return { ...Pipe.endpoint({ incoming, outgoing, destroy, close }), peerAddress: addressOf(peer), onHeldUnsafe }
  }

  // --- dialling and listening

  listen(host: Host, port: number, acceptor: Transport.Acceptor): Effect.Effect<void, Transport.TransportServerError> {
    return Effect.suspend(() => {
      if (host.listeners.has(port)) return Effect.fail(inUse(`${host.name}:${port}`))
      host.listeners.set(port, acceptor)
      return Effect.void
    })
  }

  /** Waits until something sent now has arrived. */
  travel(link: Link): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!link.isOpen) return Effect.andThen(untilOpen(link), this.travel(link))
      const millis = link.latency()
      if (millis <= 0) return Effect.void
      return Effect.flatMap(
        this.clock.sleep(Duration.millis(Math.ceil(millis))),
        () => link.isOpen ? Effect.void : this.travel(link)
      )
    })
  }

  readonly dial = Effect.fnUntraced(
    { self: this },
    function*(this: Network, from: Host, to: Host, port: number) {
      const [out, back] = [this.link(from, to), this.link(to, from)]
      const names = { from: from.name, to: `${to.name}:${port}` }
      this.note({ ...names, kind: "dial" })
      if (from.down !== undefined) return yield* Pipe.openFailed(new Error(`${from.name} is down`))
      yield* this.clock.sleep(Duration.fromInputUnsafe(out.settings.connectDelay ?? 0))
      yield* this.travel(out)
      const acceptor = to.refusing > 0 || to.down !== undefined ? undefined : to.listeners.get(port)
      const connection = acceptor === undefined ? undefined : this.connect(from, to, port)
      const accepted = connection !== undefined &&
        acceptor!.acceptUnsafe(this.endpoint(connection.server, connection.client))
      if (connection === undefined || !accepted) return yield* this.refused(back, connection, names)
      const { client, server } = connection
      const endpoint = this.endpoint(client, server)
      this.note({ connection: connection.index, from: nameOf(client), to: nameOf(server), kind: "open" })
      yield* Effect.onInterrupt(this.travel(back), () => endpoint.close)
      return endpoint
    }
  )

  readonly refused = Effect.fnUntraced(
    { self: this },
    function*(
      this: Network,
      back: Link,
      connection: Connection | undefined,
      names: { readonly from: string; readonly to: string }
    ) {
      if (connection !== undefined) connection.client.released = connection.server.released = true
      yield* this.travel(back)
      this.note({ ...names, kind: "refused" })
      return yield* Pipe.openFailed(new Error(`${names.to} refuses connections`))
    }
  )

  // --- faults

  apply(fault: FaultSchedule.Fault): void {
    this.note({ from: "", to: "", kind: "fault", fault })
    switch (fault._tag) {
      case "Partition":
        return this.#partition(fault)
      case "Slow":
        return this.#slow(fault)
      case "Reset":
        return this.#between(fault).forEach(({ client, server }) => this.#resetBoth(client, server))
      case "Vanish":
        return this.#between(fault).forEach((connection) => this.#vanish(connection))
      case "Crash":
        return this.#crash(fault)
      case "Refuse":
        return this.#refuse(fault)
      default:
        return this.#arm(fault)
    }
  }

  play(schedule: FaultSchedule.FaultSchedule): void {
    for (const fault of schedule) {
      // A byte is hit whenever it passes, and must be known before.
      if ("byte" in fault) this.#arm(fault)
      else this.after(fault.at - this.now, () => this.apply(fault))
    }
  }

  #between({ from, to }: { readonly from: string; readonly to: string }): ReadonlyArray<Connection> {
    return this.connections.filter((connection) => isBetween(connection, from, to))
  }

  #resetBoth(client: Side, server: Side): void {
    this.reset(client, server)
    this.reset(server, client)
  }

  #vanish(connection: Connection): void {
    connection.vanished = true
    this.#refresh(connection)
  }

  #partition(fault: typeof FaultSchedule.Partition.Type): void {
    const [from, to] = [this.host(fault.from), this.host(fault.to)]
    const cut = fault.ways === "one" || from === to
      ? [this.link(from, to)]
      : [this.link(from, to), this.link(to, from)]
    this.#cut(cut, 1)
    this.after(fault.for, () => this.#cut(cut, -1))
  }

  #cut(links: ReadonlyArray<Link>, by: number): void {
    for (const link of links) link.cuts += by
    this.#refreshAll()
  }

  #slow(fault: typeof FaultSchedule.Slow.Type): void {
    const link = this.link(this.host(fault.from), this.host(fault.to))
    link.added += fault.by
    this.after(fault.for, () => link.added -= fault.by)
  }

  #crash({ for: millis, host: name, how }: typeof FaultSchedule.Crash.Type): void {
    const host = this.host(name)
    for (const { client, server } of this.connections) {
      for (const [side, peer] of [[client, server], [server, client]] as const) {
        if (side.host !== host) continue
        fail(side, new Error(`${name} went down`))
        if (how === "reset") this.sendReset(side, peer)
      }
    }
    host.down = how
    this.#refreshAll()
    this.after(millis, () => {
      host.down = undefined
      this.#refreshAll()
    })
  }

  #refuse(fault: typeof FaultSchedule.Refuse.Type): void {
    const host = this.host(fault.host)
    host.refusing++
    this.after(fault.for, () => host.refusing--)
  }

  #arm(fault: ByteFault): void {
    this.#armed.push(fault)
    for (const connection of this.connections) {
      for (const side of [connection.client, connection.server]) {
        if (concerns(fault, connection, side)) side.faults.push(fault)
      }
    }
  }

  #refreshAll(): void {
    for (const connection of this.connections) this.#refresh(connection)
    for (const link of this.#links.values()) if (link.isOpen) wakeAll(link)
  }

  #refresh(connection: Connection): void {
    const { client, server, vanished } = connection
    for (const [side, peer] of [[client, server], [server, client]] as const) {
      if (vanished || side.stalled || !side.link.isOpen) {
        Pipe.block(side.outgoing)
      } else if (side.outgoing.line.blocked) {
        Pipe.unblock(side.outgoing)
        // TCP repeats what was not acknowledged, and so learns that nobody has the connection any more.
        if (side.outgoing.readError !== undefined && side.outgoing.line.held > 0) this.#stray(side, peer)
      }
    }
  }
}

const makeSide = (host: Host, port: number, link: Link, incoming: Pipe.Pipe, outgoing: Pipe.Pipe): Side => ({
  host,
  port,
  link,
  incoming,
  outgoing,
  sent: 0,
  faults: [],
  truncated: false,
  stalled: false,
  released: false,
  queued: 0,
  unread: 0
})

const concerns = (
  fault: ByteFault,
  connection: Connection,
  side: Side
): boolean =>
  fault.connection === connection.ordinal && fault.from === side.host.name &&
  isBetween(connection, fault.from, fault.to)

const wakeAll = (link: Link): void => {
  const waiting = Array.from(link.waiting)
  link.waiting.clear()
  waiting.forEach((resume) => resume())
}

const untilOpen = (link: Link): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (link.isOpen) return resume(Effect.void)
    const wakeUp = () => resume(Effect.void)
    link.waiting.add(wakeUp)
    return Effect.sync(() => link.waiting.delete(wakeUp))
  })

const inUse = (address: string): Transport.TransportServerError =>
  new SocketServer.SocketServerError({
    reason: new SocketServer.SocketServerOpenError({ cause: new Error(`Something listens at ${address} already`) })
  })
