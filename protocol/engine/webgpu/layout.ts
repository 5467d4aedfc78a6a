// Where everything lies in GPU memory: pure arithmetic over the manifest. Weights keep their canonical bytes; matrices that are multiplied by the same
// activation stand panel after panel, so that one dispatch does them; what exceeds one binding is cut by panels.
import { type Core, groupColumns, panelRows, type Tensor } from '../../model/manifest.ts'
import type { Segment } from '../engine.ts'
import { groupBytes } from '../ops/weights.ts'
import type { Program, Step } from '../program.ts'
import { vectorLength } from '../program.ts'

/** Offsets of bindings are multiples of this (WebGPU's default minStorageBufferOffsetAlignment and its uniform twin). */
export const bindingAlign = 256
export const alignTo = (value: number, align: number): number => Math.ceil(value / align) * align

export interface Part {
  chunk: number
  /** Bytes into the chunk, a multiple of bindingAlign. */
  offset: number
  bytes: number
  panelFrom: number
  panels: number
}

/** One or more tensors of the same format and columns, their panels one after the other. */
export interface Matrix {
  tensors: Tensor[]
  format: 'w8' | 'g8' | 'w4'
  /** Columns / 32. */
  groups: number
  panelBytes: number
  panels: number
  /** First row word, in words. */
  wordAt: number
  parts: Part[]
}

export interface WeightLayout {
  /** By the name of the first tensor. */
  matrices: Map<string, Matrix>
  /** Bytes of each weight buffer. */
  chunks: number[]
  /** u32 of all row words. */
  wordCount: number
  /** Elements of all v32 tensors, and where each starts (multiples of 16). */
  vectorAt: Map<string, number>
  vectorCount: number
}

const panelCount = (tensor: Tensor): number => Math.ceil(tensor.rows / panelRows)

/** Steps of a segment in program order. */
export function segmentSteps(program: Program, segment: Segment): { steps: Step[]; tail: Step[] } {
  const layers = program.layers.slice(segment.from, segment.to).flat()
  return { steps: [...(segment.from === 0 ? program.embed : []), ...layers], tail: segment.to === program.core.layers ? program.tail : [] }
}

/** Runs of matmul steps that read one activation and share a format: each is one dispatch. Bias steps between them do not end a run. */
export function matmulRuns(steps: Step[]): (Step & { op: 'matmul' })[][] {
  const runs: (Step & { op: 'matmul' })[][] = []
  let open = false
  for (const step of steps) {
    if (step.op === 'bias') continue
    if (step.op !== 'matmul') {
      open = false
      continue
    }
    const last = runs.at(-1)
    if (open && last && last[0].weight.format === step.weight.format && last[0].weight.columns === step.weight.columns) last.push(step)
    else runs.push([step])
    open = true
  }
  return runs
}

/** Places every weight of a segment. `chunkBytesMax` is the largest binding, `partBytesMax` the largest part of a matrix. */
export function placeWeights(program: Program, segment: Segment, chunkBytesMax: number, partBytesMax: number): WeightLayout {
  const { steps, tail } = segmentSteps(program, segment)
  const layout: WeightLayout = { matrices: new Map(), chunks: [], wordCount: 0, vectorAt: new Map(), vectorCount: 0 }
  const addMatrix = (tensors: Tensor[]): void => {
    const { format, columns, name } = tensors[0]
    if (layout.matrices.has(name) || format === 'v32') return
    const groups = columns / groupColumns
    const panelBytes = groups * (format === 'w8' ? panelRows * groupColumns : groupBytes[format])
    const panels = tensors.reduce((sum, t) => sum + panelCount(t), 0)
    const parts: Part[] = []
    const perPart = Math.max(1, Math.floor(Math.min(partBytesMax, chunkBytesMax) / panelBytes))
    for (let panelFrom = 0; panelFrom < panels; panelFrom += perPart) {
      const count = Math.min(perPart, panels - panelFrom)
      const bytes = count * panelBytes
      const last = layout.chunks.length - 1
      const offset = last >= 0 ? alignTo(layout.chunks[last], bindingAlign) : 0
      if (last >= 0 && offset + bytes <= chunkBytesMax) {
        layout.chunks[last] = offset + bytes
        parts.push({ chunk: last, offset, bytes, panelFrom, panels: count })
      } else {
        layout.chunks.push(bytes)
        parts.push({ chunk: last + 1, offset: 0, bytes, panelFrom, panels: count })
      }
    }
    layout.matrices.set(name, { tensors, format, groups, panelBytes, panels, wordAt: layout.wordCount, parts })
    layout.wordCount += panels * panelRows
  }
  const addVector = (tensor: Tensor): void => {
    if (layout.vectorAt.has(tensor.name)) return
    layout.vectorAt.set(tensor.name, layout.vectorCount)
    layout.vectorCount += alignTo(tensor.rows, 16)
  }
  for (const step of [...steps, ...tail]) if (step.op === 'embed') addMatrix([step.weight])
  for (const run of [...matmulRuns(steps), ...matmulRuns(tail)]) addMatrix(run.map((s) => s.weight))
  for (const step of [...steps, ...tail]) if (step.op === 'rmsnorm' || step.op === 'bias') addVector(step.weight)
  return layout
}

/** Sizes of the vectors of one row, in i32. */
export interface VectorLayout {
  qkvStride: number
  kAt: number
  vAt: number
  gateStride: number
  upAt: number
  logitsStride: number
  attention: number
  /** Words of the i8 of one key or value record, and key groups of 32. */
  recordWords: number
  keyGroups: number
  /** Words of the query record of one head. */
  queryWords: number
  /** Words of one page (64 positions) of keys, and of values, of one layer. */
  keyPageWords: number
  valuePageWords: number
  /** Columns of the longest activation. */
  actColumns: number
}

export function vectorLayout(core: Core): VectorLayout {
  const padded = (n: number): number => alignTo(n, panelRows)
  const q = padded(vectorLength(core, 'q'))
  const k = padded(vectorLength(core, 'k'))
  const recordWords = core.headDim / 4
  const keyGroups = core.headDim / 32
  return {
    qkvStride: q + 2 * k,
    kAt: q,
    vAt: q + k,
    gateStride: 2 * padded(core.ffn),
    upAt: padded(core.ffn),
    logitsStride: padded(core.vocab),
    attention: vectorLength(core, 'attention'),
    recordWords,
    keyGroups,
    queryWords: core.headDim / 2 + 4,
    keyPageWords: core.kvHeads * 64 * (recordWords + keyGroups),
    valuePageWords: core.kvHeads * 64 * (recordWords + 1),
    actColumns: Math.max(core.hidden, core.ffn, vectorLength(core, 'attention')),
  }
}
