// Models of this machine as an agent uses them: whole ones of the store, and layers that a host holds.
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Segment } from '../../protocol/engine/engine.ts'
import { shardsOf } from '../../protocol/engine/segment.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import { openSegment } from '../engine.ts'
import { openShards } from '../mesh/shards.ts'
import type { Store, StoredModel } from '../store.ts'
import { type HeldModel, lazyWeights, type Mind, ModelMind } from './mind.ts'

/** A copy: tensors are read as 32-bit words, and a Buffer may lie anywhere. */
const readCopy = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

export function heldModel(store: Store, { manifest, id }: StoredModel): HeldModel {
  return {
    manifest,
    weights: lazyWeights(manifest, (index) => readCopy(store.file(id, manifest.shards[index].name)!)),
    open: (from, to, threads) => openSegment(store.source(id), { from, to }, 'wasm', threads),
  }
}

/** Layers of a model that a host of this home has fetched. */
function heldShards(home: string, id: string, manifest: Manifest): HeldModel & { has(layers: Segment): boolean } {
  const path = (index: number): string => join(home, 'shards', id, manifest.shards[index].name)
  return {
    manifest,
    weights: lazyWeights(manifest, (index) => readCopy(path(index))),
    open: async (from, to, threads) => openSegment(await openShards(home, id), { from, to }, 'wasm', threads),
    has: (layers) => shardsOf(manifest, layers).every((index) => existsSync(path(index))),
  }
}

/** How long a model that is not here is not looked for again. */
const absentMs = 30_000

/** Minds of the models in a store and of layers beside it, opened when asked for; `wanted`: only these ids. */
export function mindsOf(
  store: Store,
  threads = availableParallelism(),
  wanted: readonly string[] | null = null,
): (id: string, layers?: Segment) => Promise<Mind | null> {
  const whole = new Map<string, Mind>()
  const parts = new Map<string, { mind: Mind; has(layers: Segment): boolean }>()
  const absent = new Map<string, number>()

  const wholeOf = async (id: string): Promise<Mind | null> => {
    const known = whole.get(id)
    if (known) return known
    if (performance.now() - (absent.get(id) ?? Number.NEGATIVE_INFINITY) < absentMs) return null
    const model = (await store.list()).find((one) => one.id === id)
    if (!model) {
      absent.set(id, performance.now())
      return null
    }
    const mind = new ModelMind(heldModel(store, model), threads)
    whole.set(id, mind)
    return mind
  }

  const partOf = async (id: string, layers: Segment): Promise<Mind | null> => {
    if (!parts.has(id)) {
      const source = await openShards(store.home, id).catch(() => null)
      if (!source) return null
      const held = heldShards(store.home, id, source.manifest)
      parts.set(id, { mind: new ModelMind(held, threads), has: held.has })
    }
    const part = parts.get(id)!
    return part.has(layers) ? part.mind : null
  }

  return async (id, layers) => {
    if (wanted && !wanted.includes(id)) return null
    return (await wholeOf(id)) ?? (layers ? partOf(id, layers) : null)
  }
}
