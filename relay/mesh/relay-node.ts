// The relay's libp2p node: bootstrap, circuit relay for signalling, gossip hub. It hosts nothing, and no activation passes through it.
import { join } from 'node:path'
import { type CircuitRelayService, circuitRelayServer } from '@libp2p/circuit-relay-v2'
import type { PeerId } from '@libp2p/interface'
import { keychain } from '@libp2p/keychain'
import { WebRTCDirect, WebSockets } from '@multiformats/multiaddr-matcher'
import { FsDatastore } from 'datastore-fs'
import { networkOfTopic, presenceTopic } from '../../mesh/group.ts'
import { setTopicScore } from '../../mesh/network.ts'
import { createMeshNode, type MeshNode } from '../../mesh/node.ts'
import { libp2pKey } from '../../mesh/peer-key.ts'
import { createPresenceGate } from '../../mesh/presence-gate.ts'
import { meshTransports, type TransportOptions } from '../../mesh/transports.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { type RelayLimits, relayLimits } from './limits.ts'

export interface RelayNode {
  readonly node: MeshNode
  /** Loopback port of the WebSocket listener, for the upgrade router. */
  readonly webSocketPort: number
  /** Addresses of webrtc-direct with their certificate's hash, without /p2p. */
  directAddresses(): string[]
  counts(): { connections: number; reservations: number; relayedRefused: number; groups: number }
}

export interface RelayNodeOptions {
  home: string
  /** Folder of its certificate under $MEADOW_HOME/mesh. */
  name: string
  secret: Uint8Array
  /** Address and UDP port of webrtc-direct; null leaves it out. Port 0 takes a free one. */
  direct: { address: string; port: number } | null
  iceServers?: TransportOptions['iceServers']
  limits?: RelayLimits
}

export async function createRelayNode(options: RelayNodeOptions): Promise<RelayNode> {
  const limits = options.limits ?? relayLimits
  const { direct } = options
  const datastore = new FsDatastore(join(options.home, 'mesh', options.name))
  await datastore.open()
  const calls = new Map<string, number[]>()
  let relayedRefused = 0

  const node = await createMeshNode({
    privateKey: libp2pKey(options.secret, publicKeyOf(options.secret)),
    // Without /webrtc: a peer connection costs Node some 40 MB, and nobody needs to call a relay.
    transports: meshTransports({ iceServers: options.iceServers }, { webrtc: false, circuit: false }),
    listen: [
      '/ip4/127.0.0.1/tcp/0/ws',
      ...(direct ? [`/${direct.address.includes(':') ? 'ip6' : 'ip4'}/${direct.address}/udp/${direct.port}/webrtc-direct`] : []),
    ],
    connectionsMax: limits.connectionsMax,
    gossip: 'hub',
    datastore,
    // The upgrade router counts WebSockets by their true addresses; here all of them come from the loopback.
    inboundPerSecondMax: 10_000,
    gater: {
      denyOutboundRelayedConnection(source) {
        const nowMs = performance.now()
        const recent = (calls.get(source.toString()) ?? []).filter((atMs) => nowMs - atMs < 60_000)
        const denied = recent.length >= limits.relayedPerMinuteMax
        if (denied) relayedRefused++
        else recent.push(nowMs)
        calls.set(source.toString(), recent)
        return denied
      },
    },
    services: {
      // Keeps the certificate's key, and with it the address of webrtc-direct.
      keychain: keychain(),
      circuit: circuitRelayServer({
        maxInboundHopStreams: limits.connectionsMax,
        maxOutboundStopStreams: limits.connectionsMax,
        reservations: {
          maxReservations: limits.reservationsMax,
          reservationTtl: limits.reservationMs,
          defaultDataLimit: BigInt(limits.relayedBytesMax),
          defaultDurationLimit: limits.relayedMsMax,
        },
      }),
    },
  })

  const { reservations } = node.services.circuit as CircuitRelayService
  node.addEventListener('peer:disconnect', ({ detail }: { detail: PeerId }) => {
    reservations.delete(detail)
    calls.delete(detail.toString())
  })
  const groups = carryGroups(node, limits.groupsMax)

  const webSocket = node.getMultiaddrs().find((address) => WebSockets.matches(address))
  const port = /\/tcp\/(\d+)\//.exec(webSocket?.toString() ?? '')?.[1]
  if (!port) throw new Error('libp2p listens on no WebSocket')
  return {
    node,
    webSocketPort: Number(port),
    directAddresses: () =>
      node
        .getMultiaddrs()
        .filter((address) => WebRTCDirect.matches(address))
        .map((address) => address.toString().replace(/\/p2p\/[^/]+$/, '')),
    counts: () => ({ connections: node.getConnections().length, reservations: reservations.size, relayedRefused, groups: groups.size }),
  }
}

/** Private groups meet on topics of their own: the relay carries those its peers are on, judges their records like its own, and lets go of empty ones. */
function carryGroups(node: MeshNode, groupsMax: number): Set<string> {
  const { pubsub } = node.services
  const carried = new Set<string>()
  pubsub.addEventListener('subscription-change', () => {
    for (const topic of pubsub.getTopics().filter((name) => carried.has(name))) {
      if (pubsub.getSubscribers(topic).length > 0) continue
      carried.delete(topic)
      pubsub.unsubscribe(topic)
      pubsub.topicValidators.delete(topic)
    }
  })
  pubsub.addEventListener('subscription-change', (({ detail }: { detail: { subscriptions: { topic: string; subscribe: boolean }[] } }) => {
    for (const { topic, subscribe } of detail.subscriptions) {
      const network = networkOfTopic(topic)
      if (!subscribe || !network || network === 'main' || carried.has(topic) || carried.size >= groupsMax) continue
      carried.add(topic)
      const gate = createPresenceGate(network, () => performance.now())
      pubsub.topicValidators.set(presenceTopic(network), (_peer, message) => gate.validate(message.data) as never)
      setTopicScore(node, topic)
      pubsub.subscribe(topic)
    }
  }) as never)
  return carried
}
