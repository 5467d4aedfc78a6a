// Models of this machine as an agent uses them.
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { openSegment } from '../engine.ts'
import type { Store, StoredModel } from '../store.ts'
import { type HeldModel, lazyWeights, type Mind, ModelMind } from './mind.ts'

export function heldModel(store: Store, model: StoredModel): HeldModel {
  const { manifest, id } = model
  return {
    manifest,
    // A copy: tensors are read as 32-bit words, and a Buffer may lie anywhere.
    weights: lazyWeights(manifest, (index) => new Uint8Array(readFileSync(store.file(id, manifest.shards[index].name)!))),
    open: (from, to, threads) => openSegment(store, model, { from, to }, 'wasm', threads),
  }
}

/** How long a model that is not here is not looked for again. */
const absentMs = 30_000

/** Minds of the models in a store, opened when asked for; `wanted`: only these ids. */
export function mindsOf(store: Store, threads = availableParallelism(), wanted: readonly string[] | null = null): (id: string) => Promise<Mind | null> {
  const minds = new Map<string, Mind>()
  const absent = new Map<string, number>()
  return async (id) => {
    const known = minds.get(id)
    if (known) return known
    if ((wanted && !wanted.includes(id)) || performance.now() - (absent.get(id) ?? Number.NEGATIVE_INFINITY) < absentMs) return null
    const model = (await store.list()).find((one) => one.id === id)
    if (!model) {
      absent.set(id, performance.now())
      return null
    }
    const mind = new ModelMind(heldModel(store, model), threads)
    minds.set(id, mind)
    return mind
  }
}
