// A relay's mesh, whole: libp2p node, upgrade routing, tracker, seeder, presence table, and a requester of its own for the OpenAI door.
import { randomBytes } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { createNetwork, type Network } from '../../mesh/network.ts'
import { createRequester, type Requester } from '../../mesh/requester.ts'
import { createShell } from '../../mesh/shell.ts'
import { type KnownModel, type SwarmTable, swarmTable } from '../../mesh/swarm.ts'
import type { TransportOptions } from '../../mesh/transports.ts'
import { frameBytesMax } from '../../protocol/limits.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import { Peer } from '../../protocol/peer/peer.ts'
import type { PresenceTable } from '../../protocol/peer/presence.ts'
import { catalogue } from '../catalogue.ts'
import { say } from '../cli.ts'
import { messageOf } from '../errors.ts'
import type { Store, StoredModel } from '../store.ts'
import { takeIdentity } from './identity.ts'
import type { RelayLimits, UpgradeLimits } from './limits.ts'
import { createRelayNode, type RelayNode } from './relay-node.ts'
import { createSeeder, type Metainfo, metainfoOf, type Seeder } from './torrents.ts'
import { createTracker, type Tracker } from './tracker.ts'
import { createUpgradeRouter, type UpgradeRouter } from './upgrade.ts'

export interface RelayOptions {
  store: Store
  version: string
  /** Where webrtc-direct listens (UDP); null leaves it out. */
  direct: { address: string; port: number } | null
  /** Other relays to keep in touch with: multiaddrs ending in /p2p/<id>. */
  others?: string[]
  iceServers?: TransportOptions['iceServers']
  /** Offers the store's models as torrents. */
  seed?: boolean
  limits?: { relay?: RelayLimits; upgrade?: UpgradeLimits }
}

/** GET /mesh.json: what a page or a host must know to join. */
export interface MeshJson {
  version: string
  protocol: 1
  network: 'main'
  /** This relay's key, 64 hex digits. */
  peer: string
  /** Multiaddrs of this relay first, then of others it knows; each ends in /p2p/<id>. */
  relays: string[]
  tracker: string
  iceServers: NonNullable<TransportOptions['iceServers']>
}

export interface RelayMesh {
  readonly key: string
  readonly network: Network
  readonly requester: Requester
  readonly table: PresenceTable
  attach(server: Server): void
  /** `origin`: the address under which the asker reached this relay. */
  meshJson(origin: URL): MeshJson
  swarm(): Promise<SwarmTable>
  /** Calls `listener` when the table may have changed; returns how to stop. */
  onChange(listener: () => void): () => void
  metainfo(model: StoredModel): Promise<Metainfo>
  /** Offers the store's models from now on; called once the port is known and when a model was added. */
  seedStore(port: number): Promise<void>
  counts(): Record<string, unknown>
  /** With webrtc-direct the process is to end after this: see Network.close. */
  close(): Promise<void>
}

/** How often the table is looked at for changes: events go out at most so often. */
const tableTickMs = 500

export async function startRelayMesh(options: RelayOptions): Promise<RelayMesh> {
  const { store } = options
  const identity = await takeIdentity(store.home, 'relay')
  if (!identity.kept) say('Another relay of this MEADOW_HOME is running: this one has a key for its own lifetime only.')
  const relay: RelayNode = await createRelayNode({
    home: store.home,
    name: identity.kept ? 'relay' : `relay-${process.pid}`,
    secret: identity.secret,
    direct: options.direct,
    iceServers: options.iceServers,
    limits: options.limits?.relay,
  })
  const tracker: Tracker = createTracker()
  const router: UpgradeRouter = createUpgradeRouter(
    { meshPort: relay.webSocketPort, tracker: (request: IncomingMessage, socket: Duplex, head: Buffer) => tracker.upgrade(request, socket, head) },
    options.limits?.upgrade,
  )
  const machine = new Peer({
    secret: identity.secret,
    seed: new Uint8Array(randomBytes(32)),
    boot: Math.floor(Date.now() / 1000),
    tellsPresence: true,
  })
  const network = createNetwork({
    node: relay.node,
    network: 'main',
    relays: options.others ?? [],
    frameBytesMax,
    validate: (bytes) => machine.judge(bytes, performance.now()),
  })
  const shell = createShell({ network, machine })
  const { table } = machine
  const requester = createRequester(shell)

  const listeners = new Set<() => void>()
  let toldVersion = -1
  const ticker = setInterval(() => {
    table.expire(performance.now())
    if (table.version === toldVersion) return
    toldVersion = table.version
    for (const listener of listeners) listener()
  }, tableTickMs)
  ticker.unref()

  let seeder: Seeder | undefined
  const knownModels = async (): Promise<KnownModel[]> =>
    (await store.list()).map((model) => ({
      facts: factsOf(model.manifest, model.id),
      title: catalogue.find((entry) => entry.name === model.origin?.name)?.title ?? model.manifest.core.name,
      queue: requester.waiting(model.id),
    }))

  let swarmNow: Promise<SwarmTable> | null = null

  return {
    key: network.self,
    network,
    requester,
    table,
    attach: (server) => router.attach(server),
    meshJson(origin) {
      const id = relay.node.peerId.toString()
      const secure = origin.protocol === 'https:'
      const port = origin.port || (secure ? '443' : '80')
      const webSocket = `${hostAddress(origin.hostname)}/tcp/${port}/${secure ? 'wss' : 'ws'}/p2p/${id}`
      return {
        version: options.version,
        protocol: 1,
        network: 'main',
        peer: network.self,
        relays: [webSocket, ...relay.directAddresses().map((address) => `${address}/p2p/${id}`), ...(options.others ?? [])],
        tracker: `${secure ? 'wss' : 'ws'}://${origin.host}/tracker`,
        iceServers: options.iceServers ?? [],
      }
    },
    // Everybody who watches asks at the same tick: one look at the store serves them all.
    swarm: () => {
      swarmNow ??= knownModels()
        .then((models) => swarmTable('main', table.all(), models))
        .finally(() => {
          swarmNow = null
        })
      return swarmNow
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    metainfo: (model) => metainfoOf(store, model),
    async seedStore(port) {
      if (options.seed === false) return
      seeder ??= createSeeder(store, `ws://127.0.0.1:${port}/tracker`)
      for (const model of await store.list()) {
        try {
          tracker.know((await seeder.seed(model)).infoHash)
        } catch (error) {
          say(`${model.manifest.core.name} is not offered as a torrent: ${messageOf(error)}`)
        }
      }
    },
    counts: () => ({
      ...relay.counts(),
      webSockets: router.counts(),
      tracker: tracker.counts(),
      seeding: seeder?.statistics() ?? [],
      network: network.statistics(),
      presence: table.size,
    }),
    async close() {
      clearInterval(ticker)
      await requester.close()
      await shell.leave()
      router.close()
      await seeder?.close()
      await tracker.close()
      await network.close(options.direct === null)
      await identity.release()
    },
  }
}

function hostAddress(hostname: string): string {
  if (hostname.startsWith('[')) return `/ip6/${hostname.slice(1, -1)}`
  return /^\d+\.\d+\.\d+\.\d+$/.test(hostname) ? `/ip4/${hostname}` : `/dns/${hostname}`
}
