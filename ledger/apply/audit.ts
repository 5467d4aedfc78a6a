// Audits: a later block's beacon draws which claims are re-run and by whom. Auditors commit first and show afterwards, with leaves of units that the beacon chose, so
// that copying the claim or each other is of no use. Agreement is paid; a difference gives everybody time to open a dispute; silence costs.
import { equalBytes, fromHex, hashTagged, hex } from '../../protocol/hash.ts'
import { least, shareOf } from '../amount.ts'
import { drawAuditors, drawOf, isDrawn } from '../beacon.ts'
import { type Context, emit } from '../context.ts'
import { burn, editMoney, editReputation, give, slashFree } from '../purse.ts'
import { type Auditing, type Claim, type Key, keyOf, type Session } from '../records.ts'
import { auditCommitmentOf } from '../transaction.ts'
import { equalOrRefuse, type Rule, refuse } from './rule.ts'

const none = new Uint8Array(32)

export const notAudited: Auditing = { phase: 'passed', drawHeight: 0, drawn: none, rate: 0, reportsFromMs: 0, endsMs: 0, audits: [] }

/** A claim that came into being now: the block after the next draws, with a beacon that nobody can know yet. */
export function newAuditing(context: Context, model: Uint8Array, claimants: readonly Uint8Array[]): Auditing {
  const { auditRate, auditRateNew, auditNewClaims } = context.parameters
  const isNew = claimants.some((one) => (context.state.get(keyOf.reputation(one))?.finalised ?? 0) < auditNewClaims)
  const asked = context.state.get(keyOf.model(model))?.auditRate ?? 0
  const rate = isNew ? auditRateNew : Math.min(Math.max(auditRate, asked), auditRateNew)
  return { ...notAudited, phase: 'waiting', drawHeight: context.height + 2, rate }
}

/** A claim by its id: a job's answer or the receipts of a session. */
export type Audited = { id: Uint8Array } & ({ kind: 'claim'; key: Key<'claim'>; record: Claim } | { kind: 'session'; key: Key<'session'>; record: Session })

export function auditedOf(context: Pick<Context, 'state'>, id: Uint8Array): Audited {
  const claim = context.state.get(keyOf.claim(id))
  if (claim) return { id, kind: 'claim', key: keyOf.claim(id), record: claim }
  const session = context.state.get(keyOf.session(id))
  if (session) return { id, kind: 'session', key: keyOf.session(id), record: session }
  throw refuse('missing', 'there is no such claim')
}

const setAuditing = (context: Context, one: Audited, auditing: Auditing, later: { finalMs?: number } = {}): void => {
  if (one.kind === 'claim') context.state.set(one.key, { ...one.record, ...later, auditing })
  else context.state.set(one.key, { ...one.record, ...later, auditing })
}

/** What an honest auditor finds. */
const truthOf = (one: Audited): Uint8Array => (one.kind === 'claim' ? one.record.answer : one.record.receipt)

/** F: what is paid for the claim. */
export const feeOf = (context: Pick<Context, 'state'>, one: Audited): bigint =>
  one.kind === 'claim' ? (context.state.get(keyOf.job(one.record.job))?.fee ?? 0n) : one.record.held

function partiesOf(context: Context, one: Audited): Set<string> {
  if (one.kind === 'session') return new Set([hex(one.record.owner), ...one.record.hosts.map((host) => hex(host.account))])
  const job = context.state.get(keyOf.job(one.record.job))
  return new Set([hex(one.record.solver), ...(job ? [hex(job.requester)] : [])])
}

/** At drawHeight: audited or not, and by whom. */
export function drawAudit(context: Context, one: Audited): void {
  const { auditing } = one.record
  const draw = drawOf(context.state.must(keyOf.clock).beacon, one.id)
  const auditors = isDrawn(draw, auditing.rate) ? drawAuditors(context.state, draw, context.parameters, partiesOf(context, one)) : []
  if (auditors.length === 0) return setAuditing(context, one, { ...auditing, phase: 'passed', drawn: draw })
  const half = Math.floor(context.parameters.auditWindowMs / 2)
  const audits = auditors.map((auditor) => ({ auditor: fromHex(auditor), commitment: null, answer: null, leaves: null }))
  for (const audit of audits) emit(context, 'drawn', audit.auditor, 0n, one.id)
  const times = { reportsFromMs: context.timeMs + half, endsMs: context.timeMs + context.parameters.auditWindowMs }
  setAuditing(context, one, { ...auditing, phase: 'drawn', drawn: draw, ...times, audits })
}

function seatOf(one: Audited, from: Uint8Array): number {
  if (one.record.auditing.phase !== 'drawn') throw refuse('phase', 'the claim is not being audited')
  const seat = one.record.auditing.audits.findIndex((audit) => equalBytes(audit.auditor, from))
  if (seat < 0) throw refuse('role', 'only a drawn auditor may do this')
  return seat
}

const withAudit = (auditing: Auditing, seat: number, change: Partial<Auditing['audits'][number]>): Auditing => ({
  ...auditing,
  audits: auditing.audits.map((audit, i) => (i === seat ? { ...audit, ...change } : audit)),
})

export const auditCommit: Rule<'audit.commit'> = (context, { claim, commitment }, { from }) => {
  const one = auditedOf(context, claim)
  const seat = seatOf(one, from)
  const { auditing } = one.record
  if (context.timeMs >= auditing.reportsFromMs) throw refuse('phase', 'the time for commitments is over')
  if (auditing.audits[seat].commitment) throw refuse('exists', 'there is a commitment already')
  setAuditing(context, one, withAudit(auditing, seat, { commitment }))
}

export const auditReport: Rule<'audit.report'> = (context, { claim, answer, leaves, salt }, { from }) => {
  const one = auditedOf(context, claim)
  const seat = seatOf(one, from)
  const { auditing } = one.record
  const audit = auditing.audits[seat]
  if (!audit.commitment) throw refuse('phase', 'an auditor commits before reporting')
  if (audit.answer) throw refuse('exists', 'there is a report already')
  const allIn = auditing.audits.every((other) => other.commitment)
  if (context.timeMs < auditing.reportsFromMs && !allIn) throw refuse('phase', 'others have not committed yet')
  if (context.timeMs >= auditing.endsMs) throw refuse('phase', 'the audit is over')
  equalOrRefuse(auditCommitmentOf(context.chain, claim, from, { answer, leaves, salt }), audit.commitment, 'the report is not what was committed to')
  setAuditing(context, one, withAudit(auditing, seat, { answer, leaves: hashTagged('leaves', ...leaves) }))
}

/** At endsMs: who reported is paid if all agree, who did not is fined. */
export function endAudit(context: Context, one: Audited): void {
  const { auditing } = one.record
  const reports = auditing.audits.filter((audit) => audit.answer)
  for (const { auditor } of auditing.audits.filter((audit) => !audit.answer)) {
    burn(context.state, slashFree(context, auditor, context.parameters.auditMissPenalty, one.id))
    editReputation(context, auditor, (r) => ({ missed: r.missed + 1 }))
    emit(context, 'missed', auditor, 0n, one.id)
  }
  if (reports.length === 0) return setAuditing(context, one, { ...auditing, phase: 'silent' })
  const truth = truthOf(one)
  const agreed = reports.every((audit) => equalBytes(audit.answer!, truth) && equalBytes(audit.leaves!, reports[0].leaves!))
  // Whoever is right can now open a dispute, and has the whole window again to do so.
  if (!agreed) return setAuditing(context, one, { ...auditing, phase: 'differs' }, { finalMs: context.timeMs + context.parameters.claimWindowMs })
  const pay = shareOf(feeOf(context, one), context.parameters.auditPay)
  for (const { auditor } of reports) {
    let paid = 0n
    editMoney(context.state, (money) => {
      paid = least(pay, money.auditPool)
      return { auditPool: money.auditPool - paid }
    })
    give(context.state, auditor, paid)
    editReputation(context, auditor, (r) => ({ audits: r.audits + 1 }))
    emit(context, 'audited', auditor, paid, one.id)
  }
  setAuditing(context, one, { ...auditing, phase: 'agreed' })
}

/** Whether an audit still stands in the way of a claim's finality. */
export const auditPending = (auditing: Auditing): boolean => auditing.phase === 'waiting' || auditing.phase === 'drawn'
