// Op quantise: a vector to 15-bit integers with one power-of-two scale (specification, section 4). findings.md: 8 bits are too coarse, 12 to 16 near lossless.
import { amaxOf, bitlen, rshift } from '../integer.ts'

export const actMax = 16383

/** act // length i16; returns e: value = act · 2^(−e). */
export function quantise(act: Int16Array, y: Int32Array, length: number, inBits: number): number {
  const shift = Math.max(0, bitlen(amaxOf(y, 0, length)) - 14)
  for (let i = 0; i < length; i++) {
    const q = rshift(y[i], shift)
    act[i] = q > actMax ? actMax : q < -actMax ? -actMax : q
  }
  return inBits - shift
}
