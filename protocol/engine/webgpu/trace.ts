// Which bytes of which buffer hold a step's values, and how they read as the trace wants them (see StepValues and protocol/README.md section 3).
import type { Core } from '../../model/manifest.ts'
import type { Step } from '../program.ts'
import { firstVisible } from '../step.ts'
import { scratchHeader } from './batch.ts'
import type { VectorLayout } from './layout.ts'
import type { Slot } from './plan.ts'
import { pagePositions } from './sequences.ts'

export interface TraceShape {
  core: Core
  vectors: VectorLayout
  form: 'planes' | 'wide'
  /** Rows of the pass, and the token stride of activations. */
  rows: { position: number; pages: readonly number[] }[]
  stride: number
  scratchStride: number
  /** Pages the cache holds. */
  pageCount: number
}

/** Buffers to copy whole, and the reader of the copies. */
export interface Tap {
  slots: { slot: Slot; words: number }[]
  read(copies: Int32Array[], shape: TraceShape): number[][]
}

/** A vector of `length` at `at` in rows of `stride`. */
function vectorTap(slot: Slot, stride: number, at: number, length: number, rows: number): Tap {
  return {
    slots: [{ slot, words: stride * rows }],
    read: ([copy]) => Array.from({ length: rows }, (_, i) => Array.from(copy.subarray(i * stride + at, i * stride + at + length))),
  }
}

/** Element c (0..7) of a block of activations at word `at` (ops/planes.wgsl, ops/wide.wgsl). */
function blockElement(words: Int32Array, at: number, c: number, form: 'planes' | 'wide'): number {
  if (form === 'wide') return (words[at + (c >> 1)] << (c & 1 ? 0 : 16)) >> 16
  const byte = (word: number): number => (word << (24 - (c & 3) * 8)) >> 24
  return 256 * byte(words[at + 2 + (c >> 2)]) + byte(words[at + (c >> 2)])
}

/** act of one row, then e. */
function readActivation([act, sums]: Int32Array[], { form, stride }: TraceShape, row: number, length: number): number[] {
  return [...Array.from({ length }, (_, k) => blockElement(act, ((k >> 3) * stride + row) * 4, k & 7, form)), sums[row]]
}

/** i8s, mantissas, exponent. */
function readRecord(copy: Int32Array, at: number, scaleAt: number, headDim: number, groups: number): number[] {
  const values = Array.from({ length: headDim }, (_, i) => (copy[at + (i >> 2)] << (24 - (i & 3) * 8)) >> 24)
  const mantissas = Array.from({ length: groups }, (_, g) => copy[scaleAt + g * pagePositions] & 0xffff)
  return [...values, ...mantissas, copy[scaleAt] >> 16]
}

/** The tap of a step in a pass of `shape.rows.length` rows. */
export function tapOf(step: Step, shape: TraceShape): Tap {
  const { core, vectors } = shape
  const rows = shape.rows.length
  const { heads, kvHeads, headDim } = core
  const inQkv = (name: string): Tap => {
    const [at, length] = name === 'q' ? [0, heads * headDim] : [name === 'k' ? vectors.kAt : vectors.vAt, kvHeads * headDim]
    return vectorTap('qkv', vectors.qkvStride, at, length, rows)
  }
  switch (step.op) {
    case 'embed':
    case 'add':
      return vectorTap('residual', core.hidden, 0, core.hidden, rows)
    case 'rmsnorm':
    case 'matmul':
    case 'bias': {
      const { to } = step
      if (to === 'q' || to === 'k' || to === 'v') return inQkv(to)
      if (to === 'gate' || to === 'up') return vectorTap('gateUp', vectors.gateStride, to === 'up' ? vectors.upAt : 0, core.ffn, rows)
      if (to === 'logits') return vectorTap('logits', vectors.logitsStride, 0, core.vocab, rows)
      return vectorTap(to === 'normed' ? 'normed' : 'delta', core.hidden, 0, core.hidden, rows)
    }
    case 'rope':
      return inQkv(step.on)
    case 'quantise':
      return {
        slots: [
          { slot: 'act', words: (step.length / 2) * shape.stride },
          { slot: 'sums', words: rows },
        ],
        read: (copies) => shape.rows.map((_, row) => readActivation(copies, shape, row, step.length)),
      }
    case 'record_q':
      return {
        slots: [{ slot: 'queries', words: heads * vectors.queryWords * rows }],
        read: ([copy]) =>
          shape.rows.map((_, row) =>
            Array.from({ length: heads }, (_, h) => {
              const at = (row * heads + h) * vectors.queryWords
              return [...Array.from({ length: headDim }, (_, i) => blockElement(copy, at + (i >> 3) * 4, i & 7, shape.form)), copy[at + headDim / 2]]
            }).flat(),
          ),
      }
    case 'record_k':
    case 'record_v': {
      const isKey = step.op === 'record_k'
      const { recordWords } = vectors
      const groups = isKey ? vectors.keyGroups : 1
      const pageWords = isKey ? vectors.keyPageWords : vectors.valuePageWords
      return {
        slots: [{ slot: isKey ? 'keys' : 'values', words: shape.pageCount * pageWords }],
        read: ([copy]) =>
          shape.rows.map(({ position, pages }) =>
            Array.from({ length: kvHeads }, (_, h) => {
              const area = (pages[Math.floor(position / pagePositions)] * kvHeads + h) * pagePositions * (recordWords + groups)
              const cell = position % pagePositions
              return readRecord(copy, area + cell * recordWords, area + pagePositions * recordWords + cell, headDim, groups)
            }).flat(),
          ),
      }
    }
    case 'score':
    case 'weigh':
      return {
        slots: [{ slot: 'scratch', words: rows * heads * shape.scratchStride }],
        read: ([copy]) =>
          shape.rows.map(({ position }, row) =>
            Array.from({ length: heads }, (_, h) => {
              const at = (row * heads + h) * shape.scratchStride
              const count = position + 1 - firstVisible(position, step.window)
              const values = Array.from(copy.subarray(at + scratchHeader, at + scratchHeader + count))
              return step.op === 'weigh' ? [...values, copy[at] >>> 0] : values
            }).flat(),
          ),
      }
    case 'mix':
      return vectorTap('attention', vectors.attention, 0, vectors.attention, rows)
    case 'gate':
      return vectorTap('hidden', core.ffn, 0, core.ffn, rows)
  }
}
