// The storage worker: the catalogue, downloads, deletion. One per tab; tabs agree through locks and a broadcast channel.

import { downloadLock, type StoredModel, type StoreReply, type StoreRequest, wireError } from './messages.ts'
import { openCatalogue } from './store/catalogue.ts'
import { downloadModel, locked, receivedBytes } from './store/download.ts'
import { StoreError } from './store/errors.ts'
import { openFiles } from './store/files.ts'
import { Lending } from './store/lending.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope
const reply = (message: StoreReply): void => scope.postMessage(message)

const opened = (async () => {
  const db = await openCatalogue().catch((error: Error) => {
    throw new StoreError(`This browser refuses to store data for this page (${error.message}). Leave private browsing or allow site data.`, 'unavailable')
  })
  return { db, files: await openFiles(db) }
})()
opened.catch(() => {}) // every request reports it

const lending = opened.then(({ db, files }) => new Lending(db, files))
lending.catch(() => {})

/** Downloads of this tab, by model. */
const running = new Map<string, AbortController>()
const tabs = new BroadcastChannel('meadow-store')
tabs.onmessage = ({ data }: MessageEvent<{ stop: string; removed?: boolean }>) => stopHere(data.stop, data.removed ?? false)

function stopHere(modelId: string, removed: boolean): void {
  running.get(modelId)?.abort()
  if (removed) void lending.then((one) => one.release(modelId))
}

function stop(modelId: string, removed: boolean): void {
  stopHere(modelId, removed)
  tabs.postMessage({ stop: modelId, removed })
}

async function list(): Promise<StoredModel[]> {
  const { db, files } = await opened
  const models = await db.getAll('models')
  const all = await Promise.all(
    models.map(async ({ id, title, architecture, licence, bytes, paused, shardCount, lent }) => {
      const shards = await db.getAll('shards', IDBKeyRange.bound([id], [id, []]))
      const complete = shards.filter((shard) => shard.complete).length === shardCount
      const model = { id, title, architecture, licence, bytes, received: await receivedBytes(db, id), complete, paused, storage: files.kind }
      // Some layers that are lent are no download that the person paused.
      return lent && !complete ? null : model
    }),
  )
  return all.filter((model) => model !== null)
}

async function setPaused(modelId: string, paused: boolean): Promise<void> {
  const { db } = await opened
  const record = await db.get('models', modelId)
  if (record && record.paused !== paused) await db.put('models', { ...record, paused })
}

async function download(id: number, modelId: string, title: string): Promise<void> {
  const { db, files } = await opened
  const controller = new AbortController()
  running.get(modelId)?.abort()
  running.set(modelId, controller)
  await setPaused(modelId, false)
  let told = 0
  try {
    // Shared among downloading tabs, so that only a deletion waits for all of them.
    await locked(downloadLock(modelId), 'shared', controller.signal, () =>
      downloadModel({
        db,
        files,
        modelId,
        title,
        signal: controller.signal,
        onProgress(received) {
          // Ten times a second is enough for eyes, and keeps the page's thread free.
          if (performance.now() - told < 100) return
          told = performance.now()
          reply({ id, kind: 'progress', received })
        },
      }),
    )
  } finally {
    if (running.get(modelId) === controller) running.delete(modelId)
  }
}

async function remove(modelId: string): Promise<void> {
  const { db, files } = await opened
  stop(modelId, true)
  await (await lending).release(modelId)
  await locked(downloadLock(modelId), 'exclusive', undefined, async () => {
    await db.delete('models', modelId)
    await db.delete('shards', IDBKeyRange.bound([modelId], [modelId, []]))
    await db.delete('edges', IDBKeyRange.bound([modelId], [modelId, []]))
    await files.removeModel(modelId)
  })
}

scope.onmessage = async ({ data }: MessageEvent<StoreRequest>) => {
  const { id } = data
  try {
    if (data.kind === 'list') return reply({ id, kind: 'models', models: await list() })
    if (data.kind === 'download') await download(id, data.modelId, data.title)
    if (data.kind === 'remove') await remove(data.modelId)
    if (data.kind === 'pause') {
      stop(data.modelId, false)
      await setPaused(data.modelId, true)
    }
    await (await lending).handle(data, (message, transfer) => scope.postMessage({ ...message, id }, transfer ?? []))
    reply({ id, kind: 'done' })
  } catch (error) {
    reply({ id, kind: 'failed', error: wireError(error) })
  }
}
