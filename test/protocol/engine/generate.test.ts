import { describe, expect, test } from 'vitest'
import { inputHash, noiseKey, outputHash } from '../../../protocol/engine/answer.ts'
import { type Progress, type Request, Session } from '../../../protocol/engine/generate.ts'
import { evaluate } from '../../../protocol/engine/loss.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { greedy, samplerOf } from '../../../protocol/engine/sampler.ts'
import { tinyCore, tinyPackage } from '../../tiny-package.ts'

const source = tinyPackage(tinyCore('llama'), 5)
const ask = (change: Partial<Request> = {}): Request => ({
  prompt: [5, 9, 200, 31, 7, 44, 120],
  sampler: greedy,
  key: noiseKey(1),
  maxTokens: 20,
  stopIds: [],
  ...change,
})
const collect = async (session: Session, request: Request): Promise<{ tokens: number[]; stop: string; prefilled: number }> => {
  const all: Progress[] = []
  for await (const p of session.generate(request)) all.push(p)
  const tokens = all.flatMap((p) => (p.kind === 'token' ? [p.token] : []))
  const stop = all.flatMap((p) => (p.kind === 'stop' ? [p.stop] : []))[0]
  return { tokens, stop, prefilled: all.flatMap((p) => (p.kind === 'prefill' ? [p.total] : [0]))[0] }
}

describe('a session', () => {
  test('gives the same answer for any prefill batch, and re-uses the common prefix of the next prompt', async () => {
    const sampler = samplerOf({ temperature: 1.2, topK: 50, topP: 0.95, minP: 0.01, repeatPenalty: 1.1 })
    const session = new Session(await createReferenceEngine(source))
    const first = await collect(session, ask({ sampler }))
    expect(first.stop).toBe('length')
    expect(new Set(first.tokens).size).toBeGreaterThan(10)
    for (const batch of [1, 3]) {
      session.forget()
      expect((await collect(session, ask({ sampler, batch }))).tokens).toEqual(first.tokens)
    }
    const next = ask({ sampler, prompt: [...ask().prompt, ...first.tokens, 77] })
    const continued = await collect(session, next)
    expect(continued.prefilled).toBeLessThan(4)
    const fresh = new Session(await createReferenceEngine(source))
    expect((await collect(fresh, next)).tokens).toEqual(continued.tokens)
  })

  test('another seed gives another answer, the same seed the same', async () => {
    const sampler = samplerOf({ temperature: 1, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 })
    const session = new Session(await createReferenceEngine(source))
    const one = (await collect(session, ask({ sampler, key: noiseKey(1) }))).tokens
    expect((await collect(session, ask({ sampler, key: noiseKey(2) }))).tokens).not.toEqual(one)
    expect((await collect(session, ask({ sampler, key: noiseKey(1) }))).tokens).toEqual(one)
  })

  test('stops at a stop token, at the limit and at the end of the context, and says which', async () => {
    const session = new Session(await createReferenceEngine(source))
    const { tokens } = await collect(session, ask())
    const stopped = await collect(session, ask({ stopIds: [tokens[4]] }))
    expect(stopped).toMatchObject({ stop: 'eos', tokens: tokens.slice(0, tokens.indexOf(tokens[4]) + 1) })
    const small = tinyPackage(tinyCore('llama', { context: 10 }), 5)
    expect(await collect(new Session(await createReferenceEngine(small)), ask())).toMatchObject({ stop: 'context' })
  })

  test('refuses an empty prompt and one longer than the context, and survives a cancel', async () => {
    const session = new Session(await createReferenceEngine(source))
    await expect(collect(session, ask({ prompt: [] }))).rejects.toThrow(/holds no tokens/)
    await expect(collect(session, ask({ prompt: Array.from({ length: 512 }, () => 1) }))).rejects.toThrow(/512 tokens, the model's context holds 512/)
    const controller = new AbortController()
    const expected = (await collect(session, ask())).tokens
    session.forget()
    await expect(
      (async () => {
        for await (const p of session.generate(ask(), controller.signal)) if (p.kind === 'token') controller.abort(new Error('enough'))
      })(),
    ).rejects.toThrow('enough')
    expect((await collect(session, ask())).tokens).toEqual(expected)
  })
})

test('hashes of questions and answers change with every field', () => {
  const q = { modelId: '11'.repeat(32), sampler: greedy, seed: 7, maxTokens: 5, stopIds: [2], prompt: [1, 2, 3] }
  const others = [
    { modelId: '12'.repeat(32) },
    { sampler: { ...greedy, topK: 1 } },
    { seed: 8 },
    { maxTokens: 6 },
    { stopIds: [] },
    { prompt: [1, 2] },
    { stopIds: [2, 1], prompt: [2, 3] },
  ]
  const hashes = [q, ...others.map((o) => ({ ...q, ...o }))].map((x) => inputHash(x).join())
  expect(new Set(hashes).size).toBe(hashes.length)
  const input = inputHash(q)
  expect(
    new Set([outputHash(input, [1], 'eos'), outputHash(input, [2], 'eos'), outputHash(input, [1], 'length'), outputHash(input, [], 'eos')].map(String)).size,
  ).toBe(4)
})

test('the loss of a text counts every token of a window but the first, and more context than the model has is refused', async () => {
  const engine = await createReferenceEngine(source)
  const ids = Array.from({ length: 70 }, (_, i) => (i * 31) % 301)
  const losses: { tokens: number; lossFixed: number }[] = []
  for await (const loss of evaluate(engine, ids, 32, null)) losses.push(loss)
  expect(losses.map((l) => l.tokens)).toEqual([31, 62])
  // About uniform over 301 tokens for random weights: a sane magnitude, not an accident.
  expect(losses[1].lossFixed / 2 ** 24 / 62).toBeGreaterThan(3)
  expect(losses[1].lossFixed / 2 ** 24 / 62).toBeLessThan(12)
  for await (const loss of evaluate(engine, ids.slice(0, 32), 32, 0)) expect(loss.tokens).toBe(31)
  await expect(evaluate(engine, ids, 600, null).next()).rejects.toThrow(/does not fit/)
  await expect(evaluate(engine, [1], 32, null).next()).rejects.toThrow(/fewer than one window/)
})
