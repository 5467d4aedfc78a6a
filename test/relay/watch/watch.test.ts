import { afterEach, expect, test, vi } from 'vitest'
import { bodyOfMove } from '../../../ledger/dispute-play.ts'
import { outOf } from '../../../ledger/names.ts'
import { keyOf } from '../../../ledger/records.ts'
import { commitmentOf, role } from '../../../ledger/transaction.ts'
import type { Answer, Asked, Mind } from '../../../relay/watch/mind.ts'
import { person, word } from '../../ledger/world.ts'
import { Stage } from './stage.ts'

// Chain time is the test's own; this is for machines that do other things besides.
vi.setConfig({ testTimeout: 300_000 })

let stage: Stage
afterEach(() => stage?.close())

/** Says another token than the model at one place, and believes its own trace. */
const liarOf = (honest: Mind, at = 1): Mind => ({
  answer: async (question: Asked, signal: AbortSignal): Promise<Answer> => {
    const { tokens, stop } = await honest.answer(question, signal)
    return { tokens: tokens.map((token, i) => (i === at ? (token + 1) % 70 : token)), stop }
  },
  evaluate: (question, signal) => honest.evaluate(question, signal),
  witness: (one, signal) => honest.witness(one, signal),
})

test('an honest host answers a job, nobody objects, and it is paid', async () => {
  stage = await Stage.open()
  await stage.stake('bob')
  await stage.block()
  const host = stage.play('bob', { solve: { feeMin: 0n } })
  const watcher = stage.play('dan', { share: 1 })
  const before = stage.wealth('bob')
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => stage.claimOf(job) !== null, 'the answer')
  await stage.until(() => watcher.notices.some(({ type }) => type === 'checked'), 'the check')
  expect(watcher.notices.find(({ type }) => type === 'checked')).toMatchObject({ verdict: 'right' })
  await stage.until(() => host.notices.some(({ type }) => type === 'paid'), 'the pay', 60_000)
  await stage.block()
  expect(stage.wealth('bob')).toBeGreaterThan(before + 50_000n)
  expect(stage.account('bob').locked).toBe(0n)
  expect(stage.wealth('dan')).toBe(10_000_000_000n)
})

test('one honest watcher catches a false answer: the stake is slashed, the finder is paid, the fee returns', async () => {
  stage = await Stage.open()
  await stage.stake('bob')
  await stage.block()
  stage.play('bob', { solve: { feeMin: 0n }, mind: liarOf(stage.mind) })
  const watcher = stage.play('dan', { share: 1 })
  const before = { ann: stage.wealth('ann'), bob: stage.wealth('bob'), dan: stage.wealth('dan') }
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => stage.claimOf(job) !== null, 'the answer')
  const claim = stage.claimOf(job)!
  await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(claim)).toMatchObject({ verdict: 'fallen' })
  await stage.block()
  expect(stage.wealth('bob')).toBeLessThan(before.bob - 10_000_000n)
  expect(stage.wealth('dan')).toBeGreaterThan(before.dan + 1_000_000n)
  expect(stage.wealth('ann')).toBeGreaterThan(before.ann)
  // Both tell time: the second of them is refused, nothing else is.
  expect(watcher.notices.filter(({ type, kind }) => type === 'refused' && kind !== 'dispute.timeout')).toEqual([])
})

test('drawn auditors re-run, commit blind, report, agree and are paid', async () => {
  stage = await Stage.open({ auditors: 2, auditRate: 10_000, auditRateNew: 10_000, auditPay: 2000 })
  await stage.stake('bob')
  for (const name of ['cat', 'dan']) await stage.stake(name, role.auditor)
  await stage.block()
  const host = stage.play('bob', { solve: { feeMin: 0n } })
  const auditors = ['cat', 'dan'].map((name) => stage.play(name, { share: 0 }))
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => host.notices.some(({ type }) => type === 'paid'), 'the pay', 10_000)
  for (const { notices } of auditors) expect(notices.filter(({ type }) => type === 'sent').map(({ kind }) => kind)).toEqual(['audit.commit', 'audit.report'])
  expect(stage.claimOf(job)).toBe(null)
  for (const name of ['cat', 'dan']) expect(stage.wealth(name)).toBeGreaterThan(10_000_000_000n)
})

test('tokens that nobody shows are demanded, and the claim falls when they do not come', async () => {
  stage = await Stage.open()
  await stage.stake('bob')
  await stage.block()
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  // An answer that its solver commits to, reveals, and keeps to itself.
  const out = { m: 3, stop: 2, outRoot: word('hidden'), logRoot: null }
  const bob = person('bob')
  const commitment = commitmentOf(stage.node.name, bob.id, outOf(job, out), word('nonce'))
  await stage.client().submit(bob.secret, { kind: 'job.commit', job, commitment })
  await stage.block()
  await stage.client().submit(bob.secret, { kind: 'job.reveal', job, ...out, answer: word('answer'), nonce: word('nonce') })
  const claim = stage.claimOf(job)!
  const before = stage.wealth('bob')
  const watcher = stage.play('dan', { share: 1 })
  await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(claim)!.verdict).toBe('fallen')
  expect(watcher.notices.filter(({ type }) => type === 'withheld')).toHaveLength(1)
  await stage.block()
  expect(stage.wealth('bob')).toBeLessThan(before - 10_000_000n)
  expect(stage.wealth('dan')).toBeGreaterThan(10_000_000_000n)
})

test('a demand is served by the claimant, and the claim stands', async () => {
  stage = await Stage.open()
  await stage.stake('bob')
  await stage.block()
  const host = stage.play('bob', { solve: { feeMin: 0n } })
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => stage.claimOf(job) !== null, 'the answer')
  const claim = stage.claimOf(job)!
  await stage.client().submit(person('eve').secret, bodyOfMove({ claimId: claim, host: 0 }, { kind: 'demand' }, false))
  await stage.until(() => host.notices.filter(({ type, move }) => type === 'sent' && move === 'serve').length === 2, 'the tokens')
  await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict', 20_000)
  expect(stage.disputeOf(claim)!.verdict).toBe('upheld')
})

test('while a dispute is open blocks go on although nobody sends anything, and a claim that waits for its draw gets its blocks', async () => {
  stage = await Stage.open({ auditors: 2, auditRate: 10_000, auditRateNew: 10_000, auditPay: 2000 })
  await stage.stake('bob')
  await stage.block()
  const host = stage.play('bob', { solve: { feeMin: 0n } })
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => stage.claimOf(job) !== null, 'the answer')
  await host.stop()
  const claim = stage.claimOf(job)!
  const phase = () => stage.node.get(keyOf.claim(claim))!.auditing.phase
  for (let i = 0; i < 4 && phase() === 'waiting'; i++) await stage.block(1000)
  expect(phase()).toBe('passed')
  const height = () => stage.node.head!.header.height
  const idle = height()
  await stage.block(10_000)
  expect(height()).toBe(idle)
  await stage.client().submit(person('eve').secret, bodyOfMove({ claimId: claim, host: 0 }, { kind: 'demand' }, false))
  await stage.block(1000)
  const begun = height()
  for (let i = 0; i < 5; i++) await stage.block(10_000)
  expect(height()).toBe(begun + 5)
})

test('an account that cannot pay for a dispute begins none', async () => {
  stage = await Stage.open()
  await stage.stake('bob')
  await stage.client().submit(person('dan').secret, { kind: 'transfer', to: person('eve').id, amount: 9_999_000_000n, note: new Uint8Array(0) })
  await stage.block()
  stage.play('bob', { solve: { feeMin: 0n }, mind: liarOf(stage.mind) })
  const poor = stage.play('dan', { share: 1 })
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await stage.until(() => poor.notices.some(({ type }) => type === 'poor'), 'the notice')
  expect(stage.disputeOf(stage.claimOf(job)!)).toBe(undefined)
})
