// The page's changes to WebTorrent's wires, on WebTorrent itself (its build for Node, over TCP): larger blocks, messages put together, the same bytes.
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import WebTorrent from 'webtorrent'
import { pieceLengthOf } from '../../mesh/torrent.ts'
import { blockBytes, joinMessages, plainBlockBytes, useLargeBlocks } from '../../web/peer/torrent-wire.ts'

const options = { dht: false, lsd: false, utPex: false, utp: false, natUpnp: false, natPmp: false, tracker: false }
const clients: WebTorrent[] = []
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => new Promise<void>((resolve) => client.destroy(() => resolve()))))
})

const pieceBytes = 256 << 10
/** Some pieces and a short last one, of which no two blocks are alike. */
const content = new Uint8Array(5 * pieceBytes + 70_001)
for (let i = 0; i < content.length; i++) content[i] = (i ^ (i >> 8) ^ (i >> 15)) & 255

type Done<T = undefined> = (error: Error | null, value?: T) => void

/** abstract-chunk-store in memory, so that what one test fetched is no other's. */
class MemoryStore {
  readonly chunkLength: number
  private readonly pieces = new Map<number, Uint8Array>()
  constructor(chunkLength: number) {
    this.chunkLength = chunkLength
  }
  put(index: number, bytes: Uint8Array, done: Done = () => {}): void {
    this.pieces.set(index, bytes.slice())
    queueMicrotask(() => done(null))
  }
  get(index: number, options: { offset?: number; length?: number } | null | Done<Uint8Array>, done?: Done<Uint8Array>): void {
    const answer = (typeof options === 'function' ? options : done)!
    const { offset = 0, length } = typeof options === 'function' || !options ? {} : options
    const piece = this.pieces.get(index)
    queueMicrotask(() => (piece ? answer(null, piece.subarray(offset, length === undefined ? undefined : offset + length)) : answer(new Error('not here'))))
  }
  close(done: Done = () => {}): void {
    done(null)
  }
  destroy(done: Done = () => {}): void {
    done(null)
  }
}

interface Heard {
  /** Bytes of each block that the leecher asked for. */
  lengths: number[]
  /** Messages that the leecher sent, whatever is in them. */
  messages: number
  bytes: Uint8Array
  large: boolean
}

interface Emitter {
  on(event: string, listener: (...values: never[]) => void): void
}
interface Seeded extends Emitter {
  torrentFile: Uint8Array
}
interface Fetched extends Emitter {
  addPeer(address: string): void
  files: { arrayBuffer(): Promise<ArrayBuffer> }[]
}
interface Client {
  seed(bytes: Uint8Array, options: object, done: (torrent: Seeded) => void): void
  add(metainfo: Uint8Array, options: object): Fetched
  _connPool: { tcpServer: { address(): AddressInfo } }
}

async function fetchAll(changed: boolean): Promise<Heard> {
  const [from, to] = [new WebTorrent(options), new WebTorrent(options)]
  clients.push(from, to)
  const [seeder, leecher] = [from, to] as unknown as [Client, Client]
  const heard: Heard = { lengths: [], messages: 0, bytes: new Uint8Array(), large: false }
  const seeded = await new Promise<Seeded>((resolve) =>
    seeder.seed(Buffer.from(content), { name: 'content', pieceLength: pieceBytes, announce: [], store: MemoryStore }, resolve),
  )
  seeded.on('wire', (wire: Emitter) => {
    if (changed) joinMessages(wire)
    wire.on('request', (_index: number, _offset: number, length: number) => heard.lengths.push(length))
  })
  const torrent = leecher.add(seeded.torrentFile, { announce: [], store: MemoryStore })
  torrent.on('wire', (wire: Emitter & { push(data: Uint8Array): boolean }) => {
    if (changed) joinMessages(wire)
    const { push } = wire
    wire.push = (data) => {
      heard.messages++
      return push.call(wire, data)
    }
  })
  await new Promise<void>((resolve) => {
    torrent.on('ready', () => {
      if (changed) heard.large = useLargeBlocks(torrent)
      torrent.addPeer(`127.0.0.1:${seeder._connPool.tcpServer.address().port}`)
    })
    torrent.on('done', () => resolve())
  })
  heard.bytes = new Uint8Array(await torrent.files[0].arrayBuffer())
  return heard
}

test('a tab asks for blocks three times as large, in fewer messages, and the bytes are the same', async () => {
  expect(pieceLengthOf(98_362_432)).toBe(pieceBytes)
  // The methods of pieces are shared: the control comes first.
  const plain = await fetchAll(false)
  expect(Math.max(...plain.lengths)).toBe(plainBlockBytes)
  const changed = await fetchAll(true)
  expect(changed.large).toBe(true)
  expect(Math.max(...changed.lengths)).toBe(blockBytes)
  expect(changed.lengths).toHaveLength(5 * Math.ceil(pieceBytes / blockBytes) + Math.ceil(70_001 / blockBytes))
  expect(changed.lengths.reduce((sum, one) => sum + one, 0)).toBe(content.length)
  expect(changed.messages).toBeLessThan(plain.messages / 2)
  for (const { bytes } of [plain, changed]) expect(Buffer.from(bytes).equals(content)).toBe(true)
})
