// Ops record_q, record_k, record_v: one head of q, k, v made small (specification, section 4). Queries live for one row and keep 15 bits;
// keys and values are cached as int8, keys with one scale per 32 elements, values with one per head (measured: README of the protocol).
import { amaxOf, bitlen, power } from '../integer.ts'
import { quantise } from './quantise.ts'

export const keyGroup = 32

/** heads · headDim values with their scales; `groups` mantissas per head. */
export interface Records {
  /** heads·headDim i8 */
  values: Int8Array
  /** heads·groups u16 */
  mantissas: Uint16Array
  /** heads i16 */
  exponents: Int16Array
  headDim: number
  groups: number
}

export const newRecords = (heads: number, headDim: number, groups: number): Records => ({
  values: new Int8Array(heads * headDim),
  mantissas: new Uint16Array(heads * groups),
  exponents: new Int16Array(heads),
  headDim,
  groups,
})

export interface QueryRecords {
  /** heads·headDim i16 */
  values: Int16Array
  /** heads i16 */
  exponents: Int16Array
}

export const newQueryRecords = (heads: number, headDim: number): QueryRecords => ({ values: new Int16Array(heads * headDim), exponents: new Int16Array(heads) })

/** x // heads·headDim i32, Q16. */
export function recordQuery(out: QueryRecords, x: Int32Array, heads: number): void {
  const headDim = out.values.length / heads
  for (let head = 0; head < heads; head++) {
    const from = head * headDim
    out.exponents[head] = quantise(out.values.subarray(from, from + headDim), x.subarray(from, from + headDim), headDim, 16)
  }
}

/** x // heads·headDim i32, Q16. Keys: groups = headDim/32; values: groups = 1. */
export function record(out: Records, x: Int32Array, heads: number): void {
  const { headDim, groups } = out
  const length = headDim / groups
  for (let head = 0; head < heads; head++) {
    const n = 16 - bitlen(Math.max(1, amaxOf(x, head * headDim, (head + 1) * headDim)))
    const scaled = (v: number): number => (n >= 0 ? v * power(n) : Math.floor(v / power(-n)))
    for (let group = 0; group < groups; group++) {
      const from = head * headDim + group * length
      const mantissa = Math.max(1, scaled(amaxOf(x, from, from + length)))
      const r = Math.floor(2130706432 / mantissa)
      for (let i = from; i < from + length; i++) {
        const q = Math.floor((scaled(x[i] < 0 ? -x[i] : x[i]) * r + 8388608) / 16777216)
        out.values[i] = x[i] < 0 ? -q : q
      }
      out.mantissas[head * groups + group] = mantissa
    }
    out.exponents[head] = n
  }
}
