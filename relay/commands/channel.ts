// `meadow channel open | top-up | show | close | reclaim`: what swarm sessions are paid from.
import { defineCommand } from 'citty'
import { formatAmount } from '../../ledger/amount.ts'
import { keyOf } from '../../ledger/records.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { command, integerOption, printJson } from '../cli.ts'
import { RelayError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { toJson } from '../ledger/json.ts'
import { act, credits, moneyOptions, secretFor } from './ledger-options.ts'

const number = { type: 'positional', required: true, description: "The channel's number, as `open` printed it" } as const
const numberOf = (text: string): number => integerOption('number', text, 0, 4294967295)!

const open = command({
  meta: { name: 'open', description: 'Lock credits for paying hosts while they answer' },
  args: { deposit: { type: 'positional', required: true, description: 'Credits' }, ...moneyOptions },
  async run({ args }) {
    const { channels } = await new LedgerClient(args.relay).account(publicKeyOf(await secretFor(args)))
    const deposit = credits(args.deposit)
    await act(args, { kind: 'channel.open', number: channels, deposit }, `Channel ${channels} holds ${formatAmount(deposit)}.`, { number: channels })
  },
})

const topUp = command({
  meta: { name: 'top-up', description: 'Add credits to an open channel' },
  args: { number, amount: { type: 'positional', required: true, description: 'Credits' }, ...moneyOptions },
  async run({ args }) {
    const amount = credits(args.amount)
    await act(args, { kind: 'channel.topUp', number: numberOf(args.number), amount }, `Added ${formatAmount(amount)}.`)
  },
})

const show = command({
  meta: { name: 'show', description: 'What a channel holds, proven under the last block' },
  args: { number, ...moneyOptions },
  async run({ args }) {
    const owner = publicKeyOf(await secretFor(args))
    const channel = await new LedgerClient(args.relay).record(keyOf.channel(owner, numberOf(args.number)))
    if (!channel) throw new RelayError(`This account has no channel ${args.number} in the last block.`)
    if (args.json) return printJson(toJson(channel))
    const closing = channel.closesMs === null ? 'open' : `closing, to be reclaimed from ${new Date(channel.closesMs).toISOString()}`
    process.stdout.write(`${formatAmount(channel.deposit)} free, ${channel.sessions} sessions under way, ${closing}\n`)
  },
})

const close = command({
  meta: { name: 'close', description: 'Begin to close a channel: hosts may settle for the grace time' },
  args: { number, ...moneyOptions },
  async run({ args }) {
    const owner = publicKeyOf(await secretFor(args))
    await act(args, { kind: 'channel.close', owner, number: numberOf(args.number), session: null }, 'Closing.')
  },
})

const reclaim = command({
  meta: { name: 'reclaim', description: 'Take back what is left of a closed channel after the grace time' },
  args: { number, ...moneyOptions },
  async run({ args }) {
    await act(args, { kind: 'channel.reclaim', number: numberOf(args.number) }, 'Reclaimed.')
  },
})

export const channel = defineCommand({
  meta: { name: 'channel', description: 'Channels: credits locked for paying hosts while they answer' },
  subCommands: { open, 'top-up': topUp, show, close, reclaim },
})
