// Jobs about some layers, and jobs whose tokens are not open: answered, run again, challenged.
import { afterEach, expect, test, vi } from 'vitest'
import { bodyOfMove } from '../../../ledger/dispute-play.ts'
import { keyOf } from '../../../ledger/records.ts'
import { privacyClasses, role } from '../../../ledger/transaction.ts'
import { noiseKeyOf } from '../../../protocol/engine/answer.ts'
import { greedy } from '../../../protocol/engine/sampler.ts'
import { hex } from '../../../protocol/hash.ts'
import { createJob, type JobQuestion } from '../../../relay/ledger/jobs.ts'
import { decodeTokens, type PinContext, type PinnedTokens } from '../../../relay/ledger/pins.ts'
import { decodeRows, encodeRows } from '../../../relay/ledger/rows.ts'
import type { Mind } from '../../../relay/watch/mind.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { answer } from '../../ledger/dispute/tiny.ts'
import { credit, person } from '../../ledger/world.ts'
import { type Player, Stage } from './stage.ts'

vi.setConfig({ testTimeout: 300_000 })

let stage: Stage
afterEach(() => stage?.close())

const prompt = [3, 14, 15, 9]

async function open(parameters = {}): Promise<void> {
  stage = await Stage.open(parameters, undefined, 1, 3)
  await stage.stake('bob')
  await stage.block()
}

const ask = (change: Partial<JobQuestion>): ReturnType<typeof createJob> =>
  createJob(stage.client(), person('ann').secret, {
    model: stage.modelId,
    tokens: prompt,
    maxTokens: 1,
    stopIds: [],
    fee: credit / 10n,
    deadlineMs: stage.nowMs + 3_600_000,
    ...change,
  })

async function claimed(job: Uint8Array): Promise<Uint8Array> {
  await stage.until(() => stage.claimOf(job) !== null, 'the answer')
  return stage.claimOf(job)!
}

/** What the claim of a job about rows shows. */
async function rowsOfClaim(claim: Uint8Array): Promise<Int32Array[]> {
  const { outRoot } = stage.node.get(keyOf.claim(claim))!
  const name = `rows/${hex(outRoot)}`
  await stage.until(() => stage.pins.get(name) !== null, 'the rows')
  return decodeRows(stage.pins.get(name)!, stage.model.manifest.core.hidden)
}

const verdictOf = ({ notices }: Player, claim: Uint8Array): unknown => notices.find(({ type, claim: of }) => type === 'checked' && of === hex(claim))?.verdict

/** Alters what leaves a segment in one place. */
const altering = (honest: Mind): Mind => ({
  answer: (question, signal) => honest.answer(question, signal),
  witness: (one, signal) => honest.witness(one, signal),
  evaluate: async (question, signal) => {
    const { rows, token } = await honest.evaluate(question, signal)
    rows![40] ^= 1 << 9
    return { rows, token }
  },
})

test('a prompt goes through three jobs of one layer each, all found right by a watcher, and out comes the token that the whole model chooses', async () => {
  await open()
  stage.play('bob', { solve: { feeMin: 0n } })
  const watcher = stage.play('dan', { share: 1 })
  let rows: Int32Array[] | null = null
  let last: Uint8Array = new Uint8Array()
  let seed: Uint8Array = last
  let job: Uint8Array = last
  for (let layer = 0; layer < 3; layer++) {
    const created = await ask({ segment: { from: layer, to: layer + 1, rows }, ...(rows ? { tokens: rows.map(() => 0) } : {}) })
    ;({ job } = created)
    seed = created.body.seed
    last = await claimed(job)
    if (layer < 2) rows = await rowsOfClaim(last)
    await stage.until(() => verdictOf(watcher, last) !== undefined, 'the check')
    expect(verdictOf(watcher, last)).toBe('right')
  }
  const shown = decodeTokens((await new ChainView(stage.client()).pinned(`tokens/${hex(stage.node.get(keyOf.claim(last))!.outRoot)}`))!)
  const right = await answer(stage.model, { prompt, sampler: greedy, noise: noiseKeyOf(job, seed), maxTokens: 1, stopIds: [] })
  expect(shown.tokens).toEqual(right.tokens)
  expect(stage.account('dan').balance).toBe(10_000_000_000n)
})

test('rows that the layers do not give are challenged, and the claim falls', async () => {
  await open()
  stage.play('bob', { solve: { feeMin: 0n }, mind: altering(stage.mind) })
  const watcher = stage.play('dan', { share: 1 })
  const hidden = stage.model.manifest.core.hidden
  const rows = Array.from({ length: 4 }, (_, p) => Int32Array.from({ length: hidden }, (_, i) => ((p * 37 + i * 11) % 200) * 50 - 4000))
  const { job, body } = await ask({ tokens: [0, 0, 0, 0], segment: { from: 1, to: 2, rows } })
  // The relay keeps the rows of the boundary, and no others under its name.
  const boundary = hex(body.segment!.boundary)
  const put = (bytes: Uint8Array, context: PinContext) => new ChainView(stage.client()).pin(`rows/${boundary}`, bytes, context)
  await expect(put(encodeRows(new Int32Array(4 * hidden)), { job: hex(job) })).rejects.toThrow('not the rows of the root')
  await expect(put(new Uint8Array(7), { job: hex(job) })).rejects.toThrow('are no rows')
  await expect(put(new Uint8Array(4 * hidden), { receipt: `${hex(job)}/0` })).rejects.toThrow('belong to a segment job')
  const claim = await claimed(job)
  // No token was claimed, so none can be demanded: who computed rightly could not show any.
  const demand = bodyOfMove({ claimId: claim, host: 0 }, { kind: 'demand' }, false)
  await expect(stage.client().submit(person('eve').secret, demand)).rejects.toThrow('about rows')
  await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(claim)!.verdict).toBe('fallen')
  expect(verdictOf(watcher, claim)).toBe('wrong')
  await stage.block()
  expect(stage.wealth('dan')).toBeGreaterThan(10_000_000_000n)
  expect(stage.wealth('bob')).toBeLessThan(10_000_000_000n)
})

test('a solver that computes rightly from other rows than it was given falls by one record', async () => {
  await open()
  // Its machine believes in other rows: everything that it claims follows from them.
  const liar: Mind = {
    answer: (question, signal) => stage.mind.answer(question, signal),
    witness: (one, signal) => stage.mind.witness(one, signal),
    evaluate: (question, signal) => stage.mind.evaluate(question, signal),
  }
  const solver = stage.play('bob', { solve: { feeMin: 0n }, mind: liar })
  const { hidden } = stage.model.manifest.core
  const rows = Array.from({ length: 4 }, (_, p) => new Int32Array(hidden).fill(1000 * (p + 1)))
  const view = solver.agent.view
  const read = view.pinned.bind(view)
  // What it sees at the relay has one value changed, and the boundary with it.
  const changed = rows.map((row) => row.slice())
  changed[1][3] ^= 4
  const { inputRecords, recordsRootOf, rootsOfRows } = await import('../../../relay/ledger/rows.ts')
  const told = hex(recordsRootOf(inputRecords(rootsOfRows(changed))))
  const record = view.record.bind(view)
  view.pinned = async (name) => (name === `rows/${told}` ? encodeRows(Int32Array.from(changed.flatMap((row) => [...row]))) : read(name))
  view.record = (async (key: never) => {
    const found = (await record(key)) as { segment?: { boundary: Uint8Array } } | null
    return found?.segment ? { ...found, segment: { ...found.segment, boundary: recordsRootOf(inputRecords(rootsOfRows(changed))) } } : found
  }) as typeof view.record
  const { job } = await ask({ tokens: [0, 0, 0, 0], segment: { from: 1, to: 2, rows } })
  const claim = await claimed(job)
  await rowsOfClaim(claim)
  await solver.stop()
  const before = { dan: stage.wealth('dan'), bob: stage.wealth('bob') }
  const watcher = stage.play('dan', { share: 1 })
  await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(claim)).toMatchObject({ verdict: 'fallen', moves: 1 })
  expect(watcher.notices.filter(({ type }) => type === 'sent')).toHaveLength(1)
  await stage.block()
  expect(stage.wealth('dan')).toBeGreaterThan(before.dan + 1_000_000n)
  expect(stage.wealth('bob')).toBeLessThan(before.bob - 3_000_000n)
})

test('auditors who are drawn for a job of some layers agree and are paid', async () => {
  await open({ auditors: 2, auditRate: 10_000, auditRateNew: 10_000, auditPay: 2000 })
  for (const name of ['cat', 'dan']) await stage.stake(name, role.auditor)
  const host = stage.play('bob', { solve: { feeMin: 0n } })
  for (const name of ['cat', 'dan']) stage.play(name, { share: 0 })
  const { job } = await ask({ segment: { from: 0, to: 2, rows: null } })
  await claimed(job)
  await stage.until(() => host.notices.some(({ type }) => type === 'paid'), 'the pay', 10_000)
  for (const name of ['cat', 'dan']) expect(stage.wealth(name)).toBeGreaterThan(10_000_000_000n)
})

test('a sealed job is answered by who was handed its tokens, checked by who asked, and no business of anybody else', async () => {
  await open()
  const answers: PinnedTokens[] = []
  const known = new Map<string, PinnedTokens>()
  const knows = (root: string): PinnedTokens | null => known.get(root) ?? null
  const other = stage.play('cat', { solve: { feeMin: 0n }, share: 1 })
  await stage.stake('cat')
  await stage.block()
  const { job, body, prompt: asked } = await ask({ maxTokens: 3, privacy: privacyClasses.sealed })
  known.set(hex(body.promptRoot), asked)
  await stage.block()
  stage.play('bob', { solve: { feeMin: 0n }, knows, keeps: (list) => void answers.push(list) })
  const claim = await claimed(job)
  await stage.until(() => answers.length > 0, 'the file')
  const { outRoot } = stage.node.get(keyOf.claim(claim))!
  expect(stage.pins.get(`tokens/${hex(outRoot)}`)).toBeNull()
  expect(stage.pins.get(`tokens/${hex(body.promptRoot)}`)).toBeNull()
  expect(other.notices.filter(({ type }) => type === 'passed')[0]).toMatchObject({ reason: expect.stringContaining('not open') })
  known.set(hex(outRoot), answers[0]!)
  const requester = stage.play('ann', { share: 1, knows })
  await stage.until(() => verdictOf(requester, claim) !== undefined, 'the check')
  expect(verdictOf(requester, claim)).toBe('right')
  expect(other.notices.filter(({ type }) => type === 'checked' || type === 'withheld')).toEqual([])
})
