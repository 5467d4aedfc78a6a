// `meadow transfer`: money to another account.
import { formatAmount } from '../../ledger/amount.ts'
import { command } from '../cli.ts'
import { accountId, act, credits, moneyOptions } from './ledger-options.ts'

export const transfer = command({
  meta: { name: 'transfer', description: 'Send credits to an account' },
  args: {
    to: { type: 'positional', required: true, description: '64 hex digits, or a key of this machine: host, relay, ask' },
    amount: { type: 'positional', required: true, description: 'Credits, such as 1.25' },
    note: { type: 'string', valueHint: 'text', description: 'Up to 64 bytes, for everybody to read' },
    ...moneyOptions,
  },
  async run({ args }) {
    const amount = credits(args.amount)
    const note = new TextEncoder().encode(args.note ?? '')
    await act(args, { kind: 'transfer', to: await accountId(args.to), amount, note }, `Sent ${formatAmount(amount)}.`)
  },
})
