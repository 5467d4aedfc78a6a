// Shards that come as pieces of a torrent, and go out again as such: the bytes lie once, in the store. A shard counts only when all of it has the manifest's SHA-256,
// because a torrent's own SHA-1 hashes come from whoever made the torrent. Tabs share the work: one of them fetches a shard, by lock, the others wait for it.
import { hex } from '../../../protocol/hash.ts'
import type { Manifest, Shard } from '../../../protocol/model/manifest.ts'
import type { Catalogue, ShardRecord } from './catalogue.ts'
import { locked } from './download.ts'
import { StoreError } from './errors.ts'
import type { ShardFiles, ShardPart } from './files.ts'
import { bytesOf, covers, PieceLayout, type Range, withRange } from './layout.ts'
import { digest } from './source.ts'

/** What came of a shard is written down so often: each record is a transaction, and those of every piece cost as much as the pieces (1.2 s for 98 MB). */
const recordMs = 1000

/** A shard that this tab fetches: its lock is held until `release`. */
interface Claim {
  part: ShardPart
  ranges: Range[]
  /** When `ranges` were last written down (performance.now()), and whether they have changed since. */
  recordedAt: number
  changed: boolean
  release(): void
}

export interface PieceStoreOptions {
  db: Catalogue
  files: ShardFiles
  modelId: string
  manifest: Manifest
  pieceBytes: number
  /** A shard is ours to fetch, or here, or was refused (`why` says it in a sentence). */
  onShard: (name: string, state: 'claimed' | 'complete' | 'refused', why: string) => void
}

export class PieceStore {
  readonly layout: PieceLayout
  private readonly options: PieceStoreOptions
  private readonly claims = new Map<string, Claim>()
  private readonly blobs = new Map<string, Blob>()
  private readonly closing = new AbortController()
  /** Writes of one shard come one after the other. */
  private tail: Promise<unknown> = Promise.resolve()

  constructor(options: PieceStoreOptions) {
    this.options = options
    this.layout = new PieceLayout(options.manifest, options.pieceBytes)
  }

  private record(name: string): Promise<ShardRecord | undefined> {
    return this.options.db.get('shards', [this.options.modelId, name])
  }

  private async blob(shard: Shard): Promise<Blob | null> {
    const { files, modelId } = this.options
    const known = this.blobs.get(shard.name)
    if (known) return known
    if (!(await this.record(shard.name))?.complete) return null
    const blob = await files.open(modelId, shard.name)
    if (blob?.size !== shard.bytes) return null
    this.blobs.set(shard.name, blob)
    return blob
  }

  /** Asks for a shard: `onShard` says when it is this tab's to fetch, or when it is here because another tab got it. Resolves when that is decided. */
  async want(index: number): Promise<void> {
    const { db, files, modelId, manifest, onShard } = this.options
    const shard = manifest.shards[index]
    const { name } = shard
    if (this.claims.has(name)) return
    await new Promise<void>((decided, failed) => {
      const work = async (): Promise<void> => {
        if (await this.blob(shard)) {
          onShard(name, 'complete', '')
          return decided()
        }
        const known = await this.record(name)
        // A download over HTTP left the beginning of the shard: the pieces are another way, and both would need the room.
        if (!known?.parts && known?.received) await files.remove(modelId, name)
        const part = await files.part(modelId, name, shard.bytes)
        const ranges = known?.parts ?? []
        await db.put('shards', { modelId, name, received: bytesOf(ranges), complete: false, parts: ranges, usedAt: Date.now() })
        const released = new Promise<void>((release) => this.claims.set(name, { part, ranges, recordedAt: 0, changed: false, release }))
        onShard(name, 'claimed', '')
        decided()
        await released
      }
      locked(`meadow-shard ${modelId} ${name}`, 'exclusive', this.closing.signal, work).catch(failed)
    })
  }

  /** One bit for each piece of which all bytes are here, the first piece in the highest bit. */
  async bitfield(): Promise<Uint8Array<ArrayBuffer>> {
    const bits = new Uint8Array(Math.ceil(this.layout.pieceCount / 8))
    const edges = new Set(
      (await this.options.db.getAllKeys('edges', IDBKeyRange.bound([this.options.modelId], [this.options.modelId, []]))).map(([, index]) => index),
    )
    const whole = await Promise.all(this.options.manifest.shards.map(async (shard) => (await this.blob(shard)) !== null))
    for (let index = 0; index < this.layout.pieceCount; index++) {
      const here = this.layout.stretches(index).every(({ shard, from, bytes }) => {
        const claim = this.claims.get(this.options.manifest.shards[shard].name)
        return whole[shard] || (claim && covers(claim.ranges, [from, from + bytes]))
      })
      if (here || edges.has(index)) bits[index >> 3] |= 128 >> (index & 7)
    }
    return bits
  }

  /** Stores a piece whose SHA-1 was right. Throws StoreError for a wrong size, and the browser's QuotaExceededError. */
  put(index: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    const next = this.tail.then(() => this.store(index, piece))
    this.tail = next.catch(() => {})
    return next
  }

  /** Stores all of a shard that this tab fetches; it is checked like one that came in pieces. Ignored when it is here already, or another tab's to fetch. */
  putWhole(index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const shard = this.options.manifest.shards[index]
    const next = this.tail.then(async () => {
      const claim = this.claims.get(shard.name)
      if (!claim || bytes.length !== shard.bytes) return
      await claim.part.write(0, bytes)
      claim.ranges = [[0, shard.bytes]]
      await this.finish(shard, claim)
    })
    this.tail = next.catch(() => {})
    return next
  }

  private async store(index: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    const { db, modelId, manifest } = this.options
    if (piece.length !== this.layout.sizeOf(index))
      throw new StoreError(`Piece ${index} has ${piece.length} bytes, expected ${this.layout.sizeOf(index)}.`, 'hash')
    let edge = false
    for (const { shard, from, at, bytes } of this.layout.stretches(index)) {
      const { name } = manifest.shards[shard]
      const claim = this.claims.get(name)
      if (claim && !covers(claim.ranges, [from, from + bytes])) {
        await claim.part.write(from, piece.subarray(at, at + bytes))
        claim.ranges = withRange(claim.ranges, [from, from + bytes])
        if (bytesOf(claim.ranges) === manifest.shards[shard].bytes) await this.finish(manifest.shards[shard], claim)
        else await this.recordSoon(name, claim)
      } else if (!claim && !(await this.blob(manifest.shards[shard]))) edge = true
    }
    if (edge) await db.put('edges', piece, [modelId, index])
  }

  /** Writes down what came of a shard, unless that was done just now: a tab that dies then fetches the last second's pieces again. */
  private async recordSoon(name: string, claim: Claim, now = performance.now()): Promise<void> {
    claim.changed = true
    if (now - claim.recordedAt < recordMs) return
    claim.recordedAt = now
    claim.changed = false
    const { db, modelId } = this.options
    await db.put('shards', { modelId, name, received: bytesOf(claim.ranges), complete: false, parts: claim.ranges, usedAt: Date.now() })
  }

  private async finish(shard: Shard, claim: Claim): Promise<void> {
    const { db, files, modelId, manifest, onShard } = this.options
    const { name } = shard
    const hash = hex(await digest(await claim.part.whole()))
    const right = hash === hex(shard.sha256)
    if (right) await claim.part.finish()
    else {
      await claim.part.close()
      await files.removePart(modelId, name)
    }
    await db.put('shards', { modelId, name, received: right ? shard.bytes : 0, complete: right, usedAt: Date.now() })
    this.claims.delete(name)
    claim.release()
    if (right) onShard(name, 'complete', '')
    else
      onShard(
        name,
        'refused',
        `Shard ${name} of ${manifest.core.name} was refused: its SHA-256 is ${hash.slice(0, 12)}…, the manifest says ${hex(shard.sha256).slice(0, 12)}…. Nothing of it was kept.`,
      )
  }

  /** Bytes [from, from + asked) of a piece, -1 asks for all the rest. Throws StoreError `missing`. */
  async get(index: number, from: number, asked: number): Promise<Uint8Array<ArrayBuffer>> {
    const { db, modelId, manifest } = this.options
    const length = asked < 0 ? this.layout.sizeOf(index) - from : asked
    const into = new Uint8Array(length)
    for (const stretch of this.layout.stretches(index)) {
      const first = Math.max(from, stretch.at)
      const end = Math.min(from + length, stretch.at + stretch.bytes)
      if (first >= end) continue
      const shard = manifest.shards[stretch.shard]
      const offset = stretch.from + first - stretch.at
      const claim = this.claims.get(shard.name)
      const blob = claim ? null : await this.blob(shard)
      if (blob) into.set(new Uint8Array(await blob.slice(offset, offset + end - first).arrayBuffer()), first - from)
      else if (claim && covers(claim.ranges, [offset, offset + end - first])) into.set(await claim.part.read(offset, end - first), first - from)
      else {
        const edge = await db.get('edges', [modelId, index])
        if (!edge) throw new StoreError(`Piece ${index} of ${manifest.core.name} is not on this device.`, 'missing')
        return edge.slice(from, from + length)
      }
    }
    return into
  }

  /** Gives locks and files back; what came is kept. */
  async close(): Promise<void> {
    this.closing.abort(new DOMException('Stopped.', 'AbortError'))
    await this.tail
    for (const [name, claim] of this.claims) {
      if (claim.changed) await this.recordSoon(name, claim, Number.POSITIVE_INFINITY)
      await claim.part.close()
      claim.release()
    }
    this.claims.clear()
  }
}
