// Op quantise: a vector to 15-bit integers with one power-of-two scale. Mirror of quantise.ts; besides `act` it writes what the matmul kernels read:
// the same values with each 8 columns in the order 0,2,4,6,1,3,5,7 (the pairs that the nibbles of a w4 block and the bytes of a w8 block give, see matmul.as.ts),
// −8 times the sum of each group of 32 columns (w4 sums begin with it, so that nibbles stay unsigned), and the sums themselves split into 11 low and the high bits.
import { amaxOf, bitlen32, sumLanes } from './integer.as'

/**
 * y // length i32, length a multiple of 32; act // length i16; permuted // length/2 pairs of i16, `step` bytes apart: 4, or 16 for one of the four rows that panelRows reads together;
 * starts // length/32 i32: −8·Σact; halves // i16 low[pairs·2], then high[pairs·2], pairs = ⌈length/64⌉. Returns e.
 */
export function quantise(y: usize, length: i32, inBits: i32, act: usize, permuted: usize, step: usize, starts: usize, halves: usize): i32 {
  const shift = max<i32>(0, bitlen32(amaxOf(y, length)) - 14)
  const most = i32x4.splat(16383)
  const least = i32x4.splat(-16383)
  const ones = i16x8.splat(1)
  const groups = length >> 5
  const high = halves + (((groups + 1) >> 1) << 2)
  let to = permuted
  for (let g = 0; g < groups; g++) {
    let sum = i32x4.splat(0)
    for (let block = 0; block < 4; block++) {
      const k = (g << 5) + (block << 3)
      let a = v128.load(y + (k << 2))
      let b = v128.load(y + (k << 2), 16)
      if (shift > 0) {
        // ⌊(y + 2^(s−1)) / 2^s⌋ = ⌊(⌊y / 2^(s−1)⌋ + 1) / 2⌋, which cannot overflow.
        const one = i32x4.splat(1)
        a = i32x4.shr_s(i32x4.add(i32x4.shr_s(a, shift - 1), one), 1)
        b = i32x4.shr_s(i32x4.add(i32x4.shr_s(b, shift - 1), one), 1)
      }
      const q = i16x8.narrow_i32x4_s(i32x4.max_s(i32x4.min_s(a, most), least), i32x4.max_s(i32x4.min_s(b, most), least))
      v128.store(act + (k << 1), q)
      const pairs = v128.shuffle<i16>(q, q, 0, 2, 4, 6, 1, 3, 5, 7)
      v128.store32_lane(to, pairs, 0)
      v128.store32_lane(to + step, pairs, 1)
      v128.store32_lane(to + step * 2, pairs, 2)
      v128.store32_lane(to + step * 3, pairs, 3)
      to += step * 4
      sum = i32x4.add(sum, i32x4.dot_i16x8_s(q, ones))
    }
    const total = sumLanes(sum)
    store<i32>(starts + (g << 2), total * -8)
    store<i16>(halves + (g << 1), <i16>(total & 2047))
    store<i16>(high + (g << 1), <i16>(total >> 11))
  }
  if (groups & 1) {
    store<i16>(halves + (groups << 1), 0)
    store<i16>(high + (groups << 1), 0)
  }
  return inBits - shift
}
