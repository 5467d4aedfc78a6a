// `meadow host`: lends this machine's CPU to the mesh of a relay.
import { hash } from 'node:crypto'
import { freemem, totalmem } from 'node:os'
import type { Settled } from '../../ledger/settling.ts'
import { createShardFetcher, type ShardFetcher } from '../../mesh/shard-fetch.ts'
import { serveShards } from '../../mesh/shard-stream.ts'
import type { Segment } from '../../protocol/engine/engine.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { ModelFacts, Notice } from '../../protocol/peer/machine.ts'
import { RelayError } from '../errors.ts'
import { type Earning, startEarning } from '../payments/earn.ts'
import type { AgentNotice } from '../watch/agent.ts'
import { createNodeEngines } from './engines.ts'
import type { Identity } from './identity.ts'
import { joinMesh, type NodePeer } from './join.ts'
import { obtainManifest, obtainShards, readShardRange } from './shards.ts'

export interface HostOptions {
  home: string
  relay: URL
  identity: Identity
  /** Model ids to lend; empty: all the relay offers. */
  modelIds: string[]
  /** Exactly these layers of the one model; placement decides when left out. */
  segment?: Segment
  threads?: number
  memoryBytes?: number
  sessionsMax?: number
  invitation?: string
  /** Takes payment into the account of this secret; `only`: strangers are served only when they pay. Left out: serves for nothing. */
  pay?: { secret: Uint8Array; only?: boolean; creditTokens?: number; onSettled?: (settled: Settled) => void; onDefence?: (notice: AgentNotice) => void }
  onNotice?: (notice: Notice) => void
  onLine?: (line: string) => void
}

/** Half of the machine, and never what others use now: the rest is the owner's. */
export const memoryBytesDefault = (): number => Math.floor(Math.min(totalmem() / 2, freemem() * 0.75))

export interface NodeHost {
  readonly peer: NodePeer
  readonly models: ModelFacts[]
  close(): Promise<void>
}

/** Joins and lends. Throws RelayError. */
export async function startHost(options: HostOptions): Promise<NodeHost> {
  const { home, relay, segment } = options
  const memoryBytes = options.memoryBytes ?? memoryBytesDefault()
  let peers: ShardFetcher | undefined
  const engines = createNodeEngines({
    home,
    threads: options.threads,
    memoryBytes,
    fetchShards: (modelId, wanted, onProgress, signal) => obtainShards(home, relay, modelId, wanted, onProgress, signal, peers),
    onLine: options.onLine,
  })
  const earning: Earning | null = options.pay
    ? startEarning({
        home,
        relay,
        name: options.identity.kept ? 'host' : `host-${process.pid}`,
        modelIds: options.modelIds,
        ...options.pay,
        ...(options.onLine ? { onLine: options.onLine } : {}),
      })
    : null
  const peer = await joinMesh({ ...options, engines, reachable: true, ...(earning ? { earnings: earning.earnings, vault: earning.vault } : {}) })
  try {
    const models: ModelFacts[] = []
    for (const modelId of options.modelIds) models.push(factsOf(await obtainManifest(home, relay, modelId), modelId))
    peers = createShardFetcher({
      node: peer.node,
      network: peer.network,
      presences: () => peer.table.all(),
      sha256: (bytes) => hash('sha256', bytes, 'buffer'),
      onLiar: (liar) => options.onLine?.(`Peer ${liar.slice(0, 12)} sent bytes that are not the model's; it is asked no more.`),
    })
    // For tabs that reach neither torrent nor web seed.
    await serveShards(peer.node, ({ modelId, shard, from, length }) => readShardRange(home, modelId, shard, from, length))
    const only = models[0]
    if (segment && only && segment.to > only.layers) throw new RelayError(`${only.name} has ${only.layers} layers, not ${segment.to}.`)
    peer.shell.command({
      kind: 'lend',
      lending: {
        models,
        memoryBytes,
        ...(segment && only ? { fixed: [{ modelId: only.modelId, segment }] } : {}),
        ...(options.sessionsMax === undefined ? {} : { sessionsMax: options.sessionsMax }),
        ...(options.pay?.only ? { paidOnly: true } : {}),
      },
    })
    return {
      peer,
      models,
      async close() {
        await peer.close()
        await engines.close()
        await earning?.close()
      },
    }
  } catch (error) {
    await peer.close()
    await engines.close()
    await earning?.close()
    throw error
  }
}
