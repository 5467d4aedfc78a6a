// The outer trace of a claim from a fast engine: layer by layer over all positions at once, since the claim says every token. One layer of weights is open at a time;
// what an engine reports of its steps is what leaves each unit (residual, key and value records).
import type { SegmentEngine, StepValues } from '../engine.ts'
import { type NoiseKey, type Sampler, sample } from '../sampler.ts'
import { encodeRecord, keyGroups } from './attention.ts'
import type { Unit } from './table.ts'
import { type LayerValues, Trace, type TraceSource } from './trace.ts'

export interface EngineTraceOptions {
  /** An engine of layers [layer, layer + 1); closed when its layer is done. */
  open: (layer: number) => Promise<SegmentEngine>
  /** Changes what leaves a layer, before the next one sees it: how tests make cheats. */
  alter?: (layer: number, values: LayerValues) => void
  /** A trace over the same tokens whose layers below `layer` are taken as they are. */
  base?: { trace: Trace; layer: number }
  onLayer?: (done: number, layers: number) => void
  signal?: AbortSignal
}

/** Builds the trace of a claim. Throws what engines throw, and the signal's reason. */
export async function traceFromEngine(source: TraceSource, { open, alter, base, onLayer, signal }: EngineTraceOptions): Promise<Trace> {
  const trace = new Trace(source)
  const { machine } = source
  let entering: Int32Array[] | null = machine.from > 0 ? (source.entering ?? null) : null
  for (let layer = machine.from; layer < machine.to; layer++) {
    signal?.throwIfAborted()
    if (base && layer < base.layer) {
      const known = base.trace.layer(layer)
      trace.push(known)
      entering = known.residual
      continue
    }
    const engine = await open(layer)
    try {
      const values = await runLayer(engine, trace, layer, entering)
      alter?.(layer, values)
      trace.push(values)
      entering = values.residual
    } finally {
      await engine.close()
    }
    onLayer?.(layer + 1 - machine.from, machine.to - machine.from)
  }
  return trace
}

async function runLayer(engine: SegmentEngine, trace: Trace, layer: number, entering: Int32Array[] | null): Promise<LayerValues> {
  const { core } = engine.manifest
  const { positions } = trace.machine
  const out: LayerValues = { residual: [], keys: [], values: [] }
  const take = ({ label, values }: StepValues, from: number, count: number): void => {
    const parts = values.length / count
    if (label === `${layer}.ffn_add`) {
      for (let i = 0; i < count; i++) out.residual[from + i] = Int32Array.from({ length: parts }, (_, k) => values[i * parts + k])
    } else if (label === `${layer}.record_k` || label === `${layer}.record_v`) {
      const key = label.endsWith('k')
      const groups = key ? keyGroups(core.headDim) : 1
      for (let i = 0; i < count; i++) (key ? out.keys : out.values)[from + i] = recordsOf(values, i * parts, core.kvHeads, core.headDim, groups)
    }
  }
  for (let from = 0; from < positions; from += engine.rowsMax) {
    const count = Math.min(engine.rowsMax, positions - from)
    const rows = Array.from({ length: count }, (_, i) => ({ sequence: 0, position: from + i, token: trace.token(from + i) }))
    const boundary = entering === null ? undefined : new Int32Array(count * core.hidden)
    for (let i = 0; boundary && i < count; i++) boundary.set(entering![from + i], i * core.hidden)
    const wants = rows.map(() => 'nothing' as const)
    await engine.run(rows, wants, boundary, (step) => take(step, from, count))
  }
  return out
}

/** Records of one row as an engine reports them (per head: values, mantissas, exponent), as bytes. */
function recordsOf(values: ArrayLike<number>, at: number, heads: number, headDim: number, groups: number): Uint8Array {
  const size = headDim + groups + 1
  const slice = (from: number, length: number): number[] => Array.from({ length }, (_, i) => values[from + i])
  const records = Array.from({ length: heads }, (_, head) => {
    const from = at + head * size
    return encodeRecord(slice(from, headDim), slice(from + headDim, groups), values[from + headDim + groups])
  })
  const bytes = new Uint8Array(records.length * records[0].length)
  for (const [head, record] of records.entries()) bytes.set(record, head * record.length)
  return bytes
}

/** The first tail whose token is not the claim's, from an engine that holds no layer but the tail (segment [layers, layers)); null when all are right. */
export async function wrongTailFromEngine(trace: Trace, engine: SegmentEngine, sampler: Sampler, noise: NoiseKey): Promise<Unit | null> {
  const { machine } = trace
  const { hidden } = engine.manifest.core
  const tokens = Array.from({ length: machine.positions + 1 }, (_, i) => trace.token(i))
  for (let from = machine.tailFrom; from < machine.tailTo; from += engine.rowsMax) {
    const count = Math.min(engine.rowsMax, machine.tailTo - from)
    const boundary = new Int32Array(count * hidden)
    for (let i = 0; i < count; i++) boundary.set(trace.residual(machine.to - 1, from + i), i * hidden)
    // Positions of a sequence begin at 0 for an engine; the tail does not depend on them.
    const rows = Array.from({ length: count }, (_, i) => ({ sequence: 0, position: i, token: 0 }))
    engine.truncate(0, 0)
    const { logits } = await engine.run(
      rows,
      rows.map(() => 'logits' as const),
      boundary,
    )
    for (let i = 0; i < count; i++) {
      const position = from + i
      if (sample(logits[i]!, sampler, noise, position + 1, tokens.slice(0, position + 1)) !== tokens[position + 1]) return { layer: machine.to, position }
    }
  }
  return null
}
