import * as NodeTransport from "@effect-websocket/platform-node/NodeTransport"
import * as NodeWebSocketServer from "@effect-websocket/platform-node/NodeWebSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as WebSocketRunner from "effect-websocket/WebSocketRunner"
import * as Entity from "effect/cluster/Entity"
import * as MachineId from "effect/cluster/MachineId"
import * as MessageStorage from "effect/cluster/MessageStorage"
import type { Runner } from "effect/cluster/Runner"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as RunnerHealth from "effect/cluster/RunnerHealth"
import * as RunnerStorage from "effect/cluster/RunnerStorage"
import type { ShardId } from "effect/cluster/ShardId"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SocketRunner from "effect/cluster/SocketRunner"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schema from "effect/Schema"
import { SocketServer } from "effect/socket/SocketServer"

const Echo = Entity.make("Echo", [
  Rpc.make("Say", {
    payload: { text: Schema.String },
    success: Schema.Struct({ port: Schema.Int, text: Schema.String })
  })
])

/** Runners and their shards, for two runners in one process. */
const makeStorage = Effect.sync(() => {
  const runners = new Map<string, readonly [Runner, boolean]>()
  const owners = new Map<string, string>()
  const keyOf = ({ host, port }: RunnerAddress.RunnerAddress) => `${host}:${port}`
  const take = (address: RunnerAddress.RunnerAddress, shardIds: Iterable<ShardId>) =>
    Effect.sync(() =>
      Array.from(shardIds).filter((shardId) => {
        const owner = owners.get(`${shardId}`) ?? keyOf(address)
        owners.set(`${shardId}`, owner)
        return owner === keyOf(address)
      })
    )
  const release = (address: RunnerAddress.RunnerAddress, own: (shardId: string) => boolean) =>
    Effect.sync(() => {
      for (const [shardId, owner] of owners) if (owner === keyOf(address) && own(shardId)) owners.delete(shardId)
    })
  return RunnerStorage.RunnerStorage.of({
    getRunners: Effect.sync(() => Array.from(runners.values())),
    register: (runner, healthy) =>
      Effect.sync(() => {
        runners.set(keyOf(runner.address), [runner, healthy])
        return MachineId.make(runners.size)
      }),
    unregister: (address) => Effect.sync(() => runners.delete(keyOf(address))),
    setRunnerHealth: () => Effect.void,
    acquire: take,
    refresh: take,
    release: (address, shardId) => release(address, (other) => other === `${shardId}`),
    releaseAll: (address) => release(address, () => true)
  })
})

const quick = {
  shardsPerGroup: 10,
  refreshAssignmentsInterval: 20,
  runnerJoinDebounce: 0,
  entityRegistrationTimeout: 100,
  sendRetryInterval: 10
}

/** A runner at a port of its own, which answers with that port. */
const runner = (storage: RunnerStorage.RunnerStorage["Service"]) =>
  Layer.unwrap(Effect.gen(function*() {
    const { address } = yield* SocketServer
    const { port } = address as NetAddress.InetAddress
    const config = ShardingConfig.layer({ ...quick, runnerAddress: Option.some(RunnerAddress.make("127.0.0.1", port)) })
    return Echo.toLayer({ Say: ({ payload }) => Effect.succeed({ port, text: payload.text }) }).pipe(
      Layer.provideMerge(SocketRunner.layer),
      Layer.provide([WebSocketRunner.layerClientProtocol(), RunnerHealth.layerNoop, MessageStorage.layerNoop]),
      Layer.provide([config, Layer.succeed(RunnerStorage.RunnerStorage, storage)])
    )
  })).pipe(
    Layer.provide([
      NodeWebSocketServer.layerSocketServer({ port: 0 }),
      NodeTransport.layerDialer(),
      RpcSerialization.layerSchemaBinary()
    ])
  )

describe("a cluster of two runners over WebSockets", () => {
  it.live(
    "an entity's message crosses to the runner that has it, and its answer comes back",
    () =>
      Effect.gen(function*() {
        const storage = yield* makeStorage
        const first = yield* Layer.build(runner(storage))
        yield* Layer.build(runner(storage))
        const client = yield* Effect.provideContext(Echo.client, first)
        const ports = new Set<number>()
        const ask = Effect.forEach(
          Array.from({ length: 20 }, (_, i) => `entity-${i}`),
          Effect.fnUntraced(function*(id) {
            const answer = yield* client(id).Say({ text: `hello ${id}` })
            assert.strictEqual(answer.text, `hello ${id}`)
            ports.add(answer.port)
          }),
          { discard: true }
        )
        // Until the shards are with both.
        yield* Effect.repeat(ask, { until: () => ports.size === 2 })
        assert.strictEqual(ports.size, 2)
      }).pipe(Effect.provideService(References.MinimumLogLevel, "Warn")),
    20_000
  )
})
