// The state machine as whoever orders transactions drives it: genesis, then blocks: begin, transactions, end. The embedded log, CometBFT, `ledger replay`, tests and
// simulations all come through here, so they all reach the same roots.
import { hashTagged } from '../protocol/hash.ts'
import { verify as verifyPortable } from '../protocol/keys.ts'
import { applyTransaction, checkEnvelope } from './apply.ts'
import { nextBeacon } from './beacon.ts'
import type { Context, LedgerEvent, Verify } from './context.ts'
import { emit } from './context.ts'
import { LedgerError } from './errors.ts'
import { type Genesis, genesisHash, genesisSupply, ordinaryBytesMax, type Parameters } from './genesis.ts'
import { checkConserved } from './invariants.ts'
import { editMoney, give } from './purse.ts'
import { keyOf } from './records.ts'
import { dueMax, wake } from './schedule.ts'
import { State } from './state.ts'
import type { Transaction } from './transaction.ts'

/** dispute.md 1: an outage longer than this burns no time of anybody's. */
const activeStepMsMax = 10_000

/** Has the lane of disputes to itself. */
export const isDisputeMove = (transaction: Transaction): boolean => transaction.body.kind.startsWith('dispute.')

export interface BlockStart {
  timeMs: number
  producer: Uint8Array
  /** Of the block before; block 1 uses the genesis hash. */
  entropy: Uint8Array
}

/** State after genesis, before block 1. */
export function genesisState(genesis: Genesis): State {
  const state = new State()
  const supplyGenesis = genesisSupply(genesis)
  const { operator, timeMs, supplyMax, parameters, treasury, faucet, auditPool } = genesis
  state.set(keyOf.rules, { operator, genesisMs: timeMs, supplyMax, supplyGenesis, parameters })
  state.set(keyOf.clock, { height: 0, timeMs, activeMs: 0, beacon: hashTagged('beacon', genesisHash(genesis)) })
  state.set(keyOf.money, { treasury, faucet, auditPool, fees: 0n, emitted: 0n, burned: 0n })
  state.set(keyOf.validators, { validators: [{ key: operator, power: 1 }] })
  for (const { account, amount } of genesis.allocations) give(state, account, amount)
  state.keep()
  state.seal()
  return state
}

export class Chain {
  readonly chain: Uint8Array
  readonly state: State
  private readonly verify: Verify
  private context: Context | null = null
  /** Bytes in the block being built: of all transactions, and of those that are no dispute moves. */
  private bytes = 0
  private ordinaryBytes = 0

  /** `state` is genesisState(genesis) or a restored one. */
  constructor(chain: Uint8Array, state: State, verify: Verify = verifyPortable) {
    this.chain = chain
    this.state = state
    this.verify = verify
  }

  /** Last finished or current height. */
  get height(): number {
    return this.state.must(keyOf.clock).height
  }
  get timeMs(): number {
    return this.state.must(keyOf.clock).timeMs
  }
  get parameters(): Parameters {
    return this.state.must(keyOf.rules).parameters
  }

  /** Whether a block at this time would do something by itself. */
  isDue(timeMs: number): boolean {
    return this.state.isDue(this.height + 1, timeMs)
  }

  /** Starts block height + 1: the clock moves, the beacon turns, what is due happens. Returns its events. Throws LedgerError (range) for a time before the last. */
  begin(start: BlockStart): LedgerEvent[] {
    if (this.context) throw new Error('a block is being built already')
    const before = this.state.must(keyOf.clock)
    if (start.timeMs < before.timeMs) throw new LedgerError('range', `block time ${start.timeMs} is before the last block's, ${before.timeMs}`)
    const height = before.height + 1
    const activeMs = before.activeMs + Math.min(start.timeMs - before.timeMs, activeStepMsMax)
    this.state.set(keyOf.clock, { height, timeMs: start.timeMs, activeMs, beacon: nextBeacon(before.beacon, start.entropy) })
    const { chain, state, verify, parameters } = this
    const context: Context = { chain, state, height, timeMs: start.timeMs, activeMs, parameters, producer: start.producer, verify, events: [] }
    this.context = context
    this.bytes = 0
    this.ordinaryBytes = 0
    state.keep()
    for (let count = 0; count < dueMax; count++) {
      const key = state.due(height, start.timeMs)
      if (key === undefined) break
      const mark = state.mark()
      wake(context, key)
      checkConserved(state, mark)
      state.keep()
    }
    return this.takeEvents()
  }

  /** Whether the block being built has room for a transaction; the next block has. */
  hasRoom(transaction: Transaction): boolean {
    const { parameters } = this
    return (
      this.bytes + transaction.size <= parameters.blockBytesMax &&
      (isDisputeMove(transaction) || this.ordinaryBytes + transaction.size <= ordinaryBytesMax(parameters))
    )
  }

  /** Applies one transaction in the block being built; returns its events. Throws LedgerError, the state then being what it was. */
  apply(transaction: Transaction): LedgerEvent[] {
    if (!this.hasRoom(transaction)) throw new LedgerError('oversized', 'the block is full')
    applyTransaction(this.building(), transaction)
    this.bytes += transaction.size
    if (!isDisputeMove(transaction)) this.ordinaryBytes += transaction.size
    this.state.keep()
    return this.takeEvents()
  }

  /** Cheap checks before a transaction is queued. Throws LedgerError. */
  check(transaction: Transaction): void {
    checkEnvelope({ chain: this.chain, parameters: this.parameters }, transaction)
  }

  /** Ends the block: fees are shared, the tree brought up to date. Returns what changed, by key, and the last events. */
  end(): { root: Uint8Array; changed: [key: string, value: Uint8Array | null][]; events: LedgerEvent[] } {
    const context = this.building()
    const { state } = context
    const mark = state.mark()
    const { fees } = state.must(keyOf.money)
    if (fees > 0n) {
      // Half is burned, so that a producer cannot fill blocks for nothing.
      const half = fees / 2n
      editMoney(state, (money) => ({ fees: 0n, burned: money.burned + fees - half }))
      give(state, context.producer, half)
      if (half > 0n) emit(context, 'paid', context.producer, half)
      checkConserved(state, mark)
    }
    state.keep()
    const changed = state.seal()
    const events = this.takeEvents()
    this.context = null
    return { root: state.root(), changed, events }
  }

  private building(): Context {
    if (!this.context) throw new Error('no block is being built')
    return this.context
  }

  private takeEvents(): LedgerEvent[] {
    const { events } = this.building()
    this.building().events = []
    return events
  }
}
