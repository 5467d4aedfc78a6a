// Metainfo of the store's models, made by the rule of mesh/torrent.ts and kept beside them ($MEADOW_HOME/torrents/<id>), and the seeder that offers them to tabs.
// The seeder reads the store and writes nothing: a damaged model cannot be "repaired" from strangers.
import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import WebTorrent, { type Torrent } from 'webtorrent'
import { infoOf, makeMetainfo, pieceLengthOf, type ReadShardRange, readPiece } from '../../mesh/torrent.ts'
import { RelayError } from '../errors.ts'
import type { Store, StoredModel } from '../store.ts'

const sha1 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha1').update(bytes).digest())

/** Rule of mesh/torrent.ts that a kept file was made by; a change of the rule makes them anew. */
const ruleVersion = 1

export interface Metainfo {
  bytes: Uint8Array
  /** 40 hex digits. */
  infoHash: string
}

function shardReader(store: Store, model: StoredModel): ReadShardRange {
  return async (shard, from, to) => {
    const path = store.file(model.id, model.manifest.shards[shard]!.name)!
    const file = await open(path)
    try {
      const bytes = new Uint8Array(to - from)
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at)
        if (bytesRead === 0) throw new RelayError(`${path} is cut off.`)
        at += bytesRead
      }
      return bytes
    } finally {
      await file.close()
    }
  }
}

const making = new Map<string, Promise<Metainfo>>()

/** The metainfo of a stored model: kept, or made now (98 MB take 0.2 s) and kept. */
export function metainfoOf(store: Store, model: StoredModel): Promise<Metainfo> {
  const key = `${store.home} ${model.id}`
  const under = making.get(key)
  if (under) return under
  const promise = (async () => {
    const path = join(store.home, 'torrents', `${model.id}.v${ruleVersion}`)
    let bytes: Uint8Array | null = await readFile(path).then(
      (kept) => new Uint8Array(kept),
      () => null,
    )
    if (!bytes) {
      const read = shardReader(store, model)
      bytes = await makeMetainfo(model.id, model.manifest, read, async (piece) => {
        // Requests are answered between the pieces.
        await setImmediate()
        return sha1(piece)
      })
      await mkdir(join(store.home, 'torrents'), { recursive: true })
      await writeFile(`${path}.${process.pid}`, bytes)
      await rename(`${path}.${process.pid}`, path)
    }
    return { bytes, infoHash: createHash('sha1').update(infoOf(bytes)).digest('hex') }
  })().finally(() => making.delete(key))
  making.set(key, promise)
  return promise
}

export interface Seeder {
  /** Offers a model; once is enough. */
  seed(model: StoredModel): Promise<Metainfo>
  statistics(): { modelId: string; uploadedBytes: number; peers: number }[]
  close(): Promise<void>
}

/** Peers of one relay's seeder: each is a peer connection of some 10 MB in Node. Tabs pass on what they have. */
const seedPeersMax = 24

/** `tracker`: address of the relay's own tracker, ws://… */
export function createSeeder(store: Store, tracker: string): Seeder {
  const client = new WebTorrent({
    dht: false,
    lsd: false,
    utPex: false,
    utp: false,
    natUpnp: false,
    natPmp: false,
    maxConns: seedPeersMax,
    tracker: { rtcConfig: { iceServers: [] } },
  })
  client.on('error', (error: Error) => console.error(`seeder: ${error.message}`))
  // Tabs come through WebRTC; the library's TCP door would be one more open port.
  client.on('listening', () => client._connPool?.tcpServer.close())
  const torrents = new Map<string, Torrent>()
  return {
    async seed(model) {
      const metainfo = await metainfoOf(store, model)
      if (!torrents.has(model.id)) {
        const shardBytes = model.manifest.shards.map((shard) => shard.bytes)
        const pieceLength = pieceLengthOf(shardBytes.reduce((sum, bytes) => sum + bytes, 0))
        const read = shardReader(store, model)
        const torrent = client.add(metainfo.bytes, {
          announce: [tracker],
          store: readOnlyStore((index) => readPiece(shardBytes, pieceLength, index, read)),
          // Shards are checked by SHA-256 when they are installed, pieces by whoever gets them.
          skipVerify: true,
          storeCacheSlots: 16,
        })
        torrent.on('error', (error: Error) => console.error(`seeder: ${error.message}`))
        torrent.on('warning', () => {})
        torrents.set(model.id, torrent)
      }
      return metainfo
    },
    statistics: () => [...torrents].map(([modelId, torrent]) => ({ modelId, uploadedBytes: torrent.uploaded, peers: torrent.numPeers })),
    close: () => new Promise((resolve) => client.destroy(() => resolve())),
  }
}

type Done<T = undefined> = (error: Error | null, value?: T) => void

/** abstract-chunk-store over a store's shards. */
function readOnlyStore(read: (index: number) => Promise<Uint8Array>) {
  return class {
    readonly chunkLength: number
    constructor(chunkLength: number) {
      this.chunkLength = chunkLength
    }
    get(index: number, options: { offset?: number; length?: number } | null | Done<Uint8Array>, done?: Done<Uint8Array>): void {
      const answer = (typeof options === 'function' ? options : done)!
      const { offset = 0, length } = typeof options === 'function' || !options ? {} : options
      read(index).then(
        (piece) => answer(null, piece.subarray(offset, length === undefined ? undefined : offset + length)),
        (error: Error) => answer(error),
      )
    }
    put(_index: number, _bytes: Uint8Array, done: Done): void {
      done(new Error('this store is read only'))
    }
    close(done: Done): void {
      done(null)
    }
    destroy(done: Done): void {
      done(null)
    }
  }
}
