// The only functions that change balances, stakes and pots. Each moves money from one place to another, burns or mints it, and says so; a rule that forgets the
// other side is caught by the conservation check of its own transaction (apply.ts).
import { add, least, subtract } from './amount.ts'
import { type Context, emit } from './context.ts'
import { type Account, keyOf, type Money, type Reputation } from './records.ts'
import type { State } from './state.ts'

export const editAccount = (state: State, id: Uint8Array, change: (one: Account) => Partial<Account>): void => {
  const one = state.account(id)
  state.set(keyOf.account(id), { ...one, ...change(one) })
}

export const editMoney = (state: State, change: (one: Money) => Partial<Money>): void => {
  const one = state.must(keyOf.money)
  state.set(keyOf.money, { ...one, ...change(one) })
}

/** Into a balance. */
export const give = (state: State, id: Uint8Array, amount: bigint): void => {
  if (amount > 0n) editAccount(state, id, (one) => ({ balance: add(one.balance, amount) }))
}

/** Out of a balance. Throws LedgerError (balance). */
export const take = (state: State, id: Uint8Array, amount: bigint): void => {
  if (amount > 0n) editAccount(state, id, (one) => ({ balance: subtract(one.balance, amount, 'the balance') }))
}

/** Out of existence: whoever calls it has taken the money from somewhere. */
export const burn = (state: State, amount: bigint): void => {
  if (amount > 0n) editMoney(state, (one) => ({ burned: one.burned + amount }))
}

export const intoTreasury = (state: State, amount: bigint): void => {
  if (amount > 0n) editMoney(state, (one) => ({ treasury: add(one.treasury, amount) }))
}

/** Stake that answers for nothing yet. */
export const freeStake = (one: Account): bigint => one.stake - one.locked

/** Throws LedgerError (balance) when the free stake is smaller. */
export const lock = (state: State, id: Uint8Array, amount: bigint): void => {
  if (amount === 0n) return
  editAccount(state, id, (one) => {
    subtract(freeStake(one), amount, 'the free stake')
    return { locked: one.locked + amount }
  })
}

export const unlock = (state: State, id: Uint8Array, amount: bigint): void => {
  if (amount > 0n) editAccount(state, id, (one) => ({ locked: subtract(one.locked, amount, 'the locked stake') }))
}

/** Takes locked stake out of an account; whoever calls it gives it to somebody or burns it. */
export const slashLocked = (context: Context, id: Uint8Array, amount: bigint, subject: Uint8Array): void => {
  if (amount === 0n) return
  editAccount(context.state, id, (one) => ({ stake: subtract(one.stake, amount, 'the stake'), locked: subtract(one.locked, amount, 'the locked stake') }))
  emit(context, 'slashed', id, amount, subject)
}

/** Takes up to `amount` of free stake; returns how much there was. */
export const slashFree = (context: Context, id: Uint8Array, amount: bigint, subject: Uint8Array): bigint => {
  const taken = least(amount, freeStake(context.state.account(id)))
  if (taken > 0n) {
    editAccount(context.state, id, (one) => ({ stake: one.stake - taken }))
    emit(context, 'slashed', id, taken, subject)
  }
  return taken
}

export const editReputation = (context: Context, id: Uint8Array, change: (one: Reputation) => Partial<Reputation>): void => {
  const key = keyOf.reputation(id)
  const one = context.state.get(key) ?? { finalised: 0, audited: 0, challenged: 0, lost: 0, audits: 0, missed: 0, sinceMs: context.timeMs }
  context.state.set(key, { ...one, ...change(one) })
}
