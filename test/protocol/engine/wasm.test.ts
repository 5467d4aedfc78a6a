// The WASM engine against the reference, step by step, on tiny models of every architecture; then what only it does: threads, pages, segments, limits.
import { beforeAll, describe, expect, test } from 'vitest'
import type { Row, SegmentEngine, StepValues, Want } from '../../../protocol/engine/engine.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { firstDivergence } from '../../../protocol/engine/trace.ts'
import { cutsOf, Ways } from '../../../protocol/engine/wasm/apart.ts'
import { createWasmEngine, type WasmEngine } from '../../../protocol/engine/wasm/engine.ts'
import { architectures, type ModelSource, type TensorFormat } from '../../../protocol/model/manifest.ts'
import { createNodeWasmEngine, nodeWasmHost } from '../../../relay/wasm-thread.ts'
import { tinyCore, tinyPackage } from '../../tiny-package.ts'
import { ensureWasm } from '../../wasm-build.ts'

beforeAll(ensureWasm)

const rowsOf = (sequence: number, from: number, count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ sequence, position: from + i, token: ((from + i) * 37 + sequence * 11) % 301 }))
const wantsOf = (rows: Row[], last = 1): Want[] => rows.map((_, i) => (i >= rows.length - last ? 'logits' : 'nothing'))

async function traced(engine: SegmentEngine, rows: Row[], wants: Want[]): Promise<StepValues[]> {
  const steps: StepValues[] = []
  await engine.run(rows, wants, undefined, (step) => steps.push(step))
  return steps
}

const logitsOf = async (engine: SegmentEngine, rows: Row[], wants: Want[]): Promise<number[][]> =>
  (await engine.run(rows, wants)).logits.flatMap((l) => (l ? [Array.from(l)] : []))

async function withEngine<T>(source: ModelSource, options: Parameters<typeof createNodeWasmEngine>[1], use: (engine: WasmEngine) => Promise<T>): Promise<T> {
  const engine = await createNodeWasmEngine(source, options)
  try {
    return await use(engine)
  } finally {
    await engine.close()
  }
}

describe('every step equals the reference', () => {
  for (const architecture of architectures) {
    for (const wild of [false, true]) {
      for (const [threads, single] of [
        [1, true],
        [3, false],
      ] as const) {
        test(`${architecture}${wild ? ', wild weights' : ''}, ${threads} thread${single ? ' without shared memory' : 's'}`, async () => {
          const source = tinyPackage(tinyCore(architecture), 7, undefined, wild)
          const reference = await createReferenceEngine(source)
          await withEngine(source, { threads, single }, async (engine) => {
            expect(engine.threads).toBe(threads)
            const batches: [Row[], number][] = [
              [[...rowsOf(1, 0, 5), ...rowsOf(2, 0, 3)], 2],
              [rowsOf(1, 5, 1), 1],
              // Across a page border and, in gemma3, beyond the window.
              [rowsOf(1, 6, 70), 0],
              [[...rowsOf(1, 76, 1), ...rowsOf(2, 3, 1), ...rowsOf(3, 0, 1)], 3],
            ]
            for (const [rows, last] of batches) {
              const expected = await traced(reference, rows, wantsOf(rows, last))
              const actual = await traced(engine, rows, wantsOf(rows, last))
              expect(firstDivergence(expected, actual)).toBeNull()
              // Not vacuous: the trace is long and its values vary.
              expect(expected.length).toBeGreaterThan(50)
              // Wild weights saturate and round away much of what follows them, so there the whole trace counts.
              expect(new Set((wild ? expected : expected.slice(-1)).flatMap((step) => Array.from(step.values))).size).toBeGreaterThan(wild ? 200 : 100)
            }
          })
        })
      }
    }
  }

  test('other formats: all w8, all g8, all w4, heads of 64 and 128', async () => {
    for (const [format, headDim] of [
      ['w8', 64],
      ['g8', 128],
      ['w4', 64],
    ] as [TensorFormat, number][]) {
      const source = tinyPackage(tinyCore('qwen3', { headDim, layers: 2 }), 9, () => format)
      const reference = await createReferenceEngine(source)
      await withEngine(source, { threads: 2 }, async (engine) => {
        for (const rows of [rowsOf(1, 0, 9), rowsOf(1, 9, 1)]) {
          expect(firstDivergence(await traced(reference, rows, wantsOf(rows)), await traced(engine, rows, wantsOf(rows)))).toBeNull()
        }
      })
    }
  })
})

describe('grouped phases and threads change nothing', () => {
  test('logits with 1, 2, 3, 4 threads, one by one and batched, equal those of the traced run', async () => {
    for (const architecture of architectures) {
      const source = tinyPackage(tinyCore(architecture), 3)
      const rows = rowsOf(1, 0, 90)
      const reference = await createReferenceEngine(source)
      await reference.run(rows.slice(0, 89), wantsOf(rows.slice(0, 89), 0))
      const expected = await logitsOf(reference, rows.slice(89), ['logits'])
      for (const [threads, single] of [
        [1, true],
        [1, false],
        [2, false],
        [3, false],
        [4, false],
      ] as const) {
        await withEngine(source, { threads, single }, async (engine) => {
          for (const size of [90, 31, 10, 1]) {
            let last: number[][] = []
            for (let from = 0; from < 90; from += size) {
              const batch = rows.slice(from, from + size)
              last = await logitsOf(engine, batch, wantsOf(batch, from + size >= 90 ? 1 : 0))
            }
            expect(last).toEqual(expected)
            expect(engine.argmax(Math.min(size, 90 % size || size) - 1)).toBe(expected[0].indexOf(Math.max(...expected[0])))
            engine.truncate(1, 0)
          }
        })
      }
    }
  })

  test('many short runs with two threads, some wanting logits and some not, never differ', async () => {
    const source = tinyPackage(tinyCore('llama'), 5)
    const all: string[] = []
    for (const threads of [1, 2]) {
      await withEngine(source, { threads }, async (engine) => {
        const sums: number[] = []
        for (let i = 0; i < 250; i++) {
          const rows = i % 3 === 0 ? [...rowsOf(1, i, 1), ...rowsOf(2, i, 1)] : [...rowsOf(2, i, 1), ...rowsOf(1, i, 1)]
          const result = await logitsOf(engine, rows, wantsOf(rows, i % 2))
          sums.push(...result.map((l) => l.reduce((a, b) => (Math.imul(a, 31) + b) | 0, 7)))
        }
        all.push(sums.join())
      })
    }
    expect(all[0]).toBe(all[1])
  })

  test('cut in segments anywhere the bytes are the same, through and beyond the boundary', async () => {
    const source = tinyPackage(tinyCore('gemma3'), 4)
    const rows = rowsOf(1, 0, 40)
    const whole = await withEngine(source, { threads: 2 }, (engine) => logitsOf(engine, rows, wantsOf(rows)))
    for (const cuts of [[3], [2, 5], [1, 2, 3, 4, 5, 6], [0], [7]]) {
      const edges = [0, ...cuts, 7]
      let boundary: Int32Array | undefined
      for (let i = 0; i + 1 < edges.length; i++) {
        const segment = { from: edges[i], to: edges[i + 1] }
        await withEngine(source, { threads: 2, segment }, async (engine) => {
          const tail = segment.to === 7
          const result = await engine.run(rows, tail ? wantsOf(rows) : wantsOf(rows, 0), boundary)
          if (tail) expect([Array.from(result.logits[39]!)]).toEqual(whole)
          expect(result.boundary === null).toBe(tail)
          boundary = result.boundary ?? undefined
        })
        if (segment.to === 7) break
      }
    }
  })
})

describe('threads that take sequences apart', () => {
  /** One row, or several, of each of `counts.length` sequences. */
  const batchOf = (counts: number[], from: number): Row[] => counts.flatMap((count, sequence) => rowsOf(sequence, from, count))

  test('rows are cut between sequences, evenly, or not at all', () => {
    const cuts = (rows: Row[], threads: number) => cutsOf(rows, rows.length, threads)
    expect(cuts(batchOf([1, 1, 1, 1, 1, 1, 1, 1], 0), 2)).toEqual([0, 4, 8])
    expect(cuts(batchOf([1, 1, 1, 1, 1], 0), 2)).toEqual([0, 2, 5])
    expect(cuts(batchOf([3, 1, 1, 3], 0), 2)).toEqual([0, 4, 8])
    expect(cuts(batchOf([4, 1, 2], 0), 2)).toEqual([0, 4, 7])
    expect(cuts(batchOf([1, 1, 1, 1, 1, 1, 1, 1, 1], 0), 3)).toEqual([0, 3, 6, 9])
    expect(cuts(batchOf(Array(16).fill(1), 0), 2)).toEqual([0, 8, 16])
    // One thread; fewer rows for each than threads; a prefill; one sequence; a long one; sequences that come twice.
    expect(cuts(batchOf([1, 1, 1, 1], 0), 1)).toBeNull()
    expect(cuts(batchOf([1, 1, 1], 0), 2)).toBeNull()
    expect(cuts(batchOf([1, 1, 1, 1, 1, 1, 1, 1], 0), 3)).toBeNull()
    expect(cuts(batchOf(Array(17).fill(1), 0), 2)).toBeNull()
    expect(cuts(batchOf([8], 0), 2)).toBeNull()
    expect(cuts(batchOf([6, 1, 1], 0), 2)).toBeNull()
    expect(cuts([...batchOf([1, 1, 1, 1], 0), ...batchOf([1, 1, 1, 1], 1)], 2)).toBeNull()
    // None wants logits, or some.
    expect(cutsOf(batchOf([1, 1, 1, 1], 0), 0, 2)).toEqual([0, 2, 4])
    expect(cutsOf(batchOf([1, 1, 1, 1], 0), 3, 2)).toBeNull()
  })

  test('the faster way is taken once both were tried, and the other one again from time to time', () => {
    for (const [apartMs, togetherMs] of [
      [25, 30],
      [75, 40],
    ]) {
      const ways = new Ways()
      const taken: boolean[] = []
      for (let i = 0; i < 200; i++) {
        const apart = ways.apart(8)
        taken.push(apart)
        // The first run of each compiles.
        ways.took(8, apart, (apart ? apartMs : togetherMs) * (i < 5 ? 20 - i : 1))
      }
      expect(taken.slice(0, 8)).toEqual([true, false, true, false, true, false, true, false])
      expect(taken.slice(8).filter((apart) => apart !== apartMs < togetherMs)).toHaveLength(3)
      // Of other batches nothing is known yet.
      expect(ways.apart(7)).toBe(true)
    }
    // What was faster becomes slower.
    const ways = new Ways()
    for (let i = 0; i < 300; i++) {
      const apart = ways.apart(8)
      ways.took(8, apart, apart ? (i < 100 ? 20 : 50) : 30)
    }
    expect(ways.apart(8)).toBe(false)
  })

  test('every sequence gets what it gets alone, in every architecture, whoever wants logits', async () => {
    for (const architecture of architectures) {
      const source = tinyPackage(tinyCore(architecture), 8)
      // Each row's logits, whichever batch it came in.
      const alone = new Map<string, number[]>()
      const count = 66
      await withEngine(source, { threads: 1 }, async (engine) => {
        for (let sequence = 0; sequence < 9; sequence++) {
          const rows = rowsOf(sequence, 0, count)
          for (const [i, logits] of (await logitsOf(engine, rows, wantsOf(rows, count))).entries()) alone.set(`${sequence} ${i}`, logits)
          engine.truncate(sequence, 0)
        }
      })
      for (const threads of [2, 3]) {
        // With a clock that stands still apart is never slower, so that it is taken wherever it can be.
        const engine = await createWasmEngine(source, { host: { ...(await nodeWasmHost(threads)), now: () => 0 } })
        try {
          let apart = 0
          const at = Array(9).fill(0)
          // Beyond a page of the cache, in batches of four to twelve rows, of one or two of a sequence.
          for (let round = 0; at.every((position) => position + 2 <= count); round++) {
            const sequences = at.map((_, i) => i).slice(0, 4 + (round % 6))
            const rows = sequences.flatMap((sequence) => rowsOf(sequence, at[sequence], round % 5 === 0 && sequence < 3 ? 2 : 1))
            const wants = rows.map((_, i): Want => (round % 4 === 3 && (i * 7 + round) % 3 === 0 ? 'nothing' : 'logits'))
            if (cutsOf(rows, wants.filter((want) => want === 'logits').length, threads)) apart++
            const { logits } = await engine.run(rows, wants)
            for (const [i, row] of rows.entries()) {
              at[row.sequence] = row.position + 1
              if (wants[i] === 'logits' && (round % 4 > 1 || row.position > 60))
                expect(Array.from(logits[i]!)).toEqual(alone.get(`${row.sequence} ${row.position}`))
            }
          }
          // Not vacuous.
          expect(apart).toBeGreaterThan(threads === 2 ? 40 : 5)
        } finally {
          await engine.close()
        }
      }
    }
  })

  test('a segment in the middle hands on the same boundary', async () => {
    const source = tinyPackage(tinyCore('gemma3'), 4)
    const rows = batchOf([1, 1, 1, 1, 1, 1, 1, 1], 0)
    const run = (threads: number) =>
      withEngine(source, { threads, segment: { from: 2, to: 5 } }, async (engine) => {
        const { hidden } = source.manifest.core
        const entering = Int32Array.from({ length: rows.length * hidden }, (_, i) => ((i * 7919) % 200_000) - 100_000)
        return (await engine.run(rows, wantsOf(rows, 0), entering)).boundary
      })
    expect(await run(2)).toEqual(await run(1))
  })
})

describe('pages and limits', () => {
  const source = tinyPackage(tinyCore('llama'), 6)

  test('truncating and going on gives the same as never having gone wrong, and frees pages', async () => {
    await withEngine(source, { threads: 1 }, async (engine) => {
      await engine.run(rowsOf(1, 0, 100), wantsOf(rowsOf(1, 0, 100), 0))
      const expected = await logitsOf(engine, rowsOf(1, 100, 1), ['logits'])
      const before = engine.memoryBytes().other
      for (let i = 0; i < 20; i++) {
        engine.truncate(1, 70)
        engine.truncate(2, 0)
        await engine.run(rowsOf(2, 0, 128), wantsOf(rowsOf(2, 0, 128), 0))
        await engine.run(rowsOf(1, 70, 30), wantsOf(rowsOf(1, 70, 30), 0))
        expect(await logitsOf(engine, rowsOf(1, 100, 1), ['logits'])).toEqual(expected)
      }
      expect(engine.memoryBytes().other - before).toBeLessThanOrEqual(4 << 20)
    })
  })

  test('a batch of several sequences gives each what it gets alone', async () => {
    await withEngine(source, { threads: 2 }, async (engine) => {
      const alone = []
      for (const id of [1, 2, 3]) alone.push(...(await logitsOf(engine, rowsOf(id, 0, 20), wantsOf(rowsOf(id, 0, 20)))))
      for (const id of [1, 2, 3]) engine.truncate(id, 0)
      const mixed = Array.from({ length: 20 }, (_, i) => [1, 2, 3].map((id) => rowsOf(id, i, 1)[0])).flat()
      expect(await logitsOf(engine, mixed, wantsOf(mixed, 3))).toEqual(alone)
    })
  })

  test('bad calls are named and change nothing', async () => {
    await withEngine(source, { threads: 1, kvTokensMax: 130 }, async (engine) => {
      await engine.run(rowsOf(1, 0, 100), wantsOf(rowsOf(1, 0, 100), 0))
      await expect(engine.run(rowsOf(1, 101, 1), ['nothing'])).rejects.toThrow('sequence 1 continues at position 100, not 101')
      await expect(engine.run([{ sequence: 1, position: 100, token: 301 }], ['nothing'])).rejects.toThrow('token 301 is outside the vocabulary of 301')
      await expect(engine.run(rowsOf(2, 0, 31), wantsOf(rowsOf(2, 0, 31), 0))).rejects.toMatchObject({
        kind: 'memory',
        message: '131 cached positions exceed the limit of 130',
      })
      expect(() => engine.argmax(0)).toThrow('row 0 of the last run has no logits')
      await engine.run(rowsOf(1, 100, 30), wantsOf(rowsOf(1, 100, 30), 0))
      await engine.close()
      await expect(engine.run(rowsOf(1, 130, 1), ['nothing'])).rejects.toThrow('the engine is closed')
    })
  })

  test('loading reports bytes and stops when told to', async () => {
    const seen: number[] = []
    await withEngine(source, { threads: 1, onProgress: (loaded, total) => seen.push(loaded / total) }, async () => {})
    expect(seen.at(-1)).toBe(1)
    const stop = new AbortController()
    const loading = createNodeWasmEngine(source, { threads: 1, signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) })
    await expect(loading).rejects.toThrow('enough')
  })

  test('a model beyond 4 GiB and a wrong segment are refused in one sentence', async () => {
    const { manifest } = source
    const huge = { ...source, manifest: { ...manifest, shards: manifest.shards.map((s) => ({ ...s, bytes: 2 ** 31 })) } }
    await expect(createNodeWasmEngine(huge, { threads: 1 })).rejects.toMatchObject({
      kind: 'memory',
      message: expect.stringMatching(/needs \d+ MB of memory, more than the limit of 4295 MB/),
    })
    await expect(createNodeWasmEngine(source, { threads: 1, segment: { from: 2, to: 9 } })).rejects.toThrow('segment 2..9')
  })

  test('when a helper thread cannot start the caller works alone', async () => {
    const host = await nodeWasmHost(2)
    const spawn = () => ({ postMessage: () => {}, ready: Promise.reject(new Error('no more threads')), terminate: () => {} })
    const engine = await createWasmEngine(source, { host: { ...host, spawn } })
    expect(engine.threads).toBe(1)
    expect(engine.description).toContain('no more threads')
    expect((await logitsOf(engine, rowsOf(1, 0, 1), ['logits']))[0]).toHaveLength(301)
    await engine.close()
  })
})
