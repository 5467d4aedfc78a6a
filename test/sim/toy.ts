// A toy model in the clothes of a SegmentEngine: a few integers a row, every row depending on all before it in every layer, so that any mistake about caches, order or
// replay changes the text. Its language counts upwards most of the time, so that guesses are right often and wrong often.
import { EngineError, type Row, type RunResult, type Segment, type SegmentEngine, type Want } from '../../protocol/engine/engine.ts'
import { checkRun, segmentOf } from '../../protocol/engine/segment.ts'
import { specimenCore } from '../../protocol/engine/specimen.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import type { ModelFacts } from '../../protocol/peer/machine.ts'

const hidden = 4
const vocab = 64

export function toyFacts(layers: number, name = 'toy', change: Partial<ModelFacts> = {}): ModelFacts {
  const modelId = Array.from({ length: 32 }, (_, i) => ((name.charCodeAt(i % name.length) + i + layers) & 255).toString(16).padStart(2, '0')).join('')
  return {
    modelId,
    name,
    layers,
    hidden,
    vocab,
    context: 512,
    tied: false,
    embedBytes: 1000,
    layerBytes: Array.from({ length: layers }, () => 10_000),
    headBytes: 1000,
    positionBytes: 1,
    ...change,
  }
}

const mix = (a: number, b: number): number => {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

export class ToyEngine implements SegmentEngine {
  readonly backend = 'reference'
  readonly threads = 1
  readonly description = 'toy'
  readonly rowsMax: number
  readonly manifest: Manifest
  readonly segment: Segment
  private readonly salt: number
  private readonly kvTokensMax: number
  /** sequence → layer → running mix of what each position put in. */
  private readonly cache = new Map<number, number[][]>()
  /** Flips a bit of the boundary of this position, for tests of blame. */
  corruptAt: number | null = null
  /** Rows of the longest sequence it ever computed. */
  longest = 0

  constructor(facts: ModelFacts, segment?: Segment, options: { rowsMax?: number; kvTokensMax?: number } = {}) {
    const core = specimenCore('llama', { layers: facts.layers, hidden, vocab, context: facts.context })
    this.manifest = { core, tensors: [], shards: [] }
    this.segment = segmentOf(this.manifest, segment)
    this.salt = Number.parseInt(facts.modelId.slice(0, 6), 16)
    this.rowsMax = options.rowsMax ?? 32
    this.kvTokensMax = options.kvTokensMax ?? 1 << 20
  }

  compute(rows: Row[], wants: Want[], boundary?: Int32Array): RunResult {
    const { from, to } = this.segment
    const lengths = new Map([...this.cache].map(([id, layers]) => [id, layers[0].length]))
    const after = checkRun(this.manifest, this.segment, this.rowsMax, lengths, rows, wants, boundary)
    for (const [id, length] of after) lengths.set(id, length)
    if ([...lengths.values()].reduce((sum, n) => sum + n, 0) > this.kvTokensMax) throw new EngineError('no room in the cache', 'memory')
    for (const { position } of rows) this.longest = Math.max(this.longest, position + 1)
    const out = new Int32Array(rows.length * hidden)
    const logits = rows.map(({ sequence, position, token }, i) => {
      const x = out.subarray(i * hidden, (i + 1) * hidden)
      if (from === 0) x.set([mix(this.salt, token), token, position, 0])
      else x.set(boundary!.subarray(i * hidden, (i + 1) * hidden))
      if (!this.cache.has(sequence))
        this.cache.set(
          sequence,
          Array.from({ length: to - from }, () => []),
        )
      const layers = this.cache.get(sequence)!
      for (let l = from; l < to; l++) {
        const past = layers[l - from]
        past.push(mix(past.at(-1) ?? l, x[0] ^ x[3]))
        x[0] = mix(x[0], past[position])
        x[3] = (x[3] + (past[position] >>> 8)) | 0
      }
      if (this.corruptAt === position) x[3] ^= 1
      if (to < this.manifest.core.layers || wants[i] !== 'logits') return null
      const steady = ((x[0] ^ x[3]) & 7) !== 0
      const next = steady ? (x[1] + 1) % 24 : (x[0] >>> 5) % vocab
      return Int32Array.from({ length: vocab }, (_, v) => (v === next ? 8 << 16 : (mix(x[0], v) & 0x3ffff) - (x[3] & 15)))
    })
    return { boundary: to < this.manifest.core.layers ? out : null, logits }
  }

  async run(rows: Row[], wants: Want[], boundary?: Int32Array): Promise<RunResult> {
    return this.compute(rows, wants, boundary)
  }

  truncate(sequence: number, length: number): void {
    if (length === 0) this.cache.delete(sequence)
    else for (const layer of this.cache.get(sequence) ?? []) layer.length = Math.min(layer.length, length)
  }

  memoryBytes(): { weights: number; other: number } {
    return { weights: 0, other: 0 }
  }

  async close(): Promise<void> {
    this.cache.clear()
  }

  /** Sequences with anything cached: none may be left when all sessions are over. */
  get sequences(): number {
    return this.cache.size
  }
}
