// Shards from other tabs: one torrent per model, only the files of the wanted layers selected. When it brings nothing, peers of the mesh are asked for whole shards
// (/meadow/shard/1), and the relay's web seed last. WebTorrent moves and hashes pieces; where they lie, and whether a shard may be used, is the store worker's business. Loads webtorrent (223 kB) when the first model is wanted.
import type { Torrent, Wire } from 'webtorrent/dist/webtorrent.min.js'
import { Blame } from '../../mesh/blame.ts'
import type { ShardFetcher } from '../../mesh/shard-fetch.ts'
import { pieceLengthOf } from '../../mesh/torrent.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import type { LendStore } from './store.ts'
import { TorrentError } from './torrent-error.ts'
import { chunkStore } from './torrent-store.ts'
import { tune } from './torrent-tuning.ts'
import { joinMessages } from './torrent-wire.ts'

/**
 * Without a byte for this long peers of the mesh are asked for whole shards, and after as long again, or when none gives any, the relay's web seed: sooner when no peer of
 * the torrent is there at all. The jitter keeps tabs that start together from asking together.
 */
const seedAfterMs = { alone: 1200, stalled: 2500 }
const seedJitterMs = 1200
/** Peers that gave nothing are asked again after this long. */
const askAgainMs = 10_000
/** Progress is looked at so often. */
const lookMs = 500
/** What one Meadow peer is called among torrents: the rest is the beginning of its key, so that the page can say who gave what. */
const peerPrefix = '-MW0100-'

/** Bytes exchanged with one peer, for people. */
export interface Exchange {
  /** First 12 hex digits of its key; 'relay' for the relay's seeder and its web seed. */
  peer: string
  received: number
  sent: number
}

interface Model {
  torrent: Torrent
  blame: Blame<string>
  /** Names of shards that were asked for and are not here yet. */
  missing: Set<string>
  /** Names of shards that are this tab's to fetch. */
  claimed: Set<string>
  /** Bytes of the wanted shards that were whole. */
  bytesOf: Map<string, number>
  /** Bytes of shards that come whole from a peer of the mesh. */
  loaded: Map<string, number>
  /** When peers of the mesh were asked for whole shards (performance.now()), whether they are being asked, and how many they gave. */
  askedAt: number
  asking: boolean
  given: number
  seeded: boolean
}

export interface TorrentsOptions {
  store: LendStore
  /** WebSocket address of the relay's tracker. */
  tracker: string
  /** Own key. */
  key: string
  iceServers: { urls: string | string[]; username?: string; credential?: string }[]
  /** Whole shards from peers of the mesh; null while there is none. */
  shards: () => ShardFetcher | null
}

export class Torrents {
  private readonly options: TorrentsOptions
  private readonly models = new Map<string, Model>()
  private readonly exchanged = new Map<string, Exchange>()
  private readonly banned = new Set<string>()
  private client: Promise<InstanceType<typeof import('webtorrent/dist/webtorrent.min.js').default>> | null = null
  private uploadLimit = -1

  constructor(options: TorrentsOptions) {
    this.options = options
  }

  /** Bytes per second that may be sent; -1: no limit, 0: none. */
  async limitUpload(bytesPerSecond: number): Promise<void> {
    this.uploadLimit = bytesPerSecond
    if (this.client) (await this.client).throttleUpload(bytesPerSecond)
  }

  private open() {
    this.client ??= (async () => {
      const { default: WebTorrent } = await import('webtorrent/dist/webtorrent.min.js')
      if (!WebTorrent.WEBRTC_SUPPORT) throw new TorrentError('This browser has no WebRTC.')
      const peerId = Array.from(peerPrefix + this.options.key.slice(0, 12), (letter) => letter.charCodeAt(0).toString(16).padStart(2, '0')).join('')
      const { iceServers } = this.options
      const client = new WebTorrent({ peerId, dht: false, lsd: false, utPex: false, maxConns: 20, tracker: { rtcConfig: { iceServers } } })
      client.on('error', () => {}) // the torrent that failed says so itself
      client.throttleUpload(this.uploadLimit)
      return client
    })()
    return this.client
  }

  /** Everybody that bytes came from or went to. */
  exchanges(): Exchange[] {
    for (const { torrent } of this.models.values()) for (const wire of torrent.wires) this.count(wire)
    return [...this.exchanged.values()].filter(({ received, sent }) => received + sent > 0)
  }

  private readonly counted = new WeakMap<Wire, { received: number; sent: number }>()
  private count(wire: Wire): void {
    const name = nameOf(wire)
    const total = this.exchanged.get(name) ?? { peer: name, received: 0, sent: 0 }
    const before = this.counted.get(wire) ?? { received: 0, sent: 0 }
    total.received += wire.downloaded - before.received
    total.sent += wire.uploaded - before.sent
    this.counted.set(wire, { received: wire.downloaded, sent: wire.uploaded })
    this.exchanged.set(name, total)
  }

  /**
   * Gets shards (by index), and passes on what is here until `close`. The store must have reserved them. Resolves when all are whole and checked.
   * Throws TorrentError when torrents do not work here or the relay's metainfo is wrong; throws the signal's reason, leaving what came.
   */
  async fetch(modelId: string, manifest: Manifest, shards: number[], onProgress: (received: number, rate: number) => void, signal: AbortSignal): Promise<void> {
    const { store } = this.options
    const wanted = shards.map((index) => manifest.shards[index])
    const total = manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0)
    const pieceBytes = pieceLengthOf(total)
    const model: Partial<Model> & Pick<Model, 'missing' | 'claimed' | 'bytesOf' | 'loaded'> = this.models.get(modelId) ?? {
      missing: new Set(),
      claimed: new Set(),
      bytesOf: new Map(),
      loaded: new Map(),
    }
    for (const { name, bytes } of wanted) {
      model.missing.add(name)
      model.bytesOf.set(name, bytes)
    }
    let refuse: (error: unknown) => void = () => {}
    const refused = new Promise<never>((_, reject) => {
      refuse = reject
    })
    refused.catch(() => {})
    let decided = 0
    let allDecided: () => void = () => {}
    const deciding = new Promise<void>((resolve) => {
      allDecided = resolve
    })
    const whole = store.pieces(modelId, pieceBytes, shards, (name, state, why) => {
      if (state === 'refused') return refuse(new TorrentError(why))
      if (state === 'complete') model.missing.delete(name)
      if (state === 'claimed') {
        model.claimed.add(name)
        if (model.torrent) select(model.torrent, name)
      } else model.claimed.delete(name)
      if (++decided >= shards.length) allDecided()
    })
    whole.catch(refuse)
    const aborted = new Promise<never>((_, reject) => {
      if (signal.aborted) reject(signal.reason)
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
    aborted.catch(() => {})
    // Shards that another tab fetches are decided when it is done: the rest need not wait for them.
    await Promise.race([deciding, refused, aborted, new Promise((resolve) => setTimeout(resolve, 300))])

    if (!model.torrent) Object.assign(model, await this.add(modelId, manifest, pieceBytes, model))
    const standing = model as Model
    this.models.set(modelId, standing)
    for (const name of standing.claimed) select(standing.torrent, name)
    const looking = this.watch(modelId, manifest, standing, wanted, onProgress, signal)
    try {
      await Promise.race([whole, refused, aborted])
      onProgress(
        wanted.reduce((sum, shard) => sum + shard.bytes, 0),
        0,
      )
    } finally {
      clearInterval(looking)
    }
    if (standing.given === 0) return
    // WebTorrent knows nothing of what came whole: it begins anew with what the store has, to pass it on. Failing that, this tab has its shards all the same.
    await this.close(modelId)
    const again = await this.add(modelId, manifest, pieceBytes, standing).catch(() => null)
    if (again) this.models.set(modelId, Object.assign(standing, again))
  }

  /** Asks peers of the mesh for shards that are missing, one after the other. What they give has the manifest's SHA-256, and the store checks it again. */
  private async askPeers(modelId: string, manifest: Manifest, model: Model, signal: AbortSignal): Promise<void> {
    for (const name of [...model.claimed]) {
      const shards = this.options.shards()
      if (!shards || !model.claimed.has(name)) continue
      const index = manifest.shards.findIndex((shard) => shard.name === name)
      let from = ''
      const onProgress = (loaded: number, peer: string): void => {
        from = peer
        model.loaded.set(name, loaded)
      }
      const bytes = await shards.fetch(modelId, manifest, index, onProgress, signal)
      model.loaded.delete(name)
      if (!bytes || !model.claimed.has(name)) continue
      const received = bytes.length
      model.torrent.files.find((file) => file.name === name)?.deselect()
      await this.options.store.putWhole(modelId, index, bytes)
      model.given++
      const peer = from.slice(0, 12)
      const total = this.exchanged.get(peer) ?? { peer, received: 0, sent: 0 }
      this.exchanged.set(peer, { ...total, received: total.received + received })
    }
  }

  /** Shows progress, and asks others when nothing comes. */
  private watch(
    modelId: string,
    manifest: Manifest,
    model: Model,
    wanted: { name: string; bytes: number }[],
    onProgress: (received: number, rate: number) => void,
    signal: AbortSignal,
  ) {
    const jitter = Math.random() * seedJitterMs
    let heardAt = performance.now()
    let before = -1
    let rate = 0
    let rateAt = heardAt
    const seed = (): void => {
      if (model.seeded || model.claimed.size === 0 || model.torrent.destroyed) return
      model.seeded = true
      model.torrent.addWebSeed(`${location.origin}/models/`)
    }
    return setInterval(() => {
      const files = new Map(model.torrent.files.map((file) => [file.name, file]))
      const received = wanted.reduce(
        (sum, { name, bytes }) => sum + (model.missing.has(name) ? Math.max(files.get(name)?.downloaded ?? 0, model.loaded.get(name) ?? 0) : bytes),
        0,
      )
      const now = performance.now()
      if (before >= 0 && received !== before) {
        rate = (Math.max(0, received - before) * 1000) / (now - rateAt)
        heardAt = now
      }
      before = received
      rateAt = now
      onProgress(received, rate)
      if (model.claimed.size === 0) heardAt = now
      const patience = (model.torrent.wires.length > 0 ? seedAfterMs.stalled : seedAfterMs.alone) + jitter
      if (now - heardAt > 2 * patience) seed()
      if (now - heardAt > patience && !model.asking && now - model.askedAt > askAgainMs) {
        model.asking = true
        const asked = (): void => {
          model.asking = false
          model.askedAt = performance.now()
          seed()
        }
        this.askPeers(modelId, manifest, model, signal).then(asked, asked)
      }
    }, lookMs)
  }

  private async add(
    modelId: string,
    manifest: Manifest,
    pieceBytes: number,
    { claimed }: Pick<Model, 'claimed'>,
  ): Promise<Pick<Model, 'torrent' | 'blame' | 'askedAt' | 'asking' | 'given' | 'seeded'>> {
    const { store, tracker } = this.options
    const [client, bitfield, metainfo] = await Promise.all([this.open(), store.bitfield(modelId), fetchMetainfo(modelId)])
    const torrent = client.add(metainfo, {
      announce: tracker ? [tracker] : [],
      deselect: true,
      bitfield,
      store: chunkStore(store, modelId),
      // The store worker is the disk, and chunkStore remembers enough of it.
      storeCacheSlots: 0,
      strategy: 'rarest',
      uploads: 8,
    })
    const blame = new Blame<string>()
    const ban = (names: string[]): void => {
      for (const name of names) {
        this.banned.add(name)
        for (const wire of [...torrent.wires]) if (wire.peerId === name) wire.destroy()
      }
    }
    torrent.on('wire', (wire: Wire) => {
      if (this.banned.has(wire.peerId)) return wire.destroy()
      joinMessages(wire)
      wire.on('piece', (index: number, offset: number, bytes: Uint8Array) => blame.block(index, offset, bytes, wire.peerId))
      wire.on('close', () => this.count(wire))
    })
    torrent.on('verified', (index: number) => ban(blame.passed(index)))
    torrent.on('warning', (warning: Error) => {
      const failed = /^Piece (\d+) failed verification$/.exec(warning.message)
      if (failed) ban(blame.failed(Number(failed[1])))
    })
    await new Promise<void>((resolve, reject) => {
      torrent.on('error', (error: Error) => {
        this.models.delete(modelId)
        reject(new TorrentError(`The torrent of this model stopped (${error.message}).`))
      })
      torrent.once('ready', resolve)
    })
    tune(torrent)
    const fits =
      torrent.name === modelId &&
      torrent.pieceLength === pieceBytes &&
      torrent.files.length === manifest.shards.length &&
      manifest.shards.every(({ name, bytes }, i) => torrent.files[i].name === name && torrent.files[i].length === bytes)
    if (!fits) {
      torrent.destroy()
      throw new TorrentError('The relay’s torrent of this model does not fit its manifest.')
    }
    for (const name of claimed) select(torrent, name)
    return { torrent, blame, askedAt: Number.NEGATIVE_INFINITY, asking: false, given: 0, seeded: false }
  }

  /** No longer fetches or passes on this model. */
  async close(modelId: string): Promise<void> {
    const model = this.models.get(modelId)
    if (!model) return
    this.models.delete(modelId)
    for (const wire of model.torrent.wires) this.count(wire)
    if (!model.torrent.destroyed) await new Promise<void>((resolve) => model.torrent.destroy({}, () => resolve()))
  }

  async closeAll(): Promise<void> {
    for (const id of [...this.models.keys()]) await this.close(id)
    const client = await this.client?.catch(() => null)
    this.client = null
    if (client) await new Promise<void>((resolve) => client.destroy(() => resolve()))
  }
}

function select(torrent: Torrent, name: string): void {
  torrent.files.find((file) => file.name === name)?.select()
}

/** Peer ids come as hex of 20 bytes. */
function nameOf(wire: Wire): string {
  if (wire.type === 'webSeed') return 'relay'
  const text = String.fromCharCode(...(wire.peerId?.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)))
  return text.startsWith(peerPrefix) && /^[0-9a-f]{12}$/.test(text.slice(8)) ? text.slice(8) : 'relay'
}

async function fetchMetainfo(modelId: string): Promise<Uint8Array> {
  let response: Response
  try {
    response = await fetch(`/models/${modelId}/torrent`)
  } catch {
    throw new TorrentError('The relay cannot be reached.')
  }
  if (!response.ok) throw new TorrentError(`The relay has no torrent of this model (status ${response.status}).`)
  return new Uint8Array(await response.arrayBuffer())
}
