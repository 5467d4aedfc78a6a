// How much of this browser's disk models may take: the person's cap, and what makes room under it. Shards that are only here to be lent go first to last used;
// a model that the person downloaded, and a shard that some tab uses, stay.
import type { Catalogue } from './catalogue.ts'
import { StoreError, sizeText } from './errors.ts'
import type { ShardFiles } from './files.ts'

/** Held, shared, by every tab that hosts or fetches the shard. */
export const useLock = (modelId: string, name: string): string => `meadow-use ${modelId} ${name}`

export async function storedBytes(db: Catalogue): Promise<number> {
  return (await db.getAll('shards')).reduce((sum, shard) => sum + shard.received, 0)
}

/** Runs when nobody else uses the shard; false when somebody does. */
async function unlessUsed(modelId: string, name: string, work: () => Promise<void>): Promise<boolean> {
  if (!navigator.locks) {
    await work()
    return true
  }
  return (await navigator.locks.request(useLock(modelId, name), { mode: 'exclusive', ifAvailable: true }, async (lock) => {
    if (lock) await work()
    return lock !== null
  })) as boolean
}

/** Removes least recently used lent shards until `need` more bytes fit under `cap`. Returns the bytes freed. Throws StoreError `quota` when they cannot. */
export async function makeRoom(db: Catalogue, files: ShardFiles, need: number, cap: number): Promise<number> {
  const lent = new Set((await db.getAll('models')).filter((model) => model.lent).map((model) => model.id))
  let total = await storedBytes(db)
  let freed = 0
  if (total + need <= cap) return 0
  const candidates = (await db.getAll('shards')).filter((shard) => shard.received > 0 && lent.has(shard.modelId))
  candidates.sort((a, b) => (a.usedAt ?? 0) - (b.usedAt ?? 0))
  for (const { modelId, name, received } of candidates) {
    if (total + need <= cap) break
    const gone = await unlessUsed(modelId, name, async () => {
      await db.put('shards', { modelId, name, received: 0, complete: false })
      await files.remove(modelId, name)
      await files.removePart(modelId, name)
    })
    if (!gone) continue
    total -= received
    freed += received
  }
  if (need > 0 && total + need > cap)
    throw new StoreError(
      `The shards need ${sizeText(need)}, but of the ${sizeText(cap)} that you allow, ${sizeText(total)} are taken by what is in use or what you downloaded yourself. Allow more storage, or delete a model.`,
      'quota',
    )
  return freed
}
