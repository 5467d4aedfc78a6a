// Plays a game to its end: players in a seeded order, one block at a time, and checks after every move what must always hold.
import { expect } from 'vitest'
import { DisputeError } from '../../../ledger/dispute/errors.ts'
import { applyMove, deadlineOf, dueMove, type Game, type Moment, openGame } from '../../../ledger/dispute/game.ts'
import { decodeMove, encodeMove, type Move } from '../../../ledger/dispute/moves.ts'
import type { Seat } from '../../../ledger/dispute/player.ts'
import { rulesOf, stakeOf } from '../../../ledger/dispute/rules.ts'
import { decodeGame, encodeGame } from '../../../ledger/dispute/state.ts'
import type { Machine } from '../../../protocol/engine/proof/table.ts'
import { hex } from '../../../protocol/hash.ts'

export interface Entrant extends Seat {
  name: string
  /** Honest moves are never refused and never lose money. */
  honest: boolean
  /** Honest players sleep through a block this often, in percent, but never as long as the least time of an obligation. */
  asleep?: number
  play(game: Game, now: Moment, machine: Machine): Move | null
}

export interface Ended {
  game: Game
  outcome: 'upheld' | 'fallen'
  blocks: number
  reveals: number
  moves: number
  /** What each account has gained, stake and bonds included. */
  gains: Map<string, bigint>
  burned: bigint
  /** Largest evidence of a prove. */
  evidence: number
  /** What decided: the last of shot, prove (a tile that disagrees), silence. */
  ending: 'shot' | 'proof' | 'silence' | 'none'
}

export const price = 1000n
export const moveFee = 1n
export const account = (n: number): Uint8Array => new Uint8Array(32).fill(n)
export const requester = account(250)
export const claimant = account(251)

export const rules = rulesOf({ price, moveFee, reference: 0, load: 1, timeScale: 60 })

export const newGame = (claimId: Uint8Array, change: Partial<Parameters<typeof openGame>[0]> = {}): Game =>
  openGame({
    claimId,
    claimant,
    requester,
    stop: 2,
    maxTokens: 3,
    stopIds: [],
    context: 1000,
    stake: stakeOf(price, moveFee),
    rules,
    challengeUntil: rules.challengeWindow,
    ...change,
  })

const blockMs = 3000
/** Blocks that an honest player may sleep: two of these and its own are less than `floor`. */
const napsMax = 2

export function play(first: Game, machine: Machine, entrants: Entrant[], next: () => number, checks = true): Ended {
  let game = first
  const names = new Map(entrants.map(({ account: a, name }) => [hex(a), name]))
  const gains = new Map<string, bigint>()
  const gain = (who: Uint8Array, amount: bigint): void => void gains.set(hex(who), (gains.get(hex(who)) ?? 0n) + amount)
  let [reveals, moves, burned, evidence, height, tau] = [0, 0, 0n, 0, 0, 0]
  const stake = game.stake
  let ending: Ended['ending'] = 'none'
  const naps = new Map<Entrant, number>()
  /** True when it was played. */
  const attempt = (move: Move, by: Uint8Array, honest: boolean): boolean => {
    const now = { tau, height }
    const before = checks && moves % 32 === 0 ? encodeGame(game) : null
    const bytes = encodeMove(move)
    let read: Move
    try {
      read = decodeMove(bytes)
    } catch (error) {
      if (honest) throw error
      return false
    }
    const played = applyMove(game, read, { by, now, machine })
    if (before) expect(encodeGame(game)).toEqual(before)
    if (played instanceof DisputeError) {
      if (honest) throw new Error(`an honest ${names.get(hex(by))} was refused: ${played.message} (${JSON.stringify(move.kind)})`)
      return false
    }
    moves++
    if (move.kind === 'reveal' || move.kind === 'open' || move.kind === 'expand') reveals++
    if (move.kind === 'prove') evidence = Math.max(evidence, move.evidence.length)
    if (move.kind === 'shot') ending = 'shot'
    if (played.game.expansions.some((one, i) => one.refuted && !game.expansions[i]?.refuted)) ending = move.kind === 'prove' ? 'proof' : 'silence'
    else if (ending === 'none' && played.game.roots.some((root) => root.refuted)) ending = 'silence'
    if (played.bond > 0n) gain(by, -played.bond)
    for (const { to, amount } of played.payouts) {
      if (to) gain(to, amount)
      else burned += amount
    }
    if (before) expect(encodeGame(decodeGame(encodeGame(played.game)))).toEqual(encodeGame(played.game))
    // Refuted stays refuted.
    game.roots.forEach((root, i) => root.refuted && expect(played.game.roots[i].refuted).toBe(true))
    game = played.game
    return true
  }
  while (!game.outcome) {
    height++
    tau += blockMs
    if (height > 200_000) throw new Error('the game does not end')
    const order = entrants.map((entrant) => ({ entrant, at: next() })).sort((a, b) => a.at - b.at)
    let idle = true
    for (const { entrant } of order) {
      const slept = naps.get(entrant) ?? 0
      if (entrant.honest && slept < napsMax && next() % 100 < (entrant.asleep ?? 0)) {
        naps.set(entrant, slept + 1)
        idle = false
        continue
      }
      naps.set(entrant, 0)
      for (let tries = 0; tries < 40 && !game.outcome; tries++) {
        const move = entrant.play(game, { tau, height }, machine)
        if (!move || !attempt(move, entrant.account, entrant.honest)) break
        idle = false
      }
    }
    // Somebody always tells that time is over; nobody gains by it.
    for (let due = dueMove(game, { now: { tau, height }, machine }); due && !game.outcome; due = dueMove(game, { now: { tau, height }, machine }))
      attempt(due, account(255), true)
    // Where nobody did anything blocks are skipped, but never past a deadline.
    const deadline = deadlineOf(game)
    const blocks = deadline ? Math.min(6, Math.floor((deadline.tau - tau) / blockMs) - 2) : 0
    if (idle && blocks > 0) {
      tau += blocks * blockMs
      height += blocks
    }
  }
  for (const { owner, left } of game.bonds) gain(owner, left)
  gain(claimant, game.stake - stake)
  let sum = burned
  for (const amount of gains.values()) sum += amount
  expect(sum).toBe(0n)
  for (const { account: a, honest, name } of entrants)
    if (honest && (gains.get(hex(a)) ?? 0n) < 0n) throw new Error(`an honest ${name} lost ${gains.get(hex(a))}`)
  return { game, outcome: game.outcome, blocks: height, reveals, moves, gains, burned, evidence, ending }
}
