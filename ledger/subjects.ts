// What a transaction is about: the accounts, models, jobs, claims, sessions and disputes that it names or makes. For indexes (which transactions touched this?) and for
// links between what is shown; no rule depends on it.
import { modelIdFrom } from './apply/model.ts'
import { claimIdOf, disputeIdOf, jobIdOf, outOf, sessionIdOf } from './names.ts'
import type { Transaction } from './transaction.ts'

export interface Subject {
  kind: 'account' | 'model' | 'job' | 'claim' | 'session' | 'dispute'
  /** 32 bytes. */
  id: Uint8Array
}

/** In the order sender, what it is about, others named; `chain` is the genesis hash. Names may come twice. A claim may also be a session: both are 32 bytes. */
export function subjectsOf(chain: Uint8Array, transaction: Pick<Transaction, 'from' | 'nonce' | 'body'>): Subject[] {
  const { from, nonce, body } = transaction
  const found: Subject[] = []
  const add = (kind: Subject['kind'], id: Uint8Array): void => void found.push({ kind, id })
  add('account', from)
  switch (body.kind) {
    case 'transfer':
    case 'faucet.grant':
      add('account', body.to)
      break
    case 'model.register':
      add('model', modelIdFrom(body.core, body.tensorTableRoot, body.constTablesRoot, body.shardListHash))
      add('account', body.trainer)
      break
    case 'model.transfer':
      add('model', body.model)
      add('account', body.to)
      break
    case 'model.setFee':
      add('model', body.model)
      add('account', body.trainer)
      break
    case 'job.create':
      add('job', jobIdOf(chain, from, nonce, body))
      add('model', body.model)
      break
    case 'job.reveal':
      add('job', body.job)
      add('claim', claimIdOf(outOf(body.job, body), from))
      break
    case 'job.commit':
    case 'job.claim':
    case 'job.cancel':
    case 'job.expire':
      add('job', body.job)
      break
    case 'audit.commit':
    case 'audit.report':
      add('claim', body.claim)
      break
    case 'dispute.open':
      add('dispute', disputeIdOf(body.claim, body.host))
      add('claim', body.claim)
      break
    case 'dispute.move':
    case 'dispute.judge':
    case 'dispute.timeout':
      add('dispute', body.dispute)
      break
    case 'dispute.equivocation':
      add('account', body.host)
      break
    case 'channel.settle':
    case 'channel.end':
      add('session', sessionIdOf(chain, body.owner, body.channel, body.session))
      add('account', body.owner)
      if (body.terms) {
        add('model', body.terms.model)
        for (const host of body.terms.hosts) add('account', host.account)
      }
      break
    case 'channel.close':
      if (body.session !== null) add('session', sessionIdOf(chain, body.owner, body.number, body.session))
      add('account', body.owner)
      break
    default:
  }
  return found
}
