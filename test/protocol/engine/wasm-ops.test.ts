// Every WASM kernel against its reference neighbour, bit for bit, on random and extreme inputs.
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { add } from '../../../protocol/engine/ops/add.ts'
import { mix, score, weigh } from '../../../protocol/engine/ops/attention.ts'
import { bias } from '../../../protocol/engine/ops/bias.ts'
import { embed } from '../../../protocol/engine/ops/embed.ts'
import { gate } from '../../../protocol/engine/ops/gate.ts'
import { matmul } from '../../../protocol/engine/ops/matmul.ts'
import { quantise } from '../../../protocol/engine/ops/quantise.ts'
import { newQueryRecords, newRecords, record, recordQuery } from '../../../protocol/engine/ops/record.ts'
import { rmsnorm } from '../../../protocol/engine/ops/rmsnorm.ts'
import { angle, rope } from '../../../protocol/engine/ops/rope.ts'
import { epsilonOf, ropeFrequencies, ropeTables, scoreScale, splitFrequencies } from '../../../protocol/engine/tables.ts'
import { type Tensor, tensorBytes } from '../../../protocol/model/manifest.ts'
import { random } from '../../tiny-package.ts'
import { ensureWasm } from '../../wasm-build.ts'

const most = 0x7fffffff
const formats = { w8: 0, w4: 1, g8: 2 } as const
type Kernel = (...args: number[]) => number
let k: Record<string, Kernel>
let memory: WebAssembly.Memory
const i32 = (at: number, n: number) => new Int32Array(memory.buffer, at, n)
const i16 = (at: number, n: number) => new Int16Array(memory.buffer, at, n)
const u8 = (at: number, n: number) => new Uint8Array(memory.buffer, at, n)

beforeAll(async () => {
  ensureWasm()
  memory = new WebAssembly.Memory({ initial: 1024, maximum: 65536 })
  const module = await WebAssembly.compile(readFileSync(new URL('../../../build/engine-single.wasm', import.meta.url)))
  k = (await WebAssembly.instantiate(module, { env: { memory, now: () => 0 } })).exports as unknown as Record<string, Kernel>
})

/** i32 vectors that reach every corner: bounds, zeros, alternation, one outlier, small, wide and log-uniform values. */
function vectors(n: number): [string, Int32Array][] {
  const next = random(n)
  const signed = () => Math.max(-most, next() | 0)
  const make = (f: (i: number) => number) => Int32Array.from({ length: n }, (_, i) => f(i))
  return [
    ['zeros', make(() => 0)],
    ['all max', make(() => most)],
    ['all min', make(() => -most)],
    ['alternating bounds', make((i) => (i % 2 ? most : -most))],
    ['one outlier', make((i) => (i === 3 ? -most : (next() % 7) - 3))],
    ['ones', make((i) => (i % 3) - 1)],
    ['random', make(signed)],
    ['small', make(() => (next() % 4001) - 2000)],
    ['Q16 range', make(() => (next() % 4194304) - 2097152)],
    ['log-uniform', make(() => signed() >> (next() % 31))],
  ]
}

describe('elementwise kernels equal the reference', () => {
  for (const [name, x] of vectors(96)) {
    test(`add and bias: ${name}`, () => {
      for (const [, y] of vectors(96)) {
        const expected = x.slice()
        add(expected, y)
        i32(65536, 96).set(x)
        i32(81920, 96).set(y)
        k.add(65536, 81920, 96)
        expect(i32(65536, 96)).toEqual(expected)
        i32(65536, 96).set(x)
        k.bias(65536, 81920, 96)
        const biased = x.slice()
        bias(biased, y)
        expect(i32(65536, 96)).toEqual(biased)
      }
    })
    test(`gate: ${name}`, () => {
      for (const [, up] of vectors(96)) {
        for (const [kind, outBits] of [
          ['silu', 16],
          ['gelu', 12],
        ] as const) {
          const expected = new Int32Array(96)
          gate(expected, x, up, kind, outBits)
          i32(65536, 96).set(x)
          i32(81920, 96).set(up)
          k.gate(65536, 65536, 81920, 96, kind === 'gelu' ? 1 : 0, outBits)
          expect(i32(65536, 96)).toEqual(expected)
        }
      }
    })
    test(`quantise: ${name}`, () => {
      const expected = new Int16Array(96)
      const e = quantise(expected, x, 96, 16)
      i32(65536, 96).set(x)
      expect(k.quantise(65536, 96, 16, 81920, 90112, 4, 98304, 102400)).toBe(e)
      expect(i16(81920, 96)).toEqual(expected)
      const order = [0, 2, 4, 6, 1, 3, 5, 7]
      expect(i16(90112, 96)).toEqual(Int16Array.from({ length: 96 }, (_, i) => expected[(i & ~7) + order[i & 7]]))
      const sums = [0, 1, 2].map((g) => expected.subarray(g * 32, g * 32 + 32).reduce((a, b) => a + b, 0))
      expect([...i32(98304, 3)]).toEqual(sums.map((sum) => -8 * sum + 0))
      const [low, high] = [i16(102400, 4), i16(102408, 4)]
      expect(sums.map((_, g) => low[g] + high[g] * 2048)).toEqual(sums)
      expect([low[3], high[3]]).toEqual([0, 0])
      const pairs = i32(90112, 48).slice()
      k.quantise(65536, 96, 16, 81920, 106496, 16, 98304, 102400)
      expect(Int32Array.from(pairs, (_, j) => i32(106496, 192)[j * 4])).toEqual(pairs)
    })
    test(`rmsnorm: ${name}`, () => {
      for (const [n, weightBits, outBits, inBits] of [
        [96, 22, 16, 12],
        [30, 14, 8, 8],
        [96, 22, 12, 16],
      ] as const) {
        const part = x.slice(0, n)
        const { epsilon, rootN } = epsilonOf(0x3727c5ac, n, inBits)
        const next = random(n)
        const weight = Int32Array.from({ length: n }, (_, i) => (i < 4 ? [8388607, -8388607, 0, 1][i] : (next() % 16777215) - 8388607))
        const expected = new Int32Array(n)
        rmsnorm(expected, part, weight, weightBits, { heads: 1, length: n }, epsilon, rootN, outBits)
        i32(65536, n).set(part)
        i32(81920, n).set(weight)
        k.rmsnorm(90112, 65536, 81920, weightBits, n, epsilon, rootN, outBits)
        expect(i32(90112, n)).toEqual(expected)
      }
    })
    test(`rope: ${name}`, () => {
      const frequencies = splitFrequencies(ropeFrequencies(0x47c35000, 64, null))
      const tables = ropeTables()
      ;[tables.C, tables.S, tables.c, tables.s].forEach((table, i) => i32(131072 + i * 4096, 1024).set(table))
      new Uint32Array(memory.buffer, 65536, 32).set(frequencies.hi)
      new Uint32Array(memory.buffer, 65792, 32).set(frequencies.lo)
      for (const position of [0, 1, 77, 2047, 65535]) {
        const expected = x.slice(0, 64)
        rope(expected, 1, position, frequencies, tables)
        k.ropeAngles(66048, 66304, 32, position, 65536, 65792, 131072)
        expect(i32(66048, 32)[5]).toBe(angle(tables, frequencies.hi[5], frequencies.lo[5], position).cos)
        i32(81920, 64).set(x.subarray(0, 64))
        k.rope(81920, 32, 66048, 66304)
        expect(i32(81920, 64)).toEqual(expected)
      }
    })
  }

  test('the sigmoid of every sixteenth Q16 value up to 2^20 and beyond, both signs', () => {
    const n = 69632
    const x = Int32Array.from({ length: n }, (_, i) => (i % 2 ? -1 : 1) * i * 16)
    const up = new Int32Array(n).fill(65536)
    for (const kind of ['silu', 'gelu'] as const) {
      const expected = new Int32Array(n)
      gate(expected, x, up, kind, 16)
      i32(1 << 20, n).set(x)
      i32(2 << 20, n).set(up)
      k.gate(3 << 20, 1 << 20, 2 << 20, n, kind === 'gelu' ? 1 : 0, 16)
      expect(i32(3 << 20, n)).toEqual(expected)
    }
  })

  test('argmax is the lowest id of the largest logit', () => {
    const logits = Int32Array.from({ length: 301 }, (_, i) => (i === 47 || i === 300 ? 9 : -i))
    i32(65536, 301).set(logits)
    expect(k.argmax(65536, 301)).toBe(47)
    i32(65536, 301)[300] = 10
    expect(k.argmax(65536, 301)).toBe(300)
    i32(65536, 301).fill(-most)
    expect(k.argmax(65536, 301)).toBe(0)
  })
})

describe('matrix kernels equal the reference', () => {
  /** Weight bytes that reach the bounds: all values, all most negative, all most positive, alternating. */
  const fills: [string, (i: number, next: () => number) => number][] = [
    ['random bytes', (_, next) => next() >>> 24],
    ['all 0x80 and 0x00', (i) => (i % 2 ? 0x80 : 0)],
    ['all 0x7f', () => 0x7f],
    ['all 0xff', () => 0xff],
    ['alternating', (i) => (i % 4 < 2 ? 0x80 : 0x7f)],
  ]
  const acts: [string, (i: number, next: () => number) => number][] = [
    ['random', (_, next) => (next() % 32767) - 16383],
    ['all most', () => 16383],
    ['all least', () => -16383],
    ['alternating', (i) => (i % 2 ? 16383 : -16383)],
  ]
  const at = {
    w: 1 << 20,
    x: 30 << 20,
    y: 40 << 20,
    e: 41 << 20,
    scratch: 42 << 20,
    act: 44 << 20,
    permuted: 45 << 20,
    sums: 46 << 20,
    halves: 47 << 20,
    fours: 48 << 20,
  }
  for (const format of ['w8', 'w4', 'g8'] as const) {
    // One group, an odd number of them, a block and one more, several blocks.
    for (const [rows, columns] of [
      [16, 32],
      [32, 96],
      [16, 416],
      [20, 1536],
      [16, 3104],
    ]) {
      for (const [fillName, fill] of fills) {
        test(`${format} ${rows}x${columns}, ${fillName}: one row, and 1 to 11 rows`, () => {
          const next = random(rows + columns)
          const bytes = new Uint8Array(tensorBytes(format, rows, columns)).map((_, i) => fill(i, next))
          const weight = { name: 't', format, rows, columns, bits: 0, shard: 0, offset: 0, bytes: bytes.length, root: bytes } as Tensor
          // Row words with shifts that leave results, round everything away, and saturate.
          const padded = Math.ceil(rows / 16) * 16
          const words = bytes.length - padded * 4
          const view = new DataView(bytes.buffer)
          for (let r = 0; r < padded; r++)
            view.setUint32(words + r * 4, (next() & 0xffff) | ([20, 25, 30, 0, 40, 63, 12][r % 7] << 16) | ((next() & 0xff) << 24), true)
          u8(at.w, bytes.length).set(bytes)
          const count = 11
          const stride = columns * 2 + 64
          const expected: Int32Array[] = []
          for (let m = 0; m < count; m++) {
            const [, act] = acts[m % acts.length]
            // Quantising values below 2^14 leaves them as they are.
            const x = Int32Array.from({ length: columns }, (_, i) => act(i, next))
            i32(at.x, columns).set(x)
            const fours = at.fours + (m & ~3) * stride + (m & 3) * 4
            k.quantise(at.x, columns, 16 + m, at.act + m * stride, fours, 16, at.sums + m * 1024, at.halves + m * 1024)
            const e = k.quantise(at.x, columns, 16 + m, at.act + m * stride, at.permuted + m * stride, 4, at.sums + m * 1024, at.halves + m * 1024)
            expect(e).toBe(16 + m)
            i32(at.e, count)[m] = e
            expected[m] = new Int32Array(rows)
            matmul(expected[m], bytes, weight, Int16Array.from(x), e, 16)
          }
          const panelBytes = words / (padded / 16)
          for (let m = 0; m < count; m++) {
            for (let p = 0; p < padded / 16; p++) {
              const [w, act] = [at.w + p * panelBytes, at.act + m * stride]
              if (format === 'w8') k.panel8(at.scratch, w, columns, act)
              else if (format === 'g8') k.panelGroups8(at.scratch, w, columns / 32, act)
              else k.panel4(at.scratch, w, columns / 32, at.permuted + m * stride, at.sums + m * 1024, at.halves + m * 1024)
              k.rowScales(at.scratch + 128, at.w + words + p * 64, formats[format])
              k.storePanel(at.y + p * 64, at.scratch, at.scratch + 128, 2 ** (16 - (16 + m)))
            }
            expect(i32(at.y, rows)).toEqual(expected[m])
          }
          for (let m = 1; m <= count; m++) {
            for (const few of [true, false]) {
              i32(at.y, padded * count).fill(0)
              // Whatever an earlier panel left in the scratch must not matter.
              u8(at.scratch, 65536).fill(0x5a)
              for (let p = 0; p < padded / 16; p++) {
                const [y, w, words16] = [at.y + p * 64, at.w + p * panelBytes, at.w + words + p * 64]
                const panel = [y, padded * 4, w, words16, formats[format], columns, m]
                if (few) k.panelFew(...panel, at.permuted, stride, at.sums, 1024, at.halves, 1024, at.e, 16, at.scratch)
                else k.panelRows(...panel, at.fours, stride, at.halves, 1024, at.e, 16, at.scratch)
              }
              for (let j = 0; j < m; j++) expect(i32(at.y + j * padded * 4, rows)).toEqual(expected[j])
            }
          }
        })
      }
    }
    test(`embed reads ${format}`, () => {
      const next = random(3)
      const bytes = new Uint8Array(tensorBytes(format, 37, 64)).map(() => next() >>> 24)
      const weight = { name: 't', format, rows: 37, columns: 64, bits: 0, shard: 0, offset: 0, bytes: bytes.length, root: bytes } as Tensor
      u8(at.w, bytes.length).set(bytes)
      for (let token = 0; token < 37; token++) {
        const expected = new Int32Array(64)
        embed(expected, bytes, weight, token, 65536, 12)
        k.embed(at.y, at.w, at.w + bytes.length - 48 * 4, 64, formats[format], token, 65536, 12)
        expect(i32(at.y, 64)).toEqual(expected)
      }
    })
  }
})

describe('attention kernels equal the reference', () => {
  const at = { table: 65536, pages: 1 << 20, x: 280000, q: 300000, wide: 310000, t: 8 << 20, w: 9 << 20, sums: 10 << 20, out: 11 << 20 }
  const kinds: [string, (pool: Int32Array[], i: number, next: () => number) => Int32Array][] = [
    ['ordinary heads', (pool, i, next) => pool[8 - (next() % 2) * (i % 2)]],
    ['extreme heads', (pool, i) => pool[i % 10]],
    ['equal heads', (pool) => pool[1]],
  ]
  for (const [headDim, positions] of [
    [32, 200],
    [64, 200],
    [128, 100],
    [256, 80],
    [64, 1100],
  ]) {
    for (const [name, choose] of kinds) {
      test(`record, score, weigh, mix: ${name} of ${headDim}, ${positions} positions`, () => {
        const blockBytes = 132 * headDim + 384
        const groups = headDim / 32
        const pool = vectors(headDim).map(([, v]) => v)
        const next = random(headDim + positions)
        const keys = Array.from({ length: positions }, () => newRecords(1, headDim, groups))
        const values = Array.from({ length: positions }, () => newRecords(1, headDim, 1))
        const pages = Math.ceil(positions / 64)
        for (let p = 0; p < pages; p++) new Uint32Array(memory.buffer, at.table, pages)[p] = at.pages + p * blockBytes
        // Whatever lies in pages must not matter.
        u8(at.pages, pages * blockBytes).forEach((_, i, all) => (all[i] = next()))
        for (let j = 0; j < positions; j++) {
          const block = at.pages + (j >> 6) * blockBytes
          const shuffled = (v: Int32Array, i: number) => v.map((x) => Math.max(-most, (x ^ (next() & 0xff)) >> ((i * 7) % 5)))
          const [x, y] = [shuffled(choose(pool, j, next), j), shuffled(choose(pool, j + 1, next), j + 3)]
          record(keys[j], x, 1)
          record(values[j], y, 1)
          i32(at.x, headDim).set(x)
          k.recordKey(block, j & 63, at.x, headDim, at.wide)
          i32(at.x, headDim).set(y)
          k.recordValue(block, j & 63, at.x, headDim, at.wide)
        }
        const { am, ae } = scoreScale(headDim)
        const ranges = [
          [0, 0],
          [0, 5],
          [0, positions - 1],
          [17, 70],
          [63, 64],
          [30, 30],
          [Math.max(0, positions - 600), positions - 2],
        ]
        for (const [first, last] of ranges) {
          const q = newQueryRecords(1, headDim)
          const x = choose(pool, last, next)
          recordQuery(q, x, 1)
          i32(at.x, headDim).set(x)
          expect(k.recordQuery(at.q, at.x, headDim)).toBe(q.exponents[0])
          expect(i16(at.q, headDim)).toEqual(q.values)
          const count = last - first + 1
          const skip = first & 15
          const head = (r: ReturnType<typeof newRecords>) => ({ values: r.values, at: 0, mantissas: r.mantissas, scale: 0, exponent: r.exponents[0] })
          const t = Int32Array.from({ length: count }, (_, j) =>
            score({ values: q.values, at: 0, exponent: q.exponents[0] }, head(keys[first + j]), headDim, am, ae),
          )
          k.score(at.t, first, last, at.table, 0, at.q, q.exponents[0], headDim, am, ae)
          expect(i32(at.t + skip * 4, count)).toEqual(t)
          const w = new Uint16Array(count)
          const z = weigh(w, t, count)
          expect(k.weigh(at.w, at.t, first, last)).toBe(z)
          expect(new Uint16Array(memory.buffer, at.w + skip * 2, count)).toEqual(w)
          const expected = new Int32Array(headDim)
          mix(expected, 0, headDim, w, z, count, (j) => head(values[first + j]))
          k.mix(at.out, at.w, z, first, last, at.table, 0, headDim, at.sums)
          expect(i32(at.out, headDim)).toEqual(expected)
        }
      })
    }
  }

  test('weigh over random and saturated scores', () => {
    const next = random(5)
    for (const make of [
      () => Math.max(-most, next() | 0),
      () => (next() % 2000000) - 1000000,
      () => (next() % 2 ? most : -most),
      () => 7,
      () => next() % 65536,
    ]) {
      for (const count of [1, 15, 16, 17, 300]) {
        const t = Int32Array.from({ length: count }, make)
        const w = new Uint16Array(count)
        const z = weigh(w, t, count)
        i32(at.t, count).set(t)
        expect(k.weigh(at.w, at.t, 0, count - 1)).toBe(z)
        expect(new Uint16Array(memory.buffer, at.w, count)).toEqual(w)
      }
    }
  })
})
