// New money: a budget an epoch that halves, paid for audited work, never more than what that work burned. So nobody can earn emission by paying himself: what he
// mints is at most what he destroyed. What of a budget nobody earned is never minted.
import { least, shareOf } from './amount.ts'
import { type Context, emit } from './context.ts'
import type { Parameters } from './genesis.ts'
import { editMoney, give, intoTreasury } from './purse.ts'
import { keyOf, type RecordOf } from './records.ts'

/** Which epoch a time lies in. */
export const epochOf = (p: Parameters, genesisMs: number, timeMs: number): number => Math.floor((timeMs - genesisMs) / p.emission.epochMs)

/** Budget of an epoch: initial / 2^⌊epoch / halvingEpochs⌋, rounded down. */
export const budgetOf = (p: Parameters, epoch: number): bigint => p.emission.initial >> BigInt(Math.floor(epoch / p.emission.halvingEpochs))

/** Counts a final audited claim's burned share as work of this epoch. */
export function creditWork(context: Context, account: Uint8Array, burned: bigint): void {
  if (burned === 0n) return
  const { state, parameters } = context
  const { genesisMs } = state.must(keyOf.rules)
  const number = epochOf(parameters, genesisMs, context.timeMs)
  const endsMs = genesisMs + (number + 1) * parameters.emission.epochMs
  const epoch = state.get(keyOf.epoch(number)) ?? { work: 0n, endsMs, minted: 0n, closed: false }
  state.set(keyOf.epoch(number), { ...epoch, work: epoch.work + burned })
  const key = keyOf.work(number, account)
  const work = state.get(key) ?? { epoch: number, account, work: 0n, endsMs }
  state.set(key, { ...work, work: work.work + burned })
}

/** At the end of an epoch, before its work records (their keys sort after it): how much may be minted. */
export function closeEpoch(context: Context, key: string, epoch: RecordOf<'epoch'>): void {
  const { state, parameters } = context
  const { supplyMax, supplyGenesis } = state.must(keyOf.rules)
  const { emitted } = state.must(keyOf.money)
  const number = Number(key.slice('epoch/'.length))
  const minted = least(least(budgetOf(parameters, number), epoch.work), supplyMax - supplyGenesis - emitted)
  state.set(keyOf.epoch(number), { ...epoch, minted, closed: true })
}

/** An account's part of a closed epoch. */
export function payWork(context: Context, key: string, one: RecordOf<'work'>): void {
  const { state, parameters } = context
  state.delete(key)
  const epoch = state.get(keyOf.epoch(one.epoch))
  if (!epoch || epoch.work === 0n) return
  const part = (epoch.minted * one.work) / epoch.work
  if (part === 0n) return
  const treasury = shareOf(part, parameters.emission.treasuryShare)
  editMoney(state, (money) => ({ emitted: money.emitted + part }))
  intoTreasury(state, treasury)
  give(state, one.account, part - treasury)
  emit(context, 'minted', one.account, part - treasury, null)
}

/** Everything the curve can ever mint: the sum over all halvings. */
export function emissionMax(p: Parameters): bigint {
  let sum = 0n
  for (let budget = p.emission.initial; budget > 0n; budget >>= 1n) sum += budget * BigInt(p.emission.halvingEpochs)
  return sum
}
