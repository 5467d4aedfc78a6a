import { expect, test } from 'vitest'
import { DisputeError } from '../../../ledger/dispute/errors.ts'
import { applyMove, challengeHash, chunkTokens, deadlineOf, dueMove, type Game, type MoveContext, stopBroken } from '../../../ledger/dispute/game.ts'
import type { Move } from '../../../ledger/dispute/moves.ts'
import { expansionOf } from '../../../ledger/dispute/player.ts'
import { encodeGame } from '../../../ledger/dispute/state.ts'
import { encodeValues } from '../../../protocol/engine/proof/table.ts'
import { join, u32s } from '../../../protocol/hash.ts'
import { account, claimant, newGame, requester, rules } from './arena.ts'
import { toyAnswer, toyTrace } from './toy.ts'

const prompt = [3, 1]
const trace = toyTrace(prompt, toyAnswer(prompt, 3))
const { machine } = trace
const nonce = account(8)

const at = (by: number, tau: number, height = tau): MoveContext => ({ by: account(by), now: { tau, height }, machine })

/** Plays a move that must be accepted. */
function played(game: Game, move: Move, context: MoveContext): Game {
  const found = applyMove(game, move, context)
  if (found instanceof DisputeError) throw found
  return found.game
}

/** The code of a move that must be refused and change nothing. */
function refused(game: Game, move: Move, context: MoveContext): string {
  const before = encodeGame(game)
  const found = applyMove(game, move, context)
  expect(encodeGame(game)).toEqual(before)
  return found instanceof DisputeError ? found.code : 'accepted'
}

const challenged = (): Game => {
  const committed = played(newGame(machine.claimId), { kind: 'commit', hash: challengeHash(machine.claimId, account(1), nonce) }, at(1, 1))
  return played(committed, { kind: 'challenge', nonce }, at(1, 5))
}

test('a challenge is revealed two blocks after its commitment, by whom it names', () => {
  const fresh = newGame(machine.claimId)
  expect(refused(fresh, { kind: 'challenge', nonce }, at(1, 1))).toBe('unknown')
  const committed = played(fresh, { kind: 'commit', hash: challengeHash(machine.claimId, account(1), nonce) }, at(1, 1))
  expect(refused(committed, { kind: 'challenge', nonce }, at(1, 2))).toBe('early')
  expect(refused(committed, { kind: 'challenge', nonce }, at(2, 5))).toBe('unknown')
  expect(refused(played(committed, { kind: 'challenge', nonce }, at(1, 5)), { kind: 'challenge', nonce }, at(1, 6))).toBe('phase')
  expect(refused(fresh, { kind: 'commit', hash: nonce }, at(1, rules.challengeWindow))).toBe('late')
})

test('at any time either the move or its timeout is valid, never both', () => {
  let game = played(challenged(), { kind: 'defend', top: trace.outer.top }, at(2, 10))
  game = played(game, { kind: 'unit', root: 0, layer: 0, position: 0 }, at(1, 20))
  const expand = { ...expansionOf({ trace, wrong: null }, 0, { layer: 0, position: 0 }) }
  for (const tau of [21, 20 + rules.expandWindow - 1, 20 + rules.expandWindow, 20 + 2 * rules.expandWindow]) {
    const move = applyMove(game, expand, at(2, tau))
    const timeout = applyMove(game, { kind: 'timeout', path: 0, expansion: null }, at(3, tau))
    expect([move, timeout].filter((one) => !(one instanceof DisputeError))).toHaveLength(1)
    expect(dueMove(game, { now: { tau, height: tau }, machine }) !== null).toBe(move instanceof DisputeError)
  }
  expect(deadlineOf(game)).not.toBeNull()
  // Blocks count as well as time.
  const late = at(3, 20 + rules.expandWindow, 20 + rules.blocksMin - 1)
  expect(refused(game, { kind: 'timeout', path: 0, expansion: null }, late)).toBe('early')
})

test('moves with wrong hashes, of others, twice, or after the end are refused and change nothing', () => {
  const { top } = trace.outer
  let game = played(challenged(), { kind: 'defend', top }, at(2, 10))
  expect(refused(game, { kind: 'defend', top }, at(2, 11))).toBe('phase')
  expect(refused(game, { kind: 'path', root: 1, level: 0, index: 0 }, at(1, 12))).toBe('unknown')
  expect(refused(game, { kind: 'path', root: 0, level: 0, index: 3 }, at(1, 12))).toBe('unknown')
  game = played(game, { kind: 'path', root: 0, level: trace.outer.depth, index: 0 }, at(1, 12))
  const children = join(trace.outer.children(trace.outer.depth, 0, trace.outer.depth))
  const bad = children.slice()
  bad[5] ^= 1
  const reveal: Move = { kind: 'reveal', root: 0, level: trace.outer.depth, index: 0, children }
  expect(refused(game, { ...reveal, children: bad }, at(2, 13))).toBe('proof')
  expect(refused(game, { ...reveal, children: children.subarray(32) }, at(2, 13))).toBe('proof')
  game = played(game, reveal, at(2, 13))
  expect(refused(game, reveal, at(2, 14))).toBe('phase')
  expect(refused(game, { kind: 'pick', path: 0, expansion: null, choice: 0 }, at(2, 14))).toBe('owner')
  expect(refused(game, { kind: 'pick', path: 0, expansion: null, choice: 99 }, at(1, 14))).toBe('unknown')
  // Positions that are not the claim's have slots, but nothing stands in them.
  expect(refused(game, { kind: 'pick', path: 0, expansion: null, choice: machine.positions }, at(1, 14))).toBe(machine.positions === 4 ? 'accepted' : 'unknown')
  game = played(game, { kind: 'pick', path: 0, expansion: null, choice: 0 }, at(1, 14))
  const expand = expansionOf({ trace, wrong: null }, 0, { layer: 0, position: 0 })
  expect(refused(game, { ...expand, leaf: expand.leaf.map((byte) => byte ^ 1) }, at(2, 15))).toBe('proof')
  expect(refused(game, { ...expand, steps: expand.steps.subarray(32) }, at(2, 15))).toBe('proof')
  game = played(game, expand, at(2, 15))
  expect(refused(game, { kind: 'prove', path: 0, expansion: 0, evidence: new Uint8Array(3) }, at(2, 16))).toBe('phase')
  game = played(game, { kind: 'pick', path: 0, expansion: 0, choice: 0 }, at(1, 16))
  game = played(
    game,
    { kind: 'open', expansion: 0, stage: 0, level: 1, index: 0, bytes: join(trace.unit({ layer: 0, position: 0 }).tree(0).children(1, 0, 1)) },
    at(2, 17),
  )
  game = played(game, { kind: 'pick', path: 0, expansion: 0, choice: 1 }, at(1, 18))
  const own = trace.unit({ layer: 0, position: 0 })
  game = played(game, { kind: 'open', expansion: 0, stage: 0, level: 0, index: 1, bytes: encodeValues('u8', own.values[0], 2, 4) }, at(2, 19))
  game = played(game, { kind: 'pick', path: 0, expansion: 0, choice: 1 }, at(1, 20))
  expect(refused(game, { kind: 'prove', path: 0, expansion: 0, evidence: new Uint8Array(3) }, at(2, 21))).toBe('proof')
  expect(refused(game, { kind: 'resolve' }, at(2, 21))).toBe('early')
})

test('demanded tokens are served in chunks, or the claim falls', () => {
  const game = played(newGame(machine.claimId), { kind: 'demand' }, at(1, 1))
  expect(game.demand?.served).toHaveLength(2)
  expect(chunkTokens).toBe(1024)
  const tokenKey = new Uint8Array(32).fill(3)
  const serve = (list: number): Move => {
    const tokens = list === 0 ? trace.prompt : trace.out
    return { kind: 'serve', list, chunk: 0, tokenKey, tokens: u32s(tokens.tokens), proof: new Uint8Array() }
  }
  expect(refused(game, { ...serve(1), tokenKey: nonce } as Move, at(2, 2))).toBe('proof')
  const half = played(game, serve(1), at(2, 2))
  expect(refused(half, serve(1), at(2, 3))).toBe('phase')
  expect(refused(half, { kind: 'timeout', path: null, expansion: null }, at(3, 3))).toBe('early')
  const fallen = applyMove(half, { kind: 'timeout', path: null, expansion: null }, at(3, 1 + rules.serveWindow))
  expect(fallen).toMatchObject({ outcome: 'fallen' })
  const whole = played(half, serve(0), at(2, 4))
  expect(refused(whole, { kind: 'timeout', path: null, expansion: null }, at(3, 1 + rules.serveWindow))).toBe('early')
  expect(applyMove(whole, { kind: 'resolve' }, at(3, rules.challengeWindow))).toMatchObject({ outcome: 'upheld' })
})

test('a fallen claim pays requester and finder from the stake, and nothing moves afterwards', () => {
  const game = newGame(machine.claimId, { stop: 3 })
  const ended = applyMove(game, { kind: 'shot', index: 0, evidence: new Uint8Array() }, at(1, 1))
  if (ended instanceof DisputeError) throw ended
  expect(ended.outcome).toBe('fallen')
  expect(ended.payouts[0]).toEqual({ from: 'stake', to: requester, amount: rules.price })
  expect(ended.payouts.reduce((sum, { amount }) => sum + amount, 0n)).toBe(game.stake)
  expect(ended.payouts.some(({ to }) => to === null)).toBe(true)
  expect(refused(ended.game, { kind: 'resolve' }, at(1, 2))).toBe('phase')
  expect(claimant).not.toEqual(requester)
})

test('the numbers of a claim keep or break the stop rule', () => {
  const rule = (stop: number, out: number) => stopBroken({ stop, maxTokens: 5, context: 20 }, 10, out)
  expect([rule(2, 5), rule(2, 4), rule(1, 3), rule(1, 5), rule(3, 4), rule(2, 6), rule(2, 0), rule(9, 5)]).toEqual([
    false,
    true,
    false,
    false,
    true,
    true,
    true,
    true,
  ])
  expect(stopBroken({ stop: 3, maxTokens: 50, context: 14 }, 10, 4)).toBe(false)
})
