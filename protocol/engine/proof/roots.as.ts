// Roots of four residuals at once (residual.ts): SHA-256 with one row in each lane of a vector. A row of 576 takes 68 compressions in 21 hashes; one after the other, through a
// native SHA-256, calling it costs more than hashing. Blocks are read where rows lie, and hashes stay vectors from level to level: nothing is copied but the ends of tiles. Specification: ledger/dispute/README.md section 2; test/protocol/engine/proof/residual.test.ts holds it equal.

// prettier-ignore
const k = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
  0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
  0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
  0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
  0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
])
const first = memory.data<u32>([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19])

/** The longest tile and its padding. */
const messageBytes: usize = 320
/** The schedule of a block, a word of four messages in each vector; eight words of state likewise. */
const schedule = memory.data(1024, 16)
const state = memory.data(128, 16)
/** The first and the last block of four tiles' messages: what stands before a row's bytes and what comes after. */
const firsts = memory.data(256, 16)
const lasts = memory.data(256, 16)
/** Any block of four short tiles' messages. */
const messages = memory.data(1280, 16)
/** The prefixes "tile", "node" and "list" with their lengths, 10 bytes each, written by whoever makes the instance. */
const prefixes = memory.data(48, 16)
/** Roots of empty subtrees by level, 32 bytes each, written as well. */
const empties = memory.data(32 * 16, 16)
/** Hashes of a level: per slot eight vectors like the state. A residual of 8,192 has 128 tiles. */
const levels = memory.data(128 * 128, 16)
/** Four rows of at most 8,192 values, and what reading whole vectors touches behind them; four roots. */
const rows = memory.data(4 * 32768 + 16, 16)
const roots = memory.data(128, 16)

export function at(what: i32): usize {
  return what === 0 ? prefixes : what === 1 ? empties : what === 2 ? rows : roots
}

// @ts-expect-error: a decorator of AssemblyScript
@inline
function rotr(x: v128, n: i32): v128 {
  return v128.or(i32x4.shr_u(x, n), i32x4.shl(x, 32 - n))
}

// @ts-expect-error: a decorator of AssemblyScript
@inline
function swapped(x: v128): v128 {
  return i8x16.shuffle(x, x, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
}

/** The block that lies at `from` for the first message, every `apart` bytes for the next, as a schedule. */
function read(from: usize, apart: usize): void {
  for (let i: usize = 0; i < 64; i += 16) {
    const p = from + i
    const a = swapped(v128.load(p))
    const b = swapped(v128.load(p + apart))
    const c = swapped(v128.load(p + apart * 2))
    const d = swapped(v128.load(p + apart * 3))
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5)
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5)
    const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7)
    const CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7)
    const to = schedule + i * 4
    v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2))
    v128.store(to, v128.shuffle<i64>(ab, cd, 1, 3), 16)
    v128.store(to, v128.shuffle<i64>(AB, CD, 0, 2), 32)
    v128.store(to, v128.shuffle<i64>(AB, CD, 1, 3), 48)
  }
}

/** Word i + 16 of the schedule; p: address of word i. */
// @ts-expect-error: a decorator of AssemblyScript
@inline
function extend(p: usize): void {
  const x = v128.load(p, 16)
  const y = v128.load(p, 224)
  const s0 = v128.xor(v128.xor(rotr(x, 7), rotr(x, 18)), i32x4.shr_u(x, 3))
  const s1 = v128.xor(v128.xor(rotr(y, 17), rotr(y, 19)), i32x4.shr_u(y, 10))
  v128.store(p, i32x4.add(i32x4.add(v128.load(p), s0), i32x4.add(v128.load(p, 144), s1)), 256)
}

/** What a round adds to d, and to h: of e, f, g, h, its constant and its word. */
// @ts-expect-error: a decorator of AssemblyScript
@inline
function chosen(e: v128, f: v128, g: v128, h: v128, constant: usize, p: usize): v128 {
  const s1 = v128.xor(v128.xor(rotr(e, 6), rotr(e, 11)), rotr(e, 25))
  return i32x4.add(i32x4.add(i32x4.add(h, i32x4.add(v128.load32_splat(constant), v128.load(p))), v128.bitselect(f, g, e)), s1)
}

/** What a round adds to h besides: of a, b, c. */
// @ts-expect-error: a decorator of AssemblyScript
@inline
function most(a: v128, b: v128, c: v128): v128 {
  const s0 = v128.xor(v128.xor(rotr(a, 2), rotr(a, 13)), rotr(a, 22))
  return i32x4.add(s0, v128.bitselect(c, b, v128.xor(a, b)))
}

/**
 * One block of each of the four messages, whose first 16 words stand in the schedule. Eight rounds at a time, so that no value moves from one register to the next, and a word of
 * the schedule beside each round, because each by itself waits for its own last result: 8.6 µs a root with the schedule first and every round alone, 5.6 like this (hidden 576).
 */
function compress(): void {
  let a = v128.load(state)
  let b = v128.load(state, 16)
  let c = v128.load(state, 32)
  let d = v128.load(state, 48)
  let e = v128.load(state, 64)
  let f = v128.load(state, 80)
  let g = v128.load(state, 96)
  let h = v128.load(state, 112)
  let p = schedule
  for (let r = k; r < k + 256; r += 32) {
    let t = chosen(e, f, g, h, r, p)
    d = i32x4.add(d, t)
    h = i32x4.add(t, most(a, b, c))
    if (r < k + 192) extend(p)
    t = chosen(d, e, f, g, r + 4, p + 16)
    c = i32x4.add(c, t)
    g = i32x4.add(t, most(h, a, b))
    if (r < k + 192) extend(p + 16)
    t = chosen(c, d, e, f, r + 8, p + 32)
    b = i32x4.add(b, t)
    f = i32x4.add(t, most(g, h, a))
    if (r < k + 192) extend(p + 32)
    t = chosen(b, c, d, e, r + 12, p + 48)
    a = i32x4.add(a, t)
    e = i32x4.add(t, most(f, g, h))
    if (r < k + 192) extend(p + 48)
    t = chosen(a, b, c, d, r + 16, p + 64)
    h = i32x4.add(h, t)
    d = i32x4.add(t, most(e, f, g))
    if (r < k + 192) extend(p + 64)
    t = chosen(h, a, b, c, r + 20, p + 80)
    g = i32x4.add(g, t)
    c = i32x4.add(t, most(d, e, f))
    if (r < k + 192) extend(p + 80)
    t = chosen(g, h, a, b, r + 24, p + 96)
    f = i32x4.add(f, t)
    b = i32x4.add(t, most(c, d, e))
    if (r < k + 192) extend(p + 96)
    t = chosen(f, g, h, a, r + 28, p + 112)
    e = i32x4.add(e, t)
    a = i32x4.add(t, most(b, c, d))
    if (r < k + 192) extend(p + 112)
    p += 128
  }
  v128.store(state, i32x4.add(a, v128.load(state)))
  v128.store(state, i32x4.add(b, v128.load(state, 16)), 16)
  v128.store(state, i32x4.add(c, v128.load(state, 32)), 32)
  v128.store(state, i32x4.add(d, v128.load(state, 48)), 48)
  v128.store(state, i32x4.add(e, v128.load(state, 64)), 64)
  v128.store(state, i32x4.add(f, v128.load(state, 80)), 80)
  v128.store(state, i32x4.add(g, v128.load(state, 96)), 96)
  v128.store(state, i32x4.add(h, v128.load(state, 112)), 112)
}

function begin(): void {
  for (let i: usize = 0; i < 8; i++) v128.store(state + i * 16, v128.load32_splat(first + i * 4))
}

/** Keeps what was hashed in `slot`. */
function keep(slot: i32): void {
  const to = levels + (<usize>slot << 7)
  for (let i: usize = 0; i < 128; i += 16) v128.store(to + i, v128.load(state + i))
}

// @ts-expect-error: a decorator of AssemblyScript
@inline
function word(i: usize, value: v128): void {
  v128.store(schedule + i * 16, value)
}

/** The four bytes at p as a word of every message. */
// @ts-expect-error: a decorator of AssemblyScript
@inline
function wordAt(p: usize): v128 {
  return i32x4.splat(bswap<i32>(load<i32>(p)))
}

/** A hash after the ten, or eighteen, bytes of what precedes it: its words from half of word `i` on, whose first half ends `before`. Returns the last one, whose second half is not written yet. */
function hashWords(i: usize, before: v128, hash: usize): v128 {
  let last = before
  for (let j: usize = 0; j < 8; j++) {
    const next = v128.load(hash + j * 16)
    word(i + j, v128.or(i32x4.shl(last, 16), i32x4.shr_u(next, 16)))
    last = next
  }
  return last
}

/** Zeros, then the length: what ends a message. */
function ending(from: usize, bits: i32): void {
  for (let i = from; i < 15; i++) word(i, i32x4.splat(0))
  word(15, i32x4.splat(bits))
}

/** Tile `index` of 64 values of the four rows, `bytes` apart: five blocks, of which the middle three are read where the row lies. */
function wholeTile(index: i32, bytes: usize): void {
  const from = rows + (<usize>index << 8)
  for (let lane: usize = 0; lane < 4; lane++) {
    const row = from + lane * bytes
    const p = firsts + lane * 64
    // Before the bytes: the index of the tile.
    store<u32>(p + 11, index)
    v128.store(p + 17, v128.load(row))
    v128.store(p + 33, v128.load(row, 16))
    store<u64>(p + 49, load<u64>(row, 32))
    store<u32>(p + 57, load<u32>(row, 40))
    store<u16>(p + 61, load<u16>(row, 44))
    store<u8>(p + 63, load<u8>(row, 46))
    const q = lasts + lane * 64
    v128.store(q, v128.load(row, 239))
    store<u8>(q + 16, load<u8>(row, 255))
  }
  begin()
  read(firsts, 64)
  compress()
  for (let offset: usize = 47; offset < 239; offset += 64) {
    read(from + offset, bytes)
    compress()
  }
  read(lasts, 64)
  compress()
  keep(index)
}

/** The last tile, of less than 64 values. */
function shortTile(index: i32, bytes: usize): void {
  const start = <usize>index << 8
  const size = bytes - start
  const blocks = (size + 17 + 72) >> 6
  for (let lane: usize = 0; lane < 4; lane++) {
    const p = messages + lane * messageBytes
    head(p, <u16>(size >> 2))
    store<u32>(p + 11, index)
    memory.copy(p + 17, rows + lane * bytes + start, size)
    memory.fill(p + 17 + size, 0, (blocks << 6) - size - 17)
    store<u8>(p + 17 + size, 0x80)
    store<u32>(p + (blocks << 6) - 4, bswap<u32>(<u32>((size + 17) << 3)))
  }
  begin()
  for (let block: usize = 0; block < blocks; block++) {
    read(messages + (block << 6), messageBytes)
    compress()
  }
  keep(index)
}

/** What stands before a tile's bytes: the prefix, dtype i32, index, count. */
function head(p: usize, count: u16): void {
  memory.copy(p, prefixes, 10)
  store<u8>(p + 10, 6)
  store<u16>(p + 15, count)
}

/** A node above two slots, or above one and an empty subtree: 74 bytes. */
function node(left: i32, alone: bool, level: i32, to: i32): void {
  const at = levels + (<usize>left << 7)
  word(0, wordAt(prefixes + 16))
  word(1, wordAt(prefixes + 20))
  const middle = hashWords(2, wordAt(prefixes + 22), at)
  begin()
  // Right of `middle`: the first six words and a half.
  const empty = empties + (<usize>level << 5)
  let last = middle
  for (let j: usize = 0; j < 6; j++) {
    const next = alone ? wordAt(empty + j * 4) : v128.load(at + 128 + j * 16)
    word(10 + j, v128.or(i32x4.shl(last, 16), i32x4.shr_u(next, 16)))
    last = next
  }
  compress()
  for (let j: usize = 6; j < 8; j++) {
    const next = alone ? wordAt(empty + j * 4) : v128.load(at + 128 + j * 16)
    word(j - 6, v128.or(i32x4.shl(last, 16), i32x4.shr_u(next, 16)))
    last = next
  }
  word(2, v128.or(i32x4.shl(last, 16), i32x4.splat(0x8000)))
  ending(3, 592)
  compress()
  keep(to)
}

/** Roots of four rows of `count` values at `rows`, one behind the other, to `roots`. */
export function residualRoots(count: i32): void {
  const bytes = <usize>count << 2
  const tiles = (count + 63) >> 6
  for (let lane: usize = 0; lane < 4; lane++) {
    head(firsts + lane * 64, 64)
    const q = lasts + lane * 64
    memory.fill(q, 0, 64)
    store<u8>(q + 17, 0x80)
    store<u32>(q + 60, bswap<u32>(273 << 3))
  }
  for (let tile = 0; tile < tiles; tile++) {
    if ((tile + 1) << 6 <= count) wholeTile(tile, bytes)
    else shortTile(tile, bytes)
  }
  let level = 0
  for (let width = tiles; width > 1; width = (width + 1) >> 1) {
    for (let i = 0; i < width; i += 2) node(i, i + 1 == width, level, i >> 1)
    level++
  }
  // The list: 18 bytes before the top: prefix, kind step, elements, perTile, dtype.
  const p = messages
  memory.copy(p, prefixes + 32, 10)
  store<u8>(p + 10, 7)
  store<u32>(p + 11, count)
  store<u16>(p + 15, 64)
  store<u8>(p + 17, 6)
  for (let i: usize = 0; i < 4; i++) word(i, wordAt(p + i * 4))
  const last = hashWords(4, wordAt(p + 14), levels)
  word(12, v128.or(i32x4.shl(last, 16), i32x4.splat(0x8000)))
  ending(13, 400)
  begin()
  compress()
  for (let lane: usize = 0; lane < 4; lane++)
    for (let i: usize = 0; i < 8; i++) store<u32>(roots + lane * 32 + i * 4, bswap<u32>(load<u32>(state + i * 16 + lane * 4)))
}
