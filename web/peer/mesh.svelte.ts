// This page's part in the mesh, as rune state: one peer that may lend and ask. Nothing of libp2p is loaded before `join`.
import type { Network } from '../../mesh/network.ts'
import type { ShardFetcher } from '../../mesh/shard-fetch.ts'
import type { Engines, Shell, Vault } from '../../mesh/shell.ts'
import type { Notice, PeerEvent, PeerKey, PeerOptions } from '../../protocol/peer/machine.ts'
import type { Presence } from '../../protocol/peer/presence.ts'
import type { Identity } from './identity.ts'
import { fetchMeshConfig, type MeshConfig, onePerRelay } from './mesh-config.ts'

export type MeshStatus = 'out' | 'joining' | 'in' | 'left'

export interface JoinOptions {
  /** What lends; none: the page only asks. */
  engines?: Engines
  /** Bytes of a shard for a peer that asks for them directly; null when they are not here. */
  readShard?: (modelId: string, shard: string, from: number, length: number) => Promise<Uint8Array | null>
  /** 32 hex digits of a private group's secret, null for the open mesh. */
  invitation?: string | null
  /** Into what this page is paid as a host, and where it keeps vouchers. */
  earnings?: PeerOptions['earnings']
  vault?: Vault
}

export class Mesh {
  status = $state<MeshStatus>('out')
  /** Why joining failed, a sentence, or ''. */
  problem = $state('')
  /** Relays and whether they are reached. Without one, peers stay connected to each other. */
  relays = $state<{ address: string; up: boolean; reason: string }[]>([])
  /** Peers with a direct connection. */
  connected = $state<PeerKey[]>([])
  /** Peers this one knows of. */
  known = $state(0)
  key = $state<PeerKey | null>(null)
  private: boolean = $state(false)

  identity: Identity | null = null
  config: MeshConfig | null = null
  network: Network | null = null
  /** Whole shards from peers; null before `join`. */
  shards: ShardFetcher | null = null
  private shell: Shell | null = null
  private presences: (() => Presence[]) | null = null
  private hangUp: (() => void) | null = null
  private joining: Promise<void> | null = null
  private readonly listeners = new Set<(notice: Notice) => void>()
  private readonly takeIdentity: (() => Promise<Identity>) | null

  /** `takeIdentity`: who this page is, when it must not be kept (embed); left out, the browser's own key. */
  constructor(takeIdentity: (() => Promise<Identity>) | null = null) {
    this.takeIdentity = takeIdentity
  }

  /** Takes part. Resolves once the network stands; reaching a relay comes after (`relays`). Throws with a sentence, also shown as `problem`. */
  join(options: JoinOptions = {}): Promise<void> {
    this.joining ??= this.start(options).catch((error: Error) => {
      this.joining = null
      this.status = 'out'
      this.problem = error.message
      throw error
    })
    return this.joining
  }

  private async start({ engines, readShard, invitation = null, earnings, vault }: JoinOptions): Promise<void> {
    this.status = 'joining'
    this.problem = ''
    this.private = invitation !== null
    const [config, { takeIdentity }, { openPeer }] = await Promise.all([fetchMeshConfig(), import('./identity.ts'), import('./mesh-node.ts')])
    this.config = { ...config, relays: onePerRelay(config.relays) }
    this.identity = await (this.takeIdentity ?? takeIdentity)()
    const { network, shell, presences, shards, hangUp } = await openPeer({
      config: this.config,
      identity: this.identity,
      invitation,
      engines,
      readShard,
      earnings,
      vault,
      onNotice: (notice) => this.hear(notice),
    })
    this.key = network.self
    this.network = network
    this.relays = this.config.relays.map((address) => ({ address, up: false, reason: '' }))
    network.subscribe((event) => {
      if (event.kind === 'connected' || event.kind === 'disconnected') this.connected = network.peers()
      if (event.kind === 'relay')
        this.relays = this.relays.map((relay) =>
          relay.address === event.address ? { address: relay.address, up: event.up, reason: sayable(event.reason) } : relay,
        )
    })
    this.shell = shell
    this.presences = presences
    this.shards = shards
    this.hangUp = hangUp
    this.status = 'in'
  }

  private hear(notice: Notice): void {
    if (notice.of === 'mesh' && notice.what === 'peers') this.known = notice.known
    for (const listener of this.listeners) listener(notice)
  }

  /** What peers have said of themselves, as far as this page heard; nothing before `join`. */
  heard(): Presence[] {
    return this.presences?.() ?? []
  }

  /** Facts for people, as they happen. Returns how to stop listening. */
  subscribe(listener: (notice: Notice) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Gives this page's peer a command. Throws before `join`. */
  command(event: PeerEvent): void {
    if (!this.shell) throw new Error('This page has not joined the mesh.')
    this.shell.command(event)
  }

  get reached(): boolean {
    return this.relays.some((relay) => relay.up)
  }

  /** Says goodbye and closes all connections. The page may join again. */
  async leave(): Promise<void> {
    const { shell, network } = this
    this.shell = null
    this.network = null
    this.presences = null
    this.shards = null
    this.hangUp = null
    this.joining = null
    await shell?.leave()
    await network?.close()
    this.connected = []
    this.relays = []
    this.status = shell ? 'left' : 'out'
  }

  /**
   * For `pagehide`, when nothing that waits will run any more: the goodbye, by the relay, and the end of all peer connections. Left open, they would look alive to the
   * others for some 20 s (measured), in which this browser's next page, under the same name, could not be reached.
   */
  goodbye(): void {
    void this.shell?.leave()
    this.hangUp?.()
  }
}

/** A failed WebSocket tells nothing but that it failed: an event, whose name is no reason. */
const sayable = (reason: string): string => (reason.startsWith('[object') ? '' : reason)
