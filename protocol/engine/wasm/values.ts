// Reads what a step wrote out of linear memory, for traces: the same numbers in the same order as the reference (step.ts, valuesOf).
import type { Core } from '../../model/manifest.ts'
import type { Row } from '../engine.ts'
import type { Step, Vector } from '../program.ts'
import { vectorLength } from '../program.ts'
import type { Buffers } from './buffers.ts'
import type { LinearMemory } from './memory.ts'

export interface TraceContext {
  core: Core
  memory: LinearMemory
  buffers: Buffers
  /** Positions that t and w of one head have room for; they start at the first visible one rounded down to 16. */
  span: number
  traceT: number
  traceW: number
  traceZ: number
  /** Pages of a sequence. */
  tableOf(sequence: number): number[]
}

/** Values of one row; `index` is its row in the buffers. */
export function stepValues(step: Step, index: number, row: Row, context: TraceContext): number[] {
  const { core, memory, buffers } = context
  const vector = (v: Vector): number[] => {
    const { at, stride } = buffers.addresses.vectors[v]
    return Array.from(memory.i32(at + index * stride, vectorLength(core, v)))
  }
  switch (step.op) {
    case 'embed':
    case 'add':
      return vector('residual')
    case 'rmsnorm':
    case 'matmul':
    case 'bias':
      return vector(step.to)
    case 'rope':
      return vector(step.on)
    case 'quantise':
      return [...memory.i16(buffers.act.at + index * buffers.act.stride, step.length), memory.i32(buffers.e, index + 1)[index]]
    case 'record_q':
      return queryRecords(index, context)
    case 'record_k':
    case 'record_v':
      return cacheRecords(step, row, context)
    case 'score':
    case 'weigh':
      return visible(step, index, row, context)
    case 'mix':
      return vector('attention')
    case 'gate':
      return vector('hidden')
  }
}

function queryRecords(index: number, { core, memory, buffers }: TraceContext): number[] {
  const { at, bytes } = buffers.records
  return Array.from({ length: core.heads }, (_, head) => {
    const here = at + (index * core.heads + head) * bytes
    return [...memory.i16(here, core.headDim), memory.i32(here + core.headDim * 2, 1)[0]]
  }).flat()
}

/** Layout of a block: ops/record.as.ts. */
function cacheRecords(step: Step, row: Row, { core, memory, buffers, tableOf }: TraceContext): number[] {
  const { headDim } = core
  const slot = row.position % 64
  const page = tableOf(row.sequence)[Math.floor(row.position / 64)] + buffers.addresses.layerOffset(step.label)
  return Array.from({ length: core.kvHeads }, (_, head) => {
    const block = page + head * buffers.blockBytes
    const bytes = new Int8Array(memory.memory.buffer as ArrayBuffer, block, 128 * headDim)
    const words = memory.i16(block + 128 * headDim, 192 + headDim * 2)
    if (step.op === 'record_k') {
      const values = Array.from({ length: headDim }, (_, d) => bytes[(slot >> 4) * 16 * headDim + (d >> 2) * 64 + (slot & 15) * 4 + (d & 3)])
      const mantissas = Array.from({ length: headDim / 32 }, (_, g) => words[192 + g * 64 + slot] & 0xffff)
      return [...values, ...mantissas, words[slot]]
    }
    const values = Array.from({ length: headDim }, (_, d) => bytes[64 * headDim + (slot >> 1) * 2 * headDim + d * 2 + (slot & 1)])
    return [...values, words[64 + slot] & 0xffff, words[128 + slot]]
  }).flat()
}

function visible(step: Step & { op: 'score' | 'weigh' }, index: number, row: Row, { core, memory, span, traceT, traceW, traceZ }: TraceContext): number[] {
  const first = step.window > 0 ? Math.max(0, row.position - step.window + 1) : 0
  const skip = first & 15
  const count = row.position + 1 - first
  return Array.from({ length: core.heads }, (_, head) => {
    const unit = index * core.heads + head
    if (step.op === 'score') return Array.from(memory.i32(traceT + (unit * span + skip) * 4, count))
    return [...memory.i16(traceW + (unit * span + skip) * 2, count), memory.u32(traceZ + unit * 4, 1)[0]]
  }).flat()
}
