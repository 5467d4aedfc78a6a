// The narrow seam between money (ledger/apply/dispute.ts) and the game (ledger/dispute/): the game decides who is right and whose bond goes where; the ledger
// holds the money and checks that not one µ appears or vanishes. The game is pure and knows neither accounts nor balances.
import type { Parameters } from './genesis.ts'

/** When a move is played. `active` is the clock of disputes: it advances by at most 10 s a block and never backwards, so outages burn no time. */
export interface DisputeTime {
  height: number
  /** ms since 1970: the block's. */
  timeMs: number
  activeMs: number
}

/** The claim in dispute, as the ledger knows it: a job's answer, or one host's receipt of a swarm session. */
export interface DisputedClaim {
  kind: 'job' | 'receipt'
  claimId: Uint8Array
  /** Solver or host: whose stake is in question. */
  claimant: Uint8Array
  requester: Uint8Array
  /** Registry: what the judge checks weights and tables against. */
  model: { id: Uint8Array; core: Uint8Array; tensorTableRoot: Uint8Array; constTablesRoot: Uint8Array; shardListHash: Uint8Array }
  /** Layers the claim answers for. */
  layers: { from: number; to: number }
  /** Root of what enters a segment job, where rows do; null for everything else. */
  boundary: Uint8Array | null
  job: {
    id: Uint8Array
    programVersion: number
    promptRoot: Uint8Array
    promptCount: number
    sampler: Uint8Array
    seed: Uint8Array
    maxTokens: number
    stopIds: number[]
    /** 0 open, 1 escrow, 2 sealed. */
    privacy: number
  }
  /** A job's revealed output; of receipts only what the host signed counts (receipt.ts), so here m and stop are 0 and outRoot is the session's receipt. */
  out: { m: number; stop: number; outRoot: Uint8Array; logRoot: Uint8Array | null }
  /** What the requester pays, µ. */
  fee: bigint
  /** The claimant's stake locked for this claim, µ. */
  stake: bigint
  revealedAtMs: number
  /** The claim can be challenged until then. */
  finalMs: number
  /** Index of the host in its session; 0 for a job. */
  host: number
  /** Open disputes about this model, this one included: defenders get up to four times as long. */
  load: number
}

/** Money moved by a verdict. `from` names a pot: 'stake' is the claimant's lock, otherwise the number of a bond. `to` null burns. */
export interface Payout {
  from: 'stake' | number
  to: Uint8Array | null
  amount: bigint
}

export type Verdict = 'upheld' | 'fallen' | 'void'

/** What one transaction did to a game. */
export interface DisputeStep {
  /** Canonical bytes of the new state: they go into the Merkle tree. At most `Parameters.disputeStateBytesMax`. */
  game: Uint8Array
  /** A bond that the sender must put up for this move (0: none). Bonds are numbered in the order in which they were put up, from 0. */
  bond: bigint
  /** Bonds settled by this step. For each pot named the payouts must sum to what is left of it or less; the rest stays locked. */
  payouts: Payout[]
  /** Once there is a verdict nothing moves any more: what is then left of bonds goes back to who put them up, of the stake to the claimant. */
  verdict: Verdict | null
  /** The claim falls because nobody has shown a trace that stands: an earlier host of its session may be to blame for that (apply/deflect.ts). */
  isSilence: boolean
}

/** Every method is total over bytes: a bad move throws LedgerError ('phase', 'proof', 'encoding', 'range', 'role'), and nothing has happened. */
export interface DisputeGame {
  /** A challenger objects. `opening` is the game's own bytes (a committed challenge, a one-shot proof). */
  open(claim: DisputedClaim, opening: Uint8Array, by: Uint8Array, now: DisputeTime, parameters: Parameters): DisputeStep
  /** Defend, open path, reveal, pick, expand, pick element. */
  move(game: Uint8Array, claim: DisputedClaim, move: Uint8Array, by: Uint8Array, now: DisputeTime, parameters: Parameters): DisputeStep
  /** Evidence for the judge (Prove): at most 64 KiB. */
  judge(game: Uint8Array, claim: DisputedClaim, evidence: Uint8Array, by: Uint8Array, now: DisputeTime, parameters: Parameters): DisputeStep
  /** Anyone: what has run out of time is lost, and what is decided is resolved. Refuses ('phase') when nothing has. */
  timeout(game: Uint8Array, claim: DisputedClaim, by: Uint8Array, now: DisputeTime, parameters: Parameters): DisputeStep
  /** The same game, in which the claim may be challenged until `activeMs` at least. */
  extend(game: Uint8Array, activeMs: number): Uint8Array
}
