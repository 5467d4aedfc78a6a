// Disputes, from the side of money: who put up what, and where it goes. Who is right is decided by the game behind dispute-hook.ts; this file holds bonds and stake,
// and checks every payout against the pot it comes from. Also the one proof that needs no game: two signatures that contradict each other.
import { decode } from '@ipld/dag-cbor'
import { equalBytes, hashTagged, join } from '../../protocol/hash.ts'
import { type Context, emit } from '../context.ts'
import type { DisputedClaim, DisputeGame, DisputeStep, DisputeTime } from '../dispute-hook.ts'
import { disputePlay } from '../dispute-play.ts'
import { disputeIdOf } from '../names.ts'
import { burn, editReputation, give, slashFree, slashLocked, take, unlock } from '../purse.ts'
import { type Dispute, keyOf } from '../records.ts'
import { privacyClasses } from '../transaction.ts'
import { type Audited, auditedOf, feeOf } from './audit.ts'
import { blameBefore, earlierDisputes, finalMsOf } from './deflect.ts'
import { refund } from './job.ts'
import { existing, type Rule, refuse } from './rule.ts'

const none = new Uint8Array(32)

const game = (context: Context): DisputeGame => disputePlay(context.chain, context.verify)

const now = (context: Context): DisputeTime => ({ height: context.height, timeMs: context.timeMs, activeMs: context.activeMs })

/** What the game may know about a claim; players ask too. `host` is the index of the host of a session, 0 for a job. */
export function claimFacts(context: Pick<Context, 'state'>, one: Audited, host: number): DisputedClaim {
  const { state } = context
  if (one.kind === 'claim') {
    if (host !== 0) throw refuse('range', 'a job has one solver, number 0')
    const claim = one.record
    const job = existing(context, keyOf.job(claim.job), 'job')
    const model = state.must(keyOf.model(job.model))
    return {
      kind: 'job',
      claimId: one.id,
      claimant: claim.solver,
      requester: job.requester,
      model: modelFacts(job.model, model),
      layers: job.segment ? { from: job.segment.from, to: job.segment.to } : { from: 0, to: model.layers },
      boundary: job.segment && job.segment.from > 0 ? job.segment.boundary : null,
      job: { id: claim.job, ...pick(job) },
      out: { m: claim.m, stop: claim.stop, outRoot: claim.outRoot, logRoot: claim.logRoot },
      fee: job.fee,
      stake: claim.stake,
      revealedAtMs: claim.revealedMs,
      finalMs: claim.finalMs,
      host,
      load: model.disputes + 1,
    }
  }
  const session = one.record
  const accused = session.hosts[host]
  if (!accused) throw refuse('range', `the session has ${session.hosts.length} hosts`)
  const model = state.must(keyOf.model(session.model))
  return {
    kind: 'receipt',
    claimId: one.id,
    claimant: accused.account,
    requester: session.owner,
    model: modelFacts(session.model, model),
    layers: { from: accused.from, to: accused.to },
    boundary: null,
    job: { id: one.id, programVersion: 1, promptRoot: none, promptCount: 0, sampler: new Uint8Array(64), seed: none, maxTokens: 0, stopIds: [], privacy: 0 },
    out: { m: 0, stop: 0, outRoot: session.receipt, logRoot: null },
    fee: feeOf(context, one),
    stake: accused.locked,
    revealedAtMs: session.endedMs,
    finalMs: finalMsOf(context, one, host),
    host,
    load: model.disputes + 1,
  }
}

const modelFacts = (id: Uint8Array, model: { core: Uint8Array; tensorTableRoot: Uint8Array; constTablesRoot: Uint8Array; shardListHash: Uint8Array }) => {
  const { core, tensorTableRoot, constTablesRoot, shardListHash } = model
  return { id, core, tensorTableRoot, constTablesRoot, shardListHash }
}

const pick = (job: Omit<DisputedClaim['job'], 'id'>): Omit<DisputedClaim['job'], 'id'> => {
  const { programVersion, promptRoot, promptCount, sampler, seed, maxTokens, stopIds, privacy } = job
  return { programVersion, promptRoot, promptCount, sampler, seed, maxTokens, stopIds, privacy }
}

const setDisputes = (context: Context, one: Audited, by: number): void => {
  if (one.kind === 'claim') context.state.set(one.key, { ...one.record, disputes: one.record.disputes + by })
  else context.state.set(one.key, { ...one.record, disputes: one.record.disputes + by })
}

/** Open disputes of a model. */
function setLoad(context: Context, id: Uint8Array, by: number): void {
  const model = context.state.must(keyOf.model(id))
  context.state.set(keyOf.model(id), { ...model, disputes: model.disputes + by })
}

/** Privacy classes: of a sealed job only the requester objects, of an escrowed one also its drawn auditors; else a bond would buy prompts. */
function onlyAllowed(context: Context, one: Audited, from: Uint8Array): void {
  if (one.kind !== 'claim') return
  const job = existing(context, keyOf.job(one.record.job), 'job')
  if (job.privacy === privacyClasses.open || equalBytes(job.requester, from)) return
  const drawn = job.privacy === privacyClasses.escrow && one.record.auditing.audits.some((audit) => equalBytes(audit.auditor, from))
  if (!drawn) throw refuse('role', 'the tokens of this job are not open: others cannot challenge its answer')
}

export const disputeOpen: Rule<'dispute.open'> = (context, { claim, host, opening }, { from }) => {
  const one = auditedOf(context, claim)
  const over = one.kind === 'claim' ? false : one.record.open || one.record.paid || (one.record.hosts[host]?.fallen ?? false)
  if (over || context.timeMs >= finalMsOf(context, one, host)) throw refuse('phase', 'the claim cannot be challenged now')
  const id = disputeIdOf(claim, host)
  if (context.state.get(keyOf.dispute(id))) throw refuse('exists', 'the claim has been challenged already')
  const facts = claimFacts(context, one, host)
  const step = game(context).open(facts, opening, from, now(context), context.parameters)
  onlyAllowed(context, one, from)
  setDisputes(context, one, 1)
  setLoad(context, facts.model.id, 1)
  // Whoever says that the fault lies with an earlier host may say so in disputes that are there already.
  for (const earlier of earlierDisputes(context, one, host)) {
    const record = context.state.must(keyOf.dispute(earlier))
    const untilMs = context.activeMs + context.parameters.disputes.defendMs
    context.state.set(keyOf.dispute(earlier), { ...record, game: game(context).extend(record.game, untilMs) })
  }
  editReputation(context, facts.claimant, (r) => ({ challenged: r.challenged + 1 }))
  const { height, timeMs } = context
  const dispute: Dispute = {
    claim,
    host,
    claimant: facts.claimant,
    openedMs: timeMs,
    openedHeight: height,
    bonds: [],
    stakeLeft: facts.stake,
    moves: 0,
    verdict: null,
    game: new Uint8Array(0),
  }
  settleStep(context, id, dispute, facts, step, from)
}

type Turn = (play: DisputeGame, dispute: Dispute, facts: DisputedClaim) => DisputeStep

function turn(context: Context, id: Uint8Array, from: Uint8Array, play: Turn): void {
  const dispute = existing(context, keyOf.dispute(id), 'dispute')
  if (dispute.verdict) throw refuse('phase', 'the dispute is decided')
  const facts = claimFacts(context, auditedOf(context, dispute.claim), dispute.host)
  settleStep(context, id, dispute, facts, play(game(context), dispute, facts), from)
}

export const disputeMove: Rule<'dispute.move'> = (context, body, { from }) =>
  turn(context, body.dispute, from, (play, dispute, facts) => play.move(dispute.game, facts, body.move, from, now(context), context.parameters))

export const disputeJudge: Rule<'dispute.judge'> = (context, body, { from }) =>
  turn(context, body.dispute, from, (play, dispute, facts) => play.judge(dispute.game, facts, body.evidence, from, now(context), context.parameters))

export const disputeTimeout: Rule<'dispute.timeout'> = (context, body, { from }) =>
  turn(context, body.dispute, from, (play, dispute, facts) => play.timeout(dispute.game, facts, from, now(context), context.parameters))

/** Takes the bond, moves the payouts, and closes the dispute when there is a verdict. */
function settleStep(context: Context, id: Uint8Array, before: Dispute, facts: DisputedClaim, played: DisputeStep, from: Uint8Array): void {
  const { state } = context
  const step = played.isSilence ? excused(context, before, played) : played
  if (step.game.length > context.parameters.disputes.stateBytesMax) throw refuse('oversized', 'the game has grown too large')
  const bonds = before.bonds.map((bond) => ({ ...bond }))
  let { stakeLeft } = before
  if (step.bond > 0n) {
    take(state, from, step.bond)
    bonds.push({ account: from, left: step.bond })
    emit(context, 'bond', from, step.bond, id)
  }
  for (const { from: pot, to, amount } of step.payouts) {
    if (amount === 0n) continue
    if (pot === 'stake') {
      if (amount > stakeLeft) throw new Error('the game paid out more stake than there is')
      stakeLeft -= amount
      slashLocked(context, facts.claimant, amount, id)
    } else {
      const bond = bonds[pot]
      if (!bond || amount > bond.left) throw new Error(`the game paid out more than bond ${pot} holds`)
      bond.left -= amount
    }
    if (to === null) burn(state, amount)
    else {
      give(state, to, amount)
      emit(context, 'paid', to, amount, id)
    }
  }
  if (stakeLeft !== before.stakeLeft) setStake(context, before.claim, before.host, stakeLeft)
  const dispute: Dispute = { ...before, bonds, stakeLeft, moves: before.moves + 1, verdict: step.verdict, game: step.game }
  state.set(keyOf.dispute(id), dispute)
  if (step.verdict) closeDispute(context, id, dispute, facts)
}

/** What becomes of a claim for which nobody has shown a trace: a later host of a session is not to blame for what an earlier one did. */
function excused(context: Context, { claim, host }: Dispute, step: DisputeStep): DisputeStep {
  const one = auditedOf(context, claim)
  const blame = one.kind === 'claim' ? null : blameBefore(context, claim, one.record, host)
  if (blame === 'waits') throw refuse('phase', 'an earlier host of the session is in dispute: this one waits for it')
  // Its stake stays; what others put up in vain comes back when the dispute is closed.
  return blame === 'void' ? { ...step, payouts: step.payouts.filter((one) => one.from !== 'stake'), verdict: 'void' } : step
}

/** What of a claim's lock is left: the sum of all locks of an account is what it has locked. */
function setStake(context: Context, claim: Uint8Array, host: number, stake: bigint): void {
  const one = auditedOf(context, claim)
  if (one.kind === 'claim') context.state.set(one.key, { ...one.record, stake })
  else context.state.set(one.key, { ...one.record, hosts: one.record.hosts.map((item, i) => (i === host ? { ...item, locked: stake } : item)) })
}

function closeDispute(context: Context, id: Uint8Array, dispute: Dispute, facts: DisputedClaim): void {
  const { state } = context
  for (const bond of dispute.bonds) {
    give(state, bond.account, bond.left)
    if (bond.left > 0n) emit(context, 'refunded', bond.account, bond.left, id)
  }
  // The game's tree is needed by nobody any more; its moves stay in the log.
  const closed = { ...dispute, bonds: dispute.bonds.map((bond) => ({ ...bond, left: 0n })), game: new Uint8Array(0) }
  state.set(keyOf.dispute(id), closed)
  const fallen = dispute.verdict === 'fallen'
  setDisputes(context, auditedOf(context, dispute.claim), -1)
  const one = auditedOf(context, dispute.claim)
  if (one.kind === 'claim') {
    if (fallen) {
      unlock(state, facts.claimant, dispute.stakeLeft)
      const job = state.must(keyOf.job(one.record.job))
      refund(context, one.record.job, job)
      state.delete(one.key)
    }
  } else {
    const hosts = one.record.hosts.map((host, i) => (i === dispute.host ? { ...host, fallen, locked: fallen ? 0n : dispute.stakeLeft } : host))
    if (fallen) unlock(state, facts.claimant, dispute.stakeLeft)
    state.set(one.key, { ...one.record, hosts })
  }
  setLoad(context, facts.model.id, -1)
  if (fallen) editReputation(context, facts.claimant, (r) => ({ lost: r.lost + 1 }))
  emit(context, 'verdict', facts.claimant, 0n, id)
}

/**
 * A signed record of one position: canonical dag-cbor of [session, seg, epoch, p, inRoot, outRoot, token] (dispute.md 2.4), signed by the host under domain "record"
 * over genesis hash ‖ record.
 */
function positionOf(record: Uint8Array): Uint8Array {
  let fields: unknown
  try {
    fields = decode(record)
  } catch {
    throw refuse('encoding', 'the record is not dag-cbor')
  }
  if (!Array.isArray(fields) || fields.length !== 7 || !(fields[0] instanceof Uint8Array) || fields[0].length !== 32)
    throw refuse('encoding', 'the record is not [session, seg, epoch, p, inRoot, outRoot, token]')
  const numbers = fields.slice(1, 4)
  if (!numbers.every((n) => typeof n === 'number' && Number.isSafeInteger(n) && n >= 0)) throw refuse('encoding', 'a number of the record is none')
  return hashTagged('position', fields[0], new TextEncoder().encode(numbers.join(' ')))
}

/** Half of the free stake of an equivocator is burned, half goes to who shows it: a host that shows its own loses half. */
export const disputeEquivocation: Rule<'dispute.equivocation'> = (context, body, { from }) => {
  const position = positionOf(body.first)
  if (!equalBytes(position, positionOf(body.second))) throw refuse('proof', 'the records are about different positions')
  if (equalBytes(body.first, body.second)) throw refuse('proof', 'the records say the same')
  const offence = hashTagged('offence', body.host, position)
  if (context.state.get(keyOf.offence(offence))) throw refuse('exists', 'this was punished already')
  for (const [record, signature] of [
    [body.first, body.firstSignature],
    [body.second, body.secondSignature],
  ]) {
    if (!context.verify(body.host, 'record', join([context.chain, record]), signature)) throw refuse('signature', 'a record is not signed by the host')
  }
  const { stake } = context.state.account(body.host)
  const taken = slashFree(context, body.host, stake, offence)
  if (taken === 0n) throw refuse('balance', 'the host has no free stake')
  const reward = taken / 2n
  give(context.state, from, reward)
  burn(context.state, taken - reward)
  emit(context, 'paid', from, reward, offence)
  editReputation(context, body.host, (r) => ({ lost: r.lost + 1 }))
  context.state.set(keyOf.offence(offence), { host: body.host, timeMs: context.timeMs })
}
