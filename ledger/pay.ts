// Paying for a session while its tokens stream: what the requester quotes and signs, what a host checks before it goes on. Pure; messages are the mesh's business, and
// what counts in the end is `channel.settle`.
import { equalBytes } from '../protocol/hash.ts'
import { add, least } from './amount.ts'
import type { Verify } from './context.ts'
import { LedgerError } from './errors.ts'
import { leastFee, type Parameters } from './genesis.ts'
import type { Channel, ModelRecord } from './records.ts'
import { type BodyOf, endDomain, othersOf, type SessionTerms, signEnd, signVoucher, termsHash, type Voucher, voucherBytes } from './transaction.ts'

/** Bytes of a settlement with the terms and the words of `hosts` hosts, rounded up (three hosts, one of whom sends it: 547, measured). */
const settlementBytes = (hosts: number): number => 330 + hosts * 110

/** What is paid for `tokens` tokens: each at the model's price, and the ledger fee of one settlement, which comes out of what the voucher brings. */
export const priceOf = (p: Parameters, model: Pick<ModelRecord, 'price'>, hosts: number, tokens: number): bigint =>
  model.price * BigInt(tokens) + leastFee(p, settlementBytes(hosts))

export interface Quote {
  /** Reserved in the channel; what is not used returns. */
  limit: bigint
  /** Price of one token, µ. */
  perToken: bigint
  /** Part of the limit that is the settlement's fee, whatever the length. */
  fee: bigint
}

/** What an answer of at most `maxTokens` tokens may cost: shown before anything is asked. */
export function quote(p: Parameters, model: Pick<ModelRecord, 'price'>, hosts: number, maxTokens: number): Quote {
  const limit = priceOf(p, model, hosts, maxTokens)
  return { limit, perToken: model.price, fee: limit - model.price * BigInt(maxTokens) }
}

/** A session as both sides see it. */
export interface PaidSession {
  chain: Uint8Array
  owner: Uint8Array
  channel: number
  session: number
  terms: SessionTerms
}

/** A voucher and its signature, as it goes over the mesh. */
export interface SignedVoucher {
  amount: bigint
  last: boolean
  receipt: Uint8Array
  signature: Uint8Array
}

const voucherOf = ({ owner, channel, session, terms }: PaidSession, { amount, last, receipt }: Omit<SignedVoucher, 'signature'>): Voucher => ({
  owner,
  channel,
  session,
  terms: termsHash(terms),
  amount,
  last,
  receipt,
})

/** Requester: pays for all tokens so far. Throws LedgerError (range) above the session's limit. */
export function payFor(secret: Uint8Array, session: PaidSession, amount: bigint, last: boolean, receipt: Uint8Array): SignedVoucher {
  if (amount > session.terms.limit) throw new LedgerError('range', 'the session has reached its limit')
  const unsigned = { amount, last, receipt }
  return { ...unsigned, signature: signVoucher(secret, session.chain, voucherOf(session, unsigned)) }
}

/** Host: whether a session is worth beginning. Throws LedgerError saying what is missing. `channel` is proven under the last block. */
export function checkTerms(p: Parameters, channel: Channel | null, model: ModelRecord | null, terms: SessionTerms, nowMs: number): void {
  if (!model) throw new LedgerError('missing', 'the ledger does not know the model')
  if (!channel || channel.closesMs !== null) throw new LedgerError('missing', 'the channel is not open')
  if (channel.deposit < terms.limit) throw new LedgerError('balance', 'the channel holds less than the limit of the session')
  if (terms.limit < priceOf(p, model, terms.hosts.length, 1)) throw new LedgerError('range', 'the limit does not pay for one token')
  if (terms.untilMs > nowMs + p.sessionMsMax) throw new LedgerError('range', 'the session would last longer than a session may')
  // Settling takes a moment, and blocks must not be what a requester waits for.
  if (terms.untilMs < nowMs + p.sessionGraceMs) throw new LedgerError('range', 'the vouchers would expire before they could be settled')
  let layer = 0
  for (const host of terms.hosts) {
    if (host.from !== layer || host.to <= host.from) throw new LedgerError('range', 'the hosts do not hold all layers in turn')
    layer = host.to
  }
  if (layer !== model.layers) throw new LedgerError('range', 'the hosts do not hold all layers')
}

/** Host: a newer voucher takes the place of `held`, and none that of the last one. Throws LedgerError: stale, range or signature. */
export function acceptVoucher(session: PaidSession, held: SignedVoucher | null, next: SignedVoucher, verify: Verify): SignedVoucher {
  if (held?.last) throw new LedgerError('stale', 'the session has had its last voucher')
  if (next.amount <= (held?.amount ?? 0n)) throw new LedgerError('stale', 'the voucher pays no more than the one before')
  if (next.amount > session.terms.limit) throw new LedgerError('range', 'the voucher is above the limit of its session')
  if (!verify(session.owner, 'voucher', voucherBytes(session.chain, voucherOf(session, next)), next.signature))
    throw new LedgerError('signature', 'the voucher is not signed by the owner of the channel')
  return next
}

/** Host: tokens it may still compute on credit. `step` is what it lends at most; 0 says stop until the next voucher. */
export function tokensOnCredit(
  p: Parameters,
  model: Pick<ModelRecord, 'price'>,
  hosts: number,
  held: SignedVoucher | null,
  tokensDone: number,
  step: number,
): number {
  const paid = held?.amount ?? 0n
  let covered = 0
  if (model.price > 0n) {
    const fee = priceOf(p, model, hosts, 0)
    covered = paid > fee ? Number((paid - fee) / model.price) : 0
  } else covered = tokensDone
  return Math.max(0, covered + step - tokensDone)
}

/** Host: the transaction that brings the last voucher to the ledger. `known`: the ledger has the terms already. */
export const settlementOf = (session: PaidSession, held: SignedVoucher, known: boolean): BodyOf<'channel.settle'> => ({
  kind: 'channel.settle',
  owner: session.owner,
  channel: session.channel,
  session: session.session,
  terms: known ? null : session.terms,
  amount: held.amount,
  last: held.last,
  receipt: held.receipt,
  voucher: held.signature,
})

/** Host: its word that the session ends with the last voucher, which it holds. Whoever has said so takes no other voucher. */
export const endWith = (secret: Uint8Array, session: PaidSession, held: SignedVoucher): Uint8Array => signEnd(secret, session.chain, voucherOf(session, held))

/** Whether the account of a host has said so. */
export const isEnd = (session: PaidSession, last: SignedVoucher, account: Uint8Array, end: Uint8Array, verify: Verify): boolean =>
  last.last && verify(account, endDomain, voucherBytes(session.chain, voucherOf(session, last)), end)

/** The transaction that brings the last voucher and ends the session in its block. `ends`: every host's word, in ring order. `from`: who sends it, a host or the owner. */
export function endingOf(session: PaidSession, last: SignedVoucher, ends: readonly Uint8Array[], from: Uint8Array, known: boolean): BodyOf<'channel.end'> {
  const { owner, channel, session: number, terms } = session
  const endOf = (account: Uint8Array): Uint8Array => ends[terms.hosts.findIndex((one) => equalBytes(one.account, account))]!
  return {
    kind: 'channel.end',
    owner,
    channel,
    session: number,
    terms: known ? null : terms,
    amount: last.amount,
    receipt: last.receipt,
    voucher: last.signature,
    ends: othersOf(terms.hosts, from).map(endOf),
  }
}

/** Requester: how much of a channel can be promised to a new session, given what open promises may still take. */
export const freeOf = (channel: Channel, promised: readonly { limit: bigint; reserved: boolean }[]): bigint => {
  // Sessions that the ledger knows have left the deposit already.
  const waiting = promised.filter((one) => !one.reserved).reduce((sum, one) => add(sum, one.limit), 0n)
  return channel.deposit - least(channel.deposit, waiting)
}
