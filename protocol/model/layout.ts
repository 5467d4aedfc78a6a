// Where every tensor of a package lies. The layout follows from the core and the formats, so a manifest has no freedom here and a stranger's is checked by making it again.
import { modelTensors } from '../engine/program.ts'
import type { Core, Shard, Tensor, TensorFormat } from './manifest.ts'
import { tensorBytes } from './manifest.ts'

export type PlacedTensor = Omit<Tensor, 'root'>
export type PlacedShard = Pick<Shard, 'name' | 'bytes'>

/** Names of a model's shards in order: embed, layer-0 …, head, tokenizer. */
export const shardNames = (core: Pick<Core, 'layers'>): string[] => [
  'embed',
  ...Array.from({ length: core.layers }, (_, l) => `layer-${l}`),
  'head',
  'tokenizer',
]

/** Index of the shard a tensor lies in. */
function shardOf(name: string, layers: number): number {
  if (name === 'embed') return 0
  return name.startsWith('layers.') ? 1 + Number(name.split('.')[1]) : layers + 1
}

/**
 * Tensors in canonical order with their places, and the shards without the tokenizer's size (0 here).
 * `formatOf` gives a tensor's format and, for v32, its bits. All sizes are multiples of 64, so tensors lie end to end.
 */
export function layoutOf(
  core: Core,
  formatOf: (name: string, index: number) => { format: TensorFormat; bits: number },
): { tensors: PlacedTensor[]; shards: PlacedShard[] } {
  const shards = shardNames(core).map((name) => ({ name, bytes: 0 }))
  const tensors = modelTensors(core).map(({ name, rows, columns }, index) => {
    const { format, bits } = formatOf(name, index)
    const shard = shardOf(name, core.layers)
    const bytes = tensorBytes(format, rows, columns ?? 1)
    const tensor = { name, format, rows, columns: columns ?? 1, bits, shard, offset: shards[shard].bytes, bytes }
    shards[shard].bytes += bytes
    return tensor
  })
  return { tensors, shards }
}
