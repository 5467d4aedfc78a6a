// The dispute game: moves in, a new game out. Pure: time and sender come with the move, money goes out as payouts. What is eliminated are roots, not people or claims: a
// claim stands iff one posted root survives everybody's paths (README.md). A refused move is a DisputeError and changes nothing.
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { saltBytes, saltOf, tokenBytes, tokenHash, tokenListRoot } from '../../protocol/engine/proof/tokens.ts'
import { foldRange, rangeProofBytes } from '../../protocol/engine/proof/tree.ts'
import { equalBytes, hashTagged } from '../../protocol/hash.ts'
import { dueOf, endOf, isOver } from './clock.ts'
import { expand, open, openPath, openUnit, pick, prove, reveal, silences, type Turn, timeout } from './descent.ts'
import { DisputeError } from './errors.ts'
import { fall, type Payout, payServers, sameAccount, stand } from './money.ts'
import type { Move } from './moves.ts'
import type { Rules } from './rules.ts'
import { type Account, copyOf, type Game, type Moment, type Outcome } from './state.ts'

export type { Payout } from './money.ts'
export type { Game, Moment, Outcome } from './state.ts'

/** What the ledger knows about a claim when its first dispute move comes. */
export type Opening = Pick<Game, 'claimId' | 'claimant' | 'requester' | 'stop' | 'maxTokens' | 'stopIds' | 'context' | 'stake' | 'rules' | 'challengeUntil'>

export const openGame = (opening: Opening): Game => ({
  version: 1,
  ...opening,
  bonds: [],
  commits: [],
  finder: null,
  demand: null,
  roots: [],
  expansions: [],
  arrivals: [],
  paths: [],
  nodes: {},
  outcome: null,
})

export interface MoveContext {
  by: Account
  now: Moment
  /** Of the claim: protocol/engine/proof/machine.ts, or judge.ts machineOfModel. */
  machine: Machine
}

export interface Played {
  game: Game
  /** What the sender must put up for this move; the game counts bonds in this order from 0. */
  bond: bigint
  payouts: Payout[]
  /** Once there is one nothing moves; what is left of bonds and stake goes back. */
  outcome: Outcome | null
}

const refuse = (code: DisputeError['code'], message: string): DisputeError => new DisputeError(code, message)

/** H("challenge", claimId, account, nonce). */
export const challengeHash = (claimId: Uint8Array, account: Account, nonce: Uint8Array): Uint8Array => hashTagged('challenge', claimId, account, nonce)

/** Plays one move. Returns the refusal instead of throwing it. */
export function applyMove(before: Game, move: Move, { by, now, machine }: MoveContext): Played | DisputeError {
  const turn: Turn = { game: copyOf(before), machine, by, now, payouts: [] }
  try {
    if (before.outcome) throw refuse('phase', `the claim is ${before.outcome}`)
    const bonds = before.bonds.length
    play(turn, move)
    const { game } = turn
    return { game, bond: game.bonds.length > bonds ? bondOf(before.rules, move) : 0n, payouts: turn.payouts, outcome: game.outcome }
  } catch (error) {
    if (error instanceof DisputeError) return error
    throw error
  }
}

/** What a move asks its sender to put up. */
function bondOf({ bonds, demandFee }: Rules, move: Move): bigint {
  switch (move.kind) {
    case 'demand':
      return demandFee
    case 'commit':
      return bonds.challenge
    case 'defend':
      return bonds.defend
    case 'path':
    case 'unit':
      return bonds.path
    case 'expand':
      return bonds.expand
    default:
      return 0n
  }
}

/** Puts up the bond of a move; its number. */
function putUp({ game, by }: Turn, move: Move): number {
  game.bonds.push({ owner: by, left: bondOf(game.rules, move) })
  return game.bonds.length - 1
}

function play(turn: Turn, move: Move): void {
  switch (move.kind) {
    case 'demand':
      return demand(turn, move)
    case 'serve':
      return serve(turn, move)
    case 'commit':
      return commit(turn, move)
    case 'challenge':
      return challenge(turn, move)
    case 'shot':
      return shot(turn, move)
    case 'defend':
      return defend(turn, move)
    case 'path':
      return openPath(turn, move, putUp(turn, move))
    case 'unit':
      return openUnit(turn, move, putUp(turn, move))
    case 'reveal':
      return reveal(turn, move)
    case 'open':
      return open(turn, move)
    case 'pick':
      return pick(turn, move)
    case 'expand':
      return expand(turn, move, putUp(turn, move))
    case 'prove':
      return prove(turn, move)
    case 'timeout':
      return move.path === null ? demandTimeout(turn) : timeout(turn, move.path, move.expansion)
    case 'resolve':
      return resolve(turn)
  }
}

/** Tokens of a chunk that is served at once. */
export const chunkTokens = 1024

/** Chunks of prompt, then of the answer. */
const chunksOf = (machine: Machine): [prompt: number, out: number] => [
  Math.ceil(machine.tokens.prompt / chunkTokens),
  Math.ceil(machine.tokens.out / chunkTokens),
]

const challengeable = (game: Game, now: Moment): boolean => now.tau < game.challengeUntil

function demand(turn: Turn, move: Move): void {
  const { game, machine, now } = turn
  if (game.demand) throw refuse('phase', 'the tokens have been demanded')
  if (!challengeable(game, now)) throw refuse('late', 'the claim can no longer be challenged')
  const [prompt, out] = chunksOf(machine)
  game.demand = { bond: putUp(turn, move), at: now, served: Array.from({ length: prompt + out }, () => null) }
}

function serve({ game, machine, by, now }: Turn, { list, chunk, tokenKey, tokens, proof }: Move & { kind: 'serve' }): void {
  const { demand } = game
  if (!demand) throw refuse('phase', 'nobody demanded the tokens')
  if (isOver(endOf(demand.at, game.rules.serveWindow, game.rules), now)) throw refuse('late', 'the time to serve is over')
  const [prompt, out] = chunksOf(machine)
  if (list > 1 || chunk >= (list === 0 ? prompt : out)) throw refuse('unknown', 'there is no such chunk')
  const slot = list === 0 ? chunk : prompt + chunk
  if (demand.served[slot]) throw refuse('phase', 'this chunk is served')
  const count = list === 0 ? machine.tokens.prompt : machine.tokens.out
  const start = chunk * chunkTokens
  const end = Math.min(count, start + chunkTokens)
  if (tokens.length !== (end - start) * 4 || proof.length !== rangeProofBytes(count, start, end)) throw refuse('proof', 'tokens or proof have another length')
  const view = new DataView(tokens.buffer, tokens.byteOffset, tokens.byteLength)
  const hashes = Array.from({ length: end - start }, (_, i) => tokenHash(start + i, view.getUint32(i * 4, true), saltOf(tokenKey, list as 0 | 1, start + i)))
  const root = tokenListRoot(count, foldRange(hashes, count, start, proof))
  if (!equalBytes(root, list === 0 ? machine.tokens.promptRoot : machine.tokens.outRoot)) throw refuse('proof', 'these are not the tokens of the claim')
  demand.served[slot] = by
}

const unserved = ({ demand }: Game): boolean => demand?.served.includes(null) ?? false

/** Tokens that were demanded and not shown: the claim falls. */
function demandTimeout(turn: Turn): void {
  const { game, now } = turn
  const { demand } = game
  if (!demand || !unserved(game) || !isOver(endOf(demand.at, game.rules.serveWindow, game.rules), now)) throw refuse('early', 'nobody has run out of time here')
  finish(turn, 'fallen', game.bonds[demand.bond].owner)
}

function commit(turn: Turn, move: Move & { kind: 'commit' }): void {
  const { game, by, now } = turn
  if (game.finder) throw refuse('phase', 'the claim is challenged')
  if (!challengeable(game, now)) throw refuse('late', 'the claim can no longer be challenged')
  game.commits.push({ account: by, hash: move.hash, bond: putUp(turn, move), at: now })
}

/** Commitments made in time may be revealed a little later. */
const challengeEnd = (game: Game, at: Moment): Moment => {
  const end = endOf(at, game.rules.floor, game.rules)
  return { tau: Math.max(end.tau, game.challengeUntil), height: end.height }
}

function challenge({ game, by, now }: Turn, { nonce }: Move & { kind: 'challenge' }): void {
  if (game.finder) throw refuse('phase', 'the claim is challenged')
  const hash = challengeHash(game.claimId, by, nonce)
  const found = game.commits.find((one) => sameAccount(one.account, by) && equalBytes(one.hash, hash))
  if (!found) throw refuse('unknown', 'this challenge was not committed to')
  if (now.height < found.at.height + game.rules.challengeBlocks)
    throw refuse('early', `a challenge is revealed ${game.rules.challengeBlocks} blocks after its commitment`)
  if (isOver(challengeEnd(game, found.at), now)) throw refuse('late', 'the claim can no longer be challenged')
  game.finder = { account: by, bond: found.bond, at: now }
}

/** Stop codes (protocol/engine/answer.ts). */
const stops = { eos: 1, length: 2, context: 3 }

/** Whether the numbers of a claim break the stop rule whatever its tokens are. */
export function stopBroken(game: Pick<Game, 'stop' | 'maxTokens' | 'context'>, prompt: number, out: number): boolean {
  if (out < 1 || out > game.maxTokens || prompt + out > game.context) return true
  const full = out === game.maxTokens
  if (game.stop === stops.eos) return false
  if (game.stop === stops.length) return !full
  return game.stop !== stops.context || full || prompt + out !== game.context
}

/** Whether token `index` of an answer of `out` tokens breaks it. */
export const tokenBreaks = (game: Pick<Game, 'stop' | 'stopIds'>, out: number, vocab: number, index: number, token: number): boolean =>
  token >= vocab || game.stopIds.includes(token) !== (index === out - 1 && game.stop === stops.eos)

/** Whether the claim is about tokens at all: a host of middle layers answers for none. */
export const choosesTokens = (machine: Machine): boolean => machine.tailTo > machine.tailFrom

/** One opened token that no answer can have there. Empty evidence where the numbers alone show it. */
function shot(turn: Turn, { index, evidence }: Move & { kind: 'shot' }): void {
  const { game, machine, by, now } = turn
  if (!challengeable(game, now) && !game.finder) throw refuse('late', 'the claim can no longer be challenged')
  if (!choosesTokens(machine)) throw refuse('phase', 'whoever signed this receipt chose no tokens')
  const { out, prompt, outRoot, vocab } = machine.tokens
  if (evidence.length === 0) {
    if (!stopBroken(game, prompt, out)) throw refuse('proof', 'the claim keeps the stop rule as far as its numbers show')
    return finish(turn, 'fallen', by)
  }
  if (index >= out) throw refuse('unknown', `the answer has ${out} tokens`)
  const proof = rangeProofBytes(out, index, index + 1)
  if (evidence.length !== tokenBytes + proof) throw refuse('proof', 'the opening has another length')
  const token = new DataView(evidence.buffer, evidence.byteOffset).getUint32(0, true)
  const hash = tokenHash(index, token, evidence.subarray(4, 4 + saltBytes))
  if (!equalBytes(tokenListRoot(out, foldRange([hash], out, index, evidence.subarray(tokenBytes))), outRoot))
    throw refuse('proof', 'this is not a token of the claim')
  if (!tokenBreaks(game, out, vocab, index, token)) throw refuse('proof', 'the token keeps the stop rule')
  finish(turn, 'fallen', by)
}

function defend(turn: Turn, move: Move & { kind: 'defend' }): void {
  const { game, by, now } = turn
  if (!game.finder) throw refuse('phase', 'the claim is not challenged')
  if (isOver(endOf(game.finder.at, game.rules.defendWindow, game.rules), now)) throw refuse('late', 'the time for defences is over')
  if (game.roots.some((root) => equalBytes(root.top, move.top))) throw refuse('phase', 'this defence is there already')
  const staked = sameAccount(by, game.claimant) && !game.roots.some((root) => root.bond === null)
  game.roots.push({ top: move.top, poster: by, bond: staked ? null : putUp(turn, move), at: now, refuted: false, killer: null })
}

/** The outcome if it can be told now: 'upheld' with the surviving root (−1 when nobody challenged), 'fallen', or null. */
export function decided(game: Game, now: Moment): { outcome: Outcome; root: number } | null {
  if (unserved(game)) return null
  if (!game.finder) {
    const waiting = game.commits.some(({ at }) => !isOver(challengeEnd(game, at), now))
    return challengeable(game, now) || waiting ? null : { outcome: 'upheld', root: -1 }
  }
  const { rules } = game
  const survives = game.roots.findIndex(
    (root, i) => !root.refuted && isOver(endOf(root.at, rules.pathWindow, rules), now) && !game.paths.some((path) => path.root === i && path.state === 'live'),
  )
  if (survives >= 0) return challengeable(game, now) ? null : { outcome: 'upheld', root: survives }
  const over = isOver(endOf(game.finder.at, rules.defendWindow, rules), now)
  return over && game.roots.every((root) => root.refuted) ? { outcome: 'fallen', root: -1 } : null
}

function resolve(turn: Turn): void {
  const { game, payouts, now } = turn
  const found = decided(game, now)
  if (!found) throw refuse('early', 'nothing is decided yet')
  if (found.outcome === 'fallen') return finish(turn, 'fallen', game.finder!.account)
  if (found.root >= 0) stand(game, payouts, found.root)
  finish(turn, 'upheld', null)
}

function finish({ game, payouts }: Turn, outcome: Outcome, finder: Account | null): void {
  if (!unserved(game)) payServers(game, payouts)
  if (outcome === 'fallen') fall(game, payouts, finder!)
  game.outcome = outcome
}

/** What anyone may do now because time has run out: one move, or null. */
export function dueMove(game: Game, context: Omit<MoveContext, 'by'>): Move | null {
  if (game.outcome) return null
  const { now, machine } = context
  const { demand } = game
  if (demand && unserved(game) && isOver(endOf(demand.at, game.rules.serveWindow, game.rules), now)) return { kind: 'timeout', path: null, expansion: null }
  const [silent] = silences({ game, machine, now, by: game.claimant, payouts: [] })
  if (silent) return { kind: 'timeout', path: silent[0], expansion: silent[1] }
  return decided(game, now) ? { kind: 'resolve' } : null
}

/** The earliest moment at which time alone may change what can be done: blocks take moves of disputes by it. Null once decided. */
export function deadlineOf(game: Game): Moment | null {
  if (game.outcome) return null
  const { rules } = game
  const ends: Moment[] = []
  if (game.demand && unserved(game)) ends.push(endOf(game.demand.at, rules.serveWindow, rules))
  if (!game.finder) {
    ends.push({ tau: game.challengeUntil, height: 0 })
    for (const { at } of game.commits) ends.push(challengeEnd(game, at))
  } else ends.push(endOf(game.finder.at, rules.defendWindow, rules))
  game.roots.forEach((root, i) => {
    if (root.refuted) return
    ends.push(endOf(root.at, rules.pathWindow, rules))
    for (const { root: of, at } of game.arrivals) if (of === i) ends.push(endOf(at, rules.expandWindow, rules))
  })
  for (const path of game.paths) {
    if (path.state !== 'live') continue
    if (!path.arrived) ends.push(dueOf(path, rules))
    for (const fork of path.forks) if (!fork.done) ends.push(dueOf(fork, rules))
  }
  return ends.reduce((first, one) => (one.tau < first.tau ? one : first))
}
