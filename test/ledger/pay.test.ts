// A session paid token by token, as requester and host do it, and settled on the ledger.
import { expect, test } from 'vitest'
import { probedUnits } from '../../ledger/beacon.ts'
import { leastFee } from '../../ledger/genesis.ts'
import { sessionIdOf } from '../../ledger/names.ts'
import {
  acceptVoucher,
  checkTerms,
  endingOf,
  endWith,
  freeOf,
  isEnd,
  type PaidSession,
  payFor,
  priceOf,
  quote,
  settlementOf,
  tokensOnCredit,
} from '../../ledger/pay.ts'
import { receiptsRoot } from '../../ledger/receipt.ts'
import { keyOf } from '../../ledger/records.ts'
import { sizeOf } from '../../ledger/transaction.ts'
import { verify } from '../../protocol/keys.ts'
import { credit, day, World, word } from './world.ts'

function session(maxTokens = 100): { world: World; paid: PaidSession; hosts: number } {
  const world = new World()
  const model = world.registerModel()
  world.send('ann', 'channel.open', { number: 0, deposit: credit })
  const hosts = ['bob', 'cat', 'dan'].map((name, i) => ({ account: world.who(name).id, from: i, to: i === 2 ? 4 : i + 1 }))
  const { limit } = quote(world.chain.parameters, world.chain.state.must(keyOf.model(model)), 3, maxTokens)
  const terms = { model, hosts, limit, untilMs: world.timeMs + day }
  world.block()
  return { world, paid: { chain: world.name, owner: world.who('ann').id, channel: 0, session: 0, terms }, hosts: 3 }
}

test('a quote covers every token and the settlement; what hosts settle is accepted, and the rest returns', () => {
  const { world, paid } = session()
  const p = world.chain.parameters
  const model = world.chain.state.must(keyOf.model(paid.terms.model))
  checkTerms(p, world.chain.state.must(keyOf.channel(paid.owner, 0)), model, paid.terms, world.timeMs)
  let held = null
  for (let tokens = 10; tokens <= 40; tokens += 10) {
    const voucher = payFor(world.who('ann').secret, paid, priceOf(p, model, 3, tokens), tokens === 40, receiptsRoot([word(`${tokens}`)]))
    held = acceptVoucher(paid, held, voucher, verify)
  }
  const body = settlementOf(paid, held!, false)
  const bytes = world.sign('dan', body)
  world.submit(bytes)
  world.pass(p.sessionGraceMs)
  const record = world.chain.state.must(keyOf.session(sessionIdOf(paid.chain, paid.owner, 0, 0)))
  // The fee was estimated from above, so at least the tokens' price is left to divide.
  expect(record.held).toBeGreaterThanOrEqual(model.price * 40n)
  expect(world.chain.state.must(keyOf.channel(paid.owner, 0)).deposit).toBe(credit - record.settled)
})

test('who has had the last voucher says one end, over that one, and takes no other', () => {
  const { world, paid } = session()
  const pay = (amount: bigint, last: boolean) => payFor(world.who('ann').secret, paid, amount, last, word('r'))
  const bob = world.who('bob')
  const last = acceptVoucher(paid, acceptVoucher(paid, null, pay(5000n, false), verify), pay(9000n, true), verify)
  for (const next of [pay(9500n, true), pay(9500n, false)]) expect(() => acceptVoucher(paid, last, next, verify)).toThrow(/last voucher/)
  const end = endWith(bob.secret, paid, last)
  expect(isEnd(paid, last, bob.id, end, verify)).toBe(true)
  expect(isEnd(paid, last, world.who('cat').id, end, verify)).toBe(false)
  expect(isEnd(paid, pay(8000n, true), bob.id, end, verify)).toBe(false)
  expect(isEnd({ ...paid, session: 1 }, last, bob.id, end, verify)).toBe(false)
  // Of a voucher that is not the last nobody can say it.
  const early = pay(5000n, false)
  expect(isEnd(paid, early, bob.id, endWith(bob.secret, paid, early), verify)).toBe(false)
})

test('what a quote sets aside for a settlement pays it, with as many hosts as there may be, whoever sends it', () => {
  const world = new World()
  const p = world.chain.parameters
  for (const hosts of [1, 2, 3, 8, 16]) {
    const list = Array.from({ length: hosts }, (_, i) => ({ account: word(`host ${i}`), from: i + 100, to: i + 101 }))
    const paid = {
      chain: world.name,
      owner: word('owner'),
      channel: 70_000,
      session: 70_000,
      terms: { model: word('m'), hosts: list, limit: 9n * 10n ** 9n, untilMs: world.timeMs },
    }
    const last = { amount: 8n * 10n ** 9n, last: true, receipt: word('r'), signature: new Uint8Array(64) }
    const ends = list.map(() => new Uint8Array(64))
    const bodies = [settlementOf(paid, last, false), endingOf(paid, last, ends, list[0]!.account, false), endingOf(paid, last, ends, paid.owner, false)]
    for (const body of bodies) expect(leastFee(p, sizeOf(body, 70_000, 1n << 40n))).toBeLessThanOrEqual(priceOf(p, { price: 1n }, hosts, 0))
  }
})

test('a host goes on for a step beyond what is paid, and no further', () => {
  const { world, paid } = session()
  const p = world.chain.parameters
  const model = world.chain.state.must(keyOf.model(paid.terms.model))
  expect(tokensOnCredit(p, model, 3, null, 0, 16)).toBe(16)
  expect(tokensOnCredit(p, model, 3, null, 16, 16)).toBe(0)
  const voucher = payFor(world.who('ann').secret, paid, priceOf(p, model, 3, 20), false, word('r'))
  expect(tokensOnCredit(p, model, 3, voucher, 16, 16)).toBe(20)
  expect(tokensOnCredit(p, model, 3, voucher, 99, 16)).toBe(0)
  expect(tokensOnCredit(p, { price: 0n }, 3, null, 500, 16)).toBe(16)
})

test('stale, excessive and forged vouchers are refused before a token is computed for them', () => {
  const { world, paid } = session()
  const pay = (amount: bigint, by = 'ann') => payFor(world.who(by).secret, paid, amount, false, word('r'))
  const held = acceptVoucher(paid, null, pay(5000n), verify)
  expect(() => acceptVoucher(paid, held, pay(5000n), verify)).toThrow(/no more than/)
  expect(() => acceptVoucher(paid, held, pay(6000n, 'eve'), verify)).toThrow(/not signed/)
  expect(() => acceptVoucher(paid, held, { ...pay(6000n), amount: 7000n }, verify)).toThrow(/not signed/)
  expect(() => acceptVoucher(paid, held, { ...pay(6000n), amount: paid.terms.limit + 1n }, verify)).toThrow(/above the limit/)
  expect(() => pay(paid.terms.limit + 1n)).toThrow(/limit/)
})

test('terms that the ledger would refuse are refused by the host', () => {
  const { world, paid } = session()
  const p = world.chain.parameters
  const channel = world.chain.state.must(keyOf.channel(paid.owner, 0))
  const model = world.chain.state.must(keyOf.model(paid.terms.model))
  const check =
    (terms: object, c: typeof channel | null = channel, m: typeof model | null = model) =>
    () =>
      checkTerms(p, c, m, { ...paid.terms, ...terms }, world.timeMs)
  expect(check({})).not.toThrow()
  expect(check({}, null)).toThrow(/not open/)
  expect(check({}, { ...channel, closesMs: 5 })).toThrow(/not open/)
  expect(check({}, channel, null)).toThrow(/does not know/)
  expect(check({ limit: credit + 1n })).toThrow(/less than the limit/)
  expect(check({ limit: 10n })).toThrow(/one token/)
  expect(check({ untilMs: world.timeMs + 8 * day })).toThrow(/longer/)
  expect(check({ untilMs: world.timeMs + 1000 })).toThrow(/expire/)
  expect(check({ hosts: paid.terms.hosts.slice(1) })).toThrow(/in turn/)
  expect(check({ hosts: paid.terms.hosts.slice(0, 2) })).toThrow(/all layers/)
})

test('a requester knows what is free: reserved sessions have left the deposit, others wait', () => {
  const channel = { deposit: 10n * credit, sessions: 1, closesMs: null }
  expect(freeOf(channel, [])).toBe(10n * credit)
  expect(
    freeOf(channel, [
      { limit: 3n * credit, reserved: false },
      { limit: 5n * credit, reserved: true },
    ]),
  ).toBe(7n * credit)
  expect(freeOf(channel, [{ limit: 30n * credit, reserved: false }])).toBe(0n)
})

test('a draw names eight units of the claim, the same for everybody', () => {
  const units = probedUnits(word('draw'), 30, 100)
  expect(units).toHaveLength(8)
  expect(units.every(({ layer, position }) => layer >= 0 && layer < 30 && position >= 0 && position < 100)).toBe(true)
  expect(probedUnits(word('draw'), 30, 100)).toEqual(units)
  expect(probedUnits(word('other'), 30, 100)).not.toEqual(units)
})
