// Where the pieces of a model's torrent lie in its shards. Pure. The torrent holds one file per shard in manifest order (mesh/torrent.ts), so pieces cross from one
// shard into the next.
import type { Manifest } from '../../../protocol/model/manifest.ts'

/** The stretch of a piece that lies in one shard. */
export interface Stretch {
  /** Index of the shard in the manifest. */
  shard: number
  /** Offset in the shard. */
  from: number
  /** Offset in the piece. */
  at: number
  bytes: number
}

export class PieceLayout {
  readonly pieceBytes: number
  readonly pieceCount: number
  /** Bytes of all shards. */
  readonly bytes: number
  /** Offsets of the shards in the torrent. */
  private readonly starts: number[] = []
  private readonly sizes: number[]

  constructor(manifest: Manifest, pieceBytes: number) {
    this.pieceBytes = pieceBytes
    this.sizes = manifest.shards.map((shard) => shard.bytes)
    let total = 0
    for (const size of this.sizes) {
      this.starts.push(total)
      total += size
    }
    this.bytes = total
    this.pieceCount = Math.ceil(total / pieceBytes)
  }

  /** Bytes of a piece: the last one is shorter. */
  sizeOf(index: number): number {
    return Math.min(this.pieceBytes, this.bytes - index * this.pieceBytes)
  }

  /** The stretches of a piece, in order. */
  stretches(index: number): Stretch[] {
    const from = index * this.pieceBytes
    const to = from + this.sizeOf(index)
    const stretches: Stretch[] = []
    for (const [shard, start] of this.starts.entries()) {
      const first = Math.max(from, start)
      const end = Math.min(to, start + this.sizes[shard])
      if (first < end) stretches.push({ shard, from: first - start, at: first - from, bytes: end - first })
    }
    return stretches
  }
}

export type Range = [number, number]

/** Sorted ranges that lie apart, with one more. */
export function withRange(ranges: readonly Range[], [from, to]: Range): Range[] {
  const next: Range[] = []
  for (const range of ranges) {
    if (range[1] < from || range[0] > to) next.push(range)
    else {
      from = Math.min(from, range[0])
      to = Math.max(to, range[1])
    }
  }
  next.push([from, to])
  return next.sort((a, b) => a[0] - b[0])
}

export const covers = (ranges: readonly Range[], [from, to]: Range): boolean => ranges.some((range) => range[0] <= from && to <= range[1])
export const bytesOf = (ranges: readonly Range[]): number => ranges.reduce((sum, [from, to]) => sum + to - from, 0)
