// Whether a package is what its id says: every hash made again from the bytes, and every rule of the formats checked that a hash cannot show
// (padding is zero, norms are small enough for the engine's bounds, the tokenizer opens). Holds one shard at a time.
import { equalBytes, hex, sha256 } from '../hash.ts'
import { biasBits, normValueMax, paddedRows } from './canonical.ts'
import { decodeManifest, encodeManifest, modelIdOf, shardRootOf } from './identity.ts'
import { ModelError, type ModelSource, type Tensor } from './manifest.ts'
import { bytesRoot } from './merkle.ts'
import { matrixRows, tensorRoot } from './tiles.ts'
import { openTokenizer } from './tokenizer.ts'

/** Throws ModelError naming the first thing that does not fit; returns the model id of the bytes. `expected` is the id they came under. */
export async function verifyPackage(source: ModelSource, expected?: string, signal?: AbortSignal): Promise<string> {
  const manifest = decodeManifest(encodeManifest(source.manifest))
  const id = modelIdOf(manifest)
  if (expected !== undefined && id !== expected) throw new ModelError(`the manifest's id is ${id}, expected ${expected}`)
  for (const [index, shard] of manifest.shards.entries()) {
    signal?.throwIfAborted()
    const bytes = new Uint8Array(shard.bytes)
    await source.readShard(index, bytes, signal)
    const found = sha256(bytes)
    if (!equalBytes(found, shard.sha256)) throw new ModelError(`shard ${shard.name} has SHA-256 ${hex(found)}, expected ${hex(shard.sha256)}`)
    if (shard.name === 'tokenizer') {
      if (!equalBytes(bytesRoot(bytes), shard.root)) throw new ModelError('the root of shard tokenizer is not that of its bytes')
      const { vocab } = openTokenizer(bytes)
      if (vocab !== manifest.core.vocab) throw new ModelError(`the tokenizer has ${vocab} tokens, the model ${manifest.core.vocab}`)
      continue
    }
    const tensors = manifest.tensors.filter((tensor) => tensor.shard === index)
    const roots = tensors.map((tensor) => {
      const own = bytes.subarray(tensor.offset, tensor.offset + tensor.bytes)
      checkTensor(tensor, own)
      const root = tensorRoot(tensor, own)
      if (!equalBytes(root, tensor.root)) throw new ModelError(`the root of tensor ${tensor.name} is not that of its bytes`)
      return root
    })
    if (!equalBytes(shardRootOf(roots), shard.root)) throw new ModelError(`the root of shard ${shard.name} is not that of its tensors`)
  }
  return id
}

function checkTensor(tensor: Tensor, bytes: Uint8Array): void {
  if (tensor.format === 'v32') return checkVector(tensor, bytes)
  // Rows beyond the last are gathered like any other.
  const padding = { ...tensor, rows: paddedRows(tensor.rows) }
  for (const [tile, word] of matrixRows(padding, bytes, tensor.rows)) {
    if (word !== 0 || tile.some((byte) => byte !== 0)) throw new ModelError(`tensor ${tensor.name} has bytes other than zero in its padding`)
  }
}

function checkVector(tensor: Tensor, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const most = tensor.bits === biasBits && /\.b[qkv]$/.test(tensor.name) ? 2147483647 : normValueMax - 1
  for (let i = 0; i < bytes.length / 4; i++) {
    const v = view.getInt32(i * 4, true)
    if (i >= tensor.rows ? v !== 0 : Math.abs(v) > most)
      throw new ModelError(`element ${i} of tensor ${tensor.name} is ${v}, beyond ±${i >= tensor.rows ? 0 : most}`)
  }
}
