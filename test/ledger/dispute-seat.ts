// A player at a dispute on the ledger: reads the game from the state, lets a strategy of ledger/dispute/player.ts (or a cheat's) choose, and sends the transaction.
import { auditedOf } from '../../ledger/apply/audit.ts'
import { claimFacts } from '../../ledger/apply/dispute.ts'
import { openGame } from '../../ledger/dispute/game.ts'
import type { Move } from '../../ledger/dispute/moves.ts'
import type { Game, Moment } from '../../ledger/dispute/state.ts'
import { bodyOfMove, claimFactsOf, readGame, rulesFor } from '../../ledger/dispute-play.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { machineOf } from '../../protocol/engine/proof/machine.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import type { World } from './world.ts'

export type Strategy = (game: Game, now: Moment) => Move | null

/** The machine of a job's claim, as judge and players see it. */
export function machineOfClaim(world: World, claim: Uint8Array): Machine {
  const facts = claimFacts(world.chain, auditedOf(world.chain, claim), 0)
  return machineOf(decodeCore(facts.model.core), facts.model.tensorTableRoot, claimFactsOf(facts, null))
}

/** One turn of one player: sends the move its strategy chooses now. Returns it, null when there is none; throws what the ledger refuses. */
export function playTurn(world: World, claim: Uint8Array, name: string, strategy: Strategy): Move | null {
  const dispute = world.chain.state.get(keyOf.dispute(disputeIdOf(claim, 0)))
  if (dispute?.verdict) return null
  world.begin()
  const facts = claimFacts(world.chain, auditedOf(world.chain, claim), 0)
  const clock = world.chain.state.must(keyOf.clock)
  const now: Moment = { tau: clock.activeMs, height: clock.height }
  const question = { ...facts.job, ...facts.out }
  const game = dispute
    ? readGame(dispute.game, facts).game
    : openGame({
        claimId: claim,
        claimant: facts.claimant,
        requester: facts.requester,
        stop: question.stop,
        maxTokens: question.maxTokens,
        stopIds: question.stopIds,
        context: decodeCore(facts.model.core).context,
        stake: facts.stake,
        rules: rulesFor(world.chain.parameters, facts, null),
        challengeUntil: now.tau + facts.finalMs - clock.timeMs,
      })
  const move = strategy(game, now)
  if (move) world.submit(world.sign(name, bodyOfMove(facts, move, dispute !== undefined)))
  return move
}

/** Lets time decide what it can in the dispute about a job's claim. Returns whether it did. */
export const playTimeout = (world: World, claim: Uint8Array, name: string): boolean => playTimeoutOf(world, disputeIdOf(claim, 0), name)

export function playTimeoutOf(world: World, dispute: Uint8Array, name: string): boolean {
  try {
    world.send(name, 'dispute.timeout', { dispute })
    return true
  } catch (error) {
    if (error instanceof LedgerError && error.code === 'phase') return false
    throw error
  }
}
