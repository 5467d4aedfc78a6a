// What the mesh needs to know of a model, from its manifest: sizes of what a host must hold.
import type { Segment } from '../engine/engine.ts'
import { modelIdOf } from '../model/identity.ts'
import type { Manifest } from '../model/manifest.ts'
import type { ModelFacts } from './machine.ts'

export function factsOf(manifest: Manifest, modelId: string = modelIdOf(manifest)): ModelFacts {
  const { core, shards } = manifest
  const bytesOf = (name: string): number => shards.find((shard) => shard.name === name)?.bytes ?? 0
  return {
    modelId,
    name: core.name,
    layers: core.layers,
    hidden: core.hidden,
    vocab: core.vocab,
    context: core.context,
    tied: core.tied,
    embedBytes: bytesOf('embed'),
    layerBytes: Array.from({ length: core.layers }, (_, l) => bytesOf(`layer-${l}`)),
    headBytes: bytesOf('head'),
    // A key and a value record per head: int8s, mantissas and an exponent (specification, section 3), rounded up to what the engines' pages take.
    positionBytes: core.kvHeads * (2 * core.headDim + 24),
  }
}

/** Weight bytes of a segment; embed counts once also where the tail shares it. */
export function weightBytesOf(facts: ModelFacts, { from, to }: Segment): number {
  const tail = to === facts.layers
  const layers = facts.layerBytes.slice(from, to).reduce((sum, bytes) => sum + bytes, 0)
  return layers + (from === 0 || (tail && facts.tied) ? facts.embedBytes : 0) + (tail ? facts.headBytes : 0)
}

/** Bytes of keys and values of `positions` positions in a segment. */
export const cacheBytesOf = (facts: ModelFacts, { from, to }: Segment, positions: number): number => (to - from) * positions * facts.positionBytes
