// Models on disk: $MEADOW_HOME (default ~/.meadow)/models/<modelId>/ holds `manifest`, one file per shard and `origin.json`. A model is there whole or not at
// all: it is written into a folder whose name starts with a dot and renamed when complete. Refuses bytes whose SHA-256 is not the manifest's.

import { createHash, hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setSha256 } from '../protocol/hash.ts'
import { decodeManifest, encodeManifest, modelIdOf } from '../protocol/model/identity.ts'
import type { PackageSink } from '../protocol/model/import.ts'
import type { Manifest, ModelSource } from '../protocol/model/manifest.ts'
import { isAlive } from './alive.ts'
import { codeOf, isDiskFull, RelayError } from './errors.ts'
import { formatBytes } from './progress.ts'

/** Where a stored model came from; for people, not part of its id. */
export interface Origin {
  /** Built-in name, if it was added by one. */
  name: string | null
  source: string
  pinned: 'built-in' | 'hub' | 'unpinned' | 'local'
  /** Which formats the importer chose and why. */
  decision: string
  /** ISO 8601. */
  addedAt: string
}

export interface StoredModel {
  id: string
  manifest: Manifest
  /** Bytes of all shards. */
  bytes: number
  origin: Origin | null
}

export interface Store {
  readonly home: string
  /** Where downloads lie while they are incomplete. */
  readonly downloads: string
  /** Whole models by name; damaged folders are left out. */
  list(): Promise<StoredModel[]>
  /** By id, a prefix of it (4 digits or more), or name. Throws RelayError when none or several fit. */
  find(nameOrIdPrefix: string): Promise<StoredModel>
  /** Throws RelayError when there is no such model. */
  source(id: string): ModelSource
  /** The file of `manifest` or a shard, whether or not it exists. Null for names that cannot be one. */
  file(id: string, name: string): string | null
  /** `build` writes shards into the sink and returns the manifest; what it leaves behind becomes the model, or nothing does. */
  install(build: (sink: PackageSink) => Promise<Manifest>, origin: Omit<Origin, 'addedAt' | 'decision'>, decision: () => string): Promise<StoredModel>
  /** Throws RelayError in one sentence when less than `bytes` are free. */
  checkSpace(bytes: number, what: string): Promise<void>
  remove(id: string): Promise<void>
}

// Native: importing a model takes hundreds of thousands of hashes.
setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)

/** Bytes read and hashed at a time. */
const readBytes = 4 << 20

const isModelId = (text: string) => /^[0-9a-f]{64}$/.test(text)
const isShardName = (text: string) => /^[a-z0-9][a-z0-9-]{0,63}$/.test(text)

/** $MEADOW_HOME, or ~/.meadow. */
export function homeFolder(): string {
  return process.env.MEADOW_HOME || join(homedir(), '.meadow')
}

export function openStore(home: string = homeFolder()): Store {
  const models = join(home, 'models')
  const folderOf = (id: string) => join(models, id)

  const read = async (id: string): Promise<StoredModel> => {
    const manifest = decodeManifest(await readFile(join(folderOf(id), 'manifest')))
    if (modelIdOf(manifest) !== id) throw new RelayError(`The manifest in ${folderOf(id)} is not that of its id.`)
    for (const shard of manifest.shards) {
      const { size } = await stat(join(folderOf(id), shard.name))
      if (size !== shard.bytes) throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} has ${size} bytes, expected ${shard.bytes}.`)
    }
    const origin = await readFile(join(folderOf(id), 'origin.json'), 'utf8').then(
      (text) => JSON.parse(text) as Origin,
      () => null,
    )
    return { id, manifest, bytes: manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0), origin }
  }

  const list = async (): Promise<StoredModel[]> => {
    const names = await readdir(models).catch((error) => {
      if (codeOf(error) === 'ENOENT') return [] as string[]
      throw new RelayError(`${models} cannot be read: ${error.message}.`)
    })
    const found = await Promise.all(names.filter(isModelId).map((id) => read(id).catch(() => null)))
    return found.filter((model) => model !== null).sort((a, b) => (a.manifest.core.name < b.manifest.core.name ? -1 : 1))
  }

  return {
    home,
    downloads: join(home, 'downloads'),
    list,

    async find(wanted) {
      const all = await list()
      const key = wanted.toLowerCase()
      const fits = (model: StoredModel) =>
        model.origin?.name === key || model.manifest.core.name.toLowerCase() === key || (/^[0-9a-f]{4,64}$/.test(key) && model.id.startsWith(key))
      const found = all.filter(fits)
      if (found.length === 1) return found[0]!
      if (found.length > 1)
        throw new RelayError(
          `${wanted} fits ${found.length} models: ${found.map((model) => `${model.manifest.core.name} (${model.id.slice(0, 12)})`).join(', ')}.`,
        )
      const have = all.length === 0 ? 'none is installed' : `installed: ${all.map((model) => model.origin?.name ?? model.manifest.core.name).join(', ')}`
      throw new RelayError(`There is no model ${wanted} (${have}).`)
    },

    source(id) {
      const folder = folderOf(id)
      if (!isModelId(id)) throw new RelayError(`${id} is not a model id.`)
      let manifest: Manifest
      try {
        manifest = decodeManifest(readFileSync(join(folder, 'manifest')))
      } catch (error) {
        if (codeOf(error) === 'ENOENT') throw new RelayError(`There is no model ${id}.`)
        throw error
      }
      return { manifest, readShard: (index, into, signal) => readShard(folder, manifest, index, into, signal) }
    },

    file(id, name) {
      return isModelId(id) && isShardName(name) ? join(folderOf(id), name) : null
    },

    async install(build, origin, decision) {
      await mkdir(models, { recursive: true })
      await removeStale(models)
      const temporary = join(models, `.incoming-${process.pid}-${Date.now()}`)
      const sink = createSink(temporary)
      try {
        await mkdir(temporary)
        const manifest = await build(sink)
        await sink.closeAll()
        const id = modelIdOf(manifest)
        const full: Origin = { ...origin, decision: decision(), addedAt: new Date().toISOString() }
        await writeFile(join(temporary, 'origin.json'), `${JSON.stringify(full, null, 2)}\n`)
        await writeSynced(join(temporary, 'manifest'), encodeManifest(manifest))
        await replace(temporary, folderOf(id))
        return await read(id)
      } catch (error) {
        if (isDiskFull(error)) throw new RelayError(`The disk of ${models} is full; nothing was installed.`)
        throw error
      } finally {
        await sink.closeAll()
        await rm(temporary, { recursive: true, force: true })
      }
    },

    async checkSpace(bytes, what) {
      await mkdir(home, { recursive: true })
      const { bavail, bsize } = await statfs(home)
      if (bavail * bsize < bytes)
        throw new RelayError(`${what} needs about ${formatBytes(bytes)}, but the disk of ${home} has ${formatBytes(bavail * bsize)} free.`)
    },

    async remove(id) {
      const doomed = join(models, `.removed-${process.pid}-${Date.now()}`)
      await rename(folderOf(id), doomed)
      await rm(doomed, { recursive: true, force: true })
    },
  }
}

/** Puts the new folder in place. An older one of the same id holds the same shards or is damaged: it goes. */
async function replace(from: string, to: string): Promise<void> {
  const old = `${from}-old`
  try {
    await rename(to, old)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  await rename(from, to)
  await rm(old, { recursive: true, force: true })
}

/** Folders that a process which is gone left behind. */
async function removeStale(models: string): Promise<void> {
  for (const name of await readdir(models)) {
    const pid = /^\.(?:incoming|removed)-(\d+)-/.exec(name)?.[1]
    if (pid && !isAlive(Number(pid))) await rm(join(models, name), { recursive: true, force: true })
  }
}

interface FolderSink extends PackageSink {
  closeAll(): Promise<void>
}

function createSink(folder: string): FolderSink {
  const files = new Set<FileHandle>()
  return {
    async open(name) {
      if (!isShardName(name)) throw new RelayError(`${name} cannot be the name of a shard.`)
      const file = await open(join(folder, name), 'wx')
      files.add(file)
      return {
        async write(bytes) {
          await file.writev([bytes])
        },
        async close() {
          await file.sync()
          files.delete(file)
          await file.close()
        },
      }
    },
    async closeAll() {
      for (const file of files) await file.close()
      files.clear()
    },
  }
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Reads a whole shard into `into` (which may be shared memory), hashing as it goes. Throws RelayError when file and manifest disagree. */
async function readShard(folder: string, manifest: Manifest, index: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
  const shard = manifest.shards[index]
  if (!shard) throw new Error(`manifest has no shard ${index}`)
  if (into.length !== shard.bytes) throw new Error(`shard ${shard.name} has ${shard.bytes} bytes, room for ${into.length}`)
  const advice = 'remove the model and add it again'
  const file = await open(join(folder, shard.name)).catch((error) => {
    throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} cannot be read (${codeOf(error)}): ${advice}.`)
  })
  try {
    const hash = createHash('sha256')
    for (let at = 0; at < shard.bytes; ) {
      signal?.throwIfAborted()
      const length = Math.min(readBytes, shard.bytes - at)
      const { bytesRead } = await file.read(into, at, length, at)
      if (bytesRead === 0) throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} is cut off at ${at} of ${shard.bytes} bytes: ${advice}.`)
      hash.update(into.subarray(at, at + bytesRead))
      at += bytesRead
    }
    if (!hash.digest().equals(shard.sha256))
      throw new RelayError(`Shard ${shard.name} of ${manifest.core.name} is damaged (its SHA-256 is not the manifest's): ${advice}.`)
  } finally {
    await file.close()
  }
}
