// What a host knows of the chain (payee.ts), renewed by asking a relay now and then: the rules, the models it lends, the newest block. No clock: whoever drives it says when.
import { fromHex } from '../protocol/hash.ts'
import type { Genesis, Parameters } from './genesis.ts'
import { decodeRecordAt } from './light.ts'
import type { ChainView } from './payee.ts'
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
