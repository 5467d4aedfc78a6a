// What a dispute or a watcher is about, as the chain tells it: the claim of a job, or the session in which a host signed something, with the model behind it.
import { type Audited, auditedOf } from '../../ledger/apply/audit.ts'
import { blameBefore } from '../../ledger/apply/deflect.ts'
import { claimFacts } from '../../ledger/apply/dispute.ts'
import type { DisputedClaim } from '../../ledger/dispute-hook.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { type Job, keyOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import type { ChainView } from './view.ts'

export interface Subject {
  audited: Audited
  /** The job of a job's claim. */
  job: Job | null
  facts: DisputedClaim
  /** Layers of the whole model. */
  layers: number
  /** Of a later host of a session: whether an earlier one is in dispute, so that this one cannot fall yet. */
  waits: boolean
}

/** Reads it, proven; null when there is no such claim or session any more. Throws RelayError, LedgerError (a host that is none). */
export async function readSubject(view: ChainView, id: Uint8Array, host: number): Promise<Subject | null> {
  const state = new State()
  const claim = await view.record(keyOf.claim(id))
  const session = claim ? null : await view.record(keyOf.session(id))
  const job = claim && (await view.record(keyOf.job(claim.job)))
  if (claim && job) {
    state.set(keyOf.claim(id), claim)
    state.set(keyOf.job(claim.job), job)
  } else if (session) {
    state.set(keyOf.session(id), session)
    // Who is to blame, and until when one may say so, depends on what is said of the session's other hosts.
    if (session.disputes > 0) {
      state.set(keyOf.rules, await view.must(keyOf.rules))
      for (const i of session.hosts.keys()) {
        const dispute = await view.record(keyOf.dispute(disputeIdOf(id, i)))
        if (dispute) state.set(keyOf.dispute(disputeIdOf(id, i)), dispute)
      }
    }
  } else return null
  const model = job?.model ?? session!.model
  const record = await view.must(keyOf.model(model))
  state.set(keyOf.model(model), record)
  const audited = auditedOf({ state }, id)
  const blame = session && blameBefore({ state }, id, session, host)
  return { audited, job, facts: claimFacts({ state }, audited, host), layers: record.layers, waits: blame === 'waits' }
}
