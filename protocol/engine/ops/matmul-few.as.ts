// Op matmul for two to ten rows of activations: several sessions decoding together, guesses of one session. A quarter of a group's weights is unpacked into registers and used for every row;
// sums of the group wait in the first-level cache. A panel is read once, front to back: what matmul-rows.as.ts does (widen a block, then multiply) stops for memory at every block.
//
// Milliseconds of a run of SmolLM2-135M (w4, head g8), every row at position 200 of its own sequence, one thread of a 3.7 GHz EPYC that does 6.4 G dot products with sums a second at best:
//   rows                   1     2     3     4     8
//   here                   7.7  14.3  20.1  25.5  46.2   matrices 7.1, 12.4, 17.2, 21.8, 38.7; attention 0.8 a row
//   matmul-rows.as.ts            21.0  29.1  31.2  50.8
// Eight rows cannot cost less than about 30 in 16-bit products: the dot products alone take 21.
import { exact2 } from './integer.as'
import { panelBytes, rowScales, storePanel } from './matmul.as'
import { add4, addGroups, interleave } from './matmul-rows.as'

// As in matmul-rows.as.ts: w8 sums of 384 columns stay below 128·16383·384 < 2^30, and so many groups' sums fit addGroups.
// @ts-ignore: decorator
@inline const blockColumns: i32 = 384
// Scratch: group sums [rows][12 groups][16] i32, f64 scales[16] at 12288, then of the block i16 d[groups/2][16][2] and m likewise, then f64 acc[rows][16].
// @ts-ignore: decorator
@inline const sumsOfRow: usize = 768
// @ts-ignore: decorator
@inline const atRowScales: usize = 12288
// @ts-ignore: decorator
@inline const atD: usize = 12288 + 128
// @ts-ignore: decorator
@inline const atM: usize = 12288 + 128 + 384
// @ts-ignore: decorator
@inline const atAcc: usize = 12288 + 128 + 768

/** `from` (or what lies at `sum`) plus two pairs of columns of four weight rows. */
// @ts-ignore: decorator
@inline function addPairs(sum: usize, first: bool, from: v128, w0: v128, w1: v128, x0: v128, x1: v128): void {
  v128.store(sum, i32x4.add(first ? from : v128.load(sum), i32x4.add(i32x4.dot_i16x8_s(w0, x0), i32x4.dot_i16x8_s(w1, x1))))
}

/** Two pairs of columns of the 16 weight rows (a0, a1: rows 0 to 3, and so on) for every row: sums // [rows][16] i32. x: the first pair of row 0; the second lies `apart` bytes on. start: what a row's first sums begin from, or 0. */
// @ts-ignore: decorator
@inline function addColumns(
  sums: usize, rows: i32, x: usize, xStride: usize, apart: usize, first: bool, start: usize, startStride: usize,
  a0: v128, a1: v128, b0: v128, b1: v128, c0: v128, c1: v128, d0: v128, d1: v128,
): void {
  let y = x
  let z = start
  for (let sum = sums, end = sums + <usize>rows * sumsOfRow; sum < end; sum += sumsOfRow) {
    const x0 = v128.load32_splat(y)
    const x1 = v128.load32_splat(y + apart)
    y += xStride
    let from = i32x4.splat(0)
    if (first && startStride != 0) {
      from = v128.load32_splat(z)
      z += startStride
    }
    addPairs(sum, first, from, a0, a1, x0, x1)
    addPairs(sum + 16, first, from, b0, b1, x0, x1)
    addPairs(sum + 32, first, from, c0, c1, x0, x1)
    addPairs(sum + 48, first, from, d0, d1, x0, x1)
  }
}

/** Eight columns of a w4 group; the order of pairs is told at `nibbles` in matmul.as.ts. Nibbles stay unsigned: a group starts from −8·Σact. */
// @ts-ignore: decorator
@inline function nibbleBlock(w: usize, sums: usize, rows: i32, x: usize, xStride: usize, first: bool, start: usize, startStride: usize, mask: v128): void {
  let a = v128.load(w), b = v128.load(w, 16), c = v128.load(w, 32), d = v128.load(w, 48)
  addColumns(
    sums, rows, x, xStride, 4, first, start, startStride,
    v128.and(a, mask), v128.and(i16x8.shr_u(a, 4), mask), v128.and(b, mask), v128.and(i16x8.shr_u(b, 4), mask),
    v128.and(c, mask), v128.and(i16x8.shr_u(c, 4), mask), v128.and(d, mask), v128.and(i16x8.shr_u(d, 4), mask),
  )
  // Read again rather than kept: registers are few.
  a = v128.load(w), b = v128.load(w, 16), c = v128.load(w, 32), d = v128.load(w, 48)
  addColumns(
    sums, rows, x + 8, xStride, 4, false, 0, 0,
    v128.and(i16x8.shr_u(a, 8), mask), i16x8.shr_u(a, 12), v128.and(i16x8.shr_u(b, 8), mask), i16x8.shr_u(b, 12),
    v128.and(i16x8.shr_u(c, 8), mask), i16x8.shr_u(c, 12), v128.and(i16x8.shr_u(d, 8), mask), i16x8.shr_u(d, 12),
  )
}

function nibbleGroup(w: usize, sums: usize, rows: i32, x: usize, xStride: usize, start: usize, startStride: usize, mask: v128): void {
  nibbleBlock(w, sums, rows, x, xStride, true, start, startStride, mask)
  for (let k: usize = 64; k < 256; k += 64) nibbleBlock(w + k, sums, rows, x + (k >> 2), xStride, false, 0, 0, mask)
}

/** Of each i16 lane (two columns) the low byte, sign-extended. */
// @ts-ignore: decorator
@inline function even(v: v128): v128 {
  return i16x8.shr_s(i16x8.shl(v, 8), 8)
}

/** Four columns of int8 weights: of eight columns' pairs in the order of `permuted`, the even one of these four is 0 or 1, the odd one 2 or 3. */
// @ts-ignore: decorator
@inline function byteBlock(w: usize, sums: usize, rows: i32, x: usize, xStride: usize, first: bool): void {
  const a = v128.load(w), b = v128.load(w, 16), c = v128.load(w, 32), d = v128.load(w, 48)
  addColumns(
    sums, rows, x, xStride, 8, first, 0, 0,
    even(a), i16x8.shr_s(a, 8), even(b), i16x8.shr_s(b, 8), even(c), i16x8.shr_s(c, 8), even(d), i16x8.shr_s(d, 8),
  )
}

/** `columns` columns of int8 weights: a g8 group or a w8 block. */
function byteGroup(w: usize, sums: usize, rows: i32, x: usize, xStride: usize, columns: i32): void {
  byteBlock(w, sums, rows, x, xStride, true)
  byteBlock(w + 64, sums, rows, x + 4, xStride, false)
  for (let k: usize = 128; k < <usize>columns << 4; k += 128) {
    byteBlock(w + k, sums, rows, x + (k >> 3), xStride, false)
    byteBlock(w + k + 64, sums, rows, x + (k >> 3) + 4, xStride, false)
  }
}

/**
 * One panel for `rows` rows of activations, at most 16: y + row·yStride receives 16 i32. permuted, starts (`sums` of op quantise), halves: of row 0, as op quantise writes them for one row,
 * with the bytes from row to row. e // rows i32. scratch: see above.
 */
export function panelFew(
  y: usize, yStride: usize, w: usize, words: usize, format: i32, columns: i32, rows: i32, permuted: usize, actStride: usize,
  starts: usize, startStride: usize, halves: usize, halfStride: usize, e: usize, outBits: i32, scratch: usize,
): void {
  const mask = i16x8.splat(<i16>(15 + (rows >> 31))) // not a constant: see panel4
  const highs = <usize>(((columns + 63) >> 6) << 2)
  const sums = scratch
  const d = scratch + atD
  const m = scratch + atM
  const acc = scratch + atAcc
  memory.fill(acc, 0, <usize>rows << 7)
  for (let from = 0; from < columns; from += blockColumns) {
    const width = min<i32>(blockColumns, columns - from)
    const groups = width >> 5
    const block = w + panelBytes(from, format)
    const x = permuted + (<usize>from << 1)
    if (format == 0) {
      byteGroup(block, sums, rows, x, actStride, width)
      for (let row = 0; row < rows; row++) {
        const at = sums + <usize>row * sumsOfRow
        const to = acc + (<usize>row << 7)
        for (let quad: usize = 0; quad < 64; quad += 16) add4(to + (quad << 1), v128.load(at + quad))
      }
      continue
    }
    for (let g: usize = 0; g < <usize>groups; g++) {
      if (format == 1) nibbleGroup(block + g * 320, sums + (g << 6), rows, x + (g << 6), actStride, starts + (<usize>from >> 3) + (g << 2), startStride, mask)
      else byteGroup(block + g * 544, sums + (g << 6), rows, x + (g << 6), actStride, 32)
    }
    if (groups & 1) for (let row = 0; row < rows; row++) memory.fill(sums + <usize>row * sumsOfRow + (<usize>groups << 6), 0, 64)
    if (format == 1) {
      interleave(d, block + 256, 320, groups, 0)
      interleave(m, block + 288, 320, groups, 0)
    } else interleave(d, block + 512, 544, groups, 4)
    for (let row = 0; row < rows; row++) {
      const low = halves + <usize>row * halfStride + <usize>(from >> 4)
      addGroups(acc + (<usize>row << 7), sums + <usize>row * sumsOfRow, d, (groups + 1) >> 1, format == 1, m, low, low + highs)
    }
  }
  rowScales(scratch + atRowScales, words, format)
  for (let row = 0; row < rows; row++) {
    storePanel(y + <usize>row * yStride, acc + (<usize>row << 7), scratch + atRowScales, exact2(outBits - load<i32>(e + (<usize>row << 2))))
  }
}
