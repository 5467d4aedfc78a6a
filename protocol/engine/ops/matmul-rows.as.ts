// Op matmul for several rows of activations (prefill, batches): a block of a panel is widened to i16 once and used for every row, four rows at a time.
// A block is at most 384 columns, so that it (12 KiB) and the sums of four rows stay in the first-level cache. Sums over blocks are doubles holding integers below 2^53 (acc < 2^47.2).
import { convertHigh, exact2 } from './integer.as'
import { panelBytes, rowScales, storePanel } from './matmul.as'

// @ts-ignore: decorator
@inline const blockColumns: i32 = 384
// Scratch: the block [192 pairs][16 rows][2] i16, group sums [4 rows][12 groups][16] i32, f64 scales[16], then of the whole panel i16 d[groups/2][16][2] and m likewise, then f64 acc[rows, in fours][16].
// @ts-ignore: decorator
@inline const atSums: usize = 12288
// @ts-ignore: decorator
@inline const sumsOfRow: usize = 768
// @ts-ignore: decorator
@inline const atRowScales: usize = 12288 + 3072
// @ts-ignore: decorator
@inline const atScales: usize = 12288 + 3072 + 128

/** Groups of a w4 block, q − 8: pairs in the order of `permuted` (see matmul.as.ts). */
function widen4(scratch: usize, w: usize, groups: i32): void {
  // Not constants: see panel4.
  const mask = i16x8.splat(<i16>(15 + (groups >> 31)))
  const eight = i16x8.splat(<i16>(8 + (groups >> 31)))
  let to = scratch
  for (let g = 0; g < groups; g++) {
    const group = w + <usize>g * 320
    for (let block: usize = 0; block < 4; block++) {
      for (let quad: usize = 0; quad < 4; quad++) {
        const v = v128.load(group + (block << 6) + (quad << 4))
        const at = to + (quad << 4)
        v128.store(at, i16x8.sub(v128.and(v, mask), eight))
        v128.store(at, i16x8.sub(v128.and(i16x8.shr_u(v, 4), mask), eight), 64)
        v128.store(at, i16x8.sub(v128.and(i16x8.shr_u(v, 8), mask), eight), 128)
        v128.store(at, i16x8.sub(i16x8.shr_u(v, 12), eight), 192)
      }
      to += 256
    }
  }
}

/** Columns of int8 weights (all of a w8 block, or one g8 group): of each i16 lane (two columns) the low byte sign-extended, then the high byte; pairs in the order of `permuted`. */
function widen8(scratch: usize, w: usize, columns: i32): void {
  for (let k: usize = 0; k < <usize>columns; k += 8) {
    for (let quad: usize = 0; quad < 4; quad++) {
      const a = v128.load(w + (k << 4) + (quad << 4))
      const b = v128.load(w + (k << 4) + (quad << 4), 64)
      const at = scratch + (k << 5) + (quad << 4)
      v128.store(at, i16x8.shr_s(i16x8.shl(a, 8), 8))
      v128.store(at, i16x8.shr_s(i16x8.shl(b, 8), 8), 64)
      v128.store(at, i16x8.shr_s(a, 8), 128)
      v128.store(at, i16x8.shr_s(b, 8), 192)
    }
  }
}

/**
 * The 16 i16 that each group of a panel holds at `w`, `stride` bytes apart, two groups interleaved; `spare` high bits of each are cut off, the sign taken below them.
 * The odd last group has no partner, but what its partner would be multiplied by is 0, so any finite one will do.
 */
export function interleave(to: usize, w: usize, stride: usize, groups: i32, spare: i32): void {
  for (let g = 0; g < groups; g += 2) {
    const first = w + <usize>g * stride
    const next = g + 1 < groups ? first + stride : first
    const at = to + (<usize>g << 5)
    for (let half: usize = 0; half < 2; half++) {
      const a = i16x8.shr_s(i16x8.shl(v128.load(first + (half << 4)), spare), spare)
      const b = i16x8.shr_s(i16x8.shl(v128.load(next + (half << 4)), spare), spare)
      v128.store(at + (half << 5), v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
      v128.store(at + (half << 5), v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15), 16)
    }
  }
}

/**
 * One panel for `rows` rows of activations: y + row·yStride receives 16 i32. permuted, halves: of row 0, as op quantise writes them for several rows, with the bytes from row to row.
 * e // rows i32. scratch: see above.
 */
export function panelRows(
  y: usize, yStride: usize, w: usize, words: usize, format: i32, columns: i32, rows: i32,
  permuted: usize, actStride: usize, halves: usize, halfStride: usize, e: usize, outBits: i32, scratch: usize,
): void {
  const highs = <usize>(((columns + 63) >> 6) << 2)
  const d = scratch + atScales
  const m = d + <usize>((columns + 63) & ~63)
  const acc = m + <usize>((columns + 63) & ~63)
  memory.fill(acc, 0, <usize>rows << 7)
  const sums = scratch + atSums
  for (let from = 0; from < columns; from += blockColumns) {
    const width = min<i32>(blockColumns, columns - from)
    const groups = width >> 5
    const pairs = (groups + 1) >> 1
    const block = w + panelBytes(from, format)
    if (format == 1) widen4(scratch, block, groups)
    else if (format == 0) widen8(scratch, block, width)
    else for (let g = 0; g < groups; g++) widen8(scratch + (<usize>g << 10), block + <usize>g * 544, 32)
    // Not before the block was read: to fetch scales ahead takes the prefetcher off the track (twelve rows 1.06x slower, a prefill 1.02x, measured).
    if (format == 1) {
      interleave(d + from, block + 256, 320, groups, 0)
      interleave(m + from, block + 288, 320, groups, 0)
    } else if (format == 2) interleave(d + from, block + 512, 544, groups, 4)
    if (groups & 1) for (let row: usize = 0; row < 4; row++) memory.fill(sums + row * sumsOfRow + (<usize>groups << 6), 0, 64)
    for (let row = 0; row < rows; row += 4) {
      const left = rows - row
      const x = permuted + <usize>row * actStride + (<usize>from << 3)
      const to = acc + (<usize>row << 7)
      if (format == 0) {
        if (left > 2) columns4(to, scratch, width >> 1, x)
        else columns2(to, scratch, width >> 1, x, left)
        continue
      }
      if (left > 2) groups4(sums, scratch, groups, x)
      else groups2(sums, scratch, groups, x)
      for (let i = 0; i < min<i32>(left, 4); i++) {
        const low = halves + <usize>(row + i) * halfStride + <usize>(from >> 4)
        if (format == 1) addGroups(to + (<usize>i << 7), sums + <usize>i * sumsOfRow, d + from, pairs, true, m + from, low, low + highs)
        else addGroups(to + (<usize>i << 7), sums + <usize>i * sumsOfRow, d + from, pairs, false, 0, 0, 0)
      }
    }
  }
  rowScales(scratch + atRowScales, words, format)
  for (let row = 0; row < rows; row++) {
    storePanel(y + <usize>row * yStride, acc + (<usize>row << 7), scratch + atRowScales, exact2(outBits - load<i32>(e + (<usize>row << 2))))
  }
}

// @ts-ignore: decorator
@inline export function add4(acc: usize, sum: v128): void {
  v128.store(acc, f64x2.add(v128.load(acc), f64x2.convert_low_i32x4_s(sum)))
  v128.store(acc, f64x2.add(v128.load(acc, 16), convertHigh(sum)), 16)
}

/** Four rows of activations times a w8 block: i32 sums of 384 columns stay below 128·16383·384 < 2^30. */
function columns4(acc: usize, w: usize, pairs: i32, from: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0
    for (const end = x + (<usize>pairs << 4); x < end; x += 16) {
      const w0 = v128.load(p)
      const w1 = v128.load(p, 16)
      let s = v128.load32_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(x, 4)
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(x, 8)
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(w0, s))
      c1 = i32x4.add(c1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(x, 12)
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(w0, s))
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(w1, s))
      p += 64
    }
    const to = acc + (half << 6)
    add4(to, a0)
    add4(to + 32, a1)
    add4(to + 128, b0)
    add4(to + 160, b1)
    add4(to + 256, c0)
    add4(to + 288, c1)
    add4(to + 384, d0)
    add4(to + 416, d1)
  }
}

/** One or two rows likewise. */
function columns2(acc: usize, w: usize, pairs: i32, from: usize, rows: i32): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0
    for (const end = x + (<usize>pairs << 4); x < end; x += 16) {
      const w0 = v128.load(p)
      const w1 = v128.load(p, 16)
      let s = v128.load32_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(x, 4)
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
      p += 64
    }
    const to = acc + (half << 6)
    add4(to, a0)
    add4(to + 32, a1)
    if (rows == 1) continue
    add4(to + 128, b0)
    add4(to + 160, b1)
  }
}

/** Σ w·act of every group, four rows: sums // [4 rows][12 groups][16] i32. w4: |sum| <= 32·8·16383 < 2^22, g8: 32·128·16383 < 2^26. */
function groups4(sums: usize, w: usize, groups: i32, from: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let to = sums + (half << 5)
    let x = from
    for (let g = 0; g < groups; g++) {
      const end = x + 256
      let w0 = v128.load(p)
      let w1 = v128.load(p, 16)
      let s = v128.load32_splat(x)
      let a0 = i32x4.dot_i16x8_s(w0, s), a1 = i32x4.dot_i16x8_s(w1, s)
      s = v128.load32_splat(x, 4)
      let b0 = i32x4.dot_i16x8_s(w0, s), b1 = i32x4.dot_i16x8_s(w1, s)
      s = v128.load32_splat(x, 8)
      let c0 = i32x4.dot_i16x8_s(w0, s), c1 = i32x4.dot_i16x8_s(w1, s)
      s = v128.load32_splat(x, 12)
      let d0 = i32x4.dot_i16x8_s(w0, s), d1 = i32x4.dot_i16x8_s(w1, s)
      p += 64
      // The first pair apart saves eight zeros and eight sums (a prefill 2 % faster). No further unrolling: V8 moves the loads of a longer body ahead and spills
      // (four pairs in a row 1.1x slower, sixteen 1.8x, measured).
      for (x += 16; x < end; x += 16) {
        w0 = v128.load(p)
        w1 = v128.load(p, 16)
        s = v128.load32_splat(x)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(x, 4)
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(x, 8)
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(w0, s))
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(x, 12)
        d0 = i32x4.add(d0, i32x4.dot_i16x8_s(w0, s))
        d1 = i32x4.add(d1, i32x4.dot_i16x8_s(w1, s))
        p += 64
      }
      v128.store(to, a0)
      v128.store(to, a1, 16)
      v128.store(to, b0, 768)
      v128.store(to, b1, 784)
      v128.store(to, c0, 1536)
      v128.store(to, c1, 1552)
      v128.store(to, d0, 2304)
      v128.store(to, d1, 2320)
      to += 64
    }
  }
}

/** One or two rows likewise. */
function groups2(sums: usize, w: usize, groups: i32, from: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let to = sums + (half << 5)
    let x = from
    for (let g = 0; g < groups; g++) {
      let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0
      for (const end = x + 256; x < end; x += 16) {
        const w0 = v128.load(p)
        const w1 = v128.load(p, 16)
        let s = v128.load32_splat(x)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(x, 4)
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
        p += 64
      }
      v128.store(to, a0)
      v128.store(to, a1, 16)
      v128.store(to, b0, 768)
      v128.store(to, b1, 784)
      to += 64
    }
  }
}

// The lowest 11 bits of the sums a and b of two groups as pairs of i16, and the bits above: |sum| < 2^26, so these fit.
// @ts-ignore: decorator
@inline function lows(a: v128, b: v128, mask: v128): v128 {
  return v128.and(v128.shuffle<i16>(a, i32x4.shl(b, 16), 0, 9, 2, 11, 4, 13, 6, 15), mask)
}
// @ts-ignore: decorator
@inline function highs(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(i32x4.shr_u(a, 11), i32x4.shl(b, 5), 0, 9, 2, 11, 4, 13, 6, 15)
}

// @ts-ignore: decorator
@inline function addParts(acc: usize, offset: usize, low: v128, high: v128): void {
  const k = f64x2.splat(2048)
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset), f64x2.add(f64x2.convert_low_i32x4_s(low), f64x2.mul(k, f64x2.convert_low_i32x4_s(high)))))
  v128.store(acc + offset, f64x2.add(v128.load(acc + offset, 16), f64x2.add(convertHigh(low), f64x2.mul(k, convertHigh(high)))), 16)
}

/**
 * acc // 16 f64 += Σ d·sum (+ m·Σact) over a block of a row, two groups per dot product, every factor split in 11 low bits and the rest.
 * A pair of groups adds below 2^28 to a part (2·2^15·2^11, twice), a block has at most six. Four weight rows at a time: all sixteen at once spill (3 % of a batch of eight rows, measured).
 */
// @ts-ignore: decorator
@inline export function addGroups(acc: usize, sums: usize, d: usize, pairs: i32, minima: bool, m: usize, low: usize, high: usize): void {
  const mask = i32x4.splat(0x07ff07ff + (pairs >> 31)) // not a constant: see panel4
  for (let quad: usize = 0; quad < 64; quad += 16) {
    let l = i32x4.splat(0), h = l
    let s = sums + quad
    let f = d + quad
    let g = m + quad
    let x = low
    let y = high
    for (const end = f + (<usize>pairs << 6); f < end; f += 64) {
      const a = v128.load(s)
      const b = v128.load(s, 64)
      const v = v128.load(f)
      l = i32x4.add(l, i32x4.dot_i16x8_s(lows(a, b, mask), v))
      h = i32x4.add(h, i32x4.dot_i16x8_s(highs(a, b), v))
      s += 128
      if (minima) {
        const u = v128.load(g)
        l = i32x4.add(l, i32x4.dot_i16x8_s(u, v128.load32_splat(x)))
        h = i32x4.add(h, i32x4.dot_i16x8_s(u, v128.load32_splat(y)))
        g += 64
        x += 4
        y += 4
      }
    }
    addParts(acc, quad << 1, l, h)
  }
}
