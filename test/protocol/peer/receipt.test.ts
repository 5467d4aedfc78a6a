import { describe, expect, test } from 'vitest'
import { samplerOf } from '../../../protocol/engine/sampler.ts'
import { random } from '../../../protocol/engine/specimen.ts'
import { sha256 } from '../../../protocol/hash.ts'
import { blame, edgesOf, parseReceipt, recompute, type Verdict } from '../../../protocol/peer/blame.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/peer/messages.ts'
import { type AnswerReceipt, signStatement, termsOf } from '../../../protocol/peer/receipt.ts'
import { ToyEngine } from '../../sim/toy.ts'
import { alone, ask, facts, mesh, question, start, toyOf } from './mesh.ts'

const thirds: [number, number][] = [
  [0, 2],
  [2, 4],
  [4, 6],
]
const short = question({ maxTokens: 12 })
const truth = await alone(short)

async function check(receipt: AnswerReceipt): Promise<Verdict> {
  const edges = edgesOf(receipt, facts.layers)
  const engines = edges.slice(1).map((to, i) => new ToyEngine(facts, { from: edges[i], to }))
  return blame(parseReceipt(JSON.parse(JSON.stringify(receipt))), await recompute(receipt, engines), facts.layers)
}

describe('a receipt', () => {
  test('of honest hosts is found right, for one host, for three, with and without guesses', async () => {
    for (const ranges of [[[0, 6]], thirds] as [number, number][][])
      for (const draft of [true, false]) {
        const got = ask(mesh(ranges), question(), { draft })
        expect(got.receipt!.hosts.length).toBe(ranges.length)
        expect(await check(got.receipt!)).toMatchObject({ equal: true, firstDifference: null, named: [], faults: [] })
      }
  })

  test('is whole and right also after a host was replaced', async () => {
    const m = mesh([...thirds, ...thirds])
    let frames = 0
    m.world.onFrame = (_, to) => {
      if (++frames === 60 && to !== m.asker) m.world.kill(to)
      return true
    }
    const got = ask(m)
    expect(got.repairs).toBe(1)
    expect(await check(got.receipt!)).toMatchObject({ equal: true, named: [] })
  })

  test('names the host that altered one bit of what it passed on, and nobody else, hundreds of times', async () => {
    const next = random(99)
    const times = process.env.MEADOW_LONG ? 1000 : 200
    for (let i = 0; i < times; i++) {
      const place = next() % 2
      const m = mesh(thirds)
      const liar = m.hosts[place]
      const position = next() % (short.prompt.length + 2)
      toyOf(liar).corruptAt = position
      const got = ask(m, short, { draft: i % 2 === 0 })
      const verdict = await check(got.receipt!)
      expect({ i, named: verdict.named, equal: verdict.equal }).toEqual({ i, named: [liar.key], equal: false })
    }
  })

  test('names the last host when it says another token than the model', async () => {
    for (let i = 0; i < 12; i++) {
      const m = mesh(thirds)
      const liar = m.hosts[2]
      const engine = toyOf(liar)
      const honest = engine.compute.bind(engine)
      engine.compute = (rows, wants, boundary) => {
        const result = honest(rows, wants, boundary)
        for (const [r, row] of rows.entries()) if (row.position === short.prompt.length - 1 + i) result.logits[r]?.fill(1 << 24, 60, 61)
        return result
      }
      const got = ask(m, short, { draft: false })
      expect(got.tokens[i]).toBe(60)
      const verdict = await check(got.receipt!)
      expect(verdict).toMatchObject({ named: [liar.key], firstDifference: { index: i, token: 60, expected: truth.tokens[i] } })
    }
  })

  test('does not stand when anything in it is changed', async () => {
    const { receipt } = ask(mesh(thirds), { ...short, sampler: samplerOf({ temperature: 1.3, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 }) })
    expect(await check(receipt!)).toMatchObject({ equal: true, named: [] })
    const changes: ((r: AnswerReceipt) => void)[] = [
      (r) => (r.tokens[3] ^= 1),
      (r) => r.tokens.pop(),
      (r) => (r.question.prompt[0] ^= 1),
      (r) => (r.question.seed = 2),
      (r) => (r.question.sampler.temperature += 1000),
      (r) => (r.question.maxTokens += 1),
      (r) => (r.stop = 'eos'),
      (r) => r.hosts.pop(),
      (r) => r.hosts.shift(),
      (r) => (r.hosts[1].outChain = r.hosts[1].inChain),
      (r) => (r.hosts[1].peer = r.hosts[0].peer),
      (r) => (r.hosts[2].count -= 1),
      (r) => (r.session = '00'.repeat(16)),
    ]
    for (const change of changes) {
      const altered = structuredClone(receipt!)
      change(altered)
      const verdict = await check(altered)
      expect({ change: String(change), equal: verdict.equal, named: verdict.named }).toEqual({ change: String(change), equal: false, named: [] })
    }
  })
})

test('a host that signs one thing to its successor and another to the requester is named', async () => {
  const m = mesh(thirds)
  const { got } = start(m, short)
  m.world.run(60_000, () => got.receipt !== null)
  const receipt = structuredClone(got.receipt!)
  const liar = m.world.nodes.get(receipt.hosts[1].peer)!
  const secret = sha256(new TextEncoder().encode(`secret ${liar.name}`))
  const { link: _, signature: __, ...own } = receipt.hosts[1]
  receipt.hosts[2].link = signStatement(secret, receipt.session, termsOf(receipt.question), { ...own, outChain: '00'.repeat(32) })
  expect((await check(receipt)).named).toEqual([liar.key])
  // Told for other rows, it shows nothing.
  receipt.hosts[2].link = signStatement(secret, receipt.session, termsOf(receipt.question), { ...own, inChain: '11'.repeat(32), outChain: '00'.repeat(32) })
  expect(await check(receipt)).toMatchObject({ named: [], equal: false })
})

test('a bit that flips on the way is noticed by the receiver, and the answer is right all the same', async () => {
  const next = random(5)
  for (let i = 0; i < 40; i++) {
    const m = mesh([...thirds, ...thirds], { seed: i + 1 })
    let rows = 0
    let flipped = 0
    for (const host of m.hosts)
      host.bend = (action) => {
        if (action.kind !== 'send') return [action]
        const message = decodeMessage(action.bytes)
        if (message.kind !== 'rows' || !message.boundary || rows++ !== i % 10) return [action]
        flipped++
        message.boundary[next() % message.boundary.length] ^= 1 << (next() % 31)
        return [{ ...action, bytes: encodeMessage(message) }]
      }
    const got = ask(m, short)
    expect({ i, flipped, tokens: got.tokens }).toEqual({ i, flipped: 1, tokens: truth.tokens })
    expect(got.repairs).toBeGreaterThan(0)
    expect(await check(got.receipt!)).toMatchObject({ equal: true, named: [] })
  }
})
