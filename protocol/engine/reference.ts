// The reference engine: the specification, executed step by step on plain numbers. Slow on purpose of being readable; the yardstick of the other two and the judge's arithmetic.
import type { Manifest, ModelSource, Tensor } from '../model/manifest.ts'
import { EngineError, type EngineOptions, type Row, type RunResult, type Segment, type SegmentEngine, type StepValues, type Want } from './engine.ts'
import { type Program, programOf, type Step } from './program.ts'
import { checkRun, segmentOf, shardsOf } from './segment.ts'
import { execute, frequenciesOf, LayerCache, RowState, type StepContext, valuesOf } from './step.ts'

class ReferenceEngine implements SegmentEngine {
  readonly backend = 'reference'
  readonly threads = 1
  readonly description = 'reference arithmetic in TypeScript, one thread'
  readonly rowsMax = 256
  readonly manifest: Manifest
  readonly segment: Segment
  private readonly program: Program
  private readonly context: StepContext
  private readonly shards: Map<number, Uint8Array>
  private readonly sequences = new Map<number, { length: number; layers: LayerCache[] }>()
  private readonly kvTokensMax: number
  private states: RowState[] = []

  constructor(manifest: Manifest, segment: Segment, shards: Map<number, Uint8Array>, kvTokensMax: number) {
    this.manifest = manifest
    this.segment = segment
    this.shards = shards
    this.kvTokensMax = kvTokensMax
    this.program = programOf(manifest)
    const vectors = new Map<string, Int32Array>()
    const bytesOf = (tensor: Tensor): Uint8Array => shards.get(tensor.shard)!.subarray(tensor.offset, tensor.offset + tensor.bytes)
    this.context = {
      bytesOf,
      vectorOf(tensor) {
        let vector = vectors.get(tensor.name)
        if (!vector) {
          const bytes = bytesOf(tensor)
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
          vector = Int32Array.from({ length: tensor.rows }, (_, i) => view.getInt32(i * 4, true))
          vectors.set(tensor.name, vector)
        }
        return vector
      },
      frequencies: frequenciesOf(manifest.core),
    }
  }

  async run(rows: Row[], wants: Want[], boundary?: Int32Array, trace?: (step: StepValues) => void): Promise<RunResult> {
    const { core } = this.manifest
    const lengths = new Map([...this.sequences].map(([id, s]) => [id, s.length]))
    const after = checkRun(this.manifest, this.segment, this.rowsMax, lengths, rows, wants, boundary)
    for (const [id, length] of after) lengths.set(id, length)
    const total = [...lengths.values()].reduce((sum, length) => sum + length, 0)
    if (total > this.kvTokensMax) throw new EngineError(`${total} cached positions exceed the limit of ${this.kvTokensMax}`, 'memory')
    while (this.states.length < rows.length) this.states.push(new RowState(core))
    for (const id of after.keys()) {
      if (!this.sequences.has(id)) {
        this.sequences.set(id, {
          length: 0,
          layers: Array.from({ length: this.segment.to - this.segment.from }, () => new LayerCache(core.kvHeads, core.headDim)),
        })
      }
    }
    if (boundary) rows.forEach((_, i) => this.states[i].vectors.residual.set(boundary.subarray(i * core.hidden, (i + 1) * core.hidden)))

    const each = (step: Step, layer: number | null, chosen: number[]): void => {
      const values: number[][] = []
      for (const i of chosen) {
        const { sequence, position, token } = rows[i]
        const cache = layer === null ? null : this.sequences.get(sequence)!.layers[layer - this.segment.from]
        execute(step, this.context, this.states[i], cache, position, token)
        if (trace) values.push(valuesOf(step, this.states[i]))
      }
      if (trace && chosen.length > 0) trace({ label: step.label, values: values.flat() })
    }
    const all = rows.map((_, i) => i)
    if (this.segment.from === 0) for (const step of this.program.embed) each(step, null, all)
    for (let l = this.segment.from; l < this.segment.to; l++) for (const step of this.program.layers[l]) each(step, l, all)
    const tail = this.segment.to === core.layers
    if (tail)
      for (const step of this.program.tail)
        each(
          step,
          null,
          all.filter((i) => wants[i] === 'logits'),
        )

    for (const [id, length] of after) this.sequences.get(id)!.length = length
    if (tail) return { boundary: null, logits: wants.map((want, i) => (want === 'logits' ? this.states[i].vectors.logits : null)) }
    const out = new Int32Array(rows.length * core.hidden)
    rows.forEach((_, i) => out.set(this.states[i].vectors.residual, i * core.hidden))
    return { boundary: out, logits: wants.map(() => null) }
  }

  truncate(sequence: number, length: number): void {
    const found = this.sequences.get(sequence)
    if (!found || length >= found.length) return
    if (length === 0) this.sequences.delete(sequence)
    else {
      found.length = length
      for (const layer of found.layers) layer.truncate(length)
    }
  }

  memoryBytes(): { weights: number; other: number } {
    const weights = [...this.shards.values()].reduce((sum, s) => sum + s.length, 0)
    const { kvHeads, headDim } = this.manifest.core
    const pages = [...this.sequences.values()].flatMap((s) => s.layers).reduce((sum, layer) => sum + layer.keys.length + layer.values.length, 0)
    return { weights, other: pages * 64 * kvHeads * (headDim + 4) }
  }

  async close(): Promise<void> {
    this.shards.clear()
    this.sequences.clear()
    this.states = []
  }
}

/** Loads the segment's shards and makes the reference engine. Throws what the source throws, and EngineError for a bad segment. */
export async function createReferenceEngine(source: ModelSource, options: EngineOptions = {}): Promise<SegmentEngine> {
  const { manifest } = source
  const segment = segmentOf(manifest, options.segment)
  const indices = shardsOf(manifest, segment)
  const total = indices.reduce((sum, index) => sum + manifest.shards[index].bytes, 0)
  const shards = new Map<number, Uint8Array>()
  let loaded = 0
  for (const index of indices) {
    options.signal?.throwIfAborted()
    const bytes = new Uint8Array(manifest.shards[index].bytes)
    await source.readShard(index, bytes, options.signal)
    shards.set(index, bytes)
    loaded += bytes.length
    options.onProgress?.(loaded, total)
  }
  return new ReferenceEngine(manifest, segment, shards, options.kvTokensMax ?? manifest.core.context)
}
