// `meadow account show | history | grant`: money of this machine's keys, checked against the ledger's signed root.
import { defineCommand } from 'citty'
import { z } from 'zod'
import { formatAmount } from '../../ledger/amount.ts'
import { type Channel, keyOf, noAccount } from '../../ledger/records.ts'
import { hex } from '../../protocol/hash.ts'
import { command, printJson } from '../cli.ts'
import { LedgerClient } from '../ledger/client.ts'
import { toJson } from '../ledger/json.ts'
import { roles } from '../mesh/identity.ts'
import { accountId } from './ledger-options.ts'
import { jsonOption, relayOption } from './options.ts'

const who = { type: 'positional', required: false, default: 'ask', description: `64 hex digits, or a key of this machine: ${roles.join(', ')}` } as const

const heldJson = z.object({ sessions: z.array(z.object({ session: z.string(), amount: z.string(), open: z.boolean(), finalMs: z.number() })) })

/** Channels shown: the newest ones. */
const channelsMax = 16

/** Channels that are not reclaimed, newest first, proven under the last block. */
async function channelsOf(client: LedgerClient, id: Uint8Array, count: number) {
  const found: (Channel & { number: number })[] = []
  for (let number = count - 1; number >= Math.max(0, count - channelsMax); number--) {
    const channel = await client.record(keyOf.channel(id, number))
    if (channel) found.push({ number, ...channel })
  }
  return found
}

const show = command({
  meta: { name: 'show', description: 'Balance, stake and channels, proven under the last block, and what is held for it' },
  args: { account: who, relay: relayOption, json: jsonOption },
  async run({ args }) {
    const client = new LedgerClient(args.relay)
    const id = await accountId(args.account)
    const now = await client.account(id)
    const proven = (await client.record(keyOf.account(id))) ?? noAccount
    const { sessions } = heldJson.parse(await client.json(`accounts/${hex(id)}/held`))
    const channels = await channelsOf(client, id, now.channels)
    const held = sessions.reduce((sum, one) => sum + BigInt(one.amount), 0n)
    if (args.json)
      return printJson({
        id: hex(id),
        balance: now.balance,
        stake: now.stake,
        held: held.toString(),
        channels: toJson(channels),
        sessions,
        now,
        proven: toJson(proven),
      })
    const lines = [
      `account    ${hex(id)}`,
      `balance    ${formatAmount(BigInt(now.balance))}`,
      `stake      ${formatAmount(BigInt(now.stake))}, of it locked ${formatAmount(BigInt(now.locked))}`,
      `held       ${formatAmount(held)} of ${sessions.length} sessions, until their windows close`,
      ...channels.map(
        (one) => `channel    ${one.number}: ${formatAmount(one.deposit)} free, ${one.sessions} sessions under way${one.closesMs === null ? '' : ', closing'}`,
      ),
      `reputation ${now.score} of 10,000`,
      `proven     ${formatAmount(proven.balance)} and stake ${formatAmount(proven.stake)} in the last block`,
    ]
    process.stdout.write(`${lines.join('\n')}\n`)
  },
})

const eventsJson = z.object({
  events: z.array(
    z.looseObject({ seq: z.number(), height: z.number(), timeMs: z.number(), type: z.string(), amount: z.string(), subject: z.string().nullable() }),
  ),
})

const history = command({
  meta: { name: 'history', description: 'What happened to an account, newest first' },
  args: { account: who, relay: relayOption, json: jsonOption },
  async run({ args }) {
    const client = new LedgerClient(args.relay)
    const { events } = eventsJson.parse(await client.json(`accounts/${hex(await accountId(args.account))}/events`))
    if (args.json) return printJson({ events })
    for (const one of events) {
      const when = new Date(one.timeMs).toISOString().slice(0, 19).replace('T', ' ')
      process.stdout.write(`${when}  ${one.type.padEnd(9)}  ${formatAmount(BigInt(one.amount)).padStart(14)}  ${one.subject?.slice(0, 16) ?? ''}\n`)
    }
    if (events.length === 0) process.stdout.write('Nothing yet.\n')
  },
})

const grant = command({
  meta: { name: 'grant', description: "Ask the relay's faucet for the newcomer's grant" },
  args: { account: who, relay: relayOption, json: jsonOption },
  async run({ args }) {
    const granted = z.looseObject({ amount: z.string() }).parse(await new LedgerClient(args.relay).grant(await accountId(args.account)))
    if (args.json) return printJson(granted)
    process.stdout.write(`Granted ${formatAmount(BigInt(granted.amount))}.\n`)
  },
})

export const account = defineCommand({
  meta: { name: 'account', description: 'Money of this machine: balance, stake, history, the first grant' },
  subCommands: { show, history, grant },
})
