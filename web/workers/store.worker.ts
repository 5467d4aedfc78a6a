// The storage worker: the catalogue, downloads, deletion. One per tab; tabs agree through locks and a broadcast channel.

import { type StoredModel, type StoreReply, type StoreRequest, wireError } from './messages.ts'
import { openCatalogue } from './store/catalogue.ts'
import { downloadModel, locked, receivedBytes } from './store/download.ts'
import { StoreError } from './store/errors.ts'
import { openFiles } from './store/files.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope
const reply = (message: StoreReply): void => scope.postMessage(message)

const opened = (async () => {
  const db = await openCatalogue().catch((error: Error) => {
    throw new StoreError(`This browser refuses to store data for this page (${error.message}). Leave private browsing or allow site data.`, 'unavailable')
  })
  return { db, files: await openFiles(db) }
})()
opened.catch(() => {}) // every request reports it

/** Downloads of this tab, by model. */
const running = new Map<string, AbortController>()
const tabs = new BroadcastChannel('meadow-store')
tabs.onmessage = ({ data }: MessageEvent<{ stop: string }>) => running.get(data.stop)?.abort()

function stop(modelId: string): void {
  running.get(modelId)?.abort()
  tabs.postMessage({ stop: modelId })
}

async function list(): Promise<StoredModel[]> {
  const { db, files } = await opened
  const models = await db.getAll('models')
  return Promise.all(
    models.map(async ({ id, title, architecture, licence, bytes, paused, shardCount }) => {
      const shards = await db.getAll('shards', IDBKeyRange.bound([id], [id, []]))
      const complete = shards.filter((shard) => shard.complete).length === shardCount
      return { id, title, architecture, licence, bytes, received: await receivedBytes(db, id), complete, paused, storage: files.kind }
    }),
  )
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
    await locked(`meadow-model ${modelId}`, 'shared', controller.signal, () =>
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
  stop(modelId)
  await locked(`meadow-model ${modelId}`, 'exclusive', undefined, async () => {
    await db.delete('models', modelId)
    await db.delete('shards', IDBKeyRange.bound([modelId], [modelId, []]))
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
      stop(data.modelId)
      await setPaused(data.modelId, true)
    }
    reply({ id, kind: 'done' })
  } catch (error) {
    reply({ id, kind: 'failed', error: wireError(error) })
  }
}
