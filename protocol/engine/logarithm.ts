// Logarithm and exponential for sampling and losses: 31-bit precision where attention needs only 15. Integers alone (specification, section 5).
import { bitlen, mulhi, power } from './integer.ts'

/** Fractional bits of log2Q28. */
export const log2Bits = 28

/** ⌊~log2(v)·2^28⌋ for an integer 1 <= v < 2^53, by repeated squaring of the 32-bit mantissa; error below 2^−27. */
export function log2Q28(v: number): number {
  const length = bitlen(v)
  let x = length > 32 ? Math.floor(v / power(length - 32)) : v * power(32 - length)
  let fraction = 0
  for (let i = 0; i < log2Bits; i++) {
    const square = mulhi(x, x)
    fraction *= 2
    if (square >= 2147483648) {
      fraction += 1
      x = square
    } else {
      x = square * 2
    }
  }
  return (length - 1) * power(log2Bits) + fraction
}

/** Coefficients of 2^(−f) in Q31, from the Taylor-like fit of the kernels' spike; Horner with mulhi. */
const expTerms = [2739580, 20573019, 119166091, 515877875, 1488521950, 2147483645]

/** e^(−d) in Q31 for d >= 0 in Q16; 0 from 22.2 on. */
export function exp31(d: number): number {
  if (d >= 2097152) return 0
  const p = d * 3098164009 // log2(e)·2^31; below 2^53
  const whole = Math.floor(p / power(47))
  if (whole > 31) return 0
  const f = Math.floor(p / 32768) % 4294967296
  let r = 234908
  for (const term of expTerms) r = term - mulhi(r, f)
  return Math.floor(r / power(whole))
}
