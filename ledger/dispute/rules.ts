// Windows, clocks and bonds of a game (README.md, section 5). All times are milliseconds of active time; all amounts are the ledger's smallest unit.

export interface Rules {
  /** A claim may be challenged for this long after its reveal. */
  challengeWindow: number
  /** Demanded tokens are served within this. */
  serveWindow: number
  /** Expansions of a unit are posted within this of the first arrival. */
  expandWindow: number
  /** Defences are posted within this of the challenge. */
  defendWindow: number
  /** Paths against a defence are opened within this of its posting. */
  pathWindow: number
  /** Thinking time of each side of a path or fork, all its obligations together. */
  budget: number
  /** No obligation has less, whatever is left of the budget. */
  floor: number
  /** Nor fewer blocks. */
  blocksMin: number
  /** Blocks between a challenge's commitment and its reveal. */
  challengeBlocks: number
  /** Fee of the job, or its reference price where that is more: what a requester gets back from a fallen claim. */
  price: bigint
  bonds: { challenge: bigint; defend: bigint; path: bigint; expand: bigint }
  /** What a demand pays to those who serve it. */
  demandFee: bigint
}

const minute = 60_000
const hour = 60 * minute

export interface RuleFacts {
  /** max(fee, reference price). */
  price: bigint
  /** Ledger fee of the largest move. */
  moveFee: bigint
  /** The job's reference time in milliseconds. */
  reference: number
  /** Open disputes of the model, this one included: defenders get up to four times as long. */
  load: number
  /** Tests divide all times by this. */
  timeScale: number
}

/** Default rules (README.md, section 5). Integers throughout; every bond is at least twice what it forces others to spend. */
export function rulesOf({ price, moveFee, reference, load, timeScale }: RuleFacts): Rules {
  const scaled = (ms: number): number => Math.max(1, Math.ceil(ms / timeScale))
  const answer = 2n * price + 20n * moveFee
  const step = (price + 1n) / 2n + 20n * moveFee
  return {
    challengeWindow: scaled(24 * hour),
    serveWindow: scaled(2 * hour),
    expandWindow: scaled(2 * hour + reference),
    defendWindow: scaled((6 * hour + 4 * reference) * Math.max(1, Math.min(4, load))),
    pathWindow: scaled(12 * hour + 2 * reference),
    budget: scaled(3 * hour),
    floor: scaled(15 * minute),
    // Three even in a hurry: whoever looks once a block must not be too late.
    blocksMin: Math.max(3, Math.ceil(100 / timeScale)),
    challengeBlocks: 2,
    price,
    bonds: { challenge: answer, defend: answer, path: step, expand: step },
    demandFee: moveFee * 64n,
  }
}

/** Stake of a claim: 32 times the price (detection at the default audit rate), and enough for the moves of any dispute. */
export const stakeOf = (price: bigint, moveFee: bigint): bigint => (32n * price > 200n * moveFee ? 32n * price : 200n * moveFee)
