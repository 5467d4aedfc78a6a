// Roots of four residuals at once (residual.ts): SHA-256 with one row in each lane of a vector. A row takes 68 compressions in 21 hashes; one after the other, through a
// native SHA-256, calling it costs more than hashing. Specification: ledger/dispute/README.md section 2; test/protocol/engine/proof/residual.test.ts holds it equal.

// prettier-ignore
const k = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
  0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
  0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
  0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
  0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
])
const first = memory.data<u32>([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19])

/** Four messages behind one another, each of this many bytes at most; the schedule of a block; eight words of state, four lanes each. */
const messageBytes: usize = 320
const messages = memory.data(1280, 16)
const schedule = memory.data(1024, 16)
const state = memory.data(128, 16)
/** The prefixes "tile", "node" and "list" with their lengths, 10 bytes each, written by whoever makes the instance. */
const prefixes = memory.data(48, 16)
/** Roots of empty subtrees by level, 32 bytes each, written as well. */
const empties = memory.data(32 * 16, 16)
/** Hashes of a level: per slot four of 32 bytes. A residual of 8,192 has 128 tiles. */
const levels = memory.data(128 * 128, 16)
/** Four rows of at most 8,192 values; four roots. */
const rows = memory.data(4 * 32768, 16)
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

/** One block of each of the four messages, from byte `offset` of each on. */
function compress(offset: usize): void {
  const base = messages + offset
  for (let i: usize = 0; i < 16; i++) {
    const p = base + i * 4
    let x = i32x4.splat(load<i32>(p))
    x = i32x4.replace_lane(x, 1, load<i32>(p + messageBytes))
    x = i32x4.replace_lane(x, 2, load<i32>(p + 2 * messageBytes))
    x = i32x4.replace_lane(x, 3, load<i32>(p + 3 * messageBytes))
    v128.store(schedule + i * 16, swapped(x))
  }
  for (let i: usize = 16; i < 64; i++) {
    const p = schedule + i * 16
    const x15 = v128.load(p - 240)
    const x2 = v128.load(p - 32)
    const s0 = v128.xor(v128.xor(rotr(x15, 7), rotr(x15, 18)), i32x4.shr_u(x15, 3))
    const s1 = v128.xor(v128.xor(rotr(x2, 17), rotr(x2, 19)), i32x4.shr_u(x2, 10))
    v128.store(p, i32x4.add(i32x4.add(v128.load(p - 256), s0), i32x4.add(v128.load(p - 112), s1)))
  }
  let a = v128.load(state)
  let b = v128.load(state, 16)
  let c = v128.load(state, 32)
  let d = v128.load(state, 48)
  let e = v128.load(state, 64)
  let f = v128.load(state, 80)
  let g = v128.load(state, 96)
  let h = v128.load(state, 112)
  for (let i: usize = 0; i < 64; i++) {
    const s1 = v128.xor(v128.xor(rotr(e, 6), rotr(e, 11)), rotr(e, 25))
    const choice = v128.bitselect(f, g, e)
    const t1 = i32x4.add(i32x4.add(i32x4.add(h, s1), i32x4.add(choice, v128.load32_splat(k + i * 4))), v128.load(schedule + i * 16))
    const s0 = v128.xor(v128.xor(rotr(a, 2), rotr(a, 13)), rotr(a, 22))
    const majority = v128.bitselect(c, b, v128.xor(a, b))
    h = g
    g = f
    f = e
    e = i32x4.add(d, t1)
    d = c
    c = b
    b = a
    a = i32x4.add(t1, i32x4.add(s0, majority))
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

/** Hashes the four messages of `length` bytes that lie there; the hashes go to `to`, 32 bytes each. */
function hash(length: usize, to: usize): void {
  const blocks = (length + 72) / 64
  for (let lane: usize = 0; lane < 4; lane++) {
    const p = messages + lane * messageBytes
    memory.fill(p + length, 0, blocks * 64 - length)
    store<u8>(p + length, 0x80)
    store<u32>(p + blocks * 64 - 4, bswap<u32>(<u32>(length * 8)))
  }
  for (let i: usize = 0; i < 8; i++) v128.store(state + i * 16, v128.load32_splat(first + i * 4))
  for (let block: usize = 0; block < blocks; block++) compress(block * 64)
  for (let lane: usize = 0; lane < 4; lane++)
    for (let i: usize = 0; i < 8; i++) store<u32>(to + lane * 32 + i * 4, bswap<u32>(load<u32>(state + i * 16 + lane * 4)))
}

/** Roots of four rows of `count` values at `rows`, one behind the other, to `roots`. */
export function residualRoots(count: i32): void {
  const bytes = <usize>count * 4
  const tiles = (count + 63) >> 6
  for (let tile = 0; tile < tiles; tile++) {
    const start = <usize>tile * 256
    const size = min<usize>(256, bytes - start)
    for (let lane: usize = 0; lane < 4; lane++) {
      const p = messages + lane * messageBytes
      memory.copy(p, prefixes, 10)
      // dtype i32, index, count
      store<u8>(p + 10, 6)
      store<u32>(p + 11, tile)
      store<u16>(p + 15, <u16>(size >> 2))
      memory.copy(p + 17, rows + lane * bytes + start, size)
    }
    hash(17 + size, levels + <usize>tile * 128)
  }
  let width = tiles
  let level: usize = 0
  while (width > 1) {
    const above = (width + 1) >> 1
    for (let i = 0; i < above; i++) {
      const left = levels + <usize>i * 256
      const alone = 2 * i + 1 >= width
      for (let lane: usize = 0; lane < 4; lane++) {
        const p = messages + lane * messageBytes
        memory.copy(p, prefixes + 16, 10)
        memory.copy(p + 10, left + lane * 32, 32)
        memory.copy(p + 42, alone ? empties + level * 32 : left + 128 + lane * 32, 32)
      }
      hash(74, levels + <usize>i * 128)
    }
    width = above
    level++
  }
  for (let lane: usize = 0; lane < 4; lane++) {
    const p = messages + lane * messageBytes
    memory.copy(p, prefixes + 32, 10)
    // kind step, elements, perTile, dtype
    store<u8>(p + 10, 7)
    store<u32>(p + 11, count)
    store<u16>(p + 15, 64)
    store<u8>(p + 17, 6)
    memory.copy(p + 18, levels + lane * 32, 32)
  }
  hash(50, roots)
}
