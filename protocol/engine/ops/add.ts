// Op add: the residual connection, saturating.
import { sat32 } from '../integer.ts'

/** residual, delta // hidden i32, Q residualBits. */
export function add(residual: Int32Array, delta: Int32Array): void {
  for (let i = 0; i < residual.length; i++) residual[i] = sat32(residual[i] + delta[i])
}
