// Op matmul: y = W·act, exact sums, one rounding at the end (specification, section 4).
import { groupColumns, type Tensor } from '../../model/manifest.ts'
import { rshift, sat32 } from '../integer.ts'
import { g8Scale, groupBytes, i16At, rowWord } from './weights.ts'

/** Σ w·act of a w8 row: exact in a double, |acc| < 2^36; i32 partial sums over 1,024 columns. */
function dotRow8(bytes: Uint8Array, base: number, act: Int16Array, columns: number): number {
  let acc = 0
  for (let from = 0; from < columns; from += 1024) {
    const to = Math.min(from + 1024, columns)
    let part = 0
    for (let k = from, at = base + from * 16; k < to; k += 4, at += 64) {
      const w = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)
      part = (part + ((w << 24) >> 24) * act[k] + ((w << 16) >> 24) * act[k + 1] + ((w << 8) >> 24) * act[k + 2] + (w >> 24) * act[k + 3]) | 0
    }
    acc += part
  }
  return acc
}

/** Σ over groups of d·Σ(q−8)·act + m·Σact of a w4 row: |acc| < 2^47.2. `sums` holds Σact per group. */
function dotRow4(bytes: Uint8Array, base: number, row: number, act: Int16Array, sums: Int32Array, groups: number): number {
  let acc = 0
  for (let g = 0; g < groups; g++) {
    const at = base + g * groupBytes.w4
    let part = -8 * sums[g]
    for (let block = 0, k = g * groupColumns; block < 4; block++, k += 8) {
      const from = at + block * 64 + row * 4
      for (let b = 0; b < 4; b++) {
        const byte = bytes[from + b]
        part += (byte & 15) * act[k + b] + (byte >> 4) * act[k + 4 + b]
      }
    }
    acc += i16At(bytes, at + 256 + row * 2) * part + i16At(bytes, at + 288 + row * 2) * sums[g]
  }
  return acc
}

/** Σ over groups of d·Σ w·act of a g8 row: |acc| < 2^47. */
function dotGroups8(bytes: Uint8Array, base: number, row: number, act: Int16Array, groups: number): number {
  let acc = 0
  for (let g = 0; g < groups; g++) {
    const at = base + g * groupBytes.g8
    let part = 0
    for (let k = g * groupColumns, from = at + row * 4; k < (g + 1) * groupColumns; k += 4, from += 64) {
      for (let b = 0; b < 4; b++) part += ((bytes[from + b] << 24) >> 24) * act[k + b]
    }
    acc += g8Scale(bytes, at + 512 + row * 2) * part
  }
  return acc
}

/** y // rows i32, Q outBits; act // columns i16 with value act · 2^(−e). `bytes` is the whole tensor in its canonical layout. */
export function matmul(y: Int32Array, bytes: Uint8Array, weight: Tensor, act: Int16Array, e: number, outBits: number): void {
  const { rows, columns, format } = weight
  const groups = columns / groupColumns
  const sums = new Int32Array(groups)
  if (format === 'w4') for (let k = 0; k < columns; k++) sums[k >> 5] += act[k]
  for (let row = 0; row < rows; row++) {
    const { mantissa, shift } = rowWord(bytes, weight, row)
    const panel = row >> 4
    const r = row & 15
    let v: number
    if (format === 'w8') v = dotRow8(bytes, panel * 16 * columns + r * 4, act, columns) * mantissa
    else if (format === 'w4') v = dotRow4(bytes, panel * groups * groupBytes.w4, r, act, sums, groups)
    else v = dotGroups8(bytes, panel * groups * groupBytes.g8, r, act, groups)
    y[row] = sat32(rshift(v, shift + e - outBits))
  }
}
