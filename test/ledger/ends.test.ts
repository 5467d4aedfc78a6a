// Requester and one host against another host, in any order of what they can send and of whatever the other has signed: she gets what her last voucher says, and no µ
// appears or vanishes (World.block checks that).
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LedgerError } from '../../ledger/errors.ts'
import { sessionIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { type Body, type SessionTerms, signEnd, termsHash } from '../../ledger/transaction.ts'
import { credit, day, World } from './world.ts'

const part = credit / 10n

/** What the two may send: a voucher over so many tenths of a credit (few, so that they often meet hers), or the end with it, with words that are theirs to show. */
const move = fc.record({
  kind: fc.constantFrom('settle', 'end', 'close', 'pass'),
  by: fc.constantFrom('dan', 'ann'),
  tenths: fc.integer({ min: 1, max: 4 }),
  last: fc.boolean(),
  known: fc.boolean(),
  words: fc.constantFrom('true', 'own', 'none', 'swapped'),
})
type Move = typeof move extends fc.Arbitrary<infer T> ? T : never

class Duel {
  readonly world = new World()
  readonly terms: SessionTerms
  /** What eve has said, by her: over the voucher that she holds, or nothing. */
  private readonly said: Uint8Array | null
  accepted = 0
  ended = 0

  constructor(tenths: number, signs: boolean) {
    const { world } = this
    const model = world.registerModel()
    world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
    for (const name of ['dan', 'eve']) world.send(name, 'stake', { amount: 100n * credit, roles: 1 })
    const hosts = ['dan', 'eve'].map((name, i) => ({ account: world.who(name).id, from: i * 2, to: i * 2 + 2 }))
    this.terms = { model, hosts, limit: 2n * credit, untilMs: world.timeMs + day }
    world.block()
    const amount = BigInt(tenths) * part
    const { owner, channel, session, receipt } = world.voucher('ann', 0, this.terms, amount, true)
    const voucher = { owner, channel, session, terms: termsHash(this.terms), amount, last: true, receipt }
    this.said = signs ? signEnd(world.who('eve').secret, world.name, voucher) : null
  }

  get session() {
    return this.world.chain.state.get(keyOf.session(sessionIdOf(this.world.name, this.world.who('ann').id, 0, 0)))
  }

  try(by: string, body: Body): void {
    try {
      this.world.submit(this.world.sign(by, body))
      this.accepted++
      if (body.kind === 'channel.end') this.ended++
    } catch (error) {
      if (!(error instanceof LedgerError)) throw error
    }
  }

  play({ kind, by, tenths, last, known, words }: Move): void {
    const { world, terms } = this
    const amount = BigInt(tenths) * part
    if (kind === 'pass') world.pass(tenths * 1000)
    else if (kind === 'close') this.try(by, { kind: 'channel.close', owner: world.who('ann').id, number: 0, session: 0 })
    else if (kind === 'settle') this.try(by, { kind: 'channel.settle', ...world.voucher('ann', 0, terms, amount, last, !known) })
    else {
      const body = world.ending('ann', 0, terms, amount, by, !known, ['dan'])
      const [dan] = body.ends
      const hers = words === 'true' ? (this.said ?? dan) : dan
      const ends = by === 'dan' ? [hers] : [dan, hers]
      this.try(by, { kind: 'channel.end', ...body, ends: words === 'none' ? [] : words === 'swapped' ? ends.toReversed() : ends })
    }
  }
}

test('whatever requester and one host send, the other gets what her voucher says: only her own word ends the session, and only with that', () => {
  let [accepted, ended] = [0, 0]
  fc.assert(
    fc.property(fc.array(move, { minLength: 1, maxLength: 16 }), fc.integer({ min: 1, max: 4 }), fc.boolean(), (moves, tenths, signs) => {
      const duel = new Duel(tenths, signs)
      for (const one of moves) duel.play(one)
      const { world, terms } = duel
      const amount = BigInt(tenths) * part
      // She looks once before ten minutes are over, as she does after fifteen seconds.
      duel.try('eve', { kind: 'channel.settle', ...world.voucher('ann', 0, terms, amount, true) })
      world.block()
      expect(duel.session!.settled).toBeGreaterThanOrEqual(amount)
      if (duel.ended > 0) expect(signs).toBe(true)
      world.pass(day)
      world.pass(day)
      expect(duel.session).toBeUndefined()
      for (const name of ['dan', 'eve']) expect(world.account(name).locked).toBe(0n)
      accepted += duel.accepted
      ended += duel.ended
    }),
    { numRuns: 150, seed: 5 },
  )
  // Not vacuous: what they may do they did, and some sessions ended by the word of all.
  expect(accepted).toBeGreaterThan(150)
  expect(ended).toBeGreaterThan(3)
}, 240_000)
