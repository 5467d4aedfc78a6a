// The sampler: from logits to a token, in integers, seeded, without a sort (specification, section 5; shared/dispute.md, section 4).
// Thresholds are "the largest key whose upper set reaches a target", found by four radix passes; ties at a threshold are all kept.
// Noise is Gumbel, keyed by (seed, position, token id), so any one token's score can be checked alone.
import { mulhi, mulShift, power, sat32 } from './integer.ts'
import { exp31, log2Q28 } from './logarithm.ts'

/** All in Q16 unless said otherwise. */
export interface Sampler {
  /** 0 = greedy. */
  temperature: number
  /** Tokens kept (a count, 0 = all). */
  topK: number
  /** 65536 = all. */
  topP: number
  /** 0 = off. */
  minP: number
  /** 65536 = off. */
  repeatPenalty: number
  /** How many last tokens the penalty looks at (a count, at most 256). */
  repeatWindow: number
}

export const greedy: Sampler = { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 }

export class SamplerError extends Error {
  override name = 'SamplerError'
}

/** Throws SamplerError naming the field and its range. */
export function checkSampler(s: Sampler): void {
  const within = (name: keyof Sampler, low: number, high: number): void => {
    if (!(Number.isInteger(s[name]) && s[name] >= low && s[name] <= high))
      throw new SamplerError(`${name} is ${s[name]}, must be an integer from ${low} to ${high}`)
  }
  within('temperature', 0, 6553600)
  if (s.temperature > 0) within('temperature', 655, 6553600)
  within('topK', 0, 262400)
  within('topP', 1, 65536)
  within('minP', 0, 65536)
  within('repeatPenalty', 6554, 655360)
  within('repeatWindow', 0, 256)
}

/** Two u32 of key: Philox4x32-10 (Salmon et al., SC 2011). */
export type NoiseKey = readonly [number, number]

/** How the token of one row is drawn from its logits. */
export interface Draw {
  sampler: Sampler
  key: NoiseKey
  /** Index of the token being chosen in its sequence. */
  position: number
  /** The tokens before it in order, the last `repeatWindow` of them at least. */
  recent: ArrayLike<number>
}

/** First output word of Philox4x32-10 for counter (position, id, 0, 0). */
export function philox(key: NoiseKey, position: number, id: number): number {
  let c0 = position >>> 0
  let c1 = id >>> 0
  let c2 = 0
  let c3 = 0
  let k0 = key[0]
  let k1 = key[1]
  for (let round = 0; round < 10; round++) {
    const hi0 = mulhi(0xd2511f53, c0)
    const hi1 = mulhi(0xcd9e8d57, c2)
    const lo0 = Math.imul(0xd2511f53, c0) >>> 0
    const lo1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c0 = (hi1 ^ c1 ^ k0) >>> 0
    c1 = lo1
    c2 = (hi0 ^ c3 ^ k1) >>> 0
    c3 = lo0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return c0
}

const log2Ln2 = 141939642 // −log2(ln 2) · 2^28, nearest
const ln2Q16 = 45426

/** −ln(−ln u) in Q16 for u = (2r + 1) / 2^25, r 24 bits. */
export function gumbel(r: number): number {
  const minusLog = 25 * power(28) - log2Q28(2 * r + 1)
  return -Math.floor(((log2Q28(minusLog) - 28 * power(28) - log2Ln2) * ln2Q16) / power(28))
}

/** No noise of an r with bitlen(2^24 − 1 − r) = b is larger than (25 − b) · ln 2 and this: engines skip the logarithms of what cannot win. */
export const gumbelSlack = 16

/** No noise is larger: r = 2^24 − 1. */
const gumbelMax = gumbel(16777215)

/** The largest u32 key τ such that the weight of all keys >= τ reaches `need` (positive, at most the whole weight). Four passes of 8 bits. */
export function radixThreshold(keys: Uint32Array, weights: Float64Array | null, need: number): number {
  let prefix = 0
  let above = 0
  for (let shift = 24; shift >= 0; shift -= 8) {
    const bins = new Float64Array(256)
    const high = shift === 24 ? 0 : prefix >>> (shift + 8)
    for (let i = 0; i < keys.length; i++) {
      if (shift === 24 || keys[i] >>> (shift + 8) === high) bins[(keys[i] >>> shift) & 255] += weights ? weights[i] : 1
    }
    let bin = 255
    while (bin > 0 && above + bins[bin] < need) above += bins[bin--]
    prefix = (prefix | (bin << shift)) >>> 0
  }
  return prefix
}

/** Lowest id with the largest value. */
export function argmax(z: Int32Array): number {
  let best = 0
  for (let i = 1; i < z.length; i++) if (z[i] > z[best]) best = i
  return best
}

/** Logits (vocab i32, Q16) with the penalty on `recent` tokens and the temperature applied; a new array unless nothing changes. */
function adjusted(logits: Int32Array, s: Sampler, recent: ArrayLike<number>): Int32Array {
  const penalised = s.repeatPenalty !== 65536 && s.repeatWindow > 0
  if (!penalised && (s.temperature === 0 || s.temperature === 65536)) return logits
  const z = logits.slice()
  if (penalised) {
    const inverse = Math.floor(4294967296 / s.repeatPenalty)
    const ids = new Set<number>()
    for (let i = Math.max(0, recent.length - s.repeatWindow); i < recent.length; i++) ids.add(recent[i])
    for (const id of ids) z[id] = mulShift(z[id], z[id] > 0 ? inverse : s.repeatPenalty, 16)
  }
  if (s.temperature > 0 && s.temperature !== 65536) {
    const inverse = Math.floor(4294967296 / s.temperature)
    for (let i = 0; i < z.length; i++) z[i] = mulShift(z[i], inverse, 16)
  }
  return z
}

/** e^(−d) < 2^−24 from here on (16.64 in Q16, rounded up). */
const masslessFrom = 1090520

/** Mass of a token in Q24: e^(z − max). */
export const massOf = (most: number, z: number): number => exp31(most - z) >>> 7

/** How far below the largest min-p still keeps a token: −ln(minP), Q16. */
export const minPDistance = (minP: number): number => Math.floor(((16 * power(28) - log2Q28(minP)) * ln2Q16) / power(28))

/**
 * The next token. logits // vocab i32, Q16. `recent`: all tokens so far, in order. `position`: index of the token being chosen.
 */
export function sample(logits: Int32Array, s: Sampler, key: NoiseKey, position: number, recent: ArrayLike<number>): number {
  const z = adjusted(logits, s, recent)
  const top = argmax(z)
  if (s.temperature === 0) return top
  const most = z[top]

  let threshold = -power(31)
  if (s.topK > 0 && s.topK < z.length) {
    const keys = new Uint32Array(z.length)
    for (let i = 0; i < z.length; i++) keys[i] = z[i] ^ 0x80000000
    threshold = radixThreshold(keys, null, s.topK) - power(31)
  }
  let ids: number[] = []
  for (let i = 0; i < z.length; i++) if (z[i] >= threshold) ids.push(i)
  if (s.topP < 65536) {
    // Tokens further than `masslessFrom` below the largest have no mass, so they move no threshold of a mass.
    const heavy = ids.filter((id) => most - z[id] < masslessFrom)
    const keys = Uint32Array.from(heavy, (id) => z[id] ^ 0x80000000)
    const masses = Float64Array.from(heavy, (id) => massOf(most, z[id]))
    let total = 0
    for (const mass of masses) total += mass
    // total < 2^24 · 2^18, times 2^16 is beyond 2^53: divide first, exactly, by halves.
    const need = Math.floor(total / 65536) * s.topP + Math.ceil(((total % 65536) * s.topP) / 65536)
    threshold = Math.max(threshold, radixThreshold(keys, masses, Math.max(1, need)) - power(31))
  }
  if (s.minP > 0) {
    threshold = Math.max(threshold, sat32(most - minPDistance(s.minP)))
  }
  ids = ids.filter((id) => z[id] >= threshold)

  let best = top
  let bestScore = most + gumbel(philox(key, position, top) >>> 8)
  for (const id of ids) {
    if (z[id] + gumbelMax < bestScore) continue
    const score = z[id] + gumbel(philox(key, position, id) >>> 8)
    if (score > bestScore || (score === bestScore && id < best)) {
      best = id
      bestScore = score
    }
  }
  return best
}

/** From the decimals people type to the integers everyone agrees on. Throws SamplerError. */
export function samplerOf(decimal: { temperature: number; topK: number; topP: number; minP: number; repeatPenalty: number; repeatWindow?: number }): Sampler {
  const q16 = (v: number): number => Math.round(v * 65536)
  const s: Sampler = {
    temperature: q16(decimal.temperature),
    topK: decimal.topK,
    topP: q16(decimal.topP),
    minP: q16(decimal.minP),
    repeatPenalty: q16(decimal.repeatPenalty),
    repeatWindow: decimal.repeatWindow ?? 64,
  }
  checkSampler(s)
  return s
}
