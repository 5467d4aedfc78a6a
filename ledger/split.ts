// How a fee is divided when a claim is final. Burn, treasury, producer and the audit levy come first, then the model's owner and trainer, and hosts share the
// rest by layers computed. What rounding leaves goes to the treasury, so the parts add up to the whole.
import { least, shareOf } from './amount.ts'
import { type Context, emit } from './context.ts'
import { auditLevyShare, type ModelSplit, type Parameters } from './genesis.ts'
import { editMoney, give } from './purse.ts'
import type { ModelRecord } from './records.ts'

export interface SplitPart {
  account: Uint8Array
  layers: number
  /** A host whose receipt fell: its part goes back to the requester. */
  fallen: boolean
}

export interface Split {
  burn: bigint
  treasury: bigint
  producer: bigint
  levy: bigint
  owner: bigint
  trainer: bigint
  /** In the order of the hosts. */
  hosts: bigint[]
}

/** Divides `fee`; `layers` weighs the hosts. The sum of all parts is `fee`, whatever the shares say: who comes first is served first. */
export function splitFee(fee: bigint, parameters: Parameters, modelShares: ModelSplit, rate: number, layers: readonly number[]): Split {
  const { split } = parameters
  let left = fee
  const part = (share: number): bigint => {
    const taken = least(left, shareOf(fee, share))
    left -= taken
    return taken
  }
  const burn = part(split.burn)
  const levy = part(auditLevyShare(parameters, rate))
  const base = part(split.treasury)
  const producer = part(split.producer)
  const owner = part(modelShares.owner)
  const trainer = part(modelShares.trainer)
  const all = BigInt(layers.reduce((sum, one) => sum + one, 0))
  const hosts = layers.map((one) => (all === 0n ? 0n : (left * BigInt(one)) / all))
  return { burn, levy, treasury: base + left - hosts.reduce((sum, one) => sum + one, 0n), producer, owner, trainer, hosts }
}

/** Pays a final claim out of money that the caller has taken from its escrow; returns what was burned. */
export function payFee(
  context: Context,
  fee: bigint,
  model: ModelRecord,
  rate: number,
  parts: readonly SplitPart[],
  requester: Uint8Array,
  subject: Uint8Array,
): Split {
  const { state } = context
  const layers = parts.map((part) => part.layers)
  const split = splitFee(fee, context.parameters, model.split, rate, layers)
  editMoney(state, (one) => ({ burned: one.burned + split.burn, treasury: one.treasury + split.treasury, auditPool: one.auditPool + split.levy }))
  const pay = (account: Uint8Array, amount: bigint): void => {
    if (amount === 0n) return
    give(state, account, amount)
    emit(context, 'paid', account, amount, subject)
  }
  pay(context.producer, split.producer)
  pay(model.owner, split.owner)
  pay(model.trainer, split.trainer)
  parts.forEach((part, i) => {
    if (!part.fallen) return pay(part.account, split.hosts[i])
    give(state, requester, split.hosts[i])
    if (split.hosts[i] > 0n) emit(context, 'refunded', requester, split.hosts[i], subject)
  })
  return split
}
