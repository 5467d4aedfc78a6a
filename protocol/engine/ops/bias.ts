// Op bias: y + b, saturating (qwen2's q, k, v).
import { sat32 } from '../integer.ts'

/** y, b // length i32, Q16. */
export function bias(y: Int32Array, b: Int32Array): void {
  for (let i = 0; i < b.length; i++) y[i] = sat32(y[i] + b[i])
}
