// Stages of the ops that work on one vector: rmsnorm, quantise, matmul, bias, rope, gate, add. Arithmetic as in ../ops (specification, section 4).

import { tileColumnsMax } from '../../limits.ts'
import { groupColumns } from '../../model/manifest.ts'
import { bitlen, isqrt32, mulShift, rshift, sat32 } from '../integer.ts'
import { gate } from '../ops/gate.ts'
import { actMax } from '../ops/quantise.ts'
import { angle } from '../ops/rope.ts'
import { g8Scale, i16At } from '../ops/weights.ts'
import type { Step } from '../program.ts'
import { ropeTables } from '../tables.ts'
import { largest, matrixTile, partElements, partsOf, type Source, type StageList, value, values, weightAt } from './build.ts'
import type { Values, WeightTile } from './table.ts'

/** Σx² in three u32 limbs, lowest first: below 2^77 (specification, section 4). */
function squares(x: Values): bigint {
  let total = 0n
  for (let i = 0; i < x.length; i++) total += BigInt(x[i]) * BigInt(x[i])
  return total
}
const limbs = (v: bigint): number[] => [Number(v & 0xffffffffn), Number((v >> 32n) & 0xffffffffn), Number((v >> 64n) & 0xffffffffn)]
const ofLimbs = (v: Values, at: number): bigint => BigInt(v[at]) + (BigInt(v[at + 1]) << 32n) + (BigInt(v[at + 2]) << 64n)

/** rmsnorm: Σx² in parts of 1,024 (longer vectors) → h and c of each head → y. `from` // heads·length i32. */
export function rmsnorm(list: StageList, step: Step & { op: 'rmsnorm' }, from: Source, tensor: number): Source {
  const { label, heads, length } = step
  const split = length > partElements
  const parts = split
    ? list.add({
        label: `${label}.squares`,
        type: 'u32',
        fields: 3,
        elements: partsOf(length),
        *element(e) {
          return limbs(squares(yield* values(from, e * partElements, Math.min(length, (e + 1) * partElements))))
        },
      })
    : null
  const scale = list.add({
    label: `${label}.scale`,
    type: 'u32',
    fields: 2,
    elements: heads,
    *element(head) {
      let total = BigInt(step.epsilon)
      if (parts) {
        const sums = yield* values(parts, 0, parts.elements)
        for (let i = 0; i < sums.length; i += 3) total += ofLimbs(sums, i)
      } else total += squares(yield* values(from, head * length, (head + 1) * length))
      const h = (total.toString(2).length + 1) >> 1
      const v = Number(h >= 16 ? total >> BigInt(2 * h - 32) : total << BigInt(32 - 2 * h))
      const inverse = Math.floor(2147483648 / isqrt32(v))
      return [h, Math.floor((inverse * step.rootN + 524288) / 1048576)]
    },
  })
  return list.add({
    label,
    type: 'i32',
    elements: heads * length,
    *element(e) {
      const x = yield* value(from, e)
      const head = Math.floor(e / length)
      const [h, c] = yield* values(scale, head, head + 1)
      const { weight, bits } = yield* weightAt(tensor, e % length)
      if (h > 48 || c >= 1048576) return null
      return [mulShift(sat32(rshift(x * c, h - 9)), weight, 20 + bits - step.outBits)]
    },
  })
}

/** An activation: 15-bit integers and their fractional bits. */
export interface Act {
  act: Source
  e: Source
}

/** quantise: largest |y| → e → act. */
export function quantise(list: StageList, step: Step & { op: 'quantise' }, from: Source): Act {
  const { label, inBits } = step
  const amax = largest(list, `${label}.max`, from)
  const e = list.add({
    label: `${label}.e`,
    type: 'i32',
    elements: 1,
    *element() {
      return [inBits - Math.max(0, bitlen(yield* amax()) - 14)]
    },
  })
  const act = list.add({
    label,
    type: 'i16',
    elements: step.length,
    *element(i) {
      const y = yield* value(from, i)
      const shift = inBits - (yield* value(e, 0))
      if (shift < 0 || shift > 31) return null
      const q = rshift(y, shift)
      return [q > actMax ? actMax : q < -actMax ? -actMax : q]
    },
  })
  return { act, e }
}

const i8 = (byte: number): number => (byte << 24) >> 24

/** Σ w·act of one weight tile: exact, below 2^47.2 in size. act // the chunk's columns. */
export function dotTile({ format, bytes }: WeightTile, act: Values): number {
  let acc = 0
  if (format === 'w8') {
    for (let from = 0; from < act.length; from += partElements) {
      let part = 0
      for (let k = from; k < Math.min(act.length, from + partElements); k++) part = (part + i8(bytes[k]) * act[k]) | 0
      acc += part
    }
    return acc
  }
  for (let group = 0, k = 0; k < act.length; group++, k += groupColumns) {
    let part = 0
    if (format === 'g8') {
      const at = group * 36
      for (let i = 0; i < groupColumns; i++) part += i8(bytes[at + i]) * act[k + i]
      acc += g8Scale(bytes, at + 32) * part
      continue
    }
    const at = group * 20
    let sum = 0
    for (let block = 0; block < 4; block++) {
      for (let b = 0; b < 4; b++) {
        const byte = bytes[at + block * 4 + b]
        const low = act[k + block * 8 + b]
        const high = act[k + block * 8 + 4 + b]
        part += ((byte & 15) - 8) * low + ((byte >> 4) - 8) * high
        sum += low + high
      }
    }
    acc += i16At(bytes, at + 16) * part + i16At(bytes, at + 18) * sum
  }
  return acc
}

/** The row word of a tile. */
function wordOf({ bytes }: WeightTile): { mantissa: number; shift: number } {
  const at = bytes.length - 4
  return { mantissa: bytes[at] | (bytes[at + 1] << 8), shift: bytes[at + 2] & 63 }
}

/** Integer weight of one column of a tile, before the row scale. */
function weightOf({ format, bytes }: WeightTile, column: number): number {
  if (format === 'w8') return i8(bytes[column])
  const group = Math.floor(column / groupColumns)
  const i = column & 31
  if (format === 'g8') return i8(bytes[group * 36 + i]) * g8Scale(bytes, group * 36 + 32)
  const byte = bytes[group * 20 + (i >> 3) * 4 + (i & 3)]
  return i16At(bytes, group * 20 + 16) * (((i & 4) === 0 ? byte & 15 : byte >> 4) - 8) + i16At(bytes, group * 20 + 18)
}

const actTrue = (act: Values): boolean => act.every((a) => a <= actMax && a >= -actMax)

/** matmul: sums over 8,192 columns where a row has more → y. */
export function matmul(list: StageList, step: Step & { op: 'matmul' }, { act, e }: Act, tensor: number): Source {
  const { label, outBits, weight } = step
  const { rows, columns } = weight
  const chunks = Math.ceil(columns / tileColumnsMax)
  const columnsOf = (chunk: number) => values(act, chunk * tileColumnsMax, Math.min(columns, (chunk + 1) * tileColumnsMax))
  const parts =
    chunks > 1
      ? list.add({
          label: `${label}.part`,
          type: 'i64',
          elements: rows * chunks,
          *element(i) {
            const x = yield* columnsOf(i % chunks)
            if (!actTrue(x)) return null
            return [dotTile(yield* matrixTile(tensor, Math.floor(i / chunks), i % chunks), x)]
          },
        })
      : null
  return list.add({
    label,
    type: 'i32',
    elements: rows,
    *element(row) {
      const shift = yield* value(e, 0)
      if (shift < -64 || shift > 64) return null
      let acc = 0
      let tile: WeightTile
      if (parts) {
        for (const part of yield* values(parts, row * chunks, (row + 1) * chunks)) acc += part
        tile = yield* matrixTile(tensor, row, 0)
      } else {
        const x = yield* columnsOf(0)
        if (!actTrue(x)) return null
        tile = yield* matrixTile(tensor, row, 0)
        acc = dotTile(tile, x)
      }
      const word = wordOf(tile)
      return [sat32(rshift(tile.format === 'w8' ? acc * word.mantissa : acc, word.shift + shift - outBits))]
    },
  })
}

/** embed: one weight of the token's row, scaled. */
export function embed(list: StageList, step: Step & { op: 'embed' }, position: number, tensor: number): Source {
  return list.add({
    label: step.label,
    type: 'i32',
    elements: step.weight.columns,
    *element(column) {
      const token = (yield { from: 'tokens', start: position, end: position + 1 }) as Values
      if (token[0] >= step.weight.rows) return null
      const tile = yield* matrixTile(tensor, token[0], Math.floor(column / tileColumnsMax))
      const { mantissa, shift } = wordOf(tile)
      const scale = tile.format === 'w8' ? mantissa * step.factor : step.factor
      return [sat32(rshift(weightOf(tile, column & (tileColumnsMax - 1)) * scale, shift + 16 - step.outBits))]
    },
  })
}

export function bias(list: StageList, step: Step & { op: 'bias' }, from: Source, tensor: number): Source {
  return list.add({
    label: step.label,
    type: 'i32',
    elements: from.elements,
    *element(e) {
      const y = yield* value(from, e)
      return [sat32(y + (yield* weightAt(tensor, e)).weight)]
    },
  })
}

/** rope on pairs (i, i + headDim/2); the tables are part of the judge, whose hash every model id holds (constTablesRoot). */
export function rope(list: StageList, label: string, from: Source, headDim: number, position: number, f: { hi: Uint32Array; lo: Uint32Array }): Source {
  const half = headDim / 2
  return list.add({
    label,
    type: 'i32',
    elements: from.elements,
    *element(e) {
      const i = e % headDim
      const pair = i % half
      const a = yield* value(from, e - i + pair)
      const b = yield* value(from, e - i + pair + half)
      const { cos, sin } = angle(ropeTables(), f.hi[pair], f.lo[pair], position)
      return [sat32(i < half ? rshift(a * cos - b * sin, 14) : rshift(b * cos + a * sin, 14))]
    },
  })
}

export function gated(list: StageList, step: Step & { op: 'gate' }, g: Source, up: Source): Source {
  const out = new Int32Array(1)
  return list.add({
    label: step.label,
    type: 'i32',
    elements: g.elements,
    *element(e) {
      const a = yield* value(g, e)
      gate(out, Int32Array.of(a), Int32Array.of(yield* value(up, e)), step.kind, step.outBits)
      return [out[0]]
    },
  })
}

export function added(list: StageList, label: string, residual: Source, delta: Source, root: 'step' | 'residual'): Source {
  return list.add({
    label,
    type: 'i32',
    elements: residual.elements,
    root,
    *element(e) {
      const a = yield* value(residual, e)
      return [sat32(a + (yield* value(delta, e)))]
    },
  })
}
