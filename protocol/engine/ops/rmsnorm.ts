// Op rmsnorm: x · w / √(mean x² + ε) in integers (Zhang and Sennrich, arXiv 1910.07467; specification, section 4).
import { isqrt32, mulShift, rshift, sat32 } from '../integer.ts'

/**
 * y, x // heads·length i32; weight // length i32 with `weightBits` fractional bits, |w| < 2^23. Each head is normed by itself. y may be x.
 */
export function rmsnorm(
  y: Int32Array,
  x: Int32Array,
  weight: Int32Array,
  weightBits: number,
  shape: { heads: number; length: number },
  epsilon: number,
  rootN: number,
  outBits: number,
): void {
  for (let head = 0; head < shape.heads; head++) {
    const at = head * shape.length
    let total = BigInt(epsilon)
    for (let i = 0; i < shape.length; i++) total += BigInt(x[at + i]) * BigInt(x[at + i])
    const h = (total.toString(2).length + 1) >> 1
    const v = Number(h >= 16 ? total >> BigInt(2 * h - 32) : total << BigInt(32 - 2 * h))
    const inverse = Math.floor(2147483648 / isqrt32(v))
    const c = Math.floor((inverse * rootN + 524288) / 1048576)
    for (let i = 0; i < shape.length; i++) {
      const normal = sat32(rshift(x[at + i] * c, h - 9))
      y[at + i] = mulShift(normal, weight[i], 20 + weightBits - outBits)
    }
  }
}
