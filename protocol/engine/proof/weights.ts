// Weight tiles and their openings against a model id, from a package in memory. What the judge sees of a tensor is one tile, its path in the tensor's tree, and the
// tensor's entry in the model's table.
import { join } from '../../hash.ts'
import { tileColumnsMax } from '../../limits.ts'
import { gatherRow, panelsBytes, rowTileBytes } from '../../model/canonical.ts'
import { tensorEntryHash } from '../../model/identity.ts'
import type { Manifest, Tensor } from '../../model/manifest.ts'
import { dataType, proofOf, vectorTileElements } from '../../model/merkle.ts'
import { chunksOf, tileOf } from '../../model/tiles.ts'
import type { WeightTile } from './table.ts'

export interface Weights {
  /** Columns of `chunk` of a row with its row word, in tile order. */
  matrix(tensor: number, row: number, chunk: number): WeightTile
  /** The tile of 64 elements that holds `index`. */
  vector(tensor: number, index: number): WeightTile
  /** Entry of the tensor (format u8, bits u8, root), its path in the table, tile, path in the tensor. */
  open(tensor: number, slot: number): Uint8Array
}

export const formatCode = { w8: dataType.w8, w4: dataType.w4, g8: dataType.g8, v32: dataType.i32 } as const

/** Weights of a package; `shard` gives a shard's bytes. */
export class PackageWeights implements Weights {
  private readonly manifest: Manifest
  private readonly shard: (index: number) => Uint8Array
  private readonly paths = new Map<number, Uint8Array>()
  private readonly tiles = new Map<string, Uint8Array>()
  constructor(manifest: Manifest, shard: (index: number) => Uint8Array) {
    this.manifest = manifest
    this.shard = shard
  }

  private bytesOf(tensor: Tensor): Uint8Array {
    return this.shard(tensor.shard).subarray(tensor.offset, tensor.offset + tensor.bytes)
  }

  matrix(tensor: number, row: number, chunk: number): WeightTile {
    const t = this.manifest.tensors[tensor]
    if (t.format === 'v32') throw new Error(`tensor ${t.name} is no matrix`)
    const bytes = this.bytesOf(t)
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    const size = rowTileBytes(t.format, t.columns)
    const tile = new Uint32Array(size / 4)
    gatherRow(t.format, t.columns, words, row, tile)
    const from = rowTileBytes(t.format, chunk * tileColumnsMax)
    const to = rowTileBytes(t.format, Math.min(t.columns, (chunk + 1) * tileColumnsMax))
    const out = new Uint8Array(to - from + 4)
    out.set(new Uint8Array(tile.buffer).subarray(from, to))
    const at = panelsBytes(t) + row * 4
    out.set(bytes.subarray(at, at + 4), to - from)
    return { format: t.format, bits: 0, bytes: out }
  }

  vector(tensor: number, index: number): WeightTile {
    const t = this.manifest.tensors[tensor]
    const from = Math.floor(index / vectorTileElements) * vectorTileElements
    const bytes = this.bytesOf(t)
    return { format: 'v32', bits: t.bits, bytes: bytes.subarray(from * 4, Math.min(t.rows, from + vectorTileElements) * 4) }
  }

  open(tensor: number, slot: number): Uint8Array {
    const t = this.manifest.tensors[tensor]
    let path = this.paths.get(tensor)
    if (!path) {
      path = proofOf(this.manifest.tensors.map(tensorEntryHash), tensor)
      this.paths.set(tensor, path)
    }
    // Opening a tile hashes its whole tensor: remembered, since several witnesses may ask for the same one.
    const name = `${tensor} ${slot}`
    let opened = this.tiles.get(name)
    if (!opened) {
      const tile = tileOf(t, this.bytesOf(t), slot)
      opened = join([tile.bytes, tile.proof])
      this.tiles.set(name, opened)
    }
    return join([Uint8Array.of(formatCode[t.format], t.bits & 255), t.root, path, opened])
  }
}

/** Slot of a matrix tile in its tensor's tree. */
export const matrixSlot = (columns: number, row: number, chunk: number): number => row * chunksOf(columns) + chunk
