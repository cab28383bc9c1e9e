/**
 * A network of named hosts in memory, for tests of whole applications: servers
 * listen and clients dial by URL as they do in production, and only the Layer
 * differs.
 *
 * Deterministic: time is Effect's `Clock`, chance is one seed, and whatever goes
 * wrong is a fault that was asked for. Sizes are bytes, times are `Duration`s.
 *
 * - Bytes and ends take a link's latency. What a cut link holds back arrives when
 *   it is whole again, as TCP sends it again.
 * - An RST takes the latency as well, and is lost where the link is cut. What is
 *   sent to an end that has gone is answered with one, a millisecond later at
 *   least, and it drops what was not read, as TCP does.
 * - TLS is not simulated: `wss:` differs by its port only.
 *
 * @since 1.0.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Transport from "../Transport.ts"
import * as WebSocketServer from "../WebSocketServer.ts"
import type * as FaultSchedule from "./FaultSchedule.ts"
import { addressOf, Network } from "./internal/network.ts"
import * as Pipe from "./internal/pipe.ts"
import type * as Transcript from "./Transcript.ts"

/**
 * How bytes get from one host to another.
 *
 * @category models
 * @since 1.0.0
 */
export interface LinkOptions {
  /** Most bytes of a connection accepted and not yet pulled, before a write suspends. Default 65536. */
  readonly capacity?: number | undefined
  /** Most bytes of one pulled chunk, or a range from which each is drawn. Default: as large as it was accepted. */
  readonly chunkSize?: number | readonly [least: number, most: number] | undefined
  /** Time from acceptance to readability. Default 0. */
  readonly latency?: Duration.Input | undefined
  /** What is added to the latency at most, drawn anew for each chunk; the order stays. Default 0. */
  readonly jitter?: Duration.Input | undefined
  /** Bytes of a connection that become readable in a second, in chunks of at most 1460. Default: no limit. */
  readonly bandwidth?: number | undefined
  /** Time that a dial takes besides the round trip. Default 0. */
  readonly connectDelay?: Duration.Input | undefined
}

/**
 * How a network behaves.
 *
 * @category models
 * @since 1.0.0
 */
export interface Options extends LinkOptions {
  /** What differs from one host to another, in this direction. */
  readonly links?: ReadonlyArray<LinkOptions & { readonly from: string; readonly to: string }> | undefined
  /** Where its chance comes from. Default: drawn from Effect's `Random`. */
  readonly seed?: number | string | undefined
  /** Whether what crosses is kept for a transcript. Default `true`. */
  readonly record?: boolean | undefined
}

/**
 * The most bytes that one direction of a connection took at one time: each of
 * the three has its own time.
 *
 * @category models
 * @since 1.0.0
 */
export interface Peak {
  /** From 1, as connections are opened. */
  readonly connection: number
  /** `host:port` of the end that writes. */
  readonly from: string
  /** `host:port` of the end that reads. */
  readonly to: string
  /** Payload of writes at `from` that were not completed: what `maxQueuedBytes` limits. */
  readonly queued: number
  /** What the network had accepted and `to` had not pulled, frame headers and heads counted: what `capacity` limits. */
  readonly underway: number
  /** What had arrived at `to` and nobody had read, with what it takes to keep it: what `readBuffer` bounds. */
  readonly unread: number
}

/**
 * What is still there.
 *
 * @category models
 * @since 1.0.0
 */
export interface Residue {
  /** `host:port` of those who listen. */
  readonly listeners: ReadonlyArray<string>
  /** Ends of connections that an application has not let go of. */
  readonly ends: ReadonlyArray<string>
}

/**
 * A network of named hosts.
 *
 * @category services
 * @since 1.0.0
 */
export class SimulatedNetwork extends Context.Service<SimulatedNetwork, {
  /** Listens until the scope closes. Fails when something listens there already. */
  readonly listen: (
    host: string,
    port: number
  ) => Effect.Effect<Transport.TransportServer["Service"], Transport.TransportServerError, Scope.Scope>
  /** Dials from a host to wherever URLs point. */
  readonly dialer: (host: string) => Transport.TransportDialer["Service"]
  /** Lets a fault happen now, whatever its `at`; one at a byte when that byte passes. */
  readonly apply: (fault: FaultSchedule.Fault) => Effect.Effect<void>
  /** Lets each fault happen at its time. */
  readonly play: (schedule: FaultSchedule.FaultSchedule) => Effect.Effect<void>
  /**
   * All that was applied and played, whether it has happened or not: where it is
   * nothing, a scenario may ask more of its application.
   */
  readonly faults: Effect.Effect<FaultSchedule.FaultSchedule>
  /** What has crossed. Empty where nothing is recorded. */
  readonly transcript: Effect.Effect<Transcript.Transcript>
  /** The most that was held so far, two for each connection: that of the end that dialled first. */
  readonly peaks: Effect.Effect<ReadonlyArray<Peak>>
  /** Who still listens, and which ends of connections are still held. */
  readonly residue: Effect.Effect<Residue>
  /** Drops every fault that has not happened and every signal on its way. */
  readonly shutdown: Effect.Effect<void>
}>()("effect-websocket/testing/SimulatedNetwork") {}

const defaultPorts: { readonly [protocol: string]: number } = { "ws:": 80, "wss:": 443, "http:": 80, "https:": 443 }

const dial = (network: Network, from: string, input: string | URL): Transport.Connection => {
  const url = URL.parse(input)
  const port = url === null ? undefined : url.port === "" ? defaultPorts[url.protocol] : Number(url.port)
  return Transport.make(
    url === null || port === undefined
      ? Effect.fail(Pipe.openFailed(new TypeError(`Not a URL to dial: ${input}`)))
      : Effect.suspend(() => network.dial(network.host(from), network.host(url.hostname), port))
  )
}

const listen = Effect.fnUntraced(function*(network: Network, name: string, port: number) {
  const host = network.host(name)
  const acceptor = yield* Transport.makeAcceptor()
  yield* Effect.acquireRelease(
    network.listen(host, port, acceptor),
    () => Effect.sync(() => host.listeners.delete(port))
  )
  return Transport.TransportServer.of({ address: addressOf({ host, port }), run: acceptor.run })
})

const endsOf = (network: Network): ReadonlyArray<string> =>
  network.open.flatMap(({ client, index, server }) =>
    [client, server].filter(({ released }) => !released).map(({ host, port }) => `#${index} ${host.name}:${port}`)
  )

/**
 * Makes a network.
 *
 * **Details**
 *
 * It needs no scope: it holds memory only, and a timer while something is to
 * happen, which `shutdown` drops.
 *
 * @category constructors
 * @since 1.0.0
 */
export const make = Effect.fnUntraced(function*(options?: Options): Effect.fn.Return<SimulatedNetwork["Service"]> {
  const seed = options?.seed ?? (yield* Random.nextInt)
  const network = new Network(options ?? {}, String(seed), yield* Clock.Clock, yield* Effect.context<never>())
  const faults: Array<FaultSchedule.Fault> = []
  return SimulatedNetwork.of({
    listen: (host, port) => listen(network, host, port),
    dialer: (host) => ({ dial: (url) => dial(network, host, url) }),
    apply: (fault) =>
      Effect.sync(() => {
        faults.push(fault)
        network.apply(fault)
      }),
    play: (schedule) =>
      Effect.sync(() => {
        faults.push(...schedule)
        network.play(schedule)
      }),
    faults: Effect.sync(() => faults.slice()),
    transcript: Effect.sync(() => ({ events: (network.record ?? []).slice() })),
    peaks: Effect.sync(() => network.peaks),
    residue: Effect.sync(() => ({ listeners: network.listeners, ends: endsOf(network) })),
    shutdown: Effect.sync(() => network.shutdown())
  })
})

/**
 * Layer of a network.
 *
 * **Example** (A client and a server on two hosts)
 *
 * ```ts import.meta.vitest
 * import * as SimulatedNetwork from "effect-websocket/testing/SimulatedNetwork"
 * import * as WebSocketClient from "effect-websocket/WebSocketClient"
 * import * as WebSocketServer from "effect-websocket/WebSocketServer"
 * import { WebSocketStream } from "effect-websocket/WebSocketStream"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const echo = Effect.gen(function*() {
 *   const stream = yield* WebSocketStream
 *   yield* stream.write(yield* stream.read)
 * })
 *
 * const server = WebSocketServer.serve(echo).pipe(
 *   Layer.provide(SimulatedNetwork.layerServer("chat.example", 80))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const stream = yield* WebSocketClient.dial({ url: "ws://chat.example/" })
 *   yield* stream.write("hello")
 *   return yield* stream.read
 * }).pipe(Effect.scoped, Effect.provide(SimulatedNetwork.layerDialer("phone")))
 *
 * const runnable = program.pipe(
 *   Effect.provide(Layer.provideMerge(server, SimulatedNetwork.layer({ latency: "1 millis", seed: 1 })))
 * )
 * await Effect.runPromise(runnable) // => "hello"
 * ```
 *
 * @category layers
 * @since 1.0.0
 */
export const layer = (options?: Options): Layer.Layer<SimulatedNetwork> =>
  Layer.effect(
    SimulatedNetwork,
    Effect.acquireRelease(make(options), (network) => network.shutdown)
  )

/**
 * Layer of a server that listens on a host of the network.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerListen = (
  host: string,
  port: number
): Layer.Layer<Transport.TransportServer, Transport.TransportServerError, SimulatedNetwork> =>
  Layer.effect(Transport.TransportServer, Effect.flatMap(SimulatedNetwork, (network) => network.listen(host, port)))

/**
 * Layer of a WebSocket server that listens on a host of the network: in a test
 * what `NodeWebSocketServer.layer` is in production.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerServer = <R = never>(
  host: string,
  port: number,
  options?: WebSocketServer.AcceptOptions<R>
): Layer.Layer<WebSocketServer.WebSocketServer, Transport.TransportServerError, SimulatedNetwork | R> =>
  Layer.provide(WebSocketServer.layer(options), layerListen(host, port))

/**
 * Layer of a dialer on a host of the network.
 *
 * @category layers
 * @since 1.0.0
 */
export const layerDialer = (host: string): Layer.Layer<Transport.TransportDialer, never, SimulatedNetwork> =>
  Layer.effect(Transport.TransportDialer, Effect.map(SimulatedNetwork, (network) => network.dialer(host)))
