// Op rope: rotary position embedding on half-split pairs (RoFormer, arXiv 2104.09864; specification, section 4).
import { rshift, sat32 } from '../integer.ts'
import type { RopeTables } from '../tables.ts'

/** cos and sin (Q14) of frequency pair i at a position below 2^16. */
export function angle(tables: RopeTables, hi: number, lo: number, position: number): { cos: number; sin: number } {
  const theta = (Math.imul(position, hi) + (((position * lo) / 65536) | 0)) >>> 0
  const a = theta >>> 22
  const b = (theta >>> 12) & 1023
  return {
    cos: (tables.C[a] * tables.c[b] - tables.S[a] * tables.s[b] + 32768) >> 16,
    sin: (tables.S[a] * tables.c[b] + tables.C[a] * tables.s[b] + 32768) >> 16,
  }
}

/** x // heads·headDim i32, Q16, in place; hi, lo // headDim/2 u32 from splitFrequencies. */
export function rope(x: Int32Array, heads: number, position: number, frequencies: { hi: Uint32Array; lo: Uint32Array }, tables: RopeTables): void {
  const half = frequencies.hi.length
  for (let i = 0; i < half; i++) {
    const { cos, sin } = angle(tables, frequencies.hi[i], frequencies.lo[i], position)
    for (let head = 0; head < heads; head++) {
      const at = head * half * 2 + i
      const a = x[at]
      const b = x[at + half]
      x[at] = sat32(rshift(a * cos - b * sin, 14))
      x[at + half] = sat32(rshift(b * cos + a * sin, 14))
    }
  }
}
