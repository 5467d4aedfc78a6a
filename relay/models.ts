// Adding a model: obtain the GGUF, import it, install the package. And finding the one a command means.
import { open, rm, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { RandomAccess, Weights } from '../protocol/model/import.ts'
import { defaultModel, findEntry } from './catalogue.ts'
import { interrupted, say } from './cli.ts'
import { messageOf, RelayError } from './errors.ts'
import { obtain } from './obtain.ts'
import { createProgress } from './progress.ts'
import type { Store, StoredModel } from './store.ts'

/** Space a package may take beside its GGUF: 8 bits of a 4-bit file are twice as large. */
const packageShare = { auto: 1.25, w4: 1.25, g8: 2.3, w8: 2.2 }

export interface AddOptions {
  weights?: Weights
  /** Keep a downloaded GGUF after the import. */
  keep?: boolean
}

/**
 * Gets, imports and installs what `spec` names. Lines for people and progress go to stderr.
 * Throws RelayError, or ModelError when the file is no model Meadow can run.
 */
export async function addModel(store: Store, spec: string, { weights = 'auto', keep = false }: AddOptions = {}): Promise<StoredModel> {
  const entry = findEntry(spec)
  if (entry?.bytes) await store.checkSpace(entry.bytes * (1 + packageShare[weights]), entry.title)
  const download = createProgress('Downloading')
  const obtained = await obtain(spec, { folder: store.downloads, signal: interrupted, say, onProgress: download.update }).finally(() => download.end())
  if (obtained.pinned === 'unpinned') say('Nobody but the connection vouches for this file: Meadow knows no SHA-256 of it.')
  const sizes = await Promise.all(obtained.files.map(async (file) => (await stat(file)).size))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  await store.checkSpace(total * packageShare[weights], basename(obtained.files[0]!))

  // Loaded only when needed: asking an installed model must not wait for the importer.
  const { importGguf } = await import('../protocol/model/import.ts')
  const files = await Promise.all(obtained.files.map((path, i) => randomAccess(path, sizes[i]!)))
  const progress = createProgress('Importing')
  try {
    let decision = ''
    const model = await store.install(
      async (sink) => {
        const result = await importGguf(files, sink, { weights, signal: interrupted, onProgress: progress.update })
        decision = result.decision
        return result.manifest
      },
      { name: obtained.name, source: obtained.origin, pinned: obtained.pinned },
      () => decision,
    )
    progress.end()
    if (obtained.downloaded && !keep) for (const file of obtained.files) await rm(file, { force: true })
    return model
  } catch (error) {
    progress.end()
    // A file that a known hash vouches for is worth keeping: the next try needs no download.
    if (obtained.downloaded && obtained.pinned !== 'built-in') for (const file of obtained.files) await rm(file, { force: true })
    throw error
  } finally {
    for (const file of files) await file.close()
  }
}

/** The model a command means: by id, prefix or name; a built-in one (the default when none is named) is added when it is not there yet. */
export async function findOrAddModel(store: Store, wanted: string | undefined): Promise<StoredModel> {
  const entry = findEntry(wanted ?? defaultModel.name)
  if (!entry) return store.find(wanted!)
  const installed = (await store.list()).find((model) => model.origin?.name === entry.name)
  if (installed) return installed
  say(`${entry.title} is not installed yet.`)
  const model = await addModel(store, entry.name)
  say(`Installed ${entry.title}, id ${model.id}.`)
  return model
}

async function randomAccess(path: string, size: number): Promise<RandomAccess & { close(): Promise<void> }> {
  const file = await open(path).catch((error) => {
    throw new RelayError(`${path} cannot be read: ${messageOf(error)}.`)
  })
  return {
    name: basename(path),
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(length)
      let done = 0
      while (done < length) {
        const { bytesRead } = await file.read(bytes, done, length - done, offset + done)
        if (bytesRead === 0) throw new RelayError(`${path} ended at ${offset + done}, while it was read.`)
        done += bytesRead
      }
      return bytes
    },
    close: () => file.close(),
  }
}
