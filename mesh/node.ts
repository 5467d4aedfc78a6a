// One libp2p node with Meadow's settings, for tabs and Node alike: what differs (transports, listen addresses, the relay's services) is injected.
import { type GossipSub, gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import type { ConnectionGater, PrivateKey } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { yamux } from '@libp2p/yamux'
import { createLibp2p, type Libp2p, type Libp2pInit, type ServiceFactoryMap } from 'libp2p'
import { sha256 } from '../protocol/hash.ts'

/** The version libp2p's identify shows; the version of the ring protocol is checked at hello. */
export const meadowAgent = 'meadow/1'

export interface MeshServices extends Record<string, unknown> {
  pubsub: GossipSub
}
export type MeshNode = Libp2p<MeshServices>

export interface MeshNodeOptions {
  privateKey: PrivateKey
  /** Transports for this device, see mesh/transports.ts. */
  transports: NonNullable<Libp2pInit['transports']>
  listen: string[]
  /** Addresses to tell instead of those that are listened on: a proxy's, say. */
  announce?: string[]
  /** Live connections at most. A browser holds about 100; a relay as many as its limits say. */
  connectionsMax: number
  /** Extra services: circuit relay server, keychain. */
  services?: ServiceFactoryMap
  /** Where certificates and peers are remembered; memory when left out. */
  datastore?: Libp2pInit['datastore']
  /** What may be dialed or let in beside the defaults. */
  gater?: ConnectionGater
  /**
   * `leaf` peers keep gossipsub's usual degree. A `hub` sends every message to everyone connected: its peers know mostly the hub, and a degree of 6 would
   * leave 290 of 300 to the lazy path, which loses messages (gossip goes to a quarter of them, for three heartbeats).
   */
  gossip: 'leaf' | 'hub'
  /** Connections a second that one address may open. A relay counts by itself, before libp2p sees them. */
  inboundPerSecondMax?: number
}

/** Bytes of one gossip RPC: presence records are a few hundred bytes, control messages list ids. Larger ones are a flood. */
const gossipBytesMax = 64 << 10

/** Starts nothing that dials: relays are dialed by mesh/network.ts. Throws when a listen address cannot be taken. */
export async function createMeshNode(options: MeshNodeOptions): Promise<MeshNode> {
  const { connectionsMax, gossip } = options
  const node = await createLibp2p({
    privateKey: options.privateKey,
    nodeInfo: { userAgent: meadowAgent },
    addresses: { listen: options.listen, announce: options.announce ?? [] },
    transports: options.transports,
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    ...(options.datastore ? { datastore: options.datastore } : {}),
    // A browser's default gater refuses ws:// and private addresses: a relay in the house has both.
    connectionGater: { denyDialMultiaddr: () => false, ...options.gater },
    // Not all listen addresses exist everywhere (no UDP in a container): what works is enough.
    transportManager: { faultTolerance: 1 },
    connectionManager: {
      maxConnections: connectionsMax,
      maxIncomingPendingConnections: 64,
      inboundConnectionThreshold: options.inboundPerSecondMax ?? 20,
      // Presence tells addresses; dead ones must not hold a dial for 6 s each.
      addressDialTimeout: 4_000,
      dialTimeout: 10_000,
      // Reconnecting to relays is mesh/network.ts's work: libp2p gives up after five tries.
      reconnectRetries: 0,
    },
    // A host that computes may not answer a ping at once; peers judge silence by the ring's own clock. This finds only connections that are long dead.
    connectionMonitor: { pingInterval: 20_000, pingTimeout: { minTimeout: 20_000, maxTimeout: 60_000 } },
    services: {
      ...options.services,
      identify: identify({ maxInboundStreams: 4, maxOutboundStreams: 4 }),
      ping: ping(),
      pubsub: gossipsub({
        // The records are signed by their makers; a second signature would say who passed on the first.
        globalSignaturePolicy: 'StrictNoSign',
        msgIdFn: (message) => sha256(message.data),
        allowPublishToZeroTopicPeers: true,
        ignoreDuplicatePublishError: true,
        emitSelf: false,
        fallbackToFloodsub: false,
        floodPublish: true,
        maxInboundDataLength: gossipBytesMax,
        decodeRpcLimits: {
          maxSubscriptions: 300,
          maxMessages: 512,
          maxIhaveMessageIDs: 2_000,
          maxIwantMessageIDs: 2_000,
          maxIdontwantMessageIDs: 512,
          maxControlMessages: 512,
          maxPeerInfos: 16,
        },
        ...(gossip === 'hub' ? { D: connectionsMax, Dlo: 8, Dhi: connectionsMax * 2, Dscore: 4, Dout: 0, gossipFactor: 0.05 } : {}),
        // Three invalid messages within a few seconds and a peer is heard no more for a while; quiet is no offence, nor is sharing an address (a house, a proxy).
        scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyDecay: 0.9 },
      }),
    },
  })
  return node as unknown as MeshNode
}

/** Score of a topic whose invalid messages are the only thing that counts. Every field is there: gossipsub computes NaN, and then speaks to nobody, without. */
export const presenceTopicScore = {
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 1_000,
  timeInMeshCap: 300,
  firstMessageDeliveriesWeight: 0,
  firstMessageDeliveriesDecay: 0.5,
  firstMessageDeliveriesCap: 100,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 100,
  meshMessageDeliveriesThreshold: 20,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 5_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.95,
}
