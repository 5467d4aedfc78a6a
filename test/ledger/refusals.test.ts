// Every transaction type with everything that can be wrong with it: refused with a reason, the root equal before and after (World.refusal compares them).
import { encode } from '@ipld/dag-cbor'
import { beforeAll, describe, expect, test } from 'vitest'
import { encodeAs } from '../../ledger/codec.ts'
import { claimIdOf, outOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { auditCommitmentOf, type Body, commitmentOf, decodeTransaction, type Kind, kinds, sessionTerms, transactionBytesMax } from '../../ledger/transaction.ts'
import { join } from '../../protocol/hash.ts'
import { nobody, Scene } from './scene.ts'
import { credit, day, person, testCore, word } from './world.ts'

let scene: Scene
beforeAll(() => {
  scene = new Scene()
})

const huge = (1n << 63n) - 1n

const body = (fields: unknown): Body => fields as Body
const registration = (change: object = {}): Body => scene.registration(change)
const fee = (change: object = {}): Body => scene.fee(change)
const job = (change: object = {}): Body => scene.job(change)
const reveal = (change: object = {}): Body => scene.reveal(change)
const settle = (...args: Parameters<Scene['settle']>): Body => scene.settle(...args)
const end = (...args: Parameters<Scene['end']>): Body => scene.end(...args)
const equivocation = (...args: Parameters<Scene['equivocation']>): Body => scene.equivocation(...args)

/** By kind: who may, a good one, and the bad ones: name -> [code, sender, body]. */
const cases: Record<Kind, { by: string; good: (() => Body) | null; bad: Record<string, [code: string, by: string, body: () => Body]> }> = {
  transfer: {
    by: 'ann',
    good: () => body({ kind: 'transfer', to: nobody, amount: 1n, note: new Uint8Array(0) }),
    bad: {
      'to oneself': ['range', 'ann', () => body({ kind: 'transfer', to: scene.who('ann').id, amount: 1n, note: new Uint8Array(0) })],
      'of nothing': ['range', 'ann', () => body({ kind: 'transfer', to: nobody, amount: 0n, note: new Uint8Array(0) })],
      'of more than there is': ['balance', 'ann', () => body({ kind: 'transfer', to: nobody, amount: 1_000_000n * credit, note: new Uint8Array(0) })],
      'of the largest amount': ['balance', 'ann', () => body({ kind: 'transfer', to: nobody, amount: huge, note: new Uint8Array(0) })],
    },
  },
  stake: {
    by: 'ann',
    good: () => body({ kind: 'stake', amount: credit, roles: 1 }),
    bad: {
      'of more than there is': ['balance', 'ann', () => body({ kind: 'stake', amount: huge, roles: 1 })],
      'that changes nothing': ['range', 'ann', () => body({ kind: 'stake', amount: 0n, roles: 0 })],
    },
  },
  unstake: {
    by: 'cat',
    good: () => body({ kind: 'unstake', amount: credit }),
    bad: {
      'of nothing': ['range', 'cat', () => body({ kind: 'unstake', amount: 0n })],
      'of locked stake': ['balance', 'bob', () => body({ kind: 'unstake', amount: scene.account('bob').stake })],
      'of more than there is': ['balance', 'cat', () => body({ kind: 'unstake', amount: huge })],
      'without any': ['balance', 'ann', () => body({ kind: 'unstake', amount: 1n })],
    },
  },
  'model.register': {
    by: 'eve',
    good: () => registration(),
    bad: {
      'that is there': [
        'exists',
        'eve',
        () =>
          registration({ core: testCore('test'), tensorTableRoot: word('tensors test'), constTablesRoot: word('tables'), shardListHash: word('shards test') }),
      ],
      'with a broken core': ['encoding', 'eve', () => registration({ core: testCore('second').subarray(1) })],
      'with greedy shares': ['range', 'eve', () => registration({ split: { owner: 9000, trainer: 0 } })],
      'with too many audits': ['range', 'eve', () => registration({ auditRate: 9999 })],
    },
  },
  'model.transfer': {
    by: 'operator',
    good: () => body({ kind: 'model.transfer', model: scene.model, to: nobody }),
    bad: {
      'by another': ['role', 'eve', () => body({ kind: 'model.transfer', model: scene.model, to: nobody })],
      'of none': ['missing', 'operator', () => body({ kind: 'model.transfer', model: nobody, to: nobody })],
    },
  },
  'model.setFee': {
    by: 'operator',
    good: () => fee(),
    bad: {
      'by another': ['role', 'eve', () => fee()],
      'of none': ['missing', 'operator', () => fee({ model: nobody })],
      'with greedy shares': ['range', 'operator', () => fee({ split: { owner: 2001, trainer: 0 } })],
    },
  },
  'job.create': {
    by: 'ann',
    good: () => job(),
    bad: {
      'without fee': ['range', 'ann', () => job({ fee: 0n })],
      'of an unknown model': ['missing', 'ann', () => job({ model: nobody })],
      'too late': ['range', 'ann', () => job({ deadlineMs: scene.timeMs - 10_000 })],
      'for years': ['range', 'ann', () => job({ deadlineMs: scene.timeMs + 400 * day })],
      'beyond the context': ['range', 'ann', () => job({ promptCount: 32_768, maxTokens: 1 })],
      'with a sampler that is none': ['range', 'ann', () => job({ sampler: new Uint8Array(64).fill(9) })],
      'with a stop id twice': ['range', 'ann', () => job({ stopIds: [2, 2] })],
      'of a segment, for many tokens': ['range', 'ann', () => job({ maxTokens: 2, segment: { layers: { from: 1, to: 3 }, boundary: nobody } })],
      'of a segment, with rows where tokens enter': ['range', 'ann', () => job({ maxTokens: 1, segment: { layers: { from: 0, to: 3 }, boundary: nobody } })],
      'of layers that are not there': ['range', 'ann', () => job({ segment: { layers: { from: 2, to: 5 }, boundary: nobody } })],
      'that costs too much': ['balance', 'ann', () => job({ fee: 1_000_000n * credit })],
    },
  },
  'job.commit': {
    by: 'bob',
    good: () => body({ kind: 'job.commit', job: scene.freshJob, commitment: nobody }),
    bad: {
      'to none': ['missing', 'bob', () => body({ kind: 'job.commit', job: nobody, commitment: nobody })],
      twice: ['exists', 'bob', () => body({ kind: 'job.commit', job: scene.committedJob, commitment: nobody })],
      'to an answered job': ['phase', 'cat', () => body({ kind: 'job.commit', job: scene.answeredJob, commitment: nobody })],
      'without stake': ['balance', 'eve', () => body({ kind: 'job.commit', job: scene.freshJob, commitment: nobody })],
    },
  },
  'job.reveal': {
    by: 'bob',
    good: () => reveal(),
    bad: {
      'of another answer': ['proof', 'bob', () => reveal({ m: 6 })],
      'with another nonce': ['proof', 'bob', () => reveal({ nonce: nobody })],
      "of somebody else's": ['missing', 'cat', () => reveal()],
      'without commit': ['missing', 'bob', () => reveal({ job: scene.freshJob })],
      'of too many tokens': ['range', 'bob', () => reveal({ m: 21 })],
      'of an answered job': ['missing', 'bob', () => reveal({ job: scene.answeredJob })],
    },
  },
  'job.claim': {
    by: 'bob',
    good: null,
    bad: {
      'too early': ['phase', 'bob', () => body({ kind: 'job.claim', job: scene.answeredJob })],
      'without answer': ['phase', 'bob', () => body({ kind: 'job.claim', job: scene.freshJob })],
      'of none': ['missing', 'bob', () => body({ kind: 'job.claim', job: nobody })],
    },
  },
  'job.cancel': {
    by: 'ann',
    good: () => body({ kind: 'job.cancel', job: scene.freshJob }),
    bad: {
      'by another': ['role', 'bob', () => body({ kind: 'job.cancel', job: scene.freshJob })],
      'after a commit': ['phase', 'ann', () => body({ kind: 'job.cancel', job: scene.committedJob })],
      'after an answer': ['phase', 'ann', () => body({ kind: 'job.cancel', job: scene.answeredJob })],
      'of none': ['missing', 'ann', () => body({ kind: 'job.cancel', job: nobody })],
    },
  },
  'job.expire': {
    by: 'dan',
    good: null,
    bad: {
      'too early': ['phase', 'dan', () => body({ kind: 'job.expire', job: scene.freshJob })],
      'after an answer': ['phase', 'dan', () => body({ kind: 'job.expire', job: scene.answeredJob })],
      'of none': ['missing', 'dan', () => body({ kind: 'job.expire', job: nobody })],
    },
  },
  'audit.commit': {
    by: 'cat',
    good: null,
    bad: {
      'to no claim': ['missing', 'cat', () => body({ kind: 'audit.commit', claim: nobody, commitment: nobody })],
      undrawn: ['phase', 'cat', () => body({ kind: 'audit.commit', claim: sessionId(), commitment: nobody })],
    },
  },
  'audit.report': {
    by: 'cat',
    good: null,
    bad: {
      'on no claim': ['missing', 'cat', () => body({ kind: 'audit.report', claim: nobody, answer: nobody, leaves: [], salt: nobody })],
      undrawn: ['phase', 'cat', () => body({ kind: 'audit.report', claim: sessionId(), answer: nobody, leaves: [], salt: nobody })],
    },
  },
  'dispute.open': {
    by: 'dan',
    good: null,
    bad: {
      'of no claim': ['missing', 'dan', () => body({ kind: 'dispute.open', claim: nobody, host: 0, opening: new Uint8Array(0) })],
      'of a running session': ['phase', 'dan', () => body({ kind: 'dispute.open', claim: sessionId(), host: 0, opening: new Uint8Array(0) })],
      'of a host that is not there': ['range', 'dan', () => body({ kind: 'dispute.open', claim: scene.claim, host: 7, opening: new Uint8Array(0) })],
    },
  },
  'dispute.move': {
    by: 'dan',
    good: null,
    bad: { 'in none': ['missing', 'dan', () => body({ kind: 'dispute.move', dispute: nobody, move: new Uint8Array(0) })] },
  },
  'dispute.judge': {
    by: 'dan',
    good: null,
    bad: { 'in none': ['missing', 'dan', () => body({ kind: 'dispute.judge', dispute: nobody, evidence: new Uint8Array(0) })] },
  },
  'dispute.timeout': { by: 'dan', good: null, bad: { 'in none': ['missing', 'dan', () => body({ kind: 'dispute.timeout', dispute: nobody })] } },
  'dispute.equivocation': {
    by: 'dan',
    good: () => equivocation(),
    bad: {
      'with the same record twice': ['proof', 'dan', () => equivocation(1, 1)],
      'about two positions': ['proof', 'dan', () => equivocation(1, 2, 6)],
      'signed by another': ['signature', 'dan', () => equivocation(1, 2, 5, 'eve', 'cat')],
      'of no record': ['encoding', 'dan', () => ({ ...equivocation(), first: new Uint8Array(9) }) as Body],
      'of a host without stake': ['balance', 'dan', () => equivocation(1, 2, 5, 'eve')],
    },
  },
  'channel.open': {
    by: 'ann',
    good: () => body({ kind: 'channel.open', number: 1, deposit: credit }),
    bad: {
      again: ['exists', 'ann', () => body({ kind: 'channel.open', number: 0, deposit: credit })],
      'out of turn': ['range', 'ann', () => body({ kind: 'channel.open', number: 2, deposit: credit })],
      'with nothing': ['range', 'ann', () => body({ kind: 'channel.open', number: 1, deposit: 0n })],
      'with more than there is': ['balance', 'ann', () => body({ kind: 'channel.open', number: 1, deposit: huge })],
    },
  },
  'channel.topUp': {
    by: 'ann',
    good: () => body({ kind: 'channel.topUp', number: 0, amount: credit }),
    bad: {
      'of none': ['missing', 'ann', () => body({ kind: 'channel.topUp', number: 9, amount: credit })],
      'by nothing': ['range', 'ann', () => body({ kind: 'channel.topUp', number: 0, amount: 0n })],
      'by more than there is': ['balance', 'ann', () => body({ kind: 'channel.topUp', number: 0, amount: huge })],
    },
  },
  'channel.settle': {
    by: 'bob',
    good: () => settle(credit + credit / 2n),
    bad: {
      'with a stale voucher': ['stale', 'bob', () => settle(credit)],
      'with an older voucher': ['stale', 'bob', () => settle(credit / 2n)],
      'above its limit': ['range', 'bob', () => settle(3n * credit)],
      'by a stranger': ['role', 'eve', () => settle(credit + credit / 2n)],
      'with a voucher for less': ['signature', 'bob', () => settle(credit + 5000n, { amount: credit + 9000n })],
      'with a voucher by another': ['signature', 'bob', () => settle(credit + 5000n, { voucher: new Uint8Array(64) })],
      'with other terms': ['proof', 'bob', () => settle(credit + 5000n, {}, 0, { ...scene.terms, limit: 3n * credit })],
      'from no channel': ['missing', 'bob', () => settle(credit + 5000n, { channel: 4 })],
      'of an unknown session': ['missing', 'bob', () => settle(credit + 5000n, { session: 8, terms: null })],
      'for less than the fee': ['fee', 'bob', () => settle(credit + 10n)],
      'with a gap in the layers': ['range', 'bob', () => settle(credit, {}, 5, { ...scene.terms, hosts: [{ account: scene.who('bob').id, from: 1, to: 4 }] })],
      'of part of the model': ['range', 'bob', () => settle(credit, {}, 5, { ...scene.terms, hosts: [{ account: scene.who('bob').id, from: 0, to: 3 }] })],
      'of an unknown model': ['missing', 'bob', () => settle(credit, {}, 5, { ...scene.terms, model: nobody })],
      'after it expired': ['phase', 'bob', () => settle(credit, {}, 5, { ...scene.terms, untilMs: scene.timeMs - 5000 })],
      'for longer than a session may last': ['range', 'bob', () => settle(credit, {}, 5, { ...scene.terms, untilMs: scene.timeMs + 8 * day })],
      'beyond the deposit': ['balance', 'bob', () => settle(credit, {}, 5, { ...scene.terms, limit: 9n * credit })],
    },
  },
  'channel.close': {
    by: 'ann',
    good: () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 0, session: null }),
    bad: {
      'by another': ['role', 'eve', () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 0, session: null })],
      'of a session by a stranger': ['role', 'eve', () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 0, session: 0 })],
      'of a session by the owner': ['role', 'ann', () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 0, session: 0 })],
      'of none': ['missing', 'ann', () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 3, session: null })],
      'of no session': ['missing', 'bob', () => body({ kind: 'channel.close', owner: scene.who('ann').id, number: 0, session: 9 })],
    },
  },
  'channel.end': {
    by: 'bob',
    good: () => end(credit / 2n),
    bad: {
      'by a stranger': ['role', 'eve', () => end(credit / 2n)],
      'without the word of another host': ['range', 'bob', () => end(credit / 2n, { ends: [] })],
      'with words that nobody asked for': ['range', 'ann', () => end(credit / 2n)],
      'with the word of a stranger': [
        'signature',
        'bob',
        () => end(credit / 2n, { ends: scene.ending('ann', 2, scene.pair, credit / 2n, 'bob', true, ['eve']).ends }),
      ],
      'with a word about another amount': ['signature', 'bob', () => end(credit / 2n, { ends: scene.ending('ann', 2, scene.pair, credit / 3n, 'bob').ends })],
      'with a word about another session': ['signature', 'bob', () => end(credit / 2n, { ends: scene.ending('ann', 3, scene.pair, credit / 2n, 'bob').ends })],
      'with a word about other terms': [
        'signature',
        'bob',
        () => end(credit / 2n, { ends: scene.ending('ann', 2, { ...scene.pair, limit: credit }, credit / 2n, 'bob').ends }),
      ],
      'with a voucher in place of a word': [
        'signature',
        'bob',
        () => end(credit / 2n, { ends: [scene.voucher('cat', 2, scene.pair, credit / 2n, true).voucher] }),
      ],
      'with a voucher that is not the last': [
        'signature',
        'bob',
        () => end(credit / 2n, { voucher: scene.voucher('ann', 2, scene.pair, credit / 2n, false).voucher }),
      ],
      'with a voucher by another': ['signature', 'bob', () => end(credit / 2n, { voucher: new Uint8Array(64) })],
      'above its limit': ['range', 'bob', () => end(3n * credit)],
      'for less than the fee': ['fee', 'bob', () => end(10n)],
      'of an unknown session': ['missing', 'bob', () => end(credit / 2n, { terms: null })],
      'from no channel': ['missing', 'bob', () => end(credit / 2n, { channel: 4 })],
      'below what was settled': ['stale', 'ann', () => end(credit / 2n, { terms: null }, 0, 'ann', scene.terms)],
      'by a host, of what was settled': ['stale', 'bob', () => end(credit, { terms: null }, 0, 'bob', scene.terms)],
      'by the owner, of what was settled, without the host': ['range', 'ann', () => end(credit, { terms: null, ends: [] }, 0, 'ann', scene.terms)],
      'after it expired': ['phase', 'bob', () => end(credit / 2n, {}, 2, 'bob', { ...scene.pair, untilMs: scene.timeMs - 5000 })],
    },
  },
  'channel.reclaim': {
    by: 'ann',
    good: null,
    bad: {
      'while open': ['phase', 'ann', () => body({ kind: 'channel.reclaim', number: 0 })],
      'of none': ['missing', 'ann', () => body({ kind: 'channel.reclaim', number: 4 })],
      "of another's": ['missing', 'eve', () => body({ kind: 'channel.reclaim', number: 0 })],
    },
  },
  'faucet.grant': {
    by: 'operator',
    good: () => body({ kind: 'faucet.grant', to: nobody }),
    bad: { 'by another': ['role', 'eve', () => body({ kind: 'faucet.grant', to: nobody })] },
  },
  'parameters.set': {
    by: 'operator',
    good: () => body({ kind: 'parameters.set', parameters: { ...scene.chain.parameters, feeBase: 90n } }),
    bad: {
      'by another': ['role', 'eve', () => body({ kind: 'parameters.set', parameters: scene.chain.parameters })],
      'of an unknown version': ['range', 'operator', () => body({ kind: 'parameters.set', parameters: { ...scene.chain.parameters, version: 2 } })],
      'with more than the whole': ['range', 'operator', () => body({ kind: 'parameters.set', parameters: { ...scene.chain.parameters, modelShareMax: 9000 } })],
      'with a fee that is no amount': [
        'range',
        'operator',
        () => body({ kind: 'parameters.set', parameters: { ...scene.chain.parameters, feePerByte: 1n << 50n } }),
      ],
      'that let stake leave early': ['range', 'operator', () => body({ kind: 'parameters.set', parameters: { ...scene.chain.parameters, unbondMs: 5 } })],
    },
  },
  'validators.set': {
    by: 'operator',
    good: () => body({ kind: 'validators.set', validators: [{ key: nobody, power: 3 }] }),
    bad: {
      'by another': ['role', 'eve', () => body({ kind: 'validators.set', validators: [{ key: nobody, power: 3 }] })],
      'without power': ['range', 'operator', () => body({ kind: 'validators.set', validators: [{ key: nobody, power: 0 }] })],
      'with one twice': [
        'range',
        'operator',
        () =>
          body({
            kind: 'validators.set',
            validators: [
              { key: nobody, power: 1 },
              { key: nobody, power: 1 },
            ],
          }),
      ],
    },
  },
}

const sessionId = (): Uint8Array => scene.sessionId

describe.each(kinds)('%s', (kind) => {
  const { by, good, bad } = cases[kind]
  /** Something of this kind that reaches the checks before its rule. */
  const any = (): Body => good?.() ?? Object.values(bad)[0][2]()

  test('is refused with a wrong signature, nonce, chain or fee', () => {
    const flip = (bytes: Uint8Array, at: number): Uint8Array => bytes.with(at < 0 ? bytes.length + at : at, bytes[at < 0 ? bytes.length + at : at] ^ 1)
    expect(scene.refusal(flip(scene.sign(by, any()), -1))).toBe('signature')
    expect(scene.refusal(flip(scene.sign(by, any()), -40))).toBe('signature')
    expect(scene.refusal(scene.sign(by, any(), { secret: person('mallory').secret, nonce: 0 }))).toMatch(/balance|signature|stale|phase|missing|role|range/)
    const { nonce } = scene.account(by)
    expect(scene.refusal(scene.sign(by, any(), { nonce: nonce + 1 }))).toBe('nonce')
    if (nonce > 0) expect(scene.refusal(scene.sign(by, any(), { nonce: nonce - 1 }))).toBe('nonce')
    expect(scene.refusal(scene.sign(by, any(), { chain: word('another chain') }))).toBe('chain')
    // The same first four bytes, another chain: only the signature can tell.
    expect(scene.refusal(scene.sign(by, any(), { chain: join([scene.name.subarray(0, 4), word('x').subarray(4)]) }))).toBe('signature')
    expect(scene.refusal(scene.sign(by, any(), { fee: 10n }))).toBe('fee')
    const ownFee = kind !== 'channel.settle' && kind !== 'channel.end'
    expect(scene.refusal(scene.sign(by, any(), { fee: huge }))).toBe(ownFee ? 'balance' : 'fee')
  })

  test('is refused in any other form than its canonical one', () => {
    const bytes = scene.sign(by, any())
    const parts = decodeTransaction(bytes)
    const refused = (data: Uint8Array) => scene.refusal(join([data, parts.signature]))
    expect(refused(parts.unsigned.subarray(1))).toMatch(/encoding/)
    expect(refused(join([parts.unsigned, Uint8Array.of(0)]))).toBe('encoding')
    expect(refused(new Uint8Array(0))).toBe('encoding')
    expect(refused(encode([1, 200, 0, nobody, 0, 0, []]))).toBe('encoding')
    expect(refused(encode([2, kinds.indexOf(kind), 0, nobody, 0, 0, []]))).toBe('encoding')
    expect(refused(encode([1, kinds.indexOf(kind), 0, nobody, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]]))).toBe('encoding')
    expect(refused(encode([1, kinds.indexOf(kind), 0, nobody, -1, 0, []]))).toBe('range')
    expect(refused(encode([1, kinds.indexOf(kind), 0, nobody, 0, -1, []]))).toBe('range')
    expect(refused(encode([1, kinds.indexOf(kind), 0, nobody, 0, 1.5, []]))).toBe('encoding')
    expect(scene.refusal(new Uint8Array(transactionBytesMax + 1))).toBe('oversized')
  })

  for (const [name, [code, sender, make]] of Object.entries(bad)) {
    test(`${name}: ${code}`, () => {
      expect(scene.refusal(scene.sign(sender, make()))).toBe(code)
    })
  }

  // A control: what the refusals are variations of would have been accepted.
  if (good)
    test('is accepted when nothing is wrong, and refused the second time', () => {
      const bytes = scene.sign(by, good())
      const twin = new Scene()
      expect(twin.refusal(bytes)).toBe('accepted')
      twin.block()
      expect(twin.refusal(bytes)).toBe('nonce')
    })
})

test('terms that are no terms cannot be encoded', () => {
  expect(() => encodeAs(sessionTerms, { ...scene.terms, limit: -1n })).toThrow(/amount/)
  expect(() => encodeAs(sessionTerms, { ...scene.terms, limit: 1n << 63n })).toThrow(/amount/)
})

test('a reveal in the block of its commit is refused', () => {
  const world = new Scene()
  const out = outOf(world.freshJob, world.out)
  world.send('bob', 'job.commit', { job: world.freshJob, commitment: commitmentOf(world.name, world.who('bob').id, out, world.nonce) })
  const early = world.sign('bob', { kind: 'job.reveal', job: world.freshJob, ...world.out, answer: word('answer'), nonce: world.nonce })
  expect(world.refusal(early)).toBe('phase')
})

test('a copied commitment opens for nobody else', () => {
  const world = new Scene()
  const out = outOf(world.freshJob, world.out)
  const commitment = commitmentOf(world.name, world.who('bob').id, out, world.nonce)
  world.send('bob', 'job.commit', { job: world.freshJob, commitment })
  world.send('cat', 'job.commit', { job: world.freshJob, commitment })
  world.block()
  const fields = { job: world.freshJob, ...world.out, answer: word('answer'), nonce: world.nonce }
  expect(world.refusal(world.sign('cat', { kind: 'job.reveal', ...fields }))).toBe('proof')
  world.send('bob', 'job.reveal', fields)
  expect(world.chain.state.get(keyOf.job(world.freshJob))!.claim).toEqual(claimIdOf(out, world.who('bob').id))
})

test('an auditor cannot show another report than it committed to', () => {
  const report = { answer: word('a'), leaves: [word('b')], salt: word('c') }
  const mine = auditCommitmentOf(scene.name, scene.claim, scene.who('cat').id, report)
  expect(mine).not.toEqual(auditCommitmentOf(scene.name, scene.claim, scene.who('bob').id, report))
  expect(mine).not.toEqual(auditCommitmentOf(scene.name, scene.claim, scene.who('cat').id, { ...report, leaves: [] }))
})
