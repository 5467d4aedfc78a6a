// Each reference op against the real-valued function it stands for, and at its extremes. (WASM and WGSL are compared bit for bit with these in their own tests.)
import { describe, expect, test } from 'vitest'
import { bitlen, exp2neg, isqrt32, isqrtBig, mulhi, mulShift, rshift } from '../../../protocol/engine/integer.ts'
import { mix, score, weigh } from '../../../protocol/engine/ops/attention.ts'
import { gate, sigmoidGelu, sigmoidSilu } from '../../../protocol/engine/ops/gate.ts'
import { matmul } from '../../../protocol/engine/ops/matmul.ts'
import { quantise } from '../../../protocol/engine/ops/quantise.ts'
import { newQueryRecords, newRecords, record, recordQuery } from '../../../protocol/engine/ops/record.ts'
import { rmsnorm } from '../../../protocol/engine/ops/rmsnorm.ts'
import { angle } from '../../../protocol/engine/ops/rope.ts'
import { rowWord, weightAt } from '../../../protocol/engine/ops/weights.ts'
import { epsilonOf, ropeFrequencies, ropeTables, scoreScale, splitFrequencies } from '../../../protocol/engine/tables.ts'
import type { Tensor } from '../../../protocol/model/manifest.ts'
import { tensorBytes } from '../../../protocol/model/manifest.ts'
import { random } from '../../tiny-package.ts'

const most = 2147483647

describe('integer arithmetic equals BigInt', () => {
  const next = random(1)
  const edge = [0, 1, 2, 65535, 65536, 2147483647, 2147483648, 4294967295]
  test('mulhi, bitlen and square roots', () => {
    for (let i = 0; i < 2000; i++) {
      const a = i < 64 ? edge[i & 7] : next()
      const b = i < 64 ? edge[i >> 3] : next() >>> (next() & 31)
      expect(mulhi(a, b)).toBe(Number((BigInt(a) * BigInt(b)) >> 32n))
      expect(bitlen(a)).toBe(a === 0 ? 0 : a.toString(2).length)
      expect(isqrt32(a)).toBe(Number(isqrtBig(BigInt(a))))
      const root = isqrtBig(BigInt(a) * BigInt(b))
      expect(root * root <= BigInt(a) * BigInt(b) && (root + 1n) * (root + 1n) > BigInt(a) * BigInt(b)).toBe(true)
    }
  })
  test('rounding shifts and products, also beyond 2^53', () => {
    const round = (v: bigint, s: number): bigint => (s > 0 ? (v + (1n << BigInt(s - 1))) >> BigInt(s) : v << BigInt(-s))
    const sat = (v: bigint): number => Number(v > BigInt(most) ? BigInt(most) : v < -BigInt(most) ? -BigInt(most) : v)
    for (let i = 0; i < 3000; i++) {
      const a = (next() | 0) === -2147483648 ? 0 : i % 9 === 0 ? [most, -most, 0][i % 3] : next() | 0
      const b = i % 5 === 0 ? 4294967295 : next() >>> (next() & 31)
      const s = (next() % 90) - 20
      expect(mulShift(a, b, s) + 0).toBe(sat(round(BigInt(a) * BigInt(b), s)))
      expect(rshift(a, s & 63) + 0).toBe(Number(round(BigInt(a), s & 63)))
    }
  })
})

describe('ops stand for what they are named after', () => {
  const next = random(2)
  const vector = (n: number, scale: number): Int32Array => Int32Array.from({ length: n }, () => Math.round(((next() / 4294967296) * 2 - 1) * scale))

  test('rmsnorm', () => {
    for (const scale of [50, 4096, 3e6, 2e9]) {
      const x = vector(576, scale)
      const w = vector(576, 1 << 22)
      const y = new Int32Array(576)
      const { epsilon, rootN } = epsilonOf(0x3727c5ac, 576, 12)
      rmsnorm(y, x, w, 22, { heads: 1, length: 576 }, epsilon, rootN, 16)
      const rms = Math.sqrt(x.reduce((sum, v) => sum + (v / 4096) ** 2, 0) / 576 + 1e-5)
      for (let i = 0; i < 576; i++) expect(Math.abs(y[i] / 65536 - (x[i] / 4096 / rms) * (w[i] / 2 ** 22))).toBeLessThan(2e-4)
    }
    const zero = new Int32Array(64)
    rmsnorm(zero, zero, vector(64, 1000), 10, { heads: 2, length: 32 }, 1, isqrtOf(32), 16)
    expect([...zero]).toEqual([...new Int32Array(64)])
  })
  const isqrtOf = (n: number): number => Number(isqrtBig(BigInt(n) << 32n))

  test('quantise keeps 14 bits of the largest value', () => {
    for (const scale of [1, 100, 16383, 16384, 65536, 1e6, most]) {
      const y = vector(320, scale)
      y[7] = -scale
      const act = new Int16Array(320)
      const e = quantise(act, y, 320, 16)
      for (let i = 0; i < 320; i++) expect(Math.abs(act[i] * 2 ** (16 - e) - y[i])).toBeLessThanOrEqual(Math.max(0, 2 ** (16 - e)))
      expect(Math.abs(act[7])).toBeLessThanOrEqual(16383)
      if (scale >= 16384) expect(Math.abs(act[7])).toBeGreaterThanOrEqual(8191)
    }
  })

  test.each(['w8', 'g8', 'w4'] as const)('matmul over %s, also with every byte at its extremes', (format) => {
    for (const kind of ['random', 'max', 'min']) {
      const weight: Tensor = {
        name: 't',
        format,
        rows: 20,
        columns: 2080,
        bits: 0,
        shard: 0,
        offset: 0,
        bytes: tensorBytes(format, 20, 2080),
        root: new Uint8Array(32),
      }
      const bytes = Uint8Array.from({ length: weight.bytes }, () => (kind === 'random' ? next() >>> 24 : kind === 'max' ? 127 : 128))
      const act = Int16Array.from({ length: 2080 }, () => (kind === 'random' ? (next() % 32767) - 16383 : 16383))
      const y = new Int32Array(20)
      matmul(y, bytes, weight, act, 3, 16)
      for (let row = 0; row < 20; row++) {
        let acc = 0n
        for (let k = 0; k < 2080; k++) acc += BigInt(weightAt(bytes, weight, row, k)) * BigInt(act[k])
        const { mantissa, shift } = rowWord(bytes, weight, row)
        const v = format === 'w8' ? acc * BigInt(mantissa) : acc
        const s = shift + 3 - 16
        const exact = s > 0 ? (v + (1n << BigInt(s - 1))) >> BigInt(s) : v << BigInt(-s)
        expect(y[row]).toBe(Number(exact > BigInt(most) ? BigInt(most) : exact < -BigInt(most) ? -BigInt(most) : exact))
      }
    }
  })

  test('rope angles', () => {
    const { hi, lo } = splitFrequencies(ropeFrequencies(0x461c4000, 64, null))
    for (const position of [0, 1, 17, 4095, 32767]) {
      for (let i = 0; i < 32; i++) {
        const real = position * 10000 ** (-i / 32)
        const { cos, sin } = angle(ropeTables(), hi[i], lo[i], position)
        expect(Math.abs(cos / 16384 - Math.cos(real))).toBeLessThan(1.2e-4)
        expect(Math.abs(sin / 16384 - Math.sin(real))).toBeLessThan(1.2e-4)
      }
    }
  })

  test('records, scores, weights and their mixture make attention', () => {
    const headDim = 64
    const count = 70
    const { am, ae } = scoreScale(headDim)
    const q = vector(headDim, 200000)
    const keys = Array.from({ length: count }, () => vector(headDim, 150000))
    const values = Array.from({ length: count }, (_, j) => vector(headDim, j % 5 === 0 ? 900 : 60000))
    const recordOf = (x: Int32Array, groups: number) => {
      const out = newRecords(1, headDim, groups)
      record(out, x, 1)
      const length = headDim / groups
      for (let i = 0; i < headDim; i++) {
        const group = Math.floor(i / length)
        const largest = Math.max(...x.subarray(group * length, (group + 1) * length).map(Math.abs))
        expect(Math.abs((out.values[i] * out.mantissas[group]) / 127 / 2 ** out.exponents[0] - x[i])).toBeLessThan(0.0045 * largest + 1)
      }
      return { values: out.values, at: 0, mantissas: out.mantissas, scale: 0, exponent: out.exponents[0] }
    }
    const queries = newQueryRecords(1, headDim)
    recordQuery(queries, q, 1)
    const t = Int32Array.from(keys, (k) => score({ values: queries.values, at: 0, exponent: queries.exponents[0] }, recordOf(k, 2), headDim, am, ae))
    const w = new Uint16Array(count)
    const z = weigh(w, t, count)
    const out = new Int32Array(headDim)
    mix(out, 0, headDim, w, z, count, (j) => recordOf(values[j], 1))
    const real = keys.map((k) => k.reduce((sum, v, i) => sum + (v / 65536) * (q[i] / 65536), 0) / 8)
    const weights = real.map((s) => Math.exp(s - Math.max(...real)))
    const total = weights.reduce((a, b) => a + b)
    for (let d = 0; d < headDim; d++) {
      const exact = weights.reduce((sum, p, j) => sum + (p * values[j][d]) / 65536, 0) / total
      expect(Math.abs(out[d] / 65536 - exact)).toBeLessThan(0.01)
    }
  })

  test('weights are powers of two of the distance, and far positions get none', () => {
    expect(exp2neg(0)).toBe(32767)
    for (const d of [100, 65536, 200000, 700000]) expect(Math.abs(exp2neg(d) / 32768 - 2 ** (-d / 65536))).toBeLessThan(6e-5)
    expect(exp2neg(4294967294)).toBe(0)
  })

  test('silu and gelu', () => {
    for (let x = -20; x <= 20; x += 0.37) {
      const fixed = Math.round(x * 65536)
      expect(Math.abs(sigmoidSilu(fixed) / 32768 - 1 / (1 + Math.exp(-x)))).toBeLessThan(1e-4)
      const inner = 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)
      expect(Math.abs(sigmoidGelu(fixed) / 32768 - 1 / (1 + Math.exp(-inner)))).toBeLessThan(1.5e-4)
    }
    const out = new Int32Array(4)
    gate(out, Int32Array.of(most, -most, most, 0), Int32Array.of(most, most, -most, most), 'silu', 16)
    expect([...out]).toEqual([most, 0, -most, 0])
  })
})
