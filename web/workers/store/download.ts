// Gets a model's shards from the relay, resumable at any byte, each checked by SHA-256 before it counts. Tabs share the work: one writer per shard, by lock.

import { hex } from '../../../protocol/hash.ts'
import type { Manifest, Shard } from '../../../protocol/model/manifest.ts'
import { wait } from '../wait.ts'
import type { Catalogue } from './catalogue.ts'
import { StoreError, sizeText } from './errors.ts'
import type { ShardFiles } from './files.ts'
import { checkedManifest, digest } from './source.ts'

export interface Download {
  db: Catalogue
  files: ShardFiles
  modelId: string
  /** What to call the model, '' for the name in its manifest. */
  title: string
  signal: AbortSignal
  /** Indices of the shards that are wanted, all by default. */
  shards?: readonly number[]
  /** Bytes of the model that are here, after every piece. */
  onProgress: (received: number) => void
}

/** Tries before a broken connection is told to the person; the waits double from one second. */
const triesMax = 4
const manifestBytesMax = 64 << 20

/** Runs while no other tab holds the lock in a way that excludes it; where the browser has no locks (insecure contexts) tabs are on their own. */
export async function locked<T>(name: string, mode: LockMode, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  if (!navigator.locks) return work()
  return (await navigator.locks.request(name, { mode, ...(signal ? { signal } : {}) }, work)) as T
}

/** A GET whose body is wanted. Throws StoreError `network` when nobody answers and `relay` when the answer is a refusal. */
async function get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  let response: Response
  try {
    // no-store: the bytes get their own place, a second copy in the HTTP cache would double the disk space.
    response = await fetch(path, { headers, signal, cache: 'no-store' })
  } catch (error) {
    signal.throwIfAborted()
    throw new StoreError(`The relay cannot be reached (${(error as Error).message}).`, 'network')
  }
  if (response.ok) return response
  await response.body?.cancel()
  throw new StoreError(`The relay refused ${path} with status ${response.status}.`, response.status >= 500 ? 'network' : 'relay')
}

/** The manifest of a model, checked against its id, and kept. `lent`: it is fetched to be lent, and may make room later. */
export async function fetchManifest(db: Catalogue, modelId: string, title: string, signal: AbortSignal, lent = false): Promise<Manifest> {
  const known = await db.get('models', modelId)
  if (known) {
    if (known.lent && !lent) await db.put('models', { ...known, title: title || known.title, lent: false })
    return checkedManifest(known.manifest, modelId)
  }
  const response = await get(`/models/${modelId}/manifest`, {}, signal)
  const size = Number(response.headers.get('content-length') ?? 0)
  if (size > manifestBytesMax)
    throw new StoreError(`The manifest of model ${modelId.slice(0, 12)} has ${sizeText(size)}, at most ${sizeText(manifestBytesMax)} are accepted.`, 'relay')
  const bytes = new Uint8Array(await response.arrayBuffer())
  const manifest = checkedManifest(bytes, modelId)
  const { name, architecture, licence } = manifest.core
  const total = manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0)
  await db.put('models', {
    id: modelId,
    name,
    title: title || name,
    architecture,
    licence,
    bytes: total,
    shardCount: manifest.shards.length,
    manifest: bytes,
    paused: false,
    addedAt: Date.now(),
    lent,
  })
  return manifest
}

/** Bytes of the model stored so far. */
export async function receivedBytes(db: Catalogue, modelId: string): Promise<number> {
  const shards = await db.getAll('shards', IDBKeyRange.bound([modelId], [modelId, []]))
  return shards.reduce((sum, shard) => sum + shard.received, 0)
}

/** Bytes of these shards that are not stored yet. */
export async function missingBytes(db: Catalogue, modelId: string, shards: readonly Shard[]): Promise<number> {
  const records = await db.getAll('shards', IDBKeyRange.bound([modelId], [modelId, []]))
  const received = new Map(records.map((record) => [record.name, record.received]))
  return shards.reduce((sum, shard) => sum + shard.bytes - (received.get(shard.name) ?? 0), 0)
}

/** Throws StoreError `quota`, naming need and room, when the rest of the model cannot fit. */
async function checkRoom(name: string, need: number): Promise<void> {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {}
  if (quota === undefined) return
  const free = Math.max(0, quota - (usage ?? 0))
  if (need > free)
    throw new StoreError(
      `${name} needs ${sizeText(need)} more, but this browser has ${sizeText(free)} free for this site. Delete a model or free disk space.`,
      'quota',
    )
}

/** Appends what the relay sends from byte `writer.written` on. */
async function fetchShard(download: Download, shard: Shard, onBytes: (written: number) => void): Promise<void> {
  const { files, modelId, signal } = download
  for (let tries = 1; ; tries++) {
    const writer = await files.writer(modelId, shard.name)
    const before = writer.written
    try {
      if (writer.written < shard.bytes) {
        const from = writer.written
        const response = await get(`/models/${modelId}/${shard.name}`, from > 0 ? { range: `bytes=${from}-` } : {}, signal)
        if (from > 0 && response.status !== 206)
          throw new StoreError(`The relay does not continue shard ${shard.name} (status ${response.status} for a range).`, 'relay')
        const reader = response.body!.getReader()
        for (;;) {
          const { done, value } = await reader.read().catch((error: Error) => {
            signal.throwIfAborted()
            throw new StoreError(`The connection to the relay broke (${error.message}).`, 'network')
          })
          if (done) break
          if (writer.written + value.length > shard.bytes) {
            await reader.cancel()
            throw new StoreError(`The relay sent more than the ${shard.bytes} bytes of shard ${shard.name}.`, 'hash')
          }
          await writer.write(value as Uint8Array<ArrayBuffer>)
          onBytes(writer.written)
        }
        if (writer.written < shard.bytes)
          throw new StoreError(`The connection to the relay broke after ${writer.written} of ${shard.bytes} bytes of shard ${shard.name}.`, 'network')
      }
      return
    } catch (error) {
      // Progress is a sign of life: only tries in a row without a byte count.
      if (writer.written > before) tries = 1
      if (!(error instanceof StoreError) || error.kind !== 'network' || tries >= triesMax) throw error
    } finally {
      await writer.close()
    }
    await wait(500 * 2 ** tries, signal)
  }
}

/**
 * Downloads what is missing of a model. Resolves when every shard is here and checked. Throws StoreError, or the signal's reason when paused;
 * all bytes that came are kept, except those of a shard with a wrong hash, which is refused.
 */
export async function downloadModel(download: Download): Promise<Manifest> {
  try {
    return await downloadShards(download)
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'QuotaExceededError')) throw error
    const record = await download.db.get('models', download.modelId)
    const left = record ? sizeText(record.bytes - (await receivedBytes(download.db, download.modelId))) : 'a new model'
    throw new StoreError(
      `The browser has no room for ${left}${record ? ` more of ${record.title}` : ''}. What is here is kept; delete a model or free disk space, then resume.`,
      'quota',
    )
  }
}

async function downloadShards(download: Download): Promise<Manifest> {
  const { db, files, modelId, title, signal, onProgress } = download
  const manifest = await fetchManifest(db, modelId, title, signal, download.shards !== undefined)
  const { name } = manifest.core
  const wanted = manifest.shards.filter((_, index) => download.shards?.includes(index) ?? true)
  await checkRoom(name, await missingBytes(db, modelId, wanted))
  for (const shard of wanted) {
    await locked(`meadow-shard ${modelId} ${shard.name}`, 'exclusive', signal, async () => {
      const known = await db.get('shards', [modelId, shard.name])
      // Another tab may have finished it while this one waited for the lock.
      if (known?.complete && (await files.open(modelId, shard.name))?.size === shard.bytes) return
      // Pieces of a torrent that was left: the other way now fetches the shard from its beginning.
      if (known?.parts) {
        await files.removePart(modelId, shard.name)
        await db.put('shards', { modelId, name: shard.name, received: 0, complete: false })
        known.received = 0
      }
      const others = (await receivedBytes(db, modelId)) - (known?.received ?? 0)
      try {
        await fetchShard(download, shard, (written) => onProgress(others + written))
      } catch (error) {
        if (error instanceof StoreError && error.kind === 'hash') await files.remove(modelId, shard.name)
        const kept = (await files.open(modelId, shard.name))?.size ?? 0
        await db.put('shards', { modelId, name: shard.name, received: kept, complete: false })
        throw error
      }
      const blob = await files.open(modelId, shard.name)
      if (blob?.size !== shard.bytes) throw new DOMException('the disk did not keep the bytes', 'QuotaExceededError')
      const hash = hex(await digest(new Uint8Array(await blob.arrayBuffer())))
      const right = hash === hex(shard.sha256)
      if (!right) await files.remove(modelId, shard.name)
      await db.put('shards', { modelId, name: shard.name, received: right ? shard.bytes : 0, complete: right, usedAt: Date.now() })
      if (!right) {
        throw new StoreError(
          `Shard ${shard.name} of ${name} was refused: its SHA-256 is ${hash.slice(0, 12)}…, the manifest says ${hex(shard.sha256).slice(0, 12)}…. Nothing of it was kept.`,
          'hash',
        )
      }
    })
    onProgress(await receivedBytes(db, modelId))
  }
  return manifest
}
