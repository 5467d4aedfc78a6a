// Canonical bytes of tensors (specification, section 2): rounding rows to their formats, and the panel layout. Exact integer definitions; where a double quotient
// serves as a first guess, two exact comparisons correct it, so no result depends on how a division rounds.

import { type Groups, powerOfTwo } from './dequantise.ts'
import { type MatrixFormat, panelRows, type Tensor, tensorBytes } from './manifest.ts'

const powers = Array.from({ length: 128 }, (_, i) => powerOfTwo(i - 64))
/** 2^k, −64 <= k <= 63. */
const two = (k: number): number => powers[k + 64]

export const rowWordOf = (mantissa: number, shift: number): number => (mantissa | (shift << 16)) >>> 0

/**
 * Row word of an int8 row: the smallest mantissa · 2^(−shift) >= max / 127 with 2^15 <= mantissa < 2^16, 0 <= shift <= 63 (smaller mantissas only at shift 63).
 * A zero row has word 0. Null when the row is too large: max / 127 > 65535.
 */
export function scaleOfRow(max: number): number | null {
  if (max === 0) return 0
  // First of all: for huge values the loops below would not end (1e30 + 1 is 1e30).
  if (max > 127 * 65535) return null
  let shift = 0
  // max · 2^shift is exact: max is a double of at most 53 bits and far from the ends of the exponent range.
  while (shift < 63 && max * two(shift + 1) <= 127 * 65535) shift++
  const scaled = max * two(shift)
  let mantissa = Math.floor(scaled / 127)
  while (mantissa * 127 < scaled) mantissa++
  while ((mantissa - 1) * 127 >= scaled) mantissa--
  return rowWordOf(mantissa, shift)
}

/** w = value / scale, halves away from zero, |w| <= 127, into `out`: `count` of them, from index `from` on in both. */
export function quantiseRow(values: Float64Array, count: number, word: number, out: Int8Array, from = 0): void {
  const mantissa = word & 0xffff
  if (mantissa === 0) {
    out.fill(0, from, from + count)
    return
  }
  const scale = 2 * two((word >>> 16) & 63)
  const guess = 1 / (2 * mantissa)
  for (let i = from; i < from + count; i++) {
    // |w| is the integer with (2|w| − 1) · mantissa <= 2·|value|·2^shift < (2|w| + 1) · mantissa; both sides are exact, and the first guess is off by one at most.
    // Math.round and Math.abs are exact by definition, and branch-free: random signs cost 3x the time otherwise (measured).
    const twice = values[i] * scale
    const size = Math.abs(twice)
    let w = Math.round(twice * guess)
    const doubled = 2 * Math.abs(w)
    if ((doubled - 1) * mantissa > size) w -= w > 0 ? 1 : -1
    else if ((doubled + 1) * mantissa <= size) w += twice > 0 ? 1 : -1
    out[i] = w
  }
}

/**
 * Shift of a w4 row: the largest in 0..63 for which max · 2^shift rounds to at most 32767. Null when none does.
 * `max` is the largest |d| or |m|: an integer of at most 47 bits times 2^(−24), so every product here is exact.
 */
export function shiftOfRow(max: number): number | null {
  for (let shift = 63; shift >= 0; shift--) if (max * two(shift) < 32767.5) return shift
  return null
}

/** Nearest integer, halves away from zero; exact for |x| < 2^52. */
export function roundAway(x: number): number {
  const floor = Math.floor(x < 0 ? -x : x)
  const rounded = (x < 0 ? -x : x) - floor >= 0.5 ? floor + 1 : floor
  return x < 0 ? -rounded : rounded
}

/** Largest |d| of a g8 group: 11 bits, what a half-precision scale carries; more would not fit the kernels' 32-bit products (specification, section 8). */
export const groupScaleMax = 2047

/** Shift of a g8 row whose largest group scale is `max`: the largest in 0..63 with ⌈max · 2^shift⌉ <= 2047. Null when there is none. */
export function shiftOfGroups8(max: number): number | null {
  for (let shift = 63; shift >= 0; shift--) if (max * two(shift) <= groupScaleMax) return shift
  return null
}

/** d of groups whose scales are given (Q8_0 as shipped): rounded, halves away from zero. */
export const roundScale = (d: number, shift: number): number => roundAway(d * two(shift))

/** The smallest d with d · 127 >= max · 2^shift. */
export function scaleOfGroup(max: number, shift: number): number {
  const scaled = max * two(shift)
  let d = Math.floor(scaled / 127)
  while (d * 127 < scaled) d++
  return d
}

/** Bytes of one row in tile order, without its row word: w8: columns; w4: 20 bytes a group; g8: 36 a group (32 weights, d as u32). */
export const rowTileBytes = (format: MatrixFormat, columns: number): number => (format === 'w8' ? columns : (columns / 32) * (format === 'w4' ? 20 : 36))

/** Row of groups in tile order: per group 16 nibble bytes, d i16, m i16. */
export function roundGroups(groups: Groups, shift: number, out: Uint32Array): void {
  const scale = two(shift)
  for (let g = 0; g < groups.d.length; g++) {
    for (let k = 0; k < 4; k++) out[g * 5 + k] = groups.nibbles[g * 4 + k]
    out[g * 5 + 4] = (roundAway(groups.d[g] * scale) & 0xffff) | (roundAway(groups.m[g] * scale) << 16)
  }
}

/** Words from the start of a panel to where row r's block k (w8: 4 columns; w4: tile word k) stands. */
const w8Word = (k: number, r: number): number => k * 16 + r

/** Puts a row in tile order (u32 words) into its panel, `row` counted from the start of `panels`. */
export function scatterRow(format: MatrixFormat, columns: number, tile: Uint32Array, row: number, panels: Uint32Array): void {
  const r = row & 15
  if (format === 'w8') {
    const base = (row >> 4) * columns * 4
    for (let k = 0; k < columns / 4; k++) panels[base + w8Word(k, r)] = tile[k]
    return
  }
  const halves = new Uint16Array(panels.buffer, panels.byteOffset, panels.length * 2)
  if (format === 'g8') {
    for (let g = 0, at = (row >> 4) * (columns / 32) * 136; g < columns / 32; g++, at += 136) {
      for (let k = 0; k < 8; k++) panels[at + k * 16 + r] = tile[g * 9 + k]
      halves[(at + 128) * 2 + r] = tile[g * 9 + 8]
    }
    return
  }
  const base = (row >> 4) * (columns / 32) * 80
  for (let g = 0; g < columns / 32; g++) {
    const at = base + g * 80
    for (let k = 0; k < 4; k++) panels[at + k * 16 + r] = tile[g * 5 + k]
    const scales = tile[g * 5 + 4]
    halves[(at + 64) * 2 + r] = scales & 0xffff
    halves[(at + 72) * 2 + r] = scales >>> 16
  }
}

/** The inverse: row `row` of a tensor's panels in tile order. */
export function gatherRow(format: MatrixFormat, columns: number, panels: Uint32Array, row: number, tile: Uint32Array): void {
  const r = row & 15
  if (format === 'w8') {
    const base = (row >> 4) * columns * 4
    for (let k = 0; k < columns / 4; k++) tile[k] = panels[base + w8Word(k, r)]
    return
  }
  const halves = new Uint16Array(panels.buffer, panels.byteOffset, panels.length * 2)
  if (format === 'g8') {
    for (let g = 0, at = (row >> 4) * (columns / 32) * 136; g < columns / 32; g++, at += 136) {
      for (let k = 0; k < 8; k++) tile[g * 9 + k] = panels[at + k * 16 + r]
      tile[g * 9 + 8] = halves[(at + 128) * 2 + r]
    }
    return
  }
  const base = (row >> 4) * (columns / 32) * 80
  for (let g = 0; g < columns / 32; g++) {
    const at = base + g * 80
    for (let k = 0; k < 4; k++) tile[g * 5 + k] = panels[at + k * 16 + r]
    tile[g * 5 + 4] = halves[(at + 64) * 2 + r] | (halves[(at + 72) * 2 + r] << 16)
  }
}

/** Least and most fractional bits of a norm's v32: below −3 its shift in op rmsnorm (20 + bits − 16) would not be positive. */
export const normBitsMin = -3
export const normBitsMax = 40
/** Norm weights stay below this in size. */
export const normValueMax = 1 << 23
export const biasBits = 16

/** Fractional bits of a norm: the most for which max · 2^bits rounds below 2^23. Null when none does. */
export function bitsOfNorm(max: number): number | null {
  for (let bits = normBitsMax; bits >= normBitsMin; bits--) if (max * two(bits) < normValueMax - 0.5) return bits
  return null
}

/** Canonical bytes of a v32. Null when a value does not fit in ±(2^31 − 1). */
export function vectorBytes(values: Float64Array, count: number, bits: number): Uint8Array | null {
  const bytes = new Uint8Array(tensorBytes('v32', count, 1))
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < count; i++) {
    // Beyond 2^52 doubles have no halves, and the bound fails anyway.
    const v = roundAway(values[i] * two(bits))
    if (!(v < 2147483648 && v > -2147483648)) return null
    view.setInt32(i * 4, v, true)
  }
  return bytes
}

/** Rows with the padding up to a whole panel. */
export const paddedRows = (rows: number): number => Math.ceil(rows / panelRows) * panelRows

/** Bytes of a matrix before its row words. */
export const panelsBytes = (tensor: Pick<Tensor, 'format' | 'rows' | 'columns'>): number =>
  tensorBytes(tensor.format, tensor.rows, tensor.columns) - paddedRows(tensor.rows) * 4
