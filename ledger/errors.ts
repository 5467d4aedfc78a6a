// Why the ledger refuses something. Every refusal is one of these codes and one sentence; whatever was refused left no trace in the state.

/** Numbers and names never change meaning: clients branch on them. */
export const refusals = [
  'encoding', // not canonical bytes of a known transaction
  'oversized', // more bytes than allowed
  'chain', // signed for another chain
  'signature', // transaction, voucher, receipt or header not signed by whom it says
  'nonce', // not the account's next number: a replay, or one is missing
  'fee', // below the minimum, or not covered by the balance
  'range', // a number outside of its range, or an overflow
  'balance', // the money is not there
  'missing', // no such record
  'exists', // there is one already
  'phase', // not now: too early, too late, or resolved already
  'role', // not by this account
  'stale', // a voucher that pays nothing beyond what was paid
  'proof', // evidence that does not hold
] as const
export type Refusal = (typeof refusals)[number]

export class LedgerError extends Error {
  override name = 'LedgerError'
  readonly code: Refusal
  constructor(code: Refusal, message: string) {
    super(message)
    this.code = code
  }
}
