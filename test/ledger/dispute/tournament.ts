// One dispute over a tiny model's answer: a cheat against an honest watcher, or an honest host against an adversary.
import { type AdversaryName, adversaries } from '../../../ledger/dispute/adversaries.ts'
import { defence, refutation, wrongTail } from '../../../ledger/dispute/player.ts'
import { Trace } from '../../../protocol/engine/proof/trace.ts'
import { random } from '../../tiny-package.ts'
import { account, claimant, type Ended, type Entrant, newGame, play } from './arena.ts'
import type { Base, Cheat } from './cheats.ts'

const nonce = (n: number): Uint8Array => new Uint8Array(32).fill(n)

/** The cheat defends its trace alone; one honest watcher refutes it. Gives how it ended. */
export function againstCheat(cheat: Cheat, seed: number): Ended {
  const next = random(seed)
  const wrong = wrongTail(cheat.trace)
  const watcher = { account: account(1), witness: { trace: cheat.trace, wrong }, nonce: nonce(1) }
  const own = { account: claimant, witness: { trace: cheat.own, wrong: null }, nonce: nonce(2) }
  const griefer = { account: account(3), witness: watcher.witness, nonce: nonce(3) }
  const entrants: Entrant[] = [
    // Where only the cheat's trace is false its claim is true: whoever looks at the trace brings it down, though it would not have challenged.
    { ...watcher, name: 'watcher', honest: true, play: (game, now) => refutation(game, watcher, now, !cheat.false) },
    { ...own, name: 'cheat', honest: false, play: (game, now) => defence(game, own, now, true) },
  ]
  if (!cheat.false) entrants.push({ ...griefer, name: 'griefer', honest: false, play: adversaries.Griefer(griefer) })
  const { machine } = cheat.claim
  return play(newGame(machine.claimId, { stop: cheat.stop, stopIds: cheat.stopIds, maxTokens: cheat.maxTokens }), machine, entrants, next, false)
}

/**
 * A true claim that an honest host defends, against an adversary with a false trace of it: the cheat's where only its trace is false, else the true answer with the
 * cheat's alteration in one unit.
 */
export function againstHonest(cheat: Cheat, name: AdversaryName, seed: number): Ended {
  const next = random(seed)
  const { claim, trace, own } = cheat.false ? { ...cheat.base, own: falseTrace(cheat.base, next) } : cheat
  const { machine } = claim
  const host = { account: claimant, witness: { trace, wrong: null }, nonce: nonce(1) }
  const foe = { account: account(2), witness: { trace: own, wrong: { layer: machine.to, position: machine.tailFrom } }, nonce: nonce(2) }
  const griefer = { ...foe, account: account(3), nonce: nonce(3) }
  const entrants: Entrant[] = [
    { ...host, name: 'host', honest: true, play: (game, now) => defence(game, host, now) },
    { ...foe, name, honest: false, play: adversaries[name](foe, next) },
    { ...griefer, name: 'griefer', honest: false, play: adversaries.Griefer(griefer) },
  ]
  return play(newGame(machine.claimId, { maxTokens: machine.tokens.out }), machine, entrants, next, false)
}

/** The true trace with one residual changed. */
function falseTrace({ claim, model, trace }: Base, next: () => number): Trace {
  const { machine } = claim
  const unit = { layer: next() % machine.to, position: next() % machine.positions }
  const at = next()
  return new Trace({ machine, weights: model.weights, prompt: claim.prompt, out: claim.out }, (one, stage, values) => {
    if (one.layer === unit.layer && one.position === unit.position && stage.root === 'residual') values[at % values.length] ^= 1
  }).compute(trace, ({ layer, position }) => layer < unit.layer || position < unit.position)
}
