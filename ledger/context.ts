// What every rule gets: the state, the block's time, the rules in force, and a place for events. Nothing else may influence what a transaction does.
import type { Parameters } from './genesis.ts'
import { keyOf } from './records.ts'
import type { State } from './state.ts'

/** What happened, for histories and subscribers; not part of the state. */
export interface LedgerEvent {
  type:
    | 'received'
    | 'sent'
    | 'paid'
    | 'refunded'
    | 'reserved'
    | 'held'
    | 'staked'
    | 'unbonding'
    | 'released'
    | 'drawn'
    | 'audited'
    | 'missed'
    | 'minted'
    | 'granted'
    | 'slashed'
    | 'bond'
    | 'verdict'
    | 'created'
    | 'ended'
  account: Uint8Array
  amount: bigint
  /** The model, job, claim, session, channel owner or dispute it is about. */
  subject: Uint8Array | null
}

export type Verify = (public32: Uint8Array, domain: string, bytes: Uint8Array, signature64: Uint8Array) => boolean

export interface Context {
  /** Genesis hash. */
  chain: Uint8Array
  state: State
  height: number
  timeMs: number
  activeMs: number
  parameters: Parameters
  /** Gets the producer's share of this block. */
  producer: Uint8Array
  /** Ed25519 of protocol/keys.ts; a node may answer from what it checked beforehand. */
  verify: Verify
  events: LedgerEvent[]
}

export const emit = (context: Context, type: LedgerEvent['type'], account: Uint8Array, amount: bigint, subject: Uint8Array | null = null): void => {
  context.events.push({ type, account, amount, subject })
}

export const operatorOf = (context: Context): Uint8Array => context.state.must(keyOf.rules).operator
