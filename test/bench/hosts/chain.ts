// A model cut in segments, each on an engine of its own, seen as one engine: boundaries go from one to the next as they would between hosts.
import type { EngineOptions, Row, RunResult, Segment, SegmentEngine, StepValues, Want } from '../../../protocol/engine/engine.ts'

/** `cuts` segments of nearly equal length; at most one per layer. */
export function segmentsOf(layers: number, cuts: number): Segment[] {
  return Array.from({ length: cuts }, (_, i) => ({ from: Math.floor((i * layers) / cuts), to: Math.floor(((i + 1) * layers) / cuts) }))
}

export async function openChain(layers: number, cuts: number, open: (options: EngineOptions) => Promise<SegmentEngine>): Promise<SegmentEngine> {
  const parts: SegmentEngine[] = []
  for (const segment of segmentsOf(layers, cuts)) parts.push(await open({ segment }))
  if (parts.length === 1) return parts[0]
  const [first, ...others] = parts
  return {
    backend: first.backend,
    manifest: first.manifest,
    segment: { from: 0, to: layers },
    threads: first.threads,
    description: `${cuts} segments: ${first.description}`,
    rowsMax: Math.min(...parts.map((part) => part.rowsMax)),
    async run(rows: Row[], wants: Want[], boundary?: Int32Array, trace?: (step: StepValues) => void): Promise<RunResult> {
      const nothing = wants.map((): Want => 'nothing')
      let result = await first.run(rows, nothing, boundary, trace)
      for (const [i, part] of others.entries()) {
        result = await part.run(rows, i === others.length - 1 ? wants : nothing, result.boundary?.slice(), trace)
      }
      return result
    },
    truncate(sequence, length) {
      for (const part of parts) part.truncate(sequence, length)
    },
    memoryBytes() {
      const each = parts.map((part) => part.memoryBytes())
      return { weights: each.reduce((sum, m) => sum + m.weights, 0), other: each.reduce((sum, m) => sum + m.other, 0) }
    },
    async close() {
      for (const part of parts) await part.close()
    },
  }
}
