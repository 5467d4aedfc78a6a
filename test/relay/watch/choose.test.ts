import { expect, test } from 'vitest'
import { DisputeError } from '../../../ledger/dispute/errors.ts'
import { applyMove, challengeHash, type Game, type Moment } from '../../../ledger/dispute/game.ts'
import type { Move } from '../../../ledger/dispute/moves.ts'
import { refutation, type Seat, wrongTail } from '../../../ledger/dispute/player.ts'
import { narrowedLine, standingOf } from '../../../ledger/dispute/story.ts'
import { honest, isDisproved, type Shown, serveMove } from '../../../relay/watch/choose.ts'
import { byDeadline } from '../../../relay/watch/duels.ts'
import { auditSalt, challengeNonce, isSampled, solverNonce } from '../../../relay/watch/secrets.ts'
import { Work } from '../../../relay/watch/work.ts'
import { account, claimant, newGame, rules } from '../../ledger/dispute/arena.ts'
import { toyAnswer, toyPrompt, toyTrace } from '../../ledger/dispute/toy.ts'
import { word } from '../../ledger/world.ts'

const prompt = toyPrompt(1)
const right = toyAnswer(prompt, 3)
const claimed = right.map((token, i) => (i === 1 ? (token + 1) % 26 : token))
const trace = toyTrace(prompt, claimed)
const { machine } = trace
const key = new Uint8Array(32).fill(3)
const shown: Shown = { prompt: { list: trace.prompt, key }, out: { list: trace.out, key } }
const nonce = new Uint8Array(32).fill(7)
const seat = (n: number, wrong = wrongTail(trace)): Seat => ({ account: account(n), witness: { trace, wrong }, nonce })

const played = (game: Game, move: Move, by: Uint8Array, now: Moment): Game => {
  const next = applyMove(game, move, { by, now, machine })
  if (next instanceof DisputeError) throw next
  return next.game
}

/** Challenged by account 1 at height 5, at `tau`. */
const challenged = (tau = 5000): Game => {
  const committed = played(newGame(machine.claimId), { kind: 'commit', hash: challengeHash(machine.claimId, account(1), nonce) }, account(1), {
    tau,
    height: 2,
  })
  return played(committed, { kind: 'challenge', nonce }, account(1), { tau, height: 5 })
}

test('disputes are played in the order in which they run out, open claims by the end of their window', () => {
  const games = [challenged(90_000), newGame(machine.claimId), challenged(10_000), challenged(50_000)].map((game) => ({ game }))
  const [late, unopened, first, second] = games
  expect([...games].sort(byDeadline)).toEqual([first, second, late, unopened])
  const decided = { game: { ...first.game, outcome: 'fallen' as const } }
  expect([decided, first].sort(byDeadline)).toEqual([first, decided])
})

test('heavy work is done in the order of its deadlines, one piece at a time, and what fails is told', async () => {
  const done: string[] = []
  let finished = (): void => {}
  const all = new Promise<void>((resolve) => {
    finished = resolve
  })
  const work = new Work(new AbortController().signal, (name, error) => {
    done.push(error ? `${name} failed` : name)
    if (done.length === 4) finished()
  })
  let running = 0
  const piece =
    (fails = false) =>
    async () => {
      expect(++running).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      if (fails) throw new Error('no')
    }
  work.add('begun', 100, piece())
  work.add('last', 90, piece())
  work.add('first', 10, piece(true))
  work.add('moved', 95, piece())
  // A nearer deadline moves it forward; the same name is not done twice.
  work.add('moved', 20, piece())
  await all
  expect(done).toEqual(['begun', 'first failed', 'moved', 'last'])
})

test('a demanded chunk is served by the claimant at once, by others when a third of the time has passed', () => {
  const right = toyTrace(prompt, toyAnswer(prompt, 3))
  const truth: Seat = { ...seat(4, null), witness: { trace: right, wrong: null } }
  const game = played(newGame(machine.claimId), { kind: 'demand' }, account(1), { tau: 10, height: 1 })
  const soon = { tau: 20, height: 2 }
  expect(honest(null, shown, true)(game, soon, machine)).toMatchObject({ kind: 'serve', list: 0, chunk: 0 })
  expect(honest(truth, shown, false)(game, soon, machine)).toBe(null)
  expect(honest(truth, shown, false)(game, { tau: 10 + rules.serveWindow / 3, height: 9 }, machine)).toMatchObject({ kind: 'serve', list: 0 })
  expect(serveMove(game, shown, { tau: 10 + rules.serveWindow, height: 99 })).toBe(null)
})

test('whoever the judge has contradicted puts up no second bond against the same root', () => {
  const blind: Seat = seat(1, { layer: machine.to, position: machine.tailFrom })
  const game = challenged()
  const lost = { ...game.roots[0], top: trace.outer.top, poster: claimant, bond: null, at: { tau: 6000, height: 6 }, refuted: false, killer: null }
  const fork = {
    turn: 'defender' as const,
    since: { tau: 0, height: 0 },
    defender: 0,
    refuter: 0,
    expansion: 0,
    stage: 1,
    level: 0,
    index: 0,
    element: 0,
    done: false,
  }
  const path = {
    ...fork,
    owner: account(1),
    root: 0,
    bond: 0,
    state: 'lost' as const,
    layer: machine.to,
    position: machine.tailFrom,
    arrived: true,
    forks: [fork],
    answers: {},
  }
  const after: Game = { ...game, roots: [lost], paths: [path] }
  const now = { tau: 7000, height: 7 }
  expect(refutation(after, blind, now)).toMatchObject({ kind: 'unit' })
  expect(isDisproved(after, account(1), 0)).toBe(true)
  expect(honest(blind, shown, false)(after, now, machine)).toBe(null)
  // Silence is another matter: it can be made up for.
  expect(isDisproved({ ...after, paths: [{ ...path, forks: [{ ...fork, turn: 'refuter' }] }] }, account(1), 0)).toBe(false)
})

test('a game tells how far it has narrowed, whose turn it is and until when', () => {
  const now = { tau: 6000, height: 6 }
  let game = played(challenged(), { kind: 'defend', top: trace.outer.top }, claimant, now)
  game = played(game, { kind: 'path', root: 0, level: trace.outer.depth, index: 0 }, account(1), now)
  const standing = standingOf(game, machine, now)
  expect(standing).toMatchObject({ phase: 'argument', expansions: 0, outcome: null, roots: [{ refuted: false, staked: true }] })
  expect(standing.arguments).toMatchObject([{ level: 'tokens', layers: [0, 1], turn: 'defender', state: 'live' }])
  expect(standing.arguments[0].due!.tau).toBeGreaterThan(now.tau)
  expect(narrowedLine(standing.arguments[0], 2)).toBe(`layers 0 to 1, positions 0 to ${machine.positions - 1}`)
  game = played(game, { kind: 'unit', root: 0, layer: machine.to, position: machine.tailFrom }, account(1), now)
  expect(narrowedLine(standingOf(game, machine, now).arguments[1], 2)).toBe(`the choice of token ${machine.tailFrom + 1}`)
})

test('nonces and salts follow from the key alone, and differ by chain and by what they are for', () => {
  const secret = word('secret')
  const all = [solverNonce(secret, word('a'), word('x')), solverNonce(secret, word('b'), word('x')), auditSalt(secret, word('a'), word('x'))]
  all.push(challengeNonce(secret, word('a'), word('x'), 0), challengeNonce(secret, word('a'), word('x'), 1))
  expect(new Set(all.map((bytes) => bytes.join())).size).toBe(5)
  expect(solverNonce(secret, word('a'), word('x'))).toEqual(all[0])
})

test('a share of claims is sampled, the same ones again, others by another key', () => {
  const claims = Array.from({ length: 2000 }, (_, i) => word(`claim ${i}`))
  const drawn = claims.filter((claim) => isSampled(word('one'), claim, 0.1))
  expect(drawn.length).toBeGreaterThan(140)
  expect(drawn.length).toBeLessThan(260)
  expect(claims.filter((claim) => isSampled(word('one'), claim, 0.1))).toEqual(drawn)
  expect(claims.filter((claim) => isSampled(word('two'), claim, 0.1))).not.toEqual(drawn)
  expect(claims.every((claim) => isSampled(word('one'), claim, 1))).toBe(true)
  expect(claims.some((claim) => isSampled(word('one'), claim, 0))).toBe(false)
})
