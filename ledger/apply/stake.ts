// Bonds: what hosts, auditors and validators put up, and how it comes back. Unbonding outlasts every window, so stake never leaves before its claims are final.
import { add, subtract } from '../amount.ts'
import { type Context, emit } from '../context.ts'
import { editAccount, freeStake, give, take } from '../purse.ts'
import { keyOf, type RecordOf } from '../records.ts'
import { positive, type Rule, refuse } from './rule.ts'

/** Adds to the stake and says what for; amount 0 changes the roles only. */
export const stake: Rule<'stake'> = (context, { amount, roles }, { from }) => {
  const before = context.state.account(from)
  if (amount === 0n && before.roles === roles) throw refuse('range', 'neither stake nor roles would change')
  take(context.state, from, amount)
  editAccount(context.state, from, (one) => ({ stake: add(one.stake, amount), roles }))
  emit(context, 'staked', from, amount)
}

/** Free stake starts to unbond; it stops counting at once and returns after unbondMs. */
export const unstake: Rule<'unstake'> = (context, { amount }, { from }) => {
  positive(amount, 'the amount')
  const before = context.state.account(from)
  subtract(freeStake(before), amount, 'the free stake')
  const releaseMs = context.timeMs + context.parameters.unbondMs
  context.state.set(keyOf.unbonding(from, before.unbondings), { account: from, amount, releaseMs })
  editAccount(context.state, from, (one) => ({ stake: one.stake - amount, unbondings: one.unbondings + 1 }))
  emit(context, 'unbonding', from, amount)
}

/** An unbonding whose time has come. */
export function releaseUnbonding(context: Context, key: string, one: RecordOf<'unbonding'>): void {
  context.state.delete(key)
  give(context.state, one.account, one.amount)
  emit(context, 'released', one.account, one.amount)
}
