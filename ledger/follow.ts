// What a host knows of the chain (payee.ts), renewed by asking a relay now and then: the rules, the models it lends, the newest block; and from when on it offers to be paid.
// No timers: whoever drives it is told when to come again.
import { fromHex } from '../protocol/hash.ts'
import type { Payee } from '../protocol/peer/payment.ts'
import type { Genesis, Parameters } from './genesis.ts'
import { decodeRecordAt } from './light.ts'
import { type ChainView, createPayee, type PayeeOptions } from './payee.ts'
import { keyOf, type ModelRecord } from './records.ts'
import type { RemoteLedger } from './remote.ts'

export class FollowedChain implements ChainView {
  readonly chain: Uint8Array
  readonly producers: readonly Uint8Array[]
  parameters: Parameters
  head = { height: 0, timeMs: 0 }
  readonly nowMs: () => number
  private readonly models = new Map<string, ModelRecord>()
  private readonly ledger: RemoteLedger

  private constructor(ledger: RemoteLedger, genesis: Genesis, chain: Uint8Array, nowMs: () => number) {
    this.ledger = ledger
    this.chain = chain
    this.producers = [genesis.operator]
    this.parameters = genesis.parameters
    this.nowMs = nowMs
  }

  /** Throws LedgerError, and what the network throws: the relay has no ledger, or cannot be reached. */
  static async begin(ledger: RemoteLedger, nowMs: () => number): Promise<FollowedChain> {
    const { genesis, chain } = await ledger.chain()
    return new FollowedChain(ledger, genesis, chain, nowMs)
  }

  /** Asks again. A model that the ledger does not know is not paid for here. */
  async refresh(modelIds: readonly string[]): Promise<void> {
    const keys = modelIds.map((id) => keyOf.model(fromHex(id)))
    const proven = await this.ledger.prove([keyOf.rules, ...keys])
    this.parameters = decodeRecordAt(proven, keyOf.rules)!.parameters
    this.head = { height: proven.height, timeMs: proven.timeMs }
    for (const [i, key] of keys.entries()) {
      const record = decodeRecordAt(proven, key)
      if (record) this.models.set(modelIds[i]!, record)
      else this.models.delete(modelIds[i]!)
    }
  }

  model(id: string): ModelRecord | null {
    return this.models.get(id) ?? null
  }
}

const followMs = 20_000
const retryMs = 5_000
/** Nothing is lent yet: so soon it is looked again whether something is. */
const idleMs = 500

/** A host that follows a relay's chain, and takes payment once it can: a fresh relay registers its models in its first blocks. */
export class Offer {
  private view: FollowedChain | null = null
  private payee: Payee | null = null
  private readonly ledger: RemoteLedger
  private readonly options: Omit<PayeeOptions, 'view'>
  private readonly nowMs: () => number

  constructor(ledger: RemoteLedger, options: Omit<PayeeOptions, 'view'>, nowMs: () => number) {
    this.ledger = ledger
    this.options = options
    this.nowMs = nowMs
  }

  /**
   * Asks again. `payee`: null until a model that is lent is on the ledger; then always the same, also while the relay is away. `waitMs`: when to come again. Throws nothing:
   * `problem` says why nothing was ever heard of a ledger.
   */
  async look(modelIds: readonly string[]): Promise<{ payee: Payee | null; waitMs: number; problem: string }> {
    try {
      this.view ??= await FollowedChain.begin(this.ledger, this.nowMs)
      const { view } = this
      if (modelIds.length === 0) return { payee: this.payee, waitMs: idleMs, problem: '' }
      await view.refresh(modelIds)
      if (modelIds.some((id) => view.model(id))) this.payee ??= createPayee({ ...this.options, view })
      return { payee: this.payee, waitMs: modelIds.every((id) => view.model(id)) ? followMs : retryMs, problem: '' }
    } catch (error) {
      return { payee: this.payee, waitMs: retryMs, problem: this.view ? '' : error instanceof Error ? error.message : 'the ledger cannot be reached' }
    }
  }
}
