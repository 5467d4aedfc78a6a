// What the chain does by itself at the beginning of a block: records that are due, ordered by height or time and then by key. Bounded; what is left waits for the
// next block.

import { fromHex } from '../protocol/hash.ts'
import { drawAudit, endAudit } from './apply/audit.ts'
import { endCommit } from './apply/job.ts'
import { endSession } from './apply/session.ts'
import { releaseUnbonding } from './apply/stake.ts'
import type { Context } from './context.ts'
import { closeEpoch, creditWork, payWork } from './emission.ts'
import { disputeIdOf } from './names.ts'
import { editReputation, unlock } from './purse.ts'
import { type Claim, type Commit, keyOf, kindOf, type RecordOf, type Session } from './records.ts'
import { payFee } from './split.ts'

/** Records handled in one block: about 50 ms of work. */
export const dueMax = 2000

/** Handles one due record. */
export function wake(context: Context, key: string): void {
  const { state } = context
  const record = state.get(key as never) as unknown
  switch (kindOf(key)) {
    case 'unbonding':
      return releaseUnbonding(context, key, record as RecordOf<'unbonding'>)
    case 'commit':
      return endCommit(context, key, record as Commit)
    case 'epoch':
      return closeEpoch(context, key, record as RecordOf<'epoch'>)
    case 'work':
      return payWork(context, key, record as RecordOf<'work'>)
    case 'claim': {
      const id = fromHex(key.slice('claim/'.length))
      const claim = record as Claim
      const one = { id, kind: 'claim', key: keyOf.claim(id), record: claim } as const
      return claim.auditing.phase === 'waiting' ? drawAudit(context, one) : endAudit(context, one)
    }
    case 'session': {
      const id = fromHex(key.slice('session/'.length))
      return wakeSession(context, id, record as Session)
    }
    default:
      throw new Error(`${key} is never due`)
  }
}

function wakeSession(context: Context, id: Uint8Array, session: Session): void {
  const one = { id, kind: 'session', key: keyOf.session(id), record: session } as const
  if (session.open) return endSession(context, id, session)
  if (session.paid) return context.state.delete(one.key)
  if (session.auditing.phase === 'waiting') return drawAudit(context, one)
  if (session.auditing.phase === 'drawn') return endAudit(context, one)
  paySession(context, id, session)
}

/** The window has closed: hosts and shares are paid, stakes are free. The record stays until its vouchers have expired, so that none counts twice. */
function paySession(context: Context, id: Uint8Array, session: Session): void {
  const { state } = context
  const model = state.must(keyOf.model(session.model))
  const parts = session.hosts.map((host) => ({ account: host.account, layers: host.to - host.from, fallen: host.fallen }))
  const split = payFee(context, session.held, model, session.auditing.rate, parts, session.owner, id)
  const audited = session.auditing.phase === 'agreed'
  const layers = BigInt(parts.reduce((sum, part) => sum + part.layers, 0))
  for (const [i, host] of session.hosts.entries()) {
    if (host.fallen) continue
    unlock(state, host.account, host.locked)
    editReputation(context, host.account, (r) => ({ finalised: r.finalised + 1, audited: r.audited + (audited ? 1 : 0) }))
    const disputed = state.get(keyOf.dispute(disputeIdOf(id, i))) !== undefined
    if (audited && !disputed) creditWork(context, host.account, (split.burn * BigInt(parts[i].layers)) / layers)
  }
  state.set(keyOf.session(id), { ...session, held: 0n, paid: true, hosts: session.hosts.map((host) => ({ ...host, locked: 0n })) })
}
