import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exp31, log2Q28 } from '../../../protocol/engine/logarithm.ts'
import { lossOf } from '../../../protocol/engine/loss.ts'
import { argmax, greedy, gumbel, massOf, philox, radixThreshold, SamplerError, sample, samplerOf } from '../../../protocol/engine/sampler.ts'
import { random } from '../../tiny-package.ts'

const logitsOf = (count: number, seed: number, spread = 20): Int32Array => {
  const next = random(seed)
  return Int32Array.from({ length: count }, () => (next() % (spread * 65536)) - spread * 32768)
}

test('Philox4x32-10 gives the published known answers', () => {
  // Random123 kat_vectors: counter and key zero; and the word 0 of counter (0x243f6a88, 0x85a308d3, 0, 0) is checked by the first only.
  expect(philox([0, 0], 0, 0)).toBe(0x6627e8d5)
})

test('radix thresholds equal sorting, with and without weights', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 4294967295 }), fc.integer({ min: 0, max: 1000 })), { minLength: 1, maxLength: 80 }),
      fc.nat(),
      (pairs, pick) => {
        const keys = Uint32Array.from(pairs, ([k]) => (k % 7 === 0 ? 5 : k))
        const weights = Float64Array.from(pairs, ([, w]) => w + 1)
        const need = 1 + (pick % keys.length)
        expect(radixThreshold(keys, null, need)).toBe([...keys].sort((a, b) => b - a)[need - 1])
        const total = weights.reduce((a, b) => a + b, 0)
        const mass = 1 + (pick % total)
        const threshold = radixThreshold(keys, weights, mass)
        const upper = (from: number): number => keys.reduce((sum, k, i) => (k >= from ? sum + weights[i] : sum), 0)
        expect(upper(threshold)).toBeGreaterThanOrEqual(mass)
        if (threshold < 4294967295) expect(upper(threshold + 1)).toBeLessThan(mass)
      },
    ),
  )
})

test('logarithm, exponential, noise and loss are close to the real functions', () => {
  for (const v of [1, 2, 3, 1000, 4294967295, 2 ** 40 + 12345]) expect(Math.abs(log2Q28(v) / 2 ** 28 - Math.log2(v))).toBeLessThan(1e-8)
  for (const d of [0, 1, 777, 65536, 300000, 900000]) expect(Math.abs(exp31(d) / 2 ** 31 - Math.exp(-d / 65536))).toBeLessThan(3e-9)
  expect(exp31(4294967294)).toBe(0)
  for (const r of [0, 1, 1000, 8388608, 16000000]) expect(Math.abs(gumbel(r) / 65536 + Math.log(-Math.log((2 * r + 1) / 2 ** 25)))).toBeLessThan(5e-5)
  const z = logitsOf(5000, 3)
  const exact = Math.log(z.reduce((sum, v) => sum + Math.exp((v - z[7]) / 65536), 0))
  expect(Math.abs(lossOf(z, 7) / 2 ** 24 - exact)).toBeLessThan(1e-5)
})

test('greedy takes the lowest id among the largest', () => {
  const z = Int32Array.of(3, 9, -4, 9)
  expect(sample(z, greedy, [0, 0], 0, [])).toBe(1)
  expect(argmax(z)).toBe(1)
})

test('a pure temperature sample follows the softmax', () => {
  const z = Int32Array.of(0, 65536, 131072, -65536)
  const s = samplerOf({ temperature: 1, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 })
  const counts = [0, 0, 0, 0]
  const n = 40000
  for (let i = 0; i < n; i++) counts[sample(z, s, [7, 9], i, [])]++
  const total = Array.from(z).reduce((sum, v) => sum + Math.exp(v / 65536), 0)
  const chi = counts.reduce((sum, c, i) => sum + (c - (n * Math.exp(z[i] / 65536)) / total) ** 2 / ((n * Math.exp(z[i] / 65536)) / total), 0)
  expect(chi).toBeLessThan(16.3) // 3 degrees of freedom, p = 0.001; the key is fixed, so this never flakes
})

test('top-k, top-p and min-p keep what sorting would keep', () => {
  const z = logitsOf(400, 5, 8)
  const order = Array.from(z.keys()).sort((a, b) => z[b] - z[a] || a - b)
  const seen = (s: Parameters<typeof samplerOf>[0]): Set<number> => {
    const set = new Set<number>()
    for (let i = 0; i < 3000; i++) set.add(sample(z, samplerOf({ ...s, temperature: 5 }), [1, 2], i, []))
    return set
  }
  expect([...seen({ temperature: 5, topK: 5, topP: 1, minP: 0, repeatPenalty: 1 })].sort()).toEqual(order.slice(0, 5).sort())
  const zt = Array.from(z, (v) => Math.round(v / 5))
  const masses = order.map((id) => massOf(zt[order[0]], zt[id]))
  const total = masses.reduce((a, b) => a + b, 0)
  let count = 0
  for (let sum = 0; sum < total * 0.1; count++) sum += masses[count]
  const kept = seen({ temperature: 5, topK: 0, topP: 0.1, minP: 0, repeatPenalty: 1 })
  for (const id of kept) expect(order.indexOf(id)).toBeLessThanOrEqual(count)
  expect(kept.size).toBeGreaterThan(count * 0.8)
  for (const id of seen({ temperature: 5, topK: 0, topP: 1, minP: 0.9, repeatPenalty: 1 }))
    expect(Math.exp((zt[id] - zt[order[0]]) / 65536)).toBeGreaterThan(0.899)
})

test('the repetition penalty lowers recent tokens only', () => {
  const z = Int32Array.of(65536 * 4, 65536 * 3, -65536)
  const s = { ...greedy, repeatPenalty: 131072, repeatWindow: 2 }
  expect(sample(z, s, [0, 0], 0, [0])).toBe(1)
  expect(sample(z, s, [0, 0], 0, [0, 2, 2])).toBe(0)
})

test('settings out of range are refused by name', () => {
  expect(() => samplerOf({ temperature: -1, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 })).toThrow(SamplerError)
  expect(() => samplerOf({ temperature: 1, topK: 0, topP: 0, minP: 0, repeatPenalty: 1 })).toThrow(/topP is 0/)
})
