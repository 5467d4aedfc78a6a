// Op rope: rotary position embedding on half-split pairs. Mirror of rope.ts; the angles of a position are made once per run and shared by layers and heads.
import { biasOf, halfOf, satShift, satShift4 } from './integer.as'

/** cos, sin // half i32 (Q14). hi, lo // half u32: the u48 frequencies split. tables // C, S, c, s of 1,024 i32 each. */
export function ropeAngles(cos: usize, sin: usize, half: i32, position: u32, hi: usize, lo: usize, tables: usize): void {
  for (let i = 0; i < half; i++) {
    const at = <usize>i << 2
    const theta = position * load<u32>(hi + at) + ((position * load<u32>(lo + at)) >> 16)
    const a = tables + <usize>((theta >> 22) << 2)
    const b = tables + <usize>(((theta >> 12) & 1023) << 2)
    const C = load<i32>(a)
    const S = load<i32>(a, 4096)
    const c = load<i32>(b, 8192)
    const s = load<i32>(b, 12288)
    // |C·c − S·s| <= 2^30 · √2, and half more: below 2^31.
    store<i32>(cos + at, (C * c - S * s + 32768) >> 16)
    store<i32>(sin + at, (S * c + C * s + 32768) >> 16)
  }
}

/** x // 2·half i32, Q16, one head, in place. */
export function rope(x: usize, half: i32, cos: usize, sin: usize): void {
  const y = x + (<usize>half << 2)
  // Not constants: see `constants` in integer.as.ts.
  const fourteen = 14 + (half >> 31)
  const roundHalf = halfOf(fourteen)
  const bias = biasOf(fourteen)
  let i = 0
  for (; i + 4 <= half; i += 4) {
    const at = <usize>i << 2
    const a = v128.load(x + at)
    const b = v128.load(y + at)
    const c = v128.load(cos + at)
    const s = v128.load(sin + at)
    v128.store(x + at, satShift4(
      i64x2.sub(i64x2.extmul_low_i32x4_s(a, c), i64x2.extmul_low_i32x4_s(b, s)),
      i64x2.sub(i64x2.extmul_high_i32x4_s(a, c), i64x2.extmul_high_i32x4_s(b, s)), 14, roundHalf, bias))
    v128.store(y + at, satShift4(
      i64x2.add(i64x2.extmul_low_i32x4_s(b, c), i64x2.extmul_low_i32x4_s(a, s)),
      i64x2.add(i64x2.extmul_high_i32x4_s(b, c), i64x2.extmul_high_i32x4_s(a, s)), 14, roundHalf, bias))
  }
  for (; i < half; i++) {
    const at = <usize>i << 2
    const a = <i64>load<i32>(x + at)
    const b = <i64>load<i32>(y + at)
    const c = <i64>load<i32>(cos + at)
    const s = <i64>load<i32>(sin + at)
    store<i32>(x + at, satShift(a * c - b * s, 14))
    store<i32>(y + at, satShift(b * c + a * s, 14))
  }
}
