// Receipts of a swarm session are claims like any other: pinned at the relay, run again by a watcher, and the host that lied is challenged, alone.
import { afterEach, expect, test, vi } from 'vitest'
import { recordsOf } from '../../../ledger/claims.ts'
import type { Parameters } from '../../../ledger/genesis.ts'
import { sessionIdOf } from '../../../ledger/names.ts'
import { encodeReceiptClaim, type ReceiptClaim, receiptsRoot, signReceiptClaim } from '../../../ledger/receipt.ts'
import { keyOf } from '../../../ledger/records.ts'
import { role, signVoucher, termsHash } from '../../../ledger/transaction.ts'
import { encodeSampler, noiseKeyOf } from '../../../protocol/engine/answer.ts'
import { machineOf } from '../../../protocol/engine/proof/machine.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../../protocol/engine/proof/trace.ts'
import { traceListRoot, treeOf } from '../../../protocol/engine/proof/tree.ts'
import { greedy } from '../../../protocol/engine/sampler.ts'
import { fromHex, hex, join } from '../../../protocol/hash.ts'
import { encodeTokens } from '../../../relay/ledger/pins.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { answer } from '../../ledger/dispute/tiny.ts'
import { credit, person, word } from '../../ledger/world.ts'
import { Stage } from './stage.ts'

// Chain time is the test's own; this is for machines that do other things besides.
vi.setConfig({ testTimeout: 300_000 })

let stage: Stage
afterEach(() => stage?.close())

const prompt = [3, 14, 15, 9]
const none = new Uint8Array(32)

/** A settled session of two hosts, bob [0, 1) and cat [1, 2), its receipts pinned. `liar`: the host that did something else than the model in its layer. */
async function session(liar: 0 | 1 | null, parameters: Partial<Parameters> = {}, auditors: readonly string[] = []): Promise<Uint8Array> {
  stage = await Stage.open({ sessionGraceMs: 10_000, ...parameters })
  for (const name of auditors) await stage.stake(name, role.auditor)
  for (const name of ['bob', 'cat']) await stage.stake(name)
  await stage.client().submit(person('ann').secret, { kind: 'channel.open', number: 0, deposit: 10n * credit })
  await stage.block()
  const { model, node } = stage
  const seed = word('seed of the session')
  const noise = noiseKeyOf(none, seed)
  const { tokens } = await answer(model, { prompt, sampler: greedy, noise, maxTokens: 3, stopIds: [] })
  // The last host chooses tokens: its lie is one of them. The first one's is in what it hands on.
  const said = liar === 1 ? tokens.map((token, i) => (i === 2 ? (token + 1) % 70 : token)) : tokens
  const tokenKey = word('key of the session')
  const [asked, out] = [new TokenList(prompt, tokenKey, 0), new TokenList(said, tokenKey, 1)]
  const id = sessionIdOf(node.name, person('ann').id, 0, 0)
  const facts = { claimId: id, promptRoot: asked.root, outRoot: out.root, prompt: 4, out: 3, sampler: greedy, noise, segment: null }
  const machine = machineOf(model.manifest.core, model.tableRoot, facts)
  const trace = new Trace({ machine, weights: model.weights, prompt: asked, out }).compute()
  const rootAt = (p: number, altered: boolean): Uint8Array => {
    const values = trace.residual(0, p).slice()
    if (altered && p === 2) values[5] ^= 4
    return traceListRoot(machine.residual, treeOf(machine.residual, values).top)
  }
  const between = Array.from({ length: machine.positions }, (_, p) => rootAt(p, liar === 0))
  const records = [
    recordsOf(id, 0, join(between.flatMap((root) => [none, root])), 4, null),
    recordsOf(id, 1, join(between.flatMap((root) => [root, none])), 4, said),
  ]
  const claims = records.map(({ root }, host): Uint8Array => {
    const claim: ReceiptClaim = {
      ...{ session: id, host, promptRoot: asked.root, promptCount: 4, sampler: encodeSampler(greedy), seed, maxTokens: 3, stopIds: [] },
      ...{ m: 3, stop: 2, outRoot: out.root, recordsRoot: root },
    }
    return encodeReceiptClaim(claim)
  })
  const hosts = ['bob', 'cat'].map((name, i) => ({ account: person(name).id, from: i, to: i + 1 }))
  const terms = { model: fromHex(stage.modelId), hosts, limit: credit, untilMs: stage.nowMs + 3_600_000 }
  const voucher = { owner: person('ann').id, channel: 0, session: 0, terms: termsHash(terms), amount: credit / 2n, last: true, receipt: receiptsRoot(claims) }
  const signed = signVoucher(person('ann').secret, node.name, voucher)
  await stage.client().submit(person('bob').secret, { kind: 'channel.settle', ...voucher, terms, voucher: signed })
  await stage.client().submit(person('cat').secret, { kind: 'channel.close', owner: person('ann').id, number: 0, session: 0 })
  const view = new ChainView(stage.client())
  for (const [host, claim] of claims.entries()) {
    const signature = signReceiptClaim(person(['bob', 'cat'][host]).secret, node.name, claim)
    await view.pin(`receipts/${hex(id)}/${host}`, join([signature, claim]))
    await view.pin(`records/${hex(records[host].root)}`, join(records[host].list), { receipt: `${hex(id)}/${host}` })
  }
  await view.pin(`tokens/${hex(asked.root)}`, encodeTokens({ tokenKey, kind: 0, tokens: prompt }), { receipt: `${hex(id)}/0` })
  await view.pin(`tokens/${hex(out.root)}`, encodeTokens({ tokenKey, kind: 1, tokens: said }), { receipt: `${hex(id)}/0` })
  return id
}

const verdicts = (notices: { type: string; [field: string]: unknown }[]): Record<string, unknown> =>
  Object.fromEntries(notices.filter(({ type }) => type === 'checked').map(({ host, verdict }) => [String(host), verdict]))

test('honest receipts are found right, and both hosts are paid', async () => {
  const id = await session(null)
  const dan = stage.play('dan', { share: 1 })
  await stage.until(() => Object.keys(verdicts(dan.notices)).length === 2, 'the checks')
  expect(verdicts(dan.notices)).toEqual({ 0: 'right', 1: 'right' })
  await stage.until(() => stage.node.get(keyOf.session(id))?.paid ?? true, 'the pay', 60_000)
  expect(stage.disputeOf(id, 0)).toBe(undefined)
})

test('a first host that hands on something else falls; the second, which computed rightly from it, is not accused', async () => {
  const id = await session(0)
  const dan = stage.play('dan', { share: 1 })
  const before = stage.wealth('dan')
  await stage.until(() => stage.disputeOf(id, 0)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(id, 0)!.verdict).toBe('fallen')
  expect(verdicts(dan.notices)).toEqual({ 0: 'wrong', 1: 'misled' })
  expect(stage.disputeOf(id, 1)).toBe(undefined)
  await stage.block()
  expect(stage.wealth('dan')).toBeGreaterThan(before)
})

test('a last host that chose another token falls, the first is paid', async () => {
  const id = await session(1)
  const dan = stage.play('dan', { share: 1 })
  await stage.until(() => stage.disputeOf(id, 1)?.verdict != null, 'the verdict')
  expect(stage.disputeOf(id, 1)!.verdict).toBe('fallen')
  expect(verdicts(dan.notices)).toEqual({ 0: 'right', 1: 'wrong' })
  expect(stage.disputeOf(id, 0)).toBe(undefined)
})

test('drawn auditors of a session run all of it, agree on its receipts and each other, and are paid', async () => {
  const rates = { auditors: 2, auditRate: 10_000, auditRateNew: 10_000, auditPay: 2000 }
  const id = await session(null, rates, ['dan', 'eve'])
  const auditors = ['dan', 'eve'].map((name) => stage.play(name, { share: 0 }))
  const phase = () => stage.node.get(keyOf.session(id))?.auditing.phase
  await stage.until(() => phase() === 'agreed', 'the agreement', 10_000)
  for (const { notices } of auditors) expect(notices.filter(({ type }) => type === 'sent').map(({ kind }) => kind)).toEqual(['audit.commit', 'audit.report'])
  for (const name of ['dan', 'eve']) expect(stage.wealth(name)).toBeGreaterThan(10_000_000_000n)
})
