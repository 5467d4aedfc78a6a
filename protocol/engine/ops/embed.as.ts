// Op embed: one row of the embedding into the residual. Mirror of embed.ts.
import { satShift } from './integer.as'
import { panelBytes } from './matmul.as'

/** residual // columns i32, Q outBits. weight: panels in canonical layout; words: row words; format 0 w8, 1 w4, 2 g8 (layout.ts). */
export function embed(residual: usize, weight: usize, words: usize, columns: i32, format: i32, token: i32, factor: i32, outBits: i32): void {
  const word = load<u32>(words + (<usize>token << 2))
  const shift = <i32>((word >> 16) & 63) + 16 - outBits
  const panel = <usize>(token >> 4)
  const r = <usize>(token & 15)
  const scale = format == 0 ? <i64>(word & 0xffff) * <i64>factor : <i64>factor
  const base = weight + panel * panelBytes(columns, format)
  for (let k = 0; k < columns; k++) {
    let w: i64
    if (format == 1) {
      const group = base + <usize>(k >> 5) * 320
      const byte = load<u8>(group + <usize>((k & 31) >> 3) * 64 + r * 4 + <usize>(k & 3))
      const q = <i32>((k & 4) == 0 ? byte & 15 : byte >> 4)
      w = <i64>(<i32>load<i16>(group + 256 + r * 2) * (q - 8) + <i32>load<i16>(group + 288 + r * 2))
    } else if (format == 2) {
      const group = base + <usize>(k >> 5) * 544
      const byte = <i32>load<i8>(group + <usize>((k & 31) >> 2) * 64 + r * 4 + <usize>(k & 3))
      w = <i64>(byte * ((<i32>load<i16>(group + 512 + r * 2) << 20) >> 20))
    } else w = <i64>load<i8>(base + <usize>(k >> 2) * 64 + r * 4 + <usize>(k & 3))
    store<i32>(residual + (<usize>k << 2), satShift(w * scale, shift))
  }
}
