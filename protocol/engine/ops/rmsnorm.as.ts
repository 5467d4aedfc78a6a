// Op rmsnorm: x · w / √(mean x² + ε) in integers. Mirror of rmsnorm.ts.
import { biasOf, bitlen64, halfOf, mulShift4, satShift } from './integer.as'

/** ⌊√v⌋ digit by digit. */
function isqrt32(v: u32): u32 {
  let x = v
  let root: u32 = 0
  for (let bit: u32 = 1 << 30; bit > 0; bit >>= 2) {
    const t = root + bit
    root >>= 1
    if (x >= t) {
      x -= t
      root += bit
    }
  }
  return root
}

/** y, x, weight // length i32; y may be x. `weightBits`: fractional bits of the weight. One head of the op. */
export function rmsnorm(y: usize, x: usize, weight: usize, weightBits: i32, length: i32, epsilon: u32, rootN: u32, outBits: i32): void {
  // Sums of the low and of the high halves of x²: 2^15 squares below 2^62 need 77 bits.
  const mask = i64x2.splat(0xffffffff)
  let lows = i64x2.splat(0)
  let highs = i64x2.splat(0)
  let i = 0
  for (; i + 4 <= length; i += 4) {
    const v = v128.load(x + (i << 2))
    const a = i64x2.extmul_low_i32x4_s(v, v)
    const b = i64x2.extmul_high_i32x4_s(v, v)
    lows = i64x2.add(lows, i64x2.add(v128.and(a, mask), v128.and(b, mask)))
    highs = i64x2.add(highs, i64x2.add(i64x2.shr_u(a, 32), i64x2.shr_u(b, 32)))
  }
  let low = <u64>i64x2.extract_lane(lows, 0) + <u64>i64x2.extract_lane(lows, 1) + <u64>epsilon
  let high = <u64>i64x2.extract_lane(highs, 0) + <u64>i64x2.extract_lane(highs, 1)
  for (; i < length; i++) {
    const v = <i64>load<i32>(x + (i << 2))
    low += <u64>(v * v) & 0xffffffff
    high += <u64>(v * v) >> 32
  }
  high += low >> 32
  low &= 0xffffffff

  const h = ((high > 0 ? 32 + bitlen64(high) : bitlen64(low)) + 1) >> 1
  const shift = <u64>abs<i32>(2 * h - 32)
  const v = <u32>(2 * h < 32 ? low << shift : shift < 32 ? (high << (32 - shift)) | (low >> shift) : high >> (shift - 32))
  const inverse = <u64>(0x80000000 / isqrt32(v))
  const c = <i32>((inverse * <u64>rootN + 524288) >> 20)

  const first = h - 9
  const second = 20 + weightBits - outBits
  i = 0
  if (first > 0 && second > 0 && second < 32) {
    const cs = i32x4.splat(c)
    const firstHalf = halfOf(first)
    const firstBias = biasOf(first)
    const secondHalf = halfOf(second)
    const secondBias = biasOf(second)
    for (; i + 4 <= length; i += 4) {
      const normal = mulShift4(v128.load(x + (i << 2)), cs, first, firstHalf, firstBias)
      v128.store(y + (i << 2), mulShift4(normal, v128.load(weight + (i << 2)), second, secondHalf, secondBias))
    }
  }
  for (; i < length; i++) {
    const normal = satShift(<i64>load<i32>(x + (i << 2)) * <i64>c, first)
    store<i32>(y + (i << 2), satShift(<i64>normal * <i64>load<i32>(weight + (i << 2)), second))
  }
}
