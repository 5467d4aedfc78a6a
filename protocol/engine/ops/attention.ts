// Ops score, weigh, mix: one query head against the cached positions it sees (specification, section 4).
import { bitlen, exp2neg, power, rshift, sat32 } from '../integer.ts'

/** One record: headDim i8 starting at `at` in `values`. */
export interface HeadRecord {
  values: Int8Array
  at: number
  mantissa: number
  exponent: number
}

/** t in Q16, units of log2. */
export function score(q: HeadRecord, k: HeadRecord, headDim: number, am: number, ae: number): number {
  let dot = 0
  for (let i = 0; i < headDim; i++) dot += q.values[q.at + i] * k.values[k.at + i]
  const m1 = Math.floor((q.mantissa * am) / 65536)
  const m = Math.floor((m1 * k.mantissa) / 65536)
  return sat32(rshift(dot * m, ae + q.exponent + k.exponent - 16))
}

/** w // count u16 (Q15) from t // count i32; returns Z. */
export function weigh(w: Uint16Array, t: Int32Array, count: number): number {
  let most = t[0]
  for (let j = 1; j < count; j++) if (t[j] > most) most = t[j]
  let z = 0
  for (let j = 0; j < count; j++) {
    w[j] = exp2neg(most - t[j])
    z += w[j]
  }
  return z
}

/** out // headDim i32, Q16 at `at`; w // count, v(j) the j-th visible value record. */
export function mix(out: Int32Array, at: number, headDim: number, w: Uint16Array, z: number, count: number, v: (j: number) => HeadRecord): void {
  let most = -power(20)
  for (let j = 0; j < count; j++) {
    const { mantissa, exponent } = v(j)
    if (w[j] * mantissa > 0) most = Math.max(most, bitlen(w[j] * mantissa) - exponent)
  }
  const sums = new Float64Array(headDim)
  for (let j = 0; j < count; j++) {
    const { values, at: from, mantissa, exponent } = v(j)
    const shift = exponent + most - 15
    const p = shift > 31 ? 0 : Math.min(32767, rshift(w[j] * mantissa, shift))
    if (p > 0) for (let d = 0; d < headDim; d++) sums[d] += p * values[from + d]
  }
  const length = bitlen(z)
  const normal = length > 16 ? Math.floor(z / power(length - 16)) : z * power(16 - length)
  const c = Math.floor((Math.floor(2147483648 / normal) * 33026) / 131072)
  for (let d = 0; d < headDim; d++) out[at + d] = sat32(rshift(sums[d] * c, 35 + length - most))
}
