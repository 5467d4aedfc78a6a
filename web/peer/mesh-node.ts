// The page's libp2p node, the network of peers over it, and the machine that drives it. A module of its own, since it brings all of libp2p: it is loaded after the
// person asked to take part.
import { createNetwork, type Network } from '../../mesh/network.ts'
import { createMeshNode } from '../../mesh/node.ts'
import { libp2pKey } from '../../mesh/peer-key.ts'
import { createShardFetcher, type ShardFetcher } from '../../mesh/shard-fetch.ts'
import { serveShards } from '../../mesh/shard-stream.ts'
import { createShell, type Engines, type Shell, type Vault } from '../../mesh/shell.ts'
import { meshTransports } from '../../mesh/transports.ts'
import { fromHex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { frameBytesMax } from '../../protocol/limits.ts'
import type { Notice, PeerOptions } from '../../protocol/peer/machine.ts'
import { Peer } from '../../protocol/peer/peer.ts'
import { networkOf, type Presence } from '../../protocol/peer/presence.ts'
import { nextTask } from '../ui/next-task.ts'
import type { Identity } from './identity.ts'
import type { MeshConfig } from './mesh-config.ts'

/** Browsers cap at 100 connections; the rest is room for torrents. */
const connectionsMax = 64
/** Of these to other peers of the mesh: browsers refuse new ones after some hundreds, and every one takes memory (swarm.md i). */
const linksMax = 24

export interface PeerInit {
  config: MeshConfig
  identity: Identity
  /** 32 hex digits, or null for the open mesh. */
  invitation: string | null
  engines?: Engines
  /** Bytes of a shard for a peer that asks for them directly; null when they are not here. */
  readShard?: (modelId: string, shard: string, from: number, length: number) => Promise<Uint8Array | null>
  earnings?: PeerOptions['earnings']
  vault?: Vault
  onNotice: (notice: Notice) => void
}

export interface OpenedPeer {
  network: Network
  shell: Shell
  /** What others have said of themselves, as far as it came here. */
  presences(): Presence[]
  /** Whole shards from peers that hold their layers, for when torrents bring nothing; null where bytes cannot be checked. */
  shards: ShardFetcher | null
  /** Ends the peer connections at once, without waiting for anything. The relay's socket stays for what is still to be said. */
  hangUp(): void
}

/** Starts the node and dials the relays. */
export async function openPeer({ config, identity, invitation, engines, readShard, earnings, vault, onNotice }: PeerInit): Promise<OpenedPeer> {
  const { secret } = identity
  const group = invitation === null ? null : fromHex(invitation)
  const networkName = networkOf(group)
  // The first use of a key costs its tables (some 20 ms), all of libp2p as much again: one after the other, not in one task.
  await nextTask()
  const publicKey = publicKeyOf(secret)
  await nextTask()
  const machine = new Peer({
    secret,
    seed: crypto.getRandomValues(new Uint8Array(32)),
    boot: Math.floor(Date.now() / 1000),
    invitation: group,
    earnings,
    linksMax,
  })
  const node = await createMeshNode({
    privateKey: libp2pKey(secret, publicKey),
    transports: meshTransports({ iceServers: config.iceServers }),
    listen: ['/p2p-circuit', '/webrtc'],
    connectionsMax,
    gossip: 'leaf',
  })
  await nextTask()
  await node.start()
  await nextTask()
  if (readShard) await serveShards(node, ({ modelId, shard, from, length }) => readShard(modelId, shard, from, length))
  const network = createNetwork({
    node,
    network: networkName,
    relays: config.relays,
    frameBytesMax,
    // The machine's own table judges: what it has taken need not be checked again.
    validate: (bytes) => machine.judge(bytes, performance.now()),
    // The page's policy lets it open WebSockets to its own relay only; everyone else is reached by WebRTC.
    dialable: (address) => address.includes('/p2p-circuit') || !/\/wss?(\/|$)/.test(address),
  })
  const hangUp = (): void => {
    for (const connection of node.getConnections()) if (connection.remoteAddr.toString().includes('/webrtc')) connection.abort(new Error('the page is gone'))
  }
  const presences = () => machine.table.all()
  const sha256 = async (bytes: Uint8Array<ArrayBuffer>) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  // Without a secure page there is no such hash, and the store checks again anyway; but who lied would not be known.
  const shards = isSecureContext ? createShardFetcher({ node, network, presences, sha256 }) : null
  return { network, shell: createShell({ network, machine, engines, onNotice, vault }), presences, shards, hangUp }
}
