// Jobs on the ledger: create with the fee in escrow, commit blind, reveal, wait out the window, claim; or cancel and expire with the fee returned. Several may commit;
// the first valid reveal wins. The commitment is salted with the solver's account, so an answer cannot be copied.
import { decodeSampler } from '../../protocol/engine/answer.ts'
import { layersMax } from '../../protocol/limits.ts'
import { most } from '../amount.ts'
import { type Context, emit } from '../context.ts'
import { creditWork } from '../emission.ts'
import { largestMoveFee, type Parameters } from '../genesis.ts'
import { claimIdOf, disputeIdOf, jobIdOf, outOf } from '../names.ts'
import { editReputation, give, lock, take, unlock } from '../purse.ts'
import { type Commit, type Job, keyOf } from '../records.ts'
import { payFee } from '../split.ts'
import { commitmentOf, positionsMax, privacyClasses } from '../transaction.ts'
import { auditPending, newAuditing, notAudited } from './audit.ts'
import { equalOrRefuse, existing, onlyFor, positive, type Rule, refuse } from './rule.ts'

/** S: what a claim over `fee` locks (dispute.md 7). */
export const stakeFor = (p: Parameters, fee: bigint, stakeMin: bigint): bigint =>
  most(most(BigInt(p.stakeFactor) * fee, BigInt(p.stakeMoves) * largestMoveFee(p)), stakeMin)

export const jobCreate: Rule<'job.create'> = (context, body, { from, nonce }) => {
  positive(body.fee, 'the fee of the job')
  const model = existing(context, keyOf.model(body.model), 'model')
  if (body.deadlineMs <= context.timeMs) throw refuse('range', 'the deadline has passed')
  if (body.deadlineMs > context.timeMs + context.parameters.jobDeadlineMsMax) throw refuse('range', 'the deadline is too far away')
  if (body.promptCount + body.maxTokens > positionsMax) throw refuse('range', `prompt and answer take more than ${positionsMax} positions`)
  if (new Set(body.stopIds).size !== body.stopIds.length) throw refuse('range', 'a stop id stands twice')
  try {
    // A job whose sampler is none could not be judged.
    decodeSampler(body.sampler)
  } catch (error) {
    throw refuse('range', error instanceof Error ? error.message : 'the sampler is none')
  }
  const { segment } = body
  if (segment && !(segment.layers.from < segment.layers.to && segment.layers.to <= Math.min(model.layers, layersMax)))
    throw refuse('range', `layers ${segment.layers.from} to ${segment.layers.to} are not a segment of ${model.layers} layers`)
  if (segment && body.maxTokens !== 1) throw refuse('range', 'a segment is evaluated once: maxTokens is 1')
  if (segment && segment.layers.from === 0 && segment.boundary.some((byte) => byte !== 0))
    throw refuse('range', 'tokens enter at layer 0: the boundary is zeros')
  const id = jobIdOf(context.chain, from, nonce, body)
  take(context.state, from, body.fee)
  const { kind: _, segment: asked, ...rest } = body
  context.state.set(keyOf.job(id), {
    ...rest,
    requester: from,
    segment: asked && { ...asked.layers, boundary: asked.boundary },
    commits: 0,
    claim: null,
  })
  emit(context, 'created', from, body.fee, id)
}

/** Locks the stake of the claim to come. */
export const jobCommit: Rule<'job.commit'> = (context, { job: id, commitment }, { from }) => {
  const job = existing(context, keyOf.job(id), 'job')
  if (job.claim) throw refuse('phase', 'the job is answered already')
  if (context.timeMs >= job.deadlineMs) throw refuse('phase', 'the deadline has passed')
  const key = keyOf.commit(id, from)
  if (context.state.get(key)) throw refuse('exists', 'this account has committed already')
  const stake = stakeFor(context.parameters, job.fee, job.stakeMin)
  lock(context.state, from, stake)
  const untilMs = Math.min(context.timeMs + context.parameters.revealWindowMs, job.deadlineMs)
  context.state.set(key, { job: id, solver: from, commitment, height: context.height, stake, untilMs })
  context.state.set(keyOf.job(id), { ...job, commits: job.commits + 1 })
}

export const jobReveal: Rule<'job.reveal'> = (context, body, { from }) => {
  const { state } = context
  const job = existing(context, keyOf.job(body.job), 'job')
  const key = keyOf.commit(body.job, from)
  const commit = existing(context, key, 'commit')
  if (job.claim) throw refuse('phase', 'the job is answered already')
  // A commit in the same block could have been made after seeing somebody's reveal in it.
  if (context.height <= commit.height) throw refuse('phase', 'a reveal comes in a later block than its commit')
  if (context.timeMs >= commit.untilMs) throw refuse('phase', 'the time to reveal is over')
  if (body.m > job.maxTokens) throw refuse('range', `the answer has ${body.m} tokens, ${job.maxTokens} were asked for`)
  const { segment } = job
  if (segment && segment.from > 0 && segment.to === existing(context, keyOf.model(job.model), 'model').layers && !body.logRoot)
    throw refuse('range', 'a segment at the end of the model chooses a token: its records stand in logRoot')
  const out = outOf(body.job, body)
  equalOrRefuse(commitmentOf(context.chain, from, out, body.nonce), commit.commitment, 'the answer is not what was committed to')
  const id = claimIdOf(out, from)
  state.delete(key)
  state.set(keyOf.job(body.job), { ...job, commits: job.commits - 1, claim: id })
  state.set(keyOf.claim(id), {
    job: body.job,
    solver: from,
    m: body.m,
    stop: body.stop,
    outRoot: body.outRoot,
    logRoot: body.logRoot,
    answer: body.answer,
    stake: commit.stake,
    revealedMs: context.timeMs,
    finalMs: context.timeMs + context.parameters.claimWindowMs,
    // Nobody but the two may see a sealed job's tokens: it cannot be audited.
    auditing: job.privacy === privacyClasses.sealed ? notAudited : newAuditing(context, job.model, [from]),
    disputes: 0,
  })
  emit(context, 'held', from, job.fee, id)
}

/** Pays a claim whose window has closed. Anyone may send it. */
export const jobClaim: Rule<'job.claim'> = (context, { job: id }) => {
  const { state } = context
  const job = existing(context, keyOf.job(id), 'job')
  if (!job.claim) throw refuse('phase', 'the job has no answer')
  const claim = existing(context, keyOf.claim(job.claim), 'claim')
  if (claim.disputes > 0) throw refuse('phase', 'the claim is in dispute')
  if (context.timeMs < claim.finalMs) throw refuse('phase', 'the claim can still be challenged')
  if (auditPending(claim.auditing)) throw refuse('phase', 'the claim is being audited')
  const model = existing(context, keyOf.model(job.model), 'model')
  closeJob(context, id, job)
  unlock(state, claim.solver, claim.stake)
  const layers = job.segment ? job.segment.to - job.segment.from : model.layers
  const split = payFee(context, job.fee, model, claim.auditing.rate, [{ account: claim.solver, layers, fallen: false }], job.requester, job.claim)
  const audited = claim.auditing.phase === 'agreed'
  editReputation(context, claim.solver, (r) => ({ finalised: r.finalised + 1, audited: r.audited + (audited ? 1 : 0) }))
  const disputed = state.get(keyOf.dispute(disputeIdOf(job.claim, 0))) !== undefined
  if (audited && !disputed && job.privacy === privacyClasses.open) creditWork(context, claim.solver, split.burn)
}

/** Job and claim leave the state; what they were stays in the log. */
function closeJob(context: Context, id: Uint8Array, job: Job): void {
  context.state.delete(keyOf.job(id))
  if (job.claim) context.state.delete(keyOf.claim(job.claim))
}

export const jobCancel: Rule<'job.cancel'> = (context, { job: id }, { from }) => {
  const job = existing(context, keyOf.job(id), 'job')
  onlyFor(job.requester, from, 'the requester')
  if (job.claim) throw refuse('phase', 'the job is answered already')
  if (job.commits > 0) throw refuse('phase', 'somebody has committed to an answer')
  refund(context, id, job)
}

/** After the deadline without an answer. Anyone may send it. */
export const jobExpire: Rule<'job.expire'> = (context, { job: id }) => {
  const job = existing(context, keyOf.job(id), 'job')
  if (job.claim) throw refuse('phase', 'the job is answered')
  if (context.timeMs < job.deadlineMs) throw refuse('phase', 'the deadline has not passed')
  refund(context, id, job)
}

/** The escrow goes back and the job is over. */
export function refund(context: Context, id: Uint8Array, job: Job): void {
  context.state.delete(keyOf.job(id))
  give(context.state, job.requester, job.fee)
  emit(context, 'refunded', job.requester, job.fee, id)
}

/** A commit without a reveal: the stake is free again. Losing a race costs nothing. */
export function endCommit(context: Context, key: string, commit: Commit): void {
  context.state.delete(key)
  unlock(context.state, commit.solver, commit.stake)
  const job = context.state.get(keyOf.job(commit.job))
  if (job) context.state.set(keyOf.job(commit.job), { ...job, commits: job.commits - 1 })
}
