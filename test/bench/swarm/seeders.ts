// Seeders of which half send flipped bytes: every download must complete, and no bad byte may pass the check that stands before the engine.
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import WebTorrent from 'webtorrent'
import { pieceLengthOf, readPiece } from '../../../mesh/torrent.ts'
import { metainfoOf } from '../../../relay/mesh/torrents.ts'
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { type BenchModel, randomFrom } from './fleet.ts'

const leechers = 2
const patienceMs = 240_000

const clientOptions = { dht: false, lsd: false, utPex: false, utp: false, natUpnp: false, natPmp: false, tracker: false }

export async function corruptBars(model: BenchModel, seed: number, say: (line: string) => void): Promise<Bar[]> {
  const random = randomFrom(seed)
  const { store, id, manifest } = model
  const stored = (await store.list()).find((one) => one.id === id)!
  const { bytes } = await metainfoOf(store, stored)
  const shardBytes = manifest.shards.map((shard) => shard.bytes)
  const pieceLength = pieceLengthOf(shardBytes.reduce((sum, one) => sum + one, 0))
  const total = shardBytes.reduce((sum, one) => sum + one, 0)
  const read = async (shard: number, from: number, to: number): Promise<Uint8Array> => {
    const file = await open(store.file(id, manifest.shards[shard]!.name)!)
    try {
      const out = new Uint8Array(to - from)
      await file.read(out, 0, out.length, from)
      return out
    } finally {
      await file.close()
    }
  }
  let flipped = 0
  const clients: WebTorrent[] = []
  // Over TCP and without a tracker: what is measured is what becomes of bad bytes, not how peers meet.
  const ports: number[] = []
  const seedFrom = (corrupt: boolean): Promise<void> => {
    const client = new WebTorrent(clientOptions)
    clients.push(client)
    client.on('error', () => {})
    return new Promise((resolve) => {
      client.add(
        bytes,
        {
          announce: [],
          skipVerify: true,
          store: memoryStore(async (index) => {
            const piece = await readPiece(shardBytes, pieceLength, index, read)
            if (corrupt && random() < 0.5) {
              piece[Math.floor(random() * piece.length)]! ^= 1 << Math.floor(random() * 8)
              flipped++
            }
            return piece
          }),
        },
        () => {
          ports.push((client._connPool!.tcpServer.address() as AddressInfo).port)
          resolve()
        },
      )
    })
  }
  try {
    await Promise.all([seedFrom(false), seedFrom(true), seedFrom(false), seedFrom(true)])
    let complete = 0
    let bad = 0
    const startMs = performance.now()
    await Promise.all(
      Array.from({ length: leechers }, async () => {
        const client = new WebTorrent(clientOptions)
        clients.push(client)
        client.on('error', () => {})
        const pieces = new Map<number, Uint8Array>()
        const done = await new Promise<boolean>((resolve) => {
          const torrent = client.add(bytes, { announce: [], store: memoryStore(async (index) => pieces.get(index)!, pieces) })
          torrent.on('done', () => resolve(true))
          torrent.on('ready', () => {
            for (const port of ports) torrent.addPeer(`127.0.0.1:${port}`)
          })
          setTimeout(() => resolve(false), patienceMs).unref()
        })
        if (done) complete++
        // What stands before the engine: SHA-256 of every shard against the manifest.
        const all = Buffer.concat(Array.from({ length: Math.ceil(total / pieceLength) }, (_, i) => pieces.get(i) ?? new Uint8Array()))
        let at = 0
        for (const shard of manifest.shards) {
          const own = all.subarray(at, at + shard.bytes)
          at += shard.bytes
          if (done && !createHash('sha256').update(own).digest().equals(shard.sha256)) bad += own.length
        }
      }),
    )
    say(`${leechers} downloads of ${total} bytes in ${((performance.now() - startMs) / 1000).toFixed(1)} s; ${flipped} flipped pieces were sent`)
    return [
      atLeast(`downloads complete with half of the seeders corrupt, of ${leechers}`, complete, `of ${leechers}`, leechers),
      atMost('bad bytes that reached the check before the engine as whole shards', bad, 'bytes', 0),
      atLeast('flipped pieces that were sent (the bar is not empty)', flipped, 'pieces', 1),
    ]
  } finally {
    for (const client of clients) client.destroy()
  }
}

type Done<T = undefined> = (error: Error | null, value?: T) => void

/** abstract-chunk-store over a function; with `pieces` it takes what comes. */
function memoryStore(read: (index: number) => Promise<Uint8Array>, pieces?: Map<number, Uint8Array>) {
  return class {
    readonly chunkLength: number
    constructor(chunkLength: number) {
      this.chunkLength = chunkLength
    }
    get(index: number, options: { offset?: number; length?: number } | null | Done<Uint8Array>, done?: Done<Uint8Array>): void {
      const answer = (typeof options === 'function' ? options : done)!
      const { offset = 0, length } = typeof options === 'function' || !options ? {} : options
      if (pieces && !pieces.has(index)) return answer(new Error('not here yet'))
      read(index).then(
        (piece) => answer(null, piece.subarray(offset, length === undefined ? undefined : offset + length)),
        (error: Error) => answer(error),
      )
    }
    put(index: number, bytes: Uint8Array, done: Done = () => {}): void {
      pieces?.set(index, bytes.slice())
      done(null)
    }
    close(done: Done = () => {}): void {
      done(null)
    }
    destroy(done: Done = () => {}): void {
      done(null)
    }
  }
}
