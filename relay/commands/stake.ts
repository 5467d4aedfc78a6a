// `meadow stake`: puts up credits, as a host, an auditor or a validator.
import { formatAmount } from '../../ledger/amount.ts'
import { role } from '../../ledger/transaction.ts'
import { command } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { act, credits, moneyOptions } from './ledger-options.ts'

/** "host,auditor" as bits. Throws UsageError. */
function rolesOf(text: string): number {
  return text.split(',').reduce((bits, name) => {
    if (!Object.hasOwn(role, name)) throw new UsageError(`${name} is no role: ${Object.keys(role).join(', ')}.`)
    return bits | role[name as keyof typeof role]
  }, 0)
}

export const stake = command({
  meta: { name: 'stake', description: 'Put up credits: more trust, more pay, and something to lose' },
  args: {
    amount: { type: 'positional', required: true, description: 'Credits, such as 50; 0 changes the roles only' },
    roles: { type: 'string', valueHint: 'list', default: 'host', description: 'host, auditor, validator, or several with commas' },
    ...moneyOptions,
  },
  async run({ args }) {
    const amount = credits(args.amount)
    await act(args, { kind: 'stake', amount, roles: rolesOf(args.roles) }, `Staked ${formatAmount(amount)}.`)
  },
})
