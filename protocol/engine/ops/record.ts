// Op record: one head of q, k or v to int8 with a 16-bit mantissa and an exponent (specification, section 4).
import { amaxOf, bitlen, power } from '../integer.ts'

export interface Records {
  /** heads·headDim i8 */
  values: Int8Array
  /** heads u16 */
  mantissas: Uint16Array
  /** heads i16 */
  exponents: Int16Array
}

export const newRecords = (heads: number, headDim: number): Records => ({
  values: new Int8Array(heads * headDim),
  mantissas: new Uint16Array(heads),
  exponents: new Int16Array(heads),
})

/** x // heads·headDim i32, Q16. */
export function record(out: Records, x: Int32Array, heads: number): void {
  const headDim = out.values.length / heads
  for (let head = 0; head < heads; head++) {
    const at = head * headDim
    const a = Math.max(1, amaxOf(x, at, at + headDim))
    const n = 16 - bitlen(a)
    const scaled = (v: number): number => (n >= 0 ? v * power(n) : Math.floor(v / power(-n)))
    const mantissa = scaled(a)
    const r = Math.floor(2130706432 / mantissa)
    for (let i = at; i < at + headDim; i++) {
      const q = Math.floor((scaled(x[i] < 0 ? -x[i] : x[i]) * r + 8388608) / 16777216)
      out.values[i] = x[i] < 0 ? -q : q
    }
    out.mantissas[head] = mantissa
    out.exponents[head] = n
  }
}
