// Ops record_q, record_k, record_v: one head of q, k, v made small. Mirror of record.ts; where the bytes go depends on who reads them (attention.as.ts).
// A cache block holds one key-value head of one layer for 64 positions: keys [4][headDim/4][16 positions][4] i8, values [32][headDim][2 positions] i8, key exponents i16[64],
// value mantissas u16[64], value exponents i16[64], key mantissas u16[headDim/32][64].
import { amaxOf, bitlen32 } from './integer.as'

// @ts-ignore: decorator
@inline export function keyExponents(headDim: i32): usize {
  return <usize>(128 * headDim)
}
// @ts-ignore: decorator
@inline export function valueMantissas(headDim: i32): usize {
  return <usize>(128 * headDim + 128)
}
// @ts-ignore: decorator
@inline export function valueExponents(headDim: i32): usize {
  return <usize>(128 * headDim + 256)
}
// @ts-ignore: decorator
@inline export function keyMantissas(headDim: i32): usize {
  return <usize>(128 * headDim + 384)
}

/** out // headDim i16; returns the exponent. x // headDim i32, Q16: as op quantise. */
export function recordQuery(out: usize, x: usize, headDim: i32): i32 {
  const shift = max<i32>(0, bitlen32(amaxOf(x, headDim)) - 14)
  const most = i32x4.splat(16383)
  const least = i32x4.splat(-16383)
  const one = i32x4.splat(1)
  for (let i = 0; i < headDim; i += 4) {
    let v = v128.load(x + (<usize>i << 2))
    // See quantise.as.ts: this order cannot overflow.
    if (shift > 0) v = i32x4.shr_s(i32x4.add(i32x4.shr_s(v, shift - 1), one), 1)
    const q = i32x4.max_s(i32x4.min_s(v, most), least)
    v128.store64_lane(out + (<usize>i << 1), i16x8.narrow_i32x4_s(q, q), 0)
  }
  return 16 - shift
}

/** out // length i16: the int8 values of a group, widened. x // length i32 at exponent n. Returns the mantissa. */
function recordGroup(out: usize, x: usize, length: i32, n: i32): u32 {
  const most = <u32>amaxOf(x, length)
  const mantissa = max<u32>(1, n >= 0 ? most << n : most >> -n)
  const r = i32x4.splat(2130706432 / mantissa)
  const half = i32x4.splat(8388608)
  for (let i = 0; i < length; i += 4) {
    const v = v128.load(x + (<usize>i << 2))
    const size = i32x4.abs(v)
    const t = n >= 0 ? i32x4.shl(size, n) : i32x4.shr_u(size, -n)
    const q = i32x4.shr_u(i32x4.add(i32x4.mul(t, r), half), 24)
    const sign = i32x4.shr_s(v, 31)
    const signed = i32x4.sub(v128.xor(q, sign), sign)
    v128.store64_lane(out + (<usize>i << 1), i16x8.narrow_i32x4_s(signed, signed), 0)
  }
  return mantissa
}

// @ts-ignore: decorator
@inline function exponentOf(x: usize, headDim: i32): i32 {
  return 16 - bitlen32(max<i32>(1, amaxOf(x, headDim)))
}

/** Records a key head into its cache block at `slot` = position in the page. x // headDim i32, Q16; wide // headDim i16: scratch. */
export function recordKey(block: usize, slot: i32, x: usize, headDim: i32, wide: usize): void {
  const n = exponentOf(x, headDim)
  store<i16>(block + keyExponents(headDim) + (<usize>slot << 1), <i16>n)
  for (let g = 0; g < headDim; g += 32) {
    const mantissa = recordGroup(wide + (<usize>g << 1), x + (<usize>g << 2), 32, n)
    store<u16>(block + keyMantissas(headDim) + (<usize>g << 2) + (<usize>slot << 1), <u16>mantissa)
  }
  const to = block + <usize>((slot >> 4) * 16 * headDim) + <usize>((slot & 15) << 2)
  for (let d = 0; d < headDim; d++) store<i8>(to + <usize>((d >> 2) << 6) + <usize>(d & 3), load<i8>(wide + (<usize>d << 1)))
}

/** Records a value head likewise. */
export function recordValue(block: usize, slot: i32, x: usize, headDim: i32, wide: usize): void {
  const n = exponentOf(x, headDim)
  store<i16>(block + valueExponents(headDim) + (<usize>slot << 1), <i16>n)
  store<u16>(block + valueMantissas(headDim) + (<usize>slot << 1), <u16>recordGroup(wide, x, headDim, n))
  const to = block + <usize>(64 * headDim + (slot >> 1) * 2 * headDim + (slot & 1))
  for (let d = 0; d < headDim; d++) store<i8>(to + (<usize>d << 1), load<i8>(wide + (<usize>d << 1)))
}
