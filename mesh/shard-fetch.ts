// Whole shards over /meadow/shard/1, from peers that hold their layers: for tabs whose torrents bring nothing, and for Node hosts before they ask the relay. One peer gives
// a whole shard, so that when its SHA-256 is not the manifest's there is no doubt who sent bad bytes: that peer is asked no more, and the next one is.
import { equalBytes } from '../protocol/hash.ts'
import type { Manifest } from '../protocol/model/manifest.ts'
import type { Presence } from '../protocol/peer/presence.ts'
import type { Network } from './network.ts'
import type { MeshNode } from './node.ts'
import { peerIdOf } from './peer-key.ts'
import { fetchShardRange, rangeBytesMax, ShardRefused } from './shard-stream.ts'

/** Ranges under way of one peer: as many as it answers at once. */
const rangesAtOnce = 2
const dialMsMax = 8000
/** Peers tried for one shard: beyond that the web seed is quicker. */
const peersTried = 4

export interface ShardFetcherOptions {
  node: MeshNode
  network: Pick<Network, 'self' | 'connect' | 'peers' | 'subscribe'>
  presences: () => readonly Presence[]
  sha256: (bytes: Uint8Array<ArrayBuffer>) => Promise<Uint8Array> | Uint8Array
  /** A peer sent bytes that are not the shard's. */
  onLiar?: (peer: string) => void
}

/** Peers that must have a shard, by the layers they say they hold; the tokenizer is nobody's by rule, so all are worth asking. Pure. */
export function shardHolders(presences: readonly Presence[], modelId: string, { core, shards }: Manifest, index: number): Presence[] {
  const { name } = shards[index]!
  const layer = /^layer-(\d+)$/.exec(name)?.[1]
  return presences.filter((one) =>
    one.held.some(({ modelId: id, from, to, ready }) => {
      if (id !== modelId || !ready) return false
      if (layer !== undefined) return from <= Number(layer) && Number(layer) < to
      const tail = to === core.layers
      return name === 'head' ? tail : name === 'embed' ? from === 0 || (tail && core.tied) : true
    }),
  )
}

export interface ShardFetcher {
  /** The bytes of a shard, checked; null when no peer gives it. Throws the signal's reason. `onProgress`: bytes of it so far and from whom, which may go back when a peer is given up. */
  fetch(
    modelId: string,
    manifest: Manifest,
    index: number,
    onProgress: (loaded: number, peer: string) => void,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer> | null>
}

export function createShardFetcher({ node, network, presences, sha256, onLiar }: ShardFetcherOptions): ShardFetcher {
  /** Asked no more: those that sent bad bytes. */
  const liars = new Set<string>()

  /** Whether a direct connection to it stands, dialing when there is none. */
  const reach = (one: Presence, signal: AbortSignal): Promise<boolean> => {
    if (network.peers().includes(one.peer)) return Promise.resolve(true)
    return new Promise((resolve) => {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(dialMsMax)])
      const end = (reached: boolean): void => {
        unsubscribe()
        patience.removeEventListener('abort', late)
        resolve(reached)
      }
      const late = (): void => end(false)
      const unsubscribe = network.subscribe((event) => {
        if ((event.kind === 'connected' || event.kind === 'connectFailed') && event.peer === one.peer) end(event.kind === 'connected')
      })
      patience.addEventListener('abort', late)
      network.connect(one.peer, one.addresses)
    })
  }

  /** All of a shard from one peer. Throws ShardRefused, or the signal's reason. */
  const take = async (
    peer: string,
    modelId: string,
    shard: { name: string; bytes: number },
    onProgress: (loaded: number) => void,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> => {
    const bytes = new Uint8Array(shard.bytes)
    const id = peerIdOf(peer)
    let next = 0
    let loaded = 0
    const failing = new AbortController()
    const both = AbortSignal.any([signal, failing.signal])
    const run = async (): Promise<void> => {
      while (next < bytes.length) {
        const from = next
        next = Math.min(bytes.length, from + rangeBytesMax)
        const request = { modelId, shard: shard.name, from, length: next - from }
        bytes.set(await fetchShardRange(node, id, request, both), from)
        loaded += request.length
        onProgress(loaded)
      }
    }
    try {
      await Promise.all(Array.from({ length: rangesAtOnce }, run))
    } finally {
      failing.abort(new ShardRefused('another range of it failed'))
    }
    return bytes
  }

  return {
    async fetch(modelId, manifest, index, onProgress, signal) {
      const shard = manifest.shards[index]!
      const connected = new Set(network.peers())
      const candidates = shardHolders(presences(), modelId, manifest, index)
        .filter((one) => one.peer !== network.self && !liars.has(one.peer))
        // Connected ones first; of the others, not all askers the same one.
        .map((one) => ({ one, rank: connected.has(one.peer) ? -1 : Math.random() }))
        .sort((a, b) => a.rank - b.rank)
      for (const { one } of candidates.slice(0, peersTried)) {
        signal.throwIfAborted()
        onProgress(0, one.peer)
        try {
          if (!(await reach(one, signal))) continue
          const bytes = await take(one.peer, modelId, shard, (loaded) => onProgress(loaded, one.peer), signal)
          if (equalBytes(await sha256(bytes), shard.sha256)) return bytes
          liars.add(one.peer)
          onLiar?.(one.peer)
        } catch (error) {
          signal.throwIfAborted()
          if (!(error instanceof ShardRefused)) throw error
        }
      }
      signal.throwIfAborted()
      return null
    },
  }
}
