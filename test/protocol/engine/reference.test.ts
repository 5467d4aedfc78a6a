import { describe, expect, test } from 'vitest'
import { EngineError, type Row, type StepValues, type Want } from '../../../protocol/engine/engine.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { firstDivergence } from '../../../protocol/engine/trace.ts'
import { architectures } from '../../../protocol/model/manifest.ts'
import { random, tinyCore, tinyPackage } from '../../tiny-package.ts'

const rowsOf = (tokens: number[], sequence = 0, from = 0): Row[] => tokens.map((token, i) => ({ sequence, position: from + i, token }))
const wants = (rows: Row[], want: Want = 'logits'): Want[] => rows.map(() => want)
const tokensOf = (count: number, seed: number, vocab = 301): number[] => {
  const next = random(seed)
  return Array.from({ length: count }, () => next() % vocab)
}

describe.each(architectures)('the reference engine on %s', (architecture) => {
  const source = tinyPackage(tinyCore(architecture), 7)
  const tokens = tokensOf(40, 3)

  test('gives the same logits one by one, in uneven batches and in one batch', async () => {
    const whole = await createReferenceEngine(source)
    const expected = (await whole.run(rowsOf(tokens), wants(rowsOf(tokens)))).logits.map((l) => Array.from(l!))
    for (const size of [1, 7]) {
      const engine = await createReferenceEngine(source)
      for (let at = 0; at < tokens.length; at += size) {
        const rows = rowsOf(tokens.slice(at, at + size), 0, at)
        const { logits } = await engine.run(rows, wants(rows))
        for (const [i, row] of logits.entries()) expect(Array.from(row!)).toEqual(expected[at + i])
      }
    }
    // Not vacuous: the logits differ from token to token and span a range.
    expect(new Set(expected.map((l) => l.join())).size).toBe(tokens.length)
  })

  test('gives the same logits cut into segments at every place', async () => {
    const { layers, hidden } = source.manifest.core
    const whole = await createReferenceEngine(source)
    const rows = rowsOf(tokens)
    const expected = (await whole.run(rows, wants(rows))).logits.map((l) => Array.from(l!))
    for (const cuts of [[1], [layers - 1], Array.from({ length: layers - 1 }, (_, i) => i + 1)]) {
      let boundary: Int32Array | undefined
      let from = 0
      for (const to of [...cuts, layers]) {
        const engine = await createReferenceEngine(source, { segment: { from, to } })
        const result = await engine.run(rows, wants(rows, to === layers ? 'logits' : 'nothing'), boundary)
        if (to === layers) expect(result.logits.map((l) => Array.from(l!))).toEqual(expected)
        else expect(result.boundary!.length).toBe(rows.length * hidden)
        boundary = result.boundary ?? undefined
        from = to
      }
    }
  })

  test('does not care who else is in the batch, and forgets what it is told to', async () => {
    const alone = await createReferenceEngine(source)
    const others = tokensOf(40, 9)
    const expected = (await alone.run(rowsOf(tokens), wants(rowsOf(tokens)))).logits.map((l) => Array.from(l!))
    const engine = await createReferenceEngine(source)
    // A false start that is truncated away again, then both sequences interleaved.
    await engine.run(rowsOf(others.slice(0, 9)), wants(rowsOf(others.slice(0, 9))))
    engine.truncate(0, 3)
    engine.truncate(0, 0)
    const mixed = tokens.flatMap((token, i) => [
      { sequence: 0, position: i, token },
      { sequence: 5, position: i, token: others[i] },
    ])
    const { logits } = await engine.run(mixed, wants(mixed))
    expect(logits.filter((_, i) => i % 2 === 0).map((l) => Array.from(l!))).toEqual(expected)
  })

  test('reports every step of the program once, and a changed weight as the first divergence', async () => {
    const rows = rowsOf(tokens.slice(0, 5))
    const run = async (from: typeof source): Promise<StepValues[]> => {
      const steps: StepValues[] = []
      await (await createReferenceEngine(from)).run(rows, wants(rows), undefined, (s) => steps.push({ label: s.label, values: Array.from(s.values) }))
      return steps
    }
    const steps = await run(source)
    expect(new Set(steps.map((s) => s.label)).size).toBe(steps.length)
    expect(firstDivergence(steps, await run(source))).toBeNull()
    const changed = tinyPackage(tinyCore(architecture), 7)
    const up = changed.manifest.tensors.find((t) => t.name === 'layers.1.w_up')!
    const read = changed.readShard
    changed.readShard = async (index, into) => {
      await read(index, into)
      if (index === up.shard) into[up.offset] ^= 1
    }
    expect(firstDivergence(steps, await run(changed))!.label).toBe('1.w_up')
  })

  test('runs a sane model through bytes of any kind without leaving the i32 range', async () => {
    const wild = await createReferenceEngine(tinyPackage(tinyCore(architecture), 11, undefined, true))
    const rows = rowsOf(tokens.slice(0, 8))
    await wild.run(rows, wants(rows), undefined, ({ label, values }) => {
      for (const v of Array.from(values)) if (!(Number.isInteger(v) && Math.abs(v) <= 2147483647)) throw new Error(`${label} holds ${v}`)
    })
  })
})

describe('a bad call', () => {
  const source = tinyPackage(tinyCore('llama'))
  test.each([
    ['a position out of order', rowsOf([1, 2], 0, 4), /continues at position 0/],
    ['a token outside the vocabulary', rowsOf([301]), /outside the vocabulary of 301/],
    ['an empty batch', [], /1 to 256 rows/],
  ])('%s is refused in one sentence and changes nothing', async (_, rows, message) => {
    const engine = await createReferenceEngine(source)
    await expect(engine.run(rows, wants(rows))).rejects.toThrow(message)
    await expect(engine.run(rows, wants(rows))).rejects.toBeInstanceOf(EngineError)
    await engine.run(rowsOf([1, 2, 3]), ['nothing', 'nothing', 'logits'])
  })
  test('a segment outside the model is refused', async () => {
    await expect(createReferenceEngine(source, { segment: { from: 2, to: 9 } })).rejects.toThrow(/not inside the model's 3 layers/)
  })
  test('more cached positions than allowed are refused', async () => {
    const engine = await createReferenceEngine(source, { kvTokensMax: 4 })
    await expect(engine.run(rowsOf([1, 2, 3, 4, 5]), wants(rowsOf([1, 2, 3, 4, 5])))).rejects.toThrow(/limit of 4/)
  })
})
