// What the rules of all families share: their shape, and the refusals they have in common.
import { equalBytes } from '../../protocol/hash.ts'
import { type Context, operatorOf } from '../context.ts'
import { LedgerError, type Refusal } from '../errors.ts'
import type { Key, RecordKind, RecordOf } from '../records.ts'
import type { BodyOf, Kind, Transaction } from '../transaction.ts'

/** Does what a transaction says, or throws LedgerError; whatever it did before throwing is undone. The fee is paid and the nonce counted already. */
export type Rule<K extends Kind> = (context: Context, body: BodyOf<K>, transaction: Transaction) => void

export const refuse = (code: Refusal, message: string): LedgerError => new LedgerError(code, message)

/** The record, or LedgerError (missing). */
export function existing<K extends RecordKind>(context: Pick<Context, 'state'>, key: Key<K>, what: string): RecordOf<K> {
  const found = context.state.get(key)
  if (found === undefined) throw refuse('missing', `there is no such ${what}`)
  return found
}

export function onlyFor(account: Uint8Array, from: Uint8Array, what: string): void {
  if (!equalBytes(account, from)) throw refuse('role', `only ${what} may do this`)
}

export const onlyOperator = (context: Context, from: Uint8Array): void => onlyFor(operatorOf(context), from, 'the operator of this chain')

export function positive(amount: bigint, what: string): void {
  if (amount === 0n) throw refuse('range', `${what} is zero`)
}

export function equalOrRefuse(a: Uint8Array, b: Uint8Array, otherwise: string): void {
  if (!equalBytes(a, b)) throw refuse('proof', otherwise)
}
