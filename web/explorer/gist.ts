// The one number of a transaction that people look for. Pure.
import type { Body } from '../../ledger/transaction.ts'
import { creditText } from '../ledger/words.ts'

export function gistOf(body: Body): string {
  switch (body.kind) {
    case 'transfer':
    case 'stake':
    case 'unstake':
    case 'channel.topUp':
    case 'channel.settle':
    case 'channel.end':
      return creditText(body.amount)
    case 'channel.open':
      return creditText(body.deposit)
    case 'job.create':
      return `fee ${creditText(body.fee)}`
    case 'job.reveal':
      return `${body.m} tokens`
    case 'dispute.judge':
      return `${body.evidence.length.toLocaleString()} bytes`
    default:
      return ''
  }
}
