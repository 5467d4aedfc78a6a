// Channels: what a requester sets aside to pay for sessions (session.ts), and how it comes back.
import { equalBytes } from '../../protocol/hash.ts'
import { add } from '../amount.ts'
import { emit } from '../context.ts'
import { sessionIdOf } from '../names.ts'
import { editAccount, give, take } from '../purse.ts'
import { keyOf } from '../records.ts'
import { existing, onlyFor, positive, type Rule, refuse } from './rule.ts'
import { windUp } from './session.ts'

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
  // The owner cannot without the word of all hosts (channel.end): a last voucher may still be on its way.
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
