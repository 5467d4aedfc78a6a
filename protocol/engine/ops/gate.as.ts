// Op gate: SiLU or GELU (tanh form) of the gate, times up. Mirror of gate.ts, eight elements at a time.
import { exp2neg8, mulShift4 } from './integer.as'

/** s = ⌊(2^30 + ⌊den/2⌋) / den⌋, den = 2^15 + e: a float gives an estimate that is off by at most one, the integer remainder decides. */
// @ts-ignore: decorator
@inline function sigmoidOf(e: v128, negative: v128): v128 {
  const den = i32x4.add(e, i32x4.splat(32768))
  const estimate = i32x4.trunc_sat_f32x4_s(f32x4.div(f32x4.splat(1073741824), f32x4.convert_i32x4_s(den)))
  const rest = i32x4.sub(i32x4.add(i32x4.splat(1073741824), i32x4.shr_u(den, 1)), i32x4.mul(estimate, den))
  const s = i32x4.add(i32x4.sub(estimate, i32x4.ge_s(rest, den)), i32x4.shr_s(rest, 31))
  // 32768 − s where x < 0.
  return i32x4.add(i32x4.sub(v128.xor(s, negative), negative), v128.and(negative, i32x4.splat(32768)))
}

/** |x|·log2(e) in Q16. */
// @ts-ignore: decorator
@inline function siluExponent(x: v128): v128 {
  const a = i32x4.min_s(i32x4.abs(x), i32x4.splat(1048575))
  const a4 = i32x4.shr_u(i32x4.add(a, i32x4.splat(8)), 4)
  return i32x4.shr_u(i32x4.mul(a4, i32x4.splat(47274)), 11)
}

// @ts-ignore: decorator
@inline function geluExponent(x: v128): v128 {
  const a = i32x4.min_s(i32x4.abs(x), i32x4.splat(524287))
  const a4 = i32x4.shr_u(i32x4.add(a, i32x4.splat(8)), 4)
  const squared = i32x4.shr_u(i32x4.mul(a4, a4), 12)
  const c = i32x4.add(i32x4.splat(65536), i32x4.shr_u(i32x4.mul(squared, i32x4.splat(11722)), 14))
  const y = i32x4.shr_u(i32x4.mul(a4, i32x4.shr_u(c, 2)), 11)
  return i32x4.shr_u(i32x4.mul(i32x4.min_u(y, i32x4.splat(524288)), i32x4.splat(4715)), 10)
}

/** hidden // count i32, Q outBits (may be g); g, up // count i32, Q16; count a multiple of 8; gelu 0 or 1. */
export function gate(hidden: usize, g: usize, up: usize, count: i32, gelu: i32, outBits: i32): void {
  const shift = 32 - outBits
  for (let i = 0; i < count; i += 8) {
    const at = <usize>i << 2
    const x0 = v128.load(g + at)
    const x1 = v128.load(g + at, 16)
    const e = gelu ? exp2neg8(geluExponent(x0), geluExponent(x1)) : exp2neg8(siluExponent(x0), siluExponent(x1))
    const s0 = sigmoidOf(i32x4.extend_low_i16x8_u(e), i32x4.shr_s(x0, 31))
    const s1 = sigmoidOf(i32x4.extend_high_i16x8_u(e), i32x4.shr_s(x1, 31))
    v128.store(hidden + at, mulShift4(mulShift4(x0, s0, 15), v128.load(up + at), shift))
    v128.store(hidden + at, mulShift4(mulShift4(x1, s1, 15), v128.load(up + at, 16), shift), 16)
  }
}
