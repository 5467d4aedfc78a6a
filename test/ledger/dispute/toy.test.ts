import { expect, test } from 'vitest'
import { type AdversaryName, adversaries, adversaryNames } from '../../../ledger/dispute/adversaries.ts'
import { defence, refutation, wrongTail } from '../../../ledger/dispute/player.ts'
import type { Trace } from '../../../protocol/engine/proof/trace.ts'
import { random } from '../../tiny-package.ts'
import { account, claimant, type Ended, type Entrant, newGame, play } from './arena.ts'
import { toyAnswer, toyPrompt, toyTrace } from './toy.ts'

const nonce = (n: number): Uint8Array => new Uint8Array(32).fill(n)

/** An honest player that looks only now and then: HonestSolver, HonestWatcher. */
function honest(name: string, n: number, trace: Trace, wrong: ReturnType<typeof wrongTail>, asleep: number): Entrant {
  const seat = { account: account(n), witness: { trace, wrong }, nonce: nonce(n) }
  return {
    ...seat,
    name,
    honest: true,
    asleep,
    play: (game, now) => defence(game, seat, now) ?? refutation(game, seat, now),
  }
}

interface ToyGame {
  seed: number
  truth: boolean
  cast: AdversaryName[]
  /** Honest players are awake this often, in percent. */
  asleep?: number
  twoHonest?: boolean
  /** The claimant itself defends, honestly or not. */
}

/** A claim of the toy, true or with a wrong token, one honest player and adversaries with false traces. */
function toyGame({ seed, truth, cast, asleep = 50, twoHonest = false }: ToyGame): Ended {
  const next = random(seed)
  const prompt = toyPrompt(seed)
  const right = toyAnswer(prompt, 3)
  const claimed = truth ? right : right.map((token, i) => (i === next() % 3 || (i === 2 && right.length === 3) ? (token + 1 + (next() % 20)) % 26 : token))
  const trace = toyTrace(prompt, claimed)
  const wrong = wrongTail(trace)
  expect(wrong === null).toBe(claimed.every((token, i) => token === right[i]))
  const isTrue = wrong === null
  const entrants: Entrant[] = [honest('watcher', 1, trace, wrong, asleep)]
  if (twoHonest) entrants.push(honest('solver', 2, trace, wrong, asleep))
  cast.forEach((name, i) => {
    // A false trace: one value of one stage is another, what follows is computed from it or not.
    const unit = { layer: next() % 2, position: next() % trace.machine.positions }
    const label = ['enter', 'key', 'value', 'look', 'leave'][next() % 5]
    const own =
      name === 'Vanisher'
        ? trace
        : toyTrace(prompt, claimed, (at, stage, values) => {
            if (at.layer === unit.layer && at.position === unit.position && stage.label === label) values[next() % values.length] ^= 1 << (next() % 3)
          })
    const seat = {
      account: i === 0 ? claimant : account(10 + i),
      witness: { trace: own, wrong: name === 'BlindRefuter' ? { layer: 2, position: trace.machine.tailFrom } : wrong },
      nonce: nonce(10 + i),
    }
    entrants.push({ ...seat, name, honest: false, play: adversaries[name](seat, next) })
  })
  const ended = play(newGame(trace.machine.claimId), trace.machine, entrants, next)
  if (isTrue) {
    if (ended.outcome !== 'upheld') throw new Error(`seed ${seed} ${cast}: a true claim fell`)
  } else if (ended.outcome !== 'fallen') throw new Error(`seed ${seed} ${cast}: a false claim stood`)
  return ended
}

for (const name of adversaryNames) {
  test(`${name}: a true claim stands and a false one falls, and the honest lose nothing`, () => {
    for (let seed = 0; seed < 6; seed++) {
      toyGame({ seed, truth: true, cast: [name, 'Griefer'] })
      toyGame({ seed, truth: false, cast: [name, 'Cheat'] })
    }
  })
}

test('mixed casts of adversaries change no verdict', () => {
  for (let seed = 100; seed < 114; seed++) {
    const next = random(seed)
    const cast = Array.from({ length: 2 + (next() % 4) }, () => adversaryNames[next() % adversaryNames.length])
    toyGame({ seed, truth: true, cast: [...cast, 'Griefer'], asleep: next() % 90 })
    toyGame({ seed, truth: false, cast, asleep: next() % 90, twoHonest: true })
  }
})

test('a disputed game without adversaries is short', () => {
  const ended = toyGame({ seed: 5, truth: false, cast: ['Cheat'], asleep: 0 })
  expect(ended.reveals).toBeLessThanOrEqual(9)
})
