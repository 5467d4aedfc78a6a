// What an engine does for a host: runs rows and samples where a token is wanted. The same lines run in Node, in a tab's worker, in tests and in the simulator,
// so the logits (vocab · 4 bytes a row) never leave the engine's side.
import type { Row, SegmentEngine } from '../engine/engine.ts'
import { chooseTokens } from '../engine/generate.ts'
import type { RowWant } from './machine.ts'

/** Throws what the engine throws (EngineError). `boundary` of the result is null when the segment has the tail. */
export async function computeRows(
  engine: SegmentEngine,
  rows: Row[],
  wants: RowWant[],
  boundary: Int32Array | null,
): Promise<{ boundary: Int32Array | null; tokens: (number | null)[] }> {
  if (engine.segment.to < engine.manifest.core.layers) {
    const result = await engine.run(
      rows,
      rows.map(() => 'nothing'),
      boundary ?? undefined,
    )
    return { boundary: result.boundary, tokens: rows.map(() => null) }
  }
  // The token after row i has the index position + 1: its noise is keyed by that.
  const draws = wants.map((want, i) => want && { ...want, position: rows[i].position + 1 })
  return { boundary: null, tokens: await chooseTokens(engine, rows, draws, boundary ?? undefined) }
}
