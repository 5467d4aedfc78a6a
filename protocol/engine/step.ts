// Runs one step of a program for one row with the reference arithmetic. This is the specification in executable form, and later the judge's.
import type { Core, Tensor } from '../model/manifest.ts'
import { add } from './ops/add.ts'
import { type HeadRecord, mix, score, weigh } from './ops/attention.ts'
import { bias } from './ops/bias.ts'
import { embed } from './ops/embed.ts'
import { gate } from './ops/gate.ts'
import { matmul } from './ops/matmul.ts'
import { quantise } from './ops/quantise.ts'
import { keyGroup, newQueryRecords, newRecords, type QueryRecords, type Records, record, recordQuery } from './ops/record.ts'
import { rmsnorm } from './ops/rmsnorm.ts'
import { rope } from './ops/rope.ts'
import { type Step, type Vector, vectorLength } from './program.ts'
import { ropeTables, splitFrequencies } from './tables.ts'

export const pagePositions = 64

/** Key and value records of one layer and one sequence, in pages of 64 positions. */
export class LayerCache {
  readonly keys: Records[] = []
  readonly values: Records[] = []
  readonly heads: number
  readonly headDim: number
  constructor(heads: number, headDim: number) {
    this.heads = heads
    this.headDim = headDim
  }
  /** Forgets whole pages beyond `length` positions; what is left in the last page is overwritten before it is read. */
  truncate(length: number): void {
    const pages = Math.ceil(length / pagePositions)
    this.keys.length = Math.min(this.keys.length, pages)
    this.values.length = Math.min(this.values.length, pages)
  }
  /** Stores the records of one position. */
  put(kind: 'keys' | 'values', position: number, records: Records): void {
    const page = Math.floor(position / pagePositions)
    if (!this[kind][page]) this[kind][page] = newRecords(this.heads * pagePositions, this.headDim, records.groups)
    const slot = (position % pagePositions) * this.heads
    this[kind][page].values.set(records.values, slot * this.headDim)
    this[kind][page].mantissas.set(records.mantissas, slot * records.groups)
    this[kind][page].exponents.set(records.exponents, slot)
  }
  get(kind: 'keys' | 'values', position: number, head: number): HeadRecord {
    const page = this[kind][Math.floor(position / pagePositions)]
    const slot = (position % pagePositions) * this.heads + head
    return { values: page.values, at: slot * this.headDim, mantissas: page.mantissas, scale: slot * page.groups, exponent: page.exponents[slot] }
  }
}

/** Everything one row's steps read and write. */
export class RowState {
  readonly vectors: Record<Vector, Int32Array>
  readonly act: Int16Array
  /** Fractional bits of `act`. */
  e = 0
  readonly q: QueryRecords
  readonly k: Records
  readonly v: Records
  scores: Int32Array[] = []
  weights: Uint16Array[] = []
  sums: number[] = []
  readonly core: Core
  constructor(core: Core) {
    this.core = core
    const of = (v: Vector) => new Int32Array(vectorLength(core, v))
    this.vectors = {
      residual: of('residual'),
      delta: of('delta'),
      branch: of('branch'),
      normed: of('normed'),
      q: of('q'),
      k: of('k'),
      v: of('v'),
      attention: of('attention'),
      gate: of('gate'),
      up: of('up'),
      hidden: of('hidden'),
      logits: of('logits'),
    }
    this.act = new Int16Array(Math.max(core.hidden, core.ffn, core.heads * core.headDim))
    this.q = newQueryRecords(core.heads, core.headDim)
    this.k = newRecords(core.kvHeads, core.headDim, core.headDim / keyGroup)
    this.v = newRecords(core.kvHeads, core.headDim, 1)
  }
}

export interface StepContext {
  /** Bytes of a tensor in canonical layout. */
  bytesOf(tensor: Tensor): Uint8Array
  /** A v32 tensor as i32[rows]. */
  vectorOf(tensor: Tensor): Int32Array
  frequencies: Record<'global' | 'local', ReturnType<typeof splitFrequencies>>
}

export function frequenciesOf(core: Core): StepContext['frequencies'] {
  const global = splitFrequencies(core.ropeGlobal)
  return { global, local: core.ropeLocal ? splitFrequencies(core.ropeLocal) : global }
}

/** Lowest position a row sees in a layer with this window (0 = all). */
export const firstVisible = (position: number, window: number): number => (window > 0 ? Math.max(0, position - window + 1) : 0)

function attend(step: Step & { op: 'score' | 'weigh' | 'mix' }, state: RowState, cache: LayerCache, position: number): void {
  const { heads, kvHeads, headDim } = state.core
  const first = firstVisible(position, step.window)
  const count = position + 1 - first
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor(head / (heads / kvHeads))
    if (step.op === 'score') {
      const q = { values: state.q.values, at: head * headDim, exponent: state.q.exponents[head] }
      const t = new Int32Array(count)
      for (let j = 0; j < count; j++) t[j] = score(q, cache.get('keys', first + j, kvHead), headDim, step.am, step.ae)
      state.scores[head] = t
    } else if (step.op === 'weigh') {
      state.weights[head] = new Uint16Array(count)
      state.sums[head] = weigh(state.weights[head], state.scores[head], count)
    } else {
      mix(state.vectors.attention, head * headDim, headDim, state.weights[head], state.sums[head], count, (j) => cache.get('values', first + j, kvHead))
    }
  }
}

/** Executes one step for one row at `position`; `cache` is that of the step's layer (null in embed and tail). */
export function execute(step: Step, context: StepContext, state: RowState, cache: LayerCache | null, position: number, token: number): void {
  const { vectors } = state
  switch (step.op) {
    case 'embed':
      return embed(vectors.residual, context.bytesOf(step.weight), step.weight, token, step.factor, step.outBits)
    case 'rmsnorm':
      return rmsnorm(vectors[step.to], vectors[step.from], context.vectorOf(step.weight), step.weight.bits, step, step.epsilon, step.rootN, step.outBits)
    case 'quantise':
      state.e = quantise(state.act, vectors[step.from], step.length, step.inBits)
      return
    case 'matmul':
      return matmul(vectors[step.to], context.bytesOf(step.weight), step.weight, state.act, state.e, step.outBits)
    case 'bias':
      return bias(vectors[step.to], context.vectorOf(step.weight))
    case 'rope':
      return rope(vectors[step.on], step.heads, position, context.frequencies[step.frequencies], ropeTables())
    case 'record_q':
      return recordQuery(state.q, vectors.q, step.heads)
    case 'record_k':
      record(state.k, vectors.k, step.heads)
      return cache!.put('keys', position, state.k)
    case 'record_v':
      record(state.v, vectors.v, step.heads)
      return cache!.put('values', position, state.v)
    case 'score':
    case 'weigh':
    case 'mix':
      return attend(step, state, cache!, position)
    case 'gate':
      return gate(vectors.hidden, vectors.gate, vectors.up, step.kind, step.outBits)
    case 'add':
      return add(vectors.residual, vectors.delta)
  }
}

/** What a step wrote, as the trace reports it (see StepValues in engine.ts and test/protocol/engine). */
export function valuesOf(step: Step, state: RowState): number[] {
  const { vectors } = state
  const { heads, headDim } = state.core
  switch (step.op) {
    case 'embed':
    case 'add':
      return Array.from(vectors.residual)
    case 'rmsnorm':
    case 'matmul':
    case 'bias':
      return Array.from(vectors[step.to])
    case 'rope':
      return Array.from(vectors[step.on])
    case 'quantise':
      return [...state.act.subarray(0, step.length), state.e]
    case 'record_q':
      return Array.from({ length: step.heads }, (_, h) => [...state.q.values.subarray(h * headDim, (h + 1) * headDim), state.q.exponents[h]]).flat()
    case 'record_k':
    case 'record_v': {
      const { values, mantissas, exponents, groups } = step.op === 'record_k' ? state.k : state.v
      const head = (h: number): number[] => [
        ...values.subarray(h * headDim, (h + 1) * headDim),
        ...mantissas.subarray(h * groups, (h + 1) * groups),
        exponents[h],
      ]
      return Array.from({ length: step.heads }, (_, h) => head(h)).flat()
    }
    case 'score':
      return Array.from({ length: heads }, (_, h) => Array.from(state.scores[h])).flat()
    case 'weigh':
      return Array.from({ length: heads }, (_, h) => [...state.weights[h], state.sums[h]]).flat()
    case 'mix':
      return Array.from(vectors.attention)
    case 'gate':
      return Array.from(vectors.hidden)
  }
}
