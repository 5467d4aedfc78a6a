// The greedy choice over logits: the largest value, the lowest id on ties.
import { maxLanes } from './integer.as'

/** logits // count i32. */
export function argmax(logits: usize, count: i32): i32 {
  let most = i32x4.splat(i32.MIN_VALUE)
  let i = 0
  for (; i + 4 <= count; i += 4) most = i32x4.max_s(most, v128.load(logits + (<usize>i << 2)))
  let best = maxLanes(most)
  for (; i < count; i++) best = max<i32>(best, load<i32>(logits + (<usize>i << 2)))
  const wanted = i32x4.splat(best)
  i = 0
  for (; i + 4 <= count; i += 4) if (v128.any_true(i32x4.eq(v128.load(logits + (<usize>i << 2)), wanted))) break
  for (; i < count; i++) if (load<i32>(logits + (<usize>i << 2)) == best) return i
  return 0
}
