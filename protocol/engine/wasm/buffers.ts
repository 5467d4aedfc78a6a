// The buffers beside the weights: vectors of a batch, activations, page tables, scratch per thread. Sizes first (to ask for the memory once), then their places.
import type { Core, Tensor } from '../../model/manifest.ts'
import type { Segment } from '../engine.ts'
import type { Program, Vector } from '../program.ts'
import { vectorLength } from '../program.ts'
import { ropeTables, splitFrequencies } from '../tables.ts'
import { type Addresses, encodedBytes, type Phase, type Place, phasesOf } from './encode.ts'
import * as L from './layout.ts'
import type { LinearMemory } from './memory.ts'

export const pagePositions = 64

export interface Plan {
  core: Core
  segment: Segment
  rowsMax: number
  threads: number
  kvTokensMax: number
  program: Program
}

export interface Buffers {
  addresses: Addresses
  program: number
  /** Room for one phase of one op. */
  traceProgram: number
  positions: number
  tokens: number
  tables: number
  tailOf: number
  counters: number
  counterBytes: number
  times: number
  act: Place
  e: number
  records: { at: number; bytes: number }
  blockBytes: number
  pageBytes: number
  tableBytes: number
}

const round = (n: number, to: number): number => Math.ceil(n / to) * to

/** Sizes that follow from the model. Matmuls write whole panels, hence multiples of 16 elements. */
function sizesOf({ core, segment, rowsMax, kvTokensMax, program }: Plan) {
  const columnsMax = Math.max(core.hidden, core.ffn, core.heads * core.headDim)
  // One key-value head of one layer: 64 positions of keys and values, then their exponents and mantissas (ops/record.as.ts).
  const blockBytes = 132 * core.headDim + 384
  const span = round(Math.min(core.context, kvTokensMax), 16) + 16
  const body = [...(segment.from === 0 ? program.embed : []), ...program.layers.slice(segment.from, segment.to).flat()]
  const tail = segment.to === core.layers ? program.tail : []
  // See ops/matmul-rows.as.ts: a widened block, group sums, row scales, d and m, accumulators.
  const scratchAttention = 12288 + 3072 + 128 + 2 * round(columnsMax, 64) + round(rowsMax, 4) * 128
  return {
    columnsMax,
    blockBytes,
    span,
    body,
    tail,
    scratchAttention,
    rowBytes: (v: Vector) => round(vectorLength(core, v), 16) * 4,
    // 64 bytes more keep the rows of a wide matrix out of one cache set.
    actStride: columnsMax * 2 + 64,
    startStride: round(columnsMax / 32, 2) * 4,
    halfStride: round(columnsMax / 32, 2) * 4,
    recordBytes: core.headDim * 2 + 16,
    pageBytes: Math.max(64, (segment.to - segment.from) * core.kvHeads * blockBytes),
    tableBytes: round(Math.ceil(core.context / pagePositions) * 4, 64),
    scratchBytes: scratchAttention + core.headDim * 8 + span * 6 + 64,
  }
}

const rowVectors = ['residual', 'delta', 'branch', 'normed', 'q', 'k', 'v', 'attention', 'gate', 'up'] as const

/** Bytes taken at once, and an upper bound of what may come later (pages, logits, traces of small batches). */
export function bytesOfBuffers(plan: Plan): { fixed: number; growing: number } {
  const { core, rowsMax, threads, kvTokensMax } = plan
  const s = sizesOf(plan)
  const perRow =
    rowVectors.reduce((sum, v) => sum + s.rowBytes(v), s.rowBytes('residual')) +
    2 * s.actStride +
    s.startStride +
    s.halfStride +
    core.heads * s.recordBytes +
    core.headDim * 8 +
    64
  const phases = phasesOf(s.body, s.tail, placeholder(core))
  const fixed = (rowsMax + 3) * perRow + threads * s.scratchBytes + encodedBytes(phases) + phases.length * 72 + 65536
  const pages = Math.ceil(kvTokensMax / pagePositions) + 64
  return { fixed, growing: pages * (s.pageBytes + s.tableBytes) + 2 * rowsMax * s.rowBytes('logits') + (64 << 20) }
}

/** Addresses that only serve to count phases. */
function placeholder(core: Core): Addresses {
  const place = { at: 0, stride: 0 }
  const set = { cos: 0, sin: 0, hi: 0, lo: 0 }
  const vectors = Object.fromEntries([...rowVectors, 'hidden', 'logits'].map((v) => [v, place])) as Record<Vector, Place>
  return {
    vectors,
    tailResidual: place,
    tensor: () => 0,
    angles: { global: set, local: set },
    tables: 0,
    layerOffset: () => 0,
    hidden: core.hidden,
    headDim: core.headDim,
    heads: core.heads,
    kvHeads: core.kvHeads,
  }
}

/** Takes the buffers, fills tables and the state block. `tensorAt`: address of a tensor. */
export function layOut(plan: Plan, memory: LinearMemory, tensorAt: (tensor: Tensor) => number): Buffers {
  const { core, segment, rowsMax, threads } = plan
  const s = sizesOf(plan)
  const rows = (stride: number): Place => ({ at: memory.take(rowsMax * stride), stride })
  const vectors = Object.fromEntries(rowVectors.map((v) => [v, rows(s.rowBytes(v))])) as Record<Vector, Place>
  // The gate op works in place; logits get their room when a run wants them.
  vectors.hidden = vectors.gate
  vectors.logits = { at: 0, stride: s.rowBytes('logits') }
  const tailResidual = rows(s.rowBytes('residual'))
  const act = rows(s.actStride)
  const permuted = memory.take(round(rowsMax, 4) * s.actStride)
  const starts = rows(s.startStride)
  const halves = rows(s.halfStride)
  const records = memory.take(rowsMax * core.heads * s.recordBytes)
  const [positions, tokens, tables, tailOf, e] = Array.from({ length: 5 }, () => memory.take(rowsMax * 4))
  const scratch = memory.take(threads * round(s.scratchBytes, 64))

  const { C, S, c, s: fine } = ropeTables()
  const trig = memory.take(16384)
  for (const [i, table] of [C, S, c, fine].entries()) memory.i32(trig + i * 4096, 1024).set(table)
  const half = core.headDim / 2
  const anglesOf = (frequencies: Uint8Array): Addresses['angles']['global'] => {
    const { hi, lo } = splitFrequencies(frequencies)
    const set = { cos: memory.take(rowsMax * half * 4), sin: memory.take(rowsMax * half * 4), hi: memory.take(half * 4), lo: memory.take(half * 4) }
    memory.u32(set.hi, half).set(hi)
    memory.u32(set.lo, half).set(lo)
    return set
  }
  const global = anglesOf(core.ropeGlobal)
  const local = core.ropeLocal ? anglesOf(core.ropeLocal) : global

  const addresses: Addresses = {
    vectors,
    tailResidual,
    tensor: tensorAt,
    angles: { global, local },
    tables: trig,
    layerOffset: (label) => (Number.parseInt(label, 10) - segment.from) * core.kvHeads * s.blockBytes,
    hidden: core.hidden,
    headDim: core.headDim,
    heads: core.heads,
    kvHeads: core.kvHeads,
  }
  const phases: Phase[] = phasesOf(s.body, s.tail, addresses)
  const program = memory.take(encodedBytes(phases))
  const traceProgram = memory.take(2 * L.phaseBytes + 2 * L.opBytes)
  const counterBytes = phases.length * 64
  const counters = memory.take(counterBytes)
  const times = memory.take(phases.length * 8)
  memory.f64(times, phases.length).fill(0)

  const state: [number, number][] = [
    [L.stateCounters, counters],
    [L.statePositions, positions],
    [L.stateTokens, tokens],
    [L.stateTables, tables],
    [L.stateTailOf, tailOf],
    [L.stateAct, act.at],
    [L.statePermuted, permuted],
    [L.stateActStride, s.actStride],
    [L.stateE, e],
    [L.stateStarts, starts.at],
    [L.stateStartStride, s.startStride],
    [L.stateHalves, halves.at],
    [L.stateHalfStride, s.halfStride],
    [L.stateRecords, records],
    [L.stateRecordBytes, s.recordBytes],
    [L.stateHeads, core.heads],
    [L.stateKvHeads, core.kvHeads],
    [L.stateHeadDim, core.headDim],
    [L.stateBlockBytes, s.blockBytes],
    [L.stateAttention, vectors.attention.at],
    [L.stateAttentionStride, vectors.attention.stride],
    [L.stateScratch, scratch],
    [L.stateScratchBytes, round(s.scratchBytes, 64)],
    [L.stateScratchAttention, s.scratchAttention],
    [L.stateSpan, s.span],
    [L.stateTimes, times],
  ]
  const words = memory.i32(0, L.stateEnd / 4)
  for (const [address, value] of state) words[address / 4] = value
  return {
    addresses,
    program,
    traceProgram,
    positions,
    tokens,
    tables,
    tailOf,
    counters,
    counterBytes,
    times,
    act,
    e,
    records: { at: records, bytes: s.recordBytes },
    blockBytes: s.blockBytes,
    pageBytes: s.pageBytes,
    tableBytes: s.tableBytes,
  }
}
