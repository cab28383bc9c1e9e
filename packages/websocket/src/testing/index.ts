/**
 * Tests of applications without a network: transports in memory, faults,
 * simulation of many hosts in virtual time, and what to look at afterwards.
 *
 * The guide is `docs/testing.md`, step by step. By what you want to test:
 *
 * - a handler or a client: `MemoryTransport`, under Effect's `TestClock` or in
 *   time that moves by itself, `VirtualTime`;
 * - how it meets a broken or hostile peer: `ScriptedPeer`, `FaultTransport`;
 * - an application of several hosts, and what networks do to it:
 *   `SimulatedNetwork`, `FaultSchedule`, `Simulation`;
 * - what must hold of it: `Ledger`, `Permits`;
 * - what has crossed: `Transcript`, `Pcap`;
 * - a transport or a codec of your own: `TransportContract`, `CodecContract`.
 *
 * @since 1.0.0
 */

/**
 * @since 1.0.0
 */
export * as CodecContract from "./CodecContract.ts"

/**
 * @since 1.0.0
 */
export * as FaultSchedule from "./FaultSchedule.ts"

/**
 * @since 1.0.0
 */
export * as FaultTransport from "./FaultTransport.ts"

/**
 * @since 1.0.0
 */
export * as Ledger from "./Ledger.ts"

/**
 * @since 1.0.0
 */
export * as MemoryTransport from "./MemoryTransport.ts"

/**
 * @since 1.0.0
 */
export * as Pcap from "./Pcap.ts"

/**
 * @since 1.0.0
 */
export * as Permits from "./Permits.ts"

/**
 * @since 1.0.0
 */
export * as ScriptedPeer from "./ScriptedPeer.ts"

/**
 * @since 1.0.0
 */
export * as SimulatedNetwork from "./SimulatedNetwork.ts"

/**
 * @since 1.0.0
 */
export * as Simulation from "./Simulation.ts"

/**
 * @since 1.0.0
 */
export * as Transcript from "./Transcript.ts"

/**
 * @since 1.0.0
 */
export * as TransportContract from "./TransportContract.ts"

/**
 * @since 1.0.0
 */
export * as VirtualTime from "./VirtualTime.ts"
