// What a game remembers, and its bytes (canonical dag-cbor). Only facts: who posted what and when, which nodes are revealed, what is refuted. Refuted stays refuted.
import { decode, encode } from '@ipld/dag-cbor'
import { equalBytes } from '../../protocol/hash.ts'
import { DisputeError } from './errors.ts'
import type { Rules } from './rules.ts'

/** 32 bytes. */
export type Account = Uint8Array

/** Active time in milliseconds, and the block. */
export interface Moment {
  tau: number
  height: number
}

export interface Bond {
  owner: Account
  left: bigint
}

/** Who must act, since when, and what each side has used up of its time. */
export interface Clock {
  turn: 'defender' | 'refuter'
  since: Moment
  defender: number
  refuter: number
}

export interface Root {
  top: Uint8Array
  poster: Account
  /** Number of the bond; null: the claimant's stake stands for it. */
  bond: number | null
  at: Moment
  refuted: boolean
  /** Who killed it, for the stake's shares. */
  killer: Account | null
}

export interface Expansion {
  root: number
  layer: number
  position: number
  /** residual, k, v; empty for a tail. */
  leaf: Uint8Array
  /** Step roots, end to end. */
  steps: Uint8Array
  poster: Account
  bond: number
  refuted: boolean
}

/** A path's argument with one expansion. */
export interface Fork extends Clock {
  expansion: number
  /** −1 until picked. */
  stage: number
  /** Node that is waited for or to be picked from; level 0 is a tile. */
  level: number
  index: number
  /** −1 until picked. */
  element: number
  done: boolean
}

export interface Path extends Clock {
  owner: Account
  root: number
  bond: number
  state: 'live' | 'lost' | 'won' | 'over'
  /** Node of the outer tree, while there is no unit. */
  level: number
  index: number
  layer: number
  position: number
  /** Whether `layer` and `position` name the unit it has arrived at. */
  arrived: boolean
  forks: Fork[]
  /** Answers given to this path, by account in hexadecimal digits. */
  answers: Record<string, number>
}

export interface Demand {
  bond: number
  at: Moment
  /** Who served each chunk of prompt and answer, in order; null: not yet. */
  served: (Account | null)[]
}

export type Outcome = 'upheld' | 'fallen'

export interface Game {
  version: 1
  claimId: Uint8Array
  claimant: Account
  requester: Account
  /** Stop code, and what the stop rule needs. */
  stop: number
  maxTokens: number
  stopIds: number[]
  /** The model's context. */
  context: number
  rules: Rules
  stake: bigint
  /** Active time until which the claim can be challenged. */
  challengeUntil: number
  bonds: Bond[]
  commits: { account: Account; hash: Uint8Array; bond: number; at: Moment }[]
  finder: { account: Account; bond: number; at: Moment } | null
  demand: Demand | null
  roots: Root[]
  expansions: Expansion[]
  /** First arrival of a path at a unit: [root, layer, position], and when. */
  arrivals: { root: number; layer: number; position: number; at: Moment }[]
  paths: Path[]
  /** Revealed children by name of the node (position.ts). */
  nodes: Record<string, Uint8Array>
  outcome: Outcome | null
}

/** A copy whose lists and maps can be changed; bytes are shared. */
export function copyOf<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copyOf) as T
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, copyOf(one)])) as T
}

/** Canonical dag-cbor. */
export const encodeGame = (game: Game): Uint8Array => encode(game)

/** The inverse, for bytes that this ledger wrote: checks form, not meaning. Throws DisputeError `malformed`. */
export function decodeGame(bytes: Uint8Array): Game {
  let game: Game
  try {
    game = decode(bytes) as Game
    if (game.version !== 1) throw new Error('version')
    // Small integers come back as numbers.
    game.stake = BigInt(game.stake)
    for (const bond of game.bonds) bond.left = BigInt(bond.left)
    const { rules } = game
    rules.price = BigInt(rules.price)
    rules.demandFee = BigInt(rules.demandFee)
    for (const name of ['challenge', 'defend', 'path', 'expand'] as const) rules.bonds[name] = BigInt(rules.bonds[name])
  } catch {
    throw new DisputeError('malformed', 'the bytes are no game')
  }
  if (!equalBytes(encodeGame(game), bytes)) throw new DisputeError('malformed', 'the game is not in canonical form')
  return game
}
