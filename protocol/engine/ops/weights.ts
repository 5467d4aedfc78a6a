// Reading canonical weights (specification, section 2). Decoding is total: every byte string has one meaning.
import { groupColumns, panelRows, type Tensor } from '../../model/manifest.ts'

export const groupBytes = 320

/** Row words stand after the panels. */
export function rowWord(bytes: Uint8Array, weight: Tensor, row: number): { mantissa: number; shift: number } {
  const padded = Math.ceil(weight.rows / panelRows) * panelRows
  const at = weight.bytes - padded * 4 + row * 4
  return { mantissa: bytes[at] | (bytes[at + 1] << 8), shift: bytes[at + 2] & 63 }
}

/** Signed 16-bit little-endian. */
export const i16At = (bytes: Uint8Array, at: number): number => ((bytes[at] | (bytes[at + 1] << 8)) << 16) >> 16

/** Integer weight before the row scale: w (w8) or d·(q − 8) + m (w4). */
export function weightAt(bytes: Uint8Array, weight: Tensor, row: number, column: number): number {
  const panel = Math.floor(row / panelRows)
  const r = row & 15
  if (weight.format === 'w8') return (bytes[panel * 16 * weight.columns + (column >> 2) * 64 + r * 4 + (column & 3)] << 24) >> 24
  const group = (panel * (weight.columns / groupColumns) + (column >> 5)) * groupBytes
  const byte = bytes[group + ((column & 31) >> 3) * 64 + r * 4 + (column & 3)]
  const q = (column & 4) === 0 ? byte & 15 : byte >> 4
  return i16At(bytes, group + 256 + r * 2) * (q - 8) + i16At(bytes, group + 288 + r * 2)
}
