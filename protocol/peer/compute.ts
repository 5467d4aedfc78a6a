// What an engine does for a host: runs rows and samples where a token is wanted. The same lines run in Node, in a tab's worker, in tests and in the simulator,
// so the logits (vocab · 4 bytes a row) never leave the engine's side.
import type { Row, SegmentEngine } from '../engine/engine.ts'
import { sample } from '../engine/sampler.ts'
import type { RowWant } from './machine.ts'

/** Throws what the engine throws (EngineError). `boundary` of the result is null when the segment has the tail. */
export async function computeRows(
  engine: SegmentEngine,
  rows: Row[],
  wants: RowWant[],
  boundary: Int32Array | null,
): Promise<{ boundary: Int32Array | null; tokens: (number | null)[] }> {
  const result = await engine.run(
    rows,
    wants.map((want) => (want ? 'logits' : 'nothing')),
    boundary ?? undefined,
  )
  // The token after row i has the index position + 1: its noise is keyed by that.
  const tokens = wants.map((want, i) => want && sample(result.logits[i]!, want.sampler, want.key, rows[i].position + 1, want.recent))
  return { boundary: result.boundary, tokens }
}
