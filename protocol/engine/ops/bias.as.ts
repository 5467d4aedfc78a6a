// Op bias: y + b, saturating (qwen2's q, k, v). Mirror of bias.ts.
import { sat32 } from './integer.as'

/** y, b // count i32, Q16. */
export function bias(y: usize, b: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    const at = <usize>i << 2
    store<i32>(y + at, sat32(<i64>load<i32>(y + at) + <i64>load<i32>(b + at)))
  }
}
