// Op embed: one row of the embedding into the residual (specification, section 4).
import type { Tensor } from '../../model/manifest.ts'
import { rshift, sat32 } from '../integer.ts'
import { rowWord, weightAt } from './weights.ts'

/** residual // hidden i32, Q outBits. `bytes` is the whole tensor; throws RangeError when the token is not a row of it. */
export function embed(residual: Int32Array, bytes: Uint8Array, weight: Tensor, token: number, factor: number, outBits: number): void {
  if (!(token >= 0 && token < weight.rows)) throw new RangeError(`token ${token} is outside the vocabulary of ${weight.rows}`)
  const { mantissa, shift } = rowWord(bytes, weight, token)
  const scale = weight.format === 'w8' ? mantissa * factor : factor
  for (let k = 0; k < weight.columns; k++) residual[k] = sat32(rshift(weightAt(bytes, weight, token, k) * scale, shift + 16 - outBits))
}
