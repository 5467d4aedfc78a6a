// Every constant of the engine that stands for a real number, made from integers alone (BigInt fixed point, 160 fractional bits), so that it is the same
// on every machine: Math.exp, cos, pow differ between engines. The model id commits to constTables().
import { isqrtBig } from './integer.ts'

const bits = 160n
const one = 1n << bits
const mul = (a: bigint, b: bigint): bigint => (a * b) >> bits
const div = (a: bigint, b: bigint): bigint => (a << bits) / b

/** atanh(1/n) · 2 by its Taylor series: ln((n+1)/(n−1)). */
function lnOver(x: bigint): bigint {
  // ln(x) for 1 <= x < 2 through 2·atanh((x−1)/(x+1))
  const y = div(x - one, x + one)
  const y2 = mul(y, y)
  let term = y
  let sum = 0n
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += term / k
    term = mul(term, y2)
  }
  return 2n * sum
}
const ln2 = lnOver(one + (one >> 1n)) + lnOver((one << 2n) / 3n)

/** ln of a positive fixed-point number. */
export function ln(x: bigint): bigint {
  let shift = 0n
  while (x >= 2n * one) {
    x >>= 1n
    shift++
  }
  while (x < one) {
    x <<= 1n
    shift--
  }
  return lnOver(x) + shift * ln2
}

/** e^x. */
export function exp(x: bigint): bigint {
  let n = x / ln2
  if (x < 0n && n * ln2 !== x) n--
  const r = x - n * ln2
  let term = one
  let sum = 0n
  for (let k = 1n; term !== 0n; k++) {
    sum += term
    term = mul(term, r) / k
  }
  return n >= 0n ? sum << n : sum >> -n
}

/** arctan(1/n). */
function arctanInverse(n: bigint): bigint {
  let term = one / n
  let sum = 0n
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += k % 4n === 1n ? term / k : -term / k
    term /= n * n
  }
  return sum
}
/** Machin, 1706. */
const pi = 4n * (4n * arctanInverse(5n) - arctanInverse(239n))

/** [cos, sin] of a fixed-point angle in radians, |x| <= 2π. */
function cosSin(x: bigint): [bigint, bigint] {
  let cos = 0n
  let sin = 0n
  let term = one
  for (let k = 0n; term !== 0n; k++) {
    const sign = k % 4n < 2n ? 1n : -1n
    if (k % 2n === 0n) cos += sign * term
    else sin += sign * term
    term = mul(term, x) / (k + 1n)
  }
  return [cos, sin]
}

/** Nearest integer of a fixed-point number, halves away from zero. */
const round = (x: bigint): bigint => (x < 0n ? -((-x + (one >> 1n)) >> bits) : (x + (one >> 1n)) >> bits)

export interface RopeTables {
  /** Coarse: 2^15 · cos and sin of a/2^10 turns. */
  C: Int32Array
  S: Int32Array
  /** Fine: 2^15 · cos and sin of b/2^20 turns. */
  c: Int32Array
  s: Int32Array
}

let rope: RopeTables | null = null

/** The four 1,024-entry tables of op rope. */
export function ropeTables(): RopeTables {
  if (rope) return rope
  const tables: RopeTables = { C: new Int32Array(1024), S: new Int32Array(1024), c: new Int32Array(1024), s: new Int32Array(1024) }
  for (let i = 0; i < 1024; i++) {
    const [C, S] = cosSin((2n * pi * BigInt(i)) >> 10n)
    const [c, s] = cosSin((2n * pi * BigInt(i)) >> 20n)
    tables.C[i] = Number(round(C << 15n))
    tables.S[i] = Number(round(S << 15n))
    tables.c[i] = Number(round(c << 15n))
    tables.s[i] = Number(round(s << 15n))
  }
  rope = tables
  return tables
}

/** The exact value of an IEEE-754 single as mantissa · 2^exponent. */
function single(value: number): { mantissa: bigint; exponent: number } {
  const exponent = (value >>> 23) & 255
  const mantissa = (value & 0x7fffff) | (exponent === 0 ? 0 : 0x800000)
  return { mantissa: BigInt(value >>> 31 === 1 ? -mantissa : mantissa), exponent: Math.max(exponent, 1) - 150 }
}

function fixedOfSingle(value: number): bigint {
  const { mantissa, exponent } = single(value)
  const shift = bits + BigInt(exponent)
  return shift >= 0n ? mantissa << shift : mantissa >> -shift
}

/**
 * Rotary frequencies F_i = 2^48 · base^(−2i/headDim) / (2π · factor_i), as u48 little-endian, headDim/2 of them (RoFormer, arXiv 2104.09864; factors: Llama 3 scaling or linear scaling).
 * `baseBits` and `factorBits` are IEEE-754 single bits. Throws RangeError for a base or factor that is not a positive finite number of sane size.
 */
export function ropeFrequencies(baseBits: number, headDim: number, factorBits: ArrayLike<number> | null): Uint8Array {
  const half = headDim >> 1
  const base = fixedOfSingle(baseBits)
  if (base < one || base > one << 40n) throw new RangeError('rotary base must be between 1 and 2^40')
  const logBase = ln(base)
  const bytes = new Uint8Array(half * 6)
  for (let i = 0; i < half; i++) {
    const factor = factorBits ? fixedOfSingle(factorBits[i]) : one
    if (factor < one >> 10n || factor > one << 20n) throw new RangeError(`rotary factor ${i} must be between 2^-10 and 2^20`)
    const power = exp(-(logBase * BigInt(2 * i)) / BigInt(headDim))
    let frequency = round(div(div(power, 2n * pi), factor) << 48n) & 0xffffffffffffn
    for (let b = 0; b < 6; b++) {
      bytes[i * 6 + b] = Number(frequency & 255n)
      frequency >>= 8n
    }
  }
  return bytes
}

/** Splits u48 frequencies into Fhi (u32) and Flo (u16). */
export function splitFrequencies(bytes: Uint8Array): { hi: Uint32Array; lo: Uint32Array } {
  const count = bytes.length / 6
  const hi = new Uint32Array(count)
  const lo = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    const b = bytes.subarray(i * 6, i * 6 + 6)
    lo[i] = b[0] | (b[1] << 8)
    hi[i] = (b[2] | (b[3] << 8) | (b[4] << 16) | (b[5] << 24)) >>> 0
  }
  return { hi, lo }
}

/** E and rootN of op rmsnorm. Throws RangeError when E does not fit a u32. */
export function epsilonOf(epsBits: number, length: number, inBits: number): { epsilon: number; rootN: number } {
  const { mantissa, exponent } = single(epsBits)
  const scaled = mantissa * BigInt(length)
  const shift = exponent + 2 * inBits
  const exact = shift >= 0 ? scaled << BigInt(shift) : (scaled + (1n << BigInt(-shift - 1))) >> BigInt(-shift)
  if (exact < 0n || exact >= 1n << 32n) throw new RangeError(`rmsnorm epsilon ${exact} must be below 2^32`)
  return { epsilon: exact < 1n ? 1 : Number(exact), rootN: Number(isqrtBig(BigInt(length) << 32n)) }
}

/** Am and Ae of op score: Am · 2^(−Ae) = log2(e) / (127 · √scaleOf), Am in [2^15, 2^16). */
export function scoreScale(scaleOf: number): { am: number; ae: number } {
  const root = isqrtBig(BigInt(scaleOf) << (2n * bits))
  const value = div(div(one, ln2) / 127n, root)
  for (let ae = 0; ae < 62; ae++) {
    const am = Number(round(value << BigInt(ae)))
    if (am >= 32768) return { am, ae }
  }
  throw new RangeError(`attention scale 1/√${scaleOf} is too small`)
}

/** All table bytes that a model id commits to (the polynomial constants stand in the code of the ops and the specification). */
export function constTables(): Uint8Array {
  const { C, S, c, s } = ropeTables()
  const bytes = new Uint8Array(4 * 4096)
  const view = new DataView(bytes.buffer)
  for (const [t, table] of [C, S, c, s].entries()) for (let i = 0; i < 1024; i++) view.setInt32((t * 1024 + i) * 4, table[i], true)
  return bytes
}
