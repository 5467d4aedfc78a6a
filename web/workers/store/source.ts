// A model as engines read it: shards from this browser's disk, each checked by SHA-256 before an engine sees a byte.
import { hex, sha256 } from '../../../protocol/hash.ts'
import { decodeManifest, modelIdOf } from '../../../protocol/model/identity.ts'
import type { Manifest, ModelSource } from '../../../protocol/model/manifest.ts'
import type { Catalogue } from './catalogue.ts'
import { StoreError } from './errors.ts'
import type { ShardFiles } from './files.ts'

/** What may be read before it is asked for: a small model whole, a large one without doubling its memory. */
const shardsAheadMax = 4
const bytesAheadMax = 64 << 20

/** Native where the page is a secure context (not plain http from another machine), portable otherwise. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return globalThis.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)) : sha256(bytes)
}

/** A stranger's manifest whose hash is the id it came under. Throws StoreError, and ModelError from the decoder. */
export function checkedManifest(bytes: Uint8Array, modelId: string): Manifest {
  const manifest = decodeManifest(bytes)
  const is = modelIdOf(manifest)
  if (is !== modelId) throw new StoreError(`The manifest of model ${modelId.slice(0, 12)} was refused: its hash is ${is.slice(0, 12)}.`, 'hash')
  return manifest
}

/**
 * The source of a model whose shards are all here. `readShard` throws StoreError: `missing` when bytes are gone (the browser may evict them), `hash` when they changed;
 * in both cases the shard is forgotten, so that a download fetches it again. `wanted`: the only shards that will be asked for, by index; others may be absent.
 */
export async function openSource(db: Catalogue, files: ShardFiles, modelId: string, wanted?: readonly number[]): Promise<ModelSource> {
  const record = await db.get('models', modelId)
  if (!record) throw new StoreError(`Model ${modelId.slice(0, 12)} is not on this device.`, 'missing')
  const manifest = checkedManifest(record.manifest, modelId)
  const forget = async (name: string): Promise<void> => {
    await files.remove(modelId, name)
    await db.put('shards', { modelId, name, received: 0, complete: false })
  }
  const read = async (index: number): Promise<Uint8Array> => {
    const shard = manifest.shards[index]
    const blob = await files.open(modelId, shard.name)
    if (blob?.size !== shard.bytes) {
      await forget(shard.name)
      throw new StoreError(`Shard ${shard.name} of ${record.name} is no longer complete on this device; download it again.`, 'missing')
    }
    const bytes = new Uint8Array(await blob.arrayBuffer())
    const hash = await digest(bytes)
    if (hex(hash) !== hex(shard.sha256)) {
      await forget(shard.name)
      throw new StoreError(
        `Shard ${shard.name} of ${record.name} was refused: its bytes on this device changed (wrong SHA-256). It was removed; download it again.`,
        'hash',
      )
    }
    return bytes
  }
  let last = -1
  const ahead = new Map<number, Promise<Uint8Array>>()
  const order = wanted?.toSorted((a, b) => a - b) ?? manifest.shards.map((_, index) => index)
  /** Starts reading the shards after `index`, so that disk and hashing go on while an engine takes a shard in. */
  const lookAhead = (index: number): void => {
    let bytes = 0
    const at = order.indexOf(index) + 1
    for (const next of order.slice(at, at + shardsAheadMax)) {
      bytes += manifest.shards[next].bytes
      if (bytes > bytesAheadMax) return
      if (ahead.has(next)) continue
      const reading = read(next)
      reading.catch(() => {}) // whoever asks for it hears
      ahead.set(next, reading)
    }
  }
  return {
    manifest,
    async readShard(index, into, signal) {
      const reading = ahead.get(index) ?? read(index)
      ahead.delete(index)
      // Only a reader that goes from one shard to the next will want more.
      if (order.indexOf(index) === order.indexOf(last) + 1) lookAhead(index)
      last = index
      const bytes = await reading
      signal?.throwIfAborted()
      into.set(bytes)
    },
  }
}
