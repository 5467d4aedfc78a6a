// The sampler's WASM neighbour against the reference: its steps alone, whole draws over many shapes of logits and settings, and sessions on an engine. WebGPU: test/browser/webgpu/checks.ts.
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { drawWords, encodeDraw } from '../../../protocol/engine/draw.ts'
import { chooseTokens } from '../../../protocol/engine/generate.ts'
import { exp31 } from '../../../protocol/engine/logarithm.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { type Draw, gumbel, gumbelSlack, massOf, philox, radixThreshold, sample } from '../../../protocol/engine/sampler.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { type SamplerCase, samplerCases } from '../../tiny/sampler-cases.ts'
import { random, tinyCore, tinyPackage } from '../../tiny-package.ts'
import { ensureWasm } from '../../wasm-build.ts'

type Kernel = (...args: (number | bigint)[]) => number
let k: Record<string, Kernel>
let memory: WebAssembly.Memory
const [drawAt, binsAt, logitsAt] = [65536, 69632, 131072]

beforeAll(async () => {
  ensureWasm()
  memory = new WebAssembly.Memory({ initial: 64, maximum: 65536 })
  const module = await WebAssembly.compile(readFileSync(new URL('../../../build/engine-single.wasm', import.meta.url)))
  k = (await WebAssembly.instantiate(module, { env: { memory, now: () => 0 } })).exports as unknown as Record<string, Kernel>
})

const write = (logits: Int32Array): void => new Int32Array(memory.buffer, logitsAt, logits.length).set(logits)

function drawn({ logits, draw }: SamplerCase): number {
  new Uint32Array(memory.buffer, drawAt, drawWords).set(encodeDraw(draw, logits.length))
  write(logits)
  return k.sample(logitsAt, logits.length, drawAt, binsAt)
}

describe('steps of the sampler equal the reference', () => {
  test('exponential, generator and noise, on every bit length and at the ends', () => {
    const next = random(5)
    for (let i = 0; i < 20000; i++) {
      const d = next() >>> (next() % 32)
      expect(k.exp31(d) >>> 0).toBe(exp31(d))
      const [key0, key1, position, id] = [next(), next(), next() % 32768, next() % 262400]
      const word = philox([key0, key1], position, id)
      expect(k.philox(key0, key1, position, id) >>> 0).toBe(word)
      const r = i < 50 ? (i < 25 ? i : 16777215 - (i - 25)) : word >>> 8
      expect(k.gumbel(r)).toBe(gumbel(r))
    }
  })

  test('no noise is larger than the bound that lets a kernel skip its logarithms', () => {
    // Noise rises with r, so the largest of each bit length of 2^24 − 1 − r is the one to check.
    for (let bits = 0; bits <= 24; bits++) {
      const r = 16777215 - (bits === 0 ? 0 : 2 ** (bits - 1))
      expect(gumbel(r)).toBeLessThanOrEqual((25 - bits) * 45426 + gumbelSlack)
    }
    expect(gumbel(0)).toBe(-186932)
  })

  test('thresholds of counts and of masses', () => {
    for (const [seed, count] of [
      [1, 1],
      [2, 7],
      [3, 301],
      [4, 5000],
    ]) {
      for (const { logits } of samplerCases(count, seed).filter((_, i) => i % 21 === 0)) {
        write(logits)
        const keys = Uint32Array.from(logits, (v) => v ^ 0x80000000)
        const largest = Math.max(...logits)
        const masses = Float64Array.from(logits, (v) => massOf(largest, v))
        const total = masses.reduce((a, b) => a + b, 0)
        for (const need of [1, 2, Math.ceil(count / 2), count].filter((n) => n <= count)) {
          expect(k.threshold(logitsAt, count, 0, BigInt(need), 0, largest, binsAt) >>> 0).toBe(radixThreshold(keys, null, need))
        }
        for (const share of [1, 100, 32768, 65535]) {
          const need = Math.max(1, Number((BigInt(total) * BigInt(share) + 65535n) >> 16n))
          expect(k.threshold(logitsAt, count, 0, 0n, share, largest, binsAt) >>> 0).toBe(radixThreshold(keys, masses, need))
        }
      }
    }
  })
})

describe('whole draws equal the reference', () => {
  for (const [vocab, rounds] of [
    [1, 1],
    [5, 4],
    [301, 8],
    [4099, 2],
  ]) {
    test(`over a vocabulary of ${vocab}`, () => {
      const cases = samplerCases(vocab, vocab, rounds)
      for (const one of cases) {
        const { logits, draw } = one
        expect([one.name, drawn(one)]).toEqual([one.name, sample(logits, draw.sampler, draw.key, draw.position, draw.recent)])
      }
    })
  }

  test('every setting changes some answer, so the cases prove something', () => {
    const cases = samplerCases(301, 301, 4)
    const token = ({ logits, draw }: SamplerCase, change: Partial<Draw['sampler']>): number =>
      sample(logits, { ...draw.sampler, ...change }, draw.key, draw.position, draw.recent)
    const off: [string, Partial<Draw['sampler']>][] = [
      ['temperature', { temperature: 0 }],
      ['top-k', { topK: 0 }],
      ['top-p', { topP: 65536 }],
      ['min-p', { minP: 0 }],
      ['penalty', { repeatPenalty: 65536 }],
    ]
    const asked = cases.map((one) => token(one, {}))
    for (const [name, change] of off) {
      const [field] = Object.keys(change) as (keyof Draw['sampler'])[]
      const changed = cases.filter((one, i) => one.draw.sampler[field] !== change[field] && token(one, change) !== asked[i])
      expect([name, changed.length >= 5]).toEqual([name, true])
    }
    // Ties: the largest logit is there more than once, and greedy takes the first.
    const tied = cases.filter(({ logits, draw }) => {
      const largest = Math.max(...logits)
      return draw.sampler.temperature === 0 && logits.indexOf(largest) !== logits.lastIndexOf(largest)
    })
    expect(tied.length).toBeGreaterThan(10)
  })
})

describe('engines', () => {
  test('choose gives what the reference draws from its own logits: several rows, sequences and settings, threads, a cut model', async () => {
    const source = tinyPackage(tinyCore('llama'), 5)
    const draws = samplerCases(301, 9)
      .filter((_, i) => i < 21)
      .map(({ draw }) => draw)
    for (const threads of [1, 2]) {
      const reference = await createReferenceEngine(source)
      const engine = await createNodeWasmEngine(source, { threads })
      try {
        for (let at = 0; at < draws.length; at += 3) {
          const rows = [0, 1, 2].flatMap((sequence) => [0, 1].map((i) => ({ sequence, position: (at / 3) * 2 + i, token: (at * 31 + sequence * 7 + i) % 301 })))
          const wanted = rows.map((_, i) => (i % 2 ? draws[at + (i >> 1)] : null))
          expect(await engine.choose!(rows, wanted)).toEqual(await chooseTokens(reference, rows, wanted))
        }
      } finally {
        await engine.close()
      }
    }
    const layers = source.manifest.core.layers
    const first = await createNodeWasmEngine(source, { threads: 1, segment: { from: 0, to: 1 } })
    const second = await createNodeWasmEngine(source, { threads: 1, segment: { from: 1, to: layers } })
    const rows = [0, 1, 2].map((position) => ({ sequence: 0, position, token: 5 + position }))
    const { boundary } = await first.run(rows, ['nothing', 'nothing', 'nothing'])
    const wanted = [null, null, draws[19]]
    expect(await second.choose!(rows, wanted, boundary!)).toEqual(await chooseTokens(await createReferenceEngine(source), rows, wanted))
    await expect(first.choose!(rows, wanted)).rejects.toThrow()
    await first.close()
    await second.close()
  })
})
