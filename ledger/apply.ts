// One transaction on the state: (state, transaction) -> state, or a LedgerError and the state as it was, to the byte. Order of checks: chain, size and fee, nonce,
// balance for the fee, signature (the dearest), then the rule of its kind.

import { join } from '../protocol/hash.ts'
import { formatAmount, subtract } from './amount.ts'
import { auditCommit, auditReport } from './apply/audit.ts'
import { channelClose, channelOpen, channelReclaim, channelTopUp } from './apply/channel.ts'
import { disputeEquivocation, disputeJudge, disputeMove, disputeOpen, disputeTimeout } from './apply/dispute.ts'
import { faucetGrant } from './apply/faucet.ts'
import { jobCancel, jobClaim, jobCommit, jobCreate, jobExpire, jobReveal } from './apply/job.ts'
import { modelRegister, modelSetFee, modelTransfer } from './apply/model.ts'
import { parametersSet } from './apply/parameters.ts'
import type { Rule } from './apply/rule.ts'
import { channelEnd, channelSettle } from './apply/session.ts'
import { stake, unstake } from './apply/stake.ts'
import { transfer } from './apply/transfer.ts'
import { validatorsSet } from './apply/validators.ts'
import type { Context } from './context.ts'
import { LedgerError } from './errors.ts'
import { chainNumber, leastFee } from './genesis.ts'
import { checkConserved } from './invariants.ts'
import { editAccount, editMoney } from './purse.ts'
import type { Body, Kind, Transaction } from './transaction.ts'

const rules: { [K in Kind]: Rule<K> } = {
  transfer,
  stake,
  unstake,
  'model.register': modelRegister,
  'model.transfer': modelTransfer,
  'model.setFee': modelSetFee,
  'job.create': jobCreate,
  'job.commit': jobCommit,
  'job.reveal': jobReveal,
  'job.claim': jobClaim,
  'job.cancel': jobCancel,
  'job.expire': jobExpire,
  'audit.commit': auditCommit,
  'audit.report': auditReport,
  'dispute.open': disputeOpen,
  'dispute.move': disputeMove,
  'dispute.judge': disputeJudge,
  'dispute.timeout': disputeTimeout,
  'dispute.equivocation': disputeEquivocation,
  'channel.open': channelOpen,
  'channel.topUp': channelTopUp,
  'channel.settle': channelSettle,
  'channel.close': channelClose,
  'channel.reclaim': channelReclaim,
  'faucet.grant': faucetGrant,
  'parameters.set': parametersSet,
  'validators.set': validatorsSet,
  'channel.end': channelEnd,
}

/** Checks that need no state but the sender's account; also what a node does before it queues a transaction. Throws LedgerError. */
export function checkEnvelope(context: Pick<Context, 'chain' | 'parameters'>, transaction: Transaction): void {
  const { chain, fee, size } = transaction
  if (chain !== chainNumber(context.chain)) throw new LedgerError('chain', `the transaction is for chain ${chain}, this is ${chainNumber(context.chain)}`)
  if (size > context.parameters.transactionBytesMax)
    throw new LedgerError('oversized', `the transaction has ${size} bytes, at most ${context.parameters.transactionBytesMax} are allowed`)
  const least = leastFee(context.parameters, size)
  if (fee < least) throw new LedgerError('fee', `the fee is ${formatAmount(fee)} credits, at least ${formatAmount(least)} are asked for ${size} bytes`)
}

/** What the signature of a transaction is over. */
export const signedBytes = (chain: Uint8Array, transaction: Transaction): Uint8Array => join([chain, transaction.unsigned])

/** Whether the fee comes out of what the transaction brings, not out of the sender's balance: a host without money must be able to be paid. */
const feeFromProceeds = (body: Body): boolean => body.kind === 'channel.settle' || body.kind === 'channel.end'

/** Applies a transaction. Throws LedgerError, the state and events then being what they were. */
export function applyTransaction(context: Context, transaction: Transaction): void {
  const { state } = context
  const { from, nonce, fee, body } = transaction
  checkEnvelope(context, transaction)
  const sender = state.account(from)
  if (nonce !== sender.nonce)
    throw new LedgerError('nonce', `the nonce is ${nonce}, the next of this account is ${sender.nonce}${nonce < sender.nonce ? ': sent already' : ''}`)
  const ownFee = feeFromProceeds(body) ? 0n : fee
  subtract(sender.balance, ownFee, 'the balance')
  if (!context.verify(from, 'transaction', signedBytes(context.chain, transaction), transaction.signature))
    throw new LedgerError('signature', 'the transaction is not signed by its sender')
  const mark = state.mark()
  const events = context.events.length
  const { parameters } = context
  try {
    editAccount(state, from, (one) => ({ balance: one.balance - ownFee, nonce: nonce + 1 }))
    if (ownFee > 0n) {
      editMoney(state, (one) => ({ fees: one.fees + ownFee }))
    }
    ;(rules[body.kind] as Rule<Kind>)(context, body as never, transaction)
    checkConserved(state, mark)
  } catch (error) {
    state.undo(mark)
    context.events.length = events
    if (context.parameters !== parameters) state.forgetAuditorTable()
    context.parameters = parameters
    throw error
  }
}
