// Lives of jobs, sessions, stakes and epochs from beginning to end; World checks every invariant after each block.
import { encode } from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import { budgetOf, emissionMax } from '../../ledger/emission.ts'
import { defaultParameters } from '../../ledger/genesis.ts'
import { claimIdOf, jobIdOf, outOf, sessionIdOf } from '../../ledger/names.ts'
import { encodeRecord, keyOf } from '../../ledger/records.ts'
import { reputationScore } from '../../ledger/reputation.ts'
import { Standings } from '../../ledger/standing.ts'
import { auditCommitmentOf, commitmentOf, decodeTransaction, role } from '../../ledger/transaction.ts'
import { hex, join } from '../../protocol/hash.ts'
import { credit, day, World, word } from './world.ts'

/** Every claim is audited, by one auditor, cheaply. */
const always = { auditRate: 10_000, auditRateNew: 10_000, auditors: 1, auditPay: 1000 }
const out = { m: 5, stop: 1, outRoot: word('out'), logRoot: null }

/** A job of ann's answered by bob: [job, claim]. */
function answeredJob(world: World, model: Uint8Array): [Uint8Array, Uint8Array] {
  const { id } = world.who('ann')
  const body = world.jobBody(model)
  const job = jobIdOf(world.name, id, world.account('ann').nonce, body)
  world.send('ann', 'job.create', body)
  world.send('bob', 'job.commit', { job, commitment: commitmentOf(world.name, world.who('bob').id, outOf(job, out), word('nonce')) })
  world.block()
  world.send('bob', 'job.reveal', { job, ...out, answer: word('answer'), nonce: word('nonce') })
  world.block()
  return [job, claimIdOf(outOf(job, out), world.who('bob').id)]
}

function auditedWorld(parameters: object = always): { world: World; model: Uint8Array } {
  const world = new World({ parameters })
  const model = world.registerModel()
  world.send('bob', 'stake', { amount: 1000n * credit, roles: role.host })
  world.send('cat', 'stake', { amount: 100n * credit, roles: role.auditor })
  world.block()
  return { world, model }
}

test('a job is answered, audited, paid; its work earns emission, no more than it burned', () => {
  const { world, model } = auditedWorld()
  const [job, claim] = answeredJob(world, model)
  world.block()
  world.block()
  const drawn = world.chain.state.must(keyOf.claim(claim))
  expect(drawn.auditing.phase).toBe('drawn')
  expect(hex(drawn.auditing.audits[0].auditor)).toBe(hex(world.who('cat').id))
  const report = { answer: word('answer'), leaves: [word('leaf')], salt: word('salt') }
  world.send('cat', 'audit.commit', { claim, commitment: auditCommitmentOf(world.name, claim, world.who('cat').id, report) })
  expect(world.refusal(world.sign('cat', { kind: 'audit.report', claim, ...report, salt: word('other') }))).toBe('proof')
  world.send('cat', 'audit.report', { claim, ...report })
  world.pass(5 * 3_600_000)
  expect(world.chain.state.must(keyOf.claim(claim)).auditing.phase).toBe('agreed')
  expect(world.events.find((one) => one.type === 'audited')!.amount).toBe(credit / 100n)
  expect(world.refusal(world.sign('bob', { kind: 'job.claim', job }))).toBe('phase')
  world.pass(day)
  const before = world.account('bob')
  const burnedBefore = world.chain.state.must(keyOf.money).burned
  world.send('dan', 'job.claim', { job })
  const burned = world.chain.state.must(keyOf.money).burned - burnedBefore
  expect(burned).toBe(credit / 200n)
  expect(world.account('bob').balance).toBeGreaterThan(before.balance + ((credit / 10n) * 7n) / 10n)
  expect(world.account('bob').locked).toBe(0n)
  expect(world.chain.state.get(keyOf.job(job))).toBe(undefined)
  world.pass(3_600_000)
  const { emitted } = world.chain.state.must(keyOf.money)
  expect(emitted).toBe(burned)
  expect(world.events.filter((one) => one.type === 'minted').map((one) => one.amount)).toEqual([(burned * 9n) / 10n])
  const reputation = world.chain.state.must(keyOf.reputation(world.who('bob').id))
  expect(reputation).toMatchObject({ finalised: 1, audited: 1, lost: 0 })
  expect(reputationScore(reputation, world.account('bob'), world.timeMs)).toBeGreaterThan(0)
})

test('standings are asked for once in ten minutes, and say nothing of whom the ledger does not know', async () => {
  const { world, model } = auditedWorld()
  const [job, claim] = answeredJob(world, model)
  world.block()
  world.block()
  const report = { answer: word('answer'), leaves: [word('leaf')], salt: word('salt') }
  world.send('cat', 'audit.commit', { claim, commitment: auditCommitmentOf(world.name, claim, world.who('cat').id, report) })
  world.send('cat', 'audit.report', { claim, ...report })
  world.pass(2 * day)
  world.send('dan', 'job.claim', { job })
  const asked: string[] = []
  const { state } = world.chain
  const standings = new Standings(
    {
      prove: async (keys) => {
        asked.push(...keys)
        const entries = keys.map((key) => {
          const record = state.get(key as ReturnType<typeof keyOf.account>)
          return { key, value: record ? encodeRecord(key as ReturnType<typeof keyOf.account>, record) : null, proof: new Uint8Array() }
        })
        return { header: new Uint8Array(), height: 1, timeMs: world.timeMs, entries }
      },
    },
    () => nowMs,
  )
  let nowMs = 0
  const [bob, eve] = [hex(world.who('bob').id), 'ee'.repeat(32)]
  expect(standings.of(bob)).toBeNull()
  await standings.look([bob, eve, bob])
  expect(asked).toHaveLength(4)
  expect(standings.of(bob)).toMatchObject({ lost: 0 })
  expect(standings.of(bob)!.score).toBeGreaterThan(0)
  expect(standings.of(eve)).toBeNull()
  await standings.look([bob, eve])
  expect(asked).toHaveLength(4)
  nowMs = 600_000
  await standings.look([bob])
  expect(asked).toHaveLength(6)
  // However many accounts a swarm names, few are asked for and fewer than that many more are remembered.
  await standings.look(Array.from({ length: 1000 }, (_, i) => i.toString(16).padStart(64, '0')))
  expect(asked).toHaveLength(6 + 2 * 240)
})

test('an auditor who finds something else is not paid, and the window begins again', () => {
  const { world, model } = auditedWorld()
  const [job, claim] = answeredJob(world, model)
  world.block()
  world.block()
  const report = { answer: word('something else'), leaves: [], salt: word('salt') }
  world.send('cat', 'audit.commit', { claim, commitment: auditCommitmentOf(world.name, claim, world.who('cat').id, report) })
  world.send('cat', 'audit.report', { claim, ...report })
  const { finalMs } = world.chain.state.must(keyOf.claim(claim))
  world.pass(5 * 3_600_000)
  const later = world.chain.state.must(keyOf.claim(claim))
  expect(later.auditing.phase).toBe('differs')
  expect(later.finalMs).toBeGreaterThan(finalMs)
  world.pass(finalMs - world.timeMs + 1000)
  expect(world.refusal(world.sign('bob', { kind: 'job.claim', job }))).toBe('phase')
})

test('a silent auditor is fined, and holds nothing up', () => {
  const { world, model } = auditedWorld()
  const [job, claim] = answeredJob(world, model)
  const before = world.account('cat').stake
  world.pass(5 * 3_600_000)
  world.pass(5 * 3_600_000)
  expect(world.chain.state.must(keyOf.claim(claim)).auditing.phase).toBe('silent')
  expect(before - world.account('cat').stake).toBe(world.chain.parameters.auditMissPenalty)
  world.pass(day)
  world.send('bob', 'job.claim', { job })
  world.pass(3_600_000)
  expect(world.chain.state.must(keyOf.money).emitted).toBe(0n)
})

test('a committer who never reveals gets the stake back, and the requester the fee', () => {
  const { world, model } = auditedWorld()
  const body = world.jobBody(model, { deadlineMs: world.timeMs + 2 * 3_600_000 })
  const job = jobIdOf(world.name, world.who('ann').id, world.account('ann').nonce, body)
  world.send('ann', 'job.create', body)
  world.send('bob', 'job.commit', { job, commitment: word('never') })
  world.block()
  expect(world.account('bob').locked).toBeGreaterThan(13n * credit)
  expect(world.refusal(world.sign('ann', { kind: 'job.cancel', job }))).toBe('phase')
  world.pass(3_700_000)
  expect(world.account('bob').locked).toBe(0n)
  world.pass(3_700_000)
  const before = world.account('ann').balance
  world.send('eve', 'job.expire', { job })
  world.block()
  expect(world.account('ann').balance).toBe(before + body.fee)
})

test('a segment job is a job over some layers', () => {
  const { world, model } = auditedWorld()
  const body = world.jobBody(model, { maxTokens: 1, segment: { layers: { from: 1, to: 3 }, boundary: word('in') }, input: word('another job') })
  const job = jobIdOf(world.name, world.who('ann').id, world.account('ann').nonce, body)
  world.send('ann', 'job.create', body)
  world.block()
  expect(world.chain.state.must(keyOf.job(job)).segment).toEqual({ from: 1, to: 3, boundary: word('in') })
})

test('stake unbonds only after the delay, and not while it answers for a claim', () => {
  const { world, model } = auditedWorld()
  answeredJob(world, model)
  const { stake, locked, balance } = world.account('bob')
  expect(locked).toBeGreaterThan(0n)
  expect(world.refusal(world.sign('bob', { kind: 'unstake', amount: stake - locked + 1n }))).toBe('balance')
  world.send('bob', 'unstake', { amount: stake - locked })
  world.pass(13 * day)
  expect(world.account('bob').balance).toBeLessThan(balance)
  world.pass(day)
  expect(world.account('bob').balance).toBeGreaterThan(balance + stake - locked - 1000n)
})

test('an equivocator loses free stake, half to who shows it, once', () => {
  const { world } = auditedWorld()
  const record = (outRoot: Uint8Array) => encode([word('session'), 0, 1, 5, word('in'), outRoot, 7])
  const signed = (bytes: Uint8Array) => world.signTagged('bob', 'record', join([world.name, bytes]))
  const [first, second] = [record(word('x')), record(word('y'))]
  const body = { host: world.who('bob').id, first, firstSignature: signed(first), second, secondSignature: signed(second) }
  const before = world.account('eve').balance
  world.send('eve', 'dispute.equivocation', body)
  world.block()
  expect(world.account('bob').stake).toBe(0n)
  expect(world.account('eve').balance).toBeGreaterThan(before + 499n * credit)
  expect(world.refusal(world.sign('dan', { kind: 'dispute.equivocation', ...body }))).toBe('exists')
})

test('a session ends by itself when its vouchers expire, and its record leaves the state only then', () => {
  const { world, model } = auditedWorld({ auditors: 0 })
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const terms = { model, hosts: [{ account: world.who('dan').id, from: 0, to: 4 }], limit: 2n * credit, untilMs: world.timeMs + 3 * day }
  world.send('dan', 'channel.settle', world.voucher('ann', 0, terms, credit, true))
  world.block()
  const id = sessionIdOf(world.name, world.who('ann').id, 0, 0)
  world.pass(day + 1000)
  expect(world.chain.state.must(keyOf.session(id))).toMatchObject({ paid: true, held: 0n })
  // Vouchers of it may still be shown: the ledger must remember that it ended.
  expect(world.refusal(world.sign('dan', { kind: 'channel.settle', ...world.voucher('ann', 0, terms, credit * 2n, true) }))).toBe('phase')
  world.pass(2 * day)
  expect(world.chain.state.get(keyOf.session(id))).toBe(undefined)
  expect(world.refusal(world.sign('dan', { kind: 'channel.settle', ...world.voucher('ann', 0, terms, credit * 2n, true) }))).toBe('phase')
  const idle = { ...terms, untilMs: world.timeMs + day }
  world.send('dan', 'channel.settle', world.voucher('ann', 1, idle, credit / 2n, false))
  world.block()
  expect(world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).sessions).toBe(1)
  world.pass(day)
  expect(world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).sessions).toBe(0)
})

test('requester and one host together cannot cut off another host, nor give away what it has earned', () => {
  const { world, model } = auditedWorld({ auditors: 0 })
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const hosts = ['dan', 'eve'].map((name, i) => ({ account: world.who(name).id, from: i * 2, to: i * 2 + 2 }))
  const terms = { model, hosts, limit: 2n * credit, untilMs: world.timeMs + day }
  // Eve holds a voucher for a credit; dan ends the session with one for a hundredth.
  const better = world.voucher('ann', 0, terms, credit, false)
  world.send('dan', 'channel.settle', world.voucher('ann', 0, terms, credit / 100n, true))
  world.block()
  const all = world.sign('dan', { kind: 'channel.settle', ...world.voucher('ann', 0, terms, credit / 2n, false) }, { fee: credit / 4n })
  expect(world.refusal(all)).toBe('fee')
  world.send('dan', 'channel.close', { owner: world.who('ann').id, number: 0, session: 0 })
  world.send('ann', 'channel.close', { owner: world.who('ann').id, number: 0, session: null })
  world.block()
  world.send('eve', 'channel.settle', better)
  world.pass(600_000)
  const session = world.chain.state.must(keyOf.session(sessionIdOf(world.name, world.who('ann').id, 0, 0)))
  expect(session).toMatchObject({ open: false, settled: credit })
  expect(world.refusal(world.sign('ann', { kind: 'channel.reclaim', number: 0 }))).toBe('phase')
})

/** A session of ann's by dan and eve, with stakes, whose limit is two credits. */
function pairWorld() {
  const { world, model } = auditedWorld({ auditors: 0 })
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  for (const name of ['dan', 'eve']) world.send(name, 'stake', { amount: 500n * credit, roles: 1 })
  const hosts = ['dan', 'eve'].map((name, i) => ({ account: world.who(name).id, from: i * 2, to: i * 2 + 2 }))
  const terms = { model, hosts, limit: 2n * credit, untilMs: world.timeMs + 3 * day }
  const deposit = () => world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).deposit
  const session = (number = 0) => world.chain.state.must(keyOf.session(sessionIdOf(world.name, world.who('ann').id, 0, number)))
  return { world, terms, deposit, session }
}

test('with the word of all hosts a session ends in the block that settles it: the rest of its limit is back, and every stake answers', () => {
  const { world, terms, deposit, session } = pairWorld()
  world.send('eve', 'channel.end', world.ending('ann', 0, terms, credit, 'eve'))
  expect(deposit()).toBe(9n * credit)
  expect(session()).toMatchObject({ open: false, reserved: 0n, settled: credit })
  // Both have signed: 32 times its half of what is held.
  const { held } = session()
  for (const name of ['dan', 'eve']) expect(world.account(name).locked).toBe(16n * held)
  world.pass(day + 1000)
  expect(session()).toMatchObject({ paid: true, held: 0n })
  for (const name of ['dan', 'eve']) expect(world.account(name).locked).toBe(0n)
})

test('a host that has not signed locks nothing by the settlement of another', () => {
  const { world, terms } = pairWorld()
  world.send('eve', 'channel.settle', world.voucher('ann', 0, terms, credit, true))
  expect(world.account('dan').locked).toBe(0n)
  expect(world.account('eve').locked).toBe(32n * credit)
})

test('requester and one host cannot end a session below the voucher of another: not with its word of old, nor with their own', () => {
  const { world, terms, deposit, session } = pairWorld()
  const low = credit / 100n
  const tried = [
    ['range', 'dan', world.ending('ann', 0, terms, low, 'dan', true, [])],
    ['signature', 'dan', world.ending('ann', 0, terms, low, 'dan', true, ['dan'])],
    ['signature', 'dan', world.ending('ann', 0, terms, low, 'dan', true, ['ann'])],
    ['signature', 'dan', { ...world.ending('ann', 0, terms, low, 'dan'), ends: world.ending('ann', 0, terms, credit, 'dan').ends }],
    ['signature', 'ann', world.ending('ann', 0, terms, low, 'ann', true, ['dan', 'dan'])],
    ['signature', 'ann', world.ending('ann', 0, terms, low, 'ann', true, ['eve', 'dan'])],
  ] as const
  for (const [code, by, fields] of tried) expect(world.refusal(world.sign(by, { kind: 'channel.end', ...fields }))).toBe(code)
  // The old way leaves her ten minutes.
  world.send('dan', 'channel.settle', world.voucher('ann', 0, terms, low, true))
  expect(deposit()).toBe(8n * credit)
  world.block()
  world.send('eve', 'channel.end', world.ending('ann', 0, terms, credit, 'eve', false))
  expect(session()).toMatchObject({ open: false, settled: credit })
  expect(deposit()).toBe(9n * credit)
})

test('the owner ends what its hosts have settled alone, and pays for it out of the rest', () => {
  const { world, terms, deposit, session } = pairWorld()
  world.send('eve', 'channel.settle', world.voucher('ann', 0, terms, credit, true))
  world.block()
  const { balance } = world.account('ann')
  const bytes = world.sign('ann', { kind: 'channel.end', ...world.ending('ann', 0, terms, credit, 'ann', false) })
  const { fee } = decodeTransaction(bytes)
  world.submit(bytes)
  expect(session()).toMatchObject({ open: false, reserved: 0n, settled: credit })
  expect(deposit()).toBe(9n * credit - fee)
  expect(world.account('ann').balance).toBe(balance)
  for (const name of ['dan', 'eve']) expect(world.account(name).locked).toBeGreaterThan(0n)
  // Nothing is left of another: there is nothing to end.
  world.send('eve', 'channel.settle', world.voucher('ann', 1, { ...terms, limit: credit }, credit, true))
  expect(world.refusal(world.sign('ann', { kind: 'channel.end', ...world.ending('ann', 1, { ...terms, limit: credit }, credit, 'ann', false) }))).toBe('fee')
})

test('the owner settles and ends what none of its hosts has brought', () => {
  const { world, terms, deposit, session } = pairWorld()
  world.send('ann', 'channel.end', world.ending('ann', 0, terms, credit, 'ann'))
  expect(session()).toMatchObject({ open: false, settled: credit })
  expect(deposit()).toBe(9n * credit)
  expect(world.refusal(world.sign('dan', { kind: 'channel.settle', ...world.voucher('ann', 0, terms, credit, true) }))).toBe('phase')
})

test('one account behind all hosts of a ring ends its session by itself', () => {
  const { world, terms, session } = pairWorld()
  const alone = { ...terms, hosts: terms.hosts.map((host) => ({ ...host, account: world.who('eve').id })) }
  world.send('eve', 'channel.end', world.ending('ann', 0, alone, credit, 'eve'))
  expect(session()).toMatchObject({ open: false, settled: credit })
})

test('a paid 100-token answer by three hosts takes 547 bytes with the word of all, 414 without', () => {
  const { world, terms } = pairWorld()
  const hosts = ['dan', 'eve', 'bob'].map((name, i) => ({ account: world.who(name).id, from: i, to: i === 2 ? 4 : i + 1 }))
  const three = { ...terms, hosts, limit: 200_000n }
  const ended = world.sign('bob', { kind: 'channel.end', ...world.ending('ann', 0, three, 100_000n, 'bob') }, { fee: 1000n })
  const settled = world.sign('bob', { kind: 'channel.settle', ...world.voucher('ann', 0, three, 100_000n, true) }, { fee: 1000n })
  expect([ended.length, settled.length]).toEqual([547, 414])
})

test('a voucher given before the owner began to close its channel is paid', () => {
  const { world, model } = auditedWorld({ auditors: 0 })
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const terms = { model, hosts: [{ account: world.who('dan').id, from: 0, to: 4 }], limit: 2n * credit, untilMs: world.timeMs + 2 * day }
  const voucher = world.voucher('ann', 0, terms, credit, true)
  world.send('ann', 'channel.close', { owner: world.who('ann').id, number: 0, session: null })
  world.block()
  world.send('dan', 'channel.settle', voucher)
  world.pass(day + 60_000)
  expect(world.account('dan').balance).toBeGreaterThan(10_000n * credit + credit / 2n)
  world.send('ann', 'channel.reclaim', { number: 0 })
  expect(world.refusal(world.sign('dan', { kind: 'channel.settle', ...world.voucher('ann', 1, terms, credit, true) }))).toBe('missing')
})

test("nobody's stake is locked by a session in which others have named it", () => {
  const { world, model } = auditedWorld()
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const hosts = ['dan', 'bob'].map((name, i) => ({ account: world.who(name).id, from: i * 2, to: i * 2 + 2 }))
  const terms = { model, hosts, limit: 2n * credit, untilMs: world.timeMs + day }
  world.send('dan', 'channel.settle', world.voucher('ann', 0, terms, credit / 100n, false))
  world.block()
  expect(world.account('bob').locked).toBe(0n)
  world.send('bob', 'channel.settle', world.voucher('ann', 0, terms, credit / 50n, false))
  world.block()
  expect(world.account('bob').locked).toBe(32n * credit)
})

test('a paid 100-token swarm answer of three hosts takes at most 600 ledger bytes', () => {
  const { world, model } = auditedWorld()
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const hosts = ['bob', 'cat', 'dan'].map((name, i) => ({ account: world.who(name).id, from: i, to: i === 2 ? 4 : i + 1 }))
  const terms = { model, hosts, limit: credit / 5n, untilMs: world.timeMs + 3_600_000 }
  const before = world.bytes
  world.send('dan', 'channel.settle', world.voucher('ann', 0, terms, credit / 10n, true))
  const answer = world.bytes - before
  expect(answer).toBeLessThanOrEqual(600)
  // Even with a channel of its own.
  expect(answer + world.sign('ann', { kind: 'channel.open', number: 1, deposit: credit }).length).toBeLessThanOrEqual(600)
})

test('the faucet grants once, and not when it is closed', () => {
  const world = new World()
  world.send('operator', 'faucet.grant', { to: word('new') })
  world.block()
  expect(world.chain.state.account(word('new')).balance).toBe(20n * credit)
  expect(world.refusal(world.sign('operator', { kind: 'faucet.grant', to: word('new') }))).toBe('exists')
  const { parameters } = world.chain
  world.send('operator', 'parameters.set', { parameters: { ...parameters, faucet: { ...parameters.faucet, open: false } } })
  expect(world.refusal(world.sign('operator', { kind: 'faucet.grant', to: word('newer') }))).toBe('phase')
})

test('the emission curve halves and stays below the cap', () => {
  const p = defaultParameters
  expect(budgetOf(p, 0)).toBe(200n * credit)
  expect(budgetOf(p, p.emission.halvingEpochs)).toBe(100n * credit)
  expect(budgetOf(p, p.emission.halvingEpochs * 64)).toBe(0n)
  expect(emissionMax(p)).toBeLessThan(14_016_001n * credit)
})
