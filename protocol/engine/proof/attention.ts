// Stages of attention: records, scores, softmax, the weighted sum of values. Positions come in blocks of 64 that are aligned in the sequence, so that a block's cached
// records are neighbours in the trace; entries a row does not see hold 0. A head of 32,768 positions has 512 blocks.
import { bitlen, exp2neg, power, rshift, sat32 } from '../integer.ts'
import { score } from '../ops/attention.ts'
import { keyGroup, newQueryRecords, newRecords, record, recordQuery } from '../ops/record.ts'
import type { Step } from '../program.ts'
import { firstVisible } from '../step.ts'
import { type Source, type StageList, value, values } from './build.ts'
import type { ListShape, Read, Values } from './table.ts'

/** Positions of a block. */
export const blockPositions = 64
/** Dimensions of a tile of partial sums: every head width is a multiple of 16, and 512 such tiles are 32 KiB. */
const dimsPerTile = 16
/** Blocks that a partial reduction reads. */
const blocksPerPart = 16

export const keyGroups = (headDim: number): number => Math.ceil(headDim / keyGroup)

/** A cached record as bytes: headDim i8, mantissas u16, exponent i16. */
export const recordBytes = (headDim: number, groups: number): number => headDim + 2 * groups + 2

export const recordShape = (kvHeads: number, headDim: number, which: 'k' | 'v'): ListShape => ({
  type: 'u8',
  fields: recordBytes(headDim, which === 'k' ? keyGroups(headDim) : 1),
  elements: kvHeads,
  perTile: 1,
})

export function encodeRecord(values: ArrayLike<number>, mantissas: ArrayLike<number>, exponent: number): Uint8Array {
  const bytes = new Uint8Array(values.length + mantissas.length * 2 + 2)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) view.setInt8(i, values[i])
  for (let i = 0; i < mantissas.length; i++) view.setUint16(values.length + i * 2, mantissas[i], true)
  view.setInt16(bytes.length - 2, exponent, true)
  return bytes
}

export function decodeRecord(bytes: Uint8Array, headDim: number): { values: Int8Array; mantissas: Uint16Array; exponent: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const mantissas = Uint16Array.from({ length: (bytes.length - headDim - 2) / 2 }, (_, i) => view.getUint16(headDim + i * 2, true))
  return { values: new Int8Array(bytes.buffer, bytes.byteOffset, headDim), mantissas, exponent: view.getInt16(bytes.length - 2, true) }
}

/** Exponents of true records: 16 − bitlen, or 16 − shift. */
const exponentTrue = (exponent: number): boolean => exponent >= -15 && exponent <= 16

export function queryRecord(list: StageList, label: string, q: Source, heads: number, headDim: number): Source {
  return list.add({
    label,
    type: 'i16',
    fields: headDim + 1,
    elements: heads,
    perTile: 1,
    *element(head) {
      const x = yield* values(q, head * headDim, (head + 1) * headDim)
      const out = newQueryRecords(1, headDim)
      recordQuery(out, x as Int32Array, 1)
      return [...out.values, out.exponents[0]]
    },
  })
}

export function cacheRecord(list: StageList, label: string, which: 'k' | 'v', from: Source, kvHeads: number, headDim: number): Source {
  const shape = recordShape(kvHeads, headDim, which)
  return list.add({
    ...shape,
    label,
    root: which,
    *element(head) {
      const x = yield* values(from, head * headDim, (head + 1) * headDim)
      const out = newRecords(1, headDim, which === 'k' ? keyGroups(headDim) : 1)
      record(out, x as Int32Array, 1)
      return encodeRecord(out.values, out.mantissas, out.exponents[0])
    },
  })
}

export interface AttentionShape {
  layer: number
  position: number
  heads: number
  kvHeads: number
  headDim: number
}

/** score, weigh, mix. Gives `attention` // heads·headDim i32. */
export function attention(
  list: StageList,
  shape: AttentionShape,
  steps: { score: Step & { op: 'score' }; weigh: Step & { op: 'weigh' }; mix: Step & { op: 'mix' } },
  q: Source,
): Source {
  const { layer, position, heads, kvHeads, headDim } = shape
  const { window, am, ae } = steps.score
  const first = firstVisible(position, window)
  const block0 = Math.floor(first / blockPositions)
  const blocks = Math.floor(position / blockPositions) + 1 - block0
  const kvHead = (head: number): number => Math.floor(head / (heads / kvHeads))
  /** Visible positions of block b, as [start, end) of the sequence, and where the block begins. */
  const span = (b: number): { start: number; end: number; begin: number } => {
    const begin = (block0 + b) * blockPositions
    return { begin, start: Math.max(first, begin), end: Math.min(position + 1, begin + blockPositions) }
  }
  /** Blocks [b, b + count) of one head as elements. */
  const blockRange = (head: number, b: number, count: number): [number, number] => [
    (head * blocks + b) * blockPositions,
    (head * blocks + b + count) * blockPositions,
  ]
  const cached = (which: 'k' | 'v', head: number, start: number, end: number): Read => ({
    from: 'cache',
    which,
    layer,
    head: kvHead(head),
    start,
    end,
  })
  const parts = Math.ceil(blocks / blocksPerPart)
  const partRange = (head: number, part: number): [number, number] =>
    blockRange(head, part * blocksPerPart, Math.min(blocksPerPart, blocks - part * blocksPerPart))

  const scores = list.add({
    label: steps.score.label,
    type: 'i32',
    elements: heads * blocks * blockPositions,
    *element(e) {
      const head = Math.floor(e / (blocks * blockPositions))
      const j = block0 * blockPositions + (e % (blocks * blockPositions))
      if (j < first || j > position) return [0]
      const query = yield* values(q, head, head + 1)
      const key = decodeRecord((yield cached('k', head, j, j + 1)) as Uint8Array, headDim)
      if (!exponentTrue(query[headDim]) || !exponentTrue(key.exponent)) return null
      const record = { values: key.values, at: 0, mantissas: key.mantissas, scale: 0, exponent: key.exponent }
      return [score({ values: query as Int16Array, at: 0, exponent: query[headDim] }, record, headDim, am, ae)]
    },
  })

  /** The largest visible score among blocks from b on. */
  const most = (t: Values, b: number): number => {
    let top = -2147483647
    for (let i = 0; i < t.length; i++) {
      const j = (block0 + b) * blockPositions + i
      if (j >= first && j <= position && t[i] > top) top = t[i]
    }
    return top
  }
  const topParts =
    parts > 1
      ? list.add({
          label: `${steps.weigh.label}.top.part`,
          type: 'i32',
          elements: heads * parts,
          *element(e) {
            const part = e % parts
            return [most(yield* values(scores, ...partRange(Math.floor(e / parts), part)), part * blocksPerPart)]
          },
        })
      : null
  const top = list.add({
    label: `${steps.weigh.label}.top`,
    type: 'i32',
    elements: heads,
    *element(head) {
      if (!topParts) return [most(yield* values(scores, ...partRange(head, 0)), 0)]
      let best = -2147483647
      for (const part of yield* values(topParts, head * parts, (head + 1) * parts)) if (part > best) best = part
      return [best]
    },
  })

  const weights = list.add({
    label: steps.weigh.label,
    type: 'u16',
    elements: heads * blocks * blockPositions,
    *element(e) {
      const head = Math.floor(e / (blocks * blockPositions))
      const j = block0 * blockPositions + (e % (blocks * blockPositions))
      if (j < first || j > position) return [0]
      const distance = (yield* value(top, head)) - (yield* value(scores, e))
      return distance < 0 ? null : [exp2neg(distance)]
    },
  })
  const sum = (w: Values): number => {
    let total = 0
    for (let i = 0; i < w.length; i++) total += w[i]
    return total
  }
  const sumParts =
    parts > 1
      ? list.add({
          label: `${steps.weigh.label}.sum.part`,
          type: 'u32',
          elements: heads * parts,
          *element(e) {
            return [sum(yield* values(weights, ...partRange(Math.floor(e / parts), e % parts)))]
          },
        })
      : null
  const sums = list.add({
    label: `${steps.weigh.label}.sum`,
    type: 'u32',
    elements: heads,
    *element(head) {
      return [sum(yield* sumParts ? values(sumParts, head * parts, (head + 1) * parts) : values(weights, ...partRange(head, 0)))]
    },
  })

  /** Weights and value records of the visible positions of block b; null when a record's exponent is none of a true record. */
  function* weighted(head: number, b: number): Generator<Read, { w: Values; records: ReturnType<typeof decodeRecord>[] } | null, Values> {
    const { start, end, begin } = span(b)
    const w = yield* values(weights, ...blockRange(head, b, 1))
    const bytes = (yield cached('v', head, start, end)) as Uint8Array
    const size = recordBytes(headDim, 1)
    const records = Array.from({ length: end - start }, (_, i) => decodeRecord(bytes.subarray(i * size, (i + 1) * size), headDim))
    const visible = w.subarray(start - begin, end - begin)
    return records.every((r) => exponentTrue(r.exponent)) && visible.every((x) => x < 32768) ? { w: visible, records } : null
  }
  const mixTopParts = list.add({
    label: `${steps.mix.label}.top.part`,
    type: 'i32',
    elements: heads * blocks,
    *element(e) {
      const block = yield* weighted(Math.floor(e / blocks), e % blocks)
      if (!block) return null
      let best = -power(20)
      block.records.forEach(({ mantissas, exponent }, j) => {
        const p = block.w[j] * mantissas[0]
        if (p > 0) best = Math.max(best, bitlen(p) - exponent)
      })
      return [best]
    },
  })
  const mixTop = list.add({
    label: `${steps.mix.label}.top`,
    type: 'i32',
    elements: heads,
    *element(head) {
      let best = -power(20)
      for (const part of yield* values(mixTopParts, head * blocks, (head + 1) * blocks)) best = Math.max(best, part)
      return [best]
    },
  })
  const chunks = headDim / dimsPerTile
  const mixParts = list.add({
    label: `${steps.mix.label}.part`,
    type: 'i32',
    // Ordered (head, 16 dimensions, block): all that one output reads lies end to end.
    elements: heads * chunks * blocks * dimsPerTile,
    perTile: dimsPerTile,
    *element(e) {
      const tile = Math.floor(e / dimsPerTile)
      const head = Math.floor(tile / (blocks * chunks))
      const d = (Math.floor(tile / blocks) % chunks) * dimsPerTile + (e % dimsPerTile)
      const block = yield* weighted(head, tile % blocks)
      const best = yield* value(mixTop, head)
      if (!block || best > 64) return null
      let total = 0
      block.records.forEach(({ values: v, mantissas, exponent }, j) => {
        const shift = exponent + best - 15
        const p = shift > 31 ? 0 : Math.min(32767, rshift(block.w[j] * mantissas[0], shift))
        total += p * v[d]
      })
      return [total]
    },
  })
  return list.add({
    label: steps.mix.label,
    type: 'i32',
    elements: heads * headDim,
    *element(e) {
      const head = Math.floor(e / headDim)
      const d = e % headDim
      const tile = (head * chunks + Math.floor(d / dimsPerTile)) * blocks
      const z = yield* value(sums, head)
      const best = yield* value(mixTop, head)
      const partial = yield* values(mixParts, tile * dimsPerTile, (tile + blocks) * dimsPerTile)
      if (z < 1 || z >= power(30) || best > 64) return null
      let total = 0
      for (let i = d % dimsPerTile; i < partial.length; i += dimsPerTile) total += partial[i]
      const length = bitlen(z)
      const normal = length > 16 ? Math.floor(z / power(length - 16)) : z * power(16 - length)
      const c = Math.floor((Math.floor(2147483648 / normal) * 33026) / 131072)
      return [sat32(rshift(total * c, 35 + length - best))]
    },
  })
}
