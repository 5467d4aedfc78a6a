// Exact integer arithmetic on JavaScript numbers. Every number here is an integer below 2^53, where + - * and division by a power of two are exact on every
// conforming engine (IEEE 754 double, ECMA-262); wider products go through BigInt. Refuses: fractions, Math.pow/exp/sqrt, anything a platform may round its own way.

export const i32Max = 0x7fffffff

const powers = Float64Array.from({ length: 64 }, () => 1)
for (let i = 1; i < 64; i++) powers[i] = powers[i - 1] * 2

/** 2^n for n in 0..63, exact. */
export const power = (n: number): number => powers[n]

/** Clamps to the symmetric i32 range, so that |v| always fits an i32. */
export const sat32 = (v: number): number => (v > i32Max ? i32Max : v < -i32Max ? -i32Max : v)

/** Number of bits of an integer 0 <= v < 2^53. */
export const bitlen = (v: number): number => (v < 4294967296 ? 32 - Math.clz32(v) : 64 - Math.clz32(Math.floor(v / 4294967296)))

/**
 * rshift of the specification (section 1): round half up. |v| < 2^52; s is clamped to 62 above, where the result is 0 anyway.
 * For s < 0 a product beyond 2^53 is inexact, but it is beyond i32 too, and every caller saturates.
 */
export function rshift(v: number, s: number): number {
  if (s > 0) {
    const t = s > 62 ? 62 : s
    return Math.floor((v + powers[t - 1]) / powers[t])
  }
  return v * powers[s < -62 ? 62 : -s]
}

const exactMax = power(52)

/** sat32(rshift(a·b, s)) for any i32 a and |b| < 2^32; takes the BigInt road only when a double would not be exact. */
export function mulShift(a: number, b: number, s: number): number {
  const product = a * b
  if (product < exactMax && product > -exactMax) return sat32(rshift(product, s))
  const exact = BigInt(a) * BigInt(b)
  const t = BigInt(s)
  const shifted = s > 0 ? (exact + (1n << (t - 1n))) >> t : exact << -t
  return shifted > BigInt(i32Max) ? i32Max : shifted < -BigInt(i32Max) ? -i32Max : Number(shifted)
}

/** Largest |x|. */
export function amaxOf(x: Int32Array, from = 0, to = x.length): number {
  let most = 0
  for (let i = from; i < to; i++) {
    const a = x[i] < 0 ? -x[i] : x[i]
    if (a > most) most = a
  }
  return most
}

/** ⌊√v⌋ of a non-negative BigInt (Newton). */
export function isqrtBig(v: bigint): bigint {
  if (v < 2n) return v
  let x = 1n << BigInt((v.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (x + v / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

/** ⌊√v⌋ of a u32, digit by digit, as the kernels do it. */
export function isqrt32(v: number): number {
  let x = v
  let root = 0
  for (let bit = 1073741824; bit > 0; bit = Math.floor(bit / 4)) {
    const t = root + bit
    root = Math.floor(root / 2)
    if (x >= t) {
      x -= t
      root += bit
    }
  }
  return root
}

/** Q15 product of Q15 values: (a·b + 2^14) >> 15. */
export const qmul = (a: number, b: number): number => (a * b + 16384) >> 15

/** 2^(−f) in Q15 for f in Q15, 0 <= f < 2^15: error at most 1.6 · 2^−15 (specification, section 4, weigh). */
export function exp2q15(f: number): number {
  let r = 224
  r = 1744 - qmul(r, f)
  r = 7844 - qmul(r, f)
  r = 22707 - qmul(r, f)
  return 32767 - qmul(r, f)
}

/** 2^(−d) in Q15 for d >= 0 in Q16: what softmax weights and sigmoids are made of. */
export function exp2neg(d: number): number {
  const n = Math.floor(d / 65536)
  if (n > 16) return 0
  const e = exp2q15((d & 0xffff) >> 1)
  return n === 0 ? e : (e + (1 << (n - 1))) >> n
}

/** High 32 bits of the product of two u32, from the halves of b: every intermediate is below 2^49, hence exact. */
export const mulhi = (a: number, b: number): number => Math.floor((a * (b >>> 16) + Math.floor((a * (b & 0xffff)) / 65536)) / 65536)
