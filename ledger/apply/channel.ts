// Swarm sessions are paid off the ledger: the owner of a channel signs cumulative vouchers while tokens stream, and a host shows the last one. The first settlement
// of a session reserves its limit, so from then on the hosts' money cannot be promised to others. Earned money is held until the claim window closes.
import { equalBytes } from '../../protocol/hash.ts'
import { add, least, subtract } from '../amount.ts'
import { type Context, emit } from '../context.ts'
import { leastFee } from '../genesis.ts'
import { sessionIdOf } from '../names.ts'
import { editAccount, editMoney, freeStake, give, lock, take, unlock } from '../purse.ts'
import { type Channel, keyOf, type Session } from '../records.ts'
import { type SessionTerms, termsHash, voucherBytes } from '../transaction.ts'
import { newAuditing, notAudited } from './audit.ts'
import { existing, onlyFor, positive, type Rule, refuse } from './rule.ts'

export const channelOpen: Rule<'channel.open'> = (context, { number, deposit }, { from }) => {
  positive(deposit, 'the deposit')
  const { channels } = context.state.account(from)
  if (number !== channels) throw refuse(number < channels ? 'exists' : 'range', `the next channel of this account has number ${channels}, not ${number}`)
  take(context.state, from, deposit)
  editAccount(context.state, from, (one) => ({ channels: one.channels + 1 }))
  context.state.set(keyOf.channel(from, number), { deposit, sessions: 0, closesMs: null })
  emit(context, 'reserved', from, deposit, from)
}

export const channelTopUp: Rule<'channel.topUp'> = (context, { number, amount }, { from }) => {
  positive(amount, 'the amount')
  const key = keyOf.channel(from, number)
  const channel = existing(context, key, 'channel')
  if (channel.closesMs !== null) throw refuse('phase', 'the channel is being closed')
  take(context.state, from, amount)
  context.state.set(key, { ...channel, deposit: add(channel.deposit, amount) })
  emit(context, 'reserved', from, amount, from)
}

/** A voucher is shown by one of its hosts. The fee comes out of what it brings, so that a host needs no balance to be paid. */
export const channelSettle: Rule<'channel.settle'> = (context, body, { from, fee, size }) => {
  const { state } = context
  const channel = existing(context, keyOf.channel(body.owner, body.channel), 'channel')
  const id = sessionIdOf(context.chain, body.owner, body.channel, body.session)
  const key = keyOf.session(id)
  const known = state.get(key)
  if (!known && !body.terms) throw refuse('missing', 'the ledger does not know this session yet: its terms must come with the voucher')
  const terms = body.terms ? termsHash(body.terms) : known!.terms
  if (known && !equalBytes(terms, known.terms)) throw refuse('proof', 'the session has other terms')
  if (known && !known.open) throw refuse('phase', 'the session has ended')
  const hosts = known ? known.hosts.map((host) => host.account) : body.terms!.hosts.map((host) => host.account)
  if (!hosts.some((host) => equalBytes(host, from))) throw refuse('role', 'only a host of the session may settle')
  if (context.timeMs >= (known?.closesMs ?? body.terms!.untilMs)) throw refuse('phase', 'the voucher has expired')
  if (body.amount <= (known?.settled ?? 0n)) throw refuse('stale', `${body.amount} µ are not more than what was settled already`)
  // What a host pays for haste is not its own: without this bound one host could give away what all have earned.
  if (fee > 2n * leastFee(context.parameters, size)) throw refuse('fee', 'a settlement pays at most twice the least fee')
  if (body.amount - (known?.settled ?? 0n) < fee) throw refuse('fee', 'the voucher brings less than the fee')
  const { owner, channel: number, session: index, amount, last, receipt } = body
  const voucher = voucherBytes(context.chain, { owner, channel: number, session: index, terms, amount, last, receipt })
  const session = known ?? openSession(context, channel, body.terms!, terms, owner, number, index, id)
  const earned = amount - session.settled
  if (earned > session.reserved) throw refuse('range', 'the voucher is above the limit of its session')
  if (!context.verify(owner, 'voucher', voucher, body.voucher)) throw refuse('signature', 'the voucher is not signed by the owner of the channel')
  editMoney(state, (one) => ({ fees: one.fees + fee }))
  const settled = joined(context, { ...session, reserved: session.reserved - earned, settled: amount, held: session.held + earned - fee, receipt }, from)
  for (const host of shares(settled)) emit(context, 'held', host.account, host.amount, id)
  if (last) windUp(context, id, settled)
  else state.set(key, settled)
}

/**
 * A host that comes to the ledger itself answers with its stake from then on. Others do not: nobody could agree to that in their name. A host without stake earns
 * too; what it is held by is its held pay, more audits, and whom requesters choose.
 */
function joined(context: Context, session: Session, from: Uint8Array): Session {
  const layers = session.hosts.at(-1)!.to
  const limit = session.settled + session.reserved
  const hosts = session.hosts.map((host) => {
    if (host.locked > 0n || !equalBytes(host.account, from)) return host
    const wanted = (limit * BigInt(host.to - host.from) * BigInt(context.parameters.stakeFactor)) / BigInt(layers)
    const locked = least(wanted, freeStake(context.state.account(host.account)))
    lock(context.state, host.account, locked)
    return { ...host, locked }
  })
  return { ...session, hosts }
}

/**
 * The session is over, says one of its hosts. Alone, it ends at once. With others it ends after a grace time: whoever holds a better voucher shows it until then, so
 * that a host and the requester together cannot cut off the rest.
 */
function windUp(context: Context, id: Uint8Array, session: Session): void {
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
  const all = BigInt(session.hosts.reduce((sum, host) => sum + host.to - host.from, 0))
  return session.hosts.map((host) => ({ account: host.account, amount: (session.held * BigInt(host.to - host.from)) / all }))
}

/** The reservation returns to the channel, the window begins, and a later block draws whether the session is audited. */
export function endSession(context: Context, id: Uint8Array, session: Session): void {
  const { state, parameters } = context
  const back = session.reserved
  const channelKey = keyOf.channel(session.owner, session.channel)
  const channel = state.must(channelKey)
  state.set(channelKey, { ...channel, deposit: channel.deposit + back, sessions: channel.sessions - 1 })
  const layers = BigInt(session.hosts.reduce((sum, host) => sum + host.to - host.from, 0))
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

export const channelClose: Rule<'channel.close'> = (context, { owner, number, session }, { from }) => {
  const channel = existing(context, keyOf.channel(owner, number), 'channel')
  if (session === null) {
    onlyFor(owner, from, 'the owner of the channel')
    if (channel.closesMs !== null) throw refuse('phase', 'the channel is being closed already')
    context.state.set(keyOf.channel(owner, number), { ...channel, closesMs: context.timeMs + context.parameters.channelGraceMs })
    return
  }
  const id = sessionIdOf(context.chain, owner, number, session)
  const one = existing(context, keyOf.session(id), 'session')
  // The owner cannot: a host's last voucher may still be on its way.
  if (!one.hosts.some((host) => equalBytes(host.account, from))) throw refuse('role', 'only a host of the session may end it')
  if (!one.open) throw refuse('phase', 'the session has ended already')
  windUp(context, id, one)
}

export const channelReclaim: Rule<'channel.reclaim'> = (context, { number }, { from }) => {
  const key = keyOf.channel(from, number)
  const channel = existing(context, key, 'channel')
  if (channel.closesMs === null) throw refuse('phase', 'the channel must be closed first')
  if (context.timeMs < channel.closesMs) throw refuse('phase', 'hosts may still settle')
  if (channel.sessions > 0) throw refuse('phase', `${channel.sessions} sessions of the channel are still open`)
  context.state.delete(key)
  give(context.state, from, channel.deposit)
  emit(context, 'refunded', from, channel.deposit, from)
}
