// Shards a host computes with: from the store where it has the model, else from $MEADOW_HOME/shards/<model id>, which holds the shards of the layers it lends,
// fetched from peers or from a relay's web seed. Nothing unchecked is ever opened: a shard gets its name when its SHA-256 is the manifest's.
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ShardFetcher } from '../../mesh/shard-fetch.ts'
import type { Segment } from '../../protocol/engine/engine.ts'
import { shardsOf } from '../../protocol/engine/segment.ts'
import { manifestBytesMax } from '../../protocol/limits.ts'
import { decodeManifest, modelIdOf } from '../../protocol/model/identity.ts'
import type { Manifest, ModelSource } from '../../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../../protocol/model/tokenizer.ts'
import { codeOf, messageOf, RelayError } from '../errors.ts'
import { openStore } from '../store.ts'

const folderOf = (home: string, modelId: string) => join(home, 'shards', modelId)

/** Where a model's shards are read from. Throws RelayError when neither store nor cache has its manifest. */
export async function openShards(home: string, modelId: string): Promise<ModelSource> {
  try {
    return openStore(home).source(modelId)
  } catch (error) {
    if (!existsSync(join(folderOf(home, modelId), 'manifest'))) throw error
  }
  const folder = folderOf(home, modelId)
  const manifest = checkManifest(await readFile(join(folder, 'manifest')), modelId)
  return {
    manifest,
    async readShard(index, into) {
      const shard = manifest.shards[index]!
      const bytes = await readFile(join(folder, shard.name)).catch((error) => {
        throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} is not here (${codeOf(error)}).`)
      })
      if (bytes.length !== into.length || !createHash('sha256').update(bytes).digest().equals(shard.sha256)) {
        await rm(join(folder, shard.name), { force: true })
        throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} was damaged and is removed: it will be fetched again.`)
      }
      into.set(bytes)
    },
  }
}

/** A range of a shard as it lies here, for peers who ask; null for what is not here. They check it themselves. */
export async function readShardRange(home: string, modelId: string, shard: string, from: number, length: number): Promise<Uint8Array | null> {
  const path = openStore(home).file(modelId, shard)
  if (!path) return null
  for (const candidate of [path, join(folderOf(home, modelId), shard)]) {
    const file = await open(candidate).catch(() => null)
    if (!file) continue
    try {
      const bytes = new Uint8Array(length)
      const { bytesRead } = await file.read(bytes, 0, length, from)
      return bytes.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  }
  return null
}

function checkManifest(bytes: Uint8Array, modelId: string): Manifest {
  const manifest = decodeManifest(bytes)
  if (modelIdOf(manifest) !== modelId) throw new RelayError(`What came as the manifest of ${modelId} is another one.`)
  return manifest
}

/** The manifest of a model: the store's, the cache's, or fetched from `relay` and kept. Throws RelayError. */
export async function obtainManifest(home: string, relay: URL, modelId: string, signal?: AbortSignal): Promise<Manifest> {
  const known = await openShards(home, modelId).catch(() => null)
  if (known) return known.manifest
  const response = await request(new URL(`/models/${modelId}/manifest`, relay), {}, signal)
  const bytes = new Uint8Array(await response.arrayBuffer())
  if (bytes.length > manifestBytesMax) throw new RelayError(`The manifest of ${modelId} has ${bytes.length} bytes, more than any has.`)
  const manifest = checkManifest(bytes, modelId)
  const folder = folderOf(home, modelId)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `manifest.${process.pid}`), bytes)
  await rename(join(folder, `manifest.${process.pid}`), join(folder, 'manifest'))
  return manifest
}

/**
 * Fetches the shards of a segment that are not here: from peers that hold them where `peers` is given, else from the relay, resuming what was begun.
 * Throws RelayError when a relay sends other bytes than the manifest names.
 */
export async function obtainShards(
  home: string,
  relay: URL,
  modelId: string,
  segment: Segment,
  onProgress: (loaded: number, total: number) => void,
  signal: AbortSignal,
  peers?: ShardFetcher,
): Promise<void> {
  const manifest = await obtainManifest(home, relay, modelId, signal)
  await fetchMissing(home, relay, modelId, manifest, shardsOf(manifest, segment), onProgress, signal, peers)
}

/** The tokenizer of a model, fetched when it is not here. Throws RelayError. */
export async function obtainTokenizer(home: string, relay: URL, modelId: string, signal?: AbortSignal): Promise<{ manifest: Manifest; tokenizer: Tokenizer }> {
  const manifest = await obtainManifest(home, relay, modelId, signal)
  const index = manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  if (index < 0) throw new RelayError(`${manifest.core.name} has no tokenizer.`)
  await fetchMissing(home, relay, modelId, manifest, [index], () => {}, signal)
  const bytes = new Uint8Array(manifest.shards[index]!.bytes)
  await (await openShards(home, modelId)).readShard(index, bytes)
  return { manifest, tokenizer: openTokenizer(bytes) }
}

async function fetchMissing(
  home: string,
  relay: URL,
  modelId: string,
  manifest: Manifest,
  indices: number[],
  onProgress: (loaded: number, total: number) => void,
  signal?: AbortSignal,
  peers?: ShardFetcher,
): Promise<void> {
  if (existsSync(join(home, 'models', modelId, 'manifest'))) return
  const folder = folderOf(home, modelId)
  const shards = indices.map((index) => manifest.shards[index]!)
  const total = shards.reduce((sum, shard) => sum + shard.bytes, 0)
  let before = 0
  for (const [i, shard] of shards.entries()) {
    const path = join(folder, shard.name)
    const there = await stat(path).catch(() => null)
    if (there?.size !== shard.bytes) {
      const tell = (loaded: number): void => onProgress(before + loaded, total)
      // A relay serves everyone: who can do without it does.
      const given = await peers?.fetch(modelId, manifest, indices[i]!, tell, signal ?? new AbortController().signal)
      if (given) await keepShard(path, given)
      else await fetchShard(new URL(`/models/${modelId}/${shard.name}`, relay), path, shard, tell, signal)
    }
    before += shard.bytes
    onProgress(before, total)
  }
}

async function keepShard(path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.peer-${process.pid}`
  await writeFile(part, bytes)
  await rename(part, path)
}

async function fetchShard(
  url: URL,
  path: string,
  shard: { name: string; bytes: number; sha256: Uint8Array },
  onProgress: (loaded: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  // Two hosts of one machine may fetch the same shard: each into a file of its own.
  const part = `${path}.part-${process.pid}`
  for (let attempt = 0; ; attempt++) {
    const have = (await stat(part).catch(() => null))?.size ?? 0
    const from = have < shard.bytes ? have : 0
    const response = await request(url, from > 0 ? { range: `bytes=${from}-` } : {}, signal)
    const start = response.status === 206 ? from : 0
    let loaded = start
    const body = Readable.fromWeb(response.body as never)
    body.on('data', (piece: Buffer) => {
      loaded += piece.length
      if (loaded > shard.bytes) body.destroy(new RelayError(`${url} is longer than the ${shard.bytes} bytes the manifest names.`))
      onProgress(loaded)
    })
    await pipeline(body, createWriteStream(part, { flags: start > 0 ? 'a' : 'w' }), signal ? { signal } : {})
    const hash = createHash('sha256')
    for await (const piece of createReadStream(part)) hash.update(piece as Buffer)
    if (hash.digest().equals(shard.sha256)) return rename(part, path)
    await rm(part, { force: true })
    // What was resumed may have been begun by another relay: once more from the start.
    if (attempt > 0) throw new RelayError(`${url.origin} sent other bytes for shard ${shard.name} than its manifest names.`)
  }
}

async function request(url: URL, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(url, { headers, ...(signal ? { signal } : {}) }).catch((error) => {
    throw new RelayError(`${url.origin} cannot be reached: ${messageOf(error)}.`)
  })
  if (!response.ok) throw new RelayError(`${url} answered ${response.status}: ${(await response.text()).slice(0, 200).trim()}`)
  return response
}
