// Swarm sessions are paid off the ledger: the owner of a channel signs cumulative vouchers while tokens stream, and a host shows the last one. The first settlement
// of a session reserves its limit, so from then on the hosts' money cannot be promised to others. Earned money is held until the claim window closes.
import { equalBytes } from '../../protocol/hash.ts'
import { least, subtract } from '../amount.ts'
import { type Context, emit } from '../context.ts'
import { leastFee } from '../genesis.ts'
import { sessionIdOf } from '../names.ts'
import { editMoney, freeStake, lock, unlock } from '../purse.ts'
import { type Channel, keyOf, type Session } from '../records.ts'
import { type BodyOf, endDomain, othersOf, type SessionTerms, type Transaction, termsHash, voucherBytes } from '../transaction.ts'
import { newAuditing, notAudited } from './audit.ts'
import { existing, type Rule, refuse } from './rule.ts'

/** A voucher is shown by one of its hosts. The fee comes out of what it brings, so that a host needs no balance to be paid. */
export const channelSettle: Rule<'channel.settle'> = (context, body, transaction) => {
  const { from } = transaction
  const { id, session } = sessionOf(context, body)
  if (!isHost(session, from)) throw refuse('role', 'only a host of the session may settle')
  const brought = bring(context, id, session, body, voucherOf(context, session, body, body.last), transaction)
  const worth = brought.settled + brought.reserved
  const settled = answering(context, brought, worth, (account) => equalBytes(account, from))
  if (body.last) windUp(context, id, settled)
  else context.state.set(keyOf.session(id), settled)
}

/**
 * The last voucher, and every host's word that it is the last one: none has a better one to show, so the session ends in this block and what is left of its limit returns.
 * A host brings it, or the owner, who may also end so what hosts have settled already. All hosts answer with their stake, since all have signed.
 */
export const channelEnd: Rule<'channel.end'> = (context, body, transaction) => {
  const { from } = transaction
  const { id, session } = sessionOf(context, body)
  const isOwner = equalBytes(body.owner, from)
  if (!isOwner && !isHost(session, from)) throw refuse('role', 'only a host of the session or the owner of the channel may end it')
  const others = othersOf(session.hosts, from)
  if (body.ends.length !== others.length) throw refuse('range', `${body.ends.length} hosts have signed the end, ${others.length} must`)
  const voucher = voucherOf(context, session, body, true)
  const isSettled = isOwner && body.amount === session.settled
  const ended = isSettled ? hasten(context, session, body, voucher, transaction) : bring(context, id, session, body, voucher, transaction)
  for (const [i, account] of others.entries())
    if (!context.verify(account, endDomain, voucher, body.ends[i])) throw refuse('signature', 'the end is not signed by every other host of the session')
  endSession(
    context,
    id,
    answering(context, ended, ended.held, () => true),
  )
}

type Shown = Omit<BodyOf<'channel.end'>, 'kind' | 'ends'>

/** Hosts hold all layers without a gap, in ring order (openSession). */
const layersOf = (session: Session): bigint => BigInt(session.hosts.at(-1)!.to)

const isHost = (session: Session, account: Uint8Array): boolean => session.hosts.some((host) => equalBytes(host.account, account))

/** The open session that a voucher is about: as the ledger knows it, or begun with the terms that came along. */
function sessionOf(context: Context, body: Shown): { id: Uint8Array; session: Session } {
  const channel = existing(context, keyOf.channel(body.owner, body.channel), 'channel')
  const id = sessionIdOf(context.chain, body.owner, body.channel, body.session)
  const known = context.state.get(keyOf.session(id))
  if (!known && !body.terms) throw refuse('missing', 'the ledger does not know this session yet: its terms must come with the voucher')
  if (known && body.terms && !equalBytes(termsHash(body.terms), known.terms)) throw refuse('proof', 'the session has other terms')
  if (known && !known.open) throw refuse('phase', 'the session has ended')
  if (context.timeMs >= (known?.closesMs ?? body.terms!.untilMs)) throw refuse('phase', 'the voucher has expired')
  return { id, session: known ?? openSession(context, channel, body.terms!, termsHash(body.terms!), body.owner, body.channel, body.session, id) }
}

const voucherOf = ({ chain }: Context, { terms }: Session, { owner, channel, session, amount, receipt }: Shown, last: boolean): Uint8Array =>
  voucherBytes(chain, { owner, channel, session, terms, amount, last, receipt })

/** What a host pays for haste is not its own: without this bound one host could give away what all have earned. */
function boundFee({ parameters }: Context, { fee, size }: Transaction): void {
  if (fee > 2n * leastFee(parameters, size)) throw refuse('fee', 'a settlement pays at most twice the least fee')
}

function checkVoucher({ verify }: Context, { owner, voucher: signature }: Shown, voucher: Uint8Array): void {
  if (!verify(owner, 'voucher', voucher, signature)) throw refuse('signature', 'the voucher is not signed by the owner of the channel')
}

/** What a better voucher brings moves from what is reserved to what is held, the fee aside. */
function bring(context: Context, id: Uint8Array, session: Session, body: Shown, voucher: Uint8Array, transaction: Transaction): Session {
  const { amount, receipt } = body
  const { fee } = transaction
  if (amount <= session.settled) throw refuse('stale', `${amount} µ are not more than what was settled already`)
  boundFee(context, transaction)
  const earned = amount - session.settled
  if (earned < fee) throw refuse('fee', 'the voucher brings less than the fee')
  if (earned > session.reserved) throw refuse('range', 'the voucher is above the limit of its session')
  checkVoucher(context, body, voucher)
  editMoney(context.state, (one) => ({ fees: one.fees + fee }))
  const brought = { ...session, reserved: session.reserved - earned, settled: amount, held: session.held + earned - fee, receipt }
  for (const host of shares(brought)) emit(context, 'held', host.account, host.amount, id)
  return brought
}

/** Nothing new is earned: the owner pays the fee out of what will return. */
function hasten(context: Context, session: Session, body: Shown, voucher: Uint8Array, transaction: Transaction): Session {
  const { fee } = transaction
  if (fee > session.reserved) throw refuse('fee', 'what is left of the session does not pay the fee')
  checkVoucher(context, body, voucher)
  editMoney(context.state, (one) => ({ fees: one.fees + fee }))
  return { ...session, reserved: session.reserved - fee, receipt: body.receipt }
}

/**
 * Who comes to the ledger, or signs that a session has ended, answers with its stake from then on. Others do not: nobody could agree to that in their name. A host
 * without stake earns too; what it is held by is its held pay, more audits, and whom requesters choose. `worth`: what the session may bring, µ.
 */
function answering(context: Context, session: Session, worth: bigint, signed: (account: Uint8Array) => boolean): Session {
  const layers = layersOf(session)
  const hosts = session.hosts.map((host) => {
    if (host.locked > 0n || !signed(host.account)) return host
    const wanted = (worth * BigInt(host.to - host.from) * BigInt(context.parameters.stakeFactor)) / layers
    const locked = least(wanted, freeStake(context.state.account(host.account)))
    lock(context.state, host.account, locked)
    return { ...host, locked }
  })
  return { ...session, hosts }
}

/**
 * The session is over, says one of its hosts. Alone, it ends at once. With others whose word is missing it ends after a grace time: whoever holds a better voucher shows it
 * until then, so that a host and the requester together cannot cut off the rest.
 */
export function windUp(context: Context, id: Uint8Array, session: Session): void {
  if (session.hosts.length === 1) return endSession(context, id, session)
  const closesMs = Math.min(session.closesMs, context.timeMs + context.parameters.sessionGraceMs)
  context.state.set(keyOf.session(id), { ...session, closesMs })
}

function openSession(
  context: Context,
  channel: Channel,
  terms: SessionTerms,
  hash: Uint8Array,
  owner: Uint8Array,
  number: number,
  index: number,
  id: Uint8Array,
): Session {
  const model = existing(context, keyOf.model(terms.model), 'model')
  // Vouchers given before the owner began to close are still good.
  if (channel.closesMs !== null && context.timeMs >= channel.closesMs) throw refuse('phase', 'the channel is closed')
  if (terms.untilMs > context.timeMs + context.parameters.sessionMsMax) throw refuse('range', 'the session lasts longer than a session may')
  let layer = 0
  for (const host of terms.hosts) {
    if (host.from !== layer || host.to <= host.from) throw refuse('range', `the hosts leave a gap or overlap at layer ${layer}`)
    layer = host.to
  }
  if (layer !== model.layers) throw refuse('range', `the hosts compute ${layer} of ${model.layers} layers`)
  const deposit = subtract(channel.deposit, terms.limit, 'what is free in the channel')
  context.state.set(keyOf.channel(owner, number), { ...channel, deposit, sessions: channel.sessions + 1 })
  const hosts = terms.hosts.map((host) => ({ ...host, locked: 0n, fallen: false }))
  const auditing = notAudited
  const session: Session = {
    owner,
    channel: number,
    number: index,
    model: terms.model,
    terms: hash,
    hosts,
    untilMs: terms.untilMs,
    closesMs: terms.untilMs,
    reserved: terms.limit,
    settled: 0n,
    held: 0n,
    receipt: new Uint8Array(32),
    open: true,
    endedMs: 0,
    finalMs: 0,
    paid: false,
    auditing,
    disputes: 0,
  }
  emit(context, 'created', owner, terms.limit, id)
  return session
}

/** What each host would get of what is held, before shares of others: by layers. */
export function shares(session: Session): { account: Uint8Array; amount: bigint }[] {
  const all = layersOf(session)
  return session.hosts.map((host) => ({ account: host.account, amount: (session.held * BigInt(host.to - host.from)) / all }))
}

/** The reservation returns to the channel, the window begins, and a later block draws whether the session is audited. */
export function endSession(context: Context, id: Uint8Array, session: Session): void {
  const { state, parameters } = context
  const back = session.reserved
  const channelKey = keyOf.channel(session.owner, session.channel)
  const channel = state.must(channelKey)
  state.set(channelKey, { ...channel, deposit: channel.deposit + back, sessions: channel.sessions - 1 })
  const layers = layersOf(session)
  const hosts = session.hosts.map((host) => {
    const needed = (session.held * BigInt(host.to - host.from) * BigInt(parameters.stakeFactor)) / layers
    const locked = least(needed, host.locked)
    unlock(state, host.account, host.locked - locked)
    return { ...host, locked }
  })
  const ended: Session = { ...session, hosts, reserved: 0n, open: false, endedMs: context.timeMs, finalMs: context.timeMs + parameters.claimWindowMs }
  const accounts = hosts.map((host) => host.account)
  state.set(keyOf.session(id), { ...ended, auditing: newAuditing(context, session.model, accounts) })
  emit(context, 'ended', session.owner, back, id)
}
