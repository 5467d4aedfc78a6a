// What the WASM kernels share: rounding shifts, saturation and the 2^(−f) polynomial of protocol/README.md sections 1 and 4, scalar and four or eight lanes wide.
// Doubles appear only as containers of integers below 2^53 (products and sums are exact there) or of a power of two; nothing is rounded by the machine.

/**
 * Vector constants of inner loops. V8 makes a constant vector anew at every use, in three instructions; a load takes one. The comment names what each is.
 */
const constants: usize = memory.data<i32>([
  -2147483647, -2147483647, -2147483647, -2147483647, // 0 leastI32
  0, 1071644672, 0, 1071644672, // 1 halfF64
  2031647, 2031647, 2031647, 2031647, // 2 n31
  14680288, 14680288, 14680288, 14680288, // 3 e224
  114296528, 114296528, 114296528, 114296528, // 4 e1744
  514072228, 514072228, 514072228, 514072228, // 5 e7844
  1488148659, 1488148659, 1488148659, 1488148659, // 6 e22707
  2147450879, 2147450879, 2147450879, 2147450879, // 7 e32767
  524296, 524296, 524296, 524296, // 8 eight16
  270549120, 16909320, 0, 0, // 9 powers
  1048575, 1048575, 1048575, 1048575, // 10 siluMax
  8, 8, 8, 8, // 11 eight
  47274, 47274, 47274, 47274, // 12 k47274
  524287, 524287, 524287, 524287, // 13 geluMax
  65536, 65536, 65536, 65536, // 14 k65536
  11722, 11722, 11722, 11722, // 15 k11722
  524288, 524288, 524288, 524288, // 16 k524288
  4715, 4715, 4715, 4715, // 17 k4715
  32768, 32768, 32768, 32768, // 18 k32768
  1317011456, 1317011456, 1317011456, 1317011456, // 19 twoTo30f
  1073741824, 1073741824, 1073741824, 1073741824, // 20 twoTo30
  1023, 1023, 1023, 1023, // 21 k1023
  1258291200, 1258291200, 1258291200, 1258291200, // 22 twoTo23f
], 16)
// @ts-ignore: decorator
@inline export const leastI32: usize = 0
// @ts-ignore: decorator
@inline export const halfF64: usize = 16
// @ts-ignore: decorator
@inline export const n31: usize = 32
// @ts-ignore: decorator
@inline export const e224: usize = 48
// @ts-ignore: decorator
@inline export const e1744: usize = 64
// @ts-ignore: decorator
@inline export const e7844: usize = 80
// @ts-ignore: decorator
@inline export const e22707: usize = 96
// @ts-ignore: decorator
@inline export const e32767: usize = 112
// @ts-ignore: decorator
@inline export const eight16: usize = 128
// @ts-ignore: decorator
@inline export const powers: usize = 144
// @ts-ignore: decorator
@inline export const siluMax: usize = 160
// @ts-ignore: decorator
@inline export const eight: usize = 176
// @ts-ignore: decorator
@inline export const k47274: usize = 192
// @ts-ignore: decorator
@inline export const geluMax: usize = 208
// @ts-ignore: decorator
@inline export const k65536: usize = 224
// @ts-ignore: decorator
@inline export const k11722: usize = 240
// @ts-ignore: decorator
@inline export const k524288: usize = 256
// @ts-ignore: decorator
@inline export const k4715: usize = 272
// @ts-ignore: decorator
@inline export const k32768: usize = 288
// @ts-ignore: decorator
@inline export const twoTo30f: usize = 304
// @ts-ignore: decorator
@inline export const twoTo30: usize = 320
// @ts-ignore: decorator
@inline export const k1023: usize = 336
// @ts-ignore: decorator
@inline export const twoTo23f: usize = 352
// @ts-ignore: decorator
@inline export function constant(offset: usize): v128 {
  return v128.load(constants + offset)
}

/** Clamps to the symmetric i32 range. */
// @ts-ignore: decorator
@inline export function sat32(v: i64): i32 {
  return <i32>min<i64>(max<i64>(v, -0x7fffffff), 0x7fffffff)
}

/** sat32(rshift(v, s)) for |v| < 2^62 (for s > 62: |v| < 2^55, where the result is 0). A left shift saturates first, so that nothing is lost. */
export function satShift(v: i64, s: i32): i32 {
  if (s > 0) {
    const t = <i64>min<i32>(s, 62)
    return sat32((v + ((<i64>1) << (t - 1))) >> t)
  }
  return sat32(min<i64>(max<i64>(v, -0x80000000), 0x80000000) << <i64>min<i32>(-s, 31))
}

/** Number of bits of a u64. */
// @ts-ignore: decorator
@inline export function bitlen64(v: u64): i32 {
  return 64 - <i32>clz<u64>(v)
}

/** Number of bits of a u32. */
// @ts-ignore: decorator
@inline export function bitlen32(v: u32): i32 {
  return 32 - <i32>clz<u32>(v)
}

/** 2^n as a double, |n| < 1000. */
// @ts-ignore: decorator
@inline export function exact2(n: i32): f64 {
  return reinterpret<f64>(<u64>(1023 + n) << 52)
}

/** 2^(s−1), what rounding adds, and 2^(31+s), what the range check adds: made once before a loop. */
// @ts-ignore: decorator
@inline export function halfOf(s: i32): v128 {
  return i64x2.splat((<i64>1) << (s - 1))
}
// @ts-ignore: decorator
@inline export function biasOf(s: i32): v128 {
  return i64x2.splat((<i64>1) << (31 + s))
}

/**
 * Four 64-bit values (lanes 0, 1 in `lo`, 2, 3 in `hi`), |v| < 2^62: sat32(rshift(v, s)), s in 1..31, half = halfOf(s), bias = biasOf(s).
 * The low word of a logical shift is that of the arithmetic one.
 */
// @ts-ignore: decorator
@inline export function satShift4(lo: v128, hi: v128, s: i32, half: v128, bias: v128): v128 {
  const l = i64x2.add(lo, half)
  const h = i64x2.add(hi, half)
  // v >> s fits an i32 exactly when (v + 2^(31+s)) is below 2^(32+s) as an unsigned number.
  const spill = i64x2.shr_u(v128.or(i64x2.add(l, bias), i64x2.add(h, bias)), 32 + s)
  if (v128.any_true(spill)) {
    const t = <i64>s
    return i32x4(
      sat32(i64x2.extract_lane(l, 0) >> t), sat32(i64x2.extract_lane(l, 1) >> t),
      sat32(i64x2.extract_lane(h, 0) >> t), sat32(i64x2.extract_lane(h, 1) >> t),
    )
  }
  return i32x4.max_s(v128.shuffle<i32>(i64x2.shr_u(l, s), i64x2.shr_u(h, s), 0, 2, 4, 6), constant(leastI32))
}

/** Four products of i32 whose rshift by s is known to fit: rshift(a·b, s), half = halfOf(s). */
// @ts-ignore: decorator
@inline export function mulRound4(a: v128, b: v128, s: i32, half: v128): v128 {
  const lo = i64x2.shr_u(i64x2.add(i64x2.extmul_low_i32x4_s(a, b), half), s)
  const hi = i64x2.shr_u(i64x2.add(i64x2.extmul_high_i32x4_s(a, b), half), s)
  return v128.shuffle<i32>(lo, hi, 0, 2, 4, 6)
}

/** Four products of i32: sat32(rshift(a·b, s)), as satShift4. */
// @ts-ignore: decorator
@inline export function mulShift4(a: v128, b: v128, s: i32, half: v128, bias: v128): v128 {
  return satShift4(i64x2.extmul_low_i32x4_s(a, b), i64x2.extmul_high_i32x4_s(a, b), s, half, bias)
}

/**
 * Four doubles v·2^(−s) with |v| <= 2^52 an integer: sat32(⌊x + 1/2⌋) = sat32(rshift(v, s)). Exact: for s in 1..53 the sum is (v + 2^(s−1))/2^s, whose numerator has at most
 * 53 bits; for s > 53 the sum lies in [1/4, 3/4] and its floor is 0 however it was rounded; for s <= 0 either x < 2^52 is an integer or the result saturates.
 */
// @ts-ignore: decorator
@inline export function satRound4(lo: v128, hi: v128): v128 {
  const half = constant(halfF64)
  const l = i32x4.trunc_sat_f64x2_s_zero(f64x2.floor(f64x2.add(lo, half)))
  const h = i32x4.trunc_sat_f64x2_s_zero(f64x2.floor(f64x2.add(hi, half)))
  return i32x4.max_s(v128.shuffle<i32>(l, h, 0, 1, 4, 5), constant(leastI32))
}

/** Lanes 2, 3 of an i32x4 as doubles. */
// @ts-ignore: decorator
@inline export function convertHigh(v: v128): v128 {
  return f64x2.convert_low_i32x4_s(v128.shuffle<i32>(v, v, 2, 3, 2, 3))
}

// @ts-ignore: decorator
@inline export function sumLanes(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3)
}

// @ts-ignore: decorator
@inline export function maxLanes(v: v128): i32 {
  return max<i32>(max<i32>(i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1)), max<i32>(i32x4.extract_lane(v, 2), i32x4.extract_lane(v, 3)))
}

/** Largest |x| of `count` i32, all at least −(2^31−1). */
export function amaxOf(x: usize, count: i32): i32 {
  let most = i32x4.splat(0)
  let i = 0
  for (; i + 4 <= count; i += 4) most = i32x4.max_s(most, i32x4.abs(v128.load(x + (i << 2))))
  let a = maxLanes(most)
  for (; i < count; i++) a = max<i32>(a, abs<i32>(load<i32>(x + (i << 2))))
  return a
}

/**
 * 2^(−d) in Q15 for eight d in Q16 (u32, `a` holds lanes 0..3): exp2neg of the specification. qmul(r, f) is q15mulr (no input is −2^15, so it never saturates);
 * (e + 2^(n−1)) >> n = qmul(e, 2^(15−n)) for n in 1..15, and is 0 from n = 16 on because e < 2^15.
 */
// @ts-ignore: decorator
@inline export function exp2neg8(a: v128, b: v128): v128 {
  const n = i16x8.min_u(v128.shuffle<i16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15), constant(n31))
  const f = i16x8.shr_u(v128.shuffle<i16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14), 1)
  let r = constant(e224)
  r = i16x8.sub(constant(e1744), i16x8.q15mulr_sat_s(r, f))
  r = i16x8.sub(constant(e7844), i16x8.q15mulr_sat_s(r, f))
  r = i16x8.sub(constant(e22707), i16x8.q15mulr_sat_s(r, f))
  r = i16x8.sub(constant(e32767), i16x8.q15mulr_sat_s(r, f))
  // 2^(15−n) as two bytes from an 8-entry table: the high byte is table[n], the low byte table[n − 8]; indices outside give 0.
  const index = i8x16.sub(v128.or(n, i16x8.shl(n, 8)), constant(eight16))
  const power = v128.swizzle(constant(powers), index)
  return v128.bitselect(r, i16x8.q15mulr_sat_s(r, power), i16x8.eq(n, i16x8.splat(0)))
}
