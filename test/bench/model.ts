// The model of the bench: one GGUF for everybody, and Meadow's packages of it (as shipped, and with int8 rows) in a store of the bench's own, made anew by today's importer.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Weights } from '../../protocol/model/import.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import { defaultModel } from '../../relay/catalogue.ts'
import { addModel } from '../../relay/models.ts'
import { obtain } from '../../relay/obtain.ts'
import { homeFolder, openStore, type StoredModel } from '../../relay/store.ts'

export const buildFolder = fileURLToPath(new URL('../../build/bench/', import.meta.url))

export interface BenchModel {
  gguf: string
  /** Folder with `manifest` and the shards. */
  folder: string
  model: StoredModel
  source: ModelSource
}

/** Path of the default model's GGUF, or of `spec`: downloaded into Meadow's home unless it is there. Throws RelayError. */
export async function ggufFile(spec?: string): Promise<string> {
  const { files } = await obtain(spec ?? defaultModel.name, { folder: join(homeFolder(), 'downloads'), say: (line) => console.error(line) })
  if (files.length !== 1) throw new Error(`${spec} is split; the other engines are given one file`)
  return files[0]
}

/** Imports the file. Stale packages of earlier benches go. */
export async function packageOf(gguf: string, weights: Weights): Promise<BenchModel> {
  const home = join(buildFolder, `home-${weights}`)
  await rm(home, { recursive: true, force: true })
  const store = openStore(home)
  const model = await addModel(store, gguf, { weights })
  return { gguf, folder: join(home, 'models', model.id), model, source: store.source(model.id) }
}

/** A shard's bytes, checked. */
export async function shardNamed(source: ModelSource, name: string): Promise<Uint8Array> {
  const index = source.manifest.shards.findIndex((shard) => shard.name === name)
  const bytes = new Uint8Array(source.manifest.shards[index].bytes)
  await source.readShard(index, bytes)
  return bytes
}
