// Weights from shards to GPU memory, in their canonical bytes: panels into weight buffers, row words and v32 vectors into buffers of their own.
import { type ModelSource, panelRows } from '../../model/manifest.ts'
import { EngineError, type EngineOptions, type Segment } from '../engine.ts'
import { shardsOf } from '../segment.ts'
import type { Matrix, WeightLayout } from './layout.ts'
import type { Memory } from './memory.ts'

/** Reads each shard of the segment once and writes its tensors. Throws what the source throws, and EngineError 'cancelled' when the signal fires. */
export async function uploadWeights(
  device: GPUDevice,
  source: ModelSource,
  segment: Segment,
  layout: WeightLayout,
  memory: Memory,
  options: EngineOptions,
): Promise<void> {
  const { manifest } = source
  const indices = shardsOf(manifest, segment)
  const total = indices.reduce((sum, index) => sum + manifest.shards[index].bytes, 0)
  // Where a tensor's panels start in its matrix.
  const places = new Map<string, { matrix: Matrix; panelAt: number }>()
  for (const matrix of layout.matrices.values()) {
    let panelAt = 0
    for (const tensor of matrix.tensors) {
      places.set(tensor.name, { matrix, panelAt })
      panelAt += Math.ceil(tensor.rows / panelRows)
    }
  }
  let loaded = 0
  for (const index of indices) {
    if (options.signal?.aborted) throw new EngineError('loading was cancelled', 'cancelled')
    const bytes = new Uint8Array(manifest.shards[index].bytes)
    await source.readShard(index, bytes, options.signal)
    for (const tensor of manifest.tensors) {
      if (tensor.shard !== index) continue
      const vectorAt = layout.vectorAt.get(tensor.name)
      if (vectorAt !== undefined) device.queue.writeBuffer(memory.fixed.get('vectors')!, vectorAt * 4, bytes, tensor.offset, tensor.bytes)
      const place = places.get(tensor.name)
      if (!place) continue
      const { matrix, panelAt } = place
      const panels = Math.ceil(tensor.rows / panelRows)
      for (const part of matrix.parts) {
        const from = Math.max(panelAt, part.panelFrom)
        const to = Math.min(panelAt + panels, part.panelFrom + part.panels)
        if (from >= to) continue
        const target = part.offset + (from - part.panelFrom) * matrix.panelBytes
        device.queue.writeBuffer(
          memory.chunks[part.chunk],
          target,
          bytes,
          tensor.offset + (from - panelAt) * matrix.panelBytes,
          (to - from) * matrix.panelBytes,
        )
      }
      const words = panels * panelRows * 4
      device.queue.writeBuffer(memory.fixed.get('words')!, matrix.wordAt * 4 + panelAt * panelRows * 4, bytes, tensor.offset + tensor.bytes - words, words)
    }
    // The queue copies what it is given: let it drain before the next shard is held as well.
    await device.queue.onSubmittedWorkDone()
    loaded += bytes.length
    options.onProgress?.(loaded, total)
  }
}
