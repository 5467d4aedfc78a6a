// Ops score, weigh, mix: one query head against the cached positions it sees (specification, section 4).
import { bitlen, exp2neg, power, rshift, sat32 } from '../integer.ts'
import { keyGroup } from './record.ts'

/** One cached head: headDim i8 starting at `at`, its mantissas from `scale` on. */
export interface HeadRecord {
  values: Int8Array
  at: number
  mantissas: Uint16Array
  scale: number
  exponent: number
}

/** One query head: headDim i16 starting at `at`. */
export interface QueryHead {
  values: Int16Array
  at: number
  exponent: number
}

/** t in Q16, units of log2. */
export function score(q: QueryHead, k: HeadRecord, headDim: number, am: number, ae: number): number {
  let total = 0
  for (let group = 0; group * keyGroup < headDim; group++) {
    let dot = 0
    for (let i = group * keyGroup; i < (group + 1) * keyGroup; i++) dot += q.values[q.at + i] * k.values[k.at + i]
    total += dot * Math.floor((k.mantissas[k.scale + group] * am + 32768) / 65536)
  }
  return sat32(rshift(total, ae + q.exponent + k.exponent - 16))
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
    const { mantissas, scale, exponent } = v(j)
    const mantissa = mantissas[scale]
    if (w[j] * mantissa > 0) most = Math.max(most, bitlen(w[j] * mantissa) - exponent)
  }
  const sums = new Float64Array(headDim)
  for (let j = 0; j < count; j++) {
    const { values, at: from, mantissas, scale, exponent } = v(j)
    const shift = exponent + most - 15
    const p = shift > 31 ? 0 : Math.min(32767, rshift(w[j] * mantissas[scale], shift))
    if (p > 0) for (let d = 0; d < headDim; d++) sums[d] += p * values[from + d]
  }
  const length = bitlen(z)
  const normal = length > 16 ? Math.floor(z / power(length - 16)) : z * power(16 - length)
  const c = Math.floor((Math.floor(2147483648 / normal) * 33026) / 131072)
  for (let d = 0; d < headDim; d++) out[at + d] = sat32(rshift(sums[d] * c, 35 + length - most))
}
