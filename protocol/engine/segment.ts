// What every engine must check before it runs rows, and which bytes a segment needs. Branches live here; the engines hold arithmetic.
import type { Manifest } from '../model/manifest.ts'
import { EngineError, type Row, type Segment, type Want } from './engine.ts'

/** The segment asked for, or the whole model. Throws EngineError when it is not inside the model. */
export function segmentOf(manifest: Manifest, asked?: Segment): Segment {
  const { layers } = manifest.core
  const segment = asked ?? { from: 0, to: layers }
  if (!(Number.isInteger(segment.from) && Number.isInteger(segment.to) && segment.from >= 0 && segment.from <= segment.to && segment.to <= layers)) {
    throw new EngineError(`segment ${segment.from}..${segment.to} is not inside the model's ${layers} layers`)
  }
  return segment
}

/** Indices of the shards a segment needs, in order: embed (also for a tied head), its layers, the head. */
export function shardsOf(manifest: Manifest, segment: Segment): number[] {
  const { core, shards } = manifest
  const wanted = new Set<string>()
  const tail = segment.to === core.layers
  if (segment.from === 0 || (tail && core.tied)) wanted.add('embed')
  for (let l = segment.from; l < segment.to; l++) wanted.add(`layer-${l}`)
  if (tail) wanted.add('head')
  return shards.flatMap((shard, index) => (wanted.has(shard.name) ? [index] : []))
}

/**
 * Checks a call of run() against the cached length of each sequence; returns the lengths after it.
 * Throws EngineError for an empty or too large batch, a position out of order, a token outside the vocabulary, a context overrun, a boundary of the wrong size.
 */
export function checkRun(
  manifest: Manifest,
  segment: Segment,
  rowsMax: number,
  lengths: ReadonlyMap<number, number>,
  rows: Row[],
  wants: Want[],
  boundary: Int32Array | undefined,
): Map<number, number> {
  const { core } = manifest
  if (rows.length < 1 || rows.length > rowsMax) throw new EngineError(`a batch holds 1 to ${rowsMax} rows, not ${rows.length}`)
  if (wants.length !== rows.length) throw new EngineError(`${wants.length} wants for ${rows.length} rows`)
  const after = new Map<number, number>()
  for (const { sequence, position, token } of rows) {
    const expected = after.get(sequence) ?? lengths.get(sequence) ?? 0
    if (position !== expected) throw new EngineError(`sequence ${sequence} continues at position ${expected}, not ${position}`)
    if (position >= core.context) throw new EngineError(`position ${position} is beyond the model's context of ${core.context} tokens`)
    if (segment.from === 0 && !(Number.isInteger(token) && token >= 0 && token < core.vocab))
      throw new EngineError(`token ${token} is outside the vocabulary of ${core.vocab}`)
    after.set(sequence, position + 1)
  }
  if (segment.from > 0 && boundary?.length !== rows.length * core.hidden) {
    throw new EngineError(`a boundary of ${rows.length} rows holds ${rows.length * core.hidden} values, not ${boundary?.length ?? 0}`)
  }
  if (segment.to < core.layers && wants.includes('logits')) throw new EngineError('only the segment with the last layer has logits')
  return after
}
