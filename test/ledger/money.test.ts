// Money: amounts as people write them, fees divided without rest, nothing earned by paying oneself.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatAmount, parseAmount } from '../../ledger/amount.ts'
import { drawAuditors, drawOf, isDrawn } from '../../ledger/beacon.ts'
import { auditLevyShare, checkParameters, defaultParameters, hurried, type Parameters } from '../../ledger/genesis.ts'
import { keyOf, noAccount } from '../../ledger/records.ts'
import { splitFee } from '../../ledger/split.ts'
import { State } from '../../ledger/state.ts'
import { role } from '../../ledger/transaction.ts'
import { hex } from '../../protocol/hash.ts'
import { credit, word } from './world.ts'

test('credits are written and read without loss', () => {
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 21_000_000_000_000n }), (amount) => parseAmount(formatAmount(amount)) === amount))
  for (const bad of ['', '-1', '1.', '.5', '1.1234567', '1e3', 'NaN', '0x10', ' 1', '1,5', '99999999999999'])
    expect(() => parseAmount(bad)).toThrow(/number of credits/)
})

const shares = fc.record({ owner: fc.integer({ min: 0, max: 1000 }), trainer: fc.integer({ min: 0, max: 1000 }) })
const layers = fc.array(fc.integer({ min: 0, max: 128 }), { minLength: 1, maxLength: 8 })
const fees = fc.bigInt({ min: 0n, max: 1n << 62n })

test('the parts of a fee add up to it, none negative', () => {
  const any: fc.Arbitrary<Parameters> = fc
    .record({ burn: fc.nat(10_000), treasury: fc.nat(10_000), producer: fc.nat(10_000) })
    .map((split) => ({ ...defaultParameters, split }))
  fc.assert(
    fc.property(fees, any, shares, fc.integer({ min: 0, max: 10_000 }), layers, (fee, parameters, model, rate, weights) => {
      const split = splitFee(fee, parameters, model, rate, weights)
      const parts = [split.burn, split.levy, split.treasury, split.producer, split.owner, split.trainer, ...split.hosts]
      expect(parts.reduce((sum, part) => sum + part, 0n)).toBe(fee)
      expect(parts.every((part) => part >= 0n)).toBe(true)
    }),
  )
})

test('one party as requester, hosts, owner, trainer, producer and any part of the auditors does not profit', () => {
  const p = defaultParameters
  fc.assert(
    fc.property(fees, shares, layers, fc.boolean(), fc.integer({ min: 0, max: 10_000 }), (fee, model, weights, isNew, ownStake) => {
      const rate = isNew ? p.auditRateNew : p.auditRate
      const split = splitFee(fee, p, model, rate, weights)
      const back = split.producer + split.owner + split.trainer + split.hosts.reduce((sum, one) => sum + one, 0n)
      // Expected over the draw, in parts of 10^12 of a µ so that nothing is rounded in the party's favour: it sits on each auditor's seat with probability ownStake.
      const scale = 10n ** 12n
      const audits = (fee * scale * BigInt(rate) * BigInt(p.auditors) * BigInt(p.auditPay) * BigInt(ownStake)) / 10n ** 12n
      // Emission only for audited work, at most what it burned, less the treasury's part; an audit by its own auditors counts as passed.
      const emission = (split.burn * scale * BigInt(rate) * BigInt(10_000 - p.emission.treasuryShare)) / 10n ** 8n
      const profit = back * scale + audits + emission - fee * scale
      // Shares are rounded down by less than a µ each, and so is the levy.
      expect(profit <= scale).toBe(true)
    }),
    { numRuns: 2000 },
  )
})

test('even if every claim were audited by the party itself, it gains less than it pays at the default rate', () => {
  const p = defaultParameters
  const fee = 1_000_000n
  const split = splitFee(fee, p, { owner: 1000, trainer: 1000 }, p.auditRate, [1])
  expect(auditLevyShare(p, p.auditRate)).toBe(500)
  expect(split.levy).toBe((fee * 5n) / 100n)
  expect(split.treasury + split.burn + split.levy).toBe((fee * 12n) / 100n)
})

test('a wrong answer does not pay: the stake is above what deterrence asks for at a third of dishonest auditors', () => {
  const p = defaultParameters
  // Parts of a million. Detected when drawn and not both auditors are dishonest; nobody else looks (r = 0).
  const drawn = p.auditRate * 100
  const bothDishonest = 111_112
  const detected = Math.floor((drawn * (1_000_000 - bothDishonest)) / 1_000_000)
  // S > g (1 − p) / p with g = F.
  const needed = Math.ceil((1_000_000 - detected) / detected)
  expect(needed).toBe(22)
  expect(p.stakeFactor).toBeGreaterThan(needed)
})

test('drawn by the real beacon, a liar among auditors of whom a third lie too is caught often enough to lose', () => {
  const p = defaultParameters
  const state = new State()
  const liars = new Set<string>()
  for (let i = 0; i < 30; i++) {
    const id = word(`auditor ${i}`)
    state.set(keyOf.account(id), { ...noAccount, stake: 100n * credit, roles: role.auditor })
    if (i % 3 === 0) liars.add(hex(id))
  }
  state.keep()
  const claims = 40_000
  let caught = 0
  let drawn = 0
  for (let i = 0; i < claims; i++) {
    const draw = drawOf(word('beacon'), word(`claim ${i}`))
    if (!isDrawn(draw, p.auditRate)) continue
    drawn++
    const auditors = drawAuditors(state, draw, p, new Set())
    expect(new Set(auditors).size).toBe(p.auditors)
    if (auditors.some((id) => !liars.has(id))) caught++
  }
  // 5 % of 40,000 within four standard deviations (174).
  expect(Math.abs(drawn - 2000)).toBeLessThan(175)
  // The gain of every lie that was not caught is less than the stakes of those that were: F · (claims − caught) < 32 F · caught.
  expect(claims - caught).toBeLessThan(p.stakeFactor * caught)
})

test('default parameters and hurried ones are sound', () => {
  expect(() => checkParameters(defaultParameters)).not.toThrow()
  expect(() => checkParameters(hurried(defaultParameters, 3600))).not.toThrow()
})
