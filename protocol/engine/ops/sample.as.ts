// The sampler's steps over one row of logits: protocol/README.md section 5, reference in ../sampler.ts. Which token comes out is the reference's to the bit; what is left out here
// (masses of tokens too far below the largest, noise of tokens that cannot win) could not have changed it.
import { argmax } from './argmax.as'
import { biasOf, bitlen32, bitlen64, halfOf, mulShift4, satShift, sumLanes } from './integer.as'

// Words of a draw, see ../draw.ts.
const idCount: usize = 0
const penalty: usize = 4
const inversePenalty: usize = 8
const inverseTemperature: usize = 12
const keepCount: usize = 16
const keepShare: usize = 20
const keepDistance: usize = 24
const noisePosition: usize = 28
const keyLow: usize = 32
const keyHigh: usize = 36
const greedyFlag: usize = 40
const firstId: usize = 64

/** log2(v) in Q28 for 1 <= v < 2^53. */
export function log2Q28(v: u64): i64 {
  const length = bitlen64(v)
  let x: u64 = length > 32 ? v >> <u64>(length - 32) : v << <u64>(32 - length)
  let fraction: i64 = 0
  for (let i = 0; i < 28; i++) {
    const square = (x * x) >> 32
    const bit = square >> 31
    fraction = (fraction << 1) | <i64>bit
    x = square << (1 - bit)
  }
  return (<i64>(length - 1) << 28) + fraction
}

// @ts-ignore: decorator
@inline function mulhi(a: u64, b: u64): u64 {
  return (a * b) >> 32
}

/** e^(−d) in Q31 for d in Q16. */
export function exp31(d: u32): u32 {
  if (d >= 2097152) return 0
  const p = <u64>d * 3098164009
  const whole = p >> 47
  if (whole > 31) return 0
  const f = (p >> 15) & 0xffffffff
  let r: u64 = 234908
  r = 2739580 - mulhi(r, f)
  r = 20573019 - mulhi(r, f)
  r = 119166091 - mulhi(r, f)
  r = 515877875 - mulhi(r, f)
  r = 1488521950 - mulhi(r, f)
  r = 2147483645 - mulhi(r, f)
  return <u32>(r >> whole)
}

/** First output word of Philox4x32-10 for counter (position, id, 0, 0). */
export function philox(key0: u32, key1: u32, position: u32, id: u32): u32 {
  let c0 = position
  let c1 = id
  let c2: u32 = 0
  let c3: u32 = 0
  let k0 = key0
  let k1 = key1
  for (let round = 0; round < 10; round++) {
    const a = <u64>c0 * 0xd2511f53
    const b = <u64>c2 * 0xcd9e8d57
    c0 = <u32>(b >> 32) ^ c1 ^ k0
    c1 = <u32>b
    c2 = <u32>(a >> 32) ^ c3 ^ k1
    c3 = <u32>a
    k0 += 0x9e3779b9
    k1 += 0xbb67ae85
  }
  return c0
}

/** −ln(−ln u) in Q16 for u = (2r + 1) / 2^25, r 24 bits. */
export function gumbel(r: u32): i32 {
  const minusLog = ((<i64>25) << 28) - log2Q28(2 * <u64>r + 1)
  return -<i32>(((log2Q28(<u64>minusLog) - ((<i64>28) << 28) - 141939642) * 45426) >> 28)
}

/** At least gumbel(r), from the number of leading ones of r alone: what is left of u below 1 is at least 2^(bits − 25). */
// @ts-ignore: decorator
@inline function gumbelBound(r: u32): i32 {
  return (25 - bitlen32(16777215 - r)) * 45426 + 16
}
/** gumbelBound of the largest r. */
const gumbelMost: i64 = 25 * 45426 + 16

/** Steps 1 and 2 on z // count i32, in place: penalty on the draw's ids, then temperature. */
export function adjust(z: usize, count: i32, draw: usize): void {
  const ids = load<u32>(draw + idCount)
  for (let i: u32 = 0; i < ids; i++) {
    const at = z + (<usize>load<u32>(draw + firstId + (<usize>i << 2)) << 2)
    const v = load<i32>(at)
    store<i32>(at, satShift(<i64>v * <i64>load<u32>(draw + (v > 0 ? inversePenalty : penalty)), 16))
  }
  const inverse = load<u32>(draw + inverseTemperature)
  if (inverse == 65536) return
  const factor = i32x4.splat(<i32>inverse)
  const half = halfOf(16)
  const bias = biasOf(16)
  let i = 0
  for (; i + 4 <= count; i += 4) {
    const at = z + (<usize>i << 2)
    v128.store(at, mulShift4(v128.load(at), factor, 16, half, bias))
  }
  for (; i < count; i++) {
    const at = z + (<usize>i << 2)
    store<i32>(at, satShift(<i64>load<i32>(at) * <i64>inverse, 16))
  }
}

// @ts-ignore: decorator
@inline function keyAt(z: usize, i: i32): u32 {
  return load<u32>(z + (<usize>i << 2)) ^ 0x80000000
}

/** Whether any of four values is at least `least`, which `from4` holds four times. */
// @ts-ignore: decorator
@inline function anyFrom(at: usize, from4: v128): bool {
  return v128.any_true(i32x4.ge_s(v128.load(at), from4))
}

/**
 * The largest key whose upper set reaches a target, by four radix passes of 8 bits over the keys >= `least`. Weight of a key: 1, and the target is `need`; or, with `share` > 0, its mass
 * under `most`, and the target is the least that reaches share / 2^16 of all. `bins` // 256 u64.
 */
export function threshold(z: usize, count: i32, least: u32, need: u64, share: u32, most: i32, bins: usize): u32 {
  let prefix: u32 = 0
  let above: u64 = 0
  for (let shift = 24; shift >= 0; shift -= 8) {
    memory.fill(bins, 0, 2048)
    // Keys of interest lie in [from, to]: what shares the prefix, and is not below `least`.
    const from = max<u32>(prefix, least)
    const to = shift == 24 ? 0xffffffff : prefix | ((<u32>1 << (shift + 8)) - 1)
    const from4 = i32x4.splat(<i32>(from ^ 0x80000000))
    let i = 0
    while (i < count) {
      if (i + 4 <= count && !anyFrom(z + (<usize>i << 2), from4)) {
        i += 4
        continue
      }
      const end = min<i32>(i + 4, count)
      for (; i < end; i++) {
        const key = keyAt(z, i)
        if (key < from || key > to) continue
        const bin = bins + (<usize>((key >> shift) & 255) << 3)
        store<u64>(bin, load<u64>(bin) + (share > 0 ? <u64>(exp31((<u32>most ^ 0x80000000) - key) >> 7) : 1))
      }
    }
    if (shift == 24 && share > 0) {
      let total: u64 = 0
      for (let bin: usize = 0; bin < 2048; bin += 8) total += load<u64>(bins + bin)
      need = max<u64>(1, (total * <u64>share + 65535) >> 16)
    }
    let bin: usize = 255
    for (; bin > 0; bin--) {
      const here = load<u64>(bins + (bin << 3))
      if (above + here >= need) break
      above += here
    }
    prefix |= <u32>bin << shift
  }
  return prefix
}

/** A key that at least `need` of z // count i32 reach, near the largest: steps down from it until there are enough, so that top-k's passes look at few. */
function nearEnough(z: usize, count: i32, most: i32, need: u32): u32 {
  for (let span: i64 = 131072; span < 2147483648; span <<= 1) {
    const from = <i32>max<i64>(i32.MIN_VALUE, <i64>most - span)
    const from4 = i32x4.splat(from)
    let found = i32x4.splat(0)
    let i = 0
    for (; i + 4 <= count; i += 4) found = i32x4.sub(found, i32x4.ge_s(v128.load(z + (<usize>i << 2)), from4))
    let sum = sumLanes(found)
    for (; i < count; i++) if (load<i32>(z + (<usize>i << 2)) >= from) sum++
    if (<u32>sum >= need) return <u32>from ^ 0x80000000
  }
  return 0
}

/** Steps 5 and 6: the kept id (key >= `least`) with the largest z + noise, the lowest id on ties. `top`: an id with the largest z, `most`. */
export function noisy(z: usize, count: i32, least: u32, top: i32, most: i32, draw: usize): i32 {
  const position = load<u32>(draw + noisePosition)
  const key0 = load<u32>(draw + keyLow)
  const key1 = load<u32>(draw + keyHigh)
  let best = top
  let bestScore = <i64>most + <i64>gumbel(philox(key0, key1, position, top) >> 8)
  const kept = <i64><i32>(least ^ 0x80000000)
  // No value below this can win; it rises with the best.
  let from4 = i32x4.splat(<i32>max<i64>(kept, bestScore - gumbelMost))
  let i = 0
  while (i < count) {
    if (i + 4 <= count && !anyFrom(z + (<usize>i << 2), from4)) {
      i += 4
      continue
    }
    const end = min<i32>(i + 4, count)
    for (; i < end; i++) {
      const v = <i64>load<i32>(z + (<usize>i << 2))
      if (v < kept || v + gumbelMost < bestScore) continue
      const r = philox(key0, key1, position, i) >> 8
      if (v + <i64>gumbelBound(r) < bestScore) continue
      const score = v + <i64>gumbel(r)
      if (score > bestScore || (score == bestScore && i < best)) {
        best = i
        bestScore = score
        from4 = i32x4.splat(<i32>max<i64>(kept, bestScore - gumbelMost))
      }
    }
  }
  return best
}

/** The token of a draw (drawWords u32 at `draw`) from its logits z // count i32, which are overwritten. `bins` // 256 u64 of scratch. */
export function sample(z: usize, count: i32, draw: usize, bins: usize): i32 {
  adjust(z, count, draw)
  const top = argmax(z, count)
  if (load<u32>(draw + greedyFlag)) return top
  const most = load<i32>(z + (<usize>top << 2))
  const topK = load<u32>(draw + keepCount)
  const topP = load<u32>(draw + keepShare)
  const distance = load<u32>(draw + keepDistance)
  let least: u32 = 0
  if (topK > 0) least = threshold(z, count, nearEnough(z, count, most, topK), topK, 0, most, bins)
  if (topP < 65536) {
    // Tokens with no mass move no threshold of a mass; `massless` is the distance from which none has any.
    const massless: i64 = 1090520
    const heavy = <u32>max<i64>(0, <i64>(<u32>most ^ 0x80000000) - massless + 1)
    least = max<u32>(least, threshold(z, count, max<u32>(least, heavy), 0, topP, most, bins))
  }
  // sat32(most − distance) as a key: no key is 0.
  if (distance != 0xffffffff) least = max<u32>(least, <u32>max<i64>(1, <i64>(<u32>most ^ 0x80000000) - <i64>distance))
  return noisy(z, count, least, top, most, draw)
}
