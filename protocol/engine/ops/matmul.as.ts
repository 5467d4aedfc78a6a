// Op matmul for one row of activations: y = W·act, exact sums, one rounding at the end. Mirror of matmul.ts; several rows are matmul-rows.as.ts.
// A panel is 16 weight rows (protocol/README.md section 2), read once, front to back.
import { convertHigh, exact2, satRound4 } from './integer.as'

// @ts-ignore: decorator
@inline function pairSum(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7))
}

/** Bytes of a panel: 16 rows. Formats as everywhere in the kernels: 0 w8, 1 w4, 2 g8. */
// @ts-ignore: decorator
@inline export function panelBytes(columns: i32, format: i32): usize {
  return format == 0 ? <usize>columns << 4 : <usize>(columns >> 5) * (format == 1 ? 320 : 544)
}

/** scales // 16 f64: mantissa · 2^(−shift) of the 16 rows of a panel (w4, g8: 2^(−shift)). |acc · mantissa| < 2^52, so acc · scale is exact. */
export function rowScales(scales: usize, words: usize, format: i32): void {
  for (let r = 0; r < 16; r++) {
    const word = load<u32>(words + (r << 2))
    const scale = exact2(-<i32>((word >> 16) & 63))
    store<f64>(scales + (r << 3), format == 0 ? scale * <f64>(word & 0xffff) : scale)
  }
}

/** y // 16 i32 from acc, scales // 16 f64 and 2^(outBits − e): sat32(rshift(acc · mantissa, shift + e − outBits)), exact by satRound4. */
export function storePanel(y: usize, acc: usize, scales: usize, scale: f64): void {
  const s = f64x2.splat(scale)
  for (let quad = 0; quad < 4; quad++) {
    const at = <usize>quad << 5
    const low = f64x2.mul(f64x2.mul(v128.load(acc + at), v128.load(scales + at)), s)
    const high = f64x2.mul(f64x2.mul(v128.load(acc + at, 16), v128.load(scales + at, 16)), s)
    v128.store(y + (<usize>quad << 4), satRound4(low, high))
  }
}

// @ts-ignore: decorator
@inline function accumulate(acc: usize, offset: usize, v: v128): void {
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset), f64x2.convert_low_i32x4_s(v)))
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset, 16), convertHigh(v)), 16)
}

/** acc // 16 f64: Σ w·act of a w8 panel. act // columns i16. i32 partial sums over at most 1,024 columns: 128·16383·1024 < 2^31. load8x8_s beats load and extend 3x on Firefox (findings.md). */
export function panel8(acc: usize, w: usize, columns: i32, act: usize): void {
  memory.fill(acc, 0, 128)
  let p = w
  let x = act
  for (let left = columns; left > 0; left -= 1024) {
    const end = x + (<usize>min<i32>(left, 1024) << 1)
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0
    for (; x < end; x += 16) {
      const xa = v128.load64_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p), xa))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 8), xa))
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 16), xa))
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 24), xa))
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 32), xa))
      a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 40), xa))
      a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 48), xa))
      a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 56), xa))
      const xb = v128.load64_splat(x, 8)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p, 64), xb))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 72), xb))
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 80), xb))
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 88), xb))
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 96), xb))
      a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 104), xb))
      a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 112), xb))
      a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 120), xb))
      p += 128
    }
    accumulate(acc, 0, pairSum(a0, a1))
    accumulate(acc, 32, pairSum(a2, a3))
    accumulate(acc, 64, pairSum(a4, a5))
    accumulate(acc, 96, pairSum(a6, a7))
  }
}

// A block of a w4 group holds 8 columns of 16 rows; as i16 lanes a row's two lanes are nibbles (0,4,1,5) and (2,6,3,7), low first. Each of the four masks and shifts below gives one
// pair of columns per row: (0,2), (4,6), (1,3), (5,7), so that one dot product leaves one i32 per row. `permuted` holds act in that order.
// @ts-ignore: decorator
@inline function nibbles(sum: v128, v: v128, mask: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.add(i32x4.dot_i16x8_s(v128.and(v, mask), x0), i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 4), mask), x1))
  const b = i32x4.add(i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 8), mask), x2), i32x4.dot_i16x8_s(i16x8.shr_u(v, 12), x3))
  return i32x4.add(sum, i32x4.add(a, b))
}

// Σ of a group times its scales d: 64-bit exact (bound 2^47.2), four rows.
// @ts-ignore: decorator
@inline function scaled(acc: v128, sum: v128, d: v128): v128 {
  return i64x2.add(acc, i64x2.extmul_low_i32x4_s(sum, d))
}
// @ts-ignore: decorator
@inline function scaledHigh(acc: v128, sum: v128, d: v128): v128 {
  return i64x2.add(acc, i64x2.extmul_high_i32x4_s(sum, d))
}

/** A pair of i64 lanes, |v| < 2^53, as doubles. */
// @ts-ignore: decorator
@inline function doubles(v: v128): v128 {
  return f64x2(<f64>i64x2.extract_lane(v, 0), <f64>i64x2.extract_lane(v, 1))
}

/** acc // 16 f64: Σ over groups of d·Σ(q−8)·act + m·Σact of a w4 panel. starts // groups i32: −8·Σact; halves: see quantise.as.ts. */
export function panel4(acc: usize, w: usize, groups: i32, permuted: usize, starts: usize, halves: usize): void {
  // 15, but not as a constant: V8 would make it anew at every use (three instructions each; 1.4x slower, measured).
  const mask = i16x8.splat(<i16>(15 + (groups >> 31)))
  let c0 = i64x2.splat(0), c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0
  let p = w
  let x = permuted
  for (let g = 0; g < groups; g++) {
    // Starting at −8·Σact lets the nibbles stay unsigned.
    let s0 = v128.load32_splat(starts + (<usize>g << 2)), s1 = s0, s2 = s0, s3 = s0
    for (const end = x + 64; x < end; x += 16) {
      const x0 = v128.load32_splat(x)
      const x1 = v128.load32_splat(x, 4)
      const x2 = v128.load32_splat(x, 8)
      const x3 = v128.load32_splat(x, 12)
      s0 = nibbles(s0, v128.load(p), mask, x0, x1, x2, x3)
      s1 = nibbles(s1, v128.load(p, 16), mask, x0, x1, x2, x3)
      s2 = nibbles(s2, v128.load(p, 32), mask, x0, x1, x2, x3)
      s3 = nibbles(s3, v128.load(p, 48), mask, x0, x1, x2, x3)
      p += 64
    }
    let d = v128.load16x4_s(p)
    c0 = scaled(c0, s0, d)
    c1 = scaledHigh(c1, s0, d)
    d = v128.load16x4_s(p, 8)
    c2 = scaled(c2, s1, d)
    c3 = scaledHigh(c3, s1, d)
    d = v128.load16x4_s(p, 16)
    c4 = scaled(c4, s2, d)
    c5 = scaledHigh(c5, s2, d)
    d = v128.load16x4_s(p, 24)
    c6 = scaled(c6, s3, d)
    c7 = scaledHigh(c7, s3, d)
    p += 64
  }
  storeDoubles(acc, c0, c1, c2, c3, c4, c5, c6, c7)
  minima(acc, w + 288, groups, halves)
}

// @ts-ignore: decorator
@inline function storeDoubles(acc: usize, c0: v128, c1: v128, c2: v128, c3: v128, c4: v128, c5: v128, c6: v128, c7: v128): void {
  v128.store(acc, doubles(c0))
  v128.store(acc, doubles(c1), 16)
  v128.store(acc, doubles(c2), 32)
  v128.store(acc, doubles(c3), 48)
  v128.store(acc, doubles(c4), 64)
  v128.store(acc, doubles(c5), 80)
  v128.store(acc, doubles(c6), 96)
  v128.store(acc, doubles(c7), 112)
}

/** acc // 16 f64: Σ over groups of d·Σ w·act of a g8 panel, d the low 12 bits of an i16, sign-extended. act // 32·groups i16. */
export function panelGroups8(acc: usize, w: usize, groups: i32, act: usize): void {
  let c0 = i64x2.splat(0), c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0
  let p = w
  let x = act
  for (let g = 0; g < groups; g++) {
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0
    for (const end = x + 64; x < end; x += 16) {
      const xa = v128.load64_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p), xa))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 8), xa))
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 16), xa))
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 24), xa))
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 32), xa))
      a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 40), xa))
      a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 48), xa))
      a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 56), xa))
      const xb = v128.load64_splat(x, 8)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load8x8_s(p, 64), xb))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load8x8_s(p, 72), xb))
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load8x8_s(p, 80), xb))
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load8x8_s(p, 88), xb))
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load8x8_s(p, 96), xb))
      a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load8x8_s(p, 104), xb))
      a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load8x8_s(p, 112), xb))
      a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load8x8_s(p, 120), xb))
      p += 128
    }
    let d = scale12(p)
    let s = pairSum(a0, a1)
    c0 = scaled(c0, s, d)
    c1 = scaledHigh(c1, s, d)
    d = scale12(p + 8)
    s = pairSum(a2, a3)
    c2 = scaled(c2, s, d)
    c3 = scaledHigh(c3, s, d)
    d = scale12(p + 16)
    s = pairSum(a4, a5)
    c4 = scaled(c4, s, d)
    c5 = scaledHigh(c5, s, d)
    d = scale12(p + 24)
    s = pairSum(a6, a7)
    c6 = scaled(c6, s, d)
    c7 = scaledHigh(c7, s, d)
    p += 32
  }
  storeDoubles(acc, c0, c1, c2, c3, c4, c5, c6, c7)
}

/** Four d of a g8 group. */
// @ts-ignore: decorator
@inline export function scale12(at: usize): v128 {
  return i32x4.shr_s(i32x4.shl(v128.load16x4_s(at), 20), 20)
}

// @ts-ignore: decorator
@inline function addHalves(acc: usize, offset: usize, low: v128, high: v128): void {
  const k = f64x2.splat(2048)
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset), f64x2.add(f64x2.convert_low_i32x4_s(low), f64x2.mul(k, f64x2.convert_low_i32x4_s(high)))))
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset, 16), f64x2.add(convertHigh(low), f64x2.mul(k, convertHigh(high)))), 16)
}

/** acc += Σ m·Σact, two groups per dot product with Σact split in 11 low bits and the rest: 2^15 · 2047 · 32 groups < 2^31. m: minima of the first group. */
function minima(acc: usize, m: usize, groups: i32, halves: usize): void {
  const pairs = (groups + 1) >> 1
  const highs = halves + (<usize>pairs << 2)
  const zero = i32x4.splat(0)
  for (let from = 0; from < pairs; from += 16) {
    let l0 = zero, l1 = zero, l2 = zero, l3 = zero, h0 = zero, h1 = zero, h2 = zero, h3 = zero
    const to = min<i32>(from + 16, pairs)
    for (let pair = from; pair < to; pair++) {
      const at = m + <usize>pair * 640
      // The odd last group has no partner; its sum's other half is 0, so any finite partner will do.
      const next = 2 * pair + 1 < groups ? at + 320 : at
      const x = v128.load32_splat(halves + (<usize>pair << 2))
      const y = v128.load32_splat(highs + (<usize>pair << 2))
      const a0 = v128.load(at)
      const b0 = v128.load(next)
      const a1 = v128.load(at, 16)
      const b1 = v128.load(next, 16)
      let ab = v128.shuffle<i16>(a0, b0, 0, 8, 1, 9, 2, 10, 3, 11)
      l0 = i32x4.add(l0, i32x4.dot_i16x8_s(ab, x))
      h0 = i32x4.add(h0, i32x4.dot_i16x8_s(ab, y))
      ab = v128.shuffle<i16>(a0, b0, 4, 12, 5, 13, 6, 14, 7, 15)
      l1 = i32x4.add(l1, i32x4.dot_i16x8_s(ab, x))
      h1 = i32x4.add(h1, i32x4.dot_i16x8_s(ab, y))
      ab = v128.shuffle<i16>(a1, b1, 0, 8, 1, 9, 2, 10, 3, 11)
      l2 = i32x4.add(l2, i32x4.dot_i16x8_s(ab, x))
      h2 = i32x4.add(h2, i32x4.dot_i16x8_s(ab, y))
      ab = v128.shuffle<i16>(a1, b1, 4, 12, 5, 13, 6, 14, 7, 15)
      l3 = i32x4.add(l3, i32x4.dot_i16x8_s(ab, x))
      h3 = i32x4.add(h3, i32x4.dot_i16x8_s(ab, y))
    }
    addHalves(acc, 0, l0, h0)
    addHalves(acc, 32, l1, h1)
    addHalves(acc, 64, l2, h2)
    addHalves(acc, 96, l3, h3)
  }
}
