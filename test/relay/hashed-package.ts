// A small random model whose manifest carries the true SHA-256 of its shards, as a store wants it.
import { createHash } from 'node:crypto'
import { shardRootOf } from '../../protocol/model/identity.ts'
import type { PackageSink } from '../../protocol/model/import.ts'
import type { Architecture, ModelSource } from '../../protocol/model/manifest.ts'
import { tinyCore, tinyPackage } from '../tiny-package.ts'

export interface HashedPackage extends ModelSource {
  /** By shard index. */
  shards: Uint8Array[]
  /** Writes everything into a sink, in pieces, as the importer would. */
  writeTo(sink: PackageSink): Promise<ModelSource['manifest']>
}

export async function hashedPackage(architecture: Architecture = 'llama', seed = 1): Promise<HashedPackage> {
  const tiny = tinyPackage(tinyCore(architecture), seed, (name) => (name === 'embed' || name === 'head' ? 'w8' : 'w4'))
  const shards: Uint8Array[] = []
  for (const [index, shard] of tiny.manifest.shards.entries()) {
    shards[index] = new Uint8Array(shard.bytes)
    await tiny.readShard(index, shards[index])
  }
  // The store never opens a tokenizer; it only has to be there.
  const tokenizer = tiny.manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  shards[tokenizer] = new Uint8Array(100).fill(seed)
  const manifest = {
    ...tiny.manifest,
    shards: tiny.manifest.shards.map((shard, index) => ({
      ...shard,
      bytes: shards[index]!.length,
      sha256: new Uint8Array(createHash('sha256').update(shards[index]!).digest()),
      root: shardRootOf(tiny.manifest.tensors.filter((tensor) => tensor.shard === index).map((tensor) => tensor.root)),
    })),
  }
  return {
    manifest,
    shards,
    readShard: async (index, into) => into.set(shards[index]!),
    async writeTo(sink) {
      for (const [index, shard] of manifest.shards.entries()) {
        const file = await sink.open(shard.name)
        const bytes = shards[index]!
        for (let at = 0; at < bytes.length; at += 1000) await file.write(bytes.subarray(at, at + 1000))
        await file.close()
      }
      return manifest
    },
  }
}
