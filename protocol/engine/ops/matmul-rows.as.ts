// Op matmul for several rows of activations (prefill, batches): a block of a panel is widened to i16 once and used for every row.
// A block is at most 256 columns, so that it (8 KiB) and the rows' accumulators stay in the first-level cache; sums are doubles holding integers below 2^53 (acc < 2^47.2).
import { convertHigh, exact2 } from './integer.as'
import { panelBytes, rowScales, scale12, storePanel } from './matmul.as'

// @ts-ignore: decorator
@inline const blockColumns: i32 = 256
// Scratch: [128 pairs][16 rows][2] i16, then f64 d[8 groups][16], f64 scales[16], i16 m[groups/2][16][2] of the whole panel, f64 acc[rows + 1][16].
// @ts-ignore: decorator
@inline const atScales: usize = 8192
// @ts-ignore: decorator
@inline const atRowScales: usize = 8192 + 1024
// @ts-ignore: decorator
@inline const atMinima: usize = 8192 + 1024 + 128

/** One w4 block: pairs in the order of `permuted` (see matmul.as.ts), d as doubles. */
function widen4(scratch: usize, w: usize, groups: i32): void {
  const mask = i16x8.splat(<i16>(15 + (groups >> 31))) // not a constant: see panel4
  let to = scratch
  for (let g = 0; g < groups; g++) {
    const group = w + <usize>g * 320
    for (let block: usize = 0; block < 4; block++) {
      for (let quad: usize = 0; quad < 4; quad++) {
        const v = v128.load(group + (block << 6) + (quad << 4))
        const at = to + (quad << 4)
        v128.store(at, v128.and(v, mask))
        v128.store(at, v128.and(i16x8.shr_u(v, 4), mask), 64)
        v128.store(at, v128.and(i16x8.shr_u(v, 8), mask), 128)
        v128.store(at, i16x8.shr_u(v, 12), 192)
      }
      to += 256
    }
    const scales = scratch + atScales + (<usize>g << 7)
    for (let quad: usize = 0; quad < 4; quad++) {
      const d = v128.load16x4_s(group + 256 + (quad << 3))
      v128.store(scales + (quad << 5), f64x2.convert_low_i32x4_s(d))
      v128.store(scales + (quad << 5), convertHigh(d), 16)
    }
  }
}

/** m of a w4 panel, two groups interleaved; the odd last group has no partner, but its sum's other half is 0, so any finite partner will do. */
function widenMinima(to: usize, w: usize, groups: i32): void {
  for (let g = 0; g < groups; g += 2) {
    const m = w + <usize>g * 320 + 288
    const next = g + 1 < groups ? m + 320 : m
    const at = to + (<usize>g << 5)
    for (let half: usize = 0; half < 2; half++) {
      const a = v128.load(m + (half << 4))
      const b = v128.load(next + (half << 4))
      v128.store(at + (half << 5), v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
      v128.store(at + (half << 5), v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15), 16)
    }
  }
}

/** d of the groups of a g8 block as doubles. */
function scales8(scratch: usize, w: usize, groups: i32): void {
  for (let g = 0; g < groups; g++) {
    const scales = scratch + atScales + (<usize>g << 7)
    for (let quad: usize = 0; quad < 4; quad++) {
      const d = scale12(w + <usize>g * 544 + 512 + (quad << 3))
      v128.store(scales + (quad << 5), f64x2.convert_low_i32x4_s(d))
      v128.store(scales + (quad << 5), convertHigh(d), 16)
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

// @ts-ignore: decorator
@inline function add4(acc: usize, sum: v128): void {
  v128.store(acc, f64x2.add(v128.load(acc), f64x2.convert_low_i32x4_s(sum)))
  v128.store(acc, f64x2.add(v128.load(acc, 16), convertHigh(sum)), 16)
}

// @ts-ignore: decorator
@inline function addScaled4(acc: usize, sum: v128, d: usize): void {
  v128.store(acc, f64x2.add(v128.load(acc), f64x2.mul(f64x2.convert_low_i32x4_s(sum), v128.load(d))))
  v128.store(acc, f64x2.add(v128.load(acc, 16), f64x2.mul(convertHigh(sum), v128.load(d, 16))), 16)
}

/** acc // 16 f64 += Σ m·Σact of a row: as minima in matmul.as.ts, m interleaved already. */
function addMinima(acc: usize, m: usize, pairs: i32, low: usize, high: usize): void {
  const k = f64x2.splat(1024)
  const zero = i32x4.splat(0)
  for (let half: usize = 0; half < 64; half += 32) {
    for (let from: usize = 0; from < <usize>pairs; from += 32) {
      let p = m + half + (from << 6)
      let x = low + (from << 2)
      let y = high + (from << 2)
      let a0 = zero, a1 = zero, b0 = zero, b1 = zero
      // 2^15 · 1023 · 64 groups < 2^31.
      for (const end = low + (min<usize>(pairs, from + 32) << 2); x < end; x += 4, y += 4, p += 64) {
        const w0 = v128.load(p)
        const w1 = v128.load(p, 16)
        const s = v128.load32_splat(x)
        const t = v128.load32_splat(y)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, t))
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, t))
      }
      const at = acc + (half << 1)
      v128.store(at, f64x2.add(v128.load(at), f64x2.add(f64x2.convert_low_i32x4_s(a0), f64x2.mul(k, f64x2.convert_low_i32x4_s(b0)))))
      v128.store(at, f64x2.add(v128.load(at, 16), f64x2.add(convertHigh(a0), f64x2.mul(k, convertHigh(b0)))), 16)
      v128.store(at, f64x2.add(v128.load(at, 32), f64x2.add(f64x2.convert_low_i32x4_s(a1), f64x2.mul(k, f64x2.convert_low_i32x4_s(b1)))), 32)
      v128.store(at, f64x2.add(v128.load(at, 48), f64x2.add(convertHigh(a1), f64x2.mul(k, convertHigh(b1)))), 48)
    }
  }
}

/**
 * One panel for `rows` rows of activations: y + row·yStride receives 16 i32. permuted, sums, halves: of row 0, with byte strides. e // rows i32. scratch: see above.
 */
export function panelRows(
  y: usize, yStride: usize, w: usize, words: usize, format: i32, columns: i32, rows: i32,
  permuted: usize, actStride: usize, sums: usize, sumStride: usize, halves: usize, halfStride: usize, e: usize, outBits: i32, scratch: usize,
): void {
  const acc = scratch + atMinima + <usize>((columns + 63) & ~63)
  memory.fill(acc, 0, <usize>(rows + 1) << 7)
  for (let from = 0; from < columns; from += blockColumns) {
    const width = min<i32>(blockColumns, columns - from)
    const groups = width >> 5
    const block = w + panelBytes(from, format)
    if (format == 1) widen4(scratch, block, groups)
    else if (format == 0) widen8(scratch, block, width)
    else {
      for (let g = 0; g < groups; g++) widen8(scratch + (<usize>g << 10), block + <usize>g * 544, 32)
      scales8(scratch, block, groups)
    }
    for (let row = 0; row < rows; ) {
      const left = rows - row
      const x = permuted + <usize>row * actStride + (<usize>from << 1)
      const to = acc + (<usize>row << 7)
      const sum = sums + <usize>row * sumStride + (<usize>(from >> 5) << 2)
      const offset = format == 1 ? -8 : 0
      // A last single row is computed twice, the second time into the spare accumulator.
      const stride: usize = left == 1 ? 0 : actStride
      const count = left >= 4 ? 4 : 2
      if (count == 4) {
        if (format == 0) block8x4(to, scratch, width >> 1, x, stride)
        else blockGroupsx4(to, scratch, groups, x, stride, sum, sumStride, offset)
      } else if (format == 0) block8x2(to, scratch, width >> 1, x, stride)
      else blockGroupsx2(to, scratch, groups, x, stride, sum, left == 1 ? 0 : sumStride, offset)
      row += count
    }
  }
  if (format == 1) {
    const pairs = ((columns >> 5) + 1) >> 1
    widenMinima(scratch + atMinima, w, columns >> 5)
    for (let row = 0; row < rows; row++) {
      const low = halves + <usize>row * halfStride
      addMinima(acc + (<usize>row << 7), scratch + atMinima, pairs, low, low + (<usize>pairs << 2))
    }
  }
  rowScales(scratch + atRowScales, words, format)
  for (let row = 0; row < rows; row++) {
    storePanel(y + <usize>row * yStride, acc + (<usize>row << 7), scratch + atRowScales, exact2(outBits - load<i32>(e + (<usize>row << 2))))
  }
}

/** Four rows of activations times a w8 block: i32 sums of 256 columns stay below 128·16383·256 < 2^30. Row r reads from + r·stride and adds to acc + 128·r. */
function block8x4(acc: usize, w: usize, pairs: i32, from: usize, stride: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let y = x + stride
    let u = y + stride
    let v = u + stride
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0
    let w0 = a0, w1 = a0, s = a0
    for (const end = x + (<usize>pairs << 2); x < end; x += 4) {
      w0 = v128.load(p)
      w1 = v128.load(p, 16)
      s = v128.load32_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(y)
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(u)
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(w0, s))
      c1 = i32x4.add(c1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(v)
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(w0, s))
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(w1, s))
      y += 4
      u += 4
      v += 4
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

/** Two rows of activations times a w8 block: i32 sums of 256 columns stay below 128·16383·256 < 2^30. Row r reads from + r·stride and adds to acc + 128·r. */
function block8x2(acc: usize, w: usize, pairs: i32, from: usize, stride: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let y = x + stride
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0
    let w0 = a0, w1 = a0, s = a0
    for (const end = x + (<usize>pairs << 2); x < end; x += 4) {
      w0 = v128.load(p)
      w1 = v128.load(p, 16)
      s = v128.load32_splat(x)
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
      s = v128.load32_splat(y)
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
      y += 4
      p += 64
    }
    const to = acc + (half << 6)
    add4(to, a0)
    add4(to + 32, a1)
    add4(to + 128, b0)
    add4(to + 160, b1)
  }
}

/** Four rows of activations times a w4 or g8 block. A group starts at `offset` (−8 or 0) times its Σact: sums + r·sumStride // groups i32, not read when offset is 0. */
function blockGroupsx4(acc: usize, w: usize, groups: i32, from: usize, stride: usize, sums: usize, sumStride: usize, offset: i32): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let y = x + stride
    let u = y + stride
    let v = u + stride
    for (let g: usize = 0; g < <usize>groups; g++) {
      let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0
      if (offset) {
        const start = sums + (g << 2)
        a0 = i32x4.splat(load<i32>(start) * offset)
        a1 = a0
        b0 = i32x4.splat(load<i32>(start + sumStride) * offset)
        b1 = b0
        c0 = i32x4.splat(load<i32>(start + sumStride * 2) * offset)
        c1 = c0
        d0 = i32x4.splat(load<i32>(start + sumStride * 3) * offset)
        d1 = d0
      }
      let w0 = a0, w1 = a0, s = a0
      for (const end = x + 64; x < end; x += 4) {
        w0 = v128.load(p)
        w1 = v128.load(p, 16)
        s = v128.load32_splat(x)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(y)
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(u)
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(w0, s))
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(v)
        d0 = i32x4.add(d0, i32x4.dot_i16x8_s(w0, s))
        d1 = i32x4.add(d1, i32x4.dot_i16x8_s(w1, s))
        y += 4
        u += 4
        v += 4
        p += 64
      }
      const d = w + atScales + (g << 7) + (half << 6)
      const to = acc + (half << 6)
      addScaled4(to, a0, d)
      addScaled4(to + 32, a1, d + 32)
      addScaled4(to + 128, b0, d)
      addScaled4(to + 160, b1, d + 32)
      addScaled4(to + 256, c0, d)
      addScaled4(to + 288, c1, d + 32)
      addScaled4(to + 384, d0, d)
      addScaled4(to + 416, d1, d + 32)
    }
  }
}

/** Two rows of activations times a w4 or g8 block. A group starts at `offset` (−8 or 0) times its Σact: sums + r·sumStride // groups i32, not read when offset is 0. */
function blockGroupsx2(acc: usize, w: usize, groups: i32, from: usize, stride: usize, sums: usize, sumStride: usize, offset: i32): void {
  for (let half: usize = 0; half < 2; half++) {
    let p = w + (half << 5)
    let x = from
    let y = x + stride
    for (let g: usize = 0; g < <usize>groups; g++) {
      let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0
      if (offset) {
        const start = sums + (g << 2)
        a0 = i32x4.splat(load<i32>(start) * offset)
        a1 = a0
        b0 = i32x4.splat(load<i32>(start + sumStride) * offset)
        b1 = b0
      }
      let w0 = a0, w1 = a0, s = a0
      for (const end = x + 64; x < end; x += 4) {
        w0 = v128.load(p)
        w1 = v128.load(p, 16)
        s = v128.load32_splat(x)
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(w0, s))
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(w1, s))
        s = v128.load32_splat(y)
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(w0, s))
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(w1, s))
        y += 4
        p += 64
      }
      const d = w + atScales + (g << 7) + (half << 6)
      const to = acc + (half << 6)
      addScaled4(to, a0, d)
      addScaled4(to + 32, a1, d + 32)
      addScaled4(to + 128, b0, d)
      addScaled4(to + 160, b1, d + 32)
    }
  }
}
