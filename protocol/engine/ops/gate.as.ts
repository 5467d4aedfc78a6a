// Op gate: SiLU or GELU (tanh form) of the gate, times up. Mirror of gate.ts, eight elements at a time.
import {
  biasOf, constant, eight, exp2neg8, geluMax, halfOf, k11722, k32768, k4715, k47274, k524288, k65536, mulRound4, mulShift4, siluMax, twoTo23f, twoTo30, twoTo30f,
} from './integer.as'

/** s = ⌊(2^30 + ⌊den/2⌋) / den⌋, den = 2^15 + e: a float gives an estimate that is off by at most one, the integer remainder decides. */
// @ts-ignore: decorator
@inline function sigmoidOf(e: v128, negative: v128): v128 {
  const den = i32x4.add(e, constant(k32768))
  // Adding 2^23 leaves the rounded quotient (2^14 to 2^15) in the low bits of the float.
  const estimate = i32x4.sub(f32x4.add(f32x4.div(constant(twoTo30f), f32x4.convert_i32x4_s(den)), constant(twoTo23f)), constant(twoTo23f))
  const rest = i32x4.sub(i32x4.add(constant(twoTo30), i32x4.shr_u(den, 1)), i32x4.mul(estimate, den))
  const s = i32x4.add(i32x4.sub(estimate, i32x4.ge_s(rest, den)), i32x4.shr_s(rest, 31))
  // 32768 − s where x < 0.
  return i32x4.add(i32x4.sub(v128.xor(s, negative), negative), v128.and(negative, constant(k32768)))
}

/** |x|·log2(e) in Q16. */
// @ts-ignore: decorator
@inline function siluExponent(x: v128): v128 {
  const a = i32x4.min_s(i32x4.abs(x), constant(siluMax))
  const a4 = i32x4.shr_u(i32x4.add(a, constant(eight)), 4)
  return i32x4.shr_u(i32x4.mul(a4, constant(k47274)), 11)
}

// @ts-ignore: decorator
@inline function geluExponent(x: v128): v128 {
  const a = i32x4.min_s(i32x4.abs(x), constant(geluMax))
  const a4 = i32x4.shr_u(i32x4.add(a, constant(eight)), 4)
  const squared = i32x4.shr_u(i32x4.mul(a4, a4), 12)
  const c = i32x4.add(constant(k65536), i32x4.shr_u(i32x4.mul(squared, constant(k11722)), 14))
  const y = i32x4.shr_u(i32x4.mul(a4, i32x4.shr_u(c, 2)), 11)
  return i32x4.shr_u(i32x4.mul(i32x4.min_u(y, constant(k524288)), constant(k4715)), 10)
}

/** hidden // count i32, Q outBits (may be g); g, up // count i32, Q16; count a multiple of 8; gelu 0 or 1. */
export function gate(hidden: usize, g: usize, up: usize, count: i32, gelu: i32, outBits: i32): void {
  // The two shifts in use as immediates.
  if (outBits == 16) gateBy(hidden, g, up, count, gelu, 16)
  else if (outBits == 12) gateBy(hidden, g, up, count, gelu, 20)
  else gateBy(hidden, g, up, count, gelu, 32 - outBits)
}

// @ts-ignore: decorator
@inline function gateBy(hidden: usize, g: usize, up: usize, count: i32, gelu: i32, shift: i32): void {
  // Not constants: see `constants` in integer.as.ts.
  const none = count >> 31
  const half15 = halfOf(15 + none)
  const half = halfOf(shift + none)
  const bias = biasOf(shift + none)
  for (let i = 0; i < count; i += 8) {
    const at = <usize>i << 2
    const x0 = v128.load(g + at)
    const x1 = v128.load(g + at, 16)
    const e = gelu ? exp2neg8(geluExponent(x0), geluExponent(x1)) : exp2neg8(siluExponent(x0), siluExponent(x1))
    const s0 = sigmoidOf(i32x4.extend_low_i16x8_u(e), i32x4.shr_s(x0, 31))
    const s1 = sigmoidOf(i32x4.extend_high_i16x8_u(e), i32x4.shr_s(x1, 31))
    // |g·s| <= |g|: the first product cannot saturate.
    v128.store(hidden + at, mulShift4(mulRound4(x0, s0, 15, half15), v128.load(up + at), shift, half, bias))
    v128.store(hidden + at, mulShift4(mulRound4(x1, s1, 15, half15), v128.load(up + at, 16), shift, half, bias), 16)
  }
}
