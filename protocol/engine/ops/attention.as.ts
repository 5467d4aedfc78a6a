// Ops score, weigh, mix: one query head against the cached positions it sees. Mirror of attention.ts.
// Positions are handled from `base` = the first visible one rounded down to 16; slots that are not visible get weight 0, whatever bytes lie in them.
// A page holds 64 positions; the layout of a block is told in record.as.ts. headDim is a multiple of 32.
import { bitlen32, constant, convertHigh, exact2, exp2neg8, halfF64, k1023, k32768, maxLanes, satRound4, sumLanes } from './integer.as'
import { keyExponents, keyMantissas, valueExponents, valueMantissas } from './record.as'

// @ts-ignore: decorator
@inline function block(table: usize, position: i32, offset: usize): usize {
  return <usize>load<u32>(table + (<usize>(position >> 6) << 2)) + offset
}

// @ts-ignore: decorator
@inline function pairSum(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7))
}

/** Four products x·2^n of doubles for four i32 n, |n| < 1000; lanes 0 and 1. */
// @ts-ignore: decorator
@inline function exact2Low(n: v128): v128 {
  return i64x2.shl(i64x2.extend_low_i32x4_s(i32x4.add(n, constant(k1023))), 52)
}
// @ts-ignore: decorator
@inline function exact2High(n: v128): v128 {
  return i64x2.shl(i64x2.extend_high_i32x4_s(i32x4.add(n, constant(k1023))), 52)
}

// Adds dot·m of a key group, four positions: exact in doubles, the whole sum stays below 2^45.
// @ts-ignore: decorator
@inline function scoreLow(dot: v128, m: v128): v128 {
  return f64x2.mul(f64x2.convert_low_i32x4_s(dot), f64x2.convert_low_i32x4_s(m))
}
// @ts-ignore: decorator
@inline function scoreHigh(dot: v128, m: v128): v128 {
  return f64x2.mul(convertHigh(dot), convertHigh(m))
}

/** m = (mantissa·Am + 2^15) >> 16 of four positions. */
// @ts-ignore: decorator
@inline function scaleOf(mantissas: usize, am: v128): v128 {
  return i32x4.shr_u(i32x4.add(i32x4.mul(v128.load16x4_u(mantissas), am), constant(k32768)), 16)
}

/** t = sat32(rshift(S, s + kExponent)) of four positions. */
// @ts-ignore: decorator
@inline function scoreOf(low: v128, high: v128, exponents: usize, s: v128): v128 {
  const n = i32x4.sub(s, v128.load16x4_s(exponents))
  return satRound4(f64x2.mul(low, exact2Low(n)), f64x2.mul(high, exact2High(n)))
}

/** t // i32 from base to the end of last's 16. q // headDim i16, qExponent: record_q. */
export function score(t: usize, first: i32, last: i32, table: usize, offset: usize, q: usize, qExponent: i32, headDim: i32, am: u32, ae: i32): void {
  const ams = i32x4.splat(am)
  const s = i32x4.splat(16 - ae - qExponent)
  const zero = f64x2.splat(0)
  let to = t
  for (let j = first & ~15; j <= last; j += 16) {
    const at = block(table, j, offset)
    let p = at + <usize>(((j >> 4) & 3) * 16 * headDim)
    let mantissas = at + keyMantissas(headDim) + (<usize>(j & 63) << 1)
    let x = q
    let s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero
    for (let g = 0; g < headDim; g += 32) {
      let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0
      for (const end = x + 64; x < end; x += 8) {
        const v = v128.load64_splat(x)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p), v))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 8), v))
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 16), v))
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 24), v))
        a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 32), v))
        a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 40), v))
        a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 48), v))
        a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 56), v))
        p += 64
      }
      let m = scaleOf(mantissas, ams)
      let dot = pairSum(a0, a1)
      s0 = f64x2.add(s0, scoreLow(dot, m))
      s1 = f64x2.add(s1, scoreHigh(dot, m))
      m = scaleOf(mantissas + 8, ams)
      dot = pairSum(a2, a3)
      s2 = f64x2.add(s2, scoreLow(dot, m))
      s3 = f64x2.add(s3, scoreHigh(dot, m))
      m = scaleOf(mantissas + 16, ams)
      dot = pairSum(a4, a5)
      s4 = f64x2.add(s4, scoreLow(dot, m))
      s5 = f64x2.add(s5, scoreHigh(dot, m))
      m = scaleOf(mantissas + 24, ams)
      dot = pairSum(a6, a7)
      s6 = f64x2.add(s6, scoreLow(dot, m))
      s7 = f64x2.add(s7, scoreHigh(dot, m))
      mantissas += 128
    }
    const exponents = at + keyExponents(headDim) + (<usize>(j & 63) << 1)
    v128.store(to, scoreOf(s0, s1, exponents, s))
    v128.store(to, scoreOf(s2, s3, exponents + 8, s), 16)
    v128.store(to, scoreOf(s4, s5, exponents + 16, s), 32)
    v128.store(to, scoreOf(s6, s7, exponents + 24, s), 48)
    to += 64
  }
}

/** w // i16 (Q15) from base to the end of last's 16, 0 where not visible; returns Z. */
export function weigh(w: usize, t: usize, first: i32, last: i32): u32 {
  const base = first & ~15
  const count = ((last | 15) + 1) - base
  const from = first - base
  const to = last - base
  let most = i32.MIN_VALUE
  let i = from
  for (; i <= to && (i & 3) != 0; i++) most = max<i32>(most, load<i32>(t + (<usize>i << 2)))
  let lanes = i32x4.splat(most)
  for (; i + 3 <= to; i += 4) lanes = i32x4.max_s(lanes, v128.load(t + (<usize>i << 2)))
  most = maxLanes(lanes)
  for (; i <= to; i++) most = max<i32>(most, load<i32>(t + (<usize>i << 2)))
  const mx = i32x4.splat(most)
  for (i = 0; i < count; i += 8) {
    const at = t + (<usize>i << 2)
    v128.store(w + (<usize>i << 1), exp2neg8(i32x4.sub(mx, v128.load(at)), i32x4.sub(mx, v128.load(at, 16))))
  }
  for (i = 0; i < from; i++) store<i16>(w + (<usize>i << 1), 0)
  for (i = to + 1; i < count; i++) store<i16>(w + (<usize>i << 1), 0)
  const ones = i16x8.splat(1)
  let sum = i32x4.splat(0)
  for (i = 0; i < count; i += 8) sum = i32x4.add(sum, i32x4.dot_i16x8_s(v128.load(w + (<usize>i << 1)), ones))
  return <u32>sumLanes(sum)
}

/** P = w·vMantissa of four positions. */
// @ts-ignore: decorator
@inline function product(w: usize, mantissas: usize): v128 {
  return i32x4.mul(v128.load16x4_u(w), v128.load16x4_u(mantissas))
}

/** Largest bitlen(P) − vExponent over the positions with P > 0. A float's exponent is bitlen − 1 once no rounding can carry: v & ~(v >> 1) has the same top bit and no two ones in a row. */
function largest(w: usize, base: i32, last: i32, table: usize, offset: usize, headDim: i32): i32 {
  let most = i32x4.splat(-1000)
  let from = w
  for (let j = base; j <= last; j += 16) {
    const at = block(table, j, offset) + (<usize>(j & 63) << 1)
    for (let quad: usize = 0; quad < 4; quad++) {
      const exponents = v128.load16x4_s(at + valueExponents(headDim) + (quad << 3))
      const p = product(from + (quad << 3), at + valueMantissas(headDim) + (quad << 3))
      const bits = i32x4.shr_u(f32x4.convert_i32x4_s(v128.andnot(p, i32x4.shr_u(p, 1))), 23)
      const b = i32x4.sub(i32x4.sub(bits, i32x4.splat(126)), exponents)
      most = i32x4.max_s(most, v128.bitselect(b, most, i32x4.gt_s(p, i32x4.splat(0))))
    }
    from += 32
  }
  return maxLanes(most)
}

/** w becomes p = min(32767, rshift(P, vExponent + B − 15)), in place; P < 2^31, so the double is exact, and from a shift of 32 on it is below 1/2. */
function portions(w: usize, base: i32, last: i32, table: usize, offset: usize, headDim: i32, most: i32): void {
  const s = i32x4.splat(15 - most)
  const half = constant(halfF64)
  let from = w
  for (let j = base; j <= last; j += 16) {
    const at = block(table, j, offset) + (<usize>(j & 63) << 1)
    for (let quad: usize = 0; quad < 4; quad++) {
      const exponents = v128.load16x4_s(at + valueExponents(headDim) + (quad << 3))
      const p = product(from + (quad << 3), at + valueMantissas(headDim) + (quad << 3))
      const n = i32x4.sub(s, exponents)
      const low = f64x2.floor(f64x2.add(f64x2.mul(f64x2.convert_low_i32x4_s(p), exact2Low(n)), half))
      const high = f64x2.floor(f64x2.add(f64x2.mul(convertHigh(p), exact2High(n)), half))
      const both = v128.shuffle<i32>(i32x4.trunc_sat_f64x2_s_zero(low), i32x4.trunc_sat_f64x2_s_zero(high), 0, 1, 4, 5)
      // Narrowing saturates at 32767, which is the min; where P = 0 the product is 0 or, with a strange exponent, NaN, which truncates to 0.
      v128.store64_lane(from + (quad << 3), i16x8.narrow_i32x4_s(v128.and(both, i32x4.gt_s(p, i32x4.splat(0))), both), 0)
    }
    from += 32
  }
}

/**
 * out // headDim i32, Q16; w of weigh (destroyed), z its Z. sums // headDim f64: scratch.
 */
export function mix(out: usize, w: usize, z: u32, first: i32, last: i32, table: usize, offset: usize, headDim: i32, sums: usize): void {
  const base = first & ~15
  const most = largest(w, base, last, table, offset, headDim)
  portions(w, base, last, table, offset, headDim, most)

  // O = Σ p·v8: i32 sums over 512 positions (2^15·2^7·2^9), then doubles.
  const values = offset + <usize>(64 * headDim)
  for (let d = 0; d < headDim; d += 32) {
    let to = sums + (<usize>d << 3)
    memory.fill(to, 0, 256)
    for (let from = base; from <= last; from = (from & ~511) + 512) {
      const until = min<i32>(last, from | 511)
      let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0
      for (let j = from; j <= until; j = (j & ~63) + 64) {
        let p = block(table, j, values) + <usize>((j & 63) * headDim + 2 * d)
        let x = w + (<usize>(j - base) << 1)
        // To the end of the last 16, whose portions are 0 where nothing is visible.
        const end = w + (<usize>(min<i32>(until | 15, j | 63) + 1 - base) << 1)
        for (; x < end; x += 4) {
          const v = v128.load32_splat(x)
          a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p), v))
          a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 8), v))
          a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 16), v))
          a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 24), v))
          a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 32), v))
          a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 40), v))
          a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 48), v))
          a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 56), v))
          p += <usize>(headDim << 1)
        }
      }
      accumulate(to, a0)
      accumulate(to + 32, a1)
      accumulate(to + 64, a2)
      accumulate(to + 96, a3)
      accumulate(to + 128, a4)
      accumulate(to + 160, a5)
      accumulate(to + 192, a6)
      accumulate(to + 224, a7)
    }
  }

  const length = bitlen32(z)
  const normal: u32 = length > 16 ? z >> (length - 16) : z << (16 - length)
  const c = ((0x80000000 / normal) * 33026) >> 17
  const scale = f64x2.splat(<f64>c)
  const power = f64x2.splat(exact2(most - 35 - length))
  for (let d = 0; d < headDim; d += 4) {
    const at = sums + (<usize>d << 3)
    v128.store(out + (<usize>d << 2), satRound4(
      f64x2.mul(f64x2.mul(v128.load(at), scale), power),
      f64x2.mul(f64x2.mul(v128.load(at, 16), scale), power)))
  }
}

// @ts-ignore: decorator
@inline function accumulate(to: usize, v: v128): void {
  v128.store(to, f64x2.add(v128.load(to), f64x2.convert_low_i32x4_s(v)))
  v128.store(to, f64x2.add(v128.load(to, 16), convertHigh(v)), 16)
}
