// Honest agents against every named adversary, through a relay's API: a false claim falls with one honest watcher, a true one stands, and no honest party loses anything but
// the fees of its transactions.
import { afterEach, expect, test } from 'vitest'
import { type AdversaryName, adversaries, adversaryNames } from '../../../ledger/dispute/adversaries.ts'
import type { Seat } from '../../../ledger/dispute/player.ts'
import { Trace } from '../../../protocol/engine/proof/trace.ts'
import type { Answer, Asked, Found, Mind } from '../../../relay/watch/mind.ts'
import { random } from '../../tiny-package.ts'
import { Stage } from './stage.ts'

let stage: Stage
afterEach(() => stage?.close())

/** Runs the model, but one value of one layer is another; `lies`: it also answers with another token. */
const falseMind = (honest: Mind, model: Stage['model'], lies: boolean, seed: number): Mind => ({
  answer: async (question: Asked, signal: AbortSignal): Promise<Answer> => {
    const { tokens, stop } = await honest.answer(question, signal)
    return { tokens: lies ? tokens.map((token, i) => (i === seed % 3 ? (token + 1) % 70 : token)) : tokens, stop }
  },
  evaluate: (question, signal) => honest.evaluate(question, signal),
  witness: async ({ machine, prompt, out }): Promise<Found> => {
    const unit = { layer: seed % machine.to, position: seed % machine.positions }
    const trace = new Trace({ machine, weights: model.weights, prompt, out }, (at, stage, values) => {
      if (at.layer === unit.layer && at.position === unit.position && stage.root === 'residual') values[seed % values.length] ^= 4
    }).compute()
    return { trace, wrong: { layer: machine.to, position: machine.tailFrom }, clean: false }
  },
})

const strategyOf = (name: AdversaryName, seed: number) => {
  const next = random(seed)
  return (seat: Seat) => adversaries[name]({ ...seat, witness: { ...seat.witness, wrong: name === 'BlindRefuter' ? seat.witness.wrong : null } }, next)
}

/** Fees of a party's transactions are not what it lost; a bond is more than this by far. */
const fees = 400_000n

for (const [i, name] of adversaryNames.entries()) {
  test(`${name}: a true claim stands${i % 3 === 0 ? ' and a false one falls' : ''}, and the honest lose no bond`, async () => {
    stage = await Stage.open({}, undefined, 1 + (i % 3))
    for (const who of ['bob', 'cat']) await stage.stake(who)
    await stage.block()
    const wealth = (who: string) => stage.wealth(who)
    const before = Object.fromEntries(['bob', 'cat', 'dan'].map((who) => [who, wealth(who)]))
    // True: bob answers honestly, eve is the adversary, dan watches.
    const bob = stage.play('bob', { solve: { feeMin: 0n } })
    const dan = stage.play('dan', { share: 1 })
    const eve = stage.play('eve', { share: 1, mind: falseMind(stage.mind, stage.model, false, 10 + i), strategy: strategyOf(name, i + 1) })
    const right = await stage.ask('ann', [3, 14, 15, 9])
    await stage.until(() => bob.notices.some(({ type }) => type === 'paid'), 'the pay')
    expect(stage.wealth('bob')).toBeGreaterThan(before.bob - fees)
    expect(stage.wealth('dan')).toBeGreaterThan(before.dan - fees)
    expect(stage.claimOf(right.job)).toBe(null)
    await bob.stop()
    await eve.stop()
    // Every third also the other way round: ledger/dispute/toy.test.ts plays all of them, without a relay.
    if (i % 3 !== 0) return
    // False: cat is the adversary and has answered wrongly, dan watches.
    const lost = stage.wealth('cat')
    stage.play('cat', { solve: { feeMin: 0n }, mind: falseMind(stage.mind, stage.model, true, 20 + i), strategy: strategyOf(name, i + 2) })
    const wrong = await stage.ask('ann', [2, 7, 1, 8])
    await stage.until(() => stage.claimOf(wrong.job) !== null, 'the answer')
    const claim = stage.claimOf(wrong.job)!
    await stage.until(() => stage.disputeOf(claim)?.verdict != null, 'the verdict')
    expect(stage.disputeOf(claim)!.verdict).toBe('fallen')
    expect(stage.wealth('cat')).toBeLessThan(lost - 10_000_000n)
    expect(stage.wealth('dan')).toBeGreaterThan(before.dan)
    expect(dan.notices.filter(({ type }) => type === 'trouble' || type === 'failed')).toEqual([])
  }, 300_000)
}
