// Disputes that an agent takes part in: reads each game from the chain, lets its strategy choose, plays the choice through locally and sends it; the nearest deadline
// first. What one sends is seen again, with proof, in the block it went into: until then the same dispute rests.

import { DisputeError } from '../../ledger/dispute/errors.ts'
import { applyMove, deadlineOf, type Game, openGame } from '../../ledger/dispute/game.ts'
import type { Seat } from '../../ledger/dispute/player.ts'
import { bodyOfMove, readGame, rulesFor } from '../../ledger/dispute-play.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { type Clock, type Dispute, keyOf } from '../../ledger/records.ts'
import { hex } from '../../protocol/hash.ts'
import type { Agent } from './agent.ts'
import { type Case, caseName } from './cases.ts'
import { honest, reserveFor, type Shown } from './choose.ts'
import type { Found } from './mind.ts'
import { challengeNonce } from './secrets.ts'

interface Duel {
  one: Case
  dispute: Dispute | null
  game: Game
  found: Found | null
  mine: boolean
}

/** Moves in one dispute between two looks at the chain: a defender may owe several at once. */
const movesMax = 64
/** Tokens that are not pinned after this part of the window are demanded. */
const demandAfter = 20

/** The order in which disputes are played: what runs out first comes first; one that is not open yet has the end of its window. */
export const byDeadline = (a: { game: Game }, b: { game: Game }): number =>
  (deadlineOf(a.game)?.tau ?? Number.POSITIVE_INFINITY) - (deadlineOf(b.game)?.tau ?? Number.POSITIVE_INFINITY)

export class Duels {
  private readonly agent: Agent
  private clock: Clock = { height: 0, timeMs: 0, activeMs: 0, beacon: new Uint8Array(32) }
  private list: (Omit<Duel, 'game'> & { game: Promise<Game> })[] = []
  /** Block of the last transaction about a dispute, by case. */
  private readonly sentIn = new Map<string, number>()
  private readonly poor = new Set<string>()

  constructor(agent: Agent) {
    this.agent = agent
  }

  begin(clock: Clock): void {
    this.clock = clock
    this.list = []
  }

  add(one: Case, dispute: Dispute | null, found: Found | null, mine: boolean): void {
    if (dispute?.verdict) return
    this.list.push({ one, dispute, found, mine, game: this.gameOf(one, dispute) })
  }

  private async gameOf(one: Case, dispute: Dispute | null): Promise<Game> {
    const { facts, question, receipt } = one
    if (dispute) return readGame(dispute.game, facts).game
    const { parameters } = await this.agent.view.must(keyOf.rules)
    return openGame({
      claimId: facts.claimId,
      claimant: facts.claimant,
      requester: facts.requester,
      stop: question.stop,
      maxTokens: question.maxTokens,
      stopIds: question.stopIds,
      context: one.context,
      stake: facts.stake,
      rules: rulesFor(parameters, facts, receipt?.said ?? null),
      challengeUntil: this.clock.activeMs + Math.max(0, facts.finalMs - this.clock.timeMs),
    })
  }

  async play(): Promise<void> {
    const duels: Duel[] = []
    for (const one of this.list) duels.push({ ...one, game: await one.game })
    for (const duel of duels.sort(byDeadline)) await this.playOne(duel)
  }

  private async playOne({ one, dispute, game: first, found, mine }: Duel): Promise<void> {
    const { agent, clock } = this
    const name = caseName(one.id, one.host)
    if (clock.height < (this.sentIn.get(name) ?? 0)) return
    const { secret, strategy, client } = agent.options
    if (one.denial && !mine) return this.deny(one, dispute !== null)
    const nonce = challengeNonce(secret, (await client.chain()).chain, one.id, one.host)
    const seat: Seat | null = found && { account: agent.account, witness: found, nonce }
    const shown: Shown = { prompt: { list: one.prompt, key: one.tokenKey }, out: { list: one.out, key: one.outKey } }
    // Of false input no trace can be shown: whoever computed from it defends itself, or an earlier host answers for it.
    const blindly = found?.clean === null
    const choose = strategy && seat ? strategy(seat, mine) : honest(blindly ? null : seat, shown, mine)
    // The last block's time: what one sends may find it later, never earlier; so nothing is held to be over that is not.
    const now = { tau: clock.activeMs, height: clock.height + 1 }
    let game = first
    let isOpen = dispute !== null
    for (let count = 0; count < movesMax; count++) {
      const move = choose(game, now, one.machine)
      if (!move) return
      const context = { by: agent.account, now, machine: one.machine }
      const played = applyMove(game, move, context)
      if (played instanceof DisputeError) {
        agent.tell({ type: 'unplayable', claim: hex(one.id), host: one.host, move: move.kind, reason: played.message })
        return
      }
      // The earlier host first: whether this claim falls depends on what becomes of that one.
      if (one.waits && move.kind === 'resolve' && played.outcome === 'fallen') return
      if (played.bond > 0n && !(await this.affords(name, game, played.bond, mine))) return
      const receipt = one.receipt ? { claim: one.receipt.claim, signature: one.receipt.signature } : undefined
      const height = await agent.attempt(bodyOfMove(one.facts, move, isOpen, receipt), move)
      if (height === null) return
      this.sentIn.set(name, height)
      if (!isOpen) agent.tell({ type: 'opened', claim: hex(one.id), host: one.host, dispute: hex(disputeIdOf(one.id, one.host)) })
      game = played.game
      isOpen = true
      if (played.outcome) {
        agent.tell({ type: 'verdict', claim: hex(one.id), host: one.host, verdict: played.outcome })
        return
      }
    }
  }

  /** The claim says other input than it was given: one record shows it. */
  private async deny({ id, host, denial }: Case, isOpen: boolean): Promise<void> {
    const { agent } = this
    const height = await agent.attempt(
      isOpen ? { kind: 'dispute.move', dispute: disputeIdOf(id, host), move: denial! } : { kind: 'dispute.open', claim: id, host, opening: denial! },
      null,
    )
    if (height === null) return
    this.sentIn.set(caseName(id, host), height)
    agent.tell({ type: 'verdict', claim: hex(id), host, verdict: 'fallen' })
  }

  /**
   * Whether the account can put up a bond, and when it has none in this game yet whether it can play to the end. Whose own claim it is goes as far as its money does: its
   * stake is in question already.
   */
  private async affords(name: string, game: Game, bond: bigint, mine: boolean): Promise<boolean> {
    const begun = mine || game.bonds.some(({ owner }) => hex(owner) === hex(this.agent.account))
    const needed = begun ? bond : reserveFor(game)
    const balance = await this.agent.sender.balance()
    if (balance >= needed) {
      this.poor.delete(name)
      return true
    }
    if (!this.poor.has(name)) this.agent.tell({ type: 'poor', case: name, needed: String(needed), balance: String(balance) })
    this.poor.add(name)
    return false
  }

  /** Demands the tokens of a job's claim that nobody has pinned for a while: then they come, or the claim falls. */
  async withheld(id: Uint8Array, revealedMs: number, finalMs: number, dispute: Dispute | null, nowMs: number): Promise<void> {
    const { agent, clock } = this
    const name = caseName(id, 0)
    if (agent.options.demand === false || dispute?.verdict || clock.height < (this.sentIn.get(name) ?? 0)) return
    if (nowMs >= finalMs || nowMs < revealedMs + (finalMs - revealedMs) / demandAfter) return
    if (agent.journal.get(`demanded/${name}`)) {
      // Nobody served them: time is told.
      if (dispute) await agent.attempt({ kind: 'dispute.timeout', dispute: disputeIdOf(id, 0) }, null)
      return
    }
    const height = await agent.attempt(bodyOfMove({ claimId: id, host: 0 }, { kind: 'demand' }, dispute !== null), { kind: 'demand' })
    if (height === null) return
    agent.journal.put(`demanded/${name}`, true)
    this.sentIn.set(name, height)
  }

  /** Only disputes of these cases matter any longer. */
  forget(name: string): void {
    this.sentIn.delete(name)
    this.poor.delete(name)
  }
}
