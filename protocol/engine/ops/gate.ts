// Op gate: SiLU or GELU (tanh form) of the gate, times up (Shazeer, arXiv 2002.05202; specification, section 4).
import { exp2neg, mulShift } from '../integer.ts'

/** Sigmoid in Q15 from t = |x|·log2(e) in Q16. */
function sigmoid(t: number, negative: boolean): number {
  const e = exp2neg(t)
  const den = 32768 + e
  const s = Math.floor((1073741824 + (den >> 1)) / den)
  return negative ? 32768 - s : s
}

/** sigmoid(x), x in Q16. */
export function sigmoidSilu(x: number): number {
  const a4 = (Math.min(Math.abs(x), 1048575) + 8) >> 4
  return sigmoid(Math.floor((a4 * 47274) / 2048), x < 0)
}

/** sigmoid(2·√(2/π)·(x + 0.044715·x³)), x in Q16. */
export function sigmoidGelu(x: number): number {
  const a4 = (Math.min(Math.abs(x), 524287) + 8) >> 4
  const squared = Math.floor((a4 * a4) / 4096)
  const c = 65536 + Math.floor((squared * 11722) / 16384)
  const y = Math.floor((a4 * (c >> 2)) / 2048)
  return sigmoid(Math.floor((Math.min(y, 524288) * 4715) / 1024), x < 0)
}

/** hidden // length i32, Q outBits; gate, up // length i32, Q16. */
export function gate(hidden: Int32Array, g: Int32Array, up: Int32Array, kind: 'silu' | 'gelu', outBits: number): void {
  const sigmoidOf = kind === 'silu' ? sigmoidSilu : sigmoidGelu
  for (let i = 0; i < hidden.length; i++) hidden[i] = mulShift(mulShift(g[i], sigmoidOf(g[i]), 15), up[i], 32 - outBits)
}
