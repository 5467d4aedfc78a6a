// Reading canonical weights (specification, section 2). Decoding is total: every byte string has one meaning.
import { groupColumns, panelRows, type Tensor } from '../../model/manifest.ts'

/** Bytes of a group of 32 columns and 16 rows. */
export const groupBytes = { w4: 320, g8: 544 } as const

/** Row words stand after the panels. */
export function rowWord(bytes: Uint8Array, weight: Tensor, row: number): { mantissa: number; shift: number } {
  const padded = Math.ceil(weight.rows / panelRows) * panelRows
  const at = weight.bytes - padded * 4 + row * 4
  return { mantissa: bytes[at] | (bytes[at + 1] << 8), shift: bytes[at + 2] & 63 }
}

/** Signed 16-bit little-endian. */
export const i16At = (bytes: Uint8Array, at: number): number => ((bytes[at] | (bytes[at + 1] << 8)) << 16) >> 16

/** d of a g8 group: the low 12 bits, sign-extended. */
export const g8Scale = (bytes: Uint8Array, at: number): number => ((bytes[at] | (bytes[at + 1] << 8)) << 20) >> 20

/** Integer weight before the row scale: w (w8), w·d (g8) or d·(q − 8) + m (w4). */
export function weightAt(bytes: Uint8Array, weight: Tensor, row: number, column: number): number {
  const panel = Math.floor(row / panelRows)
  const r = row & 15
  if (weight.format === 'w8') return (bytes[panel * 16 * weight.columns + (column >> 2) * 64 + r * 4 + (column & 3)] << 24) >> 24
  const index = panel * (weight.columns / groupColumns) + (column >> 5)
  if (weight.format === 'g8') {
    const at = index * groupBytes.g8
    return ((bytes[at + ((column & 31) >> 2) * 64 + r * 4 + (column & 3)] << 24) >> 24) * g8Scale(bytes, at + 512 + r * 2)
  }
  const group = index * groupBytes.w4
  const byte = bytes[group + ((column & 31) >> 3) * 64 + r * 4 + (column & 3)]
  const q = (column & 4) === 0 ? byte & 15 : byte >> 4
  return i16At(bytes, group + 256 + r * 2) * (q - 8) + i16At(bytes, group + 288 + r * 2)
}
